package sinks_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/sinks"
)

// The defaults are valid, and so are all topics under other names.
func TestConfigThatIsRight(t *testing.T) {
	c := sinks.DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"weir.review", "weir.deadletter"}, c.Topics()); diff != "" {
		t.Errorf("default topics, -want +got:\n%s", diff)
	}
	c = sinks.Config{DeferredTurn: time.Second, Review: "a", Decisions: "b", Cleared: "c", Deferred: "d", DeadLetter: "E_1.x-y", MaxMessageBytes: 10_000, Delivery: sinks.ExactlyOnce}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "E_1.x-y"}, c.Topics()); diff != "" {
		t.Errorf("topics, -want +got:\n%s", diff)
	}
}

// Everything wrong is told at once, each with its field and what would be right.
func TestConfigThatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*sinks.Config)
		want   []string
	}{
		{"no topics", func(c *sinks.Config) { c.Review, c.DeadLetter = "", "" }, []string{
			"review: no topic; name the one reviewers read, such as weir.review",
			"deadletter: no topic; without one a message that cannot be judged would be lost, name one such as weir.deadletter"}},
		{"bad names", func(c *sinks.Config) { c.Review, c.Decisions, c.Cleared = "a b", "..", strings.Repeat("x", 250) }, []string{
			"review: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -",
			"decisions: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -",
			"cleared: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -"}},
		// A sender that reads deferred pushes as cleared ones would send them.
		{"one topic for two", func(c *sinks.Config) { c.Cleared, c.Deferred = "pushes", "pushes" }, []string{
			"deferred: the same topic as cleared; who reads one would take messages of the other for his own, so give each its own"}},
		{"heads beside verdicts", func(c *sinks.Config) { c.Checkpoints = c.Review }, []string{
			"checkpoints: the same topic as review; who reads one would take messages of the other for his own, so give each its own"}},
		{"small", func(c *sinks.Config) { c.MaxMessageBytes = 9_999 }, []string{
			"max_message_bytes: 9999; use 10000 up to 67108864, at most the topics' max.message.bytes"}},
		{"delivery", func(c *sinks.Config) { c.Delivery = "at-most-once" }, []string{
			`delivery: "at-most-once" is not known; use at_least_once or exactly_once`}},
		{"turns", func(c *sinks.Config) {
			c.Deferred, c.DeferredTurn, c.DeferredSpread = "d", 1500*time.Millisecond, 25*time.Hour
		}, []string{
			"deferred_turn: 1.5s; use whole seconds, 1s up to 6h",
			"deferred_spread: 25h0m0s; use 0s up to 24h"}},
		{"large", func(c *sinks.Config) { c.MaxMessageBytes = 1 << 30 }, []string{
			"max_message_bytes: 1073741824; use 10000 up to 67108864, at most the topics' max.message.bytes"}},
	} {
		config := sinks.DefaultConfig()
		c.change(&config)
		err := config.Validate()
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%s, -want +got:\n%s", c.name, diff)
		}
	}
}
