// Package ingest is where messages come in: it reads the topics of events as a
// member of a consumer group and hands their batches to the pipeline.
//
// It is a thin adapter between [kafka.Consumer] and [pipeline.Source]: it knows
// which topic carries which kind of event, and counts. What it is not: it looks
// into no message.
//
// The one thing to know: nothing is copied on the way. The records it hands on
// point into what the broker sent, and are gone when Handle returns.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Source reads events from Kafka. It is a [pipeline.Source].
type Source struct {
	consumer *kafka.Consumer
	err      error // why there is no consumer
	config   Config
	streams  sync.Map         // by the topic's name, *Stream: what was looked up before
	handler  pipeline.Handler // while Run runs
	slabs    sync.Pool        // *slab
	claimed  bool             // batches bear their claim
	onGap    func(ctx context.Context, gap pipeline.Range) error
	metrics  *metrics
	log      *slog.Logger
}

// Options are the surroundings of a Source.
type Options struct {
	// Fence and Commit, both or none, make batches bear their claim: who writes what
	// they leave behind commits their offsets with it. Fence is called for every
	// partition that was assigned, before it is known where to begin; Commit for
	// what left nothing behind, after its checkpoint.
	Fence  func(ctx context.Context, topic string, partition int32) error
	Commit func(ctx context.Context, c pipeline.Claim, done []pipeline.Range) error
	// OnGap records messages that were deleted before they were read, before
	// anything behind them is delivered. An error ends Run. It may be nil.
	OnGap      func(ctx context.Context, gap pipeline.Range) error
	Logger     *slog.Logger          // nil: nowhere
	Registerer prometheus.Registerer // nil: nowhere
}

// NewSource returns a source. It joins its group when Run is called.
func NewSource(client *kafka.Client, c Config, o Options) *Source {
	s := &Source{config: c, onGap: o.OnGap, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.slabs.New = func() any { return &slab{names: make(map[string]string)} }
	options := kafka.ConsumerOptions{
		Group:           c.Group,
		Instance:        c.GroupInstance,
		Gap:             c.OnGap,
		ReadUncommitted: c.ReadUncommitted,
		Session:         c.SessionTimeout,
		Rebalance:       c.RebalanceTimeout,
		Drain:           c.DrainTimeout,
		Stuck:           c.StuckTimeout,
		MaxWait:         c.MaxWait,
		Pace:            c.Pace,
		Handle:          s.handle,
		Checkpoint:      s.checkpoint,
		OnGap:           s.gap,
		Logger:          o.Logger,
	}
	if s.claimed = o.Fence != nil; s.claimed {
		options.Fence = o.Fence
		options.Pace = max(options.Pace, transactionPace)
		options.CommitRanges = func(ctx context.Context, c kafka.Claim, done []kafka.Range) error {
			return mine(o.Commit(ctx, pipeline.Claim(c), rangesOf(done)))
		}
	}
	if s.err = c.Validate(); s.err == nil {
		options.Topics = c.subscriptions()
		s.consumer, s.err = client.NewConsumer(options)
	}
	s.metrics = newMetrics(o.Registerer, s.consumer, c.streams())
	return s
}

// Run reads until ctx ends and hands every batch to h. It may be called again
// after it has returned.
func (s *Source) Run(ctx context.Context, h pipeline.Handler) error {
	if s.err != nil {
		return s.err
	}
	s.handler = h
	return s.consumer.Run(ctx)
}

// Ready returns nil while partitions are assigned, if only none because others
// have them all, and every assigned partition can be read. Otherwise the error
// says in words what is not so.
func (s *Source) Ready() error {
	if s.err != nil {
		return s.err
	}
	return s.consumer.Ready()
}

// Partitions returns how far the source has come in each partition it reads now.
func (s *Source) Partitions() []kafka.PartitionState {
	if s.consumer == nil {
		return nil
	}
	return s.consumer.Partitions()
}

// stream is a topic that is read.
type stream struct {
	name     string // in metrics
	kind     event.Kind
	format   *event.Format
	deferred bool
	headers  int       // how many a message may have
	unkeyed  sync.Once // it was said that messages have no key
}

// stream looks up what a topic carries. New ones appear while we run, by
// patterns; each is looked up once.
func (s *Source) stream(topic string) (*stream, error) {
	if known, ok := s.streams.Load(topic); ok {
		return known.(*stream), nil
	}
	t, ok := s.config.Stream(topic)
	if !ok {
		// The member that leads the group reads other topics than we do.
		return nil, fmt.Errorf("the group gave us the topic %s, which the section input does not name; give all members of the group the same topics", topic)
	}
	format, err := t.Topic.Format(t.Kind)
	if err != nil {
		return nil, err // Validate has found none
	}
	known, _ := s.streams.LoadOrStore(topic, &stream{name: t.name(), kind: t.Kind, format: format, deferred: t.Deferred, headers: t.maxHeaders()})
	return known.(*stream), nil
}

// handle hands a batch on.
func (s *Source) handle(ctx context.Context, b *kafka.Batch) error {
	stream, err := s.stream(b.Topic)
	if err != nil {
		return err
	}
	l := s.slabs.Get().(*slab)
	defer func() {
		l.reset()
		s.slabs.Put(l)
	}()
	corrupt := l.fill(b, stream.kind, stream.format, stream.headers)
	if stream.deferred {
		corrupt += s.recall(l)
	}
	if s.claimed {
		claim := pipeline.Claim(b.Claim)
		l.batch.Claim = &claim
	}
	l.batch.Alive = b.Alive
	if err := s.handler.Handle(ctx, &l.batch); err != nil {
		return mine(err)
	}
	if stream.kind == event.Push && !stream.deferred {
		s.unkeyed(stream, &l.batch)
	}
	s.metrics.fetched(stream.name, len(b.Records)-corrupt, corrupt, b.Skipped)
	return nil
}

// recall finds out of each deferred push where it first came from and how it is
// written, and returns how many do not say. Their headers are believed: only Weir
// writes to the topic.
func (s *Source) recall(l *slab) int {
	lost := 0
	for i := range l.batch.Records {
		r := &l.batch.Records[i]
		if r.Corrupt != "" {
			continue
		}
		past, ok := deferral.ReadPast(r.Headers)
		var from *stream
		if ok {
			var err error
			from, err = s.stream(past.Topic)
			ok = err == nil && from.kind == event.Push && !from.deferred
		}
		if !ok {
			r.Corrupt = pipeline.ReasonOrigin
			lost++
			continue
		}
		r.Past, r.Format = &past, from.format
	}
	return lost
}

// unkeyed counts pushes without a key and says so once for each topic. They are
// judged all the same: what is allowed is exact, but who comes first is not.
func (s *Source) unkeyed(of *stream, b *pipeline.Batch) {
	n := 0
	for i := range b.Records {
		// Some clients spread empty keys over all partitions, as if there were none.
		if r := &b.Records[i]; len(r.Key) == 0 && r.Corrupt == "" {
			n++
		}
	}
	if n == 0 {
		return
	}
	s.metrics.unkeyed.Add(float64(n))
	of.unkeyed.Do(func() {
		s.log.Warn("pushes come without a key: two partitions may decide about one user at once, and in another order than they were sent; produce them with the user's id as key",
			"topic", b.Topic, "partition", b.Partition)
	})
}

// transactionPace is the least pace where each batch that leaves something behind
// takes a transaction: one each takes ten milliseconds, and back to back they wait
// for one another.
const transactionPace = 100 * time.Millisecond

// mine says of a lost partition that it is lost in the consumer's words.
func mine(err error) error {
	if errors.Is(err, pipeline.ErrLost) {
		return fmt.Errorf("%w: %w", kafka.ErrLost, err)
	}
	return err
}

func (s *Source) checkpoint(ctx context.Context, done []kafka.Range) error {
	return s.handler.Checkpoint(ctx, rangesOf(done))
}

func rangesOf(done []kafka.Range) []pipeline.Range {
	ranges := make([]pipeline.Range, len(done))
	for i, r := range done {
		ranges[i] = pipeline.Range(r)
	}
	return ranges
}

// gap counts messages that were deleted before they were read and has them
// recorded. The consumer logs where.
func (s *Source) gap(ctx context.Context, g kafka.Gap) error {
	stream, err := s.stream(g.Topic)
	if err != nil {
		return err
	}
	if s.onGap != nil {
		if err := s.onGap(ctx, pipeline.Range(g)); err != nil {
			return err
		}
	}
	s.metrics.gap(stream.name, g.Next-g.First)
	return nil
}

// slab is the memory of one batch. It is used again when the batch is handled.
type slab struct {
	batch   pipeline.Batch
	headers []event.Header
	// names holds the header names seen, so that the few that all messages have
	// are made once and not for each of them.
	names map[string]string
}

// maxNames bounds the names a slab remembers; a producer may make up new ones
// for ever.
const maxNames = 256

// maxPooled bounds the headers a slab keeps room for between batches.
const maxPooled = 32 << 10

// fill makes the pipeline's batch of the consumer's and returns how many
// records of it are corrupt, those with more headers than most among them.
func (l *slab) fill(b *kafka.Batch, kind event.Kind, format *event.Format, most int) int {
	records := l.batch.Records[:0]
	corrupt := 0
	for i := range b.Records {
		from := &b.Records[i]
		r := pipeline.Record{Offset: from.Offset, Key: from.Key, Value: from.Value}
		if from.Time >= 0 {
			r.Time = time.UnixMilli(from.Time)
		}
		if from.Corrupt != "" {
			r.Corrupt = pipeline.Reason(from.Corrupt)
			corrupt++
		}
		switch n := from.HeaderCount(); {
		case n > most && r.Corrupt == "":
			r.Corrupt = pipeline.ReasonHeaders
			corrupt++
		case n > 0 && r.Corrupt == "":
			first := len(l.headers)
			for k, v := range from.Headers {
				l.headers = append(l.headers, event.Header{Key: l.name(k), Value: v})
			}
			r.Headers = l.headers[first:len(l.headers):len(l.headers)]
		}
		records = append(records, r)
	}
	l.batch = pipeline.Batch{
		Kind: kind, Format: format, Topic: b.Topic, Partition: b.Partition,
		First: b.First, Next: b.Next, Records: records, Skipped: b.Skipped,
	}
	return corrupt
}

func (l *slab) name(b []byte) string {
	if s, ok := l.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(l.names) < maxNames && len(s) <= 64 {
		l.names[s] = s
	}
	return s
}

// reset lets go of what the batch pointed to.
func (l *slab) reset() {
	clear(l.batch.Records)
	clear(l.headers)
	if l.headers = l.headers[:0]; cap(l.headers) > maxPooled {
		l.headers = nil // one unusual batch must not cost its memory for ever
	}
}
