package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// What is too much depends on how much is known.
func TestTooMuch(t *testing.T) {
	s := rules.DefaultBreaker() // over 1 %, 200 hits, ten times
	for _, c := range []struct {
		name   string
		window Count
		known  []Count
		want   bool
	}{
		{"a new rule that hits all", Count{6000, 6000}, nil, true},
		{"a new rule that hits 5 %", Count{6000, 300}, nil, true},
		{"a new rule that hits 5 % of few", Count{3000, 150}, nil, false},
		{"a new rule that hits just the least", Count{4000, 200}, nil, true},
		{"a new rule below the share", Count{1e6, 9_900}, nil, false},
		{"a new rule above the share as may be by chance", Count{21_000, 225}, nil, false},
		{"a new rule clearly above the share", Count{1e6, 11_000}, nil, true},
		{"as it used to, much", Count{6000, 600}, []Count{{1e6, 1e5}}, false},
		{"fifty times as it used to", Count{6000, 300}, []Count{{1e6, 1000}}, true},
		{"eleven times as it used to, in few events", Count{6000, 330}, []Count{{1e6, 5000}}, false},
		{"eleven times as it used to, in many events", Count{600_000, 33_000}, []Count{{1e7, 50_000}}, true},
		{"nine times as it used to, in any number of events", Count{1e9, 45e6}, []Count{{1e9, 5e6}}, false},
		{"much where it never hit before", Count{6000, 300}, []Count{{20_000, 0}}, true},
		{"much where hits were few before, but may be by chance", Count{6000, 300}, []Count{{20_000, 60}}, false},
		{"a thousand times as it used to, below the share", Count{1e6, 9000}, []Count{{1e9, 9000}}, false},
		{"as was accepted", Count{6000, 300}, []Count{{1e6, 1000}, {6000, 300}}, false},
		{"much more than was accepted", Count{6000, 5900}, []Count{{1e6, 1000}, {60_000, 3000}}, true},
		{"nothing", Count{}, nil, false},
		{"nothing where nothing was", Count{}, []Count{{20_000, 0}}, false},
	} {
		if got := tooMuch(s, c.window, c.known); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The bound is never below the binomial tail it stands for, and not far above it.
func TestClearlyMoreHoldsForTheBinomialTail(t *testing.T) {
	for _, n := range []int{20, 300, 2000} {
		for _, p := range []float64{0.001, 0.01, 0.3, 0.9} {
			tail := 0.0
			first, said := n+1, n+1 // the least k whose tail is below chance, and that is said to be
			for k := n; k >= 0; k-- {
				lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
				tail += math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log(1-p))
				if tail < chance {
					first = k
				}
				if clearlyMore(float64(k), float64(n), p) {
					said = k
					if tail > chance {
						t.Errorf("%d of %d at %v is said to be clearly more, by chance it is in %v", k, n, p, tail)
					}
				}
			}
			// Two and half a standard deviation.
			if limit := float64(first) + 2 + math.Sqrt(float64(n)*p*(1-p))/2; float64(said) > limit {
				t.Errorf("of %d at %v only %d are said to be clearly more, already %d are", n, p, said, first)
			}
		}
	}
}

// street is a breaker whose traffic is made up, a rule for each rate.
type street struct {
	t       *testing.T
	p       *Pipeline
	b       *Breaker
	now     time.Time
	random  *rand.Rand
	tripped map[string]time.Duration // after how long, by rule
	began   time.Time
}

func newStreet(t *testing.T, rates int) *street {
	t.Helper()
	s := &street{t: t, random: rand.New(rand.NewPCG(1, 2)), tripped: make(map[string]time.Duration), now: time.Unix(1_700_000_000, 0)}
	var err error
	s.p, err = New(Options{Source: "test", Force: s.force(rates, ""), Events: event.DefaultConfig(), Sinks: []NamedSink{{Name: "none", Sink: nowhere{}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.b, s.began = NewBreaker(s.p), s.now
	return s
}

// force has the rules test.r0, test.r1, ..., the first with one more line.
func (s *street) force(rates int, line string) Force {
	s.t.Helper()
	var pack strings.Builder
	pack.WriteString("pack: test\nrules:\n")
	for i := range rates {
		fmt.Fprintf(&pack, "  - id: test.r%d\n    category: test\n    severity: low\n    action: review\n    state: live\n    terms: [forbiddenstuff%d]\n", i, i)
		if i == 0 && line != "" {
			fmt.Fprintf(&pack, "    %s\n", line)
		}
	}
	return Force{Rules: loadPack(s.t, pack.String()), Breaker: rules.DefaultBreaker()}
}

func loadPack(t *testing.T, pack string) *rules.Set {
	t.Helper()
	reg, err := rules.ParseRegister("categories.yaml", []byte("categories:\n  - {code: test, name: Test, name_zh: 测试}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte(pack)}}, reg, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

type nowhere struct{}

func (nowhere) Write(context.Context, *Output) error { return nil }

// minutes lets time pass: each minute so many events come and the rules hit at these rates. Rules that
// trip go into shadow, as the daemon does it.
func (s *street) minutes(n int, events func(minute int) float64, rate func(rule, minute int) float64) {
	s.t.Helper()
	for m := range n {
		tally := s.p.force.Load().tally
		of := s.poisson(events(m))
		tally.posts.Add(of)
		for i := range tally.hits {
			tally.hits[i].Add(min(of, s.poisson(float64(of)*rate(i, m))))
		}
		s.now = s.now.Add(time.Minute)
		for _, trip := range s.b.Look(s.now) {
			s.tripped[trip.Rule] = s.now.Sub(s.began)
			s.shadow(append(s.p.InForce().Rules.InShadow(), trip.Rule))
		}
	}
}

func (s *street) shadow(ids []string) {
	s.t.Helper()
	force := s.p.InForce()
	var err error
	if force.Rules, err = force.Rules.Shadowed(ids); err != nil {
		s.t.Fatal(err)
	}
	s.p.Enforce(force)
}

func (s *street) restore(id string) {
	s.shadow(nil)
	s.b.Restored(id, s.now)
	clear(s.tripped)
	s.began = s.now
}

// poisson draws by counting arrivals, or for many from the normal distribution.
func (s *street) poisson(mean float64) int64 {
	if mean > 50 {
		return max(0, int64(math.Round(mean+math.Sqrt(mean)*s.random.NormFloat64())))
	}
	n := int64(-1)
	for at := 0.0; at < mean || n < 0; n++ {
		at += s.random.ExpFloat64()
	}
	return n
}

func steady(events float64) func(int) float64 { return func(int) float64 { return events } }

func at(rates ...float64) func(int, int) float64 {
	return func(rule, _ int) float64 { return rates[rule] }
}

const month = 30 * 24 * 60 // minutes

// Rules that do the same all the time keep their action for a month, whatever they do and however many
// events come. What is above the share from the start was accepted once.
func TestSteadyRulesKeepTheirAction(t *testing.T) {
	rates := []float64{0.1, 0.03, 0.01, 0.003, 0.001, 0.0001, 0.00001}
	for _, events := range []float64{5, 300, 6000, 600_000} {
		s := newStreet(t, len(rates))
		s.minutes(24*60, steady(events), at(rates...))
		for id := range s.tripped {
			if id != "test.r0" && id != "test.r1" {
				t.Errorf("%v events a minute: %s tripped as new", events, id)
			}
		}
		s.restore("test.r0")
		s.b.Restored("test.r1", s.now)
		s.minutes(month, steady(events), at(rates...))
		if len(s.tripped) > 0 {
			t.Errorf("%v events a minute: %v tripped", events, s.tripped)
		}
	}
}

// By night a twentieth of the events comes, and rules hit nine times as much at one hour as at another; at
// weekends they hit half as much again, and no minute is like the last. Rules keep their action.
func TestRhythmKeepsTheAction(t *testing.T) {
	rates := []float64{0.004, 0.0004}
	s := newStreet(t, len(rates))
	day := func(m int) float64 { return math.Sin(2 * math.Pi * float64(m) / (24 * 60)) }
	s.minutes(month, func(m int) float64 { return 6000 * math.Exp(1.5*day(m)) }, func(rule, m int) float64 {
		rate := rates[rule] * math.Exp(1.1*math.Sin(2*math.Pi*float64(m)/(24*60)+2+float64(rule))) // a third to three times
		if m/(24*60)%7 >= 5 {
			rate *= 1.5
		}
		return rate * math.Exp(0.1*s.random.NormFloat64())
	})
	if len(s.tripped) > 0 {
		t.Errorf("%v tripped", s.tripped)
	}
}

// A rule that suddenly hits 5 % loses its action within two minutes, whatever it used to hit before up to
// 1 in 1000; one that used to hit 1 in 100 keeps it.
func TestFloodTrips(t *testing.T) {
	rates := []float64{0.01, 0.001, 0.0001, 0.00001, 0}
	for _, events := range []float64{6000, 600_000} {
		s := newStreet(t, len(rates))
		s.minutes(24*60, steady(events), at(rates...))
		if len(s.tripped) > 0 {
			t.Fatalf("%v tripped before the flood", s.tripped)
		}
		s.began = s.now
		s.minutes(10, steady(events), at(0.05, 0.05, 0.05, 0.05, 0.05))
		for i := range rates {
			id := fmt.Sprint("test.r", i)
			switch after, ok := s.tripped[id]; {
			case i == 0 && ok:
				t.Errorf("%v events a minute: %s tripped at five times its rate", events, id)
			case i > 0 && (!ok || after > 2*time.Minute):
				t.Errorf("%v events a minute: %s tripped: %v, after %v", events, id, ok, after)
			}
		}
		for _, trip := range s.b.Tripped() {
			if trip.Usual == nil {
				t.Errorf("%s tripped as new", trip.Rule)
			}
		}
	}
}

// A new rule that hits 5 % trips in the first minute, on little traffic as soon as it has enough hits.
func TestNewRuleTrips(t *testing.T) {
	for _, c := range []struct {
		events float64
		limit  time.Duration
	}{{6000, time.Minute}, {100, 45 * time.Minute}} {
		s := newStreet(t, 2)
		s.minutes(60, steady(c.events), at(0.05, 0.005))
		if after, ok := s.tripped["test.r0"]; !ok || after > c.limit {
			t.Errorf("%v events a minute: tripped: %v, after %v", c.events, ok, after)
		}
		if _, ok := s.tripped["test.r1"]; ok {
			t.Errorf("%v events a minute: a rule below the share tripped", c.events)
		}
		for _, trip := range s.b.Tripped() {
			if trip.Usual != nil {
				t.Errorf("%+v was known", trip)
			}
		}
	}
}

// What a rule did in shadow is accepted with its restoration: for the same it never trips again, also
// not after a time in which it did little, for much more it does.
func TestRestoredRuleDoesNotTripForTheSame(t *testing.T) {
	s := newStreet(t, 2)
	s.minutes(24*60, steady(6000), at(0.0001, 0.0001))
	s.minutes(10, steady(6000), at(0.03, 0.02))
	s.minutes(60, steady(6000), at(0.05, 0.4)) // they grew since they tripped
	if len(s.tripped) != 2 {
		t.Fatalf("only %v tripped", s.tripped)
	}
	s.restore("test.r0")
	s.b.Restored("test.r1", s.now)
	s.minutes(7*24*60, steady(6000), at(0.05, 0.4))
	s.minutes(7*24*60, steady(6000), at(0.0001, 0.0001))
	s.minutes(60, steady(6000), at(0.05, 0.4))
	if len(s.tripped) > 0 {
		t.Errorf("tripped again after %v", s.tripped)
	}
	s.began = s.now
	s.minutes(5, steady(6000), at(0.9, 0.9))
	if after, ok := s.tripped["test.r0"]; !ok || after > 2*time.Minute || len(s.tripped) > 1 {
		t.Errorf("at eighteen times what was accepted of one rule, and twice of the other: %v", s.tripped)
	}
}

// A rule in shadow by its pack has no action to lose.
func TestShadowRulesDoNotTrip(t *testing.T) {
	s := newStreet(t, 1)
	force := s.p.InForce()
	force.Rules = loadPack(t, "pack: test\nrules:\n  - {id: test.r0, category: test, state: shadow, terms: [shadowystuff]}\n")
	s.p.Enforce(force)
	if s.minutes(60, steady(6000), at(0.5)); len(s.tripped) > 0 {
		t.Errorf("%v tripped", s.tripped)
	}
}

// Another set changes nothing for the rules that are the same in it, and makes a changed one new.
func TestAnotherSetKeepsWhatIsKnownOfSameRules(t *testing.T) {
	s := newStreet(t, 2)
	s.minutes(24*60, steady(6000), at(0.001, 0.001))
	known := func(id string) bool { return len(s.b.watched[id].known(rules.DefaultBreaker())) > 0 }
	for _, c := range []struct {
		name, line string
		keeps      bool
	}{
		{"described", "description: other words", true},
		{"rolled out", "rollout: 50", true},
		{"of another form", "forms: [fold]", false},
	} {
		s.p.Enforce(s.force(2, c.line))
		s.b.Look(s.now)
		if known("test.r0") != c.keeps || !known("test.r1") {
			t.Errorf("%s: known %v and the other %v, want %v and true", c.name, known("test.r0"), known("test.r1"), c.keeps)
		}
	}
	if s.p.Enforce(s.force(1, "")); len(s.b.Look(s.now)) > 0 || len(s.b.watched) != 1 {
		t.Errorf("%d rules are watched, one is in force", len(s.b.watched))
	}
}

// A process that begins with what another decided goes on from there: a rule in shadow stays known as
// tripped, what was accepted is accepted, and of a changed rule nothing is known.
func TestMemoryOutlivesTheProcess(t *testing.T) {
	s := newStreet(t, 3)
	s.minutes(30, steady(6000), at(0.05, 0.05, 0.05))
	if len(s.tripped) != 3 {
		t.Fatalf("%v tripped", s.tripped)
	}
	s.shadow([]string{"test.r1"})
	for _, id := range []string{"test.r0", "test.r2"} {
		s.b.Restored(id, s.now)
	}
	text, err := json.Marshal(s.b.Memory())
	if err != nil {
		t.Fatal(err)
	}
	var m Memory
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}

	again := newStreet(t, 3)
	again.p.Enforce(again.force(3, "except: [another forbiddenstuff0]"))
	again.shadow([]string{"test.r1"})
	again.b.Remember(m)
	if diff := cmp.Diff(s.b.Tripped(), again.b.Tripped()); diff != "" {
		t.Errorf("tripped, -before +after:\n%s", diff)
	}
	again.minutes(30, steady(6000), at(0.05, 0.05, 0.05))
	if _, ok := again.tripped["test.r0"]; !ok || len(again.tripped) != 1 {
		t.Errorf("%v tripped, want only the changed rule", again.tripped)
	}
	again.shadow([]string{"test.r0"})
	again.b.Restored("test.r1", again.now)
	clear(again.tripped)
	if again.minutes(30, steady(6000), at(0, 0.05, 0.05)); len(again.tripped) > 0 {
		t.Errorf("%v tripped again", again.tripped)
	}
}

// A window is worth half after a week.
func TestOldWindowsFade(t *testing.T) {
	c := Count{Events: 1000, Hits: 100}
	c.pass(Count{Events: 10, Hits: 1}, 7*24*time.Hour)
	if diff := cmp.Diff(Count{Events: 510, Hits: 51}, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What was counted under a set that is replaced is not lost.
func TestCountsSurviveAnotherSet(t *testing.T) {
	s := newStreet(t, 1)
	s.b.Look(s.now)
	for range 3 {
		tally := s.p.force.Load().tally
		tally.posts.Add(100)
		tally.hits[0].Add(1)
		s.p.Enforce(s.force(1, ""))
		s.b.Look(s.now)
	}
	if diff := cmp.Diff(Count{Events: 300, Hits: 3}, s.b.watched["test.r0"].window); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A breaker that is off looks at nothing and says nothing.
func TestBreakerThatIsOff(t *testing.T) {
	s := newStreet(t, 1)
	force := s.force(1, "")
	force.Breaker.Enabled = false
	s.p.Enforce(force)
	if trips := s.b.Look(s.now); trips != nil || s.b.tally != nil {
		t.Errorf("trips %v, tally %v", trips, s.b.tally)
	}
	if trips := s.b.Tripped(); len(trips) != 0 {
		t.Errorf("tripped %v", trips)
	}
}

// Each judged event counts once, and once for each rule it hits, in whatever state; what is no event or
// was not written does not.
func TestTallyCountsEventsOnce(t *testing.T) {
	set := loadPack(t, `
pack: test
rules:
  - {id: test.both, category: test, severity: low, action: review, state: live, terms: [forbiddenstuff, terriblestuff]}
  - {id: test.pushes, category: test, severity: low, action: review, state: live, kinds: [push], terms: [forbiddenstuff]}
  - {id: test.shadow, category: test, severity: low, action: review, state: shadow, kinds: [post], terms: [shadowystuff]}
`)
	p, err := New(Options{Source: "test", Force: Force{Rules: set, Breaker: rules.DefaultBreaker()}, Events: event.DefaultConfig(),
		Sinks: []NamedSink{{Name: "none", Sink: nowhere{}}}})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(kind event.Kind, text ...string) {
		t.Helper()
		b := &Batch{Kind: kind, Topic: kind.String(), Next: int64(len(text))}
		for i, s := range text {
			value := `{"id":"e","time":"2026-01-02T03:04:05Z","user":{"id":"u1"},` + map[event.Kind]string{
				event.Post: "", event.Push: `"class":"service","channel":"app","expires":"2026-01-03T03:04:05Z",`}[kind] + `"fields":{"text":"` + s + `"}}`
			b.Records = append(b.Records, Record{Offset: int64(i), Value: []byte(value)})
		}
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	handle(event.Post, "forbiddenstuff and forbiddenstuff and terriblestuff", "nothing", "shadowystuff, forbiddenstuff", `broken"`)
	handle(event.Push, "forbiddenstuff", "shadowystuff")
	got := make(map[string]Count)
	take := func() { p.force.Load().tally.take(func(r *rules.Rule, c Count) { got[r.ID] = c }) }
	take()
	if diff := cmp.Diff(map[string]Count{"test.both": {5, 3}, "test.pushes": {2, 1}, "test.shadow": {3, 1}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	take()
	if diff := cmp.Diff(map[string]Count{"test.both": {}, "test.pushes": {}, "test.shadow": {}}, got); diff != "" {
		t.Errorf("taken once more, -want +got:\n%s", diff)
	}
	set, hits := p.HitsByRule()
	all := make(map[string]int64)
	for i, r := range set.Rules() {
		all[r.ID] = hits[i]
	}
	if diff := cmp.Diff(map[string]int64{"test.both": 3, "test.pushes": 1, "test.shadow": 1}, all); diff != "" {
		t.Errorf("what the breaker took is still counted, -want +got:\n%s", diff)
	}
}
