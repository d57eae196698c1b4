package status

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/push"
)

func in(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// What counters say becomes what came in and what became of it: since the start, within the hour, and a second.
func TestFlow(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		post := func(outcome string, n float64) { w.messages.WithLabelValues("post", outcome).Add(n) }
		stop := w.run(t)
		for range 60 { // five minutes
			post("passed", 40)
			post("flagged", 5)
			post("dead_lettered", 4)
			post("skipped", 1)
			w.decisions.WithLabelValues("defer", "quiet-hours").Add(2)
			wait(1)
		}
		s := w.monitor.Snapshot()
		want := map[string]Amount{
			"in": {3000, 3000, 10}, "judged": {2700, 2700, 9}, "passed": {2400, 2400, 8}, "flagged": {300, 300, 1},
			"dead": {240, 240, .8}, "skipped": {60, 60, .2}, "deferred": {120, 120, .4}, "allowed": {}, "post": {3000, 3000, 10}, "push": {},
		}
		f := s.Flow
		got := map[string]Amount{"in": f.In, "judged": f.Judged, "passed": f.Passed, "flagged": f.Flagged, "dead": f.DeadLettered, "skipped": f.Skipped,
			"deferred": f.Deferred, "allowed": f.Allowed, "post": f.Streams[0].In, "push": f.Streams[1].In}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if f.WindowSeconds < 300 || f.WindowSeconds > 310 {
			t.Errorf("a window of %d s", f.WindowSeconds)
		}

		wait(2 * chartPoints) // two hours of silence
		s = w.monitor.Snapshot()
		if diff := cmp.Diff(Amount{Total: 3000}, s.Flow.In); diff != "" {
			t.Errorf("after two hours, -want +got:\n%s", diff)
		}
		if n := len(w.monitor.history.points); n != chartPoints {
			t.Errorf("%d points are kept", n)
		}
		if n := len(w.monitor.history.minutes); n != minutes {
			t.Errorf("%d minutes are kept", n)
		}
		for _, c := range s.Charts {
			for _, l := range c.Lines {
				if len(l.Values) != chartBins || int64(len(l.Values))*c.StepSeconds != 3600 {
					t.Errorf("%s/%s has %d values of %d s", c.Name, l.Name, len(l.Values), c.StepSeconds)
				}
			}
		}
		stop()
	})
}

// Hits are compared with the hour before, by so much a second, and say so only once there is an hour before.
func TestHitsAgainstTheHourBefore(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.run(t)
		hit := func(looks int, one, two int64) {
			for range looks {
				w.byRule[0].Add(one)
				w.byRule[1].Add(two)
				w.hits.WithLabelValues("one", "high").Add(float64(one))
				wait(1)
			}
		}
		hit(6, 1, 0)
		h := w.monitor.Snapshot().Hits
		if h.Comparable || len(h.Rules) != 1 || (bar{N: h.Rules[0].Hits, Times: h.times()}).Change() != "–" {
			t.Errorf("in the first minute: %+v", h)
		}
		for w.monitor.Snapshot().Time.Sub(w.monitor.o.Instance.Started) < 3*time.Hour {
			hit(1, 1, 0)
		}
		now := time.Now()
		for time.Since(now) < time.Hour {
			hit(1, 3, 1)
		}
		s := w.monitor.Snapshot()
		h = s.Hits
		if !h.Comparable || h.BeforeSeconds != 3600 || h.WindowSeconds < 3600 || h.WindowSeconds > 3660 {
			t.Fatalf("windows of %v s and %v s, comparable %v", h.WindowSeconds, h.BeforeSeconds, h.Comparable)
		}
		change := func(n, before int64) string { return bar{N: n, Before: before, Times: h.times()}.Change() }
		if len(h.Categories) != 1 || h.Categories[0].Name != "One" || h.Categories[0].NameZH != "一类" || change(h.Categories[0].Hits, h.Categories[0].Before) != "×3" {
			t.Errorf("categories %+v", h.Categories)
		}
		if len(h.Rules) != 2 || h.Rules[0].ID != "test.one" || h.Rules[0].Before != 720 || change(h.Rules[0].Hits, h.Rules[0].Before) != "×3" {
			t.Errorf("rules %+v", h.Rules)
		}
		if r := h.Rules[1]; r.State != "shadow" || r.Before > 12 {
			t.Errorf("the rule in shadow: %+v", r)
		}
	})
}

func TestChange(t *testing.T) {
	for _, c := range []struct {
		n, before int64
		times     float64
		want      string
	}{{5, 0, 1, "new"}, {0, 0, 0, "–"}, {5, 5, 0, "–"}, {10, 10, 1, "±0 %"}, {11, 10, 1, "+10 %"}, {0, 10, 1, "−100 %"}, {40, 10, 1, "×4"}, {61, 60, 60. / 61, "±0 %"}} {
		if got := (bar{N: c.n, Before: c.before, Times: c.times}).Change(); got != c.want {
			t.Errorf("%d after %d: %s, want %s", c.n, c.before, got, c.want)
		}
	}
}

// What is wrong is named within ten seconds of the moment it goes wrong, whatever moment that is, with when it was
// seen first; and it is gone as soon when it is over.
func TestFaultsAreNamedInTime(t *testing.T) {
	for _, c := range []struct {
		name string
		part PartName
		kind Kind
		hang bool
	}{{"an error", Kafka, KafkaAway, false}, {"no answer", Kafka, KafkaAway, true}, {"a disk that hangs", Disk, DiskStuck, true},
		{"redis hangs", Redis, RedisAway, true}, {"a full disk", Disk, DiskFull, false}} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.run(t)
				wait(3)
				for moment := time.Duration(0); moment < Every; moment += 700 * time.Millisecond {
					if s := w.monitor.Snapshot(); s.Level != OK || len(s.Problems) != 0 {
						t.Fatalf("before: %+v", s.Problems)
					}
					time.Sleep(moment)
					hang := make(chan struct{})
					if c.hang {
						w.mu.Lock()
						w.hang[c.part] = hang
						w.mu.Unlock()
					} else {
						w.fail(c.part, Fault{c.kind, "nobody listens there"})
					}
					time.Sleep(10*time.Second - time.Millisecond)
					synctest.Wait()
					s := w.monitor.Snapshot()
					if s.Level != Down || len(s.Problems) != 1 || s.Problems[0].Kind != c.kind || s.Problems[0].Next == "" || s.Problems[0].Detail == "" {
						t.Fatalf("%v after a look: %+v", moment, s.Problems)
					}
					if since := s.Time.Sub(s.Problems[0].Since); since < 0 || since > 10*time.Second {
						t.Errorf("since %v", since)
					}
					w.mu.Lock()
					clear(w.hang)
					w.mu.Unlock()
					close(hang)
					w.fail(c.part)
					wait(2)
				}
			})
		})
	}
}

// A part that answers, but slowly, is named too.
func TestSlowParts(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.run(t)
		wait(1)
		slow := make(chan struct{})
		w.mu.Lock()
		w.hang[Redis] = slow
		w.mu.Unlock()
		time.Sleep(Every + 1500*time.Millisecond)
		w.mu.Lock()
		delete(w.hang, Redis)
		w.mu.Unlock()
		close(slow)
		synctest.Wait()
		if s := w.monitor.Snapshot(); len(s.Problems) != 1 || s.Problems[0].Kind != RedisSlow || s.Level != Warn {
			t.Errorf("%+v", s.Problems)
		}
		wait(1)
		if s := w.monitor.Snapshot(); len(s.Problems) != 0 {
			t.Errorf("it is fast again: %+v", s.Problems)
		}
	})
}

// Every condition on a metric, and on what is in force, has its words.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		make func(w *world)
		want string
	}{
		{ConsumerStopped, func(w *world) { w.gauges[mStopped].Set(2) }, "2 partitions"},
		{ConsumerWaits, func(w *world) { w.gauges[mStalled].Set(1) }, "1 partition"},
		{ConsumerBehind, func(w *world) {
			w.behind.WithLabelValues("t", "0").Set(61)
			w.lag.WithLabelValues("t", "0").Set(7)
		}, "the oldest one for 1m1s; 7 messages in all"},
		{LedgerUnbalanced, func(w *world) { w.counters[mUnbalanced].Add(2) }, "2 batches within the last hour"},
		{JudgingPanics, func(w *world) { w.counters[mPanics].Inc() }, "1 time within the last hour"},
		{EnginesDiffer, func(w *world) { w.counters[mDiverged].Inc() }, "1 hit within the last hour"},
		{EvidenceDamaged, func(w *world) { w.counters[mDamaged].Inc() }, "1 place since the start"},
		{RulesRefused, func(w *world) {
			w.gauges[mLoaded].Set(0)
			w.force.Refused = "packs/a.yaml:3: no such category"
		}, "packs/a.yaml:3: no such category"},
		{RulesTripped, func(w *world) { w.force.Tripped = []string{"test.one"} }, "1 rule"},
		{PushesHalted, func(w *world) { w.gauges[mHalted].Set(2) }, "2 campaigns, senders or classes"},
		{ConsentUntrusted, func(w *world) { w.gauges[mTrusted].Set(0) }, ""},
		{EvidenceUnpublished, func(w *world) { w.log.UnpublishedSeconds = 31 }, "for 31s"},
		{EvidenceUnsealed, func(w *world) { w.log.Unsealed = 4 }, "4 segments"},
		{DiskSlow, func(w *world) { w.appends.Observe(1.5) }, "one append in a hundred takes more than 2.0 s"},
		{ManyDeadLetters, func(w *world) {
			w.messages.WithLabelValues("post", "passed").Add(80)
			w.messages.WithLabelValues("post", "dead_lettered").Add(20)
		}, "20 of the last 100"},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				stop := w.run(t)
				wait(1)
				stop() // what is changed below is not guarded
				w.monitor.hub = newHub()
				c.make(w)
				w.run(t)
				wait(1)
				s := w.monitor.Snapshot()
				if len(s.Problems) != 1 || s.Problems[0].Kind != c.kind || s.Problems[0].Detail != c.want || s.Level != kinds[c.kind].level {
					t.Fatalf("%+v", s.Problems)
				}
				for _, p := range s.Parts {
					if (p.Name == kinds[c.kind].part) != (p.Level != OK) {
						t.Errorf("%s is %s", p.Name, p.Level)
					}
				}
			})
		})
	}
}

// What another fault explains is not said beside it; the worst comes first.
func TestOneCauseIsOneProblem(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.fail(Kafka, Fault{KafkaAway, "nobody listens there"})
		w.fail(Consumer, Fault{ConsumerIdle, "no partitions"})
		w.fail(Redis, Fault{RedisCatchingUp, "3 pushes"})
		w.gauges[mStalled].Set(3)
		w.run(t)
		wait(1)
		var got []Kind
		for _, p := range w.monitor.Snapshot().Problems {
			got = append(got, p.Kind)
		}
		if diff := cmp.Diff([]Kind{KafkaAway, RedisCatchingUp}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// A registry that hangs, because a gauge asks a disk that does, does not hold up the page.
func TestMetricsThatHang(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.run(t)
		wait(2)
		hang := make(chan struct{})
		w.reg.MustRegister(hangs{hang})
		wait(3)
		s := w.monitor.Snapshot()
		if time.Since(s.Time) > 2*Every || len(s.Problems) != 1 || s.Problems[0].Kind != MetricsUnreadable {
			t.Errorf("%v old: %+v", time.Since(s.Time), s.Problems)
		}
		close(hang)
		wait(2)
		if s := w.monitor.Snapshot(); len(s.Problems) != 0 {
			t.Errorf("it goes on: %+v", s.Problems)
		}
	})
}

// Partitions that wait most are named first, and not more than a thousand of them.
func TestLag(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for i := range maxPartitions + 5 {
			w.lag.WithLabelValues("t", fmt.Sprint(i)).Set(float64(i % 7))
		}
		w.run(t)
		wait(1)
		l := w.monitor.Snapshot().Lag
		if len(l.Partitions) != maxPartitions || l.Partitions[0] != (Partition{"t", 6, 6, 0}) || l.Messages != 3009 {
			t.Errorf("%d partitions, %+v first, %d messages", len(l.Partitions), l.Partitions[0], l.Messages)
		}
	})
}

// Quantiles are what Prometheus makes of the same buckets.
func TestQuantile(t *testing.T) {
	bounds := []float64{.1, .2, .4}
	for _, c := range []struct {
		q       float64
		buckets []float64
		want    float64
	}{{.5, []float64{0, 10, 0, 0}, .15}, {.99, []float64{99, 1, 0, 0}, .1}, {.5, []float64{1, 0, 1, 0}, .1}, {.99, []float64{0, 0, 0, 3}, .4}} {
		if got := quantile(c.q, bounds, c.buckets); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v of %v: %v, want %v", c.q, c.buckets, got, c.want)
		}
	}
	if got := quantile(.5, bounds, make([]float64, 4)); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

// A chart has a gap where nothing was measured, also on its way through JSON.
func TestCharts(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.run(t)
		wait(1)
		w.age.WithLabelValues("post").Observe(.15)
		w.age.WithLabelValues("push").Observe(.15)
		wait(1)
		wait(1)
		s := w.monitor.Snapshot()
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Snapshot
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(back.Charts, func(c Chart) bool { return c.Name == "age" })
		values := back.Charts[i].Lines[0].Values
		n := len(values)
		if !math.IsNaN(float64(values[n-1])) || math.Abs(float64(values[n-2])-.15) > 1e-9 || !math.IsNaN(float64(values[n-3])) {
			t.Errorf("values %v", values)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(text) {
			t.Errorf("not the same after reading: %v\n%s\n%s", err, text, again)
		}
	})
}

// Every kind of problem says in both languages what is wrong and what to do, and the runbook has its section.
func TestKindsHaveWordsAndARunbook(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(page), -1) {
		name := strings.ToLower(strings.ReplaceAll(m[1], " ", "-"))
		anchors[regexp.MustCompile(`[^a-z0-9\-_]`).ReplaceAllString(name, "")] = true
	}
	for k, a := range kinds {
		for _, w := range []words{a.what, a.next} {
			if w.en == "" || w.zh == "" || w.en == w.zh {
				t.Errorf("%s lacks words: %+v", k, w)
			}
		}
		if !anchors[a.runbook] {
			t.Errorf("%s: docs/operations.md has no section #%s", k, a.runbook)
		}
		if a.level != Warn && a.level != Down {
			t.Errorf("%s has the level %q", k, a.level)
		}
		for _, because := range a.because {
			if _, ok := kinds[because]; !ok || because == k {
				t.Errorf("%s is explained by %q", k, because)
			}
		}
	}
	for _, o := range push.Outcomes() {
		if w := reasons[string(o.Reason)]; w.en == "" || w.zh == "" {
			t.Errorf("the reason %s has no words", o.Reason)
		}
	}
	for key, w := range texts {
		if w.en == "" || w.zh == "" || strings.Count(w.en, "%s") != strings.Count(w.zh, "%s") {
			t.Errorf("the words %q: %+v", key, w)
		}
	}
}
