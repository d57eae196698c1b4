package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
)

type tailCmd struct {
	What        string   `arg:"" enum:"review,decisions,cleared,deferred,deadletter" help:"Which topic: review, decisions, cleared, deferred or deadletter."`
	Config      string   `help:"Take brokers, topics and the key of pseudonyms from this configuration file." placeholder:"FILE" type:"path"`
	Brokers     []string `help:"Where the topic is, host:port,...; without it the brokers of --config." placeholder:"ADDR"`
	Topic       string   `help:"The topic's name; without it that of --config, or the usual one." placeholder:"NAME"`
	Category    []string `help:"Only what a rule of one of these categories hit." placeholder:"NAME"`
	Rule        []string `help:"Only what one of these rules hit." placeholder:"ID"`
	Reason      []string `help:"Only with one of these reasons (docs/reasons.md)." placeholder:"REASON"`
	User        []string `help:"Only of one of these users, by pseudonym: as evidence has it, and weir push explain prints it." placeholder:"PSEUDONYM"`
	From        tailFrom `default:"end" help:"Where to begin: end, beginning, a time such as 2026-11-24T08:30:00Z, or how long ago, such as 10m." placeholder:"WHEN"`
	Count       int      `help:"End after so many messages." placeholder:"N"`
	Follow      bool     `default:"true" negatable:"" help:"Wait for what comes, until Ctrl-C."`
	ShowContent bool     `help:"Show what users wrote around what was hit. It is shown on a screen and kept nowhere; who may see it is for you to know."`
	JSON        bool     `name:"json" help:"Write a JSON object a line instead of text for people."`
}

// Help says what kong cannot know.
func (tailCmd) Help() string {
	return `Reads a topic that Weir writes, from its end, as a member of no group, and writes a line for each message: when, what and about whom, what became of it and why, which rules hit, and where. The places that were hit are red at a terminal, and stand between ⟦ and ⟧ elsewhere. Of what users wrote only lengths and places are shown, unless --show-content asks for it; users are shown by the pseudonym under which Redis and the evidence know them, or where the configuration has no key for that by one that holds for this run only and begins with ~. Messages of several partitions are put in the order of their times as far as they come together. A message that cannot be read is said and passed over. There are colours on a terminal unless NO_COLOR is set; what would steer a terminal is shown as an escape.`
}

// tailFrom is where to begin.
type tailFrom struct {
	at  time.Time // zero for the beginning
	ago time.Duration
}

// UnmarshalText reads where to begin.
func (f *tailFrom) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "end":
		*f = tailFrom{at: kafka.End}
	case "beginning":
		*f = tailFrom{}
	default:
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			*f = tailFrom{at: at}
			return nil
		}
		ago, err := time.ParseDuration(s)
		if err != nil || ago <= 0 {
			return fmt.Errorf("%q is none; use end, beginning, a time such as 2026-11-24T08:30:00Z, or how long ago, such as 10m", s)
		}
		*f = tailFrom{ago: ago}
	}
	return nil
}

// when is the time to begin with.
func (f *tailFrom) when(now time.Time) time.Time {
	if f.ago > 0 {
		return now.Add(-f.ago)
	}
	return f.at
}

// tailEvery is how often it is looked for messages when none come.
const tailEvery = 250 * time.Millisecond

// tailTogether is how many messages that come together are put in order at most.
const tailTogether = 10_000

// Run shows what flows.
func (c *tailCmd) Run(ctx context.Context, s streams) (err error) {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, err := brokersOf(c.Config, c.Brokers, "where is the topic? give --config, or --brokers")
	if err != nil {
		return err
	}
	topic, err := c.topicOf(cfg)
	if err != nil {
		return err
	}
	names, certain, err := namesOf(cfg)
	if err != nil {
		return err
	}
	if len(c.User) > 0 && !certain {
		return &codeError{errors.New("--user: there is no key of pseudonyms; give --config with input.pushes and push.pseudonym_key_file"), exitMisuse}
	}
	reader, err := newTailReader(cfg, c.What, names)
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	l := client.NewTail(topic)
	defer l.Close()
	l.From(c.From.when(time.Now()))
	t := tailing{cmd: c, out: s.out, said: s.err, reader: reader, printer: tailPrinter{palette: paletteFor(s.out), content: c.ShowContent, json: c.JSON}}
	err = t.follow(ctx, l)
	if t.passed > 0 {
		fmt.Fprintf(s.err, "weir: %s on the topic %s passed over that Weir has not written, or that cannot be read\n", count(t.passed, "message"), topic)
	}
	return err
}

// misuse says what can match nothing.
func (c *tailCmd) misuse() error {
	if c.Count < 0 {
		return fmt.Errorf("--count: %d; use 1 or more", c.Count)
	}
	if hits := c.What == "review" || c.What == "decisions"; !hits && len(c.Category)+len(c.Rule) > 0 {
		return fmt.Errorf("--category, --rule: messages of %s do not say which rules hit; those of review and decisions do", c.What)
	}
	known := pipeline.Reasons()
	for _, r := range c.Reason {
		if !slices.ContainsFunc(known, func(k pipeline.ReasonText) bool { return string(k.Reason) == r }) {
			return fmt.Errorf("--reason: %q is none; docs/reasons.md lists them", r)
		}
	}
	return nil
}

// topicOf returns the name of the topic that is meant.
func (c *tailCmd) topicOf(cfg *config.Config) (string, error) {
	place := map[string]*string{"review": &cfg.Output.Review, "decisions": &cfg.Output.Decisions, "cleared": &cfg.Output.Cleared,
		"deferred": &cfg.Output.Deferred, "deadletter": &cfg.Output.DeadLetter}[c.What]
	if *place == "" && c.Config == "" {
		*place = "weir." + c.What
	}
	if err := putTopic("--topic", c.Topic, place); err != nil {
		return "", err
	}
	if *place == "" {
		return "", &codeError{fmt.Errorf("the configuration names no topic for it (output.%s); give --topic", c.What), exitMisuse}
	}
	return *place, nil
}

// namesOf returns the names of users on the screen: the pseudonyms of the deployment, or
// where it has no key for them others, that nobody can be sure of.
func namesOf(cfg *config.Config) (names func(user []byte) string, certain bool, err error) {
	if !cfg.PushesOn() || cfg.Push.PseudonymKeyFile == "" {
		return namesOfRun(), false, nil
	}
	store, err := push.NewStore(push.Options{Config: cfg.Push})
	if err != nil {
		return nil, false, err
	}
	// It is asked for names only, which takes no connection.
	return func(user []byte) string {
		name, _ := store.Pseudonym(user)
		return name
	}, true, store.Close()
}

// tailing is one run.
type tailing struct {
	cmd     *tailCmd
	out     io.Writer
	said    io.Writer
	reader  *tailReader
	printer tailPrinter

	together []*flow // that came in one poll and are to be put in order
	shown    int
	passed   int // that cannot be read
}

// errEnough ends a poll when there is nothing more to show.
var errEnough = errors.New("enough")

// follow shows what comes until it is enough.
func (t *tailing) follow(ctx context.Context, l *kafka.Tail) error {
	again := retry.Backoff{Base: tailEvery, Ceiling: 5 * time.Second}
	pause := retry.Backoff{Base: tailEvery, Ceiling: tailEvery}
	for begun, away := false, false; ; {
		err := l.Poll(ctx, t.batch)
		if err == nil {
			err = t.flush()
		}
		switch {
		case errors.Is(err, errEnough), ctx.Err() != nil:
			return nil
		case err != nil && (!begun || errors.As(err, new(*writeError)) || !t.cmd.Follow):
			return err
		case err != nil:
			if !away { // once, for it is tried again and again
				fmt.Fprintf(t.said, "weir: warning: %s; trying again\n", printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
			}
			away = true
		case !t.cmd.Follow:
			return nil
		default:
			begun, away = true, false
			again = retry.Backoff{Base: tailEvery, Ceiling: 5 * time.Second}
		}
		next := pause.Next()
		if away {
			next = again.Next()
		}
		if !retry.Pause(ctx, next) {
			return nil
		}
	}
}

// writeError says that nobody takes what is written, such as a pipe that was closed.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// batch takes what is to be shown of a batch.
func (t *tailing) batch(b *kafka.Batch) error {
	for i := range b.Records {
		f := t.reader.read(b, &b.Records[i])
		if f.Broken != "" {
			t.passed++
		}
		if t.cmd.wants(f) {
			t.together = append(t.together, f)
		}
	}
	if len(t.together) >= tailTogether {
		return t.flush()
	}
	return nil
}

// wants reports whether a message is to be shown. One that cannot be read is, if nothing
// certain is asked for.
func (c *tailCmd) wants(f *flow) bool {
	in := func(list []string, word string) bool { return len(list) == 0 || slices.Contains(list, word) }
	hit := func(list []string, word func(*flowHit) string) bool {
		return len(list) == 0 || slices.ContainsFunc(f.Hits, func(h flowHit) bool { return slices.Contains(list, word(&h)) })
	}
	return in(c.Reason, f.Reason) && in(c.User, f.User) &&
		hit(c.Category, func(h *flowHit) string { return h.Category }) && hit(c.Rule, func(h *flowHit) string { return h.Rule })
}

// flush writes what came together, in the order of time.
func (t *tailing) flush() error {
	slices.SortStableFunc(t.together, func(a, b *flow) int { return a.at.Compare(b.at) })
	defer func() { t.together = t.together[:0] }()
	for _, f := range t.together {
		if _, err := io.WriteString(t.out, t.printer.line(f)); err != nil {
			return &writeError{err}
		}
		if t.shown++; t.cmd.Count > 0 && t.shown == t.cmd.Count {
			return errEnough
		}
	}
	return nil
}
