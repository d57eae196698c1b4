package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
)

// explained is what explain says of a text, under the starter packs.
func explained(t *testing.T, text string) *explanation {
	t.Helper()
	cfg, set, err := (&ruleFlags{}).loadAlone()
	if err != nil {
		t.Fatal(err)
	}
	x, err := explain(cfg, set, event.Post, fmt.Appendf(nil, `{"id":"1","time":"2026-11-24T08:00:00Z","user":{"id":"u1"},"fields":{"text":%q}}`, text))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// In colour, hits, near misses and the verdict stand out, and nothing else differs.
func TestExplainInColour(t *testing.T) {
	x := explained(t, "百家乐,百家乐团")
	var plain, coloured strings.Builder
	x.print(&plain, palette{})
	x.print(&coloured, palette{on: true})
	for _, want := range []string{"\x1b[31m^^^^^^\x1b[0m \x1b[33m~~~~~~\x1b[0m\n", "\x1b[31mhit\x1b[0m     gambling.betting", "\x1b[33mnear\x1b[0m    gambling.betting",
		"\x1b[1mverdict\x1b[0m \x1b[33mreview\x1b[0m\n"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("%q is not in %q", want, coloured.String())
		}
	}
	if got := regexp.MustCompile(`\x1b\[[0-9]+m`).ReplaceAllString(coloured.String(), ""); got != plain.String() {
		t.Errorf("without colours\n%s\nwant\n%s", got, plain.String())
	}
}

// No text can colour a terminal, whatever is in it.
func TestExplainShowsControls(t *testing.T) {
	x := explained(t, "calm")
	x.fields = []field{{"a\x1b[31m", "b\x1b[31m\r"}}
	x.Readings = []readingReport{{"a\x1b[31m", "fold", "b\x1b[31m"}}
	var b strings.Builder
	if x.print(&b, palette{}); strings.ContainsAny(b.String(), "\x1b\r") {
		t.Errorf("%q", b.String())
	}
}
