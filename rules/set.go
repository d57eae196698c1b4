package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"time"
	"unsafe"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Set is a rule set: all packs, compiled. It is immutable and may be used by any
// number of goroutines at once, each with a [Scratch] of its own.
type Set struct {
	all   []*Rule // by id
	rules []*Rule // live and shadow, by id
	forms *form.Matcher
	// uses are what the terms of the matcher are to rules: those of term i are from first[i] up to
	// first[i+1]. What several rules look for alike is one term of the matcher.
	uses   []use
	first  []int32
	shapes []use // the last of uses: detectors and patterns, by rule
	shaped shapedRules
	max    int // hits of one event
	digest string
	stats  Stats

	// Exceptions in force have a matcher of their own, which is only asked where they could
	// cancel a hit.
	spares     *form.Matcher // nil without exceptions
	exceptions []string      // of each of its terms: as written
	expires    time.Time     // when the first of them expires; zero for never

	loaded   time.Time // by which exceptions were taken to be in force or not
	everyone bool      // see forEveryone
	shadowed []bool    // by rule; see Shadowed; nil for none

	wider *wider // for Explain

	second *Set                // the critical rules, searched by another engine; nil for none
	every  int                 // of how many events one is asked of it
	asked  map[opinionKey]bool // what it is asked for; nil for every critical term
}

// use says what a term of the matcher is to a rule.
type use struct {
	rule *Rule
	term *Term
	// list is the number of the list of the rule that the term is in, noList of None.
	list int16
	// by are the numbers of the exceptions that can cover this term.
	by []int32
}

// noList is the number of Rule.None.
const noList = -1

// Stats says what a set is made of.
type Stats struct {
	Packs                        int
	Live, Shadow, Draft, Retired int       // rules
	Terms, Exceptions            int       // of live and shadow rules
	Expired                      int       // of the exceptions
	Memory                       Bytes     // what the compiled terms take, the ordinary words left out
	Forms                        form.Form // in which any live or shadow rule is read
	Exclusions                   int       // texts that are no hit by sound or shape
	Second                       Second    // the zero one without a second opinion
}

// Second says what is asked of a second engine.
type Second struct {
	Every        int // of how many events one
	Rules, Terms int
	LeftOut      int   // terms of severity critical that it has no room for
	Memory       Bytes // what its terms take
}

// compile builds the set of checked rules.
func compile(all []*Rule, packs int, o Options) (*Set, error) {
	s := &Set{all: all, max: cmp.Or(o.MaxHits, DefaultMaxHits), stats: Stats{Packs: packs, Exclusions: len(o.Exclusions)}}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	slices.SortFunc(s.all, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	var terms, spares termList
	var uses [][]use // of each term
	add := func(t form.Term, u use) {
		i := terms.number(t)
		if i == len(uses) {
			uses = append(uses, nil)
		}
		uses[i] = append(uses[i], u)
	}
	for _, r := range s.all {
		s.stats.count(r)
		if !r.compiled() {
			continue
		}
		if o.Only != 0 {
			r.cut(o.Only | form.Fold)
		}
		r.number = len(s.rules)
		s.rules = append(s.rules, r)
		s.compileRule(r, o.Now, add, &spares)
	}
	for _, list := range uses {
		s.first = append(s.first, int32(len(s.uses)))
		s.uses = append(s.uses, list...)
	}
	s.first = append(s.first, int32(len(s.uses)))
	s.uses = append(s.uses, s.shapes...)
	s.shapes = s.uses[len(s.uses)-len(s.shapes):]
	s.shaped = rulesOf(s.shapes)
	budget := cmp.Or(int64(o.MemoryBudget), automaton.DefaultMemoryBudget)
	engine := automaton.Options{MemoryBudget: budget, Engine: o.Engine.engine()}
	var err error
	options := form.Options{Words: o.Words, Exclusions: o.Exclusions, CountNumerals: o.countNumerals, Automaton: engine}
	s.wider = &wider{options: options}
	if s.forms, err = form.New(terms.list, options); err != nil {
		return nil, fmt.Errorf("compile rules: %w", err)
	}
	memory := s.forms.Memory() + int64(cap(s.uses))*int64(unsafe.Sizeof(use{})) + 4*int64(cap(s.first))
	if len(spares.list) > 0 {
		if s.spares, err = form.New(spares.list, form.Options{CountNumerals: s.forms.CountsNumerals(), Automaton: engine}); err != nil {
			return nil, fmt.Errorf("compile exceptions: %w", err)
		}
		memory += s.spares.Memory()
	}
	if memory > budget {
		return nil, fmt.Errorf("compile rules: %w", &automaton.BudgetError{Need: memory, Budget: budget, Engine: o.Engine.engine()})
	}
	s.stats.Memory = Bytes(memory)
	if err := s.secondOpinion(o); err != nil {
		return nil, err
	}
	s.loaded = o.Now
	s.digest = s.sum()
	return s, nil
}

// termList is a list of terms of a matcher, each once.
type termList struct {
	list   []form.Term
	places map[form.Term]int
}

// number returns the place of a term, which is put into the list if it is not there.
func (l *termList) number(t form.Term) int {
	i, ok := l.places[t]
	if !ok {
		if l.places == nil {
			l.places = make(map[form.Term]int)
		}
		i = len(l.list)
		l.places[t] = i
		l.list = append(l.list, t)
	}
	return i
}

// compileExceptions adds the exceptions of a rule that are in force. It returns the numbers of those
// that may cover each of its terms, which are numbered as by index.
func (s *Set) compileExceptions(r *Rule, now time.Time, spares *termList) map[int][]int32 {
	if len(r.Except) == 0 {
		return nil // an index folds every term
	}
	by := make(map[int][]int32)
	index := r.index()
	for i := range r.Except {
		x := &r.Except[i]
		if x.Expired(now) {
			s.stats.Expired++
			continue
		}
		if !x.Expires.IsZero() && (s.expires.IsZero() || x.Expires.Before(s.expires)) {
			s.expires = x.Expires
		}
		number := spares.number(form.Term{Text: x.Text, Forms: r.Forms})
		if number == len(s.exceptions) {
			s.exceptions = append(s.exceptions, x.Text)
		}
		for _, terms := range index.within(fold.String(x.Text)) {
			for _, t := range terms {
				by[t] = append(by[t], int32(number))
			}
		}
		s.stats.Forms |= r.Forms
	}
	return by
}

// compileRule adds the terms of a rule and its exceptions in force.
func (s *Set) compileRule(r *Rule, now time.Time, add func(form.Term, use), spares *termList) {
	by := s.compileExceptions(r, now, spares)
	n := 0
	for i, list := range r.lists() {
		number := int16(i)
		if i == len(r.Lists) {
			number = noList
		}
		for j := range list {
			t := &list[j]
			if t.shaped() {
				s.shapes = append(s.shapes, use{rule: r, term: t, list: number})
				n++
				continue
			}
			s.stats.Forms |= t.Forms
			add(form.Term{Text: t.Text, Forms: t.Forms, Substring: t.Boundary == Substring}, use{rule: r, term: t, list: number, by: by[n]})
			n++
		}
	}
}

// cut leaves only these forms.
func (r *Rule) cut(only form.Form) {
	r.Forms &= only
	for _, list := range r.lists() {
		for i := range list {
			list[i].Forms &= only
		}
	}
}

// Forms returns the versions of everything beside the rules that decides how texts are read: the
// forms, the ordinary words, the exclusions.
func (s *Set) Forms() string { return s.forms.Version() }

// LoadedAt returns the time by which the exceptions of the set are in force or have expired.
func (s *Set) LoadedAt() time.Time { return s.loaded }

// Expires returns when the first exception in force expires, zero if none does. From then on the
// set is to be loaded anew.
func (s *Set) Expires() time.Time { return s.expires }

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
	for _, list := range r.lists() {
		st.Terms += len(list)
	}
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
	text(h, "weir rule set 4")
	text(h, fold.Version)
	text(h, s.forms.Version())
	text(h, detect.Version)
	text(h, condition.Version)
	number(h, s.max)
	number(h, len(s.rules))
	for _, r := range s.rules {
		text(h, r.ID)
		text(h, r.Category)
		text(h, r.Severity.String())
		text(h, r.Action.String())
		state := r.State
		if s.shadowed != nil && s.shadowed[r.number] {
			state = Shadow
		}
		text(h, state.String())
		number(h, r.Rollout)
		s.sumSearch(h, r, func(x *Exception) bool { return !x.Expired(s.loaded) })
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sumSearch writes what decides whether a rule hits.
func (s *Set) sumSearch(h hash.Hash, r *Rule, inForce func(*Exception) bool) {
	text(h, r.Forms.String())
	number(h, len(r.Kinds))
	for _, k := range r.Kinds {
		text(h, k.String())
	}
	texts(h, slices.Clone(r.Fields))
	number(h, len(r.Lists))
	for _, list := range r.Lists {
		texts(h, written(list))
	}
	texts(h, written(r.None))
	number(h, r.Distinct)
	number(h, r.Within.Characters)
	text(h, fmt.Sprint(r.Within.Sentence))
	var except []string
	for i := range r.Except {
		if inForce(&r.Except[i]) {
			except = append(except, fold.String(r.Except[i].Text))
		}
	}
	texts(h, except)
	if r.When == nil {
		text(h, "")
	} else {
		text(h, r.When.String())
	}
}

// written returns each term of a list with all that says how it is read.
func written(list []Term) []string {
	all := make([]string, len(list))
	for i := range list {
		t := &list[i]
		what := fold.String(t.Text)
		if t.shaped() || t.ExactCase {
			what = "\x00" + t.Text // no folded text begins so
		}
		all[i] = fmt.Sprintf("%s\x00%s\x00%s\x00%d", what, t.Boundary, t.Forms, t.Gap)
	}
	return all
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

// texts writes texts in an order of their own: how they are ordered in the pack
// changes nothing.
func texts(h hash.Hash, list []string) {
	slices.Sort(list)
	number(h, len(list))
	for _, t := range list {
		text(h, t)
	}
}

// Rules returns the live and shadow rules, sorted by id. They must not be changed.
func (s *Set) Rules() []*Rule { return s.rules }

// All returns the rules in every state, sorted by id. They must not be changed.
func (s *Set) All() []*Rule { return s.all }

// Stats says what the set is made of.
func (s *Set) Stats() Stats { return s.stats }
