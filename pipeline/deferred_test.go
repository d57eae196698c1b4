package pipeline_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/pipeline/push"
)

// quietNights is a policy under which service pushes wait for the morning.
const quietNights = `
policy: push
version: "1"
default_zone: UTC
classes:
  service: {consent: none, quiet: defer, count: true}
channels: [app]
groups:
  default:
    quiet: "22:00-08:00"
    limits:
      - {id: day, rolling: 24h, max: 3}
  minor: {extends: default}
  elderly: {extends: default}
`

// A push is deferred only if some turn begins before its deadline; if none does, it
// is denied for the same reason. Without a ring nobody says when it is released.
func TestDeferredOnlyIfItCanBeReleased(t *testing.T) {
	policy, err := push.ParsePolicy("push.yaml", []byte(quietNights))
	if err != nil {
		t.Fatal(err)
	}
	night := time.Date(2026, 3, 2, 23, 0, 0, 0, time.UTC)
	eight := time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)
	for _, turn := range []time.Duration{7 * time.Minute, 0} {
		store, _ := newStore(t)
		got := make(noting)
		o := options(t, got)
		o.Force.Policy, o.Store, o.Now = policy, store, func() time.Time { return night }
		o.Ring = deferral.Ring{Turn: turn, Spread: time.Hour}
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		push := func(id, expires string) string {
			return `{"id":"` + id + `","time":"2026-03-02T23:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","fields":{"body":"x"}` + expires + `}`
		}
		expires := func(t time.Time) string { return `,"expires":"` + t.Format(time.RFC3339) + `"` }
		first := time.Unix((eight.Unix()+419)/420*420, 0).UTC() // the first turn after the night
		b := batchOf(push("endless", ""), push("gap", expires(first.Add(-time.Second))), push("just", expires(first)), push("night", expires(eight.Add(-time.Hour))))
		b.Kind, b.Topic = event.Push, "pushes"
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]string{"endless": "defer", "gap": "deny", "just": "defer", "night": "deny"} {
			d := got[id]
			if turn == 0 && id == "gap" {
				want = "defer"
			}
			if string(d.Decision) != want || d.Reason != "quiet-hours" || !d.NotBefore.Equal(eight) {
				t.Errorf("turn %v, %s: %s %s until %v, want %s quiet-hours until %v", turn, id, d.Decision, d.Reason, d.NotBefore, want, eight)
			}
			switch {
			case turn == 0 || want == "deny":
				if !d.Release.IsZero() {
					t.Errorf("turn %v, %s: released at %v", turn, id, d.Release)
				}
			case id == "just" && !d.Release.Equal(first), d.Release.Before(eight), d.Release.After(eight.Add(time.Hour + turn)):
				t.Errorf("%s: released at %v", id, d.Release)
			}
		}
	}
}

// noting notes decisions by the id of the push.
type noting map[string]push.Decision

// Write notes the decisions of an output.
func (n noting) Write(_ context.Context, out *pipeline.Output) error {
	for i := range out.Verdicts {
		n[string(out.Verdicts[i].Event.ID)] = *out.Verdicts[i].Decision
	}
	return nil
}

// A deferred push is read as on the topic it first came from, each of a batch in its
// own way; one that does not say is a dead letter with a reason of its own; and what
// Weir has added does not make a push too large to be passed on.
func TestDeferredPushesOfSeveralTopics(t *testing.T) {
	policy, err := push.ParsePolicy("push.yaml", []byte(quietNights))
	if err != nil {
		t.Fatal(err)
	}
	confluent, err := (&event.Layout{Envelope: event.EnvelopeConfluent}).Format(event.Push)
	if err != nil {
		t.Fatal(err)
	}
	store, _ := newStore(t)
	s := &pipelinetest.Sink{}
	o := options(t, s)
	o.Force.Policy, o.Store, o.Now = policy, store, func() time.Time { return time.Date(2026, 3, 3, 8, 5, 0, 0, time.UTC) }
	value := func(id string) string {
		return `{"id":"` + id + `","time":"2026-03-02T23:00:00Z","user":{"id":"` + id + `"},"class":"service","channel":"app","fields":{"body":"x"}}`
	}
	o.MaxForward = len(value("plain")) + 5 + 40
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(value("plain"), "\x00\x00\x00\x00\x07"+value("shop"), value("bare"), "\x00\x00\x00\x00\x07"+value("wrong"), value("again"))
	b.Kind, b.Topic = event.Push, "deferred"
	past := &deferral.Past{Topic: "pushes", Count: 1}
	own := []event.Header{{Key: "weir-first", Value: []byte(strings.Repeat("x", 500))}}
	for i, format := range []*event.Format{nil, confluent, nil, nil, nil} {
		b.Records[i].Past, b.Records[i].Format, b.Records[i].Headers = past, format, own
	}
	b.Records[2].Past, b.Records[2].Corrupt = nil, pipeline.ReasonOrigin
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]string)
	for _, e := range s.Entries() {
		got[e.Offset] = e.EventID + " " + e.Outcome.String() + " " + string(e.Reason)
	}
	for offset, w := range map[int64]string{0: "plain passed none", 1: "shop passed none", 2: " dead_lettered unknown-origin", 3: " dead_lettered control-character", 4: "again passed none"} {
		if got[offset] != w {
			t.Errorf("record %d: %q, want %q", offset, got[offset], w)
		}
	}
}
