package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Fallback decides pushes by a [Store] and, while Redis is away, without it: by
// the rule the policy has for each class. What it allowed meanwhile it enters
// into the send logs when Redis is back, before it goes on by the store.
//
// A call of the store that fails because Redis is away opens it: from then on
// nobody waits for Redis but [Fallback.Run], which tries again and again. If the
// process dies while it is open, what was allowed is in the evidence, flagged
// [Degraded], and nowhere else; the next start must call [Store.Reapply] with it.
type Fallback struct {
	store   *Store
	record  func(context.Context, Outage, []Breach) error
	log     *slog.Logger
	metrics *fallbackMetrics
	opened  chan struct{} // tells Run
	away    atomic.Bool   // as below, for a look without waiting

	mu     sync.Mutex
	outage *Outage // nil while Redis is there
	policy *Policy // the last that was decided by
	// What is known of those who were allowed something since. It is what makes a
	// push that is delivered again one consumption, so none of it may be forgotten.
	users map[string]*remembered
	debts []debt // what their send logs lack
	taken int    // how many there were since it was opened
}

// Outage is a time in which Redis was away.
type Outage struct {
	From time.Time `json:"from"`
	// Until is when the last push was decided without Redis; zero while it lasts.
	// All that was allowed before is in the send logs.
	Until     time.Time `json:"until,omitzero"`
	Error     string    `json:"error"` // kind of the error it began with
	Reapplied int       `json:"reapplied"`
	Breaches  int       `json:"breaches"`
}

// FallbackOptions is what a Fallback is made of.
type FallbackOptions struct {
	Store *Store
	// Record puts on record that Redis is away and, when the outage has an end, that
	// it is back and what limits were exceeded meanwhile. An error ends Run.
	Record     func(context.Context, Outage, []Breach) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nowhere
}

// maxDebts is how many pushes are allowed by what is remembered until Redis is
// back. Beyond it, classes that go on locally are held. Each is some 500 bytes.
const maxDebts = 100_000

// NewFallback returns what decides by o.Store as long as that can.
func NewFallback(o FallbackOptions) *Fallback {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Store.recent = newRecent(maxRecent)
	f := &Fallback{store: o.Store, record: o.Record, log: o.Logger, opened: make(chan struct{}, 1)}
	f.metrics = newFallbackMetrics(o.Registerer, f.pending)
	return f
}

// pending is how many pushes are to be entered into send logs.
func (f *Fallback) pending() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return float64(len(f.debts))
}

// Away reports whether an error of the store says that Redis cannot be reached or
// takes nothing, from anybody: it is frozen, gone, starting, a replica by now,
// out of memory, or refuses the login. Any other error is about what was asked.
func Away(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	switch kindOf(err) {
	case kindTimeout, kindConnection, kindMemory:
		return true
	case kindReply:
		for _, word := range [...]string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM"} {
			if redis.HasErrorPrefix(err, word) {
				return true
			}
		}
	}
	return false
}

// errAway says that something must wait until all that was allowed without Redis
// is in the send logs.
var errAway = errors.New("redis is away, or does not know yet what was allowed meanwhile")

// Settled returns an error while send logs lack what was allowed. Until then
// nothing may be taken back: it would not be found.
func (f *Fallback) Settled() error {
	if f.away.Load() {
		return errAway
	}
	return nil
}

// Decide is [Store.Decide], and while Redis is away decides without it. It then
// never fails and never waits, except for the call that finds out.
func (f *Fallback) Decide(ctx context.Context, p *Policy, now time.Time, reqs []Request) ([]Decision, error) {
	for {
		if decisions, ok := f.without(p, now, reqs); ok {
			return decisions, nil
		}
		decisions, err := f.store.Decide(ctx, p, now, reqs)
		if err == nil || ctx.Err() != nil || !Away(err) {
			return decisions, err
		}
		f.open(err)
	}
}

// open begins an outage, unless one has begun.
func (f *Fallback) open(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage != nil {
		return
	}
	f.outage = &Outage{From: f.store.now().UTC(), Error: kindOf(err)}
	f.users = make(map[string]*remembered)
	f.taken = 0
	f.away.Store(true)
	f.metrics.mode.Set(1)
	f.log.Error("redis is away: pushes are decided without it, by the policy's rule for each class", "err", err)
	select {
	case f.opened <- struct{}{}:
	default: // Run has not even begun with the one before, and will find this
	}
}

// without decides a batch without Redis, if it is away.
func (f *Fallback) without(p *Policy, now time.Time, reqs []Request) ([]Decision, bool) {
	if !f.away.Load() {
		return nil, false
	}
	users := make([]string, len(reqs))
	for i := range reqs {
		users[i], reqs[i].Mark = f.store.names.user(reqs[i].User), f.store.names.push(reqs[i].ID)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage == nil {
		return nil, false
	}
	f.policy = p
	if now.Before(f.outage.From) {
		now = f.outage.From // the batch came before it was known
	}
	decisions := make([]Decision, len(reqs))
	for i := range reqs {
		r, user := &reqs[i], users[i]
		m := f.remember(user)
		d, next := decideWithout(now, p, m, f.taken >= maxDebts, r)
		d.Pseudonym, d.PseudonymKey = user, f.store.names.id
		if next != nil {
			m.log = *next
			f.users[user] = m
			f.debts = append(f.debts, debt{user: user, group: string(r.Group), entry: next.Entries[len(next.Entries)-1]})
			f.taken++
		}
		if d.Replay {
			f.store.metrics.replays.Inc()
		}
		if k := p.classes[string(r.Class)]; k != nil {
			f.metrics.decisions[k.onOutage].Inc()
		}
		decisions[i] = d
	}
	return decisions, true
}

// remember returns what is known of a user.
func (f *Fallback) remember(user string) *remembered {
	if m := f.users[user]; m != nil {
		return m
	}
	records, ok := f.store.recent.get(user)
	if !ok {
		return &remembered{}
	}
	profile := f.store.profile(records.profile)
	return &remembered{profile: &profile, log: f.store.sendLog(records.log)}
}

// Resume enters what a process that is gone allowed while Redis was away, puts the
// end of that outage on record, and returns it. It is for before the first
// decision, and may be called again with the same pushes.
func (f *Fallback) Resume(ctx context.Context, p *Policy, o Outage, list []Allowed) (Outage, error) {
	if o.From.IsZero() && len(list) > 0 {
		o.From = list[0].At
	}
	done, err := f.store.Reapply(ctx, p, f.store.now(), list)
	if err != nil {
		return o, err
	}
	o.Until, o.Reapplied = f.store.now().UTC(), done.Entered
	f.metrics.reapplied.Add(float64(done.Entered))
	return o, f.end(ctx, &o, done.Breaches)
}

// end puts the end of an outage on record.
func (f *Fallback) end(ctx context.Context, o *Outage, breaches []Breach) error {
	for i := range breaches {
		breaches[i].Cause, breaches[i].From, breaches[i].To = CauseOutage, o.From, o.Until
	}
	o.Breaches = len(breaches)
	f.metrics.overcap[CauseOutage].Add(float64(len(breaches)))
	return f.record(ctx, *o, breaches)
}

// How long to wait before Redis is asked whether it is back: doubled each time.
// It goes on from where it was when Redis is away again within calm.
const (
	firstProbe = 500 * time.Millisecond
	lastProbe  = 5 * time.Second
	calm       = 30 * time.Second
)

// Run waits for Redis to come back whenever it is away, enters what was allowed
// meanwhile, and lets the store decide again. While Redis is there it looks now
// and then whether it still is: without pushes nobody else would notice. It
// returns nil when ctx ends, and an error only where what happened could not be
// put on record.
func (f *Fallback) Run(ctx context.Context) error {
	delay, closed := firstProbe, time.Time{}
	look := time.NewTicker(lastProbe)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if err := f.store.probe(ctx); err != nil && ctx.Err() == nil && Away(err) {
				f.open(err)
			}
			continue
		case <-f.opened:
		}
		if time.Since(closed) > calm {
			delay = firstProbe
		}
		var err error
		if delay, err = f.weather(ctx, delay); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("outage of redis: %w", err)
		}
		closed = time.Now()
	}
}

// weather sees an outage through, and returns how long to wait if there is
// another one soon.
//
// If the process dies before the end is on record, the next start enters what was
// allowed once more, and may book the same breaches once more.
func (f *Fallback) weather(ctx context.Context, delay time.Duration) (time.Duration, error) {
	f.mu.Lock()
	o := *f.outage // ours alone until we close
	f.mu.Unlock()
	if err := f.record(ctx, o, nil); err != nil {
		return delay, err
	}
	var breaches []Breach
	for {
		t := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			t.Stop()
			return delay, ctx.Err()
		case <-t.C:
		}
		delay = min(2*delay, lastProbe)
		closed, err := f.settle(ctx, &o, &breaches)
		if err != nil && ctx.Err() != nil {
			return delay, err
		}
		if closed {
			break
		}
		if Away(err) {
			f.log.Debug("redis is still away", "err", err)
		} else {
			f.log.Error("redis is back, but does not take what was allowed without it", "err", err)
		}
	}
	f.log.Info("redis is back: what was allowed without it is in the send logs", "away", o.Until.Sub(o.From), "reapplied", o.Reapplied, "breaches", len(breaches))
	return delay, f.end(ctx, &o, breaches)
}

// settle enters all that was allowed, if Redis is back, and closes. From then on
// the store decides again.
func (f *Fallback) settle(ctx context.Context, o *Outage, breaches *[]Breach) (closed bool, err error) {
	if err := f.store.probe(ctx); err != nil {
		return false, err
	}
	for {
		f.mu.Lock()
		o.Until = f.store.now().UTC()
		debts, p := f.debts, f.policy
		if len(debts) == 0 {
			// Under the lock: whoever decides next finds the store's logs complete.
			f.outage, f.users = nil, nil
			f.away.Store(false)
			f.metrics.mode.Set(0)
			f.mu.Unlock()
			return true, nil
		}
		f.mu.Unlock()

		done, err := f.store.reapply(ctx, p, f.store.now(), debts)
		o.Reapplied += done.Entered
		f.metrics.reapplied.Add(float64(done.Entered))
		if done.Unconfirmed > 0 {
			f.log.Warn("no replica of redis has confirmed what was entered, which the policy promises", "users", done.Unconfirmed)
		}
		if err != nil {
			return false, err // those that were entered are known the next time
		}
		*breaches = append(*breaches, done.Breaches...)

		f.mu.Lock()
		f.debts = f.debts[len(debts):]
		f.mu.Unlock()
	}
}

// probes is how many records are written to find out whether Redis takes any: of
// a Cluster they meet every primary, or nearly.
const probes = 16

// probe reads and writes records that are nobody's, by the same way as all others.
func (s *Store) probe(ctx context.Context) error {
	users := make([]string, probes)
	for i := range users {
		users[i] = fmt.Sprintf("probe-%d", i)
	}
	// No replica is waited for: that would be no outage of Redis.
	_, err := s.commit(ctx, users, false, make([]bool, len(users)), func(i int, _, record string) update {
		empty := SendLog{Version: nextVersion(record)}
		return update{key: logKey(users[i]), record: empty.Record(), options: []any{"EX", 60}}
	})
	if err != nil {
		return fmt.Errorf("probe redis: %w", err)
	}
	return nil
}
