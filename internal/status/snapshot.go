// Package status says how one instance of Weir does, in one [Snapshot]: as a page for people at /, as JSON
// for programs at /status.json, live at /status/events. `weir top` shows the same in a terminal.
//
// What it is not: a store of metrics. It remembers two hours of one process, in a few megabytes at most, so
// that whoever opens the page in the middle of the night sees at once what is wrong, since when, and what to
// do next, with nothing else installed. For more there is /metrics.
//
// The one thing to know: what it shows is taken from the registry that /metrics serves, so the page and a
// dashboard cannot disagree; and nothing on it was ever in a message. Rules, topics and reasons have names
// that operators gave, users and texts do not appear.
package status

import (
	"encoding/json"
	"math"
	"time"
)

// Version is the version of the form of a [Snapshot]. Members may be added to it; when one is taken away or
// means something else, it becomes 2.
const Version = 1

// Snapshot is how an instance does at one moment. All times are UTC. Amounts are of this process, since it
// started.
type Snapshot struct {
	Version  int       `json:"version"`
	Time     time.Time `json:"time"`
	Instance Instance  `json:"instance"`

	// Level is that of the worst problem.
	Level    Level     `json:"level"`
	Problems []Problem `json:"problems"` // worst first
	Parts    []Part    `json:"parts"`    // what Weir leans on, in a fixed order

	Flow    Flow       `json:"flow"`
	Lag     Lag        `json:"lag"`
	Charts  []Chart    `json:"charts"`
	Hits    Hits       `json:"hits"`
	Push    []Decision `json:"push"`         // decisions by reason; empty where no pushes are judged
	Dead    []Reason   `json:"dead_letters"` // reasons that were met
	InForce InForce    `json:"in_force"`

	Evidence Evidence `json:"evidence"`
}

// Instance says of whom this is.
type Instance struct {
	Source  string    `json:"source"`
	Name    string    `json:"name"`
	Group   string    `json:"group"` // of consumers
	Build   string    `json:"build"`
	Started time.Time `json:"started"`
}

// Level is how well something is.
type Level string

// The levels, the worst one last.
const (
	OK   Level = "ok"
	Warn Level = "warn" // Weir does its work, but not as safely, as fast or as fully as it should
	Down Level = "down" // something is not done that should be
)

func (l Level) rank() int {
	switch l {
	case Down:
		return 2
	case Warn:
		return 1
	}
	return 0
}

// Problem is something that is wrong: in words, with what to do next.
type Problem struct {
	Kind  Kind      `json:"kind"`
	Part  PartName  `json:"part"`
	Level Level     `json:"level"`
	Since time.Time `json:"since"` // when it was seen first
	What  string    `json:"what"`
	// Detail is what the part itself said, or the numbers behind it. It is never content.
	Detail string `json:"detail,omitempty"`
	Next   string `json:"next"`
	// Runbook is the address of the section that says more.
	Runbook string `json:"runbook"`
}

// PartName names what Weir leans on.
type PartName string

// The parts, in the order in which they are shown.
const (
	Kafka       PartName = "kafka"
	Redis       PartName = "redis"
	Disk        PartName = "disk"
	EvidenceLog PartName = "evidence"
	Rules       PartName = "rules"
	Consumer    PartName = "consumer"
	API         PartName = "api" // only where it is on
)

var partNames = [...]PartName{Kafka, Redis, Disk, EvidenceLog, Rules, Consumer, API}

// Part is one of them.
type Part struct {
	Name  PartName `json:"name"`
	Level Level    `json:"level"`
	// Seconds is how long the last look at it took.
	Seconds float64 `json:"check_seconds"`
}

// Amount is how many there were.
type Amount struct {
	Total  int64 `json:"total"`  // since the start
	Window int64 `json:"window"` // in the last hour, or since the start if that is less
	// PerSecond is the rate of the last half minute.
	PerSecond float64 `json:"per_second"`
}

// Flow is what became of what came in. Every message ends in one of the outcomes:
// In = Passed + Flagged + DeadLettered + Skipped, and Judged = Passed + Flagged.
type Flow struct {
	WindowSeconds int64    `json:"window_seconds"`
	In            Amount   `json:"in"`
	Judged        Amount   `json:"judged"`
	Passed        Amount   `json:"passed"`
	Flagged       Amount   `json:"flagged"`
	DeadLettered  Amount   `json:"dead_lettered"`
	Skipped       Amount   `json:"skipped"` // control records, and what was aborted
	Streams       []Stream `json:"streams"`
	// Of pushes:
	Allowed  Amount `json:"allowed"`
	Deferred Amount `json:"deferred"`
	Denied   Amount `json:"denied"`

	InHand int64 `json:"in_hand"` // messages that are being judged
}

// Stream is what became of one kind of messages: post, push, consent or outcome.
type Stream struct {
	Name         string `json:"name"`
	In           Amount `json:"in"`
	Passed       Amount `json:"passed"`
	Flagged      Amount `json:"flagged"`
	DeadLettered Amount `json:"dead_lettered"`
	Skipped      Amount `json:"skipped"`
}

// Lag is what is not handled yet.
type Lag struct {
	Messages   int64       `json:"messages"`
	Seconds    float64     `json:"seconds"` // age of the oldest message in hand or waiting in memory
	Assigned   int         `json:"assigned_partitions"`
	Partitions []Partition `json:"partitions"` // the ones that are most behind first, at most 1,000
}

// Partition is one that this process reads.
type Partition struct {
	Topic     string  `json:"topic"`
	Partition int     `json:"partition"`
	Lag       int64   `json:"lag"`
	Seconds   float64 `json:"seconds"`
}

// maxPartitions is how many partitions a snapshot names.
const maxPartitions = 1000

// Value is a number of a chart; NaN, which is null in JSON, where there was nothing to measure.
type Value float64

// MarshalJSON writes NaN as null.
func (v Value) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(v))
}

// UnmarshalJSON reads null as NaN.
func (v *Value) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*v = Value(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(v))
}

// Chart is one or several lines over the same times: value i of a line is of the StepSeconds that end at
// End minus (number of values - 1 - i) steps.
type Chart struct {
	Name        string    `json:"name"` // in, flagged, age, judge, push, append, lag
	Unit        string    `json:"unit"` // per_second, seconds or messages
	End         time.Time `json:"end"`
	StepSeconds int64     `json:"step_seconds"`
	Lines       []Line    `json:"lines"`
}

// Line is a line of a chart.
type Line struct {
	Name   string  `json:"name"` // p50, p99, or the chart's own name
	Now    Value   `json:"now"`  // of the last half minute
	Values []Value `json:"values"`
}

// Hits are what rules have found, by category and by rule, in a window and in the one before it: an hour each,
// or half of what is known each while the process is younger than two hours. The window is longer than the one before
// by the minute that is not over yet; compare what there is a second.
type Hits struct {
	WindowSeconds float64 `json:"window_seconds"`
	BeforeSeconds float64 `json:"before_seconds"`
	// Comparable tells that the process ran in the window before.
	Comparable bool          `json:"comparable"`
	Categories []CategoryHit `json:"categories"` // of live rules; most hits first, those without a hit left out
	Rules      []RuleHit     `json:"rules"`      // most hits first, at most 100
}

// maxRules is how many rules a snapshot names.
const maxRules = 100

// CategoryHit counts hits, of which a message may have several.
type CategoryHit struct {
	Code   string `json:"code"`
	Name   string `json:"name"`
	NameZH string `json:"name_zh"`
	Hits   int64  `json:"hits"`
	Before int64  `json:"before"`
}

// RuleHit counts messages that a rule has hit.
type RuleHit struct {
	ID       string `json:"id"`
	Category string `json:"category"`
	Severity string `json:"severity"`
	// State is live or shadow; tripped of a live rule that has lost its action because it hit too much.
	State  string `json:"state"`
	Hits   int64  `json:"hits"`
	Before int64  `json:"before"`
}

// Decision is how often pushes were decided one way for one reason.
type Decision struct {
	Decision string `json:"decision"` // allow, defer or deny
	Reason   string `json:"reason"`
	Amount
}

// Reason is how many dead letters there were for one reason.
type Reason struct {
	Reason string `json:"reason"`
	Amount
}

// InForce is by what messages are judged.
type InForce struct {
	Rules      int       `json:"rules"` // live and in shadow
	Terms      int       `json:"terms"`
	Digest     string    `json:"digest"`
	From       string    `json:"from"` // a directory, a topic, or the packs in the binary
	Since      time.Time `json:"since"`
	Tripped    []string  `json:"tripped"`           // rules that have lost their action
	Refused    string    `json:"refused,omitempty"` // why what came later was not taken up
	RefusedAt  time.Time `json:"refused_at,omitzero"`
	Policy     string    `json:"policy,omitempty"` // version of the push policy; empty where no pushes are judged
	PolicyHash string    `json:"policy_digest,omitempty"`
	Halted     int       `json:"halted"` // campaigns, senders and classes
}

// Evidence is how the evidence log stands.
type Evidence struct {
	Origin    string    `json:"origin"`
	Records   int64     `json:"records"`
	Signed    int64     `json:"signed"`
	Root      string    `json:"root"` // of the signed records, as in a checkpoint
	SignedAt  time.Time `json:"signed_at,omitzero"`
	Published bool      `json:"published"`             // heads are published at all
	HeadAt    time.Time `json:"published_at,omitzero"` // when one was last, by this process
	// UnpublishedSeconds is for how long the oldest head has waited.
	UnpublishedSeconds float64   `json:"unpublished_seconds"`
	ScrubbedAt         time.Time `json:"scrubbed_at,omitzero"` // when all was read again last, zero if it never is
	Damaged            int64     `json:"damaged"`              // places found since the start that are not what was written
	Bytes              int64     `json:"bytes"`
	Free               int64     `json:"free_bytes"` // of its disk
	Unsealed           int       `json:"unsealed_segments"`
}
