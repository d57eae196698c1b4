package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// reloader reads the configuration again, builds what it names and swaps it in,
// whole or not at all. A signal, the admin listener, a change of the rules' files or
// topic, and the expiry of an exception go through the same function, one at a time.
type reloader struct {
	load     func() (*config.Config, error)
	pipeline *pipeline.Pipeline
	evidence *evidence.Log
	topic    *ruleTopic // nil where rules come from a directory
	receipts *receipts  // nil where they are off
	log      *slog.Logger
	metrics  *reloadMetrics
	build    string
	breaker  *breaker
	store    *push.Store // nil where no pushes are judged

	mu      sync.Mutex
	cfg     *config.Config // as started: what a reload cannot change is compared with it
	set     *RuleSet       // in force
	rules   rules.Config   // by which it was built
	since   time.Time
	refused *Refusal  // of what came after
	newest  *offer    // of the topic, whether it was taken up or not
	tried   string    // mark of the files that were refused last; empty when none were
	wanted  string    // directory that the configuration named when it was last read; empty if it could not be
	expired time.Time // of the set that was last tried to load anew

	shown atomic.Pointer[showing] // for who must not wait for a reload
}

// showing is what is in force, and what was refused after that; nil if nothing was.
type showing struct {
	set     *RuleSet
	since   time.Time
	refused *Refusal
}

// inForce is what a start or reload puts in force.
type inForce struct {
	pipeline.Force
	set *RuleSet
	cfg *config.Config // by which it was built; nil where only a part of it is new
	// instead says why what the topic carries is not; nil if it is.
	instead error
}

// offer is the text of rules as it was found, or why there is none.
type offer struct {
	bundle *rules.Bundle
	dir    string // before the names of its files in messages
	err    error
}

// mark tells what was found apart from anything else. Other than the digest of a bundle it changes
// with the signature: rules that were refused unsigned are wanted once they are signed.
func (o *offer) mark() string {
	if o.err != nil {
		return noRules(o.err)
	}
	return o.bundle.Mark()
}

// noRules is the mark of what is no bundle.
func noRules(err error) string { return "no rules: " + err.Error() }

// readFiles reads the packs of a directory.
func readFiles(dir string) *offer {
	packs, name, err := openPacks(dir)
	o := &offer{dir: name, err: err}
	if err == nil {
		o.bundle, o.err = rules.ReadBundle(packs, name)
	}
	return o
}

// markFiles returns the mark of what readFiles would read.
func markFiles(dir string) string {
	packs, name, err := openPacks(dir)
	var mark string
	if err == nil {
		mark, err = rules.MarkFiles(packs, name)
	}
	if err != nil {
		return noRules(err)
	}
	return mark
}

// start notes what is in force from the beginning, and puts it on record.
func (r *reloader) start(ctx context.Context, f *inForce) error {
	if err := r.record(ctx, evidence.KindStart, f, forceBody{Why: "start"}); err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	r.newest = &offer{bundle: f.set.Bundle, dir: f.set.Dir}
	r.now(f)
	r.loaded()
	if f.instead != nil {
		if r.topic.last != nil { // what a reload is to try again
			r.newest = r.topic.last
		}
		r.refuse(r.newest.bundle, f.instead)
	}
	return nil
}

// now notes that f is in force from now on.
func (r *reloader) now(f *inForce) {
	r.set, r.since = f.set, time.Now()
	if f.cfg != nil {
		r.rules = f.cfg.Rules
	}
	r.show()
	r.metrics.inForce(f.Force, r.set.Bundle.Digest()[:versionDigits])
	// Building a set takes several times what it keeps, and an idle daemon would hold that for minutes.
	debug.FreeOSMemory()
}

// loaded notes that what was to be loaded is in force, and tells it.
func (r *reloader) loaded() {
	if r.set.Warning != nil {
		r.log.Warn("rules hit benign posts more often than rules.false_alarms allows; name a sample of your own posts in rules.benign to have such sets refused", "err", r.set.Warning)
	}
	r.metrics.loaded(time.Now())
	r.refused, r.tried = nil, ""
	r.show()
	r.tell()
}

func (r *reloader) show() { r.shown.Store(&showing{r.set, r.since, r.refused}) }

// tell publishes the receipt.
func (r *reloader) tell() {
	if r.receipts == nil {
		return
	}
	force := r.pipeline.InForce()
	receipt := Receipt{Source: r.cfg.Source, Instance: r.cfg.Instance, Build: r.build,
		Rules: force.Rules.Digest(), Bundle: r.set.Bundle.Digest(), InShadow: force.Rules.InShadow(),
		Since: r.since.UTC().Format(time.RFC3339Nano), Refused: r.refused}
	if force.Policy != nil {
		receipt.Policy = force.Policy.Digest()
	}
	r.receipts.publish(receipt)
}

// reload puts the rule set and the policy of the configuration in force. On any
// error the old ones stay, and the metrics say so.
func (r *reloader) reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topic != nil {
		return r.swap(ctx, r.newest, "reload")
	}
	return r.swap(ctx, nil, "reload")
}

// swap reads the configuration again and enforces it with the rules on offer; nil for those that lie
// in its directory.
func (r *reloader) swap(ctx context.Context, o *offer, why string) error {
	f, o, err := r.read(o)
	if err == nil {
		f.Force, err = keepTripped(r.pipeline.InForce(), f.Force)
	}
	if err == nil && r.promisesMore(f.Policy) {
		_, err = r.store.Inspect(ctx, f.Policy)
	}
	if err == nil {
		err = r.enforce(ctx, f, forceBody{Why: why})
	}
	switch {
	case err == nil:
		r.loaded()
		return nil
	case ctx.Err() != nil:
		r.log.Info("a change was broken off, the old rules and policy stay in force", "why", why)
	case o == nil:
		r.refuse(nil, err)
	default:
		r.tried = o.mark()
		r.refuse(o.bundle, err)
	}
	return err
}

// promisesMore reports whether a policy promises what the one in force does not and
// only Redis can keep. Any other is taken up without asking Redis, which may be away.
func (r *reloader) promisesMore(p *push.Policy) bool {
	old := r.pipeline.InForce().Policy
	return p != nil && old != nil && p.Replicated() && !old.Replicated()
}

// refuse says that a change was not taken up. Bundle is nil where there is none to name.
func (r *reloader) refuse(bundle *rules.Bundle, err error) {
	r.metrics.successful.Set(0)
	r.log.Error("reload failed, the old rules and policy stay in force", "err", err)
	r.refused = newRefusal(bundle, err)
	r.show()
	r.tell()
}

// read builds what the configuration names now. It returns also the rules it was to be built of; nil
// if it did not come to reading any.
func (r *reloader) read(o *offer) (*inForce, *offer, error) {
	if r.load == nil {
		return nil, o, errors.New("this process was started without a configuration file; there is nothing to read again")
	}
	r.wanted = ""
	cfg, err := r.load()
	if err != nil {
		return nil, o, err
	}
	if sections := needRestart(r.cfg, cfg); len(sections) > 0 {
		// Refused whole: a daemon that runs on half of its file is one nobody understands.
		return nil, o, fmt.Errorf("only rules and the push policy can change while Weir runs; restart it for changes of %v", sections)
	}
	if r.topic == nil && (o == nil || cfg.Rules.Dir != r.rules.Dir) {
		o = readFiles(cfg.Rules.Dir)
	}
	r.wanted = o.dir
	f, err := loadForce(cfg, func() (*RuleSet, error) {
		if o.err != nil {
			return nil, o.err
		}
		return OpenBundle(&cfg.Rules, o.bundle, o.dir)
	})
	if err != nil {
		return nil, o, err
	}
	f.cfg = cfg
	return f, o, nil
}

// enforce puts on record what comes in force and why, and puts it in force.
//
// On record first: no verdict may name a digest that evidence has never heard of. If the process
// dies in between, the record names a set that judged nothing, which is harmless.
func (r *reloader) enforce(ctx context.Context, f *inForce, why forceBody) error {
	if err := r.record(ctx, evidence.KindRuleSet, f, why); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	r.pipeline.Enforce(f.Force)
	r.now(f)
	r.log.Info("rules and policy are in force", "rules", f.Rules.Digest(), "why", why.Why, "in_shadow", len(f.Rules.InShadow()))
	if x := f.Rules.Stats().Second; x.LeftOut > 0 {
		r.log.Info("the second opinion looks at a part of the critical terms", "terms", x.Terms, "left_out", x.LeftOut)
	}
	return nil
}

// forceBody is the body of a start, ruleset or stop record. The first two hold all that the set was
// made of, so that it can be built again.
type forceBody struct {
	Rules  string `json:"rules"`
	Policy string `json:"policy,omitempty"`
	Build  string `json:"build,omitempty"`
	// Config is the digest of the configuration by which it was built, Instance who read it.
	// Both stand here and in no record of a message: another instance that judges it again writes the same.
	Config   string `json:"config,omitempty"`
	Instance string `json:"instance,omitempty"`
	Time     string `json:"time"`
	Why      string `json:"why,omitempty"`

	Bundle     string   `json:"bundle,omitempty"`
	Categories string   `json:"categories,omitempty"`
	Exclusions []string `json:"exclusions,omitempty"`
	MaxHits    int      `json:"max_hits,omitempty"`
	Fold       string   `json:"fold,omitempty"`      // version of the fold
	Forms      string   `json:"forms,omitempty"`     // versions of the forms, the ordinary words and the exclusions
	LoadedAt   string   `json:"loaded_at,omitempty"` // by which exceptions were in force or had expired
	InShadow   []string `json:"in_shadow,omitempty"` // rules in shadow whatever the bundle says

	// Tripped are those rules in shadow for which this record was made, Restored is the one that got
	// its action back.
	Tripped  []pipeline.Trip `json:"tripped,omitempty"`
	Restored string          `json:"restored,omitempty"`
}

// record appends a record about what is in force, beside what the body says already. The set is nil
// in that of a stop.
func (r *reloader) record(ctx context.Context, kind evidence.Kind, f *inForce, b forceBody) error {
	b.Rules, b.Build, b.Time = f.Rules.Digest(), r.build, time.Now().UTC().Format(time.RFC3339Nano)
	if f.Policy != nil {
		b.Policy = f.Policy.Digest()
	}
	if f.cfg != nil {
		b.Config, b.Instance = f.cfg.Digest(), f.cfg.Instance
	}
	if f.set != nil {
		b.Bundle, b.Categories, b.Exclusions, b.MaxHits = string(f.set.Bundle.Text()), f.set.Categories, f.set.Exclusions, f.set.MaxHits
		b.Fold, b.Forms = fold.Version, f.Rules.Forms()
		b.LoadedAt, b.InShadow = f.Rules.LoadedAt().UTC().Format(time.RFC3339Nano), f.Rules.InShadow()
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
			if old.Rules.Topic != fresh.Rules.Topic {
				names = append(names, "rules.topic")
			}
			if old.Rules.Receipts != fresh.Rules.Receipts {
				names = append(names, "rules.receipts")
			}
			if old.Rules.Watch != fresh.Rules.Watch {
				names = append(names, "rules.watch")
			}
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

// newReloader returns a reloader without topic and receipts; start comes next.
func newReloader(cfg *config.Config, load func() (*config.Config, error), p *pipeline.Pipeline, ev *evidence.Log, log *slog.Logger, reg prometheus.Registerer) *reloader {
	return &reloader{load: load, pipeline: p, evidence: ev, log: log, metrics: newReloadMetrics(reg), breaker: newBreaker(p, reg, filepath.Join(cfg.Evidence.Dir, memoryFile)), cfg: cfg, rules: cfg.Rules}
}
