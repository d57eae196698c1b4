package pipeline

import (
	"slices"
	"sync"
	"time"
)

// Counts says where the messages of a range ended.
//
// They are counted where they happen, never computed from one another, so that
// a message that fell through a crack shows: Fetched then is not the sum of the
// others.
type Counts struct {
	Fetched      int64 // records of the fetch, control and aborted ones included
	Passed       int64
	Flagged      int64
	DeadLettered int64
	Skipped      int64
}

func (c *Counts) add(o Outcome, n int64) {
	switch o {
	case Passed:
		c.Passed += n
	case Flagged:
		c.Flagged += n
	case DeadLettered:
		c.DeadLettered += n
	case Skipped:
		c.Skipped += n
	}
}

// Balanced reports whether every fetched message has exactly one outcome.
func (c Counts) Balanced() bool {
	return c.Fetched == c.Passed+c.Flagged+c.DeadLettered+c.Skipped
}

// plus adds other counts as often as n says.
func (c *Counts) plus(o Counts, n int64) {
	c.Fetched += n * o.Fetched
	c.Passed += n * o.Passed
	c.Flagged += n * o.Flagged
	c.DeadLettered += n * o.DeadLettered
	c.Skipped += n * o.Skipped
}

// ledger holds the account of every batch that was handled but not yet
// checkpointed. It lives in memory on purpose: what a crash takes from it was
// not committed either, so it is judged and counted again.
type ledger struct {
	mu   sync.Mutex
	open map[partition][]Coverage // ascending, without overlap
}

type partition struct {
	topic string
	n     int32
}

// book notes a finished batch.
func (l *ledger) book(c Coverage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[partition][]Coverage)
	}
	key := partition{c.Topic, c.Partition}
	list := l.open[key]
	if n := len(list); n > 0 {
		last := &list[n-1]
		switch {
		case c.First < last.Next:
			// The same offsets again: the source was told to repeat them, so what
			// was open was never committed and this account takes its place.
			list = nil
		case c.First == last.Next && last.Rules == c.Rules && last.Policy == c.Policy:
			last.Next = c.Next
			last.plus(c.Counts, 1)
			return
		}
	}
	l.open[key] = append(list, c)
}

// messages returns how many messages the open accounts are about.
func (l *ledger) messages() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, list := range l.open {
		for i := range list {
			n += list[i].Fetched
		}
	}
	return n
}

// due returns the accounts of the ranges; they stay open until they are settled.
// Where a further batch was booked onto an account since the source drew its
// range, the account is taken whole: that batch is durable too, and if it is not
// committed before a crash its repetition shows in the evidence as such.
func (l *ledger) due(done []Range, now time.Time) []Coverage {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Coverage
	taken := make(map[partition]int)
	for _, r := range done {
		key := partition{r.Topic, r.Partition}
		list := l.open[key]
		for n := taken[key]; n < len(list) && list[n].First < r.Next; n++ {
			c := list[n]
			c.Time = now
			out = append(out, c)
			taken[key] = n + 1
		}
	}
	return out
}

// settle takes accounts out of the ledger that are durable now. Of one onto which
// a batch was booked meanwhile that batch's part stays.
func (l *ledger) settle(durable []Coverage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range durable {
		d := &durable[i]
		key := partition{d.Topic, d.Partition}
		list := l.open[key]
		n := slices.IndexFunc(list, func(c Coverage) bool { return c.First == d.First })
		switch {
		case n < 0: // never booked: it became durable with its batch
		case list[n].Next <= d.Next:
			list = slices.Delete(list, n, n+1)
		default:
			list[n].First = d.Next
			list[n].plus(d.Counts, -1)
		}
		if len(list) == 0 {
			delete(l.open, key)
		} else {
			l.open[key] = list
		}
	}
}
