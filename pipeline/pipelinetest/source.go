package pipelinetest

import (
	"context"
	"errors"
	"sync"

	"github.com/weir-moderation/weir/pipeline"
)

// Source reads a Topic in memory. Every partition is read by one goroutine; a
// batch is checkpointed and committed at once when it is finished.
type Source struct {
	Topic     *Topic
	BatchSize int // messages; 0 means 3

	// Effect, if set, stands between the source and the world: it is called
	// around every commit, and what it returns is the commit's error.
	Effect func(name string, do func() error) error

	// Claim, if set, comes with every batch: a sink commits with it what it writes,
	// and the source only what no sink has committed.
	Claim *pipeline.Claim

	// CommitFirst breaks the contract on purpose: offsets are committed before
	// their batch is handled. It exists to show that a test would notice.
	CommitFirst bool
}

// Run reads every partition from its committed offset until ctx ends.
func (s *Source) Run(ctx context.Context, h pipeline.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for p := range s.Topic.partitions {
		wg.Go(func() {
			if err := s.partition(ctx, h, int32(p)); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (s *Source) partition(ctx context.Context, h pipeline.Handler, p int32) error {
	at := s.Topic.Committed(p)
	for {
		recs, grown := s.Topic.read(p, at, max(3, s.BatchSize))
		if ctx.Err() != nil {
			return nil
		}
		if len(recs) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-grown:
			}
			continue
		}
		b := &pipeline.Batch{
			Kind: s.Topic.Kind, Topic: s.Topic.Name, Partition: p,
			First: at, Next: at + int64(len(recs)), Records: recs, Claim: s.Claim,
		}
		done := pipeline.Range{Topic: b.Topic, Partition: p, First: b.First, Next: b.Next}
		if s.CommitFirst {
			if err := s.commit(done); err != nil {
				return err
			}
		}
		if err := h.Handle(ctx, b); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		Scribble(b)
		if err := h.Checkpoint(context.WithoutCancel(ctx), []pipeline.Range{done}); err != nil {
			return err
		}
		if !s.CommitFirst && s.Topic.Committed(p) < b.Next {
			if err := s.commit(done); err != nil {
				return err
			}
		}
		at = b.Next
	}
}

func (s *Source) commit(r pipeline.Range) error {
	do := func() error { return s.Topic.Commit(r) }
	if s.Effect != nil {
		return s.Effect("commit", do)
	}
	return do()
}

// Scribble overwrites the bytes of a batch that was handled, as a source that
// reuses its buffers would: who kept a slice of them has made a mistake.
func Scribble(b *pipeline.Batch) {
	for i := range b.Records {
		r := &b.Records[i]
		for _, s := range [...][]byte{r.Key, r.Value} {
			for j := range s {
				s[j] = 0xDB
			}
		}
	}
}
