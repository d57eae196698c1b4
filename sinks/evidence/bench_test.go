package evidence

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// body is about what a verdict on a post weighs.
func body() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 64) }

// each calls fn from so many callers at once, n times in all.
func each(callers, n int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				fn(i)
			}
		})
	}
	wg.Wait()
}

// BenchmarkAppend makes records of 1 KB durable, side by side with the plain way:
// a file, one write and one sync for each record. One operation is one record.
func BenchmarkAppend(b *testing.B) {
	for _, load := range []struct{ callers, records int }{{1, 1}, {64, 1}, {4, 500}} {
		name := fmt.Sprintf("callers=%d/records=%d", load.callers, load.records)
		b.Run(name+"/log", func(b *testing.B) {
			l, err := Open(Options{Dir: b.TempDir(), Origin: testOrigin})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			go l.Run(ctx) //nolint:errcheck // Append fails if it does
			body := body()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			each(load.callers, (b.N+load.records-1)/load.records, func(i int) {
				recs := make([]Record, load.records)
				for j := range recs {
					recs[j] = Record{ID: newID(i*load.records + j), Kind: KindHit, Class: ClassContent, Body: body}
				}
				if err := l.Append(ctx, recs); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
		b.Run(name+"/plain", func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			body := body()
			var mu sync.Mutex
			b.SetBytes(int64(len(body)))
			b.ResetTimer()
			each(load.callers, b.N, func(int) {
				mu.Lock()
				defer mu.Unlock()
				if _, err := f.Write(body); err != nil {
					b.Error(err)
				}
				if err := datasync(f); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// logOf makes a closed log of n records of 1 KB.
func logOf(b *testing.B, n int) string {
	dir := b.TempDir()
	l := open(b, dir)
	body := body()
	for i := 0; i < n; i += 500 {
		recs := make([]Record, 500)
		for j := range recs {
			recs[j] = Record{ID: newID(i + j), Kind: KindHit, Class: ClassContent, Body: body}
		}
		mustAppend(b, l, recs...)
	}
	mustClose(b, l)
	return dir
}

// BenchmarkVerify checks a log of 100,000 records of 1 KB, and opens it. One
// operation is the whole log.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	dir := logOf(b, n)
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r := verify(b, dir); !r.OK() {
				b.Fatal(r.Findings)
			}
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustClose(b, open(b, dir))
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
