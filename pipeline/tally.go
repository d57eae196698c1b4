package pipeline

import (
	"slices"
	"sync/atomic"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// tally counts, for one set in force, the events that were judged and those that each rule hit,
// each once. Hits in shadow count, too: what a rule hits is to be known before it acts.
type tally struct {
	set           *rules.Set
	posts, pushes atomic.Int64
	hits          []atomic.Int64 // by the number of the rule
}

// newTally returns nil where nothing is to be counted.
func newTally(set *rules.Set, b rules.Breaker) *tally {
	if !b.Enabled {
		return nil
	}
	return &tally{set: set, hits: make([]atomic.Int64, len(set.Rules()))}
}

// add counts a finished batch.
func (t *tally) add(w *worker, kind event.Kind) {
	if t == nil {
		return
	}
	switch kind {
	case event.Post:
		t.posts.Add(w.counts.Passed + w.counts.Flagged)
	case event.Push:
		t.pushes.Add(w.counts.Passed + w.counts.Flagged)
	default:
		return
	}
	for i := range w.out.Verdicts {
		hits := w.out.Verdicts[i].Hits
		w.hit = w.hit[:0]
		for j := range hits {
			w.hit = append(w.hit, hits[j].Rule.Number())
		}
		slices.Sort(w.hit)
		for _, n := range slices.Compact(w.hit) {
			t.hits[n].Add(1)
		}
	}
}

// take calls f with what each rule was asked and hit since the last time.
func (t *tally) take(f func(r *rules.Rule, c Count)) {
	if t == nil {
		return
	}
	posts, pushes := float64(t.posts.Swap(0)), float64(t.pushes.Swap(0))
	for i, r := range t.set.Rules() {
		c := Count{Hits: float64(t.hits[i].Swap(0))}
		for _, k := range r.Kinds {
			switch k {
			case event.Post:
				c.Events += posts
			case event.Push:
				c.Events += pushes
			}
		}
		f(r, c)
	}
}
