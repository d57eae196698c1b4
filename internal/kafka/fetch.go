package kafka

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// fetchPart is one partition to read from.
type fetchPart struct {
	topic     string
	partition int32
	offset    int64
	maxBytes  int32 // how much of it is wanted; one whole batch comes in any case
}

// fetchRequest reads from partitions that have one leader, without a session.
type fetchRequest struct {
	client    string
	wait      time.Duration // how long the broker may wait for minBytes
	minBytes  int32
	maxBytes  int32
	limit     int // the largest answer that is taken
	committed bool
	parts     []fetchPart // those of one topic stand together
	buffers   *buffers
}

// fetched is the answer of a broker, not yet read.
type fetched struct {
	raw     []byte
	buffers *buffers
}

// release gives the bytes of the answer back. Nothing that points into them may
// be used any more.
func (f *fetched) release() {
	f.buffers.put(f.raw)
	f.raw = nil
}

// partFetched is what an answer has for one partition. Its bytes belong to the answer.
type partFetched struct {
	topic     string
	partition int32
	code      kafkago.Error
	end       int64 // the high watermark
	stable    int64 // the last stable offset: where read_committed ends
	start     int64 // where the log starts
	aborted   []batch.Aborted
	data      []byte
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (f *fetchRequest) ApiKey() protocol.ApiKey { return apiFetch.key }

// ApiKey is the same for the answer.
func (f *fetched) ApiKey() protocol.ApiKey { return apiFetch.key }

// Required says that this is a raw exchange.
func (f *fetchRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker sends the request to the leader of its partitions.
func (f *fetchRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return leaderOf(c, f.parts[0].topic, f.parts[0].partition)
}

// RawExchange sends the request and reads the answer into a buffer of the pool.
//
// It runs in a goroutine of the connection, which goes on reading when the
// caller has given up. So the buffer is taken here and not handed in: what the
// caller does not get, nobody else gets either.
func (f *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	var w writer
	w.begin(apiFetch, f.client)
	w.i32(-1) // not a replica
	w.i32(int32(f.wait.Milliseconds()))
	w.i32(f.minBytes)
	w.i32(f.maxBytes)
	w.i8(isolation(f.committed))
	w.i32(0)  // no session
	w.i32(-1) // nor one to begin
	topics := 0
	for i := range f.parts {
		if i == 0 || f.parts[i].topic != f.parts[i-1].topic {
			topics++
		}
	}
	w.i32(int32(topics))
	for i := 0; i < len(f.parts); {
		n := i
		for n < len(f.parts) && f.parts[n].topic == f.parts[i].topic {
			n++
		}
		w.str(f.parts[i].topic)
		w.i32(int32(n - i))
		for ; i < n; i++ {
			w.i32(f.parts[i].partition)
			w.i32(-1) // leader epoch: any
			w.i64(f.parts[i].offset)
			w.i64(-1) // log start offset: for replicas
			w.i32(f.parts[i].maxBytes)
		}
	}
	w.i32(0)  // no partitions to forget
	w.str("") // no rack

	patience := func(d time.Duration) error {
		if c, ok := rw.(deadliner); ok {
			return c.SetReadDeadline(time.Now().Add(d))
		}
		return nil
	}
	if err := patience(f.wait + requestTimeout); err != nil {
		return nil, err
	}
	n, err := exchange(rw, w.finish(), f.limit)
	if err != nil {
		return nil, err
	}
	raw := f.buffers.get(n)
	for rest := raw; len(rest) > 0; {
		// An answer may be large and the line slow: as long as bytes come, all is well.
		if err := patience(requestTimeout); err != nil {
			return nil, err
		}
		part := rest[:min(len(rest), 1<<20)]
		if _, err := io.ReadFull(rw, part); err != nil {
			return nil, err
		}
		rest = rest[len(part):]
	}
	return &fetched{raw, f.buffers}, nil
}

// transferTimeout bounds a fetch as a whole. That bytes keep coming is watched
// while they are read.
const transferTimeout = 2 * time.Minute

// fetch sends a request.
func (c *Client) fetch(ctx context.Context, t *kafkago.Transport, f *fetchRequest) (*fetched, error) {
	f.client = c.config.ClientID
	r, err := c.roundTrip(ctx, t, f.wait+requestTimeout+transferTimeout, f)
	if err != nil {
		return nil, err
	}
	return r.(*fetched), nil
}

// parse reads the answer. It returns how long the broker wants to be left alone.
func (f *fetched) parse(parts []partFetched) ([]partFetched, time.Duration, error) {
	r := &reader{b: f.raw}
	throttle := time.Duration(r.i32()) * time.Millisecond
	code := kafkago.Error(r.i16())
	r.i32() // session
	r.each(func() {
		topic := r.str()
		r.each(func() {
			p := partFetched{topic: topic}
			p.partition = r.i32()
			p.code = kafkago.Error(r.i16())
			p.end = r.i64()
			p.stable = r.i64()
			p.start = r.i64()
			r.each(func() {
				p.aborted = append(p.aborted, batch.Aborted{Producer: r.i64(), First: r.i64()})
			})
			r.i32() // the replica to prefer
			p.data = r.bytes()
			parts = append(parts, p)
		})
	})
	if code != 0 {
		return nil, throttle, code
	}
	if r.err != nil {
		return nil, throttle, fmt.Errorf("read fetch answer: %w", r.err)
	}
	return parts, throttle, nil
}

// buffers is a pool of buffers for answers.
type buffers struct{ pool sync.Pool }

// Sizes of pooled buffers. A larger one is rare and left to the collector.
const (
	minBuffer = 64 << 10
	maxBuffer = 4 << 20
)

func (b *buffers) get(n int) []byte {
	if n > maxBuffer {
		return make([]byte, n)
	}
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:n]
	}
	return make([]byte, n, max(minBuffer, 1<<bits.Len(uint(n))))
}

func (b *buffers) put(p []byte) {
	if c := cap(p); c >= minBuffer && c <= maxBuffer {
		b.pool.Put(&p)
	}
}
