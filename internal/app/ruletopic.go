package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/kafka"
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
}

func newRuleTopic(c *kafka.Client, name string) *ruleTopic {
	return &ruleTopic{name, c.NewCompacted(name)}
}

// dir is what stands before the names of its files in messages.
func (t *ruleTopic) dir() string { return "topic " + t.name }

// poll returns the text of the newest rule set if the topic changed, else nil. A topic whose rules were
// deleted changed to nothing: ErrNoRules.
func (t *ruleTopic) poll(ctx context.Context) ([]byte, error) {
	values, changed, err := t.newest.Poll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read rules from topic %s: %w", t.name, err)
	}
	if !changed {
		return nil, nil
	}
	v := values[RulesKey].Value
	if len(v) == 0 {
		return nil, fmt.Errorf("topic %s: %w", t.name, ErrNoRules)
	}
	return v, nil
}

// PublishRules writes a rule set to a topic, from which every instance takes it up.
func PublishRules(ctx context.Context, c *kafka.Client, topic string, b *rules.Bundle) error {
	// A bundle may be larger than a topic takes by default; the broker says so then.
	p := c.NewProducer(kafka.ProducerOptions{Topics: []string{topic}, Compression: "zstd"})
	if err := p.Produce(ctx, []kafka.Message{{Topic: topic, Key: []byte(RulesKey), Value: b.Text()}}); err != nil {
		return fmt.Errorf("publish rules on topic %s: %w", topic, err)
	}
	return nil
}
