package rules

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// manySpellings are the forms of which each term makes many patterns, which the cloudflare engine
// has no room for. They, and sounds, are not looked at twice.
const manySpellings = form.Split | form.Shape | form.Emoji | form.Initials | form.Pinyin

// secondOpinion compiles the live and shadow rules of severity critical once more, with an
// engine that shares nothing with the first but the reading of texts. What both find the same
// was not missed by a bug of either.
func (s *Set) secondOpinion(o Options) error {
	if o.SecondOpinion.Every == 0 {
		return nil
	}
	var critical []*Rule
	for _, r := range s.rules {
		// Of a combination the engines would find the same parts, and the rest is one code for both.
		if r.Severity == Critical && !r.Combines() {
			critical = append(critical, r)
		}
	}
	if len(critical) == 0 {
		return nil
	}
	other := EngineCloudflare
	if o.Engine == EngineCloudflare {
		other = EngineWeir
	}
	options := Options{MemoryBudget: cmp.Or(o.SecondOpinion.MemoryBudget, DefaultSecondBudget), MaxHits: o.MaxHits,
		Engine: other, Words: o.Words, Exclusions: o.Exclusions, Now: o.Now, countNumerals: s.forms.CountsNumerals()}
	var err error
	s.second, err = compile(forOpinion(critical, nil), 0, options)
	all := criticalTerms(critical)
	budget, ok := errors.AsType[*automaton.BudgetError](err)
	for n := len(all); ok && o.SecondOpinion.MemoryBudget == 0; budget, ok = errors.AsType[*automaton.BudgetError](err) {
		// Nobody chose this budget, so it refuses no list: what fits in it is looked at.
		n = min(n-1, int(int64(n)*budget.Budget/budget.Need))
		if n <= 0 {
			break
		}
		s.asked = make(map[opinionKey]bool, n)
		for _, k := range all[:n] {
			s.asked[k] = true
		}
		s.second, err = compile(forOpinion(critical, s.asked), 0, options)
	}
	if ok {
		return &opinionError{budget}
	}
	if err != nil {
		return fmt.Errorf("rules.second_opinion, which looks at the rules of severity critical: %w; or give every: 0 to turn it off", err)
	}
	s.every = o.SecondOpinion.Every
	st := s.second.stats
	s.stats.Second = Second{Every: s.every, Rules: len(s.second.rules), Terms: st.Terms, LeftOut: len(all) - st.Terms, Memory: st.Memory}
	return nil
}

// opinionKey names a term of a rule.
type opinionKey struct{ rule, term string }

// criticalTerms lists the terms of rules in an order that has nothing to do with how they are
// written, so that any first ones are a fair sample, and the same in every process.
func criticalTerms(list []*Rule) []opinionKey {
	sums := make(map[opinionKey][sha256.Size]byte)
	var all []opinionKey
	for _, r := range list {
		for _, t := range r.Terms() {
			k := opinionKey{r.ID, t}
			sums[k] = sha256.Sum256([]byte(r.ID + "\x00" + fold.String(t)))
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b opinionKey) int {
		x, y := sums[a], sums[b]
		return bytes.Compare(x[:], y[:])
	})
	return all
}

// forOpinion copies rules, for a rule knows its place in one set only, without manySpellings and
// with the terms asked for, nil for all, and the exceptions that may cover these.
func forOpinion(list []*Rule, asked map[opinionKey]bool) []*Rule {
	var copies []*Rule
	for _, r := range list {
		c := *r
		c.Lists = [][]Term{slices.Clone(r.Lists[0])}
		c.cut(^manySpellings)
		if asked != nil {
			c.Lists[0] = slices.DeleteFunc(c.Lists[0], func(t Term) bool { return !asked[opinionKey{r.ID, t.Text}] })
			index := c.index()
			c.Except = slices.DeleteFunc(slices.Clone(r.Except), func(x Exception) bool {
				for range index.within(fold.String(x.Text)) {
					return false
				}
				return true
			})
		}
		if len(c.Lists[0]) > 0 {
			copies = append(copies, &c)
		}
	}
	return copies
}

// opinionError is the refusal of critical rules that the second engine has no room for. What the
// engine's own error proposes, another engine or fewer terms, is no way out here.
type opinionError struct{ *automaton.BudgetError }

// Error names both ways out.
func (e *opinionError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("rules.second_opinion: the rules of severity critical would take about %d MiB of memory in the second engine, more than its budget of %d MiB; "+
		"raise rules.second_opinion.memory_budget to %[1]dMiB, or give rules.second_opinion.every: 0 to turn it off",
		(e.Need+mib-1)/mib, e.Budget/mib)
}

// Unwrap returns the engine's own error.
func (e *opinionError) Unwrap() error { return e.BudgetError }

// sampled reports whether the event is one of those that are looked at twice. It depends on
// the event's id alone, so an event that is delivered again is looked at again.
func (s *Set) sampled(e *event.Event) bool {
	if s.second == nil {
		return false
	}
	h := fnv.New64a() // FNV-1a
	h.Write(e.ID)
	return h.Sum64()%uint64(s.every) == 0
}

// compareEngines asks the second engine about an event and notes the rules on which it finds
// something else than the first did. What only the second found is a hit too: where engines
// disagree the safer answer counts.
//
// A term that the first read in one of manySpellings is judged by both and compared by neither:
// such a reading can take the place of a plainer one that comes later and overlaps it (see
// plainer), as in 博贝者博&#36172;博 for 博赌博. The counter says that an engine has a bug, so no
// writer may be able to raise it.
func (s *Set) compareEngines(sc *Scratch, e *event.Event) {
	if sc.second == nil {
		sc.second = new(Scratch)
	}
	others := s.second.Match(sc.second, e)
	if len(sc.hits) >= s.max || len(others) >= s.max {
		return // each kept some of a flood
	}
	same := func(list []Hit, h *Hit) bool {
		return slices.ContainsFunc(list, func(k Hit) bool {
			return k.Start == h.Start && k.End == h.End && k.Field == h.Field && k.Form == h.Form && k.Rule.ID == h.Rule.ID && k.Term == h.Term
		})
	}
	first := len(sc.hits)
	displaced := func(h *Hit) bool {
		return slices.ContainsFunc(sc.hits[:first], func(k Hit) bool {
			return k.Form&manySpellings != 0 && k.Field == h.Field && k.Rule.ID == h.Rule.ID && k.Term == h.Term
		})
	}
	for i := range others {
		h := others[i]
		if same(sc.hits[:first], &h) {
			continue
		}
		at, _ := s.find(h.Rule.ID)
		h.Rule, h.State = s.rules[at], s.stateOf(s.rules[at], e.User.ID)
		sc.hits = append(sc.hits, h)
		if !displaced(&h) {
			sc.diverged = append(sc.diverged, h.Rule)
		}
	}
	for i := range sc.hits[:first] {
		h := &sc.hits[i]
		known := h.Rule.Severity == Critical && !h.Rule.Combines() && (s.asked == nil || s.asked[opinionKey{h.Rule.ID, h.Term}])
		if known && !same(others, h) && !displaced(h) {
			sc.diverged = append(sc.diverged, h.Rule)
		}
	}
}

// Diverged returns the rules of severity critical on which the engines found different hits in
// the last event that Match looked at, a rule for each hit: a bug of one of them. It is valid
// until the next Match.
func (sc *Scratch) Diverged() []*Rule { return sc.diverged }
