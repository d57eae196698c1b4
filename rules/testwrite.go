package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
)

// TestsHead is the line that [Case.AppendYAML]'s cases stand below in a file of tests.
const TestsHead = "tests:\n"

// AppendYAML writes the case as an item of a file of tests, such that [LoadTests] reads the same
// case again. Of the event it writes what rules can see and a person may keep: kind, the user's
// group and whether the platform knows who that is, operation, texts and what only a push has;
// neither ids nor times, nor who the user is and where, nor attachments.
func (c *Case) AppendYAML(dst []byte) []byte {
	w := yamlWriter{dst, "  - "}
	if c.Name != "" {
		w.line("name: %s", quoteYAML(c.Name))
	}
	w.event(c.Event)
	switch {
	case c.Hits != nil && len(c.Hits) == 0:
		w.line("hits: []")
	case c.Hits != nil:
		w.line("hits:")
	}
	for _, x := range c.Hits {
		parts := []string{"rule: " + wordYAML(x.Rule)}
		if x.Text != "" {
			parts = append(parts, "text: "+quoteYAML(x.Text))
		}
		if x.Form != 0 {
			parts = append(parts, "form: "+x.Form.String())
		}
		if x.Field != "" {
			parts = append(parts, "field: "+wordYAML(x.Field))
		}
		w.line("  - {%s}", strings.Join(parts, ", "))
	}
	if len(c.Spares) > 0 {
		var ids []string
		for _, id := range c.Spares {
			ids = append(ids, wordYAML(id))
		}
		w.line("spares: [%s]", strings.Join(ids, ", "))
	}
	if c.Action != nil {
		w.line("action: %s", *c.Action)
	}
	return w.dst
}

// yamlWriter writes the lines of one item of a list.
type yamlWriter struct {
	dst    []byte
	indent string // the item's mark before its first line, blanks before the others
}

func (w *yamlWriter) line(format string, args ...any) {
	w.dst = append(w.dst, w.indent...)
	w.indent = "    "
	w.dst = fmt.Appendf(w.dst, format+"\n", args...)
}

// event writes an event, a plain post of one text as that text.
func (w *yamlWriter) event(e *event.Event) {
	created := e.Kind == event.Post && (len(e.Operation) == 0 || string(e.Operation) == "post.create")
	if created && len(e.User.Group) == 0 && !e.User.Verified && len(e.Fields) == 1 && string(e.Fields[0].Name) == textField {
		w.line("text: %s", quoteYAML(string(e.Fields[0].Text)))
		return
	}
	w.line("event:")
	word := func(name string, value []byte) {
		if len(value) > 0 {
			w.line("  %s: %s", name, wordYAML(string(value)))
		}
	}
	if e.Kind == event.Push {
		w.line("  kind: push")
	}
	var user []string
	if len(e.User.Group) > 0 {
		user = append(user, "group: "+wordYAML(string(e.User.Group)))
	}
	if e.User.Verified {
		user = append(user, "verified: true")
	}
	if len(user) > 0 {
		w.line("  user: {%s}", strings.Join(user, ", "))
	}
	if !created && string(e.Operation) != "push.send" {
		word("operation", e.Operation)
	}
	if len(e.Fields) == 0 {
		w.line("  fields: {}")
	} else {
		w.line("  fields:")
	}
	for i := range e.Fields {
		w.line("    %s: %s", wordYAML(string(e.Fields[i].Name)), quoteYAML(string(e.Fields[i].Text)))
	}
	if e.Kind == event.Push {
		p := &e.Push
		word("class", p.Class)
		word("channel", p.Channel)
		word("campaign", p.Campaign)
		word("sender", p.Sender)
		word("label", p.Label)
		if p.Personalised {
			w.line("  personalised: true")
		}
	}
}

// plainYAML is the shape of a word that needs no quotes, unless it is one of those that some YAML
// reads as something else than a text.
var (
	plainYAML = regexp.MustCompile(`^[a-z][a-z0-9._-]*$`)
	notPlain  = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

func wordYAML(s string) string {
	if plainYAML.MatchString(s) && !slices.Contains(notPlain, s) {
		return s
	}
	return quoteYAML(s)
}

// quoteYAML writes a text in double quotes, with escapes for what cannot be seen.
func quoteYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		to, _ := fold.Rune(r)
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case unicode.IsPrint(r) && to != fold.Drop:
			b.WriteRune(r)
		case r <= 0xFF:
			fmt.Fprintf(&b, `\x%02X`, r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
