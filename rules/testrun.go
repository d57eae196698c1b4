package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/rules/form"
)

// Failure is a case that came out otherwise than it says.
type Failure struct {
	Case       *Case
	Missing    []Expected // that nothing hit
	Unexpected []Hit      // of rules that the case does not list, or spares
	Hits       []Hit      // all there are
	Action     Action     // that the hits call for
	// Lapsed says that the case comes out as it says where no exception has expired: it is about one that is
	// over, as was wanted when it was written. That is no reason to refuse the set; lint tells of the exception.
	Lapsed bool
}

// Run judges the event of every case that [Case.Runs] as the daemon would, with every rule rolled out
// to all users, and returns the cases that came out otherwise than they say.
func (t *Tests) Run(set *Set) []Failure {
	set = set.forEveryone()
	var failures []Failure
	var sc Scratch
	for _, c := range t.Cases {
		if !c.Runs(set) {
			continue
		}
		if f := c.run(set, &sc); f != nil {
			failures = append(failures, *f)
		}
	}
	if len(failures) == 0 || set.stats.Expired == 0 {
		return failures
	}
	before, err := set.unexpired()
	if err != nil {
		return failures // of a set that loaded; then they just failed
	}
	before = before.forEveryone()
	for i := range failures {
		failures[i].Lapsed = failures[i].Case.run(before, &sc) == nil
	}
	return failures
}

// unexpired compiles the set as if none of its exceptions ended, without a second opinion.
func (s *Set) unexpired() (*Set, error) {
	all := make([]*Rule, len(s.all))
	for i, r := range s.all {
		endless := *r // compile numbers them anew, and others may be using these
		endless.Except = slices.Clone(r.Except)
		for j := range endless.Except {
			endless.Except[j].Expires = time.Time{}
		}
		all[i] = &endless
	}
	before, err := compile(all, s.stats.Packs, Options{
		MaxHits: s.max, Words: s.wider.options.Words, Exclusions: s.wider.options.Exclusions, countNumerals: s.wider.options.CountNumerals,
		MemoryBudget: math.MaxInt64 / 2, // that of the set was kept
	})
	if err != nil {
		return nil, err
	}
	before.shadowed = s.shadowed
	return before, nil
}

// Runs reports whether the set can be asked: no rule that the case wants to hit is a draft or
// retired. Those are never compiled, so the case says what will be or what was.
func (c *Case) Runs(set *Set) bool {
	return !slices.ContainsFunc(c.Hits, func(x Expected) bool {
		all := set.All()
		i, ok := slices.BinarySearchFunc(all, x.Rule, func(r *Rule, id string) int { return cmp.Compare(r.ID, id) })
		return ok && !all[i].compiled()
	})
}

// run returns nil if the case comes out as it says.
func (c *Case) run(set *Set, sc *Scratch) *Failure {
	f := Failure{Case: c, Hits: set.Match(sc, c.Event)}
	f.Action = ActionOf(f.Hits)
	for _, x := range c.Hits {
		if !slices.ContainsFunc(f.Hits, func(h Hit) bool { return c.meets(x, &h) }) {
			f.Missing = append(f.Missing, x)
		}
	}
	for _, h := range f.Hits {
		listed := slices.ContainsFunc(c.Hits, func(x Expected) bool { return x.Rule == h.Rule.ID })
		if c.Hits != nil && !listed || slices.Contains(c.Spares, h.Rule.ID) {
			f.Unexpected = append(f.Unexpected, h)
		}
	}
	if f.Missing == nil && f.Unexpected == nil && (c.Action == nil || *c.Action == f.Action) {
		return nil
	}
	f.Hits = slices.Clone(f.Hits) // the scratch has the next case's soon
	return &f
}

// meets reports whether a hit is the expected one.
func (c *Case) meets(x Expected, h *Hit) bool {
	return x.Rule == h.Rule.ID &&
		(x.Text == "" || x.Text == c.text(h)) &&
		(x.Form == 0 || x.Form == h.Form|form.Fold) &&
		(x.Field == "" || x.Field == string(c.Event.Fields[h.Field].Name))
}

// text is what stood at a hit.
func (c *Case) text(h *Hit) string { return string(c.Event.Fields[h.Field].Text[h.Start:h.End]) }

// Error returns "file:line: name: what is wrong", without any text of the event.
func (f *Failure) Error() string {
	var wrong []string
	if n := len(f.Missing); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d expected hits missing", n, len(f.Case.Hits)))
	}
	switch n := len(f.Unexpected); {
	case n == 1:
		wrong = append(wrong, "1 unexpected hit")
	case n > 1:
		wrong = append(wrong, fmt.Sprintf("%d unexpected hits", n))
	}
	if a := f.Case.Action; a != nil && *a != f.Action {
		wrong = append(wrong, fmt.Sprintf("action %s instead of %s", f.Action, *a))
	}
	name := f.Case.Name
	if name != "" {
		name += ": "
	}
	return fmt.Sprintf("%s:%d: %s%s", f.Case.File, f.Case.Line, name, strings.Join(wrong, ", "))
}

// maxDiffHits is how many hits a diff shows: more than anybody compares.
const maxDiffHits = 20

// Diff shows the event's texts, and what was expected beside what came: a line each, with "-" before
// what is missing, "+" before what came instead and a blank before what is as it should be. The
// texts are those of the case; they belong on a screen and not in a log.
func (f *Failure) Diff() string {
	var b strings.Builder
	c := f.Case
	for i := range c.Event.Fields {
		fmt.Fprintf(&b, "  %s: %s\n", c.Event.Fields[i].Name, quoted(string(c.Event.Fields[i].Text), 200))
	}
	for _, x := range f.Missing {
		fmt.Fprintf(&b, "- %s\n", x)
	}
	for _, id := range c.Spares {
		if slices.ContainsFunc(f.Unexpected, func(h Hit) bool { return h.Rule.ID == id }) {
			fmt.Fprintf(&b, "- no hit of %s\n", id)
		}
	}
	if c.Hits != nil && len(c.Hits) == 0 && len(f.Unexpected) > 0 {
		fmt.Fprint(&b, "- no hit\n")
	}
	for i := range f.Hits[:min(len(f.Hits), maxDiffHits)] {
		h := &f.Hits[i]
		mark, idle := ' ', ""
		if f.instead(h) {
			mark = '+'
		}
		if !h.acts() {
			idle = " (shadow: does nothing)"
		}
		fmt.Fprintf(&b, "%c %s%s\n", mark, f.Got(h), idle)
	}
	switch more := len(f.Hits) - maxDiffHits; {
	case len(f.Hits) == 0 && len(f.Missing) > 0:
		fmt.Fprint(&b, "+ no hit\n")
	case len(f.Hits) == 0:
		fmt.Fprint(&b, "  no hit\n")
	case more > 0:
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	if a := c.Action; a != nil && *a != f.Action {
		fmt.Fprintf(&b, "- action %s\n+ action %s\n", *a, f.Action)
	}
	return b.String()
}

// instead reports whether a hit is one that was not expected, or stands where another was.
func (f *Failure) instead(h *Hit) bool {
	return slices.ContainsFunc(f.Unexpected, func(u Hit) bool { return u.Rule == h.Rule }) ||
		slices.ContainsFunc(f.Missing, func(x Expected) bool { return x.Rule == h.Rule.ID }) &&
			!slices.ContainsFunc(f.Case.Hits, func(x Expected) bool { return f.Case.meets(x, h) })
}

// Got describes a hit of the failed case in the words of an expected one, with all there is to compare.
func (f *Failure) Got(h *Hit) Expected {
	return Expected{h.Rule.ID, f.Case.text(h), h.Form | form.Fold, string(f.Case.Event.Fields[h.Field].Name)}
}

// String returns what is given, such as `gambling.betting "赌 博" by squeeze in text`.
func (x Expected) String() string {
	s := x.Rule
	if x.Text != "" {
		s += " " + quoted(x.Text, 60)
	}
	if x.Form != 0 {
		s += " by " + x.Form.String()
	}
	if x.Field != "" {
		s += " in " + x.Field
	}
	return s
}
