package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/capacity"
)

const capacityPage = "docs/capacity.md"

// What the page about capacity shows of weir capacity is what it prints.
func TestCapacityPageExamples(t *testing.T) {
	list, _ := blocks(t, capacityPage)
	compared := 0
	for _, b := range list {
		typed, shown, ok := strings.Cut(b.text, "\n")
		args, isConsole := strings.CutPrefix(typed, "$ weir ")
		if b.language != "console" || !ok || !isConsole || !strings.HasPrefix(args, "capacity") {
			continue
		}
		compared++
		if out, errs := weir(t, "", strings.Fields(args)...); out != shown || errs != "" {
			t.Errorf("%s: %q prints\n%s%sand not\n%s", b.at(0), typed, out, errs, shown)
		}
	}
	if compared < 2 {
		t.Errorf("%d examples compared", compared)
	}
}

// The page's table of constants has those of the formula.
func TestCapacityPageConstants(t *testing.T) {
	m := capacity.Measured()
	text := page(t, capacityPage)
	inWords := func(d time.Duration) string {
		switch {
		case d < time.Microsecond:
			return fmt.Sprintf("%d ns", d.Nanoseconds())
		case d < time.Millisecond:
			return fmt.Sprintf("%g us", float64(d)/1e3)
		}
		return fmt.Sprintf("%g ms", float64(d)/1e6)
	}
	for name, want := range map[string]string{
		"Message": inWords(m.Message), "Flagged": inWords(m.Flagged), "Push": inWords(m.Push), "Round": inWords(m.Round), "Write": inWords(m.Write),
		"Byte": fmt.Sprintf("%g ns", m.Byte), "Text": fmt.Sprintf("%g ns", m.Text), "Tenfold": fmt.Sprintf("%g", m.Tenfold),
	} {
		if row := fmt.Sprintf("| %s | %s |", name, want); !strings.Contains(text, row) {
			t.Errorf("%s has no row %q", capacityPage, row)
		}
	}
}
