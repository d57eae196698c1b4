package pipeline_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

// A topic of pushes that is not keyed by user is found and told of, once and
// without the user's name; one that is keyed is not, however many users it has.
func TestUnkeyedTopicIsNoticed(t *testing.T) {
	store, _ := newStore(t)
	reg := prometheus.NewRegistry()
	var log bytes.Buffer
	clock := noon
	o := options(t, new(pipelinetest.Sink))
	o.Force.Policy, o.Store, o.Registerer = threeADayPolicy(t), store, reg
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Now = func() time.Time { return clock }
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	handle := func(topic string, partition int32, users ...string) {
		t.Helper()
		var values []string
		for _, u := range users {
			values = append(values, fmt.Sprintf(`{"id":"n","time":"2026-03-02T04:00:00Z","user":{"id":%q},"class":"service","channel":"app","fields":{"body":"x"}}`, u))
		}
		b := batchOf(values...)
		b.Kind, b.Topic, b.Partition = event.Push, topic, partition
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want float64, lines int) {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "weir_push_unkeyed_topic" {
				if got := f.GetMetric()[0].GetGauge().GetValue(); got != want {
					t.Errorf("%s: weir_push_unkeyed_topic is %v, want %v", when, got, want)
				}
			}
		}
		if n := strings.Count(log.String(), "not keyed by user"); n != lines || strings.Contains(log.String(), "alice") {
			t.Errorf("%s: %d lines, want %d without names:\n%s", when, n, lines, &log)
		}
	}
	for i := range 4 {
		var users []string
		for k := range 300 { // more of all partitions than fit
			users = append(users, fmt.Sprint("u", i, "-", k))
		}
		for range 2 {
			handle("keyed", int32(i), users...)
		}
	}
	handle("keyed", 0, "alice")
	handle("other", 1, "alice") // of a topic of its own
	expect("keyed", 0, 0)
	clock = clock.Add(11 * time.Minute) // the topic may have got more partitions
	handle("keyed", 1, "alice")
	expect("long after", 0, 0)
	handle("keyed", 0, "alice")
	handle("keyed", 1, "alice")
	expect("unkeyed", 1, 1)
	if !strings.Contains(log.String(), "topic=keyed partition=0 other=1") {
		t.Errorf("the line does not name topic and partitions:\n%s", &log)
	}
	clock = clock.Add(61 * time.Minute)
	expect("an hour later", 0, 1)
}
