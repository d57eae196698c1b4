package push

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// FindingKind is one word for what is allowed in a policy and hardly meant. The
// list is closed.
type FindingKind string

// The kinds of findings.
const (
	FindLogBound    FindingKind = "log-bound"
	FindNeverSent   FindingKind = "never-sent"
	FindNoLabel     FindingKind = "no-label"
	FindNoDeadline  FindingKind = "no-deadline"
	FindNoRest      FindingKind = "no-rest"
	FindLikeDefault FindingKind = "like-default"
	FindUnreachable FindingKind = "unreachable"
	FindWishIgnored FindingKind = "wish-ignored"
	FindZoneUnused  FindingKind = "zone-unused"
)

const (
	classOfMarketing = "marketing" // as the shipped policy calls it
	warnLogBound     = 64          // entries, above which a log is worth a thought
)

// FindingText is a kind of findings with the line that explains it.
type FindingText struct {
	Kind FindingKind
	Text string
}

// FindingKinds returns every kind, in the order in which they are looked for.
func FindingKinds() []FindingText {
	return []FindingText{
		{FindLogBound, "a send log could need more than 64 entries, all of which are read and written for each push"},
		{FindNeverSent, "every group forbids a class, so nobody can be sent it, whatever they agree to"},
		{FindNoLabel, "the class marketing needs no label, so advertising can be sent without one"},
		{FindNoDeadline, "a class can be deferred and has no deadline, so a push may come long after anybody wants it"},
		{FindNoRest, "a class is deferred or denied in rest hours, and a group has none"},
		{FindLikeDefault, "a group differs in nothing from default"},
		{FindUnreachable, "a limit can never stop a push, because another one always does before, or because all it counts is forbidden"},
		{FindWishIgnored, "what users set for themselves does not count"},
		{FindZoneUnused, "default_zone is never asked, because nothing depends on the time of day"},
	}
}

// Finding is something in a policy that is allowed and hardly meant, with its
// place, and what would be right.
type Finding struct {
	Kind         FindingKind
	File         string
	Line, Column int
	Path         string
	Message      string
}

// String returns "file:line:column: kind: path: what is found; what would be right".
func (f *Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s: %s", f.File, f.Line, f.Column, f.Kind, f.Path, f.Message)
}

// GroupBound is how many entries the send log of a user of a group can have at
// most, with the sum that it comes from.
type GroupBound struct {
	Group   string
	Entries int
	Sum     string
}

// Bounds returns the bounds of all groups, by name.
func (p *Policy) Bounds() []GroupBound {
	var list []GroupBound
	for _, g := range p.all {
		n, sum := g.bound(p.counted(), &p.keep)
		list = append(list, GroupBound{g.name, n, sum})
	}
	return list
}

// linter collects findings.
type linter struct {
	*Policy
	findings []Finding
}

func (l *linter) find(kind FindingKind, at, format string, args ...any) {
	p := l.doc.Problem(at, format, args...)
	l.findings = append(l.findings, Finding{kind, p.File, p.Line, p.Column, p.Path, p.Message})
}

// Lint returns what is allowed in the policy and hardly meant, in the order of
// the file.
func (p *Policy) Lint() []Finding {
	l := linter{Policy: p}
	longest := slices.MaxFunc(p.Bounds(), func(a, b GroupBound) int { return cmp.Compare(a.Entries, b.Entries) })
	if n := longest.Entries; n > warnLogBound {
		l.find(FindLogBound, path("groups", longest.Group)+".limits", "a send log could need %d entries, %d bytes for a user (%s); more than %d cost time with each push: lower a max, or shorten the longest window",
			n, logHeader+n*entrySize, longest.Sum, warnLogBound)
	}
	l.classes()
	for _, g := range p.all {
		l.group(g)
	}
	l.wishes()
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.findings
}

func (l *linter) classes() {
	for _, name := range l.Classes() {
		k, at := l.Policy.classes[name], path("classes", name)
		nobody := !slices.ContainsFunc(l.all, func(g *group) bool { return l.tagsOf(k)&^g.forbidden != 0 })
		switch {
		case nobody:
			l.find(FindNeverSent, at, "every group forbids it; take the class out, or leave some group that may be sent it")
		case name == classOfMarketing && !k.label:
			l.find(FindNoLabel, at, "advertising must say that it is; write label: required")
		}
		var waits []string
		if k.quiet == quietDefer {
			waits = append(waits, "quiet: defer")
		}
		if k.onCap == capDefer {
			waits = append(waits, "on_cap: defer")
		}
		if len(waits) > 0 && !l.deadline[name] {
			l.find(FindNoDeadline, at, "it can wait (%s) and has no deadline of its own: a push without expires is sent however late; name it in deadline.required_for", strings.Join(waits, ", "))
		}
	}
}

func (l *linter) group(g *group) {
	at, def := path("groups", g.name), l.all[l.def]
	if g != def && g.quiet == def.quiet && g.forbidden == def.forbidden && g.personalised == def.personalised && slices.EqualFunc(g.limits, def.limits, func(a, b limit) bool { return a.same(&b) }) {
		l.find(FindLikeDefault, at, "differs in nothing from default; give it limits or rest hours of its own, or take it out")
	}
	if g.quiet == (Window{}) && (g == def || def.quiet != (Window{})) {
		var classes []string
		for _, name := range l.Classes() {
			if k := l.Policy.classes[name]; k.quiet != quietIgnore && l.tagsOf(k)&^g.forbidden != 0 {
				classes = append(classes, name)
			}
		}
		if len(classes) > 0 {
			l.find(FindNoRest, at, "has no rest hours, though %s would heed them; give quiet, such as \"22:00-08:00\"", strings.Join(classes, ", "))
		}
	}
	for i := range g.limits {
		m := &g.limits[i]
		if m.by != ByPolicy || !strings.HasPrefix(m.path, at+".") {
			continue // a preset stands for a promise, and what is inherited is looked at where it is written
		}
		tags := m.tags &^ g.forbidden
		if tags == 0 {
			l.find(FindUnreachable, m.path, "%s: the group forbids all that it counts; take it out", m.id)
			continue
		}
		for j := range g.limits {
			o := &g.limits[j]
			if i != j && o.before(m, tags) && (j < i || !m.before(o, o.tags&^g.forbidden)) {
				l.find(FindUnreachable, m.path, "%s, at most %d %s, is never reached: %s, at most %d %s, stops all it counts before; lower its max, or take it out", m.id, m.max, m.window(), o.id, o.max, o.window())
				break
			}
		}
	}
}

// before reports whether l has no room any more whenever m has none: as many
// windows of l as the window of m can touch hold no more than m allows.
func (l *limit) before(m *limit, tags tagSet) bool {
	if tags&^l.tags != 0 {
		return false
	}
	windows := 0
	switch {
	case l.days > 0 && m.days > 0:
		windows = int(ceil(m.days, l.days))
	case l.days > 0:
		windows = l.windows(m.rolling)
	case m.days > 0:
		windows = int(ceil(m.days*secondsADay+slack, l.rolling))
	default:
		windows = int(ceil(m.rolling, l.rolling))
	}
	return l.max*windows <= m.max
}

// same reports whether two limits are one rule.
func (l *limit) same(m *limit) bool {
	return l.id == m.id && l.tags == m.tags && l.rolling == m.rolling && l.days == m.days && l.max == m.max
}

func (l *linter) wishes() {
	const at = "user_may_lower"
	if !l.userDaily {
		l.find(FindWishIgnored, at, "a user's own daily limit does not count, so they may be sent more than they want; add %s", lowerDaily)
	}
	if !l.userQuiet {
		l.find(FindWishIgnored, at, "a user's own rest hours do not count; add %s", lowerQuiet)
	}
	clocks := l.userDaily || l.userQuiet || slices.ContainsFunc(l.all, func(g *group) bool {
		return g.quiet != (Window{}) || slices.ContainsFunc(g.limits, func(m limit) bool { return m.days > 0 })
	})
	if !clocks {
		l.find(FindZoneUnused, "default_zone", "nothing here depends on the time of day; give rest hours, or limits in days")
	}
}
