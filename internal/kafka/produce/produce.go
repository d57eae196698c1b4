// Package produce writes messages to Kafka: once each, in order, and it returns
// when all replicas in sync have them.
//
// A [Producer] is idempotent. It has an id with the brokers, and numbers what it
// writes to each partition; a batch whose fate is not known (the answer was
// lost, the leader moved, a replica was too slow) is sent again as it is, for as
// long as it takes, and a broker that has it already says so. A [Transactor]
// writes messages and the offsets of what they were made from together or not
// at all. What this package is not: it opens no connection; package wire's
// RoundTrip stands for all of them.
//
// The one thing to know: a partition has one batch under way at a time, and
// nothing overtakes it. Calls made meanwhile are gathered and go together: one
// request carries the batches of many callers and many partitions.
package produce

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Message is a message to be produced. A nil Key or Value stands for null.
type Message struct {
	Topic      string
	Key, Value []byte
	Headers    []batch.Header
	Time       time.Time // zero: now
	// Slot, if not 0, has the message go to the partition of that number, modulo how
	// many the topic has, whatever its key.
	Slot int64
}

// Options say what a Producer writes and how. A zero value stands for the
// default named beside it.
type Options struct {
	// Topics are all topics that will be written to.
	Topics []string
	// Compression is none, lz4 or zstd; lz4.
	Compression string
	// MaxMessageBytes is the largest message that is even tried, key, value and
	// headers together; 16 MiB. What a topic takes is decided by its
	// max.message.bytes, by Kafka's default 1,048,588. But a request above the
	// broker's socket.request.max.bytes is not refused, it is cut off.
	MaxMessageBytes int
	// BatchBytes is how much goes to one partition in one request; 900,000,
	// which a topic takes by default.
	BatchBytes int
	// MaxQueuedBytes is how much may wait to be acknowledged; 64 MiB. Further
	// calls wait until there is room.
	MaxQueuedBytes int
	// OnRetry is told whenever a batch must be sent again, and why. It may be
	// nil. It is called by many goroutines.
	OnRetry func(topic string, partition int32, err error)
	// OnTaken is told what all replicas in sync have of a topic now: one batch of so many
	// messages, so many bytes as it lies in Kafka. OnAnswer is told how long a broker
	// took to answer a request. They may be nil; they are called by many goroutines.
	OnTaken  func(topic string, messages, bytes int)
	OnAnswer func(took time.Duration)
	Logger   *slog.Logger // nil: nowhere
}

const (
	// requestBytes is about how much goes to one broker in one request.
	requestBytes = 4 << 20
	// maxThrottle bounds how long a broker's wish to be left alone is respected.
	maxThrottle = 30 * time.Second
	// stalledAfter is how long a partition must not have taken a batch until that
	// is a thing to log.
	stalledAfter = time.Second
	// goneAfter is how long a topic must not have been there until what waits for it
	// fails. A leader that moves hides it for a moment.
	goneAfter = 5 * time.Second
)

// Producer writes messages and returns when all replicas in sync have them. It
// may be used by many goroutines.
//
// The messages of one call to one partition keep their order, and are written
// once, however often they must be sent. The exception is a broker that has
// forgotten what it was sent: then a batch may be there twice. Weir's messages
// carry ids for that.
type Producer struct {
	o      Options
	send   wire.RoundTrip
	client string
	err    error // of the options; every call returns it
	ctx    context.Context
	cancel context.CancelFunc
	room   *semaphore.Weighted
	queued atomic.Int64 // bytes
	known  leaders
	turn   atomic.Uint32 // where messages without a key go; counts calls

	writers   shelf[*batch.Writer]
	parcels   shelf[*parcel]
	requests  sync.Pool // *request
	scratches sync.Pool // *scratch

	self self

	working  sync.WaitGroup
	mu       sync.Mutex
	closed   bool
	learning bool
	brokers  map[int32]*broker
}

// broker is what is to be sent to one broker.
type broker struct {
	id      int32
	ready   []*lane // with something to send, in the order in which they got it
	serving bool    // somebody sends it
}

// New returns a producer that reaches brokers by send and calls itself client.
// It connects with the first call of Produce.
func New(send wire.RoundTrip, client string, o Options) *Producer {
	o.Compression = cmp.Or(o.Compression, batch.LZ4.String())
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, 16<<20)
	o.BatchBytes = cmp.Or(o.BatchBytes, 900_000)
	o.MaxQueuedBytes = cmp.Or(o.MaxQueuedBytes, 64<<20)
	o.Topics = append([]string{}, o.Topics...)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Producer{o: o, send: send, client: client, brokers: make(map[int32]*broker)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.room = semaphore.NewWeighted(int64(o.MaxQueuedBytes))
	p.known.asking = make(chan struct{}, 1)
	p.self.asking = make(chan struct{}, 1)
	var codec batch.Codec
	switch o.Compression {
	case batch.None.String():
	case batch.LZ4.String():
		codec = batch.LZ4
	case batch.Zstd.String():
		codec = batch.Zstd
	default:
		p.err = fmt.Errorf("produce: compression %q is not known; use none, lz4 or zstd", o.Compression)
	}
	p.writers.fresh = func() *batch.Writer { return &batch.Writer{Codec: codec} }
	p.parcels.fresh = func() *parcel { return new(parcel) }
	p.requests.New = func() any { return new(request) }
	p.scratches.New = func() any { return new(scratch) }
	return p
}

// TooLargeError names messages that their topics can never take.
type TooLargeError struct {
	Index []int // into the messages of the call, ascending
}

// Error says how many they are.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d messages are larger than their topics take", len(e.Index))
}

// Queued returns about how many bytes wait to be acknowledged.
func (p *Producer) Queued() int64 { return p.queued.Load() }

// Close gives up on everything that is under way. Calls of Produce return
// [wire.ErrClosed].
func (p *Producer) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.working.Wait()
}

// Produce writes messages, to the partition their key hashes to or their slot
// names, and returns when all replicas in sync have them. Without either, the
// messages of a call go to one partition, those of the next call to another.
//
// It tries for as long as it takes and returns an error only for what waiting
// does not help: a topic that is not there, a right we do not have. After a
// [*TooLargeError] all messages but those it names are written. After any other
// error some may be written and others not, and all may be sent again. When ctx
// ends, Produce returns at once and says what it waited for; what was under way
// may still be written.
func (p *Producer) Produce(ctx context.Context, msgs []Message) error {
	if p.err != nil {
		return p.err
	}
	if err := ctx.Err(); err != nil || len(msgs) == 0 {
		return err
	}
	d := &delivery{done: make(chan struct{}), msgs: msgs, open: len(msgs)}
	if err := p.begin(ctx, d); err != nil {
		return err
	}
	select {
	case <-d.done:
		return d.result()
	case <-ctx.Done():
		return d.gaveUp(ctx.Err())
	}
}

// begin puts the messages of a call on their way when there is room.
func (p *Producer) begin(ctx context.Context, d *delivery) error {
	s := p.scratches.Get().(*scratch)
	defer p.scratches.Put(s)
	if err := p.sort(ctx, s, d); err != nil {
		return err
	}
	room := min(s.bytes, int64(p.o.MaxQueuedBytes))
	if err := p.room.Acquire(ctx, room); err != nil {
		return err
	}
	p.queued.Add(room)
	d.held, d.release = room, func(bytes int64) {
		p.queued.Add(-bytes)
		p.room.Release(bytes)
	}
	if d.open == 0 { // all too large
		close(d.done)
		return nil
	}
	err := p.enqueue(s.runs)
	if err != nil {
		d.leave(d.held)
	}
	clear(s.runs)
	return err
}

// enqueue puts the messages of a call on their lanes.
func (p *Producer) enqueue(runs []run) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return wire.ErrClosed
	}
	for i := range runs {
		l := runs[i].lane
		l.queue = append(l.queue, runs[i])
		if !l.busy {
			l.busy = true
			p.ready(l)
		}
	}
	return nil
}

// ready puts a lane that has something to send where somebody sends it. The mutex
// is held.
func (p *Producer) ready(l *lane) {
	id := l.leader.Load()
	b := p.brokers[id]
	if b == nil {
		b = &broker{id: id}
		p.brokers[id] = b
	}
	b.ready = append(b.ready, l)
	if !b.serving {
		b.serving = true
		p.working.Go(func() { p.serve(b) })
	}
}

// serve sends what is ready for a broker, request by request, until nothing is.
// Lanes that meet trouble go on by themselves: the others shall not wait for a
// replica that is slow or a leader that has moved.
func (p *Producer) serve(b *broker) {
	var lanes []*lane
	for {
		p.mu.Lock()
		lanes = append(lanes[:0], b.ready...)
		clear(b.ready)
		b.ready = b.ready[:0]
		b.serving = len(lanes) > 0
		for _, l := range lanes {
			l.take()
		}
		p.mu.Unlock()
		if len(lanes) == 0 {
			return
		}
		slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Compare(a.rank, b.rank) })
		throttle := p.batches(p.ctx, b.id, "", lanes)
		p.land(slices.DeleteFunc(lanes, func(l *lane) bool {
			if l.err == nil {
				return false
			}
			p.working.Go(func() { p.cure(l) })
			return true
		}))
		retry.Pause(p.ctx, min(throttle, maxThrottle))
	}
}

// land gives lanes back that are in no trouble: to their broker if they have
// more to send.
func (p *Producer) land(lanes []*lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range lanes {
		if l.holds() || len(l.queue) > 0 {
			p.ready(l)
		} else {
			l.busy = false
		}
	}
}

// cure sends the batch of one lane again and again, each time in a request of
// its own and to whoever leads the partition then, until its fate is known.
func (p *Producer) cure(l *lane) {
	began, told := time.Now(), false
	for try := 0; l.err != nil; try++ {
		failed := time.Now()
		l.worry(p)
		if p.o.OnRetry != nil {
			p.o.OnRetry(l.topic, l.partition, l.err)
		}
		if !told && failed.Sub(began) > stalledAfter {
			told = true
			p.o.Logger.Warn("output partition waits", "topic", l.topic, "partition", l.partition, "err", l.err)
		}
		if try > 0 {
			retry.Pause(p.ctx, retry.Jitter(20*time.Millisecond, time.Second, try))
		}
		if err := p.known.learn(p.ctx, p, failed); err != nil {
			l.err = err
		}
		if l.gone.Load() && time.Since(began) > goneAfter {
			l.fail(p, wire.ErrNoTopic)
			break
		}
		p.batches(p.ctx, l.leader.Load(), "", []*lane{l})
	}
	if told {
		p.o.Logger.Info("output partition goes on", "topic", l.topic, "partition", l.partition, "waited", time.Since(began).Round(time.Millisecond))
	}
	p.land([]*lane{l})
}

// learnAside asks about the topics while calls go on with what is known.
func (p *Producer) learnAside() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.learning {
		return
	}
	p.learning = true
	p.working.Go(func() {
		_ = p.known.learn(p.ctx, p, time.Now()) // what is known is good enough
		p.mu.Lock()
		p.learning = false
		p.mu.Unlock()
	})
}

// batches sends one batch of each of some lanes, sorted by rank, in one request
// to their leader, and deals with the answers. Afterwards err of each lane says
// whether its batch must be sent again. It returns how long the broker wishes to
// be left alone.
func (p *Producer) batches(ctx context.Context, leader int32, transaction string, lanes []*lane) time.Duration {
	now := time.Now().UnixMilli()
	var nobody error // why there is no identity to be had
	q := p.requests.Get().(*request)
	q.lanes = q.lanes[:0]
	size := 0
	for _, l := range lanes {
		if err := ctx.Err(); err != nil {
			l.fail(p, p.why(err))
			continue
		}
		if size > requestBytes {
			break // the others have their turn in the next
		}
		l.err = nil
		if l.by == nil && nobody != nil {
			l.err = nobody
			continue
		}
		if err := l.load(ctx, p, now); err != nil {
			l.stumble(p, err)
			nobody = l.err
			continue
		}
		if l.parcel != nil {
			q.lanes = append(q.lanes, l)
			size += len(l.parcel.bytes)
		}
	}
	if len(q.lanes) == 0 {
		p.requests.Put(q)
		return 0
	}
	q.encode(p.client, transaction, leader)
	// A large request on a slow line may take longer: a second for each mebibyte.
	limit := wire.Timeout + time.Duration(q.size>>20)*time.Second
	began := time.Now()
	r, err := p.send(ctx, limit, q)
	if err != nil {
		// The connection may still be reading the request: it is not used again.
		for _, l := range q.lanes {
			l.failed(err)
		}
		return 0
	}
	if p.o.OnAnswer != nil {
		p.o.OnAnswer(time.Since(began))
	}
	a := r.(*answer)
	for _, l := range q.lanes {
		if code, ok := a.code(l); ok {
			l.answered(p, code)
		} else {
			l.failed(errSilent)
		}
	}
	clear(q.lanes)
	clear(q.pieces)
	clear(q.writes)
	p.requests.Put(q)
	return a.throttle
}

// why returns what a context that has ended stands for.
func (p *Producer) why(err error) error {
	if p.ctx.Err() != nil {
		return wire.ErrClosed
	}
	return err
}
