// Package app wires Weir: it builds every component from the configuration,
// runs them together, swaps the rule set on reload and stops everything in
// reverse order.
//
// What it is not: it judges nothing and knows no flags. The one thing to know:
// the first component that fails ends all of them, because a daemon that runs
// on half of its parts would lose what the other half is for.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/internal/status"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/ask"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
)

// Options is what Run needs beside the configuration.
type Options struct {
	// Config is the configuration to start with.
	Config *config.Config
	// Load reads the configuration again; it is called for every reload.
	Load func() (*config.Config, error)
	// Reload asks for a reload each time something arrives (SIGHUP).
	Reload <-chan struct{}
	// Listen is the address of the admin listener; empty turns it off.
	Listen string
	// Build is the version shown in metrics and start records.
	Build string
	// Status gets one line for each component that is up; nil drops them.
	Status io.Writer
	// Up, if not nil, is called once everything is built and begins to run.
	Up     func()
	Logger *slog.Logger
}

// daemon is a running Weir.
type daemon struct {
	o        Options
	cfg      *config.Config
	registry *prometheus.Registry
	log      *slog.Logger

	keys     *keys.Ring // of the evidence; nil if none of it is encrypted
	evidence *evidence.Log
	frames   *postgres.Store // of the evidence; nil if it is in files
	keyStore *postgres.Keys  // of its keys
	anchors  anchors
	desk     *desk.Server
	client   *kafka.Client
	store    *push.Store
	fallback *push.Fallback // nil where pushes are off
	view     *consentView   // nil where no pushes are judged
	pipeline *pipeline.Pipeline
	source   *ingest.Source
	reloader *reloader
	halts    *halts       // nil where no topic of halts is named
	spans    *trace.Spans // nil where it is off
	status   *status.Monitor
	shown    statusShown
	admin    *adminServer // nil where it is off
	api      *ask.Server  // nil where it is off

	manager *notifier // the service manager that started the process, if one did

	stops stopStack
}

// Run runs Weir until ctx ends or a component fails. When ctx ends it stops
// fetching, finishes the batches in hand, commits them, leaves the group and
// returns nil.
func Run(ctx context.Context, o Options) (err error) {
	d := &daemon{o: o, cfg: o.Config, log: o.Logger, registry: newRegistry(o.Build)}
	// Stopping has its own time: ctx has ended when it begins.
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		err = errors.Join(err, d.stops.run(stopCtx))
	}()
	if d.manager, err = newNotifier(d.log); err != nil {
		return err
	}
	if err := d.build(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // told to stop before it was up: nothing was begun
		}
		return err
	}
	return d.run(ctx)
}

// build makes every component, in the order in which each needs the ones before.
func (d *daemon) build(ctx context.Context) error {
	var force *inForce
	var err error
	if d.cfg.Rules.Topic == "" { // before anything is opened: it is what is most often wrong
		if force, err = d.load(func() (*RuleSet, error) { return OpenRules(&d.cfg.Rules) }); err != nil {
			return err
		}
	}
	d.client, err = kafka.NewClient(d.cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	d.watchCredentials()
	d.stops.push("kafka client", func(context.Context) error { return d.client.Close() })
	if err := CheckKafka(ctx, d.client, d.cfg); err != nil {
		return err
	}
	d.say("kafka", "%s, all topics are there", strings.Join(d.cfg.Kafka.Brokers, ", "))
	// Before it is opened, what others know of the log is read from Kafka.
	if err := d.openEvidence(ctx); err != nil {
		return err
	}
	deskOptions := DeskOptions(d.cfg)
	deskOptions.Logger = d.log
	if d.frames != nil {
		deskOptions.Log.Store = d.frames
	}
	if d.desk, err = desk.Listen(desk.ServerOptions{Options: deskOptions, Log: d.evidence, Keys: d.keys}); err != nil {
		return err
	}
	d.stops.push("control socket", func(context.Context) error { return d.desk.Close() })
	if err := d.desk.Resume(ctx); err != nil {
		return err
	}

	var topic *ruleTopic
	if d.cfg.Rules.Topic != "" {
		topic = newRuleTopic(d.client, d.cfg.Rules.Topic)
		if force, err = d.load(func() (*RuleSet, error) { return topicRules(ctx, d.cfg, topic) }); err != nil {
			if force, err = d.lastInForce(ctx, err); err != nil {
				return err
			}
		}
	}
	ev := &sinks.Evidence{Log: d.evidence}
	if d.cfg.PushesOn() {
		d.store, err = push.NewStore(push.Options{Config: d.cfg.Push, Consent: ConsentTopics(d.cfg), Logger: d.log, Registerer: d.registry})
		if err != nil {
			return err
		}
		d.stops.push("redis client", func(context.Context) error { return d.store.Close() })
		d.store.Enforce(force.Policy)
		found, err := d.store.Inspect(ctx, force.Policy)
		if err != nil {
			return err
		}
		for _, line := range found.Facts {
			d.say("redis", "%s", line)
		}
		for _, line := range found.Warnings {
			d.warn("redis", line)
		}
		d.say("policy", "%s, digest %.12s, send logs of at most %d entries", force.Policy.Version(), force.Policy.Digest(), force.Policy.LogBound())
		d.fallback = push.NewFallback(push.FallbackOptions{Store: d.store, Record: ev.Outage, Logger: d.log, Registerer: d.registry})
		if err := d.settle(ctx, force.Policy); err != nil {
			return err
		}
		whole, err := d.store.IsWhole(ctx)
		switch {
		case err != nil:
			return err
		case len(d.cfg.Input.Consent) == 0:
		case whole:
			d.say("consent", "what redis holds of it is complete")
		default:
			d.say("consent", "what redis holds of it is not known to be complete; it is read again, and pushes that need it wait")
		}
	}

	if err := d.sayDeferred(ctx); err != nil {
		return err
	}

	d.spans, err = trace.New(trace.Options{Config: d.cfg.Tracing, Source: d.cfg.Source, Instance: d.cfg.Instance, Build: d.o.Build,
		Logger: d.log, Registerer: d.registry})
	if err != nil {
		return err
	}
	d.stops.push("spans", d.spans.Close)
	if d.cfg.Tracing.On() {
		d.say("tracing", "spans of flagged messages go to %s", d.cfg.Tracing.Receiver())
	}
	var producer *produce.Producer
	produced := newProducerMetrics(d.registry, d.cfg.Output.Topics(), func() float64 { return float64(producer.Queued()) })
	producer = d.client.NewProducer(produce.Options{
		Topics:          d.cfg.Output.Topics(),
		MaxMessageBytes: d.cfg.Output.MaxMessageBytes,
		OnRetry:         func(string, int32, error) { d.pipeline.Retried("kafka") },
		OnTaken:         produced.taken,
		OnAnswer:        produced.answered,
		Logger:          d.log,
	})
	out := &sinks.Kafka{Config: d.cfg.Output, Producer: producer, Origin: d.evidence.Origin(), Group: d.cfg.Input.Group}
	d.pipeline, err = pipeline.New(pipeline.Options{
		Source:   d.cfg.Source,
		Instance: d.cfg.Instance,
		Force:    force.Force,
		Events:   d.cfg.Events,
		Store:    d.store,
		Fallback: d.fallback,

		// Weir's own headers take some hundred bytes of what the topic takes.
		MaxForward: d.cfg.Output.MaxMessageBytes - 4096,
		Ring:       d.cfg.Output.Ring(),
		// Evidence first: no topic shows what is not on record.
		Sinks: []pipeline.NamedSink{
			{Name: "evidence", Sink: ev},
			{Name: "kafka", Sink: out},
		},
		Spans:      d.spans,
		Log:        d.cfg.Log,
		Logger:     d.log,
		Registerer: d.registry,
	})
	if err != nil {
		return err
	}
	if d.store != nil {
		d.view = newConsentView(d)
	}
	if d.cfg.API.On() {
		d.api, err = ask.Open(ask.Options{Config: d.cfg.API, Events: d.cfg.Events, Pushes: d.store != nil, Evidence: d.evidence.Origin(),
			Logger: d.log, Registerer: d.registry})
		if err != nil {
			return err
		}
		d.stops.push("listener of the api", func(context.Context) error { return d.api.Close() })
	}
	if d.o.Listen != "" {
		d.status = newStatus(d)
		if d.admin, err = newAdmin(d); err != nil {
			return err
		}
		d.stops.push("admin listener", func(context.Context) error { return d.admin.door.Close() })
	}
	d.reloader = newReloader(d.cfg, d.o.Load, d.pipeline, d.evidence, d.log, d.registry)
	d.reloader.build, d.reloader.topic, d.reloader.store = d.o.Build, topic, d.store
	if d.cfg.Rules.Receipts != "" {
		d.reloader.receipts = newReceipts(d.client, d.cfg.Rules.Receipts, d.log, d.registry)
	}
	if err := d.reloader.start(ctx, force); err != nil {
		return err
	}
	// The last record of an orderly life: a start without it tells of a crash.
	d.stops.push("stop record", func(ctx context.Context) error {
		if d.evidence.Err() != nil {
			return nil // the log is dead and has said so
		}
		return d.reloader.record(ctx, evidence.KindStop, &inForce{Force: d.pipeline.InForce()}, forceBody{})
	})
	if d.cfg.Input.Halts != "" {
		d.halts = newHalts(d.client, d.cfg, d.pipeline, ev, d.log, d.registry)
		if err := d.halts.start(ctx); err != nil {
			return err
		}
		d.say("halts", "%s in force, from topic %s", count(len(d.pipeline.Halts().List()), "halt"), d.cfg.Input.Halts)
	}
	in := ingest.Options{OnGap: ev.Gap, Logger: d.log, Registerer: d.registry}
	if d.cfg.Output.Delivery == sinks.ExactlyOnce {
		in.Fence, in.Commit = out.Fence, out.Commit
	}
	d.source = ingest.NewSource(d.client, d.cfg.Input, in)
	return nil
}

// EvidenceOptions returns how the evidence log of a configuration is opened, by the daemon and by
// commands that append to it while no daemon runs.
func EvidenceOptions(c *config.Config) evidence.Options {
	return evidence.Options{
		Dir:             c.Evidence.Dir,
		KeyFile:         c.Evidence.KeyFile,
		Origin:          fmt.Sprintf("%s/evidence/%s/%s", c.Source, c.Instance, c.Evidence.Generation),
		CheckpointEvery: c.Evidence.CheckpointEvery,
		SegmentBytes:    c.Evidence.SegmentBytes,
		SegmentRecords:  c.Evidence.SegmentRecords,
		Seal:            c.Evidence.Seal,
		SealAfter:       c.Evidence.SealAfter,
		TermsOf:         sinks.Terms,
		ScrubEvery:      c.Evidence.ScrubEvery,
		BallastBytes:    c.Evidence.BallastBytes,
	}
}

// DeskOptions returns how commands work on the evidence of a configuration.
func DeskOptions(c *config.Config) desk.Options {
	return desk.Options{
		Log:       EvidenceOptions(c),
		Master:    c.Evidence.MasterKey,
		Encrypt:   c.Evidence.Encrypt,
		Retention: c.Evidence.Retention,
		Reviewers: c.Evidence.Reviewers,
	}
}

// sayDeferred says how far the topic of deferred pushes reaches.
func (d *daemon) sayDeferred(ctx context.Context) error {
	if d.cfg.Input.Deferred == "" {
		return nil
	}
	topics, err := d.client.Topics(ctx, d.cfg.Input.Deferred)
	if err != nil {
		return fmt.Errorf("ask kafka for the topic of deferred pushes: %w", err)
	}
	n, turn := len(topics[0].Leaders), d.cfg.Output.DeferredTurn
	d.say("deferred", "%d partitions take turns of %v; a push that waits for more than %v is looked at on the way", n, turn, time.Duration(n)*turn*3/4)
	return nil
}

// ConsentTopics returns the names and patterns of the topics of consent, of which Redis is a view.
func ConsentTopics(c *config.Config) []string {
	var names []string
	for _, t := range c.Input.Consent {
		names = append(names, t.String())
	}
	return names
}

// load builds what is to be in force from the start.
func (d *daemon) load(open func() (*RuleSet, error)) (*inForce, error) {
	f, err := loadForce(d.cfg, open)
	if err != nil {
		return nil, err
	}
	if f.Force, err = d.recall(f.Force); err != nil {
		return nil, err
	}
	d.say("rules", "%d in force, digest %.12s", len(f.Rules.Rules()), f.Rules.Digest())
	if x := f.Rules.Stats().Second; x.LeftOut > 0 {
		d.say("second opinion", "%s", leftOut(x))
	}
	return f, nil
}

// lastInForce builds the rules that were last in force here, by the evidence, where those of the topic
// are refused: a fleet that runs on must not lose an instance to a restart. Where there are none, or
// they are refused too, it returns why the topic's were.
func (d *daemon) lastInForce(ctx context.Context, refused error) (*inForce, error) {
	a, err := lastActivation(ctx, d.cfg.Evidence.Dir)
	if err != nil || a == nil {
		return nil, errors.Join(refused, err)
	}
	bundle, err := a.Bundle()
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	f, err := d.load(func() (*RuleSet, error) { return OpenBundle(&d.cfg.Rules, bundle, fmt.Sprintf("rules %.12s", a.Rules)) })
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	d.log.Error("the rules in the topic are refused, those that were last in force here are in force again", "err", refused, "rules", f.Rules.Digest())
	f.instead = refused
	return f, nil
}

// topicRules reads the rules a topic carries.
func topicRules(ctx context.Context, c *config.Config, t *ruleTopic) (*RuleSet, error) {
	o, err := t.poll(ctx)
	if err != nil {
		return nil, err
	}
	if o.err != nil {
		return nil, o.err
	}
	return OpenBundle(&c.Rules, o.bundle, o.dir)
}

// run runs everything that has work to do. The first error ends all.
func (d *daemon) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.evidence.Run(ctx) })
	if d.frames != nil {
		g.Go(func() error { return d.loadIndexes(ctx) })
	}
	d.anchors.run(ctx, g)
	g.Go(func() error { return d.desk.Run(ctx) })
	g.Go(func() error { return d.spans.Run(ctx) })
	g.Go(func() error { return rest(ctx) })
	if d.view != nil {
		g.Go(func() error { return d.view.run(ctx) })
	}
	g.Go(func() error {
		if d.view != nil {
			d.view.await(ctx)
		}
		if d.api == nil {
			return d.consume(ctx)
		}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return d.consume(ctx) })
		g.Go(func() error { return d.api.Run(ctx, d.pipeline) })
		return g.Wait()
	})
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-d.o.Reload:
				// A failed reload is logged and on a metric; the old set stays in force.
				d.manager.tell("RELOADING=1")
				_ = d.reloader.reload(ctx)
				d.manager.tell("READY=1")
			}
		}
	})
	if d.store != nil {
		g.Go(func() error { return d.store.Watch(ctx) })
		g.Go(func() error { return d.fallback.Run(ctx) })
	}
	g.Go(func() error { return d.reloader.watch(ctx) })
	g.Go(func() error { return d.reloader.watchRates(ctx) })
	if d.reloader.receipts != nil {
		g.Go(func() error { return d.reloader.receipts.run(ctx) })
	}
	if d.halts != nil {
		g.Go(func() error { return d.halts.follow(ctx) })
		g.Go(func() error { return d.halts.share(ctx) })
	}
	if d.admin != nil {
		if w := d.admin.door.Warning(); w != "" {
			d.warn("admin", w)
		}
		d.say("admin", "%s  /metrics  /-/healthy  /-/ready  /-/reload", d.admin.door.URL())
		d.say("status", "%s/ is a page for people; in a terminal: weir top --admin %s", d.admin.door.URL(), d.admin.door.URL())
		g.Go(func() error { return d.admin.run(ctx) })
		g.Go(func() error { return d.status.Run(ctx) })
	}
	if d.api != nil {
		d.say("api", "%s answers about events, %s", d.api.URL(), d.api.Login())
	}
	if d.o.Up != nil {
		d.o.Up()
	}
	d.manager.tell("READY=1")
	defer context.AfterFunc(ctx, func() { d.manager.tell("STOPPING=1") })()
	g.Go(func() error { return d.manager.watchdog(ctx, d.answers) })
	return g.Wait()
}

// consume reads the topics.
func (d *daemon) consume(ctx context.Context) error {
	if err := d.source.Run(ctx, d.pipeline); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	return nil
}

// warn prints one line about a component that is up but not as safe as it could be.
func (d *daemon) warn(component, detail string) {
	if d.o.Status != nil {
		fmt.Fprintf(d.o.Status, "  %-9s warning: %s\n", component, detail)
	}
	d.log.Warn("component is less safe than it could be", "component", component, "detail", detail)
}

// say prints one line for a component that is up.
func (d *daemon) say(component, format string, args ...any) {
	if d.o.Status != nil {
		fmt.Fprintf(d.o.Status, "  %-9s "+format+"\n", append([]any{component}, args...)...)
	}
	d.log.Info("component is up", "component", component, "detail", fmt.Sprintf(format, args...))
}
