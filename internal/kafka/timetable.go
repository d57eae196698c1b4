package kafka

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Window is a stretch of time in which a partition is read that is not read at all
// times. See [Subscription.Windows].
type Window struct {
	// Opens is when it begins. What was written to the partition before, by the
	// timestamps of the messages, is due.
	Opens time.Time
	// Closes is by when that is handed out: evenly until then, at once after it.
	Closes time.Time
	// Next is when the next window opens.
	Next time.Time
}

// timetable has a partition read in its windows only.
//
// Between windows the partition is left out of the polls: nothing of it is
// fetched or held, and it can be given away at once. Nothing but the group's
// offset is remembered, either. Whoever has the partition after us asks the broker
// where the messages end that are due, and goes on with what is left of the window.
type timetable struct {
	p          *partition
	partitions int // of the topic; when they become more, the group gives them out anew

	window Window
	due    int64     // the offset behind what is due in the window
	looked time.Time // when that was asked for; zero for never
	from   int64     // where the last step began
	step   step
}

// turn is what others may know of a partition that is read in windows.
type turn struct {
	away   atomic.Bool  // nothing of it is wanted now
	due    atomic.Int64 // the offset behind what is due
	closes atomic.Int64 // when the window of that closes, ms since 1970; 0 if nothing is due
}

const (
	// lookEvery is how often the broker is asked about a partition in or between its
	// windows: how much stands in it is worth knowing.
	lookEvery = 5 * time.Minute
	// glanceEvery is how often we look at the clock meanwhile, which may have been set.
	glanceEvery = time.Minute
)

// stepEvery is how often something is handed out of a window, unless that would be
// less than one message each time.
const stepEvery = time.Second

// step is a part of what is due, to be handed out at once.
type step struct {
	began   time.Time
	left    int64         // offsets that were due when it began
	rest    time.Duration // of the window then
	records int           // how many are handed out in it
}

// stepOf returns what is handed out at once of so many offsets that are due, if so
// much is left of the window: one step a second, or a message each time where there
// are fewer of them than seconds. Past the window, that is all a batch takes.
func stepOf(left int64, rest time.Duration, most int) step {
	n := left
	if rest > 0 {
		n = min(n, (left*int64(stepEvery)+int64(rest)-1)/int64(rest))
	}
	return step{left: left, rest: rest, records: int(min(n, int64(most)))}
}

// pause returns how long to wait after a step before the next one: so much of the
// window as has been handed out of what was due. Offsets are counted, not records:
// where transactions wrote, every other one may be none.
func (s *step) pause(taken int64) time.Duration {
	if s.rest <= 0 || taken >= s.left {
		return 0
	}
	return time.Duration(float64(s.rest) * float64(taken) / float64(s.left))
}

// plan draws up the timetable of a partition. It returns false when poll has ended.
func (p *partition) plan(poll context.Context) bool {
	for {
		list, err := p.g.k.client.Topics(poll, p.Topic)
		if err == nil && list[0].Err != nil {
			err = fmt.Errorf("topic %s: %w", p.Topic, list[0].Err)
		}
		if err == nil {
			p.failing(nil)
			p.backoff.Reset()
			p.times = &timetable{p: p, partitions: len(list[0].Leaders)}
			return true
		}
		if poll.Err() != nil {
			return false
		}
		p.failing(err)
		retry.Pause(poll, p.backoff.Next())
	}
}

// await waits until something is to be handed out and has it polled. It returns
// false when poll has ended.
func (t *timetable) await(poll context.Context) bool {
	p := t.p
	p.turn.away.Store(true)
	if taken := p.offset - t.from; t.step.records > 0 && taken > 0 {
		if !retry.Pause(poll, time.Until(t.step.began.Add(t.step.pause(taken)))) {
			return false
		}
	}
	t.step = step{}
	for {
		now := time.Now()
		w := p.windows(p.ID, t.partitions, now)
		next := w.Next
		if p.offset < t.due {
			w = t.window // what is left of it comes first, though another may have opened
		}
		if !w.Opens.Equal(t.window.Opens) || now.Sub(t.looked) >= lookEvery || now.Before(t.looked) {
			if err := t.look(poll, w); err != nil {
				if poll.Err() != nil {
					return false
				}
				p.failing(err)
				retry.Pause(poll, p.backoff.Next())
				continue
			}
			p.failing(nil)
			p.backoff.Reset()
			t.window, t.looked = w, now
		}
		if left := t.due - p.offset; left > 0 {
			p.turn.closes.Store(w.Closes.UnixMilli())
			t.from, t.step = p.offset, stepOf(left, w.Closes.Sub(now), p.g.k.o.BatchRecords)
			t.step.began = now
			p.turn.away.Store(false)
			p.resume(t.bytes(), false, 0)
			return true
		}
		p.turn.closes.Store(0)
		if !retry.Pause(poll, max(min(next.Sub(now), glanceEvery), time.Millisecond)) {
			return false
		}
	}
}

// look asks where the messages end that are due in a window, and how many stand in
// the partition.
func (t *timetable) look(ctx context.Context, w Window) error {
	p, k := t.p, t.p.g.k
	committed := !k.o.ReadUncommitted
	leader, err := k.client.leader(ctx, p.Topic, p.ID)
	if err != nil {
		return err
	}
	// The end first: what comes in between is not due.
	end, err := k.client.offsetOf(ctx, k.transport, wire.ToBroker(leader), p.Topic, p.ID, logEnd, committed)
	if err != nil {
		return err
	}
	due, err := k.client.lookUp(ctx, k.transport, wire.ToBroker(leader), p.Topic, p.ID, w.Opens.UnixMilli(), committed)
	if err != nil {
		return err
	}
	if due < 0 || due > end { // nothing is as young as that
		due = end
	}
	t.due = due
	p.turn.due.Store(due)
	p.end.Store(end)
	return nil
}

// bytes returns how much to ask for: about what a step takes. What comes beyond it is
// dropped and asked for again, since nothing is held between two steps.
func (t *timetable) bytes() int {
	return min(max(16<<10, t.step.records<<11), t.p.g.k.o.PartitionBytes)
}
