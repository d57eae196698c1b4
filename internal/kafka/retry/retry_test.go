package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The ceiling doubles from base up to the most, and begins anew after a success;
// what is drawn is never above it, and not always the same.
func TestBackoff(t *testing.T) {
	b := Backoff{Base: 100 * time.Millisecond, Ceiling: time.Second}
	for range 3 {
		for _, top := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			if d, most := b.Next(), top*time.Millisecond; d <= 0 || d > most+time.Millisecond {
				t.Errorf("waits %v, at most %v", d, most)
			}
		}
		b.Reset()
	}
	drawn := make(map[time.Duration]bool)
	for range 20 {
		drawn[Jitter(time.Hour, time.Hour, 100)] = true
	}
	if len(drawn) < 2 {
		t.Error("everybody comes back at once")
	}
}

// A pause ends with its time, or with the context, and says which.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Pause(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Error("a pause of a minute did not last a minute")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if Pause(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Error("a pause outlasted its context")
		}
		if Pause(ctx, 0) {
			t.Error("no pause, but the context has ended, too")
		}
		if !Pause(t.Context(), -time.Second) {
			t.Error("a negative pause did not work")
		}
	})
}
