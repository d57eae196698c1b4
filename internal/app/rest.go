package app

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	restEvery = 3 * time.Second
	// restBelow is how many bytes are allocated in that time at most while there is nothing to do: scrapes, samples,
	// polls that bring nothing. A hundred posts a second are more.
	restBelow = 1 << 20
	// restAbove is how much must have been allocated since memory was given back for it to be done once more: a
	// collection takes some milliseconds of a core.
	restAbove = 4 << 20
)

// rest gives memory back to the system while there is nothing to do, until ctx ends. What the last batches left behind,
// and the buffers that wait for the next ones, would otherwise stay until the heap has doubled or two minutes have passed.
func rest(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var i idleness
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if metrics.Read(allocated); i.now(allocated[0].Value.Uint64()) {
				runtime.GC() // pools let go of what they hold at the second collection
				debug.FreeOSMemory()
			}
		}
	}
}

// idleness knows how much had been allocated since the start when it was looked at last, and when memory was given
// back last.
type idleness struct{ before, back uint64 }

// now is told how much has been allocated, and reports whether memory is to be given back.
func (i *idleness) now(allocated uint64) bool {
	idle := allocated-i.before < restBelow
	i.before = allocated
	if !idle || allocated-i.back < restAbove {
		return false
	}
	i.back = allocated
	return true
}
