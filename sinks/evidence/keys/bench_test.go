package keys

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
)

// BenchmarkKnown is what the keys of a batch of 500 records cost whose subjects have
// been met this month: out of memory, and read from the file because they fell out.
func BenchmarkKnown(b *testing.B) {
	for _, c := range []struct {
		name             string
		subjects, opened int
	}{{"in memory", 10_000, 0}, {"from the file", 100_000, 1000}} {
		b.Run(c.name, func(b *testing.B) {
			r := open(b, b.TempDir(), Options{OpenKeys: c.opened})
			subjects := names(c.subjects)
			mustKeys(b, r, "content", subjects...)
			batch := make([]string, 500)
			n := 0
			for b.Loop() {
				for i := range batch {
					batch[i] = subjects[rand.IntN(len(subjects))]
				}
				mustKeys(b, r, "content", batch...)
				n += len(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}

// BenchmarkNew is how many new subjects a second get a durable key, by how many of
// them come in one call, from four callers.
func BenchmarkNew(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := open(b, b.TempDir(), Options{})
			var next atomic.Int64
			b.SetParallelism(2)
			b.RunParallel(func(p *testing.PB) {
				batch := make([]string, size)
				for p.Next() {
					for i := range batch {
						batch[i] = fmt.Sprint("user-", next.Add(1))
					}
					if _, err := r.Keys("content", batch); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(next.Load())/b.Elapsed().Seconds(), "subjects/s")
		})
	}
}

// BenchmarkOpen is what it costs to find the key of a record that is read.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name   string
		opened int
	}{{"in memory", 100_000}, {"from the file", 10}} {
		b.Run(c.name, func(b *testing.B) {
			r := open(b, b.TempDir(), Options{OpenKeys: c.opened})
			ks := mustKeys(b, r, "content", names(20_000)...)
			for _, k := range ks {
				if _, err := r.Open("content", k.Handle); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := r.Open("content", ks[rand.IntN(len(ks))].Handle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTerm is what one index term costs.
func BenchmarkTerm(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	b.ReportAllocs()
	for b.Loop() {
		r.Term("content", "account", "user-1234567")
	}
}

// BenchmarkRotate wraps 200,000 keys anew.
func BenchmarkRotate(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	mustKeys(b, r, "content", names(200_000)...)
	n := int64(0)
	for b.Loop() {
		res, err := r.Rotate()
		if err != nil {
			b.Fatal(err)
		}
		n += res.Keys
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkMemory is what a subject of the month costs in memory, and one whose key
// is open besides.
func BenchmarkMemory(b *testing.B) {
	const n = 500_000
	for b.Loop() {
		dir := b.TempDir()
		r := open(b, dir, Options{OpenKeys: 2})
		subjects := names(n)
		mustKeys(b, r, "content", subjects...)
		mustClose(b, r)
		before := heap()
		r = open(b, dir, Options{OpenKeys: 2})
		mustKeys(b, r, "content", subjects[0])
		known := heap()
		mustClose(b, r)
		r = open(b, dir, Options{OpenKeys: 1 << 30})
		some := mustKeys(b, r, "content", subjects[:100_000]...)
		opened := heap()
		runtime.KeepAlive(some)
		b.ReportMetric(float64(known-before)/n, "B/subject")
		b.ReportMetric((float64(opened)-float64(known))/100_000, "B/open")
		runtime.KeepAlive(subjects)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func names(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprint("user-", i)
	}
	return s
}
