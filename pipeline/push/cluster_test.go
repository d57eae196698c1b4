package push

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
)

// usersOf returns a user whose records are with each primary of a cluster.
func usersOf(t testing.TB, s *Store, m members) (names [clusterPrimaries]string) {
	t.Helper()
	ranges := m[0].slots(t.Context())
	found := 0
	for i := 0; found < clusterPrimaries && i < 10_000; i++ {
		name := fmt.Sprint("u", i)
		slot := int(m[0].admin.ClusterKeySlot(t.Context(), logKey(s.names.user([]byte(name)))).Val())
		for _, r := range ranges {
			for k := range clusterPrimaries {
				if slot >= r.Start && slot <= r.End && r.Nodes[0].Addr == m[k].addr && names[k] == "" {
					names[k] = name
					found++
				}
			}
		}
	}
	if found < clusterPrimaries {
		t.Fatal("found no user for each primary")
	}
	return names
}

// decideAgain decides until Redis takes it, as the pipeline does.
func decideAgain(t testing.TB, s *Store, p *Policy, reqs ...Request) (got []Decision) {
	t.Helper()
	again(t, func() (err error) {
		got, err = s.Decide(t.Context(), p, noon, reqs)
		return err
	})
	return got
}

// A script forgotten by one primary costs its users one more try and nobody else
// anything.
func TestOnePrimaryForgetsItsScript(t *testing.T) {
	m := sharedMembers(t)
	for _, p := range []*Policy{loadPolicy(t, "testdata/plenty.good.yaml"), replicatedPolicy(t, "testdata/plenty.good.yaml")} {
		s := newStore(t, m.addrs())
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		var reqs []Request
		users := usersOf(t, s, m)
		for _, u := range users {
			reqs = append(reqs, pushTo(u, "1", "service"), pushTo(u, "2", "service"))
		}
		m[1].do(t, "SCRIPT", "FLUSH")
		for i, d := range decideAgain(t, s, p, reqs...) {
			if word(d) != "allow/none" {
				t.Errorf("push %d: %s", i, word(d))
			}
		}
		for _, u := range users {
			if n := len(logOf(t, s, u).Entries); n != 2 {
				t.Errorf("%d entries in the log of %s, want 2", n, u)
			}
		}
		if loaded := m[1].admin.ScriptExists(t.Context(), s.script.Hash()).Val(); len(loaded) != 1 || !loaded[0] {
			t.Error("the primary that forgot the script does not have it again")
		}
	}
}

// While a slot moves from one primary to another its users are decided all the
// same, on whichever has them, and nothing is counted twice or forgotten.
func TestSlotMovesBetweenPrimaries(t *testing.T) {
	m := sharedMembers(t)
	for name, p := range map[string]*Policy{"primary": loadPolicy(t, shippedPolicy), "replicated": replicatedPolicy(t, shippedPolicy)} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, m.addrs())
			users := usersOf(t, s, m)
			user := users[0]
			consents := []*event.Event{consentEvent(user, 1, true), consentEvent(users[2], 1, true)}
			if err := s.Apply(t.Context(), p, consents); err != nil {
				t.Fatal(err)
			}
			serial := 0
			step := func(when string) {
				t.Helper()
				serial++
				// The others of the batch go on as ever.
				for i, d := range decideAgain(t, s, p, pushTo(user, fmt.Sprint(serial), "service"), pushTo(users[1], fmt.Sprint(serial), "service")) {
					if word(d) != "allow/none" {
						t.Errorf("%s: push %d: %s", when, i, word(d))
					}
				}
				if n := len(logOf(t, s, user).Entries); n != serial {
					t.Errorf("%s: %d entries in the log, want %d", when, n, serial)
				}
				if d := decideAgain(t, s, p, pushTo(user, fmt.Sprint(serial), "service")); !d[0].Replay {
					t.Errorf("%s: a push that came again was not known", when)
				}
			}
			pseudonym := s.names.user([]byte(user))
			slot := m[0].admin.ClusterKeySlot(t.Context(), logKey(pseudonym)).Val()
			move := func(from, to *redisServer, keys ...any) {
				host, port := to.hostPort()
				from.do(t, append([]any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}, keys...)...)
			}
			from, to := m[0], m[1]
			step("before")
			to.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", from.id(t.Context()))
			from.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id(t.Context()))
			step("while nothing has moved")

			// One record here and one there: nobody can serve the user for a moment.
			move(from, to, logKey(pseudonym))
			if d, err := s.Decide(t.Context(), p, noon, []Request{pushTo(user, "split", "service")}); err == nil {
				t.Errorf("%v while the user's records are apart; want an error", d)
			}
			move(from, to, profileKey(pseudonym))
			step("when all records have moved")
			for _, member := range []*redisServer{to, from, m[2]} {
				member.do(t, "CLUSTER", "SETSLOT", slot, "NODE", to.id(t.Context()))
			}
			step("when the slot has moved")

			// Back, for whoever comes after.
			from.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", to.id(t.Context()))
			to.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", from.id(t.Context()))
			move(to, from, logKey(pseudonym), profileKey(pseudonym))
			for _, member := range []*redisServer{from, to, m[2]} {
				member.do(t, "CLUSTER", "SETSLOT", slot, "NODE", from.id(t.Context()))
			}
			step("when the slot is back")
		})
	}
}

// When a primary of a cluster dies and its replica takes its place, the users of
// it are decided on what that has: everything that was confirmed.
func TestPrimaryOfAClusterFailsOver(t *testing.T) {
	m := startCluster(t, true)
	p := replicatedPolicy(t, "testdata/plenty.good.yaml")
	s := newStore(t, m.addrs())
	users := usersOf(t, s, m)
	confirmed := make(map[string]int)
	for i := range 20 {
		var reqs []Request
		for _, u := range users {
			reqs = append(reqs, pushTo(u, fmt.Sprint(i), "service"))
		}
		for k, d := range decideAgain(t, s, p, reqs...) {
			if word(d) != "allow/none" {
				t.Errorf("push %d of %s: %s", i, users[k], word(d))
			}
			if d.Flags&Unconfirmed == 0 {
				confirmed[users[k]]++
			}
		}
	}
	for _, u := range users {
		if confirmed[u] == 0 {
			t.Errorf("nothing of %s was confirmed", u)
		}
	}
	heir := m[clusterPrimaries]
	m[0].signal(t, syscall.SIGKILL)
	givesUp(t, s, p, []Request{pushTo(users[0], "x", "service"), pushTo(users[1], "x", "service")}, kindConnection)
	heir.do(t, "CLUSTER", "FAILOVER", "TAKEOVER")
	got := decideAgain(t, s, p, pushTo(users[0], "x", "service"), pushTo(users[1], "x", "service"), pushTo(users[2], "x", "service"))
	for k, d := range got {
		if word(d) != "allow/none" || d.LogSize < confirmed[users[k]] {
			t.Errorf("%s of %s on a log of %d, of which %d were confirmed", word(d), users[k], d.LogSize, confirmed[users[k]])
		}
	}
	// The heir has no replica: what it takes cannot be confirmed.
	if got[0].Flags&Unconfirmed == 0 {
		t.Error("a push on a primary without a replica was not flagged")
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("the policy in force promises nothing: %v", err)
	}
	s.Enforce(p)
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), heir.addr+" has no connected replica") {
		t.Errorf("check: %v, want it to say that %s has no replica", err, heir.addr)
	}
}

// givesUp makes sure that a batch gives up by itself, with an error of that kind.
func givesUp(t *testing.T, s *Store, p *Policy, reqs []Request, kind string) {
	t.Helper()
	// Far more than the 0.7 s it is bound to.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := testutil.ToFloat64(s.metrics.errors[kind])
	began := time.Now()
	d, err := s.Decide(ctx, p, noon, reqs)
	t.Logf("gave up after %v: %v", time.Since(began), err)
	if d != nil || err == nil || ctx.Err() != nil {
		t.Errorf("decided %v, error %v; want it to give up by itself", d, err)
	}
	if n := testutil.ToFloat64(s.metrics.errors[kind]); n != before+1 {
		t.Errorf("weir_push_store_errors_total{kind=%q} went from %v to %v", kind, before, n)
	}
}

// With one of three primaries frozen a batch gives up in bounded time and
// is repeated as a whole; users of the others are decided when asked alone. When
// it is back, all is as if nothing had been.
func TestOnePrimaryIsFrozen(t *testing.T) {
	p := loadPolicy(t, "testdata/plenty.good.yaml")
	m := sharedMembers(t)
	s := newStore(t, m.addrs())
	users := usersOf(t, s, m)
	var reqs []Request
	for _, u := range users {
		reqs = append(reqs, pushTo(u, "1", "service"))
	}
	decideAgain(t, s, p, pushTo(users[0], "0", "service"), pushTo(users[1], "0", "service"), pushTo(users[2], "0", "service"))
	m[2].signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(m[2].pid, syscall.SIGCONT) })
	givesUp(t, s, p, reqs, kindTimeout)
	for _, d := range decideAgain(t, s, p, reqs[:2]...) {
		if word(d) != "allow/none" {
			t.Errorf("a user of another primary: %s", word(d))
		}
	}
	m[2].signal(t, syscall.SIGCONT)
	for i, d := range decideAgain(t, s, p, reqs...) {
		if word(d) != "allow/none" || len(logOf(t, s, users[i]).Entries) != 2 {
			t.Errorf("after the frost: %s is %s with %d entries", users[i], word(d), len(logOf(t, s, users[i]).Entries))
		}
	}
}

// Replies that are lost on their way from a member of a cluster make the client
// ask again; what is found in the logs consumes nothing more.
func TestLostReplyOfAClusterConsumesOnce(t *testing.T) {
	p := loadPolicy(t, "testdata/plenty.good.yaml")
	m := sharedMembers(t)
	var proxies []*proxy
	for _, member := range m {
		x := newProxy(t, member.addr)
		_, port, _ := net.SplitHostPort(x.Addr().String())
		member.do(t, "CONFIG", "SET", "cluster-announce-port", port)
		proxies = append(proxies, x)
	}
	told := func(ctx context.Context, addr func(int) string) func() (bool, error) {
		return func() (bool, error) {
			known := 0
			for _, member := range m {
				for _, r := range member.slots(ctx) {
					for i := range m {
						if r.Nodes[0].Addr == addr(i) {
							known++
						}
					}
				}
			}
			return known == len(m)*len(m), nil
		}
	}
	if err := until("all members tell of the proxies", told(t.Context(), func(i int) string { return proxies[i].Addr().String() })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for whoever comes after
		ctx := context.Background()
		for _, member := range m {
			if err := member.admin.Do(ctx, "CONFIG", "SET", "cluster-announce-port", 0).Err(); err != nil {
				t.Error(err)
			}
		}
		if err := until("all members tell of themselves", told(ctx, func(i int) string { return m[i].addr })); err != nil {
			t.Error(err)
		}
	})
	s := newStore(t, proxies[0].Addr().String()+","+proxies[1].Addr().String())
	var users []string
	for i := range 40 {
		users = append(users, fmt.Sprint("u", i))
	}
	batch := func(id string) (reqs []Request) {
		for _, u := range users {
			reqs = append(reqs, pushTo(u, id, "service"))
		}
		return reqs
	}
	decideAgain(t, s, p, batch("0")...) // the script is there, and so are the connections
	for i := 1; i <= 6; i++ {
		proxies[i%3].drop.Store(true)
		replays := 0
		for _, d := range decideAgain(t, s, p, batch(fmt.Sprint(i))...) {
			if word(d) != "allow/none" {
				t.Fatalf("%s", word(d))
			}
			if d.Replay {
				replays++
			}
		}
		if proxies[i%3].drop.Load() || replays == 0 {
			t.Errorf("no reply was dropped (%d replays); the test shows nothing", replays)
		}
		for _, u := range users {
			if n := len(logOf(t, s, u).Entries); n != i+1 {
				t.Errorf("%d entries in the log of %s after %d pushes", n, u, i+1)
			}
		}
	}
}
