package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks/evidence"
)

type captureCmd struct {
	Config string `help:"The configuration of the daemon: evidence holds messages as they came, and input may say of their topic how they are written (docs/inputs.md)." placeholder:"FILE" type:"path"`
	Events string `help:"The events that were judged, one JSON object a line: for verdicts without texts, as weir judge writes them." placeholder:"FILE" type:"path"`
	File   string `arg:"" optional:"" help:"The verdicts; without it stdin is read." type:"path"`
}

// Help says what kong cannot know.
func (captureCmd) Help() string {
	return `Reads verdicts, one JSON object a line (messages of the review topic, bodies of evidence records, the output of weir judge), and writes a file of tests that holds each as a case: what hit, where and in which form, and the action. Save it beside the packs under a name that ends in _test.yaml. Ids, times, attachments, the user (but for the group and whether the platform knows who it is, which conditions may ask for) and both ends of the connection are left out, and the same event is written once. The texts are as users wrote them: take out what names somebody. What cannot be captured is said; exit status 1 if a line is no verdict, or nothing was captured.`
}

// Run captures verdicts.
func (c *captureCmd) Run(ctx context.Context, s streams) error {
	k := capture{cases: make(map[string]int), left: make(map[string]*leftOut), decoder: event.NewDecoder(event.DefaultConfig())}
	if c.Config != "" {
		cfg, err := loadConfig(c.Config)
		if err != nil {
			return err
		}
		k.input = &cfg.Input
	}
	if c.Events != "" {
		if err := k.readEvents(c.Events); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
	in := s.in
	if c.File != "" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read verdicts: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	var err error
	if !finishes(ctx, func() { err = k.read(ctx, in) }) {
		return errors.New("interrupted; nothing is written")
	}
	if err != nil {
		return fmt.Errorf("read verdicts: %w", err)
	}
	if len(k.list) > 0 {
		if _, err := s.out.Write(k.file()); err != nil {
			return fmt.Errorf("write tests: %w", err)
		}
	}
	return k.tell(s)
}

// capture makes cases of verdicts.
type capture struct {
	decoder *event.Decoder
	input   *ingest.Config    // nil if nothing is known of topics
	events  map[string][]byte // of --events by kind and id; nil where two of one id differ

	list   [][]byte       // cases as they are written, in the order in which they came
	cases  map[string]int // of each event, as it is written, where in the list it is
	size   int            // of the list
	lines  int            // that are not blank
	twice  int            // verdicts on an event that was captured before
	differ int            // of these, with another outcome

	left  map[string]*leftOut // by reason
	order []string            // of the reasons
}

// leftOut is why lines were not captured.
type leftOut struct {
	n, first int // how many, and the first one
	broken   bool
}

// verdictLine is what capture reads of a verdict: what [pipeline.Report] has, and what messages of
// the review topic and evidence records have beside it.
type verdictLine struct {
	DeadLetter json.RawMessage `json:"dead_letter"`
	pipeline.Report
	Time string `json:"time"`
	User struct {
		Group    string `json:"group"`
		Verified bool   `json:"verified"`
	} `json:"user"`
	Operation string `json:"operation"`
	Push      struct {
		Class        string `json:"class"`
		Channel      string `json:"channel"`
		Campaign     string `json:"campaign"`
		Sender       string `json:"sender"`
		Label        string `json:"label"`
		Personalised bool   `json:"personalised"`
	} `json:"push"`
	Fields []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"fields"`
	FieldsOmitted bool `json:"fields_omitted"`
	Origin        struct {
		Topic string `json:"topic"`
		First struct {
			Topic string `json:"topic"`
		} `json:"first"` // of a push that was deferred before
	} `json:"origin"`
	Original struct {
		Bytes int    `json:"bytes"`
		Value []byte `json:"value"`
	} `json:"original"`
}

// A captureError is why a verdict is not captured. It holds no content.
type captureError struct {
	why    string
	broken bool // the line is none that Weir writes
}

func (e *captureError) Error() string { return e.why }

// maxVerdictLine is longer than any verdict on a topic or in the evidence.
const maxVerdictLine = 2 * evidence.MaxBodyBytes

// read captures every line.
func (k *capture) read(ctx context.Context, r io.Reader) error {
	in := lineReader{r: bufio.NewReaderSize(r, 64<<10), limit: maxVerdictLine}
	for n := 1; ctx.Err() == nil; n++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		k.lines++
		if err := k.line(line); err != nil {
			l := k.left[err.why]
			if l == nil {
				l = &leftOut{first: n, broken: err.broken}
				k.left[err.why] = l
				k.order = append(k.order, err.why)
			}
			l.n++
		}
	}
	return context.Cause(ctx)
}

// line captures one verdict.
func (k *capture) line(line []byte) *captureError {
	if len(line) > maxVerdictLine {
		return &captureError{"not a verdict; it is longer than any", true}
	}
	var v verdictLine
	if !utf8.Valid(line) || json.Unmarshal(line, &v) != nil {
		return &captureError{"not a verdict; weir judge makes verdicts of events", true}
	}
	switch kind, _ := event.ParseKind(v.Kind); {
	case v.DeadLetter != nil:
		return &captureError{"a dead letter: no rule has judged it", false}
	case v.Kind == "" || v.Action == "" || v.Hits == nil:
		return &captureError{"not a verdict; it lacks kind, action or hits", true}
	case kind == event.Push && len(v.Fields) > 0 && (v.Push.Class == "" || v.Push.Channel == ""):
		return &captureError{"not a verdict on a push: it lacks class or channel", true}
	case kind != event.Post && kind != event.Push:
		return &captureError{"neither a post nor a push: rules do not judge it", false}
	}
	defer k.decoder.Reset()
	e, failed := k.event(&v)
	if failed != nil {
		return failed
	}
	c, failed := v.testCase(e)
	if failed != nil {
		return failed
	}
	key := string((&rules.Case{Event: e}).AppendYAML(nil))
	text := c.AppendYAML(nil)
	i, known := k.cases[key]
	switch {
	case known && bytes.Equal(k.list[i], text):
		k.twice++
	case k.size+len(text)+len(captureHead) > strictyaml.DefaultMaxBytes:
		return &captureError{fmt.Sprintf("the file would be longer than the %d bytes that can be read; capture fewer at a time", strictyaml.DefaultMaxBytes), false}
	case known:
		k.twice, k.differ = k.twice+1, k.differ+1
		k.size += len(text) - len(k.list[i])
		k.list[i] = text
	default:
		k.cases[key] = len(k.list)
		k.size += len(text)
		k.list = append(k.list, text)
	}
	return nil
}

// event is the event that a verdict is about.
func (k *capture) event(v *verdictLine) (*event.Event, *captureError) {
	kind, _ := event.ParseKind(v.Kind)
	switch {
	case len(v.Fields) > 0:
		e := &event.Event{Kind: kind, Operation: []byte(v.Operation), User: event.User{Group: []byte(v.User.Group), Verified: v.User.Verified}}
		for _, f := range v.Fields {
			e.Fields = append(e.Fields, event.Field{Name: []byte(f.Name), Text: []byte(f.Text)})
		}
		if p := &v.Push; kind == event.Push {
			e.Push = event.PushPart{Class: []byte(p.Class), Channel: []byte(p.Channel), Campaign: []byte(p.Campaign),
				Sender: []byte(p.Sender), Label: []byte(p.Label), Personalised: p.Personalised}
		}
		return e, nil
	case v.Original.Value != nil:
		e := new(event.Event)
		if !k.decode(kind, v, e) {
			return nil, &captureError{"its original cannot be read as an event within the default limits", false}
		}
		return e, nil
	case v.FieldsOmitted || v.Original.Bytes > 0:
		return nil, &captureError{"the event was too large for its texts to be kept, or no rule hit it", false}
	}
	message, known := k.events[eventKey(v.Kind, v.EventID)]
	switch {
	case k.events == nil:
		return nil, &captureError{"it has no texts; name the file with the events that were judged: --events FILE", false}
	case !known:
		return nil, &captureError{"it has no texts, and its event is not in --events", false}
	case message == nil:
		return nil, &captureError{"it has no texts, and in --events two different events have its id", false}
	}
	e := new(event.Event)
	if k.decoder.Decode(kind, nil, message, e) != nil {
		return nil, &captureError{"its event cannot be read", false} // it could when --events was read
	}
	return e, nil
}

// decode reads the original of an evidence record, which is kept without the headers that it came
// with: of a CloudEvent the event may be inside it, or id and time may have been beside it.
func (k *capture) decode(kind event.Kind, v *verdictLine, e *event.Event) bool {
	k.decoder.Format = k.format(kind, v)
	defer func() { k.decoder.Format = nil }()
	header := func(key, value string) event.Header { return event.Header{Key: key, Value: []byte(value)} }
	for _, headers := range [][]event.Header{
		nil,
		{header("content-type", "application/cloudevents+json")},
		{header("ce_specversion", "1.0"), header("ce_id", v.EventID), header("ce_source", "/"), header("ce_type", "weir."+v.Kind), header("ce_time", v.Time)},
	} {
		if k.decoder.Decode(kind, headers, v.Original.Value, e) == nil {
			return true
		}
	}
	return false
}

// format says how the message of a verdict is written, nil if as docs/schemas says.
func (k *capture) format(kind event.Kind, v *verdictLine) *event.Format {
	if k.input == nil {
		return nil
	}
	s, ok := k.input.Stream(cmp.Or(v.Origin.First.Topic, v.Origin.Topic))
	if !ok || s.Kind != kind {
		return nil
	}
	f, _ := s.Topic.Format(kind) // the configuration has been validated
	return f
}

// testCase is the verdict as a case.
func (v *verdictLine) testCase(e *event.Event) (*rules.Case, *captureError) {
	c := &rules.Case{Event: e, Hits: []rules.Expected{}, Action: new(rules.Action)}
	if c.Action.UnmarshalText([]byte(v.Action)) != nil {
		return nil, &captureError{"not a verdict: its action is none that Weir knows", true}
	}
	for _, h := range v.Hits {
		f, err := rules.ParseForms(h.Form)
		if err != nil {
			return nil, &captureError{"a hit is in a form that this version does not know", false}
		}
		x := rules.Expected{Rule: h.Rule, Form: f, Field: h.Field}
		// A verdict quotes the beginning of what stood there; a case compares all of it.
		if h.End-h.Start == len(h.Text) {
			x.Text = h.Text
		}
		i := slices.IndexFunc(e.Fields, func(f event.Field) bool { return string(f.Name) == h.Field })
		if i < 0 || !bytes.Contains(e.Fields[i].Text, []byte(x.Text)) {
			return nil, &captureError{"a hit does not stand in the event's texts: the two do not belong together", true}
		}
		if !slices.Contains(c.Hits, x) {
			c.Hits = append(c.Hits, x)
		}
	}
	return c, nil
}

func eventKey(kind, id string) string { return kind + "\x00" + id }

// readEvents reads the events that were judged. Those that cannot be judged are passed over, as they
// have no verdict.
func (k *capture) readEvents(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	k.events = make(map[string][]byte)
	in := lineReader{r: bufio.NewReaderSize(f, 64<<10), limit: event.DefaultConfig().MaxBytes}
	var e event.Event
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if k.decoder.Decode(0, nil, line, &e) != nil {
			continue
		}
		key := eventKey(e.Kind.String(), string(e.ID))
		if before, twice := k.events[key]; twice && !bytes.Equal(before, line) {
			k.events[key] = nil
		} else {
			k.events[key] = bytes.Clone(line)
		}
		k.decoder.Reset()
	}
}

// captureHead stands at the top of what capture writes.
const captureHead = `# Verdicts as they were, captured by weir rules capture. Look every case over: was it right?
# The texts are as users wrote them; take out what names somebody.
` + rules.TestsHead

// file is the file of tests.
func (k *capture) file() []byte {
	return append([]byte(captureHead), bytes.Join(k.list, nil)...)
}

// tell says what was captured and what was not.
func (k *capture) tell(s streams) error {
	fmt.Fprintf(s.err, "weir: %s, %s captured\n", count(k.lines, "line"), count(len(k.list), "case"))
	if k.twice > 0 {
		text := fmt.Sprintf("weir: %s on an event that came before", count(k.twice, "verdict"))
		if k.differ > 0 {
			text += fmt.Sprintf(", %d of them with another outcome: the last one is captured", k.differ)
		}
		fmt.Fprintln(s.err, text)
	}
	broken := 0
	for _, why := range k.order {
		l := k.left[why]
		fmt.Fprintf(s.err, "weir: %s not captured, from line %d on: %s\n", count(l.n, "line"), l.first, why)
		if l.broken {
			broken += l.n
		}
	}
	switch {
	case broken > 0:
		fmt.Fprintf(s.err, "weir: error: %s cannot be read as a verdict\n", count(broken, "line"))
		return errSaid
	case len(k.list) == 0:
		return &hintError{errors.New("nothing was captured"), "weir judge < events.jsonl | weir rules capture --events events.jsonl"}
	}
	return nil
}
