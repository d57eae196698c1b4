package chaos

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/capacity"
)

// fleetForm is how much of it there is.
type fleetForm struct {
	usual      int64 // posts of the usual workload
	posts      int64 // posts of the fleet's
	partitions int32
	wide       int64 // posts for many instances' worth of partitions; 0: that part is left out
	holds      bool  // whether what is too far off is an error
}

var fleetForms = map[string]fleetForm{
	"short": {usual: 500_000, posts: 900_000, partitions: 48},
	"long":  {usual: 1_500_000, posts: 1_500_000, partitions: 96, wide: 2_000_000, holds: true},
}

const (
	// fleetQuota is how much of a core each instance may use, and wideQuota where there
	// are wideInstances of them on wideParts partitions: so few that brokers and
	// instances do not get in one another's way on two cores, and that a fleet carries
	// more the more instances it has, as it would on machines of its own.
	fleetQuota    = 0.12
	wideQuota     = 0.08
	wideInstances = 8
	wideParts     = 256
	// off is how far a prediction may be off, fair the least index of fairness among
	// instances.
	off  = 0.25
	fair = 0.9
)

// Instances share a topic of many partitions on three brokers, with a backlog and so much
// of a core each. One is added, one is killed: nothing is lost, what comes twice is
// bounded by what the killed one had in hand, the others take its partitions, every
// partition gets on, the evidence of all verifies and their ledger is balanced. What a
// post takes of a CPU is what the capacity guide's formula says, once its speed is fitted
// to one instance that works on other posts of twelve partitions, in the same minutes: a
// machine that is shared is another one a minute later.
func TestFleet(t *testing.T) {
	name := os.Getenv("WEIR_TEST_FLEET")
	form, ok := fleetForms[name]
	if !ok {
		t.Skip("WEIR_TEST_FLEET is neither short nor long; make fleet sets it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	w := newFleetWorld(t)
	usual := w.stream(ctx, "usual", 12, fleetPosts{body: 146, hits: 100}, form.usual)
	t.Run("added and killed", func(t *testing.T) { w.in(t, func() { w.addedAndKilled(ctx, form, usual).judge(form, usual) }) })
	if form.wide > 0 {
		t.Run("many instances", func(t *testing.T) { w.in(t, func() { w.manyInstances(ctx, form, usual).judge(form, usual) }) })
	}
}

// judge holds what posts took of a CPU against what is predicted.
func (r *fleetRun) judge(form fleetForm, usual *stream) {
	r.t.Helper()
	r.t.Logf("the formula's machine takes %v for %s; %s", capacity.Measured().CPU(usual.workload), said(usual.workload), conditions())
	var yard, took, ratios []float64
	for _, c := range r.compared {
		predicted := capacity.Measured().Calibrated(usual.workload, time.Duration(c.yard*1e3)).CPU(r.workload)
		yard, took, ratios = append(yard, c.yard), append(took, c.took), append(ratios, float64(predicted)/1e3/c.took)
	}
	if len(ratios) == 0 {
		r.t.Errorf("%s: the work was over before anything could be measured; give it more posts", r.name)
		return
	}
	far := median(ratios) - 1
	r.t.Logf("%s, %s: %.2f us of CPU a post (%s) while one instance took %.2f (%s) for usual ones; predicted %.2f times what was taken (%s)",
		r.name, said(r.workload), median(took), list(took), median(yard), list(yard), median(ratios), list(ratios))
	if form.holds && max(far, -far) > off {
		r.t.Errorf("%s: the prediction is %.0f %% off, more than %.0f %%", r.name, 100*far, 100*off)
	}
}

// addedAndKilled is the run in which one instance is added to two, and one of the three
// is killed.
func (w *fleetWorld) addedAndKilled(ctx context.Context, form fleetForm, usual *stream) *fleetRun {
	s := w.stream(ctx, "fleet", form.partitions, fleetPosts{body: 420, hits: 20}, form.posts)
	yard := usual.yard(ctx)
	r := s.run(ctx, "three instances", "")
	r.yard = yard
	settled := func() bool { return r.settled(ctx) }
	r.join(ctx, 2, fleetQuota)
	r.until(ctx, "two join", settled)
	two := r.until(ctx, "two", r.reached(min(r.done()+form.posts/4, form.posts*2/5)))
	r.join(ctx, 1, fleetQuota)
	r.until(ctx, "one is added", settled)
	three := r.until(ctx, "three", r.reached(min(r.done()+form.posts/4, form.posts*3/4)))
	for _, p := range []*phase{two, three} {
		r.compare(p)
		r.evenly(form, p)
	}
	if err := r.members[1].kill(); err != nil {
		w.t.Fatal(err)
	}
	r.left = []*member{r.members[0], r.members[2]}
	r.until(ctx, "one is killed", settled)
	r.until(ctx, "two left", r.reached(form.posts))
	// At least once: again come those posts that the killed one had judged and not committed,
	// of about a second, and the batch of each of its partitions.
	const batch = 4_000 // posts, at most
	lost := three.shares[1]
	r.finish(ctx, int64((lost.rate*3+batch*float64(lost.partitions))*s.workload.Hits))
	yard.finish(ctx, 0)
	return r
}

// manyInstances is the run of as many instances and partitions as it takes for millions
// of posts a second, each instance a fraction of one there.
func (w *fleetWorld) manyInstances(ctx context.Context, form fleetForm, usual *stream) *fleetRun {
	s := w.stream(ctx, "wide", wideParts, usual.posts, form.wide)
	yard := usual.yard(ctx)
	r := s.run(ctx, fmt.Sprintf("%d instances", wideInstances), "")
	r.yard = yard
	r.join(ctx, wideInstances, wideQuota)
	// Those that are there first do more: it is not looked at how fair that is, but that all
	// come to have as many partitions.
	r.until(ctx, "all", func() bool { return r.settled(ctx) && r.done() >= form.wide*9/10 })
	r.compare(r.phases[0])
	r.finish(ctx, 0)
	yard.finish(ctx, 0)
	return r
}

// compared is the CPU time of a post in us: of an instance, and of the one beside it.
type compared struct{ took, yard float64 }

// compare takes a phase down by which the prediction is judged.
func (r *fleetRun) compare(p *phase) {
	// Of fewer posts the CPU time, which is told in hundredths of a second, says little.
	const enough = 10_000
	for _, s := range p.shares {
		if s.judged >= enough && p.yard.judged >= enough {
			r.compared = append(r.compared, compared{s.micros, p.yard.micros})
		}
	}
}

// evenly looks at how fair a phase was.
func (r *fleetRun) evenly(form fleetForm, p *phase) {
	r.t.Helper()
	if form.holds && p.fair < fair {
		r.t.Errorf("%s, %s: the index of fairness among instances is %.2f, want %.2f at least: %+v", r.name, p.name, p.fair, fair, p.shares)
	}
}

// median returns the middle of a list.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// list writes figures for people.
func list(of []float64) string {
	var b strings.Builder
	for i, f := range of {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.2f", f)
	}
	return b.String()
}

// fairness is Jain's index: 1 where all have as much, 1/n where one of n has everything.
func fairness(of []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, f := range of {
		sum += f
		squares += f * f
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / float64(len(of)) / squares
}

// conditions says what a figure depends on beside the code.
func conditions() string {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load average not known"
	}
	return "load average " + strings.TrimSpace(string(load))
}

// said writes a workload for people.
func said(w capacity.Workload) string {
	return fmt.Sprintf("posts of %.0f bytes, %.0f of them text, %.3g %% flagged", w.Size, w.Text, 100*w.Hits)
}
