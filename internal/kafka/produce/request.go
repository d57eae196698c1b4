package produce

import (
	"encoding/binary"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// brokerTimeout is how long a broker may wait for its replicas; it has to
// answer before we give up.
const brokerTimeout = 2 * time.Second

// largePart is how large a batch must be to be sent as it lies; smaller ones are
// put together first. A system call costs about as much as to copy this.
const largePart = 32 << 10

// request writes one batch each to partitions that have one leader. All replicas
// in sync must have them before the answer comes.
//
// It is made of the heads of its parts, in frame, and of the batches, which lie
// where they were encoded.
type request struct {
	lanes  []*lane // whose batches it carries; those of one topic stand together
	leader wire.Route
	frame  wire.Writer
	pieces []piece
	writes [][]byte // what goes to the connection, one after another
	size   int
}

// piece is a batch that stands in a request before the rest of the frame.
type piece struct {
	at    int // in the frame
	batch []byte
	ours  bool // nobody else reads the buffer it lies in
}

// encode writes the request.
func (q *request) encode(client, transaction string, leader int32) {
	lanes := q.lanes
	q.leader, q.pieces, q.size = wire.ToBroker(leader), q.pieces[:0], 0
	w := &q.frame
	w.Begin(wire.Produce, client)
	w.StrOrNull(transaction)
	w.I16(-1) // all replicas in sync
	w.I32(int32(brokerTimeout.Milliseconds()))
	w.ByTopic(len(lanes), topicOf(lanes), func(i int) {
		x := lanes[i].parcel
		b := x.bytes
		w.I32(lanes[i].partition)
		if len(b) < largePart {
			w.Bytes(b)
			return
		}
		w.Len(len(b))
		q.pieces = append(q.pieces, piece{len(w.B), b, !x.lent})
		q.size += len(b)
	})
	q.size += len(w.B)
	binary.BigEndian.PutUint32(w.B, uint32(q.size-4))
	q.cut()
}

// topicOf returns how to find the topic of one of some lanes.
func topicOf(lanes []*lane) func(i int) string {
	return func(i int) string { return lanes[i].topic }
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (q *request) ApiKey() protocol.ApiKey { return wire.Produce.Key }

// Required says that this is a raw exchange.
func (q *request) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker sends the request to the leader it was made for.
func (q *request) Broker(c protocol.Cluster) (protocol.Broker, error) { return q.leader(c) }

// cut says what is written to the connection. What stands between two batches is
// put behind the first, where its buffer has room: that saves a system call.
func (q *request) cut() {
	q.writes = q.writes[:0]
	at := 0
	for i := 0; i <= len(q.pieces); i++ {
		to := len(q.frame.B)
		if i < len(q.pieces) {
			to = q.pieces[i].at
		}
		between := q.frame.B[at:to]
		switch last := len(q.writes) - 1; {
		case len(between) == 0:
		case i > 0 && q.pieces[i-1].ours && cap(q.writes[last])-len(q.writes[last]) >= len(between):
			q.writes[last] = append(q.writes[last], between...)
		default:
			q.writes = append(q.writes, between)
		}
		if at = to; i < len(q.pieces) {
			q.writes = append(q.writes, q.pieces[i].batch)
		}
	}
}

// RawExchange sends the request and reads the answer.
func (q *request) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	last := len(q.writes) - 1
	for _, b := range q.writes[:last] {
		if _, err := rw.Write(b); err != nil {
			return nil, err
		}
	}
	n, err := wire.Exchange(rw, q.writes[last], wire.MaxAnswer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	return readAnswer(b)
}

// answer says how each partition fared.
type answer struct {
	throttle time.Duration
	parts    []partAnswer
}

type partAnswer struct {
	topic     string
	partition int32
	code      kafkago.Error
}

// ApiKey is the same for the answer.
func (a *answer) ApiKey() protocol.ApiKey { return wire.Produce.Key }

func readAnswer(b []byte) (*answer, error) {
	a := new(answer)
	r := &wire.Reader{B: b}
	r.Each(func() {
		topic := r.Str()
		r.Each(func() {
			x := partAnswer{topic: topic}
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

// code returns how a lane's batch fared, false if the broker says nothing about it.
func (a *answer) code(l *lane) (kafkago.Error, bool) {
	for i := range a.parts {
		if p := &a.parts[i]; p.partition == l.partition && p.topic == l.topic {
			return p.code, true
		}
	}
	return 0, false
}
