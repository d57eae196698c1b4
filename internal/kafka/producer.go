package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// ProducerOptions say what a Producer writes and how. A zero value stands for
// the default named beside it.
type ProducerOptions struct {
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
}

const (
	// brokerTimeout is how long a broker may wait for its replicas; it has to
	// answer before we give up.
	brokerTimeout = 2 * time.Second
	// requestBytes is about how much goes to one broker in one request.
	requestBytes = 4 << 20
)

// Producer writes messages and returns when all replicas in sync have them. It
// may be used by many goroutines.
//
// Calls made while requests are under way are gathered and go together in the
// next round: one request per broker carries the batches of many callers and
// many partitions. The messages of one call to one partition keep their order.
//
// It is not idempotent yet: when an answer is lost, the caller sends again, and
// the topic has the messages twice. Weir's messages carry ids for that.
type Producer struct {
	client    *Client
	transport *kafkago.Transport
	o         ProducerOptions
	err       error     // of the options; every call returns it
	wires     sync.Pool // *wires
	turn      uint32    // where messages without a key go; counts calls

	mu      sync.Mutex
	pending []*delivery
	running bool
}

// NewProducer returns a producer. It connects with the first call of Produce.
func (c *Client) NewProducer(o ProducerOptions) *Producer {
	o.Compression = cmp.Or(o.Compression, batch.LZ4.String())
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, 16<<20)
	o.BatchBytes = cmp.Or(o.BatchBytes, 900_000)
	o.Topics = append([]string{}, o.Topics...)
	p := &Producer{client: c, o: o, transport: c.transport(o.Topics)}
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
	p.wires.New = func() any { return &wires{batch: &batch.Writer{Codec: codec}} }
	return p
}

// TooLargeError names messages that their topics can never take. All others of
// the call have been written.
type TooLargeError struct {
	Index []int // into the messages of the call, ascending
}

// Error says how many they are.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d messages are larger than their topics take", len(e.Index))
}

// delivery is one call of Produce.
type delivery struct {
	done  chan struct{} // closed when every message has met its fate
	count int           // messages

	mu    sync.Mutex
	msgs  []Message // nil once the caller has gone: its bytes are not ours any more
	open  int       // messages that have not met their fate
	err   error
	large []int
}

// settle notes the fate of n messages.
func (d *delivery) settle(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.err == nil {
		d.err = err
	}
	if d.open -= n; d.open == 0 {
		close(d.done)
	}
}

// refuse notes that a message is too large.
func (d *delivery) refuse(i int) {
	d.mu.Lock()
	d.large = append(d.large, i)
	d.mu.Unlock()
	d.settle(1, nil)
}

// Produce writes messages, to the partition their key hashes to, and returns
// when all replicas in sync have them. Without a key, the messages of a call go
// to one partition, those of the next call to another.
//
// After a [*TooLargeError] all messages but those it names are written. After
// any other error some may be written and others not, and all may be sent
// again. When ctx ends, Produce returns at once; what was under way may still
// be written.
func (p *Producer) Produce(ctx context.Context, msgs []Message) error {
	if p.err != nil {
		return p.err
	}
	for i := range msgs {
		if !slices.Contains(p.o.Topics, msgs[i].Topic) {
			return fmt.Errorf("produce: topic %q is not one of this producer's", msgs[i].Topic)
		}
	}
	if err := ctx.Err(); err != nil || len(msgs) == 0 {
		return err
	}
	d := &delivery{done: make(chan struct{}), count: len(msgs), msgs: msgs, open: len(msgs)}
	if err := p.enqueue(d); err != nil {
		return err
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		d.mu.Lock()
		d.msgs = nil
		d.mu.Unlock()
		return ctx.Err()
	}
	if d.err != nil {
		return d.err
	}
	if len(d.large) > 0 {
		slices.Sort(d.large)
		return &TooLargeError{d.large}
	}
	return nil
}

// enqueue puts a call into the next round. If none is under way it starts a
// goroutine for rounds, which ends when there is nothing left to do.
func (p *Producer) enqueue(d *delivery) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		if !p.client.work() {
			return ErrClosed
		}
		p.running = true
		go p.rounds()
	}
	p.pending = append(p.pending, d)
	return nil
}

func (p *Producer) rounds() {
	defer p.client.working.Done()
	for {
		p.mu.Lock()
		calls := p.pending
		p.pending = nil
		p.running = len(calls) > 0
		p.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		p.round(p.client.ctx, calls)
	}
}

// round delivers calls, to all brokers at once and to each request by request.
// Its context is the client's: a caller that gives up must not take the others
// of its round along.
func (p *Producer) round(ctx context.Context, calls []*delivery) {
	lanes, err := p.sort(ctx, calls)
	if err != nil {
		for _, d := range calls {
			d.settle(d.count, fmt.Errorf("produce: %w", err))
		}
		return
	}
	var wg sync.WaitGroup
	for _, some := range byLeader(lanes) {
		wg.Go(func() { p.serve(ctx, some[0].leader, some) })
	}
	wg.Wait()
}
