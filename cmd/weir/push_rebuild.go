package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
)

type pushRebuildCmd struct {
	Config  string    `default:"weir.yaml" help:"The daemon's configuration: topics, Redis, the key of pseudonyms, the policy." placeholder:"FILE" type:"path"`
	Since   time.Time `help:"Read the topics from this time on; without it from as long ago as the policy's longest window reaches." placeholder:"TIME"`
	Execute bool      `help:"Do it. Without it nothing is written: what would be is said."`
	JSON    bool      `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (pushRebuildCmd) Help() string {
	return `Reads every allowed push from output.decisions and what was cancelled from input.outcomes, and enters into the users' send logs in Redis what they lack: after Redis lost data, or a record was damaged. What is there stays, so it may be done at any time, again and again, and while daemons run: a log that somebody else changes meanwhile is read and merged again. Users whose consent was deleted since (weir push forget) are left out. At last it says where a user has had more than a limit of today's policy allows. Of the daemons' own profiles it restores nothing: those come from the topic of consent.`
}

// Run rebuilds send logs.
func (c *pushRebuildCmd) Run(ctx context.Context, s streams) (err error) {
	cfg, policy, store, err := openPushes(c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	now := time.Now()
	if c.Since.IsZero() {
		c.Since = now.Add(-policy.Reach())
	}
	if !c.Since.Before(now) {
		return &codeError{errors.New("--since: is yet to come; nothing was decided after it"), exitMisuse}
	}
	if _, err := store.InspectUser(ctx, nil); err != nil { // before hours of reading
		return awayError(err)
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	r := rebuild{
		pushRebuildCmd: c, streams: s, cfg: cfg, client: client, began: now,
		logs: store.RestoreLogs(policy, now, !c.Execute), decoder: event.NewDecoder(cfg.Events), forgotten: make(map[string]time.Time),
	}
	r.Since = c.Since.UTC().Truncate(time.Second)
	err = r.run(ctx)
	if ctx.Err() != nil {
		err = errInterrupted
	}
	r.took = time.Since(now)
	if err != nil {
		if c.Execute && r.logs.Changed > 0 {
			err = &hintError{fmt.Errorf("%w; %s entered so far", err, pushes(r.logs.Inserted)), "do it again: what is there already is left as it is"}
		}
		return err
	}
	return r.tell()
}

// rebuild is one run of the verb.
type rebuild struct {
	*pushRebuildCmd
	streams
	cfg       *config.Config
	client    *kafka.Client
	logs      *push.Restoration
	decoder   *event.Decoder
	began     time.Time
	took      time.Duration
	forgotten map[string]time.Time // by id, since when

	decisions, outcomes, others, left int64
	late                              int // partitions of decisions that begin later than Since
}

func (r *rebuild) run(ctx context.Context) error {
	if err := r.readForgotten(ctx); err != nil {
		return err
	}
	ends, err := r.readOutcomes(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.readDecisions(ctx); err != nil {
		return err
	}
	if err := r.logs.Flush(ctx); err != nil {
		return awayError(err)
	}
	// What was cancelled meanwhile a daemon may have seen before the log had it.
	if _, err := r.readOutcomes(ctx, ends); err != nil {
		return err
	}
	if err := r.logs.Settle(ctx); err != nil {
		return awayError(err)
	}
	return nil
}

// readForgotten finds the users whose consent was deleted since.
func (r *rebuild) readForgotten(ctx context.Context) error {
	topics, err := r.topics(ctx, r.cfg.Input.Consent, event.Consent)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		err := r.scan(ctx, topic, nil, " looked at for users to forget", func(_ *kafka.Batch, x *kafka.Record) error {
			if x.Value == nil && x.Corrupt == "" && x.Key != nil {
				r.forgotten[string(x.Key)] = time.UnixMilli(x.Time)
			}
			return nil
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// topics returns the names of all topics of one kind.
func (r *rebuild) topics(ctx context.Context, list ingest.Topics, kind event.Kind) ([]string, error) {
	var names []string
	patterns := false
	for i := range list {
		if list[i].Pattern == "" {
			names = append(names, list[i].Topic)
		}
		patterns = patterns || list[i].Pattern != ""
	}
	if !patterns {
		return names, nil
	}
	all, err := r.client.AllTopics(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if s, ok := r.cfg.Input.Stream(t.Name); ok && s.Kind == kind && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// ends are the offsets up to which topics were read.
type ends map[string][]kafka.Range

// readOutcomes reads what was cancelled, from where it was read before if it
// was.
func (r *rebuild) readOutcomes(ctx context.Context, from ends) (ends, error) {
	topics, err := r.topics(ctx, r.cfg.Input.Outcomes, event.Outcome)
	if err != nil {
		return nil, err
	}
	to := make(ends)
	for _, topic := range topics {
		stream, _ := r.cfg.Input.Stream(topic)
		if r.decoder.Format, err = stream.Topic.Format(event.Outcome); err != nil {
			return nil, err
		}
		var e event.Event
		to[topic], err = r.outcomesOf(ctx, topic, from, &e)
		if err != nil {
			return nil, err
		}
	}
	return to, nil
}

func (r *rebuild) outcomesOf(ctx context.Context, topic string, from ends, e *event.Event) (read []kafka.Range, err error) {
	narrow := func(scan *kafka.Scan) {
		for i := range scan.Ranges {
			x := &scan.Ranges[i]
			for _, before := range from[topic] {
				if before.Partition == x.Partition {
					x.First = min(max(x.First, before.Next), x.Next)
				}
			}
		}
		read = slices.Clone(scan.Ranges)
	}
	var headers []event.Header
	return read, r.scan(ctx, topic, narrow, " of outcomes", func(_ *kafka.Batch, x *kafka.Record) error {
		headers = headers[:0]
		for k, v := range x.Headers {
			headers = append(headers, event.Header{Key: string(k), Value: v})
		}
		defer r.decoder.Reset()
		if x.Corrupt != "" || r.decoder.Decode(event.Outcome, headers, x.Value, e) != nil {
			return nil // a dead letter of the daemon's
		}
		r.outcomes++
		r.logs.Cancel(e.User.ID, e.Outcome.PushID, time.UnixMilli(x.Time))
		return nil
	}, nil)
}

// readDecisions reads what was allowed.
func (r *rebuild) readDecisions(ctx context.Context) error {
	if err := r.findLate(ctx); err != nil {
		return err
	}
	reader := sinks.NewAllowedReader()
	bar := func() string {
		return fmt.Sprintf(" of decisions, %s, %d new", pushes(r.logs.Read), r.logs.Inserted)
	}
	return r.scan(ctx, r.cfg.Output.Decisions, nil, "", func(_ *kafka.Batch, x *kafka.Record) error {
		r.decisions++
		sent, allowed, err := reader.Read(x.Value)
		switch {
		case err != nil || x.Corrupt != "":
			r.others++
			return nil
		case !allowed:
			return nil
		}
		if at, gone := r.forgotten[string(sent.User)]; gone && !sent.At.After(at) {
			r.left++
			return nil
		}
		// A replay too: where a process died between allowing a push and saying so, it
		// is all there is. Where there is more, its id is known by then.
		if err := r.logs.Add(ctx, &sent); err != nil {
			return awayError(err)
		}
		return nil
	}, bar)
}

// findLate counts the partitions of which messages since then may have been
// deleted.
func (r *rebuild) findLate(ctx context.Context) error {
	var scans [2][]kafka.Range
	for i, from := range []time.Time{{}, r.Since} {
		scan, err := r.client.OpenScan(ctx, r.cfg.Output.Decisions, from, time.Time{})
		if err != nil {
			return err
		}
		scans[i] = scan.Ranges
		scan.Close()
	}
	for i, whole := range scans[0] {
		if whole.First > 0 && i < len(scans[1]) && scans[1][i].First <= whole.First {
			r.late++
		}
	}
	return nil
}

// scan reads a topic from Since to its end as it is now.
func (r *rebuild) scan(ctx context.Context, topic string, narrow func(*kafka.Scan), note string, each func(*kafka.Batch, *kafka.Record) error, say func() string) error {
	scan, err := r.client.OpenScan(ctx, topic, r.Since, time.Time{})
	if err != nil {
		return err
	}
	defer scan.Close()
	if narrow != nil {
		narrow(scan)
	}
	bar := progress{w: r.err, note: note, on: demo.IsTerminal(r.err)}
	for _, x := range scan.Ranges {
		bar.total += x.Next - x.First
	}
	defer bar.end()
	var done int64
	var said error
	err = scan.Read(ctx, func(b *kafka.Batch) error {
		for i := range b.Records {
			if said = each(b, &b.Records[i]); said != nil {
				return said
			}
		}
		done += b.Next - b.First
		if say != nil && bar.on {
			bar.note = say()
		}
		bar.show(done, done)
		return ctx.Err()
	})
	if said != nil {
		return said
	}
	return err
}

// rebuilt is what was done, as programs read it.
type rebuilt struct {
	Since     time.Time `json:"since"`
	Executed  bool      `json:"executed"`
	Decisions int64     `json:"decisions"` // messages
	Outcomes  int64     `json:"outcomes"`
	Others    int64     `json:"others"`    // messages that are no decisions
	Forgotten int64     `json:"forgotten"` // pushes of users who were forgotten
	Late      int       `json:"late"`      // partitions of decisions whose first messages since then are deleted
	push.Restored
	Seconds float64 `json:"seconds"`
}

func (r *rebuild) tell() error {
	x := rebuilt{r.Since, r.Execute, r.decisions, r.outcomes, r.others, r.left, r.late, r.logs.Restored, r.took.Seconds()}
	if r.JSON {
		return jsonTo(r.out).Encode(x)
	}
	return x.print(r.out, paletteFor(r.out))
}

// print writes for people what was done, or would be.
func (x *rebuilt) print(w io.Writer, p palette) error {
	var b strings.Builder
	rate := ""
	if x.Seconds >= 1 {
		rate = fmt.Sprintf(", %.0f a second", float64(x.Decisions)/x.Seconds)
	}
	fmt.Fprintf(&b, "%s and %s since %s%s\n", count(x.Decisions, "decision"), count(x.Outcomes, "outcome"), x.Since.Format(time.RFC3339), rate)
	line := func(n int64, format string, args ...any) {
		if n > 0 {
			fmt.Fprintf(&b, "%10d  %s\n", n, fmt.Sprintf(format, args...))
		}
	}
	verb := "would be entered into"
	if x.Executed {
		verb = "entered into"
	}
	line(x.Others, "messages that are no decisions of Weir were passed over")
	line(x.Read, "allowed pushes")
	line(x.Uncounted, "of classes that the policy does not count")
	line(x.Old, "too old for any limit")
	line(x.Forgotten, "of users who were forgotten since")
	line(x.Known, "known in their logs")
	line(x.Inserted, "%s the logs of %s", verb, count(x.Changed, "user"))
	line(x.Refunded, "cancelled, and counted all the same until now")
	line(x.Damaged, "damaged logs made anew")
	line(x.Full, "%s: their log is full", p.paint(red, "left out"))
	if x.Late > 0 {
		fmt.Fprintf(&b, "%s: %s of decisions no longer reach back so far: what they lack is lost; keep them longer (retention.ms) than the policy's longest window\n",
			p.paint(red, "incomplete"), count(x.Late, "partition"))
	}
	if x.Users == 0 {
		fmt.Fprintln(&b, "no user has had a push that counts")
	}
	for _, id := range slices.Sorted(maps.Keys(x.OverCap)) {
		o := x.OverCap[id]
		fmt.Fprintf(&b, "%s limit %s: %s by %s\n", p.paint(red, "over the cap"), id, pushes(o.Pushes), count(o.Users, "user"))
	}
	if len(x.OverCap) == 0 && x.Users > 0 {
		fmt.Fprintf(&b, "%s in the logs of %s\n", p.paint(green, "nothing over the cap"), count(x.Users, "user"))
	}
	if !x.Executed {
		fmt.Fprintln(&b, "nothing is written; do it with --execute")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
