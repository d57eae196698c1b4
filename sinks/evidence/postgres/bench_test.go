package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// BenchmarkAppend compares a log in files with one in a database of this machine, in the
// same run: 1 KB bodies in the clear, 4 callers with so many records at a time.
//
//	go test -run '^$' -bench Append -benchtime 100000x ./sinks/evidence/postgres
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 50, 500} {
		b.Run(fmt.Sprintf("files/%d", batch), func(b *testing.B) {
			l, err := evidence.Open(evidence.Options{Dir: filepath.Join(b.TempDir(), "evidence"), Origin: origin})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			appendAll(b, l, batch, nil)
		})
		b.Run(fmt.Sprintf("postgresql/%d", batch), func(b *testing.B) {
			s := postgrestest.New(b)
			p := newPod(b, s)
			p.segment = 0
			l := p.start()
			appendAll(b, l, batch, s)
			b.ReportMetric(float64(s.Count(`select count(*) from ev_frame`))/b.Elapsed().Seconds(), "frames/s")
			p.stop()
		})
	}
}

func appendAll(b *testing.B, l *evidence.Log, batch int, s *postgrestest.Server) {
	const callers = 4
	body := bytes.Repeat([]byte("0123456789abcdef"), 64)
	var next atomic.Int64
	var wg sync.WaitGroup
	self, server := cpu(b), serverCPU(b, s)
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			recs := make([]evidence.Record, batch)
			for {
				first := int(next.Add(int64(batch))) - batch
				if first >= b.N {
					return
				}
				for i := range recs {
					recs[i] = evidence.Record{ID: id(first + i), Kind: evidence.KindHit, Class: evidence.ClassContent, Body: body}
				}
				if err := l.Append(context.Background(), recs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	n := float64(next.Load() - callers*int64(batch))
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((cpu(b)-self).Nanoseconds())/1000/n, "cpu-µs/record")
	if s != nil {
		b.ReportMetric(float64((serverCPU(b, s)-server).Nanoseconds())/1000/n, "server-cpu-µs/record")
	}
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU is what the processes of the server that run have used, to a hundredth of a second.
func serverCPU(b *testing.B, s *postgrestest.Server) (sum time.Duration) {
	if s == nil {
		return 0
	}
	for _, pid := range s.Processes() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, f := range fields[11:13] { // utime and stime
			ticks, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
