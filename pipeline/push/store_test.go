package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/weir-moderation/weir/pipeline/event"
)

// A store over Redis decides as the reference does, with redelivery inside and
// across batches, refunds, changes of consent, and scripts forgotten in between.
func TestStoreDecidesAsTheReference(t *testing.T) {
	p := loadPolicy(t, "testdata/model.good.yaml")
	eachRedis(t, func(t *testing.T, addr string) {
		for name, start := range modelStarts() {
			s := &stored{newStore(t, addr), t.Context()}
			if _, err := runModel(s, p, 1, 80, start); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Several pushes of one user in a batch are decided in their order, on one read
// and one commit.
func TestBatchIsDecidedInOrder(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true), consentEvent("v", 1, true)}); err != nil {
			t.Fatal(err)
		}
		reqs := []Request{pushTo("u", "1", "marketing"), pushTo("v", "1", "marketing"), pushTo("u", "2", "marketing"), pushTo("u", "1", "marketing"), pushTo("u", "3", "service")}
		got, err := s.Decide(t.Context(), p, noon, reqs)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, d := range got {
			words = append(words, word(d))
			if d.Replay {
				words = append(words, "replay")
			}
		}
		if want := "allow/none allow/none deny/cap allow/none replay allow/none"; strings.Join(words, " ") != want {
			t.Errorf("got %s, want %s", words, want)
		}
		if n := len(logOf(t, s, "u").Entries); n != 2 {
			t.Errorf("%d entries in the log, want 2", n)
		}
		if n := testutil.ToFloat64(s.metrics.replays); n != 1 {
			t.Errorf("weir_push_replays_total is %v, want 1", n)
		}
		ttl := s.client.TTL(t.Context(), logKey(s.names.user([]byte("u")))).Val()
		if ttl <= 7*24*time.Hour || ttl > p.retain {
			t.Errorf("the log expires in %v, want it to outlive the longest window of 7 days", ttl)
		}
	})
}

// A batch larger than what goes to Redis at once is decided as a whole.
func TestLargeBatch(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	var reqs []Request
	for i := range maxBatch + 100 {
		reqs = append(reqs, pushTo(fmt.Sprint("u", i), "1", "marketing"))
	}
	reqs = append(reqs, pushTo("u1", "1", "service"))
	got, err := s.Decide(t.Context(), p, noon, reqs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range got {
		if want := map[bool]string{true: "deny/no-consent", false: "allow/none"}[i < len(got)-1]; word(d) != want {
			t.Fatalf("push %d: %s, want %s", i, word(d), want)
		}
	}
}

// Many workers who share users and are given the same pushes again and again
// allow exactly as many as the cap says, and none of them twice.
func TestWorkersNeverExceedTheCap(t *testing.T) {
	// Clause: push-frequency
	p := loadPolicy(t, "testdata/model.good.yaml") // at most 4 in a quarter of an hour
	const workers, users, perUser, batches = 8, 12, 20, 12
	eachRedis(t, func(t *testing.T, addr string) {
		config := configFor(t, addr)
		var mu sync.Mutex
		fresh := make(map[string]int)
		ofUser := make(map[string]int)
		var wg sync.WaitGroup
		for w := range workers {
			s := storeFor(t, config)
			wg.Go(func() {
				rng := rand.New(rand.NewSource(int64(w)))
				for range batches {
					var reqs []Request
					for range 16 {
						u := rng.Intn(users)
						reqs = append(reqs, pushTo(fmt.Sprint("u", u), fmt.Sprint(u, "-", rng.Intn(perUser)), "service"))
					}
					got, err := s.Decide(t.Context(), p, noon, reqs)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for i, d := range got {
						if d.Decision == Allow && !d.Replay {
							fresh[string(reqs[i].ID)]++
							ofUser[string(reqs[i].User)]++
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for id, n := range fresh {
			if n != 1 {
				t.Errorf("push %s consumed %d times", id, n)
			}
		}
		for u := range users {
			if n := ofUser[fmt.Sprint("u", u)]; n != 4 {
				t.Errorf("user %d was allowed %d pushes, want exactly 4", u, n)
			}
		}
	})
}

// After a withdrawal is written no push commits any more, however many workers
// are in the middle of allowing one.
func TestNothingIsAllowedAfterWithdrawal(t *testing.T) {
	// Clause: push-withdraw
	p := loadPolicy(t, "testdata/roomy.good.yaml")
	eachRedis(t, func(t *testing.T, addr string) {
		config := configFor(t, addr)
		stores := []*Store{storeFor(t, config), storeFor(t, config), storeFor(t, config)}
		admin := storeFor(t, config)
		allowed := 0
		for trial := range 12 {
			user := fmt.Sprint("u", trial)
			if err := admin.Apply(t.Context(), p, []*event.Event{consentEvent(user, 1, true)}); err != nil {
				t.Fatal(err)
			}
			var withdrawn atomic.Bool
			var wg sync.WaitGroup
			begun := make(chan struct{}, len(stores)*40)
			for w, s := range stores {
				wg.Go(func() {
					for k := range 40 {
						before := withdrawn.Load()
						begun <- struct{}{}
						d, err := s.Decide(t.Context(), p, noon, []Request{pushTo(user, fmt.Sprint(w, "-", k), "marketing")})
						if err != nil {
							t.Error(err)
							return
						}
						if before && d[0].Reason != ReasonWithdrawn {
							t.Errorf("a push begun after the withdrawal: %s", word(d[0]))
						}
					}
				})
			}
			for range 1 + 4*trial { // somewhere in the middle
				<-begun
			}
			if err := admin.Apply(t.Context(), p, []*event.Event{consentEvent(user, 2, false)}); err != nil {
				t.Fatal(err)
			}
			withdrawn.Store(true)
			sent := len(logOf(t, admin, user).Entries)
			wg.Wait()
			if n := len(logOf(t, admin, user).Entries); n != sent {
				t.Errorf("%d pushes were allowed after the withdrawal was written", n-sent)
			}
			allowed += sent
		}
		if allowed == 0 {
			t.Error("nothing was allowed before the withdrawals either; the test shows nothing")
		}
	})
}

// A cancelled push gives back what it consumed, once, and stays cancelled.
func TestRefund(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
			t.Fatal(err)
		}
		expect := func(r Request, want string) {
			t.Helper()
			if d := decide(t, s, p, noon, r); word(d) != want {
				t.Errorf("%s is %s, want %s", r.ID, word(d), want)
			}
		}
		expect(pushTo("u", "1", "marketing"), "allow/none")
		expect(pushTo("u", "2", "marketing"), "deny/cap")
		key := logKey(s.names.user([]byte("u")))
		before := s.client.TTL(t.Context(), key).Val()
		for i, want := range []bool{true, false, false} {
			got, err := s.Refund(t.Context(), []byte("u"), []byte("1"))
			if err != nil || got != want {
				t.Errorf("refund %d: %v, %v; want %v", i, got, err, want)
			}
		}
		if after := s.client.TTL(t.Context(), key).Val(); after > before || after < before-time.Minute {
			t.Errorf("the log expires in %v after the refund, %v before", after, before)
		}
		expect(pushTo("u", "1", "marketing"), "deny/cancelled")
		expect(pushTo("u", "2", "marketing"), "allow/none")
		// The same by events, with one for a push nobody knows.
		outcome := func(id string) *event.Event {
			return &event.Event{Kind: event.Outcome, User: event.User{ID: []byte("u")}, Outcome: event.OutcomePart{PushID: []byte(id), Result: []byte("rejected")}}
		}
		if err := s.Apply(t.Context(), p, []*event.Event{outcome("2"), outcome("9"), outcome("2")}); err != nil {
			t.Fatal(err)
		}
		expect(pushTo("u", "3", "marketing"), "allow/none")
		if n := testutil.ToFloat64(s.metrics.refunds); n != 2 {
			t.Errorf("weir_push_refunds_total is %v, want 2", n)
		}
	})
}

// Only a newer state of a user replaces the known one, whatever the order and
// however often they come.
func TestOnlyNewerConsentApplies(t *testing.T) {
	// Clause: push-consent
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		for _, step := range []struct {
			versions []uint64 // even ones withdraw
			want     string
		}{
			{nil, "deny/no-consent"},
			{[]uint64{3}, "allow/none"},
			{[]uint64{2}, "allow/none"},
			{[]uint64{3, 4, 3}, "deny/withdrawn"},
			{[]uint64{4, 3}, "deny/withdrawn"},
			{[]uint64{6, 5}, "deny/withdrawn"},
			{[]uint64{7}, "allow/none"},
		} {
			var events []*event.Event
			for _, v := range step.versions {
				events = append(events, consentEvent("u", v, v%2 == 1))
			}
			for range 2 {
				if err := s.Apply(t.Context(), p, events); err != nil {
					t.Fatal(err)
				}
			}
			d := decide(t, s, p, noon, pushTo("u", "1", "content"))
			if word(d) != step.want {
				t.Errorf("after versions %d: %s, want %s", step.versions, word(d), step.want)
			}
		}
		if applied, stale := testutil.ToFloat64(s.metrics.profiles[true]), testutil.ToFloat64(s.metrics.profiles[false]); applied != 4 || stale != 16 {
			t.Errorf("%v states applied, %v stale; want 4 and 16", applied, stale)
		}
		reg := prometheus.NewRegistry()
		reg.MustRegister(s.metrics.withdrawals)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		// Version 6 withdrew nothing that 4 had not.
		if n := families[0].GetMetric()[0].GetHistogram().GetSampleCount(); n != 1 {
			t.Errorf("weir_push_withdrawal_seconds has seen %d withdrawals, want 1", n)
		}
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 0, true)}); err == nil {
			t.Error("a profile without a version was taken")
		}
	})
}

// A damaged record is never an error that stops a partition: it makes the user's
// pushes wait, and the next consent event mends the profile.
func TestDamagedRecordsMakePushesWait(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		name := s.names.user([]byte("u"))
		apply := func(version uint64) {
			if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", version, true)}); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(class, want string, flags Flags) {
			t.Helper()
			d := decide(t, s, p, noon, pushTo("u", "1", class))
			if word(d) != want || d.Flags&(ProfileUnreadable|LogUnreadable) != flags {
				t.Errorf("%s is %s with flags %s, want %s", class, word(d), d.Flags.Words(), want)
			}
			if d.Decision == Defer && !d.NotBefore.After(noon) {
				t.Errorf("%s is deferred to %v", class, d.NotBefore)
			}
		}
		apply(1)
		set := func(key, record string) {
			if err := s.client.Set(t.Context(), key, record, time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
		set(logKey(name), "not a log")
		expect("marketing", "defer/store", LogUnreadable)
		expect("service", "defer/store", LogUnreadable)
		expect("security", "allow/none", 0)
		if given, err := s.Refund(t.Context(), []byte("u"), []byte("1")); given || err != nil {
			t.Errorf("refund from a damaged log: %v, %v", given, err)
		}
		s.client.Del(t.Context(), logKey(name))
		set(profileKey(name), "short")
		expect("marketing", "defer/held", ProfileUnreadable)
		expect("service", "allow/none", ProfileUnreadable)
		expect("security", "allow/none", ProfileUnreadable)
		apply(1)
		expect("marketing", "allow/none", 0)
		for _, record := range []string{"profile", "log"} {
			if testutil.ToFloat64(s.metrics.damaged[record]) == 0 {
				t.Errorf("weir_push_damaged_records_total{record=%q} is 0", record)
			}
		}
	})
}

// What is written to Redis tells nothing about who a user is.
func TestRedisHoldsNoNames(t *testing.T) {
	// Clause: push-privacy
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("alice-0042", 1, true)}); err != nil {
		t.Fatal(err)
	}
	d := decide(t, s, p, noon, pushTo("alice-0042", "push-0001", "marketing"))
	dump := m.Dump()
	for _, word := range []string{"alice", "0042", "push-0001", "广告"} {
		if strings.Contains(dump, word) {
			t.Errorf("%q is in Redis:\n%s", word, dump)
		}
	}
	if !strings.Contains(dump, "pg:{"+d.Pseudonym+"}:q") || len(d.Pseudonym) != 16 || len(d.PseudonymKey) != 8 {
		t.Errorf("the decision names user %q under key %q; no such record in\n%s", d.Pseudonym, d.PseudonymKey, dump)
	}
	// Another key, other names.
	if other := newStore(t, m.Addr()); other.names.user([]byte("alice-0042")) == d.Pseudonym || other.names.id == d.PseudonymKey {
		t.Error("two keys give the same name")
	}
}

// A reply that is lost after the commit makes the client ask again; the push is
// found in the log and consumes nothing more.
func TestLostReplyConsumesOnce(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		if strings.Contains(addr, ",") {
			t.Skip("a cluster needs a proxy for each member: TestLostReplyOfAClusterConsumesOnce")
		}
		proxy := newProxy(t, addr)
		s := newStore(t, proxy.Addr().String())
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			id := fmt.Sprint("s", i)
			proxy.drop.Store(true)
			d := decide(t, s, p, noon, pushTo("u", id, "service"))
			if proxy.drop.Load() {
				t.Fatal("no reply was dropped; the test shows nothing")
			}
			if word(d) != "allow/none" || !d.Replay {
				t.Errorf("%s: %s, replay %v; want it allowed, and known as seen before", id, word(d), d.Replay)
			}
			if n := len(logOf(t, s, "u").Entries); n != i+1 {
				t.Fatalf("%d entries after %d pushes", n, i+1)
			}
		}
	})
}

// A Redis that takes connections and never answers, and one that is not there,
// give an error in bounded time, and nothing is decided.
func TestFrozenRedisGivesAnError(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	frozen, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, nobody reads
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { frozen.Close() }) // after the parallel tests below
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, c := range map[string]struct {
		addr, kind string
	}{
		"frozen": {frozen.Addr().String(), kindTimeout},
		"gone":   {gone.Addr().String(), kindConnection},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, c.addr)
			// Far more than the 0.7 s it is bound to; without a bound it takes 20 s.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began := time.Now()
			if d, err := s.Decide(ctx, p, noon, []Request{pushTo("u", "1", "service")}); err == nil || d != nil {
				t.Errorf("decided %v, error %v", d, err)
			}
			t.Logf("gave up after %v", time.Since(began))
			if err := s.Apply(ctx, p, []*event.Event{consentEvent("u", 1, true)}); err == nil {
				t.Error("consent was applied")
			}
			if err := s.Check(ctx); err == nil || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("check: %v, want it to say that redis does not answer", err)
			}
			if ctx.Err() != nil {
				t.Error("it did not give up by itself")
			}
			if n := testutil.ToFloat64(s.metrics.errors[c.kind]); n != 2 {
				t.Errorf("weir_push_store_errors_total{kind=%q} is %v, want 2", c.kind, n)
			}
		})
	}
}

// Where somebody keeps changing one user, only that user's counted pushes wait;
// everybody else of the batch is decided.
func TestConflictsOfOneUserHoldNobodyElse(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	f, _ := newFallback(s)
	key := logKey(s.names.user([]byte("u")))
	version, slow := uint64(0), time.Duration(0)
	m.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
		time.Sleep(slow) // as a Redis that has much to do
		if strings.HasPrefix(strings.ToUpper(cmd), "EVAL") && slices.Contains(args, key) {
			version++
			l := SendLog{Version: version}
			if err := m.Set(key, string(l.Record())); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	got := ask(t, f, p, noon, pushTo("v", "1", "service"), pushTo("u", "1", "service"), pushTo("u", "2", "security"), pushTo("u", "3", "marketing"), pushTo("w", "1", "service"))
	var words []string
	for _, d := range got {
		words = append(words, word(d))
		if d.Flags&Degraded != 0 || d.Pseudonym == "" {
			t.Errorf("%s: flags %v, pseudonym %q", word(d), d.Flags.Words(), d.Pseudonym)
		}
	}
	if got, want := strings.Join(words, " "), "allow/none defer/store allow/none deny/no-consent allow/none"; got != want {
		t.Errorf("decided %s, want %s", got, want)
	}
	if f.Settled() != nil || testutil.ToFloat64(s.metrics.errors[kindConflict]) != 1 {
		t.Error("it is taken for an outage, or not counted")
	}
	if n, k := len(logOf(t, s, "v").Entries), len(logOf(t, s, "w").Entries); n != 1 || k != 1 {
		t.Errorf("logs of %d and %d entries, want 1 each", n, k)
	}
	// The same where the time of the batch is over before the tries are.
	slow = 30 * time.Millisecond
	got = ask(t, f, p, noon, pushTo("v", "2", "service"), pushTo("u", "4", "service"))
	if word(got[0]) != "allow/none" || word(got[1]) != "defer/store" || f.Settled() != nil {
		t.Errorf("decided %s, %s, settled %v", word(got[0]), word(got[1]), f.Settled())
	}
}

// A commit that finds its user changed again and again gives up, and a caller
// who goes away is not kept.
func TestConflictsAreBounded(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	key := logKey(s.names.user([]byte("u")))
	version := uint64(0)
	meddle := func() {
		version++
		l := SendLog{Version: version}
		if err := s.client.Set(t.Context(), key, l.Record(), 0).Err(); err != nil {
			t.Error(err)
		}
	}
	tries := 0
	err := s.transact(t.Context(), []string{s.names.user([]byte("u"))}, func(int, string, string) update {
		tries++
		meddle()
		return update{key: key, record: []byte("lost")}
	})
	if !errors.Is(err, errConflicts) {
		t.Errorf("error %v after %d tries, want it to say that there were too many conflicts", err, tries)
	}
	if tries < 2 || tries > maxTries+1 {
		t.Errorf("%d tries, want at most %d", tries, maxTries+1)
	}
	if n := testutil.ToFloat64(s.metrics.conflicts); int(n) < tries-1 {
		t.Errorf("weir_push_store_conflicts_total is %v after %d tries", n, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Decide(ctx, p, noon, []Request{pushTo("u", "1", "service")}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want it to be the caller's own", err)
	}
}

// proxy stands before a Redis.
type proxy struct {
	net.Listener
	drop   atomic.Bool // the reply to the next commit, together with the connection
	silent atomic.Bool // nothing gets through any more

	mu    sync.Mutex
	conns []net.Conn
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func newProxy(t *testing.T, addr string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			var dropping atomic.Bool
			closeBoth := func() { client.Close(); server.Close() }
			wg.Go(func() {
				defer closeBoth()
				b := make([]byte, 64<<10)
				for {
					n, err := client.Read(b)
					if err != nil {
						return
					}
					if p.silent.Load() {
						continue
					}
					if bytes.Contains(bytes.ToLower(b[:n]), []byte("evalsha")) && p.drop.CompareAndSwap(true, false) {
						dropping.Store(true)
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				defer closeBoth()
				b := make([]byte, 64<<10)
				for {
					n, err := server.Read(b)
					if err != nil || dropping.Load() { // the commit has been made
						return
					}
					if p.silent.Load() {
						continue
					}
					if _, err := client.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		// Connections end when the store is closed, which was made after this.
		wg.Wait()
	})
	return p
}

// between runs something once, after a store has read and before it commits.
type between struct {
	writtenKeys
	do   func()
	once sync.Once
}

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" {
			b.once.Do(b.do)
		}
		return next(ctx, cmds)
	}
}

// Whatever changes between reading a user's records and committing makes the
// commit fail and the push be decided again on what is there then.
func TestCommitSeesWhatChangedSinceTheRead(t *testing.T) {
	// Clause: push-withdraw
	// Clause: push-frequency
	p := loadPolicy(t, shippedPolicy)
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, other *Store) error
		want      string
		conflicts float64
	}{
		"consent is withdrawn": {func(t *testing.T, other *Store) error {
			return other.Apply(t.Context(), p, []*event.Event{consentEvent("u", 2, false)})
		}, "deny/withdrawn", 1},
		"the last slot is taken": {func(t *testing.T, other *Store) error {
			_, err := other.Decide(t.Context(), p, noon, []Request{pushTo("u", "2", "content")})
			return err
		}, "deny/cap", 1},
		"the same push is allowed elsewhere": {func(t *testing.T, other *Store) error {
			_, err := other.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "marketing")})
			return err
		}, "allow/none", 1},
		"the log expires and is made again": {func(t *testing.T, other *Store) error {
			key := logKey(other.names.user([]byte("u")))
			if err := other.client.Del(t.Context(), key).Err(); err != nil {
				return err
			}
			_, err := other.Decide(t.Context(), p, noon, []Request{pushTo("u", "2", "service")})
			return err
		}, "allow/none", 1},
		"another user is served": {func(t *testing.T, other *Store) error {
			_, err := other.Decide(t.Context(), p, noon, []Request{pushTo("v", "1", "service")})
			return err
		}, "allow/none", 0},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, addr string) {
				config := configFor(t, addr)
				other, s := storeFor(t, config), storeFor(t, config)
				if err := other.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
					t.Fatal(err)
				}
				decide(t, s, p, noon, pushTo("u", "0", "service"))
				s.client.AddHook(&between{do: func() {
					if err := c.meanwhile(t, other); err != nil {
						t.Error(err)
					}
				}})
				if d := decide(t, s, p, noon, pushTo("u", "1", "marketing")); word(d) != c.want {
					t.Errorf("%s, want %s", word(d), c.want)
				}
				if n := testutil.ToFloat64(s.metrics.conflicts); n != c.conflicts {
					t.Errorf("weir_push_store_conflicts_total is %v, want %v", n, c.conflicts)
				}
			})
		})
	}
}

// An error of Redis is counted by its kind, and says in whose words it comes.
func TestErrorsOfRedis(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	for words, kind := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'.":         kindMemory,
		"READONLY You can't write against a read only replica.":           kindReply,
		"MISCONF Redis is configured to save RDB snapshots, but it can't": kindReply,
	} {
		m := startRedis(t)
		s := newStore(t, m.Addr())
		decide(t, s, p, noon, pushTo("u", "0", "service")) // connects
		m.SetError(words)
		_, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "service")})
		m.SetError("")
		if err == nil || !strings.Contains(err.Error(), "redis: "+words) {
			t.Errorf("%v, want it to say %q", err, words)
		}
		if n := testutil.ToFloat64(s.metrics.errors[kind]); n != 1 {
			t.Errorf("%s: weir_push_store_errors_total{kind=%q} is %v, want 1", words, kind, n)
		}
		if d := decide(t, s, p, noon, pushTo("u", "1", "service")); word(d) != "allow/none" {
			t.Errorf("afterwards: %s", word(d))
		}
	}
}

// When Redis has no memory left, and evicts nothing, commits are refused and leave
// nothing half written, while what writes nothing goes on.
func TestOutOfMemory(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	server := startServer(t, "--maxmemory-policy", "noeviction")
	s := newStore(t, server.addr)
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
		t.Fatal(err)
	}
	decide(t, s, p, noon, pushTo("u", "1", "service"))
	before := logOf(t, s, "u")
	server.do(t, "CONFIG", "SET", "maxmemory", 1) // less than it has
	_, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "2", "service"), pushTo("v", "2", "service")})
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("%v, want it to say OOM", err)
	}
	if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 2, false)}); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("consent: %v, want it to say OOM", err)
	}
	if n := testutil.ToFloat64(s.metrics.errors[kindMemory]); n != 2 {
		t.Errorf("weir_push_store_errors_total{kind=%q} is %v, want 2", kindMemory, n)
	}
	if diff := cmp.Diff(before, logOf(t, s, "u")); diff != "" {
		t.Errorf("the log has changed: -before +after\n%s", diff)
	}
	got, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "service"), pushTo("w", "3", "marketing"), pushTo("w", "4", "security")})
	if err != nil {
		t.Fatalf("what writes nothing: %v", err)
	}
	for i, want := range []string{"allow/none", "deny/no-consent", "allow/none"} {
		if word(got[i]) != want {
			t.Errorf("%s, want %s", word(got[i]), want)
		}
	}
	server.do(t, "CONFIG", "SET", "maxmemory", 0)
	if d := decide(t, s, p, noon, pushTo("u", "2", "service")); word(d) != "allow/none" || d.Replay {
		t.Errorf("with memory again: %s, replay %v", word(d), d.Replay)
	}
}

// Limits have their series from the start, each observed by how much of it is
// used; those of a policy that is no more in force are gone.
func TestLimitUtilisation(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := NewStore(Options{Config: configFor(t, startRedis(t).Addr()), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	series := func() map[string]string {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if h := m.GetHistogram(); f.GetName() == "weir_push_limit_utilisation" {
					got[m.GetLabel()[0].GetValue()] = fmt.Sprintf("%d times, %.2f in all", h.GetSampleCount(), h.GetSampleSum())
				}
			}
		}
		return got
	}
	shipped := loadPolicy(t, shippedPolicy)
	s.Enforce(shipped)
	const never = "0 times, 0.00 in all"
	if diff := cmp.Diff(map[string]string{"mkt-hour": never, "mkt-day": never, "mkt-week": never, "sms-2day": never, "svc-day": never, "vendor-cn-2026/app-day": never, limitUserDaily: never}, series()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := s.Apply(t.Context(), shipped, []*event.Event{consentEvent("u", 1, true)}); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"1", "2", "3"} { // the second and third are denied for the hour
		decide(t, s, shipped, noon, pushTo("u", id, "marketing"))
		decide(t, s, shipped, noon, pushTo("v", id, "marketing")) // nothing is asked about limits
		if i == 0 {
			decide(t, s, shipped, noon, pushTo("u", "1", "marketing")) // it counts once
		}
	}
	if diff := cmp.Diff(map[string]string{"mkt-hour": "3 times, 3.00 in all", "mkt-day": "3 times, 1.50 in all", "mkt-week": "3 times, 0.38 in all",
		"sms-2day": never, "svc-day": never, "vendor-cn-2026/app-day": "3 times, 1.50 in all", limitUserDaily: never}, series()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.Enforce(loadPolicy(t, "testdata/plenty.good.yaml"))
	if diff := cmp.Diff(map[string]string{"day": never, limitUserDaily: never}, series()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	decide(t, s, shipped, noon, pushTo("u", "4", "marketing")) // of a batch that began before
	if diff := cmp.Diff(map[string]string{"day": never, limitUserDaily: never}, series()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// How often a batch had to be tried and how long logs are can be seen.
func TestTriesAndEntriesAreObserved(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	addr := startRedis(t).Addr()
	config := configFor(t, addr)
	reg := prometheus.NewRegistry()
	s, err := NewStore(Options{Config: config, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other := storeFor(t, config)
	for _, store := range []*Store{s, other} {
		if err := store.Check(t.Context()); err != nil { // loads the script
			t.Fatal(err)
		}
	}
	decide(t, s, p, noon, pushTo("u", "1", "service"))
	s.client.AddHook(&between{do: func() { decide(t, other, p, noon, pushTo("u", "2", "service")) }})
	decide(t, s, p, noon, pushTo("u", "3", "service"))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			got[f.GetName()] = fmt.Sprint(h.GetSampleCount(), " ", h.GetSampleSum())
		}
	}
	for name, want := range map[string]string{
		"weir_push_store_tries": "2 3", // one, then two
		"weir_push_log_entries": "3 6", // of 1, 2 that came too late, and 3
	} {
		if got[name] != want {
			t.Errorf("%s has count and sum %s, want %s", name, got[name], want)
		}
	}
}
