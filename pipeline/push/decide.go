package push

import (
	"slices"
	"time"
)

// holdFor is how long a push waits that cannot be decided because a record of
// its user is damaged or the clock cannot be trusted.
const holdFor = 15 * time.Minute

// holdForViewFor is how long one waits because the view of consent is not known to be
// complete: about as long as it takes to read some million users again.
const holdForViewFor = time.Minute

// Decide says whether the push may be sent at this time, and why, and returns
// the send log as it is to be kept if that changed, else nil. A profile or log
// of nil is that of a user nobody knows anything about.
//
// It is pure: the same arguments give the same answer. Time is counted in whole
// seconds. What stands in the log's future (a clock was set back) counts as if
// it were now, so that a window never opens by setting the clock.
//
// Every push is looked at afresh, also one that was allowed before: it is still
// denied when consent was withdrawn in the meantime and deferred when rest hours
// have begun. What it does not do twice is consume.
func Decide(now time.Time, p *Policy, prof *Profile, log *SendLog, r *Request) (Decision, *SendLog) {
	if prof == nil {
		prof = &Profile{DailyMax: NoDailyMax}
	}
	if log == nil {
		log = &SendLog{}
	}
	d := newDecider(now, p, prof, log, r)
	next := d.decide()
	return d.Decision, next
}

func newDecider(now time.Time, p *Policy, prof *Profile, log *SendLog, r *Request) decider {
	d := decider{policy: p, profile: prof, log: log, request: r, now: now.Unix()}
	d.At = time.Unix(d.now, 0).UTC()
	d.PolicyVersion = p.version
	d.LogSize = len(log.Entries)
	return d
}

// decider is one decision in the making.
type decider struct {
	Decision
	policy  *Policy
	profile *Profile
	log     *SendLog
	request *Request
	now     int64
	outage  *outage // nil while Redis is there

	class *class
	tag   Tag
	view  *view
	place place
}

func (d *decider) say(w Word, r Reason) { d.Decision.Decision, d.Reason = w, r }

// decide asks everything in order; the first that stands against the push
// decides. Whatever needs no record comes first, whatever consumes comes last.
func (d *decider) decide() *SendLog {
	if !d.known() {
		d.say(Deny, ReasonUnknownClass)
		return nil
	}
	d.Flags |= d.policy.doubt(d.request)
	if d.request.Halt != nil {
		// Clause: push-monitor
		// What is halted is denied, also what was allowed before and is delivered again; the decision carries the order.
		d.Halt = d.request.Halt
		d.say(Deny, ReasonHalted)
		return nil
	}
	d.findView()
	cancelled, allowed := d.log.find(d.request.Mark, d.tag)
	switch d.setDeadline(); {
	case cancelled:
		d.say(Deny, ReasonCancelled)
	case d.expired(d.now):
		d.say(Deny, ReasonExpired)
	case d.forbidden():
		// Clause: push-group
		// What a group must not be sent, or not by profiling, is denied whatever the user agreed to.
		d.say(Deny, ReasonGroup)
	case d.class.label && len(d.request.Label) == 0:
		// Clause: push-ad
		// Advertising without the label its user sees is denied; every push must name one class of the policy.
		d.say(Deny, ReasonUnlabelledAd)
	case d.class.counted && d.log.ClockOff:
		d.Flags |= ClockOff
		d.hold(ReasonStore)
	case d.outage != nil && !d.goesOn(), !d.agreed(), !d.awake():
		// They have said why.
	case !d.class.counted:
		d.allow(false)
	case d.log.Unreadable:
		// Nobody knows how many pushes stood in it. The record expires with the
		// longest window; until then counted pushes wait.
		d.Flags |= LogUnreadable
		d.hold(ReasonStore)
	case allowed:
		d.allow(true)
	default:
		return d.consume()
	}
	return nil
}

// doubt tells whether the text of a push is what its class should not hold.
//
// Clause: push-ad
// Marketing words in a push of another class are flagged by the categories that the policy names; the flag stands in the decision whatever it is, and denies nothing by itself.
func (p *Policy) doubt(r *Request) Flags {
	if len(r.Categories) == 0 {
		return 0
	}
	k := p.classes[string(r.Class)]
	if k != nil && slices.ContainsFunc(r.Categories, func(c string) bool { return slices.Contains(k.marketing, c) }) {
		return ClassDoubtful
	}
	return 0
}

// forbidden reports whether the view forbids the push.
func (d *decider) forbidden() bool {
	return d.view.forbidden.has(d.tag) || d.request.Personalised && d.view.personalised.has(d.tag)
}

// known finds the push's class and channel in the policy.
func (d *decider) known() bool {
	channel, ok := d.policy.channels[string(d.request.Channel)]
	d.class = d.policy.classes[string(d.request.Class)]
	if !ok || d.class == nil {
		return false
	}
	d.tag = tagOf(d.class.code, channel)
	return true
}

// findView finds the rules for the groups that the profile and the event name.
func (d *decider) findView() {
	if d.profile.Unreadable {
		// It may have been a minor's.
		d.Flags |= ProfileUnreadable
		d.view, d.GroupSource = d.policy.strictest, GroupFromPolicy
		d.Group = d.view.name
		return
	}
	i, fromProfile := d.policy.groups[d.profile.Group]
	j, fromEvent := d.policy.groups[string(d.request.Group)]
	if len(d.profile.Group) > 0 && !fromProfile || len(d.request.Group) > 0 && !fromEvent {
		d.Flags |= GroupUnknown
	}
	switch {
	case fromProfile && fromEvent:
		d.GroupSource = GroupFromBoth
		if i != j {
			d.Flags |= GroupConflict
		}
	case fromProfile:
		j, d.GroupSource = i, GroupFromProfile
	case fromEvent:
		i, d.GroupSource = j, GroupFromEvent
	default:
		i, j, d.GroupSource = d.policy.def, d.policy.def, GroupFromPolicy
	}
	d.view = d.policy.views[i][j]
	d.Group = d.view.name
}

// setDeadline finds the time after which the push must not be sent: what the
// event says, and for classes that must have a deadline not later than some time
// after the event.
func (d *decider) setDeadline() {
	if !d.request.Expires.IsZero() {
		d.Deadline = d.request.Expires.UTC()
	}
	if !d.policy.deadline[d.class.name] {
		return
	}
	if latest := d.request.Time.UTC().Add(d.policy.maxAge); d.Deadline.IsZero() || latest.Before(d.Deadline) && !d.request.Time.IsZero() {
		d.Deadline = latest
	}
	if d.Deadline.Unix() > lastSecond {
		d.Deadline = time.Unix(lastSecond, 0).UTC()
	}
}

// lastSecond is 9999-12-31T23:59:59Z, the last that RFC 3339 can write. An event
// may be dated that late, and its deadline lies after it.
const lastSecond = 253402300799

// expired reports whether the deadline has passed at a second.
func (d *decider) expired(t int64) bool {
	return !d.Deadline.IsZero() && time.Unix(t, 0).After(d.Deadline)
}

// agreed reports whether the class needs no consent or has it.
//
// Clause: push-consent
// Without consent for its class on its channel a push of a class that needs it is denied.
func (d *decider) agreed() bool {
	if !d.class.consent {
		d.Consent = ConsentUse{Version: d.profile.Version, State: ConsentNotNeeded}
		return true
	}
	if d.profile.Unreadable {
		// It may have held a withdrawal. The user's next consent event makes it
		// readable again.
		d.Consent = ConsentUse{State: ConsentUnknown}
		d.hold(ReasonHeld)
		return false
	}
	if d.profile.Doubtful {
		d.Consent = ConsentUse{State: ConsentUnknown}
		d.holdForView()
		return false
	}
	d.Consent = d.profile.consent(d.tag, d.now)
	switch d.Consent.State {
	case ConsentGranted:
		return true
	case ConsentWithdrawn:
		d.say(Deny, ReasonWithdrawn)
	default:
		d.say(Deny, ReasonNoConsent)
	}
	return false
}

// findPlace finds where the user lives.
func (d *decider) findPlace() {
	loc := (*time.Location)(nil)
	if d.profile.Zone != "" {
		loc = d.policy.zones.find(d.profile.Zone)
	}
	d.Zone, d.ZoneSource = d.profile.Zone, ZoneFromProfile
	if loc == nil {
		loc, d.Zone, d.ZoneSource = d.policy.loc, d.policy.zone, ZoneFromPolicy
		d.Flags |= ZoneDefaulted
	}
	d.place = placeIn(loc, d.now)
	d.LocalTime = time.Unix(d.now, 0).In(loc)
}

// awake reports whether the push may come at this hour, and until when.
//
// Clause: push-quiet
// In rest hours, the group's or the user's own, in the user's time zone, pushes are deferred or denied by class.
func (d *decider) awake() bool {
	ignored := d.class.quiet == quietIgnore
	if ignored && !d.class.counted {
		return true // nothing depends on where the user is
	}
	if d.findPlace(); ignored {
		return true
	}
	d.findQuiet()
	end, ends := d.place.quietEnd(d.now, d.Quiet)
	if ends && end == d.now {
		if start, ok := d.place.quietStart(d.now, d.Quiet); ok {
			d.NotAfter = time.Unix(start-1, 0).UTC()
		}
		return true
	}
	if ends {
		d.NotBefore = time.Unix(end, 0).UTC()
	}
	// To defer a push beyond its deadline would promise what cannot be kept.
	if d.class.quiet == quietDefer && ends && !d.expired(end) {
		d.say(Defer, ReasonQuietHours)
	} else if d.stranger() {
		d.wait() // it may be no rest time where they are
	} else {
		d.say(Deny, ReasonQuietHours)
	}
	return false
}

// findQuiet finds the rest hours that apply to the user.
func (d *decider) findQuiet() {
	d.Quiet = d.view.quiet
	if own := d.profile.Quiet; own != (Window{}) && d.policy.userQuiet && !slices.Contains(d.Quiet, own) {
		d.Quiet = append(slices.Clone(d.Quiet), own)
	}
}

// hold makes the push wait because a record cannot be read.
func (d *decider) hold(r Reason) { d.holdUntil(r, d.now+int64(holdFor/time.Second)) }

func (d *decider) holdUntil(r Reason, until int64) {
	d.NotAfter = time.Time{}
	d.NotBefore = time.Unix(until, 0).UTC()
	d.say(Defer, r)
	if d.expired(until) {
		d.say(Deny, r)
	}
}

// holdForView makes the push wait until the view of consent may be complete again. That
// is no fault of the user or the push, so it is not denied for it: if its deadline comes
// earlier, it is decided once more at that second.
func (d *decider) holdForView() {
	until := d.now + int64(holdForViewFor/time.Second)
	if !d.Deadline.IsZero() {
		until = min(until, d.Deadline.Unix())
	}
	d.NotBefore = time.Unix(until, 0).UTC()
	d.say(Defer, ReasonHeld)
}

func (d *decider) allow(replay bool) {
	d.say(Allow, ReasonNone)
	d.Replay = replay
	if end := d.Deadline; !end.IsZero() && (d.NotAfter.IsZero() || end.Before(d.NotAfter)) {
		d.NotAfter = end
	}
}

// consume allows the push if every limit has room for it, and enters it into the
// log; else nothing is consumed of any.
//
// Clause: push-frequency
// Every limit that covers the push must have room, the user's own daily limit among them: the smaller of policy and user always wins.
func (d *decider) consume() *SendLog {
	limits := d.view.limits
	d.Limits = make([]LimitUse, 0, len(limits)+1)
	reached, free := false, int64(0)
	use := func(l *limit) {
		if d.stranger() {
			l = d.share(l)
		}
		from, n := d.count(l)
		d.Limits = append(d.Limits, LimitUse{ID: l.id, From: time.Unix(from, 0).UTC(), Count: n, Max: l.max, By: l.by})
		if n < l.max {
			return
		}
		again, ok := d.roomAgain(l)
		if !ok {
			again = never
		}
		if free = max(free, again); !reached {
			reached, d.Limit, d.Count, d.Max = true, l.id, n, l.max
		}
	}
	for i := range limits {
		if l := &limits[i]; l.tags.has(d.tag) {
			use(l)
		}
	}
	if d.profile.DailyMax != NoDailyMax && d.policy.userDaily {
		l := dailyLimit(d.profile.DailyMax)
		use(&l)
	}
	switch {
	case reached && d.stranger():
		d.Limit, d.Count, d.Max = "", 0, 0
		d.wait() // they may have had fewer than the limit allows
		return nil
	case reached:
		d.full(free)
		return nil
	}
	next := d.log.with(Entry{At: uint32(d.now), Tag: d.tag, State: counted, Mark: d.request.Mark}, &d.policy.keep)
	if next == nil {
		d.Limit, d.Count, d.Max = limitSendLog, len(d.log.Entries), maxEntries
		d.full(never)
		return nil
	}
	d.allow(false)
	return next
}

// dailyLimit is the limit that a user has set.
func dailyLimit(most uint16) limit {
	return limit{id: limitUserDaily, tags: ^tagSet(0), days: 1, max: int(most), by: ByUser}
}

const never = 1 << 62

// full says that a limit is reached, which has room again at a time.
func (d *decider) full(free int64) {
	d.NotAfter = time.Time{}
	if free != never {
		d.NotBefore = time.Unix(free, 0).UTC()
	}
	if d.class.onCap == capDefer && free != never && !d.expired(free) {
		d.say(Defer, ReasonCap)
	} else {
		d.say(Deny, ReasonCap)
	}
}

// count returns the first second of the limit's window and how many pushes count in it.
func (d *decider) count(l *limit) (from int64, n int) {
	from = d.windowStart(l, d.now)
	return from, d.countFrom(l, from)
}

// windowStart returns the first second of the window that ends at a time.
func (d *decider) windowStart(l *limit, t int64) int64 {
	if l.days > 0 {
		return d.place.dayStart(t, l.days-1)
	}
	return t - l.rolling + 1
}

func (d *decider) countFrom(l *limit, from int64) int {
	n := 0
	for i := range d.log.Entries {
		if e := &d.log.Entries[i]; e.State == counted && int64(e.At) >= from && l.tags.has(e.Tag) {
			n++
		}
	}
	return n
}

// roomAgain returns when a reached limit will have room for one push more, if
// nothing else is allowed until then: when enough entries have left its window.
func (d *decider) roomAgain(l *limit) (int64, bool) {
	if l.days > 0 {
		for later := int64(1); later <= l.days; later++ {
			if d.countFrom(l, d.place.dayStart(d.now, l.days-1-later)) < l.max {
				return d.place.dayStart(d.now, -later), true
			}
		}
		return 0, false // a limit of none, or entries in the future
	}
	if l.max == 0 {
		return 0, false
	}
	from := d.now - l.rolling + 1
	var room [maxEntries]int64 // so that nothing is allocated for most denials there are
	times := room[:0]
	for i := range d.log.Entries {
		if e := &d.log.Entries[i]; e.State == counted && int64(e.At) >= from && l.tags.has(e.Tag) {
			times = append(times, int64(e.At))
		}
	}
	slices.Sort(times) // a clock may have been set back between them
	return times[len(times)-l.max] + l.rolling, true
}
