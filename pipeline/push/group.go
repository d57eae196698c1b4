package push

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

const maxGroups = 16

// groupsInOrder returns the groups by name, each with what it extends.
func (c *compiler) groupsInOrder() []*group {
	c.groups = make(map[string]*group)
	if len(c.file.Groups) == 0 {
		if c.doc.Has("groups") {
			c.bad("groups", "none given; write at least default, which is for everybody whose group is not known")
		}
		return nil
	}
	if n := len(c.file.Groups); n > maxGroups {
		c.bad("groups", "%d groups; at most %d are possible", n, maxGroups)
	}
	if c.file.Groups[groupDefault] == nil {
		c.bad("groups", "no group default; it is for everybody whose group is not known")
	}
	raw := make(map[string][]limitFile)
	for _, name := range slices.Sorted(maps.Keys(c.file.Groups)) {
		c.group(name, raw, nil)
	}
	var groups []*group
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		if g := c.groups[name]; g != nil {
			groups = append(groups, g)
		}
	}
	return groups
}

// group compiles one group after what it extends. The chain is that of the
// groups that wait for it.
func (c *compiler) group(name string, raw map[string][]limitFile, chain []string) *group {
	at := path("groups", name)
	if g, done := c.groups[name]; done {
		return g
	}
	f := c.file.Groups[name]
	if !nameLike(name) {
		c.bad(at, nameShape)
		f = nil
	} else if f == nil && name != groupDefault {
		c.bad(at, "is empty; write at least extends: default")
	}
	if f == nil {
		c.groups[name] = nil
		return nil
	}
	g := &group{name: name, justification: strings.TrimSpace(f.Justification)}
	var inherited []limit
	switch parent := f.Extends; {
	case parent == "":
	case name == groupDefault:
		c.bad(at+".extends", "default extends nothing; take the line out")
	case slices.Contains(append(chain, name), parent):
		c.bad(at+".extends", "%s and %s extend one another; one of them must stand by itself", name, parent)
	case c.file.Groups[parent] == nil:
		c.bad(at+".extends", "there is no group %q; known are %s", parent, list(c.file.Groups))
	default:
		if from := c.group(parent, raw, append(chain, name)); from != nil {
			g.quiet, g.forbidden, g.personalised = from.quiet, from.forbidden, from.personalised
			inherited, raw[name] = from.limits, slices.Clone(raw[parent])
		}
	}
	if f.Quiet != nil {
		g.quiet = *f.Quiet
	}
	for i := range f.Forbid {
		r := &f.Forbid[i]
		if k := c.knows(fmt.Sprintf("%s.forbid[%d].class", at, i), r.Class); k == nil {
			continue
		} else if r.When == whenPersonal {
			g.personalised |= c.policy.tagsOf(k)
		} else {
			g.forbidden |= c.policy.tagsOf(k)
		}
	}
	g.limits = c.limits(f, at, inherited, raw, name)
	c.groups[name] = g
	return g
}

// limits compiles the limits of a group: those it extends in their order, with
// what it writes about them itself put over them, then its own.
func (c *compiler) limits(f *groupFile, at string, inherited []limit, raw map[string][]limitFile, name string) []limit {
	limits := slices.Clone(inherited)
	own := make(map[string]bool)
	for i := range f.Limits {
		l, at := f.Limits[i], fmt.Sprintf("%s.limits[%d]", at, i)
		switch {
		case !nameLike(l.ID):
			if l.ID != "" {
				c.bad(at+".id", "%q "+nameShape, l.ID)
			}
			continue
		case l.ID == limitUserDaily || l.ID == limitSendLog:
			c.bad(at+".id", "%s is a name of Weir's own; choose another", l.ID)
			continue
		case own[l.ID]:
			c.bad(at+".id", "%s is given twice in this group; keep one, or give one another id", l.ID)
			continue
		}
		own[l.ID] = true
		before := slices.IndexFunc(raw[name], func(r limitFile) bool { return r.ID == l.ID })
		if before >= 0 {
			l = over(raw[name][before], l)
			raw[name][before] = l
		} else {
			raw[name] = append(raw[name], l)
		}
		compiled, ok := c.limit(&l, at)
		if !ok {
			continue
		}
		if j := slices.IndexFunc(limits, func(m limit) bool { return m.id == l.ID }); j >= 0 {
			limits[j] = compiled
		} else {
			limits = append(limits, compiled)
		}
	}
	return limits
}

// over returns what is written about a limit put over what was inherited.
func over(base, l limitFile) limitFile {
	if l.Classes == nil {
		l.Classes = base.Classes
	}
	if l.Channels == nil {
		l.Channels = base.Channels
	}
	if l.Rolling == nil && l.Days == nil {
		l.Rolling, l.Days = base.Rolling, base.Days
	}
	if l.Max == nil {
		l.Max = base.Max
	}
	return l
}

func (c *compiler) limit(f *limitFile, at string) (l limit, ok bool) {
	l = limit{id: f.ID, path: at, by: ByPolicy}
	before := len(c.problems)
	switch {
	case f.Max == nil:
		c.bad(at, "max is missing; say how many pushes are allowed in the window")
	case *f.Max < 1:
		c.bad(at+".max", "%d allows nothing; to stop a class, name it under forbid", *f.Max)
	case *f.Max > math.MaxInt16:
		c.bad(at+".max", "%d is no limit; take the line out, or give a number up to %d", *f.Max, math.MaxInt16)
	default:
		l.max = *f.Max
	}
	switch {
	case f.Rolling == nil && f.Days == nil:
		c.bad(at, "has no window; give rolling, such as 24h, or days, such as 1")
	case f.Rolling != nil && f.Days != nil:
		c.bad(at, "has two windows; give either rolling or days")
	case f.Rolling != nil && *f.Rolling == 0:
		return l, false // it could not be read
	case f.Rolling != nil:
		l.rolling = int64(time.Duration(*f.Rolling) / time.Second)
	case *f.Days < 1 || *f.Days > 366:
		c.bad(at+".days", "%d is out of range; choose from 1 to 366", *f.Days)
	default:
		l.days = int64(*f.Days)
	}
	l.tags = c.covered(f, at)
	return l, len(c.problems) == before
}

// covered returns the tags that a limit covers: all counted classes on all
// channels where it names none.
func (c *compiler) covered(f *limitFile, at string) tagSet {
	classes, channels := c.policy.counted(), ^tagSet(0)
	if f.Classes != nil {
		classes = 0
		if len(f.Classes) == 0 {
			c.bad(at+".classes", "is empty; name some, or take the line out to mean all counted ones")
		}
	}
	for i, name := range f.Classes {
		at := fmt.Sprintf("%s.classes[%d]", at, i)
		if k := c.knows(at, name); k != nil {
			if !k.counted {
				c.bad(at, "class %s is not counted, so no limit can hold it; write count: true for it, or take it out here", name)
			}
			classes |= c.policy.tagsOf(k)
		}
	}
	if f.Channels != nil {
		channels = 0
		if len(f.Channels) == 0 {
			c.bad(at+".channels", "is empty; name some, or take the line out to mean all of them")
		}
	}
	for i, name := range f.Channels {
		code, known := c.policy.channels[name]
		if !known {
			if len(c.policy.channels) > 0 {
				c.bad(fmt.Sprintf("%s.channels[%d]", at, i), "there is no channel %q; known are %s", name, list(c.policy.channels))
			}
			continue
		}
		for class := range uint8(maxCodes) {
			channels |= 1 << tagOf(class, code)
		}
	}
	return classes & channels
}
