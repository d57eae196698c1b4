package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// reloader reads the configuration again, builds what it names and swaps it in,
// whole or not at all. A signal and the admin listener go through the same
// function, one at a time.
type reloader struct {
	load     func() (*config.Config, error)
	pipeline *pipeline.Pipeline
	evidence *evidence.Log
	log      *slog.Logger
	metrics  *reloadMetrics

	mu  sync.Mutex
	cfg *config.Config // as started: what a reload cannot change is compared with it
}

func newReloader(cfg *config.Config, load func() (*config.Config, error), p *pipeline.Pipeline, ev *evidence.Log, log *slog.Logger, reg prometheus.Registerer) *reloader {
	r := &reloader{load: load, pipeline: p, evidence: ev, log: log, metrics: newReloadMetrics(reg), cfg: cfg}
	r.metrics.inForce(p.InForce(), time.Now())
	return r
}

// reload puts the rule set and the policy of the configuration in force. On any
// error the old ones stay, and the metrics say so.
func (r *reloader) reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.swap(ctx); err != nil {
		r.metrics.successful.Set(0)
		r.log.Error("reload failed, the old rules and policy stay in force", "err", err)
		return err
	}
	return nil
}

func (r *reloader) swap(ctx context.Context) error {
	if r.load == nil {
		return fmt.Errorf("this process was started without a configuration file; there is nothing to read again")
	}
	cfg, err := r.load()
	if err != nil {
		return err
	}
	if sections := needRestart(r.cfg, cfg); len(sections) > 0 {
		// Refused whole: a daemon that runs on half of its file is one nobody understands.
		return fmt.Errorf("only rules and the push policy can change while Weir runs; restart it for changes of %v", sections)
	}
	force, err := LoadForce(cfg)
	if err != nil {
		return err
	}
	// On record before it is in force: no verdict may name a digest that
	// evidence has never heard of. If the process dies in between, the record
	// names a set that judged nothing, which is harmless.
	if err := r.record(ctx, evidence.KindRuleSet, force, ""); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	r.pipeline.Enforce(force)
	r.metrics.inForce(force, time.Now())
	r.log.Info("rules and policy are in force", "rules", force.Rules.Digest())
	if x := force.Rules.Stats().Second; x.LeftOut > 0 {
		r.log.Info("the second opinion looks at a part of the critical terms", "terms", x.Terms, "left_out", x.LeftOut)
	}
	return nil
}

// forceBody is the body of a start or ruleset record.
type forceBody struct {
	Rules  string `json:"rules"`
	Policy string `json:"policy,omitempty"`
	Build  string `json:"build,omitempty"`
	Time   string `json:"time"`
}

func (r *reloader) record(ctx context.Context, kind evidence.Kind, f pipeline.Force, build string) error {
	b := forceBody{Rules: f.Rules.Digest(), Build: build, Time: time.Now().UTC().Format(time.RFC3339Nano)}
	if f.Policy != nil {
		b.Policy = f.Policy.Digest()
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	// Each activation is an act of its own, so its id is drawn, not computed.
	rec := evidence.Record{Kind: kind, Class: evidence.ClassPolicy, Body: body}
	rand.Read(rec.ID[:])
	return r.evidence.Append(ctx, []evidence.Record{rec})
}

// needRestart names the sections that differ and that a running daemon cannot take up.
func needRestart(old, fresh *config.Config) []string {
	var names []string
	a, b := reflect.ValueOf(*old), reflect.ValueOf(*fresh)
	for i := range a.NumField() {
		name := a.Type().Field(i).Tag.Get("yaml")
		switch name {
		case "rules":
			continue
		case "push":
			x, y := old.Push, fresh.Push
			x.Policy, y.Policy = "", ""
			if reflect.DeepEqual(x, y) {
				continue
			}
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
