package push

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// BenchmarkRestore enters eight pushes for each of 50,000 users into logs that
// are lost, and then once more where nothing is missing. To run it:
//
//	WEIR_TEST_REDIS=host:port go test -run '^$' -bench Restore -benchtime 1x ./pipeline/push
func BenchmarkRestore(b *testing.B) {
	addr := os.Getenv("WEIR_TEST_REDIS")
	if addr == "" {
		b.Skip("WEIR_TEST_REDIS is not set; give it host:port of a redis-server")
	}
	const users, each = 50_000, 8
	p := loadPolicy(b, shippedPolicy)
	for _, state := range []string{"lost", "there"} {
		b.Run(state, func(b *testing.B) {
			s := newStore(b, addr)
			restore := func(suffix int) {
				r := s.RestoreLogs(p, noon, false)
				for i := range each {
					for u := range users {
						x := Sent{User: fmt.Appendf(nil, "user-%d-%d", suffix, u), ID: fmt.Appendf(nil, "push-%d", i), Class: []byte("service"), Channel: []byte("app"),
							At: noon.Add(time.Duration(i-each) * 20 * time.Hour)}
						if err := r.Add(b.Context(), &x); err != nil {
							b.Fatal(err)
						}
					}
				}
				if err := r.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if state == "there" {
				restore(0)
			}
			n := 0
			for b.Loop() {
				if state == "lost" {
					n++
				}
				restore(n)
			}
			perLog := b.Elapsed().Seconds() / float64(b.N) / users
			b.ReportMetric(1/perLog, "logs/s")
			b.ReportMetric(each/perLog, "pushes/s")
		})
	}
}
