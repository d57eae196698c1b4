package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

type explainCmd struct {
	ruleFlags
	recordedFlags
	Event string  `help:"Explain an event, a JSON object as the platform sends it, instead of a text; - for stdin." placeholder:"FILE"`
	JSON  bool    `name:"json" help:"Write one JSON object instead of text for people."`
	Text  *string `arg:"" optional:"" help:"The text; without it, and without --event, stdin is read."`
}

// Help says what kong cannot know.
func (explainCmd) Help() string {
	return `A text is judged as the field "text" of a post by the user "explain". First each text as it is, as it reads folded, and as it reads in each further form in which anything was found. For each hit: the rule, what stood there, the place in bytes and in UTF-16 units as browsers count, the forms in which it had to be read, the term as it is written in the pack, and the rule's category, severity and action; and why it does nothing, if so. Then what reads like a term and is no hit, and why: its boundary, case or gap, a form that its rule does not ask for, an exception, a field or kind that its rule is not about, the parts of a combination that are missing or too far, what must not be there, a condition. At last the verdict; of a push that on its content. What cannot be seen is shown as \u{...}. In the line under a short text ^ marks hits and ~ what is nearly one. There are colours on a terminal unless NO_COLOR is set.`
}

// Validate refuses two things to explain.
func (c *explainCmd) Validate() error {
	if c.Event != "" && c.Text != nil {
		return errors.New("--event and a text are two things to explain; give one of them")
	}
	return nil
}

// Run explains one text or event.
func (c *explainCmd) Run(ctx context.Context, s streams) error {
	cfg, set, err := c.loadRecorded(ctx, &c.ruleFlags, c.loadAlone)
	if err != nil {
		return err
	}
	message, kind, err := c.message(ctx, s.in, cfg.Events.MaxBytes)
	if err != nil {
		return err
	}
	x, err := explain(cfg, set, kind, message)
	if err != nil {
		return err
	}
	if c.JSON {
		return jsonTo(s.out).Encode(x)
	}
	x.print(s.out, paletteFor(s.out))
	return nil
}

// message returns the event to explain as a platform would send it, and its kind, 0 if the event
// itself says that.
func (c *explainCmd) message(ctx context.Context, stdin io.Reader, limit int) ([]byte, event.Kind, error) {
	if c.Event != "" {
		message, err := readEvent(ctx, c.Event, stdin, limit)
		return message, 0, err
	}
	var text []byte
	if c.Text != nil {
		text = []byte(*c.Text)
	} else {
		var err error
		if text, err = readAll(ctx, stdin, limit); err != nil {
			return nil, 0, err
		}
		text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	}
	if !utf8.Valid(text) {
		return nil, 0, errors.New("the text is not UTF-8; save it as UTF-8, or a post with it is a dead letter")
	}
	message, err := json.Marshal(map[string]any{
		"id": "explain", "time": "2026-01-01T00:00:00Z", "user": map[string]string{"id": "explain"},
		"fields": map[string]string{"text": string(text)},
	})
	return message, event.Post, err
}

func readEvent(ctx context.Context, file string, stdin io.Reader, limit int) ([]byte, error) {
	if file == "-" {
		return readAll(ctx, stdin, limit)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return readAll(ctx, f, limit)
}

// readAll reads at most so many bytes.
func readAll(ctx context.Context, in io.Reader, limit int) ([]byte, error) {
	var all []byte
	var err error
	if !finishes(ctx, func() { all, err = io.ReadAll(io.LimitReader(in, int64(limit)+1)) }) {
		return nil, errors.New("interrupted")
	}
	if err != nil {
		return nil, fmt.Errorf("read what to explain: %w", err)
	}
	if len(all) > limit {
		return nil, fmt.Errorf("there are more than %d bytes to explain, which no event may have; give a piece of it", limit)
	}
	return all, nil
}

// explanation is what explain finds out.
type explanation struct {
	Kind     string          `json:"kind"`
	Action   string          `json:"action"` // of a push, that on its content
	Readings []readingReport `json:"readings"`
	Hits     []hitReport     `json:"hits"`
	Near     []hitReport     `json:"near_misses"`
	LeftOut  int             `json:"near_misses_left_out,omitempty"`
	Rules    string          `json:"rules"`
	Fold     string          `json:"fold"`

	fields []field
}

// field is a text of the event as it was received.
type field struct{ name, text string }

// readingReport is a text as it reads in a form.
type readingReport struct {
	Field string `json:"field"`
	Form  string `json:"form"`
	Text  string `json:"text"`
}

// hitReport is a hit or a near miss as verdicts report it, with what those who write rules want to know.
type hitReport struct {
	pipeline.HitReport
	Term      string `json:"term"`
	Action    string `json:"action"`              // of its rule
	Idle      string `json:"idle,omitempty"`      // why a hit does nothing
	Undecided bool   `json:"undecided,omitempty"` // its rule's condition had no answer
	Why       string `json:"why,omitempty"`       // a near miss is no hit
}

// explain judges a message as the daemon would, the push policy left out.
func explain(cfg *config.Config, set *rules.Set, kind event.Kind, message []byte) (*explanation, error) {
	var e event.Event
	v, err := pipeline.NewJudge(cfg.Events).Judge(set, kind, nil, message, &e)
	if refused, ok := errors.AsType[*event.Error](err); ok {
		if kind != 0 {
			return nil, fmt.Errorf("a post with this text is a dead letter, for the reason %s; nothing in it is judged", refused.Reason)
		}
		return nil, fmt.Errorf("this event is a dead letter, and nothing in it is judged: %w", refused)
	}
	if err != nil {
		return nil, err
	}
	if e.Kind != event.Post && e.Kind != event.Push {
		return nil, fmt.Errorf("no rule judges a %s; give a post or a push", e.Kind)
	}
	seen := set.Explain(&e)
	near := make([]rules.Hit, len(seen.Near))
	for i := range seen.Near {
		near[i] = seen.Near[i].Hit
	}
	x := &explanation{Kind: e.Kind.String(), Action: v.Action.String(), Readings: []readingReport{}, LeftOut: seen.More,
		Rules: set.Digest(), Fold: fold.Version, Hits: reportHits(&e, v.Hits), Near: reportHits(&e, near)}
	for i := range e.Fields {
		x.fields = append(x.fields, field{string(e.Fields[i].Name), string(e.Fields[i].Text)})
	}
	for _, r := range seen.Readings {
		x.Readings = append(x.Readings, readingReport{x.fields[r.Field].name, r.Form.String(), r.Text})
	}
	for i := range x.Hits {
		x.Hits[i].Idle = set.Idle(&v.Hits[i])
		x.Hits[i].Undecided = slices.Contains(seen.Undecided, v.Hits[i].Rule)
	}
	for i := range x.Near {
		x.Near[i].Why = seen.Near[i].Why
	}
	return x, nil
}

func reportHits(e *event.Event, hits []rules.Hit) []hitReport {
	v := pipeline.Verdict{Event: e, Hits: hits}
	list := make([]hitReport, len(hits))
	for i, h := range v.Report().Hits {
		list[i] = hitReport{HitReport: h, Term: hits[i].Term, Action: hits[i].Rule.Action.String()}
	}
	return list
}

// print writes the explanation for people: a line for each thing, with what it is at its beginning.
func (x *explanation) print(w io.Writer, p palette) {
	width := len("verdict")
	for _, f := range x.fields {
		width = max(width, columns(unquoted(f.name)))
	}
	for _, r := range x.Readings {
		width = max(width, len(r.Form))
	}
	line := func(c colour, label, format string, args ...any) {
		padding := strings.Repeat(" ", width-columns(label)+1)
		fmt.Fprintln(w, strings.TrimRight(p.paint(c, label)+padding+fmt.Sprintf(format, args...), " "))
	}
	for _, f := range x.fields {
		switch under := x.marker(f, p); {
		case under != "":
			line(bold, unquoted(f.name), "%s", visible(f.text))
			line("", "", "%s", under)
		case !x.named(f.name):
		case f.fits():
			line(bold, unquoted(f.name), "%s", visible(f.text))
		default:
			line(bold, unquoted(f.name), "%s", count(len(f.text), "byte"))
		}
		for _, r := range x.Readings {
			if r.Field == f.name {
				line("", r.Form, "%s", visible(r.Text))
			}
		}
	}
	for i := range x.Hits {
		h := &x.Hits[i]
		rest := ""
		if h.Undecided {
			rest += "; its condition has no answer for this event, so it stands"
		}
		if h.Idle != "" {
			rest += "; does nothing: " + h.Idle
		}
		if h.Confidence == "low" {
			rest += "; of low confidence: never rejects by itself"
		}
		line(red, "hit", "%s; %s, %s, %s%s", x.place(h), h.Category, h.Severity, h.Action, rest)
	}
	if len(x.Hits) == 0 {
		line("", "no hit", "")
	}
	for i := range x.Near {
		line(yellow, "near", "%s, is no hit: %s", x.place(&x.Near[i]), x.Near[i].Why)
	}
	if x.LeftOut > 0 {
		line(yellow, "near", "and %d more", x.LeftOut)
	}
	verdict := p.paint(map[string]colour{"pass": green, "review": yellow, "reject": red}[x.Action], x.Action)
	if x.Kind == event.Push.String() {
		verdict += " (by its content; the push policy was not asked)"
	}
	line(bold, "verdict", "%s", verdict)
}

// unquoted shows a name as it is, but for what cannot be seen.
func unquoted(name string) string {
	shown := visible(name)
	return cmp.Or(shown[1:len(shown)-1], shown)
}

// named reports whether a field's name says anything: it is not that of a text by itself.
func (x *explanation) named(field string) bool { return len(x.fields) > 1 || field != "text" }

// place says what was read where, and as what.
func (x *explanation) place(h *hitReport) string {
	of := ""
	if x.named(h.Field) {
		of = " of " + unquoted(h.Field)
	}
	return fmt.Sprintf("%s: %s, bytes %d to %d%s (UTF-16 %d to %d), %s",
		h.Rule, visible(h.Text), h.Start, h.End, of, h.StartUTF16, h.EndUTF16, readAs(h.Form, h.Term))
}

// maxMarked is how many columns a text may take that is shown with a line of marks: wider
// ones are broken by most terminals, and the marks then stand under nothing.
const maxMarked = 100

// fits reports whether the visible text has room on a line.
func (f field) fits() bool {
	// No character takes more than four bytes a column.
	return len(f.text) <= 4*maxMarked && columns(visible(f.text)) <= maxMarked
}

// marker returns the line of marks under a field's visible text, nothing if there is nothing to mark
// or no room.
func (x *explanation) marker(f field, p palette) string {
	if !f.fits() {
		return ""
	}
	marks := bytes.Repeat([]byte{' '}, columns(visible(f.text)))
	mark := func(list []hitReport, with byte) {
		for i := range list {
			if list[i].Field != f.name {
				continue
			}
			from := columns(visible(f.text[:list[i].Start])) - 1 // without the closing quote
			to := columns(visible(f.text[:list[i].End])) - 1
			for at := from; at < to; at++ {
				marks[at] = with
			}
		}
	}
	mark(x.Near, '~')
	mark(x.Hits, '^')
	// In colour each run of marks has that of its kind.
	var b strings.Builder
	for rest := strings.TrimRight(string(marks), " "); rest != ""; {
		run := rest[:len(rest)-len(strings.TrimLeft(rest, rest[:1]))]
		b.WriteString(p.paint(map[byte]colour{'^': red, '~': yellow}[rest[0]], run))
		rest = rest[len(run):]
	}
	return b.String()
}
