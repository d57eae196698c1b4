package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rebalance has the coordinator of an embedded cluster ask the next member that
// gives a sign of life to join again.
func (e *env) rebalance() {
	e.fake.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.Version = r.GetVersion()
		resp.ErrorCode = kerr.RebalanceInProgress.Code
		return resp, nil, true
	})
}

// While nothing can be committed, a rebalance that leaves a partition with its
// member makes nothing come again: it goes on where it was, and what was finished
// before is committed with the rest.
func TestKeptPartitionsGoOn(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	topic, group := e.topic(2), unique("g")
	var broken atomic.Bool
	broken.Store(true)
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if broken.Load() {
			return refuseCommit(r, kerr.CoordinatorLoadInProgress.Code), nil, true
		}
		return nil, nil, false
	})
	e.produce(topic, 0, numbered(0, 100)...)
	e.produce(topic, 1, numbered(0, 50)...)
	m := e.start(e.client, quick(group, topic))
	m.reach(topic, 0, 100)
	m.reach(topic, 1, 50)
	e.rebalance()
	e.eventually("the next generation", func() bool { return m.Stats().Generations == 2 && m.current() != nil })
	e.produce(topic, 0, numbered(100, 10)...)
	m.reach(topic, 0, 110)
	broken.Store(false)
	e.eventually("all to be committed", func() bool {
		return e.committed(group, topic, 0) == 110 && e.committed(group, topic, 1) == 50
	})
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := m.values(topic, 0); !slices.Equal(got, numbered(0, 110)) {
		t.Errorf("partition 0: %d records, want 110, each once", len(got))
	}
	if got := m.values(topic, 1); !slices.Equal(got, numbered(0, 50)) {
		t.Errorf("partition 1: %d records, want 50, each once", len(got))
	}
}

// A handler that finds its partition in other hands makes the member let go and
// join again; Run goes on.
func TestLostPartition(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	o := quick(group, topic)
	var calls atomic.Int32
	o.Handle = func(context.Context, *Batch) error {
		if calls.Add(1) == 1 {
			return ErrLost
		}
		return nil
	}
	m := e.start(e.client, o)
	m.reach(topic, 0, 10)
	if got := m.Stats().Generations; got != 2 {
		t.Errorf("%d generations, want 2", got)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := m.values(topic, 0); !slices.Equal(got, numbered(0, 10)) {
		t.Errorf("saw %q", got)
	}
}

// logged is a log to look into.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A batch that gives no sign of life ends Run, with everybody's stacks in the log.
// The group is left at once, and nothing of the batch is committed, even if its
// handler wakes up later.
func TestStuck(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	var log logged
	o := quick(group, topic)
	o.Stuck = 200 * time.Millisecond
	o.Session = 25 * time.Second // that it is not this which frees the partition
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	wake := make(chan struct{})
	o.Handle = func(context.Context, *Batch) error {
		<-wake // whatever its context says
		return nil
	}
	m := e.start(e.client, o)
	err := m.ended()
	if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), topic+"/0") {
		t.Fatalf("Run returned %v", err)
	}
	if text := log.String(); !strings.Contains(text, "TestStuck") || !strings.Contains(text, "goroutine") {
		t.Errorf("no stacks in the log: %s", text)
	}
	close(wake)
	m.reach(topic, 0, 10) // it has woken
	if got := e.committed(group, topic, 0); got > 0 {
		t.Errorf("committed %d", got)
	}
	o = quick(group, topic)
	began := time.Now()
	next := e.start(e.newClient(), o)
	next.reach(topic, 0, 10)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the group was not left: the next member waited %v", took)
	}
}

// A handler that says that it waits for something is not stuck.
func TestAlive(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, "slow")
	o := quick(group, topic)
	o.Stuck = time.Second
	o.Handle = func(_ context.Context, b *Batch) error {
		for began := time.Now(); time.Since(began) < 2*o.Stuck; {
			b.Alive()
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	}
	m := e.start(e.client, o)
	m.reach(topic, 0, 1)
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

// A sign of life that comes when its batch is finished does not make the partition
// look stuck.
func TestAliveTooLate(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, "x")
	o := quick(group, topic)
	alive := make(chan func(), 1)
	o.Handle = func(_ context.Context, b *Batch) error {
		alive <- b.alive
		return nil
	}
	m := e.start(e.client, o)
	m.reach(topic, 0, 1)
	p := m.current().partitions[0]
	e.eventually("the batch to be finished", func() bool { return p.next.Load() == 1 })
	(<-alive)()
	if silent := p.silent(time.Now().Add(time.Hour)); silent != 0 {
		t.Errorf("no batch is in hand, and none gave a sign for %v", silent)
	}
}

// In every generation each partition is fenced before its offset is asked for.
// With CommitRanges nothing is committed in any other way, and a generation begins
// where the group says: it alone knows which transactions came to pass.
func TestFence(t *testing.T) {
	e := setupFake(t, 1)
	topic, group := e.topic(3), unique("g")
	for p := range int32(3) {
		e.produce(topic, p, numbered(0, 10)...)
	}
	var mu sync.Mutex
	fenced := make(map[int32]int)
	asked := 0
	e.fake.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		req := r.(*kmsg.OffsetFetchRequest)
		asked++
		for _, p := range req.Topics[0].Partitions {
			if fenced[p] != asked {
				t.Errorf("offset of partition %d was asked for the time %d after %d fences", p, asked, fenced[p])
			}
		}
		return nil, nil, false
	})
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		t.Error("offsets were committed outside of a transaction")
		return nil, nil, false
	})
	o := quick(group, topic)
	o.Fence = func(_ context.Context, name string, p int32) error {
		mu.Lock()
		defer mu.Unlock()
		if name != topic {
			t.Errorf("topic %s", name)
		}
		fenced[p]++
		return nil
	}
	ranges := make(map[int32]int64)
	o.CommitRanges = func(_ context.Context, claim Claim, done []Range) error {
		mu.Lock()
		defer mu.Unlock()
		if claim.Group != group || claim.Generation < 1 || claim.Member == "" {
			t.Errorf("claim %+v", claim)
		}
		for _, r := range done {
			ranges[r.Partition] = r.Next
		}
		return nil
	}
	m := e.start(e.client, o)
	e.eventually("all to be committed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ranges[0] == 10 && ranges[1] == 10 && ranges[2] == 10
	})
	e.rebalance()
	e.eventually("all to come again, for the group knows of no offset", func() bool {
		return len(m.of(topic, 0)) == 20 && len(m.of(topic, 1)) == 20 && len(m.of(topic, 2)) == 20
	})
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
}

// A topic that comes later is read from its start if its whole name matches a
// pattern, whatever the start of the group; one that does not is not read.
func TestPattern(t *testing.T) {
	e := setup(t, 1)
	prefix, group := unique("p"), unique("g")
	create := func(name string) {
		t.Helper()
		if err := e.client.CreateTopics(e.context(), NewTopic{Name: name, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		fresh := e.kgo()
		e.eventually("the topic to be there", func() bool {
			return fresh.ProduceSync(e.context(), &kgo.Record{Topic: name, Value: []byte("first")}).FirstErr() == nil
		})
	}
	create(prefix + ".posts")
	o := quick(group)
	o.Topics = []Subscription{{Pattern: regexp.MustCompile(regexp.QuoteMeta(prefix) + `\.(posts|pushes)`), Start: Latest}}
	o.Watch = 100 * time.Millisecond
	m := e.start(e.client, o)
	e.eventually("the first topic to be assigned, from its end", func() bool { return e.committed(group, prefix+".posts", 0) == 1 })
	create(prefix + ".pushes.other") // only a part of it matches
	create(prefix + ".pushes")
	m.reach(prefix+".pushes", 0, 1)
	e.produce(prefix+".posts", 0, "second")
	m.reach(prefix+".posts", 0, 2)
	if got := m.values(prefix+".pushes", 0); !slices.Equal(got, []string{"first"}) {
		t.Errorf("of the new topic %q", got)
	}
	if got := m.values(prefix+".posts", 0); !slices.Equal(got, []string{"second"}) {
		t.Errorf("of the old topic %q", got)
	}
	if len(m.Partitions()) != 2 || len(m.of(prefix+".pushes.other", 0)) != 0 {
		t.Errorf("partitions %+v", m.Partitions())
	}
}

// A static member that ends and is back within its session has its partitions
// again and nobody else notices. A second process with its instance ends the
// first, with words that say why.
func TestInstance(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(4), unique("g")
	run := func(instance string) *member {
		o := quick(group, topic)
		o.Instance = instance
		return e.start(e.newClient(), o)
	}
	a := run("one")
	e.eventually("the first to lead", func() bool { return len(a.Partitions()) == 4 })
	b := run("two")
	e.eventually("both to have a share", func() bool { return len(a.Partitions()) == 2 && len(b.Partitions()) == 2 })
	had, generations := names(b), a.Stats().Generations
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b = run("two")
	e.eventually("it to be back", func() bool { return len(b.Partitions()) > 0 })
	if got := names(b); !slices.Equal(got, had) {
		t.Errorf("has %v, had %v", got, had)
	}
	if got := a.Stats().Generations; got != generations {
		t.Errorf("the other member had to join again")
	}
	rival := run("two")
	err := b.ended()
	if !errors.Is(err, kafkago.FencedInstanceID) || !strings.Contains(err.Error(), `another process has joined as instance "two"`) {
		t.Errorf("the older process ended with %v", err)
	}
	e.eventually("the newer to have the share", func() bool { return slices.Equal(names(rival), had) })
}

// How old the oldest message is that is not finished.
func TestBehind(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	old := time.Now().Add(-time.Hour)
	for i := range 2 {
		r := &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: old.Add(time.Duration(i) * time.Minute)}
		if err := e.admin.ProduceSync(e.context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	o := quick(group, topic)
	o.BatchRecords = 1
	o.Handle = func(context.Context, *Batch) error {
		begun <- struct{}{}
		<-finish
		return nil
	}
	m := e.start(e.client, o)
	behind := func() time.Duration { return m.Partitions()[0].Behind }
	<-begun
	if got := behind(); got < time.Hour || got > time.Hour+patience {
		t.Errorf("behind by %v, want an hour", got)
	}
	finish <- struct{}{}
	<-begun
	if got := behind(); got < 59*time.Minute || got > 59*time.Minute+patience {
		t.Errorf("behind by %v, want 59 minutes", got)
	}
	finish <- struct{}{}
	m.reach(topic, 0, 2)
	e.eventually("nothing to be left", func() bool { return m.Partitions()[0].Lag() == 0 && behind() == 0 })
}
