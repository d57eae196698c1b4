package sinks_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// kept is a record as a reader of the log finds it, its body as people read it.
type kept struct {
	evidence.Entry
	body string
}

// records reads the log, but for its genesis.
func records(t testing.TB, dir string) []kept {
	t.Helper()
	var list []kept
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		if e.Kind == evidence.KindGenesis {
			return nil
		}
		text, err := body.JSON(e.Kind, e.Encoding, e.Body)
		list = append(list, kept{e, string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// recordOf writes one verdict and returns its record.
func recordOf(t testing.TB, v *pipeline.Verdict) kept {
	t.Helper()
	s, dir := newEvidence(t)
	if err := s.Write(t.Context(), output(v)); err != nil {
		t.Fatal(err)
	}
	list := records(t, dir)
	if len(list) != 1 || list[0].ID != evidence.ID(v.ID) {
		t.Fatalf("records %v, want one with id %s", list, v.ID)
	}
	return list[0]
}

// holdsOriginal checks that a body holds a message as it was received.
func holdsOriginal(t testing.TB, body map[string]any, value []byte) {
	t.Helper()
	identifiesOriginal(t, body, value)
	got, err := base64.StdEncoding.DecodeString(at(t, body, "original", "value").(string))
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("original %.100q, %v; want %.100q", got, err, value)
	}
}

// digest returns a SHA-256 in hex.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func identifiesOriginal(t testing.TB, body map[string]any, value []byte) {
	t.Helper()
	sum := sha256.Sum256(value)
	if got := at(t, body, "original", "sha256"); got != hex.EncodeToString(sum[:]) {
		t.Errorf("sha256 of the original: %v, want %x", got, sum)
	}
	if got := at(t, body, "original", "bytes"); got != float64(len(value)) {
		t.Errorf("length of the original: %v, want %d", got, len(value))
	}
}

// The evidence of a hit holds the message as it was received, to the byte, with
// its hash, who wrote it when and from where, and every hit.
//
// Clause: pub-keep
// Clause: cmp-log
func TestEvidenceOfAHit(t *testing.T) {
	d := newDesk(t)
	v := d.post(t, "buy forbiddenstuff and 违禁品 here")
	r := recordOf(t, v)
	if r.Kind != evidence.KindHit || r.Class != evidence.ClassContent || r.Encoding != evidence.EncodingProtobuf {
		t.Errorf("kind %v, class %v, encoding %d", r.Kind, r.Class, r.Encoding)
	}
	body := validate(t, schema(t, "evidence.json#/$defs/verdictRecord"), []byte(r.body))
	holdsOriginal(t, body, v.Record.Value)
	delete(body, "original")
	hit := func(start, end, start16, end16 int, text string) any {
		return map[string]any{"rule": "test.review", "category": "test", "severity": "low", "field": "text",
			"start": float64(start), "end": float64(end), "start_utf16": float64(start16), "end_utf16": float64(end16), "text": text, "form": "fold", "confidence": "high"}
	}
	want := map[string]any{
		"event_id": "post-1", "kind": "post", "action": "review", "reason": "content", "rules": d.set.Digest(), "fold": fold.Version,
		"hits":      []any{hit(4, 18, 4, 18, "forbiddenstuff"), hit(23, 32, 23, 26, "违禁品")},
		"user":      map[string]any{"id": "user-1", "group": "minor", "verified": true},
		"time":      "2026-11-24T04:00:00Z",
		"operation": "comment",
		"attachments": []any{map[string]any{"uri": "s3://bucket/a.png", "sha256": strings.Repeat("ab", 32),
			"media_type": "image/png", "scan": "clean"}},
		"client": map[string]any{"address": "203.0.113.7", "port": 50123.,
			"device": map[string]any{"model": "P60", "os": "Android 16", "id": "d-77", "app": "reader/4.1"}},
		"server":     map[string]any{"address": "2001:db8::1", "port": 443.},
		"origin":     map[string]any{"source": "test", "topic": "weir.posts", "partition": 3., "offset": 1., "timestamp": "2026-11-24T03:59:59Z"},
		"key_sha256": digest("as-received"),
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The evidence of a decision holds everything that led to it, and the push's
// text only if a rule hit it.
//
// Clause: push-record
func TestEvidenceOfAPush(t *testing.T) {
	d := newDesk(t)
	verdictRecord := schema(t, "evidence.json#/$defs/verdictRecord")
	for _, c := range []struct {
		name   string
		v      *pipeline.Verdict
		want   string
		text   bool
		inputs []string
	}{
		{"allowed", d.push(t, "come and buy", noon, 5), "allow none", false,
			[]string{"not_after", "pseudonym", "pseudonym_key", "policy_version", "consent", "group", "group_source", "zone", "zone_source", "local_time", "quiet", "deadline", "limits"}},
		{"at night", d.push(t, "come and buy", noon.Add(11*time.Hour), 5), "defer quiet-hours", false, []string{"not_before", "quiet", "local_time"}},
		{"one too many", d.push(t, "come and buy", noon, 0), "deny cap", false, []string{"limit", "limits", "deadline"}},
		{"prohibited", d.push(t, "come and buy forbiddenstuff", noon, 5), "deny content", true, nil},
		{"seen by a shadow rule", d.push(t, "come and buy shadowystuff", noon, 5), "allow none", true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recordOf(t, c.v)
			if r.Kind != evidence.KindPush || r.Class != evidence.ClassPush {
				t.Errorf("kind %v, class %v", r.Kind, r.Class)
			}
			body := validate(t, verdictRecord, []byte(r.body))
			if got := at(t, body, "decision").(string) + " " + at(t, body, "reason").(string); got != c.want {
				t.Errorf("decision %q, want %q", got, c.want)
			}
			for _, name := range append(c.inputs, "decision", "reason", "at") {
				if at(t, body, "push", "decision", name) == nil {
					t.Errorf("the decision has no %s: %v", name, at(t, body, "push", "decision"))
				}
			}
			if c.text {
				holdsOriginal(t, body, c.v.Record.Value)
				return
			}
			identifiesOriginal(t, body, c.v.Record.Value)
			if strings.Contains(r.body, "come and buy") || at(t, body, "original", "value") != nil {
				t.Errorf("the text of a push that no rule hit is kept: %s", r.body)
			}
		})
	}
}

// The evidence of a dead letter holds the message as it was received, whatever
// it is, and says why nobody could judge it.
//
// Clause: pub-keep
func TestEvidenceOfADeadLetter(t *testing.T) {
	d := newDesk(t)
	s, dir := newEvidence(t)
	values := [][]byte{[]byte(`{"id":`), {0xff, 0x00, 0xfe}, {}, nil, bytes.Repeat([]byte("x"), sinks.MaxOriginalBytes), bytes.Repeat([]byte("x"), sinks.MaxOriginalBytes+1)}
	out := new(pipeline.Output)
	for _, v := range values {
		out.DeadLetters = append(out.DeadLetters, d.broken(pipeline.Record{Value: v}))
	}
	if err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	deadLetterRecord := schema(t, "evidence.json#/$defs/deadLetterRecord")
	for i, r := range records(t, dir) {
		if r.Kind != evidence.KindDeadLetter || r.Class != evidence.ClassContent || r.ID != evidence.ID(out.DeadLetters[i].ID) {
			t.Errorf("record %d: kind %v, class %v, id %v", i, r.Kind, r.Class, r.ID)
		}
		body := validate(t, deadLetterRecord, []byte(r.body))
		if value := values[i]; len(value) == 0 || len(value) > sinks.MaxOriginalBytes {
			identifiesOriginal(t, body, value)
			if at(t, body, "original", "value") != nil {
				t.Errorf("record %d holds a value", i)
			}
		} else {
			holdsOriginal(t, body, value)
		}
		delete(body, "original")
		want := map[string]any{"kind": "post", "stage": "decode", "reason": "missing", "detail": "event: user.id: missing", "rules": d.set.Digest(),
			"origin": map[string]any{"source": "test", "topic": "weir.posts", "partition": 3., "offset": float64(i + 1)}}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("record %d, -want +got:\n%s", i, diff)
		}
	}
}

// The accounts of one checkpoint are one record; the same accounts again are
// the same record, others are another.
func TestEvidenceOfCoverage(t *testing.T) {
	s, dir := newEvidence(t)
	rules := strings.Repeat("0f", 32)
	account := func(first, next int64) pipeline.Coverage {
		n := next - first
		return pipeline.Coverage{
			Range:  pipeline.Range{Topic: "weir.pushes", Partition: 2, First: first, Next: next},
			Counts: pipeline.Counts{Fetched: n, Passed: n - 6, Flagged: 3, DeadLettered: 2, Skipped: 1},
			Rules:  rules, Policy: rules, Time: time.Now(),
		}
	}
	for _, list := range [][]pipeline.Coverage{
		{account(10, 20), account(20, 50)},
		{account(10, 20), account(20, 50)},
		{account(10, 20), account(20, 51)},
	} {
		if err := s.Write(t.Context(), &pipeline.Output{Coverage: list}); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, dir)
	if len(list) != 3 || list[0].ID != list[1].ID || list[0].body != list[1].body || list[0].ID == list[2].ID {
		t.Fatalf("records %v; want three, the first two of them the same", list)
	}
	if r := list[0]; r.Kind != evidence.KindCoverage || r.Class != evidence.ClassAudit {
		t.Errorf("kind %v, class %v", r.Kind, r.Class)
	}
	body := validate(t, schema(t, "evidence.json#/$defs/coverageRecord"), []byte(list[0].body))
	want := map[string]any{"topic": "weir.pushes", "partition": 2., "first": 20., "next": 50.,
		"fetched": 30., "passed": 24., "flagged": 3., "dead_lettered": 2., "skipped": 1., "rules": rules, "policy": rules}
	if diff := cmp.Diff(want, at(t, body, "ranges", 1)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A gap is on record with the offsets that are gone.
func TestEvidenceOfAGap(t *testing.T) {
	s, dir := newEvidence(t)
	for _, next := range []int64{9, 9, 10} {
		if err := s.Gap(t.Context(), pipeline.Range{Topic: "weir.posts", Partition: 1, First: 5, Next: next}); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, dir)
	if len(list) != 3 || list[0].ID != list[1].ID || list[0].ID == list[2].ID {
		t.Fatalf("records %v; want three, the first two of them the same", list)
	}
	if r := list[0]; r.Kind != evidence.KindGap || r.Class != evidence.ClassAudit {
		t.Errorf("kind %v, class %v", r.Kind, r.Class)
	}
	body := validate(t, schema(t, "evidence.json#/$defs/gapRecord"), []byte(list[0].body))
	if diff := cmp.Diff(map[string]any{"topic": "weir.posts", "partition": 1., "first": 5., "next": 9.}, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// An outage of Redis is on record when it begins and when it is over; what was
// sent over a limit meanwhile stands before its end, names nobody, and is the
// same record when it is booked again.
func TestEvidenceOfAnOutage(t *testing.T) {
	// Clause: push-breach
	s, dir := newEvidence(t)
	o := push.Outage{From: noon, Error: "timeout"}
	if err := s.Outage(t.Context(), o, nil); err != nil {
		t.Fatal(err)
	}
	o.Until, o.Reapplied, o.Breaches = noon.Add(time.Minute), 7, 1
	b := push.Breach{Cause: push.CauseOutage, Limit: "svc-day", Count: 32, Max: 30, Size: 2, WindowFrom: noon.Add(-time.Hour), WindowTo: noon,
		Group: "default", Pseudonym: "0123456789abcdef", PseudonymKey: "01234567", PolicyVersion: "1", Policy: strings.Repeat("0f", 32), From: o.From, To: o.Until}
	for range 2 {
		if err := s.Outage(t.Context(), o, []push.Breach{b}); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, dir)
	var kinds []string
	for _, r := range list {
		kinds = append(kinds, r.Kind.String())
	}
	if got, want := strings.Join(kinds, " "), "incident breach incident breach incident"; got != want {
		t.Fatalf("records %s, want %s", got, want)
	}
	if list[1].ID != list[3].ID || list[2].ID != list[4].ID || list[0].ID == list[2].ID {
		t.Error("what is said twice must have one id, and each statement its own")
	}
	for i, def := range []string{"outageRecord", "breachRecord", "outageRecord"} {
		validate(t, schema(t, "evidence.json#/$defs/"+def), []byte(list[i].body))
	}
	if list[1].Class != evidence.ClassPush || list[2].Class != evidence.ClassAudit {
		t.Errorf("classes %v, %v", list[1].Class, list[2].Class)
	}
	if text := list[1].body; !strings.Contains(text, `"size":2,"window_from"`) || !strings.Contains(text, `"cause":"outage"`) {
		t.Errorf("breach %s", text)
	}
}

// A halt, its end and an automatic halt are on record, an order each time it is read as the same record.
func TestEvidenceOfIncidents(t *testing.T) {
	// Clause: push-monitor
	s, dir := newEvidence(t)
	halt := push.Halt{Target: push.Target{Scope: push.ScopeCampaign, Value: "spring"}, Since: noon, Why: "complaints <1>", By: "officer-7", ID: "h1"}
	order := sinks.Incident{Halt: halt, Origin: pipeline.Origin{Source: "city", Topic: "weir.halts", Partition: 1}, Offset: 7, Timestamp: noon.Add(time.Second)}
	resumed := order
	resumed.Resumed, resumed.Offset, resumed.ID = true, 8, "h2"
	anew := order // the topic was made anew
	anew.ID = "h3"
	trip := sinks.Incident{Halt: halt, Trip: &pipeline.HaltTrip{Halt: halt, Incident: pipeline.ID{9}, From: noon, Count: 30, Of: 40,
		Rule: push.AutoHalt{ID: "bad", Scope: push.ScopeCampaign, When: push.CauseContent, Window: 10 * time.Minute, Min: 20, Share: 5 * rules.Percent}}}
	rate := sinks.Incident{Halt: halt, Trip: &pipeline.HaltTrip{Halt: halt, Incident: pipeline.ID{8}, From: noon, Count: 4000, Of: 4000, Usual: 100.0 / 3,
		Rule: push.AutoHalt{ID: "many", Scope: push.ScopeCampaign, When: push.CauseRate, Window: time.Minute, Min: 20, Factor: 10}}}
	if err := s.Incidents(t.Context(), []sinks.Incident{order, order, resumed, anew, trip, rate}); err != nil {
		t.Fatal(err)
	}
	if err := s.Incidents(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	list := records(t, dir)
	if len(list) != 6 || list[0].ID != list[1].ID || list[0].body != list[1].body || list[0].ID == list[2].ID || list[0].ID == list[3].ID || list[4].ID != (evidence.ID{9}) {
		t.Fatalf("records %v", list)
	}
	want := []string{
		`{"what":"halted","cause":"order","scope":"campaign","value":"spring","since":"2026-11-24T04:00:00Z","why":"complaints <1>","by":"officer-7","id":"h1","origin":{"source":"city","topic":"weir.halts","partition":1,"offset":7,"timestamp":"2026-11-24T04:00:01Z"}}`,
		`{"what":"resumed","cause":"order","scope":"campaign","value":"spring","since":"2026-11-24T04:00:00Z","why":"complaints <1>","by":"officer-7","id":"h2","origin":{"source":"city","topic":"weir.halts","partition":1,"offset":8,"timestamp":"2026-11-24T04:00:01Z"}}`,
		`{"what":"halted","cause":"content","scope":"campaign","value":"spring","since":"2026-11-24T04:00:00Z","why":"complaints <1>","by":"officer-7","id":"h1","rule":"bad","measured":{"window":"10m0s","from":"2026-11-24T04:00:00Z","count":30,"of":40,"min":20,"share":"5%"}}`,
		`{"what":"halted","cause":"rate","scope":"campaign","value":"spring","since":"2026-11-24T04:00:00Z","why":"complaints <1>","by":"officer-7","id":"h1","rule":"many","measured":{"window":"1m0s","from":"2026-11-24T04:00:00Z","count":4000,"of":4000,"usual":33.3,"min":20,"factor":10}}`,
	}
	described := schema(t, "evidence.json#/$defs/haltRecord")
	for i, k := range []int{0, 2, 4, 5} {
		if r := list[k]; r.Kind != evidence.KindIncident || r.Class != evidence.ClassPush || r.body != want[i] {
			t.Errorf("kind %v, class %v, body %s\nwant %s", r.Kind, r.Class, r.body, want[i])
		}
		validate(t, described, []byte(list[k].body))
	}
}

// A batch that is judged again writes the same records: ids and bodies. (A push
// is decided anew; that its records may differ is known to who verifies.)
func TestEvidenceRepeatsItself(t *testing.T) {
	s, dir := newEvidence(t)
	for range 2 {
		d := newDesk(t) // a new process
		out := output(d.post(t, "forbiddenstuff"), d.push(t, "come and buy", noon, 5))
		out.DeadLetters = append(out.DeadLetters, d.broken(pipeline.Record{Value: []byte("{")}))
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, dir)
	if len(list) != 6 {
		t.Fatalf("%d records, want 6", len(list))
	}
	for i := range 3 {
		if a, b := list[i], list[i+3]; a.ID != b.ID || a.Kind != b.Kind || a.body != b.body {
			t.Errorf("record %d is not repeated:\n%s %s\n%s %s", i, a.ID, a.body, b.ID, b.body)
		}
	}
	log := s.Log
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := evidence.Verify(dir, evidence.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("the log does not verify: %+v, %v", report, err)
	}
}

// Very many long hits quote more than a record holds. Such a record loses what
// the original says, too, and keeps the original.
func TestEvidenceTooLargeForOneRecord(t *testing.T) {
	d := newDesk(t)
	v := d.post(t, "qwertyu"+strings.Repeat("\u200b", 250_000)+"iop")
	for len(v.Hits)*pipeline.MaxQuote <= evidence.MaxBodyBytes {
		v.Hits = append(v.Hits, v.Hits...)
	}
	r := recordOf(t, v)
	body := validate(t, schema(t, "evidence.json#/$defs/verdictRecord"), []byte(r.body))
	holdsOriginal(t, body, v.Record.Value)
	if at(t, body, "reduced") != true || at(t, body, "attachments") != nil {
		t.Error("the record does not say that it was reduced, or was not")
	}
	hit := at(t, body, "hits", 0)
	if at(t, hit, "text") != "" || at(t, hit, "start") != float64(v.Hits[0].Start) || at(t, hit, "end") != float64(v.Hits[0].End) {
		t.Errorf("hit %v; want its span without its text", hit)
	}
}

// A verdict that no record can hold is refused and becomes a dead letter: the
// partition neither stops nor waits for ever. All others are written.
func TestEvidenceRefusesWhatNoRecordHolds(t *testing.T) {
	d := newDesk(t)
	s, dir := newEvidence(t)
	long := d.post(t, "forbiddenstuff")
	long.Event.Operation = bytes.Repeat([]byte("x"), evidence.MaxBodyBytes)
	strange := d.push(t, "come and buy", noon, 5)
	strange.Decision.ZoneSource = "guessed" // a word that has no number
	fine := d.post(t, "forbiddenstuff")
	err := s.Write(t.Context(), output(long, strange, fine))
	refused, ok := errors.AsType[*pipeline.Refused](err)
	if !ok || !cmp.Equal(refused.Verdicts, []int{0, 1}) {
		t.Fatalf("error %v, want verdicts 0 and 1 refused", err)
	}
	if list := records(t, dir); len(list) != 1 || list[0].ID != evidence.ID(fine.ID) {
		t.Errorf("records %v, want that of the third verdict", list)
	}
}

// What follows the failure of the evidence log is final: the pipeline does not
// try again, it ends.
func TestBrokenEvidenceEndsThePipeline(t *testing.T) {
	d := newDesk(t)
	for name, breakIt := range map[string]func(t *testing.T, s *sinks.Evidence, dir string){
		"broken": func(t *testing.T, s *sinks.Evidence, dir string) {
			segments, err := filepath.Glob(filepath.Join(dir, "log", "1", "*", "*.seg"))
			if err != nil || len(segments) != 1 {
				t.Fatal(segments, err)
			}
			if err := os.Remove(segments[0]); err != nil {
				t.Fatal(err)
			}
			// What is appended is signed a moment later, and then the file is missed.
			if err := s.Write(t.Context(), output(d.post(t, "forbiddenstuff"))); err != nil {
				t.Fatal(err)
			}
			if err := s.Log.Run(t.Context()); !errors.Is(err, evidence.ErrBroken) {
				t.Fatalf("the log did not break: %v", err)
			}
		},
		"closed": func(t *testing.T, s *sinks.Evidence, _ string) {
			if err := s.Log.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "evidence")
			log, err := evidence.Open(evidence.Options{Dir: dir, Origin: "test/evidence/0/1", CheckpointEvery: 10 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			s := &sinks.Evidence{Log: log}
			p, err := pipeline.New(pipeline.Options{Source: "test", Force: pipeline.Force{Rules: d.set}, Events: event.DefaultConfig(),
				Sinks: []pipeline.NamedSink{{Name: "evidence", Sink: s}}})
			if err != nil {
				t.Fatal(err)
			}
			breakIt(t, s, dir)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			b := &pipeline.Batch{Kind: event.Post, Topic: "weir.posts", Next: 1, Records: []pipeline.Record{{Value: []byte(postOf("forbiddenstuff"))}}}
			if err := p.Handle(ctx, b); err == nil || ctx.Err() != nil {
				t.Errorf("Handle returned %v; want an error before its context ends", err)
			}
			if err := s.Gap(ctx, pipeline.Range{Topic: "weir.posts", First: 1, Next: 2}); err == nil {
				t.Error("a gap was recorded")
			}
		})
	}
}

// Evidence knows the decision words it is told by package push.
func TestEvidenceOfEveryOutcome(t *testing.T) {
	d := newDesk(t)
	s, dir := newEvidence(t)
	out := new(pipeline.Output)
	for _, o := range push.Outcomes() {
		v := d.push(t, "come and buy", noon, 5)
		v.Decision.Decision, v.Decision.Reason, v.Reason = o.Decision, o.Reason, pipeline.Reason(o.Reason)
		v.Decision.Flags = 1<<5 - 1
		out.Verdicts = append(out.Verdicts, *v)
	}
	if err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	verdictRecord := schema(t, "evidence.json#/$defs/verdictRecord")
	for _, r := range records(t, dir) {
		body := validate(t, verdictRecord, []byte(r.body))
		if flags := at(t, body, "push", "decision", "flags").([]any); len(flags) != 5 {
			t.Errorf("flags %v", flags)
		}
	}
}
