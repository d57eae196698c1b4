package push

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is allowed and hardly meant is found where it stands: the lines "# find"
// in the files. There are no other findings than those, and each kind is found
// in one of them.
func TestLint(t *testing.T) {
	files, err := filepath.Glob("testdata/*.lint.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("nothing to lint", err)
	}
	seen := make(map[FindingKind]bool)
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePolicy("p.yaml", src)
		if err != nil {
			t.Fatal(err)
		}
		want, got := []string{}, []string{}
		for line := range strings.Lines(string(src)) {
			if w, ok := strings.CutPrefix(strings.TrimSpace(line), "# find "); ok {
				want = append(want, "p.yaml:"+w)
			}
		}
		for _, f := range p.Lint() {
			got, seen[f.Kind] = append(got, f.String()), true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", file, diff)
		}
	}
	for _, k := range FindingKinds() {
		if !seen[k.Kind] || k.Text == "" {
			t.Errorf("%s is in none of the files, or not explained", k.Kind)
		}
	}
	if len(seen) != len(FindingKinds()) {
		t.Errorf("%d kinds were found, %d are listed", len(seen), len(FindingKinds()))
	}
}

// Of the shipped policy there is one thing to know: thirty service messages a
// day make long logs.
func TestLintOfTheShippedPolicy(t *testing.T) {
	findings := loadPolicy(t, shippedPolicy).Lint()
	if len(findings) != 1 || findings[0].Kind != FindLogBound || !strings.Contains(findings[0].Message, "106 entries, 1492 bytes") {
		t.Errorf("%+v", findings)
	}
}

// A limit is said to be unreachable only if the other one has no room whenever
// it has none.
func TestLimitsBeforeOthers(t *testing.T) {
	const day = secondsADay
	for _, c := range []struct {
		o, m limit
		want bool
	}{
		{limit{rolling: 3600, max: 1}, limit{rolling: day, max: 24}, true},
		{limit{rolling: 3600, max: 1}, limit{rolling: day, max: 23}, false},
		{limit{rolling: 5000, max: 1}, limit{rolling: day, max: 17}, false}, // 17.28 windows
		{limit{rolling: 5000, max: 1}, limit{rolling: day, max: 18}, true},
		{limit{rolling: 2 * day, max: 3}, limit{rolling: day, max: 3}, true},
		{limit{days: 1, max: 2}, limit{days: 2, max: 4}, true},
		{limit{days: 1, max: 2}, limit{days: 2, max: 3}, false},
		{limit{days: 3, max: 2}, limit{days: 2, max: 2}, true},
		{limit{days: 1, max: 2}, limit{rolling: day, max: 2}, false}, // around midnight it holds four
		{limit{days: 1, max: 1}, limit{rolling: 7 * day, max: 8}, false},
		{limit{days: 1, max: 1}, limit{rolling: 7 * day, max: 9}, true},
		{limit{rolling: day, max: 2}, limit{days: 1, max: 2}, false}, // a day may have 25 hours
		{limit{rolling: day + slack, max: 2}, limit{days: 1, max: 2}, true},
	} {
		c.o.tags, c.m.tags = 3, 1
		if got := c.o.before(&c.m, 1); got != c.want {
			t.Errorf("%d %s before %d %s: %v", c.o.max, c.o.window(), c.m.max, c.m.window(), got)
		}
		if c.o.tags = 2; c.o.before(&c.m, 1) {
			t.Errorf("%d %s of other classes stops %d %s", c.o.max, c.o.window(), c.m.max, c.m.window())
		}
	}
}
