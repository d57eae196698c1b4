// Package retry is how long to wait until something is tried again.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait before trying again: anything up to a ceiling
// that doubles, so that many who failed at once do not come back at once. It
// belongs to one goroutine.
type Backoff struct {
	Base, Ceiling time.Duration
	tries         int
}

// Next returns how long to wait now, and more each time.
func (b *Backoff) Next() time.Duration {
	d := Jitter(b.Base, b.Ceiling, b.tries)
	b.tries++
	return d
}

// Reset begins anew: it has worked.
func (b *Backoff) Reset() { b.tries = 0 }

// Jitter returns how long to wait before a try, counted from 0: anything up to a
// ceiling that doubles from base on.
func Jitter(base, ceiling time.Duration, try int) time.Duration {
	return rand.N(min(ceiling, base<<min(try, 20))) + time.Millisecond
}

// Pause waits and reports whether it did; false means that the context ended first.
func Pause(ctx context.Context, d time.Duration) bool {
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
