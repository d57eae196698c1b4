package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/weir-moderation/weir/rules/automaton"
)

// fixedHeap is the part of an automaton that does not grow with its patterns: the
// table of characters and the cells of the filter.
const fixedHeap = 600_000

// measureBuild measures what an automaton costs before it searches anything.
func measureBuild(o options) error {
	fmt.Print("\n## Building, memory, garbage collection\n\nCPU time of all threads, median. Bytes per pattern byte are beyond 0.6 MB.\n\n")
	fmt.Println("| set | patterns | pattern bytes | build ms | heap bytes | Memory() | bytes per pattern byte | one GC cycle ms | of an empty heap |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, name := range o.sets {
		s, err := readSet(o.dir, name)
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		list := patterns(s)
		var a *automaton.Automaton
		var times []time.Duration
		for i := range 6 {
			a = nil
			runtime.GC()
			begin := cpuAll()
			if a, err = automaton.New(list, automaton.Options{}); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
			if i > 0 { // the first one also sets up the fold's tables
				times = append(times, cpuAll()-begin)
			}
		}
		n, size, memory := len(list), s.bytes, a.Memory()
		s, list = nil, nil // so that the collector walks the automaton alone
		gc := collect()
		with := heap()
		runtime.KeepAlive(a)
		a = nil
		without := heap()
		fmt.Printf("| %s | %d | %d | %.1f | %d | %d | %.2f | %.2f | %.2f |\n", name, n, size, ms(median(times)), with-without, memory,
			float64(with-without-fixedHeap)/float64(size), ms(gc), ms(collect()))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// heap returns the bytes in use, garbage aside.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// collect returns the CPU time of one cycle of garbage collection.
func collect() time.Duration {
	debug.FreeOSMemory()
	var times []time.Duration
	for range 9 {
		begin := cpuAll()
		runtime.GC()
		times = append(times, cpuAll()-begin)
	}
	return median(times)
}

func patterns(s *set) []automaton.Pattern {
	list := make([]automaton.Pattern, len(s.words))
	for i, w := range s.words {
		list[i] = automaton.Pattern{Text: w, Substring: s.substring}
	}
	return list
}
