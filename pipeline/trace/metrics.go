package trace

import "github.com/prometheus/client_golang/prometheus"

// metrics are what operators see of spans.
type metrics struct{ exported, dropped, failed prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_trace_spans_total",
		Help: "Spans of flagged messages, by what became of them: exported to the receiver, dropped because it is too slow, failed because it refused them or did not answer."}, []string{"result"})
	if reg != nil {
		reg.MustRegister(spans)
	}
	return &metrics{spans.WithLabelValues("exported"), spans.WithLabelValues("dropped"), spans.WithLabelValues("failed")}
}
