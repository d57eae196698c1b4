package push

import (
	"hash/fnv"
	"math"
	"time"
)

// A push that is held because Redis is away waits for this long, and up to as
// long again by a hash of its user, so that not all are back at once.
const awayFor = time.Minute

// remembered is what this process knows of a user without asking Redis.
type remembered struct {
	// profile is nil if nothing is remembered: the user is a stranger.
	profile *Profile
	// log is the send log as it was seen last, with what was allowed since. Of a
	// stranger it holds only the latter.
	log SendLog
}

// outage tells a decider that Redis is away, and what that means for the user.
type outage struct {
	stranger bool
	full     bool // nothing more can be counted locally
}

// decideWithout decides a push while Redis is away: as [Decide] does for all that
// needs no record, and then by the rule of its class. It is as pure. The log it
// returns, if not nil, is what the user's memory must hold from now on.
func decideWithout(now time.Time, p *Policy, m *remembered, full bool, r *Request) (Decision, *SendLog) {
	profile := m.profile
	if profile == nil {
		profile = &Profile{DailyMax: NoDailyMax}
	}
	d := newDecider(now, p, profile, &m.log, r)
	d.outage = &outage{stranger: m.profile == nil, full: full}
	d.Flags = Degraded
	next := d.decide()
	return d.Decision, next
}

// waitForStore is the decision on a counted push whose user's records cannot be
// written although Redis is there. Nothing is remembered and nothing counted.
func waitForStore(now time.Time, p *Policy, r *Request) Decision {
	d, _ := decideWithout(now, p, &remembered{}, true, r)
	d.Flags &^= Degraded
	return d
}

// goesOn reports whether the push is decided on although Redis is away. Else it
// has said what becomes of it.
//
// Clause: push-breach
// While Redis is away each class does what the policy promises for that: wait, go by what is remembered, go on, or stop.
func (d *decider) goesOn() bool {
	if d.outage.stranger {
		// They may be of any group.
		d.view = d.policy.strictest
		d.Group, d.GroupSource = d.view.name, GroupFromPolicy
	}
	switch rule := d.class.onOutage; {
	case rule == outageDeny:
		d.say(Deny, ReasonStore)
	case rule == outageHold, rule == outageLocal && d.outage.full, d.forbidden():
		d.wait()
	default:
		return true
	}
	return false
}

// wait makes the push wait for Redis. A decision for good that only a record
// could change must not be made without it.
func (d *decider) wait() {
	h := fnv.New32a()
	_, _ = h.Write(d.request.User) // a hash never fails
	spread := int64(awayFor / time.Second)
	d.holdUntil(ReasonStore, d.now+spread+int64(h.Sum32())%spread)
}

// stranger reports whether Redis is away and nothing is remembered of the user.
func (d *decider) stranger() bool { return d.outage != nil && d.outage.stranger }

// share returns what a stranger may use of a limit: they may have used some of it
// already.
func (d *decider) share(l *limit) *limit {
	const rounding = 1e-9 // 0.29 of 100 are 29
	part := *l
	part.max = int(math.Floor(float64(l.max)*d.class.localRatio + rounding))
	return &part
}
