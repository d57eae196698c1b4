package push

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// policyFile is a policy as it is written. configs/push.yaml explains each name.
//
// Keys for what does not exist yet (on_outage, local_ratio, presets, durability,
// marketing_words) are unknown names here and refused as such: a policy must
// never promise what nobody does.
type policyFile struct {
	Policy       string                `yaml:"policy,required"`
	Version      string                `yaml:"version,required"`
	DefaultZone  string                `yaml:"default_zone,required"`
	Classes      map[string]*classFile `yaml:"classes,required"`
	Channels     []string              `yaml:"channels,required"`
	Codes        codesFile             `yaml:"codes"`
	Groups       map[string]*groupFile `yaml:"groups,required"`
	UserMayLower []string              `yaml:"user_may_lower"`
	Deadline     deadlineFile          `yaml:"deadline"`
}

type classFile struct {
	Consent consentRule `yaml:"consent,required"`
	Quiet   quietRule   `yaml:"quiet,required"`
	Count   bool        `yaml:"count,required"`
	Label   labelRule   `yaml:"label"`
	OnCap   capRule     `yaml:"on_cap"`
}

type codesFile struct {
	Classes  map[string]int `yaml:"classes"`
	Channels map[string]int `yaml:"channels"`
}

type groupFile struct {
	Extends       string       `yaml:"extends"`
	Quiet         *Window      `yaml:"quiet"`
	Forbid        []forbidFile `yaml:"forbid"`
	Limits        []limitFile  `yaml:"limits"`
	Justification string       `yaml:"justification"`
}

type forbidFile struct {
	Class string   `yaml:"class,required"`
	When  whenRule `yaml:"when"`
}

type limitFile struct {
	ID       string   `yaml:"id,required"`
	Classes  []string `yaml:"classes"`
	Channels []string `yaml:"channels"`
	Rolling  *span    `yaml:"rolling"`
	Days     *int     `yaml:"days"`
	Max      *int     `yaml:"max"`
}

type deadlineFile struct {
	RequiredFor []string `yaml:"required_for"`
	MaxAge      *span    `yaml:"max_age"`
}

type (
	consentRule string
	quietRule   string
	labelRule   string
	capRule     string
	whenRule    string
)

// The words of a policy.
const (
	consentNone     consentRule = "none"
	consentRequired consentRule = "required"
	quietIgnore     quietRule   = "ignore"
	quietDefer      quietRule   = "defer"
	quietDeny       quietRule   = "deny"
	labelNone       labelRule   = "none"
	labelRequired   labelRule   = "required"
	capDrop         capRule     = "drop"
	capDefer        capRule     = "defer"
	whenAlways      whenRule    = "always"
	whenPersonal    whenRule    = "personalised"

	lowerDaily = "daily_total"
	lowerQuiet = "quiet"
)

func oneOf[T ~string](to *T, text []byte, words ...T) error {
	if !slices.Contains(words, T(text)) {
		var known []string
		for _, w := range words {
			known = append(known, string(w))
		}
		return fmt.Errorf("%q is not known here; choose from %s", text, strings.Join(known, ", "))
	}
	*to = T(text)
	return nil
}

func (r *consentRule) UnmarshalText(b []byte) error { return oneOf(r, b, consentNone, consentRequired) }
func (r *quietRule) UnmarshalText(b []byte) error {
	return oneOf(r, b, quietIgnore, quietDefer, quietDeny)
}
func (r *labelRule) UnmarshalText(b []byte) error { return oneOf(r, b, labelNone, labelRequired) }
func (r *capRule) UnmarshalText(b []byte) error   { return oneOf(r, b, capDrop, capDefer) }
func (r *whenRule) UnmarshalText(b []byte) error  { return oneOf(r, b, whenAlways, whenPersonal) }

// ParsePolicy compiles a policy file. The name of the file is used in messages
// only. The error, if any, is a strictyaml.Problems: all that is wrong with the
// file, each with its place and what would be right.
func ParsePolicy(file string, src []byte) (*Policy, error) {
	c := &compiler{}
	doc, err := strictyaml.Decode(file, src, &c.file)
	if err != nil && !errors.As(err, &c.problems) {
		return nil, fmt.Errorf("read push policy: %w", err)
	}
	if c.doc = doc; !doc.Has("") {
		return nil, c.problems
	}
	p := c.compile()
	if len(c.problems) > 0 {
		c.problems.Sort()
		return nil, c.problems
	}
	return p, nil
}

// compiler turns a file into a policy and collects what is wrong with it.
type compiler struct {
	file     policyFile
	doc      *strictyaml.Document
	problems strictyaml.Problems
	policy   Policy
	groups   map[string]*group
}

func (c *compiler) bad(path, format string, args ...any) {
	c.problems = append(c.problems, c.doc.Problem(path, format, args...))
}

func (c *compiler) compile() *Policy {
	c.head()
	c.classes()
	c.channels()
	c.settings()
	groups := c.groupsInOrder()
	sound := slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return c.broken(g.name) || c.broken(groupDefault) })
	for _, g := range sound {
		if g.name != groupDefault {
			c.compare(g, c.groups[groupDefault])
		}
	}
	c.caps(sound)
	if len(c.problems) > 0 {
		return nil
	}
	p := &c.policy
	p.finish(groups)
	c.bound(groups)
	if len(c.problems) > 0 {
		return nil
	}
	var err error
	if p.digest, err = p.sum(groups); err != nil {
		c.bad("", "%s", err)
		return nil
	}
	return p
}

// broken reports whether something was found wrong with a group, or with one it
// extends. What follows from that would only hide it.
func (c *compiler) broken(name string) bool {
	for range maxGroups { // those that extend one another are broken themselves
		at := path("groups", name)
		for _, p := range c.problems {
			if rest, ok := strings.CutPrefix(p.Path, at); ok && (rest == "" || rest[0] == '.') {
				return true
			}
		}
		f := c.file.Groups[name]
		if f == nil || f.Extends == "" {
			return f == nil
		}
		name = f.Extends
	}
	return true
}

// nameLike reports whether s can be a name of ours: it goes into metrics,
// records and file paths of reports.
func nameLike(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z'
		later := r >= '0' && r <= '9' || r == '-' || r == '_'
		if !letter && (i == 0 || !later) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 32
}

const nameShape = "is not a name; use 1 to 32 of a-z 0-9 - _, beginning with a letter"

func (c *compiler) head() {
	f, p := &c.file, &c.policy
	if f.Policy != "push" && c.doc.Has("policy") {
		c.bad("policy", "%q is not a kind of policy; write push", f.Policy)
	}
	if c.doc.Has("version") && (len(f.Version) == 0 || len(f.Version) > 64) {
		c.bad("version", "must have 1 to 64 characters; it is recorded with every decision")
	}
	p.version, p.zone, p.zones = f.Version, f.DefaultZone, new(zones)
	if c.doc.Has("default_zone") {
		if p.loc = p.zones.find(f.DefaultZone); p.loc == nil {
			c.bad("default_zone", "%q is no time zone; use a name of the IANA database, such as Asia/Shanghai", f.DefaultZone)
		}
	}
}

func (c *compiler) classes() {
	c.policy.classes = make(map[string]*class)
	if n := len(c.file.Classes); n > maxCodes {
		c.bad("classes", "%d classes; at most %d are possible", n, maxCodes)
	}
	code := c.coder("classes", len(c.file.Classes), c.file.Codes.Classes, "security", "service", "content", "marketing")
	for _, name := range slices.Sorted(maps.Keys(c.file.Classes)) {
		at := path("classes", name)
		if !nameLike(name) {
			c.bad(at, nameShape)
			continue
		}
		f := c.file.Classes[name]
		if f == nil {
			c.bad(at, "is empty; say at least consent, quiet and count")
			f = &classFile{}
		}
		k := &class{
			name: name, code: code(name, at),
			consent: f.Consent == consentRequired, quiet: f.Quiet, counted: f.Count,
			label: f.Label == labelRequired, onCap: f.OnCap,
		}
		c.policy.classes[name] = k
		// Only a commit can make sure that consent still stands while the push is
		// being allowed, and only counted pushes are committed.
		if k.consent && !k.counted && c.doc.Has(at+".count") {
			c.bad(at+".count", "a class that needs consent must be counted: only then can a withdrawal stop it at once; write true, or consent: none")
		}
		if !k.counted && f.OnCap != "" && c.doc.Has(at+".count") {
			c.bad(at+".on_cap", "the class is not counted, so it never reaches a cap; take the line out")
		}
		if k.onCap == "" {
			k.onCap = capDrop
		}
	}
}

func (c *compiler) channels() {
	c.policy.channels = make(map[string]uint8)
	if n := len(c.file.Channels); n > maxCodes {
		c.bad("channels", "%d channels; at most %d are possible", n, maxCodes)
	}
	if len(c.file.Channels) == 0 && c.doc.Has("channels") {
		c.bad("channels", "none given; name at least one, such as app")
	}
	code := c.coder("channels", len(c.file.Channels), c.file.Codes.Channels, "app", "sms", "email", "popup")
	for i, name := range c.file.Channels {
		at := fmt.Sprintf("channels[%d]", i)
		if !nameLike(name) {
			c.bad(at, "%q "+nameShape, name)
			continue
		}
		if _, twice := c.policy.channels[name]; twice {
			c.bad(at, "%s is named twice; keep one", name)
			continue
		}
		c.policy.channels[name] = code(name, at)
	}
}

// coder returns the function that gives each class or channel its code. Codes
// stand in the records in Redis, so a name must keep its code for ever: the
// names of the shipped policy have theirs by themselves, all others by the file.
func (c *compiler) coder(section string, names int, given map[string]int, own ...string) func(name, at string) uint8 {
	codes := make(map[string]uint8)
	used := make(map[int]string)
	for i, name := range own {
		codes[name], used[i] = uint8(i), name
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		at, code := path("codes."+section, name), given[name]
		switch other, taken := used[code]; {
		case slices.Contains(own, name):
			c.bad(at, "%s has its code by itself; take the line out", name)
		case code < len(own) || code >= maxCodes:
			c.bad(at, "%d is out of range; choose from %d to %d", code, len(own), maxCodes-1)
		case taken:
			c.bad(at, "%d is the code of %s; each needs its own, also one that is not used any more", code, other)
		default:
			codes[name], used[code] = uint8(code), name
		}
	}
	return func(name, at string) uint8 {
		code, ok := codes[name]
		if _, tried := given[name]; !ok && !tried && names <= maxCodes {
			c.bad(at, "%s has no code; give it one under codes.%s, from %d to %d, that no other has ever had: records in Redis call it by that", name, section, len(own), maxCodes-1)
		}
		return code
	}
}

func (c *compiler) settings() {
	f, p := &c.file, &c.policy
	// A user's own wish counts unless the policy takes that away expressly.
	p.userDaily, p.userQuiet = true, true
	if c.doc.Has("user_may_lower") {
		p.userDaily = slices.Contains(f.UserMayLower, lowerDaily)
		p.userQuiet = slices.Contains(f.UserMayLower, lowerQuiet)
	}
	for i, name := range f.UserMayLower {
		if name != lowerDaily && name != lowerQuiet {
			c.bad(fmt.Sprintf("user_may_lower[%d]", i), "%q is nothing a user can set; choose from %s, %s", name, lowerDaily, lowerQuiet)
		}
	}
	p.deadline = make(map[string]bool)
	for i, name := range f.Deadline.RequiredFor {
		at := fmt.Sprintf("deadline.required_for[%d]", i)
		c.knows(at, name)
		if p.deadline[name] {
			c.bad(at, "%s is named twice; keep one", name)
		}
		p.deadline[name] = true
	}
	switch {
	case f.Deadline.MaxAge != nil:
		p.maxAge = time.Duration(*f.Deadline.MaxAge)
		if len(p.deadline) == 0 {
			c.bad("deadline.max_age", "no class has a deadline; name some in required_for, or take the line out")
		}
	case len(p.deadline) > 0:
		c.bad("deadline", "max_age is missing; say how long after its time a push may be sent at the latest, such as 24h")
	}
}

// knows looks up a class for another part of the file.
func (c *compiler) knows(at, name string) *class {
	if k := c.policy.classes[name]; k != nil {
		return k
	}
	if _, bad := c.file.Classes[name]; !bad && len(c.policy.classes) > 0 {
		c.bad(at, "there is no class %q; known are %s", name, list(c.policy.classes))
	}
	return nil
}

func list[V any](names map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

// path appends a name that the file chose to a path of ours.
func path(parent, name string) string {
	plain := name != ""
	for _, r := range name {
		plain = plain && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if plain {
		return parent + "." + name
	}
	return fmt.Sprintf("%s[%q]", parent, name)
}

const maxGroups = 16

// groupsInOrder returns the groups by name, each with what it extends.
func (c *compiler) groupsInOrder() []*group {
	c.groups = make(map[string]*group)
	if len(c.file.Groups) == 0 {
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
	l = limit{id: f.ID, path: at}
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
