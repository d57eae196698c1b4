package status

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/rules"
)

// Options is what a Monitor looks at.
type Options struct {
	Instance Instance
	Gatherer prometheus.Gatherer
	// Checks ask the parts. Each is asked at every look, all at once, and not again before it has answered.
	Checks []Check
	// Hits returns the rules in force and how many messages each has hit since they are, by their number.
	Hits func() (*rules.Set, []int64)
	// Category returns the names of a category in English and Chinese; empty if it is not known.
	Category func(code string) (en, zh string)
	// InForce and Evidence return what they say; they must not wait for anybody.
	InForce  func() InForce
	Evidence func() Evidence
	Logger   *slog.Logger
}

// Check asks a part whether it is well.
type Check struct {
	Part PartName
	// Ask returns what is wrong. ctx ends after [Patience].
	Ask func(ctx context.Context) []Fault
	// Slow is what it is called if the answer took longer than [SlowAfter], and Stuck if there is none.
	Slow, Stuck Kind
}

// Fault is something wrong that was found.
type Fault struct {
	Kind   Kind
	Detail string // in words; never content
}

const (
	// Patience is how long a check may take.
	Patience = 3 * time.Second
	// SlowAfter is how long an answer may take that takes milliseconds when all is well.
	SlowAfter = time.Second
)

// Monitor looks every five seconds and remembers two hours.
type Monitor struct {
	o   Options
	hub *hub

	mu      sync.Mutex
	history history
	asked   []asked // by check
	since   map[Kind]time.Time
	now     *Snapshot // nil before the first look
}

// asked is what a check said last.
type asked struct {
	since  time.Time // when it was asked; zero if it has answered
	took   time.Duration
	faults []Fault
}

// New returns a monitor. It looks at nothing before Run.
func New(o Options) *Monitor {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Monitor{o: o, hub: newHub(), asked: make([]asked, len(o.Checks)), since: make(map[Kind]time.Time)}
}

// Run looks until ctx ends. It then ends what is open to browsers, and returns nil.
func (m *Monitor) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	defer m.hub.close()
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		m.look(ctx, &asking)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Snapshot returns the last one, nil before the first look has ended.
func (m *Monitor) Snapshot() *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// look asks everything and makes a new snapshot. Whoever does not answer in time does not hold it up: that is
// what it then says.
func (m *Monitor) look(ctx context.Context, asking *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var answers []<-chan struct{}
	for i := range m.o.Checks {
		answers = append(answers, m.ask(ctx, asking, i))
	}
	gathered := m.gather(asking)
	for _, done := range append(answers, gathered.done) {
		select {
		case <-done:
		case <-ctx.Done():
			// It had its time; a moment more for who answers when the context ends.
			select {
			case <-done:
			case <-time.After(grace):
			}
		}
	}
	m.conclude(gathered)
}

// grace is how much longer than Patience an answer may take that says that there is none.
const grace = 200 * time.Millisecond

// ask asks a check, unless it has not answered yet. The channel is closed when it has answered.
func (m *Monitor) ask(ctx context.Context, asking *sync.WaitGroup, i int) <-chan struct{} {
	done := make(chan struct{})
	m.mu.Lock()
	waiting := !m.asked[i].since.IsZero()
	if !waiting {
		m.asked[i].since = time.Now()
	}
	m.mu.Unlock()
	if waiting {
		close(done)
		return done
	}
	asking.Go(func() {
		defer close(done)
		began := time.Now()
		faults := m.o.Checks[i].Ask(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.asked[i] = asked{took: time.Since(began), faults: faults}
	})
	return done
}

// gathering is one reading of the registry.
type gathering struct {
	done   <-chan struct{}
	mu     sync.Mutex
	sample *sample
	err    error
}

// gather reads the registry. A gauge that asks a disk may hang with it; then the next look reads again.
func (m *Monitor) gather(asking *sync.WaitGroup) *gathering {
	done := make(chan struct{})
	g := &gathering{done: done}
	asking.Go(func() {
		defer close(done)
		families, err := m.o.Gatherer.Gather()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.sample, g.err = read(families), err
	})
	return g
}

// conclude makes a snapshot of what is known now.
func (m *Monitor) conclude(g *gathering) {
	g.mu.Lock()
	sample, err := g.sample, g.err
	g.mu.Unlock()
	now := time.Now().UTC()
	m.mu.Lock()
	var faults []Fault
	if sample == nil {
		faults = append(faults, Fault{MetricsUnreadable, "the metrics are not read to their end"})
	} else {
		if err != nil {
			faults = append(faults, Fault{MetricsUnreadable, err.Error()})
		}
		m.history.add(now, sample, m.hits())
	}
	if len(m.history.points) == 0 {
		m.history.add(now, read(nil), nil)
	}
	s := m.draw(now, faults)
	m.now = s
	m.mu.Unlock()
	m.hub.publish(s)
}

// hits returns by how many the hits of rules have grown. When other rules come into force it loses what the old
// ones hit since the last look: this is a page, and the evidence has all of it.
func (m *Monitor) hits() map[string]int64 {
	set, counts := m.o.Hits()
	h := &m.history
	if h.rules != set {
		h.rules, h.byRule = set, make(map[string]int64)
	}
	grown := make(map[string]int64)
	for i, r := range set.Rules() {
		if d := counts[i] - h.byRule[r.ID]; d > 0 {
			grown[r.ID] = d
			h.byRule[r.ID] = counts[i]
		}
	}
	return grown
}

// draw makes the snapshot.
func (m *Monitor) draw(now time.Time, faults []Fault) *Snapshot {
	h := &m.history
	rates := h.rates()
	from := now.Truncate(time.Minute).Add(-time.Hour)
	hour := h.window(from, time.Time{})
	s := &Snapshot{Version: Version, Time: now, Instance: m.o.Instance, Evidence: m.o.Evidence(), InForce: m.o.InForce()}
	if s.InForce.Tripped == nil {
		s.InForce.Tripped = []string{}
	}
	amount := func(is func(series) bool) Amount {
		var a Amount
		for k, v := range h.total {
			if is(k) {
				a.Total += int64(v)
				a.Window += int64(hour[k])
				a.PerSecond += rates[k]
			}
		}
		return a
	}

	of := func(outcomes ...string) func(series) bool {
		return func(k series) bool {
			return k.metric == mMessages && (len(outcomes) == 0 || slices.Contains(outcomes, k.b))
		}
	}
	decided := func(word string) Amount {
		return amount(func(k series) bool { return k.metric == mDecisions && k.a == word })
	}
	s.Flow = Flow{
		WindowSeconds: int64(h.seconds(from, now)),
		In:            amount(of()), Judged: amount(of("passed", "flagged")),
		Passed: amount(of("passed")), Flagged: amount(of("flagged")), DeadLettered: amount(of("dead_lettered")), Skipped: amount(of("skipped")),
		Allowed: decided("allow"), Deferred: decided("defer"), Denied: decided("deny"),
		InHand: int64(h.before.gauges[mInFlight]), Streams: []Stream{},
	}
	for _, stream := range []string{"post", "push", "consent", "outcome"} {
		within := func(outcomes ...string) Amount {
			is := of(outcomes...)
			return amount(func(k series) bool { return is(k) && k.a == stream })
		}
		s.Flow.Streams = append(s.Flow.Streams, Stream{Name: stream, In: within(), Passed: within("passed"), Flagged: within("flagged"),
			DeadLettered: within("dead_lettered"), Skipped: within("skipped")})
	}

	s.Push, s.Dead = []Decision{}, []Reason{}
	for k := range h.before.counts {
		switch {
		case k.metric == mDecisions && s.InForce.Policy != "":
			s.Push = append(s.Push, Decision{k.a, k.b, amount(func(x series) bool { return x == k })})
		case k.metric == mDead && h.total[k] > 0:
			s.Dead = append(s.Dead, Reason{k.a, amount(func(x series) bool { return x == k })})
		}
	}
	slices.SortFunc(s.Push, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Decision, b.Decision), cmp.Compare(b.Window, a.Window), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortFunc(s.Dead, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Window, a.Window), cmp.Compare(a.Reason, b.Reason))
	})

	s.Lag = m.lag()
	s.Evidence.Damaged = int64(h.total[series{mDamaged, "", ""}])
	one := func(name, unit string, of func(*point) float64) Chart {
		return h.chart(name, unit, []string{name}, perSecond(of))
	}
	s.Charts = []Chart{
		one("in", "per_second", func(p *point) float64 { return p.in }),
		one("flagged", "per_second", func(p *point) float64 { return p.flagged }),
		h.chart("age", "seconds", []string{"p50", "p99"}, h.quantiles(histAge)),
		h.chart("lag", "messages", []string{"lag"}, func(points []point) []float64 { return []float64{points[len(points)-1].lag} }),
		h.chart("judge", "seconds", []string{"p50", "p99"}, h.quantiles(histJudge)),
		h.chart("append", "seconds", []string{"p50", "p99"}, h.quantiles(histAppend)),
	}
	if s.InForce.Policy != "" {
		s.Charts = append(s.Charts, h.chart("push", "seconds", []string{"p50", "p99"}, h.quantiles(histPush)))
	}
	s.Hits = m.ruleHits(now)
	m.judge(s, faults, hour)
	return s
}

func (m *Monitor) lag() Lag {
	g := m.history.before
	l := Lag{Assigned: int(g.gauges[mAssigned]), Partitions: slices.Clone(g.partitions)}
	for _, p := range l.Partitions {
		l.Messages += p.Lag
		l.Seconds = max(l.Seconds, p.Seconds)
	}
	slices.SortFunc(l.Partitions, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(b.Lag, a.Lag), cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	l.Partitions = l.Partitions[:min(len(l.Partitions), maxPartitions)]
	if l.Partitions == nil {
		l.Partitions = []Partition{}
	}
	return l
}

// ruleHits compares two windows of the same length.
func (m *Monitor) ruleHits(now time.Time) Hits {
	w := m.history.windows(now)
	window, before := m.history.window(w.now, time.Time{}), m.history.window(w.before, w.now)
	set, _ := m.o.Hits()
	out := Hits{WindowSeconds: m.history.seconds(w.now, w.end), BeforeSeconds: m.history.seconds(w.before, w.now),
		Comparable: !m.history.minutes[0].start.After(w.before), Categories: []CategoryHit{}, Rules: []RuleHit{}}
	keys := make(map[series]bool)
	for k := range window {
		keys[k] = true
	}
	for k := range before {
		keys[k] = true
	}
	tripped := set.InShadow()
	byID := make(map[string]*rules.Rule, len(set.Rules()))
	for _, r := range set.Rules() {
		byID[r.ID] = r
	}
	for k := range keys {
		switch k.metric {
		case mHits:
			c := CategoryHit{Code: k.a, Name: k.a, NameZH: k.a, Hits: int64(window[k]), Before: int64(before[k])}
			if en, zh := m.o.Category(k.a); en != "" {
				c.Name, c.NameZH = en, zh
			}
			out.Categories = append(out.Categories, c)
		case ruleSeries:
			x := RuleHit{ID: k.a, Hits: int64(window[k]), Before: int64(before[k])}
			r := byID[k.a]
			if r == nil {
				continue // not in force any more
			}
			x.Category, x.Severity, x.State = r.Category, r.Severity.String(), r.State.String()
			if _, ok := slices.BinarySearch(tripped, r.ID); ok {
				x.State = "tripped"
			}
			out.Rules = append(out.Rules, x)
		}
	}
	slices.SortFunc(out.Categories, func(a, b CategoryHit) int {
		return cmp.Or(cmp.Compare(b.Hits, a.Hits), cmp.Compare(b.Before, a.Before), cmp.Compare(a.Code, b.Code))
	})
	slices.SortFunc(out.Rules, func(a, b RuleHit) int {
		return cmp.Or(cmp.Compare(b.Hits, a.Hits), cmp.Compare(b.Before, a.Before), cmp.Compare(a.ID, b.ID))
	})
	out.Rules = out.Rules[:min(len(out.Rules), maxRules)]
	return out
}

// Limits of what is said of numbers.
const (
	behindAfter      = time.Minute      // messages may wait
	unpublishedAfter = 30 * time.Second // heads may wait
	slowAppend       = time.Second      // one in a hundred appends may take
	stuckAfter       = 3 * time.Second  // a write may take
	deadShare        = 0.1              // of messages may be dead letters
	deadLeast        = 20               // and so many are no accident
	unsealedMost     = 3                // full segments
)

// judge says what is wrong.
func (m *Monitor) judge(s *Snapshot, faults []Fault, hour map[series]float64) {
	h := &m.history
	g := h.before.gauges
	found := func(k Kind, format string, args ...any) {
		faults = append(faults, Fault{k, fmt.Sprintf(format, args...)})
	}
	parts := make(map[PartName]*Part)
	for _, c := range partNames {
		parts[c] = &Part{Name: c, Level: OK}
	}
	for i, c := range m.o.Checks {
		a := &m.asked[i]
		p := parts[c.Part]
		took := a.took
		if !a.since.IsZero() {
			took = s.Time.Sub(a.since)
			if c.Stuck != "" {
				found(c.Stuck, "no answer for %.0f s", took.Seconds())
			}
		} else {
			faults = append(faults, a.faults...)
			if took > SlowAfter && len(a.faults) == 0 && c.Slow != "" {
				found(c.Slow, "an answer took %.1f s", took.Seconds())
			}
		}
		p.Seconds = max(p.Seconds, took.Seconds())
	}

	hourOf := func(metric string) int64 { return int64(hour[series{metric, "", ""}]) }
	if n := g[mStopped]; n > 0 {
		found(ConsumerStopped, "%s", count(n, "partition"))
	}
	if n := g[mStalled]; n > 0 {
		found(ConsumerWaits, "%s", count(n, "partition"))
	}
	if s.Lag.Seconds > behindAfter.Seconds() {
		found(ConsumerBehind, "the oldest one for %v; %s in all", time.Duration(s.Lag.Seconds)*time.Second, count(float64(s.Lag.Messages), "message"))
	}
	if n := hourOf(mUnbalanced); n > 0 {
		found(LedgerUnbalanced, "%s within the last hour", count(float64(n), "batch"))
	}
	if n := hourOf(mPanics); n > 0 {
		found(JudgingPanics, "%s within the last hour", count(float64(n), "time"))
	}
	if n := hourOf(mDiverged); n > 0 {
		found(EnginesDiffer, "%s within the last hour", count(float64(n), "hit"))
	}
	if v, ok := g[mLoaded]; ok && v == 0 {
		found(RulesRefused, "%s", s.InForce.Refused)
	}
	if n := len(s.InForce.Tripped); n > 0 {
		found(RulesTripped, "%s", count(float64(n), "rule"))
	}
	if n := g[mHalted]; n > 0 {
		found(PushesHalted, "%s", count(n, "campaign, sender or class"))
	}
	if v, ok := g[mTrusted]; ok && v == 0 && s.InForce.Policy != "" {
		found(ConsentUntrusted, "")
	}
	if w := s.Evidence.UnpublishedSeconds; w > unpublishedAfter.Seconds() {
		found(EvidenceUnpublished, "for %v", time.Duration(w)*time.Second)
	}
	if n := s.Evidence.Damaged; n > 0 {
		found(EvidenceDamaged, "%s since the start", count(float64(n), "place"))
	}
	if n := s.Evidence.Unsealed; n > unsealedMost {
		found(EvidenceUnsealed, "%s", count(float64(n), "segment"))
	}
	for _, c := range s.Charts {
		if c.Name == "append" && float64(c.Lines[1].Now) > slowAppend.Seconds() {
			found(DiskSlow, "one append in a hundred takes more than %.1f s", float64(c.Lines[1].Now))
		}
	}
	if dead, all := m.lately("dead_lettered"), m.lately(""); dead >= deadLeast && dead > deadShare*all {
		found(ManyDeadLetters, "%.0f of the last %.0f", dead, all)
	}

	held := make(map[Kind]bool)
	for _, f := range faults {
		held[f.Kind] = true
	}
	maps.DeleteFunc(m.since, func(k Kind, _ time.Time) bool { return !held[k] })
	said := make(map[Kind]bool)
	s.Level, s.Problems = OK, []Problem{}
	for _, f := range faults {
		a := kinds[f.Kind]
		if _, ok := m.since[f.Kind]; !ok {
			m.since[f.Kind] = s.Time
			m.o.Logger.Warn("the status page says that something is wrong", "kind", f.Kind, "detail", f.Detail)
		}
		if said[f.Kind] || slices.ContainsFunc(a.because, func(k Kind) bool { return held[k] }) {
			continue
		}
		said[f.Kind] = true
		s.Problems = append(s.Problems, Problem{Kind: f.Kind, Part: a.part, Level: a.level, Since: m.since[f.Kind],
			What: a.what.en, Detail: f.Detail, Next: a.next.en, Runbook: runbook + a.runbook})
		if p := parts[a.part]; a.level.rank() > p.Level.rank() {
			p.Level = a.level
		}
		if a.level.rank() > s.Level.rank() {
			s.Level = a.level
		}
	}
	slices.SortStableFunc(s.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(b.Level.rank(), a.Level.rank()), a.Since.Compare(b.Since))
	})
	for _, name := range partNames {
		if name == Redis && s.InForce.Policy == "" {
			continue // no pushes, no Redis
		}
		if name == API && !slices.ContainsFunc(m.o.Checks, func(c Check) bool { return c.Part == API }) {
			continue
		}
		s.Parts = append(s.Parts, *parts[name])
	}
}

// lately counts messages of the last half minute, by outcome; all if none is given.
func (m *Monitor) lately(outcome string) float64 {
	sum := 0.0
	for _, grown := range m.history.recent {
		for k, d := range grown {
			if k.metric == mMessages && (outcome == "" || k.b == outcome) {
				sum += d
			}
		}
	}
	return sum
}

// count says how many there are of something.
func count(n float64, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what == "batch":
		return fmt.Sprintf("%.0f batches", n)
	case what == "campaign, sender or class":
		return fmt.Sprintf("%.0f campaigns, senders or classes", n)
	}
	return fmt.Sprintf("%.0f %ss", n, what)
}
