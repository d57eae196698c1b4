package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/backtest"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
)

type backtestCmd struct {
	setFlags
	Old      string        `help:"Directory of packs; without it those of --config, or the starter packs." placeholder:"DIR" type:"path"`
	New      string        `help:"Directory of packs; without it those of --config, or the starter packs." placeholder:"DIR" type:"path"`
	File     string        `arg:"" optional:"" help:"Events, one JSON object a line; without it stdin is read."`
	Topic    string        `help:"Judge what this topic holds, instead of a file." placeholder:"NAME"`
	Brokers  []string      `help:"Where the topic is, host:port,...; without it the brokers of --config." placeholder:"ADDR"`
	From     time.Time     `help:"Begin each partition with its first message that is not older, such as 2026-11-24T08:30:00Z; without it with the oldest." placeholder:"TIME"`
	To       time.Time     `help:"End each before its first message that is not older; without it with the newest there is now." placeholder:"TIME"`
	Offsets  []offsetRange `help:"Judge these offsets only, such as 0:100-200 for 100 to 199 of partition 0, or 3:100- for all from 100 on; may be given several times." placeholder:"RANGE"`
	Samples  int           `help:"How many samples to show of each rule and each way to differ." default:"3"`
	ShowText bool          `help:"Show the text of samples. Without it letters and digits are masked."`
	JSON     bool          `name:"json" help:"Write one JSON object instead of text for people."`
	HTML     string        `name:"html" help:"Write a page of it into a file too, which needs nothing beside it." placeholder:"FILE" type:"path"`
	ExitCode bool          `help:"End with exit code 3 if anything is judged differently."`
}

// Help says what kong cannot know.
func (backtestCmd) Help() string {
	return `Judges every event by both sets, as weir judge would, and tells what differs. A hit is new or lost if the other set has none of the same rule, category, field and place. An event whose action changed counts as stronger or weaker for each rule whose own hits call for something else than before. Of a push only the content is judged. Samples are the first events of each kind, masked: Han characters are 字, letters x, digits 0, symbols *. What cannot be judged is counted by reason. A topic is read without a group: nothing is committed, nobody's partitions move, and what comes after the start is left out. The exit code is 0, also when something differs, unless --exit-code is given; 1 if no event could be judged.`
}

// Run compares the verdicts of two sets.
func (c *backtestCmd) Run(ctx context.Context, s streams) error {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, sets, err := c.load(c.Old, c.New)
	if err != nil {
		return err
	}
	in, err := c.open(ctx, cfg, s.in)
	if err != nil {
		return err
	}
	defer in.close()
	bar := progress{w: s.err, total: in.total, on: demo.IsTerminal(s.err)}
	o := backtest.Options{Old: sets[0].Set, New: sets[1].Set, Limits: cfg.Events, Samples: c.Samples, ShowText: c.ShowText,
		Progress: func(done int64) { bar.show(done, in.read(done)) }}
	var report *backtest.Report
	if !finishes(ctx, func() { report, err = backtest.Run(ctx, in.feed, o) }) {
		return errors.New("interrupted")
	}
	bar.end()
	if err != nil {
		return err
	}
	return c.tell(s, newBacktestReport(report, sets, c.ShowText))
}

// misuse says what cannot be asked for together.
func (c *backtestCmd) misuse() error {
	switch {
	case c.Old == "" && c.New == "":
		return &hintError{errors.New("two sets are compared: give --old, --new or both"), "weir rules backtest --new DIR FILE compares DIR with the starter packs"}
	case c.Samples < 0:
		return errors.New("--samples: give 0 or more")
	case c.Topic != "" && c.File != "":
		return errors.New("give a file or --topic, not both")
	case c.Topic == "" && (len(c.Brokers) > 0 || !c.From.IsZero() || !c.To.IsZero() || len(c.Offsets) > 0):
		return errors.New("--brokers, --from, --to and --offsets are about a topic; give --topic, too")
	case len(c.Offsets) > 0 && (!c.From.IsZero() || !c.To.IsZero()):
		return errors.New("give times (--from, --to) or --offsets, not both")
	case c.Topic != "" && !kafka.IsTopicName(c.Topic):
		return fmt.Errorf("--topic: %q is no name of a topic", c.Topic)
	case c.Topic != "" && len(c.Brokers) == 0 && c.Config == "":
		return errors.New("--topic: where is it? give --brokers, or --config")
	case !c.From.IsZero() && !c.To.IsZero() && !c.From.Before(c.To):
		return errors.New("--from is not before --to; nothing lies between them")
	}
	return nil
}

// input is where events come from.
type input struct {
	feed  backtest.Feed
	total int64                  // of bytes or messages; 0 if it is not known
	read  func(done int64) int64 // how much of the total is read when so many messages are done
	close func()
}

// open opens what is to be judged.
func (c *backtestCmd) open(ctx context.Context, cfg *config.Config, stdin io.Reader) (*input, error) {
	switch c.File {
	case "":
		if c.Topic != "" {
			return c.openTopic(ctx, cfg)
		}
	case "-":
	default:
		f, err := os.Open(c.File)
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		in := linesOf(f, cfg.Events.MaxBytes)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			in.total = info.Size()
		}
		in.close = func() { _ = f.Close() } // only read
		return in, nil
	}
	return linesOf(stdin, cfg.Events.MaxBytes), nil
}

// linesOf reads events of lines.
func linesOf(r io.Reader, limit int) *input {
	counted := &countingReader{r: r}
	return &input{close: func() {}, read: func(int64) int64 { return counted.n.Load() }, feed: func(_ context.Context, add func(*backtest.Message) error) error {
		in := lineReader{r: bufio.NewReaderSize(counted, 64<<10), limit: limit}
		m := new(backtest.Message)
		for {
			m.Place.Line++
			var err error
			if m.Value, err = in.next(); errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read events: %w", err)
			}
			if err := add(m); err != nil {
				return err
			}
		}
	}}
}

// openTopic reads events from a stretch of a topic.
func (c *backtestCmd) openTopic(ctx context.Context, cfg *config.Config) (*input, error) {
	if len(c.Brokers) > 0 {
		cfg.Kafka.Brokers = c.Brokers
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return nil, err
	}
	scan, err := client.OpenScan(ctx, c.Topic, c.From, c.To)
	if err == nil && len(c.Offsets) > 0 {
		if err = scan.Narrow(rangesOf(c.Topic, c.Offsets)...); err != nil {
			scan.Close()
		}
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	var of ingest.Stream // the messages tell, unless the configuration does
	if c.Config != "" {
		if t, ok := cfg.Input.Stream(c.Topic); ok && (t.Kind == event.Post || t.Kind == event.Push) {
			of = t
		}
	}
	in := &input{read: func(done int64) int64 { return done }}
	for _, r := range scan.Ranges {
		in.total += r.Next - r.First
	}
	in.close = func() {
		scan.Close()
		_ = client.Close() // nothing was written
	}
	in.feed = func(ctx context.Context, add func(*backtest.Message) error) error {
		m := new(backtest.Message)
		return ingest.Replay(ctx, scan, of, func(b *pipeline.Batch) error {
			for i := range b.Records {
				r := &b.Records[i]
				*m = backtest.Message{Place: backtest.Place{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset},
					Kind: b.Kind, Format: b.Format, Headers: r.Headers, Value: r.Value, Corrupt: r.Corrupt}
				if err := add(m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return in, nil
}

// tell writes the report everywhere it is wanted.
func (c *backtestCmd) tell(s streams, r *backtestReport) error {
	if c.HTML != "" {
		if err := r.save(c.HTML); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	if c.JSON {
		if err := jsonTo(s.out).Encode(r); err != nil {
			return err
		}
	} else if err := r.print(s.out); err != nil {
		return err
	}
	switch {
	case r.Events == 0:
		return errors.New("no event was judged; give events as weir judge reads them")
	case c.ExitCode && len(r.Rules) > 0:
		return errDiffers
	}
	return nil
}

// backtestReport is what two sets judge differently, as other programs read it.
type backtestReport struct {
	Old        setReport      `json:"old"`
	New        setReport      `json:"new"`
	Messages   int64          `json:"messages"` // events and what could not be judged
	Events     int64          `json:"events"`   // judged by both
	Dead       []deadReport   `json:"dead"`
	Actions    []actionReport `json:"actions"`    // every change of action
	Rules      []rowReport    `json:"rules"`      // those that differ
	Categories []rowReport    `json:"categories"` // those that differ
	Samples    []sampleReport `json:"samples"`
	TextShown  bool           `json:"text_shown"`

	diff setDiff
}

type deadReport struct {
	Stage  pipeline.Stage  `json:"stage"`
	Reason pipeline.Reason `json:"reason"`
	Count  int64           `json:"count"`
	First  string          `json:"first"`
}

type actionReport struct {
	Old    string `json:"old"`
	New    string `json:"new"`
	Events int64  `json:"events"`
}

type rowReport struct {
	Name     string `json:"name"`
	OldHits  int64  `json:"hits_old"`
	NewHits  int64  `json:"hits_new"`
	New      int64  `json:"new"`
	Lost     int64  `json:"lost"`
	Events   int64  `json:"events"`
	Stronger int64  `json:"stronger"`
	Weaker   int64  `json:"weaker"`
}

// sampleReport is a sample; of its field, the place in bytes and text, or its mask.
type sampleReport struct {
	Rule      string `json:"rule"`
	Category  string `json:"category"`
	Change    string `json:"change"` // new, lost, or acts: the hit stays and calls for something else
	Where     string `json:"where"`
	Field     string `json:"field"`
	Start     int    `json:"start"`
	End       int    `json:"end"`
	Form      string `json:"form"`
	Term      string `json:"term"`
	OldAction string `json:"old_action"`
	NewAction string `json:"new_action"`
	Before    string `json:"before"`
	Text      string `json:"text"`
	After     string `json:"after"`
}

func newBacktestReport(from *backtest.Report, sets [2]ruleSet, shown bool) *backtestReport {
	r := &backtestReport{Old: sets[0].report(), New: sets[1].report(), Messages: from.Messages, Events: from.Events, TextShown: shown,
		Dead: []deadReport{}, Actions: []actionReport{}, Samples: []sampleReport{}, diff: newSetDiff(sets)}
	for _, d := range from.Dead {
		r.Dead = append(r.Dead, deadReport{d.Stage, d.Reason, d.Count, d.First.String()})
	}
	slices.SortStableFunc(r.Dead, func(a, b deadReport) int { return int(min(max(b.Count-a.Count, -1), 1)) })
	for _, a := range from.Changes() {
		r.Actions = append(r.Actions, actionReport{a.Old.String(), a.New.String(), a.Events})
	}
	rows := func(list []backtest.Row) []rowReport {
		out := make([]rowReport, len(list))
		for i, x := range list {
			out[i] = rowReport{x.Name, x.OldHits, x.NewHits, x.New, x.Lost, x.Events, x.Stronger, x.Weaker}
		}
		return out
	}
	r.Rules, r.Categories = rows(from.Rules), rows(from.Categories)
	for _, x := range from.Samples {
		r.Samples = append(r.Samples, sampleReport{x.Rule, x.Category, x.Change.String(), x.Place.String(), x.Field, x.Start, x.End,
			x.Form, x.Term, x.Old.String(), x.New.String(), x.Before, x.Text, x.After})
	}
	return r
}
