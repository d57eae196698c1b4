package push

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

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
	c.policy.doc = doc
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
	c.autoHalt()
	groups := c.groupsInOrder()
	c.presets(groups)
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
		k.marketing = c.words(f.MarketingWords.Flag, at+".marketing_words.flag")
		if k.onCap == "" {
			k.onCap = capDrop
		}
		c.outage(k, f, at)
	}
}

// outage compiles what becomes of a class while Redis is away. Where the file
// says nothing, only what nobody counts, nobody must agree to and nothing delays
// goes on.
//
// Clause: push-breach
// A policy that would send without limit, or what a user may have refused, while Redis is away does not compile.
func (c *compiler) outage(k *class, f *classFile, at string) {
	k.onOutage = f.OnOutage
	switch {
	case !c.doc.Has(at+".consent") || !c.doc.Has(at+".count"):
		return // said already
	case f.OnOutage == "" && !k.consent && !k.counted && k.quiet == quietIgnore:
		k.onOutage = outageOpen
	case f.OnOutage == "":
		k.onOutage = outageHold
	case k.consent && (f.OnOutage == outageOpen || f.OnOutage == outageLocal):
		c.bad(at+".on_outage", "%s for a class that needs consent would send to users who have withdrawn it meanwhile; write hold or deny", f.OnOutage)
	case k.counted && f.OnOutage == outageOpen:
		c.bad(at+".on_outage", "open for a counted class would exceed its limits without bound; write local or hold")
	case !k.counted && f.OnOutage == outageLocal:
		c.bad(at+".on_outage", "the class is not counted, so there is nothing to count locally; write open or hold")
	}
	switch r := f.LocalRatio; {
	case f.OnOutage == outageLocal && r == nil:
		c.bad(at, "local_ratio is missing; say what part of each limit a user may use of whom this instance remembers nothing, such as 0.5")
	case r == nil:
	case f.OnOutage != outageLocal:
		c.bad(at+".local_ratio", "is only for on_outage: local; take the line out")
	case *r <= 0 || *r > 1:
		c.bad(at+".local_ratio", "%v is no part of a limit; write more than 0 and at most 1, such as 0.5", *r)
	default:
		k.localRatio = *r
	}
}

// words returns the categories of rules whose hits make a class doubtful.
// Whether there are such categories [Policy.CheckCategories] sees.
func (c *compiler) words(categories []string, at string) []string {
	if len(categories) == 0 && c.doc.Has(at) {
		c.bad(at, "is empty; name the categories of rules that find advertising, such as unlabelled-advertising, or take marketing_words out")
	}
	for i, name := range categories {
		if slices.Contains(categories[:i], name) {
			c.bad(fmt.Sprintf("%s[%d]", at, i), "%s is named twice; keep one", name)
		}
	}
	return categories
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
	p.replicated = f.Durability == durabilityReplicated
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
	if p.recall = defaultRecall; f.Recall != nil {
		p.recall = time.Duration(*f.Recall)
	}
	if p.recall > maxRecall {
		c.bad("recall", "%v is longer than send logs are sure to be kept; write at most %v", p.recall, maxRecall)
	}
}

// How long after it was allowed a push is called back when its user withdraws
// consent: by default, and at most. Every entry of a send log is seen by the user's
// own daily limit, so it is kept for longer than that.
const (
	defaultRecall = 15 * time.Minute
	maxRecall     = 24 * time.Hour
)

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
