package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/rules"
)

// Receipt says what an instance has in force, and what it last refused. Its key is source/instance,
// so a compacted topic holds one of each.
type Receipt struct {
	Source   string `json:"source"`
	Instance string `json:"instance"`
	Build    string `json:"build,omitempty"`
	// Rules and Bundle are the digests of what is in force: of what decides, and of the text.
	Rules  string `json:"rules"`
	Bundle string `json:"bundle"`
	Policy string `json:"policy,omitempty"`
	Since  string `json:"since"` // when it came into force, RFC 3339
	// InShadow are rules that are in shadow there, whatever their packs say.
	InShadow []string `json:"in_shadow,omitempty"`
	// Refused is what was not taken up after that; absent when nothing was.
	Refused *Refusal `json:"refused,omitempty"`
	// Seen is when the receipt was published, by its message.
	Seen time.Time `json:"-"`
}

// Refusal says why a change was not taken up.
type Refusal struct {
	Bundle string `json:"bundle,omitempty"` // digest of the text; absent where there is none
	Why    string `json:"why"`              // at most some thousand bytes of it; the log has all
	Time   string `json:"time"`
}

// maxWhy is how much a receipt says of what is wrong, in bytes: of a thousand faults the first tell
// enough, and a topic does not take a message without end.
const maxWhy = 4000

func newRefusal(b *rules.Bundle, err error) *Refusal {
	r := &Refusal{Why: err.Error(), Time: time.Now().UTC().Format(time.RFC3339Nano)}
	if b != nil {
		r.Bundle = b.Digest()
	}
	if len(r.Why) > maxWhy {
		n := maxWhy
		for !utf8.RuneStart(r.Why[n]) {
			n--
		}
		r.Why = r.Why[:n] + " …"
	}
	return r
}

// Key returns the key of the receipt.
func (r *Receipt) Key() string { return r.Source + "/" + r.Instance }

// An instance publishes its receipt whenever it changes, and each receiptInterval. One that has
// not been heard of for SilentAfter is gone.
const (
	receiptInterval = time.Hour
	SilentAfter     = 24 * time.Hour
)

// Silent reports whether the instance has not been heard of for long.
func (r *Receipt) Silent(now time.Time) bool { return now.Sub(r.Seen) > SilentAfter }

// receipts publishes the newest receipt of this instance, again and again until it is there.
type receipts struct {
	producer *produce.Producer
	topic    string
	log      *slog.Logger
	failed   prometheus.Counter
	interval time.Duration // after which a receipt is published again

	mu     sync.Mutex
	newest *Receipt
	wake   chan struct{}
}

func newReceipts(c *kafka.Client, topic string, log *slog.Logger, reg prometheus.Registerer) *receipts {
	r := &receipts{topic: topic, log: log, wake: make(chan struct{}, 1), interval: receiptInterval,
		producer: c.NewProducer(produce.Options{Topics: []string{topic}}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_ruleset_receipt_errors_total", Help: "Attempts to publish what is in force that failed."})}
	reg.MustRegister(r.failed)
	return r
}

// publish sets the receipt to be published. It does not wait.
func (r *receipts) publish(receipt Receipt) {
	r.mu.Lock()
	r.newest = &receipt
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

// receiptTimeout is how long one attempt may take. A newer receipt may have come meanwhile.
const receiptTimeout = 3 * time.Second

// receiptPatience is how long to wait before the next attempt.
const receiptPatience = time.Second

// run publishes until ctx ends. A receipt that is not there yet when the process ends is lost: it says
// what is in force, and then nothing is.
func (r *receipts) run(ctx context.Context) error {
	again := time.NewTicker(r.interval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-again.C: // the first comes long after start has set a receipt
		}
		for said := false; ; said = true {
			r.mu.Lock()
			receipt := r.newest
			r.mu.Unlock()
			err := r.write(ctx, receipt)
			if err == nil || ctx.Err() != nil {
				break
			}
			r.failed.Inc()
			if !said {
				r.log.Warn("cannot publish what is in force; trying again", "topic", r.topic, "err", err)
			}
			if _, ok := errors.AsType[*produce.TooLargeError](err); ok {
				break // no other try makes it smaller
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(receiptPatience):
			}
		}
	}
}

func (r *receipts) write(ctx context.Context, receipt *Receipt) error {
	value, err := json.Marshal(receipt)
	if err != nil {
		return fmt.Errorf("write receipt: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	return r.producer.Produce(ctx, []produce.Message{{Topic: r.topic, Key: []byte(receipt.Key()), Value: value}})
}

// ReadReceipts returns the newest receipt of every instance on a topic, by key. What is none is
// passed over and counted.
func ReadReceipts(ctx context.Context, c *kafka.Client, topic string) (list map[string]Receipt, others int, err error) {
	newest := c.NewCompacted(topic)
	defer newest.Close()
	values, _, err := newest.Poll(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read receipts from topic %s: %w", topic, err)
	}
	list, others = receiptsIn(values)
	return list, others, nil
}

// receiptsIn reads receipts from what a topic holds, and counts what is none.
func receiptsIn(values map[string]kafka.Value) (list map[string]Receipt, others int) {
	list = make(map[string]Receipt)
	for key, v := range values {
		if v.Value == nil {
			continue // an instance that was taken out
		}
		r := Receipt{Seen: v.Time}
		if json.Unmarshal(v.Value, &r) != nil || r.Key() != key {
			others++
			continue
		}
		list[key] = r
	}
	return list, others
}
