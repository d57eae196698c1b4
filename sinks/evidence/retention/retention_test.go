package retention

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
)

func period(t *testing.T, s string) Period {
	t.Helper()
	if s == "" {
		return Period{}
	}
	p, err := ParsePeriod(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeriods(t *testing.T) {
	for _, tt := range []struct{ in, out, from, after string }{
		{"60 days", "60 days", "2026-11-28", "2027-01-27"},
		{"1 day", "1 day", "2028-02-28", "2028-02-29"},
		{"0 days", "0 days", "2026-11-28", "2026-11-28"},
		{"6 months", "6 months", "2026-08-31", "2027-03-03"}, // there is no 31 February: later, never earlier
		{"1 months", "1 month", "2026-11-28", "2026-12-28"},
		{"1 year", "1 year", "2028-02-29", "2029-03-01"},
		{"100 years", "100 years", "2026-11-28", "2126-11-28"},
	} {
		p := period(t, tt.in)
		from, err := time.Parse(time.DateOnly, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.After(from).Format(time.DateOnly); got != tt.after || p.String() != tt.out || !p.IsSet() {
			t.Errorf("%s, read as %s, after %s is %s; want %s", tt.in, p, tt.from, got, tt.after)
		}
	}
	for _, in := range []string{"", "60", "60days", "-1 days", "+6 months", "06 months", "6  months", "6 weeks", "101 years", "six months", "6 monthss", "6 month and"} {
		if p, err := ParsePeriod(in); err == nil || p.IsSet() {
			t.Errorf("%q is read as %s", in, p)
		}
	}
	if s := (Period{}).String(); s != "unset" {
		t.Error(s)
	}
}

func TestLongerThan(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{
		{"60 days", "2 months", true}, // January and February have 59
		{"59 days", "2 months", false},
		{"2 months", "60 days", true},
		{"366 days", "1 year", true},
		{"365 days", "1 year", false},
		{"12 months", "1 year", false},
		{"13 months", "1 year", true},
	} {
		if got := period(t, tt.p).longerThan(period(t, tt.q)); got != tt.want {
			t.Errorf("%s is longer than %s at some time: %v", tt.p, tt.q, got)
		}
	}
}

func reviewer(t *testing.T, name string) (private, public string) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// Whatever is not given is listed, class by class, and a class is complete only with all of it.
func TestUnset(t *testing.T) {
	c := Classes{
		"content": {Minimum: period(t, "60 days"), Maximum: period(t, "1 year"), Basis: "x", Reviewers: []string{"li"}},
		"push":    {Minimum: period(t, "0 days")},
	}
	want := []string{"push.maximum", "push.basis", "push.reviewers", "policy.minimum", "policy.maximum", "policy.basis", "policy.reviewers"}
	if d := cmp.Diff(want, c.Unset()); d != "" {
		t.Error(d)
	}
}

func TestValidate(t *testing.T) {
	private, public := reviewer(t, "li.na")
	whole := func(minimum, maximum string) Class {
		return Class{Minimum: period(t, minimum), Maximum: period(t, maximum), Basis: "x", Reviewers: []string{"li.na"}}
	}
	keys := Reviewers{"li.na": public}
	for _, tt := range []struct {
		name string
		c    Classes
		r    Reviewers
		want string // empty: nothing is wrong
	}{
		{"nothing", nil, nil, ""},
		{"all", Classes{"content": whole("60 days", "1 year"), "push": whole("6 months", "6 months"), "policy": whole("1 year", "1 year")}, keys, ""},
		{"unset is not wrong", Classes{"content": {}}, nil, ""},
		{"audit", Classes{"audit": {}}, nil, "retention.audit: no class whose bodies can be destroyed; there are content, push, policy"},
		{"odd name", Classes{"a.b": {}}, nil, `retention["a.b"]: no class`},
		{"minimum over maximum", Classes{"content": whole("60 days", "2 months")}, keys, "retention.content.maximum: 2 months, and the minimum is 60 days"},
		{"clock", Classes{"content": {Clock: "closed"}}, nil, `retention.content.clock: "closed"; the one clock`},
		{"rules gone before what cites them", Classes{"push": whole("0 days", "13 months"), "policy": whole("0 days", "1 year")}, keys, "retention.policy.maximum: 1 year, and push is kept for 13 months"},
		{"reviewer without key", Classes{"content": whole("0 days", "1 year")}, nil, "retention.content.reviewers: li.na has no key"},
		{"private key", nil, Reviewers{"li.na": private}, `reviewers["li.na"]: a private key`},
		{"no key", nil, Reviewers{"li": "ssh-ed25519 AAAA"}, "reviewers.li: not a public key"},
		{"another's key", nil, Reviewers{"wang": public}, "reviewers.wang: the key is that of li.na"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Validate(tt.c, tt.r)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v; want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), private) {
				t.Error("the error shows a private key")
			}
		})
	}
}

// A preset fills in what is not given, and is no way to keep less than its text demands.
func TestPresets(t *testing.T) {
	const file = `presets:
  content-law: {class: content, minimum: 60 days, basis: some law, source: somewhere}
`
	presets, err := ParsePresets("p.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		class string
		in    Class
		want  string // minimum, basis, or the error
	}{
		{"fills in", "content", Class{}, "60 days, some law"},
		{"longer", "content", Class{Minimum: period(t, "3 months"), Basis: "ours"}, "3 months, ours"},
		{"shorter", "content", Class{Minimum: period(t, "59 days")}, "retention.content.minimum: 59 days, and the preset content-law demands 60 days (some law); leave the preset out if it does not hold for you"},
		{"another class", "push", Class{}, "retention.push.preset: content-law is about content"},
	} {
		tt.in.Preset = "content-law"
		c := Classes{tt.class: tt.in}
		err := c.Apply(presets)
		got := fmt.Sprintf("%s, %s", c[tt.class].Minimum, c[tt.class].Basis)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
	err = Classes{"content": {Preset: "none"}}.Apply(presets)
	if err == nil || err.Error() != `retention.content.preset: there is no preset "none"; there are content-law` {
		t.Error(err)
	}
	_, err = ParsePresets("p.yaml", []byte(strings.Replace(file, "class: content", "class: audit", 1)))
	if err == nil || !strings.Contains(err.Error(), `p.yaml:2`) || !strings.Contains(err.Error(), `"audit"; there are content, push, policy`) {
		t.Error(err)
	}
}

// The presets that are shipped can be read, and none has a period that its text does not name.
//
// Clause: cmp-retention
func TestShippedPresets(t *testing.T) {
	src, err := os.ReadFile("../../../configs/retention.yaml")
	if err != nil {
		t.Fatal(err)
	}
	presets, err := ParsePresets("retention.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for name, p := range presets {
		got[name] = p.Class + " " + p.Minimum.String()
	}
	want := map[string]string{"cn-content-60-days": "content 60 days", "cn-content-log-6-months": "content 6 months", "cn-push-log-6-months": "push 6 months", "cn-push-ad-3-years": "push 3 years"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
