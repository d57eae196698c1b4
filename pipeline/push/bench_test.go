package push

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"

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

// bench is a store with users for benchmarks: each of the batches has users of its
// own, all with consent and eight entries in their logs.
type bench struct {
	*Store
	policy  *Policy // allows them more
	full    *Policy // does not: eight in a week are all
	batches [][]Request
	serial  int
}

const (
	benchBatch   = 128
	benchBatches = 50
	benchEntries = 8
)

func newBench(b *testing.B) *bench {
	policy := func(week string) *Policy {
		p, err := ParsePolicy("bench.yaml", []byte(strings.Replace(benchPolicy, "max: 60", "max: "+week, 1)))
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	x := &bench{Store: newStore(b, sharedServer(b)), policy: policy("60"), full: policy("8")}
	x.Enforce(x.policy)
	for i := range benchBatches {
		var events []*event.Event
		var batch []Request
		for k := range benchBatch {
			user := fmt.Sprint("u", i*benchBatch+k)
			events = append(events, consentEvent(user, 1, true))
			batch = append(batch, pushTo(user, "", "content"))
		}
		if err := x.Apply(b.Context(), x.policy, events); err != nil {
			b.Fatal(err)
		}
		x.batches = append(x.batches, batch)
	}
	if err := x.Check(b.Context()); err != nil { // loads the script
		b.Fatal(err)
	}
	x.reset(b)
	return x
}

// reset gives every user the same log again.
func (x *bench) reset(b *testing.B) {
	record := logWith(benchEntries).Record()
	for _, batch := range x.batches {
		pipe := x.client.Pipeline()
		for i := range batch {
			pipe.Set(b.Context(), logKey(x.names.user(batch[i].User)), record, time.Hour)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// decide decides a batch of new pushes, each of which must come to that.
func (x *bench) decide(b *testing.B, p *Policy, reqs []Request, want string) {
	for i := range reqs {
		x.serial++
		reqs[i].ID = strconv.AppendInt(reqs[i].ID[:0], int64(x.serial), 10)
	}
	got, err := x.Decide(b.Context(), p, noon, reqs)
	if err != nil || want != "" && word(got[0]) != want {
		b.Fatal(err, got)
	}
}

// cost is what one push costs.
type cost struct {
	redis, daemon float64 // us of CPU: of Redis's main thread, and of this process
	wall          float64 // us
}

// measure runs something that decides n pushes.
func (x *bench) measure(b *testing.B, n int, run func()) cost {
	redis, daemon, began := x.redisCPU(b), processCPU(b), time.Now()
	run()
	wall := time.Since(began)
	daemon = processCPU(b) - daemon
	per := 1e6 / float64(n)
	return cost{redis: (x.redisCPU(b) - redis) * per, daemon: daemon * per, wall: wall.Seconds() * per}
}

// redisCPU returns the seconds that Redis's main thread has worked.
func (x *bench) redisCPU(b *testing.B) float64 {
	info, err := x.client.Info(b.Context(), "cpu").Result()
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

// processCPU returns the seconds that this process has worked.
func processCPU(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// BenchmarkStore is the store over a redis-server, in batches of 128 users with
// eight entries each, and beside it what one would write without it: three calls
// of redis_rate for each push, which promise a rate and not a number in a window;
// and three INCR and EXPIRE in pipelines of 128, which know no consent, count what
// they deny, and count a redelivered push again.
//
// Each round runs all of them in turn, 6,400 pushes of each; what is reported is
// the median of the rounds, and under min and max the farthest of them. Take nine:
// go test -run '^$' -bench Store$ -benchtime 9x ./pipeline/push.
func BenchmarkStore(b *testing.B) {
	x := newBench(b)
	const n = benchBatch * benchBatches
	limiter := redis_rate.NewLimiter(x.client)
	limits := []redis_rate.Limit{redis_rate.PerHour(1 << 30), {Rate: 1 << 30, Burst: 1 << 30, Period: 24 * time.Hour}, {Rate: 1 << 30, Burst: 1 << 30, Period: 168 * time.Hour}}
	prefix := fmt.Sprintf("bench:%x:", rand.Uint64())
	var keys [][]string
	for _, batch := range x.batches[:4] {
		var list []string
		for i := range batch {
			for _, w := range []string{"hour", "day", "week"} {
				list = append(list, prefix+string(batch[i].User)+":"+w)
			}
		}
		keys = append(keys, list)
	}
	latency := make(map[string][]float64) // of batches, in ms
	timed := func(name string, batch func()) {
		began := time.Now()
		batch()
		latency[name] = append(latency[name], time.Since(began).Seconds()*1e3)
	}
	samples := make(map[string][]cost)
	hot := make([]Request, maxBatch)
	for i := range hot {
		hot[i] = pushTo(string(x.batches[0][0].User), "", "content")
	}
	for b.Loop() {
		x.reset(b)
		for _, kind := range []struct {
			name string
			n    int
			run  func()
		}{
			{"allow", n, func() {
				for _, batch := range x.batches {
					timed("allow", func() { x.decide(b, x.policy, batch, "allow/none") })
				}
			}},
			{"deny", n, func() {
				for _, batch := range x.batches {
					x.decide(b, x.full, batch, "deny/cap")
				}
			}},
			{"hot-user", 20 * len(hot), func() {
				for range 20 {
					x.decide(b, x.policy, hot, "")
				}
			}},
			{"redis_rate", len(keys) * benchBatch, func() {
				for _, list := range keys {
					for i, key := range list {
						if _, err := limiter.Allow(b.Context(), key, limits[i%3]); err != nil {
							b.Fatal(err)
						}
					}
				}
			}},
			{"incr-expire", n, func() {
				for i := range x.batches {
					pipe := x.client.Pipeline()
					for _, key := range keys[i%len(keys)] {
						pipe.Incr(b.Context(), "i:"+key)
						pipe.Expire(b.Context(), "i:"+key, time.Hour)
					}
					timed("incr-expire", func() {
						if _, err := pipe.Exec(b.Context()); err != nil {
							b.Fatal(err)
						}
					})
				}
			}},
		} {
			samples[kind.name] = append(samples[kind.name], x.measure(b, kind.n, kind.run))
		}
	}
	for name, list := range samples {
		report := func(unit string, of func(c cost) float64) {
			var v []float64
			for _, c := range list {
				v = append(v, of(c))
			}
			slices.Sort(v)
			b.ReportMetric(v[len(v)/2], unit+"/"+name)
			b.Logf("%s %s: %.2f, from %.2f to %.2f", name, unit, v[len(v)/2], v[0], v[len(v)-1])
		}
		report("redis-us", func(c cost) float64 { return c.redis })
		report("daemon-us", func(c cost) float64 { return c.daemon })
		report("us", func(c cost) float64 { return c.wall })
	}
	for name, list := range latency {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], "p50-ms/"+name)
		b.ReportMetric(list[len(list)*99/100], "p99-ms/"+name)
	}
	// redis_rate's keys and the counters expire by themselves.
	for _, list := range keys {
		for _, key := range list {
			x.client.Del(b.Context(), "rate:"+key, "i:"+key)
		}
	}
}

// BenchmarkMemory is what Redis takes for a user: 100,000 of them, as they stand
// there, on a server of their own. It is counted and not timed: -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	const users = 100_000
	s := startServer(b)
	used := func() float64 {
		v, err := strconv.ParseFloat(field(s.admin.Info(b.Context(), "memory").Val(), "used_memory"), 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	x := newStore(b, s.addr)
	p := loadBenchPolicy(b)
	profile := agreeing(b, p, func(*event.Event) {})
	for _, kind := range []struct {
		name   string
		record []byte
		key    func(string) string
		keep   time.Duration
	}{
		{"profile", profile.Record(), profileKey, 0},
		{"log-0", (&SendLog{}).Record(), logKey, p.retain},
		{"log-8", logWith(8).Record(), logKey, p.retain},
		{"log-30", logWith(30).Record(), logKey, p.retain},
		{"log-64", logWith(64).Record(), logKey, p.retain},
	} {
		b.Run(kind.name, func(b *testing.B) {
			for b.Loop() {
				s.do(b, "FLUSHALL")
				before := used()
				for from := 0; from < users; from += 1000 {
					pipe := s.admin.Pipeline()
					for i := range 1000 {
						pipe.Set(b.Context(), kind.key(x.names.user(strconv.AppendInt(nil, int64(from+i), 10))), kind.record, kind.keep)
					}
					if _, err := pipe.Exec(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((used()-before)/users, "bytes/user")
			}
		})
	}
}

// BenchmarkRemember is what it costs, per user, to remember a batch of 128 for the
// case that Redis goes away.
func BenchmarkRemember(b *testing.B) {
	r := newRecent(maxRecent)
	const batch = 128
	profile := strings.Repeat("p", 60)
	log := SendLog{Entries: make([]Entry, 8)}
	record := log.Record()
	users, updates := make([][]string, 2000), make([][]update, 2000)
	for i := range users {
		for k := range batch {
			users[i] = append(users[i], fmt.Sprintf("%08d%08d", i, k))
			updates[i] = append(updates[i], update{key: logKey(users[i][k]), record: record})
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		names := users[i%len(users)]
		change, committed := r.watch(names, func(k int, _, _ string) update { return updates[i%len(users)][k] })
		for k := range names {
			change(k, profile, "")
		}
		committed()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/user")
}
