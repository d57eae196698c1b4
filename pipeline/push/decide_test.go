package push

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
)

// agreeing is the profile of somebody in Shanghai who agreed to everything.
func agreeing(t testing.TB, p *Policy, change func(e *event.Event)) *Profile {
	t.Helper()
	e := consentEvent("u", 3, true)
	if change != nil {
		change(e)
	}
	profile, err := ProfileFrom(p, e)
	if err != nil {
		t.Fatal(err)
	}
	return &profile
}

// Each reason has its word, and what is asked first decides first.
func TestDecisionsByTheShippedPolicy(t *testing.T) {
	// Clause: push-ad
	// Clause: push-group
	// Clause: push-quiet
	// Clause: push-monitor
	p := loadPolicy(t, shippedPolicy)
	night := noon.Add(11 * time.Hour) // 23:00 in Shanghai
	hour := func(h int) time.Time { return noon.Add(time.Duration(h-12) * time.Hour) }
	group := func(name string) func(*event.Event) {
		return func(e *event.Event) { e.User.Group = []byte(name) }
	}
	withdrawn := func(e *event.Event) {
		for i := range e.Consent.Grants {
			e.Consent.Grants[i].Granted = false
		}
	}
	halted := func(r *Request) { r.Halt = &Halt{Target: Target{ScopeCampaign, "spring"}, Since: noon} }
	nothing := func(e *event.Event) { e.Consent.Grants = nil }
	for _, c := range []struct {
		name    string
		now     time.Time
		profile func(*event.Event)
		sent    []Entry
		change  func(*Request)
		want    string
	}{
		{"marketing", noon, nil, nil, nil, "allow/none"},
		{"unknown class", noon, nil, nil, func(r *Request) { r.Class = []byte("gossip") }, "deny/unknown-class"},
		{"unknown channel", noon, nil, nil, func(r *Request) { r.Channel = []byte("fax") }, "deny/unknown-class"},
		{"no class", noon, nil, nil, func(r *Request) { r.Class = nil }, "deny/unknown-class"},
		{"of a campaign that is halted", noon, nil, nil, halted, "deny/halted"},
		{"halted, but nobody knows the class", noon, nil, nil, func(r *Request) { halted(r); r.Class = []byte("gossip") }, "deny/unknown-class"},
		{"halted before it was cancelled", noon, nil, []Entry{{At: 5, State: refunded, Mark: 77}}, halted, "deny/halted"},
		{"halted before anything else is asked", night, withdrawn, nil, func(r *Request) { halted(r); r.Expires, r.Label = noon, nil }, "deny/halted"},
		{"a security push of a class that is halted", noon, nil, nil, func(r *Request) { halted(r); r.Class = []byte("security") }, "deny/halted"},
		{"known already, but halted since", noon, nil, []Entry{{At: uint32(noon.Unix()), Tag: 3 << 3, State: counted, Mark: 77}}, halted, "deny/halted"},
		{"cancelled before it expired", night, nothing, []Entry{{At: 5, State: refunded, Mark: 77}}, func(r *Request) { r.Expires = noon }, "deny/cancelled"},
		{"expired", noon, nil, nil, func(r *Request) { r.Expires = noon.Add(-time.Second) }, "deny/expired"},
		{"at its deadline", noon, nil, nil, func(r *Request) { r.Expires = noon }, "allow/none"},
		{"too old", noon, nil, nil, func(r *Request) { r.Time = noon.Add(-24*time.Hour - time.Second) }, "deny/expired"},
		{"old enough, whatever it says", noon, nil, nil, func(r *Request) { r.Time, r.Expires = noon.Add(-25*time.Hour), noon.Add(time.Hour) }, "deny/expired"},
		{"a class without a deadline", noon, nil, nil, func(r *Request) { r.Class, r.Time = []byte("service"), noon.Add(-1000*time.Hour) }, "allow/none"},
		{"its own deadline", noon, nil, nil, func(r *Request) { r.Class, r.Expires = []byte("security"), noon.Add(-time.Second) }, "deny/expired"},
		{"profiling a minor", noon, group("minor"), nil, func(r *Request) { r.Personalised = true }, "deny/group"},
		{"profiling somebody the event calls a minor", noon, nil, nil, func(r *Request) { r.Personalised, r.Group = true, []byte("minor") }, "deny/group"},
		{"a minor, not profiled", noon, group("minor"), nil, nil, "allow/none"},
		{"unlabelled", noon, nothing, nil, func(r *Request) { r.Label = nil }, "deny/unlabelled-ad"},
		{"unlabelled content", noon, nil, nil, func(r *Request) { r.Class, r.Label = []byte("content"), nil }, "allow/none"},
		{"never asked", night, nothing, nil, nil, "deny/no-consent"},
		{"withdrawn", night, withdrawn, nil, nil, "deny/withdrawn"},
		{"withdrawn, but needs none", noon, withdrawn, nil, func(r *Request) { r.Class = []byte("service") }, "allow/none"},
		{"at night", night, nil, nil, nil, "defer/quiet-hours"},
		{"at night, expired by morning", night, nil, nil, func(r *Request) { r.Expires = night.Add(time.Hour) }, "deny/quiet-hours"},
		{"service at night", night, nil, nil, func(r *Request) { r.Class = []byte("service") }, "allow/none"},
		{"security at night, after many", night, nothing, []Entry{{At: uint32(night.Unix()), Tag: 3 << 3, State: counted, Mark: 1}}, func(r *Request) { r.Class = []byte("security") }, "allow/none"},
		{"half past eight", hour(8).Add(30 * time.Minute), nil, nil, nil, "allow/none"},
		{"half past eight in the evening", hour(20).Add(30 * time.Minute), nil, nil, nil, "allow/none"},
		{"half past eight in the evening, elderly", hour(20).Add(30 * time.Minute), group("elderly"), nil, nil, "defer/quiet-hours"},
		{"half past nine in the evening, a minor", hour(21).Add(30 * time.Minute), group("minor"), nil, nil, "defer/quiet-hours"},
		{"noon, resting by themselves", noon, func(e *event.Event) { e.Consent.Quiet = []byte("11:00-13:00") }, nil, nil, "defer/quiet-hours"},
		{"noon in Shanghai is night in New York", noon, func(e *event.Event) { e.Consent.Zone = []byte("America/New_York") }, nil, nil, "defer/quiet-hours"},
		{"one within the hour", noon, nil, []Entry{{At: uint32(noon.Unix()) - 3599, Tag: 3 << 3, State: counted, Mark: 1}}, nil, "deny/cap"},
		{"one an hour ago", noon, nil, []Entry{{At: uint32(noon.Unix()) - 3600, Tag: 3 << 3, State: counted, Mark: 1}}, nil, "allow/none"},
		{"one an hour ago, a minor", noon, group("minor"), []Entry{{At: uint32(noon.Unix()) - 3600, Tag: 3 << 3, State: counted, Mark: 1}}, nil, "deny/cap"},
		{"one an hour ago, elderly by the event", noon, nil, []Entry{{At: uint32(noon.Unix()) - 3600, Tag: 3 << 3, State: counted, Mark: 1}}, func(r *Request) { r.Group = []byte("elderly") }, "deny/cap"},
		{"the user wants none", noon, func(e *event.Event) { e.Consent.DailyMax = 0 }, nil, nil, "deny/cap"},
		{"known already", noon, nil, []Entry{{At: uint32(noon.Unix()), Tag: 3 << 3, State: counted, Mark: 77}}, nil, "allow/none"},
		{"known already, but withdrawn since", noon, withdrawn, []Entry{{At: uint32(noon.Unix()), Tag: 3 << 3, State: counted, Mark: 77}}, nil, "deny/withdrawn"},
		{"known already, but night since", night, nil, []Entry{{At: uint32(noon.Unix()), Tag: 3 << 3, State: counted, Mark: 77}}, nil, "defer/quiet-hours"},
	} {
		r := pushTo("u", "1", "marketing")
		r.Mark = 77
		if c.change != nil {
			c.change(&r)
		}
		log := SendLog{Entries: c.sent}
		before := slices.Clone(c.sent)
		d, next := Decide(c.now, p, agreeing(t, p, c.profile), &log, &r)
		if word(d) != c.want {
			t.Errorf("%s: %s (limit %q), want %s", c.name, word(d), d.Limit, c.want)
		}
		consumed := d.Decision == Allow && !d.Replay && string(r.Class) != "security"
		if (next != nil) != consumed {
			t.Errorf("%s: the log changed: %v, want %v", c.name, next != nil, consumed)
		}
		if !slices.Equal(log.Entries, before) {
			t.Errorf("%s: the log it was given was changed", c.name)
		}
		again, _ := Decide(c.now, p, agreeing(t, p, c.profile), &log, &r)
		if diff := cmp.Diff(d, again); diff != "" {
			t.Errorf("%s: decided differently the second time:\n%s", c.name, diff)
		}
		if !slices.Contains(Outcomes(), Outcome{d.Decision, d.Reason}) {
			t.Errorf("%s: %s is not in the list of outcomes", c.name, word(d))
		}
	}
}

// A decision carries everything that led to it, under names that stay.
func TestDecisionCarriesItsInputs(t *testing.T) {
	// Clause: push-record
	p := loadPolicy(t, shippedPolicy)
	profile := agreeing(t, p, func(e *event.Event) {
		e.User.Group = []byte("elderly")
		e.Consent.Quiet, e.Consent.DailyMax = []byte("13:00-14:00"), 4
	})
	log := SendLog{Entries: []Entry{{At: uint32(noon.Unix()) - 90000, Tag: 3 << 3, State: counted, Mark: 1}, {At: uint32(noon.Unix()) - 7200, Tag: 1<<3 | 2, State: counted, Mark: 2}}}
	r := pushTo("u", "1", "marketing")
	r.Group, r.Channel, r.Mark = []byte("minor"), []byte("sms"), 9
	d, _ := Decide(noon.Add(999*time.Millisecond), p, profile, &log, &r)
	got, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
	"decision": "allow",
	"reason": "none",
	"not_after": "2026-11-24T04:59:59Z",
	"flags": ["group-conflict"],
	"at": "2026-11-24T04:00:00Z",
	"policy_version": "2026-11-a",
	"consent": {"version": 3, "state": "granted", "since": "2026-11-23T04:00:00Z"},
	"group": "elderly+minor",
	"group_source": "both",
	"zone": "Asia/Shanghai",
	"zone_source": "profile",
	"local_time": "2026-11-24T12:00:00+08:00",
	"quiet": ["20:00-08:00", "21:00-08:00", "13:00-14:00"],
	"deadline": "2026-11-25T04:00:00Z",
	"limits": [
		{"id": "mkt-hour", "from": "2026-11-24T03:00:01Z", "count": 0, "max": 1, "by": "policy"},
		{"id": "mkt-day", "from": "2026-11-23T16:00:00Z", "count": 0, "max": 1, "by": "policy"},
		{"id": "mkt-week", "from": "2026-11-17T04:00:01Z", "count": 1, "max": 3, "by": "policy"},
		{"id": "sms-2day", "from": "2026-11-22T16:00:00Z", "count": 0, "max": 1, "by": "policy"},
		{"id": "user-daily", "from": "2026-11-23T16:00:00Z", "count": 1, "max": 4, "by": "user"}
	],
	"log_size": 2
}`
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A halt says who ordered it, when and why.
	halted := r
	halted.Halt = &NewHalts([]Halt{order(ScopeCampaign, "spring", noon)}).List()[0]
	d, _ = Decide(noon, p, profile, &log, &halted)
	if got, err = json.Marshal(d); err != nil {
		t.Fatal(err)
	}
	const stopped = `{"decision":"deny","reason":"halted","flags":[],"at":"2026-11-24T04:00:00Z","policy_version":"2026-11-a",` +
		`"halt":{"scope":"campaign","value":"spring","since":"2026-11-24T04:00:00Z","why":"complaints","by":"officer-7","id":"h-spring"},"log_size":2}`
	if strings.Replace(string(got), `"flags":[],`, "", 1) != strings.Replace(stopped, `"flags":[],`, "", 1) {
		t.Errorf("halted, it carries %s\nwant %s", got, stopped)
	}
	// A denial says what it saw up to there, and no more.
	r.Label = nil
	d, _ = Decide(noon, p, profile, &log, &r)
	if d.Consent != (ConsentUse{}) || d.Zone != "" || d.Limits != nil || d.Group == "" {
		t.Errorf("denied for its label, but it carries %+v", d)
	}
}

// What nobody knows is said by flags, and decided on conservatively.
func TestUnknownsAreFlagged(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	r := pushTo("u", "1", "service")
	for _, c := range []struct {
		name    string
		profile *Profile
		group   string
		flags   Flags
		source  GroupSource
		zone    ZoneSource
	}{
		{"nothing known", nil, "", ZoneDefaulted, GroupFromPolicy, ZoneFromPolicy},
		{"group by the event", nil, "minor", ZoneDefaulted, GroupFromEvent, ZoneFromPolicy},
		{"group nobody knows", nil, "strangers", ZoneDefaulted | GroupUnknown, GroupFromPolicy, ZoneFromPolicy},
		{"zone nobody knows", &Profile{Zone: "Mars/Olympus_Mons", Group: "minor", DailyMax: NoDailyMax}, "", ZoneDefaulted, GroupFromProfile, ZoneFromPolicy},
		{"the zone of this machine is not the user's", &Profile{Zone: "Local", DailyMax: NoDailyMax}, "", ZoneDefaulted, GroupFromPolicy, ZoneFromPolicy},
		{"both agree", &Profile{Zone: "UTC", Group: "minor", DailyMax: NoDailyMax}, "minor", 0, GroupFromBoth, ZoneFromProfile},
		{"one of two is known", &Profile{Zone: "UTC", Group: "minor", DailyMax: NoDailyMax}, "strangers", GroupUnknown, GroupFromProfile, ZoneFromProfile},
		{"unreadable", &Profile{Unreadable: true, DailyMax: NoDailyMax}, "default", ZoneDefaulted | ProfileUnreadable, GroupFromPolicy, ZoneFromPolicy},
	} {
		r.Group = []byte(c.group)
		d, _ := Decide(noon, p, c.profile, nil, &r)
		if d.Flags != c.flags || d.GroupSource != c.source || d.ZoneSource != c.zone {
			t.Errorf("%s: flags %s, group by %s, zone by %s; want %s, %s, %s", c.name, d.Flags.Words(), d.GroupSource, d.ZoneSource, c.flags.Words(), c.source, c.zone)
		}
	}
}

// A policy may take away what users can set for themselves, but only expressly.
func TestUserMayLower(t *testing.T) {
	src := `
policy: push
version: v
default_zone: UTC
classes: {content: {consent: none, quiet: defer, count: true}}
channels: [app]
groups: {default: {limits: [{id: day, days: 1, max: 9}]}}
`
	profile := &Profile{Version: 1, DailyMax: 1, Quiet: Window{60, 120}}
	log := &SendLog{Entries: []Entry{{At: uint32(noon.Unix()), Tag: 2 << 3, State: counted, Mark: 1}}}
	r := pushTo("u", "2", "content")
	r.Mark = 2
	for line, want := range map[string]string{
		"":                                       "deny/cap defer/quiet-hours",
		"user_may_lower: [daily_total]\n":        "deny/cap allow/none",
		"user_may_lower: [quiet]\n":              "allow/none defer/quiet-hours",
		"user_may_lower: []\n":                   "allow/none allow/none",
		"user_may_lower: [quiet, daily_total]\n": "deny/cap defer/quiet-hours",
	} {
		p, err := ParsePolicy("p.yaml", []byte(src+line))
		if err != nil {
			t.Fatal(err)
		}
		day, _ := Decide(noon, p, profile, log, &r)
		night, _ := Decide(noon.Truncate(24*time.Hour).Add(90*time.Minute), p, profile, &SendLog{}, &r)
		if got := word(day) + " " + word(night); got != want {
			t.Errorf("%q: %s, want %s", strings.TrimSpace(line), got, want)
		}
	}
}

// A request says of a push event what the policy asks about.
func TestNewRequest(t *testing.T) {
	e := &event.Event{Kind: event.Push, ID: []byte("id"), Time: noon, User: event.User{ID: []byte("u"), Group: []byte("minor")}}
	e.Push = event.PushPart{Class: []byte("marketing"), Channel: []byte("app"), Campaign: []byte("c"), Sender: []byte("s"), Label: []byte("l"), Personalised: true, Expires: noon.Add(time.Hour)}
	want := Request{User: []byte("u"), ID: []byte("id"), Group: []byte("minor"), Class: []byte("marketing"), Channel: []byte("app"),
		Campaign: []byte("c"), Sender: []byte("s"), Label: []byte("l"), Personalised: true, Time: noon, Expires: noon.Add(time.Hour)}
	if diff := cmp.Diff(want, NewRequest(e)); diff != "" {
		t.Error(diff)
	}
}

// Every reason has a line that explains it, and no reason is missing or doubled
// in the lists others build on.
func TestReasonsAreListedOnce(t *testing.T) {
	seen := make(map[Reason]bool)
	for _, r := range Reasons() {
		if seen[r.Reason] || r.Text == "" || string(r.Reason) != strings.ToLower(string(r.Reason)) {
			t.Errorf("%q: %q", r.Reason, r.Text)
		}
		seen[r.Reason] = true
	}
	denied := 0
	for _, o := range Outcomes() {
		if !seen[o.Reason] {
			t.Errorf("%s/%s is an outcome of no reason", o.Decision, o.Reason)
		}
		if o.Decision == Deny {
			denied++
		}
	}
	if denied != len(seen)-1 {
		t.Errorf("%d reasons to deny, want all %d but none", denied, len(seen))
	}
}
