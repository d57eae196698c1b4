package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks"
)

// deadLetterOf makes a dead letter of a message as the pipeline does.
func deadLetterOf(origin sinks.Place, stage pipeline.Stage, reason pipeline.Reason, r *pipeline.Record) pipeline.DeadLetter {
	r.Offset = origin.Offset
	return pipeline.DeadLetter{
		ID:     pipeline.NewID("test", origin.Topic, origin.Partition, origin.Offset, "deadletter "+string(reason), 0, "rules"),
		Origin: pipeline.Origin{Source: "test", Topic: origin.Topic, Partition: origin.Partition},
		Record: r, Stage: stage, Reason: reason, Detail: "event: user.id: missing", Rules: strings.Repeat("ab", 32),
	}
}

// writeDeadLetters writes dead letters as the daemon does.
func writeDeadLetters(ctx context.Context, brokers []string, topic string, limit int, list ...pipeline.DeadLetter) error {
	cfg := kafka.DefaultConfig()
	cfg.Brokers = brokers
	client, err := kafka.NewClient(cfg, kafka.Options{})
	if err != nil {
		return err
	}
	out := sinks.DefaultConfig()
	out.DeadLetter, out.MaxMessageBytes = topic, limit
	s := &sinks.Kafka{Config: out, Producer: client.NewProducer(produce.Options{Topics: []string{topic}})}
	return errors.Join(s.Write(ctx, &pipeline.Output{DeadLetters: list}), client.Close())
}

// bury writes a dead letter into a topic of $BROKER: bury TOPIC ORIGIN STAGE REASON KEY FILE
// [HEADER=VALUE ...]. The key - is none, and a value of more than 2000 bytes is left out as
// too large for the topic.
func bury(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 6, "bury topic origin stage reason key file [header=value ...]")
	origin, err := sinks.ParsePlace(args[1])
	ts.Check(err)
	r := &pipeline.Record{Value: []byte(ts.ReadFile(args[5]))}
	if args[4] != "-" {
		r.Key = []byte(args[4])
	}
	for _, h := range args[6:] {
		name, value, _ := strings.Cut(h, "=")
		r.Headers = append(r.Headers, event.Header{Key: name, Value: []byte(value)})
	}
	ts.Check(writeDeadLetters(context.Background(), []string{ts.Getenv("BROKER")}, args[0], 3000,
		deadLetterOf(origin, pipeline.Stage(args[2]), pipeline.Reason(args[3]), r)))
}

// graveyard is a topic of dead letters and the topic they came from.
type graveyard struct {
	t       *testing.T
	brokers []string
	posts   string
	dead    string
	client  *kgo.Client
}

func newGraveyard(t *testing.T) *graveyard {
	t.Helper()
	g := &graveyard{t: t}
	g.brokers, _ = testBrokers(t)
	tag := fmt.Sprintf("letters-%d", time.Now().UnixNano())
	g.posts, g.dead = tag+".posts", tag+".dead"
	var err error
	if g.client, err = kgo.NewClient(kgo.SeedBrokers(g.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.client.Close)
	g.create(3, nil, g.posts, g.dead)
	return g
}

// create makes topics and waits until they can be written to: a real broker takes a moment.
func (g *graveyard) create(partitions int32, config map[string]*string, topics ...string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	admin := kadm.NewClient(g.client)
	if _, err := admin.CreateTopics(ctx, partitions, 1, config, topics...); err != nil {
		g.t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ends, err := admin.ListEndOffsets(ctx, topics...)
		led := 0
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				led++
			}
		})
		if err == nil && led == int(partitions)*len(topics) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			g.t.Fatalf("topics %v: %d partitions have a leader, %v", topics, led, err)
		}
	}
}

// bury writes dead letters.
func (g *graveyard) bury(list ...pipeline.DeadLetter) {
	g.t.Helper()
	if err := writeDeadLetters(g.t.Context(), g.brokers, g.dead, 1_000_000, list...); err != nil {
		g.t.Fatal(err)
	}
}

// read returns what a topic holds, each message as one text.
func (g *graveyard) read(topic string) []string {
	g.t.Helper()
	ends, err := kadm.NewClient(g.client).ListEndOffsets(g.t.Context(), topic)
	if err != nil {
		g.t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	c, err := kgo.NewClient(kgo.SeedBrokers(g.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	var list []string
	for int64(len(list)) < want {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			g.t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			headers := make([]event.Header, len(r.Headers))
			for i, h := range r.Headers {
				headers[i] = event.Header(h)
			}
			list = append(list, messageText(r.Key, r.Value, headers))
		})
	}
	return list
}

// messageText is all of a message; null is not empty.
func messageText(key, value []byte, headers []event.Header) string {
	return fmt.Sprintf("%#v %#v %#v", key, value, headers)
}

// weir runs a verb with --brokers and --topic and returns its output.
func (g *graveyard) weir(args ...string) string {
	g.t.Helper()
	var out, errs bytes.Buffer
	code := run(g.t.Context(), append(args, "--brokers", strings.Join(g.brokers, ","), "--topic", g.dead), streams{strings.NewReader(""), &out, &errs})
	if code != exitFine {
		g.t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, &out, &errs)
	}
	return out.String()
}

// lines reads JSON lines.
func lines[T any](t *testing.T, text string) []T {
	t.Helper()
	var list []T
	for line := range strings.Lines(text) {
		var x T
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, x)
	}
	return list
}

// messages buries n messages of many kinds and returns each as it must come back, by the
// place it was read from.
func (g *graveyard) messages(n int) map[string]string {
	g.t.Helper()
	want := make(map[string]string)
	var list []pipeline.DeadLetter
	for i := range n {
		r := &pipeline.Record{Key: fmt.Appendf(nil, "user-%d", i%97), Value: fmt.Appendf(nil, `{"id":"%d`, i)}
		switch i % 7 {
		case 1:
			r.Key = nil
		case 2:
			r.Key, r.Value = []byte{}, []byte{}
		case 3:
			r.Value = nil
			r.Headers = []event.Header{{Key: "n", Value: fmt.Append(nil, i)}, {Key: "null"}, {Key: "empty", Value: []byte{}}}
		case 4:
			r.Headers = []event.Header{{Key: "__connect.errors.topic", Value: []byte("upstream")}, {Key: "weir-id", Value: []byte("made up")}}
		case 5:
			r.Value = []byte{0, 0xff, byte(i), byte(i >> 8)}
		}
		origin := sinks.Place{Topic: g.posts, Partition: int32(i % 3), Offset: int64(i)}
		want[origin.String()] = messageText(r.Key, r.Value, r.Headers)
		list = append(list, deadLetterOf(origin, pipeline.StageDecode, "missing", r))
	}
	g.bury(list...)
	return want
}

// byOrigin returns the places of dead letters by where each was read.
func (g *graveyard) byOrigin() map[string]string {
	g.t.Helper()
	places := make(map[string]string)
	for _, x := range lines[letterReport](g.t, g.weir("deadletter", "list", "--json")) {
		places[x.Origin] = x.Place
	}
	return places
}

// marked is a message with the header of its replay.
func marked(t *testing.T, text, place string) string {
	t.Helper()
	h := fmt.Sprintf("%#v", event.Header{Key: "weir-replayed-from", Value: []byte(place)})
	rest, ok := strings.CutSuffix(text, "}")
	switch {
	case strings.HasSuffix(text, "(nil)"):
		rest = strings.TrimSuffix(text, "(nil)") + "{"
	case !ok:
		t.Fatalf("no headers in %s", text)
	case !strings.HasSuffix(text, "Header{}"):
		rest += ", "
	}
	return rest + h + "}"
}

// What is replayed is the message as it was received and one header more, once each;
// nothing is written before --execute says so; and what comes back is not replayed for
// ever.
func TestDeadLettersAreReplayed(t *testing.T) {
	g := newGraveyard(t)
	sent := g.messages(1000)
	places := g.byOrigin()
	if len(places) != len(sent) {
		t.Fatalf("%d dead letters listed, want %d", len(places), len(sent))
	}
	want := make(map[string]int)
	for origin, text := range sent {
		want[marked(t, text, places[origin])]++
	}
	if out := g.weir("deadletter", "replay"); !strings.Contains(out, "1000  would be replayed into "+g.posts) || !strings.Contains(out, "nothing is written") {
		t.Errorf("dry run: %s", out)
	}
	if n := len(g.read(g.posts)); n != 0 {
		t.Fatalf("a dry run wrote %d messages", n)
	}
	out := g.weir("deadletter", "replay", "--execute", "--rate", "0")
	if !strings.Contains(out, "1000  replayed into "+g.posts) {
		t.Errorf("replay: %s", out)
	}
	got := make(map[string]int)
	for _, text := range g.read(g.posts) {
		got[text]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("replayed, -want +got:\n%s", diff)
	}

	// The places that are said leave all of them out.
	_, after, _ := strings.Cut(strings.TrimSpace(out), "what was replayed: ")
	if out := g.weir(append([]string{"deadletter", "replay"}, strings.Fields(after)...)...); !strings.HasPrefix(out, "no such dead letters") {
		t.Errorf("after %s: %s", after, out)
	}

	// One that comes back is known, and replayed no second time unless that is asked for.
	origin := sinks.Place{Topic: g.posts, Partition: 1, Offset: 5000}
	again := &pipeline.Record{Value: []byte("again"), Headers: []event.Header{{Key: "weir-replayed-from", Value: []byte(g.dead + "/0/0")}}}
	g.bury(deadLetterOf(origin, pipeline.StageDecode, "missing", again))
	place := g.byOrigin()[origin.String()]
	if out := g.weir("deadletter", "replay", "--execute", place); !strings.Contains(out, "1  left out: replayed once already; first "+place) {
		t.Errorf("one that was replayed before: %s", out)
	}
	g.weir("deadletter", "replay", "--execute", "--max-replays", "2", place)
	list := g.read(g.posts)
	if len(list) != 1001 || !containsOnce(list, marked(t, messageText(nil, again.Value, again.Headers), place)) {
		t.Errorf("%d messages, or not the one that was replayed twice", len(list))
	}
}

func containsOnce(list []string, text string) bool {
	n := 0
	for _, x := range list {
		if x == text {
			n++
		}
	}
	return n == 1
}

// What lies on the topic twice, because a batch was judged again, is replayed once; a topic
// that does not exist is known before anything is written; a message its topic does not
// take is told and the others are replayed.
func TestReplayOfWhatCannotAllBeReplayed(t *testing.T) {
	g := newGraveyard(t)
	r := func(value string) *pipeline.Record { return &pipeline.Record{Key: []byte("k"), Value: []byte(value)} }
	origin := func(topic string, offset int64) sinks.Place { return sinks.Place{Topic: topic, Offset: offset} }
	twice := deadLetterOf(origin(g.posts, 1), pipeline.StageDecode, "missing", r("twice"))
	g.bury(twice, twice, deadLetterOf(origin(g.posts, 1), pipeline.StageDecode, "missing", r("of a topic made anew")),
		deadLetterOf(origin("gone", 1), pipeline.StageDecode, "missing", r("gone")))

	var errs bytes.Buffer
	code := run(t.Context(), []string{"deadletter", "replay", "--execute", "--brokers", strings.Join(g.brokers, ","), "--topic", g.dead},
		streams{strings.NewReader(""), &bytes.Buffer{}, &errs})
	if code != exitFailed || !strings.Contains(errs.String(), "topic gone, to which 1 dead letter would go: topic does not exist") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	if n := len(g.read(g.posts)); n != 0 {
		t.Fatalf("%d messages were written before it was known that not all can be", n)
	}

	small := g.posts + ".small"
	limit := "2000"
	g.create(1, map[string]*string{"max.message.bytes": &limit}, small)
	noise := make([]byte, 4000) // what does not compress
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	g.bury(deadLetterOf(origin(g.posts, 2), pipeline.StageDecode, "too-large", &pipeline.Record{Key: []byte("k"), Value: noise}),
		deadLetterOf(origin(g.posts, 3), pipeline.StageDecode, "missing", &pipeline.Record{Headers: make([]event.Header, pipeline.MaxHeaders)}))
	out := g.weir("deadletter", "replay", "--execute", "--origin", g.posts, "--into", small, "--json")
	var sums replayPlan
	all := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(all[len(all)-1]), &sums); err != nil {
		t.Fatal(err)
	}
	whys := make(map[string]int64)
	for _, l := range sums.Left {
		whys[l.Why] = l.Letters
	}
	if diff := cmp.Diff(map[string]int64{"the same message is there twice": 1,
		"it has 128 headers, and with one more it could not be read": 1, "larger than the topic " + small + " takes": 1}, whys); diff != "" {
		t.Error(diff)
	}
	if sums.Matched != 5 || sums.Replayed != 2 || len(g.read(small)) != 2 {
		t.Errorf("matched %d, replayed %d, %d are there; want 5, 2, 2", sums.Matched, sums.Replayed, len(g.read(small)))
	}
}

// stopAfter ends a context when so many lines were written.
type stopAfter struct {
	mu   sync.Mutex
	b    bytes.Buffer
	n    int
	stop context.CancelFunc
}

func (s *stopAfter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n -= bytes.Count(p, []byte("\n")); s.n <= 0 {
		s.stop()
	}
	return s.b.Write(p)
}

// Whoever interrupts a replay learns how far it got, and can go on from there so that each
// message is written exactly once.
func TestReplayIsInterruptedAndGoesOn(t *testing.T) {
	g := newGraveyard(t)
	sent := g.messages(500)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &stopAfter{n: 150, stop: cancel}
	var errs bytes.Buffer
	args := []string{"deadletter", "replay", "--execute", "--json", "--rate", "500", "--brokers", strings.Join(g.brokers, ","), "--topic", g.dead}
	if code := run(ctx, args, streams{strings.NewReader(""), out, &errs}); code != exitFailed || !strings.Contains(errs.String(), "weir: error: interrupted; ") {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	list := strings.Split(strings.TrimSpace(out.b.String()), "\n")
	var sums replayPlan
	if err := json.Unmarshal([]byte(list[len(list)-1]), &sums); err != nil {
		t.Fatal(err)
	}
	if sums.Replayed < 150 || sums.Replayed >= 500 || int(sums.Replayed) != len(g.read(g.posts)) {
		t.Fatalf("%d replayed by its own account, %d are there", sums.Replayed, len(g.read(g.posts)))
	}
	rest := []string{"deadletter", "replay", "--execute", "--rate", "0"}
	for _, place := range sums.After {
		rest = append(rest, "--after", place)
	}
	g.weir(rest...)
	once := make(map[string]bool)
	all := g.read(g.posts)
	for _, text := range all {
		once[text] = true
	}
	if len(all) != len(sent) || len(once) != len(sent) {
		t.Errorf("%d messages, %d of them different; want each of %d once", len(all), len(once), len(sent))
	}
}

// A replay that is killed has told how far it got: going on from there loses nothing, and
// repeats at most the batch that was in hand.
func TestReplayIsKilledAndGoesOn(t *testing.T) {
	g := newGraveyard(t)
	sent := g.messages(2000)
	weir := binary(t)
	cmd := exec.CommandContext(t.Context(), weir, "deadletter", "replay", "--execute", "--json", "--rate", "1000",
		"--brokers", strings.Join(g.brokers, ","), "--topic", g.dead)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := make(map[string]string) // partition of the dead-letter topic → its last place
	told := 0
	for in := bufio.NewScanner(stdout); told < 700 && in.Scan(); told++ {
		var x replayedLetter
		if err := json.Unmarshal(in.Bytes(), &x); err != nil || !x.Replayed {
			t.Fatalf("%v: %s", err, in.Text())
		}
		last[x.Place[:strings.LastIndex(x.Place, "/")]] = x.Place
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it had ended before it was killed")
	}
	rest := []string{"deadletter", "replay", "--execute", "--rate", "0"}
	for _, place := range last {
		rest = append(rest, "--after", place)
	}
	g.weir(rest...)
	once := make(map[string]bool)
	all := g.read(g.posts)
	for _, text := range all {
		once[text] = true
	}
	// Told but not read here, and written but not told: a batch of 100 each, and what the pipe holds.
	if repeated := len(all) - len(sent); len(once) != len(sent) || repeated > 1000 {
		t.Errorf("%d messages, %d of them different; want each of %d, and a batch or two again", len(all), len(once), len(sent))
	}
}

// Brokers that are away are waited for, but not for ever: somebody waits at the terminal,
// and learns from which place on nothing is known to be written.
func TestReplayDoesNotWaitForEver(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "posts"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := kafka.DefaultConfig()
	cfg.Brokers = c.ListenAddrs()
	client, err := kafka.NewClient(cfg, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	c.Close()
	w := replayWriter{replay: &replay{deadLetterReplayCmd: new(deadLetterReplayCmd)}, plan: newReplayPlan("dead"), done: make(map[int32]int64),
		producer: client.NewProducer(produce.Options{Topics: []string{"posts"}}), patience: time.Millisecond}
	w.add(produce.Message{Topic: "posts", Value: []byte("x")}, sinks.Place{Topic: "dead", Offset: 7})
	if err := w.flush(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "replay from dead/0/7 on: ") || w.plan.Replayed > 0 || len(w.done) > 0 {
		t.Errorf("%v; %d replayed, up to %v", err, w.plan.Replayed, w.done)
	} else {
		t.Log(err)
	}
}

// So many messages take at least so long.
func TestSpread(t *testing.T) {
	for _, test := range []struct {
		sent int64
		rate int
		want time.Duration
	}{{0, 10, 0}, {5, 10, 500 * time.Millisecond}, {1 << 40, 0, 0}, {1_000_000_000, 1000, 1_000_000 * time.Second}} {
		if got := spread(test.sent, test.rate); got != test.want {
			t.Errorf("%d at %d a second: %v, want %v", test.sent, test.rate, got, test.want)
		}
	}
}

// A dead letter from the topic of deferred pushes is replayed into the topic the push
// was read from first, where it is decided anew: on the other it would wait for a turn.
func TestReplayOfDeferredPushes(t *testing.T) {
	past := deferral.Past{Topic: "pushes", Offset: 7, Count: 2}
	var known []batch.Header
	for _, h := range past.Headers() {
		known = append(known, batch.Header(h))
	}
	for _, c := range []struct {
		from, into string
		headers    []batch.Header
		want, why  string
	}{
		{from: "deferred", headers: known, want: "pushes"},
		{from: "deferred", headers: known, into: "elsewhere", want: "elsewhere"},
		{from: "deferred", why: "it does not say from which topic of pushes it came; name one with --into"},
		{from: "deferred", into: "elsewhere", want: "elsewhere"},
		{from: "posts", headers: known, want: "posts"}, // as its producer made it up
	} {
		r := replay{deadLetterReplayCmd: &deadLetterReplayCmd{Into: c.into, MaxReplays: 1}, letters: &letters{topic: "dead", deferred: "deferred"}}
		x := &letter{DeadLetter: sinks.DeadLetter{Origin: sinks.Place{Topic: c.from}, Reason: "missing", Headers: c.headers}}
		if topic, why := r.into(newReplayPlan("dead"), x); topic != c.want || why != c.why {
			t.Errorf("%+v: replayed into %q, %q", c, topic, why)
		}
	}
}
