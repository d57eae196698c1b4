//go:build unix

package push

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
)

// durableServer is a redis-server of the test's own, which can be stopped and killed.
type durableServer struct {
	addr, dir string
	cmd       *exec.Cmd
}

func startDurableServer(t *testing.T) *durableServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("there is no redis-server here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &durableServer{addr: l.Addr().String(), dir: t.TempDir()}
	l.Close()
	r.start(t)
	t.Cleanup(func() { r.kill(t) })
	return r
}

// start starts it, on what it wrote before.
func (r *durableServer) start(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	r.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no")
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "redis-server answers", func() bool {
		c, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *durableServer) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (r *durableServer) kill(t *testing.T) {
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = r.cmd.Wait() // says that it was killed
	r.cmd = nil
}

// A real Redis is frozen, then killed, in the middle of pushes: each class gets
// what the policy promises, and afterwards every push that was allowed stands in
// its user's log once.
func TestRealRedisGoesAwayAndComesBack(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	for _, c := range []struct {
		name       string
		away, back func(t *testing.T, r *durableServer)
		kinds      []string
	}{
		{"frozen", func(t *testing.T, r *durableServer) { r.signal(t, syscall.SIGSTOP) },
			func(t *testing.T, r *durableServer) { r.signal(t, syscall.SIGCONT) }, []string{kindTimeout}},
		{"killed", func(t *testing.T, r *durableServer) { r.kill(t) },
			func(t *testing.T, r *durableServer) { r.start(t) }, []string{kindConnection, kindTimeout}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startDurableServer(t)
			config := configFor(t, r.addr)
			s, other := storeFor(t, config), storeFor(t, config)
			s.now = func() time.Time { return noon }
			f, b := newFallback(s)
			stop := runFallback(t, f)
			const users = 50
			var consents []*event.Event
			for u := range users {
				consents = append(consents, consentEvent(fmt.Sprint("u", u), 1, true))
			}
			if err := other.Apply(t.Context(), p, consents); err != nil {
				t.Fatal(err)
			}
			batch := func(round, from, to int) []Request {
				var reqs []Request
				for u := from; u < to; u++ {
					for _, class := range []string{"service", "marketing", "security"} {
						q := pushTo(fmt.Sprint("u", u), fmt.Sprint(class, round), class)
						reqs = append(reqs, q)
					}
				}
				return reqs
			}
			for _, d := range ask(t, f, p, noon, batch(0, 0, users/2)...) { // the other half stay strangers
				if d.Flags&Degraded != 0 || d.Reason == ReasonStore {
					t.Fatalf("%s %v while redis is there", word(d), d.Flags.Words())
				}
			}
			c.away(t, r)
			allowed := make(map[string]int)
			for round := 1; round <= 20; round++ {
				for i, d := range ask(t, f, p, noon, append(batch(round, 0, users), batch(round, 0, 5)...)...) {
					if d.Flags&Degraded == 0 {
						t.Fatalf("%s is not flagged", word(d))
					}
					stranger := i/3 >= users/2 && i/3 < users
					want := map[int]string{0: "allow/none", 1: "defer/store", 2: "allow/none"}[i%3]
					if i%3 == 0 && stranger && round > 15 { // half of thirty
						want = "defer/store"
					}
					if word(d) != want {
						t.Fatalf("round %d, push %d: %s, want %s", round, i, word(d), want)
					}
					if i%3 == 0 && d.Decision == Allow && !d.Replay {
						allowed[d.Pseudonym]++
					}
				}
			}
			c.back(t, r)
			await(t, "redis is back", func() bool { return f.Settled() == nil })
			await(t, "the end is on record", func() bool { o, _ := b.all(); return len(o) == 2 })
			stop()
			total := 0
			for u := range users {
				log := logOf(t, s, fmt.Sprint("u", u))
				marks := make(map[uint64]int)
				services := 0
				for _, e := range log.Entries {
					marks[e.Mark]++
					if e.Tag>>3 == 1 {
						services++
					}
				}
				before := map[bool]int{true: 1}[u < users/2]
				if n := allowed[s.names.user(fmt.Append(nil, "u", u))]; services != n+before || len(marks) != len(log.Entries) {
					t.Errorf("user %d: %d services in a log of %d entries and %d pushes; %d were allowed without redis, %d with it", u, services, len(log.Entries), len(marks), n, before)
				}
				total += services - before
			}
			outages, breaches := b.all()
			if len(breaches) != 0 || outages[1].Reapplied != total || total != users/2*20+users/2*15 {
				t.Errorf("on record %+v, %d breaches; %d entered", outages, len(breaches), total)
			}
			n := 0.
			for _, kind := range c.kinds {
				n += testutil.ToFloat64(s.metrics.errors[kind])
			}
			if n == 0 {
				t.Errorf("no error of kinds %v is counted", c.kinds)
			}
		})
	}
}

// Under a policy that promises replicas, Redis without one is no outage: an outage
// ends, and what was allowed is entered.
func TestOutageEndsWithoutReplicas(t *testing.T) {
	src := strings.Replace(outagePolicy, "\nchannels:", "\ndurability: replicated\nchannels:", 1)
	p, err := ParsePolicy("p.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	r := startDurableServer(t)
	s := newStore(t, r.addr)
	s.Enforce(p)
	s.now = func() time.Time { return noon }
	f, b := newFallback(s)
	r.kill(t)
	if d := ask(t, f, p, noon, pushTo("u", "1", "service"))[0]; word(d) != "allow/none" || d.Flags&Degraded == 0 {
		t.Fatalf("%s %v", word(d), d.Flags.Words())
	}
	r.start(t)
	stop := runFallback(t, f)
	await(t, "all is entered", func() bool { return f.Settled() == nil })
	await(t, "the end is on record", func() bool { o, _ := b.all(); return len(o) == 2 })
	stop()
	if n := len(logOf(t, s, "u").Entries); n != 1 {
		t.Errorf("%d entries in the log, want 1", n)
	}
}
