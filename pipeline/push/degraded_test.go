package push

import (
	"strings"
	"testing"
	"time"
)

const outagePolicy = `
policy: push
version: v
default_zone: Asia/Shanghai
classes:
  alarm:   {consent: none, quiet: ignore, count: false, on_outage: open}
  tip:     {consent: none, quiet: defer, count: false, on_outage: open}
  rumour:  {consent: none, quiet: deny, count: false, on_outage: open}
  service: {consent: none, quiet: ignore, count: true, on_outage: local, local_ratio: 0.5}
  content: {consent: required, quiet: defer, count: true, on_outage: hold}
  ad:      {consent: none, quiet: ignore, count: true, label: required, on_outage: deny}
channels: [app]
codes: {classes: {alarm: 4, tip: 5, rumour: 6, ad: 7}}
groups:
  default:
    quiet: "22:00-08:00"
    limits: [{id: hour, rolling: 1h, max: 3}]
  minor:
    extends: default
    quiet: "20:00-08:00"
    forbid: [{class: tip}, {class: service, when: personalised}]
    limits: [{id: hour, max: 2}]
deadline: {required_for: [content], max_age: 24h}
`

// What becomes of a push while Redis is away, by its class and by what is
// remembered of its user. What needs no record holds as always.
func TestDecideWithout(t *testing.T) {
	// Clause: push-breach
	p, err := ParsePolicy("p.yaml", []byte(outagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	known := Profile{Version: 1, DailyMax: NoDailyMax, Zone: "Europe/Paris"} // five in the morning at noon in Shanghai
	minor := Profile{Version: 1, DailyMax: NoDailyMax, Group: "minor"}
	modest := Profile{Version: 1, DailyMax: 1}
	log := func(n int) (l SendLog) {
		for i := range n {
			l.Entries = append(l.Entries, Entry{At: unixTime(noon.Add(-time.Minute)), Tag: tagOf(1, 0), State: counted, Mark: uint64(100 + i)})
		}
		return l
	}
	cancelled := SendLog{Entries: []Entry{{At: unixTime(noon), Tag: tagOf(1, 0), State: refunded, Mark: 7}}}
	evening := noon.Add(9 * time.Hour) // 21:00 in Shanghai: rest for minors only
	for _, c := range []struct {
		name    string
		class   string
		at      time.Time
		m       remembered
		full    bool
		change  func(r *Request)
		want    string
		limit   string // of a cap, or in the list: "hour 1 of 3"
		counted bool
	}{
		{name: "open", class: "alarm", at: noon, want: "allow/none"},
		{name: "open, at any hour", class: "alarm", at: noon.Add(14 * time.Hour), want: "allow/none"},
		{name: "open, unknown user in the policy's rest hours", class: "tip", at: noon.Add(12 * time.Hour), want: "defer/store"},
		{name: "open, forbidden for some group the user may be of", class: "tip", at: noon, want: "defer/store"},
		{name: "open, known user who rests where they are", class: "tip", at: noon, m: remembered{profile: &known}, want: "defer/quiet-hours"},
		{name: "open, known user who does not rest", class: "tip", at: evening, m: remembered{profile: &known}, want: "allow/none"},
		{name: "open, known minor", class: "tip", at: noon, m: remembered{profile: &minor}, want: "deny/group"},
		{name: "open, the event says minor", class: "tip", at: noon, change: func(r *Request) { r.Group = []byte("minor") }, want: "deny/group"},
		{name: "open, an hour of rest for some group, which would deny for good", class: "rumour", at: evening, want: "defer/store"},
		{name: "open, an hour of rest that is known", class: "rumour", at: evening, m: remembered{profile: &minor}, want: "deny/quiet-hours"},
		{name: "hold", class: "content", at: noon, m: remembered{profile: &known}, want: "defer/store"},
		{name: "hold beyond the deadline", class: "content", at: noon, change: func(r *Request) { r.Expires = noon.Add(time.Minute) }, want: "deny/store"},
		{name: "expired", class: "content", at: noon.Add(25 * time.Hour), want: "deny/expired"},
		{name: "deny", class: "ad", at: noon, m: remembered{profile: &known}, want: "deny/store"},
		{name: "unlabelled", class: "ad", at: noon, change: func(r *Request) { r.Label = nil }, want: "deny/unlabelled-ad"},
		{name: "unknown class", class: "spam", at: noon, want: "deny/unknown-class"},
		{name: "local, nobody known", class: "service", at: noon, want: "allow/none", limit: "hour 0 of 1", counted: true},
		{name: "local, nobody known, share used", class: "service", at: noon, m: remembered{log: log(1)}, want: "defer/store", limit: "hour 1 of 1"},
		{name: "local, nobody known, used an hour ago", class: "service", at: noon.Add(59 * time.Minute), m: remembered{log: log(1)}, want: "allow/none", limit: "hour 0 of 1", counted: true},
		{name: "local, known", class: "service", at: noon, m: remembered{profile: &known, log: log(2)}, want: "allow/none", limit: "hour 2 of 3", counted: true},
		{name: "local, known, full", class: "service", at: noon, m: remembered{profile: &known, log: log(3)}, want: "deny/cap", limit: "hour 3 of 3"},
		{name: "local, known minor", class: "service", at: noon, m: remembered{profile: &minor, log: log(2)}, want: "deny/cap", limit: "hour 2 of 2"},
		{name: "local, the user's own limit", class: "service", at: noon, m: remembered{profile: &modest, log: log(1)}, want: "deny/cap", limit: "hour 1 of 3, user-daily 1 of 1"},
		{name: "local, allowed before", class: "service", at: noon, m: remembered{profile: &known, log: log(3)}, change: func(r *Request) { r.Mark = 101 }, want: "allow/none replay"},
		{name: "local, allowed before to somebody unknown", class: "service", at: noon, m: remembered{log: log(1)}, change: func(r *Request) { r.Mark = 100 }, want: "allow/none replay"},
		{name: "local, cancelled before", class: "service", at: noon, m: remembered{profile: &known, log: cancelled}, want: "deny/cancelled"},
		{name: "local, personalised to somebody who may be a minor", class: "service", at: noon, change: func(r *Request) { r.Personalised = true }, want: "defer/store"},
		{name: "local, record damaged", class: "service", at: noon, m: remembered{profile: &known, log: SendLog{Unreadable: true}}, want: "defer/store"},
		{name: "local, nothing more can be counted", class: "service", at: noon, m: remembered{profile: &known}, full: true, want: "defer/store"},
		{name: "open, nothing more can be counted", class: "alarm", at: noon, full: true, want: "allow/none"},
	} {
		r := Request{User: []byte("u"), ID: []byte("1"), Class: []byte(c.class), Channel: []byte("app"), Label: []byte("ad"), Time: noon, Mark: 7}
		if c.change != nil {
			c.change(&r)
		}
		before := len(c.m.log.Entries)
		d, next := decideWithout(c.at, p, &c.m, c.full, &r)
		got := word(d)
		if d.Replay {
			got += " replay"
		}
		if got != c.want || d.Flags&Degraded == 0 {
			t.Errorf("%s: %s %v, want %s", c.name, got, d.Flags.Words(), c.want)
		}
		var limits []string
		for _, l := range d.Limits {
			limits = append(limits, strings.Join([]string{l.ID, itoa(l.Count), "of", itoa(l.Max)}, " "))
		}
		if got := strings.Join(limits, ", "); got != c.limit {
			t.Errorf("%s: limits %q, want %q", c.name, got, c.limit)
		}
		if (next != nil) != c.counted || next != nil && len(next.Entries) == 0 || len(c.m.log.Entries) != before {
			t.Errorf("%s: counted %v, want %v", c.name, next != nil, c.counted)
		}
		if (d.Limit != "") != (d.Reason == ReasonCap) {
			t.Errorf("%s: limit %q with reason %s", c.name, d.Limit, d.Reason)
		}
		if word(d) == "defer/store" && d.Flags&LogUnreadable == 0 {
			if wait := d.NotBefore.Sub(c.at); wait < awayFor || wait >= 2*awayFor {
				t.Errorf("%s: held for %v, want one to two minutes", c.name, wait)
			}
		}
	}
}

func itoa(n int) string { return string(rune('0' + n)) }

// Users who are held are not all back at once, and each is held for as long again
// when asked again.
func TestHeldUsersAreSpread(t *testing.T) {
	p, err := ParsePolicy("p.yaml", []byte(outagePolicy))
	if err != nil {
		t.Fatal(err)
	}
	back := make(map[time.Time]int)
	for i := range 600 {
		r := Request{User: []byte{byte(i), byte(i >> 8)}, Class: []byte("content"), Channel: []byte("app"), Time: noon}
		d, _ := decideWithout(noon, p, &remembered{}, false, &r)
		again, _ := decideWithout(noon, p, &remembered{}, false, &r)
		if !d.NotBefore.Equal(again.NotBefore) {
			t.Fatal("a user waits for a time that is drawn by chance")
		}
		back[d.NotBefore]++
	}
	for at, n := range back {
		if n > 40 { // 10 on average
			t.Errorf("%d of 600 are back at %v", n, at)
		}
	}
}

// The share of a limit is rounded down, and not by the way numbers are written.
func TestShareOfALimit(t *testing.T) {
	for _, c := range []struct {
		max   int
		ratio float64
		want  int
	}{{100, 0.29, 29}, {30, 0.5, 15}, {3, 0.5, 1}, {1, 0.99, 0}, {10, 0.3, 3}, {10, 0.7, 7}, {7, 1, 7}} {
		d := decider{class: &class{localRatio: c.ratio}}
		if got := d.share(&limit{max: c.max}).max; got != c.want {
			t.Errorf("%v of %d is %d, want %d", c.ratio, c.max, got, c.want)
		}
	}
}
