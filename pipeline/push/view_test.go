package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/weir-moderation/weir/pipeline/event"
)

// asRun makes an embedded Redis one run of a server.
func asRun(m *miniredis.Miniredis, run string) *miniredis.Miniredis {
	m.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) != 1 {
			return false
		}
		c.WriteBulk(map[string]string{"server": "run_id:" + run, "replication": "role:master\r\nmaster_replid:of-" + run, "memory": "maxmemory_policy:noeviction"}[args[0]] + "\r\n")
		return true
	})
	return m
}

// viewing returns a store that trusts Redis only as a view of a topic.
func viewing(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := NewStore(Options{Config: c, Consent: []string{"consent"}, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rebuild rebuilds the view of what the topic holds.
func rebuild(t testing.TB, s *Store, p *Policy, topic ...*event.Event) {
	t.Helper()
	r, err := s.BeginRebuild(t.Context())
	if err != nil || r == nil {
		t.Fatalf("rebuild %v, %v", r, err)
	}
	if err := s.Restore(t.Context(), p, noon, consentAt(0, topic...)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Finish(t.Context()), r.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	if whole, err := s.IsWhole(t.Context()); !whole || err != nil {
		t.Fatalf("after a rebuild the view is whole: %v, %v", whole, err)
	}
	select { // what is being mended is no news
	case <-s.Doubts():
	default:
	}
}

func expectWords(t *testing.T, s *Store, p *Policy, user string, want ...string) {
	t.Helper()
	var got []string
	for _, class := range []string{"marketing", "service", "security"}[:len(want)] {
		got = append(got, word(decide(t, s, p, noon, pushTo(user, "once "+class, class))))
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("%s: %q, want %q", user, got, want)
	}
}

// switchboard stands at an address behind which servers come and go.
type switchboard struct {
	addr string
	l    net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
}

func newSwitchboard(t testing.TB, to string) *switchboard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &switchboard{addr: l.Addr().String(), l: l, to: to, conns: make(map[net.Conn]bool)}
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.switchTo("")
		b.wg.Wait()
	})
	return b
}

func (b *switchboard) serve(c net.Conn) {
	defer c.Close()
	b.mu.Lock()
	to := b.to
	b.conns[c] = true
	b.mu.Unlock()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	b.mu.Lock()
	gone := b.to != to
	b.conns[s] = true
	b.mu.Unlock()
	if gone {
		return
	}
	b.wg.Go(func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	})
	_, _ = io.Copy(c, s)
}

// switchTo puts another server behind the address and cuts all connections.
func (b *switchboard) switchTo(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = addr
	for c := range b.conns {
		_ = c.Close()
	}
	clear(b.conns)
}

// A Redis nobody has vouched for lets pushes of classes that need consent wait, the
// others go on; a rebuild of the view makes it trusted, for every process.
//
// Clause: push-consent
func TestNothingIsTrustedBeforeTheViewIsComplete(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := asRun(miniredis.RunT(t), "a")
	config := configFor(t, m.Addr())
	s, other := viewing(t, config), viewing(t, config)
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true)))
	for _, user := range []string{"u", "stranger"} {
		expectWords(t, s, p, user, "defer/held", "allow/none", "allow/none")
	}
	if whole, err := s.IsWhole(t.Context()); whole || err != nil {
		t.Errorf("whole: %v, %v", whole, err)
	}
	if got := testutil.ToFloat64(s.metrics.trusted); got != 0 {
		t.Errorf("weir_push_consent_view_trusted is %v, want 0", got)
	}
	select {
	case <-s.Doubts():
	default:
		t.Error("nobody is woken")
	}
	rebuild(t, s, p, consentEvent("u", 1, true))
	for _, s := range []*Store{s, other} {
		expectWords(t, s, p, "u", "allow/none", "allow/none", "allow/none")
		expectWords(t, s, p, "stranger", "deny/no-consent", "allow/none", "allow/none")
	}
	if got := testutil.ToFloat64(s.metrics.trusted); got != 1 {
		t.Errorf("weir_push_consent_view_trusted is %v, want 1", got)
	}
	// The view of other topics, or under another key, is another one.
	more, err := NewStore(Options{Config: config, Consent: []string{"consent", "more"}})
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	expectWords(t, more, p, "u", "defer/held")
	expectWords(t, viewing(t, configFor(t, m.Addr())), p, "u", "defer/held")
}

// A Redis that was flushed is found out by the very batch that would miss a profile.
func TestFlushedRedisIsNotTrusted(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := asRun(miniredis.RunT(t), "a")
	s := viewing(t, configFor(t, m.Addr()))
	rebuild(t, s, p, consentEvent("u", 2, false))
	expectWords(t, s, p, "u", "deny/withdrawn")
	m.FlushAll()
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true))) // a batch that is judged again
	expectWords(t, s, p, "u", "defer/held", "allow/none", "allow/none")
	select {
	case <-s.Doubts():
	default:
		t.Error("nobody is woken")
	}
	rebuild(t, s, p, consentEvent("u", 2, false))
	expectWords(t, s, p, "u", "deny/withdrawn")
}

// Another server that comes to the address, with a marker but without the last
// withdrawal, is found out before the first command goes to it, also when it comes
// between the reading and the writing of a batch: not one push is allowed.
//
// Clause: push-withdraw
func TestAnotherServerAtTheAddressAllowsNothing(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	for _, between := range []bool{false, true} {
		t.Run(fmt.Sprintf("between reading and writing %v", between), func(t *testing.T) {
			first, second := asRun(miniredis.RunT(t), "first"), asRun(miniredis.RunT(t), "second")
			board := newSwitchboard(t, first.Addr())
			s := viewing(t, configFor(t, board.addr))
			rebuild(t, s, p, consentEvent("u", 1, true))
			for _, key := range first.Keys() { // as replicated, or dumped, up to here
				value, err := first.Get(key)
				if err != nil {
					t.Fatal(err)
				}
				if err := second.Set(key, value); err != nil {
					t.Fatal(err)
				}
			}
			loaded := redis.NewClient(&redis.Options{Addr: second.Addr(), DisableIdentity: true})
			defer loaded.Close()
			if err := s.script.Load(t.Context(), loaded).Err(); err != nil {
				t.Fatal(err)
			}
			lose := func() {
				applyAt(t, s, p, noon, consentAt(1, consentEvent("u", 2, false)))
				board.switchTo(second.Addr())
			}
			if between {
				// The profile that is read is the newest; the commit then finds the same one.
				var once atomic.Bool
				s.client.AddHook(before{"evalsha", func() {
					if once.CompareAndSwap(false, true) {
						lose()
					}
				}})
			} else {
				lose()
			}
			expectWords(t, s, p, "u", "defer/held", "allow/none")
			if got := testutil.ToFloat64(s.metrics.identities); got != 1 {
				t.Errorf("weir_push_redis_identity_changes_total is %v, want 1", got)
			}
			// The commit that went to the other server has consumed, and nobody was told.
			if n, want := len(logOf(t, s, "u").Entries), map[bool]int{false: 1, true: 2}[between]; n != want {
				t.Errorf("%d entries in the log, want %d", n, want)
			}
			rebuild(t, s, p, consentEvent("u", 1, true), consentEvent("u", 2, false))
			expectWords(t, s, p, "u", "deny/withdrawn")
		})
	}
}

// A server behind the address that is never the same allows nothing, and the batch
// ends with an error that says what to look for.
func TestServersThatKeepChanging(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	servers := []*miniredis.Miniredis{asRun(miniredis.RunT(t), "0"), asRun(miniredis.RunT(t), "1")}
	board := newSwitchboard(t, servers[0].Addr())
	s := viewing(t, configFor(t, board.addr))
	rebuild(t, s, p, consentEvent("u", 1, true))
	n := 0
	s.client.AddHook(before{"mget", func() {
		n++
		board.switchTo(servers[n%2].Addr())
	}})
	if d, err := s.Decide(t.Context(), p, noon, []Request{pushTo("u", "1", "service")}); !errors.Is(err, errServers) {
		t.Errorf("%+v, %v; want that it cannot be decided", d, err)
	}
}

// before does something before each pipeline that begins with a command.
type before struct {
	command string
	do      func()
}

func (h before) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h before) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == h.command {
			h.do()
		}
		return next(ctx, cmds)
	}
}

// A rebuild during which Redis was flushed, restarted or taken over by another process
// sets no marker.
func TestRebuildThatLostSomethingSetsNoMarker(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	for name, lose := range map[string]func(t *testing.T, s *Store, m *miniredis.Miniredis){
		"flushed":   func(_ *testing.T, _ *Store, m *miniredis.Miniredis) { m.FlushAll() },
		"restarted": func(_ *testing.T, _ *Store, m *miniredis.Miniredis) { asRun(m, "b") },
		"another process": func(t *testing.T, s *Store, m *miniredis.Miniredis) {
			m.FastForward(leaseFor)
			if r, err := s.BeginRebuild(t.Context()); r == nil || err != nil {
				t.Errorf("the right to rebuild of a process that died: %v, %v", r, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := asRun(miniredis.RunT(t), "a")
			s := viewing(t, configFor(t, m.Addr()))
			r, err := s.BeginRebuild(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if again, err := s.BeginRebuild(t.Context()); again != nil || err != nil {
				t.Errorf("two rebuild at once: %v, %v", again, err)
			}
			if err := r.Renew(t.Context()); err != nil {
				t.Error(err)
			}
			lose(t, s, m)
			if err := r.Finish(t.Context()); !errors.Is(err, errRebuildAgain) {
				t.Errorf("finished with %v", err)
			}
			if whole, err := s.IsWhole(t.Context()); whole || err != nil {
				t.Errorf("whole: %v, %v", whole, err)
			}
			if err := r.End(t.Context()); err != nil {
				t.Error(err)
			}
			if name == "another process" {
				if err := r.Renew(t.Context()); err == nil {
					t.Error("the right of another process was renewed")
				}
				return
			}
			rebuild(t, s, p, consentEvent("u", 1, true))
		})
	}
}

// A withdrawal, or a tombstone, that is consumed while the view is rebuilt from what the
// topic held before is never undone by that.
//
// Clause: push-withdraw
func TestRebuildUndoesNothing(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := asRun(miniredis.RunT(t), "a")
	s := viewing(t, configFor(t, m.Addr()))
	r, err := s.BeginRebuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topic := consentAt(0, consentEvent("u", 1, true), consentEvent("v", 1, true))
	newer := consentAt(2, consentEvent("v", 2, false), tombstone(noon))
	for _, messages := range [][]Message{topic[:1], newer, topic} { // restored, consumed, restored
		if err := s.Restore(t.Context(), p, noon, messages); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Finish(t.Context()), r.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	expectWords(t, s, p, "u", "deny/no-consent")
	expectWords(t, s, p, "v", "deny/withdrawn")
}

// A Redis that does not say who it is is not trusted, and why is said.
func TestNamelessRedisIsNotTrusted(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := viewing(t, configFor(t, m.Addr()))
	expectWords(t, s, p, "u", "defer/held", "allow/none")
	if r, err := s.BeginRebuild(t.Context()); r != nil || err == nil || !strings.Contains(err.Error(), m.Addr()+" does not say who it is") {
		t.Errorf("rebuild %v, %v", r, err)
	}
	if keys := m.Keys(); strings.Contains(strings.Join(keys, " "), "lease") {
		t.Errorf("the right to rebuild was kept: %q", keys)
	}
}

// Where no consent is read there is nothing to trust.
func TestWithoutConsentThereIsNoView(t *testing.T) {
	m := startRedis(t)
	s := newStore(t, m.Addr())
	if whole, err := s.IsWhole(t.Context()); !whole || err != nil || testutil.ToFloat64(s.metrics.trusted) != 1 {
		t.Errorf("whole: %v, %v", whole, err)
	}
}

// While the view is in doubt a push of a class that needs consent is never denied for
// it and never allowed: it waits for a minute, or for the last second it may be sent.
// What was found out before anybody looked at consent stands.
func TestDoubtfulViewOnlyDefers(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	granted, err := ProfileFrom(p, consentEvent("u", 3, true))
	if err != nil {
		t.Fatal(err)
	}
	withdrawn, err := ProfileFrom(p, consentEvent("u", 4, false))
	if err != nil {
		t.Fatal(err)
	}
	for _, profile := range []Profile{{DailyMax: NoDailyMax}, granted, withdrawn} {
		profile.Doubtful = true
		for _, c := range []struct {
			class   string
			expires time.Duration
			want    string
			wait    time.Duration
		}{
			{"marketing", time.Hour, "defer/held", time.Minute},
			{"content", 20 * time.Second, "defer/held", 20 * time.Second},
			{"content", 0, "defer/held", 0},
			{"content", -time.Second, "deny/expired", 0},
			{"service", time.Hour, "allow/none", 0},
			{"security", time.Hour, "allow/none", 0},
		} {
			r := pushTo("u", "1", c.class)
			r.Expires = noon.Add(c.expires)
			d, _ := Decide(noon, p, &profile, nil, &r)
			if word(d) != c.want {
				t.Errorf("%s until %v: %s, want %s", c.class, c.expires, word(d), c.want)
			}
			if d.Decision == Defer && (d.NotBefore.Sub(noon) != c.wait || d.Consent.State != ConsentUnknown) {
				t.Errorf("%s until %v: waits %v, want %v; consent %s", c.class, c.expires, d.NotBefore.Sub(noon), c.wait, d.Consent.State)
			}
		}
	}
}

// ownRedis is a redis-server of the test's own that can be killed and started again.
type ownRedis struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd
}

// startOwnRedis starts a redis-server on a free port of this machine.
func startOwnRedis(t testing.TB, args ...string) *ownRedis {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server on this machine")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := &ownRedis{t: t, addr: addr, dir: t.TempDir()}
	r.args = append([]string{program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", r.dir, "--logfile", filepath.Join(r.dir, "log"),
		"--repl-diskless-sync-delay", "0"}, args...)
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *ownRedis) start() {
	r.t.Helper()
	r.cmd = exec.Command(r.args[0], r.args[1:]...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.until("redis-server answers", func(ctx context.Context, c *redis.Client) bool { return c.Ping(ctx).Err() == nil })
}

// kill kills it as a power cut would.
func (r *ownRedis) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()
	r.cmd = nil
}

// until waits for something to be true of the server.
func (r *ownRedis) until(what string, is func(ctx context.Context, c *redis.Client) bool) {
	r.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.addr, DisableIdentity: true, MaxRetries: -1})
	defer c.Close()
	for deadline := time.Now().Add(30 * time.Second); !is(r.t.Context(), c); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(r.dir, "log"))
			r.t.Fatalf("never: %s\n%s", what, log)
		}
	}
}

func (r *ownRedis) do(args ...any) {
	r.t.Helper()
	r.until(fmt.Sprint(args...), func(ctx context.Context, c *redis.Client) bool { return c.Do(ctx, args...).Err() == nil })
}

// follow makes it a replica. The first replica that comes to a primary begins a new
// history of it.
func (r *ownRedis) follow(primary *ownRedis) {
	r.t.Helper()
	host, port, _ := net.SplitHostPort(primary.addr)
	r.do("REPLICAOF", host, port)
	r.until("it follows", func(ctx context.Context, c *redis.Client) bool {
		return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
	})
}

// A redis-server that is killed and comes back with an older dump, in which the last
// withdrawal is missing and the marker is there, allows not one push while many workers
// ask all the time; when the view is rebuilt the withdrawal is known again.
//
// Clause: push-withdraw
func TestRestartFromAnOlderDumpAllowsNothing(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	own := startOwnRedis(t)
	s := viewing(t, configFor(t, own.addr))
	rebuild(t, s, p, consentEvent("u", 1, true), consentEvent("v", 1, true))
	expectWords(t, s, p, "u", "allow/none")
	own.do("SAVE")
	withdrawal := consentEvent("u", 2, false)
	applyAt(t, s, p, noon, consentAt(2, withdrawal))
	expectWords(t, s, p, "u", "deny/withdrawn")

	const workers = 4
	var asked, held, allowed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				d, err := s.Decide(ctx, p, noon, []Request{pushTo("u", fmt.Sprint(w, "-", i), "marketing"), pushTo("u", "once marketing", "marketing")})
				if err != nil {
					continue // it is away
				}
				asked.Add(1)
				for i := range d {
					switch {
					case d[i].Decision == Allow:
						allowed.Add(1)
					case d[i].Reason == ReasonHeld:
						held.Add(1)
					}
				}
			}
		})
	}
	for range 3 {
		own.kill()
		own.start()
		before := held.Load()
		for deadline := time.Now().Add(30 * time.Second); held.Load() < before+20; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after a restart nothing is held; %d batches were decided, %d pushes allowed", asked.Load(), allowed.Load())
			}
		}
	}
	stop()
	wg.Wait()
	if n := allowed.Load(); n > 0 {
		t.Errorf("%d pushes were allowed after the withdrawal", n)
	}
	if n := testutil.ToFloat64(s.metrics.identities); n != 3 {
		t.Errorf("weir_push_redis_identity_changes_total is %v, want 3", n)
	}
	expectWords(t, s, p, "v", "defer/held", "allow/none")
	rebuild(t, s, p, consentEvent("u", 1, true), consentEvent("v", 1, true), withdrawal)
	expectWords(t, s, p, "u", "deny/withdrawn")
	expectWords(t, s, p, "v", "allow/none")
}

// A replica that takes over has the marker of its primary and perhaps not its last
// withdrawal: it is not trusted.
func TestPromotedReplicaIsNotTrusted(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	primary, replica := startOwnRedis(t), startOwnRedis(t)
	replica.follow(primary)
	board := newSwitchboard(t, primary.addr)
	s := viewing(t, configFor(t, board.addr))
	rebuild(t, s, p, consentEvent("u", 1, true))
	key := s.view.markerKey(0)
	replica.until("the marker is replicated", func(ctx context.Context, c *redis.Client) bool {
		value, err := c.Get(ctx, key).Result()
		return err == nil && s.view.vouches(board.addr, value)
	})
	replica.do("REPLICAOF", "NO", "ONE")
	board.switchTo(replica.addr)
	expectWords(t, s, p, "u", "defer/held", "allow/none")
	rebuild(t, s, p, consentEvent("u", 1, true))
	expectWords(t, s, p, "u", "allow/none")
}

// A primary that followed another one and is a primary again has all that one had, its
// own marker among it, but perhaps not what it had itself: it is the same run, with
// another history, and not trusted.
func TestPrimaryAgainIsNotTrusted(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	primary, replica := startOwnRedis(t), startOwnRedis(t)
	replica.follow(primary)
	s := viewing(t, configFor(t, primary.addr))
	rebuild(t, s, p, consentEvent("u", 1, true))
	replica.until("the marker is replicated", func(ctx context.Context, c *redis.Client) bool {
		return strings.Contains(c.Get(ctx, s.view.markerKey(0)).Val(), "/")
	})
	replica.do("REPLICAOF", "NO", "ONE")
	primary.follow(replica)
	primary.do("REPLICAOF", "NO", "ONE")
	primary.until("its marker is there", func(ctx context.Context, c *redis.Client) bool {
		return c.Exists(ctx, s.view.markerKey(0)).Val() == 1
	})
	if whole, err := s.IsWhole(t.Context()); whole || err != nil {
		t.Errorf("whole: %v, %v", whole, err)
	}
	expectWords(t, s, p, "u", "defer/held", "allow/none")
}

// In a cluster each primary has a marker of its own. When one of them is restarted, only
// its users wait.
func TestClusterHasAMarkerOnEachPrimary(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	var members []*ownRedis
	for i := range 3 {
		m := startOwnRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
		members = append(members, m)
		m.do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		m.do("CLUSTER", "ADDSLOTSRANGE", i*16384/3, (i+1)*16384/3-1)
	}
	host, port, _ := net.SplitHostPort(members[0].addr)
	for _, m := range members[1:] {
		m.do("CLUSTER", "MEET", host, port)
	}
	formed := func() {
		t.Helper()
		for _, m := range members {
			m.until("the cluster is formed", func(ctx context.Context, c *redis.Client) bool {
				shards, err := c.ClusterShards(ctx).Result()
				return err == nil && len(shards) == 3 && strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok")
			})
		}
	}
	formed()
	config := configFor(t, members[0].addr)
	config.Redis.Cluster = true
	s := viewing(t, config)
	var topic []*event.Event
	for i := range 30 {
		topic = append(topic, consentEvent(fmt.Sprint("u", i), 1, true))
	}
	rebuild(t, s, p, topic...)
	words := func(id string) map[string]map[string]int { // by member
		t.Helper()
		var reqs []Request
		for i := range topic {
			reqs = append(reqs, pushTo(fmt.Sprint("u", i), id, "marketing"))
		}
		var list []Decision
		for deadline := time.Now().Add(30 * time.Second); ; { // the client may find one away that is back
			var err error
			if list, err = s.Decide(t.Context(), p, noon, reqs); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		count := make(map[string]map[string]int)
		for i := range list {
			primary, err := s.client.(*redis.ClusterClient).MasterForKey(t.Context(), profileKey(list[i].Pseudonym))
			if err != nil {
				t.Fatal(err)
			}
			addr := primary.Options().Addr
			if count[addr] == nil {
				count[addr] = make(map[string]int)
			}
			count[addr][word(list[i])]++
		}
		return count
	}
	before := words("1")
	if len(before) != 3 {
		t.Fatalf("users lie on %d primaries: %v", len(before), before)
	}
	for addr, words := range before {
		if len(words) != 1 || words["allow/none"] == 0 {
			t.Errorf("%s: %v, want all allowed", addr, words)
		}
	}
	members[1].do("SAVE")
	members[1].kill()
	members[1].start()
	formed()
	for addr, words := range words("1") {
		want := "allow/none"
		if addr == members[1].addr {
			want = "defer/held"
		}
		if len(words) != 1 || words[want] != before[addr]["allow/none"] {
			t.Errorf("%s: %v, want %s for all of %v", addr, words, want, before[addr])
		}
	}
	rebuild(t, s, p, topic...)
	for addr, words := range words("1") {
		if len(words) != 1 || words["allow/none"] == 0 {
			t.Errorf("rebuilt, %s: %v, want all allowed", addr, words)
		}
	}
}
