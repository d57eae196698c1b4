package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Our own messages travel over kafka-go's connections as raw exchanges: it
// dials, logs in, pools and routes; we write the request and read the answer.
// Each message has one version, the newest that has no tagged fields and that
// every broker from Kafka 2.4 to 4.x speaks.
type api struct {
	key     protocol.ApiKey
	version int16
	name    string
}

var (
	apiProduce      = api{protocol.Produce, 8, "Produce"}
	apiFetch        = api{protocol.Fetch, 11, "Fetch"}
	apiListOffsets  = api{protocol.ListOffsets, 5, "ListOffsets"}
	apiMetadata     = api{protocol.Metadata, 8, "Metadata"}
	apiCreateTopics = api{protocol.CreateTopics, 4, "CreateTopics"}
)

// correlation is the id of every request. A connection has one request under
// way at a time, so one id is enough to notice an answer to something else.
const correlation = 7

// maxAnswer is the largest answer to anything but a fetch.
const maxAnswer = 16 << 20

// writer builds a request.
type writer struct{ b []byte }

// begin starts a request; finish fills in its length.
func (w *writer) begin(a api, client string) {
	w.b = append(w.b[:0], 0, 0, 0, 0)
	w.i16(int16(a.key))
	w.i16(a.version)
	w.i32(correlation)
	w.str(client)
}

func (w *writer) finish() []byte {
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-4))
	return w.b
}

func (w *writer) i8(v int8)   { w.b = append(w.b, byte(v)) }
func (w *writer) i16(v int16) { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w *writer) i32(v int32) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) i64(v int64) { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w *writer) str(s string) {
	w.i16(int16(len(s)))
	w.b = append(w.b, s...)
}
func (w *writer) bytes(b []byte) {
	w.i32(int32(len(b)))
	w.b = append(w.b, b...)
}

// reader reads an answer. After the first short read every value is zero and
// err is set.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("the answer ends early")

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err, r.b = errShort, nil
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) i8() int8 {
	if x := r.take(1); x != nil {
		return int8(x[0])
	}
	return 0
}

func (r *reader) i16() int16 {
	if x := r.take(2); x != nil {
		return int16(binary.BigEndian.Uint16(x))
	}
	return 0
}

func (r *reader) i32() int32 {
	if x := r.take(4); x != nil {
		return int32(binary.BigEndian.Uint32(x))
	}
	return 0
}

func (r *reader) i64() int64 {
	if x := r.take(8); x != nil {
		return int64(binary.BigEndian.Uint64(x))
	}
	return 0
}

// str reads a string; null is empty.
func (r *reader) str() string {
	n := r.i16()
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}

// bytes reads bytes; null is nil.
func (r *reader) bytes() []byte {
	n := r.i32()
	if n < 0 {
		return nil
	}
	return r.take(int(n))
}

// each reads the length of an array and calls f for every element. An element
// takes at least one byte, so a length that lies is soon found out.
func (r *reader) each(f func()) {
	for n := r.i32(); n > 0 && r.err == nil; n-- {
		f()
	}
}

// deadliner is what a connection can do beside reading and writing.
type deadliner interface {
	SetReadDeadline(time.Time) error
}

// exchange sends a request and reads the length of the answer, which must not
// be above limit.
func exchange(rw io.ReadWriter, request []byte, limit int) (int, error) {
	if _, err := rw.Write(request); err != nil {
		return 0, err
	}
	var h [8]byte
	if _, err := io.ReadFull(rw, h[:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(h[:])) - 4
	switch {
	case n < 0:
		return 0, errShort
	case n > int64(limit):
		return 0, &ResponseTooLargeError{Size: n, Limit: int64(limit)}
	case binary.BigEndian.Uint32(h[4:]) != correlation:
		return 0, errors.New("the answer is to another request")
	}
	return int(n), nil
}

// ResponseTooLargeError is an answer larger than its limit.
type ResponseTooLargeError struct{ Size, Limit int64 }

// Error says by how much.
func (e *ResponseTooLargeError) Error() string {
	return fmt.Sprintf("a broker's answer of %d bytes is larger than the limit of %d", e.Size, e.Limit)
}

// call is a small request whose answer fits into memory as a whole.
type call struct {
	api
	client string
	body   func(w *writer)
	route  func(protocol.Cluster) (protocol.Broker, error) // nil: any broker
}

type answer struct {
	key  protocol.ApiKey
	body []byte
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (c *call) ApiKey() protocol.ApiKey { return c.key }

// ApiKey is the same for the answer.
func (a *answer) ApiKey() protocol.ApiKey { return a.key }

// Required says that this is a raw exchange.
func (c *call) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker says which broker to ask.
func (c *call) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	if c.route == nil {
		return protocol.Broker{ID: -1}, nil
	}
	return c.route(cluster)
}

// RawExchange sends the request and reads the answer.
func (c *call) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	var w writer
	w.begin(c.api, c.client)
	c.body(&w)
	n, err := exchange(rw, w.finish(), maxAnswer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	return &answer{c.key, b}, nil
}

// leaderOf finds the broker that leads a partition.
func leaderOf(c protocol.Cluster, topic string, partition int32) (protocol.Broker, error) {
	none := protocol.Broker{ID: -1}
	t, ok := c.Topics[topic]
	if !ok || t.Error != 0 {
		return none, fmt.Errorf("topic %s: %w", topic, kafkago.UnknownTopicOrPartition)
	}
	p, ok := t.Partitions[partition]
	if !ok {
		return none, fmt.Errorf("topic %s has no partition %d: %w", topic, partition, kafkago.UnknownTopicOrPartition)
	}
	b, ok := c.Brokers[p.Leader]
	if !ok {
		return none, fmt.Errorf("%s/%d: %w", topic, partition, kafkago.LeaderNotAvailable)
	}
	return b, nil
}
