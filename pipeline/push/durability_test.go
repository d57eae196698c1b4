package push

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
)

// replicatedPolicy is a policy of the tests that promises durability: replicated.
func replicatedPolicy(t testing.TB, file string) *Policy {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePolicy(file, []byte(strings.ReplaceAll(string(src), "durability: primary\n", "")+"\ndurability: replicated\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// again asks again, as the pipeline does, until Redis takes it.
func again(t testing.TB, call func() error) {
	t.Helper()
	var last error
	if err := until("redis takes it", func() (bool, error) {
		last = call()
		return last == nil, nil
	}); err != nil {
		t.Fatal(err, last)
	}
}

// Under durability: replicated an allowed push that is not flagged unconfirmed
// outlives the primary, however it is lost: also when the link to the replica was
// cut before, and also when the push was asked about twice.
func TestConfirmedPushesOutliveThePrimary(t *testing.T) {
	// Clause: push-record
	p := replicatedPolicy(t, "testdata/plenty.good.yaml")
	primary := startServer(t)
	link := newProxy(t, primary.addr)
	replica := startReplica(t, link.Addr().String())
	config := configFor(t, primary.addr)

	type sent struct{ user, id string }
	var mu sync.Mutex
	confirmed, unconfirmed := make(map[sent]bool), make(map[sent]bool)
	var nConfirmed, nUnconfirmed atomic.Int64
	var wg sync.WaitGroup
	for w := range 2 {
		s := storeFor(t, config)
		wg.Go(func() {
			var batch, before []Request
			for n := 0; ; n++ {
				if n%3 < 2 { // each third batch repeats the one before the last
					before, batch = batch, nil
					for i := range 32 {
						batch = append(batch, pushTo(fmt.Sprint("u", (n*32+i*7)%200), fmt.Sprint(w, "-", n, "-", i), "service"))
					}
				} else {
					batch = before
				}
				got, err := s.Decide(context.Background(), p, noon, batch)
				if err != nil {
					return // the primary is dead
				}
				mu.Lock()
				for i, d := range got {
					push := sent{string(batch[i].User), string(batch[i].ID)}
					switch {
					case d.Decision != Allow:
					case d.Flags&Unconfirmed == 0:
						confirmed[push] = true
						nConfirmed.Add(1)
					default:
						unconfirmed[push] = true
						nUnconfirmed.Add(1)
					}
				}
				mu.Unlock()
			}
		})
	}
	await(t, "pushes are confirmed", func() bool { return nConfirmed.Load() > 500 })
	link.silent.Store(true)
	seen := nUnconfirmed.Load()
	await(t, "pushes are not confirmed", func() bool { return nUnconfirmed.Load() > seen+200 })
	primary.signal(t, syscall.SIGKILL)
	wg.Wait()
	replica.do(t, "REPLICAOF", "NO", "ONE")

	config.Redis.Addrs = []string{replica.addr}
	promoted := storeFor(t, config)
	logs := make(map[string]SendLog)
	has := func(push sent) bool {
		l, ok := logs[push.user]
		if !ok {
			l = logOf(t, promoted, push.user)
			logs[push.user] = l
		}
		_, allowed := l.find(promoted.names.push([]byte(push.id)), tagOf(1, 0))
		return allowed
	}
	for push := range confirmed {
		if !has(push) {
			t.Errorf("push %s of %s was confirmed, and is lost", push.id, push.user)
		}
	}
	lost := 0
	for push := range unconfirmed {
		if !confirmed[push] && !has(push) {
			lost++
		}
	}
	if lost == 0 {
		t.Error("nothing that was not confirmed is lost either; the test shows nothing")
	}
	t.Logf("%d pushes confirmed, none of them lost; %d not confirmed, %d of them lost", len(confirmed), len(unconfirmed), lost)
}

// What is flagged and counted as unconfirmed is every counted push that was
// allowed without a replica, also one that had been allowed before; not one that
// nobody counts.
func TestUnconfirmedIsFlagged(t *testing.T) {
	p := replicatedPolicy(t, shippedPolicy)
	primary := startServer(t)
	link := newProxy(t, primary.addr)
	startReplica(t, link.Addr().String())
	s := newStore(t, primary.addr)
	s.Enforce(p)
	again(t, func() error { return s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}) })
	reqs := []Request{pushTo("u", "1", "service"), pushTo("u", "2", "marketing"), pushTo("u", "3", "security"), pushTo("v", "4", "marketing"), pushTo("u", "5", "marketing")}
	expect := func(want string) {
		t.Helper()
		var got []string
		again(t, func() error {
			decisions, err := s.Decide(t.Context(), p, noon, reqs)
			got = nil
			for _, d := range decisions {
				w := word(d)
				if d.Flags&Unconfirmed != 0 {
					w += "!"
				}
				got = append(got, w)
			}
			return err
		})
		if strings.Join(got, " ") != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	await(t, "the replica confirms", func() bool { // the link may be slow
		d := decide(t, s, p, noon, reqs[0])
		return d.Flags&Unconfirmed == 0
	})
	link.silent.Store(true)
	before := testutil.ToFloat64(s.metrics.unconfirmed)
	expect("allow/none! allow/none! allow/none deny/no-consent deny/cap")
	expect("allow/none! allow/none! allow/none deny/no-consent deny/cap")
	if n := testutil.ToFloat64(s.metrics.unconfirmed); n < before+4 {
		t.Errorf("weir_push_unconfirmed_total is %v, want 4 more than %v", n, before)
	}

	// Consent and refunds are not done while no replica has them, although the
	// primary has; also when they are tried again.
	withdrawal := []*event.Event{consentEvent("u", 2, false)}
	refund := []*event.Event{{Kind: event.Outcome, User: event.User{ID: []byte("u")}, Outcome: event.OutcomePart{PushID: []byte("1"), Result: []byte("cancelled")}}}
	for i := range 2 {
		for what, events := range map[string][]*event.Event{"withdrawal": withdrawal, "refund": refund} {
			if err := s.Apply(t.Context(), p, events); !errors.Is(err, errUnconfirmed) {
				t.Errorf("%s, time %d: %v, want it to say that no replica has confirmed it", what, i+1, err)
			}
		}
	}
	if n := testutil.ToFloat64(s.metrics.errors[kindUnconfirmed]); n < 4 {
		t.Errorf("weir_push_store_errors_total{kind=%q} is %v, want 4", kindUnconfirmed, n)
	}
	link.silent.Store(false)
	link.cut()
	for _, events := range [][]*event.Event{withdrawal, refund} {
		again(t, func() error { return s.Apply(t.Context(), p, events) })
	}
	expect("deny/cancelled deny/withdrawn allow/none deny/no-consent deny/withdrawn")
}

// Under durability: primary nobody waits for a replica, and nothing is flagged.
func TestPrimaryWaitsForNoReplica(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startServer(t).addr)
	s.Enforce(p)
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
		t.Fatal(err)
	}
	if d := decide(t, s, p, noon, pushTo("u", "1", "marketing")); word(d) != "allow/none" || d.Flags != 0 {
		t.Errorf("%s with flags %s", word(d), d.Flags.Words())
	}
}
