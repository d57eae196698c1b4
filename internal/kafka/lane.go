package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// lane is what a round of a producer has for one partition: batches to be
// written one after another.
type lane struct {
	topic     string
	partition int32
	leader    int32
	queue     [][]item
	sizes     []int // of the batches, before compression
}

// item is one message of a call.
type item struct {
	d *delivery
	i int
}

// add puts a message into the lane's last batch, or into a new one if it does
// not fit.
func (l *lane) add(x item, size, limit int) {
	last := len(l.queue) - 1
	if last < 0 || l.sizes[last]+size > limit {
		l.queue = append(l.queue, nil)
		l.sizes = append(l.sizes, batch.HeadSize)
		last++
	}
	l.queue[last] = append(l.queue[last], x)
	l.sizes[last] += size
}

// pop drops the first batch.
func (l *lane) pop() {
	l.queue, l.sizes = l.queue[1:], l.sizes[1:]
}

// split makes two batches of the first.
func (l *lane) split() {
	b := l.queue[0]
	n := len(b) / 2
	l.queue = slices.Insert(l.queue[1:], 0, b[:n:n], b[n:])
	l.sizes = slices.Insert(l.sizes, 0, l.sizes[0]/2)
}

// fail settles everything that is left.
func (l *lane) fail(err error) {
	for _, b := range l.queue {
		settle(b, err)
	}
	l.queue = nil
}

func settle(items []item, err error) {
	for _, x := range items {
		x.d.settle(1, err)
	}
}

// place is where a message goes.
type place struct {
	topic     string
	partition int32
	leader    int32
}

// errGone stands for a call that did not wait; nobody reads it.
var errGone = errors.New("the caller has gone")

// sort finds the partition of every message and the leader of every partition.
// What cannot be sent at all it settles.
func (p *Producer) sort(ctx context.Context, calls []*delivery) ([]*lane, error) {
	topics, err := p.topics(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[place]*lane)
	var lanes []*lane
	for _, d := range calls {
		p.turn++
		for i := range d.count {
			at, size, err := d.place(i, topics, p.turn)
			switch {
			case err != nil:
				d.settle(1, err)
				continue
			case size > p.o.MaxMessageBytes:
				d.refuse(i)
				continue
			}
			l := found[at]
			if l == nil {
				l = &lane{topic: at.topic, partition: at.partition, leader: at.leader}
				found[at] = l
				lanes = append(lanes, l)
			}
			l.add(item{d, i}, size, p.o.BatchBytes)
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(a.leader, b.leader), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return lanes, nil
}

// byLeader cuts sorted lanes into those of one broker each.
func byLeader(lanes []*lane) [][]*lane {
	var out [][]*lane
	for len(lanes) > 0 {
		n := 1
		for n < len(lanes) && lanes[n].leader == lanes[0].leader {
			n++
		}
		out = append(out, lanes[:n:n])
		lanes = lanes[n:]
	}
	return out
}

// topics returns what the transport knows of the producer's topics. That is
// answered from memory, except in the beginning: until the transport has heard
// from a broker once, it is asked again for as long as a request may take.
func (p *Producer) topics(ctx context.Context) (map[string]*metadata.ResponseTopic, error) {
	ask := func() (protocol.Message, error) {
		return p.client.roundTrip(ctx, p.transport, requestTimeout, &metadata.Request{TopicNames: p.o.Topics})
	}
	began := time.Now()
	again := backoff{base: 50 * time.Millisecond, ceiling: metadataTTL}
	r, err := ask()
	for err != nil && time.Since(began) < requestTimeout && pause(ctx, again.next()) {
		r, err = ask()
	}
	if err != nil {
		return nil, err
	}
	m, ok := r.(*metadata.Response)
	if !ok {
		return nil, errors.New("the transport answered with something else than metadata")
	}
	topics := make(map[string]*metadata.ResponseTopic, len(m.Topics))
	for i := range m.Topics {
		topics[m.Topics[i].Name] = &m.Topics[i]
	}
	return topics, nil
}

// place says where message i of a call goes and how large it is.
func (d *delivery) place(i int, topics map[string]*metadata.ResponseTopic, turn uint32) (place, int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.msgs == nil {
		return place{}, 0, errGone
	}
	m := &d.msgs[i]
	t := topics[m.Topic]
	switch {
	case t == nil || len(t.Partitions) == 0 && t.ErrorCode == 0:
		return place{}, 0, fmt.Errorf("produce to %s: %w", m.Topic, ErrNoTopic)
	case t.ErrorCode != 0:
		return place{}, 0, fmt.Errorf("produce to %s: %w", m.Topic, topicError(t.ErrorCode))
	}
	n := len(t.Partitions)
	index := int32(turn % uint32(n))
	if m.Key != nil {
		index = partitionOf(m.Key, n)
	}
	part := &t.Partitions[index]
	if part.LeaderID < 0 {
		return place{}, 0, fmt.Errorf("produce to %s/%d: %w", m.Topic, index, kafkago.LeaderNotAvailable)
	}
	return place{m.Topic, part.PartitionIndex, part.LeaderID}, batch.Size(m.Key, m.Value, m.Headers), nil
}

// serve writes the lanes of one broker, request by request. A batch the topic
// finds too large is halved until single messages are left; those it can never
// take are refused.
func (p *Producer) serve(ctx context.Context, leader int32, lanes []*lane) {
	for len(lanes) > 0 {
		some := lanes[:1]
		for size := lanes[0].sizes[0]; len(some) < len(lanes); {
			if size += lanes[len(some)].sizes[0]; size > requestBytes {
				break
			}
			some = lanes[:len(some)+1]
		}
		throttle, err := p.send(ctx, leader, some)
		if err != nil {
			// What the broker did with the request is not known.
			for _, l := range lanes {
				l.fail(fmt.Errorf("produce to %s/%d: %w", l.topic, l.partition, err))
			}
			return
		}
		lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return len(l.queue) == 0 })
		pause(ctx, min(throttle, maxThrottle))
	}
}

// send writes the first batch of each lane in one request and deals with the answers.
func (p *Producer) send(ctx context.Context, leader int32, lanes []*lane) (time.Duration, error) {
	w := p.wires.Get().(*wires)
	sent, err := w.encode(lanes, p.client.config.ClientID)
	if err != nil || len(sent) == 0 {
		return 0, err
	}
	// A large request on a slow line may take longer: a second for each mebibyte.
	limit := requestTimeout + time.Duration(len(w.request)>>20)*time.Second
	r, err := p.client.roundTrip(ctx, p.transport, limit, &produceRequest{leader, w.request})
	if err != nil {
		return 0, err // the connection may still be reading the request: it is not used again
	}
	if cap(w.request) <= 2*requestBytes {
		p.wires.Put(w)
	}
	answer := r.(*produced)
	for _, l := range sent {
		i := slices.IndexFunc(answer.parts, func(x partProduced) bool { return x.topic == l.topic && x.partition == l.partition })
		if i < 0 {
			l.fail(fmt.Errorf("produce to %s/%d: the broker did not answer about it", l.topic, l.partition))
			continue
		}
		l.answered(answer.parts[i].code)
	}
	return answer.throttle, nil
}

// answered deals with how the first batch of a lane fared.
func (l *lane) answered(code kafkago.Error) {
	switch b := l.queue[0]; {
	case code == 0:
		settle(b, nil)
		l.pop()
	case code != kafkago.MessageSizeTooLarge && code != kafkago.RecordListTooLarge:
		l.fail(fmt.Errorf("produce to %s/%d: %w", l.topic, l.partition, code))
	case len(b) > 1:
		l.split()
	default:
		b[0].d.refuse(b[0].i)
		l.pop()
	}
}

// wires is what it takes to encode a request.
type wires struct {
	batch   *batch.Writer
	bodies  []byte
	request []byte
}

// encode makes a request of the first batch of each lane and returns the lanes
// that are in it. Messages of calls that did not wait are left out.
func (w *wires) encode(lanes []*lane, client string) ([]*lane, error) {
	now := time.Now().UnixMilli()
	w.bodies = w.bodies[:0]
	var sent []*lane
	var ends []int
	for _, l := range lanes {
		if !w.gather(l.queue[0], now) {
			settle(l.queue[0], errGone)
			l.pop()
			continue
		}
		b, err := w.batch.Bytes()
		if err != nil {
			return nil, err
		}
		w.bodies = append(w.bodies, b...)
		sent, ends = append(sent, l), append(ends, len(w.bodies))
	}
	parts := make([]partBatch, len(sent))
	at := 0
	for i, l := range sent {
		parts[i] = partBatch{l.topic, l.partition, w.bodies[at:ends[i]]}
		at = ends[i]
	}
	w.request = encodeProduce(w.request[:0], client, parts)
	return sent, nil
}

// gather puts messages into the batch and reports whether there are any.
func (w *wires) gather(items []item, now int64) bool {
	w.batch.Reset()
	found := false
	for _, x := range items {
		x.d.mu.Lock()
		if x.d.msgs != nil {
			m := &x.d.msgs[x.i]
			t := now
			if !m.Time.IsZero() {
				t = m.Time.UnixMilli()
			}
			w.batch.Add(m.Key, m.Value, m.Headers, t)
			found = true
		}
		x.d.mu.Unlock()
	}
	return found
}
