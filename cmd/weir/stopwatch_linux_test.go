package main

import (
	"runtime"
	"testing"
)

// The kernel tells the time of the thread, and it grows with work: bench does not fall back to
// the wall unnoticed.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	if began < 0 {
		t.Fatal("the kernel does not tell the CPU time of a thread")
	}
	n := uint32(1)
	for range 10_000_000 {
		n = n*1664525 + 1013904223
	}
	if spent := threadTime() - began; spent <= 0 {
		t.Errorf("10 million steps (to %d) took %v", n, spent)
	}
}
