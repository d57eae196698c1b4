package evidence

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration       prometheus.Histogram
	errors         prometheus.Counter
	records        map[Kind]prometheus.Counter
	other          prometheus.Counter // of kinds unknown to this version
	lastCheckpoint prometheus.Gauge

	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

// newMetrics registers the log's metrics. Two logs in one process need two
// registerers.
func newMetrics(reg prometheus.Registerer, l *Log) *metrics {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_evidence_records_total",
		Help: "Evidence records made durable, by kind.",
	}, []string{"kind"})
	m := &metrics{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "weir_evidence_append_duration_seconds",
			Help:    "Time until an append of evidence was durable.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_evidence_append_errors_total",
			Help: "Appends of evidence that failed because the log is broken. It stays broken until restart.",
		}),
		records: make(map[Kind]prometheus.Counter),
		other:   records.WithLabelValues("other"),
		lastCheckpoint: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_evidence_last_checkpoint_timestamp_seconds",
			Help: "When the evidence log was last signed.",
		}),
		registerer: reg,
	}
	for _, k := range Kinds() {
		m.records[k] = records.WithLabelValues(k.String())
	}
	unsigned := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_unsigned_records",
		Help: "Durable evidence records that no checkpoint covers yet.",
	}, func() float64 {
		l.stateMu.Lock()
		defer l.stateMu.Unlock()
		return float64(l.tree.n - l.signed.size)
	})
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_log_bytes",
		Help: "Size of the evidence log's segments.",
	}, func() float64 {
		l.stateMu.Lock()
		defer l.stateMu.Unlock()
		return float64(l.older + l.segSize)
	})
	m.collectors = []prometheus.Collector{m.duration, m.errors, records, m.lastCheckpoint, unsigned, size}
	if reg != nil {
		reg.MustRegister(m.collectors...)
	}
	return m
}

func (m *metrics) count(recs []Record) {
	for i := range recs {
		c, ok := m.records[recs[i].Kind]
		if !ok {
			c = m.other
		}
		c.Inc()
	}
}

// unregister lets a log be opened again with the same registerer.
func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}
