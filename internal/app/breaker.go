package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/rules"
)

// breaker is what tells which rules hit too much, with its metrics.
type breaker struct {
	*pipeline.Breaker
	file  string // what was decided, for the next start
	trips prometheus.Counter
}

func newBreaker(p *pipeline.Pipeline, reg prometheus.Registerer, file string) *breaker {
	b := &breaker{
		Breaker: pipeline.NewBreaker(p),
		file:    file,
		trips:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_rule_trips_total", Help: "Live rules that lost their action because they hit too much."}),
	}
	reg.MustRegister(b.trips, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "weir_rules_tripped", Help: "Live rules without their action because they hit too much: weir rules restore gives it back."},
		func() float64 { return float64(len(p.InForce().Rules.InShadow())) }))
	if m, err := readMemory(file); err == nil { // else recall has said so
		b.Remember(m)
	}
	return b
}

// watchRates looks once in every window which rules hit too much, until ctx ends. The window may change with
// a reload.
func (r *reloader) watchRates(ctx context.Context) error {
	tick := time.NewTicker(time.Second) // the shortest window
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			now := time.Now()
			if b := r.pipeline.InForce().Breaker; !b.Enabled || now.Sub(looked) < b.Window {
				continue
			}
			looked = now
			// A failure is logged, and the next look tries again.
			_ = r.trip(ctx, now)
		}
	}
}

// trip takes the action from rules that hit too much.
func (r *reloader) trip(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	trips := r.breaker.Look(now)
	if len(trips) == 0 {
		return nil
	}
	force := r.pipeline.InForce()
	ids := force.Rules.InShadow()
	for i := range trips {
		ids = append(ids, trips[i].Rule)
	}
	if err := r.shadow(ctx, force, ids, forceBody{Why: "breaker", Tripped: trips}); err != nil {
		r.log.Error("rules hit too much and keep their action", "err", err)
		return err
	}
	r.remember()
	r.breaker.trips.Add(float64(len(trips)))
	for i := range trips {
		t := &trips[i]
		usual := "new"
		if t.Usual != nil {
			usual = rules.ShareOf(*t.Usual).String()
		}
		r.log.Error("a rule hits too much and has lost its action; its hits are still recorded",
			"rule", t.Rule, "events", t.Events, "hits", t.Hits, "usual", usual, "restore", "weir rules restore "+t.Rule)
	}
	return nil
}

// restore gives a rule that tripped its action back.
func (r *reloader) restore(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	force := r.pipeline.InForce()
	ids := force.Rules.InShadow()
	i, ok := slices.BinarySearch(ids, id)
	if !ok {
		return fmt.Errorf("rule %q has not lost its action; those that have: %s", id, listed(ids))
	}
	if err := r.shadow(ctx, force, slices.Delete(ids, i, i+1), forceBody{Why: "restore", Restored: id}); err != nil {
		return err
	}
	r.breaker.Restored(id, time.Now())
	r.remember()
	r.log.Info("a rule has its action back", "rule", id)
	return nil
}

// shadow puts the set in force with exactly these rules in shadow.
func (r *reloader) shadow(ctx context.Context, force pipeline.Force, ids []string, why forceBody) error {
	var err error
	if force.Rules, err = force.Rules.Shadowed(ids); err != nil {
		return err
	}
	if err := r.enforce(ctx, &inForce{Force: force, set: r.set}, why); err != nil {
		return err
	}
	r.tell() // whether the last load was taken up is as before
	return nil
}

// keepTripped returns what is to come into force with the rules in shadow that tripped before and are
// the same there. Without a breaker there are none.
func keepTripped(old, fresh pipeline.Force) (pipeline.Force, error) {
	tripped := old.Rules.InShadow()
	return inShadow(fresh, func(id string) bool {
		_, was := slices.BinarySearch(tripped, id)
		return was && old.Rules.Fingerprint(id) == fresh.Rules.Fingerprint(id)
	})
}

// inShadow returns what is to come into force with some of its live rules in shadow.
func inShadow(force pipeline.Force, tripped func(id string) bool) (pipeline.Force, error) {
	var ids []string
	for _, r := range force.Rules.Rules() {
		if force.Breaker.Enabled && r.State == rules.Live && tripped(r.ID) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return force, nil
	}
	var err error
	force.Rules, err = force.Rules.Shadowed(ids)
	return force, err
}

func listed(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

func (d *daemon) serveTripped(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"tripped": d.reloader.breaker.Tripped()})
}

func (d *daemon) serveRestore(w http.ResponseWriter, r *http.Request) {
	if err := d.reloader.restore(r.Context(), r.URL.Query().Get("rule")); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = io.WriteString(w, "restored\n")
}
