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
	watched       bool // by the breaker
	posts, pushes atomic.Int64
	hits          []atomic.Int64 // by the number of the rule, since the set is in force
	taken         []int64        // of hits, by the breaker
}

func newTally(set *rules.Set, b rules.Breaker) *tally {
	n := len(set.Rules())
	return &tally{set: set, watched: b.Enabled, hits: make([]atomic.Int64, n), taken: make([]int64, n)}
}

// HitsByRule returns the rules in force and, by their number, how many events each has hit since they
// are: [rules.Set.Rules] has them in that order. With other rules it begins at zero.
func (p *Pipeline) HitsByRule() (*rules.Set, []int64) {
	t := p.force.Load().tally
	hits := make([]int64, len(t.hits))
	for i := range t.hits {
		hits[i] = t.hits[i].Load()
	}
	return t.set, hits
}

// add counts a finished batch.
func (t *tally) add(w *worker, kind event.Kind) {
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

// take calls f with what each rule was asked and hit since the last time. It is for one caller, and does nothing
// where there is no tally.
func (t *tally) take(f func(r *rules.Rule, c Count)) {
	if t == nil {
		return
	}
	posts, pushes := float64(t.posts.Swap(0)), float64(t.pushes.Swap(0))
	for i, r := range t.set.Rules() {
		now := t.hits[i].Load()
		c := Count{Hits: float64(now - t.taken[i])}
		t.taken[i] = now
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
