package sinks_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks"
)

// A deferred push lies in the partition whose turn comes when it is released, and says
// where it was read first and how often it was deferred: what a producer says of
// that is not believed, what Weir wrote before is counted on. So say the decision
// and the evidence when it comes back.
func TestDeferredPushKnowsItsPast(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	s.Config.DeferredTurn = 10 * time.Minute
	doc := readAsyncAPI(t)
	night := noon.Add(11 * time.Hour)
	forged := []event.Header{{Key: deferral.HeaderFirst, Value: []byte("elsewhere/1/2")}, {Key: deferral.HeaderCount, Value: []byte("40")}}
	past := &deferral.Past{Topic: "shop.pushes", Partition: 9, Offset: 70, Count: 2}

	fresh, again, sent := d.push(t, "come and buy", night, 5, forged...), d.push(t, "come and buy", night, 5), d.push(t, "come and buy", noon, 5)
	release := time.Date(2026, 11, 25, 0, 10, 0, 0, time.UTC)
	fresh.Decision.Release, again.Decision.Release = release, release.Add(s.Config.DeferredTurn)
	for _, v := range []*pipeline.Verdict{again, sent} {
		v.Record.Past, v.Origin.Topic = past, "weir.deferred"
	}
	if err := s.Write(t.Context(), output(fresh, again, sent)); err != nil {
		t.Fatal(err)
	}
	type where struct{ Partition, First, Count, Release string }
	got := make(map[string]where)
	for _, topic := range []string{s.Config.Deferred, s.Config.Cleared} {
		for _, r := range read(topic) {
			kind := map[string]string{s.Config.Deferred: "deferred", s.Config.Cleared: "cleared"}[topic]
			doc.checkHeaders(t, kind, r)
			h := headers(r)
			w := where{First: h["weir-first"], Count: h["weir-deferrals"], Release: h["weir-release"]}
			if kind == "deferred" {
				w.Partition = string('0' + r.Partition)
			}
			got[h["weir-id"]] = w
		}
	}
	slot := func(t time.Time) string { return string(rune('0' + t.Unix()/600%2)) }
	if diff := cmp.Diff(map[string]where{
		fresh.ID.String() + ":deferred": {slot(release), sinks.Place{Topic: "weir.pushes", Partition: 3, Offset: fresh.Record.Offset}.String(), "1", "2026-11-25T00:10:00Z"},
		again.ID.String() + ":deferred": {slot(release.Add(s.Config.DeferredTurn)), "shop.pushes/9/70", "3", "2026-11-25T00:20:00Z"},
		sent.ID.String() + ":cleared":   {"", "shop.pushes/9/70", "2", ""},
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	for _, r := range read(s.Config.Decisions) {
		body := validate(t, schema(t, "decision.json"), r.Value)
		origin := at(t, body, "origin").(map[string]any)
		if at(t, body, "id") == fresh.ID.String() {
			if origin["first"] != nil || origin["deferrals"] != nil {
				t.Errorf("a push that was not deferred before has the origin %v", origin)
			}
			continue
		}
		if at(t, origin, "first", "topic") != "shop.pushes" || at(t, origin, "first", "partition") != 9.0 || at(t, origin, "first", "offset") != 70.0 || origin["deferrals"] != 2.0 {
			t.Errorf("origin %v", origin)
		}
	}
	body := validate(t, schema(t, "evidence.json#/$defs/verdictRecord"), []byte(recordOf(t, again).body))
	if at(t, body, "origin", "first", "topic") != "shop.pushes" || at(t, body, "push", "decision", "release") != "2026-11-25T00:20:00Z" {
		t.Errorf("evidence: %v", body)
	}
}

// A dead letter from the topic of deferred pushes says where the push was read first.
func TestDeadLetterOfADeferredPush(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	s, _ := newKafka(t, brokers)
	past := deferral.Past{Topic: "weir.pushes", Partition: 1, Offset: 5, Count: 1}
	h := past.Headers()
	letters := []pipeline.DeadLetter{d.broken(pipeline.Record{Value: []byte("{"), Headers: h[:]}), d.broken(pipeline.Record{Value: []byte("{")})}
	if err := s.Write(t.Context(), &pipeline.Output{DeadLetters: letters}); err != nil {
		t.Fatal(err)
	}
	known := 0
	for _, x := range deadLetters(t, brokers, s.Config.DeadLetter) {
		if p, ok := x.First(); ok {
			known++
			if p != (sinks.Place{Topic: "weir.pushes", Partition: 1, Offset: 5}) {
				t.Errorf("first read at %s", p)
			}
		}
	}
	if known != 1 {
		t.Errorf("%d of two say where they were read first, want one", known)
	}
}
