package status

import (
	"math"
	"strconv"

	dto "github.com/prometheus/client_model/go"
)

// The metrics that the page is made of. A test holds them against what a daemon registers.
const (
	mMessages   = "weir_messages_total"
	mDecisions  = "weir_push_decisions_total"
	mHits       = "weir_hits_total"
	mDead       = "weir_dead_letter_messages_total"
	mLag        = "weir_consumer_lag_messages"
	mBehind     = "weir_consumer_lag_seconds"
	mAssigned   = "weir_assigned_partitions"
	mStopped    = "weir_stopped_partitions"
	mStalled    = "weir_stalled_partitions"
	mInFlight   = "weir_in_flight_messages"
	mUnbalanced = "weir_ledger_unbalanced_total"
	mPanics     = "weir_panics_total"
	mDiverged   = "weir_match_divergence_total"
	mLoaded     = "weir_ruleset_last_load_successful"
	mTripped    = "weir_rules_tripped"
	mDamaged    = "weir_evidence_damaged_total"

	mAge    = "weir_message_age_seconds"
	mJudge  = "weir_match_duration_seconds"
	mPush   = "weir_push_batch_duration_seconds"
	mAppend = "weir_evidence_append_duration_seconds"

	// Only where pushes are judged, where heads are published.
	mTrusted     = "weir_push_consent_view_trusted"
	mHalted      = "weir_push_halted"
	mUnpublished = "weir_evidence_unpublished_seconds"
)

// Metrics returns the names of the metrics that the page needs of every daemon, and those of some only.
func Metrics() (always, sometimes []string) {
	return []string{mMessages, mDecisions, mHits, mDead, mLag, mBehind, mAssigned, mStopped, mStalled, mInFlight, mUnbalanced, mPanics,
		mDiverged, mLoaded, mTripped, mDamaged, mAge, mJudge, mAppend}, []string{mPush, mTrusted, mHalted, mUnpublished}
}

// series is a counter: a metric and the values of its labels, in the order in which they are named here. Hits
// of a rule are counted under the metric [ruleSeries].
type series struct{ metric, a, b string }

// ruleSeries stands for what metrics do not have: rules are too many for labels.
const ruleSeries = "rule"

// labelsOf names the labels of the counters that are remembered.
var labelsOf = map[string][2]string{
	mMessages:   {"stream", "outcome"},
	mDecisions:  {"decision", "reason"},
	mHits:       {"category"},
	mDead:       {"reason"},
	mUnbalanced: {}, mPanics: {}, mDiverged: {}, mDamaged: {},
}

// sample is what the registry said at one moment.
type sample struct {
	counts     map[series]float64
	gauges     map[string]float64 // without labels
	partitions []Partition
	hists      [numHists]histogram
}

// The histograms that become charts.
const (
	histAge = iota
	histJudge
	histPush
	histAppend
	numHists
)

var histOf = map[string]int{mAge: histAge, mJudge: histJudge, mPush: histPush, mAppend: histAppend}

// histogram is the sum of a metric's histograms over all labels: bucket i counts what was at most bounds[i]
// and more than the bound before, the last one what was more than all.
type histogram struct {
	bounds  []float64
	buckets []float64
}

// read takes what the page needs from what a registry has gathered.
func read(families []*dto.MetricFamily) *sample {
	s := &sample{counts: make(map[series]float64), gauges: make(map[string]float64)}
	places := make(map[[2]string]int) // in partitions
	for _, f := range families {
		name := f.GetName()
		if labels, ok := labelsOf[name]; ok {
			for _, m := range f.Metric {
				s.counts[series{name, label(m, labels[0]), label(m, labels[1])}] += m.GetCounter().GetValue()
			}
			continue
		}
		if h, ok := histOf[name]; ok {
			for _, m := range f.Metric {
				s.hists[h].add(m.GetHistogram())
			}
			continue
		}
		switch name {
		case mLag, mBehind:
			for _, m := range f.Metric {
				key := [2]string{label(m, "topic"), label(m, "partition")}
				i, ok := places[key]
				if !ok {
					i = len(s.partitions)
					places[key] = i
					n, _ := strconv.Atoi(key[1]) // a label of ours
					s.partitions = append(s.partitions, Partition{Topic: key[0], Partition: n})
				}
				if name == mLag {
					s.partitions[i].Lag = int64(m.GetGauge().GetValue())
				} else {
					s.partitions[i].Seconds = m.GetGauge().GetValue()
				}
			}
		case mAssigned, mStopped, mStalled, mInFlight, mLoaded, mTripped, mTrusted, mHalted, mUnpublished:
			for _, m := range f.Metric {
				s.gauges[name] += m.GetGauge().GetValue()
			}
		}
	}
	return s
}

func label(m *dto.Metric, name string) string {
	if name == "" {
		return ""
	}
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// add adds a histogram with the same bounds; one with others is left out.
func (h *histogram) add(d *dto.Histogram) {
	if d == nil || len(d.Bucket) == 0 {
		return
	}
	bounds := make([]float64, 0, len(d.Bucket))
	for _, b := range d.Bucket {
		if !math.IsInf(b.GetUpperBound(), 1) {
			bounds = append(bounds, b.GetUpperBound())
		}
	}
	if h.bounds == nil {
		h.bounds, h.buckets = bounds, make([]float64, len(bounds)+1)
	}
	if len(bounds) != len(h.bounds) {
		return
	}
	before := uint64(0)
	for i := range bounds {
		h.buckets[i] += float64(d.Bucket[i].GetCumulativeCount() - before)
		before = d.Bucket[i].GetCumulativeCount()
	}
	h.buckets[len(bounds)] += float64(d.GetSampleCount() - before)
}

// since returns what was counted after another sample of the same histogram, nil if nothing was.
func (h histogram) since(before histogram) []float64 {
	var out []float64
	for i, n := range h.buckets {
		if i < len(before.buckets) {
			n -= before.buckets[i]
		}
		if n > 0 && out == nil {
			out = make([]float64, len(h.buckets))
		}
		if n > 0 {
			out[i] = n
		}
	}
	return out
}

// quantile estimates a quantile as Prometheus does: as if what is in a bucket were spread evenly over it. It is
// NaN of nothing, and the last bound where it lies beyond that.
func quantile(q float64, bounds, buckets []float64) float64 {
	total := 0.0
	for _, n := range buckets {
		total += n
	}
	if total == 0 || len(bounds) == 0 {
		return math.NaN()
	}
	rank, seen := q*total, 0.0
	for i, n := range buckets {
		if seen+n < rank || n == 0 {
			seen += n
			continue
		}
		if i == len(bounds) {
			break
		}
		lower := 0.0
		if i > 0 {
			lower = bounds[i-1]
		}
		return lower + (bounds[i]-lower)*(rank-seen)/n
	}
	return bounds[len(bounds)-1]
}
