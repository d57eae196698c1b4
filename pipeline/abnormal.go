package pipeline

import (
	"container/list"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/push"
)

// watch tells by the policy's rules for automatic halts when something is clearly
// abnormal about the pushes of a campaign, a sender or a class. It counts what
// this process judged, in windows, each of which ends before the next begins: what
// is spread over two of them trips when twice as much of it comes.
//
// Windows are those of the messages' own times, so that a process that catches up
// after an hour sees the rate at which they were produced, not its own. What comes
// late, after a window was closed by another partition, says nothing of a rate and
// is left out there.
//
// Whether more is too much is asked as of rules that hit too much, see [Breaker]:
// shares by the binomial tail, rates by the conditional test for two Poisson rates
// with Factor for the bursts that real traffic has. It errs on the side of no. Of
// what nothing is known no rate is too high: a campaign begins with its largest burst.
//
// Everything counted is forgotten with the process. If that dies before others
// know of a halt, what is abnormal is found again if it lasts.
//
// Clause: push-monitor
// Rate against what is usual, share of denials and share of prohibited content are watched for each campaign, sender and class, and halt it at once.
type watch struct {
	source, instance string
	forgotten        prometheus.Counter

	mu    sync.Mutex
	rules []*watchRule
}

// watchRule is a rule with the campaigns, senders or classes it looks at.
type watchRule struct {
	push.AutoHalt

	flows  map[string]*list.Element // of *flow
	recent *list.List               // the one that was seen last in front
}

const (
	// maxFlows is how many campaigns, senders or classes a rule looks at. Beyond that
	// the one is forgotten that was not seen for longest: whoever makes up a new name
	// for every few pushes stays below every minimum, and is found by sender or class.
	maxFlows = 4096
	// learned is after how many windows it is known how many pushes are usual.
	learned = 60
)

// flow is what is known of one campaign, sender or class.
type flow struct {
	push.Target

	began  time.Time // of the window, by the times of messages
	counts           // of the window

	usual     float64       // pushes of windows that are over, of rate
	usualTime time.Duration // and how long these lasted, both worth less as time passes
	windows   int64         // how many these were

	halted   bool   // by this rule, and not resumed
	most     counts // of the windows since something halted it, the most abnormal one
	accepted counts // the most of what a person resumed it after
}

// counts is what a rule counts of pushes.
type counts struct {
	count float64 // what Min is about
	of    float64 // pushes among which these are
}

func (c counts) share() float64 {
	if c.of == 0 {
		return 0
	}
	return c.count / c.of
}

// HaltTrip is a halt that nobody ordered, and why.
type HaltTrip struct {
	push.Halt

	Incident ID            // names its record; Halt.ID is the same in hex
	Rule     push.AutoHalt // by which it was halted
	From     time.Time     // when the window began, by the times of messages
	Count    int64         // what was counted in it
	Of       int64         // among how many pushes; of a rate the same
	Usual    float64       // how many pushes a window usually has; of a rate only
}

func newWatch(source, instance string, reg prometheus.Registerer) *watch {
	w := &watch{source: source, instance: instance, forgotten: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_push_watch_forgotten_total", Help: "Campaigns, senders and classes that automatic halts do not look at any more, because there were too many others."})}
	if reg != nil {
		reg.MustRegister(w.forgotten)
	}
	return w
}

// follow begins to look by other rules. What is known by a rule that stays the same
// stays known.
func (w *watch) follow(p *push.Policy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next []*watchRule
	if p != nil {
		for _, a := range p.AutoHalts() {
			i := slices.IndexFunc(w.rules, func(r *watchRule) bool { return r.AutoHalt == a })
			if i >= 0 {
				next = append(next, w.rules[i])
				continue
			}
			next = append(next, &watchRule{AutoHalt: a, flows: make(map[string]*list.Element), recent: list.New()})
		}
	}
	w.rules = next
}

// add counts the pushes of a finished batch and returns what is to be halted.
func (w *watch) add(verdicts []Verdict, halts *push.Halts, now time.Time) []*HaltTrip {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rules) == 0 {
		return nil
	}
	var trips []*HaltTrip
	for i := range verdicts {
		v := &verdicts[i]
		if v.Decision == nil {
			continue
		}
		r := push.NewRequest(v.Event)
		for _, rule := range w.rules {
			value := r.Value(rule.Scope)
			if len(value) == 0 {
				continue
			}
			f := w.flow(rule, value)
			if f.take(rule, v, halts.Has(f.Target) != nil, now) {
				f.halted, f.most = true, f.counts
				trips = append(trips, w.trip(rule, f, now))
			}
		}
	}
	return trips
}

// flow returns what a rule knows of a value, and notes that it was seen.
func (w *watch) flow(r *watchRule, value []byte) *flow {
	if e := r.flows[string(value)]; e != nil {
		r.recent.MoveToFront(e)
		return e.Value.(*flow)
	}
	if r.recent.Len() == maxFlows {
		last := r.recent.Back()
		delete(r.flows, last.Value.(*flow).Value)
		r.recent.Remove(last)
		w.forgotten.Inc()
	}
	f := &flow{Target: push.Target{Scope: r.Scope, Value: string(value)}}
	r.flows[f.Value] = r.recent.PushFront(f)
	return f
}

// take counts a push and reports whether that makes it too many.
func (f *flow) take(r *watchRule, v *Verdict, halted bool, now time.Time) bool {
	halted = halted || f.halted
	at := v.Record.Time
	if at.IsZero() || at.After(now) {
		at = now // a producer's clock is ahead, or it has none
	}
	switch passed := at.Sub(f.began); {
	case f.began.IsZero():
		f.began = at
	case passed >= r.Window:
		f.pass(r, passed.Truncate(r.Window), halted)
	case passed < 0 && r.When == push.CauseRate:
		return false // it came late
	}
	d := v.Decision
	denied := d.Decision == push.Deny && push.Blames(d.Reason)
	switch r.When {
	case push.CauseRate:
		f.count++
		f.of++
	case push.CauseContent: // looked at before anything else, also while it is halted
		f.of++
		if d.Reason == push.ReasonContent {
			f.count++
		}
	case push.CauseDenied:
		if push.Blames(d.Reason) {
			f.of++
		}
		if denied {
			f.count++
		}
	}
	return !halted && f.tooMuch(r)
}

// pass closes the window, and opens the one that lies the time d after it. Empty
// ones between are usual, too; what comes while it is halted is not.
func (f *flow) pass(r *watchRule, d time.Duration, halted bool) {
	if halted {
		f.most = r.worse(f.most, f.counts)
	} else {
		f.usual, f.usualTime = decayed(f.usual, d)+f.count, time.Duration(decayed(float64(f.usualTime), d))+d
		f.windows = min(f.windows+int64(d/r.Window), learned)
	}
	f.began, f.counts = f.began.Add(d), counts{}
}

// tooMuch reports whether what the window holds so far is clearly abnormal.
func (f *flow) tooMuch(r *watchRule) bool {
	if f.count < float64(r.Min) {
		return false
	}
	if r.When != push.CauseRate {
		limit := r.Share.Fraction()
		if a := f.accepted; a.of > 0 {
			// Of what was accepted, twice the odds.
			limit = max(limit, 2*a.share()/(1+a.share()))
		}
		return limit < 1 && clearlyMore(f.count, f.of, limit)
	}
	if f.windows < learned {
		return false
	}
	// Of the pushes of both, those of the window would be this part or less.
	part := r.Factor * float64(r.Window)
	if !clearlyMore(f.count, f.count+f.usual, part/(part+float64(f.usualTime))) {
		return false
	}
	return f.accepted.count == 0 || clearlyMore(f.count, f.count+f.accepted.count, r.Factor/(r.Factor+1))
}

// worse returns which of two windows is more abnormal.
func (r *watchRule) worse(a, b counts) counts {
	switch {
	case r.When == push.CauseRate:
		if b.count > a.count {
			return b
		}
	case b.count >= float64(r.Min) && b.share() > a.share():
		return b
	}
	return a
}

// resumed tells that a halt has ended. What came in since it began, or made it
// begin, is accepted from now on.
func (w *watch) resumed(t push.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.rules {
		e := r.flows[t.Value]
		if r.Scope != t.Scope || e == nil {
			continue
		}
		f := e.Value.(*flow)
		f.accepted = r.worse(r.worse(f.accepted, f.most), f.counts)
		f.halted, f.most, f.counts = false, counts{}, counts{}
	}
}

// trip makes the halt.
func (w *watch) trip(r *watchRule, f *flow, now time.Time) *HaltTrip {
	t := &HaltTrip{Rule: r.AutoHalt, From: f.began.UTC(), Count: int64(f.count), Of: int64(f.of)}
	t.Target = f.Target
	if r.When == push.CauseRate {
		t.Usual = f.usual * float64(r.Window) / float64(f.usualTime)
	}
	t.Incident = NewID(w.source, string(f.Scope)+" "+f.Value, 0, now.UnixNano(), "incident "+w.instance+" "+r.ID, 0, "")
	t.ID, t.Since, t.By, t.Why = t.Incident.String(), now.UTC(), "weir/"+w.instance, t.why()
	return t
}

// why says in words what was abnormal. It names no user.
func (t *HaltTrip) why() string {
	r := &t.Rule
	switch r.When {
	case push.CauseContent:
		return fmt.Sprintf("rule %s: %d of %d pushes within %s denied for their content, clearly more than %s", r.ID, t.Count, t.Of, r.Window, r.Share)
	case push.CauseDenied:
		return fmt.Sprintf("rule %s: %d of %d pushes within %s denied for what their sender did, clearly more than %s", r.ID, t.Count, t.Of, r.Window, r.Share)
	}
	return fmt.Sprintf("rule %s: %d pushes within %s, usually %.1f, clearly more than %g times as many", r.ID, t.Count, r.Window, t.Usual, r.Factor)
}
