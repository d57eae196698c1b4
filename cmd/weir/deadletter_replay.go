package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks"
)

type deadLetterReplayCmd struct {
	deadLetterFlags
	filterFlags
	Places     []string `arg:"" optional:"" name:"place" help:"Only these, topic/partition/offset as weir deadletter list writes them."`
	Execute    bool     `help:"Do it. Without it nothing is written: what would be is said."`
	DryRun     bool     `help:"Only say what would be written, which is so without --execute, too."`
	Into       string   `help:"Write all of them to this topic; without it each goes to the one it was read from." placeholder:"TOPIC"`
	After      []string `help:"Leave out what lies up to this place of its partition: where an earlier replay ended." placeholder:"PLACE"`
	MaxReplays int      `help:"Leave out what was replayed so often already." default:"1"`
	Rate       int      `help:"How many to write in a second at most; 0 for as many as can be." default:"1000"`
	JSON       bool     `name:"json" help:"Write JSON instead of text for people: an object for each dead letter on a line, as soon as it is replayed, and one with the sums."`
}

// Help says what kong cannot know.
func (deadLetterReplayCmd) Help() string {
	return `Writes messages that could not be judged to their topics again, when what was wrong is mended: key, value and headers as they were received, what Weir added taken away, and one more header, weir-replayed-from, with the place of the dead letter. A message that becomes a dead letter again is recognised by that header and not replayed a second time unless --max-replays allows it, so that nothing goes round for ever. Each goes to the partition its key belongs to. A message that lies there twice is written once. What is not the whole message cannot be replayed and is counted: values that were too large for the dead-letter topic, headers too many to be read, record batches that cannot be read. Dead letters stay on their topic: what the same command would do once more is left out with --after and the places that are said at the end, also when it is interrupted or fails; if the process is killed, those last seen in the progress line or in the output of --json. What was being written then may be there twice.`
}

// misuse says what cannot be asked for together.
func (c *deadLetterReplayCmd) misuse() error {
	switch {
	case c.Execute && c.DryRun:
		return errors.New("give --execute or --dry-run, not both")
	case c.Rate < 0:
		return errors.New("--rate: give 0 or more")
	case c.MaxReplays < 1:
		return errors.New("--max-replays: give 1 or more")
	case c.Into != "" && !kafka.IsTopicName(c.Into):
		return fmt.Errorf("--into: %q is no name of a topic", c.Into)
	case len(c.Places) > 0 && (len(c.After) > 0 || !c.From.IsZero() || !c.To.IsZero()):
		return errors.New("give places, or --from, --to and --after, not both")
	}
	return c.filterFlags.misuse()
}

// places reads those that are given.
func (c *deadLetterReplayCmd) places() (only, after []sinks.Place, err error) {
	for _, text := range c.Places {
		p, err := sinks.ParsePlace(text)
		if err != nil {
			return nil, nil, err
		}
		only = append(only, p)
	}
	for _, text := range c.After {
		p, err := sinks.ParsePlace(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--after: %w", err)
		}
		after = append(after, p)
	}
	return only, after, c.topicOf(slices.Concat(only, after))
}

// Run replays dead letters.
func (c *deadLetterReplayCmd) Run(ctx context.Context, s streams) (err error) {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	only, after, err := c.places()
	if err != nil {
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
	if len(only) > 0 {
		if err := l.only(only); err != nil {
			return err
		}
	}
	if err := l.after(after); err != nil {
		return err
	}
	ranges := slices.Clone(l.scan.Ranges)

	// What is to be written is known before anything is: nobody wants to learn after a
	// thousand messages that the topic of the next is not there.
	r := replay{deadLetterReplayCmd: c, streams: s, letters: l}
	plan, err := r.survey(ctx)
	if err != nil {
		return err
	}
	l.sayOthers(s)
	if !c.Execute {
		return r.tell(plan, true)
	}
	l.scan.Ranges = ranges
	return r.execute(ctx, plan)
}

// replay is one run of the verb.
type replay struct {
	*deadLetterReplayCmd
	streams
	letters *letters
}

// replayPlan counts what is to be replayed, or was.
type replayPlan struct {
	Topic    string           `json:"topic"`
	Matched  int64            `json:"matched"`
	Replayed int64            `json:"replayed"`
	Into     map[string]int64 `json:"into"` // by topic; before it is done what would be
	Left     []leftLetters    `json:"left"` // what is not replayed, by why
	After    []string         `json:"after"`

	todo int64 // how many are to be replayed
	// seen grows by a sum for each message that is replayed; who fears for the memory
	// chooses a stretch with --from and --to.
	seen map[[16]byte]bool
}

// leftLetters are dead letters that are not replayed.
type leftLetters struct {
	Why     string `json:"why"`
	Letters int64  `json:"dead_letters"`
	First   string `json:"first"` // place of the first
}

func newReplayPlan(topic string) *replayPlan {
	return &replayPlan{Topic: topic, Into: make(map[string]int64), Left: []leftLetters{}, After: []string{}, seen: make(map[[16]byte]bool)}
}

func (p *replayPlan) leave(why string, place sinks.Place) {
	i := slices.IndexFunc(p.Left, func(l leftLetters) bool { return l.Why == why })
	if i < 0 {
		i = len(p.Left)
		p.Left = append(p.Left, leftLetters{Why: why, First: place.String()})
	}
	p.Left[i].Letters++
}

// into says to which topic a dead letter is to be written, or why it is not.
func (r *replay) into(p *replayPlan, x *letter) (topic, why string) {
	topic = x.Origin.Topic
	if topic == r.letters.deferred && r.Into == "" {
		// There it would wait for a turn once more; it is decided anew as what it was first.
		first, ok := x.First()
		if !ok {
			return "", "it does not say from which topic of pushes it came; name one with --into"
		}
		topic = first.Topic
	}
	if r.Into != "" {
		topic = r.Into
	}
	if lacks := x.Lacks(); lacks != "" {
		return "", fmt.Sprintf("%s lacks %s", x.Reason, lacks)
	}
	if n := len(x.Replayed); n >= r.MaxReplays {
		return "", fmt.Sprintf("replayed %s already", times(n))
	}
	if topic == r.letters.topic {
		return "", "it would come to the dead-letter topic itself"
	}
	if len(x.Headers) >= pipeline.MaxHeaders {
		return "", fmt.Sprintf("it has %d headers, and with one more it could not be read", len(x.Headers))
	}
	sum := messageSum(x)
	if p.seen[sum] {
		return "", "the same message is there twice"
	}
	p.seen[sum] = true
	return topic, ""
}

// messageSum names a message: its place and what it says. A topic that was made anew
// has other messages in the same places.
func messageSum(x *letter) [16]byte {
	h := sha256.New()
	for _, b := range [][]byte{[]byte(x.Source), []byte(x.Origin.String()), x.Key, x.Value} {
		fmt.Fprintf(h, "%d ", len(b))
		h.Write(b)
	}
	return [16]byte(h.Sum(nil))
}

// replayedLetter is a dead letter and what became of it, as programs read it.
type replayedLetter struct {
	Place    string `json:"place"`
	Into     string `json:"into,omitempty"`
	Replayed bool   `json:"replayed"`
	Why      string `json:"why,omitempty"` // it is not
}

// watched reports whether somebody looks at the progress, and it would not be mixed up with
// what else is written.
func (r *replay) watched() bool {
	return demo.IsTerminal(r.err) && (!r.JSON || !demo.IsTerminal(r.out))
}

// survey finds out what is to be replayed, and that it can be.
func (r *replay) survey(ctx context.Context) (*replayPlan, error) {
	l := r.letters
	plan, enc := newReplayPlan(l.topic), jsonTo(r.out)
	bar := progress{w: r.err, total: l.total(), on: r.watched(), note: " looked at"}
	err := l.each(ctx, func(x *letter) error {
		bar.show(l.read, l.read)
		if !r.matches(&x.DeadLetter) {
			return nil
		}
		plan.Matched++
		topic, why := r.into(plan, x)
		if why != "" {
			plan.leave(why, x.place)
		} else {
			plan.Into[topic]++
			plan.todo++
		}
		if r.JSON && !r.Execute {
			return enc.Encode(replayedLetter{Place: x.place.String(), Into: topic, Why: why})
		}
		return nil
	})
	bar.end()
	if err != nil {
		return nil, err
	}
	topics, err := l.client.Topics(ctx, slices.Sorted(maps.Keys(plan.Into))...)
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		if t.Err != nil {
			return nil, &hintError{fmt.Errorf("topic %s, to which %s would go: %w", t.Name, count(plan.Into[t.Name], "dead letter"), t.Err),
				"choose with --origin what comes from other topics, or give --into"}
		}
	}
	return plan, nil
}

// replayBytes is about how much is written at once.
const replayBytes = 1 << 20

// replayBatch is how many are written at once at most.
const replayBatch = 500

// execute writes what was planned. A topic of dead letters may grow meanwhile: what
// comes after the start is left out.
//
// If the process dies in here, what was written is written, and nothing says so but
// the places that were told: at most one batch more is in its topics than they say,
// each message of it marked with its place.
func (r *replay) execute(ctx context.Context, plan *replayPlan) error {
	w := replayWriter{replay: r, plan: newReplayPlan(plan.Topic), began: time.Now(), done: make(map[int32]int64),
		producer: r.letters.client.NewProducer(produce.Options{Topics: slices.Sorted(maps.Keys(plan.Into)), MaxMessageBytes: maxReplayBytes}),
		bar:      progress{w: r.err, total: plan.todo, on: r.watched()},
		most:     replayBatch,
		patience: replayPatience,
	}
	if r.Rate > 0 {
		w.most = min(max(r.Rate/10, 1), replayBatch)
	}
	err := r.letters.each(ctx, func(x *letter) error {
		if !r.matches(&x.DeadLetter) {
			return nil
		}
		w.plan.Matched++
		topic, why := r.into(w.plan, x)
		if why != "" {
			w.plan.leave(why, x.place)
			return w.said(x.place, "", why)
		}
		w.add(cloned(x.Replay(topic, x.place)), x.place)
		if len(w.messages) >= w.most || w.bytes >= replayBytes {
			return w.flush(ctx)
		}
		return nil
	})
	if err == nil {
		err = w.flush(ctx)
	}
	w.bar.end()
	if ctx.Err() != nil {
		err = errInterrupted
	}
	for _, p := range slices.Sorted(maps.Keys(w.done)) {
		w.plan.After = append(w.plan.After, sinks.Place{Topic: plan.Topic, Partition: p, Offset: w.done[p]}.String())
	}
	if err == nil {
		return r.tell(w.plan, true)
	}
	return errors.Join(r.tell(w.plan, false), fmt.Errorf("%w; %d of %s replayed", err, w.plan.Replayed, count(plan.todo, "dead letter")))
}

// replayPatience is how long brokers may take to take a batch, before somebody who waits
// for it is told.
const replayPatience = 30 * time.Second

// maxReplayBytes is the largest message that is tried; its topic has the last word. A
// dead letter fitted into its own topic with some headers more.
const maxReplayBytes = 64 << 20

// replayWriter writes messages in batches.
type replayWriter struct {
	*replay
	plan     *replayPlan
	producer *produce.Producer
	bar      progress
	began    time.Time
	most     int // messages in a batch
	patience time.Duration

	messages []produce.Message
	places   []sinks.Place
	bytes    int
	sent     int64
	done     map[int32]int64 // the last offset of each partition that is replayed
}

func (w *replayWriter) add(m produce.Message, from sinks.Place) {
	w.messages = append(w.messages, m)
	w.places = append(w.places, from)
	w.bytes += batch.Size(m.Key, m.Value, m.Headers)
}

// said writes what became of a dead letter, for programs.
func (w *replayWriter) said(place sinks.Place, topic, why string) error {
	if !w.JSON {
		return nil
	}
	return jsonTo(w.out).Encode(replayedLetter{Place: place.String(), Into: topic, Replayed: why == "", Why: why})
}

// flush writes a batch and waits until the brokers have it, then for as long as the
// rate asks. Who interrupts it learns after the batch: so it is known what was written.
// Only if the brokers do not answer, that batch may be in its topics although it is told
// that it is not.
func (w *replayWriter) flush(ctx context.Context) error {
	if len(w.messages) == 0 {
		return ctx.Err()
	}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.patience)
	err := w.producer.Produce(patient, w.messages)
	cancel()
	large, tooLarge := errors.AsType[*produce.TooLargeError](err)
	if err != nil && !tooLarge {
		return fmt.Errorf("replay from %s on: %w", w.places[0], err)
	}
	for i, place := range w.places {
		topic, why := w.messages[i].Topic, ""
		if tooLarge && slices.Contains(large.Index, i) {
			why = "larger than the topic " + topic + " takes"
			w.plan.leave(why, place)
			topic = ""
		} else {
			w.plan.Into[topic]++
			w.plan.Replayed++
			w.done[place.Partition] = place.Offset
		}
		if err := w.said(place, topic, why); err != nil {
			return err
		}
	}
	last := w.places[len(w.places)-1]
	w.sent += int64(len(w.messages))
	w.messages, w.places, w.bytes = w.messages[:0], w.places[:0], 0
	w.bar.note = fmt.Sprintf(" replayed, up to %s", last)
	w.bar.show(w.sent, w.sent)
	return sleepUntil(ctx, w.began.Add(spread(w.sent, w.Rate)))
}

// spread is how long so many messages may take at least.
func spread(sent int64, rate int) time.Duration {
	if rate == 0 {
		return 0
	}
	return time.Duration(float64(sent) / float64(rate) * float64(time.Second))
}

// sleepUntil waits for a time, or for the end of ctx.
func sleepUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell says what was replayed, or would be, and whether that is all of it.
func (r *replay) tell(p *replayPlan, whole bool) error {
	if r.JSON {
		return jsonTo(r.out).Encode(p)
	}
	return p.print(r.out, r.Execute, whole)
}

// print writes the plan, or what was done, for people.
func (p *replayPlan) print(w io.Writer, executed, whole bool) error {
	var b strings.Builder
	if p.Matched == 0 {
		fmt.Fprintf(&b, "no such dead letters on the topic %s\n", p.Topic)
	} else {
		fmt.Fprintf(&b, "%s on the topic %s\n", count(p.Matched, "dead letter"), p.Topic)
	}
	verb := "would be replayed into"
	if executed {
		verb = "replayed into"
	}
	for _, topic := range slices.Sorted(maps.Keys(p.Into)) {
		fmt.Fprintf(&b, "%8d  %s %s\n", p.Into[topic], verb, topic)
	}
	for _, l := range p.Left {
		fmt.Fprintf(&b, "%8d  left out: %s; first %s\n", l.Letters, printable(l.Why), l.First)
	}
	switch {
	case !executed && len(p.Into) > 0:
		fmt.Fprintln(&b, "nothing is written; do it with --execute")
	case len(p.After) > 0:
		word := "to leave out next time what was replayed:"
		if !whole {
			word = "to go on from here:"
		}
		fmt.Fprintf(&b, "%s --after %s\n", word, strings.Join(p.After, " --after "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
