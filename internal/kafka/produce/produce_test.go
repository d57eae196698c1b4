package produce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/batch"
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
		if got := PartitionOf([]byte(key), 7); got != want {
			t.Errorf("partition of %q is %d, want %d", key, got, want)
		}
	}
}

// What Produce returned nil for is in the topics: each key in its partition,
// messages of one key in order, headers, nulls and times as given.
func TestProduce(t *testing.T) {
	e := setup(t, 3)
	a, b := e.topic(5), e.topic(1)
	var mu sync.Mutex
	taken, size, answers := make(map[string]int), 0, 0
	p := e.producer(e.link(), Options{Topics: []string{a, b},
		OnTaken: func(topic string, messages, bytes int) {
			mu.Lock()
			defer mu.Unlock()
			taken[topic] += messages
			size += bytes
		},
		OnAnswer: func(took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if answers++; took <= 0 {
				t.Errorf("an answer in %v", took)
			}
		},
	})
	var ms []Message
	want := make(map[int32][]string)
	for i := range 500 {
		key := fmt.Appendf(nil, "user-%d", i%37)
		ms = append(ms, Message{Topic: a, Key: key, Value: fmt.Appendf(nil, "%s:%d", key, i)})
		part := PartitionOf(key, 5)
		want[part] = append(want[part], string(ms[len(ms)-1].Value))
	}
	at := time.UnixMilli(1_700_000_000_123)
	ms = append(ms, Message{Topic: b, Headers: []batch.Header{{Key: "n"}, {Key: "e", Value: []byte{}}, {Key: "v", Value: []byte("x")}}, Time: at})
	before := time.Now().Add(-time.Second)
	if err := p.Produce(e.context(), ms); err != nil {
		t.Fatal(err)
	}
	for part, values := range want {
		rs := e.read(a, part)
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
	r := e.read(b, 0)[0]
	if r.Key != nil || r.Value != nil || !r.Timestamp.Equal(at) || len(r.Headers) != 3 || r.Headers[0].Value != nil || r.Headers[1].Value == nil || string(r.Headers[2].Value) != "x" {
		t.Errorf("null key and value, headers or time: %+v", r)
	}
	if err := p.Produce(e.context(), nil); err != nil {
		t.Errorf("nothing to produce: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if taken[a] != 500 || taken[b] != 1 || size < 2*batch.HeadSize || answers == 0 {
		t.Errorf("told of %v messages, %d bytes, %d answers", taken, size, answers)
	}
}

// A message with a slot goes to the partition of that number, modulo how many there
// are, whatever its key, and also in a transaction.
func TestProduceToSlots(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(5)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	want := make(map[int32][]string)
	var ms []Message
	for i, slot := range []int64{1, 2, 4, 5, 7, 29_716_433, -1, -5, -7, math.MaxInt64, math.MinInt64} {
		m := Message{Topic: topic, Value: fmt.Appendf(nil, "%d", slot), Slot: slot}
		if i%2 == 0 {
			m.Key = []byte("21")
		}
		ms = append(ms, m)
		part := int32(((slot % 5) + 5) % 5)
		want[part] = append(want[part], string(m.Value))
	}
	if err := p.Produce(e.context(), ms); err != nil {
		t.Fatal(err)
	}
	x := p.Transactor(unique("x"), time.Minute)
	if err := x.Fence(e.context()); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(e.context(), Transaction{Messages: []Message{{Topic: topic, Key: []byte("21"), Value: []byte("x"), Slot: 8}}}); err != nil {
		t.Fatal(err)
	}
	want[3] = append(want[3], "x")
	for part := range int32(5) {
		var got []string
		for _, r := range e.read(topic, part) {
			got = append(got, string(r.Value))
		}
		if !slices.Equal(got, want[part]) {
			t.Errorf("partition %d has %v, want %v", part, got, want[part])
		}
	}
}

// Messages without a key stay together within a call and wander from call to call.
func TestProduceWithoutKey(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(3)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	for range 3 {
		if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("a")}, {Topic: topic, Value: []byte("b")}}); err != nil {
			t.Fatal(err)
		}
	}
	for part := range int32(3) {
		if got := len(e.read(topic, part)); got != 2 {
			t.Errorf("partition %d has %d messages, want 2", part, got)
		}
	}
}

// Many callers at once share requests, and each returns only when its own
// messages are there.
func TestProduceCoalesces(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(4)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
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
	e.eventually("all to wait", func() bool { return p.waiting() == callers-1 })
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
		p := e.producer(e.link(), Options{Topics: []string{topic}, Compression: compression, MaxMessageBytes: 100_000})
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
		rs := e.read(topic, 0)[start:]
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
	p := e.producer(e.link(), Options{Topics: []string{topic}, Compression: "none"})
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

// waiting returns how many runs wait on lanes.
func (p *Producer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	if t := p.known.table.Load(); t != nil {
		for _, x := range t.topics {
			for _, l := range x.lanes {
				n += len(l.queue)
			}
		}
	}
	return n
}

// refusing answers produce requests with an error code, for the partitions that
// f names, without writing anything.
func (e *env) refusing(f func(topic string, partition int32) *kerr.Error) {
	e.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		refused := false
		for _, rt := range req.Topics {
			t := kmsg.NewProduceResponseTopic()
			t.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition = rp.Partition
				if code := f(rt.Topic, rp.Partition); code != nil {
					refused = true
					p.ErrorCode = code.Code
				}
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		if !refused {
			return nil, nil, false
		}
		return resp, nil, true
	})
}

// times returns a function that returns an error n times, and then none.
func times(n int32, err *kerr.Error) func(string, int32) *kerr.Error {
	var left atomic.Int32
	left.Store(n)
	return func(string, int32) *kerr.Error {
		if left.Add(-1) >= 0 {
			return err
		}
		return nil
	}
}

func messages(topic string, n int, values string) []Message {
	var ms []Message
	for i := range n {
		ms = append(ms, Message{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "%s-%d", values, i)})
	}
	return ms
}

// once fails unless every value of n messages is in the topic once.
func (e *env) once(topic string, parts int32, n int) {
	e.Helper()
	seen := make(map[string]int)
	for part := range parts {
		for _, v := range e.values(topic, part) {
			seen[v]++
		}
	}
	for v, k := range seen {
		if k != 1 {
			e.Errorf("%q is there %d times", v, k)
		}
	}
	if len(seen) != n {
		e.Errorf("%d messages, want %d", len(seen), n)
	}
}

// An answer that is lost after the broker has written leaves one copy: the same
// bytes are sent again, and the broker knows them.
func TestLostAnswer(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(3)
	for _, compression := range []string{"none", "lz4"} {
		k := e.link()
		var retries atomic.Int32
		p := e.producer(k, Options{Topics: []string{topic}, Compression: compression, OnRetry: func(string, int32, error) { retries.Add(1) }})
		if err := p.Produce(e.context(), messages(topic, 30, compression+"-0")); err != nil {
			t.Fatal(err)
		}
		k.after.Store(losing(protocol.Produce, 4))
		for i := range 5 {
			if err := p.Produce(e.context(), messages(topic, 30, fmt.Sprint(compression, "-", i+1))); err != nil {
				t.Fatal(err)
			}
		}
		if retries.Load() == 0 {
			t.Error("no retry was told")
		}
	}
	e.once(topic, 3, 2*6*30)
}

// A request that is lost before it arrives is sent again.
func TestLostRequest(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(3)
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}})
	for _, api := range []protocol.ApiKey{protocol.InitProducerId, protocol.Metadata, protocol.Produce} {
		k.before.Store(losing(api, 3))
		if err := p.Produce(e.context(), messages(topic, 30, fmt.Sprint(api))); err != nil {
			t.Fatal(err)
		}
	}
	e.once(topic, 3, 3*30)
}

// A broker that says that too few replicas took a batch it has written, twice,
// leaves one copy; and so does every other error that passes.
func TestErrorsThatPass(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	for _, code := range []*kerr.Error{
		kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas, kerr.RequestTimedOut, kerr.NotLeaderForPartition,
		kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError, kerr.CorruptMessage, kerr.UnknownServerError,
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch,
	} {
		topic := e.topic(2)
		k := e.link()
		p := e.producer(k, Options{Topics: []string{topic}})
		if err := p.Produce(e.context(), messages(topic, 10, "first")); err != nil {
			t.Fatal(err)
		}
		var wrote atomic.Int32
		if code == kerr.NotEnoughReplicasAfterAppend || code == kerr.RequestTimedOut {
			// It has them, and says otherwise: the answer is changed on its way back.
			var left atomic.Int32
			left.Store(2)
			k.change.Store(new(func(a *answer) {
				if left.Add(-1) >= 0 {
					wrote.Add(1)
					for i := range a.parts {
						a.parts[i].code = kafkago.Error(code.Code)
					}
				}
			}))
		} else {
			e.refusing(times(2, code))
		}
		if err := p.Produce(e.context(), messages(topic, 10, "second")); err != nil {
			t.Errorf("%s: %v", code.Message, err)
		}
		e.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, false })
		if err := p.Produce(e.context(), messages(topic, 10, "third")); err != nil {
			t.Errorf("%s: %v", code.Message, err)
		}
		e.once(topic, 2, 30)
	}
}

// A sequence the broker does not know any more is begun anew under another
// identity, by the partition it happened on; the others keep theirs.
func TestNewIdentity(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(2)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	produce := func(values string) {
		t.Helper()
		if err := p.Produce(e.context(), messages(topic, 20, values)); err != nil {
			t.Fatal(err)
		}
	}
	produce("a")
	var done atomic.Bool
	e.refusing(func(_ string, part int32) *kerr.Error {
		if part == 0 && done.CompareAndSwap(false, true) {
			return kerr.UnknownProducerID
		}
		return nil
	})
	if err := p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(0, 2), Value: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	produce("c")
	ids := make(map[int32]map[int64]bool)
	for part := range int32(2) {
		ids[part] = make(map[int64]bool)
		for _, r := range e.read(topic, part) {
			if r.ProducerID < 0 {
				t.Error("a message of nobody")
			}
			ids[part][r.ProducerID] = true
		}
	}
	if len(ids[0]) != 2 || len(ids[1]) != 1 {
		t.Errorf("identities by partition: %v, want 2 and 1", ids)
	}
	e.once(topic, 2, 41)
}

// Sequences are counted to 2³¹-1 and then from 0 again, between batches and
// inside one. (The embedded broker cannot count that far and asks for a new
// identity; a real one takes them.)
func TestSequenceWraps(t *testing.T) {
	for _, c := range []struct {
		sequence int32
		n        int
		want     int32
	}{{0, 5, 5}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 5, 2}, {math.MaxInt32, 0, math.MaxInt32}} {
		if got := sequenceAfter(c.sequence, c.n); got != c.want {
			t.Errorf("%d after %d is %d, want %d", c.n, c.sequence, got, c.want)
		}
	}
	e := setup(t, 1)
	topic := e.topic(1)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	if err := p.known.learn(e.context(), p, time.Now()); err != nil {
		t.Fatal(err)
	}
	by, err := p.identify(e.context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := p.known.table.Load().topics[topic].lanes[0]
	l.by, l.next = by, math.MaxInt32-14
	for i := range 5 {
		if err := p.Produce(e.context(), messages(topic, 5, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if e.fake == nil && (l.by != by || l.next != 10) {
		t.Errorf("the sequence went on at %d, or under another identity", l.next)
	}
	e.once(topic, 1, 25)
}

// A leader that moves is found at once: nothing is lost, doubled, or out of order.
func TestLeaderMoves(t *testing.T) {
	e := setupFake(t, 3)
	topic := e.topic(3)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	for i := range 20 {
		if err := p.Produce(e.context(), messages(topic, 30, fmt.Sprintf("%02d", i))); err != nil {
			t.Fatal(err)
		}
		for part := range int32(3) {
			if err := e.fake.MoveTopicPartition(topic, part, (e.fake.LeaderFor(topic, part)+1)%3); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.once(topic, 3, 20*30)
	for part := range int32(3) {
		round := ""
		for _, v := range e.values(topic, part) {
			if v[:2] < round {
				t.Fatalf("partition %d is out of order", part)
			}
			round = v[:2]
		}
	}
}

// A partition that takes nothing does not hold up the others, not those of its
// broker either; what waits for it is told why when it gives up waiting.
func TestStalledPartition(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(3)
	var p *Producer
	var stuckCalls atomic.Int32
	p = e.producer(e.link(), Options{Topics: []string{topic}, OnRetry: func(_ string, part int32, _ error) {
		l := p.known.table.Load().topics[topic].lanes[part] // whose owner calls us
		stuckCalls.Store(int32(len(l.parcel.runs) + len(l.rest)))
	}})
	if err := p.Produce(e.context(), messages(topic, 30, "first")); err != nil {
		t.Fatal(err)
	}
	var healed atomic.Bool
	e.refusing(func(_ string, part int32) *kerr.Error {
		if part == 1 && !healed.Load() {
			return kerr.NotEnoughReplicas
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- p.Produce(ctx, []Message{{Topic: topic, Key: keyFor(1, 3), Value: []byte("left behind")}})
	}()
	stuck := make(chan error, 1)
	go func() {
		stuck <- p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(0, 3), Value: []byte("stuck-0")}, {Topic: topic, Key: keyFor(1, 3), Value: []byte("stuck-1")}})
	}()
	for i := range 10 {
		for _, part := range []int32{0, 2} {
			if err := p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(part, 3), Value: fmt.Appendf(nil, "free-%d-%d", part, i)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case err := <-stuck:
		t.Fatalf("returned %v before its messages were written", err)
	default:
	}
	e.eventually("both to wait", func() bool { return stuckCalls.Load() == 2 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), topic+"/1: [19] Not Enough Replicas") {
		t.Errorf("returned %v", err)
	}
	healed.Store(true)
	if err := <-stuck; err != nil {
		t.Error(err)
	}
	got := e.values(topic, 1)
	if !slices.Contains(got, "stuck-1") {
		t.Errorf("partition 1 has %q", got)
	}
}

// A broker that is away does not hold up those that are there.
func TestBrokerAway(t *testing.T) {
	e := setupFake(t, 2)
	topic := e.topic(2)
	for part := range int32(2) {
		if err := e.fake.MoveTopicPartition(topic, part, part); err != nil {
			t.Fatal(err)
		}
	}
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}})
	if err := p.Produce(e.context(), messages(topic, 10, "first")); err != nil {
		t.Fatal(err)
	}
	back := make(chan struct{})
	k.leaving.Store(new(func(m protocol.Message) {
		if q, ok := m.(*request); ok && q.lanes[0].partition == 0 {
			<-back
		}
	}))
	away := make(chan error, 1)
	go func() {
		away <- p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(0, 2), Value: []byte("away")}})
	}()
	for i := range 10 {
		if err := p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(1, 2), Value: fmt.Append(nil, "there-", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-away:
		t.Fatalf("returned %v", err)
	default:
	}
	close(back)
	if err := <-away; err != nil {
		t.Error(err)
	}
	e.once(topic, 2, 21)
}

// What waiting does not help is said, and names the topic and what Kafka says.
func TestProduceErrors(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(2)
	p := e.producer(e.link(), Options{Topics: []string{topic, "missing"}})
	e.refusing(times(1, kerr.TopicAuthorizationFailed))
	err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("x")}})
	if err == nil || !strings.Contains(err.Error(), "produce to "+topic+"/") || !strings.Contains(err.Error(), "Topic Authorization Failed") {
		t.Errorf("error %v", err)
	}
	if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("x")}}); err != nil {
		t.Errorf("sent again: %v", err)
	}
	if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("x")}, {Topic: "other", Value: []byte("x")}}); err == nil || !strings.Contains(err.Error(), `topic "other" is not one of this producer's`) {
		t.Errorf("a topic it was not made for: %v", err)
	}
	if err := p.Produce(e.context(), []Message{{Topic: "missing", Value: []byte("x")}}); !errors.Is(err, wire.ErrNoTopic) {
		t.Errorf("a topic that does not exist: %v", err)
	}
	if err := New(nil, "test", Options{Compression: "rar"}).Produce(e.context(), nil); err == nil {
		t.Error("an unknown compression was accepted")
	}
}

// A topic that is deleted while messages wait for it fails them in the end. One
// that is made later is found.
func TestTopicComesAndGoes(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	topic := e.topic(1)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	if err := p.Produce(e.context(), messages(topic, 1, "a")); err != nil {
		t.Fatal(err)
	}
	if err := e.fake.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(e.context(), messages(topic, 1, "b")); !errors.Is(err, wire.ErrNoTopic) {
		t.Errorf("a topic that has gone: %v", err)
	}
	if err := e.fake.CreateTopic(topic, 3, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(e.context(), messages(topic, 30, "c")); err != nil {
		t.Errorf("a topic that is back: %v", err)
	}
	e.once(topic, 3, 30)
}

// A topic that has no leader for a moment, as when it was just made, is waited for.
func TestTopicWithoutLeader(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	topic := e.topic(2)
	var left atomic.Int32
	left.Store(6)
	e.fake.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) != 1 || left.Add(-1) < 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		host, port, _ := net.SplitHostPort(e.addrs[0])
		n, _ := strconv.Atoi(port)
		b.NodeID, b.Host, b.Port = e.fake.LeaderFor(topic, 0), host, int32(n)
		resp.Brokers = append(resp.Brokers, b)
		x := kmsg.NewMetadataResponseTopic()
		x.Topic = &topic
		if left.Load() > 2 {
			x.ErrorCode = kerr.LeaderNotAvailable.Code
		} else {
			for i := range int32(2) {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Leader, p.ErrorCode = i, -1, kerr.LeaderNotAvailable.Code
				x.Partitions = append(x.Partitions, p)
			}
		}
		resp.Topics = append(resp.Topics, x)
		return resp, nil, true
	})
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	if err := p.Produce(e.context(), messages(topic, 10, "a")); err != nil {
		t.Fatal(err)
	}
	if left.Load() >= 0 {
		t.Error("the brokers were not asked often enough")
	}
	e.once(topic, 2, 10)
}

// Produce returns when its context ends, and does not touch the caller's bytes
// any more. Others in the same request are served, and what was sent already is
// seen through: the sequence would be broken without it.
func TestProduceCancelled(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(1)
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}})
	if err := p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("first")}}); err != nil {
		t.Fatal(err)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	lost := errors.New("lost")
	k.after.Store(new(func(m protocol.Message) error {
		var err error
		if m.ApiKey() == protocol.Produce {
			once.Do(func() {
				close(held)
				<-hold
				err = lost // and nobody knows whether the broker has it
			})
		}
		return err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	under := []byte("under way")
	go func() { done <- p.Produce(ctx, []Message{{Topic: topic, Value: under}}) }()
	<-held
	value := []byte("waiting")
	go func() { done <- p.Produce(ctx, []Message{{Topic: topic, Value: value}}) }()
	other := make(chan error, 1)
	go func() { other <- p.Produce(e.context(), []Message{{Topic: topic, Value: []byte("other")}}) }()
	e.eventually("two to wait", func() bool { return p.waiting() == 2 })
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("returned %v", err)
		}
	}
	copy(value, "XXXXXXX") // ours again; the race detector watches
	copy(under, "XXXXXXXXX")
	close(hold)
	if err := <-other; err != nil {
		t.Error(err)
	}
	if got, want := e.values(topic, 0), []string{"first", "under way", "other"}; !slices.Equal(got, want) {
		t.Errorf("written %q, want %q", got, want)
	}
	if err := p.Produce(ctx, []Message{{Topic: topic, Value: value}}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Calls wait while as much as may be is not acknowledged; a call that is larger
// than that by itself goes alone.
func TestMaxQueuedBytes(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(1)
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}, MaxQueuedBytes: 10_000})
	hold := make(chan struct{})
	k.leaving.Store(new(func(m protocol.Message) {
		if m.ApiKey() == protocol.Produce {
			<-hold
		}
	}))
	large := []Message{{Topic: topic, Value: make([]byte, 50_000)}}
	done := make(chan error, 1)
	go func() { done <- p.Produce(e.context(), large) }()
	e.eventually("the first to be under way", func() bool { return p.Queued() > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- p.Produce(ctx, messages(topic, 1, "x")) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for room: %v", err)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(e.context(), large); err != nil {
		t.Fatal(err)
	}
	if !p.room.TryAcquire(10_000) || p.Queued() != 0 {
		t.Error("the room is not given back")
	}
	if n := e.end(topic, 0); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

// Callers that give up on a partition that takes nothing leave their room to
// others.
func TestRoomOfThoseWhoGaveUp(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(2)
	var retries atomic.Int32
	p := e.producer(e.link(), Options{Topics: []string{topic}, MaxQueuedBytes: 10_000, OnRetry: func(string, int32, error) { retries.Add(1) }})
	e.refusing(func(_ string, part int32) *kerr.Error {
		if part == 1 {
			return kerr.NotEnoughReplicas
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	stuck := func() chan error {
		done := make(chan error, 1)
		go func() {
			done <- p.Produce(ctx, []Message{{Topic: topic, Key: keyFor(1, 2), Value: make([]byte, 4_500)}})
		}()
		return done
	}
	first := stuck()
	e.eventually("trouble", func() bool { return retries.Load() > 0 })
	second := stuck()
	e.eventually("both to have room", func() bool { return p.Queued() > 9_000 })
	third := make(chan error, 1)
	go func() {
		third <- p.Produce(e.context(), []Message{{Topic: topic, Key: keyFor(0, 2), Value: make([]byte, 4_500)}})
	}()
	cancel()
	for _, done := range []chan error{first, second} {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("returned %v", err)
		}
	}
	if err := <-third; err != nil {
		t.Error(err)
	}
	if n := p.Queued(); n < 4_000 || n > 5_000 {
		t.Errorf("%d bytes queued, want those of the one batch that is sent again", n)
	}
}

// A producer that is closed lets everybody go, and nothing runs on.
func TestClose(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(2)
	var retries atomic.Int32
	p := New(e.link().send, "test", Options{Topics: []string{topic}, OnRetry: func(string, int32, error) { retries.Add(1) }})
	if err := p.Produce(e.context(), messages(topic, 10, "a")); err != nil {
		t.Fatal(err)
	}
	e.refusing(times(math.MaxInt32, kerr.NotEnoughReplicas))
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- p.Produce(context.Background(), messages(topic, 10, "b")) }()
	}
	e.eventually("trouble", func() bool { return retries.Load() > 2 })
	p.Close()
	for range 3 {
		if err := <-done; !errors.Is(err, wire.ErrClosed) {
			t.Errorf("returned %v", err)
		}
	}
	if err := p.Produce(e.context(), messages(topic, 1, "c")); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// FuzzAnswers gives the reader of answers any bytes: it must not panic, nor take
// more memory than the bytes are worth.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 6})
	f.Add(bytes.Repeat([]byte{0x7f}, 40))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = readAnswer(b)
		_, _ = wire.ReadTopics(&wire.Reader{B: b})
	})
}
