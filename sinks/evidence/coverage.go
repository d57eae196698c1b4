package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// CoverageBody is the body of a coverage record: the offsets that were judged,
// and what became of them. It is written before those offsets are committed, so
// that a verifier can find offsets nobody judged.
type CoverageBody struct {
	Ranges []CoverageRange `json:"ranges"`
}

// CoverageRange accounts for the offsets First up to and not including Next of
// one partition. Every message is counted once in Fetched and once in exactly
// one of the four below it.
type CoverageRange struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"`
	Next      int64  `json:"next"`

	Fetched      int64 `json:"fetched"`       // what the broker delivered, control and aborted records included
	Passed       int64 `json:"passed"`        // let through: nothing stood against it
	Flagged      int64 `json:"flagged"`       // reviewed, rejected, deferred or denied: each has a hit or push record
	DeadLettered int64 `json:"dead_lettered"` // can never be judged: each has a deadletter record
	Skipped      int64 `json:"skipped"`       // not a message: control records, records of aborted transactions

	Rules  string `json:"rules,omitempty"`  // digest of the rule set in force
	Policy string `json:"policy,omitempty"` // digest of the push policy in force
}

// Check reports whether the account is one that can be true.
func (r *CoverageRange) Check() error {
	switch {
	case r.Topic == "":
		return fmt.Errorf("a range has no topic")
	case r.Partition < 0 || r.First < 0 || r.Next < r.First:
		return fmt.Errorf("%s/%d: %d to %d is no range of offsets", r.Topic, r.Partition, r.First, r.Next)
	case r.Fetched < 0 || r.Passed < 0 || r.Flagged < 0 || r.DeadLettered < 0 || r.Skipped < 0:
		return fmt.Errorf("%s/%d from %d: a count is negative", r.Topic, r.Partition, r.First)
	case r.Fetched > r.Next-r.First:
		return fmt.Errorf("%s/%d: %d fetched from %d offsets, %d to %d", r.Topic, r.Partition, r.Fetched, r.Next-r.First, r.First, r.Next)
	}
	// Subtracted one by one, so that no sum of crafted counts can overflow.
	if rest := r.Fetched - r.Passed; rest < 0 || rest-r.Flagged < 0 || rest-r.Flagged-r.DeadLettered < 0 ||
		rest-r.Flagged-r.DeadLettered != r.Skipped {
		return fmt.Errorf("%s/%d from %d: %d fetched, but %d passed, %d flagged, %d dead-lettered, %d skipped",
			r.Topic, r.Partition, r.First, r.Fetched, r.Passed, r.Flagged, r.DeadLettered, r.Skipped)
	}
	return nil
}

// GapBody is the body of a gap record: offsets that were gone from the topic
// before they could be judged, First up to and not including Next.
type GapBody struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"`
	Next      int64  `json:"next"`
}

// Ledger sums coverage up.
type Ledger struct {
	Fetched      int64 `json:"fetched"`
	Passed       int64 `json:"passed"`
	Flagged      int64 `json:"flagged"`
	DeadLettered int64 `json:"dead_lettered"`
	Skipped      int64 `json:"skipped"`
}

func (l *Ledger) add(r *CoverageRange) {
	l.Fetched += r.Fetched
	l.Passed += r.Passed
	l.Flagged += r.Flagged
	l.DeadLettered += r.DeadLettered
	l.Skipped += r.Skipped
}

// PartitionCoverage is what a log accounts for in one partition.
type PartitionCoverage struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"`
	Next      int64  `json:"next"`
	Ledger
	// Repeated counts ranges of which every offset had been accounted for before:
	// a batch judged again after a crash. The sums do not contain them.
	Repeated int64 `json:"repeated,omitempty"`
	// Overlapping counts ranges of which some offsets had been accounted for
	// before. The sums contain them whole, and so some messages twice.
	Overlapping int64 `json:"overlapping,omitempty"`
	Holes       int64 `json:"holes,omitempty"` // offsets nobody accounts for
}

// numbered reports whether the offsets of a topic follow one another without end. Those of a
// path, which no topic of Kafka can be named, count what was asked over HTTP: they begin
// anew with each life of an instance, and who asks the same again is counted again, under
// one id. So their accounts are summed up and nothing is concluded from what lies between them.
func numbered(topic string) bool { return !strings.HasPrefix(topic, "/") }

// span is a run of offsets, and the record that began it.
type span struct {
	first, next int64
	at          place
}

// partitionCoverage gathers what is known of one partition.
type partitionCoverage struct {
	PartitionCoverage
	judged    []span // ascending, apart from each other
	explained []span // gaps and what other instances judged
	certain   Ledger // the sums without overlapping ranges
}

type topicPartition struct {
	topic     string
	partition int32
}

type coverage struct {
	partitions map[topicPartition]*partitionCoverage
}

func (c *coverage) of(topic string, partition int32) *partitionCoverage {
	k := topicPartition{topic, partition}
	p := c.partitions[k]
	if p == nil {
		if c.partitions == nil {
			c.partitions = make(map[topicPartition]*partitionCoverage)
		}
		p = &partitionCoverage{PartitionCoverage: PartitionCoverage{Topic: topic, Partition: partition}}
		c.partitions[k] = p
	}
	return p
}

// judge adds a range of this log. It reports how many of its offsets were
// accounted for before.
func (c *coverage) judge(r *CoverageRange, at place) (known int64) {
	p := c.of(r.Topic, r.Partition)
	if r.First == r.Next {
		return 0
	}
	p.judged, known = insert(p.judged, span{r.First, r.Next, at})
	switch known {
	case 0:
		p.add(r)
		p.certain.add(r)
	case r.Next - r.First:
		p.Repeated++
	default:
		p.Overlapping++
		p.add(r)
	}
	return known
}

// explain adds offsets that need no range of this log.
func (c *coverage) explain(topic string, partition int32, first, next int64) {
	if first < next {
		p := c.of(topic, partition)
		p.explained, _ = insert(p.explained, span{first: first, next: next})
	}
}

// insert puts s among spans and joins what touches. It returns how many offsets
// of s were there. Ranges come nearly in order, so the work is at the end.
func insert(spans []span, s span) ([]span, int64) {
	i, _ := slices.BinarySearchFunc(spans, s.first, func(x span, first int64) int { return cmp.Compare(x.next, first) })
	// spans[i] is the first that ends at or after s.first.
	j, known := i, int64(0)
	for ; j < len(spans) && spans[j].first <= s.next; j++ {
		x := spans[j]
		known += max(0, min(x.next, s.next)-max(x.first, s.first))
		if x.first <= s.first {
			s.first, s.at = x.first, x.at
		}
		s.next = max(s.next, x.next)
	}
	return slices.Replace(spans, i, j, s), known
}

// hole is a run of offsets that nobody accounts for, and the record after it.
type hole struct {
	topicPartition
	first, next int64
	at          place
}

// list returns the partitions in order, and the holes in them. A partition may
// begin anywhere: what was there before the log is not the log's matter.
func (c *coverage) list() ([]PartitionCoverage, []hole) {
	var parts []PartitionCoverage
	var holes []hole
	for k, p := range c.partitions {
		if len(p.judged) == 0 {
			continue
		}
		p.First, p.Next = p.judged[0].first, p.judged[len(p.judged)-1].next
		for i := 1; i < len(p.judged) && numbered(k.topic); i++ {
			from := p.judged[i-1].next
			to := p.judged[i].first
			for _, e := range p.explained {
				if e.next <= from || e.first >= to {
					continue
				}
				if e.first > from {
					holes = append(holes, hole{k, from, e.first, p.judged[i].at})
					p.Holes += e.first - from
				}
				from = min(to, e.next)
			}
			if from < to {
				holes = append(holes, hole{k, from, to, p.judged[i].at})
				p.Holes += to - from
			}
		}
		parts = append(parts, p.PartitionCoverage)
	}
	slices.SortFunc(parts, func(a, b PartitionCoverage) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	slices.SortFunc(holes, func(a, b hole) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.first, b.first))
	})
	return parts, holes
}

// certain sums up the ranges whose offsets are counted once for sure.
func (c *coverage) certain() Ledger {
	var sum Ledger
	for k, p := range c.partitions {
		if !numbered(k.topic) {
			continue
		}
		sum.add(&CoverageRange{Fetched: p.certain.Fetched, Passed: p.certain.Passed, Flagged: p.certain.Flagged,
			DeadLettered: p.certain.DeadLettered, Skipped: p.certain.Skipped})
	}
	return sum
}
