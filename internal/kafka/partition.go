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
	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// partition is one partition in one generation. Its goroutine is the only one
// that hands out its batches.
type partition struct {
	group.Partition

	g       *generation
	start   Start
	windows func(partition int32, partitions int, now time.Time) Window // nil: it is read at all times
	feed    *feed
	in      <-chan portion

	offset  int64 // the next to hand out; below 0 when the group has committed none
	backoff retry.Backoff
	times   *timetable // nil if it is read at all times
	asked   bool       // it is polled, or will be after a while

	next, end atomic.Int64
	stopped   atomic.Bool
	oldest    atomic.Int64 // time of the first message that is not finished, ms since 1970, as far as known
	turn      turn
	sign      atomic.Int64 // age of the generation at the last sign of life of the batch in hand; 0 for none in hand

	mu    sync.Mutex
	err   error // of the last poll
	since time.Time
}

func newPartition(g *generation, id group.Partition, offset int64) *partition {
	of := g.k.subscription(id.Topic)
	p := &partition{
		Partition: id,
		g:         g, start: of.Start, windows: of.Windows,
		offset:  offset,
		backoff: retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second},
	}
	if n := g.k.counts[id.Topic]; p.start == Latest && int(id.ID) >= n {
		// The topic came, or grew, while we were running: everything in the new
		// partition came after the group began.
		p.start = Earliest
	}
	p.next.Store(max(offset, -1))
	p.end.Store(-1)
	p.turn.due.Store(-1)
	p.turn.away.Store(p.windows != nil)
	return p
}

func (p *partition) logger() *slog.Logger {
	return p.g.k.o.Logger.With("topic", p.Topic, "partition", p.ID)
}

// errStopped says that the partition stands still for good.
var errStopped = errors.New("partition stopped")

// run hands out what the feed brings until poll ends. It returns an error only
// if the generation must end.
func (p *partition) run(poll, hand context.Context) error {
	if p.offset < 0 && !p.begin(poll) {
		return nil
	}
	if p.windows == nil {
		p.goOn(0)
	} else if !p.plan(poll) {
		return nil
	}
	for {
		if p.times != nil && !p.asked && !p.times.await(poll) {
			return nil
		}
		select {
		case <-poll.Done():
			return nil
		case got := <-p.in:
			p.asked = false
			p.feed.taken(p)
			err := p.take(poll, hand, &got)
			p.feed.free(got.answer)
			var fatal *handlerError
			switch {
			case errors.As(err, &fatal):
				return fatal.err
			case errors.Is(err, errStopped), poll.Err() != nil:
				return nil
			case err != nil:
				p.failing(err)
				p.goOn(p.backoff.Next())
			}
		}
	}
}

// goOn has the partition polled from where it is, after a while.
func (p *partition) goOn(after time.Duration) {
	p.resume(p.g.k.o.PartitionBytes, false, after)
}

// resume has so many bytes of the partition polled from where it is, after a while.
func (p *partition) resume(limit int, final bool, after time.Duration) {
	var at time.Time
	if after > 0 {
		at = time.Now().Add(after)
	}
	p.asked = true
	p.feed.resume(p, p.offset, int32(limit), final, at)
}

// again has the partition polled when there is something to be had from it.
func (p *partition) again() {
	if p.times == nil {
		p.goOn(0)
	} // else its timetable knows when
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
		offset, err := p.edge(poll, point, !p.g.k.o.ReadUncommitted)
		if poll.Err() != nil {
			return false
		}
		if err == nil {
			p.failing(nil)
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
		if !retry.Pause(poll, p.backoff.Next()) {
			return false
		}
	}
}

// edge asks where the log begins or ends.
func (p *partition) edge(ctx context.Context, point int64, committed bool) (int64, error) {
	leader, err := p.g.k.client.leader(ctx, p.Topic, p.ID)
	if err != nil {
		return 0, err
	}
	return p.g.k.client.offsetOf(ctx, p.g.k.transport, wire.ToBroker(leader), p.Topic, p.ID, point, committed)
}

// take deals with what a poll brought.
func (p *partition) take(poll, hand context.Context, got *portion) error {
	switch {
	case got.large != nil:
		return p.stop(fmt.Errorf("at offset %d: %w", got.offset, got.large))
	case got.Code == kafkago.OffsetOutOfRange:
		if err := p.outOfRange(poll, hand); err != nil {
			return err
		}
		p.again()
		return nil
	case got.Code != 0:
		return got.Code
	case got.offset != p.offset:
		// It was fetched ahead from where the batch before it did not end after all.
		p.again()
		return nil
	}
	p.failing(nil)
	p.backoff.Reset()
	return p.deliver(poll, hand, got)
}

// idle notes that a poll brought nothing.
func (p *partition) idle(got *portion) {
	p.failing(nil)
	p.end.Store(p.readable(&got.PartAnswer))
}

// readable returns where what may be read ends.
func (p *partition) readable(a *fetch.PartAnswer) int64 {
	if !p.g.k.o.ReadUncommitted && a.Stable >= 0 {
		return a.Stable
	}
	return a.End
}

// deliver hands out what a poll brought, batch by batch.
func (p *partition) deliver(poll, hand context.Context, got *portion) error {
	k := p.g.k
	end := p.readable(&got.PartAnswer)
	p.end.Store(end)
	d := k.desks.Get().(*desk)
	d.reader.MaxRecords = k.o.BatchRecords
	if p.times != nil {
		d.reader.MaxRecords = p.times.step.records
	}
	defer func() {
		d.reader.Reset(batch.Input{})
		d.batch = Batch{}
		if len(got.Data) <= fetch.MaxBuffer { // else it would hold on to a very large answer
			k.desks.Put(d)
		}
	}()
	d.reader.Reset(batch.Input{
		Data: got.Data, Offset: p.offset, End: end, Final: got.final,
		Committed: !k.o.ReadUncommitted, Aborted: got.Aborted,
	})
	from := p.offset
	for poll.Err() == nil && d.reader.Read(&d.chunk) && p.g.gen.Hold(poll) {
		c := &d.chunk
		d.batch = Batch{
			Topic: p.Topic, Partition: p.ID, First: c.First, Next: c.Next, Records: c.Records, Skipped: c.Skipped,
			Claim: p.g.claim, alive: p.alive,
		}
		if err := p.handle(hand, &d.batch); err != nil {
			return err
		}
		p.offset = c.Next
		p.next.Store(c.Next)
		p.g.finish(p, c.First, c.Next)
		if p.times != nil {
			break // what is behind it has its own time
		}
	}
	if poll.Err() != nil {
		return nil
	}
	select {
	case <-p.g.gen.Ended():
		return nil
	default:
	}
	limit := k.o.PartitionBytes
	more := d.reader.More()
	switch {
	case more > 0:
		limit = min(max(more, limit), k.o.MaxBatchBytes)
	case p.offset == from:
		return fmt.Errorf("the broker answered with nothing from offset %d on", from)
	case p.offset == got.ahead:
		return nil // it is polled further already
	case p.times != nil:
		return nil // it is polled further when it is time
	}
	p.resume(limit, more > 0, 0)
	return nil
}

// handle hands one batch out.
func (p *partition) handle(hand context.Context, b *Batch) error {
	for i := range b.Records {
		if t := b.Records[i].Time; t >= 0 {
			p.oldest.Store(t)
			break
		}
	}
	p.sign.Store(p.g.age(time.Now()))
	err := p.g.k.o.Handle(hand, b)
	p.sign.Store(0)
	switch {
	case err == nil:
	case hand.Err() != nil:
		// Interrupted: the next owner gets it.
		p.logger().Warn("batch interrupted; it will come again", "first", b.First, "next", b.Next, "err", err)
		return errStopped
	default:
		return &handlerError{fmt.Errorf("%s, offsets %d to %d: %w", p, b.First, b.Next-1, err)}
	}
	for i := range b.Records {
		r := &b.Records[i]
		if r.Corrupt != "" {
			p.logger().Error("record batch cannot be read; it was handed on as one corrupt record",
				"offset", r.Offset, "reason", string(r.Corrupt), "bytes", len(r.Value))
		}
		if r.Time >= 0 {
			p.oldest.Store(r.Time) // the next one cannot be much older
		}
	}
	return nil
}

// alive is a sign of life of the batch in hand. One that comes too late, when the
// batch is finished, is none: it would stand for a batch that never ends.
func (p *partition) alive() {
	if last := p.sign.Load(); last != 0 {
		p.sign.CompareAndSwap(last, p.g.age(time.Now()))
	}
}

// silent returns for how long the batch in hand has given no sign of life, 0 if
// there is none.
func (p *partition) silent(now time.Time) time.Duration {
	at := p.sign.Load()
	if at == 0 {
		return 0
	}
	return time.Duration(p.g.age(now) - at)
}

// outOfRange deals with an offset the leader does not have: retention took it,
// or the log was cut or made anew.
func (p *partition) outOfRange(poll, hand context.Context) error {
	k := p.g.k
	start, err := p.edge(poll, logStart, false)
	if err != nil {
		return err
	}
	end, err := p.edge(poll, logEnd, false)
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
		if err := k.o.OnGap(hand, Gap{p.Topic, p.ID, p.offset, start}); err != nil {
			if hand.Err() != nil {
				return errStopped
			}
			return &handlerError{fmt.Errorf("%s, gap at %d: %w", p, p.offset, err)}
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

// asking reports whether the partition waits for an answer and for nothing else.
func (p *partition) asking() bool {
	return !p.stopped.Load() && p.sign.Load() == 0 && !p.turn.away.Load()
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

// state returns how far the partition has come.
func (p *partition) state() PartitionState {
	s := PartitionState{Topic: p.Topic, Partition: p.ID, Next: p.next.Load(), End: p.end.Load(), Stopped: p.stopped.Load()}
	if s.Windowed = p.windows != nil; s.Windowed {
		s.Due = max(p.turn.due.Load()-max(s.Next, 0), 0)
		if closes := p.turn.closes.Load(); s.Due > 0 && closes > 0 {
			s.Late = max(time.Since(time.UnixMilli(closes)), 0)
		}
		return s
	}
	if oldest := p.oldest.Load(); s.Lag() > 0 && oldest > 0 {
		s.Behind = max(time.Since(time.UnixMilli(oldest)), 0)
	}
	return s
}
