package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
)

// viewWorld is topics of consent and a Redis.
type viewWorld struct {
	t        *testing.T
	producer *kgo.Client
	brokers  []string
	redis    *miniredis.Miniredis
	key      string
	policy   *push.Policy
	input    ingest.Config
	versions int
}

// noon is a time of day at which nobody in Shanghai rests.
var noon = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

func newViewWorld(t *testing.T, input ingest.Topics, topics ...string) *viewWorld {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &viewWorld{t: t, brokers: cluster.ListenAddrs(), redis: miniredis.RunT(t), key: filepath.Join(t.TempDir(), "key")}
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") {
			return false
		}
		c.WriteBulk("run_id:r\r\nmaster_replid:h\r\n")
		return true
	})
	if err := os.WriteFile(w.key, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.producer, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.producer.Close)
	if _, err := kadm.NewClient(w.producer).CreateTopics(t.Context(), 6, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	src, err := configs.FS.ReadFile("push.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if w.policy, err = push.ParsePolicy("push.yaml", src); err != nil {
		t.Fatal(err)
	}
	w.input = ingest.DefaultConfig()
	w.input.Consent = input
	return w
}

// tell produces messages to one topic. Each is a user's id and what becomes of them: "+"
// agrees, "-" withdraws, "x" is forgotten, "?" cannot be read.
func (w *viewWorld) tell(topic, envelope string, messages ...string) {
	w.t.Helper()
	var records []*kgo.Record
	for _, m := range messages {
		user, what := m[:len(m)-1], m[len(m)-1]
		r := &kgo.Record{Topic: topic, Key: []byte(user)}
		w.versions++
		switch what {
		case '+', '-':
			r.Value = fmt.Appendf(nil, `%s{"id":"c%d","time":"2026-11-24T03:00:00Z","user":{"id":%q},"version":%d,"grants":[{"class":"marketing","channel":"app","granted":%v,"time":"2026-11-24T03:00:00Z","method":"settings"}]}`,
				envelope, w.versions, user, w.versions, what == '+')
		case '?':
			r.Value = []byte("{")
		}
		records = append(records, r)
	}
	if err := w.producer.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// view returns what keeps the view, as a process of its own would have it.
func (w *viewWorld) view(log *slog.Logger) *consentView {
	w.t.Helper()
	store, err := push.NewStore(push.Options{Consent: []string{"consent"},
		Config: push.Config{PseudonymKeyFile: w.key, Redis: push.RedisConfig{Addrs: []string{w.redis.Addr()}}}})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := kafka.DefaultConfig()
	cfg.Brokers = w.brokers
	client, err := kafka.NewClient(cfg, kafka.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		for _, err := range []error{store.Close(), client.Close()} {
			if err != nil {
				w.t.Error(err)
			}
		}
	})
	return &consentView{store: store, client: client, input: &w.input, events: event.DefaultConfig(), log: log,
		policy: func() *push.Policy { return w.policy }, looked: make(chan struct{}), every: 10 * time.Millisecond,
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rebuilds"}, []string{"result"}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{Name: "restored"})}
}

// running runs views until the test is over.
func (w *viewWorld) running(views ...*consentView) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	for _, v := range views {
		wg.Go(func() {
			if err := v.run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

func (w *viewWorld) complete(v *consentView) {
	w.t.Helper()
	select {
	case <-v.looked:
	case <-time.After(30 * time.Second):
		w.t.Fatal("the view is never complete")
	}
}

// decided returns what is decided of a push to a user.
func (w *viewWorld) decided(v *consentView, user, class string) string {
	w.t.Helper()
	ask := func() ([]push.Decision, error) {
		return v.store.Decide(w.t.Context(), w.policy, noon, []push.Request{{User: []byte(user), ID: []byte("n"), Class: []byte(class), Channel: []byte("app"), Label: []byte("AD"), Time: noon}})
	}
	d, err := ask()
	for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline); {
		d, err = ask() // a busy machine, as the pipeline asks again
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(d[0].Decision) + "/" + string(d[0].Reason)
}

// An empty Redis becomes a complete view of all topics of consent there are, whatever
// their messages look like: each user's newest state, and nobody who was forgotten.
//
// Clause: push-consent
func TestViewIsRebuiltFromAllTopics(t *testing.T) {
	confluent := event.Layout{Envelope: event.EnvelopeConfluent}
	w := newViewWorld(t, ingest.Topics{{Topic: "consent"}, {Pattern: `consent\..+`, Layout: confluent}}, "consent", "consent.eu", "others")
	const users = 1500 // more than go to Redis at once from a partition
	var all []string
	for i := range users {
		all = append(all, fmt.Sprintf("u%d+", i))
	}
	w.tell("consent", "", append(all, "back+", "gone+", "taken+", "broken?", "gone-", "gonex", "backx", "back+", "taken-", "regret-", "regret+")...)
	w.tell("consent.eu", "\x00\x00\x00\x00\x07", "europe+")
	w.tell("others", "", "other+")
	v := w.view(slog.New(slog.DiscardHandler))
	if got := w.decided(v, "u1", "marketing"); got != "defer/held" {
		t.Errorf("before: %s", got)
	}
	w.running(v)
	w.complete(v)
	for user, want := range map[string]string{"back": "allow/none", "gone": "deny/no-consent", "taken": "deny/withdrawn", "regret": "allow/none",
		"europe": "allow/none", "other": "deny/no-consent", "broken": "deny/no-consent"} {
		if got := w.decided(v, user, "marketing"); got != want {
			t.Errorf("%s: %s, want %s", user, got, want)
		}
	}
	for i := range users {
		if got := w.decided(v, fmt.Sprint("u", i), "marketing"); got != "allow/none" {
			t.Fatalf("u%d: %s", i, got)
		}
	}
	if got := testutil.ToFloat64(v.restored); got != users+11+1 {
		t.Errorf("%v messages were read again, want %d", got, users+11+1)
	}

	// Redis is flushed: the view is rebuilt without being asked for.
	w.redis.FlushAll()
	for deadline := time.Now().Add(30 * time.Second); w.decided(v, "taken", "marketing") != "deny/withdrawn"; time.Sleep(5 * time.Millisecond) {
		if got := w.decided(v, "taken", "marketing"); got != "defer/held" && got != "deny/withdrawn" {
			t.Fatalf("meanwhile: %s", got)
		}
		if time.Now().After(deadline) {
			t.Fatal("the view is never complete again")
		}
	}
}

// Of several processes one rebuilds the view, and all of them trust it.
func TestOneProcessRebuilds(t *testing.T) {
	w := newViewWorld(t, ingest.Named("consent"), "consent")
	w.tell("consent", "", "u+", "v-")
	var views []*consentView
	for range 4 {
		views = append(views, w.view(slog.New(slog.DiscardHandler)))
	}
	w.running(views...)
	done := 0.0
	for _, v := range views {
		w.complete(v)
		if got := w.decided(v, "u", "marketing") + " " + w.decided(v, "v", "marketing"); got != "allow/none deny/withdrawn" {
			t.Error(got)
		}
		done += testutil.ToFloat64(v.rebuilds.WithLabelValues("done"))
	}
	if done != 1 {
		t.Errorf("%v rebuilds, want one", done)
	}
}

// While the topics cannot be read nothing is trusted; that is said once, counted each
// time, and tried again until it works.
func TestRebuildIsTriedAgain(t *testing.T) {
	w := newViewWorld(t, ingest.Named("consent"), "another")
	var log bytes.Buffer
	v := w.view(slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := v.run(ctx); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); testutil.ToFloat64(v.rebuilds.WithLabelValues("failed")) < 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not tried again")
		}
	}
	if got := w.decided(v, "u", "marketing") + " " + w.decided(v, "u", "service"); got != "defer/held allow/none" {
		t.Error(got)
	}
	if _, err := kadm.NewClient(w.producer).CreateTopics(t.Context(), 2, 1, nil, "consent"); err != nil {
		t.Fatal(err)
	}
	w.tell("consent", "", "u+")
	w.complete(v)
	cancel()
	wg.Wait()
	for _, want := range []string{"not known to be complete", "trying again", "topic consent", "consent was read again", "is complete"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log says %q %d times:\n%s", want, strings.Count(log.String(), want), &log)
		}
	}
	v = w.view(slog.New(slog.DiscardHandler))
	w.running(v)
	w.complete(v)
	if got := w.decided(v, "u", "marketing"); got == "defer/held" {
		t.Error(got)
	}
}
