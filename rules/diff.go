package rules

import (
	"slices"
	"strconv"
	"strings"
)

// RuleDiff is what became of one rule between two sets. Where a rule was moved to
// another file or line, and in which order its lists are written, changes nothing.
type RuleDiff struct {
	ID       string
	Old, New *Rule // nil where the set does not have it; never both
	// Changes are those of a rule that both sets have. Of a rule that was added or
	// removed they are all it says.
	Changes []Change
}

// Change is one thing about a rule that is not the same in both sets.
type Change struct {
	What string // as it is called in a pack: action, terms, ...
	List bool   // it holds any number of texts, not one
	// Removed and Added are what only the old and only the new set has, sorted; of what
	// is not a list at most one text each.
	Removed, Added []string
}

// Diff says how the rules of two sets differ, in every state, by id. It is about what
// is written: sets with other rules may have one digest, such as when only a draft or a
// description is another, and judge alike then.
func Diff(before, after *Set) []RuleDiff {
	var list []RuleDiff
	a, b := before.All(), after.All()
	for len(a) > 0 || len(b) > 0 {
		var d RuleDiff
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].ID < b[0].ID:
			d.Old, a = a[0], a[1:]
			d.ID = d.Old.ID
		case len(a) == 0 || b[0].ID < a[0].ID:
			d.New, b = b[0], b[1:]
			d.ID = d.New.ID
		default:
			d.Old, d.New = a[0], b[0]
			d.ID = d.Old.ID
			a, b = a[1:], b[1:]
		}
		if d.Changes = changes(d.Old, d.New); len(d.Changes) > 0 {
			list = append(list, d)
		}
	}
	return list
}

// aspect is something that a pack says of a rule.
type aspect struct {
	what string
	list bool
	of   func(*Rule) []string
}

// aspects are all that a pack says of a rule, in the order in which a change of it is
// told: first what decides over a post, then what is looked for, then words for people.
// A test holds them against the fields of Rule.
var aspects = []aspect{
	one("category", func(r *Rule) string { return r.Category }),
	one("severity", func(r *Rule) string { return r.Severity.String() }),
	one("action", func(r *Rule) string { return r.Action.String() }),
	one("state", func(r *Rule) string { return r.State.String() }),
	one("rollout", func(r *Rule) string { return unless(r.Rollout, 100) }),
	many("terms", func(r *Rule) []string {
		var words []string
		for i, list := range r.Lists {
			prefix := ""
			if len(r.Lists) > 1 {
				prefix = strconv.Itoa(i+1) + ": " // of which list of the combination
			}
			for j := range list {
				words = append(words, prefix+list[j].in(r))
			}
		}
		return words
	}),
	one("distinct", func(r *Rule) string { return unless(r.Distinct, 1) }),
	one("within", func(r *Rule) string { return r.Within.String() }),
	many("none", func(r *Rule) []string {
		var words []string
		for i := range r.None {
			words = append(words, r.None[i].in(r))
		}
		return words
	}),
	one("when", func(r *Rule) string {
		if r.When == nil {
			return ""
		}
		return r.When.String()
	}),
	many("except", func(r *Rule) []string {
		var words []string
		for i := range r.Except {
			words = append(words, r.Except[i].String())
		}
		return words
	}),
	many("forms", func(r *Rule) []string { return r.Forms.Words() }),
	many("kinds", func(r *Rule) []string {
		var words []string
		for _, k := range r.Kinds {
			words = append(words, k.String())
		}
		return words
	}),
	many("fields", func(r *Rule) []string { return r.Fields }),
	one("description", func(r *Rule) string { return r.Description }),
	one("description_zh", func(r *Rule) string { return r.DescriptionZH }),
	one("false_positives", func(r *Rule) string { return r.FalsePositives }),
	many("basis", func(r *Rule) []string { return r.Basis }),
	one("contact", func(r *Rule) string { return r.Contact }),
}

// unless returns a number, nothing for the one that need not be said.
func unless(n, usual int) string {
	if n == usual {
		return ""
	}
	return strconv.Itoa(n)
}

// in returns the term with what it says otherwise than its rule.
func (t *Term) in(r *Rule) string {
	s := t.Text
	if t.Boundary != Auto {
		s += ", boundary " + t.Boundary.String()
	}
	if t.ExactCase {
		s += ", case exact"
	}
	if t.Forms != r.Forms {
		s += ", forms " + t.Forms.String()
	}
	if t.Gap > 0 {
		s += ", gap " + strconv.Itoa(t.Gap)
	}
	return s
}

func one(what string, of func(*Rule) string) aspect {
	return aspect{what, false, func(r *Rule) []string {
		if s := of(r); s != "" {
			return []string{s}
		}
		return nil
	}}
}

func many(what string, of func(*Rule) []string) aspect { return aspect{what, true, of} }

// changes compares two rules, of which one may be nil.
func changes(before, after *Rule) []Change {
	var list []Change
	for _, x := range aspects {
		var was, is []string
		if before != nil {
			was = x.of(before)
		}
		if after != nil {
			is = x.of(after)
		}
		c := Change{What: x.what, List: x.list, Removed: without(was, is), Added: without(is, was)}
		if len(c.Removed) > 0 || len(c.Added) > 0 {
			list = append(list, c)
		}
	}
	return list
}

// without returns the texts of a list that are not in another, sorted. One that stands
// there twice is told apart from one that stands there once.
func without(list, other []string) []string {
	left := slices.Sorted(slices.Values(list))
	for _, s := range other {
		if i, ok := slices.BinarySearch(left, s); ok {
			left = slices.Delete(left, i, i+1)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

// String tells the change in one line: the old and the new value, or what a list lost and
// what came to it.
func (c Change) String() string {
	if !c.List {
		value := func(list []string) string {
			if len(list) == 0 {
				return "nothing"
			}
			if strings.ContainsAny(list[0], " \t\n\"") {
				return strconv.Quote(list[0])
			}
			return list[0]
		}
		return value(c.Removed) + " -> " + value(c.Added)
	}
	var parts []string
	for _, s := range c.Removed {
		parts = append(parts, "-"+strconv.Quote(s))
	}
	for _, s := range c.Added {
		parts = append(parts, "+"+strconv.Quote(s))
	}
	return strings.Join(parts, " ")
}
