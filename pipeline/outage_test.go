package pipeline_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/pipeline/push"
)

// While Redis is away pushes do not wait. What is to be taken back waits, also when
// Redis answers again, until what was allowed meanwhile is there to be taken back.
func TestOutcomesWaitForWhatWasAllowedWithoutRedis(t *testing.T) {
	policy, err := push.ParsePolicy("push.yaml", []byte(strings.Replace(threeADay, "count: true", "count: true, on_outage: local, local_ratio: 1", 1)))
	if err != nil {
		t.Fatal(err)
	}
	store, redis := newStore(t)
	f := push.NewFallback(push.FallbackOptions{Store: store, Record: func(context.Context, push.Outage, []push.Breach) error { return nil }})
	s := new(pipelinetest.Sink)
	o := options(t, s)
	o.Force.Policy, o.Store, o.Fallback = policy, store, f
	o.Backoff = pipeline.Backoff{Base: time.Millisecond, Max: time.Millisecond}
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	handle := func(kind event.Kind, value string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		b := batchOf(value)
		b.Kind, b.Topic = kind, kind.String()
		return p.Handle(ctx, b)
	}
	const parcel = `{"id":"n","time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","fields":{"body":"x"}}`

	redis.SetError("LOADING Redis is loading the dataset in memory")
	if err := handle(event.Push, parcel); err != nil {
		t.Fatal(err)
	}
	if e := s.Entries(); len(e) != 1 || e[0].Outcome != pipeline.Passed {
		t.Fatalf("%+v, want the push allowed", e)
	}
	redis.SetError("")
	done := make(chan error, 1)
	go func() {
		done <- handle(event.Outcome, `{"id":"o","time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"push_id":"n","result":"cancelled"}`)
	}()
	retries := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		total := 0.
		for _, family := range families {
			if family.GetName() == "weir_retries_total" {
				for _, m := range family.GetMetric() {
					total += m.GetCounter().GetValue()
				}
			}
		}
		return total
	}
	for retries() < 3 {
		select {
		case err := <-done:
			t.Fatalf("the cancellation did not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- f.Run(ctx) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := handle(event.Push, parcel); err != nil {
		t.Fatal(err)
	}
	if e := s.Entries(); e[len(e)-1].Reason != "cancelled" {
		t.Errorf("%+v, want the push denied as cancelled", e[len(e)-1])
	}
}
