package push

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The groups that need no words: default is for everybody nobody knows anything
// about, the other two are protected.
const (
	groupDefault = "default"
	groupMinor   = "minor"
	groupElderly = "elderly"
)

// The limits that are no policy's own.
const (
	limitUserDaily = "user-daily" // what the user has set
	limitSendLog   = "send-log"   // no room for another entry
)

// maxCodes is how many classes and how many channels there can be: a tag has
// three bits for each.
const maxCodes = 8

// Policy is a compiled policy file. It does not change and may be used by any
// number of goroutines.
type Policy struct {
	version string
	digest  string
	zone    string
	loc     *time.Location
	zones   *zones

	classes   map[string]*class
	channels  map[string]uint8
	groups    map[string]int // index into views
	def       int
	views     [][]*view // of the group the profile says and the one the event says
	strictest *view     // all groups at once

	userQuiet bool // users may have rest hours of their own
	userDaily bool // users may have a daily limit of their own

	deadline map[string]bool // classes that must have one
	maxAge   time.Duration   // which ends this long after the event's time at the latest

	keep   [numTags]int64 // for how many seconds entries of a tag are seen by any limit
	retain time.Duration  // how long a log is kept after its last entry
	bound  int
}

// class is one class of pushes.
type class struct {
	name    string
	code    uint8
	consent bool
	quiet   quietRule
	counted bool
	label   bool
	onCap   capRule
}

// group is one group of users, what it extends resolved.
type group struct {
	name          string
	justification string
	quiet         Window
	forbidden     tagSet // always
	personalised  tagSet // forbidden when personalised
	limits        []limit
}

// limit is a number of pushes in a window of time.
type limit struct {
	id      string
	tags    tagSet
	rolling int64 // seconds; or
	days    int64 // calendar days, today included
	max     int
	path    string // in the file, for messages
}

// reach returns how many seconds back entries must be kept for the limit.
func (l *limit) reach() int64 {
	if l.days > 0 {
		return l.days*secondsADay + slack
	}
	return l.rolling + slack
}

// slack is how much longer than its window an entry is kept. A local day can be
// longer than 24 hours, and clocks can be set back: a window that was open at a
// later time must not be found emptied at an earlier one. Changing zones needs no
// slack, since a calendar day reaches back no farther in one zone than in another.
const slack = 3 * 60 * 60

// view is what applies to a user: the rules of a group, or the stricter of each
// rule of several.
type view struct {
	name         string
	quiet        []Window
	forbidden    tagSet
	personalised tagSet
	limits       []limit
}

// viewOf merges groups so that the stricter rule always wins: what one forbids
// is forbidden, rest hours are those of all, every limit holds.
//
// Clause: push-group
// Where event and profile name different groups, whatever is stricter in either applies, and the decision says so.
func viewOf(groups ...*group) *view {
	v := new(view)
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
		if g.quiet != (Window{}) && !slices.Contains(v.quiet, g.quiet) {
			v.quiet = append(v.quiet, g.quiet)
		}
		v.forbidden |= g.forbidden
		v.personalised |= g.personalised
		for _, l := range g.limits {
			i := slices.IndexFunc(v.limits, func(m limit) bool {
				return m.id == l.id && m.tags == l.tags && m.rolling == l.rolling && m.days == l.days
			})
			if i < 0 {
				v.limits = append(v.limits, l)
			} else {
				v.limits[i].max = min(v.limits[i].max, l.max)
			}
		}
	}
	v.name = strings.Join(names, "+")
	return v
}

// Version returns the version the file gives itself.
func (p *Policy) Version() string { return p.version }

// Digest returns the SHA-256, in hex, over everything in the file that can
// change a decision or its words. Comments and order of names do not.
func (p *Policy) Digest() string { return p.digest }

// LogBound returns how many entries a user's send log can have at most.
func (p *Policy) LogBound() int { return p.bound }

// finish derives from the parsed parts what decisions need at hand.
func (p *Policy) finish(groups []*group) {
	p.groups = make(map[string]int, len(groups))
	p.views = make([][]*view, len(groups))
	for i, g := range groups {
		p.groups[g.name] = i
		p.views[i] = make([]*view, len(groups))
		for j, other := range groups {
			if i == j {
				p.views[i][j] = viewOf(g)
			} else {
				p.views[i][j] = viewOf(g, other)
			}
		}
	}
	p.def = p.groups[groupDefault]
	p.strictest = viewOf(groups...)
	p.keep, p.retain = keepOf(groups, p.counted())
}

// counted returns the tags of all counted classes.
func (p *Policy) counted() tagSet {
	var s tagSet
	for _, c := range p.classes {
		if c.counted {
			s |= p.tagsOf(c)
		}
	}
	return s
}

// tagsOf returns the tags of a class on all channels.
func (p *Policy) tagsOf(c *class) tagSet {
	var s tagSet
	for _, channel := range p.channels {
		s |= 1 << tagOf(c.code, channel)
	}
	return s
}

// keepOf returns for how many seconds entries of each tag are seen by any limit
// of any group (users change groups), and how long a whole log must be kept. The
// user's own daily limit sees everything.
func keepOf(groups []*group, counted tagSet) (keep [numTags]int64, retain time.Duration) {
	daily := limit{days: 1}
	longest := daily.reach()
	for t := range Tag(numTags) {
		if counted.has(t) {
			keep[t] = daily.reach()
		}
		for _, g := range groups {
			for i := range g.limits {
				if l := &g.limits[i]; l.tags.has(t) {
					keep[t] = max(keep[t], l.reach())
				}
			}
		}
		longest = max(longest, keep[t])
	}
	for t, seconds := range keep {
		if seconds == 0 { // of a class or channel that is gone, and may come back
			keep[t] = longest
		}
	}
	return keep, time.Duration(longest)*time.Second + 2*secondsADay*time.Second
}

// maxLogBound is the most entries a policy may make necessary per user: a log is
// read and written whole.
const maxLogBound = 128

// bound returns the most counted entries that can be in the log of a user of the
// group, and the sum it comes from. Each tag is charged to one limit that covers
// it, the cheapest first: a limit of max pushes in a window allows at most max
// for each window that the time its tags are kept for can touch.
func (g *group) bound(counted tagSet, keep *[numTags]int64) (total int, sum string) {
	var terms []string
	open := counted &^ g.forbidden
	for open != 0 {
		best, price, take := -1, 0, tagSet(0)
		for i := range g.limits {
			l := &g.limits[i]
			covers := l.tags & open
			if covers == 0 {
				continue
			}
			span := int64(0)
			for t := range Tag(numTags) {
				if covers.has(t) {
					span = max(span, keep[t])
				}
			}
			// Price per tag, compared without division.
			if n := l.max * l.windows(span); best < 0 || n*take.size() < price*covers.size() {
				best, price, take = i, n, covers
			}
		}
		if best < 0 {
			break // a class without a cap; reported by itself
		}
		l := &g.limits[best]
		terms = append(terms, fmt.Sprintf("%s %d x %d", l.id, l.max, price/l.max))
		total += price
		open &^= take
	}
	return total, strings.Join(terms, " + ")
}

// windows returns how many windows of the limit any span of seconds can touch.
// Rolling windows can be laid side by side from its begin. Calendar days cannot:
// a span begins and ends within one, and days are shorter when clocks go forward.
func (l *limit) windows(span int64) int {
	if l.days > 0 {
		dates := ceil(span+slack-1, secondsADay) + 1
		return int(ceil(dates, l.days))
	}
	return int(ceil(span, l.rolling))
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// normal is a policy as its digest sees it.
type normal struct {
	Form      int
	Version   string
	Zone      string
	Classes   []normalClass
	Channels  []normalName
	Groups    []normalGroup
	UserQuiet bool
	UserDaily bool
	Deadline  []string
	MaxAge    time.Duration
}

type normalName struct {
	Name string
	Code uint8
}

type normalClass struct {
	normalName
	Consent, Counted, Label bool
	Quiet                   quietRule
	OnCap                   capRule
}

type normalGroup struct {
	Name, Justification, Quiet string
	Forbidden, Personalised    tagSet
	Limits                     []normalLimit
}

type normalLimit struct {
	ID            string
	Tags          tagSet
	Rolling, Days int64
	Max           int
}

// sum returns the digest of the policy.
func (p *Policy) sum(groups []*group) (string, error) {
	n := normal{Form: 1, Version: p.version, Zone: p.zone, UserQuiet: p.userQuiet, UserDaily: p.userDaily, MaxAge: p.maxAge}
	for _, c := range p.classes {
		n.Classes = append(n.Classes, normalClass{normalName{c.name, c.code}, c.consent, c.counted, c.label, c.quiet, c.onCap})
	}
	slices.SortFunc(n.Classes, func(a, b normalClass) int { return cmp.Compare(a.Code, b.Code) })
	for name, code := range p.channels {
		n.Channels = append(n.Channels, normalName{name, code})
	}
	slices.SortFunc(n.Channels, func(a, b normalName) int { return cmp.Compare(a.Code, b.Code) })
	for name := range p.deadline {
		n.Deadline = append(n.Deadline, name)
	}
	slices.Sort(n.Deadline)
	for _, g := range groups { // sorted by name
		ng := normalGroup{Name: g.name, Justification: g.justification, Quiet: g.quiet.String(), Forbidden: g.forbidden, Personalised: g.personalised}
		for _, l := range g.limits {
			ng.Limits = append(ng.Limits, normalLimit{l.id, l.tags, l.rolling, l.days, l.max})
		}
		n.Groups = append(n.Groups, ng)
	}
	b, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("write the normal form of the policy: %w", err)
	}
	h := sha256.Sum256(append([]byte("weir push policy\n"), b...))
	return hex.EncodeToString(h[:]), nil
}

// span is a length of time that may be written in days: 7d, 1d12h, 90m.
type span time.Duration

const maxSpan = 366 * 24 * time.Hour

// UnmarshalText reads a span.
func (s *span) UnmarshalText(text []byte) error {
	days, rest, found := strings.Cut(string(text), "d")
	if !found {
		days, rest = "0", string(text)
	}
	n, ok := 0, len(days) > 0 && len(days) <= 4
	for _, c := range days {
		ok = ok && c >= '0' && c <= '9'
		n = 10*n + int(c-'0')
	}
	d := time.Duration(0)
	if rest != "" {
		var err error
		d, err = time.ParseDuration(rest)
		ok = ok && err == nil && d >= 0
	}
	if !ok {
		return fmt.Errorf("%q is not a length of time; write number and unit, such as 90m, 24h or 7d", text)
	}
	d = time.Duration(min(n, math.MaxInt16))*24*time.Hour + min(d, 2*maxSpan)
	if d%time.Second != 0 || d <= 0 || d > maxSpan {
		return fmt.Errorf("%q is out of range; write whole seconds, more than none and at most 366d", text)
	}
	*s = span(d)
	return nil
}
