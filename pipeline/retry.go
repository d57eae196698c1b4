package pipeline

import (
	"context"
	"math/rand/v2"
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
// is going, the error is permanent, or it says which verdicts to leave out.
func stop(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || isPermanent(err) {
		return true
	}
	_, refused := refusedOf(err)
	return refused
}

// persist calls f until it succeeds or trying again makes no sense. The
// partition waits meanwhile, which is what holds its consumer back; the gauge
// weir_stalled_partitions counts it from the first failure on.
func (p *Pipeline) persist(ctx context.Context, what string, f func() error) error {
	err := f()
	if stop(ctx, err) {
		return err
	}
	p.metrics.stalled.Inc()
	defer p.metrics.stalled.Dec()
	// One line when it begins and one when it is over: an outage of an hour
	// must not write a log line a second.
	p.log.Warn("partition waits", "for", what, "err", err)
	for try := 0; ; try++ {
		p.metrics.retries(what)
		if werr := p.backoff.wait(ctx, try); werr != nil {
			return err
		}
		if err = f(); stop(ctx, err) {
			if err == nil {
				p.log.Info("partition goes on", "after", what, "tries", try+2)
			}
			return err
		}
	}
}
