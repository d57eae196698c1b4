package push

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
)

// sound is what INFO says of a Redis that nothing is wrong with.
func sound() map[string]string {
	return map[string]string{"server": "redis_version:7.0.15", "memory": "maxmemory_policy:noeviction",
		"replication": "role:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=1,state=online,offset=1,lag=0", "persistence": "aof_enabled:1"}
}

// Each thing that would make Redis unsafe to rely on is said in words, with what
// would be right; what is merely less safe than it could be is a warning.
func TestCheckSaysWhatIsWrongWithRedis(t *testing.T) {
	for _, c := range []struct {
		name            string
		info            map[string]string // instead of what is sound
		ahead           time.Duration
		replicated      bool
		accept          bool
		wants, warnings []string
		unsafe          float64
	}{
		{name: "all is well"},
		{name: "all is well with replicas", replicated: true},
		{name: "clock a little ahead", ahead: 20 * time.Second, warnings: []string{"has a clock 20 s ahead of ours; set both by a time service"}},
		{name: "evicts", info: map[string]string{"memory": "maxmemory_policy:allkeys-lru"}, unsafe: 1,
			wants: []string{"throws records away when memory is short (maxmemory-policy allkeys-lru)", "set maxmemory-policy noeviction"}},
		{name: "evicts, and may", info: map[string]string{"memory": "maxmemory_policy:allkeys-lru"}, unsafe: 1, accept: true,
			warnings: []string{`may throw records away when memory is short (maxmemory-policy "allkeys-lru")`, "push.redis.accept_eviction lets that pass, so no cap is certain here"}},
		{name: "does not say", info: map[string]string{"memory": ""}, unsafe: 1, wants: []string{"does not say whether it throws records away", "INFO memory must tell maxmemory_policy"}},
		{name: "nearly full", info: map[string]string{"memory": "maxmemory_policy:noeviction\r\nmaxmemory:104857600\r\nused_memory:99614720"},
			warnings: []string{"has used nine tenths of its memory (maxmemory 100 MiB): when it is full it refuses commits, and pushes wait; give it more"}},
		{name: "half full", info: map[string]string{"memory": "maxmemory_policy:noeviction\r\nmaxmemory:104857600\r\nused_memory:52428800"}},
		{name: "old", info: map[string]string{"server": "redis_version:6.0.16"},
			warnings: []string{"is of version 6.0.16, with which Weir has never been tried; use 7 or newer"}},
		{name: "a replica", info: map[string]string{"replication": "role:slave"}, wants: []string{"is a replica, which takes no writes; name the primary in push.redis.addrs"}},
		{name: "no replica", info: map[string]string{"replication": "role:master\r\nslave0:ip=127.0.0.1,port=1,state=wait_bgsave"}, replicated: true,
			wants: []string{"has no connected replica, but the policy promises durability: replicated; connect one (replicaof), or write durability: primary into the policy"}},
		{name: "no replica, and none needed", info: map[string]string{"replication": "role:master"}},
		{name: "clock ahead", ahead: 90 * time.Second, wants: []string{"has a clock 90 s ahead of ours, at most 30 s are safe: counted pushes wait"}},
		{name: "clock behind, and evicts", ahead: -45 * time.Second, info: map[string]string{"memory": "maxmemory_policy:volatile-ttl"}, unsafe: 1,
			wants: []string{"has a clock 45 s behind ours", "volatile-ttl"}},
		{name: "snapshots unknown", info: map[string]string{"persistence": "aof_enabled:0"}}, // the embedded one knows no CONFIG
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startRedis(t)
			info := sound()
			maps.Copy(info, c.info)
			answerInfo(m, info)
			m.SetTime(noon.Add(c.ahead))
			config := configFor(t, m.Addr())
			config.Redis.AcceptEviction = c.accept
			s := storeFor(t, config)
			s.now = func() time.Time { return noon }
			p := loadPolicy(t, shippedPolicy)
			if c.replicated {
				p = replicatedPolicy(t, shippedPolicy)
			}
			report, err := s.Inspect(t.Context(), p)
			if (err == nil) != (c.wants == nil) {
				t.Fatalf("check: %v", err)
			}
			for _, want := range c.wants {
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), m.Addr()) {
					t.Errorf("check does not say %q of %s:\n%v", want, m.Addr(), err)
				}
			}
			warnings := strings.Join(report.Warnings, "\n")
			if (warnings == "") != (c.warnings == nil) {
				t.Errorf("warnings: %s", warnings)
			}
			for _, want := range c.warnings {
				if !strings.Contains(warnings, want) || !strings.Contains(warnings, m.Addr()) {
					t.Errorf("no warning says %q of %s:\n%s", want, m.Addr(), warnings)
				}
			}
			if skew := testutil.ToFloat64(s.metrics.skew); skew != c.ahead.Seconds() {
				t.Errorf("weir_push_clock_skew_seconds is %v, want %v", skew, c.ahead.Seconds())
			}
			if unsafe := testutil.ToFloat64(s.metrics.eviction); unsafe != c.unsafe {
				t.Errorf("weir_push_redis_eviction_unsafe is %v, want %v", unsafe, c.unsafe)
			}
		})
	}
}

// What a Redis keeps on disk is told; one that keeps nothing is refused where the
// policy promises more, else warned of.
func TestCheckTellsWhatIsOnDisk(t *testing.T) {
	primary, replicated := loadPolicy(t, shippedPolicy), replicatedPolicy(t, shippedPolicy)
	s := startServer(t)
	startReplica(t, s.addr)
	store := newStore(t, s.addr)
	for _, c := range []struct {
		name, param, value, fact, warning, refusal string
	}{
		{"nothing", "save", "", "noeviction, nothing on disk, 1 replica, clock ",
			"keeps nothing on disk (appendonly no, no save points): after a restart every user has had no pushes and has agreed to none; set appendonly yes",
			"keeps nothing on disk (appendonly no, no save points), but the policy promises durability: replicated; a primary that is started again empty makes its replicas empty, too"},
		{"snapshots", "save", "3600 1", "snapshots (save 3600 1), no append-only file, 1 replica", "", ""},
		{"append-only", "appendonly", "yes", "append-only file, fsync everysec, 1 replica", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.do(t, "CONFIG", "SET", c.param, c.value)
			report, err := store.Inspect(t.Context(), primary)
			if err != nil || len(report.Facts) != 1 || !strings.Contains(report.Facts[0], c.fact) || !strings.HasPrefix(report.Facts[0], s.addr+": redis ") {
				t.Errorf("%v, %q, want it to tell %q", err, report.Facts, c.fact)
			}
			if warnings := strings.Join(report.Warnings, "\n"); !strings.Contains(warnings, c.warning) || (warnings == "") != (c.warning == "") {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
			_, err = store.Inspect(t.Context(), replicated)
			if (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%v, want %q", err, c.refusal)
			}
		})
	}
}

// While the clocks are too far apart counted pushes wait, others do not; what
// changes is logged once.
func TestClocksAreComparedWhileRunning(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	m.SetTime(noon)
	var log bytes.Buffer
	s, err := NewStore(Options{Config: configFor(t, m.Addr()), Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	expect := func(want string) {
		t.Helper()
		got, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", rand.Text(), "service"), pushTo("u", "2", "security"), pushTo("u", "3", "gossip")})
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, d := range got {
			words = append(words, strings.Join(append([]string{word(d)}, slices.DeleteFunc(d.Flags.Words(), func(w string) bool { return w == "zone-defaulted" })...), " "))
		}
		if strings.Join(words, ", ") != want {
			t.Errorf("%s, want %s", strings.Join(words, ", "), want)
		}
	}
	const well, off = "allow/none, allow/none, deny/unknown-class", "defer/store clock-off, allow/none, deny/unknown-class"
	var last []string
	for _, step := range []struct {
		ahead  time.Duration
		want   string
		logged string
	}{
		{0, well, ""},
		{3 * time.Second, well, "level=WARN msg=\"redis is less safe than it could be\""},
		{3 * time.Second, well, ""},
		{31 * time.Second, off, "level=ERROR msg=\"redis is not fit to rely on\""},
		{31 * time.Second, off, ""},
		{-31 * time.Second, off, "31 s behind ours"},
		{time.Second, well, "redis is well again"},
	} {
		log.Reset()
		m.SetTime(noon.Add(step.ahead))
		last = s.look(t.Context(), last)
		if (log.Len() == 0) != (step.logged == "") || !strings.Contains(log.String(), step.logged) {
			t.Errorf("%v ahead: logged %q, want %q", step.ahead, &log, step.logged)
		}
		expect(step.want)
	}
	// A Redis that does not answer says nothing about its clock.
	m.SetTime(noon.Add(time.Minute))
	last = s.look(t.Context(), last)
	m.SetError("LOADING Redis is loading the dataset in memory")
	s.look(t.Context(), last)
	m.SetError("")
	expect(off)
}

// A running store looks by itself.
func TestWatch(t *testing.T) {
	m := startRedis(t)
	m.SetTime(noon.Add(time.Minute))
	s := newStore(t, m.Addr())
	s.now = func() time.Time { return noon }
	s.checkEvery = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Watch(ctx) }()
	await(t, "the clocks are found to be apart", s.clockOff)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A Redis that wants a password says so, one that gets the right one works, and
// the password is in no message.
func TestLogin(t *testing.T) {
	m := startRedis(t)
	m.RequireUserAuth("weir", "correct horse")
	for _, c := range []struct{ name, user, password, want string }{
		{"none", "", "", "refuses the login"},
		{"wrong", "weir", "wrong horse", "refuses the login"},
		{"right", "weir", "correct horse", ""},
	} {
		config := configFor(t, m.Addr())
		config.Redis.Username = c.user
		if c.password != "" {
			config.Redis.PasswordFile = write(t, "password", c.password+"\n")
		}
		err := storeFor(t, config).Check(t.Context())
		if c.want == "" && err != nil {
			// The embedded Redis has its own clock and says what startRedis told it.
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "push.redis.username")) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the password is in the message: %v", c.name, err)
		}
	}
}

// Both the embedded Redis and a real one pass the check as they come.
func TestCheckPasses(t *testing.T) {
	eachRedis(t, func(t *testing.T, addr string) {
		if err := newStore(t, addr).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The rights that docs/operations.md names are enough for all the store does.
func TestFewRightsSuffice(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	for name, c := range map[string]struct {
		servers func(t testing.TB) members
		also    []string
	}{
		"one":     {func(t testing.TB) members { return members{startServer(t)} }, nil},
		"cluster": {sharedMembers, []string{"+cluster|slots", "+cluster|shards"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.servers(t)
			for _, s := range m {
				args := []any{"ACL", "SETUSER", "few", "on", ">horse", "~pg:*"}
				for _, r := range slices.Concat(rights, c.also) {
					args = append(args, r)
				}
				s.do(t, args...)
				t.Cleanup(func() {
					if err := s.admin.Do(context.Background(), "ACL", "DELUSER", "few").Err(); err != nil {
						t.Error(err)
					}
				})
			}
			config := configFor(t, m.addrs())
			config.Redis.Username, config.Redis.PasswordFile = "few", write(t, "password", "horse")
			s := storeFor(t, config)
			report, err := s.Inspect(t.Context(), p)
			if err != nil || len(report.Facts) != len(m) || !strings.Contains(report.Facts[0], "snapshots unknown") {
				t.Errorf("check: %v, %q", err, report.Facts)
			}
			for range 2 {
				if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
					t.Fatal(err)
				}
				if d := decide(t, s, replicatedPolicy(t, shippedPolicy), noon, pushTo("u", "1", "marketing")); word(d) != "allow/none" {
					t.Error(word(d))
				}
				for _, server := range m {
					server.do(t, "SCRIPT", "FLUSH")
				}
			}
		})
	}
}
