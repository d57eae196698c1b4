package push

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/weir-moderation/weir/pipeline/event"
)

// booked remembers what a fallback put on record.
type booked struct {
	mu       sync.Mutex
	outages  []Outage
	breaches []Breach
	err      error
}

func (b *booked) record(_ context.Context, o Outage, breaches []Breach) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outages = append(b.outages, o)
	b.breaches = append(b.breaches, breaches...)
	return b.err
}

func (b *booked) all() ([]Outage, []Breach) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.outages), slices.Clone(b.breaches)
}

func newFallback(s *Store) (*Fallback, *booked) {
	b := new(booked)
	return NewFallback(FallbackOptions{Store: s, Record: b.record, Registerer: prometheus.NewRegistry()}), b
}

// runFallback runs f until the function it returns is called.
func runFallback(t *testing.T, f *Fallback) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ended with %v", err)
		}
	}
}

func ask(t *testing.T, f *Fallback, p *Policy, now time.Time, reqs ...Request) []Decision {
	t.Helper()
	d, err := f.Decide(t.Context(), p, now, reqs)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pipeRedis knows two commands and lives in the test's process, so that time may
// be the test's own.
type pipeRedis struct {
	server *server.Server
	mu     sync.Mutex
	frozen chan struct{} // closed when it thaws; nil if it is not frozen
	dials  []time.Time   // while it was frozen
	values map[string]string
}

func (r *pipeRedis) dial(context.Context, string, string) (net.Conn, error) {
	r.mu.Lock()
	if r.frozen != nil {
		r.dials = append(r.dials, time.Now())
	}
	r.mu.Unlock()
	client, peer := net.Pipe()
	r.server.ServeConn(peer)
	return client, nil
}

func (r *pipeRedis) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = make(chan struct{})
}

func (r *pipeRedis) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = nil
}

// asked returns when somebody came while it was frozen, and forgets.
func (r *pipeRedis) asked() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.dials
	r.dials = nil
	return list
}

// newPipeStore returns a store over such a Redis.
func newPipeStore(t *testing.T) (*Store, *pipeRedis) {
	r := &pipeRedis{server: server.NewServerConn(), values: make(map[string]string)}
	r.server.SetPreHook(func(*server.Peer, string, ...string) bool {
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		return false
	})
	get := func(c *server.Peer, _ string, args []string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		c.WriteLen(len(args))
		for _, key := range args {
			if v, ok := r.values[key]; ok {
				c.WriteBulk(v)
			} else {
				c.WriteNull()
			}
		}
	}
	commit := func(c *server.Peer, _ string, args []string) { // commitScript by other means
		r.mu.Lock()
		defer r.mu.Unlock()
		keys, argv := args[2:5], args[5:]
		for i := range 2 {
			if version(r.values[keys[i]]) != argv[i] {
				c.WriteInt(i + 1)
				return
			}
		}
		r.values[keys[2]] = argv[2]
		c.WriteInt(0)
	}
	for name, f := range map[string]server.Cmd{"MGET": get, "EVALSHA": commit} {
		if err := r.server.Register(name, f); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewStore(Options{Config: configFor(t, "127.0.0.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	o := *s.client.(*redis.Client).Options()
	o.Dialer = r.dial
	s.client = redis.NewClient(&o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		r.server.Close()
	})
	return s, r
}

// The first batch that Redis does not answer takes at most 0.7 seconds, all others
// none; Redis is asked again after half a second and then ever less often; and
// only when all that was allowed is in the logs does the store decide again.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := loadPolicy(t, shippedPolicy)
		s, r := newPipeStore(t)
		f, b := newFallback(s)
		defer runFallback(t, f)()
		service := func(id string) Request {
			q := pushTo("u", id, "service")
			q.Time = time.Now()
			return q
		}
		if d := ask(t, f, p, time.Now(), service("1"))[0]; word(d) != "allow/none" || d.Flags&Degraded != 0 {
			t.Fatalf("with redis: %s %v", word(d), d.Flags.Words())
		}
		r.freeze()
		began := time.Now()
		d := ask(t, f, p, began, service("2"))[0]
		if took := time.Since(began); took > 700*time.Millisecond {
			t.Errorf("the first batch took %v", took)
		}
		if word(d) != "allow/none" || d.Flags&Degraded == 0 || d.LogSize != 1 {
			t.Errorf("without redis: %s %v on a log of %d", word(d), d.Flags.Words(), d.LogSize)
		}
		if f.Settled() == nil || testutil.ToFloat64(f.metrics.mode) != 1 {
			t.Error("it does not say that redis is away")
		}
		r.asked()
		began = time.Now()
		for i := range 100 {
			ask(t, f, p, time.Now(), service(fmt.Sprint("more", i%20)))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("a hundred batches more took %v", took)
		}
		if n := f.pending(); n != 21 {
			t.Errorf("%v pushes to be entered, want 21: what comes again counts once", n)
		}
		time.Sleep(40 * time.Second)
		// One try dials twice within its 0.7 s, and the next comes when the wait after
		// that is over.
		var waits []time.Duration
		last := began
		for _, at := range r.asked() {
			if wait := at.Sub(last); wait >= firstProbe {
				waits = append(waits, wait.Truncate(firstProbe))
			}
			last = at
		}
		want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}
		if len(waits) < 9 || !slices.Equal(waits[:4], want) || slices.ContainsFunc(waits[4:], func(d time.Duration) bool { return d != lastProbe }) {
			t.Errorf("redis was asked after waits of %v, want %v and then %v", waits, want, lastProbe)
		}

		r.thaw()
		back := time.Now()
		for f.Settled() != nil && time.Since(back) < 10*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(back); took > lastProbe+time.Second {
			t.Errorf("it took %v to notice that redis is back", took)
		}
		synctest.Wait()
		log, err := ParseSendLog(r.values[logKey(s.names.user([]byte("u")))])
		if err != nil || len(log.Entries) != 22 || f.pending() != 0 {
			t.Errorf("%d entries in the log (%v), %v pending; want 22 and none", len(log.Entries), err, f.pending())
		}
		outages, breaches := b.all()
		if len(outages) != 2 || len(breaches) != 0 || !outages[0].Until.IsZero() || outages[0].Error != kindTimeout ||
			outages[1].Until.Before(outages[1].From.Add(40*time.Second)) || outages[1].Reapplied != 21 {
			t.Errorf("on record %+v, %+v", outages, breaches)
		}
		if d := ask(t, f, p, time.Now(), service("2"))[0]; !d.Replay || d.Flags&Degraded != 0 || d.LogSize != 22 {
			t.Errorf("after it: %s %v, replay %v", word(d), d.Flags.Words(), d.Replay)
		}
		if n := testutil.ToFloat64(f.metrics.mode); n != 0 {
			t.Errorf("weir_push_store_mode is %v", n)
		}
	})
}

// Without any push it is noticed, too, that Redis is away and that it is back.
func TestOutageWithoutPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newPipeStore(t)
		f, b := newFallback(s)
		defer runFallback(t, f)()
		time.Sleep(time.Minute)
		if f.Settled() != nil {
			t.Fatal("redis is away from the start")
		}
		r.freeze()
		time.Sleep(lastProbe + time.Second)
		if f.Settled() == nil {
			t.Error("nobody noticed that redis is away")
		}
		r.thaw()
		time.Sleep(lastProbe + time.Second)
		if outages, _ := b.all(); f.Settled() != nil || len(outages) != 2 {
			t.Errorf("nobody noticed that redis is back: %+v", outages)
		}
	})
}

// A Redis that comes and goes is not asked ever again from the beginning.
func TestRedisThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := loadPolicy(t, shippedPolicy)
		s, r := newPipeStore(t)
		f, _ := newFallback(s)
		defer runFallback(t, f)()
		again := func(id string) (wait time.Duration) {
			r.freeze()
			ask(t, f, p, time.Now(), pushTo("u", id, "service"))
			r.thaw()
			began := time.Now()
			for f.Settled() != nil {
				time.Sleep(10 * time.Millisecond)
			}
			return time.Since(began).Truncate(100 * time.Millisecond)
		}
		for i, want := range []time.Duration{firstProbe, 2 * firstProbe, 4 * firstProbe} {
			if got := again(fmt.Sprint(i)); got != want {
				t.Errorf("outage %d: redis was found back after %v, want %v", i, got, want)
			}
		}
		time.Sleep(calm + time.Second)
		if got := again("later"); got != firstProbe {
			t.Errorf("after a while: redis was found back after %v, want %v", got, firstProbe)
		}
	})
}

// When an outage cannot be put on record, Run ends: nobody could find afterwards
// what was allowed in it.
func TestOutageThatCannotBeRecordedEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newPipeStore(t)
		f, b := newFallback(s)
		b.err = errors.New("the evidence log is broken")
		r.freeze()
		done := make(chan error, 1)
		go func() { done <- f.Run(t.Context()) }()
		if err := <-done; !errors.Is(err, b.err) {
			t.Errorf("run ended with %v", err)
		}
		r.thaw()
	})
}

// What says that Redis is away, and what does not.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{context.Canceled, false},
		{context.DeadlineExceeded, true},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{errConflicts, false},
		{answer("OOM command not allowed when used memory > 'maxmemory'."), true},
		{answer("LOADING Redis is loading the dataset in memory"), true},
		{answer("READONLY You can't write against a read only replica."), true},
		{answer("CLUSTERDOWN The cluster is down"), true},
		{answer("NOAUTH Authentication required."), true},
		{answer("ERR user_script:1: attempt to call field"), false},
		{answer("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
	} {
		if got := Away(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
		if c.err != nil && Away(fmt.Errorf("commit to redis: %w", c.err)) != c.want {
			t.Errorf("%v, wrapped, is something else", c.err)
		}
	}
}

// answer is an error that Redis gave as an answer.
type answer string

func (a answer) Error() string { return string(a) }
func (a answer) RedisError()   {}

// What is asked of a class that goes on locally while Redis is away keeps to its
// limits: of those who are remembered never more than the limit in all, of others
// never more than their share. It is compared with a count that knows no logs.
func TestLocalKeepsToTheLimits(t *testing.T) {
	// Clause: push-frequency
	const src = `
policy: push
version: v
default_zone: UTC
classes: {service: {consent: none, quiet: ignore, count: true, on_outage: local, local_ratio: %s}}
channels: [app]
groups: {default: {limits: [{id: hour, rolling: 1h, max: 5}, {id: day, days: 1, max: 9}]}}
`
	for _, c := range []struct {
		ratio     string
		hour, day int // of strangers
	}{{"0.5", 2, 4}, {"0.1", 0, 0}, {"1", 5, 9}, {"0.34", 1, 3}} {
		p, err := ParsePolicy("p.yaml", fmt.Appendf(nil, src, c.ratio))
		if err != nil {
			t.Fatal(err)
		}
		m := startRedis(t)
		config := configFor(t, m.Addr())
		s, other := storeFor(t, config), storeFor(t, config)
		f, _ := newFallback(s)
		rng := rand.New(rand.NewSource(1))
		at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		s.now = func() time.Time { return at }
		type sent struct {
			at time.Time
			id string
		}
		history := make(map[string][]sent)
		once := func(user, id string, d Decision) {
			seen := slices.ContainsFunc(history[user], func(x sent) bool { return x.id == id })
			if d.Decision == Allow && !seen {
				if d.Replay {
					t.Errorf("%s %s is a replay of nothing", user, id)
				}
				history[user] = append(history[user], sent{at, id})
			}
			if d.Decision == Allow && seen && !d.Replay {
				t.Errorf("%s %s consumed twice", user, id)
			}
		}
		next := func() (user, id string) {
			user = fmt.Sprint(map[bool]string{true: "warm", false: "cold"}[rng.Intn(2) == 0], rng.Intn(4))
			return user, fmt.Sprint(user, "-", rng.Intn(60))
		}
		for range 20 { // before: warm users here, cold ones through another instance, which uses up what they have
			at = at.Add(time.Duration(rng.Intn(300)) * time.Second)
			user, id := next()
			if strings.HasPrefix(user, "cold") {
				decide(t, other, p, at, pushTo(user, "elsewhere"+id, "service"))
				continue
			}
			once(user, id, ask(t, f, p, at, pushTo(user, id, "service"))[0])
		}
		m.SetError("LOADING")
		window := func(user string, from time.Time) (n int) {
			for _, x := range history[user] {
				if !x.at.Before(from) {
					n++
				}
			}
			return n
		}
		allowed := map[bool]int{}
		for range 600 {
			at = at.Add(time.Duration(rng.Intn(200)) * time.Second)
			user, id := next()
			d := ask(t, f, p, at, pushTo(user, id, "service"))[0]
			if d.Flags&Degraded == 0 {
				t.Fatalf("%s is not flagged", word(d))
			}
			once(user, id, d)
			cold := strings.HasPrefix(user, "cold")
			hour, day := 5, 9
			if cold {
				hour, day = c.hour, c.day
			}
			inHour, today := window(user, at.Add(-time.Hour+time.Second)), window(user, at.Truncate(24*time.Hour))
			if inHour > hour || today > day {
				t.Fatalf("ratio %s, %s: %d in the hour, %d today; want at most %d and %d", c.ratio, user, inHour, today, hour, day)
			}
			full := inHour == hour || today == day
			switch {
			case d.Decision == Allow:
				allowed[cold]++
			case !full:
				t.Fatalf("ratio %s, %s: %s with %d in the hour, %d today", c.ratio, user, word(d), inHour, today)
			case cold && word(d) != "defer/store", !cold && word(d) != "deny/cap":
				t.Fatalf("ratio %s, %s: %s", c.ratio, user, word(d))
			}
		}
		if allowed[false] == 0 || allowed[true] == 0 && c.hour > 0 {
			t.Errorf("ratio %s: allowed %v; the test shows nothing", c.ratio, allowed)
		}
		m.SetError("")
		stop := runFallback(t, f)
		await(t, "all is entered", func() bool { return f.Settled() == nil })
		stop()
		for user, list := range history {
			log := logOf(t, s, user)
			for _, x := range list[max(0, len(list)-3):] {
				n := 0
				for _, e := range log.Entries {
					if e.Mark == s.names.push([]byte(x.id)) {
						n++
					}
				}
				if n != 1 {
					t.Errorf("%s stands in the log of %s %d times", x.id, user, n)
				}
			}
		}
	}
}

// Two instances that each allow by what they remember exceed a limit; the one that
// comes last finds and books it, with cause and size.
func TestTwoInstancesExceedALimitAndBookIt(t *testing.T) {
	// Clause: push-breach
	p := loadPolicy(t, shippedPolicy) // 30 services a day
	m := startRedis(t)
	config := configFor(t, m.Addr())
	var stores [2]*Store
	var fallbacks [2]*Fallback
	var books [2]*booked
	for i := range stores {
		stores[i] = storeFor(t, config)
		stores[i].now = func() time.Time { return noon }
		fallbacks[i], books[i] = newFallback(stores[i])
		ask(t, fallbacks[i], p, noon.Add(-time.Hour), pushTo("u", fmt.Sprint("before", i), "service"))
	}
	ask(t, fallbacks[0], p, noon.Add(-time.Hour), pushTo("u", "before0", "service")) // it sees what the other allowed
	m.SetError("LOADING")
	for i, f := range fallbacks {
		allowed := 0
		for k := range 40 {
			if d := ask(t, f, p, noon, pushTo("u", fmt.Sprint(i, "-", k), "service"))[0]; d.Decision == Allow {
				allowed++
			}
		}
		if allowed != 28 {
			t.Errorf("instance %d allowed %d, want 28", i, allowed)
		}
	}
	m.SetError("")
	for i, f := range fallbacks {
		stop := runFallback(t, f)
		await(t, "all is entered", func() bool { return f.Settled() == nil })
		await(t, "the end is on record", func() bool { o, _ := books[i].all(); return len(o) == 2 })
		stop()
	}
	if _, b := books[0].all(); len(b) != 0 {
		t.Errorf("the first books %+v", b)
	}
	outages, b := books[1].all()
	if len(b) != 1 || b[0].Limit != "svc-day" || b[0].Count != 58 || b[0].Max != 30 || b[0].Size != 28 || b[0].Cause != CauseOutage ||
		!b[0].From.Equal(outages[0].From) || !b[0].To.Equal(outages[1].Until) || b[0].Pseudonym != stores[0].names.user([]byte("u")) || outages[1].Breaches != 1 {
		t.Errorf("the second books %+v in %+v", b, outages)
	}
	if n := testutil.ToFloat64(fallbacks[1].metrics.overcap[CauseOutage]); n != 1 {
		t.Errorf("weir_push_overcap_total is %v", n)
	}
	if n := len(logOf(t, stores[0], "u").Entries); n != 58 {
		t.Errorf("%d entries in the log, want 58", n)
	}
}

// Redis takes no writes because its memory is full: that is an outage, which does
// not end before it takes them again.
func TestOutOfMemoryIsAnOutage(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	f, _ := newFallback(s)
	defer runFallback(t, f)()
	var mu sync.Mutex
	full, refused := true, 0
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		if !full || !strings.EqualFold(cmd, "EVALSHA") {
			return false
		}
		refused++
		c.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
		return true
	})
	if d := ask(t, f, p, time.Now(), pushTo("u", "1", "service"))[0]; word(d) != "allow/none" || d.Flags&Degraded == 0 {
		t.Errorf("%s %v", word(d), d.Flags.Words())
	}
	await(t, "redis is asked again", func() bool { mu.Lock(); defer mu.Unlock(); return refused > 1+probes })
	if f.Settled() == nil {
		t.Error("it takes redis for well that takes no writes")
	}
	mu.Lock()
	full = false
	mu.Unlock()
	await(t, "redis takes writes", func() bool { return f.Settled() == nil })
	if n := len(logOf(t, s, "u").Entries); n != 1 {
		t.Errorf("%d entries in the log, want 1", n)
	}
}

// An error that is about what was asked does not open anything: the caller has it.
func TestOtherErrorsAreNoOutage(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	f, _ := newFallback(s)
	m.SetError("ERR something is wrong with what you ask")
	if d, err := f.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "security")}); err == nil || f.Settled() != nil {
		t.Errorf("decided %v, error %v, settled %v", d, err, f.Settled())
	}
	m.SetError("")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Decide(ctx, p, noon, []Request{pushTo("u", "1", "security")}); !errors.Is(err, context.Canceled) || f.Settled() != nil {
		t.Errorf("a caller who has gone: error %v, settled %v", err, f.Settled())
	}
}

// What is allowed locally is bounded; beyond that it is held.
func TestDebtsAreBounded(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	s.now = func() time.Time { return noon }
	f, _ := newFallback(s)
	m.SetError("LOADING")
	// A batch that came before it was known that Redis is away is decided after that:
	// an end of an outage on record covers what was decided before it.
	if d := ask(t, f, p, noon.Add(-time.Minute), pushTo("u", "first", "service"))[0]; !d.At.Equal(noon) {
		t.Errorf("decided at %v, before the outage began at %v", d.At, noon)
	}
	f.taken = maxDebts
	got := ask(t, f, p, noon, pushTo("v", "1", "service"), pushTo("u", "first", "service"), pushTo("v", "2", "security"))
	if word(got[0]) != "defer/store" || word(got[2]) != "allow/none" {
		t.Errorf("decided %s, %s; want the one held and the other not", word(got[0]), word(got[2]))
	}
}

// A process that comes after one that died in an outage enters what the evidence
// says was allowed, and puts the end of the outage on record.
func TestResume(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	s.now = func() time.Time { return noon.Add(time.Hour) }
	f, b := newFallback(s)
	list := []Allowed{allowedAt("u", "1", "service", noon), allowedAt("u", "1", "service", noon.Add(time.Second)), allowedAt("u", "2", "security", noon)}
	for i := range 31 {
		list = append(list, allowedAt("v", fmt.Sprint(i), "service", noon))
	}
	m.SetError("LOADING")
	if _, err := f.Resume(t.Context(), p, Outage{From: noon}, list); err == nil {
		t.Error("no error while redis is away")
	}
	m.SetError("")
	for i, want := range []int{32, 0} {
		o, err := f.Resume(t.Context(), p, Outage{From: noon.Add(-time.Minute)}, list)
		if err != nil || o.Reapplied != want || o.Breaches != 1 || !o.Until.Equal(noon.Add(time.Hour)) {
			t.Errorf("call %d: %+v, %v; want %d entered and a breach", i, o, err, want)
		}
	}
	outages, breaches := b.all()
	if len(outages) != 2 || len(breaches) != 2 || breaches[0] != breaches[1] || breaches[0].Size != 1 || !breaches[0].From.Equal(noon.Add(-time.Minute)) {
		t.Errorf("on record %+v, %+v", outages, breaches)
	}
	if n := len(logOf(t, s, "u").Entries); n != 1 {
		t.Errorf("%d entries in the log, want 1", n)
	}
}

// Consent goes straight to Redis, and is in effect for whatever is decided after
// the outage; what was cancelled in the outage is taken back only when it is there.
func TestConsentAndOutcomesInAnOutage(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	s.now = func() time.Time { return noon }
	f, _ := newFallback(s)
	m.SetError("LOADING")
	ask(t, f, p, noon, pushTo("u", "1", "service"))
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); !Away(err) {
		t.Errorf("consent while redis is away: %v", err)
	}
	m.SetError("")
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil || f.Settled() == nil {
		t.Errorf("consent before all is settled: %v, settled %v", err, f.Settled())
	}
	stop := runFallback(t, f)
	await(t, "all is entered", func() bool { return f.Settled() == nil })
	stop()
	if ok, err := s.Refund(t.Context(), []byte("u"), []byte("1")); !ok || err != nil {
		t.Errorf("taken back %v, %v", ok, err)
	}
	if d := ask(t, f, p, noon, pushTo("u", "2", "marketing"))[0]; word(d) != "allow/none" {
		t.Errorf("with the consent: %s", word(d))
	}
}

// What is remembered of users is bounded in bytes; those seen last stay.
func TestRecentIsBounded(t *testing.T) {
	r := newRecent(10 * (recentOverhead + 2 + 100))
	record := strings.Repeat("x", 100)
	name := func(i int) string { return fmt.Sprintf("%02d", i) }
	for i := range 30 {
		r.put([]string{name(i)}, []userRecords{{log: record}})
		r.put([]string{name(0)}, []userRecords{{profile: record}})
	}
	for i, want := range map[int]bool{0: true, 29: true, 21: true, 20: false, 1: false} {
		if _, ok := r.get(name(i)); ok != want {
			t.Errorf("user %d is remembered: %v, want %v", i, ok, want)
		}
	}
	if got, _ := r.get(name(0)); got.profile != record || got.log != "" || len(r.users) != 10 || r.bytes > r.max {
		t.Errorf("%d users in %d bytes", len(r.users), r.bytes)
	}
	r.put([]string{"large"}, []userRecords{{log: strings.Repeat("x", r.max)}})
	if len(r.users) != 0 || r.bytes != 0 || r.order.Len() != 0 {
		t.Errorf("%d users in %d bytes after one that has no room", len(r.users), r.bytes)
	}
}

// What is remembered of a user is what Redis holds of them, whoever of this
// process changed it, and nothing of a commit nobody knows about.
func TestRecentIsWhatRedisHolds(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	newFallback(s)
	same := func(when string) {
		t.Helper()
		user := s.names.user([]byte("u"))
		got, _ := s.recent.get(user)
		profile, _ := m.Get(profileKey(user))
		log, _ := m.Get(logKey(user))
		if got.profile != profile || got.log != log {
			t.Errorf("%s: %q is remembered, redis holds %q", when, []string{got.profile, got.log}, []string{profile, log})
		}
	}
	for i, change := range []func() error{
		func() error {
			_, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "marketing")})
			return err
		},
		func() error { return s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}) },
		func() error {
			_, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "marketing")})
			return err
		},
		func() error { _, err := s.Refund(t.Context(), []byte("u"), []byte("1")); return err },
		func() error {
			_, err := s.Reapply(t.Context(), p, noon, []Allowed{allowedAt("u", "2", "service", noon)})
			return err
		},
		func() error { return s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 2, false)}) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		same(fmt.Sprint("after change ", i))
	}
	m.SetError("LOADING")
	if _, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "3", "service")}); err == nil {
		t.Fatal("decided")
	}
	m.SetError("")
	same("after a commit that failed")
}
