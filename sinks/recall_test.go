package sinks_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
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
				Pseudonym: "pseudonym-in-redis", PseudonymKey: "key-of-pseudonyms"},
		}},
		Erasures: []pipeline.Erasure{{
			ID: pipeline.NewID("test", "weir.consent", 3, 8, "erase", 0, ""), Origin: origin, Record: tombstone,
			Forgotten: push.Forgotten{Pseudonym: "pseudonym-in-redis", PseudonymKey: "key-of-pseudonyms"},
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
	err := evidence.Walk(dir, func(e evidence.Entry) error {
		name, ok := bodies[e.Kind]
		if !ok {
			return nil
		}
		seen[e.Kind]++
		body := validate(t, schema(t, name), e.Body)
		if at(t, body, "pseudonym") != "pseudonym-in-redis" || bytes.Contains(e.Body, []byte("user-")) {
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
