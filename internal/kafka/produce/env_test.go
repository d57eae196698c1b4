package produce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(brokerProcess) != "" {
		serveBroker()
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
	testing.TB
	fake  *kfake.Cluster // nil for a real one
	addrs []string
	admin *kgo.Client
}

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
	e := &env{TB: t, fake: fake, addrs: addrs}
	e.admin = e.kgo(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return e
}

// kgo returns a franz-go client, the other opinion about everything.
func (e *env) kgo(opts ...kgo.Opt) *kgo.Client {
	e.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(e.addrs...)}, opts...)...)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(cl.Close)
	return cl
}

// context returns a context that outlives nothing.
func (e *env) context() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	e.Cleanup(cancel)
	return ctx
}

// link is a way to the brokers on which things can be made to happen.
type link struct {
	e         *env
	transport *kafkago.Transport
	// before is asked before a message is sent, after about its answer; an error
	// is all the sender is told.
	before, after atomic.Pointer[func(m protocol.Message) error]
	change        atomic.Pointer[func(a *answer)] // changes answers to produce requests
	// leaving and arrived are told of messages before they are sent, and when they
	// are answered.
	leaving, arrived atomic.Pointer[func(m protocol.Message)]
}

func (e *env) link() *link {
	ctx, cancel := context.WithCancel(context.Background())
	k := &link{e: e, transport: &kafkago.Transport{MetadataTTL: 100 * time.Millisecond, MetadataTopics: []string{}, ClientID: "test", Context: ctx, DialTimeout: 3 * time.Second}}
	e.Cleanup(func() {
		k.transport.CloseIdleConnections()
		cancel()
	})
	return k
}

func (k *link) send(ctx context.Context, limit time.Duration, m protocol.Message) (protocol.Message, error) {
	if f := k.leaving.Load(); f != nil {
		(*f)(m)
	}
	if f := k.before.Load(); f != nil {
		if err := (*f)(m); err != nil {
			return nil, err
		}
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := k.transport.RoundTrip(ctx, kafkago.TCP(k.e.addrs...), m)
	if err != nil {
		if parent.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", limit)
		}
		return nil, err
	}
	if f := k.change.Load(); f != nil {
		if a, ok := r.(*answer); ok {
			(*f)(a)
		}
	}
	if f := k.arrived.Load(); f != nil {
		(*f)(m)
	}
	if f := k.after.Load(); f != nil {
		if err := (*f)(m); err != nil {
			return nil, err
		}
	}
	return r, nil
}

var errLost = errors.New("lost on the way")

// losing returns a hook that loses the first n messages of an API.
func losing(api protocol.ApiKey, n int32) *func(protocol.Message) error {
	var left atomic.Int32
	left.Store(n)
	f := func(m protocol.Message) error {
		if m.ApiKey() == api && left.Add(-1) >= 0 {
			return errLost
		}
		return nil
	}
	return &f
}

// producer returns one that ends with the test.
func (e *env) producer(k *link, o Options) *Producer {
	p := New(k.send, "test", o)
	e.Cleanup(p.Close)
	return p
}

// unique makes a name no other test and no other run has.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%x", prefix, rand.Int64())
}

// topic creates a topic under a unique name.
func (e *env) topic(partitions int32, config ...string) string {
	e.Helper()
	name := unique("t")
	cfg := make(map[string]*string)
	for i := 0; i+1 < len(config); i += 2 {
		cfg[config[i]] = &config[i+1]
	}
	adm := kadm.NewClient(e.admin)
	r, err := adm.CreateTopics(e.context(), partitions, 1, cfg, name)
	if err != nil || r.Error() != nil {
		e.Fatal(err, r.Error())
	}
	e.eventually("topic "+name+" to have leaders", func() bool {
		ends, err := adm.ListEndOffsets(e.context(), name)
		return err == nil && ends.Error() == nil && len(ends[name]) == int(partitions)
	})
	return name
}

// end returns the offset after the last message of a partition.
func (e *env) end(topic string, partition int32) int64 {
	e.Helper()
	var offset int64
	e.eventually("the end of "+topic, func() bool {
		ends, err := kadm.NewClient(e.admin).ListEndOffsets(e.context(), topic)
		o, ok := ends.Lookup(topic, partition)
		offset = o.Offset
		return err == nil && ok && o.Err == nil
	})
	return offset
}

// eventually waits for something that has no channel to wait on.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			e.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// read reads a partition with franz-go from its start to its end.
func (e *env) read(topic string, partition int32, opts ...kgo.Opt) []*kgo.Record {
	e.Helper()
	end := e.end(topic, partition)
	cl := e.kgo(append([]kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxBytes(64 << 20), kgo.FetchMaxPartitionBytes(64 << 20), kgo.FetchMaxWait(100 * time.Millisecond), kgo.KeepControlRecords(),
	}, opts...)...)
	defer cl.Close()
	var out []*kgo.Record
	ctx := e.context()
	for last := int64(-1); last < end-1; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			e.Fatal(err)
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

// values returns the values of a partition.
func (e *env) values(topic string, partition int32) []string {
	e.Helper()
	var out []string
	for _, r := range e.read(topic, partition) {
		out = append(out, string(r.Value))
	}
	return out
}

// keyFor returns a key that belongs to a partition.
func keyFor(partition int32, n int) []byte {
	for i := 0; ; i++ {
		if k := fmt.Append(nil, i); PartitionOf(k, n) == partition {
			return k
		}
	}
}
