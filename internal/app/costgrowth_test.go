package app_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// growthCase is one case of BenchmarkCostGrowth: what differs from the usual one, of
// four partitions, 10,000 terms, posts as they are and one of a hundred flagged.
type growthCase struct {
	name       string
	partitions int32
	terms      int
	size       int // bytes of a body; 0: as they are
	hits       int // of so many posts one is flagged
}

// growthBytes is about how many bytes the backlog of a case has.
const growthBytes = 120 << 20

var growthCases = []growthCase{
	{"usual", 4, 10_000, 0, 100},
	{"1-partition", 1, 10_000, 0, 100},
	{"32-partitions", 32, 10_000, 0, 100},
	{"1000-terms", 4, 1_000, 0, 100},
	{"60000-terms", 4, 60_000, 0, 100},
	{"body-40", 4, 10_000, 40, 100},
	{"body-700", 4, 10_000, 700, 100},
	{"body-4000", 4, 10_000, 4_000, 100},
	{"body-12000", 4, 10_000, 12_000, 100},
	{"no-hits", 4, 10_000, 0, math.MaxInt32},
	{"5-percent-hits", 4, 10_000, 0, 20},
	{"20-percent-hits", 4, 10_000, 0, 5},
}

// BenchmarkCostGrowth works through a backlog with everything on, once for each case, and
// says how the CPU time of a post grows with partitions, terms, size and what is flagged.
// An iteration is a round of all cases, and a ratio that of one round.
func BenchmarkCostGrowth(b *testing.B) {
	made := make(map[string]*posts) // those of the same texts and terms
	worlds := make([]*costWorld, len(growthCases))
	counts, sizes := make([]int, len(growthCases)), make([]int, len(growthCases))
	for i, c := range growthCases {
		worlds[i] = newCostWorldOf(b, c.partitions, func() *posts {
			key := fmt.Sprint(c.terms, " ", c.size)
			if made[key] == nil {
				made[key] = newPosts(b, c.terms, c.size)
			}
			p := *made[key]
			p.hits = c.hits
			return &p
		})
		counts[i] = growthBytes / max(476, 430+c.size)
		sizes[i] = worlds[i].produce(counts[i]) / counts[i]
	}
	seen := make(rounds)
	for turn := 0; b.Loop(); turn++ {
		for k := range growthCases {
			i := (k + turn) % len(growthCases)
			p := worlds[i].apart("all", int64(counts[i]))
			seen[growthCases[i].name] = append(seen[growthCases[i].name], p.answer())
			p.stop()
		}
	}
	b.ReportMetric(0, "ns/op")
	var report strings.Builder
	for i, c := range growthCases {
		middle, _, _ := spread(seen.each(c.name, cpu))
		b.ReportMetric(middle, c.name+"-cpu-ns/post")
		fmt.Fprintf(&report, "%-16s %s ns a post of %d bytes, %s times the usual, %s MB; %d posts, %d terms\n", c.name, ranged(seen.each(c.name, cpu)), sizes[i],
			ranged(seen.pairs(c.name, "usual", ratio)), ranged(seen.each(c.name, megabytes)), counts[i], len(worlds[i].posts.terms))
	}
	b.Logf("%s%s", &report, conditions())
}
