package main

import (
	"syscall"
	"time"
	"unsafe"
)

// threadClock is CLOCK_THREAD_CPUTIME_ID of clock_gettime(2).
const threadClock = 3

// stopwatch starts to measure the CPU time of this thread, to which the goroutine must be locked:
// what else runs on the machine is not counted. Where the kernel has no such clock it is wall time.
func stopwatch() (elapsed func() time.Duration) {
	began, wall := threadTime(), time.Now()
	return func() time.Duration {
		if began < 0 {
			return time.Since(wall)
		}
		return threadTime() - began
	}
}

// threadTime returns the CPU time of this thread so far, below 0 if there is no telling.
func threadTime() time.Duration {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return -1
	}
	return time.Duration(t.Nano())
}
