package push

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
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
	doc     *strictyaml.Document // for messages
	version string
	digest  string
	zone    string
	loc     *time.Location
	zones   *zones

	classes   map[string]*class
	channels  map[string]uint8
	all       []*group       // by name
	groups    map[string]int // index into all, and views
	def       int
	views     [][]*view // of the group the profile says and the one the event says
	strictest *view     // all groups at once

	userQuiet bool // users may have rest hours of their own
	userDaily bool // users may have a daily limit of their own

	deadline map[string]bool // classes that must have one
	maxAge   time.Duration   // which ends this long after the event's time at the latest

	recall     time.Duration // for how long an allowed push may be called back
	autoHalts  []AutoHalt
	replicated bool // what is allowed must be on a replica, too

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

	marketing  []string // categories of rules, as written; a push of the class that hits one is doubtful
	onOutage   outageRule
	localRatio float64 // of outageLocal: what part of each cap a user may use of whom nothing is remembered
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
	by      Bound
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

// File returns the name that the policy was read under.
func (p *Policy) File() string { return p.doc.File() }

// Version returns the version the file gives itself.
func (p *Policy) Version() string { return p.version }

// Digest returns the SHA-256, in hex, over everything in the file that can
// change a decision or its words. Comments and order of names do not.
func (p *Policy) Digest() string { return p.digest }

// Retain returns how long a send log is kept after its last entry: what is older
// no window sees any more.
func (p *Policy) Retain() time.Duration { return p.retain }

// Replicated reports whether the policy promises that an allowed push outlives
// the loss of its primary Redis (durability: replicated).
func (p *Policy) Replicated() bool { return p.replicated }

// limitIDs yields the name of every limit that can be met, the user's own among them.
func (p *Policy) limitIDs() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range p.strictest.limits {
			if !yield(p.strictest.limits[i].id) {
				return
			}
		}
		if p.userDaily {
			yield(limitUserDaily)
		}
	}
}

// LogBound returns how many entries a user's send log can have at most.
func (p *Policy) LogBound() int { return p.bound }

// Classes returns the names of the policy's classes in the order of their codes.
func (p *Policy) Classes() []string {
	return slices.SortedFunc(maps.Keys(p.classes), func(a, b string) int {
		return cmp.Compare(p.classes[a].code, p.classes[b].code)
	})
}

// Channels returns the names of its channels in the same order.
func (p *Policy) Channels() []string {
	return slices.SortedFunc(maps.Keys(p.channels), func(a, b string) int {
		return cmp.Compare(p.channels[a], p.channels[b])
	})
}

// KnowsClass reports whether a name is that of a class.
func (p *Policy) KnowsClass(name []byte) bool { return p.classes[string(name)] != nil }

// KnowsChannel reports whether a name is that of a channel.
func (p *Policy) KnowsChannel(name []byte) bool {
	_, ok := p.channels[string(name)]
	return ok
}

// Groups returns the names of its groups, sorted.
func (p *Policy) Groups() []string { return slices.Sorted(maps.Keys(p.groups)) }

// Counts reports whether limits count a class.
func (p *Policy) Counts(class string) bool {
	return p.classes[class] != nil && p.classes[class].counted
}

// classAndTag returns the class of that name, nil if the policy does not know it or the
// channel, and the tag of both.
func (p *Policy) classAndTag(name, channel string) (*class, Tag) {
	k := p.classes[name]
	code, ok := p.channels[channel]
	if k == nil || !ok {
		return nil, 0
	}
	return k, tagOf(k.code, code)
}

// Limits returns the ids of all limits that can stop a push, those that are no
// policy's own among them, sorted.
func (p *Policy) Limits() []string {
	ids := []string{limitUserDaily, limitSendLog}
	for i := range p.strictest.limits {
		ids = append(ids, p.strictest.limits[i].id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// KnowsZone reports whether a name is that of a time zone.
func (p *Policy) KnowsZone(name string) bool { return p.zones.find(name) != nil }

// Entry returns what a send log holds of a push that was allowed, and false if
// the policy does not know its class or channel.
func (p *Policy) Entry(at time.Time, class, channel string, mark uint64, cancelled bool) (Entry, bool) {
	k, tag := p.classAndTag(class, channel)
	if k == nil {
		return Entry{}, false
	}
	e := Entry{At: uint32(at.Unix()), Tag: tag, State: counted, Mark: mark}
	if cancelled {
		e.State = refunded
	}
	return e, true
}

// CheckCategories refuses a policy that names a category of rules nobody knows:
// its marketing_words would never see anything. The error, if any, is a
// strictyaml.Problems.
func (p *Policy) CheckCategories(known []string) error {
	var problems strictyaml.Problems
	for _, name := range slices.Sorted(maps.Keys(p.classes)) {
		for i, category := range p.classes[name].marketing {
			if slices.Contains(known, category) {
				continue
			}
			hint := "name one of the register of categories, such as unlabelled-advertising"
			if near, ok := strictyaml.Nearest(category, known); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			problems = append(problems, p.doc.Problem(fmt.Sprintf("%s.marketing_words.flag[%d]", path("classes", name), i), "unknown category %q; %s", category, hint))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	problems.Sort()
	return problems
}

// finish derives from the parsed parts what decisions need at hand.
func (p *Policy) finish(groups []*group) {
	p.all, p.groups = groups, make(map[string]int, len(groups))
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

// classOf returns the class of a tag, nil for one the policy does not know.
func (p *Policy) classOf(t Tag) *class {
	for _, c := range p.classes {
		if c.code == uint8(t>>3) {
			return c
		}
	}
	return nil
}

// channelOf returns the name of a tag's channel, empty for one the policy does not
// know.
func (p *Policy) channelOf(t Tag) string {
	for name, code := range p.channels {
		if code == uint8(t&7) {
			return name
		}
	}
	return ""
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
