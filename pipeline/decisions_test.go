package pipeline

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/push"
)

// Decisions are counted by reason, by class and channel, and by group. A name that is
// not in the policy makes no series of its own, and those there can be exist from the
// beginning.
func TestDecisionsAreCountedByNamesOfThePolicy(t *testing.T) {
	policy, err := push.ParsePolicy("push.yaml", []byte(`
policy: push
version: "1"
default_zone: UTC
classes:
  service: {consent: none, quiet: ignore, count: true}
channels: [app]
groups:
  default:
    limits: [{id: day, days: 1, max: 3}]
  minor: {extends: default}
`))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	c := newDecisionCounters(reg)
	n := c.follow(policy)
	for _, d := range []struct{ class, channel, group string }{
		{"service", "app", "minor"}, {"service", "app", "minor+default"}, {"service", "pigeon", ""}, {"gossip", "app", ""},
	} {
		c.count(policy, n, &push.Request{Class: []byte(d.class), Channel: []byte(d.channel)}, &push.Decision{Decision: push.Deny, Reason: push.ReasonCap, Group: d.group})
	}
	want := `
# HELP weir_push_decisions_by_class_total Decisions on pushes by class and channel; other: one that the policy does not know.
# TYPE weir_push_decisions_by_class_total counter
weir_push_decisions_by_class_total{channel="app",class="other",decision="allow"} 0
weir_push_decisions_by_class_total{channel="app",class="other",decision="defer"} 0
weir_push_decisions_by_class_total{channel="app",class="other",decision="deny"} 1
weir_push_decisions_by_class_total{channel="app",class="service",decision="allow"} 0
weir_push_decisions_by_class_total{channel="app",class="service",decision="defer"} 0
weir_push_decisions_by_class_total{channel="app",class="service",decision="deny"} 2
weir_push_decisions_by_class_total{channel="other",class="other",decision="allow"} 0
weir_push_decisions_by_class_total{channel="other",class="other",decision="defer"} 0
weir_push_decisions_by_class_total{channel="other",class="other",decision="deny"} 0
weir_push_decisions_by_class_total{channel="other",class="service",decision="allow"} 0
weir_push_decisions_by_class_total{channel="other",class="service",decision="defer"} 0
weir_push_decisions_by_class_total{channel="other",class="service",decision="deny"} 1
# HELP weir_push_decisions_by_group_total Decisions on pushes by the group of the user; none: it was not asked for, several: event and profile name two.
# TYPE weir_push_decisions_by_group_total counter
weir_push_decisions_by_group_total{decision="allow",group="default"} 0
weir_push_decisions_by_group_total{decision="allow",group="minor"} 0
weir_push_decisions_by_group_total{decision="allow",group="none"} 0
weir_push_decisions_by_group_total{decision="allow",group="several"} 0
weir_push_decisions_by_group_total{decision="defer",group="default"} 0
weir_push_decisions_by_group_total{decision="defer",group="minor"} 0
weir_push_decisions_by_group_total{decision="defer",group="none"} 0
weir_push_decisions_by_group_total{decision="defer",group="several"} 0
weir_push_decisions_by_group_total{decision="deny",group="default"} 0
weir_push_decisions_by_group_total{decision="deny",group="minor"} 1
weir_push_decisions_by_group_total{decision="deny",group="none"} 2
weir_push_decisions_by_group_total{decision="deny",group="several"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weir_push_decisions_by_class_total", "weir_push_decisions_by_group_total"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(c.byReason[push.Outcome{Decision: push.Deny, Reason: push.ReasonCap}]); got != 4 {
		t.Errorf("%v decisions deny, cap; want 4", got)
	}

	// Another policy: what it does not name has no series any more.
	other, err := push.ParsePolicy("push.yaml", []byte(`
policy: push
version: "2"
default_zone: UTC
classes:
  marketing: {consent: none, quiet: ignore, count: true}
channels: [app]
groups:
  default:
    limits: [{id: day, days: 1, max: 3}]
`))
	if err != nil {
		t.Fatal(err)
	}
	c.follow(other)
	if n, m := testutil.CollectAndCount(c.classes), testutil.CollectAndCount(c.groups); n != 3*2*2 || m != 3*3 {
		t.Errorf("%d series by class and %d by group after another policy, want 12 and 9", n, m)
	}
	c.count(policy, n, &push.Request{Class: []byte("service"), Channel: []byte("app")}, &push.Decision{Decision: push.Allow, Reason: push.ReasonNone, Group: "minor"}) // of a batch that began before
	if n := testutil.CollectAndCount(c.classes); n != 12 {
		t.Errorf("%d series by class after a batch of the policy before", n)
	}
}
