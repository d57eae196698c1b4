package push

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weir-moderation/weir/rules"
)

// AutoHalt is a rule of the policy by which a campaign, a sender or a class is
// halted without anybody having ordered it. Who watches is the pipeline.
type AutoHalt struct {
	ID     string
	Scope  Scope
	When   Cause
	Window time.Duration // in which is counted
	Min    int           // of what is counted: with fewer in a window nothing is halted
	Factor float64       // for the cause rate: how many times as many as usual
	Share  rules.Share   // for the others: which part of the pushes
}

// Cause is what is abnormal.
type Cause string

// The causes of automatic halts.
const (
	CauseRate    Cause = "rate"    // clearly more pushes than there usually are
	CauseDenied  Cause = "denied"  // clearly too many of them denied for what the sender did
	CauseContent Cause = "content" // clearly too many of them denied for their content
)

// Causes returns all causes.
func Causes() []Cause { return []Cause{CauseRate, CauseDenied, CauseContent} }

// Blames reports whether a denial for this reason counts against who sent the
// push. What Weir or the platform itself did, or failed to do, does not: a halt, a
// cancellation, a deadline that passed while messages waited, a store that is away.
// Then also the push itself does not count: it says nothing.
func Blames(r Reason) bool {
	switch r {
	case ReasonHalted, ReasonCancelled, ReasonExpired, ReasonStore, ReasonHeld:
		return false
	}
	return true
}

// AutoHalts returns the rules for automatic halts.
func (p *Policy) AutoHalts() []AutoHalt { return slices.Clone(p.autoHalts) }

// The bounds of automatic halts.
const (
	maxAutoHalts = 16
	minHaltCount = 10
	maxHaltCount = 1_000_000_000
	minWatch     = time.Second
	maxWatch     = 24 * time.Hour
	maxRateWatch = time.Hour // what is usual is forgotten in weeks, and is known only after many windows
)

type autoHaltFile struct {
	ID     string       `yaml:"id,required"`
	Scope  Scope        `yaml:"scope,required"`
	When   Cause        `yaml:"when,required"`
	Window *span        `yaml:"window"`
	Min    *int         `yaml:"min"`
	Factor *float64     `yaml:"factor"`
	Share  *rules.Share `yaml:"share"`
}

// UnmarshalText reads a scope in a policy.
func (s *Scope) UnmarshalText(b []byte) error { return oneOf(s, b, Scopes()...) }

// UnmarshalText reads a cause in a policy.
func (c *Cause) UnmarshalText(b []byte) error { return oneOf(c, b, Causes()...) }

// autoHalt compiles the rules for automatic halts.
func (c *compiler) autoHalt() {
	if n := len(c.file.AutoHalt); n > maxAutoHalts {
		c.bad("auto_halt", "%d rules; at most %d are possible", n, maxAutoHalts)
	}
	known := make(map[string]bool)
	for i := range c.file.AutoHalt {
		f, at := &c.file.AutoHalt[i], fmt.Sprintf("auto_halt[%d]", i)
		switch has := c.doc.Has(at + ".id"); {
		case has && !nameLike(f.ID):
			c.bad(at+".id", "%q "+nameShape, f.ID)
		case known[f.ID]:
			c.bad(at+".id", "%s is given twice; give one of them another id", f.ID)
		}
		known[f.ID] = true
		c.policy.autoHalts = append(c.policy.autoHalts, c.haltRule(f, at))
	}
}

func (c *compiler) haltRule(f *autoHaltFile, at string) AutoHalt {
	a := AutoHalt{ID: f.ID, Scope: f.Scope, When: f.When}
	longest := maxWatch
	if f.When == CauseRate {
		longest = maxRateWatch
	}
	switch {
	case f.Window == nil:
		c.bad(at, "window is missing; say in how long a time is counted, such as 10m")
	case *f.Window == 0: // it could not be read
	case time.Duration(*f.Window) < minWatch || time.Duration(*f.Window) > longest:
		c.bad(at+".window", "%s is out of range; choose from %s to %s", time.Duration(*f.Window), minWatch, longest)
	default:
		a.Window = time.Duration(*f.Window)
	}
	what := map[Cause]string{CauseRate: "pushes", CauseDenied: "denied pushes", CauseContent: "pushes with prohibited content"}[f.When]
	switch {
	case what == "": // the cause could not be read
	case f.Min == nil:
		c.bad(at, "min is missing; say with fewer than how many %s in the window nothing is halted", what)
	case *f.Min < minHaltCount || *f.Min > maxHaltCount:
		c.bad(at+".min", "%d is out of range; choose from %d to %d: of fewer %s no share and no rate can be told from chance", *f.Min, minHaltCount, maxHaltCount, what)
	default:
		a.Min = *f.Min
	}
	rate := f.When == CauseRate
	switch {
	case what == "":
	case rate && f.Share != nil:
		c.bad(at+".share", "a rate has none; give factor, such as 10, or take another cause")
	case !rate && f.Factor != nil:
		c.bad(at+".factor", "only of a rate; give share, such as 20%%")
	case rate && f.Factor == nil:
		c.bad(at, "factor is missing; say how many times as many pushes as usual are abnormal, such as 10")
	case !rate && f.Share == nil:
		c.bad(at, "share is missing; say which part of the pushes is abnormal, such as 20%%")
	case rate && (math.IsNaN(*f.Factor) || *f.Factor < 2 || *f.Factor > 1000):
		c.bad(at+".factor", "%v is out of range; choose from 2 to 1000", *f.Factor)
	case rate:
		a.Factor = *f.Factor
	case *f.Share <= 0 || *f.Share >= 100*rules.Percent:
		if c.readable(at + ".share") {
			c.bad(at+".share", "%s is none or all; give more than 0%% and less than 100%%", *f.Share)
		}
	default:
		a.Share = *f.Share
	}
	return a
}

// readable reports whether nothing was wrong with what stands at a path.
func (c *compiler) readable(path string) bool {
	for _, p := range c.problems {
		if p.Path == path {
			return false
		}
	}
	return true
}
