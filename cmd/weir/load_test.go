package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/load"
)

// loadWorld is a daemon that judges posts and pushes, on the cluster that WEIR_TEST_KAFKA
// names or an embedded broker.
type loadWorld struct {
	t       *testing.T
	tag     string // begins the names of topics
	dir     string
	config  string // its file
	admin   string
	brokers []string
	kgo     *kgo.Client
}

func newLoadWorld(t *testing.T) *loadWorld {
	t.Helper()
	w := &loadWorld{t: t, tag: fmt.Sprintf("load-%d", time.Now().UnixNano()), dir: t.TempDir()}
	w.brokers, _ = testBrokers(t)
	var err error
	w.kgo, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.UnknownTopicRetries(-1), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kgo.Close)
	var topics []string
	for _, word := range []string{"posts", "pushes", "consent", "review", "relayed", "decisions", "cleared", "deferred", "dead"} {
		topics = append(topics, w.tag+"."+word)
	}
	if _, err := kadm.NewClient(w.kgo).CreateTopics(t.Context(), 2, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	w.settle(topics)
	redis := os.Getenv("WEIR_TEST_REDIS")
	if redis == "" {
		redis = embeddedRedis(t)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "pseudonym.key"), bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
source: load
kafka: {brokers: ["%[2]s"]}
input: {group: %[1]s, posts: %[1]s.posts, pushes: %[1]s.pushes, consent: %[1]s.consent}
output: {review: %[1]s.review, decisions: %[1]s.decisions, cleared: %[1]s.cleared, deferred: %[1]s.deferred, deadletter: %[1]s.dead}
push: {pseudonym_key_file: pseudonym.key, redis: {addrs: ["%[3]s"]}}
evidence: {dir: evidence}
`, w.tag, strings.Join(w.brokers, `", "`), redis)
	w.config = w.file("weir.yaml", text)
	w.file("relayed.yaml", strings.Replace(text, w.tag+".review", w.tag+".relayed", 1))
	w.start()
	return w
}

func (w *loadWorld) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// settle waits until the topics have leaders.
func (w *loadWorld) settle(topics []string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		list, err := kadm.NewClient(w.kgo).ListEndOffsets(w.t.Context(), topics...)
		if err == nil && list.Error() == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err, list.Error())
		}
	}
}

// start starts the daemon and waits until it is up. It ends with the test.
func (w *loadWorld) start() {
	w.t.Helper()
	cfg, err := config.Load(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	var status, log lockedBuffer
	go func() {
		done <- app.Run(ctx, app.Options{
			Config: cfg, Load: func() (*config.Config, error) { return config.Load(w.config) },
			Listen: "127.0.0.1:0", Build: "test", Status: &status, Up: func() { close(up) }, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		})
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the daemon ended with %v", err)
		}
		if w.t.Failed() {
			w.t.Log(log.String())
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- err
		w.t.Fatal("the daemon has ended")
	case <-time.After(time.Minute):
		w.t.Fatalf("the daemon is not up\n%s", log.String())
	}
	w.admin = regexp.MustCompile(`http://[0-9.:]+`).FindString(status.String())
}

// load runs the verb and returns its exit code, its report and what it said.
func (w *loadWorld) load(args ...string) (code int, r load.Report, said string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	code = run(w.t.Context(), append([]string{"load", "--json"}, args...), streams{strings.NewReader(""), &out, &errs})
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			w.t.Fatalf("%v: %s", err, out.Bytes())
		}
	}
	return code, r, errs.String()
}

// relay copies the review topic to another one, which is what a reader of it sees, for
// as long as the test runs: each record as often as times says of its number.
func (w *loadWorld) relay(times func(n int) int) (stop func()) {
	w.t.Helper()
	from := make(map[int32]kgo.Offset)
	ends, err := kadm.NewClient(w.kgo).ListEndOffsets(w.t.Context(), w.tag+".review")
	if err != nil {
		w.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().At(o.Offset) })
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.tag + ".review": from}))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		n := 0
		for ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				for range times(n) {
					again := &kgo.Record{Topic: w.tag + ".relayed", Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
					if err := w.kgo.ProduceSync(ctx, again).FirstErr(); err != nil && ctx.Err() == nil {
						w.t.Error(err)
					}
				}
				n++
			})
		}
	})
	return func() {
		cancel()
		running.Wait()
		c.Close()
	}
}

// A load that a daemon takes is well: every flagged post and every push comes out, none
// twice, and what it cost is told. From a file it is the same.
func TestLoad(t *testing.T) {
	w := newLoadWorld(t)
	code, r, said := w.load("--config", w.config, "--rate", "2000", "--duration", "3s", "--users", "500", "--hits", "5", "--admin", w.admin)
	if code != exitFine || said != "" {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if r.Posts < 4000 || r.Pushes < 800 || r.Flagged < 100 || r.Rate < 1000 || len(r.Problems) > 0 {
		t.Errorf("report %+v", r)
	}
	review, decisions := r.Outputs["review"], r.Outputs["decisions"]
	if review.Messages != r.Flagged || decisions.Messages < r.Pushes || review.Lost+decisions.Lost+review.Repeated+decisions.Repeated > 0 {
		t.Errorf("review %+v, decisions %+v", review, decisions)
	}
	if r.Outputs["cleared"].Messages == 0 {
		t.Error("no push was allowed: the users were not enrolled")
	}
	if l := review.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("latencies %+v", l)
	}
	if c := r.CPU; c == nil || c.Instances != 1 || c.Micros <= 0 || int64(c.Messages) < r.Sent()-1 {
		t.Errorf("CPU %+v for %d messages", c, r.Sent())
	}

	file := w.file("events.jsonl", `{"id":"a","time":"2026-01-01T00:00:00Z","user":{"id":"u1"},"fields":{"text":"a quiet day"}}
{"id":"b","time":"2026-01-01T00:00:00Z","user":{"id":"u2"},"class":"service","channel":"app","fields":{"body":"your parcel is on its way"}}
`)
	code, r, said = w.load("--config", w.config, "--file", file, "--rate", "0", "--count", "1001")
	if code != exitFine || r.Posts != 501 || r.Pushes != 500 || r.Flagged != 0 || r.Outputs["decisions"].Messages != 500 {
		t.Errorf("from a file: exit code %d, %s%+v", code, said, r)
	}
}

// A record of the review topic that its reader does not get is a loss and one it gets
// twice a repetition, and both are told by the exit code.
func TestLoadFindsWhatIsLost(t *testing.T) {
	w := newLoadWorld(t)
	for _, c := range []struct {
		name  string
		times func(n int) int
		args  []string
		code  int
		want  string
		wait  string
	}{
		{"nothing", func(int) int { return 1 }, nil, exitFine, "", "1m"},
		{"one lost", func(n int) int { return min(n, 1) }, nil, exitFailed, "1 events did not come on " + w.tag + ".relayed, such as p", "3s"},
		{"one twice", func(n int) int { return 2 - min(n, 1) }, nil, exitFailed, "1 messages came more than once, 0 may", "1m"},
		{"one twice, which it may", func(n int) int { return 2 - min(n, 1) }, []string{"--max-repeats", "1"}, exitFine, "", "1m"},
		{"too slow", func(int) int { return 1 }, []string{"--max-p99", "1ns"}, exitFailed, "the slowest of a hundred messages on", "1m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := w.relay(c.times)
			defer stop()
			code, r, said := w.load(append([]string{"--config", filepath.Join(w.dir, "relayed.yaml"), "--rate", "500", "--duration", "1s", "--hits", "10", "--pushes", "0", "--wait", c.wait}, c.args...)...)
			if code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("exit code %d, want %d; said %q, want %q\n%+v", code, c.code, said, c.want, r)
			}
			if (c.code == exitFine) != (len(r.Problems) == 0) {
				t.Errorf("problems %q", r.Problems)
			}
		})
	}
}

// What cannot be found out ends with another code and says what would be right: brokers of
// another machine nobody named, a topic others write to, a group that does not read.
func TestLoadRefuses(t *testing.T) {
	w := newLoadWorld(t)
	far := w.file("far.yaml", "kafka: {brokers: [\"kafka-1.example.org:9092\"]}\n")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--config", far}, []string{"kafka-1.example.org:9092 is not on this machine", "--on kafka-1.example.org:9092"}},
		{[]string{"--config", w.config, "--hits", "200"}, []string{"hits: 200 %"}},
		{[]string{"--config", w.config, "--max-growth", "1"}, []string{"max-growth: 1 bytes a message", "the admin listeners"}},
		{[]string{"--config", w.config, "--file", far}, []string{"line 1: not a message that can be judged"}},
		{[]string{"--config", w.config, "--count", "10", "--admin", "http://127.0.0.1:1"}, []string{"ask the daemon"}},
	} {
		if code, _, said := w.load(c.args...); code != exitMisuse || slices.ContainsFunc(c.want, func(s string) bool { return !strings.Contains(said, s) }) {
			t.Errorf("%q: exit code %d, said %q, want %q", c.args, code, said, c.want)
		}
	}

	// Somebody writes to the topic all the time.
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			w.kgo.ProduceSync(ctx, &kgo.Record{Topic: w.tag + ".posts", Value: []byte("{}")})
		}
	})
	code, _, said := w.load("--config", w.config, "--count", "10", "--pushes", "0")
	cancel()
	writing.Wait()
	if code != exitMisuse || !strings.Contains(said, "somebody else writes to it") || !strings.Contains(said, "--among-others") {
		t.Errorf("exit code %d, said %q", code, said)
	}

	// Nobody of the group judges: that is no loss of the daemon's, but nothing to be content with.
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	other := w.file("other.yaml", strings.Replace(string(text), "group: "+w.tag, "group: "+w.tag+"-nobody", 1))
	code, r, said := w.load("--config", other, "--count", "100", "--pushes", "0", "--wait", "2s")
	if code != exitFailed || r.Unjudged == 0 || !strings.Contains(said, "has not committed the last") {
		t.Errorf("exit code %d, said %q, %+v", code, said, r)
	}
}

// The text for people says what the report holds.
func TestLoadForPeople(t *testing.T) {
	var b bytes.Buffer
	p := load.Percentiles{Messages: 30, P50: 1, P90: 2, P99: 3, P999: 4, Max: 5}
	err := printLoad(&b, &load.Report{
		Run: "0a", Seed: 1, Posts: 90, Pushes: 10, Planted: 31, Flagged: 30, Seconds: 2, Rate: 50, Drained: 0.5, Behind: 1.5, Acknowledged: p,
		Outputs: map[string]*load.Output{"review": {Topic: "r", Messages: 30, Latency: &p, Lost: 1, Repeated: 2}, "cleared": {Topic: "c", Messages: 7}},
		CPU:     &load.CPU{Instances: 2, Seconds: 1, Messages: 100, Micros: 10_000, Resident: 5e7},
		Memory: []load.Memory{{
			Instance: "http://127.0.0.1:9464", Resident: load.Trend{Early: 5e7, Late: 5.1e7}, Heap: load.Trend{Early: 2e7, Late: 2e7}, PerMessage: 0.123,
			Goroutines: load.Trend{Early: 40, Late: 41}, Files: load.Trend{Early: 30, Late: 30},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `90 posts and 10 pushes in 2.0 s, 50 a second, at most 1.5 ms behind, all judged 0.5 s later; run 0a, seed 1
31 with a term of the rules, 30 flagged by them

  from due to  messages  p50  p90  p99  p99.9  max ms  lost  repeated
      written        30  1.0  2.0  3.0    4.0     5.0
            r        30  1.0  2.0  3.0    4.0     5.0     1         2
            c         7                                   0         0

10000.0 us of CPU a message: 1.0 s for 100 messages by 2 instances, at most 50 MB resident

            early, late  resident MB  live heap MB  bytes a message  goroutines  open files
  http://127.0.0.1:9464   50.0, 51.0    20.0, 20.0            +0.12      40, 41      30, 30
`
	var got strings.Builder
	for line := range strings.Lines(b.String()) {
		got.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
