package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff is how long to wait between tries: before try n a time drawn evenly
// from zero to min(Max, Base·2ⁿ). Full jitter spreads the load of many waiting
// partitions best (Brooker, "Exponential Backoff And Jitter", AWS 2015).
type Backoff struct {
	Base time.Duration
	Max  time.Duration
}

// DefaultBackoff waits at most 100 ms before the second try and never more than 10 s.
func DefaultBackoff() Backoff { return Backoff{Base: 100 * time.Millisecond, Max: 10 * time.Second} }

func (b Backoff) wait(ctx context.Context, try int) error {
	limit := b.Max
	if try < 32 && b.Base<<try > 0 && b.Base<<try < b.Max {
		limit = b.Base << try
	}
	t := time.NewTimer(rand.N(limit + 1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// stop reports whether err is not to be tried again: there is none, the caller
// is going, the error is permanent, the partition is lost, or it says which
// verdicts to leave out.
func stop(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || isPermanent(err) || errors.Is(err, ErrLost) {
		return true
	}
	_, refused := refusedOf(err)
	return refused
}

// stallAfter is how long a sink may take for one output until the partition
// counts as waiting: some sinks, such as that of the topics, do not return with an
// error when trying again will help, but try.
const stallAfter = 5 * time.Second

// persist calls f until it succeeds or trying again makes no sense. The
// partition waits meanwhile, which is what holds its consumer back; the gauge
// weir_stalled_partitions counts it from the first failure on, or when f does not
// return for a while.
func (p *Pipeline) persist(ctx context.Context, w *worker, what string, f func() error) error {
	s := stall{p: p, what: what}
	if w != nil && w.alive != nil {
		s.alive = w.alive
		defer p.waiting.enter(&s)()
	}
	slow := time.AfterFunc(stallAfter, func() { s.begin(errSlow) })
	defer slow.Stop()
	for try := 0; ; try++ {
		err := f()
		if stop(ctx, err) {
			s.end(err, try+1)
			return err
		}
		s.begin(err)
		if s.alive != nil {
			s.alive()
		}
		p.metrics.retries(what)
		if werr := p.backoff.wait(ctx, try); werr != nil {
			s.end(err, try+1)
			return err
		}
	}
}

// Retried counts an attempt that a sink repeats by itself. Those who wait for it hang
// no more than it does.
func (p *Pipeline) Retried(sink string) {
	p.metrics.retries(sink)
	p.waiting.alive(sink)
}

// waiting are the batches that have been handed to something and may have to wait.
type waiting struct {
	mu      sync.Mutex
	batches map[*stall]struct{}
}

// enter adds one, and returns how to take it out again.
func (w *waiting) enter(s *stall) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.batches == nil {
		w.batches = make(map[*stall]struct{})
	}
	w.batches[s] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.batches, s)
	}
}

// alive gives a sign of life for all that wait for a sink.
func (w *waiting) alive(sink string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.batches {
		if s.what == sink {
			s.alive()
		}
	}
}

var errSlow = fmt.Errorf("no answer for %v", stallAfter)

// stall is the time in which a partition waits for something. It makes one log line
// when it begins and one when it is over: an outage of an hour must not write one
// a second.
type stall struct {
	p     *Pipeline
	what  string
	alive func() // gives a sign of life; may be nil

	mu    sync.Mutex
	begun bool
	over  bool
}

func (s *stall) begin(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun || s.over {
		return
	}
	s.begun = true
	s.p.metrics.stalled.Inc()
	s.p.log.Warn("partition waits", "for", s.what, "err", err)
}

func (s *stall) end(err error, tries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if !s.begun {
		return
	}
	s.p.metrics.stalled.Dec()
	if err == nil {
		s.p.log.Info("partition goes on", "after", s.what, "tries", tries)
	}
}
