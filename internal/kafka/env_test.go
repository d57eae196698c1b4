package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(brokerProcess) != "" {
		serveBroker()
		return
	}
	if os.Getenv(clientProcess) != "" {
		serveClient()
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of the tests. It is long because it only ever
// passes when something is broken.
const patience = 30 * time.Second

// env is a cluster to test against: an embedded one, or the one that
// WEIR_TEST_KAFKA names (host:port, comma separated).
type env struct {
	t      testing.TB
	fake   *kfake.Cluster // nil for a real one
	addrs  []string
	client *Client
	admin  *kgo.Client
}

// setup returns a cluster with some brokers, if it is an embedded one.
func setup(t testing.TB, brokers int) *env {
	t.Helper()
	if a := os.Getenv("WEIR_TEST_KAFKA"); a != "" {
		return join(t, nil, strings.Split(a, ","))
	}
	return setupFake(t, brokers)
}

// setupFake returns an embedded cluster, for tests that tell the brokers what to do.
func setupFake(t testing.TB, brokers int) *env {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return join(t, c, c.ListenAddrs())
}

func join(t testing.TB, fake *kfake.Cluster, addrs []string) *env {
	t.Helper()
	e := &env{t: t, fake: fake, addrs: addrs}
	e.client = e.newClient()
	e.admin = e.kgo()
	return e
}

func (e *env) newClient() *Client {
	e.t.Helper()
	c := DefaultConfig()
	c.Brokers = e.addrs
	cl, err := NewClient(c, Options{})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			e.t.Error(err)
		}
	})
	return cl
}

// kgo returns a franz-go client, the other opinion about everything.
func (e *env) kgo(opts ...kgo.Opt) *kgo.Client {
	e.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(e.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(cl.Close)
	return cl
}

// context returns a context that outlives nothing.
func (e *env) context() context.Context {
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	e.t.Cleanup(cancel)
	return ctx
}

// unique makes a name no other test and no other run has.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%x", prefix, rand.Int64())
}

// topic creates a topic under a unique name.
func (e *env) topic(partitions int, config ...string) string {
	e.t.Helper()
	name := unique("t")
	cfg := make(map[string]string)
	for i := 0; i+1 < len(config); i += 2 {
		cfg[config[i]] = config[i+1]
	}
	ctx := e.context()
	if err := e.client.CreateTopics(ctx, NewTopic{Name: name, Partitions: partitions, Config: cfg}); err != nil {
		e.t.Fatal(err)
	}
	if e.fake == nil { // a real one takes a moment
		e.eventually("topic "+name+" to have leaders", func() bool {
			tr := e.client.transport([]string{name})
			defer e.client.release(tr)
			for p := range int32(partitions) {
				if _, err := e.client.offsetOf(ctx, tr, wire.ToLeader(name, p), name, p, logEnd, false); err != nil {
					return false
				}
			}
			return true
		})
	}
	return name
}

// eventually waits for something that has no channel to wait on.
func (e *env) eventually(what string, ok func() bool) {
	e.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			e.t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// produce writes values to a partition, one batch a call.
func (e *env) produce(topic string, partition int32, values ...string) {
	e.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte(v)})
	}
	if err := e.admin.ProduceSync(e.context(), rs...).FirstErr(); err != nil {
		e.t.Fatal(err)
	}
}

// numbered returns n values that tell their place.
func numbered(from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("v%06d", from+i)
	}
	return out
}

// readAll reads a partition with franz-go from its start up to an offset.
func (e *env) readAll(topic string, partition int32, end int64, opts ...kgo.Opt) []*kgo.Record {
	e.t.Helper()
	cl := e.kgo(append([]kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxBytes(64 << 20), kgo.FetchMaxPartitionBytes(64 << 20), kgo.FetchMaxWait(100 * time.Millisecond), kgo.KeepControlRecords(),
	}, opts...)...)
	defer cl.Close()
	ctx := e.context()
	var out []*kgo.Record
	for last := int64(-1); last < end-1; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			e.t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			last = r.Offset
		})
	}
	return out
}

// with returns the same cluster for a subtest.
func (e *env) with(t testing.TB) *env {
	x := *e
	x.t = t
	return &x
}

// groups returns a client for what no consumer does for us.
func (e *env) groups() *kafkago.Client {
	return &kafkago.Client{Addr: e.client.addr, Transport: e.client.control, Timeout: requestTimeout}
}

// committed returns the offset a group has committed, -1 for none.
func (e *env) committed(group, topic string, partition int32) int64 {
	e.t.Helper()
	offset := int64(-1)
	e.eventually("the group's offset", func() bool {
		r, err := e.groups().OffsetFetch(e.context(), &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {int(partition)}}})
		if err != nil || r.Error != nil || len(r.Topics[topic]) != 1 || r.Topics[topic][0].Error != nil {
			return false
		}
		offset = r.Topics[topic][0].CommittedOffset
		return true
	})
	return offset
}

// commit sets the offset of a group that has no members.
func (e *env) commit(group, topic string, partition int32, offset int64) {
	e.t.Helper()
	e.eventually("the offset to be set", func() bool {
		r, err := e.groups().OffsetCommit(e.context(), &kafkago.OffsetCommitRequest{GroupID: group, GenerationID: -1,
			Topics: map[string][]kafkago.OffsetCommit{topic: {{Partition: int(partition), Offset: offset}}}})
		return err == nil && r.Topics[topic][0].Error == nil
	})
}

// deleteRecords moves the start of a partition's log.
func (e *env) deleteRecords(topic string, partition int32, offset int64) {
	e.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(e.context(), e.admin)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		e.t.Fatal(err)
	}
}

// seen is one record as the handler of a test saw it.
type seen struct {
	offset  int64
	key     string
	value   string
	corrupt string
	headers []Header
	time    int64
	nilKey  bool
	nilVal  bool
}

// member is a consumer under test with everything it was given.
type member struct {
	*Consumer
	e     *env
	ended func() error // waits for Run to return
	stop  func() error // ends Run's context and waits

	mu      sync.Mutex
	moved   *sync.Cond
	seen    map[string][]seen
	batches []Batch // without records
	skipped int64
	done    []Range
	gaps    []Gap
	busy    map[string]bool
	faults  []string
}

// options for quick tests.
func quick(group string, topics ...string) ConsumerOptions {
	o := ConsumerOptions{
		Group: group, Session: 6 * time.Second, Rebalance: 10 * time.Second, Drain: 3 * time.Second,
		Heartbeat: 100 * time.Millisecond, Commit: 20 * time.Millisecond, MaxWait: 50 * time.Millisecond, Pace: time.Millisecond,
	}
	for _, t := range topics {
		o.Topics = append(o.Topics, Subscription{Topic: t})
	}
	return o
}

// start runs a consumer that notes what it sees; Handle and Checkpoint of o, if
// set, are asked first.
func (e *env) start(c *Client, o ConsumerOptions) *member {
	e.t.Helper()
	m := &member{e: e, seen: make(map[string][]seen), busy: make(map[string]bool)}
	m.moved = sync.NewCond(&m.mu)
	handle, checkpoint := o.Handle, o.Checkpoint
	o.Handle = func(ctx context.Context, b *Batch) error {
		m.begin(b)
		var err error
		if handle != nil {
			err = handle(ctx, b)
		}
		m.end(b, err)
		return err
	}
	o.Checkpoint = func(ctx context.Context, done []Range) error {
		if checkpoint != nil {
			if err := checkpoint(ctx, done); err != nil {
				return err
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.done = append(m.done, done...)
		return nil
	}
	onGap := o.OnGap
	o.OnGap = func(ctx context.Context, g Gap) error {
		m.mu.Lock()
		m.gaps = append(m.gaps, g)
		m.mu.Unlock()
		if onGap != nil {
			return onGap(ctx, g)
		}
		return nil
	}
	if testing.Verbose() && o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil)).With("group", o.Group)
	}
	k, err := c.NewConsumer(o)
	if err != nil {
		e.t.Fatal(err)
	}
	m.Consumer = k
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		result = k.Run(ctx)
	}()
	m.ended = func() error {
		select {
		case <-ended:
			return result
		case <-time.After(patience):
			return fmt.Errorf("Run did not return within %v", patience)
		}
	}
	m.stop = func() error {
		cancel()
		return m.ended()
	}
	e.t.Cleanup(func() {
		cancel()
		<-ended
		for _, f := range m.faults {
			e.t.Error(f)
		}
	})
	return m
}

func (m *member) begin(b *Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := fmt.Sprintf("%s/%d", b.Topic, b.Partition)
	if m.busy[key] {
		m.faults = append(m.faults, key+" has two batches out at once")
	}
	m.busy[key] = true
	if b.Next <= b.First {
		m.faults = append(m.faults, fmt.Sprintf("%s: batch [%d,%d)", key, b.First, b.Next))
	}
	last := b.First - 1
	for i := range b.Records {
		if o := b.Records[i].Offset; o <= last || o >= b.Next {
			m.faults = append(m.faults, fmt.Sprintf("%s: offset %d in batch [%d,%d) after %d", key, o, b.First, b.Next, last))
		} else {
			last = o
		}
	}
}

func (m *member) end(b *Batch, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := fmt.Sprintf("%s/%d", b.Topic, b.Partition)
	m.busy[key] = false
	if err == nil {
		for i := range b.Records {
			m.seen[key] = append(m.seen[key], see(&b.Records[i]))
		}
		m.skipped += b.Skipped
		m.batches = append(m.batches, Batch{Topic: b.Topic, Partition: b.Partition, First: b.First, Next: b.Next, Skipped: b.Skipped})
	}
	m.moved.Broadcast()
}

func see(r *Record) seen {
	s := seen{offset: r.Offset, key: string(r.Key), value: string(r.Value), corrupt: string(r.Corrupt), time: r.Time, nilKey: r.Key == nil, nilVal: r.Value == nil}
	for k, v := range r.Headers {
		s.headers = append(s.headers, Header{Key: string(k), Value: slices.Clone(v)})
	}
	return s
}

// of returns what was seen of a partition.
func (m *member) of(topic string, partition int32) []seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.seen[fmt.Sprintf("%s/%d", topic, partition)])
}

func (m *member) values(topic string, partition int32) []string {
	var out []string
	for _, s := range m.of(topic, partition) {
		out = append(out, s.value)
	}
	return out
}

// reach waits until the batches of a partition reach an offset.
func (m *member) reach(topic string, partition int32, offset int64) {
	m.e.t.Helper()
	timer := time.AfterFunc(patience, m.moved.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		at := int64(0)
		for _, b := range m.batches {
			if b.Topic == topic && b.Partition == partition {
				at = max(at, b.Next)
			}
		}
		if at >= offset {
			return
		}
		if time.Now().After(deadline) {
			m.e.t.Fatalf("%s/%d: at offset %d after %v, want %d (ready: %v)", topic, partition, at, patience, offset, m.Ready())
		}
		m.moved.Wait()
	}
}

// current returns the generation the consumer is in.
func (m *member) current() *generation {
	k := m.Consumer
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation
}
