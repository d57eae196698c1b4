package app

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/config"
)

// policyOf is a policy of so many service messages a day.
func policyOf(most int) string {
	return fmt.Sprintf(`policy: push
version: "%d"
default_zone: Asia/Shanghai
classes: {service: {consent: none, quiet: ignore, count: true, marketing_words: {flag: [fraud]}}}
channels: [app]
groups: {default: {limits: [{id: day, days: 1, max: %[1]d}]}}
`, most)
}

const aThirdADay = `tests:
  - name: a third a day has no room
    now: 2026-11-24T12:00:00+08:00
    history: [{time: 2026-11-24T08:00:00+08:00, class: service, channel: app, times: 2}]
    push: {class: service, channel: app}
    want: {decision: deny, reason: cap, limit: day}
`

// A reload refuses a push policy that fails the tests beside it, whose tests cannot be read, or that
// looks for rules of a category nobody knows. The old policy stays, the metric says so, and what is
// wrong is said.
func TestPolicyMustPassItsTests(t *testing.T) {
	d := newDesk(t, map[string]string{
		"gambling.yaml": one("一号"), "../policy.yaml": policyOf(2), "../policy_test.yaml": aThirdADay,
	}, func(c *config.Config) {
		c.Input.Pushes, c.Push.Policy = config.Default().Input.Posts, filepath.Join(filepath.Dir(c.Rules.Dir), "policy.yaml")
	})
	for _, c := range []struct{ name, policy, tests, want string }{
		{"fails its test", policyOf(3), aThirdADay, "policy_test.yaml:2: a third a day has no room: decision allow instead of deny"},
		{"tests that cannot be read", policyOf(3), strings.Replace(aThirdADay, "limit: day", "limit: dya", 1), `policy_test.yaml:6:48: tests[0].want.limit: unknown limit "dya"; did you mean "day"?`},
		{"unknown category", strings.Replace(policyOf(2), "[fraud]", "[frau]", 1), aThirdADay, `unknown category "frau"; did you mean "fraud"?`},
	} {
		d.write("policy.yaml", c.policy)
		d.write("policy_test.yaml", c.tests)
		if err := d.reload(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if v := d.pipeline.InForce().Policy.Version(); v != "2" || testutil.ToFloat64(d.metrics.successful) != 0 {
			t.Errorf("%s: policy %s is in force, metric %v", c.name, v, testutil.ToFloat64(d.metrics.successful))
		}
	}
	d.write("policy.yaml", policyOf(3))
	d.write("policy_test.yaml", strings.Replace(aThirdADay, "{decision: deny, reason: cap, limit: day}", "{decision: allow}", 1))
	if err := d.reload(t.Context()); err != nil {
		t.Error(err)
	}
	if v := d.pipeline.InForce().Policy.Version(); v != "3" || testutil.ToFloat64(d.metrics.successful) != 1 {
		t.Errorf("policy %s is in force, want 3", v)
	}
}
