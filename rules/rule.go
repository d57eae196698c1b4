package rules

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/form"
)

// Rule is one rule of a set. It must not be changed.
type Rule struct {
	ID       string // unique in the set, begins with the pack's name and a dot
	Pack     string
	Category string // a code of the register
	Severity Severity
	Action   Action
	State    State
	// Rollout is the percentage of users it acts on, 1 to 100. To the others it is as in shadow.
	Rollout int
	// Basis are the clauses it stands on, in the operator's own words for them.
	Basis   []string
	Contact string // who answers for it

	// Lists are what it looks for: any term of the one list, or of each of several lists one.
	Lists [][]Term
	// Distinct is how many different terms must be found together; 1 where it does not say.
	Distinct int
	// Within is how near the terms must stand to each other.
	Within Window
	// None are terms that must not stand near.
	None []Term
	// When is a condition in CEL on the event and the hits; nil for none.
	When *condition.Condition
	// Except are phrases that cancel the occurrence of a term they cover.
	Except []Exception
	// Forms are those in which its terms are read that do not say, and its exceptions.
	Forms form.Form
	// Kinds are the kinds of events it applies to: event.Post, event.Push or both.
	Kinds []event.Kind
	// Fields are the names of the fields it applies to; none means all.
	Fields []string

	Description    string
	DescriptionZH  string
	FalsePositives string // what it is known to hit in error

	// File and Line say where the rule is written.
	File string
	Line int

	number   int    // in Set.Rules, for compiled rules
	together bool   // see Combines
	shaped   uint16 // bit set of the lists that have a shape
}

// Terms returns the texts of all its terms. Those that must not stand near, and what has a shape
// instead of a spelling, are left out.
func (r *Rule) Terms() []string {
	n := 0
	for _, list := range r.Lists {
		n += len(list)
	}
	texts := make([]string, 0, n)
	for _, list := range r.Lists {
		for i := range list {
			if !list[i].shaped() {
				texts = append(texts, list[i].Text)
			}
		}
	}
	return texts
}

// lists returns its lists and, after them, the terms that must not stand near.
func (r *Rule) lists() [][]Term { return append(slices.Clip(r.Lists), r.None) }

// Combines reports whether a term alone decides nothing: what is found in an event is looked
// at together.
func (r *Rule) Combines() bool { return r.together }

// combines works out what Combines says.
func (r *Rule) combines() bool {
	for i, list := range r.Lists {
		if i < MaxLists && slices.ContainsFunc(list, func(t Term) bool { return t.shaped() }) {
			r.shaped |= 1 << i
		}
	}
	return len(r.Lists) > 1 || r.Distinct > 1 || len(r.None) > 0 || r.When != nil || r.shaped != 0
}

// compiled reports whether the rule takes part in matching.
func (r *Rule) compiled() bool { return r.State == Live || r.State == Shadow }

// applies reports whether the rule looks at the field of an event of the kind.
func (r *Rule) applies(kind event.Kind, field []byte) bool {
	if len(r.Kinds) == 1 && r.Kinds[0] != kind {
		return false
	}
	if len(r.Fields) == 0 {
		return true
	}
	for _, f := range r.Fields {
		if bytes.Equal(field, []byte(f)) { // does not allocate
			return true
		}
	}
	return false
}

// Number returns the place of a live or shadow rule in [Set.Rules].
func (r *Rule) Number() int { return r.number }

// An Exception is a phrase that cancels the occurrence of a term it covers.
type Exception struct {
	Text string // as written
	// Owner and Reason say who wants it and why. A pack may leave both out; lint says so.
	Owner, Reason string
	// Expires is the end of its last day; zero for one that stays in force.
	Expires time.Time
	// Shared is the name it is shared by among rules; empty for one of this rule.
	Shared string
}

// Expired reports whether it is no longer in force.
func (x *Exception) Expired(now time.Time) bool { return !x.Expires.IsZero() && !now.Before(x.Expires) }

// String returns the text with what is said of it.
func (x *Exception) String() string {
	s := x.Text
	if x.Shared != "" {
		s += ", shared as " + x.Shared
	}
	if x.Owner != "" {
		s += ", owner " + x.Owner + ", for " + x.Reason
	}
	if !x.Expires.IsZero() {
		s += ", until " + x.lastDay()
	}
	return s
}

// lastDay returns the last day of an exception that expires, as in a pack.
func (x *Exception) lastDay() string { return x.Expires.AddDate(0, 0, -1).Format(time.DateOnly) }

// Window says how near the parts of a combination stand to each other. The zero Window is the
// whole event.
type Window struct {
	// Characters: the parts end within so many of where the first of them begins, in one field.
	// A run of white space and punctuation counts as one, what cannot be seen as none.
	Characters int
	// Sentence: they stand in one sentence of one field.
	Sentence bool
}

// String returns the window as packs write it, "" for the whole event.
func (w Window) String() string {
	switch {
	case w.Sentence:
		return "sentence"
	case w.Characters > 0:
		return strconv.Itoa(w.Characters)
	}
	return ""
}

// A Hit is one place where an event's text hits a rule. A combination hits with all its parts.
type Hit struct {
	Rule *Rule
	// State is what the rule is to the user of this event: live, or shadow.
	State State
	Field int // index in the event's Fields
	// Start and End are bytes of the field's text as it was received. What stands
	// there reads, in the form, as the term.
	Start, End int
	Form       form.Form
	Term       string // as written in the pack

	pass int // of form.Hit
}
