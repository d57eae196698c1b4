package sinks

import (
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline"
)

// The messages about verdicts are written by hand, which takes a third of the time that encoding/json takes: it
// was a tenth of what a flagged post costs in bulk. The types with their tags stay the description of what stands
// in them, and a test holds every byte against what encoding/json makes of them.

// jsonValue appends itself as encode writes it.
type jsonValue interface {
	appendTo(b []byte) ([]byte, error)
}

// appendName begins a member of an object.
func appendName(b []byte, name string) []byte {
	return append(append(append(appendComma(b), '"'), name...), `":`...)
}

// appendComma separates what comes from what stands before it in the same bracket.
func appendComma(b []byte) []byte {
	if last := b[len(b)-1]; last != '{' && last != '[' {
		b = append(b, ',')
	}
	return b
}

// appendMember appends a member that is a text.
func appendMember(b []byte, name, value string) []byte {
	return appendText(appendName(b, name), value)
}

// appendOptional appends a member that is a text, unless it is empty.
func appendOptional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendMember(b, name, value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(b, name), n, 10)
}

// appendFlag appends a member if it is true.
func appendFlag(b []byte, name string, is bool) []byte {
	if !is {
		return b
	}
	return append(appendName(b, name), "true"...)
}

// appendOther appends a member as encoding/json writes it.
func appendOther(b []byte, name string, value any) ([]byte, error) {
	said, err := encode(value)
	return append(appendName(b, name), said...), err
}

const hexDigits = "0123456789abcdef"

// appendText appends a text as a JSON string.
func appendText(b []byte, s string) []byte {
	if !utf8.ValidString(s) { // all texts of an event are; what else comes from outside, as the name of a topic, need not
		bad, _ := encode(s) // a string can always be written
		return append(b, bad...)
	}
	b = append(b, '"')
	from := 0 // of what stands for itself
	for i := plain(s, 0); i < len(s); i = plain(s, i+1) {
		c := s[i]
		if c == '\xe2' { // U+2028 and U+2029 end a line in JavaScript
			if s[i+1] == '\x80' && s[i+2]&^1 == '\xa8' {
				b = append(append(b, s[from:i]...), `\u202`...)
				b = append(b, hexDigits[s[i+2]&0xf])
				from = i + 3
			}
			i += 2
			continue
		}
		b = append(append(b, s[from:i]...), '\\')
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, c)
		case '\b':
			b = append(b, 'b')
		case '\f':
			b = append(b, 'f')
		case '\n':
			b = append(b, 'n')
		case '\r':
			b = append(b, 'r')
		case '\t':
			b = append(b, 't')
		default:
			b = append(b, 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(append(b, s[from:]...), '"')
}

// plain returns where in s, from i on, the first byte is that may not stand in a string as it is: a control
// character, a quote, a backslash, or the first of U+2028.
func plain(s string, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080 // the lowest and the highest bit of each of eight bytes
	for ; i+8 <= len(s); i += 8 {
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		// What is looked for gets its high bit set. A borrow may set bits above a real one, too; the lowest is exact.
		quote, backslash, line := x^(ones*'"'), x^(ones*'\\'), x^(ones*'\xe2')
		look := ((x-ones*' ')&^x | (quote-ones)&^quote | (backslash-ones)&^backslash | (line-ones)&^line) & highs
		if look != 0 {
			return i + bits.TrailingZeros64(look)>>3
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '\xe2' {
			break
		}
	}
	return i
}

func (m *reviewMessage) appendTo(b []byte) ([]byte, error) {
	b = appendMember(append(b, '{'), "id", m.ID)
	b = appendReport(b, &m.Report)
	b, err := m.subject.appendTo(b)
	b = appendMember(b, "queue", m.Queue)
	b = append(appendName(b, "fields"), '[')
	for i := range m.Fields {
		b = appendMember(append(appendComma(b), '{'), "name", m.Fields[i].Name)
		b = append(appendMember(b, "text", m.Fields[i].Text), '}')
	}
	b = appendFlag(append(b, ']'), "fields_omitted", m.FieldsOmitted)
	b = m.Origin.appendTo(m.Evidence.appendTo(b))
	return append(b, '}'), err
}

func (m *decisionMessage) appendTo(b []byte) ([]byte, error) {
	b = appendMember(append(b, '{'), "id", m.ID)
	b = appendReport(b, &m.Report)
	b = appendMember(m.User.appendTo(b), "time", m.Time)
	var err error
	if m.Push != nil {
		b, err = appendOther(b, "push", m.Push)
	}
	b = m.Origin.appendTo(m.Evidence.appendTo(b))
	return append(b, '}'), err
}

func appendReport(b []byte, r *pipeline.Report) []byte {
	b = appendMember(b, "event_id", r.EventID)
	b = appendMember(b, "kind", r.Kind)
	b = appendMember(b, "action", r.Action)
	b = appendOptional(b, "decision", r.Decision)
	b = appendMember(b, "reason", string(r.Reason))
	b = append(appendName(b, "hits"), '[')
	for i := range r.Hits {
		h := &r.Hits[i]
		b = appendMember(append(appendComma(b), '{'), "rule", h.Rule)
		b = appendMember(b, "category", h.Category)
		b = appendMember(b, "severity", h.Severity)
		b = appendOptional(b, "state", h.State)
		b = appendMember(b, "field", h.Field)
		b = appendNumber(b, "start", int64(h.Start))
		b = appendNumber(b, "end", int64(h.End))
		b = appendNumber(b, "start_utf16", int64(h.StartUTF16))
		b = appendNumber(b, "end_utf16", int64(h.EndUTF16))
		b = appendMember(b, "text", h.Text)
		b = appendMember(b, "form", h.Form)
		b = append(appendMember(b, "confidence", h.Confidence), '}')
	}
	b = appendMember(append(b, ']'), "rules", r.Rules)
	b = appendMember(b, "fold", r.Fold)
	return appendOptional(b, "policy", r.Policy)
}

func (s *subject) appendTo(b []byte) ([]byte, error) {
	b = appendMember(s.User.appendTo(b), "time", s.Time)
	b = appendOptional(b, "operation", s.Operation)
	var err error
	if len(s.Attachments) > 0 {
		b, err = appendOther(b, "attachments", s.Attachments)
	}
	if s.Push != nil && err == nil {
		b, err = appendOther(b, "push", s.Push)
	}
	return b, err
}

func (u *user) appendTo(b []byte) []byte {
	b = appendMember(append(appendName(b, "user"), '{'), "id", u.ID)
	b = appendOptional(b, "group", u.Group)
	return append(appendFlag(b, "verified", u.Verified), '}')
}

func (e *evidenceRef) appendTo(b []byte) []byte {
	b = appendMember(append(appendName(b, "evidence"), '{'), "log", e.Log)
	return append(appendMember(b, "record", e.Record), '}')
}

func (o *origin) appendTo(b []byte) []byte {
	b = appendMember(append(appendName(b, "origin"), '{'), "source", o.Source)
	b = appendMember(b, "topic", o.Topic)
	b = appendNumber(b, "partition", int64(o.Partition))
	b = appendNumber(b, "offset", o.Offset)
	b = appendOptional(b, "timestamp", o.Timestamp)
	if f := o.First; f != nil {
		b = appendMember(append(appendName(b, "first"), '{'), "topic", f.Topic)
		b = appendNumber(b, "partition", int64(f.Partition))
		b = append(appendNumber(b, "offset", f.Offset), '}')
	}
	if o.Deferrals != 0 {
		b = appendNumber(b, "deferrals", int64(o.Deferrals))
	}
	return append(b, '}')
}
