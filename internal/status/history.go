package status

import (
	"math"
	"slices"
	"time"
)

// Every is how often a sample is taken. With the time a check may take it is the longest it takes until a
// fault is named: less than ten seconds.
const Every = 5 * time.Second

const (
	chartPoints = int(time.Hour / Every) // kept, for charts
	minutes     = 121                    // kept, for windows
	chartBins   = 120                    // drawn at most
	lately      = 6                      // samples that make up "now"
)

// point is what happened between two samples.
type point struct {
	at          time.Time
	seconds     float64 // since the one before; 0 of the first one
	in, flagged float64
	lag         float64
	hists       [numHists][]float64 // buckets; nil where nothing was measured
}

// minute is by how much counters grew in a minute. What did not grow is not in it.
type minute struct {
	start  time.Time
	counts map[series]float64
}

// history is what is remembered. It is bounded: an hour of points of some hundred bytes, and two hours of
// minutes, each with at most as many entries as there are series and rules that were hit in it.
type history struct {
	points  []point              // oldest first, at most chartPoints
	recent  []map[series]float64 // by how much counters grew, of the last points, at most lately
	minutes []minute             // oldest first, at most minutes
	bounds  [numHists][]float64
	total   map[series]float64 // since the start
	began   time.Time          // a step before the first sample, which has all since the start
	before  *sample
	rules   any              // identity of the set of the last look at hits by rule
	byRule  map[string]int64 // its hits then
}

// add takes in a sample, and by how many each rule's hits have grown.
func (h *history) add(now time.Time, s *sample, hits map[string]int64) {
	if h.began.IsZero() {
		h.began, h.total = now.Add(-Every), make(map[series]float64)
	}
	before := h.before
	if before == nil {
		before = &sample{}
	}
	grown := make(map[series]float64)
	for k, v := range s.counts {
		if d := v - before.counts[k]; d > 0 {
			grown[k] = d
		}
	}
	for id, n := range hits {
		if n > 0 {
			grown[series{ruleSeries, id, ""}] = float64(n)
		}
	}
	p := point{at: now}
	if n := len(h.points); n > 0 {
		p.seconds = now.Sub(h.points[n-1].at).Seconds()
	}
	start := now.Truncate(time.Minute)
	if n := len(h.minutes); n == 0 || !h.minutes[n-1].start.Equal(start) {
		h.minutes = append(h.minutes, minute{start, make(map[series]float64)})
	}
	current := h.minutes[len(h.minutes)-1].counts
	for k, d := range grown {
		h.total[k] += d
		current[k] += d
		if k.metric == mMessages {
			p.in += d
			if k.b == "flagged" {
				p.flagged += d
			}
		}
	}
	h.recent = append(h.recent, grown)
	if n := len(h.recent) - lately; n > 0 {
		h.recent = slices.Delete(h.recent, 0, n)
	}
	for _, x := range s.partitions {
		p.lag += float64(x.Lag)
	}
	for i := range s.hists {
		p.hists[i] = s.hists[i].since(before.hists[i])
		if s.hists[i].bounds != nil {
			h.bounds[i] = s.hists[i].bounds
		}
	}
	h.points = append(h.points, p)
	if n := len(h.points) - chartPoints; n > 0 {
		h.points = slices.Delete(h.points, 0, n)
	}
	for start.Sub(h.minutes[0].start) >= minutes*time.Minute {
		h.minutes = slices.Delete(h.minutes, 0, 1)
	}
	h.before = s
}

// window sums what counters grew by in the minutes that began from one time on and before another; zero is no end.
func (h *history) window(from, to time.Time) map[series]float64 {
	sum := make(map[series]float64)
	for _, m := range h.minutes {
		if !m.start.Before(from) && (to.IsZero() || m.start.Before(to)) {
			for k, d := range m.counts {
				sum[k] += d
			}
		}
	}
	return sum
}

// windows says which times are compared: an hour and the one before, or half of what is known each. The later
// one has, besides its whole minutes, the one that is not over, so that what happens now is in it; what is said
// of a change is therefore of so much a second.
type windows struct{ before, now, end time.Time }

func (h *history) windows(now time.Time) windows {
	minute := now.Truncate(time.Minute)
	known := minute.Sub(h.minutes[0].start)
	length := min(time.Hour, max(time.Minute, (known/2).Truncate(time.Minute)))
	return windows{minute.Add(-2 * length), minute.Add(-length), now}
}

// seconds returns how long a part of a window is known.
func (h *history) seconds(from, to time.Time) float64 {
	if from.Before(h.began) {
		from = h.began
	}
	return max(0, to.Sub(from).Seconds())
}

// rates returns how fast counters grow, per second, by the last samples.
func (h *history) rates() map[series]float64 {
	sum, seconds := make(map[series]float64), 0.0
	points := h.points[len(h.points)-len(h.recent):]
	for i, grown := range h.recent {
		if points[i].seconds == 0 {
			continue // the first one: nobody knows of how long it is
		}
		seconds += points[i].seconds
		for k, d := range grown {
			sum[k] += d
		}
	}
	for k := range sum {
		sum[k] /= seconds
	}
	return sum
}

// chart draws lines over the points there are, each bin of as many as it takes for all to fit.
func (h *history) chart(name, unit string, names []string, value func(points []point) []float64) Chart {
	per := max(1, (len(h.points)+chartBins-1)/chartBins)
	c := Chart{Name: name, Unit: unit, StepSeconds: int64(per) * int64(Every/time.Second)}
	for _, n := range names {
		c.Lines = append(c.Lines, Line{Name: n})
	}
	if len(h.points) == 0 {
		return c
	}
	c.End = h.points[len(h.points)-1].at
	for i := len(h.points) % per; i < len(h.points); i += per {
		for j, v := range value(h.points[i : i+per]) {
			c.Lines[j].Values = append(c.Lines[j].Values, Value(v))
		}
	}
	for j, v := range value(h.points[max(0, len(h.points)-lately):]) {
		c.Lines[j].Now = Value(v)
	}
	return c
}

// perSecond is a line of what happened.
func perSecond(of func(*point) float64) func([]point) []float64 {
	return func(points []point) []float64 {
		sum, seconds := 0.0, 0.0
		for i := range points {
			if points[i].seconds > 0 {
				sum += of(&points[i])
				seconds += points[i].seconds
			}
		}
		if seconds == 0 {
			return []float64{math.NaN()}
		}
		return []float64{sum / seconds}
	}
}

// quantiles are lines of how long things took: the median and what one in a hundred exceeds.
func (h *history) quantiles(hist int) func([]point) []float64 {
	return func(points []point) []float64 {
		buckets := make([]float64, len(h.bounds[hist])+1)
		for i := range points {
			for j, n := range points[i].hists[hist] {
				buckets[j] += n
			}
		}
		return []float64{quantile(.5, h.bounds[hist], buckets), quantile(.99, h.bounds[hist], buckets)}
	}
}
