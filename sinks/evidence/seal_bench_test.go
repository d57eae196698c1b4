//go:build unix

package evidence

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// BenchmarkSeal seals segments of 131,072 encrypted records of 1 KB with five
// terms. One operation is one record. written/stored is what sealing writes for
// each byte that the records had in the segment; disk_bytes/record is what a record
// takes when it is sealed, body, leaf, index and all.
func BenchmarkSeal(b *testing.B) {
	const segment = defaultSegmentRecords
	dir := b.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.Options{Master: keys.Config{File: filepath.Join(dir, "master.key")}})
	if err != nil {
		b.Fatal(err)
	}
	defer ring.Close()
	var written atomic.Int64
	c := systemCalls()
	write := c.write
	c.write = func(f *os.File, p []byte, off int64) error {
		written.Add(int64(len(p)))
		return write(f, p, off)
	}
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, calls: c})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	body := body()
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	b.StopTimer()
	total, sealed, wrote := 0, int64(0), int64(0)
	cpu := time.Duration(0)
	for total < b.N {
		for range segment / 512 {
			recs := make([]Record, 512)
			for j := range recs {
				n := total
				total++
				recs[j] = Record{ID: randomID(), Kind: KindHit, Class: ClassContent, Body: body, Subject: fmt.Sprintf("user-%d", n%5000),
					Terms: []Term{{"event", fmt.Sprint(n)}, {"content", fmt.Sprint(n)}, {"account", fmt.Sprint(n % 5000)}, {"category", "gambling"}, {"rule", fmt.Sprint(n % 40)}}}
			}
			mustAppend(b, l, recs...)
		}
		l.stateMu.Lock()
		sealed += l.segSize
		l.stateMu.Unlock()
		written.Store(0)
		before := processTime(b)
		b.StartTimer()
		mustSeal(b, l)
		b.StopTimer()
		cpu += processTime(b) - before
		wrote += written.Load()
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(total), "cpu-us/record")
	b.ReportMetric(float64(wrote)/float64(sealed), "written/stored")
	size := int64(0)
	for _, name := range files(b, dir) {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		size += fi.Size()
	}
	b.ReportMetric(float64(size)/float64(total), "disk-bytes/record")
	b.ReportMetric(b.Elapsed().Seconds()*float64(b.N)/float64(total)/float64(b.N)*1e9, "ns/sealed")
}

func randomID() (id ID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

// BenchmarkLookUp finds the records of a person, and one record by its id, among
// 10,000,000 in 77 sealed segments. The segments and indexes are written directly,
// leaves and terms as they would be, without bodies and without a tree: a look-up
// reads neither. One operation is one look-up.
func BenchmarkLookUp(b *testing.B) {
	const total, people = 10_000_000, 500_000
	dir := b.TempDir()
	ids := directSegments(b, dir, total, people)
	r, err := OpenBodies(dir, "1")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if n, err := r.Size(); err != nil || n != total {
		b.Fatalf("%d records, %v", n, err)
	}
	measure := func(b *testing.B, one func() int) {
		var took []time.Duration
		found := 0
		for b.Loop() {
			start := time.Now()
			found += one()
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		b.ReportMetric(float64(found)/float64(len(took)), "found/op")
	}
	b.Run("subject", func(b *testing.B) {
		measure(b, func() int {
			found, err := r.ByTerm(personTerm(rand.IntN(people)))
			if err != nil || len(found) == 0 {
				b.Fatal(len(found), err)
			}
			return len(found)
		})
	})
	b.Run("id", func(b *testing.B) {
		measure(b, func() int {
			found, err := r.ByID(ids[rand.IntN(len(ids))])
			if err != nil || len(found) != 1 {
				b.Fatal(len(found), err)
			}
			return 1
		})
	})
	b.Run("record", func(b *testing.B) {
		measure(b, func() int {
			if _, err := r.Record(rand.Int64N(total)); err != nil {
				b.Fatal(err)
			}
			return 1
		})
	})
}

// personTerm is a term that is as evenly spread as a keyed hash.
func personTerm(n int) uint64 {
	x := uint64(n+1) * 0x9e3779b97f4a7c15
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	return x ^ x>>29
}

// directSegments writes stripped segments and their indexes. It returns some ids.
func directSegments(b *testing.B, dir string, total, people int) (ids []ID) {
	c := noSync()
	logDir := filepath.Join(dir, logsDir, "1")
	if err := os.MkdirAll(filepath.Join(logDir, segmentsDir), 0o700); err != nil {
		b.Fatal(err)
	}
	for first := 0; first < total; first += defaultSegmentRecords {
		w := indexWriter{first: int64(first)}
		var file []byte
		for i := first; i < min(total, first+defaultSegmentRecords); {
			start := len(file)
			file = append(file, make([]byte, frameHeader)...)
			at, n := int64(i), 0
			for ; n < 500 && i < min(total, first+defaultSegmentRecords); n++ {
				id := randomID()
				if i%1000 == 0 {
					ids = append(ids, id)
				}
				var l leaf
				l[0], l[1], l[2], l[3] = leafVersion, byte(KindHit), byte(ClassContent), flagEncrypted
				copy(l[leafID:], id[:])
				l.setNanos(int64(i) * 1e6)
				var terms []byte
				for _, t := range []uint64{rand.Uint64(), rand.Uint64(), personTerm(rand.IntN(people)), 42, uint64(i % 40)} {
					terms = binary.BigEndian.AppendUint64(terms, t)
				}
				w.add(&l, int64(len(file)), int64(bodyHeader+(i-first)*1200), terms)
				file = append(file, 0, 0, 0, 0)
				file = append(file, l[:]...)
				i++
			}
			finishFrame(file[start:], at, n)
		}
		if err := os.WriteFile(segmentPath(logDir, int64(first)), file, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := writeIndex(c, dir, "1", int64(first), w.bytes(int64(len(file)))); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}

// BenchmarkAppendWhileSealing is a closed loop of 4 callers with 500 records each,
// encrypted, without and with the sealer beside it.
func BenchmarkAppendWhileSealing(b *testing.B) {
	for _, seal := range []bool{false, true} {
		b.Run(fmt.Sprintf("seal=%v", seal), func(b *testing.B) {
			dir := b.TempDir()
			ring, err := keys.Open(filepath.Join(dir, "keys"), keys.Options{Master: keys.Config{File: filepath.Join(dir, "master.key")}})
			if err != nil {
				b.Fatal(err)
			}
			defer ring.Close()
			l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, Seal: seal})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			body := body()
			b.ResetTimer()
			before := processTime(b)
			each(4, (b.N+499)/500, func(i int) {
				recs := make([]Record, 500)
				for j := range recs {
					recs[j] = Record{ID: newID(i*500 + j), Kind: KindHit, Class: ClassContent, Body: body, Subject: fmt.Sprintf("user-%d", j)}
				}
				if err := l.Append(ctx, recs); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-us/record")
			l.stateMu.Lock()
			b.ReportMetric(float64(len(l.unsealed)), "unsealed")
			l.stateMu.Unlock()
			stop()
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}

// processTime is the processor time this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSealed opens and scrubs a log of 262,144 sealed, encrypted records of
// 1 KB. One operation is the whole log.
func BenchmarkSealed(b *testing.B) {
	const n = 2 * defaultSegmentRecords
	dir := b.TempDir()
	ring, err := keys.Open(filepath.Join(dir, "keys"), keys.Options{Master: keys.Config{File: filepath.Join(dir, "master.key")}})
	if err != nil {
		b.Fatal(err)
	}
	defer ring.Close()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, calls: noSync()})
	if err != nil {
		b.Fatal(err)
	}
	body := body()
	for i := range n / 512 {
		recs := make([]Record, 512)
		for j := range recs {
			recs[j] = Record{ID: randomID(), Kind: KindHit, Class: ClassContent, Body: body, Subject: fmt.Sprintf("user-%d", (i*512+j)%5000)}
		}
		mustAppend(b, l, recs...)
	}
	mustSeal(b, l)
	mustClose(b, l)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			mustClose(b, open(b, dir))
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("scrub", func(b *testing.B) {
		l := open(b, dir)
		for b.Loop() {
			if rep, err := l.Scrub(b.Context()); err != nil || len(rep.Damaged) > 0 {
				b.Fatal(rep, err)
			}
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkFlagged is the evidence of posts by people who are new, 64 at a time: in clear, encrypted, and sealed
// beside that in segments of 2,048 and of the size that ships. One operation is one record; cpu-us/record is that of
// the process, sealing and all.
func BenchmarkFlagged(b *testing.B) {
	for _, c := range []struct {
		name             string
		encrypted, seal  bool
		segment, subject int64
	}{
		{"clear", false, false, 0, 1}, {"encrypted", true, false, 0, 1}, {"known", true, false, 0, 1000},
		{"sealed/segment=2048", true, true, 2048, 1}, {"sealed/segment=131072", true, true, 131_072, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			o := Options{Dir: dir, Origin: testOrigin, Seal: c.seal, SegmentRecords: c.segment}
			if c.encrypted {
				ring, err := keys.Open(filepath.Join(dir, "keys"), keys.Options{Master: keys.Config{File: filepath.Join(dir, "master.key")}})
				if err != nil {
					b.Fatal(err)
				}
				defer ring.Close()
				o.Keys = ring
			}
			l, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			go l.Run(ctx) //nolint:errcheck // Append fails if it does
			body := body()[:700]
			b.ReportAllocs()
			before := processTime(b)
			b.ResetTimer()
			n := 0
			for n < b.N {
				recs := make([]Record, 64)
				for j := range recs {
					person := fmt.Sprintf("u-%07d", n)
					if c.subject > 1 {
						person = fmt.Sprintf("u-%07d", int64(n)%c.subject)
					}
					event := fmt.Sprintf("post-%07d", n)
					n++
					recs[j] = Record{ID: randomID(), Kind: KindHit, Class: ClassContent, Body: body, Subject: person,
						Terms: []Term{{Name: "event", Value: event}, {Name: "account", Value: person},
							{Name: "category", Value: "gambling"}, {Name: "rule", Value: fmt.Sprint("rule-", n%40)}}}
				}
				if err := l.Append(ctx, recs); err != nil {
					b.Fatal(err)
				}
			}
			if c.seal {
				mustSeal(b, l)
			}
			b.StopTimer()
			b.ReportMetric(float64((processTime(b)-before).Nanoseconds())/1e3/float64(n), "cpu-us/record")
		})
	}
}
