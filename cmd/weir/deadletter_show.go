package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline/backtest"
	"github.com/weir-moderation/weir/sinks"
)

type deadLetterShowCmd struct {
	deadLetterFlags
	Which       []string `arg:"" name:"place" help:"Their places, topic/partition/offset as weir deadletter list writes them, or their ids (weir-id)."`
	ShowContent bool     `help:"Show key, value and headers. Without it letters and digits are masked: they are personal data."`
	Value       string   `help:"Write the value into a file, byte for byte, that only its owner can read. It holds what a user wrote." placeholder:"FILE" type:"path"`
	JSON        bool     `name:"json" help:"Write a JSON object a line instead of text for people; with --show-content key, value and headers in base64."`
}

// Help says what kong cannot know.
func (deadLetterShowCmd) Help() string {
	return `Says where the message was read, by which deployment and rules, why it could not be judged, and what key, value and headers look like. What users wrote, and their ids, are personal data: they are masked (Han characters are 字, letters x, digits 0, symbols *) unless --show-content or --value asks for them. An id is looked for in the whole topic, a place is not.`
}

var letterID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// split tells places from ids.
func (c *deadLetterShowCmd) split() (places []sinks.Place, ids []string, err error) {
	for _, w := range c.Which {
		if id := strings.TrimSuffix(w, ":deadletter"); letterID.MatchString(id) {
			ids = append(ids, id)
			continue
		}
		p, err := sinks.ParsePlace(w)
		if err != nil {
			return nil, nil, fmt.Errorf("%w, or give the 32 hex digits of an id", err)
		}
		places = append(places, p)
	}
	switch {
	case len(places) > 0 && len(ids) > 0:
		return nil, nil, errors.New("give places or ids, not both")
	case c.Value != "" && len(c.Which) != 1:
		return nil, nil, errors.New("--value: of which dead letter? give one")
	}
	return places, ids, c.topicOf(places)
}

// topicOf takes the topic of places for the dead-letter topic.
func (f *deadLetterFlags) topicOf(places []sinks.Place) error {
	for _, p := range places {
		if f.Topic == "" {
			f.Topic = p.Topic
		}
		if p.Topic != f.Topic {
			return fmt.Errorf("%s: not on the topic %s; one topic at a time", p, f.Topic)
		}
	}
	return nil
}

// Run shows dead letters.
func (c *deadLetterShowCmd) Run(ctx context.Context, s streams) (err error) {
	places, ids, err := c.split()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, err := c.read()
	if err != nil {
		return err
	}
	l, err := openLetters(ctx, cfg, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if len(places) > 0 {
		if err := l.only(places); err != nil {
			return err
		}
	}
	bar := progress{w: s.err, total: l.total(), on: len(ids) > 0 && demo.IsTerminal(s.err)}
	shown := make(map[string]bool) // ids or places
	err = l.each(ctx, func(x *letter) error {
		bar.show(l.read, l.read)
		switch {
		case len(places) > 0:
			shown[x.place.String()] = true
		case slices.Contains(ids, x.ID):
			shown[x.ID] = true
		default:
			return nil
		}
		bar.end()
		return c.show(s, x)
	})
	bar.end()
	if err != nil {
		return err
	}
	for _, w := range c.Which {
		if !shown[strings.TrimSuffix(w, ":deadletter")] {
			return fmt.Errorf("%s: no dead letter of Weir is there", w)
		}
	}
	return nil
}

// show writes what is known of a dead letter.
func (c *deadLetterShowCmd) show(s streams, x *letter) error {
	if c.Value != "" {
		if x.Omitted {
			return fmt.Errorf("--value: the value is not here, it was too large for the topic; it was read from %s", x.Origin)
		}
		if err := replaceFile(c.Value, x.Value, 0o600); err != nil {
			return fmt.Errorf("write value: %w", err)
		}
	}
	if c.JSON {
		return jsonTo(s.out).Encode(c.detailed(x))
	}
	return c.print(s.out, x)
}

// letterDetail is all about a dead letter as programs read it.
type letterDetail struct {
	letterReport
	KeyBytes *int          `json:"key_bytes"` // null if it has no key
	Key      []byte        `json:"key,omitempty"`
	Value    []byte        `json:"value,omitempty"`
	Headers  []headerShown `json:"headers"`
}

type headerShown struct {
	Name  string `json:"name"`
	Bytes *int   `json:"bytes"` // null if it has no value
	Value []byte `json:"value,omitempty"`
}

// length is that of bytes, nil for null.
func length(b []byte) *int {
	if b == nil {
		return nil
	}
	return new(len(b))
}

func (c *deadLetterShowCmd) detailed(x *letter) letterDetail {
	d := letterDetail{letterReport: x.report(), KeyBytes: length(x.Key), Headers: []headerShown{}}
	for _, h := range x.Headers {
		d.Headers = append(d.Headers, headerShown{Name: h.Key, Bytes: length(h.Value)})
	}
	if c.ShowContent {
		d.Key, d.Value = x.Key, x.Value
		for i := range d.Headers {
			d.Headers[i].Value = x.Headers[i].Value
		}
	}
	return d
}

// print writes it for people.
func (c *deadLetterShowCmd) print(w io.Writer, x *letter) error {
	var b strings.Builder
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	r := x.report()
	fmt.Fprintln(&b, r.Place)
	say("time", "%s", seconds(r.Time))
	say("id", "%s", printable(r.ID))
	say("origin", "%s, read by %s", r.Origin, printable(r.Source))
	say("stage", "%s", printable(r.Stage))
	say("reason", "%s: %s", printable(r.Reason), reasonText(x.Reason))
	if r.Detail != "" {
		say("detail", "%s", printable(r.Detail))
	}
	say("rules", "%s", printable(r.Rules))
	for _, from := range r.Replayed {
		say("replayed", "from %s", printable(from))
	}
	if r.Lacks != "" {
		say("lacks", "%s", r.Lacks)
	}
	say("key", "%s", c.content(x.Key))
	if x.Omitted {
		say("value", "%s, not here", count(x.Bytes, "byte"))
	} else {
		say("value", "%s", c.content(x.Value))
	}
	for _, h := range x.Headers {
		say("header", "%s  %s", visible(h.Key), c.content(h.Value))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shownBytes is how much of a value is shown to people. --value writes all of it.
const shownBytes = 4096

// content shows bytes, masked unless they were asked for.
func (c *deadLetterShowCmd) content(b []byte) string {
	if b == nil {
		return "null"
	}
	text := string(b[:min(len(b), shownBytes)])
	if !c.ShowContent {
		text = backtest.Mask(text)
	}
	more := ""
	if len(b) > shownBytes {
		more = " ..."
	}
	return fmt.Sprintf("%s  %s%s", count(len(b), "byte"), visible(text), more)
}

// cloned returns a message that outlives the batch it was read in.
func cloned(m produce.Message) produce.Message {
	m.Key, m.Value = slices.Clone(m.Key), slices.Clone(m.Value)
	m.Headers = slices.Clone(m.Headers)
	for i := range m.Headers {
		m.Headers[i].Value = slices.Clone(m.Headers[i].Value)
	}
	return m
}
