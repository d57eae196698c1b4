package rules

import (
	"testing"

	"github.com/weir-moderation/weir/rules/form"
)

// What was read by sound or by shape is for people: whatever its rule says, it never rejects.
func TestWeakFormsNeverReject(t *testing.T) {
	reject := &Rule{Action: Reject}
	for f, want := range map[form.Form]Action{
		form.Fold: Reject, form.Squeeze | form.Repeat: Reject, form.Split: Reject,
		form.Pinyin: Review, form.Initials: Review, form.Emoji: Review, form.Shape: Review,
		form.Decode | form.Pinyin: Review,
	} {
		if got := ActionOf([]Hit{{Rule: reject, State: Live, Form: f}}); got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
}

// The strongest action of a live rule wins, wherever it stands; a shadow rule does nothing.
func TestActionOf(t *testing.T) {
	review, reject := Hit{Rule: &Rule{Action: Review}, State: Live}, Hit{Rule: &Rule{Action: Reject}, State: Live}
	shadow := Hit{Rule: &Rule{Action: Reject}, State: Shadow}
	for _, c := range []struct {
		hits []Hit
		want Action
	}{
		{nil, Pass},
		{[]Hit{shadow}, Pass},
		{[]Hit{shadow, review}, Review},
		{[]Hit{review, reject, review}, Reject},
	} {
		if got := ActionOf(c.hits); got != c.want {
			t.Errorf("%d hits: %s, want %s", len(c.hits), got, c.want)
		}
	}
}
