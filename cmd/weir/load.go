package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/load"
	"github.com/weir-moderation/weir/rules"
)

type loadCmd struct {
	Config string `required:"" help:"The configuration file of the daemon: brokers, topics, group and rules." placeholder:"FILE" type:"path"`
	Rules  string `help:"The directory of the packs in force, where the configuration takes them from a topic." placeholder:"DIR" type:"path"`

	Rate     float64       `default:"1000" help:"Messages a second; 0 for as fast as brokers take them."`
	Duration time.Duration `help:"For how long to send, such as 30s; without it and --count, 10s." placeholder:"TIME"`
	Count    int64         `help:"How many messages to send." placeholder:"N"`

	File     string   `help:"Send the events in this file, a JSON object a line, over and over, each with a new id and time." placeholder:"FILE" type:"path"`
	Seed     uint64   `default:"1" help:"Of what is made up: from the same seed come the same messages in the same order."`
	Pushes   *float64 `help:"How many of a hundred messages are pushes; 20 where there are topics of posts and of pushes." placeholder:"PERCENT"`
	Hits     float64  `default:"1" help:"How many of a hundred messages have a term of the rules in them." placeholder:"PERCENT"`
	Evasions float64  `default:"25" help:"In how many of a hundred of those the term is disguised." placeholder:"PERCENT"`
	Users    int      `default:"10000" help:"How many users there are, of whom few say much."`

	On         []string      `help:"A broker of the configuration that is not on this machine and is meant all the same." placeholder:"HOST:PORT"`
	Among      bool          `name:"among-others" help:"Load topics to which somebody else writes, too."`
	Wait       time.Duration `default:"60s" help:"After how long without anything coming what is missing is lost."`
	MaxRepeats int64         `default:"0" help:"How many messages may come more than once, as after a crash."`
	MaxP99     time.Duration `name:"max-p99" help:"How long the slowest of a hundred messages may take to be on the review topic or the topic of decisions." placeholder:"TIME"`

	MaxGrowth *float64 `help:"By how many bytes of memory an instance may grow for each message, as by a leak: a long run, in which the last third is compared with the first. Needs --admin." placeholder:"BYTES"`

	Admin []string `help:"The admin listener of an instance, of which the CPU time of a message and the memory are told; give those of all instances." placeholder:"URL"`
	adminLogin
	JSON bool `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (loadCmd) Help() string {
	return `Sends messages by a schedule that waits for nobody and follows the output topics. How long a message took is counted from when it was due to when it came, so that a stall counts for all that it made wait. What is made up is Chinese, English and mixed, mostly short, of few users who say much and many who say little; before anything is sent each text is judged by the rules of the configuration, so that it is known which messages must come to reviewers, and those of the topic of pushes must each have a decision. Where there are pushes and a topic of consent, the users ("load-u-..." all of them) are enrolled first. At the end it waits until the group has committed everything; then what has not come is lost. It knows the rules of its own --config: one that changes meanwhile must not change what is flagged, and one that the breaker has tripped makes losses. What the daemon is sent is real to it: it goes on record, to reviewers and to senders, and pushes count in the limits of their users. So brokers that are not on this machine have to be named by --on, and topics to which somebody else writes are refused. The exit code is 0 if all is well; 1 if something is lost, came more often than --max-repeats allows, took longer than --max-p99 or made an instance grow by more than --max-growth, became a dead letter, or came although no rule at hand flags it; 2 if it could not be found out.`
}

// Run loads a daemon.
func (c *loadCmd) Run(ctx context.Context, s streams) error {
	o, err := c.options()
	if err != nil {
		return couldNot(err)
	}
	if c.File != "" {
		f, err := os.Open(c.File)
		if err != nil {
			return couldNot(fmt.Errorf("--file: %w", err))
		}
		defer f.Close() //nolint:errcheck // only read
		o.File = f
	}
	bar := progress{w: s.err, on: demo.IsTerminal(s.err)}
	o.Progress = func(doing string, sent int64, elapsed time.Duration) {
		bar.note = " " + doing
		if bar.total = c.Count; c.Duration > 0 {
			bar.total = int64(c.Duration)
			bar.show(sent, int64(elapsed))
			return
		}
		bar.show(sent, sent)
	}
	report, err := load.Run(ctx, o)
	bar.end()
	if err != nil {
		return couldNot(c.explain(err))
	}
	if c.JSON {
		err = jsonTo(s.out).Encode(report)
	} else {
		err = printLoad(s.out, report)
	}
	if err != nil {
		return err
	}
	for _, p := range report.Problems {
		fmt.Fprintf(s.err, "weir: error: %s\n", p)
	}
	if len(report.Problems) > 0 {
		if o := report.Outputs["review"]; o != nil && o.Lost > 0 && report.Unjudged == 0 {
			s.hint("was a rule tripped for hitting too much, or are other rules in force? weir top says so")
		} else if report.Unjudged > 0 {
			s.hint("does the daemon run, and is it ready? weir top --once says what is wrong")
		}
		return errSaid
	}
	return nil
}

// couldNot is the error of a run that says nothing about the daemon.
func couldNot(err error) error { return &codeError{err, exitMisuse} }

// explain adds what to do.
func (c *loadCmd) explain(err error) error {
	if _, ok := errors.AsType[*load.TrafficError](err); ok {
		return &hintError{err, "load topics that are there for it; or, if what comes from others is to be judged beside the load, give --among-others"}
	}
	return err
}

// options are what the flags ask for.
func (c *loadCmd) options() (o load.Options, err error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return o, err
	}
	if err := c.meant(cfg); err != nil {
		return o, err
	}
	if c.Duration == 0 && c.Count == 0 {
		c.Duration = 10 * time.Second
	}
	set, err := c.rules(cfg)
	if err != nil {
		return o, err
	}
	posts, pushes := len(cfg.Input.Posts) > 0, 0.0
	switch {
	case c.Pushes != nil:
		pushes, posts = *c.Pushes, posts && *c.Pushes < 100
	case posts && len(cfg.Input.Pushes) > 0:
		pushes = 20
	}
	o = load.Options{
		Config: cfg, Rules: set,
		Mix:  load.Mix{Seed: c.Seed, Posts: posts, Pushes: pushes / 100, Hits: c.Hits / 100, Evasions: c.Evasions / 100, Users: c.Users},
		Rate: c.Rate, Duration: c.Duration, Count: c.Count, Wait: c.Wait,
		MaxRepeats: c.MaxRepeats, MaxP99: c.MaxP99, MaxGrowth: c.MaxGrowth, Among: c.Among,
	}
	for _, url := range c.Admin {
		a, err := c.at(url)
		if err != nil {
			return o, err
		}
		o.Admin = append(o.Admin, a)
	}
	return o, o.Validate()
}

// rules loads the rules by which messages are judged before they are sent.
func (c *loadCmd) rules(cfg *config.Config) (*rules.Set, error) {
	r := cfg.Rules
	r.SecondOpinion.Every = 0
	if c.Rules != "" {
		r.Topic, r.VerifyKey, r.Dir = "", "", c.Rules
	}
	set, err := app.LoadRules(&r)
	if errors.Is(err, app.ErrRulesInTopic) {
		return nil, &hintError{err, "give --rules DIR, the directory from which they were published"}
	}
	return set, err
}

// meant refuses brokers of other machines that nobody has named: what is sent is judged
// and put on record as if users had written it.
func (c *loadCmd) meant(cfg *config.Config) error {
	for _, b := range cfg.Kafka.Brokers {
		if !dial.IsLoopback(b) && !slices.Contains(c.On, b) {
			return &hintError{fmt.Errorf("the broker %s is not on this machine: what is sent there goes on record and to reviewers as if users had written it", b),
				fmt.Sprintf("if it is not that of production, say that it is meant by --on %s", b)}
		}
	}
	return nil
}

// printLoad writes a report for people.
func printLoad(out io.Writer, r *load.Report) error {
	fmt.Fprintf(out, "%s and %s in %.1f s, %.0f a second, at most %.1f ms behind, all judged %.1f s later; run %s, seed %d\n",
		count(r.Posts, "post"), pushesOf(r.Pushes), r.Seconds, r.Rate, r.Behind, r.Drained, r.Run, r.Seed)
	fmt.Fprintf(out, "%d with a term of the rules, %d flagged by them\n\n", r.Planted, r.Flagged)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "from due to\tmessages\tp50\tp90\tp99\tp99.9\tmax ms\tlost\trepeated\t")
	row := func(name string, messages int64, p *load.Percentiles, lost, repeated string) {
		fmt.Fprintf(w, "%s\t%d\t", name, messages)
		if p == nil {
			fmt.Fprint(w, "\t\t\t\t\t")
		} else {
			fmt.Fprintf(w, "%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t", p.P50, p.P90, p.P99, p.P999, p.Max)
		}
		fmt.Fprintf(w, "%s\t%s\t\n", lost, repeated)
	}
	row("written", r.Acknowledged.Messages, &r.Acknowledged, "", "")
	for _, word := range []string{"review", "decisions", "cleared", "deferred", "deadletter"} {
		if o := r.Outputs[word]; o != nil {
			row(o.Topic, o.Messages, o.Latency, fmt.Sprint(o.Lost), fmt.Sprint(o.Repeated+o.Twice))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if c := r.CPU; c != nil {
		fmt.Fprintf(out, "\n%.1f us of CPU a message: %.1f s for %.0f messages by %s, at most %.0f MB resident\n",
			c.Micros, c.Seconds, c.Messages, count(int64(c.Instances), "instance"), c.Resident/1e6)
	}
	return printMemory(out, r.Memory)
}

// printMemory writes what instances held early and late in a run.
func printMemory(out io.Writer, list []load.Memory) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "early, late\tresident MB\tlive heap MB\tbytes a message\tgoroutines\topen files\t")
	for _, m := range list {
		fmt.Fprintf(w, "%s\t%.1f, %.1f\t%.1f, %.1f\t%+.2f\t%.0f, %.0f\t%.0f, %.0f\t\n", m.Instance, m.Resident.Early/1e6, m.Resident.Late/1e6,
			m.Heap.Early/1e6, m.Heap.Late/1e6, m.PerMessage, m.Goroutines.Early, m.Goroutines.Late, m.Files.Early, m.Files.Late)
	}
	return w.Flush()
}

func pushesOf(n int64) string {
	if n == 1 {
		return "1 push"
	}
	return fmt.Sprintf("%d pushes", n)
}
