package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
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
			c := *r // a rule knows its place in one set only
			c.Lists = [][]Term{slices.Clone(r.Lists[0])}
			c.cut(^manySpellings)
			critical = append(critical, &c)
		}
	}
	if len(critical) == 0 {
		return nil
	}
	other := EngineCloudflare
	if o.Engine == EngineCloudflare {
		other = EngineWeir
	}
	second, err := compile(critical, 0, Options{MemoryBudget: o.SecondOpinion.MemoryBudget, MaxHits: o.MaxHits,
		Engine: other, Words: o.Words, Exclusions: o.Exclusions, Now: o.Now})
	if budget, ok := errors.AsType[*automaton.BudgetError](err); ok {
		return &opinionError{budget}
	}
	if err != nil {
		return fmt.Errorf("rules.second_opinion, which looks at the rules of severity critical: %w; or give every: 0 to turn it off", err)
	}
	s.second, s.every = second, o.SecondOpinion.Every
	s.stats.Second = Second{Every: s.every, Rules: len(second.rules), Terms: second.stats.Terms, Memory: second.stats.Memory}
	return nil
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
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range e.ID {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h%uint64(s.every) == 0
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
		if h := &sc.hits[i]; h.Rule.Severity == Critical && !h.Rule.Combines() && !same(others, h) && !displaced(h) {
			sc.diverged = append(sc.diverged, h.Rule)
		}
	}
}

// Diverged returns the rules of severity critical on which the engines found different hits in
// the last event that Match looked at, a rule for each hit: a bug of one of them. It is valid
// until the next Match.
func (sc *Scratch) Diverged() []*Rule { return sc.diverged }
