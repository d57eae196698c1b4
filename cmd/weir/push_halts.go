package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/push"
)

// haltFlags say where the orders to halt and to resume are.
type haltFlags struct {
	Config  string   `help:"Take brokers and topic from this configuration file." placeholder:"FILE" type:"path"`
	Brokers []string `help:"Where the topic is, host:port,...; without it the brokers of --config." placeholder:"ADDR"`
	Topic   string   `help:"The topic of orders to halt and to resume; without it input.halts of --config." placeholder:"NAME"`
}

// read returns the configuration with what the flags say in its place.
func (f *haltFlags) read() (*config.Config, error) {
	cfg, err := brokersOf(f.Config, f.Brokers, "where is the topic of halts? give --config, or --brokers and --topic")
	if err == nil {
		err = putTopic("--topic", f.Topic, &cfg.Input.Halts)
	}
	if err == nil && cfg.Input.Halts == "" {
		err = &codeError{errors.New("on which topic are orders to halt? give --topic, or input.halts in the configuration"), exitMisuse}
	}
	return cfg, err
}

// haltTopic is the topic of halts, and what it says now.
type haltTopic struct {
	cfg    *config.Config
	client *kafka.Client
	orders *app.HaltOrders
}

// with reads the topic and lets f work on it.
func (f *haltFlags) with(ctx context.Context, s streams, work func(*haltTopic) error) (err error) {
	cfg, err := f.read()
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	t := &haltTopic{cfg: cfg, client: client}
	t.orders, err = app.ReadHalts(ctx, client, cfg.Input.Halts, cfg.Events)
	if errors.Is(err, kafka.ErrNoTopic) {
		return &hintError{err, "create it with one partition and cleanup.policy=compact, and name it in input.halts of every instance"}
	}
	if err != nil {
		return err
	}
	for _, b := range t.orders.Bad {
		fmt.Fprintf(s.err, "weir: the message at %s/%d offset %d is no order: %v\n", cfg.Input.Halts, b.Partition, b.Offset, b.Err)
	}
	return work(t)
}

func (t *haltTopic) write(ctx context.Context, orders ...app.HaltOrder) error {
	return app.PublishHalts(ctx, t.client, t.cfg.Input.Halts, t.cfg.Events, orders...)
}

// orderFlags say what an order is about, who gives it and why.
type orderFlags struct {
	haltFlags
	Scope string `help:"What kind of thing it is: campaign, sender or class." enum:"campaign,sender,class" required:"" placeholder:"SCOPE"`
	Value string `help:"Which campaign, sender or class, as pushes name it." required:"" placeholder:"NAME"`
	Why   string `help:"The reason, for the record." required:"" placeholder:"TEXT"`
	By    string `help:"Who orders it; without it the user of this machine." placeholder:"NAME"`
}

// order returns the order that the flags give.
func (f *orderFlags) order(halted bool) (app.HaltOrder, error) {
	o := app.HaltOrder{Halted: halted, Halt: push.Halt{Target: push.Target{Scope: push.Scope(f.Scope), Value: f.Value},
		Since: time.Now().UTC(), Why: strings.TrimSpace(f.Why), By: f.By, ID: rand.Text()}}
	switch {
	case o.Value == "":
		return o, &codeError{fmt.Errorf("--value: empty; name the %s", f.Scope), exitMisuse}
	case o.Why == "":
		return o, &codeError{errors.New("--why: empty; say the reason, it goes on record"), exitMisuse}
	}
	if o.By == "" {
		u, err := user.Current()
		if err != nil || u.Username == "" {
			return o, &codeError{errors.New("--by: who orders it? this machine does not know its user"), exitMisuse}
		}
		o.By = u.Username
	}
	return o, nil
}

func named(t push.Target) string { return fmt.Sprintf("%s %s", t.Scope, printable(t.Value)) }

type pushHaltCmd struct {
	orderFlags
}

// Help says what kong cannot know.
func (pushHaltCmd) Help() string {
	return `Writes an order to halt into the topic that every instance follows. From the next batch on, within about a second, every push of the campaign, sender or class is denied with the reason halted, also one that was allowed before and is delivered again. Only weir push resume ends it. The order, its reason and who gave it are on record in the evidence of every instance, and in every decision it makes.`
}

// Run orders a halt.
func (c *pushHaltCmd) Run(ctx context.Context, s streams) error {
	o, err := c.order(true)
	if err != nil {
		return err
	}
	return c.with(ctx, s, func(t *haltTopic) error {
		now := t.orders.Halts()
		if h := now.Has(o.Target); h != nil {
			fmt.Fprintf(s.out, "%s is halted already, since %s by %s: %s\n", named(o.Target), h.Since.UTC().Format(time.RFC3339), printable(h.By), printable(h.Why))
			return nil
		}
		if n := len(now.List()); n >= push.MaxHalts {
			return &hintError{fmt.Errorf("%d orders are in force, which is as many as there can be; the oldest would not hold any more", n),
				"weir push halts lists them; resume what is over"}
		}
		if err := c.knownClass(t.cfg); err != nil {
			return err
		}
		if err := t.write(ctx, o); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "halted %s on topic %s by order %s\n", named(o.Target), t.cfg.Input.Halts, o.ID)
		return nil
	})
}

// knownClass refuses a class that the policy does not know: a misspelt halt stops nothing.
func (c *pushHaltCmd) knownClass(cfg *config.Config) error {
	if c.Scope != string(push.ScopeClass) || c.Config == "" {
		return nil
	}
	policy, err := app.LoadPolicy(&cfg.Push)
	if err != nil {
		return err
	}
	if classes := policy.Classes(); !slices.Contains(classes, c.Value) {
		return fmt.Errorf("--value: the push policy knows no class %q; known are %s", c.Value, strings.Join(classes, ", "))
	}
	return nil
}

type pushResumeCmd struct {
	orderFlags
}

// Help says what kong cannot know.
func (pushResumeCmd) Help() string {
	return `Writes an order to resume into the topic that every instance follows. From the next batch on, within about a second, pushes are decided as if there had been no halt; those that were denied meanwhile stay denied unless they are delivered again. What was found abnormal before an automatic halt is accepted: the same figures do not halt it again while an instance lives.`
}

// Run orders that something goes on.
func (c *pushResumeCmd) Run(ctx context.Context, s streams) error {
	o, err := c.order(false)
	if err != nil {
		return err
	}
	return c.with(ctx, s, func(t *haltTopic) error {
		// Under every key that says so: somebody else may have chosen others.
		var orders []app.HaltOrder
		for _, h := range t.orders.InForce() {
			if h.Target == o.Target {
				one := o
				one.Key = h.Key
				orders = append(orders, one)
			}
		}
		if len(orders) == 0 {
			return &hintError{fmt.Errorf("%s is not halted", named(o.Target)), "weir push halts lists what is"}
		}
		if err := t.write(ctx, orders...); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "resumed %s on topic %s by order %s\n", named(o.Target), t.cfg.Input.Halts, o.ID)
		return nil
	})
}

type pushHaltsCmd struct {
	haltFlags
	JSON bool `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (pushHaltsCmd) Help() string {
	return `Lists the campaigns, senders and classes that are halted, since when, by whom and why, as the topic says now. An order by weir/INSTANCE is an automatic halt of that instance. One that an instance could not write yet is not in the list; its metric weir_push_halts_unshared tells.`
}

// haltList is what is halted, as programs read it.
type haltList struct {
	Topic   string      `json:"topic"`
	Halts   []push.Halt `json:"halts"`
	LeftOut int         `json:"left_out"` // orders that are not in force, because there are too many
	Bad     int         `json:"bad"`      // messages that are no orders
}

// Run lists what is halted.
func (c *pushHaltsCmd) Run(ctx context.Context, s streams) error {
	return c.with(ctx, s, func(t *haltTopic) error {
		now := t.orders.Halts()
		list := haltList{Topic: t.cfg.Input.Halts, Halts: append([]push.Halt{}, now.List()...), LeftOut: now.LeftOut(), Bad: len(t.orders.Bad)}
		if c.JSON {
			return jsonTo(s.out).Encode(list)
		}
		list.print(s.out)
		return nil
	})
}

func (l *haltList) print(w io.Writer) {
	if len(l.Halts) == 0 {
		fmt.Fprintln(w, "nothing is halted")
		return
	}
	value, by := len("value"), len("by")
	for i := range l.Halts {
		value, by = max(value, len(printable(l.Halts[i].Value))), max(by, len(printable(l.Halts[i].By)))
	}
	fmt.Fprintf(w, "%-8s  %-*s  %-20s  %-*s  %s\n", "scope", value, "value", "since", by, "by", "why")
	for i := range l.Halts {
		h := &l.Halts[i]
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-8s  %-*s  %-20s  %-*s  %s", h.Scope, value, printable(h.Value), h.Since.UTC().Format(time.RFC3339), by, printable(h.By), printable(h.Why)), " "))
	}
	if l.LeftOut > 0 {
		fmt.Fprintf(w, "%s more not in force: no more than %d can be\n", count(l.LeftOut, "order"), push.MaxHalts)
	}
}
