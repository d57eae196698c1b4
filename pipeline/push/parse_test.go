package push

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// A policy that cannot be kept is refused with all that is wrong with it, each
// where it stands and with what would be right: the lines "# want" in the files.
// There are no other problems than those.
func TestBadPoliciesAreRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad policies", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePolicy(filepath.Base(file), src)
		var problems strictyaml.Problems
		if p != nil || !errors.As(err, &problems) {
			t.Errorf("%s: policy %v, error %v; want it refused", file, p, err)
			continue
		}
		lines := strings.Split(problems.Error(), "\n")
		wants := 0
		for line := range strings.Lines(string(src)) {
			want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want ")
			if !ok {
				continue
			}
			wants++
			found := false
			for _, l := range lines {
				l = strings.TrimPrefix(l, filepath.Base(file)+":")
				found = found || strings.HasPrefix(l, want) || want[0] > '9' && strings.Contains(l, want) // some have no place
			}
			if !found {
				t.Errorf("%s: nothing says %q in\n%s", file, want, problems)
			}
		}
		if len(problems) != wants {
			t.Errorf("%s: %d problems, want %d:\n%s", file, len(problems), wants, problems)
		}
	}
}

// A good policy compiles, and so does the shipped one.
func TestGoodPoliciesCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no good policies", err)
	}
	for _, file := range append(files, shippedPolicy) {
		p := loadPolicy(t, file)
		if p.Version() == "" || len(p.Digest()) != 64 || p.LogBound() > maxLogBound {
			t.Errorf("%s: version %q, digest %q, log bound %d", file, p.Version(), p.Digest(), p.LogBound())
		}
	}
	if n := loadPolicy(t, shippedPolicy).LogBound(); n != 106 {
		t.Errorf("the shipped policy needs logs of %d entries, want 106: 30 services on each of 3 days, 8 others in each of 2 weeks", n)
	}
}

// The rules for automatic halts that the shipped policy shows compile as they stand; none is on.
func TestShownAutoHaltsCompile(t *testing.T) {
	src, err := os.ReadFile(shippedPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(loadPolicy(t, shippedPolicy).AutoHalts()); n != 0 {
		t.Errorf("%d rules for automatic halts are on", n)
	}
	before, shown, ok := strings.Cut(string(src), "# auto_halt:\n")
	if !ok {
		t.Fatal("the shipped policy shows none")
	}
	p, err := ParsePolicy("push.yaml", []byte(before+"auto_halt:\n"+strings.ReplaceAll(shown, "#   - {id", "  - {id")))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[Cause]bool)
	for _, a := range p.AutoHalts() {
		seen[a.When] = true
	}
	if len(seen) != len(Causes()) {
		t.Errorf("shown are the causes %v, want all", seen)
	}
}

// The digest changes with whatever can change a decision or its words, and with
// nothing else.
func TestDigestIsOfTheMeaning(t *testing.T) {
	src, err := os.ReadFile(shippedPolicy)
	if err != nil {
		t.Fatal(err)
	}
	parse := func(src string) string {
		t.Helper()
		p, err := ParsePolicy("p.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	base := parse(string(src))
	replaced := func(old, by string) string {
		t.Helper()
		if !strings.Contains(string(src), old) {
			t.Fatalf("the shipped policy does not say %q", old)
		}
		return parse(strings.Replace(string(src), old, by, 1))
	}
	for _, c := range [][2]string{
		{"# The push policy", "# Another comment"},
		{"rolling: 1h", "rolling: 60m"},
		{"channels: [app, sms,", "channels: [sms, app,"},
		{`quiet: "21:00-08:00"`, `quiet: '21:00-08:00'`},
		{"user_may_lower: [daily_total, quiet]", "user_may_lower: [quiet, daily_total]"},
		{", on_cap: drop", ""},
		{"[unlabelled-advertising, misleading-advertising]", "[misleading-advertising, unlabelled-advertising]"},
		{"count: false, on_outage: open", "count: false"},
		{"count: true, on_outage: hold", "count: true"},
		{"\nrecall: 15m\n", "\n"},
		{"durability: primary", ""},
	} {
		if replaced(c[0], c[1]) != base {
			t.Errorf("%q instead of %q says the same, but gives another digest", c[1], c[0])
		}
	}
	digests := map[string]string{base: "the shipped policy"}
	for _, c := range [][2]string{
		{"version: 2026-11-a", "version: 2026-11-b"},
		{"default_zone: Asia/Shanghai", "default_zone: UTC"},
		{"days: 1, max: 2", "days: 1, max: 3"},
		{"rolling: 7d", "rolling: 8d"},
		{"id: svc-day", "id: service-day"},
		{"quiet: defer", "quiet: deny"},
		{"label: required, ", ""},
		{"on_cap: drop", "on_cap: defer"},
		{"on_outage: open", "on_outage: deny"},
		{"local_ratio: 0.5", "local_ratio: 0.25"},
		{`"20:00-08:00"`, `"19:00-08:00"`},
		{"popup]", "tv]\ncodes: {channels: {tv: 4}}"},
		{"version: 2026-11-a", "version: 2026-11-a\nauto_halt: [{id: a, scope: campaign, when: content, window: 10m, min: 20, share: 20%}]"},
		{"version: 2026-11-a", "version: 2026-11-a\nauto_halt: [{id: a, scope: campaign, when: content, window: 10m, min: 20, share: 21%}]"},
		{"version: 2026-11-a", "version: 2026-11-a\nauto_halt: [{id: a, scope: sender, when: rate, window: 10m, min: 20, factor: 20}]"},
		{"popup]", "tv]\ncodes: {channels: {tv: 5}}"},
		{"{class: marketing, when: personalised}", "{class: marketing, when: always}"},
		{"daily_total, ", ""},
		{"{flag: [unlabelled-advertising, misleading-advertising]}", "{flag: [unlabelled-advertising]}"},
		{"presets: [vendor-cn-2026]", "presets: [vendor-cn-2026-news]"},
		{"presets: [vendor-cn-2026]", ""},
		{"max_age: 24h", "max_age: 12h"},
		{"required_for: [content, ", "required_for: ["},
		{"recall: 15m", "recall: 20m"},
		{"durability: primary", "durability: replicated"},
	} {
		d := replaced(c[0], c[1])
		if other, taken := digests[d]; taken {
			t.Errorf("%q instead of %q gives the digest of %s", c[1], c[0], other)
		}
		digests[d] = c[1]
	}
}

// A policy that looks for rules of a category nobody knows is refused by whoever
// knows them all.
func TestCategoriesMustBeKnown(t *testing.T) {
	p, err := ParsePolicy("p.yaml", []byte(`
policy: push
version: "1"
default_zone: UTC
classes:
  a: {consent: none, quiet: ignore, count: false, marketing_words: {flag: [fraud, advertisin]}}
  b: {consent: none, quiet: ignore, count: false, marketing_words: {flag: [weather]}}
channels: [app]
codes: {classes: {a: 4, b: 5}}
groups: {default: {}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckCategories([]string{"fraud", "advertisin", "weather"}); err != nil {
		t.Error(err)
	}
	want := `p.yaml:6:83: classes.a.marketing_words.flag[1]: unknown category "advertisin"; did you mean "advertising"?
p.yaml:7:76: classes.b.marketing_words.flag[0]: unknown category "weather"; name one of the register of categories, such as unlabelled-advertising`
	if err := p.CheckCategories([]string{"fraud", "advertising"}); err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

// Without on_outage a class goes on only if nobody counts it, nobody must agree to
// it and nothing delays it.
func TestOutageDefaults(t *testing.T) {
	for file, want := range map[string]map[string]outageRule{
		shippedPolicy:              {"security": outageOpen, "service": outageLocal, "content": outageHold, "marketing": outageHold},
		"testdata/model.good.yaml": {"security": outageOpen, "service": outageHold, "content": outageHold, "news": outageHold},
	} {
		p := loadPolicy(t, file)
		for name, rule := range want {
			if got := p.classes[name].onOutage; got != rule {
				t.Errorf("%s: class %s is %q while Redis is away, want %q", file, name, got, rule)
			}
		}
	}
}

// A class keeps its number in Redis whatever else the policy says.
func TestCodesStay(t *testing.T) {
	for file, want := range map[string]map[string]uint8{
		shippedPolicy:              {"security": 0, "service": 1, "content": 2, "marketing": 3},
		"testdata/model.good.yaml": {"security": 0, "service": 1, "content": 2, "marketing": 3, "news": 5},
		"testdata/roomy.good.yaml": {"content": 2, "marketing": 3},
	} {
		p := loadPolicy(t, file)
		for name, code := range want {
			if p.classes[name].code != code {
				t.Errorf("%s: class %s has code %d, want %d", file, name, p.classes[name].code, code)
			}
		}
		for name, code := range map[string]uint8{"app": 0, "sms": 1, "email": 2, "popup": 3, "tv": 7} {
			if got, ok := p.channels[name]; ok && got != code {
				t.Errorf("%s: channel %s has code %d, want %d", file, name, got, code)
			}
		}
	}
}

// Lengths of time may be written in days.
func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "1h0m1s": time.Hour + time.Second, "366d": 366 * 24 * time.Hour} {
		var s span
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%s is %v, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{"", "d", "7", "0s", "0d", "-1h", "1d-1h", "1.5d", "367d", "99999d", "1500ms", "+7d", "1h7d", "9999999h"} {
		var s span
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, time.Duration(s))
		}
	}
}

// Whatever a file says, reading it ends with a policy or with problems.
func FuzzParsePolicy(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range append(files, shippedPolicy) {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := ParsePolicy("p.yaml", src)
		if (p == nil) == (err == nil) {
			t.Fatalf("policy %v and error %v", p, err)
		}
		if err == nil {
			r := pushTo("u", "1", "marketing")
			Decide(noon, p, nil, nil, &r)
		}
	})
}
