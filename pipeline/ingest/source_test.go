package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// env is an embedded cluster, or the one WEIR_TEST_KAFKA names.
type env struct {
	t      *testing.T
	fake   *kfake.Cluster // nil for a real one
	client *kafka.Client
	admin  *kgo.Client
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{t: t}
	addrs := strings.Split(os.Getenv("WEIR_TEST_KAFKA"), ",")
	if addrs[0] == "" {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		e.fake, addrs = c, c.ListenAddrs()
	}
	c := kafka.DefaultConfig()
	c.Brokers = addrs
	var err error
	if e.client, err = kafka.NewClient(c, kafka.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.client.Close() })
	if e.admin, err = kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.admin.Close)
	return e
}

func unique(prefix string) string { return fmt.Sprintf("%s-%x", prefix, rand.Int64()) }

func (e *env) topic(partitions int) string {
	e.t.Helper()
	name := unique("t")
	if err := e.client.CreateTopics(e.t.Context(), kafka.NewTopic{Name: name, Partitions: partitions}); err != nil {
		e.t.Fatal(err)
	}
	return name
}

func (e *env) produce(rs ...*kgo.Record) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	if err := e.admin.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		e.t.Fatal(err)
	}
}

// committed returns what a group has committed, 0 for nothing.
func (e *env) committed(group, topic string, partition int32) int64 {
	e.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, rt)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = topic, []int32{partition}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	answer, err := req.RequestWith(e.t.Context(), e.admin)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, x := range answer.Topics {
		return max(0, x.Partitions[0].Offset)
	}
	for _, x := range answer.Groups {
		for _, y := range x.Topics {
			return max(0, y.Partitions[0].Offset)
		}
	}
	return 0
}

// quick returns settings for tests that do not want to wait.
func quick(posts string) Config {
	c := DefaultConfig()
	c.Group, c.Posts = unique("g"), Named(posts)
	c.MaxWait, c.Pace = 50*time.Millisecond, time.Millisecond
	return c
}

// The contract of pipeline.Source, word by word.
func TestSource(t *testing.T) {
	pipelinetest.TestSource(t, func(t *testing.T) pipelinetest.Input {
		e := setup(t)
		topic := e.topic(2)
		c := quick(topic)
		return pipelinetest.Input{
			Partitions: 2,
			Produce: func(partition int32, values ...string) {
				var rs []*kgo.Record
				for _, v := range values {
					rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
				}
				e.produce(rs...)
			},
			NewSource: func() pipeline.Source { return NewSource(e.client, c, Options{}) },
			Committed: func(partition int32) int64 { return e.committed(c.Group, topic, partition) },
		}
	})
}

// collect is a handler that keeps copies of everything.
type collect struct {
	mu      sync.Mutex
	batches []pipeline.Batch
	more    chan struct{}
}

func (c *collect) Handle(_ context.Context, b *pipeline.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := *b
	x.Records = nil
	for _, r := range b.Records {
		r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		r.Headers = slices.Clone(r.Headers)
		for i := range r.Headers {
			r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
		}
		x.Records = append(x.Records, r)
	}
	c.batches = append(c.batches, x)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return nil
}

func (c *collect) Checkpoint(context.Context, []pipeline.Range) error { return nil }

func (c *collect) records(kind event.Kind) []pipeline.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []pipeline.Record
	for _, b := range c.batches {
		if b.Kind == kind {
			out = append(out, b.Records...)
		}
	}
	return out
}

// await waits until a condition holds, looking again whenever a batch came.
func (c *collect) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-c.more:
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func start(t *testing.T, s *Source, h pipeline.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Each topic carries its kind of event; keys, values, headers and times are
// those of the message, null and empty kept apart.
func TestBatches(t *testing.T) {
	e := setup(t)
	c := quick(e.topic(1))
	c.Pushes, c.Consent, c.Outcomes = Named(e.topic(1)), Named(e.topic(1)), Named(e.topic(1))
	at := time.UnixMilli(1_700_000_000_123)
	headers := []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}, {Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: "ce_id", Value: []byte("2")}}
	e.produce(
		&kgo.Record{Topic: c.Posts[0].Topic, Key: []byte("user"), Value: []byte("post"), Headers: headers, Timestamp: at},
		&kgo.Record{Topic: c.Posts[0].Topic, Timestamp: at},
		&kgo.Record{Topic: c.Posts[0].Topic, Key: []byte{}, Value: []byte{}, Headers: headers[:1], Timestamp: at},
		&kgo.Record{Topic: c.Pushes[0].Topic, Value: []byte("push"), Timestamp: at},
		&kgo.Record{Topic: c.Consent[0].Topic, Value: []byte("consent"), Timestamp: at},
		&kgo.Record{Topic: c.Outcomes[0].Topic, Value: []byte("outcome"), Timestamp: at},
	)
	h := &collect{more: make(chan struct{}, 1)}
	s := NewSource(e.client, c, Options{})
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "no partitions assigned: not started") {
		t.Errorf("ready before it was started: %v", err)
	}
	stop := start(t, s, h)
	h.await(t, "all messages", func() bool {
		n := 0
		for _, k := range []event.Kind{event.Post, event.Push, event.Consent, event.Outcome} {
			n += len(h.records(k))
		}
		return n == 6
	})
	if err := s.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if n := len(s.Partitions()); n != 4 {
		t.Errorf("%d partitions", n)
	}
	want := []pipeline.Record{
		{Offset: 0, Time: at, Key: []byte("user"), Value: []byte("post"), Headers: []event.Header{{Key: "ce_id", Value: []byte("1")}, {Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: "ce_id", Value: []byte("2")}}},
		{Offset: 1, Time: at},
		{Offset: 2, Time: at, Key: []byte{}, Value: []byte{}, Headers: []event.Header{{Key: "ce_id", Value: []byte("1")}}},
	}
	if diff := cmp.Diff(want, h.records(event.Post)); diff != "" {
		t.Errorf("posts (-produced +delivered):\n%s", diff)
	}
	for kind, value := range map[event.Kind]string{event.Push: "push", event.Consent: "consent", event.Outcome: "outcome"} {
		if got := h.records(kind); len(got) != 1 || string(got[0].Value) != value {
			t.Errorf("%v: %v", kind, got)
		}
	}
	stop()
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("ready after it was stopped: %v", err)
	}
	// It may run again.
	e.produce(&kgo.Record{Topic: c.Pushes[0].Topic, Value: []byte("again")})
	start(t, s, h)
	h.await(t, "a message after the second start", func() bool { return len(h.records(event.Push)) == 2 })
}

// Several topics carry one kind of event, also such as match a pattern.
func TestTopics(t *testing.T) {
	e := setup(t)
	a, b, push := e.topic(1), e.topic(2), e.topic(1)
	c := quick(a)
	c.Posts = append(c.Posts, Topic{Pattern: b[:len(b)-3] + "..."})
	// What a pattern matches too is read for what names it.
	c.Pushes = Topics{{Pattern: a}, {Topic: push}}
	e.produce(
		&kgo.Record{Topic: a, Value: []byte("1")},
		&kgo.Record{Topic: b, Value: []byte("2")},
		&kgo.Record{Topic: b, Partition: 1, Value: []byte("3")},
		&kgo.Record{Topic: push, Key: []byte("u"), Value: []byte("4")},
	)
	h := &collect{more: make(chan struct{}, 1)}
	start(t, NewSource(e.client, c, Options{}), h)
	h.await(t, "all messages", func() bool { return len(h.records(event.Post))+len(h.records(event.Push)) == 4 })
	if posts := len(h.records(event.Post)); posts != 3 {
		t.Errorf("%d posts", posts)
	}
}

// Pushes without a key are handed on like others, and counted; each topic that has
// some is named once.
func TestUnkeyed(t *testing.T) {
	e := setup(t)
	c := quick(e.topic(1))
	c.Pushes = Named(e.topic(1), e.topic(1), e.topic(1))
	unkeyed, keyed, empty := c.Pushes[0].Topic, c.Pushes[1].Topic, c.Pushes[2].Topic
	e.produce(
		&kgo.Record{Topic: c.Posts[0].Topic, Value: []byte("1")},
		&kgo.Record{Topic: unkeyed, Value: []byte("2")},
		&kgo.Record{Topic: unkeyed, Value: []byte("3"), Key: []byte("u")},
		&kgo.Record{Topic: keyed, Value: []byte("4"), Key: []byte("u")},
		&kgo.Record{Topic: empty, Value: []byte("5"), Key: []byte{}},
	)
	var log bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	h := &collect{more: make(chan struct{}, 1)}
	s := NewSource(e.client, c, Options{Registerer: reg, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	stop := start(t, s, h)
	h.await(t, "all pushes", func() bool { return len(h.records(event.Push)) == 4 })
	e.produce(&kgo.Record{Topic: unkeyed, Value: []byte("6")})
	h.await(t, "one more, all posts and the offsets behind them", func() bool {
		return len(h.records(event.Push)) == 5 && len(h.records(event.Post)) == 1 && e.committed(c.Group, unkeyed, 0) == 3
	})
	stop()
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_unkeyed_records_total Pushes read that have no key, so that those of one user may be in several partitions.
# TYPE weir_unkeyed_records_total counter
weir_unkeyed_records_total{stream="push"} 3
`), "weir_unkeyed_records_total"); err != nil {
		t.Error(err)
	}
	for topic, want := range map[string]int{unkeyed: 1, empty: 1, keyed: 0, c.Posts[0].Topic: 0} {
		if got := strings.Count(log.String(), "produce them with the user's id as key\" topic="+topic); got != want {
			t.Errorf("%s is named %d times, want %d: %s", topic, got, want, &log)
		}
	}
}

// A topic that only another member of the group reads is not taken for anything.
func TestForeignTopic(t *testing.T) {
	s := NewSource(nil, DefaultConfig(), Options{})
	const want = "the group gave us the topic other, which the section input does not name"
	if err := s.handle(t.Context(), &kafka.Batch{Topic: "other"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a batch: %v", err)
	}
	if err := s.gap(t.Context(), kafka.Gap{Topic: "other"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a gap: %v", err)
	}
}

// The books agree with what happened: delivered, skipped and corrupt records,
// gaps, lag, rebalances.
func TestMetrics(t *testing.T) {
	e := setup(t)
	if e.fake == nil {
		t.Skip("tells the embedded broker what to do")
	}
	c := quick(e.topic(1))
	tx, err := kgo.NewClient(kgo.SeedBrokers(e.fake.ListenAddrs()...), kgo.TransactionalID("tx"))
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for range 3 {
		e.produce(&kgo.Record{Topic: c.Posts[0].Topic, Value: []byte("lost")})
	}
	if err := e.fake.DeleteRecords(c.Posts[0].Topic, 0, 3); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.BeginTransaction(), tx.ProduceSync(t.Context(), &kgo.Record{Topic: c.Posts[0].Topic, Value: []byte("aborted")}).FirstErr(),
		tx.EndTransaction(t.Context(), kgo.TryAbort)); err != nil {
		t.Fatal(err)
	}
	e.produce(&kgo.Record{Topic: c.Posts[0].Topic, Value: []byte("good")})
	old := kversion.V2_8_0() // commits by name; newer ones by the topic's id
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.fake.ListenAddrs()...), kgo.MaxVersions(old))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = c.Group, -1
	ct := kmsg.NewOffsetCommitRequestTopic()
	ct.Topic = c.Posts[0].Topic
	ct.Partitions = append(ct.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
	commit.Topics = append(commit.Topics, ct)
	if resp, err := commit.RequestWith(t.Context(), cl); err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(resp, err)
	}

	// A batch nobody can read comes behind the rest, and behind it nothing: the broker's own log
	// ends before it, and would say so if it were asked.
	e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (resp kmsg.Response, err error, handled bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if len(req.Topics) != 1 || req.Topics[0].Partitions[0].FetchOffset < 6 {
			return nil, nil, false
		}
		a := req.ResponseKind().(*kmsg.FetchResponse)
		a.Version = req.Version
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset = 7, 7
		if req.Topics[0].Partitions[0].FetchOffset == 6 {
			b := make([]byte, 70)
			b[7], b[11], b[16] = 6, 58, 2
			p.RecordBatches = b
		}
		rt.Partitions = append(rt.Partitions, p)
		a.Topics = append(a.Topics, rt)
		return a, nil, true
	})
	reg := prometheus.NewPedanticRegistry()
	h := &collect{more: make(chan struct{}, 1)}
	s := NewSource(e.client, c, Options{Registerer: reg})
	expect := func(when, text string) {
		t.Helper()
		if err := testutil.GatherAndCompare(reg, strings.NewReader(text),
			"weir_fetched_records_total", "weir_gap_records_total", "weir_consumer_lag_messages", "weir_assigned_partitions",
			"weir_stopped_partitions", "weir_rebalances_total", "weir_commit_failures_total"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	const help = `
# HELP weir_assigned_partitions Partitions that this process reads now.
# TYPE weir_assigned_partitions gauge
weir_assigned_partitions %d
# HELP weir_commit_failures_total Commits of offsets that failed. They are repeated.
# TYPE weir_commit_failures_total counter
weir_commit_failures_total 0
# HELP weir_fetched_records_total Records read from Kafka: delivered to the pipeline, corrupt (a record batch that cannot be read, delivered as one record), or skipped (control records and aborted transactions).
# TYPE weir_fetched_records_total counter
weir_fetched_records_total{fate="corrupt",stream="post"} %d
weir_fetched_records_total{fate="delivered",stream="post"} %d
weir_fetched_records_total{fate="skipped",stream="post"} %d
# HELP weir_gap_records_total Offsets that Kafka's retention deleted before they were read.
# TYPE weir_gap_records_total counter
weir_gap_records_total{stream="post"} %d
# HELP weir_rebalances_total How often partitions were assigned anew, the first time included.
# TYPE weir_rebalances_total counter
weir_rebalances_total %d
# HELP weir_stopped_partitions Assigned partitions that stand still until an operator sets their offset.
# TYPE weir_stopped_partitions gauge
weir_stopped_partitions 0
`
	expect("before it runs", fmt.Sprintf(help, 0, 0, 0, 0, 0, 0))
	start(t, s, h)
	h.await(t, "the corrupt record", func() bool {
		rs := h.records(event.Post)
		return len(rs) == 2 && rs[1].Corrupt != ""
	})
	h.await(t, "the lag to be known", func() bool {
		p := s.Partitions()
		return len(p) == 1 && p[0].Next == 7
	})
	rs := h.records(event.Post)
	if string(rs[0].Value) != "good" || rs[1].Corrupt != "batch-checksum" || len(rs[1].Value) != 70 || !rs[1].Time.IsZero() {
		t.Errorf("records %+v", rs)
	}
	expect("afterwards", fmt.Sprintf(help, 1, 1, 1, 2, 3, 1)+fmt.Sprintf(`
# HELP weir_consumer_lag_messages Messages of a partition that are not handled yet.
# TYPE weir_consumer_lag_messages gauge
weir_consumer_lag_messages{partition="0",topic=%q} 0
`, c.Posts[0].Topic))
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}
