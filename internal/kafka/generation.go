package kafka

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/retry"
)

// generation is the time between two rebalances, in which a set of partitions
// is ours.
type generation struct {
	k          *Consumer
	gen        *group.Generation
	claim      Claim
	born       time.Time
	partitions []*partition
	feed       *feed
	kick       chan struct{} // commit now
	draining   atomic.Bool   // nothing new is begun

	mu     sync.Mutex
	tracks map[*partition]*track
	failed error
	halt   context.CancelFunc // stops polling
	broken bool               // the last commit failed
}

// track is what is known about the progress of one partition.
type track struct {
	done      []Range // finished, not yet checkpointed
	open      bool    // ranges are with Checkpoint
	ready     int64   // may be committed: all before it is checkpointed
	moved     int64   // where reading went on behind what is not checkpointed yet
	committed int64
	settled   []chan struct{} // closed when ready is committed
}

// newGeneration prepares to read the partitions of gen from what the group has
// committed. Where nobody else can have had a partition since the generation
// before, it goes on where that one stopped, committed or not: while a
// coordinator is away, nothing can be.
func newGeneration(k *Consumer, gen *group.Generation, offsets map[group.Partition]int64, before *generation) *generation {
	g := &generation{
		k: k, gen: gen,
		claim:  Claim{Group: k.o.Group, Generation: gen.ID, Member: gen.Member, Instance: k.o.Instance},
		born:   time.Now(),
		kick:   make(chan struct{}, 1),
		tracks: make(map[*partition]*track),
	}
	for _, id := range gen.Partitions {
		offset := offsets[id]
		t := &track{ready: max(offset, -1), committed: max(offset, -1)}
		if p, old := before.kept(id); p != nil && gen.Follows(before.gen) && p.offset > offset {
			offset = p.offset
			t = &track{done: old.done, ready: old.ready, moved: old.moved, committed: old.committed}
		}
		p := newPartition(g, id, offset)
		g.partitions = append(g.partitions, p)
		g.tracks[p] = t
	}
	g.feed = newFeed(k, g.partitions)
	return g
}

// kept returns a partition of a generation that is over, with its progress, if
// there is anything to take over from it.
func (g *generation) kept(id group.Partition) (*partition, *track) {
	if g == nil {
		return nil, nil
	}
	for _, p := range g.partitions {
		if p.Partition == id && !p.stopped.Load() {
			return p, g.tracks[p]
		}
	}
	return nil, nil
}

// age returns how old the generation is, in nanoseconds, at least one. Unlike the time
// of day it makes no steps.
func (g *generation) age(now time.Time) int64 { return max(int64(now.Sub(g.born)), 1) }

// finalTime is how long the last checkpoint and commit of a generation may take.
// The group waits for us meanwhile: it has to fit into a rebalance, with the drain.
const finalTime = 5 * time.Second

// run reads the partitions until the group takes them away, ctx ends or something
// fails. It is the only goroutine of this generation that commits: commits cannot
// overtake each other, and when it returns, none is under way or still to come.
//
// At the end the batch in hand of each partition may finish, up to the drain
// time; then its context is cancelled. If the process dies in the meantime, or
// the batch is not finished, the next owner of the partition gets it again.
func (g *generation) run(ctx context.Context) error {
	poll, halt := context.WithCancel(ctx)
	defer halt()
	hand, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	g.mu.Lock()
	g.halt = halt
	g.mu.Unlock()
	var work, helpers sync.WaitGroup
	helpers.Go(func() {
		select {
		case <-g.gen.Ended():
			halt()
		case <-g.k.client.ctx.Done():
			g.fail(ErrClosed)
		case <-poll.Done():
		}
		g.draining.Store(true)
		retry.Pause(hand, g.k.o.Drain)
		letGo()
	})
	for _, p := range g.partitions {
		work.Go(func() {
			if err := p.run(poll, hand); err != nil {
				g.fail(err)
			}
		})
	}
	helpers.Go(func() { g.feed.run(poll) })
	finished := make(chan struct{})
	go func() {
		work.Wait()
		<-poll.Done() // a member to which no partition fell is a member all the same
		close(finished)
	}()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		g.keep(poll, hand, finished)
	}()
	if err := g.watch(kept); err != nil {
		// Something in Handle hangs, and it cannot be made to stop. Nothing is waited
		// for any more, and nothing further of this generation is committed.
		halt()
		letGo()
		return err
	}
	halt()
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
	defer cancel()
	again := retry.Backoff{Base: 100 * time.Millisecond, Ceiling: time.Second}
	for !g.commit(final) { // the coordinator may be on its way to another broker
		if !retry.Pause(final, again.Next()) {
			break
		}
	}
	if left := g.uncommitted(); left > 0 && g.gen.Err() != nil {
		g.k.commitFailures.Add(1)
		g.k.o.Logger.Warn("finished batches could not be committed any more; whoever has their partitions judges them again",
			"group", g.k.o.Group, "generation", g.gen.ID, "partitions", left, "err", g.gen.Err())
	}
	letGo()
	helpers.Wait()
	g.feed.drain()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// keep commits now and then until every partition has let go.
func (g *generation) keep(poll, hand context.Context, finished <-chan struct{}) {
	commit := time.NewTicker(g.k.o.Commit)
	defer commit.Stop()
	for {
		select {
		case <-commit.C:
		case <-g.kick:
		case <-finished:
			return
		}
		if poll.Err() == nil {
			g.commit(hand)
		}
	}
}

// watch returns nil when all is done, or an error when a batch is stuck.
func (g *generation) watch(done <-chan struct{}) error {
	look := time.NewTicker(max(g.k.o.Stuck/8, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if err := g.stuck(); err != nil {
				return err
			}
		case <-done:
			return nil
		}
	}
}

// stuck returns an error if a batch has been in hand for too long without a sign
// of life, and logs what every goroutine is doing: that is what it takes to find
// out why. The group is left and the process ends, so that others go on.
func (g *generation) stuck() error {
	for _, p := range g.partitions {
		silent := p.silent(time.Now())
		if silent <= g.k.o.Stuck {
			continue
		}
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		err := fmt.Errorf("%s: %w: no sign of life for %v, offset %d", p, ErrStuck, silent.Round(time.Second), p.next.Load())
		g.k.o.Logger.Error("leaving the group", "group", g.k.o.Group, "err", err, "stacks", string(stacks))
		return err
	}
	return nil
}

// fail notes why this generation must end and stops polling. Batches in hand
// still finish.
func (g *generation) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// That a partition is lost is not worth telling if something is worse.
	if g.failed == nil || errors.Is(g.failed, ErrLost) {
		g.failed = err
	}
	g.halt()
}

// finish notes a finished batch.
func (g *generation) finish(p *partition, first, next int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tracks[p]
	t.done = appendRange(t.done, Range{p.Topic, p.ID, first, next})
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
// that is committed, if nothing stood before it.
func (g *generation) move(p *partition, offset int64) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tracks[p]
	settled := make(chan struct{})
	if len(t.done) == 0 && !t.open {
		t.ready = max(t.ready, offset)
		t.settled = append(t.settled, settled)
	} else { // it must not overtake what waits for its checkpoint, and goes with it
		t.moved = max(t.moved, offset)
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
	return settled
}

// commit checkpoints what is finished and commits what is checkpointed. It
// returns false if there is still something to commit and it is worth trying.
//
// If the process dies after the checkpoint and before the commit, the ranges
// are handled and checkpointed once more. Committing first would lose them.
func (g *generation) commit(ctx context.Context) bool {
	if g.gen.Err() != nil {
		return true // nothing can be committed any more
	}
	if done := g.take(); len(done) > 0 {
		if err := g.k.o.Checkpoint(ctx, done); err != nil {
			g.reopen(done)
			if ctx.Err() == nil {
				g.fail(fmt.Errorf("checkpoint: %w", err))
			} else {
				g.k.o.Logger.Warn("checkpoint not finished in time", "group", g.k.o.Group, "err", err)
			}
			return true
		}
		g.cover(done)
	}
	offsets := g.committable()
	if len(offsets) == 0 {
		return true
	}
	err := g.send(ctx, offsets)
	switch {
	case err == nil:
		if g.broken {
			g.k.o.Logger.Info("commits work again", "group", g.k.o.Group, "generation", g.gen.ID)
		}
		g.broken = false
		g.settle(offsets)
		return true
	case errors.Is(err, ErrLost):
		g.fail(err)
	}
	g.k.commitFailures.Add(1)
	if !g.broken {
		g.k.o.Logger.Warn("commit offsets; trying again", "group", g.k.o.Group, "generation", g.gen.ID, "err", err)
	}
	g.broken = true
	return errors.Is(err, ErrLost) || g.gen.Err() != nil
}

// send commits offsets, by ourselves or in transactions.
func (g *generation) send(ctx context.Context, offsets map[group.Partition]int64) error {
	if g.k.o.CommitRanges == nil {
		return g.gen.Commit(ctx, offsets)
	}
	ranges := make([]Range, 0, len(offsets))
	g.mu.Lock()
	for _, p := range g.partitions {
		if next, ok := offsets[p.Partition]; ok {
			ranges = append(ranges, Range{p.Topic, p.ID, g.tracks[p].committed, next})
		}
	}
	g.mu.Unlock()
	return g.k.o.CommitRanges(ctx, g.claim, ranges)
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
		list := p.of(done)
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
		for _, r := range p.of(done) { // ascending within a partition
			t.ready = r.Next
		}
		if len(t.done) == 0 { // else that stands behind the move, or before it
			t.ready = max(t.ready, t.moved)
		}
	}
}

// of returns the ranges that are of one partition.
func (p *partition) of(list []Range) []Range {
	var own []Range
	for _, r := range list {
		if r.Topic == p.Topic && r.Partition == p.ID {
			own = append(own, r)
		}
	}
	return own
}

// committable returns the offsets that may be committed and are not.
func (g *generation) committable() map[group.Partition]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	offsets := make(map[group.Partition]int64)
	for p, t := range g.tracks {
		if t.ready > t.committed {
			offsets[p.Partition] = t.ready
		}
	}
	return offsets
}

// uncommitted counts the partitions that have finished more than is committed.
func (g *generation) uncommitted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, t := range g.tracks {
		if len(t.done) > 0 || t.ready > t.committed {
			n++
		}
	}
	return n
}

// settle notes that offsets are committed.
func (g *generation) settle(offsets map[group.Partition]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, t := range g.tracks {
		offset, ok := offsets[p.Partition]
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
