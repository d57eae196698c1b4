package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// haltDesk follows a topic of halts on a line that can be cut.
type haltDesk struct {
	*halts

	t       *testing.T
	cluster *haltCluster
	dir     string
	text    *logBook
}

// haltCluster is a cluster with a topic of halts: the one that WEIR_TEST_KAFKA names, with a topic of its
// own, or an embedded one.
type haltCluster struct {
	*cluster
	topic string
}

func newHaltCluster(t *testing.T) *haltCluster {
	t.Helper()
	a := os.Getenv("WEIR_TEST_KAFKA")
	if a == "" {
		return &haltCluster{newCluster(t, "halts"), "halts"}
	}
	c := &haltCluster{&cluster{t: t}, fmt.Sprintf("halts-%d", time.Now().UnixNano())}
	c.connect(strings.Split(a, ","))
	compact := map[string]string{"cleanup.policy": "compact"}
	if err := c.direct.CreateTopics(t.Context(), kafka.NewTopic{Name: c.topic, Partitions: 2, Replication: 1, Config: compact}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a leader of the topic", func() bool { // a real broker takes a moment
		topics, err := c.direct.Topics(t.Context(), c.topic)
		return err == nil && topics[0].Err == nil && !slices.Contains(topics[0].Leaders, -1)
	})
	return c
}

func newHaltDesk(t *testing.T, c *haltCluster) *haltDesk {
	t.Helper()
	d := &haltDesk{t: t, cluster: c, dir: filepath.Join(t.TempDir(), "evidence"), text: new(logBook)}
	log, err := evidence.Open(evidence.Options{Dir: d.dir, Origin: "city/evidence/0/1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := config.Default()
	cfg.Source, cfg.Input.Halts = "city", c.topic
	ev := &sinks.Evidence{Log: log}
	force := newDesk(t, map[string]string{"gambling.yaml": one("一号")}, nil).pipeline.InForce()
	// A store that nobody asks: content is judged before.
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := push.NewStore(push.Options{Config: push.Config{PseudonymKeyFile: key, Redis: push.RedisConfig{Addrs: []string{"127.0.0.1:1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := pipeline.New(pipeline.Options{Source: "city", Instance: "0", Force: force, Events: cfg.Events, Store: store,
		Sinks: []pipeline.NamedSink{{Name: "evidence", Sink: ev}}})
	if err != nil {
		t.Fatal(err)
	}
	d.halts = newHalts(c.client, &cfg, p, ev, slog.New(slog.NewJSONHandler(d.text, nil)), prometheus.NewRegistry())
	return d
}

// put writes a message to the topic; nil is a tombstone.
func (c *haltCluster) put(key string, value []byte) {
	c.t.Helper()
	p := c.direct.NewProducer(produce.Options{Topics: []string{c.topic}})
	if err := p.Produce(c.t.Context(), []produce.Message{{Topic: c.topic, Key: []byte(key), Value: value}}); err != nil {
		c.t.Fatal(err)
	}
}

// order writes an order, under the usual key or another one.
func (c *haltCluster) order(key, scope, value string, halted bool) {
	c.t.Helper()
	if key == "" {
		key = scope + "/" + value
	}
	c.put(key, fmt.Appendf(nil, `{"id":"h-%s-%v","time":"2026-11-24T08:30:00Z","scope":%q,"value":%q,"halted":%v,"why":"complaints","by":"officer-7"}`, value, halted, scope, value, halted))
}

func (d *haltDesk) look() {
	d.t.Helper()
	if err := d.poll(d.t.Context(), time.Minute); err != nil {
		d.t.Fatal(err)
	}
}

func (d *haltDesk) halted(want string) {
	d.t.Helper()
	var got []string
	for _, h := range d.pipeline.Halts().List() {
		got = append(got, string(h.Scope)+" "+h.Value)
	}
	slices.Sort(got)
	if s := strings.Join(got, ", "); s != want {
		d.t.Errorf("halted are %q, want %q", s, want)
	}
}

// incident is what evidence says of one.
type incident struct {
	Record                                   evidence.ID `json:"-"`
	What, Cause, Scope, Value, Why, By, Rule string
	Measured                                 *struct{ Count, Of, Min int64 }
	Origin                                   *struct{ Topic string }
	body                                     string
}

func (d *haltDesk) incidents() []incident {
	d.t.Helper()
	var list []incident
	if err := evidencetest.Walk(d.dir, func(e evidence.Entry) error {
		if e.Kind != evidence.KindIncident {
			return nil
		}
		x := incident{body: string(e.Body)}
		err := json.Unmarshal(e.Body, &x)
		x.Record = e.ID
		list = append(list, x)
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return list
}

func (d *haltDesk) recordedAs(want ...string) {
	d.t.Helper()
	var got []string
	for _, x := range d.incidents() {
		got = append(got, x.What+" "+x.Cause+" "+x.Scope+" "+x.Value)
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("on record are %q, want %q", got, want)
	}
}

// What the topic says is in force and on record, once each: orders to halt and to resume, under whatever
// keys, and deletions. What is no order is told once, changes nothing, and ends no halt.
func TestHaltsFollowTheTopic(t *testing.T) {
	// Clause: push-monitor
	c := newHaltCluster(t)
	d := newHaltDesk(t, c)
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.halted("")
	c.order("", "campaign", "spring", true)
	c.order("my own key", "sender", "shop", true)
	d.look()
	d.halted("campaign spring, sender shop")
	d.recordedAs("halted order campaign spring", "halted order sender shop")
	if x := d.incidents()[0]; x.By != "officer-7" || x.Why != "complaints" || x.Origin.Topic != c.topic || x.Measured != nil {
		t.Errorf("incident %s", x.body)
	}
	h := d.pipeline.Halts().Has(push.Target{Scope: push.ScopeCampaign, Value: "spring"})
	if want := (push.Halt{Target: h.Target, Since: time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC), Why: "complaints", By: "officer-7", ID: "h-spring-true"}); *h != want {
		t.Errorf("halt %+v, want %+v", h, want)
	}
	d.look()
	d.look()

	// No orders.
	c.put("campaign/spring", []byte(`{"id":"x","time":"2026-11-24T08:30:00Z","scope":"campaign","value":"spring"}`))
	c.put("tenant/a", []byte(`{"id":"x","time":"2026-11-24T08:30:00Z","scope":"tenant","value":"a","halted":true}`))
	c.put("secret-key", []byte(`secret-content`))
	d.look()
	c.order("", "class", "content", true)
	d.look()
	d.halted("campaign spring, class content, sender shop")
	if n := testutil.ToFloat64(d.metrics.bad); n != 3 {
		t.Errorf("%v bad messages, want 3", n)
	}
	if n := strings.Count(d.text.String(), "is no order"); n != 3 {
		t.Errorf("told %d times of 3 bad messages", n)
	}
	if strings.Contains(d.text.String(), "secret") || strings.Contains(d.text.String(), `"shop"`) {
		t.Errorf("content, keys or senders in the log: %s", d.text)
	}

	// To resume: by an order, by a deletion. A second key that halts still halts.
	c.order("another key", "campaign", "spring", true)
	c.order("", "campaign", "spring", false)
	c.put("class/content", nil)
	d.look()
	d.halted("campaign spring, sender shop")
	c.order("another key", "campaign", "spring", false)
	d.look()
	d.halted("sender shop")
	d.recordedAs("halted order campaign spring", "halted order sender shop", "halted order class content",
		"halted order campaign spring", "resumed order campaign spring", "resumed order class content", "resumed order campaign spring")

	// The next process begins with the same list, and writes the records of what stands in the topic again.
	next := newHaltDesk(t, c)
	if err := next.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.halted("sender shop")
	known := make(map[evidence.ID]string)
	for _, x := range d.incidents() {
		known[x.Record] = x.body
	}
	again := next.incidents()
	for _, x := range again {
		if known[x.Record] != x.body {
			t.Errorf("another process wrote of the same order %s as %s", known[x.Record], x.body)
		}
	}
	if len(again) != 3 {
		t.Errorf("%d records, want those of the three keys that hold orders", len(again))
	}
}

// An order that is gone without a word stays in force: topics are made anew by mistake.
func TestHaltThatIsGoneStays(t *testing.T) {
	d := newHaltDesk(t, newHaltCluster(t))
	order := HaltOrder{Key: "k", Offset: 7, Halted: true, Halt: push.Halt{Target: push.Target{Scope: push.ScopeClass, Value: "content"}, Why: strings.Repeat("w", 5000)}}
	take := func(orders ...HaltOrder) {
		t.Helper()
		if err := d.take(t.Context(), &HaltOrders{Orders: orders}, nil); err != nil {
			t.Fatal(err)
		}
	}
	take(order)
	take()
	take()
	d.halted("class content")
	if n := strings.Count(d.text.String(), "is gone from the topic"); n != 1 {
		t.Errorf("told %d times, want once", n)
	}
	if n := len(d.known["k"].Why); n != push.MaxWhy {
		t.Errorf("%d bytes of the reason are kept, want %d", n, push.MaxWhy)
	}
	if x := d.incidents(); len(x) != 1 || len(x[0].Why) != 5000 {
		t.Error("the whole reason is not on record")
	}
	order.Halted, order.Offset = false, 0
	take(order)
	d.halted("")
	d.recordedAs("halted order class content", "resumed order class content")
}

// No push is decided before the list was read. While the topic is away the last list holds, and it is said once.
func TestHaltsWhileBrokersAreAway(t *testing.T) {
	// Clause: push-monitor
	c := newHaltCluster(t)
	c.order("", "campaign", "spring", true)
	c.cut()
	d := newHaltDesk(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := d.start(ctx); err == nil || !strings.Contains(err.Error(), "read halts from topic "+c.topic+": ") || !strings.Contains(err.Error(), "no push is decided before") {
		t.Errorf("started without the list: %v", err)
	}
	c.mend()
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.halted("campaign spring")
	c.cut()
	following, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.follow(following) }()
	eventually(t, "two failures", func() bool { return testutil.ToFloat64(d.metrics.failed) >= 2 })
	d.halted("campaign spring")
	c.order("", "campaign", "spring", false)
	c.order("", "class", "content", true)
	c.mend()
	eventually(t, "the orders given meanwhile", func() bool {
		return d.pipeline.Halts().Count(push.ScopeCampaign) == 0 && d.pipeline.Halts().Count(push.ScopeClass) == 1
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(d.text.String(), "cannot look at the topic of halts"); n != 1 {
		t.Errorf("said %d times, want once", n)
	}
}

// abnormal makes the pipeline halt a campaign of its own accord.
func (d *haltDesk) abnormal() *pipeline.HaltTrip {
	d.t.Helper()
	p, err := push.ParsePolicy("push.yaml", []byte(`
policy: push
version: "1"
default_zone: Asia/Shanghai
classes: {service: {consent: none, quiet: ignore, count: true}}
channels: [app]
groups: {default: {limits: [{id: day, days: 1, max: 30}]}}
auto_halt: [{id: bad, scope: campaign, when: content, window: 10m, min: 10, share: 5%}]
`))
	if err != nil {
		d.t.Fatal(err)
	}
	force := d.pipeline.InForce()
	force.Policy = p
	d.pipeline.Enforce(force)
	return d.flood("spring")
}

// flood judges prohibited pushes of a campaign, all denied for their content; no Redis is asked about such.
func (d *haltDesk) flood(campaign string) *pipeline.HaltTrip {
	d.t.Helper()
	b := &pipeline.Batch{Kind: event.Push, Topic: "pushes", Next: 20}
	for i := range 20 {
		b.Records = append(b.Records, pipeline.Record{Offset: int64(i), Time: time.Now(), Value: fmt.Appendf(nil,
			`{"id":"n%d","time":"2026-11-24T08:30:00Z","user":{"id":"user-number-nine"},"class":"service","channel":"app","campaign":%q,"fields":{"body":"一号"}}`, i, campaign)})
	}
	if err := d.pipeline.Handle(d.t.Context(), b); err != nil {
		d.t.Fatal(err)
	}
	trips := d.pipeline.Trips()
	if len(trips) == 0 {
		return nil
	}
	return trips[len(trips)-1]
}

// An automatic halt is in force and on record while brokers are away, is written when they are back, once,
// and then it is the topic that decides.
func TestAutomaticHaltIsShared(t *testing.T) {
	// Clause: push-monitor
	c := newHaltCluster(t)
	d := newHaltDesk(t, c)
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.cut()
	trip := d.abnormal()
	if trip == nil {
		t.Fatal("nothing was halted")
	}
	d.halted("campaign spring")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.share(ctx) }()
	eventually(t, "a failure", func() bool { return testutil.ToFloat64(d.metrics.unwritten) >= 1 })
	d.recordedAs("halted content campaign spring") // before the topic knows
	if x := d.incidents()[0]; x.Record != evidence.ID(trip.Incident) || x.By != "weir/0" || x.Rule != "bad" || x.Measured.Count != 10 || x.Measured.Of != 10 || x.Measured.Min != 10 || x.Origin != nil {
		t.Errorf("incident %s", x.body)
	}
	c.mend()
	inTopic := func() (list []HaltOrder) {
		o, err := ReadHalts(t.Context(), c.direct, c.topic, event.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		return o.Orders
	}
	eventually(t, "the order in the topic", func() bool { return len(inTopic()) > 0 })
	if o := inTopic()[0]; !o.Halted || o.ID != trip.ID || o.By != "weir/0" || o.Why != trip.Why || o.Key != "campaign/spring" {
		t.Errorf("order %+v", o)
	}
	// Somebody resumes it before this process has seen its own order there: it is not written again.
	eventually(t, "word of it", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.told) > 0 })
	c.order("", "campaign", "spring", false)
	d.look()
	d.halted("")
	if n := len(d.pipeline.Trips()); n != 0 {
		t.Errorf("%d halts are still its own", n)
	}
	if again := d.flood("spring"); again != nil {
		t.Errorf("halted again for the same figures: %+v", again)
	}
	// Another one, of which the write was not seen to work: what stands in the topic settles it.
	second := d.flood("autumn")
	eventually(t, "the second order", func() bool { return len(inTopic()) == 2 })
	d.look()
	d.look()
	if n := len(d.pipeline.Trips()); n != 0 {
		t.Errorf("%d halts are still its own", n)
	}
	d.halted("campaign autumn")
	d.recordedAs("halted content campaign spring", "resumed order campaign spring", "halted content campaign autumn", "halted order campaign autumn")
	if x := d.incidents()[3]; !strings.Contains(x.body, second.ID) {
		t.Errorf("the order does not lead to its incident: %s", x.body)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(d.text.String(), "cannot write an automatic halt"); n != 1 {
		t.Errorf("said %d times, want once", n)
	}
	if strings.Contains(d.text.String(), "user-number-nine") {
		t.Error("a user in the log")
	}
}

// If the process dies before others know, nothing is halted any more; what is abnormal is found again if it lasts.
func TestDeathBeforeAHaltIsShared(t *testing.T) {
	c := newHaltCluster(t)
	d := newHaltDesk(t, c)
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.abnormal() == nil {
		t.Fatal("nothing was halted")
	}
	d.halted("campaign spring")
	next := newHaltDesk(t, c)
	if err := next.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.halted("")
	if next.abnormal() == nil {
		t.Error("what lasts was not found again")
	}
	next.halted("campaign spring")
}

// What cannot be an order is not written: it would be what compaction keeps.
func TestBadOrdersAreNotWritten(t *testing.T) {
	c := newHaltCluster(t)
	for _, o := range []HaltOrder{
		{Halt: push.Halt{Target: push.Target{Scope: "tenant", Value: "a"}, Since: time.Now()}},
		{Halt: push.Halt{Target: push.Target{Scope: push.ScopeClass}, Since: time.Now()}},
		{Halt: push.Halt{Target: push.Target{Scope: push.ScopeClass, Value: strings.Repeat("x", 257)}, Since: time.Now()}},
	} {
		if err := PublishHalts(t.Context(), c.direct, c.topic, event.DefaultConfig(), o); err == nil {
			t.Errorf("wrote an order about %.20q %.20q", o.Scope, o.Value)
		}
	}
}

// A policy that halts by itself is refused where nobody could resume.
func TestAutoHaltNeedsTheTopic(t *testing.T) {
	cfg := config.Default()
	cfg.Push.Policy = filepath.Join(t.TempDir(), "push.yaml")
	d := &workbench{t: t, dir: filepath.Dir(cfg.Push.Policy)}
	d.write("push.yaml", `
policy: push
version: "1"
default_zone: Asia/Shanghai
classes: {service: {consent: none, quiet: ignore, count: true}}
channels: [app]
groups: {default: {limits: [{id: day, days: 1, max: 30}]}}
auto_halt: [{id: bad, scope: campaign, when: content, window: 10m, min: 10, share: 5%}]
`)
	if _, err := provenPolicy(&cfg); err == nil || !strings.Contains(err.Error(), "input.halts names no topic") {
		t.Errorf("accepted: %v", err)
	}
	cfg.Input.Halts = "weir.halts"
	if p, err := provenPolicy(&cfg); err != nil || len(p.AutoHalts()) != 1 {
		t.Error(err)
	}
}

// Whatever stands in a topic, what comes of it are whole orders, and messages that are none.
func FuzzHaltsIn(f *testing.F) {
	f.Add("campaign/spring", []byte(`{"id":"h1","time":"2026-11-24T08:30:00Z","scope":"campaign","value":"spring","halted":true,"why":"a","by":"b"}`))
	f.Add("", []byte(`{"id":"h1","time":"2026-11-24T08:30:00Z","scope":"class","value":"x","halted":false}`))
	f.Add("k", []byte(`{"id":"h1","time":"2026-11-24T08:30:00Z","scope":"tenant","value":"x","halted":true}`))
	f.Add("k", []byte(nil))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		h := haltsIn(map[string]kafka.Value{key: {Value: value, Offset: 7}}, event.DefaultConfig())
		if n := len(h.Orders) + len(h.Bad) + len(h.gone); n != 1 {
			t.Fatalf("%d things of one message", n)
		}
		for _, o := range h.Orders {
			if !slices.Contains(push.Scopes(), o.Scope) || o.Value == "" || o.ID == "" || o.Since.IsZero() || o.Key != key || o.Offset != 7 {
				t.Errorf("order %+v", o)
			}
		}
		if n := len(h.Halts().List()); n > len(h.Orders) {
			t.Errorf("%d halts of %d orders", n, len(h.Orders))
		}
	})
}
