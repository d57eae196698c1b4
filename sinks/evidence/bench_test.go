package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
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
				if err := disk.Datasync(f); err != nil {
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

var benchRecords = flag.Int("records", 100_000, "how many records BenchmarkVerifySealed checks")

// BenchmarkVerifySealed checks a log of encrypted records of 1 KB about 10,000 people
// that was sealed: without keys (each leaf, the tree, each body file by its SHA-256) and
// with them (each body by its commitment). One operation is the whole log.
func BenchmarkVerifySealed(b *testing.B) {
	n := *benchRecords
	dir := b.TempDir()
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer ring.Close()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, calls: noSync()})
	if err != nil {
		b.Fatal(err)
	}
	body := body()
	for i := 0; i < n; i += 500 {
		recs := make([]Record, min(500, n-i))
		for j := range recs {
			id := sha256.Sum256(fmt.Append(nil, i+j))
			recs[j] = Record{Kind: KindHit, Class: ClassContent, Body: body, Subject: fmt.Sprint((i + j) % 10_000), ID: ID(id[:16]), Terms: []Term{{"account", fmt.Sprint((i + j) % 10_000)}, {"event", fmt.Sprint(i + j)}}}
		}
		mustAppend(b, l, recs...)
		if i%100_000 == 0 {
			if err := l.checkpoint(); err != nil {
				b.Fatal(err)
			}
		}
	}
	mustSeal(b, l)
	mustClose(b, l)
	for name, ring := range map[string]*keys.Ring{"without keys": nil, "with keys": ring} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := Verify(dir, VerifyOptions{Keys: ring}); err != nil || !r.OK() {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
