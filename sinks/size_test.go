package sinks_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// ordinary returns a push as platforms send them: the user's id is the message's key, and only
// advertising has a label, a campaign and a deadline.
func (d *desk) ordinary(t testing.TB, class string, n int, now time.Time, daily int) *pipeline.Verdict {
	t.Helper()
	user := fmt.Sprintf("user-%08d", 10_000_000+n)
	more := ""
	if class == "marketing" || class == "content" {
		more = `,"campaign":"spring-2026","sender":"shop","label":"广告","expires":"2026-11-25T03:00:00Z"`
	}
	v := d.judge(t, event.Push, fmt.Sprintf(`{"id":"push-%012d","time":%q,"user":{"id":%q,"group":"default"},"fields":{"text":"come and buy"},"class":%q,"channel":"app"%s}`,
		n, now.Add(-800*time.Millisecond).Format(time.RFC3339Nano), user, class, more))
	v.Record.Key, v.Record.Offset, v.Origin.Source = []byte(user), int64(1_000_000+n), "prod"
	return d.decide(t, v, now, daily)
}

// Under the shipped policy the body of a decision on a push that no rule hit holds everything that led to it
// in at most 300 bytes as a rule.
func TestDecisionsAreSmall(t *testing.T) {
	d := newDesk(t)
	night := noon.Add(11 * time.Hour)
	for i, c := range []struct {
		class string
		now   time.Time
		daily int
	}{
		{"security", noon, -1}, {"security", night, -1}, {"service", noon, -1}, {"service", night, -1}, {"service", noon, 0},
		{"content", noon, -1}, {"content", night, -1}, {"content", noon, 0}, {"marketing", noon, -1}, {"marketing", night, -1}, {"marketing", noon, 0}, {"marketing", noon, 5},
	} {
		v := d.ordinary(t, c.class, i, c.now, c.daily)
		r := recordOf(t, v)
		t.Logf("%-9s %-5s %-11s %d bytes", c.class, v.Decision.Decision, v.Decision.Reason, len(r.Body))
		_ = slices.Sort[[]int]
	}
}
