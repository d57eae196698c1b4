// Command bench measures the evidence log against what one would use instead: the
// POSIX driver of github.com/transparency-dev/tessera, and a file with one write
// and one fdatasync for each record. It is a module of its own, so that nothing else
// ever depends on Tessera.
//
// What it is not: a measure of a machine. All stores take turns in one process, each
// in a new directory of the same disk; what counts are the ratios, and the CPU time,
// which is that of the process, kernel and garbage collection included. It prints
// medians and, in brackets, the least and the greatest.
//
// The one thing to know: the log's records have bodies of 1 KB, a subject and six
// terms to be looked up by, which it encrypts, hashes and commits to. Tessera and the
// plain file get the body as it is.
//
//	go run . -dir /var/tmp
//	go run . -parts append -rounds 5 -turn 3s
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are the flags.
type options struct {
	dir     string
	rounds  int
	turn    time.Duration
	rate    int
	records int
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "directory on the disk that is measured; empty: that of temporary files")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison")
	flag.DurationVar(&o.turn, "turn", 2*time.Second, "how long a store is measured in each round")
	flag.IntVar(&o.rate, "rate", 50_000, "records a second of the open loop")
	flag.IntVar(&o.records, "records", 1_000_000, "records of the log that is verified")
	parts := flag.String("parts", "append,open,verify", "what to measure")
	flag.Parse()
	run := map[string]func(options) error{"append": measureAppend, "open": measureOpenLoop, "verify": measureVerify}
	for part := range strings.SplitSeq(*parts, ",") {
		f, ok := run[part]
		if !ok {
			fail(fmt.Errorf("no part %q; there are append, open and verify", part))
		}
		if err := f(o); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench: error:", err)
	os.Exit(1)
}

// tempDir makes a directory for one store.
func (o *options) tempDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(o.dir, "weir-bench-")
	return dir, func() {
		if err := os.RemoveAll(dir); err != nil {
			fail(err)
		}
	}, err
}

// cpu returns the CPU time of the process.
func cpu() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		fail(err)
	}
	return time.Duration(t.Nano())
}

// spread is the median of list, with the least and the greatest.
func spread(list []float64, format string) string {
	list = slices.Sorted(slices.Values(list))
	one := func(x float64) string { return fmt.Sprintf(format, x) }
	return fmt.Sprintf("%s (%s to %s)", one(median(list)), one(list[0]), one(list[len(list)-1]))
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// quantile of durations, in milliseconds.
func quantile(list []time.Duration, q float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return ms(list[min(len(list)-1, int(q*float64(len(list))))])
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
