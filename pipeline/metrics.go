package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
)

// metrics are what operators see of the pipeline. Every label has a closed set
// of values and every child is resolved once: on the hot path an increment
// costs some 10 ns, a lookup ten times that.
type metrics struct {
	fetched    map[event.Kind]prometheus.Counter
	messages   map[event.Kind]*[numOutcomes]prometheus.Counter
	verdicts   map[event.Kind]*actionCounters
	bytes      map[event.Kind]prometheus.Counter
	ages       map[event.Kind]prometheus.ExemplarObserver
	durations  map[event.Kind]prometheus.Observer
	handling   map[event.Kind]prometheus.Observer
	writing    map[string]prometheus.Observer
	inFlight   prometheus.Gauge
	stalled    prometheus.Gauge
	panics     prometheus.Counter
	diverged   prometheus.Counter
	undecided  prometheus.Counter
	unbalanced prometheus.Counter
	dead       map[Reason]prometheus.Counter
	retried    map[string]prometheus.Counter
	hitsTotal  *prometheus.CounterVec
	shadowHits *prometheus.CounterVec
	labelled   map[hitLabels]bool // series of hits that there are; Enforce alone uses it
	byForm     []formCounter
	decisions  *decisionCounters
}

// actionCounts are how many events called for each action, actionCounters those of a stream.
type (
	actionCounts   [rules.Reject + 1]int64
	actionCounters [len(actionCounts{})]prometheus.Counter
)

// hitLabels are the labels of a series of hits.
type hitLabels struct{ category, severity string }

// ruleCounters count the hits of one rule; rules of one category and severity share
// them. In shadow there is another one than where the rule is live: whatever pages on
// weir_hits_total{severity="critical"} must not be woken by a rule on trial.
type ruleCounters struct{ live, shadow prometheus.Counter }

// formCounter counts the hits that took a form.
type formCounter struct {
	form.Form
	prometheus.Counter
}

// streams are the kinds of events that arrive on topics of their own.
var streams = [...]event.Kind{event.Post, event.Push, event.Consent, event.Outcome}

// newMetrics registers the metrics; open tells how many messages are in accounts that are
// not on record yet.
func newMetrics(reg prometheus.Registerer, sinks []NamedSink, open func() int64) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help, label string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{label})
		reg.MustRegister(h)
		return h
	}

	m := &metrics{
		fetched:    make(map[event.Kind]prometheus.Counter),
		messages:   make(map[event.Kind]*[numOutcomes]prometheus.Counter),
		verdicts:   make(map[event.Kind]*actionCounters),
		bytes:      make(map[event.Kind]prometheus.Counter),
		ages:       make(map[event.Kind]prometheus.ExemplarObserver),
		durations:  make(map[event.Kind]prometheus.Observer),
		handling:   make(map[event.Kind]prometheus.Observer),
		writing:    make(map[string]prometheus.Observer),
		labelled:   make(map[hitLabels]bool),
		inFlight:   gauge("weir_in_flight_messages", "Messages of batches that are being handled."),
		stalled:    gauge("weir_stalled_partitions", "Partitions that wait because an output, the evidence or Redis does not take what they have."),
		panics:     counter("weir_panics_total", "Panics while judging a message: bugs of Weir."),
		diverged:   counter("weir_match_divergence_total", "Hits of critical rules that only one of two engines found, of the events that are looked at twice: a bug of one of them. Must stay zero."),
		undecided:  counter("weir_rule_conditions_undecided_total", "Conditions of rules that had no answer for an event, because they cost too much or divided by zero. The hits stood."),
		unbalanced: counter("weir_ledger_unbalanced_total", "Batches whose messages do not each have exactly one outcome."),
		dead:       make(map[Reason]prometheus.Counter),
		retried:    make(map[string]prometheus.Counter),
		hitsTotal:  vec("weir_hits_total", "Hits of live rules.", "category", "severity"),
		shadowHits: vec("weir_shadow_hits_total", "Hits of shadow rules, which change nothing.", "category", "severity"),
		decisions:  newDecisionCounters(reg),
	}
	byForm := vec("weir_hits_by_form_total", "Hits of live rules by the forms in which the text had to be read. A hit that took several counts for each, so the sum is no number of hits.", "form")
	for f := form.Fold; f <= form.All; f <<= 1 {
		m.byForm = append(m.byForm, formCounter{f, byForm.WithLabelValues(f.String())})
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_ledger_open_messages",
		Help: "Messages of finished batches whose account is not in the evidence yet, so that their offsets cannot be committed.",
	}, func() float64 { return float64(open()) }))
	fetched := vec("weir_ledger_fetched_messages_total", "Messages of finished batches, control records and records of aborted transactions included: as many as weir_messages_total has over all outcomes.", "stream")
	messages := vec("weir_messages_total", "Messages by where they ended.", "stream", "outcome")
	verdicts := vec("weir_verdicts_total", "Posts and pushes that were judged, by what their content calls for. What became of a push is in weir_push_decisions_total.", "stream", "action")
	input := vec("weir_match_input_bytes_total", "Bytes of the messages that were decoded and matched, as they were received.", "stream")
	ages := histogram("weir_message_age_seconds", "Age of the oldest message of a batch when all its effects were durable, from its timestamp in Kafka. With the trace of that message as exemplar if it came in sampled.", "stream",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600})
	durations := histogram("weir_match_duration_seconds", "Time to decode, fold and match one batch, divided by its messages.", "stream",
		[]float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2})
	handling := histogram("weir_batch_duration_seconds", "Time from when a batch came in until all its effects were durable, waiting for outputs and for Redis included.", "stream",
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300})
	writing := histogram("weir_write_duration_seconds", "Time a sink took for one output, of a batch or of a checkpoint; each attempt counts.", "sink",
		[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10})
	for _, k := range streams {
		var row [numOutcomes]prometheus.Counter
		for o := range numOutcomes {
			row[o] = messages.WithLabelValues(k.String(), o.String())
		}
		m.fetched[k] = fetched.WithLabelValues(k.String())
		m.messages[k] = &row
		m.bytes[k] = input.WithLabelValues(k.String())
		m.ages[k] = ages.WithLabelValues(k.String()).(prometheus.ExemplarObserver)
		m.durations[k] = durations.WithLabelValues(k.String())
		m.handling[k] = handling.WithLabelValues(k.String())
		if k == event.Post || k == event.Push {
			var row actionCounters
			for a := range row {
				row[a] = verdicts.WithLabelValues(k.String(), rules.Action(a).String())
			}
			m.verdicts[k] = &row
		}
	}
	dead := vec("weir_dead_letter_messages_total", "Messages that can never be judged, by reason.", "reason")
	for _, r := range DeadLetterReasons() {
		m.dead[r.Reason] = dead.WithLabelValues(string(r.Reason))
	}
	retried := vec("weir_retries_total", "Repeated attempts to write or to ask, by what did not answer.", "target")
	m.retried["redis"] = retried.WithLabelValues("redis")
	for _, s := range sinks {
		m.retried[s.Name] = retried.WithLabelValues(s.Name)
		m.writing[s.Name] = writing.WithLabelValues(s.Name)
	}
	return m
}

// hitsOf returns the counters of every rule of a set, by its number: at zero before
// the first hit. Series that no rule of it has any more are ended; a batch that began
// under another set may still count there, where nobody sees it.
func (m *metrics) hitsOf(set *rules.Set) []ruleCounters {
	list := make([]ruleCounters, len(set.Rules()))
	had := m.labelled
	m.labelled = make(map[hitLabels]bool)
	for i, r := range set.Rules() {
		l := hitLabels{r.Category, r.Severity.String()}
		// Every rule can hit in shadow: users outside its roll-out, or when it has lost its action.
		list[i] = ruleCounters{m.hitsTotal.WithLabelValues(l.category, l.severity), m.shadowHits.WithLabelValues(l.category, l.severity)}
		m.labelled[l] = true
	}
	for l := range had {
		if !m.labelled[l] {
			m.hitsTotal.DeleteLabelValues(l.category, l.severity)
			m.shadowHits.DeleteLabelValues(l.category, l.severity)
		}
	}
	return list
}

// hits counts hits by the counters of the set that has found them.
func (m *metrics) hits(of []ruleCounters, list []rules.Hit) {
	for i := range list {
		h := &list[i]
		c := &of[h.Rule.Number()]
		if h.State == rules.Shadow {
			c.shadow.Inc()
			continue
		}
		c.live.Inc()
		f := h.Form
		if f != form.Fold {
			f &^= form.Fold // understood beside another
		}
		for j := range m.byForm {
			if f&m.byForm[j].Form != 0 {
				m.byForm[j].Inc()
			}
		}
	}
}

func (m *metrics) deadLetter(r Reason) {
	if c := m.dead[r]; c != nil {
		c.Inc()
	}
}

func (m *metrics) retries(target string) {
	if c := m.retried[target]; c != nil {
		c.Inc()
	}
}

// judged counts the bytes of a batch that was decoded and matched, and how long it took.
func (m *metrics) judged(b *Batch, input int, d time.Duration) {
	h := m.durations[b.Kind]
	if h == nil || len(b.Records) == 0 {
		return
	}
	h.Observe(d.Seconds() / float64(len(b.Records)))
	m.bytes[b.Kind].Add(float64(input))
}

// handled notes how long a batch took in all.
func (m *metrics) handled(k event.Kind, d time.Duration) {
	if h := m.handling[k]; h != nil {
		h.Observe(d.Seconds())
	}
}

// wrote notes how long a sink took for an output.
func (m *metrics) wrote(sink string, d time.Duration) {
	if h := m.writing[sink]; h != nil {
		h.Observe(d.Seconds())
	}
}

// actions counts what the contents of a batch called for.
func (m *metrics) actions(k event.Kind, n *actionCounts) {
	if row := m.verdicts[k]; row != nil {
		for a, c := range row {
			c.Add(float64(n[a]))
		}
	}
}

// age notes how old the message with these headers was. Its trace is the exemplar, if there is a trace
// to look at.
func (m *metrics) age(k event.Kind, d time.Duration, headers []event.Header) {
	h := m.ages[k]
	if h == nil {
		return
	}
	var exemplar prometheus.Labels
	if c := trace.Of(headers); c.Sampled() {
		exemplar = prometheus.Labels{"trace_id": c.ID()}
	}
	h.ObserveWithExemplar(max(0, d.Seconds()), exemplar)
}

func (m *metrics) count(k event.Kind, c Counts) {
	row := m.messages[k]
	if row == nil {
		return
	}
	m.fetched[k].Add(float64(c.Fetched))
	row[Passed].Add(float64(c.Passed))
	row[Flagged].Add(float64(c.Flagged))
	row[DeadLettered].Add(float64(c.DeadLettered))
	row[Skipped].Add(float64(c.Skipped))
}
