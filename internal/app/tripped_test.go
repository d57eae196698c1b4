package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
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

// A start takes up what the process before decided, for rules that are the same. Without it, or where it
// cannot be read, all rules act.
func TestStartRecallsTrips(t *testing.T) {
	c := shop(t, map[string]string{})
	c.Evidence.Dir = beside(c, "evidence")
	if err := os.Mkdir(c.Evidence.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	force, err := LoadForce(c)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := &daemon{cfg: c, log: slog.New(slog.NewTextHandler(&log, nil))}
	is := force.Rules.Fingerprint("test.a")
	for _, tt := range []struct {
		name, file string
		inShadow   bool
		says       string
	}{
		{"no file", "", false, ""},
		{"tripped", `{"test.a":{"fingerprint":"` + is + `","trip":{"rule":"test.a"}}}`, true, "without their action"},
		{"restored", `{"test.a":{"fingerprint":"` + is + `","accepted":{"events":10,"hits":1}}}`, false, ""},
		{"another rule by now", `{"test.a":{"fingerprint":"00","trip":{"rule":"test.a"}}}`, false, ""},
		{"a rule that is gone", `{"test.gone":{"fingerprint":"","trip":{"rule":"test.gone"}}}`, false, ""},
		{"cut off", `{"test.a":{"finger`, false, "is not what Weir writes; remove it"},
	} {
		if tt.file != "" {
			if err := os.WriteFile(filepath.Join(c.Evidence.Dir, "breaker.json"), []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		log.Reset()
		got, err := d.recall(force)
		if err != nil || slices.Contains(got.Rules.InShadow(), "test.a") != tt.inShadow {
			t.Errorf("%s: in shadow are %v, %v; want test.a there: %v", tt.name, got.Rules.InShadow(), err, tt.inShadow)
		}
		if !strings.Contains(log.String(), tt.says) || tt.says == "" && log.Len() > 0 {
			t.Errorf("%s: the log says %q, want %q", tt.name, log.String(), tt.says)
		}
	}
}
