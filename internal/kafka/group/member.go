// Package group is one member of a consumer group that keeps its place while
// the group's coordinator moves.
//
// A [Member] joins and gets a [Generation]: the partitions that are its own until
// the group gives them out anew. It keeps its id and its generation through every
// error of the network and while a coordinator is away, moves or loads; only
// the coordinator's word that it is no longer known ends a generation. Meanwhile
// the partitions go on being read, and commits wait. What this package is not:
// it reads no messages and decides nothing about what is committed.
//
// The one thing to know: every commit bears the member's id and generation, so
// a member whom the coordinator has given up can move nothing. It can at worst
// repeat work, and the lease bounds that: see [Generation.Hold].
//
// Kafka calls this the classic protocol. Members of Java, librdkafka and
// franz-go may be in the same group, if they offer the assignors "range" or
// "sticky".
package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Partition is one partition of a topic.
type Partition struct {
	Topic string
	ID    int32
}

// String returns topic/id.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

func (p Partition) compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.ID, q.ID))
}

// Options say which group to join, and how. A zero duration stands for the
// default named beside it.
type Options struct {
	Send   wire.RoundTrip
	Client string // how we call ourselves in the brokers' logs
	Group  string
	// Instance makes the member a static one, if it is not empty: it does not
	// leave the group when it ends, and gets its partitions again if it is back
	// within the session. No two processes may have the same.
	Instance string
	// Topics returns the topics this member wants. It is asked when the member
	// joins and each time it looks for changes.
	Topics func(ctx context.Context) ([]string, error)
	// Partitions counts the partitions of topics, those of other members among
	// them. A topic that does not exist is left out.
	Partitions func(ctx context.Context, topics []string) (map[string]int32, error)

	Session   time.Duration // 15 s: after this long without a heartbeat the group gives our partitions to others
	Rebalance time.Duration // 30 s: how long the group waits for its members; make it equal in all of them
	Heartbeat time.Duration // 1 s
	Watch     time.Duration // 5 s: how often to look for topics and partitions that were added
	// Margin is how long before the end of the session we stop taking batches if
	// the coordinator is silent; 1 s, and at most a fifth of Session. It should cover
	// the usual batch: of one that takes longer, another may begin with the messages
	// meanwhile. The longer it is, the sooner an outage of the coordinator is felt.
	Margin time.Duration
	// Blind is the longest we go on past the session on evidence that no
	// coordinator runs; 30 s.
	Blind time.Duration

	Logger *slog.Logger // nil: nowhere
}

// Member of a group. Its methods are for one goroutine.
type Member struct {
	o           Options
	request     time.Duration // deadline of a request
	coordinator *wire.Coordinator
	id          string
	previous    int32       // the last generation left in good order, -1 for none
	held        []Partition // its partitions
}

// New returns a member that has not joined yet.
func New(o Options) *Member {
	o.Session = cmp.Or(o.Session, 15*time.Second)
	o.Rebalance = cmp.Or(o.Rebalance, 30*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, time.Second)
	o.Watch = cmp.Or(o.Watch, 5*time.Second)
	o.Margin = cmp.Or(o.Margin, min(time.Second, o.Session/5))
	o.Blind = cmp.Or(o.Blind, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Member{
		o: o, previous: -1,
		// Two heartbeats and a search for the coordinator have to fit into a session.
		request:     min(wire.Timeout, o.Session/3),
		coordinator: &wire.Coordinator{Send: o.Send, Client: o.Client, Kind: wire.OfGroup, Name: o.Group},
	}
}

// Fenced reports whether an error says that another process has joined with our
// instance id. There is no point in trying again.
func Fenced(err error) bool { return errors.Is(err, kafkago.FencedInstanceID) }

// lost reports whether an error says that the coordinator does not know the
// member in its generation any more.
func lost(err error) bool {
	return errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.IllegalGeneration) || Fenced(err)
}

// Join makes one attempt to join the group, which may wait for other members for
// as long as a rebalance takes. The generation before must have been released.
// Unless the error is [Fenced], the caller may try again; how soon is its matter.
func (m *Member) Join(ctx context.Context) (*Generation, error) {
	topics, err := m.o.Topics(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(topics)
	j, err := m.joinGroup(ctx, topics)
	if errors.Is(err, kafkago.MemberIDRequired) {
		m.id = j.member // the coordinator has made an id and wants us to come back with it
		j, err = m.joinGroup(ctx, topics)
	}
	if err != nil {
		return nil, m.refused("join", err)
	}
	m.id = j.member
	var plan plan
	var watched []string
	var counts map[string]int32
	switch {
	case j.leader == m.id:
		claims, err := readClaims(j.members)
		if err != nil {
			return nil, err
		}
		watched = topicsOf(claims)
		if counts, err = m.o.Partitions(ctx, watched); err != nil {
			return nil, err
		}
		if plan, err = assign(j.assignor, claims, counts); err != nil {
			return nil, err
		}
	case m.o.Instance != "":
		// A static member that led and was restarted is not told that it leads: if it
		// did not watch, nobody would. That this costs a needless rebalance when two
		// watch the same is well worth it.
		watched = topics
		if counts, err = m.o.Partitions(ctx, watched); err != nil {
			return nil, err
		}
	}
	sent := time.Now()
	own, err := m.syncGroup(ctx, j.generation, plan)
	if err != nil {
		return nil, m.refused("sync", err)
	}
	slices.SortFunc(own, Partition.compare)
	g := &Generation{
		ID: j.generation, Member: m.id, Leader: plan != nil, Assignor: j.assignor, Partitions: own,
		m: m, topics: topics, watched: watched, counts: counts, ended: make(chan struct{}),
		lease: lease{length: m.o.Session - m.o.Margin, blind: m.o.Blind},
	}
	g.lease.renew(sent)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.running.Go(func() { g.heartbeats(run) })
	g.running.Go(func() { g.watch(run) })
	return g, nil
}

// refused draws the conclusions of an answer to a join.
func (m *Member) refused(what string, err error) error {
	if errors.Is(err, kafkago.UnknownMemberId) {
		m.id, m.previous, m.held = "", -1, nil
	}
	return fmt.Errorf("%s group %s: %w", what, m.o.Group, err)
}

// Leave leaves the group at once, so that others need not wait for the session
// to end. A static member stays.
func (m *Member) Leave(ctx context.Context) error {
	if m.id == "" || m.o.Instance != "" {
		return nil
	}
	defer func() { m.id, m.previous, m.held = "", -1, nil }()
	return m.at(ctx, m.leaveGroup)
}

// at calls f with the coordinator's broker. Any doubt about who that is makes
// the next call ask.
func (m *Member) at(ctx context.Context, f func(ctx context.Context, node int32) error) error {
	node, _, err := m.coordinator.Node(ctx)
	if err != nil {
		return err
	}
	if err = f(ctx, node); wire.Retriable(err) {
		m.coordinator.Forget(node)
	}
	return err
}

// How often we look whether the coordinator is still the same while a call waits
// for it: one that may wait for a whole rebalance, and a heartbeat, which waits
// for nothing, so that the coordinator must be slow or frozen.
const (
	movedCheck = 2 * time.Second
	beatCheck  = 500 * time.Millisecond
)

// waiting is at for calls that may wait for the whole rebalance.
func (m *Member) waiting(ctx context.Context, f func(ctx context.Context, node int32) error) error {
	return m.at(ctx, func(ctx context.Context, node int32) error { return m.unlessMoved(ctx, node, movedCheck, f) })
}

// unlessMoved calls f with a coordinator. Should it move meanwhile, because its
// broker froze for instance, the call is given up.
func (m *Member) unlessMoved(ctx context.Context, node int32, every time.Duration, f func(ctx context.Context, node int32) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel(nil)
	looking.Go(func() {
		for retry.Pause(ctx, every) {
			if now, err := m.coordinator.FindBeside(ctx, node); err == nil && now != node {
				cancel(fmt.Errorf("the coordinator has moved: %w", kafkago.NotCoordinatorForGroup))
			}
		}
	})
	if err := f(ctx, node); err != nil {
		return cmp.Or(movedAway(ctx), err)
	}
	return nil
}

// movedAway returns why waiting gave a call up, if it did.
func movedAway(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, kafkago.NotCoordinatorForGroup) {
		return err
	}
	return nil
}

// topicsOf returns all topics that members want.
func topicsOf(claims []claim) []string {
	all := make(map[string]bool)
	for _, c := range claims {
		maps.Copy(all, c.topics)
	}
	return slices.Sorted(maps.Keys(all))
}
