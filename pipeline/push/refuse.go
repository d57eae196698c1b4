package push

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// compare refuses what is laxer in a group than in default: always in a
// protected group, without a written justification in any other.
//
// Clause: push-group
// A policy in which minors or the elderly may be sent more, or at more hours, than others does not compile; another group needs a written justification for it.
func (c *compiler) compare(g, def *group) {
	if def == nil {
		return
	}
	at := path("groups", g.name)
	laxer := func(at, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		switch {
		case g.name == groupMinor || g.name == groupElderly:
			c.bad(at, "laxer than default: %s; %s is a protected group and must be as strict or stricter", what, g.name)
		case g.justification == "":
			c.bad(at, "laxer than default: %s; write why into justification, or make it as strict", what)
		}
	}
	if def.quiet != (Window{}) {
		for minute := range int64(secondsADay / 60) {
			if def.quiet.has(60*minute) && !g.quiet.has(60*minute) {
				laxer(at+".quiet", "rest hours %s do not cover %02d:%02d, which %s of default does", g.quiet, minute/60, minute%60, def.quiet)
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.policy.classes)) {
		tags := c.policy.tagsOf(c.policy.classes[name])
		switch {
		case def.forbidden&tags&^g.forbidden != 0:
			laxer(at+".forbid", "class %s is forbidden in default", name)
		case def.personalised&tags&^(g.personalised|g.forbidden) != 0:
			laxer(at+".forbid", "personalised %s is forbidden in default", name)
		}
	}
	for i := range def.limits {
		d := &def.limits[i]
		need := d.tags &^ g.forbidden
		if need == 0 || slices.ContainsFunc(g.limits, func(l limit) bool { return l.asStrictAs(d, need) }) {
			continue
		}
		where := at + ".limits"
		if j := slices.IndexFunc(g.limits, func(l limit) bool { return l.id == d.id }); j >= 0 && g.limits[j].path != d.path {
			where = g.limits[j].path
		}
		laxer(where, "nothing here is as strict as limit %s, at most %d %s", d.id, d.max, d.window())
	}
}

// asStrictAs reports whether whoever keeps l also keeps d for the given tags: l
// counts at least as much over at least as long a time and allows no more.
func (l *limit) asStrictAs(d *limit, tags tagSet) bool {
	if l.max > d.max || tags&^l.tags != 0 {
		return false
	}
	if d.days > 0 {
		return l.days >= d.days
	}
	return l.rolling >= d.rolling
}

// window describes the limit's window for messages.
func (l *limit) window() string {
	switch {
	case l.days == 1:
		return "a calendar day"
	case l.days > 1:
		return fmt.Sprintf("in %d calendar days", l.days)
	}
	return "in " + (time.Duration(l.rolling) * time.Second).String()
}

// caps refuses a counted class that nothing limits somewhere.
//
// Clause: push-frequency
// A policy with a counted class that no limit covers, for any group or channel, does not compile: there is always a default receiving limit.
func (c *compiler) caps(groups []*group) {
	missing := func(g *group, k *class) string {
		if g == nil || !k.counted {
			return ""
		}
		open := c.policy.tagsOf(k) &^ g.forbidden
		for i := range g.limits {
			open &^= g.limits[i].tags
		}
		var channels []string
		for _, name := range slices.Sorted(maps.Keys(c.policy.channels)) {
			if open.has(tagOf(k.code, c.policy.channels[name])) {
				channels = append(channels, name)
			}
		}
		return strings.Join(channels, ", ")
	}
	for _, g := range groups {
		for _, name := range slices.Sorted(maps.Keys(c.policy.classes)) {
			k := c.policy.classes[name]
			channels := missing(g, k)
			if channels == "" || g.name != groupDefault && channels == missing(c.groups[groupDefault], k) {
				continue // said of default already
			}
			c.bad(path("groups", g.name)+".limits", "class %s is counted, but nothing limits it for group %s on channel %s; add a limit, or write count: false for the class", name, g.name, channels)
		}
	}
}

// bound refuses a policy whose send logs would grow too long: a log that had to
// be cut would count too little.
func (c *compiler) bound(groups []*group) {
	p := &c.policy
	for _, g := range groups {
		n, sum := g.bound(p.counted(), &p.keep)
		p.bound = max(p.bound, n)
		if n > maxLogBound {
			c.bad(path("groups", g.name)+".limits", "a send log could need %d entries (%s), at most %d are possible; lower a max, or shorten the longest window", n, sum, maxLogBound)
		}
	}
}
