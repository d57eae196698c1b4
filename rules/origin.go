package rules

import (
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// origin is where a term is written.
type origin struct {
	doc  *strictyaml.Document // nil for a line of a file of terms
	path string               // in the document, or the name of the file
	line int                  // of the file
}

// problem returns the place as the strict reader tells it. A line of a file begins in its first column.
func (o origin) problem() *strictyaml.Problem {
	if o.doc == nil {
		return &strictyaml.Problem{File: o.path, Line: o.line, Column: 1}
	}
	return o.doc.Problem(o.path, "")
}

// origins note, for lint, where the terms of rules are written. A set does not keep it. The nil
// origins note nothing.
type origins struct {
	terms    map[*Rule][]origin // list after list, then those of None
	repeated []repeated
	open     []origin // of the rule that is being read
	closed   int      // of repeated, those of rules that have been read
}

// repeated is a term that was passed over because it is in its list already.
type repeated struct {
	rule          *Rule
	text, first   string // as written there, and where it came first
	place, before origin
}

func (w *origins) add(from origin) {
	if w != nil {
		w.open = append(w.open, from)
	}
}

func (w *origins) repeat(text string, place origin, first string, before origin) {
	if w != nil {
		w.repeated = append(w.repeated, repeated{nil, text, first, place, before})
	}
}

// rule notes that what was added since the last rule is of this one.
func (w *origins) rule(r *Rule) {
	if w == nil {
		return
	}
	w.terms[r], w.open = w.open, nil
	for ; w.closed < len(w.repeated); w.closed++ {
		w.repeated[w.closed].rule = r
	}
}

// ofRule reports whether it is an entry of a rule, and not of a group or a file.
func (o origin) ofRule() bool { return o.doc != nil && strings.HasPrefix(o.path, "rules[") }

// String returns "file:line:column".
func (o origin) String() string {
	p := o.problem()
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}
