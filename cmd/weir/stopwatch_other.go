//go:build !linux

package main

import "time"

// stopwatch starts to measure wall time.
func stopwatch() (elapsed func() time.Duration) {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
