package pipeline

import (
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// What was read by sound or by shape is for people: whatever its rule says, it never rejects.
func TestWeakFormsNeverReject(t *testing.T) {
	reject := &rules.Rule{Action: rules.Reject}
	for f, want := range map[form.Form]rules.Action{
		form.Fold: rules.Reject, form.Squeeze | form.Repeat: rules.Reject, form.Split: rules.Reject,
		form.Pinyin: rules.Review, form.Initials: rules.Review, form.Emoji: rules.Review, form.Shape: rules.Review,
		form.Decode | form.Pinyin: rules.Review,
	} {
		if got := actionOf(&rules.Hit{Rule: reject, Form: f}); got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
}

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
