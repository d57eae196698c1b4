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
	Left int
	// Unconfirmed are users whose logs are written, but whom no replica had in time
	// although the policy promises one.
	Unconfirmed int
	Breaches    []Breach
}

func (r *Reapplied) add(more Reapplied) {
	r.Entered += more.Entered
	r.Known += more.Known
	r.Left += more.Left
	r.Unconfirmed += more.Unconfirmed
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
		class, tag := p.classAndTag(a.Class, a.Channel)
		if class == nil || !class.counted {
			done.Left++
			continue
		}
		debts = append(debts, debt{
			user: s.names.user(a.User), group: a.Group,
			entry: Entry{At: unixTime(a.At), Tag: tag, State: counted, Mark: s.names.push(a.ID)},
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
		for n < len(list) && n < maxBatch {
			from := n
			for n < len(list) && list[n].user == list[from].user {
				n++
			}
			users, of = append(users, list[from].user), append(of, list[from:n])
		}
		made := make([]merging, len(users))
		unconfirmed, err := s.commit(ctx, users, p.replicated, make([]bool, len(users)), func(u int, profileRecord, logRecord string) update {
			profile, log := s.profile(profileRecord), s.sendLog(logRecord)
			m := merging{policy: p, profile: &profile, log: &log, now: now.Unix()}
			m.enter(of[u])
			if made[u] = m; m.done.Entered == 0 {
				return update{}
			}
			log.Version = nextVersion(logRecord)
			return update{key: logKey(users[u]), record: log.Record(), options: []any{"EX", int64(p.retain / time.Second)}}
		})
		if err != nil {
			return done, fmt.Errorf("re-apply pushes: %w", err)
		}
		done.Unconfirmed += len(unconfirmed)
		for u := range made {
			m := &made[u]
			m.check()
			for i := range m.done.Breaches {
				m.done.Breaches[i].Pseudonym, m.done.Breaches[i].PseudonymKey = users[u], s.names.id
			}
			done.add(m.done)
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
	entered []debt // now or before
	done    Reapplied
}

func (m *merging) enter(list []debt) {
	if m.log.Unreadable {
		m.done.Left += len(list)
		return
	}
	var noRoom []debt
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
		m.entered = append(m.entered, *o)
	}
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

// check looks for limits that are exceeded in any window with one of these
// pushes, and books each once, by the window that holds the most.
func (m *merging) check() {
	var groups []string // as the events said: nearly always one
	for i := range m.entered {
		if g := m.entered[i].group; !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	booked := make(map[string]bool)
	for _, g := range groups {
		d := decider{policy: m.policy, profile: m.profile, log: m.log, now: m.now, request: &Request{Group: []byte(g)}}
		d.findView()
		d.findPlace()
		limits := slices.Clone(d.view.limits)
		if own := d.profile.DailyMax; own != NoDailyMax && d.policy.userDaily {
			limits = append(limits, dailyLimit(own))
		}
		for i := range limits {
			if l := &limits[i]; !booked[l.id] {
				booked[l.id] = m.checkLimit(&d, l, g)
			}
		}
	}
}

// checkLimit books the fullest window of a limit that holds more than it allows
// and a push of the group that was entered, and reports whether there is one.
func (m *merging) checkLimit(d *decider, l *limit, group string) bool {
	// Both in order: a clock may have been set back between entries.
	var times, entered []int64
	for i := range m.log.Entries {
		if e := &m.log.Entries[i]; e.State == counted && l.tags.has(e.Tag) {
			times = append(times, int64(e.At))
		}
	}
	for i := range m.entered {
		if o := &m.entered[i]; o.group == group && l.tags.has(o.entry.Tag) {
			entered = append(entered, int64(o.entry.At))
		}
	}
	if len(times) <= l.max || len(entered) == 0 {
		return false
	}
	slices.Sort(times)
	slices.Sort(entered)
	most, from, to := l.max, int64(0), int64(0)
	for i, last := range times {
		// A window that ends with an entry holds no fewer than one that ends before the next.
		start := d.windowStart(l, last)
		first, _ := slices.BinarySearch(times[:i+1], start)
		of, _ := slices.BinarySearch(entered, start)
		if n := i + 1 - first; n > most && of < len(entered) && entered[of] <= last {
			most, from, to = n, start, last
		}
	}
	if to == 0 {
		return false
	}
	m.breach(l, most, from, to, d.view.name)
	return true
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
