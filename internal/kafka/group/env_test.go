package group

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

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests. It is long because it only ever
// passes when something is broken.
const patience = 60 * time.Second

// script plays the brokers without a network, so that time can be synctest's. It
// reads every request with franz-go's messages, the other opinion about what we
// wrote, and answers with them.
type script struct {
	t testing.TB

	mu      sync.Mutex
	answers map[int16]func(kmsg.Request) (kmsg.Response, error) // in place of the usual ones
	asked   []kmsg.Request
	plans   map[string][]byte // the leader's
}

func newScript(t testing.TB) *script {
	return &script{t: t, answers: make(map[int16]func(kmsg.Request) (kmsg.Response, error))}
}

// on has requests of a kind answered by f; nil stands for the usual answer.
func (s *script) on(key kmsg.Key, f func(kmsg.Request) (kmsg.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[int16(key)] = f
}

// fail has requests of a kind answered by an error code.
func (s *script) fail(key kmsg.Key, code kafkago.Error) {
	s.on(key, func(r kmsg.Request) (kmsg.Response, error) { return refusal(r, code), nil })
}

// count returns how many requests of a kind came.
func (s *script) count(key kmsg.Key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.asked {
		if r.Key() == int16(key) {
			n++
		}
	}
	return n
}

// last returns the latest request of a kind.
func (s *script) last(key kmsg.Key) kmsg.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.asked) {
		if r.Key() == int16(key) {
			return r
		}
	}
	s.t.Fatalf("no request %d came", key)
	return nil
}

// send is the script's wire.RoundTrip.
func (s *script) send(ctx context.Context, limit time.Duration, m protocol.Message) (protocol.Message, error) {
	call := m.(*wire.Call)
	var w wire.Writer
	call.Body(&w)
	req := kmsg.RequestForKey(int16(call.API.Key))
	req.SetVersion(call.API.Version)
	if err := req.ReadFrom(bytes.Clone(w.B)); err != nil {
		s.t.Errorf("franz-go cannot read our %s: %v", call.API.Name, err)
	}
	if got := req.AppendTo(nil); !bytes.Equal(got, w.B) {
		s.t.Errorf("%s: franz-go writes the same request as\n%x, not\n%x", call.API.Name, got, w.B)
	}
	s.mu.Lock()
	s.asked = append(s.asked, req)
	f := s.answers[req.Key()]
	s.mu.Unlock()
	if f == nil {
		f = s.usual
	}
	type answer struct {
		resp kmsg.Response
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := f(req)
		answered <- answer{resp, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, a.err
		}
		return &wire.Answer{Body: a.resp.AppendTo(nil)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// usual is the answer of a coordinator on broker 1 whose only member is "m".
func (s *script) usual(r kmsg.Request) (kmsg.Response, error) {
	resp := r.ResponseKind()
	resp.SetVersion(r.GetVersion())
	switch req := r.(type) {
	case *kmsg.FindCoordinatorRequest:
		resp.(*kmsg.FindCoordinatorResponse).NodeID = 1
	case *kmsg.JoinGroupRequest:
		j := resp.(*kmsg.JoinGroupResponse)
		j.Generation, j.Protocol, j.LeaderID, j.MemberID = 1, kmsg.StringPtr(req.Protocols[0].Name), "m", "m"
		j.Members = []kmsg.JoinGroupResponseMember{{MemberID: "m", InstanceID: req.InstanceID, ProtocolMetadata: req.Protocols[0].Metadata}}
	case *kmsg.SyncGroupRequest:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.plans = make(map[string][]byte)
		for _, a := range req.GroupAssignment {
			s.plans[a.MemberID] = a.MemberAssignment
		}
		resp.(*kmsg.SyncGroupResponse).MemberAssignment = s.plans[req.MemberID]
	case *kmsg.OffsetFetchRequest:
		for _, rt := range req.Topics {
			t := kmsg.OffsetFetchResponseTopic{Topic: rt.Topic}
			for _, p := range rt.Partitions {
				t.Partitions = append(t.Partitions, kmsg.OffsetFetchResponseTopicPartition{Partition: p, Offset: 100 + int64(p), LeaderEpoch: -1})
			}
			resp.(*kmsg.OffsetFetchResponse).Topics = append(resp.(*kmsg.OffsetFetchResponse).Topics, t)
		}
	case *kmsg.OffsetCommitRequest:
		return refusal(r, 0), nil
	}
	return resp, nil
}

// refusal answers a request with an error code wherever its answer has one.
func refusal(r kmsg.Request, code kafkago.Error) kmsg.Response {
	resp := r.ResponseKind()
	resp.SetVersion(r.GetVersion())
	switch resp := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		resp.ErrorCode, resp.NodeID = int16(code), -1
	case *kmsg.JoinGroupResponse:
		resp.ErrorCode = int16(code)
	case *kmsg.SyncGroupResponse:
		resp.ErrorCode = int16(code)
	case *kmsg.HeartbeatResponse:
		resp.ErrorCode = int16(code)
	case *kmsg.OffsetFetchResponse:
		resp.ErrorCode = int16(code)
	case *kmsg.OffsetCommitResponse:
		for _, rt := range r.(*kmsg.OffsetCommitRequest).Topics {
			t := kmsg.OffsetCommitResponseTopic{Topic: rt.Topic}
			for _, p := range rt.Partitions {
				t.Partitions = append(t.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(code)})
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	return resp
}

// silence answers nothing, as a frozen broker, until the returned function is called.
func silence() (f func(kmsg.Request) (kmsg.Response, error), end func()) {
	over := make(chan struct{})
	return func(kmsg.Request) (kmsg.Response, error) {
		<-over
		return nil, errors.New("the connection is gone")
	}, func() { close(over) }
}

// options of a member that wants a topic of four partitions.
func (s *script) options() Options {
	return Options{
		Send: s.send, Client: "test", Group: "g",
		Topics:     func(context.Context) ([]string, error) { return []string{"t"}, nil },
		Partitions: func(context.Context, []string) (map[string]int32, error) { return map[string]int32{"t": 4}, nil },
	}
}

func (s *script) join(m *Member) *Generation {
	s.t.Helper()
	g, err := m.Join(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

// cluster is a cluster to test against: an embedded one, or the one that
// WEIR_TEST_KAFKA names (host:port, comma separated).
type cluster struct {
	t            testing.TB
	fake         *kfake.Cluster // nil for a real one
	addrs        []string
	admin        *kgo.Client
	topic, group string
}

// six is how many partitions the topic of a cluster has.
const six = 6

func setup(t testing.TB) *cluster {
	t.Helper()
	if a := os.Getenv("WEIR_TEST_KAFKA"); a != "" {
		return enter(t, nil, strings.Split(a, ","))
	}
	return setupFake(t)
}

// setupFake returns an embedded cluster, for tests that tell the brokers what to do.
func setupFake(t testing.TB) *cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return enter(t, c, c.ListenAddrs())
}

func enter(t testing.TB, fake *kfake.Cluster, addrs []string) *cluster {
	t.Helper()
	id := fmt.Sprintf("%x", rand.Int64())
	c := &cluster{t: t, fake: fake, addrs: addrs, topic: "t-" + id, group: "g-" + id}
	c.admin = c.franz()
	c.create(c.topic, six)
	return c
}

// franz returns a franz-go client.
func (c *cluster) franz(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...)}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

func (c *cluster) context() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) create(name string, partitions int32) {
	c.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, -1
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(c.context(), c.admin)
	if err == nil && resp.Topics[0].ErrorCode != 0 {
		err = kafkago.Error(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// counts asks for the partitions of topics, as the consumer does.
func (c *cluster) counts(ctx context.Context, topics []string) (map[string]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, t := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int32)
	for _, t := range resp.Topics {
		if t.ErrorCode == 0 {
			counts[*t.Topic] = int32(len(t.Partitions))
		}
	}
	return counts, nil
}

// options of a quick member of the cluster's group.
func (c *cluster) options() Options {
	o := Options{
		Client: "test", Group: c.group, Session: 6 * time.Second, Rebalance: 20 * time.Second, Heartbeat: 100 * time.Millisecond,
		Topics:     func(context.Context) ([]string, error) { return []string{c.topic}, nil },
		Partitions: c.counts,
	}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
	}
	return o
}

// eventually waits for something that has no channel to wait on.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// committed returns what the group has committed for the topic, by partition.
func (c *cluster) committed() map[Partition]int64 {
	c.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = c.group
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic = c.topic
	for p := range int32(six) {
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	offsets := make(map[Partition]int64)
	c.eventually("the group's offsets", func() bool {
		resp, err := req.RequestWith(c.context(), c.admin)
		if err != nil || resp.ErrorCode != 0 || len(resp.Topics) != 1 {
			return false
		}
		for _, p := range resp.Topics[0].Partitions {
			offsets[Partition{c.topic, p.Partition}] = p.Offset
		}
		return true
	})
	return offsets
}

// worker is a member that works on its partitions: each batch moves a
// partition's offset by one, and is committed some time.
type worker struct {
	*Member
	c     *cluster
	ended chan struct{}
	stop  func() error

	mu    sync.Mutex
	gen   *Generation
	all   []*Generation
	done  map[Partition]int64
	drain chan struct{} // if set, what a drain waits for
	err   error
	quiet bool // commit nothing
}

// send returns how the requests of one member get to the brokers.
func (c *cluster) send() wire.RoundTrip {
	tr := &kafkago.Transport{MetadataTTL: 300 * time.Millisecond, DialTimeout: 2 * time.Second, MetadataTopics: []string{}}
	c.t.Cleanup(tr.CloseIdleConnections)
	return func(ctx context.Context, limit time.Duration, m protocol.Message) (protocol.Message, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return tr.RoundTrip(ctx, kafkago.TCP(c.addrs...), m)
	}
}

// run runs a worker.
func (c *cluster) run(o Options) *worker {
	c.t.Helper()
	o.Send = c.send()
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{Member: New(o), c: c, ended: make(chan struct{}), done: make(map[Partition]int64)}
	go func() {
		defer close(w.ended)
		w.err = w.work(ctx)
	}()
	w.stop = func() error {
		cancel()
		<-w.ended
		return w.err
	}
	c.t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

func (w *worker) work(ctx context.Context) error {
	for ctx.Err() == nil {
		g, err := w.Join(ctx)
		if Fenced(err) {
			return err
		}
		if err != nil {
			retry.Pause(ctx, 50*time.Millisecond)
			continue
		}
		err = w.generation(ctx, g)
		g.Release()
		if Fenced(err) || Fenced(g.Err()) {
			return errors.Join(err, g.Err())
		}
	}
	leave, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return w.Leave(leave)
}

func (w *worker) generation(ctx context.Context, g *Generation) error {
	offsets, err := g.Committed(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	for _, p := range g.Partitions {
		w.done[p] = max(offsets[p], 0)
	}
	w.gen, w.all = g, append(w.all, g)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.gen = nil
		w.mu.Unlock()
	}()
	commit := func(ctx context.Context) error {
		w.mu.Lock()
		offsets := make(map[Partition]int64)
		for _, p := range g.Partitions {
			offsets[p] = w.done[p]
		}
		quiet := w.quiet
		w.mu.Unlock()
		if quiet || len(offsets) == 0 {
			return nil
		}
		return g.Commit(ctx, offsets)
	}
	for g.Hold(ctx) {
		w.mu.Lock()
		for _, p := range g.Partitions {
			w.done[p]++
		}
		w.mu.Unlock()
		_ = commit(ctx) // the last one counts
		retry.Pause(ctx, 5*time.Millisecond)
	}
	w.mu.Lock()
	drain := w.drain
	w.mu.Unlock()
	if drain != nil {
		select {
		case <-drain:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for commit(last) != nil && g.Err() == nil && last.Err() == nil {
		retry.Pause(last, 20*time.Millisecond)
	}
	return nil
}

// current returns the generation the worker is in, nil if it is in none.
func (w *worker) current() *Generation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gen
}

// progress returns how far the worker has come, in all.
func (w *worker) progress() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.done {
		n += o
	}
	return n
}

// at returns how far the worker has come in the partitions it has or had.
func (w *worker) at() map[Partition]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[Partition]int64)
	for p, o := range w.done {
		out[p] = o
	}
	return out
}

// with waits for a generation with n partitions, in which work is done.
func (w *worker) with(n int) *Generation {
	w.c.t.Helper()
	var g *Generation
	w.c.eventually(fmt.Sprintf("a generation with %d partitions", n), func() bool {
		if g = w.current(); g == nil || len(g.Partitions) != n {
			return false
		}
		select {
		case <-g.Ended():
			return false
		default:
			return true
		}
	})
	w.advance()
	return g
}

// advance waits until the worker has done more, if it has anything to do.
func (w *worker) advance() {
	w.c.t.Helper()
	from := w.progress()
	w.c.eventually("work to go on", func() bool {
		g := w.current()
		return w.progress() > from || g != nil && len(g.Partitions) == 0
	})
}

func (w *worker) close() {
	w.c.t.Helper()
	if err := w.stop(); err != nil {
		w.c.t.Errorf("leave: %v", err)
	}
}
