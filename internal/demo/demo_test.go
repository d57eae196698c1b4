package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *World {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "demo")
	}
	w, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// A world starts on the loopback address only, with all topics, the
// configuration and a key only its owner can read, and Close leaves nothing
// running (TestMain looks).
func TestWorldStarts(t *testing.T) {
	w := start(t, Options{})
	for _, addr := range append(w.Brokers(), w.RedisAddr(), strings.TrimPrefix(w.URL(), "http://")) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("listens on %s", addr)
		}
		if addr != strings.TrimPrefix(w.URL(), "http://") && !bytes.Contains(w.Config(), []byte(addr)) {
			t.Errorf("the configuration lacks %s", addr)
		}
	}
	written, err := os.ReadFile(w.ConfigPath())
	if err != nil || !bytes.Equal(written, w.Config()) {
		t.Errorf("the file differs from Config: %v", err)
	}
	key, err := os.ReadFile(filepath.Join(filepath.Dir(w.ConfigPath()), pseudonymKey))
	if err != nil || len(key) != 32 {
		t.Errorf("a key of %d bytes, %v", len(key), err)
	}
	if st, err := os.Stat(filepath.Join(filepath.Dir(w.ConfigPath()), pseudonymKey)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode: %v, %v", st.Mode(), err)
	}

	guide := w.Guide()
	for _, want := range []string{w.Brokers()[0], w.RedisAddr(), w.URL(), w.ConfigPath(), w.EvidenceDir(), w.Try()[5].Command} {
		if !strings.Contains(guide, want) {
			t.Errorf("the guide lacks %s", want)
		}
	}

	req := kmsg.NewPtrMetadataRequest()
	resp, err := req.RequestWith(t.Context(), w.client)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, topic := range resp.Topics {
		got[*topic.Topic] = len(topic.Partitions)
	}
	for _, name := range []string{
		"weir.posts", "weir.pushes", "weir.consent", "weir.outcomes", "weir.review",
		"weir.decisions", "weir.cleared", "weir.deferred", "weir.deadletter", "weir.checkpoints",
	} {
		if got[name] != int(partitionsOf(name)) {
			t.Errorf("%s has %d partitions", name, got[name])
		}
	}
}

// The embedded Redis answers what the daemon asks before it trusts a Redis.
func TestRedisSaysItNeverEvicts(t *testing.T) {
	w := start(t, Options{})
	c := redis.NewClient(&redis.Options{Addr: w.RedisAddr()})
	defer c.Close()
	got, err := c.Info(t.Context(), "memory").Result()
	if err != nil || !strings.Contains(got, "maxmemory_policy:noeviction\r\n") {
		t.Errorf("INFO memory: %q, %v", got, err)
	}
	if err := c.Set(t.Context(), "k", "v", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	w.redis.FastForward(2 * time.Minute)
	if n, err := c.Exists(t.Context(), "k").Result(); err != nil || n != 0 {
		t.Errorf("a key outlived its time: %d, %v", n, err)
	}
}

// The configuration is one the daemon takes, and its store of send logs finds
// nothing wrong with the embedded Redis.
func TestConfigurationIsTaken(t *testing.T) {
	w := start(t, Options{})
	c, err := config.Load(w.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	in, out := w.Topics()
	if got := append(c.Input.Topics(), c.Output.Topics()...); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(append(in, out...)))) {
		t.Errorf("the daemon would use %v", got)
	}
	if c.Evidence.Dir != w.EvidenceDir() || !slices.Equal(c.Kafka.Brokers, w.Brokers()) {
		t.Errorf("evidence in %s, brokers %v", c.Evidence.Dir, c.Kafka.Brokers)
	}
	store, err := push.NewStore(push.Options{Config: c.Push})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Check(t.Context()); err != nil {
		t.Errorf("the store does not trust the embedded Redis: %v", err)
	}
}

// A folder that holds a demo is not used again, and visitors are let in by the
// loopback address only.
func TestWorldRefuses(t *testing.T) {
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, configFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"a used folder", Options{Dir: used}, "already holds weir.yaml; name a folder that is new or empty"},
		{"no folder", Options{}, "no folder given"},
		{"an outside address", Options{Dir: t.TempDir(), HTTP: "0.0.0.0:0"}, "0.0.0.0 is not a loopback address"},
		{"no address", Options{Dir: t.TempDir(), HTTP: "here"}, "listen for visitors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := Start(t.Context(), c.o)
			if err == nil {
				_ = w.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q", err, c.want)
			}
		})
	}
}

// standIn is a daemon as simple as can be: it flags posts that hold a canary,
// cannot read what is broken, allows every push, and commits.
func standIn(ctx context.Context, t *testing.T, w *World) {
	c, err := kgo.NewClient(
		kgo.SeedBrokers(w.Brokers()...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(inputs()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	d := event.NewDecoder(event.DefaultConfig())
	kinds := map[string]event.Kind{topicPosts: event.Post, topicPushes: event.Push, topicConsent: event.Consent, topicOutcomes: event.Outcome}
	for ctx.Err() == nil {
		fetched := c.PollFetches(ctx).Records()
		var out []*kgo.Record
		for _, r := range fetched {
			at := place{r.Topic, r.Partition, r.Offset}
			var headers []event.Header
			for _, h := range r.Headers {
				headers = append(headers, event.Header{Key: h.Key, Value: h.Value})
			}
			var e event.Event
			err := d.Decode(kinds[r.Topic], headers, r.Value, &e)
			id := fmt.Sprintf("%s-%d-%d", r.Topic, r.Partition, r.Offset)
			switch {
			case err != nil:
				out = append(out, &kgo.Record{Topic: topicDeadLetter, Key: r.Key, Value: r.Value, Headers: []kgo.RecordHeader{
					{Key: "__connect.errors.topic", Value: []byte(r.Topic)},
					{Key: "__connect.errors.partition", Value: fmt.Append(nil, r.Partition)},
					{Key: "__connect.errors.offset", Value: fmt.Append(nil, r.Offset)},
					{Key: "weir-id", Value: []byte(id)}, {Key: "weir-reason", Value: []byte("broken")},
				}})
			case r.Topic == topicPosts && bytes.Contains(r.Value, []byte(w.desk.taboos.canaries[0])):
				for _, topic := range []string{topicReview, topicDecisions} {
					v := verdictRecord(topic, at, `"event_id":"`+string(e.ID)+`","kind":"post","action":"review","reason":"content"`)
					v.Headers[0].Value = []byte(id + topic)
					out = append(out, v)
				}
			case r.Topic == topicPushes:
				v := verdictRecord(topicDecisions, at, `"event_id":"`+string(e.ID)+`","kind":"push","action":"pass","decision":"allow","reason":"none","user":{"id":"`+string(e.User.ID)+`"}`)
				v.Headers[0].Value = []byte(id)
				out = append(out, v)
			}
			d.Reset()
		}
		for _, r := range out {
			r.Timestamp = time.Time{}
		}
		if len(fetched) == 0 {
			continue
		}
		if err := c.ProduceSync(ctx, out...).FirstErr(); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		if err := c.CommitRecords(ctx, fetched...); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
}

// The whole round: the city talks, a daemon judges, a visitor asks, and after
// Drain every post is accounted for.
func TestWorldRuns(t *testing.T) {
	w := start(t, Options{Seed: 42, Rate: 600})
	w.desk.patience = 20 * time.Second // on a busy machine too
	daemon, stop := context.WithCancel(t.Context())
	defer stop()
	judging := make(chan struct{})
	go func() { defer close(judging); standIn(daemon, t, w) }()

	city, end := context.WithCancel(t.Context())
	defer end()
	ran := make(chan error, 1)
	go func() { ran <- w.Run(city) }()

	ask := func(path, body string) string {
		resp, err := http.Post(w.URL()+path, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	for _, c := range []struct{ path, body, want string }{
		{"/posts", "hello " + w.desk.taboos.canaries[0], "verdict   review, reason content"},
		{"/posts", `{"id":`, "dead letter, reason broken"},
		{"/posts", "hello", "verdict   pass"},
	} {
		if got := ask(c.path, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: no %q in\n%s", c.path, c.body, c.want, got)
		}
	}
	deadline := time.After(20 * time.Second)
	for c := w.Counts(); c.Posts < 300 || c.Allowed < 20 || c.DeadLetters < 2; c = w.Counts() {
		select {
		case <-deadline:
			t.Fatalf("after 20 s: %+v", c)
		case <-time.After(20 * time.Millisecond):
		}
	}
	end()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	bound, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Drain(bound); err != nil {
		t.Errorf("Drain: %v", err)
	}
	stop()
	<-judging
	c := w.Counts()
	if c.Waiting() != 0 || c.Judged != c.Posts || c.Allowed+c.DeadLetters-c.deadPosts != c.Pushes {
		t.Errorf("it does not add up: %+v, %d waiting", c, c.Waiting())
	}
	if c.Consents < population {
		t.Errorf("only %d users told what they agree to", c.Consents)
	}
}

// Without a daemon nothing hangs: Run ends with its context, Drain with its own.
func TestWorldWithoutDaemon(t *testing.T) {
	w := start(t, Options{Rate: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		for ctx.Err() == nil && w.Counts().Consents < population {
			<-time.After(10 * time.Millisecond)
		}
		cancel()
	}()
	if err := w.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		t.Errorf("Drain: %v", err)
	}
	if c := w.Counts(); c.Posts != 0 || c.Consents != population {
		t.Errorf("counted %+v", c)
	}
}
