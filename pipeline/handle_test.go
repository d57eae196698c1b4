package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

func newPipeline(t testing.TB, sinks ...pipeline.Sink) *pipeline.Pipeline {
	t.Helper()
	p, err := pipeline.New(options(t, sinks...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func options(t testing.TB, sinks ...pipeline.Sink) pipeline.Options {
	o := pipeline.Options{Source: "test", Force: pipeline.Force{Rules: ruleSet(t)}, Events: event.DefaultConfig()}
	for i, s := range sinks {
		o.Sinks = append(o.Sinks, pipeline.NamedSink{Name: fmt.Sprint("sink", i), Sink: s})
	}
	return o
}

// batchOf makes a batch of posts.
func batchOf(values ...string) *pipeline.Batch {
	b := &pipeline.Batch{Kind: event.Post, Topic: "posts", Next: int64(len(values))}
	for i, v := range values {
		r := pipeline.Record{Offset: int64(i), Time: time.Unix(1_700_000_000, 0)}
		if v != "<null>" {
			r.Value = []byte(v)
		}
		b.Records = append(b.Records, r)
	}
	return b
}

// Broken input of every kind becomes a dead letter with its reason, nothing is
// lost and the batch goes on.
//
// Clause: cmp-stop
func TestBrokenInputBecomesADeadLetterWithItsReason(t *testing.T) {
	whole := post("a", "text")
	cases := []struct {
		name, value string
		reason      pipeline.Reason
	}{
		{"truncated", whole[:len(whole)/2], "truncated"},
		{"huge", `{"id":"` + strings.Repeat("x", 100<<20) + `"}`, "too-large"},
		{"NaN", strings.Replace(whole, `"a"`, `NaN`, 1), "bad-number"},
		{"lone surrogate", strings.Replace(whole, `text"}`, `\ud800"}`, 1), "lone-surrogate"},
		{"NUL byte", strings.Replace(whole, `text"}`, "te\x00xt\"}", 1), "control-character"},
		{"nested 10,000 deep", strings.Replace(whole, `"text"}}`, strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+"}}", 1), "too-deep"},
		{"empty value", "", "empty-value"},
		{"null value", "<null>", "null-value"},
		{"JSON null", "null", "null-value"},
		{"invalid UTF-8", strings.Replace(whole, `text"}`, "te\xffxt\"}", 1), "invalid-utf8"},
		{"duplicate name", strings.Replace(whole, `{"id"`, `{"id":"b","id"`, 1), "duplicate-name"},
		{"unknown name", strings.Replace(whole, `{"id"`, `{"idd":"b","id"`, 1), "unknown-name"},
	}
	s := new(pipelinetest.Sink)
	p := newPipeline(t, s)
	var values []string
	for _, c := range cases {
		values = append(values, c.value)
	}
	values = append(values, post("last", "forbiddenstuff"))
	if err := p.Handle(t.Context(), batchOf(values...)); err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]pipelinetest.Entry)
	for _, e := range s.Entries() {
		got[e.Offset] = e
	}
	for i, c := range cases {
		e := got[int64(i)]
		if e.Outcome != pipeline.DeadLettered || e.Reason != c.reason {
			t.Errorf("%s: outcome %v, reason %q; want a dead letter with reason %q", c.name, e.Outcome, e.Reason, c.reason)
		}
	}
	if e := got[int64(len(cases))]; e.Outcome != pipeline.Flagged || e.EventID != "last" {
		t.Errorf("the event after the broken ones: %+v, want it flagged", e)
	}
}

// A wrong codec: a batch the broker's format does not allow, and a value in
// another encoding.
func TestWrongCodecBecomesADeadLetter(t *testing.T) {
	s := new(pipelinetest.Sink)
	b := batchOf("raw batch bytes", post("a", "x"), post("b", "x"))
	b.Records[0].Corrupt = "batch-codec"
	b.Records[1].Headers = []event.Header{{Key: "content-type", Value: []byte("avro/binary")}}
	b.Records[2].Headers = []event.Header{{Key: "content-encoding", Value: []byte("gzip")}}
	if err := newPipeline(t, s).Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var reasons []pipeline.Reason
	for _, e := range s.Entries() {
		reasons = append(reasons, e.Reason)
	}
	if diff := cmp.Diff([]pipeline.Reason{"batch-codec", "encoding", "encoding"}, reasons); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A batch is read as its topic is written, and the next one as its own is; what is
// kept of a message is all of it as it came.
func TestBatchesAreReadAsTheyAreWritten(t *testing.T) {
	layout := event.Layout{Envelope: event.EnvelopeConfluent, Map: &event.Mapping{
		ID: event.Place{Pointer: "/n"}, Time: event.Place{Pointer: "/at"}, User: event.UserPlaces{ID: event.Place{Pointer: "/by"}},
		Fields: map[string]event.Place{"body": {Pointer: "/text"}},
	}}
	format, err := layout.Format(event.Post)
	if err != nil {
		t.Fatal(err)
	}
	const envelope = "\x00\x00\x00\x00\x01"
	b := batchOf(envelope+`{"n":7,"at":1795509000,"by":"u","text":"a forbiddenstuff"}`, post("a", "forbiddenstuff"), envelope+`{}`)
	b.Format = format
	s := new(kept)
	p := newPipeline(t, s)
	for _, b := range []*pipeline.Batch{b, batchOf(post("b", "forbiddenstuff"))} {
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`7 body 2-16 ` + string(b.Records[0].Value), `b text 0-14 ` + post("b", "forbiddenstuff"), "no-envelope", "missing"}
	if diff := cmp.Diff(want, append(s.verdicts, s.dead...)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// kept is a sink that notes what verdicts are about.
type kept struct{ verdicts, dead []string }

func (k *kept) Write(_ context.Context, out *pipeline.Output) error {
	for i := range out.Verdicts {
		v := &out.Verdicts[i]
		f, h := v.Event.Fields[0], v.Hits[0]
		k.verdicts = append(k.verdicts, fmt.Sprintf("%s %s %d-%d %s", v.Event.ID, f.Name, h.Start, h.End, v.Record.Value))
	}
	for i := range out.DeadLetters {
		k.dead = append(k.dead, string(out.DeadLetters[i].Reason))
	}
	return nil
}

// The strongest live rule decides; a shadow rule leaves a trace and changes nothing.
func TestStrongestLiveRuleDecides(t *testing.T) {
	judge := pipeline.NewJudge(event.DefaultConfig())
	set := ruleSet(t)
	for text, want := range map[string]struct {
		action, reason string
		hits           int
	}{
		"nothing":                                {"pass", "none", 0},
		"a forbiddenstuff b":                     {"review", "content", 1},
		"forbiddenstuff and terriblestuff":       {"reject", "content", 2},
		"only shadowystuff":                      {"pass", "none", 1},
		"shadowystuff beside forbiddenstuff too": {"review", "content", 2},
	} {
		v, err := judge.Judge(set, event.Post, nil, []byte(post("a", text)), new(event.Event))
		if err != nil {
			t.Fatal(err)
		}
		r := v.Report()
		if r.Action != want.action || string(r.Reason) != want.reason || len(r.Hits) != want.hits {
			t.Errorf("%q: %s, %s, %d hits; want %+v", text, r.Action, r.Reason, len(r.Hits), want)
		}
		for _, h := range r.Hits {
			if text[h.Start:h.End] != h.Text {
				t.Errorf("%q: span %d-%d is %q, reported %q", text, h.Start, h.End, text[h.Start:h.End], h.Text)
			}
		}
	}
}

// An output that does not answer is asked again until it does; the partition
// waits and says so, and the effect is there once.
func TestSinkThatFailsIsRetriedUntilItTakesTheOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		failures := 5
		var stalled float64
		s := new(pipelinetest.Sink)
		s.Effect = func(_ string, do func() error) error {
			if failures--; failures >= 0 {
				stalled = max(stalled, waiting(t, reg))
				return errors.New("broker is away")
			}
			return do()
		}
		o := options(t, s)
		o.Registerer = reg
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Handle(t.Context(), batchOf(post("a", "forbiddenstuff"))); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Entries()); n != 1 {
			t.Errorf("%d entries, want 1", n)
		}
		if stalled != 1 {
			t.Errorf("weir_stalled_partitions was %v while the output did not answer, want 1", stalled)
		}
		if now := waiting(t, reg); now != 0 {
			t.Errorf("weir_stalled_partitions is %v afterwards, want 0", now)
		}
	})
}

// A sink that does not return, because it tries for itself, makes the partition
// wait just as visibly as one that fails.
func TestSinkThatTakesLongIsSeenToStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		log := new(bytes.Buffer)
		goOn := make(chan struct{})
		s := &pipelinetest.Sink{Effect: func(_ string, do func() error) error {
			<-goOn
			return do()
		}}
		o := options(t, s)
		o.Registerer, o.Logger = reg, slog.New(slog.NewTextHandler(log, nil))
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- p.Handle(t.Context(), batchOf(post("a", "forbiddenstuff"))) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := waiting(t, reg); n != 1 {
			t.Errorf("weir_stalled_partitions is %v after ten seconds, want 1", n)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := waiting(t, reg); n != 0 {
			t.Errorf("weir_stalled_partitions is %v afterwards, want 0", n)
		}
		if waits, on := strings.Count(log.String(), "partition waits"), strings.Count(log.String(), "partition goes on"); waits != 1 || on != 1 {
			t.Errorf("%d and %d lines, want one each:\n%s", waits, on, log)
		}
	})
}

// waiting returns how many partitions wait.
func waiting(t *testing.T, reg *prometheus.Registry) float64 {
	t.Helper()
	const name = "weir_stalled_partitions"
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A permanent error is not tried again: it ends the daemon.
func TestPermanentErrorIsNotRetried(t *testing.T) {
	gone := errors.New("the log is dead")
	calls := 0
	s := &pipelinetest.Sink{Effect: func(string, func() error) error { calls++; return pipeline.Permanent(gone) }}
	err := newPipeline(t, s).Handle(t.Context(), batchOf(post("a", "forbiddenstuff")))
	if !errors.Is(err, gone) || calls != 1 {
		t.Errorf("error %v after %d calls, want the sink's error after 1", err, calls)
	}
}

// A verdict its topic will never take becomes a dead letter, on record in the
// sinks before it too, and the ledger still balances.
func TestRefusedVerdictBecomesADeadLetter(t *testing.T) {
	evidence, topics := new(pipelinetest.Sink), &pipelinetest.Sink{Limit: 300}
	p := newPipeline(t, evidence, topics)
	b := batchOf(post("small", "forbiddenstuff"), post("large", "forbiddenstuff"+strings.Repeat("!", 500)))
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Next: 2}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range topics.Entries() {
		got = append(got, fmt.Sprint(e.Offset, " ", e.Outcome, " ", e.Reason))
	}
	want := []string{"0 flagged content", "1 dead_lettered output-too-large"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := len(evidence.IDs()); n != 3 { // two verdicts and the dead letter
		t.Errorf("%d entries in evidence, want 3", n)
	}
	if c := evidence.Coverage(); len(c) != 1 || !c[0].Balanced() || c[0].DeadLettered != 1 || c[0].Flagged != 1 {
		t.Errorf("coverage %+v, want one flagged and one dead letter", c)
	}
}

// together returns an evidence sink and one that commits progress, into next.
func together() (evidence, topics *pipelinetest.Sink, next *int64) {
	next = new(int64)
	return new(pipelinetest.Sink), &pipelinetest.Sink{Progress: func(r pipeline.Range) error {
		*next = r.Next
		return nil
	}}, next
}

func claimed(first int64, values ...string) *pipeline.Batch {
	b := batchOf(values...)
	b.Claim = &pipeline.Claim{Group: "g", Member: "m", Generation: 7}
	for i := range b.Records {
		b.Records[i].Offset += first
	}
	b.First, b.Next = b.First+first, b.Next+first
	return b
}

// A batch that is committed with its effects has its account written before,
// together with what is open of its partition; a batch that leaves nothing behind
// waits for the next checkpoint. No account is written twice.
func TestProgressIsAccountedForFirst(t *testing.T) {
	evidence, topics, next := together()
	p := newPipeline(t, evidence, topics)
	for i, text := range []string{"fine", "forbiddenstuff", "fine"} {
		if err := p.Handle(t.Context(), claimed(int64(i), post(fmt.Sprint(i), text))); err != nil {
			t.Fatal(err)
		}
		want := []int64{0, 2, 2}[i]
		if got := coveredUpTo(evidence.Coverage()); got != want || *next != want {
			t.Errorf("after batch %d: covered up to %d, committed %d, want %d", i, got, *next, want)
		}
	}
	if err := p.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Next: 3}}); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, c := range evidence.Coverage() {
		total += c.Fetched
		if !c.Balanced() || c.Next-c.First != c.Fetched {
			t.Errorf("account %+v", c)
		}
	}
	if total != 3 {
		t.Errorf("accounts of %d messages, want 3: %+v", total, evidence.Coverage())
	}
	if len(topics.Entries()) != 1 {
		t.Errorf("topics have %+v", topics.Entries())
	}
}

// A verdict that is refused where all or nothing is written becomes a dead letter
// that is written with the rest, after its evidence; the account is of how it ended.
func TestRefusedTogether(t *testing.T) {
	evidence, topics, next := together()
	topics.Limit = 300
	var order []string
	note := func(name string, do func() error) error { order = append(order, name); return do() }
	evidence.Name, topics.Name, evidence.Effect, topics.Effect = "evidence", "topics", note, note
	p := newPipeline(t, evidence, topics)
	b := claimed(0, post("small", "forbiddenstuff"), post("large", "forbiddenstuff"+strings.Repeat("!", 500)))
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want := []string{"evidence entry", "evidence entry", "evidence entry", "evidence coverage", "topics coverage", "topics transaction"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var got []string
	for _, e := range topics.Entries() {
		got = append(got, fmt.Sprint(e.Offset, " ", e.Outcome, " ", e.Reason))
	}
	if diff := cmp.Diff([]string{"0 flagged content", "1 dead_lettered output-too-large"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c := evidence.Coverage(); len(c) != 1 || !c[0].Balanced() || c[0].DeadLettered != 1 || c[0].Flagged != 1 {
		t.Errorf("coverage %+v, want one flagged and one dead letter", c)
	}
	if *next != 2 {
		t.Errorf("committed %d, want 2", *next)
	}
}

// A verdict the evidence refuses is a dead letter in the one transaction, too.
func TestRefusedByEvidenceTogether(t *testing.T) {
	evidence, topics, next := together()
	evidence.Limit = 300
	p := newPipeline(t, evidence, topics)
	b := claimed(0, post("large", "forbiddenstuff"+strings.Repeat("!", 500)), post("small", "forbiddenstuff"))
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*pipelinetest.Sink{evidence, topics} {
		got := make(map[string]int)
		for _, e := range s.Entries() {
			got[fmt.Sprint(e.Offset, " ", e.Outcome)]++
		}
		if diff := cmp.Diff(map[string]int{"0 dead_lettered": 1, "1 flagged": 1}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if *next != 2 {
		t.Errorf("committed %d, want 2", *next)
	}
}

// A partition that is lost is not waited for: somebody else judges the batch.
func TestLostPartitionIsLetGo(t *testing.T) {
	evidence, topics, _ := together()
	calls := 0
	topics.Progress = func(pipeline.Range) error {
		calls++
		return fmt.Errorf("commit: %w", pipeline.ErrLost)
	}
	err := newPipeline(t, evidence, topics).Handle(t.Context(), claimed(0, post("a", "forbiddenstuff")))
	if !errors.Is(err, pipeline.ErrLost) || calls != 1 {
		t.Errorf("error %v after %d calls, want that it is lost after 1", err, calls)
	}
}

// What a sink refused does not reach the sinks after it, and is counted once.
func TestRefusedVerdictGoesNoFurther(t *testing.T) {
	first, second := &pipelinetest.Sink{Limit: 300}, &pipelinetest.Sink{Limit: 300}
	p := newPipeline(t, first, second)
	b := batchOf(post("large", "forbiddenstuff"+strings.Repeat("!", 500)), post("small", "forbiddenstuff"))
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Next: 2}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*pipelinetest.Sink{first, second} {
		got := make(map[string]int)
		for _, e := range s.Entries() {
			got[fmt.Sprint(e.Offset, " ", e.Outcome)]++
		}
		if diff := cmp.Diff(map[string]int{"0 dead_lettered": 1, "1 flagged": 1}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if c := second.Coverage(); len(c) != 1 || !c[0].Balanced() || c[0].DeadLettered != 1 || c[0].Flagged != 1 {
		t.Errorf("coverage %+v, want one flagged and one dead letter", c)
	}
}

// A hit is quoted up to a limit, whatever a hostile text puts between its
// letters; its span stays exact.
func TestLongHitIsQuotedUpToALimit(t *testing.T) {
	text := "forbidden" + strings.Repeat("\u200b", 3000) + "stuff"
	v, err := pipeline.NewJudge(event.DefaultConfig()).Judge(ruleSet(t), event.Post, nil, []byte(post("a", text)), new(event.Event))
	if err != nil {
		t.Fatal(err)
	}
	h := v.Report().Hits[0]
	if h.End-h.Start != len(text) || len(h.Text) > pipeline.MaxQuote || !strings.HasPrefix(text, h.Text) || len(h.Text) < pipeline.MaxQuote-3 {
		t.Errorf("span of %d bytes quoted with %d; want %d and almost %d", h.End-h.Start, len(h.Text), len(text), pipeline.MaxQuote)
	}
}

// A push that no topic could carry on becomes a dead letter before it takes a slot.
func TestPushTooLargeToForwardTakesNoSlot(t *testing.T) {
	store, redis := newStore(t)
	s := new(pipelinetest.Sink)
	o := options(t, s)
	o.Force.Policy, o.Store, o.MaxForward = threeADayPolicy(t), store, 400
	o.Now = func() time.Time { return noon }
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	push := func(id, text string) string {
		return fmt.Sprintf(`{"id":%q,"time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","fields":{"body":%q}}`, id, text)
	}
	b := batchOf(push("large", strings.Repeat("x", 400)))
	b.Kind = event.Push
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if e := s.Entries(); len(e) != 1 || e[0].Outcome != pipeline.DeadLettered || e[0].Reason != pipeline.ReasonOutputTooLarge {
		t.Errorf("%+v, want a dead letter", e)
	}
	if keys := redis.Keys(); len(keys) != 0 {
		t.Errorf("Redis has %d records of a push that was never sent", len(keys))
	}
	b = batchOf(push("small", "x"))
	b.Kind = event.Push
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if keys := redis.Keys(); len(keys) != 1 {
		t.Errorf("Redis has %d records, want the send log of the push that was allowed", len(keys))
	}
}

// A message without a timestamp says nothing of ages.
func TestAgeIsOfMessagesThatHaveATime(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := options(t, new(pipelinetest.Sink))
	o.Registerer = reg
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf("{", post("a", "x"))
	b.Records[0].Time = time.Time{}
	b.Records[1].Time = time.Now()
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_message_age_seconds" {
			for _, m := range f.GetMetric() {
				if sum := m.GetHistogram().GetSampleSum(); sum > 3600 {
					t.Errorf("ages add up to %v seconds", sum)
				}
			}
		}
	}
}

// A batch is judged under the rule set that was in force when it began, and its
// account names that set.
func TestBatchNeverMixesTwoRuleSets(t *testing.T) {
	s := new(pipelinetest.Sink)
	p := newPipeline(t, s)
	before := p.InForce().Rules.Digest()
	if err := p.Handle(t.Context(), batchOf(post("a", "x"))); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Next: 1}}); err != nil {
		t.Fatal(err)
	}
	if got := s.Coverage()[0].Rules; got != before {
		t.Errorf("coverage names rule set %s, want %s", got, before)
	}
}

// Control records and records of aborted transactions are in the account.
func TestSkippedRecordsAreAccountedFor(t *testing.T) {
	s := new(pipelinetest.Sink)
	p := newPipeline(t, s)
	b := batchOf(post("a", "x"), "{")
	b.Skipped, b.Next = 3, 5
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := p.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Next: 5}}); err != nil {
		t.Fatal(err)
	}
	want := pipeline.Counts{Fetched: 5, Passed: 1, DeadLettered: 1, Skipped: 3}
	if diff := cmp.Diff(want, s.Coverage()[0].Counts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Metrics show where every message ended, under labels that existed before it came.
func TestMetricsCountOutcomes(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := options(t, new(pipelinetest.Sink))
	o.Registerer = reg
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Handle(t.Context(), batchOf(post("a", "x"), post("b", "forbiddenstuff"), "{")); err != nil {
		t.Fatal(err)
	}
	err = testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_messages_total Messages by where they ended.
# TYPE weir_messages_total counter
weir_messages_total{outcome="dead_lettered",stream="consent"} 0
weir_messages_total{outcome="dead_lettered",stream="outcome"} 0
weir_messages_total{outcome="dead_lettered",stream="post"} 1
weir_messages_total{outcome="dead_lettered",stream="push"} 0
weir_messages_total{outcome="flagged",stream="consent"} 0
weir_messages_total{outcome="flagged",stream="outcome"} 0
weir_messages_total{outcome="flagged",stream="post"} 1
weir_messages_total{outcome="flagged",stream="push"} 0
weir_messages_total{outcome="passed",stream="consent"} 0
weir_messages_total{outcome="passed",stream="outcome"} 0
weir_messages_total{outcome="passed",stream="post"} 1
weir_messages_total{outcome="passed",stream="push"} 0
weir_messages_total{outcome="skipped",stream="consent"} 0
weir_messages_total{outcome="skipped",stream="outcome"} 0
weir_messages_total{outcome="skipped",stream="post"} 0
weir_messages_total{outcome="skipped",stream="push"} 0
`), "weir_messages_total")
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// What cannot work is refused when the pipeline is made.
func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := options(t, new(pipelinetest.Sink))
	for name, spoil := range map[string]func(*pipeline.Options){
		"no source name": func(o *pipeline.Options) { o.Source = "" },
		"no rule set":    func(o *pipeline.Options) { o.Force.Rules = nil },
		"no sinks":       func(o *pipeline.Options) { o.Sinks = nil },
	} {
		o := good
		spoil(&o)
		if _, err := pipeline.New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Ids depend on everything that makes an effect another one, and on nothing else.
func TestIDsDifferExactlyWhereEffectsDo(t *testing.T) {
	base := pipeline.NewID("s", "t", 1, 2, "k", 3, "r")
	if again := pipeline.NewID("s", "t", 1, 2, "k", 3, "r"); again != base {
		t.Error("the same effect has two ids")
	}
	for i, other := range []pipeline.ID{
		pipeline.NewID("x", "t", 1, 2, "k", 3, "r"), pipeline.NewID("s", "x", 1, 2, "k", 3, "r"),
		pipeline.NewID("s", "t", 9, 2, "k", 3, "r"), pipeline.NewID("s", "t", 1, 9, "k", 3, "r"),
		pipeline.NewID("s", "t", 1, 2, "x", 3, "r"), pipeline.NewID("s", "t", 1, 2, "k", 9, "r"),
		pipeline.NewID("s", "t", 1, 2, "k", 3, "x"), pipeline.NewID("st", "", 1, 2, "k", 3, "r"),
	} {
		if other == base {
			t.Errorf("case %d has the id of another effect", i)
		}
	}
}

// A partition that was handed over while its output was away lets go when told to.
func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pipelinetest.Sink{Effect: func(string, func() error) error { return errors.New("away") }}
		p := newPipeline(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Handle(ctx, batchOf(post("a", "forbiddenstuff"))); err == nil {
			t.Error("Handle returned nil though nothing was written")
		}
	})
}
