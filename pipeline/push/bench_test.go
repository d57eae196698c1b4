package push

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/weir-moderation/weir/pipeline/event"
)

// benchPolicy never runs out: three windows over a class that needs consent.
const benchPolicy = `
policy: push
version: bench
default_zone: UTC
classes: {content: {consent: required, quiet: defer, count: true}}
channels: [app]
groups:
  default:
    quiet: "22:00-08:00"
    limits:
      - {id: hour, rolling: 1h, max: 120}
      - {id: day, days: 1, max: 120}
      - {id: week, rolling: 7d, max: 60}
`

func loadBenchPolicy(b *testing.B) *Policy {
	p, err := ParsePolicy("bench.yaml", []byte(benchPolicy))
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// logWith is a send log of n pushes of the last days.
func logWith(n int) *SendLog {
	l := &SendLog{Version: 1}
	for i := n; i > 0; i-- {
		l.Entries = append(l.Entries, Entry{At: uint32(noon.Unix()) - uint32(i*7000), Tag: 2 << 3, State: counted, Mark: uint64(i)})
	}
	return l
}

// BenchmarkDecide is the engine alone: records parsed, one push allowed, the
// record written.
func BenchmarkDecide(b *testing.B) {
	p := loadBenchPolicy(b)
	for _, n := range []int{8, 30} {
		for _, zone := range []string{"Asia/Shanghai", "Europe/London"} {
			b.Run(fmt.Sprintf("entries=%d/%s", n, zone), func(b *testing.B) {
				profile := string(agreeing(b, p, func(e *event.Event) { e.Consent.Zone = []byte(zone) }).Record())
				log := string(logWith(n).Record())
				r := pushTo("u", "1", "content")
				r.Mark = 1 << 40
				now := noon.Add(6 * time.Hour) // daylight in both
				b.ReportAllocs()
				for b.Loop() {
					profile, err1 := ParseProfile(profile)
					log, err2 := ParseSendLog(log)
					d, next := Decide(now, p, &profile, &log, &r)
					if err1 != nil || err2 != nil || d.Decision != Allow || len(next.Record()) == 0 {
						b.Fatal(word(d), err1, err2)
					}
				}
			})
		}
	}
}

// BenchmarkStore is 128 users with eight entries each in a batch, on the Redis
// WEIR_TEST_REDIS names. Beside the time per push it says what Redis's main
// thread spends on it. The baseline is what one would write without a second
// thought: INCR and EXPIRE of three windows in a pipeline, which knows no
// consent, counts what it denies, and counts a redelivered push again.
func BenchmarkStore(b *testing.B) {
	addr := os.Getenv("WEIR_TEST_REDIS")
	if addr == "" {
		b.Skip("WEIR_TEST_REDIS is not set; give it host:port of a redis-server")
	}
	const batch = 128
	p := loadBenchPolicy(b)
	setup := func(b *testing.B, granted bool) (*Store, []Request) {
		s := newStore(b, addr)
		var events []*event.Event
		var reqs []Request
		for i := range batch {
			user := fmt.Sprint("u", i)
			events = append(events, consentEvent(user, 1, granted))
			reqs = append(reqs, pushTo(user, "", "content"))
		}
		if err := s.Apply(b.Context(), p, events); err != nil {
			b.Fatal(err)
		}
		if err := s.Check(b.Context()); err != nil { // loads the script
			b.Fatal(err)
		}
		return s, reqs
	}
	run := func(b *testing.B, s *Store, reqs []Request, want Word, before func(int)) {
		spent := newRedisCPU(b, s.client)
		for i := 0; b.Loop(); i++ {
			before(i)
			for k := range reqs {
				reqs[k].ID = strconv.AppendInt(reqs[k].ID[:0], int64(i*batch+k), 10)
			}
			d, err := s.Decide(b.Context(), p, noon, reqs)
			if err != nil || d[0].Decision != want {
				b.Fatal(err, word(d[0]))
			}
		}
		spent.report(b, batch)
	}
	b.Run("allow", func(b *testing.B) {
		s, reqs := setup(b, true)
		record := logWith(8).Record()
		run(b, s, reqs, Allow, func(i int) {
			if i%8 != 0 { // eight to sixteen entries
				return
			}
			b.StopTimer()
			pipe := s.client.Pipeline()
			for k := range reqs {
				pipe.Set(b.Context(), logKey(s.names.user(reqs[k].User)), record, time.Hour)
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		})
	})
	b.Run("deny", func(b *testing.B) {
		s, reqs := setup(b, false)
		run(b, s, reqs, Deny, func(int) {})
	})
	b.Run("hot-user", func(b *testing.B) { // 512 pushes of one user
		s, reqs := setup(b, true)
		var hot []Request
		for range 512 {
			hot = append(hot, reqs[0])
		}
		for k := range hot {
			hot[k].ID = nil
		}
		spent := newRedisCPU(b, s.client)
		for i := 0; b.Loop(); i++ {
			for k := range hot {
				hot[k].ID = strconv.AppendInt(hot[k].ID[:0], int64(i*len(hot)+k), 10)
			}
			if _, err := s.Decide(b.Context(), p, noon, hot); err != nil {
				b.Fatal(err)
			}
		}
		spent.report(b, len(hot))
	})
	b.Run("baseline-incr-expire", func(b *testing.B) {
		s, reqs := setup(b, true)
		prefix := fmt.Sprintf("bench:%x:", rand.Uint64())
		var keys []string
		for k := range reqs {
			for _, w := range []string{"hour", "day", "week"} {
				keys = append(keys, prefix+s.names.user(reqs[k].User)+":"+w)
			}
		}
		spent := newRedisCPU(b, s.client)
		for b.Loop() {
			pipe := s.client.Pipeline()
			for _, key := range keys {
				pipe.Incr(b.Context(), key)
				pipe.Expire(b.Context(), key, time.Hour)
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		spent.report(b, batch)
		s.client.Del(b.Context(), keys...)
	})
}

// redisCPU measures what Redis's main thread spends.
type redisCPU struct {
	client redis.UniversalClient
	began  float64
}

func newRedisCPU(b *testing.B, c redis.UniversalClient) *redisCPU {
	r := &redisCPU{client: c}
	r.began = r.now(b)
	return r
}

func (r *redisCPU) now(b *testing.B) float64 {
	info, err := r.client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, name := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		v, err := strconv.ParseFloat(strings.TrimSpace(field(info, name)), 64)
		if err != nil {
			b.Skip("redis does not say what its main thread spends")
		}
		sum += v
	}
	return sum
}

func (r *redisCPU) report(b *testing.B, batch int) {
	b.ReportMetric((r.now(b)-r.began)*1e6/float64(b.N*batch), "redis-us/push")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "us/push")
}
