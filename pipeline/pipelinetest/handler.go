package pipelinetest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/weir-moderation/weir/pipeline"
)

// Handler notes what it is given. It is the smallest thing that keeps the
// contract of pipeline.Handler; its one effect per record goes to a sink.
type Handler struct {
	Sink pipeline.Sink

	mu     sync.Mutex
	values map[int32][]string
	ranges []pipeline.Range
}

// Handle writes one dead letter per record to the sink and notes the record's value.
func (h *Handler) Handle(ctx context.Context, b *pipeline.Batch) error {
	out := new(pipeline.Output)
	for i := range b.Records {
		r := &b.Records[i]
		out.DeadLetters = append(out.DeadLetters, pipeline.DeadLetter{
			ID:     pipeline.NewID("test", b.Topic, b.Partition, r.Offset, "deadletter", 0, ""),
			Origin: pipeline.Origin{Source: "test", Topic: b.Topic, Partition: b.Partition},
			Record: r, Kind: b.Kind, Stage: pipeline.StageDecode, Reason: "syntax",
		})
	}
	if err := h.Sink.Write(ctx, out); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.values == nil {
		h.values = make(map[int32][]string)
	}
	for i := range b.Records {
		h.values[b.Partition] = append(h.values[b.Partition], string(b.Records[i].Value))
	}
	return nil
}

// Checkpoint writes an account of the ranges to the sink.
func (h *Handler) Checkpoint(ctx context.Context, done []pipeline.Range) error {
	out := new(pipeline.Output)
	for _, r := range done {
		if r.Next <= r.First {
			return errors.New("an empty range was checkpointed")
		}
		n := r.Next - r.First
		out.Coverage = append(out.Coverage, pipeline.Coverage{Range: r, Counts: pipeline.Counts{Fetched: n, DeadLettered: n}})
	}
	if err := h.Sink.Write(ctx, out); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ranges = append(h.ranges, done...)
	return nil
}

// Values returns the values handled on a partition, in order, repetitions included.
func (h *Handler) Values(partition int32) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.values[partition])
}

// Ranges returns the ranges checkpointed so far.
func (h *Handler) Ranges() []pipeline.Range {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ranges)
}
