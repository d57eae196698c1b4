package pipeline

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/push"
)

// decisionCounters count decisions on pushes. What a push calls itself is up to who
// made it, so only names of the policy become labels.
type decisionCounters struct {
	byReason map[push.Outcome]prometheus.Counter
	consent  map[push.ConsentState]prometheus.Counter
	classes  *prometheus.CounterVec
	groups   *prometheus.CounterVec
	followed policyCounters // of the last policy; Enforce alone uses it
}

// policyCounters count decisions under one policy.
type policyCounters struct {
	byClass map[classLabels]prometheus.Counter
	byGroup map[groupLabels]prometheus.Counter
}

type classLabels struct {
	class, channel string
	word           push.Word
}

type groupLabels struct {
	group string
	word  push.Word
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
		byReason: make(map[push.Outcome]prometheus.Counter),
		consent:  make(map[push.ConsentState]prometheus.Counter),
		classes: vec("weir_push_decisions_by_class_total",
			"Decisions on pushes by class and channel; other: one that the policy does not know.", "class", "channel", "decision"),
		groups: vec("weir_push_decisions_by_group_total",
			"Decisions on pushes by the group of the user; none: it was not asked for, several: event and profile name two.", "group", "decision"),
	}
	reasons := vec("weir_push_decisions_total", "Decisions on pushes.", "decision", "reason")
	checks := vec("weir_push_consent_checks_total", "Pushes for which the user's consent was looked up, by what it said; what was denied before that is not among them.", "result")
	for _, s := range push.ConsentStates() {
		c.consent[s] = checks.WithLabelValues(string(s))
	}
	for _, o := range push.Outcomes() {
		c.byReason[o] = reasons.WithLabelValues(string(o.Decision), string(o.Reason))
	}
	return c
}

// follow returns the counters of a policy, at zero before the first push, and ends the series of
// names that it does not have. A batch that began under another one may still count there,
// where nobody sees it.
func (c *decisionCounters) follow(p *push.Policy) policyCounters {
	n := policyCounters{make(map[classLabels]prometheus.Counter), make(map[groupLabels]prometheus.Counter)}
	for _, word := range []push.Word{push.Allow, push.Defer, push.Deny} {
		for _, class := range append(p.Classes(), otherName) {
			for _, channel := range append(p.Channels(), otherName) {
				n.byClass[classLabels{class, channel, word}] = c.classes.WithLabelValues(class, channel, string(word))
			}
		}
		for _, group := range append(p.Groups(), noGroup, manyGroups) {
			n.byGroup[groupLabels{group, word}] = c.groups.WithLabelValues(group, string(word))
		}
	}
	for l := range c.followed.byClass {
		if n.byClass[l] == nil {
			c.classes.DeleteLabelValues(l.class, l.channel, string(l.word))
		}
	}
	for l := range c.followed.byGroup {
		if n.byGroup[l] == nil {
			c.groups.DeleteLabelValues(l.group, string(l.word))
		}
	}
	c.followed = n
	return n
}

// count counts a decision on a push under a policy, by the counters of that policy.
func (c *decisionCounters) count(p *push.Policy, n policyCounters, r *push.Request, d *push.Decision) {
	if reason := c.byReason[push.Outcome{Decision: d.Decision, Reason: d.Reason}]; reason != nil { // always, by push.Outcomes
		reason.Inc()
	}
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
	if by := n.byClass[classLabels{class, channel, d.Decision}]; by != nil {
		by.Inc()
	}
	group := d.Group
	switch {
	case group == "":
		group = noGroup
	case strings.Contains(group, "+"):
		group = manyGroups
	}
	if by := n.byGroup[groupLabels{group, d.Decision}]; by != nil {
		by.Inc()
	}
}
