package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// Set is a rule set: all packs, compiled. It is immutable and may be used by any
// number of goroutines at once, each with a [Scratch] of its own.
type Set struct {
	all    []*Rule // by id
	rules  []*Rule // live and shadow, by id
	auto   *automaton.Automaton
	uses   [][]use // of each pattern of the automaton
	covers int     // number of exceptions
	max    int     // hits of one event
	digest string
	stats  Stats
}

// use says what a pattern of the automaton is to one rule.
type use struct {
	rule *Rule
	term string
	// exception is the number of an exception, -1 for a term.
	exception int32
	// by are the numbers of the exceptions that can cover this term.
	by []int32
}

// Stats says what a set is made of.
type Stats struct {
	Packs                        int
	Live, Shadow, Draft, Retired int   // rules
	Terms, Exceptions            int   // of live and shadow rules
	Memory                       Bytes // about what the automaton takes
}

// compile builds the set of checked rules.
func compile(all []*Rule, packs int, o Options) (*Set, error) {
	s := &Set{all: all, max: cmp.Or(o.MaxHits, DefaultMaxHits), stats: Stats{Packs: packs}}
	slices.SortFunc(s.all, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	var patterns []automaton.Pattern
	known := make(map[string]int) // folded text → pattern
	add := func(folded []byte, u use) {
		i, ok := known[string(folded)]
		if !ok {
			i = len(patterns)
			known[string(folded)] = i
			patterns = append(patterns, automaton.Pattern{Text: string(folded), Token: true})
			s.uses = append(s.uses, nil)
		}
		s.uses[i] = append(s.uses[i], u)
	}
	for _, r := range s.all {
		s.stats.count(r)
		if !r.compiled() {
			continue
		}
		r.index = len(s.rules)
		s.rules = append(s.rules, r)
		exceptions := make([][]byte, len(r.Except))
		first := int32(s.covers)
		for i, e := range r.Except {
			exceptions[i] = fold.Append(nil, []byte(e))
			add(exceptions[i], use{rule: r, exception: int32(s.covers)})
			s.covers++
		}
		for _, t := range r.Terms {
			folded := fold.Append(nil, []byte(t))
			u := use{rule: r, term: t, exception: -1}
			for i, e := range exceptions {
				if automaton.Contains(e, folded, true) {
					u.by = append(u.by, first+int32(i))
				}
			}
			add(folded, u)
		}
	}
	var err error
	if s.auto, err = automaton.New(patterns, automaton.Options{MemoryBudget: int64(o.MemoryBudget)}); err != nil {
		return nil, fmt.Errorf("compile rules: %w", err)
	}
	s.stats.Memory = Bytes(s.auto.Memory())
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
// the compiled rules, the version of the fold and the limit of hits. Two sets with
// one digest judge alike, in whatever files and order their rules are written.
func (s *Set) Digest() string { return s.digest }

// sum computes the digest. Every part has its length before it, so that no two
// different sets write the same bytes.
func (s *Set) sum() string {
	h := sha256.New()
	text(h, "weir rule set 1")
	text(h, fold.Version)
	number(h, s.max)
	number(h, len(s.rules))
	for _, r := range s.rules {
		text(h, r.ID)
		text(h, r.Category)
		text(h, r.Severity.String())
		text(h, r.Action.String())
		text(h, r.State.String())
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
