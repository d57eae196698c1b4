package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weir-moderation/weir/pipeline"
)

// newRegistry returns a registry with what every Go process shows and the build.
func newRegistry(build string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_build_info", Help: "Always 1; the version is in the label."}, []string{"version"})
	info.WithLabelValues(build).Set(1)
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
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
		rules:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ruleset_info", Help: "Always 1; the digest of the rule set in force is in the label."}, []string{"digest"}),
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

// inForce shows what is in force.
func (m *reloadMetrics) inForce(f pipeline.Force) {
	m.rules.Reset()
	m.rules.WithLabelValues(f.Rules.Digest()).Set(1)
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
