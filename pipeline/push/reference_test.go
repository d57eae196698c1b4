package push

import (
	"fmt"
	"time"
)

// This file decides pushes a second time, as plainly as it can be written: it
// keeps every send there ever was, walks through time minute by minute, and
// shares no code with the engine. It is slow, and it is the promise. The policy
// it follows is testdata/model.good.yaml, written down again by hand.

type refLimit struct {
	id       string
	classes  string // names, each between blanks; empty: all counted
	channels string
	seconds  int64
	days     int
	max      int
}

type refGroup struct {
	rest   [2]int // minutes of the day; equal: none
	never  string // classes
	never2 string // classes, when personalised
	limits []refLimit
}

func refGroups() map[string]refGroup {
	limits := func(hour, day, week, service int) []refLimit {
		return []refLimit{
			{"mkt-hour", " marketing content ", "", 3600, 0, hour},
			{"mkt-day", " marketing content ", "", 0, 1, day},
			{"mkt-week", " marketing content ", "", 604800, 0, week},
			{"svc-day", " service ", "", 0, 1, service},
			{"sms-2day", " marketing service ", " sms ", 0, 2, 3},
			{"news-days", " news ", "", 0, 3, 2},
			{"all-quarter", "", "", 900, 0, 4},
		}
	}
	return map[string]refGroup{
		"default": {rest: [2]int{1320, 480}, limits: limits(2, 5, 12, 9)},
		"minor":   {rest: [2]int{1260, 540}, never: " news ", never2: " marketing ", limits: limits(1, 2, 5, 6)},
		"elderly": {rest: [2]int{1200, 480}, limits: limits(2, 3, 8, 9)},
		"vip":     {limits: limits(2, 7, 8, 9)},
	}
}

// refUser is what the reference knows of one user.
type refUser struct {
	version uint64
	group   string
	zone    string
	rest    [2]int
	daily   int                  // -1: none
	granted map[string]time.Time // "class channel"
	taken   map[string]bool
	sends   []refSend
}

type refSend struct {
	at             int64
	class, channel string
	id             string
	refunded       bool
}

type refPush struct {
	user, id, class, channel, group string
	campaign, sender                string
	labelled, personalised          bool
	time, expires                   time.Time // expires zero: none
}

type refAnswer struct {
	decision, reason, limit string
	halt                    string // "scope value"
	count, max              int
	notBefore, notAfter     time.Time
	replay                  bool
	zoneUnknown, conflict   bool
	counts                  []string // "id from count"
}

type reference struct {
	groups map[string]refGroup
	users  map[string]*refUser
	zones  map[string]*time.Location
	starts map[string]int64 // of local dates
	halted map[string]bool  // "scope value"
}

func newReference() *reference {
	return &reference{groups: refGroups(), users: make(map[string]*refUser), zones: make(map[string]*time.Location), starts: make(map[string]int64), halted: make(map[string]bool)}
}

func (r *reference) user(name string) *refUser {
	u := r.users[name]
	if u == nil {
		u = &refUser{daily: -1}
		r.users[name] = u
	}
	return u
}

func (r *reference) zone(name string) (*time.Location, bool) {
	loc, ok := r.zones[name]
	if !ok {
		loc, _ = time.LoadLocation(name)
		r.zones[name] = loc
	}
	if name == "" || loc == nil {
		shanghai, _ := r.zone("Asia/Shanghai")
		return shanghai, false
	}
	return loc, true
}

func resting(t int64, loc *time.Location, windows [][2]int) bool {
	h, m, _ := time.Unix(t, 0).In(loc).Clock()
	now := 60*h + m
	for _, w := range windows {
		if w[0] < w[1] && now >= w[0] && now < w[1] || w[0] > w[1] && (now >= w[0] || now < w[1]) {
			return true
		}
	}
	return false
}

// walk returns the first minute after t at which it is rest time, or is not.
func walk(t int64, loc *time.Location, windows [][2]int, rest bool, days int) (int64, bool) {
	begin := t
	for t = t - t%60 + 60; t < begin+int64(days)*86400; t += 60 {
		if resting(t, loc, windows) == rest {
			return t, true
		}
	}
	return 0, false
}

// start returns the first minute whose date is the one so many days before that
// of now, or a later one.
func (r *reference) start(now int64, loc *time.Location, back int) int64 {
	y, m, d := time.Unix(now, 0).In(loc).Date()
	want := time.Date(y, m, d-back, 0, 0, 0, 0, time.UTC) // as a date, not as an instant
	key := loc.String() + want.String()
	if t, ok := r.starts[key]; ok {
		return t
	}
	t := want.Unix() - 30*3600
	for {
		y, m, d := time.Unix(t, 0).In(loc).Date()
		if !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(want) {
			break
		}
		t += 60
	}
	r.starts[key] = t
	return t
}

func in(list, word string) bool {
	for i := 0; i+len(word)+2 <= len(list); i++ {
		if list[i:i+len(word)+2] == " "+word+" " {
			return true
		}
	}
	return false
}

func (l *refLimit) covers(class, channel string) bool {
	if class == "security" {
		return false
	}
	return (l.classes == "" || in(l.classes, class)) && (l.channels == "" || in(l.channels, channel))
}

// window returns the first second that counts at a time.
func (r *reference) window(l *refLimit, now int64, loc *time.Location) int64 {
	if l.days > 0 {
		return r.start(now, loc, l.days-1)
	}
	return now - l.seconds + 1
}

func (r *reference) count(u *refUser, l *refLimit, now int64, loc *time.Location) int {
	n := 0
	for _, s := range u.sends {
		if !s.refunded && l.covers(s.class, s.channel) && s.at >= r.window(l, now, loc) {
			n++
		}
	}
	return n
}

// free returns the first time at which the limit has room, trying all times at
// which something can leave its window.
func (r *reference) free(u *refUser, l *refLimit, now int64, loc *time.Location) (int64, bool) {
	var tries []int64
	for _, s := range u.sends {
		tries = append(tries, s.at+l.seconds)
	}
	if l.days > 0 {
		tries = nil
		for k := 1; k <= l.days; k++ {
			tries = append(tries, r.start(now, loc, -k))
		}
	}
	best, found := int64(0), false
	for _, t := range tries {
		if t > now && (!found || t < best) && r.count(u, l, t, loc) < l.max {
			best, found = t, true
		}
	}
	return best, found
}

func (r *reference) decide(now int64, q *refPush) refAnswer {
	u := r.user(q.user)
	var a refAnswer
	say := func(decision, reason string) refAnswer {
		a.decision, a.reason = decision, reason
		return a
	}
	if !in(" security service content marketing news ", q.class) || !in(" app sms popup tv ", q.channel) {
		return say("deny", "unknown-class")
	}
	for _, what := range []string{"campaign " + q.campaign, "sender " + q.sender, "class " + q.class} {
		if r.halted[what] {
			a.halt = what
			return say("deny", "halted")
		}
	}
	// Whose rules: those of both groups named, if they are known.
	var rules []refGroup
	names := map[string]bool{}
	for _, g := range []string{u.group, q.group} {
		if known, ok := r.groups[g]; ok && !names[g] {
			rules, names[g] = append(rules, known), true
		}
	}
	if len(rules) == 0 {
		rules = append(rules, r.groups["default"])
	}
	a.conflict = len(rules) > 1
	seen := false
	for _, s := range u.sends {
		if s.id == q.id && s.refunded {
			return say("deny", "cancelled")
		}
		seen = seen || s.id == q.id && s.class == q.class && s.channel == q.channel
	}
	deadline := q.expires
	if q.class == "marketing" && (deadline.IsZero() || q.time.Add(6*time.Hour).Before(deadline)) {
		deadline = q.time.Add(6 * time.Hour)
	}
	late := func(t int64) bool { return !deadline.IsZero() && time.Unix(t, 0).After(deadline) }
	if late(now) {
		return say("deny", "expired")
	}
	for _, g := range rules {
		if in(g.never, q.class) || q.personalised && in(g.never2, q.class) {
			return say("deny", "group")
		}
	}
	if q.class == "marketing" && !q.labelled {
		return say("deny", "unlabelled-ad")
	}
	if q.class == "content" || q.class == "marketing" || q.class == "news" {
		since, granted := u.granted[q.class+" "+q.channel]
		if u.taken[q.class+" "+q.channel] {
			return say("deny", "withdrawn")
		}
		if !granted || since.After(time.Unix(now, 0)) {
			return say("deny", "no-consent")
		}
	}
	loc, known := r.zone(u.zone)
	a.zoneUnknown = !known && q.class != "security"
	if q.class != "security" && q.class != "service" {
		var windows [][2]int
		for _, g := range rules {
			windows = append(windows, g.rest)
		}
		windows = append(windows, u.rest)
		if resting(now, loc, windows) {
			end, ok := walk(now, loc, windows, false, 5)
			if ok {
				a.notBefore = time.Unix(end, 0)
			}
			if q.class == "news" || !ok || late(end) {
				return say("deny", "quiet-hours")
			}
			return say("defer", "quiet-hours")
		}
		if begin, ok := walk(now, loc, windows, true, 3); ok {
			a.notAfter = time.Unix(begin-1, 0)
		}
	}
	if !deadline.IsZero() && (a.notAfter.IsZero() || deadline.Before(a.notAfter)) {
		a.notAfter = deadline
	}
	if q.class == "security" {
		return say("allow", "none")
	}
	if seen {
		a.replay = true
		return say("allow", "none")
	}
	// All limits of all groups that apply; the user's own over everything.
	var limits []refLimit
	for i := range r.groups["default"].limits {
		l := rules[0].limits[i]
		for _, g := range rules {
			l.max = min(l.max, g.limits[i].max)
		}
		if l.covers(q.class, q.channel) {
			limits = append(limits, l)
		}
	}
	if u.daily >= 0 {
		limits = append(limits, refLimit{id: "user-daily", days: 1, max: u.daily})
	}
	full, never, free := false, false, int64(0)
	for i := range limits {
		l := &limits[i]
		n := r.count(u, l, now, loc)
		a.counts = append(a.counts, fmt.Sprint(l.id, " ", r.window(l, now, loc), " ", n, "/", l.max))
		if n < l.max {
			continue
		}
		if !full {
			full, a.limit, a.count, a.max = true, l.id, n, l.max
		}
		t, ok := r.free(u, l, now, loc)
		never, free = never || !ok, max(free, t)
	}
	if full {
		a.notAfter = time.Time{}
		if !never {
			a.notBefore = time.Unix(free, 0)
		}
		if q.class == "content" && !never && !late(free) {
			return say("defer", "cap")
		}
		return say("deny", "cap")
	}
	u.sends = append(u.sends, refSend{at: now, class: q.class, channel: q.channel, id: q.id})
	return say("allow", "none")
}

func (r *reference) refund(user, id string) bool {
	given := false
	for i, s := range r.user(user).sends {
		if s.id == id && !s.refunded {
			r.user(user).sends[i].refunded, given = true, true
		}
	}
	return given
}
