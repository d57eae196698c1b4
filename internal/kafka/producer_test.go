package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// The hash is that of org.apache.kafka.common.utils.Utils.murmur2; the vectors
// are those of its own test, and some of librdkafka's.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
		"":    275646681,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// Keyed messages go where the Java client puts them: the partition is the hash
// without its sign, modulo the number of partitions.
func TestPartitionOf(t *testing.T) {
	for key, want := range map[string]int32{"21": (-973932308 & 0x7fffffff) % 7, "foobar": (-790332482 & 0x7fffffff) % 7, "": 275646681 % 7} {
		if got := partitionOf([]byte(key), 7); got != want {
			t.Errorf("partition of %q is %d, want %d", key, got, want)
		}
	}
}

// What Produce returned nil for is in the topics: each key in its partition,
// messages of one key in order, headers, nulls and times as given.
func TestProduce(t *testing.T) {
	e := setup(t, 3)
	a, b := e.topic(5), e.topic(1)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{a, b}})
	var ms []Message
	want := make(map[int32][]string)
	for i := range 500 {
		key := fmt.Appendf(nil, "user-%d", i%37)
		ms = append(ms, Message{Topic: a, Key: key, Value: fmt.Appendf(nil, "%s:%d", key, i)})
		part := partitionOf(key, 5)
		want[part] = append(want[part], string(ms[len(ms)-1].Value))
	}
	at := time.UnixMilli(1_700_000_000_123)
	ms = append(ms, Message{Topic: b, Headers: []Header{{Key: "n"}, {Key: "e", Value: []byte{}}, {Key: "v", Value: []byte("x")}}, Time: at})
	before := time.Now().Add(-time.Second)
	if err := p.Produce(e.context(), ms); err != nil {
		t.Fatal(err)
	}
	for part, values := range want {
		rs := e.readAll(a, part, int64(len(values)))
		var got []string
		for _, r := range rs {
			got = append(got, string(r.Value))
			if r.Timestamp.Before(before) || r.Timestamp.After(time.Now().Add(time.Second)) {
				t.Errorf("time %v", r.Timestamp)
			}
		}
		if !slices.Equal(got, values) {
			t.Errorf("partition %d has other messages than were sent, or in another order", part)
		}
	}
	r := e.readAll(b, 0, 1)[0]
	if r.Key != nil || r.Value != nil || !r.Timestamp.Equal(at) || len(r.Headers) != 3 || r.Headers[0].Value != nil || r.Headers[1].Value == nil || string(r.Headers[2].Value) != "x" {
		t.Errorf("null key and value, headers or time: %+v", r)
	}
	if err := p.Produce(e.context(), nil); err != nil {
		t.Errorf("nothing to produce: %v", err)
	}
}

// Messages without a key stay together within a call and wander from call to call.
func TestProduceWithoutKey(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(3)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}})
	for range 3 {
		if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("a")}, {Topic: topic, Value: []byte("b")}}); err != nil {
			t.Fatal(err)
		}
	}
	for part := range int32(3) {
		if got := len(e.readAll(topic, part, 2)); got != 2 {
			t.Errorf("partition %d has %d messages, want 2", part, got)
		}
	}
}

// Many callers at once share requests, and each returns only when its own
// messages are there.
func TestProduceCoalesces(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(4)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}})
	var requests atomic.Int32
	hold := make(chan struct{})
	e.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if requests.Add(1) == 1 {
			e.fake.SleepControl(func() { <-hold })
		}
		return nil, nil, false
	})
	const callers = 50
	var wg sync.WaitGroup
	call := func(i int) {
		wg.Go(func() {
			ms := []Message{{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("1")}, {Topic: topic, Key: fmt.Append(nil, i), Value: []byte("2")}}
			if err := p.Produce(e.context(), ms); err != nil {
				t.Error(err)
			}
		})
	}
	call(0)
	e.eventually("the first request", func() bool { return requests.Load() == 1 })
	for i := range callers - 1 {
		call(i + 1)
	}
	e.eventually("all to wait", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.pending) == callers-1 })
	close(hold)
	wg.Wait()
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want the first and one for all that waited", n)
	}
	total := 0
	for part := range int32(4) {
		total += int(e.fake.PartitionInfo(topic, part).HighWatermark)
	}
	if total != 2*callers {
		t.Errorf("%d messages, want %d", total, 2*callers)
	}
}

// A message its topic can never take is named; all others of the call, and of
// other calls in the same request, are written once and in order.
func TestProduceTooLarge(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(2, "max.message.bytes", "10000")
	for _, compression := range []string{"none", "lz4", "zstd"} {
		p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}, Compression: compression, MaxMessageBytes: 100_000})
		noise := func(n int) []byte { // does not compress
			b := make([]byte, n)
			x := uint64(n)
			for i := range b {
				x = x*6364136223846793005 + 1442695040888963407
				b[i] = byte(x >> 56)
			}
			return b
		}
		start := e.end(topic, 0)
		var ms []Message
		var large []int
		for i := range 60 {
			m := Message{Topic: topic, Key: keyFor(0, 2), Value: fmt.Appendf(nil, "%s-%02d", compression, i)}
			switch i {
			case 7, 8, 30:
				m.Value = noise(20_000) // more than the topic takes
				large = append(large, i)
			case 59:
				m.Value = make([]byte, 200_000) // more than is even tried
				large = append(large, i)
			case 20:
				m.Value = noise(9_000)
			}
			ms = append(ms, m)
		}
		err := p.Produce(e.context(), ms)
		tooLarge, ok := errors.AsType[*TooLargeError](err)
		if !ok || !slices.Equal(tooLarge.Index, large) {
			t.Fatalf("%s: %v, want messages %v refused", compression, err, large)
		}
		rs := e.readAll(topic, 0, start+56)[start:]
		i := 0
		for _, r := range rs {
			for slices.Contains(large, i) {
				i++
			}
			if string(r.Value) != string(ms[i].Value) {
				t.Fatalf("%s: message %d is not in its place", compression, i)
			}
			i++
		}
		if len(rs) != 56 {
			t.Errorf("%s: %d messages written, want 56", compression, len(rs))
		}
	}
}

// Large calls are cut into batches a topic takes.
func TestProduceMuch(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(3)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}, Compression: "none"})
	var ms []Message
	for i := range 120 {
		ms = append(ms, Message{Topic: topic, Key: fmt.Append(nil, i), Value: make([]byte, 100_000)})
	}
	if err := p.Produce(e.context(), ms); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for part := range int32(3) {
		total += e.end(topic, part)
	}
	if total != 120 {
		t.Errorf("%d messages, want 120", total)
	}
}

// end returns the offset after the last message of a partition.
func (e *env) end(topic string, partition int32) int64 {
	e.t.Helper()
	tr := e.client.transport([]string{topic})
	defer e.client.release(tr)
	n, err := e.client.offsetOf(e.context(), tr, wire.ToLeader(topic, partition), topic, partition, logEnd, false)
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// Errors of a broker are the caller's to deal with; sent again, everything
// arrives. They name the topic and what Kafka says.
func TestProduceErrors(t *testing.T) {
	e := setupFake(t, 3)
	topic := e.topic(3)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}})
	var ms []Message
	for i := range 30 {
		ms = append(ms, Message{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("x")})
	}
	var left atomic.Int32
	code := kerr.NotEnoughReplicas.Code
	fail := func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if left.Add(-1) < 0 {
			return nil, nil, false
		}
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		resp.Version = req.Version
		for _, rt := range req.Topics {
			t := kmsg.NewProduceResponseTopic()
			t.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	}
	e.fake.ControlKey(int16(kmsg.Produce), fail)
	left.Store(1)
	err := p.Produce(e.context(), ms)
	if err == nil || !strings.Contains(err.Error(), "produce to "+topic+"/") || !strings.Contains(err.Error(), "Not Enough Replicas") {
		t.Errorf("error %v", err)
	}
	if err := p.Produce(e.context(), ms); err != nil {
		t.Errorf("sent again: %v", err)
	}

	// A leader that moved is found within a moment.
	for part := range int32(3) {
		if err := e.fake.MoveTopicPartition(topic, part, (e.fake.LeaderFor(topic, part)+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	e.eventually("the new leaders", func() bool { return p.Produce(e.context(), ms) == nil })
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("new leaders found after %v", took)
	}

	// What can never work is said at once.
	if err := p.Produce(e.context(), []Message{{Topic: "other", Value: []byte("x")}}); err == nil || !strings.Contains(err.Error(), `topic "other" is not one of this producer's`) {
		t.Errorf("a topic it was not made for: %v", err)
	}
	p = e.client.NewProducer(ProducerOptions{Topics: []string{"missing"}})
	if err := p.Produce(e.context(), []Message{{Topic: "missing", Value: []byte("x")}}); !errors.Is(err, ErrNoTopic) {
		t.Errorf("a topic that does not exist: %v", err)
	}
	if err := e.client.NewProducer(ProducerOptions{Compression: "rar"}).Produce(e.context(), nil); err == nil {
		t.Error("an unknown compression was accepted")
	}
}

// Produce returns when its context ends, and does not touch the caller's bytes
// any more. Others in the same round are served.
func TestProduceCancelled(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(1)
	p := e.client.NewProducer(ProducerOptions{Topics: []string{topic}})
	if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("first")}}); err != nil {
		t.Fatal(err)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		once.Do(func() { e.fake.SleepControl(func() { close(held); <-hold }) })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	go func() { done <- p.Produce(ctx, []Message{{Topic: topic, Value: []byte("under way")}}) }()
	<-held
	value := []byte("waiting")
	go func() { done <- p.Produce(ctx, []Message{{Topic: topic, Value: value}}) }()
	other := make(chan error, 1)
	go func() { other <- p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("other")}}) }()
	e.eventually("two to wait", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.pending) == 2 })
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("returned %v", err)
		}
	}
	copy(value, "XXXXXXX") // ours again; the race detector watches
	close(hold)
	if err := <-other; err != nil {
		t.Error(err)
	}
	var got []string
	for _, r := range e.readAll(topic, 0, 3) {
		got = append(got, string(r.Value))
	}
	if want := []string{"first", "under way", "other"}; !slices.Equal(got, want) {
		t.Errorf("written %q, want %q", got, want)
	}
	if err := p.Produce(ctx, []Message{{Topic: topic, Value: value}}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
