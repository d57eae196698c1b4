package kafka

import (
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
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
	w := writer{b: b}
	w.begin(apiProduce, client)
	w.i16(-1) // no transaction
	w.i16(-1) // all replicas in sync
	w.i32(int32(brokerTimeout.Milliseconds()))
	topics := 0
	for i := range parts {
		if i == 0 || parts[i].topic != parts[i-1].topic {
			topics++
		}
	}
	w.i32(int32(topics))
	for i := 0; i < len(parts); {
		n := i
		for n < len(parts) && parts[n].topic == parts[i].topic {
			n++
		}
		w.str(parts[i].topic)
		w.i32(int32(n - i))
		for ; i < n; i++ {
			w.i32(parts[i].partition)
			w.bytes(parts[i].batch)
		}
	}
	return w.finish()
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (p *produceRequest) ApiKey() protocol.ApiKey { return apiProduce.key }

// ApiKey is the same for the answer.
func (p *produced) ApiKey() protocol.ApiKey { return apiProduce.key }

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
	n, err := exchange(rw, p.wire, maxAnswer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	a := new(produced)
	r := &reader{b: b}
	r.each(func() {
		topic := r.str()
		r.each(func() {
			x := partProduced{topic: topic}
			x.partition = r.i32()
			x.code = kafkago.Error(r.i16())
			r.i64() // offset
			r.i64() // time
			r.i64() // log start
			r.each(func() {
				r.i32()
				r.str()
			})
			r.str()
			a.parts = append(a.parts, x)
		})
	})
	a.throttle = time.Duration(r.i32()) * time.Millisecond
	if r.err != nil {
		return nil, r.err
	}
	return a, nil
}
