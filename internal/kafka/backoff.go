package kafka

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff says how long to wait before trying again: anything up to a ceiling
// that doubles, so that many who failed at once do not come back at once.
type backoff struct {
	base, ceiling time.Duration
	tries         int
}

func (b *backoff) next() time.Duration {
	top := b.ceiling
	if d := b.base << min(b.tries, 20); d < top {
		top = d
	}
	b.tries++
	return rand.N(top) + time.Millisecond
}

func (b *backoff) reset() { b.tries = 0 }

// pause waits and reports whether it did; false means that the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
