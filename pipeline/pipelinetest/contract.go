package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// patience bounds every wait of the suites. It is long because it only ever
// passes when something is broken.
const patience = 60 * time.Second

// Input is a fresh input for a source: a place to put messages, and sources
// that read it one after another, as the incarnations of one process would.
type Input struct {
	Partitions int
	// Produce appends messages with these values to a partition.
	Produce func(partition int32, values ...string)
	// NewSource returns a source that begins where the group has committed.
	NewSource func() pipeline.Source
	// Committed returns the offset the group has committed, 0 for none.
	Committed func(partition int32) int64
}

// TestSource checks that sources keep the contract of pipeline.Source. Each
// call of fresh gives an empty input with at least two partitions.
func TestSource(t *testing.T, fresh func(t *testing.T) Input) {
	t.Run("every message comes once, in order, in batches without holes", func(t *testing.T) {
		in := fresh(t)
		want := make(map[int32][]string)
		for p := range int32(in.Partitions) {
			want[p] = values(p, 0, 25)
			in.Produce(p, want[p]...)
		}
		h := newSpy()
		stop := start(t, in.NewSource(), h)
		for p := range int32(in.Partitions) {
			h.wait(t, p, 10)
			more := values(p, 25, 30) // while it runs
			in.Produce(p, more...)
			want[p] = append(want[p], more...)
		}
		for p := range int32(in.Partitions) {
			h.wait(t, p, 30)
		}
		if err := stop(); err != nil {
			t.Fatalf("Run returned %v after its context ended, want nil", err)
		}
		for p := range int32(in.Partitions) {
			if diff := cmp.Diff(want[p], h.Values(p)); diff != "" {
				t.Errorf("partition %d (-produced +delivered):\n%s", p, diff)
			}
		}
		for _, f := range h.faults() {
			t.Error(f)
		}
	})

	t.Run("what is finished is committed when Run returns, and not delivered again", func(t *testing.T) {
		in := fresh(t)
		in.Produce(0, values(0, 0, 12)...)
		in.Produce(1, values(1, 0, 7)...)
		h := newSpy()
		stop := start(t, in.NewSource(), h)
		h.wait(t, 0, 12)
		h.wait(t, 1, 7)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if a, b := in.Committed(0), in.Committed(1); a != 12 || b != 7 {
			t.Errorf("committed %d and %d, want 12 and 7", a, b)
		}
		in.Produce(0, "next")
		again := newSpy()
		stop = start(t, in.NewSource(), again)
		again.wait(t, 0, 1)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := again.Values(0); !slices.Equal(got, []string{"next"}) {
			t.Errorf("the next source delivered %q, want only the new message", got)
		}
	})

	t.Run("a batch that failed is not committed and comes again", func(t *testing.T) {
		in := fresh(t)
		in.Produce(0, values(0, 0, 5)...)
		boom := errors.New("boom")
		h := newSpy()
		h.fail = func(*pipeline.Batch) error { return boom }
		err := run(t, in.NewSource(), h)
		if !errors.Is(err, boom) {
			t.Fatalf("Run returned %v, want the handler's error", err)
		}
		if got := in.Committed(0); got != 0 {
			t.Errorf("offset %d is committed although its batch failed", got)
		}
		again := newSpy()
		stop := start(t, in.NewSource(), again)
		again.wait(t, 0, 5)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("nothing is committed before its checkpoint succeeded", func(t *testing.T) {
		in := fresh(t)
		in.Produce(0, values(0, 0, 5)...)
		boom := errors.New("boom")
		h := newSpy()
		h.checkpoint = func([]pipeline.Range) error { return boom }
		if err := run(t, in.NewSource(), h); !errors.Is(err, boom) {
			t.Fatalf("Run returned %v, want the checkpoint's error", err)
		}
		if got := in.Committed(0); got != 0 {
			t.Errorf("offset %d is committed although its checkpoint failed", got)
		}
	})

	t.Run("a checkpoint covers what was handled and nothing else, without holes", func(t *testing.T) {
		in := fresh(t)
		in.Produce(0, values(0, 0, 40)...)
		h := newSpy()
		stop := start(t, in.NewSource(), h)
		h.wait(t, 0, 40)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		for _, r := range h.Ranges() {
			if r.Partition != 0 {
				continue
			}
			if r.First != at {
				t.Errorf("checkpoint begins at %d, the one before ended at %d", r.First, at)
			}
			at = r.Next
		}
		if at != 40 {
			t.Errorf("checkpoints end at %d, want 40", at)
		}
		for _, f := range h.faults() {
			t.Error(f)
		}
	})

	t.Run("Run waits for the batch in hand when its context ends", func(t *testing.T) {
		in := fresh(t)
		in.Produce(0, values(0, 0, 3)...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		h := newSpy()
		h.fail = func(*pipeline.Batch) error {
			cancel()
			return nil // the batch is finished although the context has ended
		}
		if err := in.NewSource().Run(ctx, h); err != nil {
			t.Fatal(err)
		}
		if got, n := in.Committed(0), int64(len(h.Values(0))); got != n || n == 0 {
			t.Errorf("committed %d, handled %d: finished offsets are to be committed before Run returns", got, n)
		}
	})
}

// TestSink checks that a sink keeps the contract of pipeline.Sink. Each call of
// fresh gives an empty sink and a way to read which ids it holds durably: what
// a reader would find after this process died.
func TestSink(t *testing.T, fresh func(t *testing.T) (pipeline.Sink, func() []string)) {
	t.Run("what Write returned for is there", func(t *testing.T) {
		s, read := fresh(t)
		out, want := output(0, 7)
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("-written +found:\n%s", diff)
		}
	})
	t.Run("writing twice is harmless", func(t *testing.T) {
		s, read := fresh(t)
		out, want := output(0, 3)
		for range 2 {
			if err := s.Write(t.Context(), out); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("-written +found:\n%s", diff)
		}
	})
	t.Run("an empty output is nothing", func(t *testing.T) {
		s, read := fresh(t)
		if err := s.Write(t.Context(), new(pipeline.Output)); err != nil {
			t.Fatal(err)
		}
		if got := read(); len(got) != 0 {
			t.Errorf("found %q", got)
		}
	})
	t.Run("many write at once", func(t *testing.T) {
		s, read := fresh(t)
		var want []string
		var wg sync.WaitGroup
		errs := make([]error, 16)
		for i := range errs {
			out, ids := output(int64(i)*100, 5)
			want = append(want, ids...)
			wg.Go(func() { errs[i] = s.Write(t.Context(), out) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("-written +found:\n%s", diff)
		}
	})
	t.Run("it keeps no bytes of the output", func(t *testing.T) {
		s, read := fresh(t)
		out, want := output(0, 3)
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		for i := range out.DeadLetters {
			r := out.DeadLetters[i].Record
			Scribble(&pipeline.Batch{Records: []pipeline.Record{*r}})
		}
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("-written +found:\n%s", diff)
		}
	})
	t.Run("it gives up when the context has ended", func(t *testing.T) {
		s, _ := fresh(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out, _ := output(0, 1)
		if err := s.Write(ctx, out); err == nil {
			t.Error("Write returned nil")
		}
	})
}

// Committing is a sink that commits progress, and what became of it.
type Committing struct {
	pipeline.Sink
	// Progress returns progress of the group in one partition, up to an offset.
	Progress func(next int64) *pipeline.Progress
	// Lapse makes the claim of the progress returned from then on void.
	Lapse func()
	// Read returns the ids a reader would find after this process died.
	Read func() []string
	// Committed returns the group's offset, 0 for none.
	Committed func() int64
}

// TestCommitting checks that a sink that commits progress keeps the contract of
// pipeline.Progress: the output and the offset, or nothing of both, and nothing
// before its account is durable.
func TestCommitting(t *testing.T, fresh func(t *testing.T) Committing) {
	check := func(t *testing.T, s Committing, ids []string, offset int64) {
		t.Helper()
		if diff := cmp.Diff(ids, s.Read(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-written +found:\n%s", diff)
		}
		if got := s.Committed(); got != offset {
			t.Errorf("committed %d, want %d", got, offset)
		}
	}
	t.Run("output and offset are there together, after their account", func(t *testing.T) {
		s := fresh(t)
		var all []string
		for i := range int64(3) {
			out, ids := output(i*10, 3)
			all = append(all, ids...)
			accounts := 0
			out.Progress = s.Progress((i + 1) * 10)
			out.Progress.Account = func(context.Context) error {
				accounts++
				if got := s.Committed(); got != i*10 {
					t.Errorf("committed %d before the account is durable", got)
				}
				return nil
			}
			if err := s.Write(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			if accounts != 1 {
				t.Errorf("the account was asked for %d times, want once", accounts)
			}
		}
		slices.Sort(all)
		check(t, s, all, 30)
	})
	t.Run("without the account nothing is there", func(t *testing.T) {
		s := fresh(t)
		out, ids := output(0, 3)
		no := errors.New("disk is full")
		out.Progress = s.Progress(3)
		out.Progress.Account = func(context.Context) error { return no }
		if err := s.Write(t.Context(), out); !errors.Is(err, no) {
			t.Errorf("Write returned %v, want %v", err, no)
		}
		check(t, s, nil, 0)
		out.Progress.Account = func(context.Context) error { return nil }
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		check(t, s, ids, 3)
	})
	t.Run("nothing to write is nothing to commit", func(t *testing.T) {
		s := fresh(t)
		out := &pipeline.Output{Progress: s.Progress(3)}
		out.Progress.Account = func(context.Context) error {
			t.Error("the account was asked for")
			return nil
		}
		if err := s.Write(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		check(t, s, nil, 0)
	})
	t.Run("without a claim nothing is there", func(t *testing.T) {
		s := fresh(t)
		s.Lapse()
		out, _ := output(0, 3)
		out.Progress = s.Progress(3)
		out.Progress.Account = func(context.Context) error { return nil }
		if err := s.Write(t.Context(), out); !errors.Is(err, pipeline.ErrLost) {
			t.Errorf("Write returned %v, want that the claim is lost", err)
		}
		check(t, s, nil, 0)
	})
}

// TestHandler checks that a handler keeps the contract of pipeline.Handler.
// Fresh builds one that writes to the given sink. Its input are values of which
// every one leaves an entry in the sink.
func TestHandler(t *testing.T, value func(i int) string, fresh func(t *testing.T, s pipeline.Sink) pipeline.Handler) {
	batch := func(first, n int64) *pipeline.Batch {
		b := &pipeline.Batch{Kind: event.Post, Topic: "posts", First: first, Next: first + n}
		for i := first; i < first+n; i++ {
			b.Records = append(b.Records, pipeline.Record{Offset: i, Time: time.Unix(1_700_000_000, 0), Value: []byte(value(int(i)))})
		}
		return b
	}
	whole := func(b *pipeline.Batch) []pipeline.Range {
		return []pipeline.Range{{Topic: b.Topic, Partition: b.Partition, First: b.First, Next: b.Next}}
	}
	t.Run("every effect is durable when Handle returns", func(t *testing.T) {
		s := new(Sink)
		h := fresh(t, s)
		b := batch(0, 5)
		if err := h.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		Scribble(b) // the batch is the source's again
		if n := len(s.IDs()); n != 5 {
			t.Errorf("%d entries, want 5", n)
		}
	})
	t.Run("a batch handled twice leaves the same ids", func(t *testing.T) {
		s := new(Sink)
		h := fresh(t, s)
		for range 2 {
			if err := h.Handle(t.Context(), batch(0, 5)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.IDs()); n != 5 {
			t.Errorf("%d different ids, want 5", n)
		}
	})
	t.Run("an effect that cannot be made durable is an error", func(t *testing.T) {
		s := &Sink{Effect: func(string, func() error) error { return pipeline.Permanent(errors.New("disk is gone")) }}
		if err := fresh(t, s).Handle(t.Context(), batch(0, 1)); err == nil {
			t.Error("Handle returned nil")
		}
	})
	t.Run("it gives up when the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Sink{Effect: func(string, func() error) error { cancel(); return errors.New("not now") }}
		if err := fresh(t, s).Handle(ctx, batch(0, 1)); err == nil {
			t.Error("Handle returned nil")
		}
	})
	t.Run("a checkpoint accounts for every offset", func(t *testing.T) {
		s := new(Sink)
		h := fresh(t, s)
		a, b := batch(0, 5), batch(5, 3)
		for _, x := range []*pipeline.Batch{a, b} {
			if err := h.Handle(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Checkpoint(t.Context(), append(whole(a), whole(b)...)); err != nil {
			t.Fatal(err)
		}
		var n int64
		for _, c := range s.Coverage() {
			if !c.Balanced() {
				t.Errorf("account %+v does not balance", c)
			}
			n += c.Fetched
		}
		if n != 8 {
			t.Errorf("accounts cover %d messages, want 8", n)
		}
	})
	t.Run("a checkpoint that cannot be written is an error, and can be repeated", func(t *testing.T) {
		broken := true
		s := new(Sink)
		s.Effect = func(name string, do func() error) error {
			if name == " coverage" && broken {
				return pipeline.Permanent(errors.New("disk is gone"))
			}
			return do()
		}
		h := fresh(t, s)
		b := batch(0, 2)
		if err := h.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := h.Checkpoint(t.Context(), whole(b)); err == nil {
			t.Fatal("Checkpoint returned nil")
		}
		broken = false
		if err := h.Checkpoint(t.Context(), whole(b)); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Coverage()); n != 1 {
			t.Errorf("%d accounts after the second try, want 1", n)
		}
	})
}

func values(p int32, from, to int) []string {
	var v []string
	for i := from; i < to; i++ {
		v = append(v, fmt.Sprintf("p%d-%d", p, i))
	}
	return v
}

// output makes an output of n dead letters and the ids it must leave.
func output(first int64, n int) (*pipeline.Output, []string) {
	out := new(pipeline.Output)
	var ids []string
	for i := range int64(n) {
		d := pipeline.DeadLetter{
			ID:     pipeline.NewID("test", "posts", 0, first+i, "deadletter", 0, "r"),
			Origin: pipeline.Origin{Source: "test", Topic: "posts"},
			Record: &pipeline.Record{Offset: first + i, Time: time.Unix(1_700_000_000, 0), Key: []byte("u"), Value: []byte("{broken")},
			Kind:   event.Post, Stage: pipeline.StageDecode, Reason: "truncated", Rules: strings.Repeat("5e", 32),
		}
		out.DeadLetters = append(out.DeadLetters, d)
		ids = append(ids, d.ID.String())
	}
	slices.Sort(ids)
	return out, ids
}

// run runs a source until it returns by itself.
func run(t *testing.T, s pipeline.Source, h pipeline.Handler) error {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the source did not end"))
	defer cancel()
	return s.Run(ctx, h)
}

// start runs a source until the function it returns is called.
func start(t *testing.T, s pipeline.Source, h pipeline.Handler) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	return func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the source did not end with its context")
		}
	}
}

// spy is a Handler that watches the source's manners.
type spy struct {
	Handler
	fail       func(*pipeline.Batch) error
	checkpoint func([]pipeline.Range) error

	mu     sync.Mutex
	moved  *sync.Cond
	busy   map[int32]bool
	next   map[int32]int64
	wrongs []string
}

func newSpy() *spy {
	s := &spy{busy: make(map[int32]bool), next: make(map[int32]int64)}
	s.Sink = new(Sink)
	s.moved = sync.NewCond(&s.mu)
	return s
}

func (s *spy) Handle(ctx context.Context, b *pipeline.Batch) error {
	s.mu.Lock()
	if s.busy[b.Partition] {
		s.wrongs = append(s.wrongs, fmt.Sprintf("partition %d has two batches out at once", b.Partition))
	}
	s.busy[b.Partition] = true
	if at, ok := s.next[b.Partition]; ok && b.First != at {
		s.wrongs = append(s.wrongs, fmt.Sprintf("batch of partition %d begins at %d, the one before ended at %d", b.Partition, b.First, at))
	}
	if len(b.Records) > 0 {
		if first, last := b.Records[0].Offset, b.Records[len(b.Records)-1].Offset; first < b.First || last >= b.Next {
			s.wrongs = append(s.wrongs, fmt.Sprintf("batch [%d,%d) holds offsets %d to %d", b.First, b.Next, first, last))
		}
	}
	s.mu.Unlock()
	var err error
	if s.fail != nil {
		err = s.fail(b)
	}
	if err == nil {
		// The sink's durability is not what is watched here.
		err = s.Handler.Handle(context.WithoutCancel(ctx), b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[b.Partition] = false
	if err == nil {
		s.next[b.Partition] = b.Next
	}
	s.moved.Broadcast()
	return err
}

func (s *spy) Checkpoint(ctx context.Context, done []pipeline.Range) error {
	if s.checkpoint != nil {
		return s.checkpoint(done)
	}
	s.mu.Lock()
	for _, r := range done {
		if r.Next > s.next[r.Partition] {
			s.wrongs = append(s.wrongs, fmt.Sprintf("checkpoint of partition %d up to %d, handled only up to %d", r.Partition, r.Next, s.next[r.Partition]))
		}
	}
	s.mu.Unlock()
	return s.Handler.Checkpoint(ctx, done)
}

func (s *spy) faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrongs)
}

// wait blocks until at least n messages of a partition were handled.
func (s *spy) wait(t *testing.T, partition int32, n int) {
	t.Helper()
	timeout := time.AfterFunc(patience, s.moved.Broadcast)
	defer timeout.Stop()
	deadline := time.Now().Add(patience)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.Values(partition)) < n {
		if time.Now().After(deadline) {
			t.Fatalf("partition %d: %d messages after %v, want %d", partition, len(s.Values(partition)), patience, n)
		}
		s.moved.Wait()
	}
}
