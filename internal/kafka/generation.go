package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// generation is the time between two rebalances, in which a set of partitions
// is ours.
type generation struct {
	k          *Consumer
	gen        *kafkago.Generation
	partitions []*partition
	finished   chan struct{} // closed when nothing of this generation is read or committed any more
	kick       chan struct{} // commit now
	err        error         // why Run must end; read it after finished
	lost       bool          // nothing can be committed any more
	draining   atomic.Bool   // nothing new is begun

	mu     sync.Mutex
	tracks map[*partition]*track
	failed error
	halt   context.CancelFunc // stops polling
}

// track is what is known about the progress of one partition.
type track struct {
	done      []Range // finished, not yet checkpointed
	open      bool    // ranges are with Checkpoint
	ready     int64   // may be committed: all before it is checkpointed
	committed int64
	settled   []chan struct{} // closed when ready is committed
}

// finalTime is how long the last checkpoint of a generation may take. With
// [ConsumerOptions.Drain] and the commit's own deadline it has to fit into the
// session timeout, because there are no heartbeats any more.
const finalTime = 2 * time.Second

func newGeneration(k *Consumer, gen *kafkago.Generation) *generation {
	g := &generation{
		k: k, gen: gen,
		finished: make(chan struct{}),
		kick:     make(chan struct{}, 1),
		tracks:   make(map[*partition]*track),
	}
	for i := range k.o.Topics {
		s := &k.o.Topics[i]
		for _, a := range gen.Assignments[s.Topic] {
			p := newPartition(g, s, int32(a.ID), a.Offset)
			g.partitions = append(g.partitions, p)
			g.tracks[p] = &track{ready: max(a.Offset, -1), committed: max(a.Offset, -1)}
		}
	}
	slices.SortFunc(g.partitions, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
	})
	return g
}

// run reads the partitions until the group takes them away (ended), the context
// of Run ends or something fails. It is the only goroutine of this generation
// that commits: commits cannot overtake each other, and when it returns, none
// is under way or still to come.
//
// At the end the batch in hand of each partition may finish, up to the drain
// time; then its context is cancelled. If the process dies in the meantime, or
// the batch is not finished, the next owner of the partition gets it again.
func (g *generation) run(ctx, ended context.Context) {
	poll, halt := context.WithCancel(ctx)
	defer halt()
	if ended.Err() != nil { // before it began
		halt()
	}
	hand, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	g.mu.Lock()
	g.halt = halt
	g.mu.Unlock()
	defer context.AfterFunc(ended, halt)()
	defer context.AfterFunc(poll, func() {
		g.draining.Store(true)
		pause(hand, g.k.o.Drain)
		letGo()
	})()

	var readers sync.WaitGroup
	for _, p := range g.partitions {
		readers.Go(func() {
			if err := p.run(poll, hand); err != nil {
				g.fail(err)
			}
		})
	}

	tick := time.NewTicker(g.k.o.Commit)
	defer tick.Stop()
	for poll.Err() == nil {
		select {
		case <-tick.C:
			g.commit(hand)
		case <-g.kick:
			g.commit(hand)
		case <-poll.Done():
		}
	}
	readers.Wait()
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
	g.commit(final)
	cancel()

	g.mu.Lock()
	g.err = g.failed
	g.mu.Unlock()
	close(g.finished)
	if g.err != nil || ctx.Err() != nil {
		// Returning would make kafka-go join the next generation at once. Run is
		// about to leave the group, which ends this one.
		<-ended.Done()
	}
}

// fail notes why Run must end and stops polling. Batches in hand still finish.
func (g *generation) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = err
	}
	g.halt()
}

// finish notes a finished batch.
func (g *generation) finish(p *partition, first, next int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tracks[p]
	t.done = appendRange(t.done, Range{p.topic, p.id, first, next})
}

// appendRange appends r, or lengthens the last range if r continues it.
func appendRange(list []Range, r Range) []Range {
	if n := len(list); n > 0 && list[n-1].Next == r.First {
		list[n-1].Next = r.Next
		return list
	}
	return append(list, r)
}

// move notes that reading goes on at an offset although nothing up to it was
// handled: where a group begins, or behind a gap. The channel is closed when
// that is committed.
func (g *generation) move(p *partition, offset int64) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tracks[p]
	settled := make(chan struct{})
	if len(t.done) == 0 && !t.open {
		t.ready = max(t.ready, offset)
		t.settled = append(t.settled, settled)
	} // else it must not overtake what waits for its checkpoint; the next batch carries it
	select {
	case g.kick <- struct{}{}:
	default:
	}
	return settled
}

// commit checkpoints what is finished and commits what is checkpointed.
//
// If the process dies after the checkpoint and before the commit, the ranges
// are handled and checkpointed once more. Committing first would lose them.
func (g *generation) commit(ctx context.Context) {
	if g.lost {
		return
	}
	if done := g.take(); len(done) > 0 {
		if err := g.k.o.Checkpoint(ctx, done); err != nil {
			g.reopen(done)
			if ctx.Err() == nil {
				g.lost = true
				g.fail(fmt.Errorf("checkpoint: %w", err))
			} else {
				g.k.o.Logger.Warn("checkpoint not finished in time", "group", g.k.o.Group, "err", err)
			}
			return
		}
		g.cover(done)
	}
	offsets := g.committable()
	if len(offsets) == 0 {
		return
	}
	if err := g.gen.CommitOffsets(offsets); err != nil {
		g.k.commitFailures.Add(1)
		g.k.o.Logger.Warn("commit offsets", "group", g.k.o.Group, "generation", g.gen.ID, "err", err)
		if errors.Is(err, kafkago.IllegalGeneration) || errors.Is(err, kafkago.UnknownMemberId) {
			// Somebody else has our partitions. What we judged will be judged again.
			g.lost = true
			g.halt()
		}
		return // else with the next commit
	}
	g.settle(offsets)
}

// take returns the finished ranges that were not checkpointed, ordered.
func (g *generation) take() []Range {
	g.mu.Lock()
	defer g.mu.Unlock()
	var done []Range
	for _, p := range g.partitions {
		t := g.tracks[p]
		done = append(done, t.done...)
		t.open = len(t.done) > 0
		t.done = nil
	}
	return done
}

// reopen puts back ranges that could not be checkpointed.
func (g *generation) reopen(done []Range) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.partitions {
		t := g.tracks[p]
		t.open = false
		var list []Range
		for _, r := range done {
			if r.Topic == p.topic && r.Partition == p.id {
				list = append(list, r)
			}
		}
		for _, r := range t.done {
			list = appendRange(list, r)
		}
		t.done = list
	}
}

// cover notes that ranges are checkpointed.
func (g *generation) cover(done []Range) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.partitions {
		t := g.tracks[p]
		t.open = false
		for _, r := range done { // ascending within a partition
			if r.Topic == p.topic && r.Partition == p.id {
				t.ready = r.Next
			}
		}
	}
}

// committable returns the offsets that may be committed and are not.
func (g *generation) committable() map[string]map[int]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	offsets := make(map[string]map[int]int64)
	for p, t := range g.tracks {
		if t.ready <= t.committed {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = make(map[int]int64)
		}
		offsets[p.topic][int(p.id)] = t.ready
	}
	return offsets
}

// settle notes that offsets are committed.
func (g *generation) settle(offsets map[string]map[int]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, t := range g.tracks {
		offset, ok := offsets[p.topic][int(p.id)]
		if !ok {
			continue
		}
		t.committed = offset
		if t.committed >= t.ready {
			for _, c := range t.settled {
				close(c)
			}
			t.settled = nil
		}
	}
}
