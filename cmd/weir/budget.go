package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/rules"
)

type budgetCmd struct {
	ruleFlags
	Corpus string `help:"Judge this file alone: benign texts, one a line, or events, one JSON object a line, if its name ends in .jsonl." placeholder:"FILE" type:"path"`
	JSON   bool   `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (budgetCmd) Help() string {
	return `Judges posts that are known to be benign: those in the binary, and those that rules.benign of the configuration names. Live rules may hit so many of them as rules.false_alarms allows, 0.1% all together and 0.02% each unless it says otherwise, rounded up to whole posts: of 1200 posts, two and one. A rule that is rolled out to a part of the users counts as if it were to all; shadow rules are shown and may hit any number. Of each rule the first posts that it hits are shown, with their texts. Exit status 1 if a rule, or all together, hit more than they may.`
}

// Run checks the budget and says what is hit.
func (c *budgetCmd) Run(ctx context.Context, s streams) error {
	cfg, set, err := c.loadAlone()
	if err != nil {
		return err
	}
	var corpus *rules.Corpus
	if c.Corpus != "" {
		corpus, err = app.ReadCorpus(c.Corpus, cfg.Events)
	} else {
		corpus, err = app.BenignCorpus(cfg)
	}
	if err != nil {
		return err
	}
	report, err := set.CheckBudget(ctx, corpus, cfg.Rules.FalseAlarms)
	if report == nil {
		return err
	}
	shown := newBudgetReport(report, corpus)
	if c.JSON {
		err = jsonTo(s.out).Encode(shown)
	} else {
		err = shown.print(s.out)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if shown.Over {
		fmt.Fprintln(s.err, "weir: error: more benign posts are hit than the false-alarm budget allows")
		s.hint("narrow the terms of the rules that hit most, add exceptions, or put the rules in shadow; weir rules explain says why a text is hit")
		return errSaid
	}
	return nil
}

// budgetReport is what benign posts are hit, as other programs read it.
type budgetReport struct {
	Posts int            `json:"posts"` // judged
	Hit   int            `json:"hit"`   // by live rules
	Limit int            `json:"limit"` // of those hit
	Over  bool           `json:"over"`  // any of the limits
	Rules []alarmsReport `json:"rules"` // that hit

	setOver bool
	budget  rules.Budget
}

type alarmsReport struct {
	Rule  string        `json:"rule"`
	State string        `json:"state"`
	Hit   int           `json:"hit"`
	Limit *int          `json:"limit"` // none for a shadow rule
	Over  bool          `json:"over"`
	First []alarmReport `json:"first"`
}

// alarmReport is a post that is hit, and where in its text, in bytes.
type alarmReport struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Start int    `json:"start"`
	End   int    `json:"end"`
	Form  string `json:"form"`
	Term  string `json:"term"`
	Text  string `json:"text"`
}

func newBudgetReport(from *rules.BudgetReport, corpus *rules.Corpus) *budgetReport {
	r := &budgetReport{Posts: from.Posts, Hit: from.Hit, Limit: from.Limit, Over: from.Over(), Rules: []alarmsReport{},
		setOver: from.Over(), budget: from.Budget}
	for i := range from.Rules {
		a := &from.Rules[i]
		rule := alarmsReport{Rule: a.Rule, State: a.State.String(), Hit: a.Posts, Over: a.Over()}
		if a.State == rules.Live {
			rule.Limit = &a.Limit
		}
		for j := range a.First {
			x := &a.First[j]
			rule.First = append(rule.First, alarmReport{x.File, x.Line, x.Start, x.End, x.Form.String(), x.Term, corpus.Text(x)})
		}
		r.Over = r.Over || rule.Over
		r.Rules = append(r.Rules, rule)
	}
	return r
}

// print writes the report for people.
func (r *budgetReport) print(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, %d hit by live rules; %d may be (%s)%s\n", count(r.Posts, "benign post"), r.Hit, r.Limit, r.budget.Set,
		onlyIf(r.setOver, ": over budget"))
	if len(r.Rules) > 0 {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\nhit\tmay be\tstate\trule\n")
		for i := range r.Rules {
			a := &r.Rules[i]
			limit := "any"
			if a.Limit != nil {
				limit = fmt.Sprintf("%d (%s)", *a.Limit, r.budget.Rule)
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", a.Hit, limit, a.State, a.Rule+onlyIf(a.Over, ": over budget"))
		}
		_ = t.Flush() // b is memory
	}
	for i := range r.Rules {
		for _, x := range r.Rules[i].First {
			fmt.Fprintf(&b, "\n%s at %s:%d, %s\n    %s\n", r.Rules[i].Rule, x.File, x.Line, readAs(x.Form, x.Term), x.marked())
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// onlyIf returns the text or nothing.
func onlyIf(said bool, text string) string {
	if said {
		return text
	}
	return ""
}

// shownAround is how many characters before and behind a hit are shown.
const shownAround = 40

// marked shows the text around the hit, with marks at both its ends.
func (x *alarmReport) marked() string {
	before, after := x.Text[:x.Start], x.Text[x.End:]
	begin, end := len(before), 0
	for range shownAround {
		_, size := utf8.DecodeLastRuneInString(before[:begin])
		begin -= size
		_, size = utf8.DecodeRuneInString(after[end:])
		end += size
	}
	return onlyIf(begin > 0, "…") + seen(before[begin:]) + ">>" + seen(x.Text[x.Start:x.End]) + "<<" + seen(after[:end]) + onlyIf(end < len(after), "…")
}
