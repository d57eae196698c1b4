package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// partition is one partition in one generation. Its goroutine is the only one
// that polls it and hands out its batches.
type partition struct {
	g     *generation
	topic string
	id    int32
	start Start

	offset  int64 // the next to fetch; below 0 when the group has committed none
	limit   int32 // bytes of the next poll
	final   bool  // the next poll is the last word on a batch that looks broken
	backoff backoff

	next, end atomic.Int64
	stopped   atomic.Bool

	mu    sync.Mutex
	err   error // of the last poll
	since time.Time
}

func newPartition(g *generation, s *Subscription, id int32, offset int64) *partition {
	p := &partition{
		g: g, topic: s.Topic, id: id, start: s.Start,
		offset:  offset,
		limit:   int32(g.k.o.PartitionBytes),
		backoff: backoff{base: 50 * time.Millisecond, ceiling: time.Second},
	}
	if n := g.k.counts[s.Topic]; p.start == Latest && int(id) >= n {
		// The topic grew while we were running: everything in the new partition
		// came after the group began.
		p.start = Earliest
	}
	p.next.Store(max(offset, -1))
	p.end.Store(-1)
	return p
}

func (p *partition) name() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

func (p *partition) logger() *slog.Logger {
	return p.g.k.o.Logger.With("topic", p.topic, "partition", p.id)
}

// smallPoll is how much a poll must bring to be followed by the next at once.
const smallPoll = 256 << 10

// maxThrottle bounds how long a broker's wish to be left alone is respected.
const maxThrottle = 30 * time.Second

// errStopped says that the partition stands still for good.
var errStopped = errors.New("partition stopped")

// run polls and hands out until poll ends. It returns an error only if Run must
// end.
func (p *partition) run(poll, hand context.Context) error {
	if p.offset < 0 && !p.begin(poll) {
		return nil
	}
	for poll.Err() == nil {
		began := time.Now()
		n, throttle, err := p.once(poll, hand)
		var fatal *handlerError
		switch {
		case errors.As(err, &fatal):
			return fatal.err
		case errors.Is(err, errStopped), poll.Err() != nil:
			return nil
		case err != nil:
			p.failing(err)
			pause(poll, max(p.backoff.next(), throttle))
			continue
		}
		p.failing(nil)
		p.backoff.reset()
		if throttle == 0 && n < smallPoll {
			throttle = time.Until(began.Add(p.g.k.o.Pace))
		}
		pause(poll, throttle)
	}
	return nil
}

// handlerError is an error of Handle or OnGap.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// begin finds out where to start in a partition for which the group has
// committed nothing. It returns false when poll has ended.
//
// Where the latest message is now is committed before anything is read: if the
// process died first, what came in the meantime would otherwise be passed over
// by the next "latest".
func (p *partition) begin(poll context.Context) bool {
	point := logStart
	if p.start == Latest {
		point = logEnd
	}
	for {
		offset, err := p.g.k.client.offsetOf(poll, p.g.k.transport, p.topic, p.id, point, !p.g.k.o.ReadUncommitted)
		if poll.Err() != nil {
			return false
		}
		if err == nil {
			p.offset = offset
			p.next.Store(offset)
			if p.start == Earliest {
				return true
			}
			select {
			case <-p.g.move(p, offset):
				return true
			case <-poll.Done():
				return false
			}
		}
		p.failing(err)
		if !pause(poll, p.backoff.next()) {
			return false
		}
	}
}

// once polls and hands out what came. It returns how much came and how long the
// broker wants to be left alone.
func (p *partition) once(poll, hand context.Context) (int, time.Duration, error) {
	k := p.g.k
	request := &fetch.Request{
		Client: k.client.config.ClientID,
		Wait:   k.o.MaxWait, MinBytes: 1, MaxBytes: p.limit,
		Limit:     k.o.MaxBatchBytes + 1<<20,
		Committed: !k.o.ReadUncommitted,
		Parts:     []fetch.Part{{Topic: p.topic, Partition: p.id, Offset: p.offset, MaxBytes: p.limit}},
		Buffers:   k.buffers,
	}
	answer, err := request.Do(poll, k.client.over(k.transport))
	if large, ok := errors.AsType[*wire.TooLargeError](err); ok {
		return 0, 0, p.stop(fmt.Errorf("at offset %d: %w", p.offset, large))
	}
	if err != nil {
		return 0, 0, err
	}
	d := k.desks.Get().(*desk)
	defer func() {
		d.reader.Reset(batch.Input{})
		clear(d.parts)
		if answer.Len() <= fetch.MaxBuffer { // else it would hold on to a very large answer
			k.desks.Put(d)
		}
		answer.Release()
	}()
	var throttle time.Duration
	d.parts, throttle, err = answer.Parse(d.parts[:0])
	throttle = min(throttle, maxThrottle)
	switch {
	case err != nil:
		return 0, throttle, err
	case len(d.parts) != 1 || d.parts[0].Topic != p.topic || d.parts[0].Partition != p.id:
		return 0, throttle, errors.New("the broker answered about other partitions")
	}
	f := &d.parts[0]
	switch {
	case f.Code == kafkago.OffsetOutOfRange:
		return 0, throttle, p.outOfRange(poll, hand)
	case f.Code != 0:
		return 0, throttle, f.Code
	}
	return len(f.Data), throttle, p.deliver(poll, hand, d, f)
}

// deliver hands out what a poll brought, batch by batch.
func (p *partition) deliver(poll, hand context.Context, d *desk, f *fetch.PartAnswer) error {
	end := f.End
	if !p.g.k.o.ReadUncommitted && f.Stable >= 0 {
		end = f.Stable
	}
	p.end.Store(end)
	d.reader.Reset(batch.Input{
		Data: f.Data, Offset: p.offset, End: end, Final: p.final,
		Committed: !p.g.k.o.ReadUncommitted, Aborted: f.Aborted,
	})
	from := p.offset
	for poll.Err() == nil && d.reader.Read(&d.chunk) {
		c := &d.chunk
		d.batch = Batch{Topic: p.topic, Partition: p.id, First: c.First, Next: c.Next, Records: c.Records, Skipped: c.Skipped}
		if err := p.g.k.o.Handle(hand, &d.batch); err != nil {
			if hand.Err() != nil {
				// Interrupted: the next owner gets it.
				p.logger().Warn("batch interrupted; it will come again", "first", c.First, "next", c.Next, "err", err)
				return errStopped
			}
			return &handlerError{fmt.Errorf("%s, offsets %d to %d: %w", p.name(), c.First, c.Next-1, err)}
		}
		for i := range c.Records {
			if r := &c.Records[i]; r.Corrupt != "" {
				p.logger().Error("record batch cannot be read; it was handed on as one corrupt record",
					"offset", r.Offset, "reason", string(r.Corrupt), "bytes", len(r.Value))
			}
		}
		p.offset = c.Next
		p.next.Store(c.Next)
		p.g.finish(p, c.First, c.Next)
	}
	if poll.Err() != nil {
		return nil
	}
	p.limit, p.final = int32(p.g.k.o.PartitionBytes), false
	switch more := d.reader.More(); {
	case more > 0:
		p.limit, p.final = int32(min(max(more, p.g.k.o.PartitionBytes), p.g.k.o.MaxBatchBytes)), true
	case p.offset == from && len(f.Data) > 0:
		return fmt.Errorf("the broker answered with nothing from offset %d on", from)
	}
	return nil
}

// outOfRange deals with an offset the leader does not have: retention took it,
// or the log was cut or made anew.
func (p *partition) outOfRange(poll, hand context.Context) error {
	k := p.g.k
	start, err := k.client.offsetOf(poll, k.transport, p.topic, p.id, logStart, false)
	if err != nil {
		return err
	}
	end, err := k.client.offsetOf(poll, k.transport, p.topic, p.id, logEnd, false)
	if err != nil {
		return err
	}
	switch {
	case p.offset > end:
		// To go on anywhere would pass over messages, or judge some again under
		// offsets that were somebody else's.
		return p.stop(fmt.Errorf("offset %d is beyond the end of the log at %d: the topic was made anew or its log was cut; "+
			"set the group's offset to where it shall go on", p.offset, end))
	case p.offset >= start:
		return fmt.Errorf("offset %d: %w", p.offset, kafkago.OffsetOutOfRange) // it was, a moment ago
	case k.o.Gap == GapStop:
		return p.stop(fmt.Errorf("offsets %d to %d were deleted before they were read; "+
			"set the group's offset to where it shall go on", p.offset, start-1))
	}
	p.logger().Error("messages were deleted before they were read", "first", p.offset, "next", start, "offsets", start-p.offset)
	if k.o.OnGap != nil {
		if err := k.o.OnGap(hand, Gap{p.topic, p.id, p.offset, start}); err != nil {
			if hand.Err() != nil {
				return errStopped
			}
			return &handlerError{fmt.Errorf("%s, gap at %d: %w", p.name(), p.offset, err)}
		}
	}
	p.offset = start
	p.next.Store(start)
	p.g.move(p, start)
	return nil
}

// stop makes the partition stand still until the next generation and says why,
// here and in Ready. The other partitions go on: what they carry is to be
// judged all the same.
func (p *partition) stop(why error) error {
	p.logger().Error("partition stopped", "err", why)
	p.stopped.Store(true)
	p.failing(why)
	return errStopped
}

// failing notes how the last poll went, and logs when that changes.
func (p *partition) failing(err error) {
	p.mu.Lock()
	before := p.err
	p.err = err
	if before == nil {
		p.since = time.Now()
	}
	p.mu.Unlock()
	if err != nil {
		p.g.k.pollFailures.Add(1)
	}
	switch {
	case before == nil && err != nil && !p.stopped.Load():
		p.logger().Warn("poll failed; trying again", "err", err)
	case before != nil && err == nil:
		p.logger().Info("poll works again")
	}
}

// tolerated is how long a partition may fail before it is worth telling: about
// as long as a leader takes to move.
const tolerated = 2 * time.Second

// trouble returns what is wrong with the partition, if it is more than a moment.
func (p *partition) trouble(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || !p.stopped.Load() && now.Sub(p.since) < tolerated {
		return nil
	}
	return p.err
}
