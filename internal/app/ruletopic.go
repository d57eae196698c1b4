package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/rules"
)

// RulesKey is the key under which a topic carries the rule set.
const RulesKey = "rules"

// ErrNoRules means that a topic holds no rule set.
var ErrNoRules = errors.New("the topic holds no rules; publish some with weir rules publish")

// ruleTopic follows the rule set in a topic.
type ruleTopic struct {
	name   string
	newest *kafka.Compacted
	mark   string    // of what it carried at the last poll
	at     time.Time // when that was published
	away   bool      // the last poll failed
	last   *offer    // what it carried at the last poll that found something new
}

func newRuleTopic(c *kafka.Client, name string) *ruleTopic {
	return &ruleTopic{name: name, newest: c.NewCompacted(name)}
}

// dir is what stands before the names of its files in messages.
func (t *ruleTopic) dir() string { return "topic " + t.name }

// poll returns the newest rules if some were published since the last poll, else nil. Of a topic whose
// rules were deleted the offer is [ErrNoRules]. An error means that the topic could not be read.
func (t *ruleTopic) poll(ctx context.Context) (*offer, error) {
	values, changed, err := t.newest.Poll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read rules from topic %s: %w", t.name, err)
	}
	if !changed {
		return nil, nil
	}
	o := &offer{dir: t.dir()}
	v := values[RulesKey]
	if len(v.Value) == 0 {
		o.err = fmt.Errorf("topic %s: %w", t.name, ErrNoRules)
	} else if o.bundle, o.err = rules.ParseBundle(v.Value); o.err != nil {
		o.err = fmt.Errorf("topic %s: %w", t.name, o.err)
	}
	if t.mark == o.mark() && t.at.Equal(v.Time) {
		return nil, nil // another key, or the same read anew after brokers were away
	}
	t.mark, t.at, t.last = o.mark(), v.Time, o
	return o, nil
}

// lost reports whether a poll failed that is the first to fail: while brokers are away it is said once.
func (t *ruleTopic) lost(err error) bool {
	first := err != nil && !t.away
	t.away = err != nil
	return first
}

// publishPatience is how long brokers may refuse a rule set before it is given up: a topic that was just
// made has no leader for a moment.
const publishPatience = 10 * time.Second

// PublishRules writes a rule set to a topic, from which every instance takes it up.
func PublishRules(ctx context.Context, c *kafka.Client, topic string, b *rules.Bundle) error {
	// A bundle may be larger than a topic takes by default.
	p := c.NewProducer(produce.Options{Topics: []string{topic}, Compression: "zstd"})
	message := []produce.Message{{Topic: topic, Key: []byte(RulesKey), Value: b.Text()}}
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	err := p.Produce(ctx, message)
	if _, ok := errors.AsType[*produce.TooLargeError](err); ok {
		return fmt.Errorf("publish rules on topic %s: %d bytes are more than it takes; raise its max.message.bytes", topic, len(b.Text()))
	}
	if err != nil {
		return fmt.Errorf("publish rules on topic %s: %w", topic, err)
	}
	return nil
}
