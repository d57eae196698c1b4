package pipeline_test

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/pipeline/push"
)

const saleOnConsent = `
policy: push
version: "1"
default_zone: Asia/Shanghai
classes:
  marketing: {consent: required, quiet: ignore, count: true}
channels: [app]
groups:
  default:
    limits:
      - {id: day, rolling: 24h, max: 3}
  minor: {extends: default}
  elderly: {extends: default}
`

func newConsentWorld(t *testing.T) *world {
	t.Helper()
	store, _ := newStore(t)
	policy, err := push.ParsePolicy("push.yaml", []byte(saleOnConsent))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		input:    pipelinetest.NewTopic("consent", event.Consent, 1),
		evidence: &pipelinetest.Sink{Name: "evidence"},
		topics:   &pipelinetest.Sink{Name: "topics"},
		set:      ruleSet(t), policy: policy, store: store,
		now: func() time.Time { return noon },
	}
	for _, u := range []string{"u1", "u2"} {
		granted := []event.Grant{{Class: []byte("marketing"), Channel: []byte("app"), Granted: true, Time: noon.Add(-time.Hour), Method: []byte("settings")}}
		_, err := store.ApplyMessages(t.Context(), policy, noon, []push.Message{{
			Event: &event.Event{Kind: event.Consent, User: event.User{ID: []byte(u)}, Time: noon,
				Consent: event.ConsentPart{Version: 1, DailyMax: -1, Grants: granted}},
			Place: push.Place{Topic: "earlier"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := store.Decide(t.Context(), policy, noon.Add(-time.Minute), []push.Request{{User: []byte(u), ID: []byte("sale"), Class: []byte("marketing"), Channel: []byte("app")}})
		if err != nil || d[0].Decision != push.Allow {
			t.Fatal(d, err)
		}
	}
	w.input.Append(0, []byte("u1"), []byte(`{"id":"c2","time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"version":2,"grants":[`+
		`{"class":"marketing","channel":"app","granted":false,"time":"2026-03-02T04:00:00Z"}]}`))
	w.input.Append(0, []byte("u2"), nil)
	for range 4 {
		w.input.Append(0, nil, nil)
	}
	return w
}

// Whatever effect the process dies at, a withdrawal calls back what was allowed
// shortly before it, under one id, on record before it is on a topic; and so does a
// tombstone, which also leaves a record of the erasure. A tombstone without a key is
// a dead letter.
//
// Clause: push-withdraw
func TestDeathAtEveryEffectLosesNoRecall(t *testing.T) {
	check := func(t *testing.T, w *world) {
		t.Helper()
		for _, s := range []*pipelinetest.Sink{w.evidence, w.topics} {
			known := make(map[pipeline.ID]bool)
			var reasons []string
			for _, e := range s.Entries() {
				if !known[e.ID] {
					known[e.ID] = true
					reasons = append(reasons, string(e.Reason))
				}
			}
			slices.Sort(reasons)
			if want := []string{"erase", "null-value", "null-value", "null-value", "null-value", "recall-no-consent", "recall-withdrawn"}; !slices.Equal(reasons, want) {
				t.Errorf("%s: %q, want %q", s.Name, reasons, want)
			}
		}
	}
	for _, together := range []bool{false, true} {
		fresh := func(t *testing.T) *world {
			w := newConsentWorld(t)
			w.together = together
			return w
		}
		if wrongs := dieEverywhere(t, fresh, check); len(wrongs) > 0 {
			t.Errorf("%d violations, the first: %s", len(wrongs), wrongs[0])
		}
	}
}
