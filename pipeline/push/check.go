package push

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// How far the clocks of this machine and of Redis may be apart. Send logs are
// shared by processes whose clocks can only be compared by Redis's.
const (
	maxSkew  = 30 * time.Second // farther, and counted pushes wait
	warnSkew = 2 * time.Second  // farther, and the operator hears of it
)

// oldestRedis is the major version of Redis from which on Weir is tried.
const oldestRedis = "7"

// checkTimeout bounds a check, since readiness waits for it.
const checkTimeout = 2 * time.Second

// checkEvery is how often a running store looks at its Redis again.
const checkEvery = 30 * time.Second

// Report is what [Store.Inspect] found, in lines for the operator.
type Report struct {
	Facts []string
	// Warnings are what makes less safe than it could be, with what would be right.
	Warnings []string
}

// Check is [Store.Inspect] by the policy in force, without the report.
func (s *Store) Check(ctx context.Context) error {
	var p *Policy
	if f := s.force.Load(); f != nil {
		p = f.policy
	}
	_, err := s.Inspect(ctx, p)
	return err
}

// Inspect asks every Redis that is written to whether Weir can rely on it, and
// returns all that is wrong in words: it does not answer, refuses the login, is
// a replica, may throw records away when memory is short, does not run scripts,
// has another idea of the time, or cannot keep what the policy promises. A policy
// of nil promises nothing. What it finds of the clocks holds for decisions until
// it is called again.
//
// Clause: push-record
// At start, and every half minute, it is made sure that Redis keeps what was recorded and counts in the same time; what is not safe is refused or told.
func (s *Store) Inspect(ctx context.Context, p *Policy) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var mu sync.Mutex
	var found []*inspection
	inspect := func(ctx context.Context, c *redis.Client) error {
		n := &inspection{store: s, client: c, policy: p, addr: c.Options().Addr}
		n.run(ctx)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, n)
		return nil
	}
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		if err = c.ForEachMaster(ctx, inspect); err != nil {
			err = fmt.Errorf("redis cluster does not say who its members are: %w; correct push.redis.addrs, or take cluster: true out", err)
		}
	case *redis.Client:
		err = inspect(ctx, c)
	}
	slices.SortFunc(found, func(a, b *inspection) int { return strings.Compare(a.addr, b.addr) })
	var r Report
	var errs []error
	farthest, compared, evicts := time.Duration(0), false, false
	for _, n := range found {
		r.Facts = append(r.Facts, n.fact())
		r.Warnings = append(r.Warnings, n.warnings...)
		errs = append(errs, n.errs...)
		compared, evicts = compared || n.compared, evicts || n.evicts
		if n.skew.Abs() > farthest.Abs() {
			farthest = n.skew
		}
	}
	if compared { // else nothing is known that was not
		s.skew.Store(int64(farthest))
		s.metrics.skew.Set(farthest.Seconds())
		s.metrics.eviction.Set(map[bool]float64{true: 1}[evicts])
	}
	return r, errors.Join(append(errs, err)...)
}

// clockOff reports whether the clocks are too far apart to count in windows.
func (s *Store) clockOff() bool { return time.Duration(s.skew.Load()).Abs() > maxSkew }

// Watch inspects Redis every half minute until ctx ends, and logs what has
// changed. While the clocks are more than 30 s apart, counted pushes wait.
func (s *Store) Watch(ctx context.Context) error {
	tick := time.NewTicker(s.checkEvery)
	defer tick.Stop()
	var last []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		last = s.look(ctx, last)
	}
}

// look logs what an inspection finds that the one before did not, and what is
// well again.
func (s *Store) look(ctx context.Context, last []string) []string {
	var p *Policy
	if f := s.force.Load(); f != nil {
		p = f.policy
	}
	r, err := s.Inspect(ctx, p)
	if ctx.Err() != nil {
		return last
	}
	now := slices.Clone(r.Warnings)
	for _, w := range r.Warnings {
		if !slices.Contains(last, w) {
			s.log.WarnContext(ctx, "redis is less safe than it could be", "detail", w)
		}
	}
	if err != nil {
		for w := range strings.SplitSeq(err.Error(), "\n") {
			if now = append(now, w); !slices.Contains(last, w) {
				s.log.ErrorContext(ctx, "redis is not fit to rely on", "detail", w)
			}
		}
	}
	if len(last) > 0 && len(now) == 0 {
		s.log.InfoContext(ctx, "redis is well again")
	}
	return now
}

// inspection is what was found of one Redis.
type inspection struct {
	store  *Store
	client *redis.Client
	policy *Policy
	addr   string

	version  string
	eviction string // maxmemory-policy
	evicts   bool
	used     string // of its memory, where it has a limit
	disk     string // what it keeps on disk, in words
	replicas int
	compared bool          // the clocks have been
	skew     time.Duration // how far its clock is ahead of ours
	warnings []string
	errs     []error
}

func (n *inspection) bad(format string, args ...any) {
	n.errs = append(n.errs, fmt.Errorf(format, args...))
}

func (n *inspection) warn(format string, args ...any) {
	n.warnings = append(n.warnings, fmt.Sprintf(format, args...))
}

// fact says in a line what kind of Redis it is.
func (n *inspection) fact() string {
	if n.version == "" {
		return n.addr
	}
	words := []string{n.addr + ": redis " + n.version, n.eviction, n.used, n.disk, fmt.Sprintf("%d replicas", n.replicas)}
	if n.replicas == 1 {
		words[len(words)-1] = "1 replica"
	}
	if n.compared {
		words = append(words, fmt.Sprintf("clock %+.3f s", n.skew.Seconds()))
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ", ")
}

func (n *inspection) run(ctx context.Context) {
	if err := n.client.Ping(ctx).Err(); err != nil {
		switch {
		case redis.HasErrorPrefix(err, "NOAUTH"), redis.HasErrorPrefix(err, "WRONGPASS"):
			n.bad("redis at %s refuses the login: %w; correct push.redis.username and password_file", n.addr, err)
		case redis.HasErrorPrefix(err, "LOADING"):
			n.bad("redis at %s is still reading its data: %w; wait until it is done", n.addr, err)
		default:
			n.bad("redis at %s does not answer: %w; start it, or correct push.redis.addrs", n.addr, err)
		}
		return
	}
	if server, err := n.client.Info(ctx, "server").Result(); err == nil {
		n.version = field(server, "redis_version")
		if major, _, _ := strings.Cut(n.version, "."); len(major) == 1 && major < oldestRedis {
			n.warn("redis at %s is of version %s, with which Weir has never been tried; use %s or newer", n.addr, n.version, oldestRedis)
		}
	}
	n.memory(ctx)
	n.replication(ctx)
	n.persistence(ctx)
	if err := n.store.script.Load(ctx, n.client).Err(); err != nil {
		n.bad("redis at %s does not take scripts: %w; allow SCRIPT LOAD and EVALSHA", n.addr, err)
	}
	n.clock(ctx)
}

// memory sees whether records are thrown away when memory is short. INFO tells
// that also where CONFIG is forbidden.
func (n *inspection) memory(ctx context.Context) {
	memory, err := n.client.Info(ctx, "memory").Result()
	n.eviction = field(memory, "maxmemory_policy")
	n.room(memory)
	n.evicts = err == nil && n.eviction != "noeviction"
	const what = "which would lift caps and lose consent without a trace"
	switch {
	case err != nil:
		n.bad("redis at %s does not say whether it throws records away when memory is short (INFO memory): %w; allow the command", n.addr, err)
	case n.evicts && n.store.acceptEviction:
		n.warn("redis at %s may throw records away when memory is short (maxmemory-policy %q), %s; push.redis.accept_eviction lets that pass, so no cap is certain here", n.addr, n.eviction, what)
	case n.eviction == "":
		n.bad("redis at %s does not say whether it throws records away when memory is short; INFO memory must tell maxmemory_policy", n.addr)
	case n.evicts:
		n.bad("redis at %s throws records away when memory is short (maxmemory-policy %s), %s; set maxmemory-policy noeviction", n.addr, n.eviction, what)
	}
}

// room sees whether memory is about to be short. The warning has no number that changes:
// who watches it hears of it once.
func (n *inspection) room(memory string) {
	most, err := strconv.ParseInt(field(memory, "maxmemory"), 10, 64)
	used, err2 := strconv.ParseInt(field(memory, "used_memory"), 10, 64)
	if err != nil || err2 != nil || most == 0 {
		return
	}
	n.used = fmt.Sprintf("%d of %d MiB used", used>>20, most>>20)
	if used/9 > most/10 {
		n.warn("redis at %s has used nine tenths of its memory (maxmemory %d MiB): when it is full it refuses commits, and pushes wait; give it more", n.addr, most>>20)
	}
}

// replication sees whether it is a primary, and how many replicas follow it.
func (n *inspection) replication(ctx context.Context) {
	replication, err := n.client.Info(ctx, "replication").Result()
	for line := range strings.Lines(replication) {
		if strings.HasPrefix(line, "slave") && strings.Contains(line, "state=online") {
			n.replicas++
		}
	}
	switch {
	case err == nil && field(replication, "role") == "slave":
		n.bad("redis at %s is a replica, which takes no writes; name the primary in push.redis.addrs", n.addr)
	case n.policy == nil || !n.policy.replicated:
	case err != nil:
		n.bad("redis at %s does not say which replicas it has (INFO replication): %w; allow the command, or write durability: primary into the policy", n.addr, err)
	case n.replicas == 0:
		n.bad("redis at %s has no connected replica, but the policy promises durability: replicated; connect one (replicaof), or write durability: primary into the policy", n.addr)
	}
}

// persistence sees what outlives a restart of Redis.
func (n *inspection) persistence(ctx context.Context) {
	persistence, err := n.client.Info(ctx, "persistence").Result()
	aof := field(persistence, "aof_enabled")
	if err != nil || aof == "" {
		n.disk = "persistence unknown"
		return
	}
	if aof == "1" {
		n.disk = "append-only file"
		if fsync, err := n.client.ConfigGet(ctx, "appendfsync").Result(); err == nil && fsync["appendfsync"] != "" {
			n.disk += ", fsync " + fsync["appendfsync"]
		}
		return
	}
	save, err := n.client.ConfigGet(ctx, "save").Result()
	points, told := save["save"]
	switch {
	case err != nil || !told: // CONFIG is forbidden by many who run Redis for others
		n.disk = "no append-only file, snapshots unknown"
	case points != "":
		n.disk = "snapshots (save " + points + "), no append-only file"
	case n.policy != nil && n.policy.replicated:
		n.disk = "nothing on disk"
		n.bad("redis at %s keeps nothing on disk (appendonly no, no save points), but the policy promises durability: replicated; a primary that is started again empty makes its replicas empty, too: set appendonly yes, or write durability: primary into the policy", n.addr)
	default:
		n.disk = "nothing on disk"
		n.warn("redis at %s keeps nothing on disk (appendonly no, no save points): after a restart every user has had no pushes and has agreed to none; set appendonly yes", n.addr)
	}
}

// clock compares the clocks.
func (n *inspection) clock(ctx context.Context) {
	asked := n.store.now()
	told, err := n.client.Time(ctx).Result()
	if err != nil {
		n.bad("redis at %s does not tell the time: %w; allow the command TIME", n.addr, err)
		return
	}
	answered := n.store.now()
	n.compared, n.skew = true, told.Sub(asked.Add(answered.Sub(asked)/2))
	direction := "ahead of"
	if n.skew < 0 {
		direction = "behind"
	}
	seconds := math.Round(n.skew.Abs().Seconds())
	switch {
	case n.skew.Abs() > maxSkew:
		n.bad("redis at %s has a clock %.0f s %s ours, at most %.0f s are safe: counted pushes wait; set both by a time service", n.addr, seconds, direction, maxSkew.Seconds())
	case n.skew.Abs() > warnSkew:
		n.warn("redis at %s has a clock %.0f s %s ours; set both by a time service: from %.0f s on counted pushes wait", n.addr, seconds, direction, maxSkew.Seconds())
	}
}

// field returns a field of an INFO answer.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	return ""
}
