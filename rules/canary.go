package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
)

// CanaryPack is the name of the pack whose live rules are canaries: one harmless
// made-up term for each category, which must hit.
const CanaryPack = "canary"

// Canary is a harmless text that must hit a rule.
type Canary struct {
	Category string
	Rule     string // the rule's id
	Text     string
}

// Canaries returns the canaries of the set, sorted by rule.
func (s *Set) Canaries() []Canary {
	var list []Canary
	for _, r := range s.rules {
		if r.Pack == CanaryPack && r.State == Live && !r.Combines() {
			list = append(list, Canary{r.Category, r.ID, r.Lists[0][0].Text})
		}
	}
	return list
}

// SelfTest judges the text of every canary, and every term of every other rule
// standing alone, by the compiled set. Whatever does not hit its rule, or is no part of a
// combination, is a fault of Weir, not of the pack; such a set must not be put in force.
func (s *Set) SelfTest() error {
	whole := *s
	whole.max = math.MaxInt // other terms that stand within a term must not push it out
	whole.second = nil      // nor may the second engine make good for the first
	// A daemon asks every few seconds: of ten thousand terms nothing is left behind.
	var sc Scratch
	e := event.Event{Fields: make([]event.Field, 1)}
	field := &e.Fields[0]
	var folded []byte
	var errs []error
	for _, r := range s.rules {
		e.Kind, field.Name = r.Kinds[0], []byte("text")
		if len(r.Fields) > 0 {
			field.Name = []byte(r.Fields[0])
		}
		spared := make(map[string]bool, len(r.Except))
		for i := range r.Except {
			spared[fold.String(r.Except[i].Text)] = true
		}
		for i, t := range r.Terms() {
			field.Text = append(field.Text[:0], t...)
			if folded = fold.Append(folded[:0], field.Text); spared[string(folded)] {
				continue // a shared exception takes it out; lint says so
			}
			hits := slices.ContainsFunc(whole.Match(&sc, &e), func(h Hit) bool { return h.Rule == r && h.Term == t })
			part := slices.ContainsFunc(sc.parts, func(p part) bool { u := &s.uses[p.use]; return u.rule == r && u.term.Text == t })
			if !hits && !part {
				errs = append(errs, fmt.Errorf("rule %s does not hit its own term %d", r.ID, i))
			}
		}
	}
	return errors.Join(errs...)
}
