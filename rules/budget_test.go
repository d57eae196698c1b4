package rules

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// budgetSet has a rule of every kind that matters: live, rolled out to a part, shadow, draft, for
// pushes alone.
func budgetSet(tb testing.TB) *Set {
	return load(tb, Options{},
		"id: p.bet, category: gambling, state: live, forms: [fold], terms: [赌博, 百家乐]",
		"id: p.part, category: fraud, state: live, rollout: 1, forms: [fold], terms: [刷单]",
		"id: p.shadow, category: fraud, state: shadow, forms: [fold], terms: [天气]",
		"id: p.draft, category: fraud, state: draft, terms: [早安]",
		"id: p.push, category: fraud, state: live, kinds: [push], forms: [fold], terms: [天气]")
}

// brief tells a report in few words.
func brief(r *BudgetReport) string {
	places := func(first []Alarm) string {
		var list []string
		for i := range first {
			list = append(list, first[i].Place())
		}
		return strings.Join(list, " ")
	}
	s := fmt.Sprintf("%d of %d, may be %d [%s]", r.Hit, r.Posts, r.Limit, places(r.First))
	for i := range r.Rules {
		a := &r.Rules[i]
		s += fmt.Sprintf("\n%s %s %d/%d %v [%s]", a.Rule, a.State, a.Posts, a.Limit, a.Over(), places(a.First))
	}
	return s
}

// Counted are posts, each once for a rule and once for the set, in the order of the corpus; shadow
// rules keep no budget, and a rule that is rolled out to some counts as if it were to all.
func TestCheckBudget(t *testing.T) {
	set := budgetSet(t)
	c := corpus(t, "a.txt", "早安", "赌博和百家乐，赌博", "", "天气", "刷单，赌博", "天气", "赌博", "天气不错", "x", "天气", "天气", "刷单")
	c.Join(corpus(t, "b.jsonl", pushLine))
	r, err := set.CheckBudget(t.Context(), c, Budget{Set: 20 * Percent, Rule: 20 * Percent})
	over, ok := errors.AsType[*BudgetError](err)
	if !ok || over.Report != r {
		t.Fatalf("got %v", err)
	}
	const want = `5 of 12, may be 3 [a.txt:2 a.txt:5 a.txt:7 a.txt:12 b.jsonl:1]
p.bet live 3/3 false [a.txt:2 a.txt:5 a.txt:7]
p.part live 2/3 false [a.txt:5 a.txt:12]
p.push live 1/3 false [b.jsonl:1]
p.shadow shadow 6/3 false [a.txt:4 a.txt:6 a.txt:8 a.txt:10 a.txt:11]`
	if diff := cmp.Diff(want, brief(r)); diff != "" {
		t.Error(diff)
	}
	const said = "the live rules together hit 5 of 12 benign posts (41.6667%); 3 may be hit (rules.false_alarms.set: 20%); narrow those that hit most: a.txt:2, a.txt:5, a.txt:7, a.txt:12, b.jsonl:1"
	if err.Error() != said {
		t.Errorf("got  %s\nwant %s", err, said)
	}
	// One of its hits, and the text that it is in.
	got, text := r.First[4], c.Text(&r.First[4])
	if diff := cmp.Diff(Alarm{File: "b.jsonl", Line: 1, Rule: "p.push", Start: 0, End: 6, Form: form.Fold, Term: "天气"}, got, cmpopts.IgnoreUnexported(Alarm{})); diff != "" || text != "天气" {
		t.Errorf("%q: %s", text, diff)
	}
	if text := c.Text(&r.Rules[0].First[1]); text != "刷单，赌博" {
		t.Errorf("%q", text)
	}

	// A rule over its own budget, though the set is not; a rule put in shadow is not even counted.
	r, err = set.CheckBudget(t.Context(), c, Budget{Set: 50 * Percent, Rule: 10 * Percent})
	const rule = "rule p.bet hits 3 of 12 benign posts (25%); 2 may be hit (rules.false_alarms.rule: 10%); narrow its terms, add exceptions or put it in shadow: a.txt:2, a.txt:5, a.txt:7"
	if err == nil || err.Error() != rule || r.Over() {
		t.Errorf("got  %v\nwant %s", err, rule)
	}
	shadowed, err := set.Shadowed([]string{"p.bet"})
	if err != nil {
		t.Fatal(err)
	}
	r, err = shadowed.CheckBudget(t.Context(), c, Budget{Set: 25 * Percent, Rule: 10 * Percent})
	if err != nil || r.Hit != 3 || r.Rules[3].Rule != "p.bet" || r.Rules[3].State != Shadow {
		t.Errorf("%v: %s", err, brief(r))
	}
	// Both at once, the rules first, and no more places than anybody looks at.
	_, err = set.CheckBudget(t.Context(), corpus(t, "c.txt", strings.Split(strings.Repeat("赌博\n", 9)+"刷单", "\n")...), Budget{})
	const both = `rule p.bet hits 9 of 10 benign posts (90%); 0 may be hit (rules.false_alarms.rule: 0%); narrow its terms, add exceptions or put it in shadow: c.txt:1, c.txt:2, c.txt:3, c.txt:4, c.txt:5, ...
rule p.part hits 1 of 10 benign posts (10%); 0 may be hit (rules.false_alarms.rule: 0%); narrow its terms, add exceptions or put it in shadow: c.txt:10
the live rules together hit 10 of 10 benign posts (100%); 0 may be hit (rules.false_alarms.set: 0%); narrow those that hit most: c.txt:1, c.txt:2, c.txt:3, c.txt:4, c.txt:5, ...`
	if err == nil || err.Error() != both {
		t.Errorf("got\n%v\nwant\n%s", err, both)
	}
}

// Of a small corpus one hit is no proof, two are; 0% is none, 100% everything.
func TestBudgetOfSmallCorpus(t *testing.T) {
	set := budgetSet(t)
	for _, test := range []struct {
		hit    int
		budget Budget
		over   bool
	}{
		{0, Budget{}, false}, {1, Budget{}, true}, {1, DefaultBudget(), false}, {2, DefaultBudget(), true},
		{50, Budget{Set: 100 * Percent, Rule: 100 * Percent}, false},
	} {
		lines := make([]string, 50)
		for i := range lines {
			lines[i] = "早安"
			if i < test.hit {
				lines[i] = "赌博"
			}
		}
		if _, err := set.CheckBudget(t.Context(), corpus(t, "a.txt", lines...), test.budget); (err != nil) != test.over {
			t.Errorf("%d hits, %v: %v", test.hit, test.budget, err)
		}
	}
}

// The report is the same on any number of cores, and that of judging one post after another.
func TestSameBudgetReportOnAnyCores(t *testing.T) {
	set := budgetSet(t)
	r := rand.New(rand.NewPCG(7, 5))
	words := []string{"赌博", "百家乐", "刷单", "天气", "hello", "你好", "，"}
	var lines []string
	posts, hits := 0, map[string]int{}
	var sc Scratch
	for range 3000 {
		text := "x"
		for range r.IntN(3) {
			text += words[r.IntN(len(words))]
		}
		lines = append(lines, text)
		ids, live := map[string]bool{}, false
		for _, h := range set.forEveryone().Match(&sc, post("text", text)) {
			ids[h.Rule.ID] = true
			live = live || h.State == Live
		}
		for id := range ids {
			hits[id]++
		}
		if live {
			posts++
		}
	}
	c := corpus(t, "a.txt", lines...)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var want *BudgetReport
	for _, n := range []int{1, 2, 3, 7} {
		runtime.GOMAXPROCS(n)
		got, err := set.CheckBudget(t.Context(), c, Budget{100 * Percent, 100 * Percent})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Alarm{})); diff != "" {
			t.Errorf("%d cores: %s", n, diff)
		}
	}
	counted := map[string]int{}
	for _, a := range want.Rules {
		counted[a.Rule] = a.Posts
	}
	if diff := cmp.Diff(hits, counted); diff != "" || want.Hit != posts {
		t.Errorf("%d posts hit, want %d: %s", want.Hit, posts, diff)
	}
}

// A check that is given up, proves nothing or panics has no report.
func TestCheckBudgetFails(t *testing.T) {
	set := budgetSet(t)
	c := corpus(t, "a.txt", "早安", "赌博")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if r, err := set.CheckBudget(ctx, c, DefaultBudget()); r != nil || !errors.Is(err, stopped) {
		t.Error(r, err)
	}
	if r, err := set.CheckBudget(t.Context(), new(Corpus), DefaultBudget()); r != nil || err == nil {
		t.Error(r, err)
	}
	broken := *set
	broken.first = nil
	if r, err := broken.CheckBudget(t.Context(), c, DefaultBudget()); r != nil || err == nil || !strings.HasPrefix(err.Error(), "check the false-alarm budget: judging a.txt:2 panics: ") {
		t.Error(r, err)
	}
}

// How many posts of the shipped corpus a core checks, and of real ones where there are any.
func BenchmarkCheckBudget(b *testing.B) {
	_, set := shipped(b, Options{Words: shippedWords(b)})
	check := func(b *testing.B, c *Corpus) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		for b.Loop() {
			if _, err := set.CheckBudget(b.Context(), c, Budget{100 * Percent, 100 * Percent}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*float64(c.Len())/b.Elapsed().Seconds(), "posts/s")
	}
	b.Run("shipped", func(b *testing.B) {
		c, err := LoadCorpus(os.DirFS("../configs/benign"), "", event.Config{})
		if err != nil {
			b.Fatal(err)
		}
		check(b, c)
	})
	b.Run("real", func(b *testing.B) { check(b, corpus(b, "real.txt", realPosts(b, "posts_mixed.txt")...)) })
}
