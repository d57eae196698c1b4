package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// tailPrinter makes lines of messages. Whatever stands in a message, nothing of it steers
// a terminal.
type tailPrinter struct {
	palette palette
	content bool // what users wrote is shown
	json    bool
}

// line is a message on a line, with its end.
func (p *tailPrinter) line(f *flow) string {
	if !p.content {
		f = withoutContent(f)
	}
	if p.json {
		var b strings.Builder
		if err := jsonTo(&b).Encode(f); err != nil {
			panic(fmt.Sprintf("tail: a message that JSON cannot say: %v", err)) // its fields are texts and numbers
		}
		return harmless(b.String())
	}
	return p.words(f) + "\n"
}

// withoutContent is a message without what users wrote.
func withoutContent(f *flow) *flow {
	m := *f
	m.Hits, m.Fields = slices.Clone(f.Hits), slices.Clone(f.Fields)
	for i := range m.Hits {
		m.Hits[i].Text = nil
	}
	for i := range m.Fields {
		m.Fields[i].Text = nil
	}
	return &m
}

// harmless is JSON with escapes for what JSON allows in a string and a terminal may
// obey: C1 controls, marks of direction and the like.
func harmless(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf || unicode.IsGraphic(r):
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// words is a message for people.
func (p *tailPrinter) words(f *flow) string {
	var list []string
	add := func(c colour, text string) {
		if text != "" {
			list = append(list, p.palette.paint(c, unquoted(text)))
		}
	}
	at := "-"
	if !f.at.IsZero() {
		at = f.at.Format("2006-01-02T15:04:05.000Z")
	}
	list = append(list, at, f.Place)
	if f.Broken != "" {
		return strings.Join(append(list, p.palette.paint(yellow, fmt.Sprintf("cannot be read: %s (%s)", f.Broken, count(f.Bytes, "byte")))), "  ")
	}
	add("", f.Kind)
	outcome := cmp.Or(f.Decision, f.Action, f.Stage)
	add(outcomeColours[outcome], outcome)
	if f.Reason != "none" {
		add("", f.Reason)
	}
	if f.Queue == "critical" {
		add(red, "critical")
	}
	if f.Class != "" {
		add("", f.Class+"/"+f.Channel)
	}
	if f.Campaign != "" {
		add("", "campaign "+f.Campaign)
	}
	if f.User != "" {
		add("", "user "+f.User)
	}
	add("", f.Detail)
	for _, h := range p.rules(f) {
		add(bold, h)
	}
	return strings.Join(append(list, p.places(f)...), "  ")
}

var outcomeColours = map[string]colour{"pass": green, "allow": green, "review": yellow, "defer": yellow, "reject": red, "deny": red, "recall": red}

// rules are the rules that hit, each once.
func (p *tailPrinter) rules(f *flow) []string {
	var list []string
	for i := range f.Hits {
		h := &f.Hits[i]
		word := fmt.Sprintf("%s (%s, %s)", h.Rule, h.Category, h.Severity)
		if h.State != "" {
			word = fmt.Sprintf("%s (%s, %s, %s)", h.Rule, h.Category, h.Severity, h.State)
		}
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}

// maxFields is how many texts of a message are shown; most have one or two.
const maxFields = 8

// places are the texts of a message with what was hit in them.
func (p *tailPrinter) places(f *flow) []string {
	var list []string
	known := make(map[string]bool)
	for i := range f.Fields {
		x := &f.Fields[i]
		if i == maxFields {
			list = append(list, fmt.Sprintf("and %s more", count(len(f.Fields)-i, "text")))
			break
		}
		known[x.Name] = true
		spans := spansOf(f.Hits, x.Name)
		if x.Text != nil {
			list = append(list, unquoted(x.Name)+" "+p.context(*x.Text, spans))
		} else {
			list = append(list, fmt.Sprintf("%s %s%s", unquoted(x.Name), count(x.Bytes, "byte"), p.numbers(spans)))
		}
	}
	for i := range f.Hits { // of decisions, and where the texts were too large for the message
		h := &f.Hits[i]
		if known[h.Field] {
			continue
		}
		word := unquoted(h.Field) + p.numbers([]textSpan{{h.Start, h.End}})
		if h.Text != nil {
			quoted := visible((*h.Text)[:utf8Floor(*h.Text, maxShown)])
			word += " " + p.mark(quoted[1:len(quoted)-1])
		}
		list = append(list, word)
	}
	return list
}

// textSpan is a part of a text, in bytes.
type textSpan struct{ start, end int }

// spansOf are the places of a field that were hit, in order, those that touch as one.
func spansOf(hits []flowHit, field string) []textSpan {
	var list []textSpan
	for i := range hits {
		if h := &hits[i]; h.Field == field && h.Start >= 0 && h.Start < h.End {
			list = append(list, textSpan{h.Start, h.End})
		}
	}
	slices.SortFunc(list, func(a, b textSpan) int { return cmp.Or(a.start-b.start, a.end-b.end) })
	var merged []textSpan
	for _, s := range list {
		if n := len(merged); n > 0 && s.start <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, s.end)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

// mark marks what was hit.
func (p *tailPrinter) mark(text string) string {
	if p.palette.on {
		return p.palette.paint(red, text)
	}
	return "⟦" + text + "⟧"
}

// numbers are the places of what was hit, without it.
func (p *tailPrinter) numbers(spans []textSpan) string {
	var b strings.Builder
	for i, s := range spans {
		if i == maxSpans {
			fmt.Fprintf(&b, " and %d more", len(spans)-i)
			break
		}
		b.WriteString(" " + p.mark(fmt.Sprintf("%d-%d", s.start, s.end)))
	}
	return b.String()
}

// Bounds of what is shown of a text.
const (
	maxSpans   = 8
	maxContext = 60  // bytes before the first place that was hit, and behind the last
	maxShown   = 600 // bytes of a text
)

// context is a text, or the part of it around what was hit, with that marked. Places that
// are not in the text, or within a character, are moved to where one begins.
func (p *tailPrinter) context(text string, spans []textSpan) string {
	from, to := 0, min(len(text), maxShown)
	if len(spans) > 0 {
		from = max(0, spans[0].start-maxContext)
		to = min(len(text), spans[len(spans)-1].end+maxContext, from+maxShown)
	}
	from, to = utf8Floor(text, from), utf8Floor(text, to)
	var b strings.Builder
	plain := func(from, to int) {
		quoted := visible(text[from:max(from, to)])
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	b.WriteByte('"')
	if from > 0 {
		b.WriteString("…")
	}
	at := from
	for _, s := range spans {
		start, end := min(to, utf8Floor(text, s.start)), min(to, utf8Floor(text, s.end))
		if start < at || start >= end {
			continue
		}
		plain(at, start)
		quoted := visible(text[start:end])
		b.WriteString(p.mark(quoted[1 : len(quoted)-1]))
		at = end
	}
	plain(at, to)
	if to < len(text) {
		b.WriteString("…")
	}
	b.WriteByte('"')
	return b.String()
}

// utf8Floor returns where the character at a place of a text begins, or the text's end.
func utf8Floor(text string, at int) int {
	if at >= len(text) {
		return len(text)
	}
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return at
}
