package rules

import (
	"bytes"

	"github.com/weir-moderation/weir/pipeline/event"
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
	Terms    []string // as written in the pack
	Except   []string // phrases that cancel the occurrence of a term they cover
	// Forms are those in which its terms and exceptions are read.
	Forms form.Form
	// Kinds are the kinds of events it applies to: event.Post, event.Push or both.
	Kinds []event.Kind
	// Fields are the names of the fields it applies to; none means all.
	Fields []string

	Description   string
	DescriptionZH string
	Notes         string

	// File and Line say where the rule is written.
	File string
	Line int

	index int // in Set.Rules, for compiled rules
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

// A Hit is one place where an event's text hits a rule.
type Hit struct {
	Rule  *Rule
	Field int // index in the event's Fields
	// Start and End are bytes of the field's text as it was received. What stands
	// there reads, in the form, as the term.
	Start, End int
	Form       form.Form
	Term       string // as written in the pack

	pass int // of form.Hit
}
