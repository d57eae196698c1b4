package pipeline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// A hit's place is told in bytes and, for browsers, in UTF-16 code units.
func TestReportCountsForBrowsers(t *testing.T) {
	text := []byte("😀a赌é博\xff🎲x")
	r := &rules.Rule{ID: "a.a"}
	v := Verdict{Event: &event.Event{Fields: []event.Field{{Name: []byte("t"), Text: text}, {Name: []byte("u"), Text: text[4:]}}}, Hits: []rules.Hit{
		{Rule: r, Start: 0, End: 4, Form: form.Fold}, {Rule: r, Start: 5, End: 13, Form: form.Pinyin}, {Rule: r, Start: 8, End: 10, Form: form.Fold},
		{Rule: r, Start: 14, End: 18, Form: form.Fold}, {Rule: r, Field: 1, Start: 1, End: 4, Form: form.Fold},
	}}
	report := v.Report()
	if report.Fold != fold.Version {
		t.Errorf("fold %q", report.Fold)
	}
	for i, want := range [][2]int{{0, 2}, {3, 6}, {4, 5}, {7, 9}, {1, 2}} {
		h := report.Hits[i]
		if h.StartUTF16 != want[0] || h.EndUTF16 != want[1] {
			t.Errorf("hit %d: %d to %d, want %v", i, h.StartUTF16, h.EndUTF16, want)
		}
	}
	if report.Hits[0].Confidence != "high" || report.Hits[1].Confidence != "low" {
		t.Errorf("confidence %s, %s", report.Hits[0].Confidence, report.Hits[1].Confidence)
	}
}

// Wherever hits lie, over one another too, their places are those that a browser counts.
func TestReportCountsOverlappingHits(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	text := strings.Repeat("😀a赌é\u200b🎲x\n", 20)
	var starts []int
	for at := range text {
		starts = append(starts, at)
	}
	starts = append(starts, len(text))
	fields := []event.Field{{Name: []byte("t"), Text: []byte(text)}, {Name: []byte("u"), Text: []byte(text[4:])}}
	v := Verdict{Event: &event.Event{Fields: fields}}
	r := &rules.Rule{ID: "a.a"}
	for field := range fields {
		for range 200 {
			i := random.IntN(len(starts) - 1)
			j := i + 1 + random.IntN(len(starts)-i-1)
			v.Hits = append(v.Hits, rules.Hit{Rule: r, Field: field, Start: max(0, starts[i]-4*field), End: max(1, starts[j]-4*field), Form: form.Fold})
		}
	}
	units := func(b []byte) int { return len(utf16.Encode([]rune(string(b)))) }
	for _, h := range v.Report().Hits {
		text := fields[0].Text
		if h.Field == "u" {
			text = fields[1].Text
		}
		if start, end := units(text[:h.Start]), units(text[:h.End]); h.StartUTF16 != start || h.EndUTF16 != end {
			t.Fatalf("%s %d to %d is %d to %d in UTF-16, want %d to %d", h.Field, h.Start, h.End, h.StartUTF16, h.EndUTF16, start, end)
		}
	}
}

// A text is counted once however many hits lie over one another in it: ten thousand, of a megabyte
// each, would take eight seconds else, and 30 ms as it is.
func TestReportCountsATextOnce(t *testing.T) {
	text := []byte("a" + strings.Repeat("\u200b", 300_000) + "b")
	v := Verdict{Event: &event.Event{Fields: []event.Field{{Name: []byte("t"), Text: text}}}}
	for i := range 10_000 {
		v.Hits = append(v.Hits, rules.Hit{Rule: &rules.Rule{ID: fmt.Sprint(i)}, End: len(text), Form: form.Fold})
	}
	began := time.Now()
	if h := v.Report().Hits[9_999]; h.EndUTF16 != 300_002 {
		t.Errorf("ends at %d", h.EndUTF16)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}
