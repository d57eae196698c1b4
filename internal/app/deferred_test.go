package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
)

// siesta is a policy with ten minutes of rest at noon, for everybody.
const siesta = `
policy: push
version: "1"
default_zone: UTC
classes:
  service: {consent: none, quiet: ignore, count: true, on_cap: defer}
  marketing: {consent: required, quiet: defer, count: true}
channels: [app]
groups:
  default:
    quiet: "12:00-12:10"
    limits:
      - {id: service, classes: [service], rolling: 20m, max: 1}
      - {id: marketing, classes: [marketing], days: 1, max: 5}
  minor: {extends: default}
  elderly: {extends: default}
`

// siestaWorld is a broker and a Redis with the time of a bubble, in which it is nearly
// noon. It outlives the processes that are started in it.
type siestaWorld struct {
	t        *testing.T
	dial     kafka.Options
	brokers  []string
	admin    *kgo.Client
	client   *kafka.Client // who reads what is on the topics
	store    *push.Store
	policy   *push.Policy
	rules    *rules.Set
	delivery sinks.Delivery
	output   sinks.Config
	input    ingest.Config

	mu      sync.Mutex
	decided []decided // by every process, in order
}

// decided is a decision that a process has put on record.
type decided struct {
	at       time.Time
	event    string
	decision push.Decision
	topic    string
	past     string
}

// inSiesta runs a test in such a world, with so many partitions of deferred pushes.
func inSiesta(t *testing.T, partitions int, delivery sinks.Delivery, turn, spread time.Duration, test func(w *siestaWorld)) {
	redis := miniredis.RunT(t) // outside: its connections are real
	dir := t.TempDir()
	c := rules.DefaultConfig()
	set, err := app.OpenBundle(&c, bundle(t, pack("forbiddenstuff")), "")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 1, 3, 11, 58, 0, 0, time.UTC)))
		network := new(kfake.VirtualNetwork)
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		w := &siestaWorld{t: t, dial: kafka.Options{Dial: network.DialContext}, brokers: c.ListenAddrs(), rules: set.Set, delivery: delivery}
		w.client = w.newClient()
		if w.admin, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.Dialer(network.DialContext)); err != nil {
			t.Fatal(err)
		}
		w.policy, err = push.ParsePolicy("push.yaml", []byte(siesta))
		if err != nil {
			t.Fatal(err)
		}
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		if w.store, err = push.NewStore(push.Options{Config: push.Config{PseudonymKeyFile: key, Redis: push.RedisConfig{Addrs: []string{redis.Addr()}}}}); err != nil {
			t.Fatal(err)
		}
		w.output = sinks.DefaultConfig()
		w.output.Decisions, w.output.Cleared, w.output.Deferred = "decisions", "cleared", "deferred"
		w.output.Review, w.output.DeadLetter = "review", "dead"
		w.output.Delivery, w.output.DeferredTurn, w.output.DeferredSpread = delivery, turn, spread
		w.input = ingest.DefaultConfig()
		w.input.Posts, w.input.Pushes = nil, ingest.Topics{{Topic: "pushes"}, {Topic: "shop", Layout: event.Layout{Envelope: event.EnvelopeConfluent}}}
		w.input.Deferred, w.input.Ring = w.output.Deferred, w.output.Ring()
		w.input.SessionTimeout, w.input.MaxWait = 10*time.Second, time.Second
		topics := []kafka.NewTopic{{Name: "pushes", Partitions: 2}, {Name: "shop", Partitions: 1}, {Name: "deferred", Partitions: partitions}}
		for _, name := range []string{"decisions", "cleared", "review", "dead"} {
			topics = append(topics, kafka.NewTopic{Name: name, Partitions: 1})
		}
		if err := w.client.CreateTopics(t.Context(), topics...); err != nil {
			t.Fatal(err)
		}
		test(w)
		w.admin.Close()
		if err := errors.Join(w.client.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
		c.Close()
		synctest.Wait()
	})
}

func (w *siestaWorld) newClient() *kafka.Client {
	w.t.Helper()
	cfg := kafka.DefaultConfig()
	cfg.Brokers = w.brokers
	client, err := kafka.NewClient(cfg, w.dial)
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

// process is a Weir that can be killed.
type process struct {
	w        *siestaWorld
	client   *kafka.Client
	source   *ingest.Source
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error
	die      func(written bool, out *pipeline.Output) bool // true: the process dies before or after an output is written to the topics
}

var errKilled = errors.New("killed")

// Write puts decisions on record, as the first sink.
func (p *process) Write(_ context.Context, out *pipeline.Output) error {
	if p.die != nil && p.die(false, out) {
		return pipeline.Permanent(errKilled)
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for i := range out.Verdicts {
		v := &out.Verdicts[i]
		if v.Decision == nil {
			continue
		}
		d := decided{at: time.Now(), event: string(v.Event.ID), decision: *v.Decision, topic: v.Origin.Topic}
		if r := v.Record.Past; r != nil {
			d.past = fmt.Sprintf("%s x%d", r.Topic, r.Count)
		}
		p.w.decided = append(p.w.decided, d)
	}
	return nil
}

// reaper is the sink behind all others.
type reaper struct{ p *process }

func (r reaper) Write(_ context.Context, out *pipeline.Output) error {
	if r.p.die != nil && r.p.die(true, out) {
		return pipeline.Permanent(errKilled)
	}
	return nil
}

// start starts a process.
func (w *siestaWorld) start(die func(written bool, out *pipeline.Output) bool) *process {
	w.t.Helper()
	p := &process{w: w, client: w.newClient(), registry: prometheus.NewRegistry(), done: make(chan error, 1), die: die}
	producer := p.client.NewProducer(produce.Options{Topics: w.output.Topics(), MaxMessageBytes: w.output.MaxMessageBytes})
	out := &sinks.Kafka{Config: w.output, Producer: producer, Origin: "test", Group: w.input.Group}
	line, err := pipeline.New(pipeline.Options{
		Source: "test", Force: pipeline.Force{Rules: w.rules, Policy: w.policy}, Events: event.DefaultConfig(), Store: w.store,
		Sinks:      []pipeline.NamedSink{{Name: "record", Sink: p}, {Name: "kafka", Sink: out}, {Name: "reaper", Sink: reaper{p}}},
		MaxForward: w.output.MaxMessageBytes - 4096, Ring: w.output.Ring(), Registerer: p.registry,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	in := ingest.Options{Registerer: p.registry}
	if w.delivery == sinks.ExactlyOnce {
		in.Fence, in.Commit = out.Fence, out.Commit
	}
	p.source = ingest.NewSource(p.client, w.input, in)
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(w.t.Context())
	go func() { p.done <- p.source.Run(ctx, line) }()
	return p
}

// stop ends the process in good order.
func (p *process) stop() {
	p.w.t.Helper()
	p.cancel()
	if err := <-p.done; err != nil {
		p.w.t.Errorf("the process ended with %v", err)
	}
	if err := p.client.Close(); err != nil {
		p.w.t.Error(err)
	}
}

// killed waits until the process has died.
func (p *process) killed() {
	p.w.t.Helper()
	if err := <-p.done; !errors.Is(err, errKilled) {
		p.w.t.Errorf("the process ended with %v", err)
	}
	p.cancel()
	if err := p.client.Close(); err != nil {
		p.w.t.Error(err)
	}
}

// until sleeps until it is so late.
func (w *siestaWorld) until(hour, minute int) {
	time.Sleep(time.Until(w.clock(hour, minute)))
	synctest.Wait()
}

func (w *siestaWorld) clock(hour, minute int) time.Time {
	return time.Date(2000, 1, 3, hour, minute, 0, 0, time.UTC)
}

// push returns a push as it is produced.
func pushOf(id, user, class, expires string) []byte {
	m := map[string]any{"id": id, "time": "2000-01-03T11:30:00Z", "user": map[string]any{"id": user}, "class": class, "channel": "app", "fields": map[string]any{"body": "hello"}}
	if expires != "" {
		m["expires"] = "2000-01-03T" + expires + "Z"
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// send writes messages, each with a trace of its user.
func (w *siestaWorld) send(topic, user string, values ...[]byte) {
	w.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Key: []byte(user), Value: v, Headers: traceHeaders(user)})
	}
	if err := w.admin.ProduceSync(w.t.Context(), rs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// consent writes what a user has agreed to, and rest hours of the user's own.
func (w *siestaWorld) consent(version uint64, granted bool, quiet string, users ...string) {
	w.t.Helper()
	var events []push.Message
	for _, u := range users {
		e := &event.Event{Kind: event.Consent, User: event.User{ID: []byte(u)}, Time: time.Now()}
		e.Consent.Version, e.Consent.Zone, e.Consent.DailyMax, e.Consent.Quiet = version, []byte("UTC"), -1, []byte(quiet)
		e.Consent.Grants = []event.Grant{{Class: []byte("marketing"), Channel: []byte("app"), Granted: granted, Time: time.Now()}}
		events = append(events, push.Message{Event: e})
	}
	// Not too many at once: the embedded Redis takes half a millisecond for each, and the
	// store waits for it by the clock of the world outside.
	for some := range slices.Chunk(events, 50) {
		for try := 0; ; try++ {
			_, err := w.store.ApplyMessages(w.t.Context(), w.policy, time.Now(), some)
			if err == nil {
				break
			}
			if try == 20 {
				w.t.Fatal(err)
			}
		}
	}
}

// of returns what was decided about a push, in order.
func (w *siestaWorld) of(id string) (list []decided) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.decided {
		if d.event == id {
			list = append(list, d)
		}
	}
	return list
}

// words are decisions and reasons in short.
func words(list []decided) (out []string) {
	for _, d := range list {
		out = append(out, fmt.Sprintf("%s %s", d.decision.Decision, d.decision.Reason))
	}
	return out
}

// read returns the committed messages of a topic of one partition, by the id of the event.
func (w *siestaWorld) read(topic string) map[string][]*kgo.Record {
	w.t.Helper()
	scan, err := w.client.OpenScan(w.t.Context(), topic, time.Time{}, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer scan.Close()
	out := make(map[string][]*kgo.Record)
	if err := scan.Read(w.t.Context(), func(b *kafka.Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			var m struct {
				ID string `json:"id"`
			}
			// What comes from the shop has an envelope, which is passed on with it.
			if err := json.Unmarshal(r.Value[max(0, bytes.IndexByte(r.Value, '{')):], &m); err != nil {
				return err
			}
			k := &kgo.Record{Offset: r.Offset, Partition: b.Partition}
			for key, value := range r.Headers {
				k.Headers = append(k.Headers, kgo.RecordHeader{Key: string(key), Value: slices.Clone(value)})
			}
			out[m.ID] = append(out[m.ID], k)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// gauge returns a metric of a process.
func (p *process) gauge(name string, labels ...string) float64 {
	p.w.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (len(labels) == 0 || m.Label[0].GetValue() == labels[0]) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	p.w.t.Fatalf("no metric %s", name)
	return 0
}

// A push that is deferred comes back when its time has come and is decided from
// scratch: it is allowed, or denied because consent was withdrawn or its deadline has
// passed meanwhile, or deferred once more because it is still too early. However many
// partitions there are, and with either delivery.
func TestDeferredPushesComeBack(t *testing.T) {
	t.Parallel()
	for delivery, list := range map[sinks.Delivery][]int{sinks.AtLeastOnce: {3, 144}, sinks.ExactlyOnce: {1, 3}} {
		for _, partitions := range list {
			t.Run(fmt.Sprintf("%s/%d", delivery, partitions), func(t *testing.T) {
				t.Parallel()
				const turn, spread = 12 * time.Second, time.Minute
				inSiesta(t, partitions, delivery, turn, spread, func(w *siestaWorld) {
					w.consent(1, true, "", "stays", "leaves", "sleeps", "shop", "late", "never")
					p := w.start(nil)
					w.until(12, 1)
					for _, user := range []string{"stays", "leaves", "sleeps"} {
						w.send("pushes", user, pushOf(user, user, "marketing", "20:00:00"))
					}
					w.send("pushes", "late", pushOf("late", "late", "marketing", "12:12:00"))
					w.send("pushes", "never", pushOf("never", "never", "marketing", "12:09:59"))
					w.send("shop", "shop", append([]byte{0, 0, 0, 0, 7}, pushOf("shop", "shop", "marketing", "20:00:00")...))
					for i := range 2 {
						w.send("pushes", "eager", pushOf(fmt.Sprint("service", i), "eager", "service", ""))
					}
					w.until(12, 5)
					w.consent(2, false, "", "leaves")
					w.consent(2, true, "12:05-12:25", "sleeps")
					w.until(12, 8)
					if partitions > 60 { // else what waits is looked at on the way
						if n := p.gauge("weir_push_deferred_messages", "waiting"); n != 6 {
							t.Errorf("%v messages wait, want 6", n)
						}
					}
					p.stop()
					w.until(12, 13) // nobody is there when it is time for late
					p = w.start(nil)
					w.until(12, 28)
					if n := p.gauge("weir_push_deferred_oldest_seconds"); n != 0 {
						t.Errorf("a push is late by %v s", n)
					}
					p.stop()

					for id, want := range map[string]string{
						"stays": "allow none", "leaves": "deny withdrawn", "sleeps": "allow none", "late": "deny expired", "shop": "allow none",
						"never": "deny quiet-hours", "service0": "allow none", "service1": "allow none",
					} {
						list := w.of(id)
						final := list[len(list)-1]
						if got := words(list); got[len(got)-1] != want {
							t.Errorf("%s: %v, want %s in the end", id, got, want)
						}
						for i, d := range list[:len(list)-1] {
							if d.decision.Decision != push.Defer {
								t.Errorf("%s: decision %d is %s, and it was decided again", id, i, d.decision.Decision)
							}
							if r := d.decision; r.Release.Before(r.NotBefore) || r.Release.After(r.NotBefore.Add(spread+turn)) {
								t.Errorf("%s: deferred until %v, released at %v", id, r.NotBefore, r.Release)
							}
						}
						if len(list) > 1 {
							from := "pushes"
							if id == "shop" {
								from = "shop"
							}
							if want := fmt.Sprintf("%s x%d", from, len(list)-1); final.topic != "deferred" || final.past != want {
								t.Errorf("%s: decided last as a message of %s with the past %q, want %q", id, final.topic, final.past, want)
							}
						}
						if partitions > 60 && len(list) > 3 {
							t.Errorf("%s: looked at %d times, though a round is longer than its wait", id, len(list))
						}
						before := map[string]time.Time{"sleeps": w.clock(12, 25), "service1": w.clock(12, 21)}[id]
						if !before.IsZero() && (final.at.Before(before) || final.at.After(before.Add(spread+2*turn))) {
							t.Errorf("%s: decided last at %v, want within %v of %v", id, final.at, spread+2*turn, before)
						}
					}
					if got := words(w.of("sleeps")); !slices.Contains(got[1:], "defer quiet-hours") {
						t.Errorf("who sleeps longer has his push %v", got)
					}
					cleared := w.read("cleared")
					if got := slices.Sorted(maps.Keys(cleared)); !slices.Equal(got, []string{"service0", "service1", "shop", "sleeps", "stays"}) {
						t.Errorf("cleared: %v", got)
					}
					for id, list := range cleared {
						if len(list) != 1 {
							t.Errorf("%s is on the topic %d times", id, len(list))
						}
						user := id
						if strings.HasPrefix(id, "service") {
							user = "eager"
						}
						if diff := cmp.Diff(traceHeaders(user), traceOf(list[0])); diff != "" {
							t.Errorf("%s has lost its trace, -want +got:\n%s", id, diff)
						}
					}
					r := cleared["stays"][0]
					if first := header(r, "weir-first"); !strings.HasPrefix(first, "pushes/") {
						t.Errorf("cleared with the headers %v", r.Headers)
					}
				})
			})
		}
	}
}

// A process that is killed while it releases pushes, before or after they are on the
// topics, leaves them to the next one: every push is sent, none twice under two ids,
// and none has consumed twice.
func TestKilledWhileReleasing(t *testing.T) {
	t.Parallel()
	for _, delivery := range []sinks.Delivery{sinks.AtLeastOnce, sinks.ExactlyOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			inSiesta(t, 3, delivery, 2*time.Minute, 2*time.Minute, func(w *siestaWorld) {
				var users []string
				for i := range 100 {
					users = append(users, fmt.Sprint("u", i))
				}
				w.consent(1, true, "", users...)
				p := w.start(nil)
				w.until(12, 5) // all wait for one window
				for _, u := range users {
					w.send("pushes", u, pushOf("push-"+u, u, "marketing", ""))
				}
				w.until(12, 6)
				p.stop()
				kills := 0
				for _, written := range []bool{false, true, false, true} {
					seen := 0
					p := w.start(func(now bool, out *pipeline.Output) bool {
						if len(out.Verdicts) == 0 || out.Verdicts[0].Origin.Topic != "deferred" || out.Verdicts[0].Decision.Decision != push.Allow {
							return false
						}
						if now == written {
							seen++
						}
						return now == written && seen == 7
					})
					p.killed()
					kills++
				}
				if now := time.Now(); now.Before(w.clock(12, 10)) || now.After(w.clock(12, 13)) {
					t.Errorf("killed %d times up to %v, want within the window", kills, now)
				}
				p = w.start(nil)
				w.until(12, 19)
				p.stop()
				cleared := w.read("cleared")
				repeated := 0
				for _, u := range users {
					list := cleared["push-"+u]
					if len(list) == 0 {
						t.Errorf("the push of %s is not sent", u)
						continue
					}
					for _, r := range list[1:] {
						repeated++
						if header(r, "weir-id") != header(list[0], "weir-id") {
							t.Errorf("the push of %s is sent under two ids", u)
						}
					}
					allowed, consumed := 0, 0
					for _, d := range w.of("push-" + u) {
						if d.decision.Decision == push.Allow {
							allowed++
							if !d.decision.Replay {
								consumed++
							}
						}
						if d.decision.Decision == push.Allow && d.at.Before(w.clock(12, 10)) {
							t.Errorf("the push of %s is sent at %v", u, d.at)
						}
					}
					if allowed == 0 || consumed > 1 {
						t.Errorf("the push of %s was allowed %d times and consumed %d", u, allowed, consumed)
					}
				}
				if delivery == sinks.ExactlyOnce && repeated > 0 {
					t.Errorf("%d messages are there twice", repeated)
				}
			})
		})
	}
}

// Ten thousand pushes that may come at one o'clock come evenly over the hour after it.
func TestNoStampedeAfterTheRest(t *testing.T) {
	t.Parallel()
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	inSiesta(t, 144, sinks.AtLeastOnce, 10*time.Minute, time.Hour, func(w *siestaWorld) {
		users := make([]string, n)
		values := make([][]byte, n)
		for i := range users {
			users[i] = fmt.Sprintf("user-%05d", i)
			values[i] = pushOf("push-"+users[i], users[i], "marketing", "")
		}
		w.consent(1, true, "12:00-13:00", users...)
		w.until(12, 0)
		p := w.start(nil)
		var rs []*kgo.Record
		for i, u := range users {
			rs = append(rs, &kgo.Record{Topic: "pushes", Key: []byte(u), Value: values[i]})
		}
		if err := w.admin.ProduceSync(w.t.Context(), rs...).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
		w.until(14, 1)
		p.stop()
		minutes := make(map[int]int)
		allowed := 0
		for _, d := range w.decided {
			if d.decision.Decision == push.Allow {
				allowed++
				minutes[int(d.at.Sub(w.clock(13, 0))/time.Minute)]++
			}
		}
		if allowed != n || len(w.decided) != 2*n {
			t.Errorf("%d pushes are allowed after %d decisions, want %d after %d", allowed, len(w.decided), n, 2*n)
		}
		least, most := n, 0
		for m := range 60 {
			least, most = min(least, minutes[m]), max(most, minutes[m])
		}
		if least < n*7/600 || most > n*13/600 {
			w.t.Errorf("from %d to %d pushes come in a minute, want about %d: %v", least, most, n/60, minutes)
		}
		w.t.Logf("of %d pushes, from %d to %d come in a minute", n, least, most)
	})
}

// A whole daemon on real servers: a push that comes in rest hours is sent when they end,
// however the output is delivered, and the next daemon does not send it again. Rest ends
// with a full minute, so this takes one.
func TestDeferredPushIsSentByADaemon(t *testing.T) {
	if os.Getenv("WEIR_TEST_KAFKA") == "" {
		t.Skip("WEIR_TEST_KAFKA names no brokers; on embedded ones, which have a time of their own, other tests show the same")
	}
	redis := os.Getenv("WEIR_TEST_REDIS")
	if redis == "" {
		redis = miniredis.RunT(t).Addr()
	}
	for _, delivery := range []sinks.Delivery{sinks.AtLeastOnce, sinks.ExactlyOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			topics := []kafka.NewTopic{{Name: f.tag + ".deferred", Partitions: 12, Replication: 1}}
			for _, name := range []string{"pushes", "cleared", "decisions"} {
				topics = append(topics, kafka.NewTopic{Name: f.tag + "." + name, Partitions: 1, Replication: 1})
			}
			if err := f.client.CreateTopics(t.Context(), topics...); err != nil {
				t.Fatal(err)
			}
			f.awaitTopics(".pushes", ".cleared", ".decisions", ".deferred")
			f.publishFirst(f.signed(pack("一号测试词")))
			f.extra = fmt.Sprintf(`
output: {review: %[1]s.review, deadletter: %[1]s.dead, decisions: %[1]s.decisions, cleared: %[1]s.cleared, deferred: %[1]s.deferred, deferred_turn: 2s, deferred_spread: 6s, delivery: %[2]s}
push: {policy: push.yaml, pseudonym_key_file: key, redis: {addrs: ["%[3]s"]}}
`, f.tag, delivery, redis)
			f.pushes = f.tag + ".pushes"
			// Time for the daemon to come up is left, and to decide.
			wakes := time.Now().UTC().Add(30 * time.Second).Truncate(time.Minute).Add(time.Minute)
			policy := strings.Replace(siesta, "12:00-12:10", wakes.Add(-time.Hour).Format("15:04")+"-"+wakes.Format("15:04"), 1)
			policy = strings.Replace(policy, "service: {consent: none, quiet: ignore", "service: {consent: none, quiet: defer", 1)
			for name, text := range map[string]string{"key": strings.Repeat("k", 32), "push.yaml": policy} {
				if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			send := func(id string) {
				value := bytes.ReplaceAll(pushOf(id, f.tag+id, "service", ""), []byte("2000-01-03"), []byte("2026-03-01"))
				f.produce(f.pushes, f.tag+id, value, traceHeaders(id)...)
			}
			f.start("a")
			const n = 20
			for i := range n {
				send(fmt.Sprint(i))
			}
			await := func(name string, n int) map[string][]*kgo.Record {
				t.Helper()
				for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
					got := f.cleared()
					if len(got) >= n {
						return got
					}
					if time.Now().After(deadline) {
						t.Fatalf("%d pushes are sent, want %d\n%s", len(got), n, f.members[name].log)
					}
				}
			}
			await("a", n/2)
			f.stop("a") // in the middle of it
			f.start("b")
			await("b", n)
			send("later")
			got := await("b", n+1)
			f.awaitMetric("b", "weir_push_deferred_oldest_seconds 0")
			f.stop("b")
			last := wakes
			for id, list := range got {
				if len(list) != 1 {
					t.Errorf("%s is sent %d times", id, len(list))
				}
				if id == "later" {
					continue
				}
				if h := header(list[0], "weir-first"); !strings.HasPrefix(h, f.pushes+"/0/") {
					t.Errorf("%s was first read at %q", id, h)
				}
				if diff := cmp.Diff(traceHeaders(id), traceOf(list[0])); diff != "" {
					t.Errorf("%s has lost its trace, -want +got:\n%s", id, diff)
				}
				if at := list[0].Timestamp; at.Before(wakes) {
					t.Errorf("%s is sent at %v, and rest ends at %v", id, at, wakes)
				} else if at.After(last) {
					last = at
				}
			}
			t.Logf("%d pushes are sent up to %v after the end of rest, over a restart", n, last.Sub(wakes).Round(time.Millisecond))
		})
	}
}

// awaitTopics waits until topics that were just made are known.
func (f *fleet) awaitTopics(names ...string) {
	f.t.Helper()
	for i, n := range names {
		names[i] = f.tag + n
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		topics, err := f.client.Topics(f.t.Context(), names...)
		for _, t := range topics {
			err = errors.Join(err, t.Err)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal(err)
		}
	}
}

// cleared returns what is on the topic of pushes to send, by the id of the event.
func (f *fleet) cleared() map[string][]*kgo.Record {
	f.t.Helper()
	scan, err := f.client.OpenScan(f.t.Context(), f.tag+".cleared", time.Time{}, time.Time{})
	if err != nil {
		f.t.Fatal(err)
	}
	defer scan.Close()
	out := make(map[string][]*kgo.Record)
	if err := scan.Read(f.t.Context(), func(b *kafka.Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			var m struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(r.Value, &m); err != nil {
				return err
			}
			k := &kgo.Record{Offset: r.Offset, Timestamp: time.UnixMilli(r.Time)}
			for key, value := range r.Headers {
				k.Headers = append(k.Headers, kgo.RecordHeader{Key: string(key), Value: slices.Clone(value)})
			}
			out[m.ID] = append(out[m.ID], k)
		}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	return out
}
