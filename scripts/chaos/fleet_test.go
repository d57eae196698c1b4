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
	rounds     int   // of calibration
	usual      int64 // posts of the usual workload
	posts      int64 // posts of the fleet's
	partitions int32
	wide       int64 // posts for many instances' worth of partitions; 0: that part is left out
	holds      bool  // whether a prediction that is too far off is an error
}

var fleetForms = map[string]fleetForm{
	"short": {rounds: 1, usual: 200_000, posts: 700_000, partitions: 48},
	"long":  {rounds: 3, usual: 300_000, posts: 1_500_000, partitions: 96, wide: 1_600_000, holds: true},
}

const (
	// fleetQuota is how much of a core each instance may use, and wideQuota where there
	// are wideInstances of them on wideParts partitions: so few that brokers and
	// instances do not get in one another's way on two cores, and that a fleet carries
	// more the more instances it has, as it would on machines of its own.
	fleetQuota    = 0.15
	wideQuota     = 0.06
	wideInstances = 8
	wideParts     = 256
	// off is how far a prediction may be off.
	off = 0.25
	// fair is the least index of fairness among instances.
	fair = 0.9
)

// Instances share a topic of many partitions on three brokers, with a backlog and so much
// of a core each. One is added, one is killed: nothing is lost, what comes twice is
// bounded by what the killed one had in hand, the others take its partitions, every
// partition gets on, the evidence of all verifies and their ledger is balanced. What a
// post takes of a CPU is what the capacity guide's formula says, once its speed is fitted
// to one instance with other posts on four partitions.
func TestFleet(t *testing.T) {
	name := os.Getenv("WEIR_TEST_FLEET")
	form, ok := fleetForms[name]
	if !ok {
		t.Skip("WEIR_TEST_FLEET is neither short nor long; make fleet sets it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	w := newFleetWorld(t)

	usual := w.stream(ctx, "usual", 4, fleetPosts{body: 146, hits: 100}, form.usual)
	var seen []float64
	calibrate := func() {
		seen = append(seen, usual.alone(ctx))
	}
	for range max(form.rounds-1, 1) {
		calibrate()
	}
	run := w.addedAndKilled(ctx, form)
	if form.rounds > 1 {
		calibrate() // the machine may have become another one meanwhile
	}
	var wide *fleetRun
	if form.wide > 0 {
		wide = w.manyInstances(ctx, usual.posts, form)
		calibrate()
	}

	took := median(seen)
	model := capacity.Measured().Calibrated(usual.workload, time.Duration(took*1e3))
	t.Logf("one instance, four partitions, %s: %.2f us of CPU a post (%s); the formula's machine takes %v\n%s", said(usual.workload), took, list(seen),
		capacity.Measured().CPU(usual.workload), conditions())
	for _, r := range []*fleetRun{run, wide} {
		if r == nil || len(r.micros) == 0 {
			continue
		}
		got, predicted := median(r.micros), float64(model.CPU(r.workload))/1e3
		t.Logf("%s: %.2f us of CPU a post (%s), predicted %.2f: %+.0f %%", r.name, got, list(r.micros), predicted, 100*(predicted/got-1))
		if far := predicted/got - 1; form.holds && max(far, -far) > off {
			t.Errorf("%s: the prediction is %.0f %% off, more than %.0f %%", r.name, 100*far, 100*off)
		}
	}
}

// addedAndKilled is the run in which one instance is added to two, and one of the three
// is killed.
func (w *fleetWorld) addedAndKilled(ctx context.Context, form fleetForm) *fleetRun {
	s := w.stream(ctx, "fleet", form.partitions, fleetPosts{body: 420, hits: 20}, form.posts)
	r := s.run(ctx, "three instances", "")
	r.join(ctx, 2, fleetQuota)
	r.until(ctx, "two join", func() bool { return r.settled(ctx) })
	measured := []*phase{
		r.until(ctx, "two", r.reached(min(r.done()+form.posts/4, form.posts*2/5))),
	}
	r.join(ctx, 1, fleetQuota)
	r.until(ctx, "one is added", func() bool { return r.settled(ctx) })
	measured = append(measured, r.until(ctx, "three", r.reached(min(r.done()+form.posts/4, form.posts*3/4))))
	lost := r.members[1]
	if err := lost.kill(); err != nil {
		w.t.Fatal(err)
	}
	r.left = []*member{r.members[0], r.members[2]}
	r.until(ctx, "one is killed", func() bool { return r.settled(ctx) })
	measured = append(measured, r.until(ctx, "two left", r.reached(form.posts*19/20)))
	r.measured(form, measured...)
	// At least once: again come those posts that the killed one had judged and not committed,
	// of about a second, and the batch of each of its partitions.
	batch := float64(1<<20) / s.workload.Size
	bound := int64((measured[1].shares[1].rate*3 + batch*float64(measured[1].shares[1].partitions)) * s.workload.Hits)
	r.finish(ctx, bound)
	return r
}

// manyInstances is the run of as many instances and partitions as it takes for a million
// posts a second, each instance a fraction of one there.
func (w *fleetWorld) manyInstances(ctx context.Context, p fleetPosts, form fleetForm) *fleetRun {
	s := w.stream(ctx, "wide", wideParts, p, form.wide)
	r := s.run(ctx, fmt.Sprintf("%d instances, %d partitions", wideInstances, wideParts), "")
	r.join(ctx, wideInstances, wideQuota)
	r.until(ctx, "all join", func() bool { return r.settled(ctx) })
	all := r.until(ctx, "all", r.reached(form.wide*9/10))
	r.measured(form, all)
	r.finish(ctx, 0)
	return r
}

// measured takes phases down by which the prediction is judged, and looks at how fair
// they were.
func (r *fleetRun) measured(form fleetForm, phases ...*phase) {
	r.t.Helper()
	for _, p := range phases {
		enough := true
		for _, s := range p.shares {
			// Of fewer the CPU time, which is told in hundredths of a second, says little.
			if s.judged < 10_000 {
				enough = false
				continue
			}
			r.micros = append(r.micros, s.micros)
		}
		if form.holds && (!enough || p.fair < fair) {
			r.t.Errorf("%s, %s: the index of fairness among instances is %.2f, want %.2f at least: %+v", r.name, p.name, p.fair, fair, p.shares)
		}
	}
	if len(r.micros) == 0 {
		r.t.Errorf("%s: the work was over before anything could be measured; give it more posts", r.name)
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
