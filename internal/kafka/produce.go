package kafka

import (
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// produceRequest writes one batch each to partitions that have one leader. All
// replicas in sync must have them before the answer comes.
type produceRequest struct {
	leader int32
	wire   []byte // the request as it is sent
}

// produced is the answer: how each partition fared.
type produced struct {
	throttle time.Duration
	parts    []partProduced
}

type partProduced struct {
	topic     string
	partition int32
	code      kafkago.Error
}

// partBatch is the batch for one partition.
type partBatch struct {
	topic     string
	partition int32
	batch     []byte
}

// encodeProduce appends a request to b. Batches of one topic stand together.
func encodeProduce(b []byte, client string, parts []partBatch) []byte {
	w := wire.Writer{B: b}
	w.Begin(wire.Produce, client)
	w.I16(-1) // no transaction
	w.I16(-1) // all replicas in sync
	w.I32(int32(brokerTimeout.Milliseconds()))
	topics := 0
	for i := range parts {
		if i == 0 || parts[i].topic != parts[i-1].topic {
			topics++
		}
	}
	w.I32(int32(topics))
	for i := 0; i < len(parts); {
		n := i
		for n < len(parts) && parts[n].topic == parts[i].topic {
			n++
		}
		w.Str(parts[i].topic)
		w.I32(int32(n - i))
		for ; i < n; i++ {
			w.I32(parts[i].partition)
			w.Bytes(parts[i].batch)
		}
	}
	return w.Finish()
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (p *produceRequest) ApiKey() protocol.ApiKey { return wire.Produce.Key }

// ApiKey is the same for the answer.
func (p *produced) ApiKey() protocol.ApiKey { return wire.Produce.Key }

// Required says that this is a raw exchange.
func (p *produceRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker sends the request to the leader it was made for.
func (p *produceRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[p.leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafkago.LeaderNotAvailable
	}
	return b, nil
}

// RawExchange sends the request and reads the answer.
func (p *produceRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	n, err := wire.Exchange(rw, p.wire, wire.MaxAnswer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	a := new(produced)
	r := &wire.Reader{B: b}
	r.Each(func() {
		topic := r.Str()
		r.Each(func() {
			x := partProduced{topic: topic}
			x.partition = r.I32()
			x.code = kafkago.Error(r.I16())
			r.I64() // offset
			r.I64() // time
			r.I64() // log start
			r.Each(func() {
				r.I32()
				r.Str()
			})
			r.Str()
			a.parts = append(a.parts, x)
		})
	})
	a.throttle = time.Duration(r.I32()) * time.Millisecond
	if r.Err != nil {
		return nil, r.Err
	}
	return a, nil
}
