package pipeline

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/push"
)

// decisionCounters count decisions on pushes. What a push calls itself is up to who
// made it, so only names of the policy become labels.
type decisionCounters struct {
	byReason *prometheus.CounterVec
	byClass  *prometheus.CounterVec
	byGroup  *prometheus.CounterVec
	consent  map[push.ConsentState]prometheus.Counter
}

// Labels of what has no name in the policy.
const (
	otherName  = "other"   // a class or a channel that the policy does not know
	noGroup    = "none"    // something decided before the group was looked at
	manyGroups = "several" // event and profile disagree
)

func newDecisionCounters(reg prometheus.Registerer) *decisionCounters {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	c := &decisionCounters{
		byReason: vec("weir_push_decisions_total", "Decisions on pushes.", "decision", "reason"),
		byClass: vec("weir_push_decisions_by_class_total",
			"Decisions on pushes by class and channel; other: one that the policy does not know.", "class", "channel", "decision"),
		byGroup: vec("weir_push_decisions_by_group_total",
			"Decisions on pushes by the group of the user; none: it was not asked for, several: event and profile name two.", "group", "decision"),
		consent: make(map[push.ConsentState]prometheus.Counter),
	}
	checks := vec("weir_push_consent_checks_total", "Pushes for which the user's consent was looked up, by what it said; what was denied before that is not among them.", "result")
	for _, s := range push.ConsentStates() {
		c.consent[s] = checks.WithLabelValues(string(s))
	}
	for _, o := range push.Outcomes() {
		c.byReason.WithLabelValues(string(o.Decision), string(o.Reason))
	}
	return c
}

// follow creates the series of a policy, so that they exist before the first push.
func (c *decisionCounters) follow(p *push.Policy) {
	if p == nil {
		return
	}
	for _, word := range []push.Word{push.Allow, push.Defer, push.Deny} {
		for _, class := range append(p.Classes(), otherName) {
			for _, channel := range append(p.Channels(), otherName) {
				c.byClass.WithLabelValues(class, channel, string(word))
			}
		}
		for _, group := range append(p.Groups(), noGroup, manyGroups) {
			c.byGroup.WithLabelValues(group, string(word))
		}
	}
}

// count counts a decision on a push under a policy.
func (c *decisionCounters) count(p *push.Policy, r *push.Request, d *push.Decision) {
	word := string(d.Decision)
	c.byReason.WithLabelValues(word, string(d.Reason)).Inc()
	if checked := c.consent[d.Consent.State]; checked != nil {
		checked.Inc()
	}
	class, channel := otherName, otherName
	if p.KnowsClass(r.Class) {
		class = string(r.Class)
	}
	if p.KnowsChannel(r.Channel) {
		channel = string(r.Channel)
	}
	c.byClass.WithLabelValues(class, channel, word).Inc()
	group := d.Group
	switch {
	case group == "":
		group = noGroup
	case strings.Contains(group, "+"):
		group = manyGroups
	}
	c.byGroup.WithLabelValues(group, word).Inc()
}
