package backtest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// Change is a way in which two sets judge an event differently.
type Change uint8

// The changes.
const (
	New        Change = iota // a hit that only the new set has
	Lost                     // a hit that only the old set has
	Acts                     // a hit that both have, which calls for something else now
	numChanges = iota
)

// String returns the change's word in reports.
func (c Change) String() string { return [...]string{"new", "lost", "acts"}[c] }

// Sample is one event in which a rule does something else than before.
type Sample struct {
	Rule, Category string
	Change         Change
	Place          Place
	Field          string // its name; where that could be content, its number
	Start, End     int    // bytes of the field's text
	Form, Term     string // how it was read, and as which term of the pack
	Old, New       rules.Action
	// Text is what stood there, with some of what stood before and after it. Without
	// Options.ShowText all of it is masked.
	Before, Text, After string
}

// How much of a text is shown, in characters.
const (
	maxShown   = 120
	maxContext = 20
)

// sample keeps a sample, unless there are enough of its kind or the event has one.
func (w *worker) sample(c Change, h *found, m *Message, e *event.Event, f *findings) {
	t := w.rules[h.rule]
	if t.told[c] || !f.room(kept{h.Rule.ID, c}, w.o.Samples) {
		return
	}
	t.told[c] = true
	text := e.Fields[h.Field].Text
	s := Sample{Rule: h.Rule.ID, Category: h.Rule.Category, Change: c, Place: m.Place, Field: string(e.Fields[h.Field].Name),
		Start: h.Start, End: h.End, Form: h.Form.String(), Term: h.Term, Old: w.sides[0].action, New: w.sides[1].action,
		Before: ending(text[:h.Start], maxContext), Text: beginning(text[h.Start:h.End], maxShown), After: beginning(text[h.End:], maxContext)}
	if !w.o.ShowText {
		s.Before, s.Text, s.After = Mask(s.Before), Mask(s.Text), Mask(s.After)
		if !isWord(s.Field) {
			s.Field = fmt.Sprintf("fields[%d]", h.Field)
		}
	}
	f.keep(s)
}

// isWord reports whether the name of a field is one that programs make. Any other may be
// something that a user wrote.
func isWord(name string) bool {
	const most = 32
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return name != "" && len(name) <= most
}

// Mask leaves of a text only its shape: Han characters are 字, letters x, digits 0, and the
// rest * but for punctuation, white space and what controls how a text is laid out.
func Mask(text string) string {
	const tags = 0xE0000 // from here on characters that nobody sees spell out texts
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Han, r):
			return '字'
		case unicode.IsLetter(r):
			return 'x'
		case unicode.IsNumber(r):
			return '0'
		case unicode.IsPunct(r), unicode.IsSpace(r), r < tags && unicode.In(r, unicode.Cc, unicode.Cf):
			return r
		}
		return '*'
	}, text)
}

// beginning returns the first n characters, with an ellipsis if there are more.
func beginning(text []byte, n int) string {
	at := 0
	for ; n > 0 && at < len(text); n-- {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	if at < len(text) {
		return string(text[:at]) + "…"
	}
	return string(text)
}

// ending returns the last n characters, with an ellipsis if there are more.
func ending(text []byte, n int) string {
	at := len(text)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRune(text[:at])
		at -= size
	}
	if at > 0 {
		return "…" + string(text[at:])
	}
	return string(text)
}
