package backtest

import (
	"slices"

	"github.com/weir-moderation/weir/rules"
)

// index gives every rule and every category of two sets a number, so that they are counted
// without looking at their names.
type index struct {
	rules, categories []string // by number, sorted
	of                map[*rules.Rule]numbers
}

// numbers are those of a rule of one of the sets.
type numbers struct{ rule, category int }

func newIndex(sets ...*rules.Set) *index {
	x := &index{of: make(map[*rules.Rule]numbers)}
	for _, s := range sets {
		for _, r := range s.Rules() {
			x.rules = append(x.rules, r.ID)
			x.categories = append(x.categories, r.Category)
		}
	}
	for _, list := range []*[]string{&x.rules, &x.categories} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, s := range sets {
		for _, r := range s.Rules() {
			var n numbers
			n.rule, _ = slices.BinarySearch(x.rules, r.ID)
			n.category, _ = slices.BinarySearch(x.categories, r.Category)
			x.of[r] = n
		}
	}
	return x
}
