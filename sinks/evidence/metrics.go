package evidence

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration       prometheus.Histogram
	errors         prometheus.Counter
	records        map[Kind]prometheus.Counter
	other          prometheus.Counter // of kinds unknown to this version
	lastCheckpoint prometheus.Gauge
	lastSeal       prometheus.Gauge
	lastScrub      prometheus.Gauge
	sealErrors     prometheus.Counter
	sealedBytes    *prometheus.CounterVec // by class
	damaged        prometheus.Counter

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

			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
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
		lastSeal: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_evidence_last_seal_timestamp_seconds",
			Help: "When a segment of the evidence log was last sealed; 0 if none was since the start.",
		}),
		lastScrub: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_evidence_last_scrub_timestamp_seconds",
			Help: "When all evidence was last read again to find what the disk has changed, or since when that is awaited for the first time; 0 if it is turned off.",
		}),
		sealErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_evidence_seal_errors_total",
			Help: "Attempts to seal a segment of the evidence log that failed. They are repeated.",
		}),
		sealedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_evidence_sealed_bytes_total",
			Help: "Bytes of body files written by sealing the evidence log, by retention class.",
		}, []string{"class"}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_evidence_damaged_total",
			Help: "Places in the evidence that were found not to be what was written. Each has a damaged record.",
		}),
		registerer: reg,
	}
	for _, c := range []Class{ClassContent, ClassPush, ClassPolicy} {
		m.sealedBytes.WithLabelValues(c.String())
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
	length := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_log_records",
		Help: "Durable records of the evidence log, since its beginning.",
	}, func() float64 {
		l.stateMu.Lock()
		defer l.stateMu.Unlock()
		return float64(l.tree.n)
	})
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_log_bytes",
		Help: "Size of the evidence log's segments.",
	}, func() float64 {
		l.stateMu.Lock()
		defer l.stateMu.Unlock()
		return float64(l.older + l.segSize)
	})
	backlog := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_unsealed_segments",
		Help: "Full segments of the evidence log that are not sealed yet.",
	}, func() float64 {
		l.stateMu.Lock()
		defer l.stateMu.Unlock()
		return float64(len(l.unsealed))
	})
	free := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_disk_free_bytes",
		Help: "Room left on the file system that holds the evidence.",
	}, func() float64 {
		n, err := l.calls.free(l.o.Dir)
		if err != nil {
			return math.NaN()
		}
		return float64(n)
	})
	scarce := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_disk_full",
		Help: "1 while the disk of the evidence is nearly full and records about people are not accepted.",
	}, func() float64 {
		if l.scarce.Load() {
			return 1
		}
		return 0
	})
	m.collectors = []prometheus.Collector{m.duration, m.errors, records, m.lastCheckpoint, unsigned, length, size,
		free, scarce, backlog, m.lastSeal, m.lastScrub, m.sealErrors, m.sealedBytes, m.damaged}
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
