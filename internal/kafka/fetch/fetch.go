// Package fetch is the Fetch request and its answer: one poll of one broker for
// many partitions.
//
// The bytes of an answer lie in a buffer of a pool. Who works on a part of them
// holds on to the [Answer]; with the last one's Release they go back. Record
// batches are read by package batch. What this package is not: it decides
// nothing about what is polled and when.
//
// The one thing to know: an answer's buffer is taken while it is read from the
// connection and never handed in, because kafka-go goes on reading when the
// caller has given up.
package fetch

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Part is one partition to read from.
type Part struct {
	Topic     string
	Partition int32
	Offset    int64
	MaxBytes  int32 // how much of it is wanted; one whole batch comes in any case
}

// Request reads from partitions that have one leader, without a session.
type Request struct {
	Client    string
	Leader    wire.Route    // nil: that of the first partition
	Wait      time.Duration // how long the broker may wait for MinBytes
	MinBytes  int32
	MaxBytes  int32
	Limit     int    // the largest answer that is taken
	Committed bool   // leave out what transactions wrote that are open or were aborted
	Parts     []Part // those of one topic stand together
	Buffers   *Buffers
}

// Answer is what a broker answered, not yet read.
type Answer struct {
	raw     []byte
	buffers *Buffers
	holders atomic.Int32
}

// Len returns how many bytes the answer has.
func (a *Answer) Len() int { return len(a.raw) }

// Hold says that one more will use the bytes, and call Release once.
func (a *Answer) Hold() { a.holders.Add(1) }

// Release gives the bytes of the answer back when the last holder has called it;
// whoever received the answer is the first. Nothing that points into them may
// be used any more. It returns how many bytes came free.
func (a *Answer) Release() int {
	if a.holders.Add(-1) > 0 {
		return 0
	}
	n := len(a.raw)
	a.buffers.put(a.raw)
	a.raw = nil
	return n
}

// PartAnswer is what an answer has for one partition. Its bytes belong to the answer.
type PartAnswer struct {
	Topic     string
	Partition int32
	Code      kafkago.Error
	End       int64 // the high watermark
	Stable    int64 // the last stable offset: where read_committed ends
	Start     int64 // where the log starts
	Aborted   []batch.Aborted
	Data      []byte
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (r *Request) ApiKey() protocol.ApiKey { return wire.Fetch.Key }

// ApiKey is the same for the answer.
func (a *Answer) ApiKey() protocol.ApiKey { return wire.Fetch.Key }

// Required says that this is a raw exchange.
func (r *Request) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker sends the request to the leader of its partitions.
func (r *Request) Broker(c protocol.Cluster) (protocol.Broker, error) {
	if r.Leader != nil {
		return r.Leader(c)
	}
	return wire.ToLeader(r.Parts[0].Topic, r.Parts[0].Partition)(c)
}

// RawExchange sends the request and reads the answer into a buffer of the pool.
//
// It runs in a goroutine of the connection, which goes on reading when the
// caller has given up. So the buffer is taken here and not handed in: what the
// caller does not get, nobody else gets either.
func (r *Request) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	var w wire.Writer
	w.Begin(wire.Fetch, r.Client)
	w.I32(-1) // not a replica
	w.I32(int32(r.Wait.Milliseconds()))
	w.I32(r.MinBytes)
	w.I32(r.MaxBytes)
	w.Bool(r.Committed) // isolation level
	w.I32(0)            // no session
	w.I32(-1)           // nor one to begin
	w.ByTopic(len(r.Parts), func(i int) string { return r.Parts[i].Topic }, func(i int) {
		w.I32(r.Parts[i].Partition)
		w.I32(-1) // leader epoch: any
		w.I64(r.Parts[i].Offset)
		w.I64(-1) // log start offset: for replicas
		w.I32(r.Parts[i].MaxBytes)
	})
	w.I32(0)  // no partitions to forget
	w.Str("") // no rack

	patience := func(d time.Duration) error {
		if c, ok := rw.(wire.Deadliner); ok {
			return c.SetReadDeadline(time.Now().Add(d))
		}
		return nil
	}
	if err := patience(r.Wait + wire.Timeout); err != nil {
		return nil, err
	}
	n, err := wire.Exchange(rw, w.Finish(), r.Limit)
	if err != nil {
		return nil, err
	}
	raw := r.Buffers.get(n)
	for rest := raw; len(rest) > 0; {
		// An answer may be large and the line slow: as long as bytes come, all is well.
		if err := patience(wire.Timeout); err != nil {
			return nil, err
		}
		part := rest[:min(len(rest), 1<<20)]
		if _, err := io.ReadFull(rw, part); err != nil {
			return nil, err
		}
		rest = rest[len(part):]
	}
	a := &Answer{raw: raw, buffers: r.Buffers}
	a.Hold()
	return a, nil
}

// transferTimeout bounds a fetch as a whole. That bytes keep coming is watched
// while they are read.
const transferTimeout = 2 * time.Minute

// Do sends the request. Who gets the answer must release it.
func (r *Request) Do(ctx context.Context, send wire.RoundTrip) (*Answer, error) {
	m, err := send(ctx, r.Wait+wire.Timeout+transferTimeout, r)
	if err != nil {
		return nil, err
	}
	return m.(*Answer), nil
}

// Parse reads the answer. It returns how long the broker wants to be left alone.
func (a *Answer) Parse(parts []PartAnswer) ([]PartAnswer, time.Duration, error) {
	r := &wire.Reader{B: a.raw}
	throttle := time.Duration(r.I32()) * time.Millisecond
	code := kafkago.Error(r.I16())
	r.I32() // session
	r.Each(func() {
		topic := r.Str()
		r.Each(func() {
			p := PartAnswer{Topic: topic}
			p.Partition = r.I32()
			p.Code = kafkago.Error(r.I16())
			p.End = r.I64()
			p.Stable = r.I64()
			p.Start = r.I64()
			r.Each(func() {
				p.Aborted = append(p.Aborted, batch.Aborted{Producer: r.I64(), First: r.I64()})
			})
			r.I32() // the replica to prefer
			p.Data = r.Bytes()
			parts = append(parts, p)
		})
	})
	if code != 0 {
		return nil, throttle, code
	}
	if r.Err != nil {
		return nil, throttle, fmt.Errorf("read fetch answer: %w", r.Err)
	}
	return parts, throttle, nil
}
