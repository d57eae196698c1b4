package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/pipeline"
)

// A rule that tripped stays in shadow in the next set while it is the same there and live, whatever else
// changes; without a breaker no rule is in shadow.
func TestWhatEndsATrip(t *testing.T) {
	load := func(rule, breaker string) pipeline.Force {
		t.Helper()
		c := shop(t, map[string]string{"packs/more.yaml": "pack: more\nrules:\n  - {id: more.other, category: gambling, state: live, terms: [牌九]}\n" + rule})
		c.Rules.Breaker.Enabled = breaker == "on"
		force, err := LoadForce(c)
		if err != nil {
			t.Fatal(err)
		}
		return force
	}
	const is = "  - {id: more.a, category: gambling, state: live, terms: [大麻]}\n"
	old := load(is, "on")
	var err error
	if old.Rules, err = old.Rules.Shadowed([]string{"more.a"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, rule, breaker string
		stays               bool
	}{
		{"nothing changed", is, "on", true},
		{"another description", strings.Replace(is, "{", "{description: d, ", 1), "on", true},
		{"a smaller roll-out", strings.Replace(is, "{", "{rollout: 5, ", 1), "on", true},
		{"another rule beside it", is + "  - {id: more.b, category: gambling, state: live, terms: [赌球]}\n", "on", true},
		{"another term", strings.Replace(is, "大麻", "大麻烟", 1), "on", false},
		{"an exception", strings.Replace(is, "terms", "except: [工业大麻], terms", 1), "on", false},
		{"another action", strings.Replace(is, "{", "{action: review, severity: critical, ", 1), "on", false},
		{"in shadow by its pack", strings.Replace(is, "live", "shadow", 1), "on", false},
		{"retired", strings.Replace(is, "live", "retired", 1), "on", false},
		{"gone", "", "on", false},
		{"no breaker", is, "off", false},
	} {
		fresh, err := keepTripped(old, load(c.rule, c.breaker))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fresh.Rules.InShadow(); slices.Contains(got, "more.a") != c.stays || len(got) > 1 {
			t.Errorf("%s: in shadow are %v, want that it stays: %v", c.name, got, c.stays)
		}
	}
}
