package sinks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
)

// transactionTimeout is how long brokers let a transaction be open. It ends long
// before, unless an output takes nothing: then they abort it, and readers of the
// topics do not wait for it any more.
const transactionTimeout = time.Minute

// input is a partition that batches come from.
type input struct {
	topic     string
	partition int32
}

// owner commits the offsets of an input partition together with what its batches
// leave behind.
type owner struct {
	turn chan struct{} // held by whoever commits
	t    *produce.Transactor
	next int64 // where it has brought the group since it was fenced
}

// TransactionalID returns the id under which the batches of an input partition are
// committed. No two partitions of two groups have the same: the name of a topic
// has no slash.
func TransactionalID(group, topic string, partition int32) string {
	return fmt.Sprintf("%s/%s/%d", group, topic, partition)
}

// owner returns the owner of an input partition when it is free. It is given back
// with done.
func (s *Kafka) owner(ctx context.Context, in input) (*owner, error) {
	s.mu.Lock()
	o := s.owners[in]
	if o == nil {
		if s.owners == nil {
			s.owners = make(map[input]*owner)
		}
		o = &owner{turn: make(chan struct{}, 1), t: s.Producer.Transactor(TransactionalID(s.Group, in.topic, in.partition), transactionTimeout)}
		s.owners[in] = o
	}
	s.mu.Unlock()
	select {
	case o.turn <- struct{}{}:
		return o, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *owner) done() { <-o.turn }

// Fence makes an input partition ours before anything of it is judged: whoever had
// it before can commit nothing any more, and when it returns what he left open is
// decided, so that the group's offset is the true one.
func (s *Kafka) Fence(ctx context.Context, topic string, partition int32) error {
	o, err := s.owner(ctx, input{topic, partition})
	if err != nil {
		return err
	}
	defer o.done()
	o.next = 0
	return o.t.Fence(ctx)
}

// Commit commits the offsets of batches that left nothing behind, whose account is
// durable. What was committed with the output of a later batch it leaves alone: the
// group must not go back.
//
// If the process dies in here, the batches are judged again; they leave nothing
// behind then, either.
func (s *Kafka) Commit(ctx context.Context, claim pipeline.Claim, done []pipeline.Range) error {
	var g errgroup.Group
	g.SetLimit(8) // a transaction takes some ten milliseconds
	errs := make([]error, len(done))
	for i, r := range done {
		g.Go(func() error {
			errs[i] = s.commit(ctx, claim, r)
			return nil
		})
	}
	_ = g.Wait() // all of them are tried: their errors are in errs
	return errors.Join(errs...)
}

func (s *Kafka) commit(ctx context.Context, claim pipeline.Claim, r pipeline.Range) error {
	o, err := s.owner(ctx, input{r.Topic, r.Partition})
	if err != nil {
		return err
	}
	defer o.done()
	if r.Next <= o.next {
		return nil
	}
	return o.commit(ctx, produce.Transaction{Offsets: offsets(claim, r.Topic, r.Partition, r.Next)})
}

func offsets(c pipeline.Claim, topic string, partition int32, next int64) *produce.Offsets {
	return &produce.Offsets{
		Group: c.Group, Member: c.Member, Instance: c.Instance, Generation: c.Generation,
		Topic: topic, Partition: partition, Next: next,
	}
}

func (o *owner) commit(ctx context.Context, x produce.Transaction) error {
	err := o.t.Commit(ctx, x)
	switch {
	case errors.Is(err, produce.ErrFenced):
		return fmt.Errorf("%s/%d: %w: %w", x.Offsets.Topic, x.Offsets.Partition, pipeline.ErrLost, err)
	case err == nil:
		o.next = x.Offsets.Next
	}
	return err
}

// commit writes the messages and the progress of the batch they come from, all or
// nothing. A verdict that is refused takes nothing with it: it comes again as a dead
// letter together with the rest.
//
// If the process dies in here, nothing is visible and the batch is judged again; or
// all is, its offset included, and it is not.
func (w *writing) commit(ctx context.Context, p *pipeline.Progress) error {
	w.refused.Nothing = true
	if len(w.refused.Verdicts) > 0 {
		return &w.refused
	}
	if len(w.messages) == 0 {
		return nil
	}
	o, err := w.sink.owner(ctx, input{p.Topic, p.Partition})
	if err != nil {
		return err
	}
	defer o.done()
	x := produce.Transaction{Offsets: offsets(p.Claim, p.Topic, p.Partition, p.Next), Before: p.Account}
	for {
		x.Messages = w.messages
		err := o.commit(ctx, x)
		large, ok := errors.AsType[*produce.TooLargeError](err)
		if !ok {
			return err
		}
		if err := w.shrink(large.Index); err != nil {
			return err
		}
		if len(w.refused.Verdicts) > 0 {
			return &w.refused
		}
	}
}

// shrink deals with messages the broker finds too large: it leaves out the value of
// a dead letter, refuses a verdict, and gives up on what is left of a buried one.
func (w *writing) shrink(large []int) error {
	for _, i := range slices.Backward(large) {
		switch about := &w.about[i]; {
		case about.recall:
			return w.sink.noRecall()
		case about.dead == nil:
			w.refuse(about.verdict, errTooLarge)
			w.messages, w.about = slices.Delete(w.messages, i, i+1), slices.Delete(w.about, i, i+1)
		case about.cut:
			return w.sink.hopeless()
		default:
			about.cut = true
			w.messages[i] = w.sink.withoutValue(about.dead)
		}
	}
	return nil
}
