package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/weir-moderation/weir/rules/form"
)

// Budget says which share of benign posts live rules may hit: rules.false_alarms of the
// configuration. Shares are rounded up to whole posts: of a small corpus one hit is no proof that a
// rule is wrong, so one is within any budget but 0%, which allows none. Of 1200 posts 0.1% are two,
// 0.02% one. 100% for both allows everything.
type Budget struct {
	Set  Share `yaml:"set"`  // that all live rules together may hit
	Rule Share `yaml:"rule"` // that each live rule may hit
}

// DefaultBudget returns the budget of a configuration that says nothing of it.
func DefaultBudget() Budget { return Budget{Set: Percent / 10, Rule: Percent / 50} }

// Validate says what is wrong with a budget.
func (b *Budget) Validate() error {
	var errs []error
	for _, s := range []struct {
		name  string
		share Share
	}{{"set", b.Set}, {"rule", b.Rule}} {
		if s.share < 0 || s.share > 100*Percent {
			errs = append(errs, fmt.Errorf("false_alarms.%s: %d millionths is no share; give 0%% to 100%%", s.name, int64(s.share)))
		}
	}
	if errs == nil && b.Rule > b.Set {
		return fmt.Errorf("false_alarms.rule: %s for one rule is more than all rules together may hit (%s); raise false_alarms.set too", b.Rule, b.Set)
	}
	return errors.Join(errs...)
}

// Alarm is a benign post that rules hit: where it stands in the corpus, and one of the hits. It holds
// no text, so it may be logged; [Corpus.Text] returns that for a screen.
type Alarm struct {
	File string
	Line int

	Rule       string // its id
	Start, End int    // in bytes, of the text of the field
	Form       form.Form
	Term       string // as written in the pack

	post, field int
}

// Place returns where the post stands, as file:line.
func (a *Alarm) Place() string { return fmt.Sprintf("%s:%d", a.File, a.Line) }

// maxAlarms are kept of each rule, and of the set.
const maxAlarms = 5

// RuleAlarms are the benign posts that one rule hits.
type RuleAlarms struct {
	Rule  string
	State State   // Live, or Shadow: then it acts on nothing, and no budget is kept
	Posts int     // that it hits
	Limit int     // how many of them it may hit
	First []Alarm // the first of them in the corpus
}

// Over reports whether the rule hits more than it may.
func (r *RuleAlarms) Over() bool { return r.State == Live && r.Posts > r.Limit }

// BudgetReport says how often the rules of a set hit benign posts. It depends on the set and the
// corpus alone.
type BudgetReport struct {
	Budget Budget
	Posts  int          // of the corpus
	Hit    int          // that a live rule hits
	Limit  int          // how many of them may be hit
	First  []Alarm      // the first of them in the corpus
	Rules  []RuleAlarms // all that hit: those over budget first, then live ones, the more posts the sooner
}

// Over reports whether all rules together hit more than they may.
func (r *BudgetReport) Over() bool { return r.Hit > r.Limit }

// BudgetError says that live rules hit more benign posts than the budget allows. Its text has a line
// for every rule that does, and one for the set if it does: how many, how many may be, and where the
// first of them stand. It has nothing of what stands there.
type BudgetError struct{ Report *BudgetReport }

func (e *BudgetError) Error() string {
	r := e.Report
	var lines []string
	line := func(who string, verb string, posts, limit int, by string, share Share, first []Alarm, remedy string) {
		places := make([]string, len(first))
		for i := range first {
			places[i] = first[i].Place()
		}
		if posts > len(first) {
			places = append(places, "...")
		}
		lines = append(lines, fmt.Sprintf("%s %s %d of %d benign posts (%s); %d may be hit (rules.false_alarms.%s: %s); %s: %s",
			who, verb, posts, r.Posts, shareOf(posts, r.Posts), limit, by, share, remedy, strings.Join(places, ", ")))
	}
	for i := range r.Rules {
		if a := &r.Rules[i]; a.Over() {
			line("rule "+a.Rule, "hits", a.Posts, a.Limit, "rule", r.Budget.Rule, a.First, "narrow its terms, add exceptions or put it in shadow")
		}
	}
	if r.Over() {
		line("the live rules together", "hit", r.Hit, r.Limit, "set", r.Budget.Set, r.First, "narrow those that hit most")
	}
	return strings.Join(lines, "\n")
}

// CheckBudget judges a corpus of benign posts, on all cores and in time that grows with its length,
// and counts the posts that each rule hits. A rule that is rolled out to a part of the users is taken
// to be rolled out to all, for that is what it is to become. Shadow rules are counted and have no
// budget. Beside the report it returns a [*BudgetError] if live rules hit more than the budget
// allows; without a report the error is that of ctx, or says why the corpus cannot be judged.
func (s *Set) CheckBudget(ctx context.Context, c *Corpus, b Budget) (*BudgetReport, error) {
	if c.Len() == 0 {
		return nil, errors.New("check the false-alarm budget: the corpus has no posts, and proves nothing")
	}
	all := s.forEveryone()
	all.second = nil // it finds nothing else unless an engine has a bug
	workers := min(runtime.GOMAXPROCS(0), c.Len())
	tallies, errs := make([]*alarmTally, workers), make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		// Every worker takes each so manieth post: whatever the corpus is sorted by, they have much
		// the same to do, and what they find depends on nothing but their number.
		wg.Go(func() { tallies[i], errs[i] = all.tally(ctx, c, i, workers) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("check the false-alarm budget: %w", err)
		}
	}
	r := all.budgetReport(tallies, c.Len(), b)
	if r.Over() || slices.ContainsFunc(r.Rules, func(a RuleAlarms) bool { return a.Over() }) {
		return r, &BudgetError{r}
	}
	return r, nil
}

// alarmTally counts the posts of a part of a corpus.
type alarmTally struct {
	set   postTally   // that a live rule hits
	rules []postTally // that each rule hits, by its number
}

// postTally counts posts and keeps the first.
type postTally struct {
	posts int
	last  int // the post counted last, from 1
	first []Alarm
}

// add counts a post, once however often it is told.
func (t *postTally) add(p *corpusPost, post int, h *Hit) {
	if t.last == post+1 {
		return
	}
	t.last = post + 1
	t.posts++
	if len(t.first) < maxAlarms {
		t.first = append(t.first, Alarm{File: p.name, Line: p.line, Rule: h.Rule.ID, Start: h.Start, End: h.End,
			Form: h.Form, Term: h.Term, post: post, field: h.Field})
	}
}

// merge adds what was counted of other posts.
func (t *postTally) merge(more *postTally) {
	t.posts += more.posts
	t.first = append(t.first, more.first...)
	slices.SortFunc(t.first, func(a, b Alarm) int { return cmp.Compare(a.post, b.post) })
	t.first = t.first[:min(len(t.first), maxAlarms)]
}

// tally judges every step-th post, beginning with one.
func (s *Set) tally(ctx context.Context, c *Corpus, begin, step int) (t *alarmTally, err error) {
	t = &alarmTally{rules: make([]postTally, len(s.rules))}
	i := begin
	// Such a set must not be put in force, and finding that out must not end the process.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("judging %s:%d panics: %v", c.posts[i].name, c.posts[i].line, v)
		}
	}()
	var sc Scratch
	var read corpusReader
	for n := 0; i < len(c.posts); i, n = i+step, n+1 {
		if n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		p := &c.posts[i]
		e, err := read.event(p)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", p.name, p.line, err)
		}
		hits := s.Match(&sc, e)
		for j := range hits {
			h := &hits[j]
			t.rules[h.Rule.number].add(p, i, h)
			if h.acts() {
				t.set.add(p, i, h)
			}
		}
	}
	return t, nil
}

// budgetReport puts together what was counted.
func (s *Set) budgetReport(tallies []*alarmTally, posts int, b Budget) *BudgetReport {
	total := tallies[0]
	for _, t := range tallies[1:] {
		total.set.merge(&t.set)
		for i := range total.rules {
			total.rules[i].merge(&t.rules[i])
		}
	}
	r := &BudgetReport{Budget: b, Posts: posts, Hit: total.set.posts, Limit: b.Set.of(posts), First: total.set.first}
	for i, rule := range s.rules {
		if t := &total.rules[i]; t.posts > 0 {
			r.Rules = append(r.Rules, RuleAlarms{rule.ID, s.stateOf(rule, nil), t.posts, b.Rule.of(posts), t.first})
		}
	}
	slices.SortStableFunc(r.Rules, func(a, b RuleAlarms) int {
		return cmp.Or(sooner(a.Over(), b.Over()), sooner(a.State == Live, b.State == Live), cmp.Compare(b.Posts, a.Posts))
	})
	return r
}

// sooner puts what is before what is not.
func sooner(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
