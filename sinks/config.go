// Package sinks makes verdicts durable: in the evidence log, and on the topics
// that reviewers, senders and operators read.
//
// [Evidence] and [Kafka] are thin adapters between package pipeline and the
// packages that do the work. What they add is the shape of what others read:
// the bodies of evidence records and the values and headers of messages. The
// JSON Schemas in docs/schemas and docs/asyncapi.yaml describe all of it.
//
// The one thing to know: everything written here carries an id computed from
// the message's place in Kafka and the rule set, so a repeated batch writes the
// same ids again and readers drop what they have.
package sinks

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/deferral"
)

// Config names the output topics (section "output"). An empty name turns a topic off.
type Config struct {
	Review     string `yaml:"review"`     // flagged items for reviewers
	Decisions  string `yaml:"decisions"`  // every push decision and every post that does not pass
	Cleared    string `yaml:"cleared"`    // pushes to send now
	Deferred   string `yaml:"deferred"`   // pushes to decide again later
	DeadLetter string `yaml:"deadletter"` // messages that can never be judged

	// Checkpoints is the compacted topic of the signed heads of evidence logs. It is
	// no topic for verdicts, so Topics leaves it out.
	Checkpoints string `yaml:"checkpoints"`

	// DeferredTurn is how long each partition of the topic of deferred pushes has its
	// turn, in which what stands in it is decided again; the same in every process.
	// DeferredSpread is over how long pushes that may come at the same time are spread.
	DeferredTurn   time.Duration `yaml:"deferred_turn"`
	DeferredSpread time.Duration `yaml:"deferred_spread"`

	// MaxMessageBytes is the largest message the output topics take, key and
	// headers included: at most their max.message.bytes, by Kafka's default
	// 1,048,588. Larger ones are made smaller where that makes sense, else refused.
	MaxMessageBytes int `yaml:"max_message_bytes"`

	// Delivery says what a crash may do to what is on the topics.
	Delivery Delivery `yaml:"delivery"`
}

// Delivery is how often a reader of the output topics may meet a message.
type Delivery string

// The deliveries.
const (
	// AtLeastOnce repeats the messages of the batches in hand after a crash, under
	// the same ids.
	AtLeastOnce Delivery = "at_least_once"
	// ExactlyOnce commits a batch's messages and offsets in one transaction. Readers
	// must read committed messages only.
	ExactlyOnce Delivery = "exactly_once"
)

// DefaultConfig returns the default topic names for posts; the topics of pushes
// are off until they are named.
func DefaultConfig() Config {
	ring := deferral.Default()
	return Config{
		DeferredTurn:    ring.Turn,
		DeferredSpread:  ring.Spread,
		Review:          "weir.review",
		DeadLetter:      "weir.deadletter",
		MaxMessageBytes: 1_000_000,
		Delivery:        AtLeastOnce,
	}
}

// Bounds of MaxMessageBytes: a dead letter without its value must fit, and a
// request must stay well below a broker's socket.request.max.bytes of 100 MiB,
// above which it is not refused but cut off.
const (
	minMessageBytes = 10_000
	maxMessageBytes = 64 << 20
)

// output is a topic with the name of its field.
type output struct{ field, topic string }

// outputs returns the topics that are on.
func (c *Config) outputs() []output {
	return slices.DeleteFunc([]output{
		{"review", c.Review}, {"decisions", c.Decisions}, {"cleared", c.Cleared}, {"deferred", c.Deferred}, {"deadletter", c.DeadLetter},
	}, func(o output) bool { return o.topic == "" })
}

// Validate reports what is wrong with the section, each error beginning with
// the field's name.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Review == "" {
		bad("review: no topic; name the one reviewers read, such as weir.review")
	}
	if c.DeadLetter == "" {
		bad("deadletter: no topic; without one a message that cannot be judged would be lost, name one such as weir.deadletter")
	}
	list := c.outputs()
	if c.Checkpoints != "" {
		list = append(list, output{"checkpoints", c.Checkpoints})
	}
	for i, o := range list {
		if !kafka.IsTopicName(o.topic) {
			bad("%s: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -", o.field)
		}
		for _, before := range list[:i] {
			if before.topic == o.topic {
				bad("%s: the same topic as %s; who reads one would take messages of the other for his own, so give each its own", o.field, before.field)
			}
		}
	}
	if c.MaxMessageBytes < minMessageBytes || c.MaxMessageBytes > maxMessageBytes {
		bad("max_message_bytes: %d; use %d up to %d, at most the topics' max.message.bytes", c.MaxMessageBytes, minMessageBytes, maxMessageBytes)
	}
	if c.Delivery != AtLeastOnce && c.Delivery != ExactlyOnce {
		bad("delivery: %q is not known; use at_least_once or exactly_once", c.Delivery)
	}
	if c.Deferred != "" {
		errs = append(errs, c.Ring().Validate())
	}
	return errors.Join(errs...)
}

// Ring returns when deferred pushes are decided again.
func (c *Config) Ring() deferral.Ring {
	return deferral.Ring{Turn: c.DeferredTurn, Spread: c.DeferredSpread}
}

// Topics returns the names of all topics for verdicts that are on.
func (c *Config) Topics() []string {
	var names []string
	for _, o := range c.outputs() {
		names = append(names, o.topic)
	}
	return names
}
