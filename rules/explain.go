package rules

import (
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// NearMiss is a place that reads like a term of a rule and is no hit.
type NearMiss struct {
	Hit
	Why string // in words
}

// Why a place is no hit, beside what package form says (see [form.Rejection]).
const (
	whyException = "an exception of its rule covers it"
	whyInside    = "it stands inside a longer word"
)

// Explain returns the hits of an event, as Match does, and what reads like a hit and is none.
// It is made for people who ask about one text, and takes its time.
func (s *Set) Explain(e *event.Event) (hits []Hit, near []NearMiss) {
	var sc Scratch
	field := 0
	note := func(u *use, h form.Hit, why string) {
		near = append(near, NearMiss{Hit{Rule: u.rule, Field: field, Start: h.Start, End: h.End, Form: h.Form, Term: u.term}, why})
	}
	sc.covering = func(u *use, h form.Hit) { note(u, h, whyException) }
	sc.form.Rejected = func(h form.Hit, why form.Rejection) { note(&s.uses[h.Term], h, string(why)) }
	sc.begin(s)
	for field = range e.Fields {
		s.match(&sc, e.Kind, field, &e.Fields[field])
		for i := range s.uses {
			if u := &s.uses[i]; u.exception < 0 && u.rule.applies(e.Kind, e.Fields[field].Name) {
				insideWords(e.Fields[field].Text, fold.String(u.term), func(start, end int) {
					note(u, form.Hit{Start: start, End: end, Form: form.Fold}, whyInside)
				})
			}
		}
	}
	return sc.hits, near
}

// insideWords calls f for each place where a folded term stands in a text as a part of a
// longer token.
func insideWords(text []byte, term string, f func(start, end int)) {
	folded := string(fold.Append(nil, text))
	if !strings.Contains(folded, term) || form.Contains(folded, term) {
		return
	}
	for start := 0; start < len(text); {
		_, n := utf8.DecodeRune(text[start:])
		var read []byte
		end := start
		for end < len(text) && len(read) < len(term) {
			_, n := utf8.DecodeRune(text[end:])
			read = fold.Append(read, text[end:end+n])
			end += n
		}
		if string(read) == term {
			f(start, end)
		}
		start += n
	}
}
