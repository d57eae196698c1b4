package main

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// turn is how long an engine runs before the next one does: short, so that what
// disturbs the machine disturbs all of them alike. It runs for warmUp before that, so
// that what the last one left in the caches does not count.
const (
	turn   = 5 * time.Millisecond
	warmUp = 2 * time.Millisecond
)

// cpu returns the CPU time of the calling thread.
func cpu() time.Duration { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

// cpuAll returns the CPU time of all threads.
func cpuAll() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err) // the clocks are always there
	}
	return time.Duration(t.Nano())
}

// runner is an engine made ready for some posts.
type runner struct {
	name string
	scan func(from, to int) int // searches these posts and returns the number of matches
}

// interleave lets the engines take turns and returns for each the ns per byte of
// every round. Each turn begins at another post: no engine finds in the caches what
// another one has just read for the same posts.
func interleave(runners []runner, p *posts, rounds int) map[string][]float64 {
	cost := make(map[string][]float64)
	quiet(func() {
		for round := range rounds {
			for i, r := range runners {
				at := (round*997 + i*len(p.posts)/len(runners)) % len(p.posts)
				at, _ = r.take(p, at, warmUp)
				_, perByte := r.take(p, at, turn)
				cost[r.name] = append(cost[r.name], perByte)
			}
		}
	})
	return cost
}

// take searches posts from one on for some time and returns the one to go on with and
// the ns per byte.
func (r *runner) take(p *posts, at int, long time.Duration) (next int, perByte float64) {
	const batch = 16 // posts between two looks at the clock
	bytes, spent := 0, time.Duration(0)
	for begin := cpu(); spent < long; spent = cpu() - begin {
		to := min(at+batch, len(p.posts))
		r.scan(at, to)
		bytes += p.ends[to-1] - p.begin(at)
		at = to % len(p.posts)
	}
	return at, float64(spent) / float64(bytes)
}

// ratios divides round by round.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median[T float64 | time.Duration](v []T) T {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
