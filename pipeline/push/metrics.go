package push

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what operators see of the store. Decisions themselves are counted
// by the pipeline.
type metrics struct {
	batches     prometheus.Histogram
	replays     prometheus.Counter
	refunds     prometheus.Counter
	conflicts   prometheus.Counter
	withdrawals prometheus.Histogram
	skew        prometheus.Gauge
	errors      map[string]prometheus.Counter
	damaged     map[string]prometheus.Counter
	profiles    map[bool]prometheus.Counter
}

// The kinds of errors of the store.
const (
	kindTimeout    = "timeout"
	kindConnection = "connection"
	kindMemory     = "memory"
	kindReply      = "reply"
	kindConflict   = "conflict"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour})
		reg.MustRegister(h)
		return h
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		batches: histogram("weir_push_batch_duration_seconds", "Time to decide a batch of pushes, Redis included.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, .7, 1}),
		replays:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_replays_total", Help: "Pushes that had been allowed before and consumed nothing."}),
		refunds:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_refunds_total", Help: "Pushes given back because they were cancelled before they were handed over."}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_store_conflicts_total", Help: "Commits that found a user changed by somebody else and were tried again."}),
		withdrawals: histogram("weir_push_withdrawal_seconds", "From the time a user withdrew consent to the time it was in effect.",
			[]float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600}),
		skew:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_clock_skew_seconds", Help: "How far the clock of Redis is ahead of ours, of several the one farthest away."}),
		errors:   make(map[string]prometheus.Counter),
		damaged:  make(map[string]prometheus.Counter),
		profiles: make(map[bool]prometheus.Counter),
	}
	reg.MustRegister(m.replays, m.refunds, m.conflicts, m.skew)
	errs := vec("weir_push_store_errors_total", "Batches that Redis did not take, by kind.", "kind")
	for _, k := range []string{kindTimeout, kindConnection, kindMemory, kindReply, kindConflict} {
		m.errors[k] = errs.WithLabelValues(k)
	}
	damaged := vec("weir_push_damaged_records_total", "Times a record in Redis could not be read.", "record")
	for _, r := range []string{"profile", "log"} {
		m.damaged[r] = damaged.WithLabelValues(r)
	}
	profiles := vec("weir_push_profiles_total", "Consent changes by what became of them: stale ones were not newer than what was known.", "result")
	m.profiles[true] = profiles.WithLabelValues("applied")
	m.profiles[false] = profiles.WithLabelValues("stale")
	return m
}
