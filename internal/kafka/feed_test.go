package kafka

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/group"
)

// polled returns the feed of some partitions of topic "t" that broker 1 leads and
// that may be polled, and its poller.
func polled(t *testing.T, o ConsumerOptions, partitions int32) (*feed, *poller) {
	t.Helper()
	e := setupFake(t, 1)
	o.Handle = func(context.Context, *Batch) error { return nil }
	o.Checkpoint = func(context.Context, []Range) error { return nil }
	k, err := e.client.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	gen := &group.Generation{}
	for id := range partitions {
		gen.Partitions = append(gen.Partitions, group.Partition{Topic: "t", ID: id})
	}
	f := newGeneration(k, gen, nil, nil).feed
	p := &poller{f: f, broker: 1, wake: make(chan struct{}, 1)}
	f.brokers[1] = p
	for _, in := range f.order {
		in.leader = 1
		f.resume(in.p, 0, int32(k.o.PartitionBytes), false, time.Time{})
	}
	return f, p
}

// asks returns the partitions a question is about.
func (q *question) asks() (list []int32) {
	for _, part := range q.request.Parts {
		list = append(list, part.Partition)
	}
	return list
}

// A broker fills its answer in the order in which it is asked. When answers are full
// before all partitions are in one, none waits much longer than until all others have
// had one share, and each comes first now and then.
func TestPollsRotate(t *testing.T) {
	const partitions, share, polls = 12, 3, 96
	_, p := polled(t, quick("g", "t"), partitions)
	first, served := make(map[int32]int), make(map[int32]int)
	for n := range polls {
		q, _ := p.next(time.Now())
		asked := q.asks()
		if len(asked) != partitions {
			t.Fatalf("asked for %v", asked)
		}
		first[asked[0]]++
		for _, id := range asked[:share] {
			served[id] = n
		}
		p.brought(&q, share-1)
		for id := range int32(partitions) {
			if waits := n - served[id]; waits > 2*partitions/share {
				t.Fatalf("partition %d has waited for %d polls", id, waits)
			}
		}
	}
	for id := range int32(partitions) {
		if first[id] < polls/outOfTurn/partitions {
			t.Errorf("partition %d came first in %d of %d polls", id, first[id], polls)
		}
	}
}

// What a poll asks for, and for how long it may wait: a partition without room is
// left out, and shortens the wait, for it may have room at any time; one that
// stands still for good does not; one that pauses shortens it to its pause. What
// looks broken is asked for alone.
func TestWhatIsPolled(t *testing.T) {
	o := quick("g", "t")
	o.MaxWait = 200 * time.Millisecond
	f, p := polled(t, o, 4)
	now := time.Now()
	check := func(when string, wait time.Duration, want ...int32) *question {
		t.Helper()
		q, _ := p.next(now)
		if got := slices.Sorted(slices.Values(q.asks())); !slices.Equal(got, want) {
			t.Errorf("%s: asks for %v, want %v", when, got, want)
		}
		if q.request.Wait != wait {
			t.Errorf("%s: may wait %v, want %v", when, q.request.Wait, wait)
		}
		return &q
	}
	check("all have room", 200*time.Millisecond, 0, 1, 2, 3)
	f.order[0].full = true
	check("one is full", busyWait, 1, 2, 3)
	f.order[0].full, f.order[0].held = false, true
	check("one has to say where it goes on", busyWait, 1, 2, 3)
	f.order[0].p.stopped.Store(true)
	check("it has stopped", 200*time.Millisecond, 1, 2, 3)
	f.order[1].after = now.Add(50 * time.Millisecond)
	check("one pauses", 50*time.Millisecond, 2, 3)
	f.order[2].leader = 7
	check("one has another leader", 50*time.Millisecond, 3)
	f.order[3].after = now.Add(20 * time.Millisecond)
	if q, after := p.next(now); len(q.of) != 0 || !after.Equal(now.Add(20*time.Millisecond)) {
		t.Errorf("when all pause: %v, again at %v", q.asks(), after)
	}
	f.order[1].after, f.order[2].leader, f.order[3].after = time.Time{}, 1, time.Time{}
	f.resume(f.order[2].p, 5, 70000, true, time.Time{})
	if q := check("one looks broken", 200*time.Millisecond, 2); !q.final || q.request.MaxBytes != 70000 || q.request.Parts[0].Offset != 5 {
		t.Errorf("it is asked for as %+v, final %v", q.request, q.final)
	}
}

// The more is held the less is asked for, but never less than the share of one
// partition: what is held must not keep all of them from going on.
func TestHeldBytesLessenPolls(t *testing.T) {
	o := quick("g", "t")
	o.HeldBytes, o.ResponseBytes, o.PartitionBytes = 1000, 600, 100
	f, p := polled(t, o, 2)
	for _, test := range []struct{ held, want int64 }{{0, 600}, {400, 600}, {700, 300}, {950, 100}, {5000, 100}} {
		f.held.Store(test.held)
		if q, _ := p.next(time.Now()); int64(q.request.MaxBytes) != test.want {
			t.Errorf("with %d bytes held, %d are asked for, want %d", test.held, q.request.MaxBytes, test.want)
		}
	}
}

// noise returns a value of n bytes that no codec makes smaller.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return string(b)
}

// A partition whose handler does not return holds up no other, and is asked ahead
// by one poll and no more. What is held for those that wait is bounded, and given
// back in the end.
func TestSlowPartition(t *testing.T) {
	e := setupFake(t, 1)
	topic, group := e.topic(3), unique("g")
	for range 20 {
		for p := range int32(3) {
			e.produce(topic, p, noise(10000))
		}
	}
	var mu sync.Mutex
	asked := make(map[int32][]int64) // different offsets, by partition
	e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, t := range r.(*kmsg.FetchRequest).Topics {
			for _, p := range t.Partitions {
				if !slices.Contains(asked[p.Partition], p.FetchOffset) {
					asked[p.Partition] = append(asked[p.Partition], p.FetchOffset)
				}
			}
		}
		return nil, nil, false
	})
	o := quick(group, topic)
	o.PartitionBytes, o.HeldBytes, o.ResponseBytes = 12000, 20000, 50000
	finish := make(chan struct{})
	o.Handle = func(_ context.Context, b *Batch) error {
		if b.Partition < 2 {
			<-finish
		}
		return nil
	}
	m := e.start(e.client, o)
	m.reach(topic, 2, 20)
	e.produce(topic, 2, "after all")
	m.reach(topic, 2, 21) // polls have gone on meanwhile
	mu.Lock()
	for p := range int32(2) {
		if got := asked[p]; len(got) > 2 {
			t.Errorf("partition %d was asked for at %v while its first batch was in hand, want it and one ahead", p, got)
		}
	}
	mu.Unlock()
	feed := m.current().feed
	if held, most := feed.held.Load(), int64(20000+2*2*12000); held > most || held < 20000 {
		t.Errorf("%d bytes are held for two partitions that wait, want at most %d", held, most)
	}
	close(finish)
	m.reach(topic, 0, 20)
	m.reach(topic, 1, 20)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if held := feed.held.Load(); held != 0 {
		t.Errorf("%d bytes are held when all is over", held)
	}
}

// Batches larger than any limit are read, and of more partitions than one answer
// can serve none is forgotten.
func TestManyPartitionsAndLargeBatches(t *testing.T) {
	e := setup(t, 1)
	const partitions = 30
	topic, group := e.topic(partitions), unique("g")
	for range 3 {
		var rs []*kgo.Record
		for p := range int32(partitions) {
			rs = append(rs, &kgo.Record{Topic: topic, Partition: p, Value: []byte(noise(5000))})
		}
		if err := e.admin.ProduceSync(e.context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	o := quick(group, topic)
	o.PartitionBytes, o.ResponseBytes, o.HeldBytes = 1000, 2000, 3000
	m := e.start(e.client, o)
	for p := range int32(partitions) {
		m.reach(topic, p, 3)
		if got := m.of(topic, p); len(got) != 3 || len(got[2].value) != 5000 {
			t.Errorf("partition %d: %d records", p, len(got))
		}
	}
}

// A partition that nobody leads is told about, also if it was never polled.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	topic, group := e.topic(2), unique("g")
	e.produce(topic, 0, "x")
	e.commit(group, topic, 0, 0)
	e.commit(group, topic, 1, 0)
	e.fake.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Version = req.Version
		b := kmsg.NewMetadataResponseBroker()
		info := e.fake.ListenAddrs()[0]
		host, port, _ := strings.Cut(info, ":")
		b.NodeID, b.Host = 0, host
		for _, c := range port {
			b.Port = b.Port*10 + c - '0'
		}
		resp.Brokers = append(resp.Brokers, b)
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic = kmsg.StringPtr(topic)
		for id := range int32(2) {
			p := kmsg.NewMetadataResponseTopicPartition()
			if p.Partition = id; id == 1 {
				p.Leader, p.ErrorCode = -1, int16(kafkago.LeaderNotAvailable)
			}
			rt.Partitions = append(rt.Partitions, p)
		}
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	m := e.start(e.client, quick(group, topic))
	m.reach(topic, 0, 1)
	e.eventually("the partition without a leader to be told of", func() bool {
		err := m.Ready()
		return err != nil && strings.Contains(err.Error(), topic+"/1: ") && strings.Contains(err.Error(), "Leader Not Available")
	})
	if err := m.Ready(); strings.Contains(err.Error(), topic+"/0") {
		t.Errorf("the other partition is told of, too: %v", err)
	}
}
