package push

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sent is a push that was allowed, as a message about it tells. It borrows its
// bytes.
type Sent struct {
	User, ID       []byte
	Class, Channel []byte
	Group          []byte    // of the user, as the event said; empty when it said nothing
	At             time.Time // when it was decided
}

// Restored counts what a [Restoration] found and did.
type Restored struct {
	Read      int64 `json:"read"`      // allowed pushes that it was told of
	Uncounted int64 `json:"uncounted"` // of them of classes that the policy does not count or know
	Old       int64 `json:"old"`       // that no limit can see any more
	Users     int64 `json:"users"`     // logs that were looked at
	Changed   int64 `json:"changed"`   // of them those that lacked something
	Inserted  int64 `json:"inserted"`  // entries that were missing
	Known     int64 `json:"known"`     // that were there
	Refunded  int64 `json:"refunded"`  // given back: of pushes that were cancelled and counted all the same
	Damaged   int64 `json:"damaged"`   // logs that could not be read and were made anew
	Full      int64 `json:"full"`      // that had no room in their log
	// OverCap says by limit where a user had more than it allows today.
	OverCap map[string]OverCap `json:"over_cap"`
}

// OverCap counts what was more than a limit allows.
type OverCap struct {
	Users  int64 `json:"users"`
	Pushes int64 `json:"pushes"` // over the cap, in the worst window of each user
}

// restoredEntries is how many entries a restoration holds before it writes them:
// some 100 MB. The more it holds, the more of a user's are written at once.
const restoredEntries = 1 << 20

// restoreWorkers is how many batches of users are merged at once: while Redis
// works on one, the next is made.
const restoreWorkers = 4

// restorePatience is how long Redis may be away before a restoration gives up.
const restorePatience = 15 * time.Second

// Restoration brings send logs up to what messages tell of them: it enters what
// a log lacks and marks what was cancelled. It takes nothing away, so it may be
// done at any time, again and again, and while pushes are decided; a log is
// changed by compare-and-swap like by any other change. It belongs to one
// goroutine.
//
// If the process dies meanwhile, some logs are complete and others are as they
// were; done again, it enters what is still missing.
type Restoration struct {
	Restored

	store  *Store
	policy *Policy
	now    time.Time
	dry    bool
	hold   int // entries

	users     map[string]*restoring // by pseudonym
	held      int
	groups    map[string]string
	cancelled map[cancelledPush]uint32 // when it was, Unix time
}

// restoring is what one user's log may lack.
type restoring struct {
	debts   []debt
	damaged bool // the log: it is written when everything is known
}

type cancelledPush struct {
	user string // pseudonym
	mark uint64
}

// RestoreLogs begins a restoration of send logs under a policy. If it is dry, logs
// are compared and nothing is written.
func (s *Store) RestoreLogs(p *Policy, now time.Time, dry bool) *Restoration {
	return &Restoration{Restored: Restored{OverCap: make(map[string]OverCap)}, store: s, policy: p, now: now, dry: dry, hold: restoredEntries,
		users: make(map[string]*restoring), groups: make(map[string]string), cancelled: make(map[cancelledPush]uint32)}
}

// Reach returns how far back it is of use to know what was allowed: the longest
// time that any limit sees, with some slack.
func (p *Policy) Reach() time.Duration { return time.Duration(slices.Max(p.keep[:])) * time.Second }

// Cancel tells that a push was cancelled at a time. One that is told before its
// push is added enters as cancelled; Settle sees to the others.
func (r *Restoration) Cancel(user, id []byte, at time.Time) {
	c := cancelledPush{r.store.names.user(user), r.store.names.push(id)}
	r.cancelled[c] = max(r.cancelled[c], unixTime(at))
}

// Add adds a push, and writes what it holds when that has become much.
func (r *Restoration) Add(ctx context.Context, x *Sent) error {
	r.Read++
	class, tag := r.policy.classAndTag(string(x.Class), string(x.Channel))
	if class == nil || !class.counted {
		r.Uncounted++
		return nil
	}
	e := Entry{At: unixTime(x.At), Tag: tag, State: counted, Mark: r.store.names.push(x.ID)}
	if int64(e.At) <= r.now.Unix()-r.policy.keep[e.Tag] {
		r.Old++
		return nil
	}
	name := r.store.names.user(x.User)
	// A cancellation that came before the push was allowed gave nothing back.
	if at, ok := r.cancelled[cancelledPush{name, e.Mark}]; ok && e.At <= at {
		e.State = refunded
	}
	u := r.users[name]
	if u == nil {
		u = new(restoring)
		r.users[name] = u
	}
	u.debts = append(u.debts, debt{user: name, group: r.group(x.Group), entry: e})
	if r.held++; r.held < r.hold {
		return nil
	}
	return r.write(ctx, false)
}

// group returns a name of a group without keeping the bytes of each message.
func (r *Restoration) group(b []byte) string {
	if g, ok := r.groups[string(b)]; ok {
		return g
	}
	g := clip(b)
	if len(r.groups) < maxZones { // somebody may be making up names
		r.groups[g] = g
	}
	return g
}

// Flush writes the rest of what was added.
func (r *Restoration) Flush(ctx context.Context) error { return r.write(ctx, true) }

// Settle gives back what cancelled pushes consume in the logs. Between two
// events of a user a daemon may have seen the cancellation of a push before its
// log had the push: so it is told and settled once more after Flush.
func (r *Restoration) Settle(ctx context.Context) error {
	of := make(map[string][]uint64)
	for c := range r.cancelled {
		of[c.user] = append(of[c.user], c.mark)
	}
	names := slices.Collect(maps.Keys(of))
	for ; len(names) > 0; names = names[min(maxBatch, len(names)):] {
		batch := names[:min(maxBatch, len(names))]
		given := make([]int, len(batch))
		err := r.persist(ctx, batch, func(i int, _, record string) update {
			log := r.store.sendLog(record)
			given[i] = 0
			for k := range log.Entries {
				e := &log.Entries[k]
				if e.State == counted && slices.Contains(of[batch[i]], e.Mark) && e.At <= r.cancelled[cancelledPush{batch[i], e.Mark}] {
					e.State = refunded
					given[i]++
				}
			}
			if given[i] == 0 || r.dry {
				return update{}
			}
			log.Version = nextVersion(record)
			return update{key: logKey(batch[i]), record: log.Record(), options: []any{"KEEPTTL"}}
		})
		if err != nil {
			return err
		}
		for _, n := range given {
			r.Refunded += int64(n)
		}
	}
	return nil
}

// write merges what is held into the logs. Users whose log is damaged are kept
// for the end: to replace what nobody can read by a part of what it was would
// lift caps.
func (r *Restoration) write(ctx context.Context, last bool) error {
	names := make([]string, 0, len(r.users))
	for name, u := range r.users {
		if last || !u.damaged {
			names = append(names, name)
		}
	}
	results := make([]Reapplied, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(restoreWorkers)
	for from := 0; from < len(names); from += maxBatch {
		to := min(from+maxBatch, len(names))
		g.Go(func() error { return r.merge(ctx, names[from:to], results[from:to], last) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, name := range names {
		u := r.users[name]
		if u.damaged {
			if !last {
				continue
			}
			r.Damaged++
		}
		r.count(&results[i])
		r.held -= len(u.debts)
		delete(r.users, name)
	}
	return nil
}

// merge merges what is held of a batch of users into their logs.
func (r *Restoration) merge(ctx context.Context, names []string, results []Reapplied, last bool) error {
	return r.persist(ctx, names, func(i int, profileRecord, logRecord string) update {
		u := r.users[names[i]]
		results[i] = Reapplied{}
		profile, log := r.store.profile(profileRecord), r.store.sendLog(logRecord)
		if u.damaged = log.Unreadable; u.damaged {
			if !last {
				return update{}
			}
			log = SendLog{}
		}
		m := merging{policy: r.policy, profile: &profile, log: &log, now: r.now.Unix()}
		m.enter(u.debts)
		m.check()
		if results[i] = m.done; m.done.Entered == 0 || r.dry {
			return update{}
		}
		log.Version = nextVersion(logRecord)
		return update{key: logKey(names[i]), record: log.Record(), options: []any{"EX", r.lives(&log)}}
	})
}

// persist changes logs, and tries again while Redis is away.
func (r *Restoration) persist(ctx context.Context, names []string, change func(i int, profile, log string) update) error {
	for began := r.store.now(); ; {
		err := r.store.transact(ctx, names, change)
		if err == nil || ctx.Err() != nil || errors.Is(err, errConflicts) || r.store.now().Sub(began) > restorePatience {
			return err
		}
		if err := pause(ctx, maxTries); err != nil {
			return err
		}
	}
}

func (r *Restoration) count(x *Reapplied) {
	r.Users++
	r.Inserted += int64(x.Entered)
	r.Known += int64(x.Known)
	r.Full += int64(x.Left) // what is left for another reason was left before
	if x.Entered > 0 {
		r.Changed++
	}
	for i := range x.Breaches {
		b := &x.Breaches[i]
		o := r.OverCap[b.Limit]
		r.OverCap[b.Limit] = OverCap{o.Users + 1, o.Pushes + int64(b.Size)}
	}
}

// lives returns for how many seconds a log is kept from now on: as long as if it
// had been written with its newest entry.
func (r *Restoration) lives(l *SendLog) int64 {
	newest := int64(0)
	for i := range l.Entries {
		newest = max(newest, int64(l.Entries[i].At))
	}
	retain := int64(r.policy.retain / time.Second)
	return max(1, min(retain, newest+retain-r.now.Unix()))
}
