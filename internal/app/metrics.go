package app

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weir-moderation/weir/pipeline"
)

// newRegistry returns a registry with what every Go process shows and the build.
func newRegistry(build string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_build_info", Help: "Always 1; the version of Weir, the revision it was built from, if that is known, and the version of Go are in the labels."}, []string{"version", "revision", "goversion"})
	info.WithLabelValues(build, revision(), runtime.Version()).Set(1)
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
}

// revision returns what the Go tool recorded of the source; empty where it recorded nothing.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// producerMetrics are what operators see of what is written to Kafka.
type producerMetrics struct {
	answers  prometheus.Histogram
	messages map[string]prometheus.Counter // by topic
	bytes    map[string]prometheus.Counter
}

// newProducerMetrics registers them; queued returns how many bytes wait to be acknowledged.
func newProducerMetrics(reg prometheus.Registerer, topics []string, queued func() float64) *producerMetrics {
	m := &producerMetrics{
		answers: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_produce_request_duration_seconds", Help: "Time a broker took to say that all replicas in sync have what one request brought, or why not.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}),
		messages: make(map[string]prometheus.Counter),
		bytes:    make(map[string]prometheus.Counter),
	}
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_produced_messages_total", Help: "Messages that all replicas in sync of an output topic have."}, []string{"topic"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_produced_bytes_total", Help: "Bytes of the record batches with those messages, as they lie in Kafka."}, []string{"topic"})
	for _, t := range topics {
		m.messages[t], m.bytes[t] = messages.WithLabelValues(t), bytes.WithLabelValues(t)
	}
	reg.MustRegister(m.answers, messages, bytes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_produce_queued_bytes", Help: "About how many bytes wait for the brokers to have them."}, queued))
	return m
}

func (m *producerMetrics) answered(took time.Duration) { m.answers.Observe(took.Seconds()) }

func (m *producerMetrics) taken(topic string, messages, bytes int) {
	m.messages[topic].Add(float64(messages))
	m.bytes[topic].Add(float64(bytes))
}

// reloadMetrics say what is in force and whether the last change was taken up.
type reloadMetrics struct {
	successful prometheus.Gauge
	timestamp  prometheus.Gauge
	rules      *prometheus.GaugeVec
	policy     *prometheus.GaugeVec
	count      prometheus.Gauge
	terms      prometheus.Gauge
	memory     prometheus.Gauge
	leftOut    prometheus.Gauge
}

func newReloadMetrics(reg prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_last_load_successful", Help: "1 if the last load of configuration, rules and policy was taken up, 0 if it was refused and the old ones stay."}),
		timestamp:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_last_load_success_timestamp_seconds", Help: "When rules and policy were last put in force."}),
		rules:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ruleset_info", Help: "Always 1; the version of the rules in force, which is what the digest of their text begins with, and the digest of what was compiled of it are in the labels."}, []string{"version", "digest"}),
		policy:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_push_policy_info", Help: "Always 1; version and digest of the push policy in force are in the labels."}, []string{"version", "digest"}),
		count:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_rules", Help: "Live and shadow rules in force."}),
		terms:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_terms", Help: "Terms of the live and shadow rules in force."}),
		memory:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_automaton_bytes", Help: "About how much memory the automaton of the rules in force takes, and that of the second opinion."}),
		leftOut:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ruleset_second_opinion_left_out_terms", Help: "Terms of severity critical that the second opinion has no room for in its default budget."}),
	}
	reg.MustRegister(m.successful, m.timestamp, m.rules, m.policy, m.count, m.terms, m.memory, m.leftOut)
	return m
}

// loaded notes that a load was taken up.
func (m *reloadMetrics) loaded(now time.Time) {
	m.successful.Set(1)
	m.timestamp.Set(float64(now.Unix()))
}

// versionDigits is how much of the digest of its text names a rule set among those of a
// deployment, as commands show it.
const versionDigits = 12

// inForce shows what is in force, and the version of its text.
func (m *reloadMetrics) inForce(f pipeline.Force, version string) {
	m.rules.Reset()
	m.rules.WithLabelValues(version, f.Rules.Digest()).Set(1)
	m.count.Set(float64(len(f.Rules.Rules())))
	st := f.Rules.Stats()
	m.terms.Set(float64(st.Terms))
	m.memory.Set(float64(st.Memory + st.Second.Memory))
	m.leftOut.Set(float64(st.Second.LeftOut))
	m.policy.Reset()
	if f.Policy != nil {
		m.policy.WithLabelValues(f.Policy.Version(), f.Policy.Digest()).Set(1)
	}
}
