// Command bench measures package automaton against the engines one would use
// instead: github.com/cloudflare/ahocorasick and, with -tags hyperscan and its
// library installed (libhyperscan-dev), Hyperscan. It is a module of its own, so
// that nothing else ever depends on it.
//
// What it is not: a measure of a machine. All engines run in one process, in turns
// of a few milliseconds, by the clock of one thread's CPU time; what counts are the
// ratios of each round, of which it prints the median and, in brackets, the least
// and the greatest. Absolute numbers depend on what else the machine does, and a
// difference of less than a tenth means nothing.
//
// The one thing to know: the own engine is charged for everything, from the bytes
// of a post to the spans of its hits in them. The others get texts that are folded
// already, and no spans. Only the column "fold+cf" charges cloudflare's for folding,
// still without spans.
//
//	go run . -parts build,speed,hostile
//	go run -tags hyperscan . -parts speed -sets zh_1000,en_2000 -texts en
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "data", dataDir(), "directory of the samples: patterns_*.txt and posts_*.txt")
	flag.IntVar(&o.rounds, "rounds", 15, "rounds of each comparison")
	flag.Int64Var(&o.budget, "budget", 6<<30, "bytes of memory cloudflare's engine may take; it is left out where it would take more")
	parts := flag.String("parts", "build,speed,hostile,forms", "what to measure")
	sets := flag.String("sets", "zh_1000,zh_10000,zh_60000,mix_10000,mix_all,en_2000,en_all", "sets of patterns")
	texts := flag.String("texts", "zh_short,zh_long,en,mixed", "sets of posts")
	flag.Parse()
	o.sets, o.texts = strings.Split(*sets, ","), strings.Split(*texts, ",")
	run := map[string]func(options) error{"build": measureBuild, "speed": measureSpeed, "hostile": measureHostile, "forms": measureForms}
	for part := range strings.SplitSeq(*parts, ",") {
		f, ok := run[part]
		if !ok {
			fail(fmt.Errorf("no part %q; there are build, speed, hostile and forms", part))
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

// dataDir is where the large samples lie.
func dataDir() string {
	if d := os.Getenv("WEIR_TEST_DATA"); d != "" {
		return d
	}
	return "../../../../shared/data"
}

type options struct {
	dir         string
	rounds      int
	budget      int64
	sets, texts []string
}

// measureSpeed compares the engines on real posts.
func measureSpeed(o options) error {
	fmt.Print("\n## Speed\n\nns a post (MB/s of the post as it was written); × how many times as fast the own engine is: median (least to greatest).\n")
	fmt.Print("cf and hs search folded text, fold+cf folds first. Matches of the whole sample: of cf, each pattern once a post.\n\n")
	fmt.Println("| set | posts | own | cf | fold+cf | hs | × cf | × fold+cf | × hs | matches own / cf / hs |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, name := range o.sets {
		if err := measureSet(o, name); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// columns are the names of the engines in the order of the table.
var columns = []string{"own", "cf", "fold+cf", "hs"}

func measureSet(o options, name string) error {
	s, err := readSet(o.dir, name)
	if err != nil {
		return err
	}
	engines, free, err := newEngines(s, o.budget)
	if err != nil {
		return err
	}
	defer free()
	for _, text := range o.texts {
		p, err := readPosts(o.dir, text)
		if err != nil {
			return err
		}
		var runners []runner
		matches := make(map[string]int)
		for _, e := range engines {
			scan := e.bind(p)
			matches[e.name] = scan(0, len(p.posts))
			runners = append(runners, runner{e.name, scan})
		}
		cost := interleave(runners, p, o.rounds)
		row := []string{name, text}
		mean := float64(p.bytes) / float64(len(p.posts))
		for _, c := range columns {
			row = append(row, cell(cost[c], func(c []float64) string {
				m := median(c)
				return fmt.Sprintf("%.0f (%.0f)", m*mean, 1000/m)
			}))
		}
		for _, c := range columns[1:] {
			row = append(row, cell(cost[c], func(c []float64) string { return spread(ratios(c, cost["own"])) }))
		}
		counts := []string{}
		for _, c := range []string{"own", "cf", "hs"} {
			if n, ok := matches[c]; ok {
				counts = append(counts, fmt.Sprint(n))
			} else {
				counts = append(counts, "–")
			}
		}
		fmt.Printf("| %s | %s |\n", strings.Join(row, " | "), strings.Join(counts, " / "))
	}
	return nil
}

// cell is empty for an engine that did not run.
func cell(cost []float64, f func([]float64) string) string {
	if len(cost) == 0 {
		return "–"
	}
	return f(cost)
}

func spread(r []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(r), slices.Min(r), slices.Max(r))
}

// quiet runs f on a thread of its own without garbage collection.
func quiet(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	f()
}
