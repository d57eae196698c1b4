package anchor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// Publisher writes the signed heads of a log to a topic, the newest whenever one
// is waiting: a topic that is slow or away gets fewer heads, and holds up nothing.
type Publisher struct {
	topic    string
	producer *produce.Producer
	limit    time.Duration
	log      *slog.Logger
	now      func() time.Time
	metrics  *Metrics

	timeout, patience time.Duration

	evidence *evidence.Log // set by Attach

	mu      sync.Mutex
	waiting []byte    // the newest head that is not published
	since   time.Time // when the oldest head came that is not published; zero if all are
	behind  time.Time // when the first head came after the one under way
	last    time.Time // when one was published last; zero if none was yet
	sent    [][]byte  // the last heads that were given to the brokers
	wake    chan struct{}
}

// PublisherOptions says where heads go. All but Limit and Now are required.
type PublisherOptions struct {
	Client *kafka.Client
	Topic  string
	Limit  time.Duration // after so long without publishing the log is broken; 0 for never
	Logger *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// NewPublisher returns a publisher. Take may be called at once, Run after Attach.
func NewPublisher(o PublisherOptions) *Publisher {
	p := &Publisher{topic: o.Topic, limit: o.Limit, log: o.Logger, now: o.Now, wake: make(chan struct{}, 1),
		timeout: publishTimeout, patience: publishPatience,
		producer: o.Client.NewProducer(produce.Options{Topics: []string{o.Topic}})}
	if p.now == nil {
		p.now = time.Now
	}
	return p
}

// Attach names the log whose heads are published, and the metrics.
func (p *Publisher) Attach(log *evidence.Log, m *Metrics) { p.evidence, p.metrics = log, m }

// Take takes a signed head, for [evidence.Options].OnCheckpoint. It does not wait.
func (p *Publisher) Take(checkpoint []byte) {
	p.mu.Lock()
	now := p.now()
	p.waiting = checkpoint
	if p.since.IsZero() {
		p.since = now
	}
	if p.behind.IsZero() {
		p.behind = now
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// Waiting returns for how long the oldest head that is not published has waited.
func (p *Publisher) Waiting() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return 0
	}
	return max(0, p.now().Sub(p.since))
}

// Last returns when this process last published a head; zero if it has not yet.
func (p *Publisher) Last() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// publishTimeout is how long one attempt may take, publishPatience how long to
// wait before the next.
const (
	publishTimeout  = 3 * time.Second
	publishPatience = time.Second
)

// Run publishes until ctx ends. Its error is that the log was broken, because
// nothing could be published for longer than the limit.
//
// If the process dies while a head is under way it is there or not; the next
// start publishes it again, or a later one.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		for said := false; ; said = true {
			err := p.publish(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			p.metrics.publishErrors.Inc()
			if !said {
				p.log.Warn("cannot publish the head of the evidence log; records are taken all the same; trying again", "topic", p.topic, "err", err)
			}
			if w := p.Waiting(); p.limit > 0 && w > p.limit {
				return p.evidence.Break(fmt.Errorf("no signed head could be published on topic %s for %v, and anchors.unpublished_limit is %v: %w",
					p.topic, w.Round(time.Second), p.limit, err))
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(p.patience):
			}
		}
	}
}

// publish writes the newest head that waits, if one does.
func (p *Publisher) publish(ctx context.Context) error {
	p.mu.Lock()
	head := p.waiting
	if head != nil {
		p.behind = time.Time{}
		// Before it is there: whoever reads the topic must know it for ours.
		if len(p.sent) == 0 || string(p.sent[len(p.sent)-1]) != string(head) {
			p.sent = append(p.sent[max(0, len(p.sent)-maxSent):], head)
		}
	}
	p.mu.Unlock()
	if head == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err := p.producer.Produce(limited, []produce.Message{message(p.topic, p.evidence.Origin(), p.evidence.VerifierKey(), head)})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = p.now()
	p.since = p.behind // zero if none came meanwhile
	if p.behind.IsZero() {
		p.waiting = nil
	}
	return nil
}

// maxSent is how many of the last heads are remembered.
const maxSent = 64

// hasSent reports whether a head is one of the last that this process published.
func (p *Publisher) hasSent(checkpoint []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, msg := range p.sent {
		if string(msg) == string(checkpoint) {
			return true
		}
	}
	return false
}

// flushPatience is how long the end of a process waits for the topic.
const flushPatience = 3 * time.Second

// Flush publishes what still waits, once Run has returned and the log is closed:
// the head that closing has signed. A topic that is away does not hold up the end;
// the next start publishes the head.
func (p *Publisher) Flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushPatience)
	defer cancel()
	for p.Waiting() > 0 || p.pending() {
		err := p.publish(ctx)
		if err == nil {
			continue
		}
		if !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(publishPatience / 4):
				continue
			}
		}
		p.log.Warn("the last head of the evidence log is not published; the next start will do it", "topic", p.topic, "err", err)
		return
	}
}

func (p *Publisher) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting != nil
}
