// Package policytest runs the tests that lie beside a push policy: who the user
// is, what they were sent lately, a push, and what must be decided about it.
//
// What it is not: it opens no files and asks no Redis. A case is decided by the
// same pure function as the daemon's pushes, at the time that the case names.
package policytest

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// Suffix is how the name of a file of tests ends.
const Suffix = "_test.yaml"

// FileOf returns the name of the file with the tests of a policy file, which lies
// beside it: push_test.yaml for push.yaml.
func FileOf(policy string) string {
	return strings.TrimSuffix(policy, filepath.Ext(policy)) + Suffix
}

// Case is a push to a user, and what a policy must make of it. It must not be changed.
type Case struct {
	Name    string
	Now     time.Time
	Profile *push.Profile // nil: nobody has told anything about the user
	Log     *push.SendLog
	Request push.Request

	// File and Line say where the case is written.
	File string
	Line int

	want wantFile
	has  func(name string) bool // whether the case wants this
}

// Parse reads and checks a file of tests for a policy. The name of the file is
// used in messages only. The error, if any, is a strictyaml.Problems. A file
// looks like this:
//
//	tests:
//	  - name: a second advertisement within the hour
//	    now: 2026-11-24T12:00:00+08:00
//	    user:                                 # without it, somebody nobody knows anything about
//	      zone: Asia/Shanghai
//	      group: minor
//	      quiet: "23:00-07:00"                # rest hours of their own
//	      daily_max: 3                        # limit of their own
//	      grants:
//	        - {class: marketing, channel: app}  # long ago
//	        - {class: content, channel: app, time: 2026-01-01T00:00:00+08:00, withdrawn: true}
//	    history:                              # pushes that were allowed
//	      - {time: 2026-11-24T11:30:00+08:00, class: marketing, channel: app, id: p1, cancelled: true}
//	      - {time: 2026-11-24T08:00:00+08:00, class: service, channel: app, times: 12}
//	    push: {class: marketing, channel: app, id: p2, label: 广告}
//	    want: {decision: allow, reason: none, not_after: 2026-11-24T20:59:59+08:00}
func Parse(file string, src []byte, policy *push.Policy) ([]*Case, error) {
	p := &parser{policy: policy}
	doc, err := strictyaml.Decode(file, src, &p.file)
	if err != nil && !errors.As(err, &p.problems) {
		return nil, fmt.Errorf("read push policy tests: %w", err)
	}
	p.doc, p.faulty = doc, slices.Clone(p.problems)
	if doc.Has("tests") && len(p.file.Tests) == 0 {
		p.bad("tests", "is empty; give at least one case, or take the file out")
	}
	var cases []*Case
	for i := range p.file.Tests {
		cases = append(cases, p.testCase(fmt.Sprintf("tests[%d]", i), &p.file.Tests[i]))
	}
	if len(p.problems) > 0 {
		p.problems.Sort()
		return nil, p.problems
	}
	return cases, nil
}

// testFile is a file of tests as it is written.
type testFile struct {
	Tests []caseFile `yaml:"tests,required"`
}

type caseFile struct {
	Name    string     `yaml:"name,required"`
	Now     instant    `yaml:"now,required"`
	User    *userFile  `yaml:"user"`
	History []sentFile `yaml:"history"`
	Push    pushFile   `yaml:"push,required"`
	Want    wantFile   `yaml:"want,required"`
}

type userFile struct {
	Zone     string      `yaml:"zone"`
	Group    string      `yaml:"group"`
	Quiet    push.Window `yaml:"quiet"`
	DailyMax *int        `yaml:"daily_max"`
	Grants   []grantFile `yaml:"grants"`
}

type grantFile struct {
	Class     string   `yaml:"class,required"`
	Channel   string   `yaml:"channel,required"`
	Time      *instant `yaml:"time"` // long ago if it is not given
	Withdrawn bool     `yaml:"withdrawn"`
}

type sentFile struct {
	Time      instant `yaml:"time,required"`
	Class     string  `yaml:"class,required"`
	Channel   string  `yaml:"channel,required"`
	ID        string  `yaml:"id"`
	Times     *int    `yaml:"times"`     // so many pushes, each with an id of its own
	Cancelled bool    `yaml:"cancelled"` // and so refunded
}

type pushFile struct {
	Class        string   `yaml:"class,required"`
	Channel      string   `yaml:"channel,required"`
	ID           string   `yaml:"id"`
	Group        string   `yaml:"group"`
	Label        string   `yaml:"label"`
	Personalised bool     `yaml:"personalised"`
	Time         *instant `yaml:"time"` // that of the case if it is not given
	Expires      *instant `yaml:"expires"`
	Hits         []string `yaml:"hits"` // categories of rules that its text hits without being stopped
}

type wantFile struct {
	Decision  word     `yaml:"decision,required"`
	Reason    reason   `yaml:"reason"`
	Limit     string   `yaml:"limit"`
	NotBefore *instant `yaml:"not_before"`
	NotAfter  *instant `yaml:"not_after"`
	Replay    bool     `yaml:"replay"`
	Group     string   `yaml:"group"`
	Flags     []string `yaml:"flags"`
}

// instant is a time as a case writes it, or none.
type instant struct{ time.Time }

// UnmarshalText reads "2026-11-24T12:00:00+08:00" or "none".
func (t *instant) UnmarshalText(text []byte) error {
	*t = instant{}
	if string(text) == "none" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil || at.Nanosecond() != 0 || at.Unix() < 0 || at.Unix() > math.MaxUint32 {
		return fmt.Errorf("%q is not a time; write it in whole seconds and with its zone, like 2026-11-24T12:00:00+08:00", text)
	}
	t.Time = at
	return nil
}

type (
	word   push.Word
	reason push.Reason
)

// UnmarshalText reads a decision.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return known("decision", string(text), []string{string(push.Allow), string(push.Defer), string(push.Deny)})
}

// UnmarshalText reads a reason.
func (r *reason) UnmarshalText(text []byte) error {
	*r = reason(text)
	var words []string
	for _, t := range push.Reasons() {
		words = append(words, string(t.Reason))
	}
	return known("reason", string(text), words)
}

// known returns an error that says what would be right, or nil.
func known(what, name string, words []string) error {
	if slices.Contains(words, name) {
		return nil
	}
	if near, ok := strictyaml.Nearest(name, words); ok {
		return fmt.Errorf("unknown %s %q; did you mean %q?", what, name, near)
	}
	return fmt.Errorf("unknown %s %q; known are %s", what, name, strings.Join(words, ", "))
}

// parser turns a file into cases and collects what is wrong with it.
type parser struct {
	file     testFile
	doc      *strictyaml.Document
	policy   *push.Policy
	problems strictyaml.Problems
	faulty   strictyaml.Problems // of reading the file
}

// bad notes what is wrong at a path, unless it could not even be read: what
// follows from that would only hide it.
func (p *parser) bad(path, format string, args ...any) {
	within := func(inner, outer string) bool {
		rest, ok := strings.CutPrefix(inner, outer)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	if slices.ContainsFunc(p.faulty, func(f *strictyaml.Problem) bool { return within(path, f.Path) || within(f.Path, path) }) {
		return
	}
	p.problems = append(p.problems, p.doc.Problem(path, format, args...))
}

// knows refuses a name that is not in the list.
func (p *parser) knows(path, what, name string, words []string) {
	if err := known(what, name, words); err != nil {
		p.bad(path, "%s", err)
	}
}

// defaultID is the id of a push that has none.
const defaultID = "push"

func (p *parser) testCase(at string, f *caseFile) *Case {
	has := func(name string) bool { return p.doc.Has(at + ".want." + name) }
	c := &Case{Name: f.Name, Now: f.Now.Time, File: p.doc.File(), Line: p.doc.Problem(at, "").Line, has: has}
	if strings.TrimSpace(f.Name) == "" || strings.ContainsFunc(f.Name, unicode.IsControl) {
		p.bad(at+".name", "is empty or has a line break or another control character; a name is a line")
	}
	if c.Now.IsZero() {
		p.bad(at+".now", "every case is decided at a time; write it like 2026-11-24T12:00:00+08:00")
	}
	marks := map[string]uint64{}
	mark := func(id string) uint64 {
		if marks[id] == 0 {
			marks[id] = uint64(len(marks) + 1)
		}
		return marks[id]
	}
	p.push(at+".push", f, c)
	c.Request.Mark = mark(string(c.Request.ID))
	c.Log = p.log(at+".history", f.History, mark)
	if f.User != nil {
		c.Profile = p.profile(at+".user", f)
	}
	p.want(at+".want", &f.Want)
	c.want = f.Want
	return c
}

// push makes the request. What the policy does not know is a mistake unless the
// case is about exactly that.
func (p *parser) push(at string, f *caseFile, c *Case) {
	if f.Want.Reason != reason(push.ReasonUnknownClass) {
		p.knows(at+".class", "class", f.Push.Class, p.policy.Classes())
		p.knows(at+".channel", "channel", f.Push.Channel, p.policy.Channels())
	}
	p.group(at+".group", f.Push.Group, f)
	id := f.Push.ID
	if id == "" {
		id = defaultID
	}
	c.Request = push.Request{
		User: []byte("user"), ID: []byte(id), Class: []byte(f.Push.Class), Channel: []byte(f.Push.Channel),
		Group: []byte(f.Push.Group), Label: []byte(f.Push.Label), Personalised: f.Push.Personalised,
		Time: c.Now, Categories: f.Push.Hits,
	}
	if f.Push.Time != nil {
		c.Request.Time = f.Push.Time.Time
	}
	if f.Push.Expires != nil {
		c.Request.Expires = f.Push.Expires.Time
	}
}

func (p *parser) group(at, name string, f *caseFile) {
	if name != "" && !slices.Contains(f.Want.Flags, push.GroupUnknown.Words()[0]) {
		p.knows(at, "group", name, p.policy.Groups())
	}
}

// maxTimes is as many entries as a send log ever needs under any policy.
const maxTimes = 128

// log makes the send log that the history leaves behind.
func (p *parser) log(at string, history []sentFile, mark func(string) uint64) *push.SendLog {
	log := new(push.SendLog)
	for i := range history {
		h, at := &history[i], fmt.Sprintf("%s[%d]", at, i)
		if h.Time.IsZero() {
			p.bad(at+".time", "a push is allowed at a time; write it like 2026-11-24T12:00:00+08:00")
		}
		times := 1
		switch {
		case h.Times == nil:
		case h.ID != "":
			p.bad(at+".times", "stands beside id, which is that of one push; keep one of the two")
		case *h.Times < 1 || *h.Times > maxTimes:
			p.bad(at+".times", "%d is out of range; choose from 1 to %d", *h.Times, maxTimes)
		default:
			times = *h.Times
		}
		for k := range times {
			id := h.ID
			if id == "" {
				id = fmt.Sprintf("history[%d] %d", i, k)
			}
			e, ok := p.policy.Entry(h.Time.Time, h.Class, h.Channel, mark(id), h.Cancelled)
			if !ok {
				p.knows(at+".class", "class", h.Class, p.policy.Classes())
				p.knows(at+".channel", "channel", h.Channel, p.policy.Channels())
				break
			}
			log.Entries = append(log.Entries, e)
		}
	}
	slices.SortStableFunc(log.Entries, func(a, b push.Entry) int { return int(int64(a.At) - int64(b.At)) })
	return log
}

// profile makes the profile that a consent event of the user would leave behind.
func (p *parser) profile(at string, f *caseFile) *push.Profile {
	u := f.User
	e := &event.Event{Kind: event.Consent, User: event.User{ID: []byte("user"), Group: []byte(u.Group)}}
	e.Consent = event.ConsentPart{Version: 1, Zone: []byte(u.Zone), Quiet: []byte(u.Quiet.String()), DailyMax: -1}
	if u.Quiet == (push.Window{}) {
		e.Consent.Quiet = nil
	}
	p.group(at+".group", u.Group, f)
	if u.Zone != "" && !p.policy.KnowsZone(u.Zone) && !slices.Contains(f.Want.Flags, push.ZoneDefaulted.Words()[0]) {
		p.bad(at+".zone", "%q is no time zone; use a name of the IANA database, such as Asia/Shanghai", u.Zone)
	}
	if u.DailyMax != nil {
		if *u.DailyMax < 0 {
			p.bad(at+".daily_max", "%d is no limit; give 0 or more, or take the line out", *u.DailyMax)
		}
		e.Consent.DailyMax = *u.DailyMax
	}
	for i := range u.Grants {
		g, at := &u.Grants[i], fmt.Sprintf("%s.grants[%d]", at, i)
		p.knows(at+".class", "class", g.Class, p.policy.Classes())
		p.knows(at+".channel", "channel", g.Channel, p.policy.Channels())
		grant := event.Grant{Class: []byte(g.Class), Channel: []byte(g.Channel), Granted: !g.Withdrawn, Time: time.Unix(0, 0)}
		if g.Time != nil {
			grant.Time = g.Time.Time
		}
		e.Consent.Grants = append(e.Consent.Grants, grant)
	}
	profile, err := push.ProfileFrom(p.policy, e)
	if err != nil {
		p.bad(at, "%s", err)
	}
	return &profile
}

func (p *parser) want(at string, w *wantFile) {
	if w.Reason == "" {
		if w.Decision == word(push.Allow) {
			w.Reason = reason(push.ReasonNone)
		} else {
			p.bad(at+".reason", "missing; say why it is not allowed")
		}
	} else if o := (push.Outcome{Decision: push.Word(w.Decision), Reason: push.Reason(w.Reason)}); w.Decision != "" && !slices.Contains(push.Outcomes(), o) {
		p.bad(at+".reason", "nothing is ever decided as %s for %s", w.Decision, w.Reason)
	}
	if w.Limit != "" {
		p.knows(at+".limit", "limit", w.Limit, p.policy.Limits())
	}
	words := (^push.Flags(0)).Words()
	for i, f := range w.Flags {
		p.knows(fmt.Sprintf("%s.flags[%d]", at, i), "flag", f, words)
	}
}
