// Package retention says how long the bodies of evidence records must and may be
// kept, by class: what an operator decides, or has to.
//
// What it is not: it destroys nothing; package desk does. The one thing to know:
// a period that nobody has given is not zero and not infinite but unset, and
// nothing is destroyed by it.
package retention

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Classes are the periods of each class of bodies, by its name: the section
// "evidence.retention" of the configuration.
//
// Clause: cmp-retention
// Each class of evidence has a minimum, a maximum and a legal basis in the configuration; presets name the periods of known texts with their sources.
type Classes map[string]Class

// Class is how long the bodies of one class are kept, and why.
type Class struct {
	// Preset names one of the periods that Weir ships: its minimum and its basis
	// hold where none are given here.
	Preset string `yaml:"preset"`
	// Minimum is how long a body must be kept: nothing is destroyed before.
	Minimum Period `yaml:"minimum"`
	// Maximum is how long a body may be kept: what is older is to be destroyed.
	Maximum Period `yaml:"maximum"`
	// Clock is when the periods begin. The one value is "recorded": the end of the
	// day (UTC) on which the record was written. Empty means that, too.
	Clock string `yaml:"clock"`
	// Basis is the text that demands or allows it, for who asks years later.
	Basis string `yaml:"basis"`
	// Reviewers are those who may approve that something of the class is destroyed.
	Reviewers []string `yaml:"reviewers"`
}

// ClockRecorded is the clock that begins when a record was written.
const ClockRecorded = "recorded"

// Names are the classes whose bodies can be destroyed. What the log says of
// itself (audit) stays for ever: it is how a gap is explained.
func Names() []string { return []string{"content", "push", "policy"} }

// Period is a length of time on the calendar. The zero Period is unset.
type Period struct {
	count int
	unit  string // day, month or year
	set   bool
}

const maxYears = 100

// ParsePeriod reads a period such as "60 days", "6 months" or "1 year".
func ParsePeriod(s string) (Period, error) {
	number, unit, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(number)
	unit = strings.TrimSuffix(unit, "s")
	limit := map[string]int{"day": maxYears * 366, "month": maxYears * 12, "year": maxYears}[unit]
	if err != nil || n < 0 || n > limit || strconv.Itoa(n) != number || limit == 0 {
		return Period{}, fmt.Errorf("%q is no period; write a number of days, months or years up to %d years, such as 60 days or 6 months", s, maxYears)
	}
	return Period{n, unit, true}, nil
}

// UnmarshalText reads a period of the configuration.
func (p *Period) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePeriod(string(b))
	return err
}

// IsSet reports whether somebody has given the period.
func (p Period) IsSet() bool { return p.set }

// String returns the period as it is written, or "unset".
func (p Period) String() string {
	switch {
	case !p.set:
		return "unset"
	case p.count == 1:
		return "1 " + p.unit
	}
	return fmt.Sprintf("%d %ss", p.count, p.unit)
}

// After returns the moment at which a period that began at t has passed. Where
// the calendar has no such day (a month after 31 January) it is a later one.
func (p Period) After(t time.Time) time.Time {
	switch p.unit {
	case "year":
		return t.AddDate(p.count, 0, 0)
	case "month":
		return t.AddDate(0, p.count, 0)
	}
	return t.AddDate(0, 0, p.count)
}

// longerThan reports whether p is longer than q from any day on. Both are set.
func (p Period) longerThan(q Period) bool {
	t := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 4*365 + 1 { // the calendar's shortest cycle with a leap year
		if p.After(t).After(q.After(t)) {
			return true
		}
		t = t.AddDate(0, 0, 1)
	}
	return false
}

// Unset returns the fields without which nothing of a class is destroyed, such as
// "content.maximum".
func (c Classes) Unset() []string {
	var list []string
	for _, name := range Names() {
		list = append(list, c.UnsetOf(name)...)
	}
	return list
}

// UnsetOf is Unset of one class.
func (c Classes) UnsetOf(name string) []string {
	var list []string
	add := func(unset bool, field string) {
		if unset {
			list = append(list, name+"."+field)
		}
	}
	k := c[name]
	add(!k.Minimum.IsSet(), "minimum")
	add(!k.Maximum.IsSet(), "maximum")
	add(k.Basis == "", "basis")
	add(len(k.Reviewers) == 0, "reviewers")
	return list
}

// Reviewers are the public keys, in the note format, of those who may approve
// that evidence is destroyed, by their names.
type Reviewers map[string]string

// field is the path of a name in a mapping of the configuration.
func field(parent, name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return parent + "." + name
	}
	return fmt.Sprintf("%s[%q]", parent, name)
}

// Validate reports what is wrong with the two sections, each error beginning with
// a field's name.
func Validate(c Classes, r Reviewers) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		v, err := note.NewVerifier(r[name])
		switch {
		case strings.HasPrefix(r[name], "PRIVATE+KEY+"):
			bad(field("reviewers", name), "a private key; give the public one, which weir evidence reviewer-key printed, and make a new pair: this one is known now")
		case err != nil:
			bad(field("reviewers", name), "not a public key; it is the line that weir evidence reviewer-key printed")
		case v.Name() != name:
			bad(field("reviewers", name), "the key is that of %s; write it under that name", v.Name())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		k := c[name]
		at := field("retention", name)
		if !slices.Contains(Names(), name) {
			bad(at, "no class whose bodies can be destroyed; there are %s", strings.Join(Names(), ", "))
			continue
		}
		if k.Clock != "" && k.Clock != ClockRecorded {
			bad(at+".clock", "%q; the one clock there is begins when a record was written: %s", k.Clock, ClockRecorded)
		}
		if k.Minimum.IsSet() && k.Maximum.IsSet() && k.Minimum.longerThan(k.Maximum) {
			bad(at+".maximum", "%s, and the minimum is %s; what must be kept may not be destroyed", k.Maximum, k.Minimum)
		}
		for _, who := range k.Reviewers {
			if _, ok := r[who]; !ok {
				bad(at+".reviewers", "%s has no key; put it into evidence.reviewers", who)
			}
		}
	}
	policy := c["policy"].Maximum
	for _, name := range []string{"content", "push"} {
		// Records of a decision name the rules it was made by.
		if m := c[name].Maximum; policy.IsSet() && m.IsSet() && m.longerThan(policy) {
			bad("retention.policy.maximum", "%s, and %s is kept for %s; rule sets must be there as long as records that cite them", policy, name, m)
		}
	}
	return errors.Join(errs...)
}
