package backtest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/rules"
)

// Report is what two sets judge differently.
type Report struct {
	Old, New string // digests of the sets
	Messages int64  // Events and Dead
	Events   int64  // judged by both
	// Actions counts the events by what the old set calls for and what the new one does.
	Actions [rules.Reject + 1][rules.Reject + 1]int64
	// Rules and Categories are those with something to tell, by name.
	Rules, Categories []Row
	Dead              []Dead   // what could not be judged, in the order of the first of each
	Samples           []Sample // by rule and change, the first ones
}

// Row is what became of a rule, or of a category, in all events. Hits are the same if rule,
// category, field and place are.
type Row struct {
	Name             string
	OldHits, NewHits int64
	Lost, New        int64 // hits that only the old, and only the new set has
	Events           int64 // with such a hit, or with another action
	// Events whose action became stronger or weaker, and in which the hits of this rule or
	// category alone call for something else than before. More than one may do so in an event.
	Stronger, Weaker int64
}

// Dead counts the messages that cannot be judged, for one reason.
type Dead struct {
	Stage  pipeline.Stage
	Reason pipeline.Reason
	Count  int64
	First  Place
}

// Place is where a message comes from: a line, or a place in a topic.
type Place struct {
	Line      int64 // from 1; 0 of a topic
	Topic     string
	Partition int32
	Offset    int64
}

// String returns "line 7", or topic, partition and offset.
func (p Place) String() string {
	if p.Line > 0 {
		return fmt.Sprintf("line %d", p.Line)
	}
	return fmt.Sprintf("%s/%d offset %d", p.Topic, p.Partition, p.Offset)
}

// Changes returns how many events have which other action, for all there are.
func (r *Report) Changes() []ActionChange {
	var list []ActionChange
	for before := range r.Actions {
		for after, n := range r.Actions[before] {
			if n > 0 && before != after {
				list = append(list, ActionChange{rules.Action(before), rules.Action(after), n})
			}
		}
	}
	return list
}

// ActionChange is an action that became another one.
type ActionChange struct {
	Old, New rules.Action
	Events   int64
}

// totals are what is counted in any order.
type totals struct {
	actions           [rules.Reject + 1][rules.Reject + 1]int64
	rules, categories []counts // by number
}

// counts are those of a Row; of a pair the first is of the old set.
type counts struct {
	hits, moved              [2]int64
	events, stronger, weaker int64
}

func newTotals(x *index) totals {
	return totals{rules: make([]counts, len(x.rules)), categories: make([]counts, len(x.categories))}
}

func (t *totals) add(other *totals) {
	for i := range t.actions {
		for k := range t.actions[i] {
			t.actions[i][k] += other.actions[i][k]
		}
	}
	for i := range t.rules {
		t.rules[i].add(&other.rules[i])
	}
	for i := range t.categories {
		t.categories[i].add(&other.categories[i])
	}
}

func (c *counts) add(other *counts) {
	for i := range c.hits {
		c.hits[i] += other.hits[i]
		c.moved[i] += other.moved[i]
	}
	c.events += other.events
	c.stronger += other.stronger
	c.weaker += other.weaker
}

// findings are what the order of messages decides over.
type findings struct {
	messages int64
	lost     []Dead
	samples  []Sample
	kept     map[kept]int // how many samples there are
}

// kept is what samples are counted by.
type kept struct {
	rule   string
	change Change
}

func (f *findings) reset() {
	clear(f.samples)
	clear(f.kept)
	*f = findings{lost: f.lost[:0], samples: f.samples[:0], kept: f.kept}
}

// dead counts messages that cannot be judged, of which this is the first.
func (f *findings) dead(d Dead) {
	for i := range f.lost {
		if k := &f.lost[i]; k.Stage == d.Stage && k.Reason == d.Reason {
			k.Count += d.Count
			return
		}
	}
	f.lost = append(f.lost, d)
}

// room reports whether another sample is wanted.
func (f *findings) room(k kept, limit int) bool { return f.kept[k] < limit }

func (f *findings) keep(s Sample) {
	if f.kept == nil {
		f.kept = make(map[kept]int)
	}
	f.kept[kept{s.Rule, s.Change}]++
	f.samples = append(f.samples, s)
}

// merge adds what was found in later messages.
func (f *findings) merge(later *findings, limit int) {
	f.messages += later.messages
	for _, d := range later.lost {
		f.dead(d)
	}
	for _, s := range later.samples {
		if f.room(kept{s.Rule, s.Change}, limit) {
			f.keep(s)
		}
	}
}

func newReport(o *Options, x *index, t totals, f *findings) *Report {
	r := &Report{Old: o.Old.Digest(), New: o.New.Digest(), Messages: f.messages, Actions: t.actions, Dead: f.lost, Samples: f.samples,
		Rules: rows(x.rules, t.rules), Categories: rows(x.categories, t.categories)}
	for _, row := range t.actions {
		for _, n := range row {
			r.Events += n
		}
	}
	slices.SortStableFunc(r.Samples, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Change, b.Change))
	})
	return r
}

// rows returns those with something to tell.
func rows(names []string, list []counts) []Row {
	var out []Row
	for i, c := range list {
		if c.events > 0 {
			out = append(out, Row{names[i], c.hits[0], c.hits[1], c.moved[0], c.moved[1], c.events, c.stronger, c.weaker})
		}
	}
	return out
}
