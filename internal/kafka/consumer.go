package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/retry"
)

// Record is one record of a batch, or a record batch that cannot be read.
type Record = batch.Record

// Batch is a run of offsets of one partition, First up to and not including
// Next, with the records in it that are to be seen.
type Batch struct {
	Topic       string
	Partition   int32
	First, Next int64
	Records     []Record // ascending offsets; a batch without any still has to be handled
	Skipped     int64    // records of control batches and of aborted transactions
	Claim       Claim

	alive func()
}

// Alive says that whoever handles the batch has not got stuck, but waits for
// something and knows it. See [ConsumerOptions.Stuck].
func (b *Batch) Alive() { b.alive() }

// Claim names the member of the group that a partition belongs to. An offset that
// is committed under it in a transaction is refused when the partition has gone
// to somebody else.
type Claim struct {
	Group, Member string
	Instance      string // of a static member
	Generation    int32
}

// Range is a run of offsets of one partition, First up to and not including Next.
type Range struct {
	Topic       string
	Partition   int32
	First, Next int64
}

// Gap is a range of offsets that retention took away before they were read.
type Gap Range

// Start says where a group begins in a partition it has committed nothing for.
type Start string

// Where a group can begin.
const (
	Earliest Start = "earliest" // with the oldest message there is
	Latest   Start = "latest"   // with what comes after the group's first start
)

// GapPolicy says what to do when retention took away what was not read yet.
type GapPolicy string

// What can be done about a gap.
const (
	GapEarliest GapPolicy = "earliest" // report it and go on with the oldest message there is
	GapStop     GapPolicy = "stop"     // stop the partition until an operator has decided
)

// Subscription is a topic to read, or all topics whose whole name matches a
// pattern, those to come included.
type Subscription struct {
	Topic   string
	Pattern *regexp.Regexp // instead of Topic
	Start   Start
	// Windows, if not nil, has each partition, of so many, read in windows only: it
	// returns the last one that opened up to now. A window that was missed is made
	// up for: what was due in it is due in the next one, too.
	Windows func(partition int32, partitions int, now time.Time) Window
}

// covers reports whether the subscription is for a topic.
func (s *Subscription) covers(topic string) bool {
	if s.Pattern == nil {
		return s.Topic == topic
	}
	return s.Pattern.MatchString(topic)
}

// ConsumerOptions say what a Consumer reads and how. A zero value of a duration
// or a size stands for the default named beside it.
type ConsumerOptions struct {
	Group           string
	Topics          []Subscription
	Gap             GapPolicy // earliest
	ReadUncommitted bool      // see also what transactions wrote that are open or were aborted

	// Instance makes this a static member of the group, if it is not empty: when it
	// ends and is back within Session, no partition moves. No two processes may
	// have the same.
	Instance  string
	Session   time.Duration // 15 s: after this long without a heartbeat the group takes our partitions away
	Rebalance time.Duration // 30 s: how long the group waits for its members; make it equal in all of them
	Heartbeat time.Duration // 1 s
	Drain     time.Duration // the lesser of 5 s and a third of Rebalance: how long a batch in hand may take when partitions are taken away
	Commit    time.Duration // 1 s
	Watch     time.Duration // 5 s: how often to look for topics and partitions that were added
	// Stuck is how long a batch may be in hand without a sign of life before the
	// consumer gives up and leaves the group; 5 min. See [Batch.Alive].
	Stuck time.Duration

	MaxWait        time.Duration // 250 ms: how long an idle poll waits at the broker
	Pace           time.Duration // 10 ms: the least time between polls that bring little
	PartitionBytes int           // 1 MiB: of compressed batches of one partition, in one poll
	ResponseBytes  int           // 8 MiB: of all partitions, in one poll
	HeldBytes      int           // 64 MiB: of answers that are not handled to the end; the less is left the less is asked for
	BatchRecords   int           // 4,000: records in one Batch
	BatchBytes     int           // 1 MiB: of decompressed records in one Batch
	MaxBatchBytes  int           // 128 MiB: the largest record batch that is read
	InflatedBytes  int           // 64 MiB: how far a record batch may expand

	// Handle is called with the batches of a partition one after another, with
	// those of different partitions at once. When it returns nil the batch is
	// finished; after an error nothing of it is committed. If its context has
	// ended the batch will be delivered again, here or elsewhere; otherwise Run
	// returns the error. The batch belongs to it until it returns.
	Handle func(ctx context.Context, b *Batch) error
	// Checkpoint is called before ranges of finished batches are committed, from
	// one goroutine at a time. They are committed only if it returns nil.
	Checkpoint func(ctx context.Context, done []Range) error
	// Fence is called for each partition that was assigned, before the offset to
	// begin at is asked for: to end what a former owner has under way in a
	// transaction. It may be nil. With it, nothing is ever committed but by Handle
	// and CommitRanges, in transactions.
	Fence func(ctx context.Context, topic string, partition int32) error
	// CommitRanges commits ranges in place of the consumer, after Checkpoint. It
	// comes with Fence.
	CommitRanges func(ctx context.Context, claim Claim, done []Range) error
	// OnGap is told about a gap before anything behind it is delivered. An error
	// ends Run. It may be nil.
	OnGap func(ctx context.Context, g Gap) error

	Logger *slog.Logger // nil: nowhere
}

func (o *ConsumerOptions) fill() error {
	var errs []error
	if o.Group == "" {
		errs = append(errs, errors.New("no group"))
	}
	if len(o.Topics) == 0 {
		errs = append(errs, errors.New("no topics"))
	}
	if o.Handle == nil || o.Checkpoint == nil {
		errs = append(errs, errors.New("no Handle or no Checkpoint"))
	}
	if (o.Fence == nil) != (o.CommitRanges == nil) {
		errs = append(errs, errors.New("of Fence and CommitRanges only one"))
	}
	seen := make(map[string]bool)
	o.Topics = slices.Clone(o.Topics)
	for i := range o.Topics {
		s := &o.Topics[i]
		s.Start = cmp.Or(s.Start, Earliest)
		if s.Start != Earliest && s.Start != Latest {
			errs = append(errs, fmt.Errorf("start %q is not known; use earliest or latest", s.Start))
		}
		switch {
		case (s.Topic == "") == (s.Pattern == nil):
			errs = append(errs, errors.New("a subscription has a topic or a pattern, and not both"))
		case s.Topic != "" && seen[s.Topic]:
			errs = append(errs, fmt.Errorf("topic %s is named twice", s.Topic))
		}
		seen[s.Topic] = true
		if s.Pattern != nil {
			s.Pattern = regexp.MustCompile(`\A(?:` + s.Pattern.String() + `)\z`) // it has been compiled before
		}
	}
	o.Gap = cmp.Or(o.Gap, GapEarliest)
	if o.Gap != GapEarliest && o.Gap != GapStop {
		errs = append(errs, fmt.Errorf("gap policy %q is not known; use earliest or stop", o.Gap))
	}
	o.Session = cmp.Or(o.Session, 15*time.Second)
	o.Rebalance = cmp.Or(o.Rebalance, 30*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, time.Second)
	o.Drain = cmp.Or(o.Drain, min(5*time.Second, o.Rebalance/3))
	o.Commit = cmp.Or(o.Commit, time.Second)
	o.Watch = cmp.Or(o.Watch, 5*time.Second)
	o.Stuck = cmp.Or(o.Stuck, 5*time.Minute)
	o.MaxWait = cmp.Or(o.MaxWait, 250*time.Millisecond)
	o.Pace = cmp.Or(o.Pace, 10*time.Millisecond)
	o.PartitionBytes = cmp.Or(o.PartitionBytes, 1<<20)
	o.ResponseBytes = cmp.Or(o.ResponseBytes, 8<<20)
	o.HeldBytes = cmp.Or(o.HeldBytes, 64<<20)
	o.BatchRecords = cmp.Or(o.BatchRecords, 4000)
	o.BatchBytes = cmp.Or(o.BatchBytes, 1<<20)
	o.MaxBatchBytes = cmp.Or(o.MaxBatchBytes, 128<<20)
	o.InflatedBytes = cmp.Or(o.InflatedBytes, batch.DefaultInflatedBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(errs) > 0 {
		return fmt.Errorf("kafka consumer: %w", errors.Join(errs...))
	}
	return nil
}

// ErrLost is what Handle and CommitRanges return when they find that a partition
// belongs to somebody else by now. The consumer lets its partitions go and joins
// the group again.
var ErrLost = errors.New("the partition belongs to another member of the group")

// ErrStuck says that a batch was in hand for too long without a sign of life.
var ErrStuck = errors.New("a batch is stuck")

// Consumer is a member of a consumer group.
//
// Each partition it is given has one goroutine that calls Handle with one batch
// after another. So a partition never has two batches out, and what can be
// committed is simply the end of its last finished batch. One more goroutine
// commits for all of them, once a second and when partitions are taken away;
// and for each broker there is one that polls it, for all its partitions at once.
type Consumer struct {
	client    *Client
	o         ConsumerOptions
	transport *kafkago.Transport // while Run runs
	inflater  *batch.Inflater
	buffers   *fetch.Buffers
	desks     sync.Pool // *desk
	// counts are the partitions each topic had when Run began.
	counts map[string]int

	mu         sync.Mutex
	waiting    string // why there is no generation; empty if there is one
	generation *generation

	generations    atomic.Int64
	commitFailures atomic.Int64
	pollFailures   atomic.Int64
}

// desk is what it takes to read what a poll brought for one partition.
type desk struct {
	reader *batch.Reader
	chunk  batch.Chunk
	batch  Batch
}

// NewConsumer returns a consumer; Run makes it a member.
func (c *Client) NewConsumer(o ConsumerOptions) (*Consumer, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	k := &Consumer{client: c, o: o, inflater: batch.NewInflater(o.InflatedBytes), buffers: new(fetch.Buffers), waiting: "not started"}
	k.desks.New = func() any {
		r := batch.NewReader(k.inflater)
		r.MaxRecords, r.MaxBytes = o.BatchRecords, o.BatchBytes
		return &desk{reader: r}
	}
	return k, nil
}

// Run is a member of the group until ctx ends, a call of Handle, Checkpoint or
// OnGap fails, a batch is stuck, or the client is closed. It returns nil if ctx
// has ended, after the batches in hand are finished and committed and the group
// has been left.
//
// Brokers that are away, coordinators that move and topics that do not exist
// yet are waited for; [Consumer.Ready] tells about them.
func (k *Consumer) Run(ctx context.Context) error {
	defer k.wait("stopped")
	if err := k.awaitTopics(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	// No topics: leaders are asked for by ourselves, and requests name their broker.
	k.transport = k.client.transport([]string{})
	defer k.client.release(k.transport)
	member := group.New(group.Options{
		Send: k.client.over(k.transport), Client: k.client.config.ClientID,
		Group: k.o.Group, Instance: k.o.Instance,
		Topics: k.topics, Partitions: k.partitionCounts,
		Session: k.o.Session, Rebalance: k.o.Rebalance, Heartbeat: k.o.Heartbeat, Watch: k.o.Watch,
		Logger: k.o.Logger,
	})
	defer k.leave(ctx, member)
	return k.serve(ctx, member)
}

// topics returns the names of the topics to read now. Those that are named stay
// among them if they are gone for a moment.
func (k *Consumer) topics(ctx context.Context) ([]string, error) {
	var names []string
	var patterns []*Subscription
	for i := range k.o.Topics {
		if s := &k.o.Topics[i]; s.Pattern == nil {
			names = append(names, s.Topic)
		} else {
			patterns = append(patterns, s)
		}
	}
	if len(patterns) == 0 {
		return names, nil
	}
	all, err := k.client.AllTopics(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.Err == nil && !slices.Contains(names, t.Name) && slices.ContainsFunc(patterns, func(s *Subscription) bool { return s.covers(t.Name) }) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// subscription returns what a topic is read for: the one that names it, else the
// first whose pattern it matches.
func (k *Consumer) subscription(topic string) *Subscription {
	for _, named := range [...]bool{true, false} {
		for i := range k.o.Topics {
			if s := &k.o.Topics[i]; s.Pattern == nil == named && s.covers(topic) {
				return s
			}
		}
	}
	return &Subscription{Topic: topic, Start: Earliest} // the leader gave us what we did not ask for
}

// partitionCounts counts the partitions of topics; those that do not exist are
// left out.
func (k *Consumer) partitionCounts(ctx context.Context, names []string) (map[string]int32, error) {
	list, err := k.client.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int32)
	for _, t := range list {
		switch {
		case t.Err == nil && len(t.Leaders) > 0:
			counts[t.Name] = int32(len(t.Leaders))
		case t.Err != nil && !errors.Is(t.Err, ErrNoTopic):
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Err) // it may only be away for a moment
		}
	}
	return counts, nil
}

// awaitTopics waits until every topic that is named exists. The group would give
// nobody anything of one that is missing, without a word.
func (k *Consumer) awaitTopics(ctx context.Context) error {
	again := retry.Backoff{Base: 250 * time.Millisecond, Ceiling: 2 * time.Second}
	for {
		names, err := k.topics(ctx)
		var topics []Topic
		if err == nil {
			topics, err = k.client.Topics(ctx, names...)
		}
		var missing []string
		for _, t := range topics {
			switch {
			case errors.Is(t.Err, ErrNoTopic):
				missing = append(missing, t.Name)
			case t.Err != nil:
				err = fmt.Errorf("topic %s: %w", t.Name, t.Err)
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrClosed):
			return err
		case err != nil:
			// The transport's words are poor; the preflight's are not.
			if better := k.client.Preflight(ctx); better != nil {
				err = better
			}
			k.wait(err.Error())
		case len(missing) > 0:
			k.wait("no such topic: " + strings.Join(missing, ", ") + "; create it, Weir creates none")
		default:
			k.counts = make(map[string]int)
			for _, t := range topics {
				k.counts[t.Name] = len(t.Leaders)
			}
			k.wait("joining")
			return nil
		}
		if !retry.Pause(ctx, again.Next()) {
			return ctx.Err()
		}
	}
}

// serve goes from generation to generation.
func (k *Consumer) serve(ctx context.Context, member *group.Member) error {
	again := retry.Backoff{Base: 100 * time.Millisecond, Ceiling: time.Second}
	var before *generation
	for ctx.Err() == nil {
		gen, err := member.Join(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				gen.Release()
			}
			return nil
		case group.Fenced(err):
			return k.fenced(err)
		case errors.Is(err, ErrClosed):
			return err
		case err != nil:
			// Normal on a fresh cluster, while a coordinator moves and when a broker dies.
			if !errors.Is(err, kafkago.RebalanceInProgress) {
				k.wait(err.Error())
			}
			retry.Pause(ctx, again.Next())
			continue
		}
		again.Reset()
		g, err := k.begin(ctx, gen, before)
		if err != nil {
			gen.Release()
			before = nil
			if ctx.Err() == nil && gen.Err() == nil {
				k.wait(err.Error())
				retry.Pause(ctx, again.Next())
			}
			continue
		}
		k.enter(g)
		err = g.run(ctx)
		gen.Release()
		before = g
		switch {
		case errors.Is(err, ErrLost):
			k.o.Logger.Warn("a partition was lost to another member; joining again", "group", k.o.Group, "generation", gen.ID, "err", err)
		case err != nil:
			return err
		case group.Fenced(gen.Err()):
			return k.fenced(gen.Err())
		}
		if ctx.Err() == nil {
			k.wait("rebalancing")
		}
	}
	return nil
}

// fenced says why a member cannot come back.
func (k *Consumer) fenced(err error) error {
	return fmt.Errorf("group %s: another process has joined as instance %q; give each its own (%w)", k.o.Group, k.o.Instance, err)
}

// begin fences the partitions of a generation, if there is something to fence,
// and finds where to begin in each.
func (k *Consumer) begin(ctx context.Context, gen *group.Generation, before *generation) (*generation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a generation that is over fences nothing
		select {
		case <-gen.Ended():
			cancel()
		case <-ctx.Done():
		}
	}()
	if k.o.Fence != nil {
		errs := make([]error, len(gen.Partitions))
		var wg sync.WaitGroup
		for i, p := range gen.Partitions {
			wg.Go(func() { errs[i] = k.o.Fence(ctx, p.Topic, p.ID) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		before = nil // only what the group says counts: it knows which transactions came to pass
	}
	offsets, err := gen.Committed(ctx)
	if err != nil {
		return nil, err
	}
	k.generations.Add(1)
	return newGeneration(k, gen, offsets, before), nil
}

// leave leaves the group, so that others need not wait for us. Should that not
// work, the group misses us after the session timeout.
func (k *Consumer) leave(ctx context.Context, member *group.Member) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := member.Leave(ctx); err != nil && !errors.Is(err, ErrClosed) {
		k.o.Logger.Warn("leave consumer group", "group", k.o.Group, "err", err)
	}
}

// enter notes that a generation began.
func (k *Consumer) enter(g *generation) {
	k.mu.Lock()
	k.waiting, k.generation = "", g
	k.mu.Unlock()
	names := make([]string, len(g.partitions))
	for i, p := range g.partitions {
		names[i] = p.String()
	}
	k.o.Logger.Info("partitions assigned", "group", k.o.Group, "generation", g.gen.ID, "partitions", names)
}

// wait notes why there is no generation.
func (k *Consumer) wait(why string) {
	k.mu.Lock()
	changed := k.waiting != why
	k.waiting, k.generation = why, nil
	k.mu.Unlock()
	if changed {
		k.o.Logger.Info("no partitions", "group", k.o.Group, "why", why)
	}
}

// Ready returns nil while the consumer is a member of its group and every
// partition it was given can be read. Otherwise the error says in words what is
// not so.
func (k *Consumer) Ready() error {
	k.mu.Lock()
	why, g := k.waiting, k.generation
	k.mu.Unlock()
	if g == nil {
		return fmt.Errorf("group %s: no partitions assigned: %s", k.o.Group, why)
	}
	var errs []error
	if g.gen.Paused() {
		errs = append(errs, fmt.Errorf("group %s: its coordinator is silent; no batch is begun until it answers", k.o.Group))
	}
	for _, p := range g.partitions {
		if err := p.trouble(time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// PartitionState is how far the consumer has come in a partition.
type PartitionState struct {
	Topic     string
	Partition int32
	Next      int64 // the offset after the last finished batch; -1 before it is known
	End       int64 // where the readable part of the log ends; -1 before it is known
	Stopped   bool  // it will not be read on before an operator has decided
	// Behind is how old the oldest message is that is not finished, as far as it
	// was seen; 0 if all are.
	Behind time.Duration

	// Of a partition that is read in windows, of which Behind is 0:
	Windowed bool
	Due      int64         // how many of the offsets still to be read are due
	Late     time.Duration // for how long their window has been closed; 0 if it is open
}

// Lag returns how many offsets are still to be read, 0 if that is not known yet.
func (s PartitionState) Lag() int64 {
	if s.Next < 0 || s.End < s.Next {
		return 0
	}
	return s.End - s.Next
}

// Partitions returns the state of every partition assigned now.
func (k *Consumer) Partitions() []PartitionState {
	k.mu.Lock()
	g := k.generation
	k.mu.Unlock()
	if g == nil {
		return nil
	}
	states := make([]PartitionState, len(g.partitions))
	for i, p := range g.partitions {
		states[i] = p.state()
	}
	return states
}

// Stats counts what happened since the consumer was made.
type Stats struct {
	Generations    int64 // how often partitions were assigned
	CommitFailures int64
	PollFailures   int64
}

// Stats returns the counts.
func (k *Consumer) Stats() Stats {
	return Stats{k.generations.Load(), k.commitFailures.Load(), k.pollFailures.Load()}
}
