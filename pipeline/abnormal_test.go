package pipeline

import (
	"container/list"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// guard is a watch by one rule, with the pushes it is shown.
type guard struct {
	*watch
	t       *testing.T
	halting *halting
	now     time.Time
}

func newGuard(t *testing.T, rule string) *guard {
	t.Helper()
	g := &guard{t: t, watch: newWatch("city", "0", nil), halting: newHalting(nil), now: time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)}
	g.follow(policyWith(t, rule))
	return g
}

// policyWith is a policy with a rule for automatic halts.
func policyWith(t *testing.T, rule string) *push.Policy {
	t.Helper()
	p, err := push.ParsePolicy("push.yaml", []byte(`
policy: push
version: "1"
default_zone: Asia/Shanghai
classes: {service: {consent: none, quiet: ignore, count: true}}
channels: [app]
groups: {default: {limits: [{id: day, days: 1, max: 30}]}}
auto_halt: [`+rule+`]
`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// see shows n pushes of a campaign, decided for a reason, at the time it is now.
func (g *guard) see(campaign string, n int, d push.Word, r push.Reason) []*HaltTrip {
	return g.seeAt(g.now, campaign, n, d, r)
}

func (g *guard) seeAt(at time.Time, campaign string, n int, d push.Word, r push.Reason) (trips []*HaltTrip) {
	verdicts := make([]Verdict, n)
	for i := range verdicts {
		verdicts[i] = Verdict{Record: &Record{Time: at}, Decision: &push.Decision{Decision: d, Reason: r},
			Event: &event.Event{Kind: event.Push, Push: event.PushPart{Class: []byte("service"), Campaign: []byte(campaign), Sender: []byte("shop")}}}
	}
	trips = g.add(verdicts, g.halting.list.Load(), g.now)
	g.halting.stop(trips)
	return trips
}

// quiet reports an error if something was halted.
func (g *guard) quiet(what string, trips []*HaltTrip) {
	g.t.Helper()
	for _, t := range trips {
		g.t.Errorf("%s: %s %s is halted: %s", what, t.Scope, t.Value, t.Why)
	}
}

// halts reports an error if not exactly one thing was halted, once.
func (g *guard) halts(what string, trips []*HaltTrip, value string) *HaltTrip {
	g.t.Helper()
	if len(trips) != 1 || trips[0].Value != value {
		g.t.Fatalf("%s: halted %+v, want %s and nothing else", what, trips, value)
	}
	return trips[0]
}

// end does what an order to resume does.
func (g *guard) end(t push.Target) {
	g.halting.own, g.halting.orders = nil, nil
	g.halting.enforce()
	g.resumed(t)
}

// A campaign with prohibited content is halted once it is clear that it is no single case, and only it.
func TestContentHaltsACampaign(t *testing.T) {
	// Clause: push-monitor
	g := newGuard(t, `{id: c, scope: campaign, when: content, window: 10m, min: 20, share: 5%}`)
	g.quiet("much of another campaign", g.see("summer", 5000, push.Allow, push.ReasonNone))
	g.quiet("less than the least", g.see("spring", 19, push.Deny, push.ReasonContent))
	trip := g.halts("as many as it takes", g.see("spring", 30, push.Deny, push.ReasonContent), "spring")
	if trip.Count != 20 || trip.Of != 20 || trip.By != "weir/0" || !trip.Since.Equal(g.now) || trip.ID != trip.Incident.String() ||
		trip.Why != "rule c: 20 of 20 pushes within 10m0s denied for their content, clearly more than 5%" {
		t.Errorf("%+v", trip)
	}
	if h := g.halting.list.Load().Has(trip.Target); h == nil || h.ID != trip.ID {
		t.Error("it is not in force at once")
	}
	g.quiet("the same while it is halted", g.see("spring", 500, push.Deny, push.ReasonContent))
	g.quiet("no campaign", g.see("", 500, push.Deny, push.ReasonContent))

	// One in a hundred is no reason, however many there are.
	for range 100 {
		g.quiet("few of many", g.see("autumn", 99, push.Allow, push.ReasonNone))
		g.quiet("few of many", g.see("autumn", 1, push.Deny, push.ReasonContent))
	}
	// What was in the window before is not counted in the next.
	for range 10 {
		g.quiet("a little in every window", g.see("winter", 15, push.Deny, push.ReasonContent))
		g.now = g.now.Add(10 * time.Minute)
	}
}

// Denials count that their sender is to blame for. What Weir or the platform did itself is no part of it.
func TestDenialsHaltASender(t *testing.T) {
	// Clause: push-monitor
	const rule = `{id: d, scope: sender, when: denied, window: 10m, min: 50, share: 50%}`
	for _, r := range push.Reasons() {
		g := newGuard(t, rule)
		trips := g.see("spring", 1000, push.Deny, r.Reason)
		switch r.Reason {
		case push.ReasonHalted, push.ReasonCancelled, push.ReasonExpired, push.ReasonStore, push.ReasonHeld:
			g.quiet("denied for "+string(r.Reason), trips)
			g.halts("they count on neither side", g.see("spring", 200, push.Deny, push.ReasonCap), "shop")
		default:
			g.halts("denied for "+string(r.Reason), trips, "shop")
		}
	}
	g := newGuard(t, rule)
	g.quiet("deferred", g.see("spring", 1000, push.Defer, push.ReasonQuietHours))
	g.quiet("half of all", g.see("spring", 1000, push.Deny, push.ReasonQuietHours))
}

// A rate is compared with what is usual, by the times of the messages, and only once that is known.
func TestRateHaltsAClass(t *testing.T) {
	// Clause: push-monitor
	const rule = `{id: r, scope: class, when: rate, window: 1m, min: 1000, factor: 10}`
	minutes := func(g *guard, n, each int) {
		t.Helper()
		for range n {
			g.quiet("as usual", g.see("spring", each, push.Allow, push.ReasonNone))
			g.now = g.now.Add(time.Minute)
		}
	}
	g := newGuard(t, rule)
	g.quiet("nothing is known yet", g.see("spring", 5000, push.Allow, push.ReasonNone))

	g = newGuard(t, rule)
	minutes(g, learned, 100)
	g.quiet("less than the least", g.see("spring", 999, push.Allow, push.ReasonNone))
	trip := g.halts("far more than usual", g.see("spring", 1000, push.Allow, push.ReasonNone), "service")
	if math.Abs(trip.Usual-100) > 1e-6 || trip.Count < 1000 || !strings.Contains(trip.Why, "usually 100.0, clearly more than 10 times as many") {
		t.Errorf("%+v", trip)
	}

	// Nine times as many are not ten times as many.
	g = newGuard(t, rule)
	minutes(g, learned, 1000)
	g.quiet("nine times as many", g.see("spring", 9000, push.Allow, push.ReasonNone))

	// A process that reads in a minute what came in an hour sees what came in each minute.
	g = newGuard(t, rule)
	minutes(g, learned, 200)
	from := g.now
	g.now = g.now.Add(2 * time.Hour)
	for i := range 120 {
		g.quiet("catching up", g.seeAt(from.Add(time.Duration(i)*time.Minute), "spring", 200, push.Allow, push.ReasonNone))
	}
	g.quiet("what comes late", g.seeAt(from, "spring", 5000, push.Allow, push.ReasonNone))
	g.halts("a clock that is ahead", g.seeAt(g.now.Add(1000*time.Hour), "spring", 5000, push.Allow, push.ReasonNone), "service")
}

// By chance alone nothing is halted: at a Poisson rate right at the limit, month after month.
func TestChanceHaltsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	g := newGuard(t, `{id: c, scope: campaign, when: content, window: 1m, min: 10, share: 10%}`)
	months := 20_000
	if testing.Short() {
		months = 1_000
	}
	for range months {
		g.now = g.now.Add(time.Minute)
		hits := 0
		for range 200 {
			if r.Float64() < .1 {
				hits++
			}
		}
		g.quiet("by chance", g.see("spring", 200-hits, push.Allow, push.ReasonNone))
		g.quiet("by chance", g.see("spring", hits, push.Deny, push.ReasonContent))
	}
}

// What a person let go on does not halt it again; what is clearly worse does.
func TestResumedIsAccepted(t *testing.T) {
	// Clause: push-monitor
	g := newGuard(t, `{id: c, scope: campaign, when: content, window: 10m, min: 20, share: 5%}`)
	mixed := func(bad, good int) []*HaltTrip {
		trips := g.see("spring", good, push.Allow, push.ReasonNone)
		return append(trips, g.see("spring", bad, push.Deny, push.ReasonContent)...)
	}
	trip := g.halts("a quarter", mixed(100, 300), "spring")
	g.now = g.now.Add(10 * time.Minute)
	g.quiet("while it is halted", mixed(300, 700)) // content is looked at all the same
	g.now = g.now.Add(10 * time.Minute)
	g.quiet("while it is halted", nil)
	g.end(trip.Target)
	for range 10 {
		g.quiet("as was accepted", mixed(300, 700))
		g.now = g.now.Add(10 * time.Minute)
	}
	trip = g.halts("twice as bad", mixed(800, 200), "spring")
	g.end(trip.Target)
	g.quiet("as bad as was accepted then", mixed(800, 200))

	// What was halted by hand and never came near the limit has nothing to be accepted.
	g.end(push.Target{Scope: push.ScopeCampaign, Value: "autumn"})
	g.quiet("little", g.see("autumn", 1000, push.Allow, push.ReasonNone))
	g.quiet("little", g.see("autumn", 20, push.Deny, push.ReasonContent))
	g.end(push.Target{Scope: push.ScopeCampaign, Value: "autumn"})
	g.now = g.now.Add(10 * time.Minute)
	g.halts("the usual limit", g.see("autumn", 100, push.Deny, push.ReasonContent), "autumn")

	// A rate: so many times what was accepted, not only what is usual.
	g = newGuard(t, `{id: r, scope: campaign, when: rate, window: 1m, min: 1000, factor: 10}`)
	for range learned {
		g.quiet("as usual", g.see("spring", 10, push.Allow, push.ReasonNone))
		g.now = g.now.Add(time.Minute)
	}
	trip = g.halts("a launch", g.see("spring", 2000, push.Allow, push.ReasonNone), "spring")
	g.quiet("it goes on", g.see("spring", 3000, push.Deny, push.ReasonHalted))
	g.now = g.now.Add(time.Minute)
	g.end(trip.Target)
	g.quiet("as was accepted", g.see("spring", 20_000, push.Allow, push.ReasonNone))
	g.halts("far more", g.see("spring", 60_000, push.Allow, push.ReasonNone), "spring")
}

// However many names there are, so many are looked at; the ones seen lately are not lost.
func TestWatchedFlowsHaveALimit(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGuard(t, `{id: c, scope: campaign, when: content, window: 24h, min: 20, share: 5%}`)
	g.watch = newWatch("city", "0", reg)
	g.follow(policyWith(t, `{id: c, scope: campaign, when: content, window: 24h, min: 20, share: 5%}`))
	g.quiet("first", g.see("gone", 19, push.Deny, push.ReasonContent))
	for i := range maxFlows + 10 {
		if i%1000 == 0 {
			g.quiet("now and then", g.see("kept", 1, push.Deny, push.ReasonContent))
		}
		g.quiet("another", g.see(fmt.Sprint("c", i), 1, push.Deny, push.ReasonContent))
	}
	if n := g.rules[0].recent.Len(); n != maxFlows || len(g.rules[0].flows) != n {
		t.Errorf("%d are looked at (%d by name), want %d", n, len(g.rules[0].flows), maxFlows)
	}
	if n := testutil.ToFloat64(g.forgotten); n != 12 {
		t.Errorf("%v forgotten, want 12", n)
	}
	g.quiet("forgotten", g.see("gone", 19, push.Deny, push.ReasonContent))
	g.halts("kept", g.see("kept", 15, push.Deny, push.ReasonContent), "kept")
}

// A reload keeps what is known by rules that stay, and forgets the others.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	const rule = `{id: c, scope: campaign, when: content, window: 10m, min: 20, share: 5%}`
	g := newGuard(t, rule)
	g.quiet("before", g.see("spring", 19, push.Deny, push.ReasonContent))
	g.follow(policyWith(t, rule+`, {id: d, scope: sender, when: content, window: 10m, min: 10, share: 5%}`))
	trips := g.see("spring", 1, push.Deny, push.ReasonContent)
	g.halts("after", trips, "spring")
	g.follow(policyWith(t, strings.Replace(rule, "5%", "6%", 1)))
	g.quiet("another rule", g.see("autumn", 19, push.Deny, push.ReasonContent))
	g.follow(nil)
	g.quiet("no policy", g.see("autumn", 1000, push.Deny, push.ReasonContent))
}

// Of two rules that halt one thing at once there is one halt.
func TestOneHaltOfOneTarget(t *testing.T) {
	g := newGuard(t, `{id: a, scope: class, when: content, window: 10m, min: 20, share: 5%}, {id: b, scope: class, when: denied, window: 10m, min: 20, share: 5%}`)
	g.see("spring", 100, push.Deny, push.ReasonContent)
	if n := len(g.halting.own); n != 1 || len(g.halting.list.Load().List()) != 1 {
		t.Errorf("%d halts", n)
	}
	if a, b := testutil.ToFloat64(g.halting.total[push.ScopeClass]["content"]), testutil.ToFloat64(g.halting.total[push.ScopeClass]["denied"]); a+b != 1 {
		t.Errorf("counted %v and %v", a, b)
	}
	g.end(push.Target{Scope: push.ScopeClass, Value: "service"})
	g.quiet("accepted by both", g.see("spring", 100, push.Deny, push.ReasonContent))
}

// What is ordered, halted here and resumed comes together in one list.
func TestOrdersAndOwnHalts(t *testing.T) {
	// Clause: push-monitor
	p, err := New(Options{Source: "city", Instance: "0", Force: Force{Rules: loadPack(t, "pack: test\nrules: [{id: test.x, category: test, severity: low, action: review, state: live, terms: [forbiddenstuff]}]\n")}, Sinks: []NamedSink{{"none", nil}}})
	if err != nil {
		t.Fatal(err)
	}
	order := func(s push.Scope, value string) push.Halt {
		return push.Halt{Target: push.Target{Scope: s, Value: value}, Since: time.Unix(1, 0)}
	}
	halted := func(want string) {
		t.Helper()
		var got []string
		for _, h := range p.Halts().List() {
			got = append(got, string(h.Scope)+" "+h.Value)
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("halted are %q, want %q", s, want)
		}
	}
	p.Ordered([]push.Halt{order(push.ScopeCampaign, "spring")}, nil)
	halted("campaign spring")
	own := &HaltTrip{Halt: order(push.ScopeSender, "shop"), Rule: push.AutoHalt{When: push.CauseContent}}
	p.halting.stop([]*HaltTrip{own, {Halt: order(push.ScopeCampaign, "spring"), Rule: push.AutoHalt{When: push.CauseRate}}})
	<-p.Tripped()
	halted("sender shop, campaign spring")
	if trips := p.Trips(); len(trips) != 1 || trips[0] != own {
		t.Errorf("own halts %v", trips)
	}
	// Orders that know nothing of it yet do not end it.
	p.Ordered(nil, nil)
	halted("sender shop")
	// Those that do may say either.
	p.Ordered([]push.Halt{order(push.ScopeSender, "shop"), order(push.ScopeClass, "content")}, []*HaltTrip{own})
	halted("class content, sender shop")
	if len(p.Trips()) != 0 {
		t.Error("it is still its own")
	}
	p.Ordered(nil, []*HaltTrip{own})
	halted("")
	h := p.halting
	for _, c := range []struct {
		what string
		n    prometheus.Collector
		want float64
	}{
		{"ordered senders", h.total[push.ScopeSender][causeOrder], 0},
		{"ordered campaigns", h.total[push.ScopeCampaign][causeOrder], 1},
		{"ordered classes", h.total[push.ScopeClass][causeOrder], 1},
		{"senders by content", h.total[push.ScopeSender]["content"], 1},
		{"campaigns by rate", h.total[push.ScopeCampaign]["rate"], 0},
		{"resumed senders", h.resumed[push.ScopeSender], 1},
		{"resumed campaigns", h.resumed[push.ScopeCampaign], 1},
	} {
		if got := testutil.ToFloat64(c.n); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// What a push costs that is looked at by three rules, of some hundred campaigns.
func BenchmarkWatch(b *testing.B) {
	w := newWatch("city", "0", nil)
	w.rules = nil
	for _, a := range []push.AutoHalt{
		{ID: "a", Scope: push.ScopeCampaign, When: push.CauseContent, Window: 10 * time.Minute, Min: 20, Share: 50_000},
		{ID: "b", Scope: push.ScopeCampaign, When: push.CauseDenied, Window: 10 * time.Minute, Min: 10_000, Share: 950_000},
		{ID: "c", Scope: push.ScopeSender, When: push.CauseRate, Window: time.Minute, Min: 100_000, Factor: 20},
	} {
		w.rules = append(w.rules, &watchRule{AutoHalt: a, flows: make(map[string]*list.Element), recent: list.New()})
	}
	halts := push.NewHalts([]push.Halt{{Target: push.Target{Scope: push.ScopeCampaign, Value: "over"}}})
	now := time.Now()
	verdicts := make([]Verdict, 512)
	for i := range verdicts {
		verdicts[i] = Verdict{Record: &Record{Time: now}, Decision: &push.Decision{Decision: push.Allow, Reason: push.ReasonNone},
			Event: &event.Event{Kind: event.Push, Push: event.PushPart{Class: []byte("service"), Campaign: fmt.Append(nil, "campaign-", i%300), Sender: []byte("shop")}}}
	}
	b.ReportAllocs()
	for b.Loop() {
		w.add(verdicts, halts, now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(verdicts)), "ns/push")
}
