package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"unsafe"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Set is a rule set: all packs, compiled. It is immutable and may be used by any
// number of goroutines at once, each with a [Scratch] of its own.
type Set struct {
	all    []*Rule // by id
	rules  []*Rule // live and shadow, by id
	forms  *form.Matcher
	uses   []use // of each of its terms
	covers int   // number of exceptions
	max    int   // hits of one event
	digest string
	stats  Stats

	second *Set // the critical rules, searched by another engine; nil for none
	every  int  // of how many events one is asked of it
}

// use says what a term of the matcher is to a rule.
type use struct {
	rule *Rule
	term string // as written; of an exception too
	// exception is the number of an exception, -1 for a term.
	exception int32
	// by are the numbers of the exceptions that can cover this term.
	by []int32
}

// Stats says what a set is made of.
type Stats struct {
	Packs                        int
	Live, Shadow, Draft, Retired int       // rules
	Terms, Exceptions            int       // of live and shadow rules
	Memory                       Bytes     // what the compiled terms take, the ordinary words left out
	Forms                        form.Form // in which any live or shadow rule is read
	Exclusions                   int       // texts that are no hit by sound or shape
	Second                       Second    // the zero one without a second opinion
}

// Second says what is asked of a second engine.
type Second struct {
	Every        int // of how many events one
	Rules, Terms int
	Memory       Bytes // what its terms take
}

// compile builds the set of checked rules.
func compile(all []*Rule, packs int, o Options) (*Set, error) {
	s := &Set{all: all, max: cmp.Or(o.MaxHits, DefaultMaxHits), stats: Stats{Packs: packs, Exclusions: len(o.Exclusions)}}
	slices.SortFunc(s.all, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	var terms []form.Term
	add := func(u use, f form.Form) {
		terms = append(terms, form.Term{Text: u.term, Forms: f, Exception: u.exception >= 0})
		s.uses = append(s.uses, u)
	}
	for _, r := range s.all {
		s.stats.count(r)
		if !r.compiled() {
			continue
		}
		if o.Only != 0 {
			r.Forms &= o.Only | form.Fold
		}
		s.stats.Forms |= r.Forms
		r.index = len(s.rules)
		s.rules = append(s.rules, r)
		exceptions := make([]string, len(r.Except))
		first := int32(s.covers)
		for i, e := range r.Except {
			exceptions[i] = fold.String(e)
			add(use{rule: r, term: e, exception: int32(s.covers)}, r.Forms)
			s.covers++
		}
		for _, t := range r.Terms {
			u := use{rule: r, term: t, exception: -1}
			if len(exceptions) > 0 {
				folded := fold.String(t)
				for i, e := range exceptions {
					if form.Contains(e, folded) {
						u.by = append(u.by, first+int32(i))
					}
				}
			}
			add(u, r.Forms)
		}
	}
	budget := cmp.Or(int64(o.MemoryBudget), automaton.DefaultMemoryBudget)
	var err error
	if s.forms, err = form.New(terms, form.Options{Words: o.Words, Exclusions: o.Exclusions,
		Automaton: automaton.Options{MemoryBudget: budget, Engine: o.Engine.engine()}}); err != nil {
		return nil, fmt.Errorf("compile rules: %w", err)
	}
	memory := s.forms.Memory() + int64(cap(s.uses))*int64(unsafe.Sizeof(use{}))
	if memory > budget {
		return nil, fmt.Errorf("compile rules: %w", &automaton.BudgetError{Need: memory, Budget: budget, Engine: o.Engine.engine()})
	}
	s.stats.Memory = Bytes(memory)
	if err := s.secondOpinion(o); err != nil {
		return nil, err
	}
	s.digest = s.sum()
	return s, nil
}

func (st *Stats) count(r *Rule) {
	switch r.State {
	case Draft:
		st.Draft++
		return
	case Retired:
		st.Retired++
		return
	case Shadow:
		st.Shadow++
	case Live:
		st.Live++
	}
	st.Terms += len(r.Terms)
	st.Exceptions += len(r.Except)
}

// Digest returns the SHA-256, in hex, over everything that can change a verdict:
// the compiled rules with their forms, the versions of the fold and of the forms, the
// ordinary words and exclusions, and the limit of hits. Two sets with one digest judge
// alike, in whatever files and order their rules are written.
func (s *Set) Digest() string { return s.digest }

// sum computes the digest. Every part has its length before it, so that no two
// different sets write the same bytes.
func (s *Set) sum() string {
	h := sha256.New()
	text(h, "weir rule set 2")
	text(h, fold.Version)
	text(h, s.forms.Version())
	number(h, s.max)
	number(h, len(s.rules))
	for _, r := range s.rules {
		text(h, r.ID)
		text(h, r.Category)
		text(h, r.Severity.String())
		text(h, r.Action.String())
		text(h, r.State.String())
		text(h, r.Forms.String())
		number(h, len(r.Kinds))
		for _, k := range r.Kinds {
			text(h, k.String())
		}
		list(h, r.Fields, func(s string) string { return s })
		list(h, r.Terms, fold.String)
		list(h, r.Except, fold.String)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func number(h hash.Hash, n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

func text(h hash.Hash, s string) {
	number(h, len(s))
	h.Write([]byte(s))
}

// list writes texts in an order of their own: how they are ordered in the pack
// changes nothing.
func list(h hash.Hash, texts []string, of func(string) string) {
	sorted := make([]string, len(texts))
	for i, t := range texts {
		sorted[i] = of(t)
	}
	slices.Sort(sorted)
	number(h, len(sorted))
	for _, t := range sorted {
		text(h, t)
	}
}

// Rules returns the live and shadow rules, sorted by id. They must not be changed.
func (s *Set) Rules() []*Rule { return s.rules }

// All returns the rules in every state, sorted by id. They must not be changed.
func (s *Set) All() []*Rule { return s.all }

// Stats says what the set is made of.
func (s *Set) Stats() Stats { return s.stats }
