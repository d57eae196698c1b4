package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/rules"
)

// fleetFlags say where the instances of a fleet take their rules from, and where they tell of it.
type fleetFlags struct {
	Config   string   `help:"Take brokers, topics, limits, lists and the verification key from this configuration file." placeholder:"FILE" type:"path"`
	Brokers  []string `help:"Where the topics are, host:port,...; without it the brokers of --config." placeholder:"ADDR"`
	Topic    string   `help:"The topic that carries the rules; without it rules.topic of --config." placeholder:"NAME"`
	Receipts string   `help:"The topic on which instances say what they have in force; without it rules.receipts of --config." placeholder:"NAME"`
}

// read returns the configuration with what the flags say in its place.
func (f *fleetFlags) read() (*config.Config, error) {
	cfg, err := brokersOf(f.Config, f.Brokers, "where are the topics? give --config, or --brokers")
	if err == nil {
		err = putTopic("--topic", f.Topic, &cfg.Rules.Topic)
	}
	if err == nil {
		err = putTopic("--receipts", f.Receipts, &cfg.Rules.Receipts)
	}
	return cfg, err
}

type publishCmd struct {
	fleetFlags
	recordedFlags
	Categories string        `help:"The register of categories; without it that of --config, or the one in the binary." placeholder:"FILE" type:"path"`
	Wait       time.Duration `help:"Wait so long for every instance to say that it has the rules in force." placeholder:"DURATION"`
	DryRun     bool          `help:"Say what would change, and publish nothing."`
	JSON       bool          `name:"json" help:"Write one JSON object instead of text for people."`
	Dir        string        `arg:"" optional:"" help:"Directory of packs."`
}

// Help says what kong cannot know.
func (publishCmd) Help() string {
	return `Loads the packs of a directory, runs their tests, checks their signature where the configuration has a verification key, says how many rules differ from those that the topic carries, and writes them into it, from which every instance takes them up. What does not load or fails its tests is not published. To roll back, publish the old directory, or take the rules from evidence with --at. With --wait the exit code is 0 when all instances that were heard of within a day have the rules in force, and 1 if one refused them or has said nothing.`
}

// misuse says what cannot be asked for together.
func (c *publishCmd) misuse() error {
	switch {
	case c.Dir == "" && c.At == "":
		return &hintError{errors.New("which rules? give a directory of packs, or --at"), "weir rules publish DIR --config FILE publishes the packs in DIR"}
	case c.Dir != "" && c.At != "":
		return errors.New("give a directory or --at, not both")
	case c.At == "" && c.Evidence != "":
		return errors.New("--evidence: for the rules of which digest? give --at")
	case c.Wait < 0:
		return errors.New("--wait: give how long, such as 30s")
	case c.DryRun && c.Wait > 0:
		return errors.New("--wait: with --dry-run there is nothing to wait for")
	}
	return nil
}

// publication is what was published, as programs read it.
type publication struct {
	Topic     string           `json:"topic"`
	Bundle    string           `json:"bundle"` // digest of the text
	Old       *setReport       `json:"old"`    // null if the topic carries none that loads
	New       setReport        `json:"new"`
	Added     int              `json:"added"`
	Removed   int              `json:"removed"`
	Changed   int              `json:"changed"`
	Published bool             `json:"published"`
	Instances []instanceUptake `json:"instances,omitempty"` // those that were waited for

	silent int // instances that were not waited for
}

// instanceUptake is what an instance did with what was published.
type instanceUptake struct {
	Instance string          `json:"instance"`
	State    app.UptakeState `json:"state"`
	Why      string          `json:"why,omitempty"`
}

// Run publishes a rule set.
func (c *publishCmd) Run(ctx context.Context, s streams) (err error) {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, err := c.read()
	if err != nil {
		return err
	}
	switch {
	case cfg.Rules.Topic == "":
		return &codeError{errors.New("on which topic? give --topic, or rules.topic in the configuration"), exitMisuse}
	case c.Wait > 0 && cfg.Rules.Receipts == "":
		return &codeError{errors.New("--wait: on which topic do instances say what they have in force? give --receipts, or rules.receipts in the configuration"), exitMisuse}
	}
	if c.Categories != "" {
		cfg.Rules.Categories = c.Categories
	}
	set, err := c.load(ctx, s, cfg)
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	w := publisher{publishCmd: c, streams: s, client: client, rules: &cfg.Rules, set: set}
	p, err := w.compare(ctx)
	if err != nil {
		return err
	}
	if !c.JSON {
		p.printChange(s.out)
	}
	if !c.DryRun {
		if err := w.publish(ctx, p); err != nil {
			return err
		}
	}
	if c.JSON {
		if err := jsonTo(s.out).Encode(p); err != nil {
			return err
		}
	}
	return p.outcome(s, c.Wait)
}

// load loads and tests what is to be published.
func (c *publishCmd) load(ctx context.Context, s streams, cfg *config.Config) (*app.RuleSet, error) {
	if c.At == "" {
		return proveRules(&cfg.Rules, c.Dir)
	}
	dir, err := c.in(cfg, c.Config != "")
	if err != nil {
		return nil, err
	}
	a, err := app.RecordedActivation(ctx, dir, strings.ToLower(c.At))
	if err != nil {
		return nil, unrecorded(err)
	}
	bundle, err := a.Bundle()
	if err != nil {
		return nil, err
	}
	set, err := app.OpenBundle(&cfg.Rules, bundle, fmt.Sprintf("rules %.12s", a.Rules))
	if err != nil {
		return nil, err
	}
	if set.Digest() != a.Rules {
		s.hint(fmt.Sprintf("the text is the one of %.12s, but comes to %.12s now: exceptions expired, rules were put in shadow, "+
			"or categories, lists, limits or Weir itself changed since", a.Rules, set.Digest()))
	}
	return set, prove(set)
}

// publisher has all that publishing takes.
type publisher struct {
	*publishCmd
	streams

	client *kafka.Client
	rules  *rules.Config
	set    *app.RuleSet
}

// compare says what differs from what the topic carries.
func (w *publisher) compare(ctx context.Context) (*publication, error) {
	fresh := ruleSet{w.set.Set, w.set.Dir}
	p := &publication{Topic: w.rules.Topic, Bundle: w.set.Bundle.Digest(), New: fresh.report()}
	text, err := app.ReadRules(ctx, w.client, w.rules.Topic)
	switch {
	case errors.Is(err, app.ErrNoRules):
		p.Added = p.New.Rules
		return p, nil
	case errors.Is(err, kafka.ErrNoTopic):
		return nil, &hintError{err, "create it with one partition and cleanup.policy=compact, so that it keeps the newest rules forever"}
	case err != nil:
		return nil, err
	}
	current, err := openPublished(w.rules, text)
	if err != nil {
		// No reason to leave it there.
		fmt.Fprintf(w.err, "weir: what the topic %s carries does not load, so it cannot be compared: %s\n", w.rules.Topic, firstLine(err.Error()))
		p.Added = p.New.Rules
		return p, nil
	}
	d := newSetDiff([2]ruleSet{{current.Set, current.Dir}, fresh})
	p.Old = &d.Old
	p.Added, p.Removed, p.Changed = d.count("added"), d.count("removed"), d.count("changed")
	return p, nil
}

// publish writes the rules, and waits for the instances if that is wanted.
func (w *publisher) publish(ctx context.Context, p *publication) error {
	var before map[string]app.Receipt
	if w.Wait > 0 {
		all, _, err := app.ReadReceipts(ctx, w.client, w.rules.Receipts)
		if err != nil {
			return noReceipts(err)
		}
		before = make(map[string]app.Receipt)
		for key, r := range all {
			if r.Silent(time.Now()) {
				p.silent++
				continue
			}
			before[key] = r
		}
	}
	if err := app.PublishRules(ctx, w.client, w.rules.Topic, w.set.Bundle); err != nil {
		return err
	}
	p.Published = true
	if !w.JSON {
		fmt.Fprintf(w.out, "published on topic %s: bundle %s\n", p.Topic, p.Bundle)
	}
	if w.Wait == 0 {
		return nil
	}
	waitCtx, cancel := context.WithTimeout(ctx, w.Wait)
	defer cancel()
	list, err := app.AwaitUptake(waitCtx, w.client, w.rules.Receipts, p.Bundle, before)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; the rules are published")
	}
	if err != nil {
		return fmt.Errorf("the rules are published, but who took them up is not known: %w", err)
	}
	for _, u := range list {
		i := instanceUptake{Instance: u.Key(), State: u.State}
		if u.State == app.UptakeRefused {
			i.Why = u.Refused.Why
		}
		p.Instances = append(p.Instances, i)
		if !w.JSON {
			i.print(w.out)
		}
	}
	return nil
}

// openPublished loads what a topic carries, to be looked at: whoever signed it.
func openPublished(c *rules.Config, text []byte) (*app.RuleSet, error) {
	bundle, err := rules.ParseBundle(text)
	if err != nil {
		return nil, err
	}
	one := *c
	one.VerifyKey, one.SecondOpinion.Every = "", 0
	return app.OpenBundle(&one, bundle, "topic "+c.Topic)
}

func (i *instanceUptake) print(w io.Writer) {
	fmt.Fprintf(w, "%-8s %s\n", i.State, i.Instance)
	for line := range strings.Lines(i.Why) {
		fmt.Fprintf(w, "         %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
}

func firstLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " ..."
	}
	return line
}

func (p *publication) printChange(w io.Writer) {
	if p.Old != nil {
		p.Old.print(w, "old")
	}
	p.New.print(w, "new")
	fmt.Fprintf(w, "%d added, %d removed, %d changed\n", p.Added, p.Removed, p.Changed)
}

// outcome says whether all instances that were waited for have the rules in force.
func (p *publication) outcome(s streams, wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	n := make(map[app.UptakeState]int)
	for _, i := range p.Instances {
		n[i.State]++
	}
	if p.silent > 0 {
		fmt.Fprintf(s.err, "weir: not waited for %s silent for more than a day; see weir rules status\n", count(p.silent, "instance"))
	}
	switch {
	case len(p.Instances) == 0:
		return errors.New("the rules are published, but no instance was there to wait for: none has a receipt of the last day")
	case n[app.UptakeRefused] > 0:
		return fmt.Errorf("%d of %s refused the rules, and %d took them up; what is published stays published until other rules are",
			n[app.UptakeRefused], count(len(p.Instances), "instance"), n[app.UptakeLive])
	case n[app.UptakeWaiting] > 0:
		return fmt.Errorf("%d of %s said nothing within %s; weir rules status says more later", n[app.UptakeWaiting], count(len(p.Instances), "instance"), wait)
	}
	return nil
}
