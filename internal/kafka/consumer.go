package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
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

// Subscription is a topic to read.
type Subscription struct {
	Topic string
	Start Start
}

// ConsumerOptions say what a Consumer reads and how. A zero value of a duration
// or a size stands for the default named beside it.
type ConsumerOptions struct {
	Group           string
	Topics          []Subscription
	Gap             GapPolicy // earliest
	ReadUncommitted bool      // see also what transactions wrote that are open or were aborted

	Session   time.Duration // 10 s: after this long without a heartbeat the group takes our partitions away
	Rebalance time.Duration // 30 s: how long the group waits for its members; make it equal in all of them
	Heartbeat time.Duration // 1 s
	Drain     time.Duration // the least of 5 s, a third of Rebalance and half of Session: how long a batch in hand may take when partitions are taken away
	Commit    time.Duration // 1 s
	Watch     time.Duration // 5 s: how often to look for partitions that were added

	MaxWait        time.Duration // 250 ms: how long an idle poll waits at the broker
	Pace           time.Duration // 10 ms: the least time between polls that bring little
	PartitionBytes int           // 1 MiB: of compressed batches, in one poll
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
	seen := make(map[string]bool)
	o.Topics = slices.Clone(o.Topics)
	for i := range o.Topics {
		s := &o.Topics[i]
		s.Start = cmp.Or(s.Start, Earliest)
		if s.Start != Earliest && s.Start != Latest {
			errs = append(errs, fmt.Errorf("start %q is not known; use earliest or latest", s.Start))
		}
		if seen[s.Topic] {
			errs = append(errs, fmt.Errorf("topic %s is named twice", s.Topic))
		}
		seen[s.Topic] = true
	}
	o.Gap = cmp.Or(o.Gap, GapEarliest)
	if o.Gap != GapEarliest && o.Gap != GapStop {
		errs = append(errs, fmt.Errorf("gap policy %q is not known; use earliest or stop", o.Gap))
	}
	o.Session = cmp.Or(o.Session, 10*time.Second)
	o.Rebalance = cmp.Or(o.Rebalance, 30*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, time.Second)
	o.Drain = cmp.Or(o.Drain, min(5*time.Second, o.Rebalance/3, o.Session/2))
	o.Commit = cmp.Or(o.Commit, time.Second)
	o.Watch = cmp.Or(o.Watch, 5*time.Second)
	o.MaxWait = cmp.Or(o.MaxWait, 250*time.Millisecond)
	o.Pace = cmp.Or(o.Pace, 10*time.Millisecond)
	o.PartitionBytes = cmp.Or(o.PartitionBytes, 1<<20)
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

// Consumer is a member of a consumer group.
//
// Each partition it is given has one goroutine: poll, call Handle, poll again.
// So a partition never has two batches out, and what can be committed is simply
// the end of its last finished batch. One more goroutine commits for all of
// them, once a second and when partitions are taken away.
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

// desk is what one poll needs to be read.
type desk struct {
	reader *batch.Reader
	chunk  batch.Chunk
	parts  []fetch.PartAnswer
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
// OnGap fails, or the client is closed. It returns nil if ctx has ended, after
// the batches in hand are finished and committed and the group has been left.
//
// Brokers that are away, coordinators that move and topics that do not exist
// yet are waited for; [Consumer.Ready] tells about them.
func (k *Consumer) Run(ctx context.Context) error {
	topics := make([]string, len(k.o.Topics))
	for i := range k.o.Topics {
		topics[i] = k.o.Topics[i].Topic
	}
	defer k.wait("stopped")
	if err := k.awaitTopics(ctx, topics); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	k.transport = k.client.transport(topics)
	defer k.client.release(k.transport)

	// The group's own connections can be cut without those of the client.
	l := newLine(k.client.line.dial)
	dialer := *k.client.dialer
	dialer.DialFunc = l.dial
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                     k.o.Group,
		Brokers:                k.client.config.Brokers,
		Dialer:                 &dialer,
		Topics:                 topics,
		HeartbeatInterval:      k.o.Heartbeat,
		SessionTimeout:         k.o.Session,
		RebalanceTimeout:       k.o.Rebalance,
		JoinGroupBackoff:       time.Second,
		Timeout:                requestTimeout,
		WatchPartitionChanges:  true,
		PartitionWatchInterval: k.o.Watch,
		StartOffset:            kafkago.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("kafka consumer: %w", err)
	}
	defer k.leave(group, l)
	return k.serve(ctx, group)
}

// awaitTopics waits until every topic exists. kafka-go's group would otherwise
// give nobody anything as long as one is missing, without a word.
func (k *Consumer) awaitTopics(ctx context.Context, names []string) error {
	again := backoff{base: 250 * time.Millisecond, ceiling: 2 * time.Second}
	for {
		topics, err := k.client.Topics(ctx, names...)
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
				k.counts[t.Name] = t.Partitions
			}
			k.wait("joining")
			return nil
		}
		if !pause(ctx, again.next()) {
			return ctx.Err()
		}
	}
}

// serve goes from generation to generation.
func (k *Consumer) serve(ctx context.Context, group *kafkago.ConsumerGroup) error {
	for {
		gen, err := group.Next(ctx)
		if ctx.Err() != nil {
			// A generation may have come at the same moment; leave ends it.
			return nil
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		if err != nil {
			// Normal on a fresh cluster, while a coordinator moves and when a broker
			// dies. The group itself waits a second before it tries again.
			if !errors.Is(err, kafkago.RebalanceInProgress) {
				k.wait(err.Error())
			}
			continue
		}
		k.generations.Add(1)
		g := newGeneration(k, gen)
		k.enter(g)
		gen.Start(func(ended context.Context) { g.run(ctx, ended) })
		<-g.finished
		if g.err != nil || ctx.Err() != nil {
			return g.err
		}
		k.wait("rebalancing")
	}
}

// leave leaves the group. A join under way cannot be interrupted and may wait
// for other members for as long as a rebalance takes, so it is cut off; the
// group then misses us after the session timeout.
func (k *Consumer) leave(group *kafkago.ConsumerGroup, l *line) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		if err := group.Close(); err != nil {
			k.o.Logger.Warn("leave consumer group", "group", k.o.Group, "err", err)
		}
	}()
	t := time.NewTimer(requestTimeout)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
		l.cut()
		<-left
	}
}

// enter notes that a generation began.
func (k *Consumer) enter(g *generation) {
	k.mu.Lock()
	k.waiting, k.generation = "", g
	k.mu.Unlock()
	var names []string
	for _, p := range g.partitions {
		names = append(names, p.name())
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
	for _, p := range g.partitions {
		if err := p.trouble(time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name(), err))
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
		states[i] = PartitionState{p.topic, p.id, p.next.Load(), p.end.Load(), p.stopped.Load()}
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
