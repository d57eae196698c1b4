package policytest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/pipeline/push"
)

// Failure is a case that came out otherwise than it says.
type Failure struct {
	Case *Case
	Got  push.Decision

	lines []line
}

// line is one thing that a case wants, and what came instead.
type line struct{ name, want, got string }

// Run decides every case under the policy that it was read for, and returns those
// that came out otherwise than they say.
func Run(cases []*Case, policy *push.Policy) []Failure {
	var failures []Failure
	for _, c := range cases {
		if f := c.run(policy); f != nil {
			failures = append(failures, *f)
		}
	}
	return failures
}

// run returns nil if the case comes out as it says.
func (c *Case) run(policy *push.Policy) *Failure {
	d, _ := push.Decide(c.Now, policy, c.Profile, c.Log, &c.Request)
	f := &Failure{Case: c, Got: d}
	w := &c.want
	f.compare("decision", string(w.Decision), string(d.Decision))
	f.compare("reason", string(w.Reason), string(d.Reason))
	if c.has("limit") || d.Limit != "" && w.Reason != reason(d.Reason) {
		f.compare("limit", w.Limit, d.Limit)
	}
	if w.NotBefore != nil {
		f.compare("not_before", c.clock(w.NotBefore.Time), c.clock(d.NotBefore))
	}
	if w.NotAfter != nil {
		f.compare("not_after", c.clock(w.NotAfter.Time), c.clock(d.NotAfter))
	}
	if c.has("replay") || d.Replay {
		f.compare("replay", fmt.Sprint(w.Replay), fmt.Sprint(d.Replay))
	}
	if c.has("group") {
		f.compare("group", w.Group, d.Group)
	}
	if c.has("flags") {
		want, got := slices.Sorted(slices.Values(w.Flags)), slices.Sorted(slices.Values(d.Flags.Words()))
		f.compare("flags", "["+strings.Join(want, ", ")+"]", "["+strings.Join(got, ", ")+"]")
	}
	if !slices.ContainsFunc(f.lines, line.differs) {
		return nil
	}
	return f
}

func (f *Failure) compare(name, want, got string) {
	f.lines = append(f.lines, line{name, want, got})
}

func (l line) differs() bool { return l.want != l.got }

// clock writes a time as the case writes its own: at the same distance from
// Greenwich as now.
func (c *Case) clock(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.In(c.Now.Location()).Format(time.RFC3339)
}

// Error returns "file:line: name: what is wrong".
func (f *Failure) Error() string {
	var wrong []string
	for _, l := range f.lines {
		if l.differs() {
			wrong = append(wrong, fmt.Sprintf("%s %s instead of %s", l.name, shown(l.got), shown(l.want)))
		}
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.Case.File, f.Case.Line, f.Case.Name, strings.Join(wrong, ", "))
}

// Diff shows what was expected beside what came: a line each, with "-" before
// what is missing, "+" before what came instead and a blank before what is as it
// should be; below it every limit that covers the push.
func (f *Failure) Diff() string {
	var b strings.Builder
	for _, l := range f.lines {
		if !l.differs() {
			fmt.Fprintf(&b, "  %s: %s\n", l.name, shown(l.got))
			continue
		}
		fmt.Fprintf(&b, "- %s: %s\n+ %s: %s\n", l.name, shown(l.want), l.name, shown(l.got))
	}
	for _, l := range f.Got.Limits {
		fmt.Fprintf(&b, "  limit %s: %d of %d since %s, by %s\n", l.ID, l.Count, l.Max, f.Case.clock(l.From), l.By)
	}
	return b.String()
}

// shown is a value that may be empty.
func shown(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
