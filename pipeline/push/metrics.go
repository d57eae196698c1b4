package push

import (
	"sync"
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
	recalls     prometheus.Counter
	skew        prometheus.Gauge
	lag         prometheus.Gauge
	trusted     prometheus.Gauge
	identities  prometheus.Counter
	eviction    prometheus.Gauge
	tries       prometheus.Histogram
	entries     prometheus.Histogram
	unconfirmed prometheus.Counter
	limits      *prometheus.HistogramVec

	mu    sync.Mutex
	named map[string]prometheus.Observer // series of limits

	errors   map[string]prometheus.Counter
	damaged  map[string]prometheus.Counter
	profiles map[bool]prometheus.Counter
}

// The kinds of errors of the store.
const (
	kindTimeout    = "timeout"
	kindConnection = "connection"
	kindMemory     = "memory"
	kindReply      = "reply"
	kindConflict   = "conflict"

	kindUnconfirmed = "unconfirmed"
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
		recalls:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_recalls_total", Help: "Allowed pushes called back because the user withdrew consent shortly afterwards, those found again after a crash included."}),
		lag:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_consent_view_lag_seconds", Help: "Age of the oldest consent change of the batch in hand, or of the last one when it was in effect."}),
		trusted:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_consent_view_trusted", Help: "1 while what Redis holds of consent is known to be complete, 0 while pushes that need consent wait."}),
		identities: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_redis_identity_changes_total", Help: "Times a Redis turned out to be another server, or another run of it, than before."}),
		skew:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_clock_skew_seconds", Help: "How far the clock of Redis is ahead of ours, of several the one farthest away."}),
		eviction:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_redis_eviction_unsafe", Help: "1 while a Redis may throw records away when memory is short, which lifts caps and loses consent."}),
		tries: histogram("weir_push_store_tries", "How often a batch was read and committed until all of it was; more than once because others changed the same users.",
			[]float64{1, 2, 3, 5, 8, 13, 21, 34, maxTries}),
		entries: histogram("weir_push_log_entries", "Entries of a send log when it was written.",
			[]float64{1, 2, 4, 8, 16, 32, 64, maxLogBound, maxEntries}),
		unconfirmed: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_unconfirmed_total", Help: "Allowed pushes that no replica confirmed in time, under a policy with durability: replicated."}),
		limits: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_push_limit_utilisation", Help: "Share of a limit that a user has used once a push is decided, by limit of the policy in force; 1 is all of it.",
			Buckets:                     []float64{.25, .5, .75, .9, 1},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{"limit"}),
		errors:   make(map[string]prometheus.Counter),
		damaged:  make(map[string]prometheus.Counter),
		profiles: make(map[bool]prometheus.Counter),
	}
	reg.MustRegister(m.replays, m.refunds, m.recalls, m.conflicts, m.lag, m.trusted, m.identities, m.skew, m.eviction, m.unconfirmed, m.limits)
	errs := vec("weir_push_store_errors_total", "Batches that Redis did not take, by kind.", "kind")
	for _, k := range []string{kindTimeout, kindConnection, kindMemory, kindReply, kindConflict, kindUnconfirmed} {
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

// limitsOf returns the series of the policy's limits, new ones at zero, and ends
// those of limits it does not have. A batch that began under another policy may
// still hold one of them and write to it; nobody sees that.
func (m *metrics) limitsOf(p *Policy) map[string]prometheus.Observer {
	m.mu.Lock()
	defer m.mu.Unlock()
	limits := make(map[string]prometheus.Observer)
	for id := range p.limitIDs() {
		limits[id] = m.limits.WithLabelValues(id)
	}
	for id := range m.named {
		if limits[id] == nil {
			m.limits.DeleteLabelValues(id)
		}
	}
	m.named = limits
	return limits
}

// fallbackMetrics are what operators see of outages of Redis.
type fallbackMetrics struct {
	mode      prometheus.Gauge
	decisions map[outageRule]prometheus.Counter
	reapplied prometheus.Counter
	overcap   map[BreachCause]prometheus.Counter
}

func newFallbackMetrics(reg prometheus.Registerer, pending func() float64) *fallbackMetrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &fallbackMetrics{
		mode: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_store_mode",
			Help: "0: pushes are decided by Redis. 1: Redis is away, and they are decided by the policy's rule for that."}),
		decisions: make(map[outageRule]prometheus.Counter),
		reapplied: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_reapplied_total",
			Help: "Pushes allowed while Redis was away that were entered into send logs afterwards."}),
		overcap: make(map[BreachCause]prometheus.Counter),
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_push_degraded_decisions_total",
		Help: "Decisions made while Redis was away, by what the policy says of their class for that."}, []string{"rule"})
	for _, r := range []outageRule{outageHold, outageLocal, outageOpen, outageDeny} {
		m.decisions[r] = decisions.WithLabelValues(string(r))
	}
	overcap := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_push_overcap_total",
		Help: "Breaches booked: limits of users of which more was allowed than they allow."}, []string{"cause"})
	for _, c := range BreachCauses() {
		m.overcap[c] = overcap.WithLabelValues(string(c))
	}
	reg.MustRegister(m.mode, m.reapplied, decisions, overcap, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_push_reapply_pending",
		Help: "Pushes allowed while Redis is away that are to be entered into send logs when it is back.",
	}, pending))
	return m
}
