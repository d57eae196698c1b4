package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weir-moderation/weir/pipeline"
)

// Entry is what a sink keeps of one part of an output.
type Entry struct {
	ID      pipeline.ID
	Topic   string
	Part    int32
	Offset  int64
	Outcome pipeline.Outcome
	Reason  pipeline.Reason
	EventID string // empty for a dead letter
}

// Sink keeps entries in memory. It survives the pipelines that write to it, as
// a disk survives a process.
type Sink struct {
	// Effect, if set, stands between the sink and the world: it is called
	// around every part that is written, and what it returns is Write's error.
	Effect func(name string, do func() error) error
	Name   string
	// Limit refuses verdicts whose message is longer; 0 means no limit.
	Limit int
	// Progress, if set, makes the sink one that writes what it is given and commits
	// the progress in one effect, or nothing of both.
	Progress func(pipeline.Range) error

	mu       sync.Mutex
	entries  []Entry
	coverage []pipeline.Coverage
}

// Write keeps every part of the output, one effect each.
func (s *Sink) Write(ctx context.Context, out *pipeline.Output) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Progress != nil && out.Progress != nil {
		return s.together(ctx, out)
	}
	var refused pipeline.Refused
	for i := range out.Verdicts {
		v := &out.Verdicts[i]
		if s.Limit > 0 && len(v.Record.Value) > s.Limit {
			refused.Verdicts = append(refused.Verdicts, i)
			refused.Err = fmt.Errorf("longer than %d bytes", s.Limit)
			continue
		}
		err := s.keep(entryOf(v))
		if err != nil {
			return err
		}
	}
	for i := range out.DeadLetters {
		d := &out.DeadLetters[i]
		err := s.keep(deadEntryOf(d))
		if err != nil {
			return err
		}
	}
	for _, e := range notices(out) {
		if err := s.keep(e); err != nil {
			return err
		}
	}
	if len(out.Coverage) > 0 {
		err := s.effect("coverage", func() {
			s.coverage = append(s.coverage, out.Coverage...)
		})
		if err != nil {
			return err
		}
	}
	if len(refused.Verdicts) > 0 {
		return &refused
	}
	return nil
}

func entryOf(v *pipeline.Verdict) Entry {
	return Entry{v.ID, v.Origin.Topic, v.Origin.Partition, v.Record.Offset, v.Outcome(), v.Reason, string(v.Event.ID)}
}

func deadEntryOf(d *pipeline.DeadLetter) Entry {
	return Entry{d.ID, d.Origin.Topic, d.Origin.Partition, d.Record.Offset, pipeline.DeadLettered, d.Reason, ""}
}

// notices are entries about what follows from changes: in the place of an outcome
// they have that of the change, which is applied.
func notices(out *pipeline.Output) []Entry {
	var list []Entry
	for i := range out.Recalls {
		r := &out.Recalls[i]
		list = append(list, Entry{r.ID, r.Origin.Topic, r.Origin.Partition, r.Record.Offset, pipeline.Passed, pipeline.Reason("recall-" + r.Reason), r.Mark})
	}
	for i := range out.Erasures {
		e := &out.Erasures[i]
		list = append(list, Entry{e.ID, e.Origin.Topic, e.Origin.Partition, e.Record.Offset, pipeline.Passed, "erase", e.Pseudonym})
	}
	return list
}

// together is a transaction: what the output has and its progress, or nothing.
func (s *Sink) together(ctx context.Context, out *pipeline.Output) error {
	var list []Entry
	refused := pipeline.Refused{Nothing: true}
	for i := range out.Verdicts {
		v := &out.Verdicts[i]
		if slices.Contains(out.Buried, i) {
			continue // it has no other part than the one that was refused
		}
		if s.Limit > 0 && len(v.Record.Value) > s.Limit {
			refused.Verdicts, refused.Err = append(refused.Verdicts, i), fmt.Errorf("longer than %d bytes", s.Limit)
		}
		list = append(list, entryOf(v))
	}
	if len(refused.Verdicts) > 0 {
		return &refused
	}
	for i := range out.DeadLetters {
		list = append(list, deadEntryOf(&out.DeadLetters[i]))
	}
	list = append(list, notices(out)...)
	if len(list) == 0 {
		return nil
	}
	if err := out.Progress.Account(ctx); err != nil {
		return err
	}
	var committed error
	err := s.effect("transaction", func() {
		p := out.Progress
		if committed = s.Progress(pipeline.Range{Topic: p.Topic, Partition: p.Partition, Next: p.Next}); committed == nil {
			s.entries = append(s.entries, list...)
		}
	})
	return errors.Join(err, committed)
}

func (s *Sink) keep(e Entry) error {
	return s.effect("entry", func() { s.entries = append(s.entries, e) })
}

func (s *Sink) effect(name string, f func()) error {
	do := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
		return nil
	}
	if s.Effect != nil {
		return s.Effect(s.Name+" "+name, do)
	}
	return do()
}

// Entries returns what the sink has, in the order it came, repetitions included.
func (s *Sink) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// Coverage returns the coverage accounts the sink has.
func (s *Sink) Coverage() []pipeline.Coverage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.coverage)
}

// IDs returns the ids of all entries and of nothing else, each once, sorted.
func (s *Sink) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, e := range s.entries {
		ids = append(ids, e.ID.String())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
