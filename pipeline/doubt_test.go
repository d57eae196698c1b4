package pipeline_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// decided is a sink that remembers what was decided about each push.
type decided map[string]string

func (d decided) Write(_ context.Context, out *pipeline.Output) error {
	for i := range out.Verdicts {
		v := &out.Verdicts[i]
		d[string(v.Event.ID)] = fmt.Sprintln(v.Decision.Decision, v.Decision.Reason, v.Decision.Flags.Words())
	}
	return nil
}

// A push whose text hits a rule of a category that its class should not is
// flagged, by a rule in shadow as well as by one in force, whether it is allowed
// or not. A class that says nothing about words is never doubtful.
func TestMarketingWordsAreFlagged(t *testing.T) {
	// Clause: push-ad
	policy, err := push.ParsePolicy("push.yaml", []byte(`
policy: push
version: "1"
default_zone: Asia/Shanghai
classes:
  service: {consent: none, quiet: ignore, count: true, marketing_words: {flag: [other, test]}}
  security: {consent: none, quiet: ignore, count: false}
channels: [app]
groups: {default: {limits: [{id: day, rolling: 24h, max: 3}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := make(decided)
	store, _ := newStore(t)
	o := options(t, got)
	o.Force.Policy, o.Store = policy, store
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	note := func(id, class, text string) string {
		return fmt.Sprintf(`{"id":%q,"time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":%q,"channel":"app","fields":{"body":%q}}`, id, class, text)
	}
	b := batchOf(note("plain", "service", "your parcel is here"), note("in shadow", "service", "shadowystuff"),
		note("in force", "service", "shadowystuff and forbiddenstuff"), note("another class", "security", "shadowystuff"))
	b.Kind = event.Push
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want := decided{
		"plain":         "allow none [zone-defaulted]\n",
		"in shadow":     "allow none [zone-defaulted class-doubtful]\n",
		"in force":      "deny content [class-doubtful]\n",
		"another class": "allow none []\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
