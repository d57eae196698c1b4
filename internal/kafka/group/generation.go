package group

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Generation is the time between two rebalances, in which a set of partitions is
// the member's own.
type Generation struct {
	ID         int32
	Member     string      // the member's id
	Leader     bool        // it gave out the partitions
	Assignor   string      // by which they were given out
	Partitions []Partition // ours, ordered

	m       *Member
	topics  []string         // we asked for
	watched []string         // topics whose partitions we watch: all of the group's, if we lead
	counts  map[string]int32 // their partitions when we joined
	lease   lease
	silent  atomic.Bool // the last heartbeat failed
	ended   chan struct{}
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	over   bool
	err    error      // why the coordinator knows us no more; nil if it only wants us to join again
	commit sync.Mutex // of two commits under way the older could be applied last
}

// Ended is closed when the partitions have to be given back: finish what is in
// hand, commit it, Release, and join again.
func (g *Generation) Ended() <-chan struct{} { return g.ended }

// Err returns why the coordinator does not know us any more in this generation,
// nil if it does. Nothing can be committed then.
func (g *Generation) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Follows reports whether nobody can have had the partitions that are both in
// this generation and in an earlier one of the same member in between.
func (g *Generation) Follows(before *Generation) bool {
	return before.Err() == nil && before.Member == g.Member && g.ID <= before.ID+1
}

// Hold waits while the coordinator has been silent for too long, and reports
// whether the next batch may be taken. It returns false when the generation or
// the context has ended.
func (g *Generation) Hold(ctx context.Context) bool {
	const look = 20 * time.Millisecond
	for waited := false; ; waited = true {
		select {
		case <-g.ended:
			return false
		case <-ctx.Done():
			return false
		default:
		}
		if g.lease.holds() {
			return true
		}
		if !waited {
			g.m.o.Logger.Warn("the group's coordinator is silent; no batch is begun until it answers", "group", g.m.o.Group, "generation", g.ID)
		}
		retry.Pause(ctx, look)
	}
}

// Paused reports whether the coordinator has been silent for so long that no batch
// is begun.
func (g *Generation) Paused() bool { return !g.lease.holds() }

// end says that the partitions have to be given back; with an error, that they
// are not ours any more.
func (g *Generation) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	if !g.over {
		g.over = true
		close(g.ended)
	}
}

// Release ends the heartbeats. The caller has stopped working and committed what
// it can: whoever joins next may own the partitions.
func (g *Generation) Release() {
	g.end(nil)
	g.stop()
	g.running.Wait()
	m := g.m
	m.previous, m.held = g.ID, g.Partitions
	err := g.Err()
	if err != nil {
		m.previous, m.held = -1, nil
	}
	if errors.Is(err, kafkago.UnknownMemberId) {
		m.id = ""
	}
}

// heartbeats runs until Release, also while partitions are drained: the
// coordinator then waits for us as long as a rebalance may take.
func (g *Generation) heartbeats(ctx context.Context) {
	const knock = 100 * time.Millisecond // after a failure, and longer after more
	for fails := 0; ; {
		wait := g.m.o.Heartbeat
		if fails > 0 {
			wait = min(wait, time.Duration(fails)*knock)
		}
		if !retry.Pause(ctx, wait) {
			return
		}
		err := g.beat(ctx)
		g.silent.Store(err != nil)
		switch {
		case err == nil:
			if fails > 0 {
				g.m.o.Logger.Info("heartbeats work again", "group", g.m.o.Group, "generation", g.ID)
			}
			fails = 0
		case errors.Is(err, kafkago.RebalanceInProgress):
			fails = 0
			g.end(nil)
		case lost(err):
			g.m.o.Logger.Warn("the group goes on without us", "group", g.m.o.Group, "generation", g.ID, "err", err)
			g.end(err)
			return
		case ctx.Err() != nil:
			return
		default:
			if fails++; fails == 1 {
				g.m.o.Logger.Warn("heartbeat failed; keeping the partitions and trying again", "group", g.m.o.Group, "generation", g.ID, "err", err)
			}
		}
	}
}

// watch ends the generation when there is something else to give out. It has a
// goroutine of its own: a broker that does not answer must not hold up heartbeats.
// While the coordinator is silent it looks for nothing: nobody could join.
func (g *Generation) watch(ctx context.Context) {
	for retry.Pause(ctx, g.m.o.Watch) {
		if !g.silent.Load() && g.changed(ctx) && !g.silent.Load() {
			g.end(nil)
			return
		}
	}
}

// changed reports whether there are other topics or partitions than the group
// was told about. Only a join of the leader, or one that says something new, makes
// it give them out anew; ours does: it says what we hold, and since when.
func (g *Generation) changed(ctx context.Context) bool {
	topics, err := g.m.o.Topics(ctx)
	if err != nil {
		return false // later
	}
	slices.Sort(topics)
	if !slices.Equal(topics, g.topics) {
		return true
	}
	if len(g.watched) == 0 {
		return false
	}
	counts, err := g.m.o.Partitions(ctx, g.watched)
	return err == nil && !maps.Equal(counts, g.counts)
}

// stale is how old another broker's view of who coordinates may be.
const stale = time.Second

// beat sends one heartbeat and draws from the answer what it means for the lease.
func (g *Generation) beat(ctx context.Context) error {
	c := g.m.coordinator
	at := time.Now()
	node, fresh, err := c.Node(ctx)
	if err == nil {
		err = g.m.unlessMoved(ctx, node, beatCheck, func(ctx context.Context, node int32) error { return g.m.heartbeat(ctx, node, g.ID) })
		if wire.Retriable(err) {
			c.Forget(node)
		}
	}
	switch {
	case err == nil, errors.Is(err, kafkago.RebalanceInProgress):
		g.lease.renew(at)
	case errors.Is(err, kafkago.GroupLoadInProgress):
		g.lease.extend(at) // by its own word
	case errors.Is(err, kafkago.GroupCoordinatorNotAvailable), fresh && errors.Is(err, syscall.ECONNREFUSED):
		g.lease.extend(at.Add(-stale)) // by the word of another broker
	}
	return err
}

// Commit commits offsets, as this member in this generation; there is never more
// than one commit under way. After an error some may be committed and others not.
func (g *Generation) Commit(ctx context.Context, offsets map[Partition]int64) error {
	g.commit.Lock()
	defer g.commit.Unlock()
	if err := g.Err(); err != nil {
		return err
	}
	err := g.m.at(ctx, func(ctx context.Context, node int32) error { return g.m.offsetCommit(ctx, node, g.ID, offsets) })
	if lost(err) {
		g.end(err)
	}
	return err
}

// Committed returns the offsets the group has committed for our partitions; -1
// where it has none. An offset that an open transaction is about to replace is
// waited for. Anything else that fails is returned when the generation or the
// context has ended, or when it is no error that passes.
func (g *Generation) Committed(ctx context.Context) (map[Partition]int64, error) {
	if len(g.Partitions) == 0 {
		return nil, nil
	}
	for {
		var offsets map[Partition]int64
		err := g.m.at(ctx, func(ctx context.Context, node int32) (err error) {
			offsets, err = g.m.offsetFetch(ctx, node, g.Partitions)
			return err
		})
		if err == nil || !wire.Retriable(err) {
			return offsets, err
		}
		select {
		case <-g.ended:
			return nil, err
		default:
		}
		if !retry.Pause(ctx, 50*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}
