package load

import (
	"math/bits"
	"time"
)

// latency counts how long things took, in buckets of at most 1.6 % of their value: its
// size does not grow with what it counts, and the slowest is known exactly.
type latency struct {
	counts [64 << stepBits]int64
	n      int64
	max    time.Duration
}

// stepBits is in how many steps each power of two is cut: 2^6, so that a bucket is at
// most a sixty-fourth of what lies in it.
const stepBits = 6

// bucket returns where a duration is counted.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<stepBits {
		return int(v)
	}
	shift := bits.Len64(v) - stepBits - 1
	return (shift+1)<<stepBits | int(v>>shift)&(1<<stepBits-1)
}

// least returns the least duration that is counted in a bucket.
func least(bucket int) time.Duration {
	if bucket < 1<<stepBits {
		return time.Duration(bucket)
	}
	shift := bucket>>stepBits - 1
	return time.Duration(1<<stepBits|bucket&(1<<stepBits-1)) << shift
}

func (l *latency) add(d time.Duration) {
	l.counts[bucket(d)]++
	l.n++
	l.max = max(l.max, d)
}

// percentile returns a duration that so many per cent did not exceed by more than a
// bucket; 0 if nothing was counted.
func (l *latency) percentile(p float64) time.Duration {
	if l.n == 0 {
		return 0
	}
	rank := int64(p/100*float64(l.n-1)) + 1
	for i, n := range l.counts {
		if rank -= n; rank <= 0 {
			return min(least(i+1), l.max)
		}
	}
	return l.max
}

// Percentiles are latencies in milliseconds.
type Percentiles struct {
	Messages int64   `json:"messages"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	P999     float64 `json:"p99.9_ms"`
	Max      float64 `json:"max_ms"`
}

func (l *latency) percentiles() Percentiles {
	ms := func(p float64) float64 { return l.percentile(p).Seconds() * 1000 }
	return Percentiles{Messages: l.n, P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: l.max.Seconds() * 1000}
}
