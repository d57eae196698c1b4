package app

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Memory is given back when batches are over, once, and again when enough has gathered without any.
func TestMemoryIsGivenBackWhenIdle(t *testing.T) {
	const mb = 1 << 20
	var i idleness
	total := uint64(0)
	for at, step := range []struct {
		allocated uint64
		want      bool
	}{
		{50 * mb, false}, {20 * mb, false}, // at work
		{mb / 2, true}, {mb / 2, false}, // at rest
		{3 * mb, false}, {mb / 2, true}, // a few posts, and at rest again
		{mb / 2, false}, {mb / 2, false}, {mb / 2, false}, {mb / 2, false}, {mb / 2, false}, {mb / 2, false}, {mb / 2, false}, {mb / 2, true},
		{0, false}, {2 * mb, false}, {2 * mb, false}, {2 * mb, false}, // the collector's business
	} {
		if total += step.allocated; i.now(total) != step.want {
			t.Errorf("step %d: %v", at, !step.want)
		}
	}
}

// It is done, and ends.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 8 {
			kept = make([]byte, 1<<20)
		}
		kept = nil
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- rest(ctx) }()
		time.Sleep(3 * restEvery)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if runtime.ReadMemStats(&after); after.NumForcedGC == before.NumForcedGC {
			t.Error("nothing was given back")
		}
	})
}

var kept []byte
