package ask

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// result is how a request ended, in one word.
type result int

const (
	answered result = iota // 200: a verdict
	refused                // 4xx: not an event that is judged here
	denied                 // not let in
	dead                   // it can never be judged
	full                   // 503: too many in hand
	tooLate                // 503: something did not take it in time
	stopping               // 503
	numResults
)

var resultWords = [numResults]string{"answered", "refused", "denied", "unjudged", "overloaded", "late", "stopping"}

// metrics are what operators see of the answers.
type metrics struct {
	requests  [numResults]prometheus.Counter
	durations [numResults]prometheus.Observer
	batches   prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, inHand func() float64) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_api_request_duration_seconds",
		Help:                        "Time to answer a request for a verdict, by how it ended.",
		Buckets:                     []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{"result"})
	batches := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_api_batch_requests",
		Help:                        "Requests for a verdict that were judged together, of each batch: they share one fsync and one produce request.",
		Buckets:                     []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_api_requests_total",
		Help: "Requests for a verdict, by how they ended. Refused are no events that are judged here; overloaded, late and stopping are 503: nobody was told that anything passes."}, []string{"result"})
	reg.MustRegister(requests, durations, batches, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_api_requests_in_hand",
		Help: "Requests for a verdict that are being read or judged. At api.max_requests others are refused."}, inHand))
	m := &metrics{batches: batches}
	for r, word := range resultWords {
		m.requests[r] = requests.WithLabelValues(word)
		m.durations[r] = durations.WithLabelValues(word)
	}
	return m
}

func (m *metrics) took(r result, began time.Time) {
	m.requests[r].Inc()
	m.durations[r].Observe(time.Since(began).Seconds())
}
