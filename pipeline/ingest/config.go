package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/deferral"
)

// Config says what to read from Kafka, and as whom (section "input").
type Config struct {
	Group string `yaml:"group"` // consumer group; all processes of a deployment share it
	// GroupInstance makes this process a static member of the group, if it is not
	// empty: when it ends and is back within SessionTimeout, no partition moves.
	// Each process needs its own.
	GroupInstance string `yaml:"group_instance"`
	Posts         Topics `yaml:"posts"`
	Pushes        Topics `yaml:"pushes"`
	Consent       Topics `yaml:"consent"`  // consent changes, compacted
	Outcomes      Topics `yaml:"outcomes"` // push outcomes
	// Halts is the topic of orders to stop and to resume pushes, compacted; empty
	// where nobody gives any. It is no stream of the group: every process follows the
	// whole of it.
	Halts string `yaml:"halts"`
	// Deferred is the topic of deferred pushes, and Ring how they are released. They
	// are none of the section's: where pushes are on, the section output names them.
	Deferred string        `yaml:"-"`
	Ring     deferral.Ring `yaml:"-"`

	// Start is where a new group begins with posts and pushes: earliest or
	// latest. Consent and outcomes are always read from the earliest message: a
	// user's consent is as old as it is.
	Start kafka.Start `yaml:"start"`
	// OnGap says what to do when messages were deleted before they were read:
	// earliest (report it, go on with the oldest there is) or stop (the partition
	// waits for an operator).
	OnGap kafka.GapPolicy `yaml:"on_gap"`
	// ReadUncommitted reads what transactions wrote that are open or were aborted, too.
	ReadUncommitted bool `yaml:"read_uncommitted"`

	// SessionTimeout is after how long without a heartbeat the group gives our
	// partitions to others. Brokers allow 6 s to 30 min unless told otherwise.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// RebalanceTimeout is how long the group waits for its members when
	// partitions are given out anew; the same in every process.
	RebalanceTimeout time.Duration `yaml:"rebalance_timeout"`
	// DrainTimeout is how long a batch in hand may take when its partition is
	// taken away.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// StuckTimeout is how long a batch may give no sign of life before the process
	// leaves the group and ends. Waiting for an output that is away is one.
	StuckTimeout time.Duration `yaml:"stuck_timeout"`
	// MaxWait is how long a poll waits at the broker for a first message.
	MaxWait time.Duration `yaml:"max_wait"`
	// Pace is the least time between two polls of a broker that bring little: it
	// gathers messages that trickle into batches.
	Pace time.Duration `yaml:"pace"`
}

// DefaultConfig returns the usual settings: posts from weir.posts, nothing else.
func DefaultConfig() Config {
	return Config{
		Group:            "weir",
		Posts:            Named("weir.posts"),
		Start:            kafka.Earliest,
		OnGap:            kafka.GapEarliest,
		SessionTimeout:   15 * time.Second,
		RebalanceTimeout: 30 * time.Second,
		DrainTimeout:     5 * time.Second,
		StuckTimeout:     5 * time.Minute,
		MaxWait:          250 * time.Millisecond,
		Pace:             10 * time.Millisecond,
	}
}

// Validate reports what is wrong with the section, each error beginning with
// the field's name.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Group == "" {
		bad("group: empty; name the consumer group, such as weir")
	}
	errs = append(errs, c.validate()...)
	if c.Halts != "" && !kafka.IsTopicName(c.Halts) {
		bad("halts: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -")
	}
	if c.Start != kafka.Earliest && c.Start != kafka.Latest {
		bad("start: %q is not known; use earliest or latest", c.Start)
	}
	if c.OnGap != kafka.GapEarliest && c.OnGap != kafka.GapStop {
		bad("on_gap: %q is not known; use earliest or stop", c.OnGap)
	}
	within := func(field string, d, lo, hi time.Duration) {
		if d < lo || d > hi {
			bad("%s: %v; use %v up to %v", field, d, lo, hi)
		}
	}
	within("session_timeout", c.SessionTimeout, 6*time.Second, 30*time.Minute)
	within("rebalance_timeout", c.RebalanceTimeout, 6*time.Second, time.Hour)
	// The group waits for us as long as a rebalance may take. What follows the
	// drain, a checkpoint and a commit, has to fit in as well.
	within("drain_timeout", c.DrainTimeout, 100*time.Millisecond, c.RebalanceTimeout/3)
	within("stuck_timeout", c.StuckTimeout, 10*time.Second, 24*time.Hour)
	if len(c.GroupInstance) > 249 {
		bad("group_instance: %d bytes long; use at most 249", len(c.GroupInstance))
	}
	within("max_wait", c.MaxWait, time.Millisecond, 5*time.Second)
	within("pace", c.Pace, time.Millisecond, time.Second)
	return errors.Join(errs...)
}
