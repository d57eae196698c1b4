package sinks_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// noticesOf is what a withdrawal and a tombstone leave behind.
func noticesOf(d *desk) *pipeline.Output {
	origin := pipeline.Origin{Source: "test", Topic: "weir.consent", Partition: 3}
	withdrawal := &pipeline.Record{Offset: 7, Time: noon, Key: []byte("user-1"), Value: []byte("{}")}
	tombstone := &pipeline.Record{Offset: 8, Time: noon, Key: []byte("user-2")}
	return &pipeline.Output{
		Recalls: []pipeline.Recall{{
			ID: pipeline.NewID("test", "weir.consent", 3, 7, "recall", 0, d.policy.Digest()), Origin: origin, Record: withdrawal, User: []byte("user-1"),
			Policy: d.policy.Digest(),
			Recall: push.Recall{Class: "marketing", Channel: "app", AllowedAt: noon.Add(-time.Minute), Mark: "0123456789abcdef", Reason: push.ReasonWithdrawn,
				Consent:   push.ConsentUse{Version: 4, State: push.ConsentWithdrawn, Since: noon},
				Pseudonym: "pseudonym-redis_", PseudonymKey: "01234567"},
		}},
		Erasures: []pipeline.Erasure{{
			ID: pipeline.NewID("test", "weir.consent", 3, 8, "erase", 0, ""), Origin: origin, Record: tombstone,
			Forgotten: push.Forgotten{Pseudonym: "pseudonym-redis_", PseudonymKey: "01234567"},
		}},
	}
}

// A recall goes to those who send, under the key of the push and with its mark, and
// says what its schema says. Nobody else is told, and of an erasure nobody at all.
//
// Clause: push-withdraw
func TestRecallGoesWhereThePushWent(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	out := noticesOf(d)
	cleared := d.push(t, "come and buy", noon, 5)
	for range 2 {
		if err := s.Write(t.Context(), output(cleared)); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	list := read(s.Config.Cleared)
	if len(list) != 4 {
		t.Fatalf("%d messages, want push and recall, each twice", len(list))
	}
	push, recall := list[0], list[1]
	if headers(push)["weir-mark"] != headers(recall)["weir-mark"] || !bytes.Equal(push.Key, recall.Key) || push.Partition != recall.Partition {
		t.Errorf("push %v under %q, recall %v under %q", push.Headers, push.Key, recall.Headers, recall.Key)
	}
	readAsyncAPI(t).checkHeaders(t, "recall", recall)
	want := map[string]any{
		"id": out.Recalls[0].ID.String(), "mark": "0123456789abcdef", "class": "marketing", "channel": "app",
		"allowed_at": "2026-11-24T03:59:00Z", "reason": "withdrawn", "policy": d.policy.Digest(),
		"evidence": map[string]any{"log": s.Origin, "record": out.Recalls[0].ID.String()},
		"origin":   map[string]any{"source": "test", "topic": "weir.consent", "partition": 3., "offset": 7., "timestamp": "2026-11-24T04:00:00Z"},
	}
	if diff := cmp.Diff(want, validate(t, schema(t, "recall.json"), recall.Value)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !cmp.Equal(recall.Value, list[3].Value) || !cmp.Equal(recall.Headers, list[3].Headers) {
		t.Error("written twice the recalls differ")
	}
	for _, topic := range []string{s.Config.Review, s.Config.Deferred, s.Config.DeadLetter} {
		if n := len(read(topic)); n > 0 {
			t.Errorf("%d messages on %s", n, topic)
		}
	}
	s.Config.Cleared = ""
	if err := s.Write(t.Context(), out); err != nil {
		t.Errorf("without a cleared topic: %v", err)
	}
}

// A topic that does not take even a recall is a fault of its settings that an
// operator has to mend: nothing goes on without it.
func TestRecallTooLargeForItsTopic(t *testing.T) {
	s, _ := newKafka(t, testBrokers(t), "max.message.bytes", "300")
	err := s.Write(t.Context(), noticesOf(newDesk(t)))
	if err == nil || !strings.Contains(err.Error(), s.Config.Cleared+" refuses recalls for their size: raise its max.message.bytes") {
		t.Errorf("%v, want it to say which topic must take more", err)
	}
}

// The evidence of a recall and of an erasure says what happened to whom by the
// pseudonym only, and is the same when it is written again.
//
// Clause: rn-erase
func TestEvidenceOfRecallAndErasure(t *testing.T) {
	d := newDesk(t)
	s, dir := newEvidence(t)
	out := noticesOf(d)
	for range 2 {
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	bodies := map[evidence.Kind]string{evidence.KindRecall: "evidence.json#/$defs/recallRecord", evidence.KindErase: "evidence.json#/$defs/eraseRecord"}
	seen := make(map[evidence.Kind]int)
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		name, ok := bodies[e.Kind]
		if !ok {
			return nil
		}
		seen[e.Kind]++
		text, err := body.JSON(e.Kind, e.Encoding, e.Body)
		if err != nil {
			return err
		}
		body := validate(t, schema(t, name), text)
		if at(t, body, "pseudonym") != "pseudonym-redis_" || bytes.Contains(e.Body, []byte("user-")) {
			t.Errorf("%s: %s", e.Kind, e.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen[evidence.KindRecall] != 2 || seen[evidence.KindErase] != 2 {
		t.Errorf("records: %v", seen)
	}
	if err := s.Log.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := evidence.Verify(dir, evidence.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("%v, %v", err, report.Findings)
	}
}

// A change of consent is on record whole: version, what was given and taken back,
// when and how, the text that was shown; its user only by the pseudonym. Grants that
// no record holds are left out, and that is said.
func TestEvidenceOfConsent(t *testing.T) {
	// Clause: push-consent
	// Clause: push-inform
	s, dir := newEvidence(t)
	change := func(offset int64, grants []event.Grant) pipeline.ConsentChange {
		e := &event.Event{Kind: event.Consent, ID: []byte("c1"), Time: noon, User: event.User{ID: []byte("user-7"), Group: []byte("minor")}}
		e.Consent = event.ConsentPart{Version: 4, Zone: []byte("Asia/Shanghai"), Quiet: []byte("21:00-08:00"), DailyMax: 3, Grants: grants}
		return pipeline.ConsentChange{
			ID: pipeline.ID{byte(offset)}, Origin: pipeline.Origin{Source: "test", Topic: "weir.consent", Partition: 2},
			Record: &pipeline.Record{Offset: offset, Time: noon, Value: []byte("{}")}, Event: e,
			Pseudonym: "pseudonym-redis_", PseudonymKey: "01234567",
		}
	}
	many := make([]event.Grant, evidence.MaxBodyBytes/250)
	for i := range many {
		many[i] = event.Grant{Class: []byte(strings.Repeat("c", 250)), Channel: []byte("app"), Time: noon}
	}
	out := &pipeline.Output{Consents: []pipeline.ConsentChange{
		change(7, []event.Grant{
			{Class: []byte("marketing"), Channel: []byte("app"), Granted: true, Time: noon, Method: []byte("settings"), TextVersion: []byte("2026-05")},
			{Class: []byte("marketing"), Channel: []byte("sms"), Time: noon},
		}),
		change(8, many),
	}}
	for range 2 {
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	list := records(t, dir)
	if len(list) != 4 || list[0].ID != list[2].ID || list[0].body != list[2].body || list[0].ID == list[1].ID {
		t.Fatalf("%d records", len(list))
	}
	want := `{"event_id":"c1","time":"2026-11-24T04:00:00Z","version":4,"group":"minor","zone":"Asia/Shanghai","quiet":"21:00-08:00","daily_max":3,"grants":[` +
		`{"class":"marketing","channel":"app","granted":true,"time":"2026-11-24T04:00:00Z","method":"settings","text_version":"2026-05"},` +
		`{"class":"marketing","channel":"sms","granted":false,"time":"2026-11-24T04:00:00Z"}],"pseudonym":"pseudonym-redis_","pseudonym_key":"01234567",` +
		`"origin":{"source":"test","topic":"weir.consent","partition":2,"offset":7,"timestamp":"2026-11-24T04:00:00Z"},` +
		`"original":{"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","bytes":2}}`
	if list[0].Kind != evidence.KindConsent || list[0].Class != evidence.ClassPush || list[0].body != want {
		t.Errorf("kind %v, class %v, body %s\nwant %s", list[0].Kind, list[0].Class, list[0].body, want)
	}
	for _, r := range list[:2] {
		validate(t, schema(t, "evidence.json#/$defs/consentRecord"), []byte(r.body))
	}
	if !strings.Contains(list[1].body, `"grants":[],`) || !strings.Contains(list[1].body, `"reduced":true`) {
		t.Errorf("of too many grants: %.300s", list[1].body)
	}
}
