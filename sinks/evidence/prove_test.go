package evidence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// A proof between any two sizes up to the signed one is what RFC 6962 asks for,
// whether the nodes are in memory or must be read, before and after a restart.
func TestProve(t *testing.T) {
	dir := memDir(t)
	var l *Log
	reopen := func() {
		t.Helper()
		var err error
		if l, err = Open(Options{Dir: dir, Origin: testOrigin, SegmentBytes: 64 << 10, calls: noSync()}); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	roots := make(map[int64]tlog.Hash)
	r := rand.New(rand.NewPCG(1, 2))
	records := 5000
	if testing.Short() {
		records = 1000
	}
	for n := 0; n < records; {
		k := 1 + r.IntN(70)
		mustAppend(t, l, hits(n, k)...)
		n += k
		root, err := l.tree.root()
		if err != nil {
			t.Fatal(err)
		}
		roots[l.Size()] = root
	}
	if err := l.checkpoint(); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for from, old := range roots {
			for to, root := range roots {
				if from > to || r.IntN(4) > 0 {
					continue
				}
				proof, err := l.Prove(from, to)
				if err != nil {
					t.Fatal(err)
				}
				if err := tlog.CheckTree(proof, to, root, from, old); from != to && err != nil {
					t.Fatalf("proof from %d to %d: %v", from, to, err)
				}
			}
		}
	}
	check()
	mustClose(t, l)
	reopen()
	defer mustClose(t, l)
	check()

	size := l.Size()
	mustAppend(t, l, hits(9000, 3)...)
	for _, tt := range [][2]int64{{0, size}, {-1, 4}, {5, 4}, {size, size + 1}} {
		if _, err := l.Prove(tt[0], tt[1]); !errors.Is(err, ErrNotSigned) {
			t.Errorf("proof from %d to %d of a log signed up to %d: %v", tt[0], tt[1], size, err)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b, memDir(b))
			for i := 0; i < n; i += 1000 {
				mustAppend(b, l, hits(i, 1000)...)
			}
			if err := l.checkpoint(); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				if _, err := l.Prove(int64(n-777-i%500), int64(n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
