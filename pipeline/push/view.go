package push

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Consent lives in Kafka; what Redis holds of it is a view. A Redis that was
// restarted may have read an older dump, a replica that took over may lack what came
// last, and one that was flushed has nothing: each of them would allow what was
// withdrawn, or deny what was agreed to. So each primary has a marker, a key that says
// that the view is complete on it and, by its value, on which server. The view of a
// user is trusted while the marker of their primary names the server that told it.
//
// Two things make that exact and not a matter of asking often enough. Who a server is
// is asked on every new connection, before anything else goes through it, since a
// restart breaks them all. And the marker is read behind the profiles, in the same
// pipeline: if they were flushed away, so was it.
//
// While the view of a user is not trusted their pushes of classes that need consent
// wait. Some process reads the topics again (see [Store.BeginRebuild]) and sets the
// markers anew.
//
// Clause: push-withdraw
// After a Redis that may have lost a withdrawal no push that needs consent is allowed until consent has been read again.
type consentView struct {
	name    string // of this view, in its markers; empty where no consent is read and there is nothing to trust
	metrics *metrics
	doubt   chan struct{} // has something when a marker was found wanting

	mu      sync.Mutex
	servers map[string]*host // by address
	epoch   int              // counts servers that turned out to be others than they were
}

// host is what is known of the server at an address.
type host struct {
	identity string // empty if it does not say
	marker   string // key of its marker; empty if it must be looked for
}

// newView returns the view of topics, given by name, of consent under a key.
func newView(topics []string, key string, m *metrics) *consentView {
	v := &consentView{metrics: m, doubt: make(chan struct{}, 1), servers: make(map[string]*host)}
	if len(topics) > 0 {
		topics = slices.Clone(topics)
		slices.Sort(topics)
		// A view of other topics, or under another key, is another one.
		sum := sha256.Sum256([]byte("weir view 1\n" + key + "\n" + strings.Join(topics, "\n")))
		v.name = hex.EncodeToString(sum[:6])
	}
	return v
}

func (v *consentView) on() bool { return v.name != "" }

// markerKey is the key of a marker. Which n is a primary's is a matter of slots.
func (v *consentView) markerKey(n int) string { return fmt.Sprintf("pg:{view-%d}:%s", n, v.name) }

// greet returns what is done on each new connection to an address: ask who is there.
func (v *consentView) greet(addr string) func(ctx context.Context, c *redis.Conn) error {
	return func(ctx context.Context, c *redis.Conn) error {
		id, err := identify(ctx, c.Pipeline())
		if err != nil {
			return err
		}
		v.met(addr, id)
		return nil
	}
}

// identify asks a server who it is: which run, and with which history of writes. The
// second is another one after every change of primaries, also when a server becomes
// one again. It is empty if the server does not say.
func identify(ctx context.Context, p redis.Pipeliner) (string, error) {
	run, history := p.Info(ctx, "server"), p.Info(ctx, "replication")
	_, err := p.Exec(ctx)
	var refused redis.Error
	switch {
	case errors.As(err, &refused):
		return "", nil
	case err != nil:
		return "", err
	}
	id, replication := field(run.Val(), "run_id"), field(history.Val(), "master_replid")
	if id == "" || replication == "" {
		return "", nil
	}
	return id + "/" + replication, nil
}

// met notes who is at an address.
func (v *consentView) met(addr, identity string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.servers[addr]
	if s == nil {
		v.servers[addr] = &host{identity: identity}
		return
	}
	if s.identity != "" && s.identity != identity {
		v.epoch++
		v.metrics.identities.Inc()
		v.doubted()
	}
	s.identity = identity
}

// seen returns how often a server turned out to be another one. What was read before
// that number changed and written after it was read on one server and written on
// another.
func (v *consentView) seen() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.epoch
}

// vouches reports whether a marker that an address told is that of the server there.
func (v *consentView) vouches(addr, marker string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.servers[addr]
	return s != nil && s.identity != "" && s.identity == marker
}

// doubted wakes who rebuilds the view.
func (v *consentView) doubted() {
	select {
	case v.doubt <- struct{}{}:
	default: // it is awake
	}
}

// maxMarkers bounds the search for a key that lies on a primary: in a cluster there
// are as many slots, and any sixteen thousand keys leave few of them out.
const maxMarkers = 1 << 18

// marker returns the key of a primary's marker: the first one that lies on it.
func (v *consentView) marker(ctx context.Context, client redis.UniversalClient, addr string) (string, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return v.markerKey(0), nil
	}
	v.mu.Lock()
	s := v.servers[addr]
	if s != nil && s.marker != "" {
		defer v.mu.Unlock()
		return s.marker, nil
	}
	v.mu.Unlock()
	for n := range maxMarkers {
		key := v.markerKey(n)
		primary, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			return "", fmt.Errorf("find the primary of a marker in the redis cluster: %w", err)
		}
		if primary.Options().Addr != addr {
			continue
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.servers[addr] == nil {
			v.servers[addr] = &host{}
		}
		v.servers[addr].marker = key
		return key, nil
	}
	return "", fmt.Errorf("redis at %s: no key of a marker lies on it", addr)
}

// moved forgets where markers lie: slots have gone to other primaries.
func (v *consentView) moved() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.servers {
		s.marker = ""
	}
}

// primaries calls do for every Redis that is written to, concurrently.
func (s *Store) primaries(ctx context.Context, do func(ctx context.Context, c *redis.Client) error) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, c)
	}
	return nil
}

// Doubts tells when something was seen that speaks against the view, so that nobody
// need wait for the next look.
func (s *Store) Doubts() <-chan struct{} { return s.view.doubt }

// IsWhole asks every primary whether the view of consent is complete on it. Where no
// consent is read there is none, and it is.
func (s *Store) IsWhole(ctx context.Context) (bool, error) {
	if !s.view.on() {
		s.metrics.trusted.Set(1)
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var mu sync.Mutex
	whole := true
	err := s.primaries(ctx, func(ctx context.Context, c *redis.Client) error {
		addr := c.Options().Addr
		id, err := identify(ctx, c.Pipeline())
		if err != nil {
			return err
		}
		s.view.met(addr, id)
		key, err := s.view.marker(ctx, s.client, addr)
		if err != nil {
			return err
		}
		value, err := c.Get(ctx, key).Result()
		if redirected(err) {
			s.view.moved()
		} else if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		whole = whole && err == nil && s.view.vouches(addr, value)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("ask redis for the markers of the view of consent: %w", err)
	}
	s.metrics.trusted.Set(map[bool]float64{true: 1}[whole])
	return whole, nil
}

// Rebuild is the right to read the topics of consent again and to set the markers. It
// is held by one process at a time; that two never do is not needed, since both would
// write the same.
type Rebuild struct {
	store *Store
	token string
	marks []mark
}

// mark is a primary as it was when the rebuild began.
type mark struct{ addr, key, identity string }

// leaseFor is how long the right to rebuild outlives a process that died with it.
const leaseFor = 15 * time.Second

// RenewEvery is how often [Rebuild.Renew] should be called.
const RenewEvery = leaseFor / 3

// swapScript replaces a value that has not changed: by another with options of SET, or
// by nothing.
const swapScript = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 3)) end
return 1`

var errRebuildAgain = errors.New("redis was restarted, flushed or replaced meanwhile; the view of consent has to be read again from the start")

func (s *Store) swap(ctx context.Context, c redis.Scripter, key, from, to string, options ...any) error {
	n, err := redis.NewScript(swapScript).Run(ctx, c, []string{key}, append([]any{from, to}, options...)...).Int()
	switch {
	case err != nil:
		return err
	case n == 0:
		return errRebuildAgain
	}
	return nil
}

func (s *Store) leaseKey() string { return s.view.markerKey(0) + ":lease" }

// BeginRebuild begins a rebuild of the view, or returns nil if another process is at
// it, or has done it. It puts a token where the markers will be: if it is still there at the end, then
// nothing was lost in between. End must be called.
func (s *Store) BeginRebuild(ctx context.Context) (*Rebuild, error) {
	r := &Rebuild{store: s, token: "rebuilt by " + crand.Text()}
	got, err := s.client.SetNX(ctx, s.leaseKey(), r.token, leaseFor).Result()
	if err != nil {
		return nil, fmt.Errorf("ask redis for the right to rebuild the view of consent: %w", err)
	}
	if !got {
		return nil, nil
	}
	if whole, err := s.IsWhole(ctx); whole || err != nil {
		return nil, errors.Join(err, r.End(ctx)) // whoever had the right before has done it
	}
	var mu sync.Mutex
	err = s.primaries(ctx, func(ctx context.Context, c *redis.Client) error {
		m := mark{addr: c.Options().Addr}
		var err error
		// Who it is is asked first: a token on a server that has come since is not
		// worth anything.
		if m.identity, err = identify(ctx, c.Pipeline()); err != nil {
			return err
		}
		if m.identity == "" {
			return fmt.Errorf("redis at %s does not say who it is, so nobody would notice that it was restarted; INFO server must tell run_id, INFO replication master_replid", m.addr)
		}
		s.view.met(m.addr, m.identity)
		if m.key, err = s.view.marker(ctx, s.client, m.addr); err != nil {
			return err
		}
		mu.Lock()
		r.marks = append(r.marks, m)
		mu.Unlock()
		return c.Set(ctx, m.key, r.token, 0).Err()
	})
	if err != nil {
		s.view.moved()
		return nil, errors.Join(fmt.Errorf("begin to rebuild the view of consent: %w", err), r.End(ctx))
	}
	return r, nil
}

// Renew keeps the right to rebuild for a while. An error says that another process may
// have it now.
func (r *Rebuild) Renew(ctx context.Context) error {
	err := r.store.swap(ctx, r.store.client, r.store.leaseKey(), r.token, r.token, "PX", leaseFor.Milliseconds())
	if err != nil {
		return fmt.Errorf("keep the right to rebuild the view of consent: %w", err)
	}
	return nil
}

// Finish sets the markers: everything that the topics held when they were opened after
// BeginRebuild is in Redis. It is an error if Redis may have lost any of it since.
//
// A marker of a server that is gone by now does no harm: it names that server.
func (r *Rebuild) Finish(ctx context.Context) error {
	s := r.store
	var mu sync.Mutex
	set := 0
	err := s.primaries(ctx, func(ctx context.Context, c *redis.Client) error {
		i := slices.IndexFunc(r.marks, func(m mark) bool { return m.addr == c.Options().Addr })
		if i < 0 {
			return errRebuildAgain // a primary that was none
		}
		m := r.marks[i]
		id, err := identify(ctx, c.Pipeline())
		if err != nil {
			return err
		}
		if s.view.met(m.addr, id); id != m.identity {
			return errRebuildAgain
		}
		if err := s.swap(ctx, c, m.key, r.token, m.identity); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		set++
		return nil
	})
	if err == nil && set != len(r.marks) {
		err = errRebuildAgain
	}
	if err != nil {
		s.view.moved()
		return fmt.Errorf("finish the rebuild of the view of consent: %w", err)
	}
	return nil
}

// End gives the right to rebuild back. If the process dies before that, it is free
// after 15 seconds.
func (r *Rebuild) End(ctx context.Context) error {
	err := r.store.swap(ctx, r.store.client, r.store.leaseKey(), r.token, "")
	if errors.Is(err, errRebuildAgain) {
		return nil // it is not ours any more
	}
	return err
}
