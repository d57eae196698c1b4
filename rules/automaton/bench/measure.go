package main

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// turn is how long an engine runs before the next one does: short, so that what
// disturbs the machine disturbs all of them alike.
const turn = 5 * time.Millisecond

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
// every round. Each round begins at another post.
func interleave(runners []runner, p *posts, rounds int) map[string][]float64 {
	const batch = 16 // posts between two looks at the clock
	cost := make(map[string][]float64)
	quiet(func() {
		for round := range rounds {
			for _, r := range runners {
				at, bytes := round*997%len(p.posts), 0
				var spent time.Duration
				for begin := cpu(); spent < turn; spent = cpu() - begin {
					to := min(at+batch, len(p.posts))
					r.scan(at, to)
					bytes += p.ends[to-1] - p.begin(at)
					at = to % len(p.posts)
				}
				cost[r.name] = append(cost[r.name], float64(spent)/float64(bytes))
			}
		}
	})
	return cost
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
