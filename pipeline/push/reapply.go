package push

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Allowed is a push that was allowed, by a record of it that is not the user's
// send log: the log may lack it.
type Allowed struct {
	User, ID       []byte
	Class, Channel string
	Group          string    // of the user, as the event said; empty when it said nothing
	At             time.Time // decision time
}

// Reapplied is what became of pushes that were entered into send logs afterwards.
type Reapplied struct {
	Entered int // were missing and are in their users' logs now
	Known   int // were there
	// Left were not entered: the policy does not know or count their class, no
	// window can see them any more, or their user's log is damaged or full.
	Left     int
	Breaches []Breach
}

func (r *Reapplied) add(more Reapplied) {
	r.Entered += more.Entered
	r.Known += more.Known
	r.Left += more.Left
	r.Breaches = append(r.Breaches, more.Breaches...)
}

// Breach says that a user was allowed more than a limit allows: what was decided
// on did not show all that had been sent. It names the user by pseudonym only.
//
// Clause: push-breach
// A push over a limit is booked with cause, limit, size (how many more than allowed) and the time it went on.
type Breach struct {
	Cause         BreachCause `json:"cause"`
	Limit         string      `json:"limit"`
	Count         int         `json:"count"` // allowed in the window
	Max           int         `json:"max"`
	Size          int         `json:"size"`                 // Count - Max: the measure of how grave it is
	WindowFrom    time.Time   `json:"window_from,omitzero"` // the first second of the window
	WindowTo      time.Time   `json:"window_to"`            // when the last push of the window was allowed
	Group         string      `json:"group,omitempty"`
	Pseudonym     string      `json:"pseudonym"`
	PseudonymKey  string      `json:"pseudonym_key"`
	PolicyVersion string      `json:"policy_version"`
	Policy        string      `json:"policy"`        // digest
	From          time.Time   `json:"from,omitzero"` // of the cause
	To            time.Time   `json:"to,omitzero"`
}

// BreachCause says why more was allowed than a limit allows.
type BreachCause string

// CauseOutage is that pushes were decided while Redis was away.
const CauseOutage BreachCause = "outage"

// BreachCauses returns every cause.
func BreachCauses() []BreachCause { return []BreachCause{CauseOutage} }

// Reapply enters pushes that were allowed into their users' send logs, each at
// its time and once: what is there already, also as cancelled, stays as it is. So
// it may be called again with the same pushes, in whole or in part. It says where
// a user has had more, in a window with one of these pushes, than a limit of the
// policy allows; again when it is called again.
//
// An error is one of the store. Some of the pushes may have been entered.
func (s *Store) Reapply(ctx context.Context, p *Policy, now time.Time, list []Allowed) (Reapplied, error) {
	var done Reapplied
	debts := make([]debt, 0, len(list))
	for i := range list {
		a := &list[i]
		channel, ok := p.channels[a.Channel]
		class := p.classes[a.Class]
		if !ok || class == nil || !class.counted {
			done.Left++
			continue
		}
		debts = append(debts, debt{
			user: s.names.user(a.User), group: a.Group,
			entry: Entry{At: unixTime(a.At), Tag: tagOf(class.code, channel), State: counted, Mark: s.names.push(a.ID)},
		})
	}
	more, err := s.reapply(ctx, p, now, debts)
	done.add(more)
	return done, err
}

// debt is one entry that a user's send log may lack.
type debt struct {
	user  string // pseudonym
	group string // as the event said
	entry Entry
}

func (s *Store) reapply(ctx context.Context, p *Policy, now time.Time, list []debt) (Reapplied, error) {
	// Users together, each one's pushes in the order of their times.
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b debt) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.entry.At, b.entry.At))
	})
	var done Reapplied
	for len(list) > 0 {
		n := 0
		var users []string
		var of [][]debt
		for n < len(list) && len(users) < maxBatch {
			from := n
			for n < len(list) && list[n].user == list[from].user {
				n++
			}
			users, of = append(users, list[from].user), append(of, list[from:n])
		}
		made := make([]Reapplied, len(users))
		err := s.transact(ctx, users, func(u int, profileRecord, logRecord string) update {
			profile, log := s.profile(profileRecord), s.sendLog(logRecord)
			m := merging{policy: p, profile: &profile, log: &log, now: now.Unix()}
			m.enter(of[u])
			for i := range m.done.Breaches {
				m.done.Breaches[i].Pseudonym, m.done.Breaches[i].PseudonymKey = users[u], s.names.id
			}
			if made[u] = m.done; m.done.Entered == 0 {
				return update{}
			}
			log.Version = nextVersion(logRecord)
			return update{key: logKey(users[u]), record: log.Record(), options: []any{"EX", int64(p.retain / time.Second)}}
		})
		if err != nil {
			return done, fmt.Errorf("re-apply pushes: %w", err)
		}
		for _, m := range made {
			done.add(m)
		}
		list = list[n:]
	}
	return done, nil
}

// merging enters pushes into one user's log.
type merging struct {
	policy  *Policy
	profile *Profile
	log     *SendLog
	now     int64
	done    Reapplied
}

func (m *merging) enter(list []debt) {
	if m.log.Unreadable {
		m.done.Left += len(list)
		return
	}
	var entered, noRoom []debt // entered now or before
	for i := range list {
		o := &list[i]
		switch {
		case m.log.knows(&o.entry):
			m.done.Known++
		case int64(o.entry.At) <= m.now-m.policy.keep[o.entry.Tag]:
			m.done.Left++ // no window sees it any more
			continue
		case !m.log.insert(o.entry, m.now, &m.policy.keep):
			m.done.Left++
			noRoom = append(noRoom, *o)
			continue
		default:
			m.done.Entered++
		}
		entered = append(entered, *o)
	}
	m.check(entered)
	if n := len(noRoom); n > 0 {
		m.breach(&limit{id: limitSendLog, max: maxEntries}, maxEntries+n, 0, int64(noRoom[n-1].entry.At), "")
	}
}

// knows reports whether an entry is there, or its push was cancelled. An id that
// came as two classes is two pushes, as find has it.
func (l *SendLog) knows(e *Entry) bool {
	return slices.ContainsFunc(l.Entries, func(old Entry) bool {
		return old.Mark == e.Mark && (old.Tag == e.Tag || old.State == refunded && e.State == counted)
	})
}

// limitsOf returns the limits that cover a tag, the user's own among them.
func (d *decider) limitsOf(tag Tag) []limit {
	var limits []limit
	for _, l := range d.view.limits {
		if l.tags.has(tag) {
			limits = append(limits, l)
		}
	}
	if own := d.profile.DailyMax; own != NoDailyMax && d.policy.userDaily {
		limits = append(limits, dailyLimit(own))
	}
	return limits
}

// check looks for limits that are exceeded in any window with one of these
// pushes, and books each once, by the window that holds the most.
func (m *merging) check(entered []debt) {
	type worst struct {
		limit    limit
		from, to int64
		count    int
		group    string
	}
	var found []worst
	for i := range entered {
		o := &entered[i]
		d := decider{policy: m.policy, profile: m.profile, log: m.log, now: m.now, request: &Request{Group: []byte(o.group)}}
		d.findView()
		d.findPlace()
		for _, l := range d.limitsOf(o.entry.Tag) {
			for j := range m.log.Entries {
				// Every window ends with an entry: later ones hold fewer.
				last := &m.log.Entries[j]
				if last.State != counted || last.At < o.entry.At || !l.tags.has(last.Tag) {
					continue
				}
				from := d.windowStart(&l, int64(last.At))
				if from > int64(o.entry.At) {
					continue
				}
				n := 0
				for k := range m.log.Entries {
					if e := &m.log.Entries[k]; e.State == counted && l.tags.has(e.Tag) && int64(e.At) >= from && e.At <= last.At {
						n++
					}
				}
				if n <= l.max {
					continue
				}
				w := worst{l, from, int64(last.At), n, d.view.name}
				at := slices.IndexFunc(found, func(w worst) bool { return w.limit.id == l.id })
				if at < 0 {
					found = append(found, w)
				} else if n-l.max > found[at].count-found[at].limit.max {
					found[at] = w
				}
			}
		}
	}
	for i := range found {
		w := &found[i]
		m.breach(&w.limit, w.count, w.from, w.to, w.group)
	}
}

func (m *merging) breach(l *limit, count int, from, to int64, group string) {
	b := Breach{
		Limit: l.id, Count: count, Max: l.max, Size: count - l.max, Group: group,
		WindowTo:      time.Unix(to, 0).UTC(),
		PolicyVersion: m.policy.version, Policy: m.policy.digest,
	}
	if from > 0 {
		b.WindowFrom = time.Unix(from, 0).UTC()
	}
	m.done.Breaches = append(m.done.Breaches, b)
}
