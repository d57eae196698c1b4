package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/pipeline/push"
)

// threeADay lets three service pushes a day through.
const threeADay = `
policy: push
version: "1"
default_zone: Asia/Shanghai
classes:
  service: {consent: none, quiet: ignore, count: true}
channels: [app]
groups:
  default:
    limits:
      - {id: day, rolling: 24h, max: 3}
  minor: {extends: default}
  elderly: {extends: default}
`

var noon = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

func newPushWorld(t *testing.T) *world {
	t.Helper()
	store, _ := newStore(t)
	policy := threeADayPolicy(t)
	w := &world{
		input:    pipelinetest.NewTopic("pushes", event.Push, 1),
		evidence: &pipelinetest.Sink{Name: "evidence"},
		topics:   &pipelinetest.Sink{Name: "topics"},
		set:      ruleSet(t), policy: policy, store: store,
		now: func() time.Time { return noon },
	}
	for i := range 8 {
		text := "your parcel is here"
		if i == 2 {
			text = "forbiddenstuff" // blocked: consumes nothing
		}
		w.input.Append(0, []byte("u1"), fmt.Appendf(nil,
			`{"id":"n%d","time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","fields":{"body":%q}}`, i, text))
	}
	return w
}

func threeADayPolicy(t *testing.T) *push.Policy {
	t.Helper()
	policy, err := push.ParsePolicy("push.yaml", []byte(threeADay))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// newStore returns a store on a Redis of its own.
func newStore(t *testing.T) (*push.Store, *miniredis.Miniredis) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	redis := miniredis.RunT(t)
	store, err := push.NewStore(push.Options{Config: push.Config{
		PseudonymKeyFile: key, Redis: push.RedisConfig{Addrs: []string{redis.Addr()}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, redis
}

// Whatever effect the process dies at, an allowed push consumes once and a
// blocked one nothing: of seven pushes that may be sent, a limit of three lets
// exactly the first three through.
//
// Clause: push-frequency
func TestDeathAtEveryEffectNeverOversteps(t *testing.T) {
	check := func(t *testing.T, w *world) {
		t.Helper()
		for _, s := range []*pipelinetest.Sink{w.evidence, w.topics} {
			outcomes := make(map[pipeline.ID]pipelinetest.Entry)
			for _, e := range s.Entries() {
				if before, ok := outcomes[e.ID]; ok && before.Outcome != e.Outcome {
					t.Errorf("%s: push %s was first %v, then %v", s.Name, e.EventID, before.Outcome, e.Outcome)
				}
				outcomes[e.ID] = e
			}
			var allowed []string
			for _, e := range outcomes {
				if e.Outcome == pipeline.Passed {
					allowed = append(allowed, e.EventID)
				}
			}
			slices.Sort(allowed)
			if !slices.Equal(allowed, []string{"n0", "n1", "n3"}) {
				t.Errorf("%s: allowed %v, want n0 n1 n3", s.Name, allowed)
			}
			if len(outcomes) != 8 {
				t.Errorf("%s: %d pushes have an outcome, want 8", s.Name, len(outcomes))
			}
		}
	}
	wrongs := dieEverywhere(t, newPushWorld, check)
	if len(wrongs) > 0 {
		t.Errorf("%d violations, the first: %s", len(wrongs), wrongs[0])
	}
}

// While Redis is away a push waits, and when it is back the push is decided by
// the clock of that moment: what expired meanwhile is not sent.
func TestPushIsDecidedByTheClockOfTheDecision(t *testing.T) {
	store, redis := newStore(t)
	redis.SetError("LOADING Redis is loading the dataset in memory")
	clock, asked := noon, 0
	s := new(pipelinetest.Sink)
	o := options(t, s)
	o.Force.Policy, o.Store = threeADayPolicy(t), store
	o.Backoff = pipeline.Backoff{Base: time.Millisecond, Max: time.Millisecond}
	o.Now = func() time.Time {
		if asked++; asked == 6 { // some tries later
			redis.SetError("")
			clock = noon.Add(2 * time.Hour)
		}
		return clock
	}
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(`{"id":"n","time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","expires":"2026-03-02T05:00:00Z","fields":{"body":"x"}}`)
	b.Kind, b.Topic = event.Push, "pushes"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a clock that is not asked again never gets there
	defer cancel()
	if err := p.Handle(ctx, b); err != nil {
		t.Fatal(err)
	}
	if e := s.Entries(); len(e) != 1 || e[0].Outcome != pipeline.Flagged || e[0].Reason != "expired" {
		t.Errorf("%+v, want the push denied as expired", e)
	}
}
