package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// tell says in full what became of one message.
func (d *desk) tell(b *strings.Builder, m *message, at place, a *answer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	id := ""
	if m.id != "" {
		id = ", event " + visible(m.id)
	}
	row("sent", "%s partition %d offset %d%s", at.topic, at.partition, at.offset, id)

	var v *outcome // the fullest verdict: review quotes the texts
	for i := range a.said {
		o := &a.said[i]
		switch o.topic {
		case topicReview:
			v = o
		case topicDecisions:
			if v == nil {
				v = o
			}
		case topicDeadLetter:
			row("verdict", "dead letter, reason %s, at stage %s", visible(o.reason), visible(o.stage))
			if o.detail != "" {
				row("", "%s", visible(o.detail))
			}
		}
	}
	switch {
	case v != nil:
		d.tellVerdict(row, &v.verdict)
	case len(a.said) > 0: // a dead letter
	case a.done:
		row("verdict", "pass: the daemon has committed past it and said nothing")
	default:
		row("verdict", "none within %s; is a daemon running? look again later", d.patience)
	}

	record := ""
	for i := range a.said {
		o, name := &a.said[i], ""
		if i == 0 {
			name = "on"
		}
		row(name, "%-15s curl -s '%s/topics/%s?at=%d:%d'", o.topic, d.base, o.topic, o.partition, o.offset)
		if record == "" {
			record, _, _ = strings.Cut(o.id, ":") // ids on topics begin with that of the record
		}
	}
	if record != "" {
		row("evidence", "record %s in %s/%s", visible(record), d.dir, evidenceDir)
	}
	if v != nil && v.verdict.Rules != "" {
		row("rules", "%.16s", visible(v.verdict.Rules))
	}
}

func (d *desk) tellVerdict(row func(name, format string, args ...any), v *verdict) {
	word := visible(v.Action)
	if v.Decision != "" {
		word = visible(v.Decision)
	}
	row("verdict", "%s, reason %s", word, visible(v.Reason))
	for i := range v.Hits {
		if i == 8 {
			row("", "and %d hits more", len(v.Hits)-i)
			break
		}
		h := &v.Hits[i]
		state := ""
		if h.State != "" {
			state = ", " + visible(h.State)
		}
		row("hit", "%s (%s, %s%s), found by %s", visible(h.Rule), visible(h.Category), visible(h.Severity), state, visible(h.Form))
		row("", "%s: %s", visible(h.Field), v.quote(h))
	}
	p := &v.Push.Decision
	if p.Zone != "" && !p.LocalTime.IsZero() {
		row("", "it is %s there (%s)", p.LocalTime.Format("15:04"), visible(p.Zone))
	}
	if p.Group != "" && p.Group != "default" {
		row("", "group %s", visible(p.Group))
	}
	if p.Limit != "" {
		row("", "limit %s: %d of %d", visible(p.Limit), p.Count, p.Max)
	}
	if !p.NotBefore.IsZero() {
		row("", "not before %s", p.NotBefore.UTC().Format(time.RFC3339))
	}
	if !p.NotAfter.IsZero() {
		row("", "not after %s", p.NotAfter.UTC().Format(time.RFC3339))
	}
	if p.Replay {
		row("", "allowed before: it consumed nothing this time")
	}
}

// tellShort says in a line what became of one message of several.
func (d *desk) tellShort(b *strings.Builder, n int, m *message, a *answer) {
	fmt.Fprintf(b, "%2d  %-9s ", n, visible(m.id))
	for i := range a.said {
		o := &a.said[i]
		switch o.topic {
		case topicDecisions:
			v := &o.verdict
			fmt.Fprintf(b, "%-6s %s", visible(v.Decision), visible(v.Reason))
			if p := &v.Push.Decision; p.Limit != "" {
				fmt.Fprintf(b, ", limit %s: %d of %d", visible(p.Limit), p.Count, p.Max)
			}
			b.WriteByte('\n')
			return
		case topicDeadLetter:
			fmt.Fprintf(b, "dead letter, reason %s, at stage %s\n", visible(o.reason), visible(o.stage))
			return
		}
	}
	fmt.Fprintf(b, "no answer within %s\n", d.patience)
}

// quote shows a hit in its text: «here» it stands, a little before and after.
func (v *verdict) quote(h *hit) string {
	for _, f := range v.Fields {
		if f.Name != h.Field {
			continue
		}
		if h.Start < 0 || h.End < h.Start || h.End > len(f.Text) {
			break
		}
		before, after := f.Text[:h.Start], f.Text[h.End:]
		return lastRunes(before, 24) + "«" + visible(f.Text[h.Start:h.End]) + "»" + firstRunes(after, 24)
	}
	return "«" + visible(h.Text) + "»"
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return visible(s[:i]) + "…"
		}
	}
	return visible(s)
}

func lastRunes(s string, n int) string {
	i := len(s)
	for ; i > 0 && n > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	if i > 0 {
		return "…" + visible(s[i:])
	}
	return visible(s)
}

// visible shows what a terminal would hide or obey: invisible characters as
// <U+200B>, bytes that are no UTF-8 as <FF>.
func visible(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "<%02X>", s[i])
		case r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Variation_Selector, r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "<U+%04X>", r)
		}
		i += size
	}
	return b.String()
}

// print shows a message of an output topic as it is.
func (o *outcome) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s partition %d offset %d  %s  key %s\n",
		o.topic, o.partition, o.offset, o.time.UTC().Format(time.RFC3339), visible(string(o.key)))
	for _, h := range o.headers {
		fmt.Fprintf(b, "  %s: %s\n", visible(h.Key), visible(string(h.Value)))
	}
	var indented bytes.Buffer
	value := o.value
	if json.Indent(&indented, value, "  ", "  ") == nil {
		value = indented.Bytes()
	}
	b.WriteString("  ")
	for line := range strings.Lines(string(value)) {
		b.WriteString(visible(strings.TrimSuffix(line, "\n")))
		b.WriteByte('\n')
	}
	if len(value) == 0 {
		b.WriteString("(empty)\n")
	}
	b.WriteByte('\n')
}
