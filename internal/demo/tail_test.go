package demo

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func decision(n int64, core string) *kgo.Record {
	return verdictRecord(topicDecisions, place{topicPosts, 0, n}, core)
}

// A message that comes twice is counted once: the daemon promises each at least
// once, under the same id.
func TestTailCountsRepeatsOnce(t *testing.T) {
	tl := newTail()
	const flagged = `"event_id":"a","kind":"post","action":"reject"`
	tl.take([]*kgo.Record{decision(1, flagged), decision(2, flagged), decision(1, flagged)})
	tl.take([]*kgo.Record{decision(2, flagged)})
	tl.judged(map[int32]int64{0: 5, 1: 4})
	tl.judged(map[int32]int64{0: 5}) // an old answer that came late
	if c := tl.snapshot(); c.Flagged != 2 || c.Judged != 9 || c.Passed() != 7 {
		t.Errorf("counted %+v, %d passed", c, c.Passed())
	}
}

// The tail holds a bounded number of messages and of bytes, the newest ones.
func TestTailIsBounded(t *testing.T) {
	tl := newTail()
	for i := range int64(3 * ringMessages) {
		tl.take([]*kgo.Record{decision(i, `"event_id":"a"`)})
	}
	list, _ := tl.last(topicDecisions, 10*ringMessages)
	if len(list) != ringMessages || list[len(list)-1].of.offset != 3*ringMessages-1 {
		t.Errorf("%d messages, the last about offset %d", len(list), list[len(list)-1].of.offset)
	}
	if len(tl.seen) > seenIDs {
		t.Errorf("%d ids", len(tl.seen))
	}
	for range 20 {
		tl.take([]*kgo.Record{{Topic: topicDeadLetter, Value: make([]byte, 1<<20)}})
	}
	list, _ = tl.last(topicDeadLetter, ringMessages)
	if n := len(list); n == 0 || n > 4 {
		t.Errorf("%d messages of a MiB each", n)
	}
	for i := range int64(4 * allowedMax) {
		tl.take([]*kgo.Record{decision(10_000+i, fmt.Sprintf(`"event_id":"p%d","kind":"push","decision":"allow"`, i))})
	}
	if n := len(tl.allowed); n != allowedMax {
		t.Errorf("%d allowed pushes", n)
	}
}

// A message nobody understands is kept and shown, and disturbs nothing.
func TestTailIsLenient(t *testing.T) {
	tl := newTail()
	tl.take([]*kgo.Record{
		{Topic: topicReview, Value: []byte("not JSON")},
		{Topic: topicDecisions},
		{Topic: topicDeadLetter, Headers: []kgo.RecordHeader{{Key: "__connect.errors.offset", Value: []byte("x")}}},
		{Topic: "weir.other", Value: []byte("{}")},
	})
	for _, name := range outputs()[:2] {
		if list, ok := tl.last(name, 5); !ok || len(list) != 1 {
			t.Errorf("%s: %d messages, %v", name, len(list), ok)
		}
	}
	if _, ok := tl.last("weir.other", 5); ok {
		t.Error("a topic that is no output is shown")
	}
}

// The live line fits a terminal of 80 columns for an hour.
func TestLiveLineFits(t *testing.T) {
	few := Counts{Judged: 1234, Flagged: 29, Allowed: 88, Deferred: 12, Denied: 33, DeadLetters: 4, deadPosts: 4}
	if got, want := few.Line(12*time.Second), "00:12 passed 1.2k flagged 29  allowed 88 deferred 12 denied 33  dead 4"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	hour := Counts{Judged: 300_000, Flagged: 8_888, Allowed: 8_888, Deferred: 8_888, Denied: 30_000, DeadLetters: 999}
	if got := hour.Line(time.Hour - time.Second); len(got) > 80 {
		t.Errorf("%d columns: %s", len(got), got)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 9_999: "9.9k", 10_000: "10k", 999_999: "999k", 1_250_000: "1.2M"} {
		if got := short(n); got != want {
			t.Errorf("short(%d) = %s, want %s", n, got, want)
		}
	}
}

// The summary accounts for every post.
func TestSummaryAccounts(t *testing.T) {
	c := Counts{Posts: 12_345, Pushes: 2_000, Consents: 420, Outcomes: 3, Judged: 12_300, Flagged: 300, deadPosts: 50,
		Allowed: 1_000, Deferred: 400, Denied: 600, Recalled: 2, DeadLetters: 51}
	got := c.Summary(20 * time.Second)
	for _, want := range []string{"in 20s", "12,345 posts", "11,950 passed", "300 flagged", "45 not judged yet", "400 deferred", "2 called back", "51\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	c.Judged, c.Recalled = c.Posts, 0
	if got := c.Summary(time.Second); strings.Contains(got, "not judged") || strings.Contains(got, "called back") {
		t.Errorf("everything is judged and nothing was called back, but\n%s", got)
	}
}

// On a terminal the line is rewritten and cleared at the end; elsewhere a line
// comes every five seconds.
func TestLive(t *testing.T) {
	show := func(terminal bool) string {
		var b bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
			defer cancel()
			l := Live{Out: &b, Terminal: terminal, Counts: func() Counts { return Counts{Allowed: 7} }, Began: time.Now()}
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		return b.String()
	}
	if got := show(false); strings.Count(got, "\n") != 2 || !strings.Contains(got, "00:10") || strings.Contains(got, "\r") {
		t.Errorf("in a file: %q", got)
	}
	if got := show(true); strings.Count(got, "\r") < 40 || strings.Contains(got, "\n") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("on a terminal: %q", got)
	}
}
