package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks"
)

type deadLetterCmd struct {
	List   deadLetterListCmd   `cmd:"" help:"List the messages that could not be judged, without what users wrote."`
	Show   deadLetterShowCmd   `cmd:"" help:"Show all there is to know of a dead letter."`
	Replay deadLetterReplayCmd `cmd:"" help:"Write dead letters to the topics they came from once more."`
}

// deadLetterFlags say where dead letters lie.
type deadLetterFlags struct {
	Config  string   `help:"Take brokers and topic from this configuration file." placeholder:"FILE" type:"path"`
	Brokers []string `help:"Where the topic is, host:port,...; without it the brokers of --config." placeholder:"ADDR"`
	Topic   string   `help:"The dead-letter topic; without it output.deadletter of --config, or weir.deadletter." placeholder:"NAME"`
}

// read returns the configuration with what the flags say in its place.
func (f *deadLetterFlags) read() (*config.Config, error) {
	cfg, err := brokersOf(f.Config, f.Brokers, "where are the dead letters? give --config, or --brokers")
	if err == nil {
		err = putTopic("--topic", f.Topic, &cfg.Output.DeadLetter)
	}
	return cfg, err
}

// filterFlags say which dead letters are meant.
type filterFlags struct {
	Reason []string  `help:"Only those given up for one of these reasons (docs/reasons.md)." placeholder:"REASON"`
	Stage  []string  `help:"Only those given up at one of these stages: fetch, decode, judge, output." placeholder:"STAGE"`
	Origin []string  `help:"Only those read from one of these topics." placeholder:"TOPIC"`
	From   time.Time `help:"Begin each partition with its first dead letter that is not older, such as 2026-11-24T08:30:00Z; without it with the oldest." placeholder:"TIME"`
	To     time.Time `help:"End each before its first dead letter that is not older; without it with the newest there is now." placeholder:"TIME"`
}

// misuse says what can match nothing.
func (f *filterFlags) misuse() error {
	known := pipeline.DeadLetterReasons()
	for _, r := range f.Reason {
		if !slices.ContainsFunc(known, func(k pipeline.ReasonText) bool { return string(k.Reason) == r }) {
			return fmt.Errorf("--reason: %q is none; docs/reasons.md lists them, those met as a dead letter", r)
		}
	}
	stages := []pipeline.Stage{pipeline.StageFetch, pipeline.StageDecode, pipeline.StageJudge, pipeline.StageOutput}
	for _, st := range f.Stage {
		if !slices.Contains(stages, pipeline.Stage(st)) {
			return fmt.Errorf("--stage: %q is none; use fetch, decode, judge or output", st)
		}
	}
	for _, o := range f.Origin {
		if !kafka.IsTopicName(o) {
			return fmt.Errorf("--origin: %q is no name of a topic", o)
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return errors.New("--from is not before --to; nothing lies between them")
	}
	return nil
}

// matches reports whether a dead letter is meant. The times are the scan's matter.
func (f *filterFlags) matches(d *sinks.DeadLetter) bool {
	in := func(list []string, word string) bool { return len(list) == 0 || slices.Contains(list, word) }
	return in(f.Reason, string(d.Reason)) && in(f.Stage, string(d.Stage)) && in(f.Origin, d.Origin.Topic)
}

// letters are the dead letters of a topic, as there are when they are opened.
type letters struct {
	topic    string
	deferred string // the topic of deferred pushes; empty where there is none
	client   *kafka.Client
	scan     *kafka.Scan
	// After a reading: the messages that were read, and how many of them are no
	// dead letters of Weir.
	read, others int64
}

// letter is a dead letter with where and since when it lies. It is valid until the
// next one is read.
type letter struct {
	sinks.DeadLetter
	place sinks.Place
	time  time.Time // zero for none
}

// openLetters finds the dead letters between two times. Close them.
func openLetters(ctx context.Context, cfg *config.Config, from, to time.Time) (*letters, error) {
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return nil, err
	}
	scan, err := client.OpenScan(ctx, cfg.Output.DeadLetter, from, to)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &letters{topic: cfg.Output.DeadLetter, deferred: cfg.Output.Deferred, client: client, scan: scan}, nil
}

func (l *letters) close() error {
	l.scan.Close()
	return l.client.Close()
}

// only leaves nothing to read but some places.
func (l *letters) only(places []sinks.Place) error {
	var ranges []kafka.Range
	for _, p := range places {
		ranges = append(ranges, kafka.Range{Topic: p.Topic, Partition: p.Partition, First: p.Offset, Next: p.Offset + 1})
	}
	return l.scan.Narrow(ranges...)
}

// after leaves out what lies up to some places, of their partitions.
func (l *letters) after(places []sinks.Place) error {
	for _, p := range places {
		i := slices.IndexFunc(l.scan.Ranges, func(r kafka.Range) bool { return r.Partition == p.Partition })
		if i < 0 {
			return fmt.Errorf("--after: %s: the topic has no such partition", p)
		}
		r := &l.scan.Ranges[i]
		r.First = min(max(r.First, p.Offset+1), r.Next)
	}
	return nil
}

// total is how many offsets there are to read.
func (l *letters) total() int64 {
	var n int64
	for _, r := range l.scan.Ranges {
		n += r.Next - r.First
	}
	return n
}

// each calls fn for every dead letter, partition by partition in order, and returns its
// first error as it is.
func (l *letters) each(ctx context.Context, fn func(*letter) error) error {
	l.read, l.others = 0, 0
	var said error
	err := l.scan.Read(ctx, func(b *kafka.Batch) error {
		for i := range b.Records {
			l.read++
			r := &b.Records[i]
			x := letter{place: sinks.Place{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset}}
			var ok bool
			if x.DeadLetter, ok = sinks.ReadDeadLetter(r); !ok {
				l.others++
				continue
			}
			if r.Time >= 0 {
				x.time = time.UnixMilli(r.Time).UTC()
			}
			if said = fn(&x); said != nil {
				return said
			}
		}
		return ctx.Err()
	})
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case said != nil:
		return said
	}
	return err
}

// errInterrupted is the error of a verb that somebody ended.
var errInterrupted = errors.New("interrupted")

// sayOthers tells of messages that were passed over.
func (l *letters) sayOthers(s streams) {
	if l.others > 0 {
		fmt.Fprintf(s.err, "weir: %s on the topic %s passed over that are no dead letters of Weir\n", count(l.others, "message"), l.topic)
	}
}

// letterReport is a dead letter as programs read it. It holds nothing of the message.
type letterReport struct {
	Place    string   `json:"place"`          // on the dead-letter topic
	Time     string   `json:"time,omitempty"` // since when it lies there, RFC 3339
	ID       string   `json:"id"`
	Source   string   `json:"source"`
	Origin   string   `json:"origin"` // where the message was read
	Stage    string   `json:"stage"`
	Reason   string   `json:"reason"`
	Detail   string   `json:"detail,omitempty"`
	Rules    string   `json:"rules"`
	Bytes    int      `json:"bytes"`              // of the value as it was received
	Lacks    string   `json:"lacks,omitempty"`    // why it cannot be replayed
	Replayed []string `json:"replayed,omitempty"` // from where it was replayed before it came here
}

func (x *letter) report() letterReport {
	r := letterReport{
		Place: x.place.String(), ID: x.ID, Source: x.Source, Origin: x.Origin.String(), Stage: string(x.Stage), Reason: string(x.Reason),
		Detail: x.Detail, Rules: x.Rules, Bytes: x.Bytes, Lacks: x.Lacks(), Replayed: x.Replayed,
	}
	if !x.time.IsZero() {
		r.Time = x.time.Format(time.RFC3339Nano)
	}
	return r
}

type deadLetterListCmd struct {
	deadLetterFlags
	filterFlags
	Summary bool `help:"Only count them by reason."`
	JSON    bool `name:"json" help:"Write JSON instead of text for people: an object for each dead letter on a line, or one with --summary."`
}

// Help says what kong cannot know.
func (deadLetterListCmd) Help() string {
	return `Reads the dead-letter topic without a group and writes a line for each message that could not be judged: its place there (topic/partition/offset), the time, the stage and the reason, the size of its value, and the place it was read from; at the end how many there are by reason. Nothing that a user wrote is shown, nor the keys, which are ids of users. A batch that was judged again after a crash may have left the same dead letter twice.`
}

// Run lists dead letters.
func (c *deadLetterListCmd) Run(ctx context.Context, s streams) (err error) {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, err := c.read()
	if err != nil {
		return err
	}
	l, err := openLetters(ctx, cfg, c.From, c.To)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	bar := progress{w: s.err, total: l.total(), on: demo.IsTerminal(s.err) && (c.Summary || !demo.IsTerminal(s.out))}
	sum := letterSummary{Topic: l.topic, Reasons: []reasonCount{}}
	width, enc := l.width(), jsonTo(s.out)
	err = l.each(ctx, func(x *letter) error {
		bar.show(l.read, l.read)
		if !c.matches(&x.DeadLetter) {
			return nil
		}
		sum.add(x)
		switch {
		case c.Summary:
			return nil
		case c.JSON:
			return enc.Encode(x.report())
		}
		return x.print(s.out, width)
	})
	bar.end()
	if err != nil {
		return err
	}
	l.sayOthers(s)
	sum.sort()
	switch {
	case !c.JSON:
		return sum.print(s.out)
	case c.Summary:
		return enc.Encode(sum)
	}
	return nil
}

// width is how many columns the longest place takes.
func (l *letters) width() int {
	n := 0
	for _, r := range l.scan.Ranges {
		n = max(n, len(sinks.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Next}.String()))
	}
	return n
}

// print writes the line of a dead letter, of which programs read the same as JSON.
func (x *letter) print(w io.Writer, width int) error {
	at := "-"
	if !x.time.IsZero() {
		at = x.time.Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(w, "%-*s  %-20s  %-6s  %-*s  %8d bytes  %s", width, x.place, at, printable(string(x.Stage)), longestReason, printable(string(x.Reason)), x.Bytes, x.Origin)
	if err == nil && len(x.Replayed) > 0 {
		_, err = fmt.Fprintf(w, "  replayed %s", times(len(x.Replayed)))
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// longestReason is how many columns the reasons of a list take; a longer one moves
// what stands behind it.
const longestReason = 17

// times is how often something happened.
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// letterSummary counts dead letters.
type letterSummary struct {
	Topic   string        `json:"topic"`
	Letters int64         `json:"dead_letters"`
	Reasons []reasonCount `json:"reasons"` // the most frequent first
}

type reasonCount struct {
	Stage   string `json:"stage"`
	Reason  string `json:"reason"`
	Letters int64  `json:"dead_letters"`
	Lacking int64  `json:"lacking,omitempty"` // that cannot be replayed
	First   string `json:"first"`             // places on the dead-letter topic; in several partitions the order is theirs
	Last    string `json:"last"`
}

func (s *letterSummary) add(x *letter) {
	s.Letters++
	i := slices.IndexFunc(s.Reasons, func(r reasonCount) bool { return r.Reason == string(x.Reason) && r.Stage == string(x.Stage) })
	if i < 0 {
		i = len(s.Reasons)
		s.Reasons = append(s.Reasons, reasonCount{Stage: string(x.Stage), Reason: string(x.Reason), First: x.place.String()})
	}
	r := &s.Reasons[i]
	r.Letters++
	r.Last = x.place.String()
	if x.Lacks() != "" {
		r.Lacking++
	}
}

func (s *letterSummary) sort() {
	slices.SortStableFunc(s.Reasons, func(a, b reasonCount) int { return int(min(1, max(-1, b.Letters-a.Letters))) })
}

// print writes the summary for people.
func (s *letterSummary) print(w io.Writer) error {
	var b strings.Builder
	if s.Letters == 0 {
		fmt.Fprintf(&b, "no such dead letters on the topic %s\n", s.Topic)
	} else {
		fmt.Fprintf(&b, "%s on the topic %s\n", count(s.Letters, "dead letter"), s.Topic)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, r := range s.Reasons {
			fmt.Fprintf(t, "%8d  %s\t%s\t%s", r.Letters, printable(r.Stage), printable(r.Reason), reasonText(pipeline.Reason(r.Reason)))
			if r.Lacking > 0 {
				fmt.Fprintf(t, " (%d cannot be replayed)", r.Lacking)
			}
			fmt.Fprintln(t)
		}
		_ = t.Flush() // b is memory
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// reasonText explains a reason of a dead letter.
func reasonText(r pipeline.Reason) string {
	for _, x := range pipeline.DeadLetterReasons() {
		if x.Reason == r {
			return x.Text
		}
	}
	return "a reason of another version of Weir"
}
