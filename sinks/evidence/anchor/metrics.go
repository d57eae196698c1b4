package anchor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Alarm says in one word why another log is not to be believed.
type Alarm string

// The alarms.
const (
	RolledBack   Alarm = "rolled-back"  // it published fewer records than before
	Forked       Alarm = "forked"       // it signed two histories of one size
	Inconsistent Alarm = "inconsistent" // its proof does not show that it only grew
	OtherKey     Alarm = "other-key"    // another key signs under its name
)

// Alarms returns all of them.
func Alarms() []Alarm { return []Alarm{RolledBack, Forked, Inconsistent, OtherKey} }

// Metrics are those of a [Publisher] and a [Watcher].
type Metrics struct {
	publishErrors prometheus.Counter
	read          prometheus.Gauge
	readErrors    prometheus.Counter
	bad           prometheus.Counter
	peers         prometheus.Gauge
	alarms        *prometheus.CounterVec
}

// NewMetrics registers them. waiting returns for how long the oldest head that is
// not published has waited.
func NewMetrics(reg prometheus.Registerer, waiting func() time.Duration) *Metrics {
	m := &Metrics{
		publishErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_evidence_publish_errors_total", Help: "Attempts to publish a signed head of the evidence log that failed. They are repeated; no append waits for them."}),
		read:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_evidence_heads_read_timestamp_seconds", Help: "When the topic of heads was last looked at."}),
		readErrors:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_evidence_heads_read_errors_total", Help: "Attempts to look at the topic of heads that failed."}),
		bad:           prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_evidence_heads_bad_messages_total", Help: "Messages on the topic of heads that are none, or that their log has not signed."}),
		peers:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_evidence_peers", Help: "Other evidence logs whose heads are on the topic."}),
		alarms:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_evidence_peer_alarms_total", Help: "Other evidence logs that were found to be rolled back, forked, inconsistent or signed by another key; each is on record as an incident."}, []string{"alarm"}),
	}
	for _, a := range Alarms() {
		m.alarms.WithLabelValues(string(a))
	}
	unpublished := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_unpublished_seconds",
		Help: "For how long the oldest signed head of the evidence log that is not published has waited; 0 if all are.",
	}, func() float64 { return waiting().Seconds() })
	reg.MustRegister(m.publishErrors, m.read, m.readErrors, m.bad, m.peers, m.alarms, unpublished)
	return m
}
