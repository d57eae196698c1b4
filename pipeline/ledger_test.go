package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

// The ledger is a metric: of each stream as many messages were fetched as have an outcome,
// and what is not on record yet shows until it is, whatever the sinks do meanwhile.
func TestLedgerIsAMetric(t *testing.T) {
	dead := errors.New("not now")
	fail := true
	s := &pipelinetest.Sink{Effect: func(what string, f func() error) error {
		if fail && strings.HasSuffix(what, "coverage") {
			return pipeline.Permanent(dead)
		}
		return f()
	}}
	reg := prometheus.NewRegistry()
	o := options(t, s)
	o.Registerer = reg
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(fetched, open string) {
		t.Helper()
		err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_ledger_fetched_messages_total Messages of finished batches, control records and records of aborted transactions included: as many as weir_messages_total has over all outcomes.
# TYPE weir_ledger_fetched_messages_total counter
weir_ledger_fetched_messages_total{stream="consent"} 0
weir_ledger_fetched_messages_total{stream="outcome"} 0
weir_ledger_fetched_messages_total{stream="post"} `+fetched+`
weir_ledger_fetched_messages_total{stream="push"} 0
# HELP weir_ledger_open_messages Messages of finished batches whose account is not in the evidence yet, so that their offsets cannot be committed.
# TYPE weir_ledger_open_messages gauge
weir_ledger_open_messages `+open+`
# HELP weir_ledger_unbalanced_total Batches whose messages do not each have exactly one outcome.
# TYPE weir_ledger_unbalanced_total counter
weir_ledger_unbalanced_total 0
`), "weir_ledger_fetched_messages_total", "weir_ledger_open_messages", "weir_ledger_unbalanced_total")
		if err != nil {
			t.Error(err)
		}
	}
	expect("0", "0")
	b := batchOf(post("a", "x"), post("b", "forbiddenstuff"), "{")
	b.Skipped, b.Next = 2, 5
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	expect("5", "5")
	done := []pipeline.Range{{Topic: "posts", Next: 5}}
	if err := p.Checkpoint(context.Background(), done); !errors.Is(err, dead) {
		t.Fatalf("a checkpoint that cannot be written: %v", err)
	}
	expect("5", "5")
	fail = false
	if err := p.Checkpoint(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	expect("5", "0")
}
