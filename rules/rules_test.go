package rules

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

const testRegister = `categories:
  - {code: gambling, name: Gambling, name_zh: 赌博, severity: high, action: reject}
  - {code: fraud, name: Fraud, name_zh: 诈骗}
`

func register(tb testing.TB) *Register {
	tb.Helper()
	reg, err := ParseRegister("categories.yaml", []byte(testRegister))
	if err != nil {
		tb.Fatal(err)
	}
	return reg
}

// packs makes a directory of name, source, name, source, ...
func packs(nameAndSource ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(nameAndSource); i += 2 {
		fsys[nameAndSource[i]] = &fstest.MapFile{Data: []byte(nameAndSource[i+1])}
	}
	return fsys
}

// load compiles one pack of the given rules, written in flow style.
func load(tb testing.TB, o Options, rules ...string) *Set {
	tb.Helper()
	src := "pack: p\nrules:\n"
	for _, r := range rules {
		src += "  - {" + r + "}\n"
	}
	set, err := Load(packs("p.yaml", src), register(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := set.SelfTest(); err != nil {
		tb.Fatal(err)
	}
	return set
}

// post makes a post of name, text, name, text, ...
func post(nameAndText ...string) *event.Event {
	e := &event.Event{Kind: event.Post}
	for i := 0; i < len(nameAndText); i += 2 {
		e.Fields = append(e.Fields, event.Field{Name: []byte(nameAndText[i]), Text: []byte(nameAndText[i+1])})
	}
	return e
}

// quote writes hits as rule, place and text.
func quote(e *event.Event, hits []Hit) string {
	var parts []string
	for _, h := range hits {
		f := e.Fields[h.Field]
		parts = append(parts, fmt.Sprintf("%s@%s:%d=%s", h.Rule.ID, f.Name, h.Start, f.Text[h.Start:h.End]))
	}
	return strings.Join(parts, " ")
}

// The shape of the issue is read, with everything it leaves out at its default.
func TestLoad(t *testing.T) {
	set, err := Load(packs("gambling.yaml", `
pack: gambling                # one file, one pack; a rule set is a directory of packs
rules:
  - id: gambling.betting      # unique in the whole set
    category: gambling        # a code of configs/categories.yaml
    severity: high            # low | medium | high | critical
    action: review            # review | reject
    state: live               # draft | shadow | live | retired
    terms: [赌博, 百家乐]
    except: [反赌博宣传]
  - {id: gambling.all, category: gambling, state: shadow, terms: [Casino], fields: [title], kinds: [push],
     description: d, description_zh: 说明, false_positives: n, rollout: 5, basis: [order 15], contact: c@example.com}
  - {id: gambling.old, category: fraud, state: retired, terms: [ab]}
  - {id: gambling.new, category: fraud, state: draft, terms: [ab], forms: [pinyin, squeeze]}
`, "README.md", "not a pack", ".hidden.yaml", "{", "sub/x.yaml", "{"), register(t), Options{Dir: "conf/rules"})
	if err != nil {
		t.Fatal(err)
	}
	both := []event.Kind{event.Post, event.Push}
	const file = "conf/rules/gambling.yaml"
	terms := func(f form.Form, list ...string) [][]Term {
		var t []Term
		for _, text := range list {
			t = append(t, Term{Text: text, Forms: f})
		}
		return [][]Term{t}
	}
	high, medium := DefaultForms(High), DefaultForms(Medium)
	asked := form.Fold | form.Pinyin | form.Squeeze
	want := []*Rule{
		{ID: "gambling.all", Pack: "gambling", Category: "gambling", Severity: High, Action: Reject, State: Shadow, Rollout: 5, Basis: []string{"order 15"}, Contact: "c@example.com",
			Lists: terms(high, "Casino"), Distinct: 1, Forms: high, Kinds: []event.Kind{event.Push}, Fields: []string{"title"},
			Description: "d", DescriptionZH: "说明", FalsePositives: "n", File: file, Line: 11},
		{ID: "gambling.betting", Pack: "gambling", Category: "gambling", Severity: High, Action: Review, State: Live, Rollout: 100,
			Lists: terms(high, "赌博", "百家乐"), Distinct: 1, Except: []Exception{{Text: "反赌博宣传"}}, Forms: high, Kinds: both, File: file, Line: 4},
		{ID: "gambling.new", Pack: "gambling", Category: "fraud", Severity: Medium, Action: Review, State: Draft, Rollout: 100,
			Lists: terms(asked, "ab"), Distinct: 1, Forms: asked, Kinds: both, File: file, Line: 14},
		{ID: "gambling.old", Pack: "gambling", Category: "fraud", Severity: Medium, Action: Review, State: Retired, Rollout: 100,
			Lists: terms(medium, "ab"), Distinct: 1, Forms: medium, Kinds: both, File: file, Line: 13},
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".number" }, cmp.Ignore())
	if diff := cmp.Diff(want, set.All(), cmp.AllowUnexported(Rule{}), ignore); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:2], set.Rules(), cmp.AllowUnexported(Rule{}), ignore); diff != "" {
		t.Error(diff)
	}
	got := set.Stats()
	stats := Stats{Packs: 1, Live: 1, Shadow: 1, Draft: 1, Retired: 1, Terms: 3, Exceptions: 1, Memory: got.Memory, Forms: want[0].Forms | want[1].Forms}
	if diff := cmp.Diff(stats, got); diff != "" {
		t.Error(diff)
	}
	if got.Memory < 1<<20 || got.Memory > 2<<20 { // nearly all of it fixed tables, of terms and of exceptions
		t.Errorf("memory %d", got.Memory)
	}
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
}

// Each fault of a pack has its own words, its place and what would be right.
func TestRefusals(t *testing.T) {
	rule := func(fields string) string { return "pack: p\nrules:\n  - " + fields + "\n" }
	good := "id: p.a\n    category: gambling\n    state: live\n"
	tests := []struct{ name, src, want string }{
		{"unknown category", rule("{id: p.a, category: gambing, state: live, terms: [ab]}"),
			`p.yaml:3:25: rules[0].category: unknown category "gambing"; did you mean "gambling"?`},
		{"unknown category, far", rule("{id: p.a, category: weather, state: live, terms: [ab]}"),
			`p.yaml:3:25: rules[0].category: unknown category "weather"; known are gambling, fraud`},
		{"unknown severity", rule("{id: p.a, category: fraud, severity: hihg, state: live, terms: [ab]}"),
			`p.yaml:3:42: rules[0].severity: unknown severity "hihg"; did you mean "high"?`},
		{"unknown action", rule("{id: p.a, category: fraud, action: delete, state: live, terms: [ab]}"),
			`p.yaml:3:40: rules[0].action: unknown action "delete"; known are pass, review, reject`},
		{"a rule cannot pass", rule("{id: p.a, category: fraud, action: pass, state: live, terms: [ab]}"),
			`p.yaml:3:40: rules[0].action: a rule cannot let pass; give review or reject, or state shadow for a rule that must not act`},
		{"unknown state", rule("{id: p.a, category: fraud, state: Live, terms: [ab]}"),
			`p.yaml:3:39: rules[0].state: unknown state "Live"; did you mean "live"?`},
		{"unknown kind", rule("{id: p.a, category: fraud, state: live, terms: [ab], kinds: [pots]}"),
			`p.yaml:3:66: rules[0].kinds[0]: unknown kind "pots"; did you mean "post"?`},
		{"a kind without text", rule("{id: p.a, category: fraud, state: live, terms: [ab], kinds: [consent]}"),
			`p.yaml:3:66: rules[0].kinds[0]: unknown kind "consent"; known are post, push`},
		{"a kind twice", rule("{id: p.a, category: fraud, state: live, terms: [ab], kinds: [post, post]}"),
			`p.yaml:3:72: rules[0].kinds[1]: post is given twice; keep one`},
		{"no kinds", rule("{id: p.a, category: fraud, state: live, terms: [ab], kinds: []}"),
			`p.yaml:3:58: rules[0].kinds: is empty; give post, push or both, or take the line out for both`},
		{"no fields", rule("{id: p.a, category: fraud, state: live, terms: [ab], fields: []}"),
			`p.yaml:3:58: rules[0].fields: is empty; name fields, or take the line out for all`},
		{"a field twice", rule("{id: p.a, category: fraud, state: live, terms: [ab], fields: [t, \"\", t]}"),
			"p.yaml:3:70: rules[0].fields[1]: is not a name; give 1 to 128 bytes\n" +
				`p.yaml:3:74: rules[0].fields[2]: "t" is given twice; keep one`},
		{"unknown form", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: [fold, squeze]}"),
			`p.yaml:3:72: rules[0].forms[1]: unknown form "squeze"; did you mean "squeeze"?`},
		{"unknown form, far", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: [homophone]}"),
			`p.yaml:3:66: rules[0].forms[0]: unknown form "homophone"; known are fold, squeeze, repeat, spaced, leet, decode, digits, split, pinyin, initials, emoji, shape, all`},
		{"unknown form, a single word", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: al}"),
			`p.yaml:3:65: rules[0].forms: unknown form "al"; did you mean "all"?`},
		{"a form twice", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: [leet, fold, leet]}"),
			`p.yaml:3:78: rules[0].forms[2]: leet is given twice; keep one`},
		{"all forms and one more", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: [leet, all]}"),
			`p.yaml:3:72: rules[0].forms[1]: all stands alone; write forms: all`},
		{"no forms", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: []}"),
			`p.yaml:3:58: rules[0].forms: is empty; name forms, write all for every one, or take the line out for those that hold otherwise`},
		{"forms left open", rule(good + "    terms: [ab]\n    forms:"),
			`p.yaml:7:5: rules[0].forms: is empty; give a text (in quotes if it has a colon) or a list or take the line out`},
		{"a number for a form", rule("{id: p.a, category: fraud, state: live, terms: [ab], forms: [1]}"),
			`p.yaml:3:66: rules[0].forms[0]: 1 is a number here; if it is meant as a text, write "1"`},
		{"id of another pack", rule("{id: gambling.a, category: fraud, state: live, terms: [ab]}"),
			`p.yaml:3:10: rules[0].id: "gambling.a" does not begin with the name of its pack; write "p.a"`},
		{"id without a pack", rule("{id: a, category: fraud, state: live, terms: [ab]}"),
			`p.yaml:3:10: rules[0].id: "a" does not begin with the name of its pack; write "p.a"`},
		{"id of strange shape", rule("{id: \"p.A b\", category: fraud, state: live, terms: [ab]}"),
			`p.yaml:3:10: rules[0].id: "p.A b" is not an id; use a-z, 0-9 and single . - or _ between them, at most 128`},
		{"pack of strange shape", "pack: P!\nrules: [{id: p.a, category: fraud, state: live, terms: [ab]}]\n",
			"p.yaml:1:7: pack: \"P!\" is not a name; use a-z, 0-9 and single - or _ between them, at most 128\n" +
				`p.yaml:2:14: rules[0].id: "p.a" does not begin with the name of its pack; write "P!.a"`},
		{"no rules", "pack: p\nrules: []\n", `p.yaml:2:1: rules: is empty; give at least one rule, or take the file out`},
		{"nothing", "", "p.yaml:1:1: pack: missing; it must be given\np.yaml:1:1: rules: missing; a pack has rules, or groups or exceptions that rules of others use"},
		{"everything missing", rule("{}"), "p.yaml:3:5: rules[0].id: missing; it must be given\np.yaml:3:5: rules[0].category: missing; it must be given\n" +
			"p.yaml:3:5: rules[0].state: missing; it must be given\np.yaml:3:5: rules[0].terms: missing; give terms, or all with a list for each part of a combination"},
		{"no mapping", rule("p.a"), `p.yaml:3:5: rules[0]: "p.a" is a text; give a mapping`},
		{"unknown name", rule(good + "    term: [ab]"), "p.yaml:3:5: rules[0].terms: missing; give terms, or all with a list for each part of a combination\n" +
			`p.yaml:6:5: rules[0].term: unknown name; did you mean "terms"?`},
		{"no terms", rule(good + "    terms: []"), `p.yaml:6:5: rules[0].terms: is empty; give at least one term`},
		{"terms of every bad kind", rule(good + "    terms:\n" +
			"      - 赌\n      - \"\"\n      - \"\\u200b\"\n      - \" ab\"\n      - \"a\\nb\"\n      - 12\n      - \"a\\uFFFD\"\n      - ﬀ\n      - " + strings.Repeat("赌", 65)),
			`p.yaml:7:9: rules[0].terms[0]: "赌" is one character; a term has at least two, or it hits everywhere
p.yaml:8:9: rules[0].terms[1]: is empty; give a term, or take it out
p.yaml:9:9: rules[0].terms[2]: "\u200b": nothing is left of it after folding; use characters that can be seen
p.yaml:10:9: rules[0].terms[3]: " ab" begins or ends with white space; take it out
p.yaml:11:9: rules[0].terms[4]: "a\nb" contains a line break or a tab; write a blank, or two terms
p.yaml:12:9: rules[0].terms[5]: 12 is a number here; if it is meant as a text, write "12"
p.yaml:13:9: rules[0].terms[6]: "a�": contains a byte that is not UTF-8 or the replacement character, which match nothing; take it out
p.yaml:15:9: rules[0].terms[8]: 65 characters long after folding; at most 64 (rules.MaxTermLength)`},
		{"a term twice after folding", rule(good + "    terms: [Casino, 赌博, ＣＡＳＩＮＯ, \"赌\\u200b博\"]"),
			"p.yaml:6:25: rules[0].terms[2]: \"ＣＡＳＩＮＯ\" is the same as \"Casino\" before it, after folding; keep one\n" +
				`p.yaml:6:33: rules[0].terms[3]: "赌\u200b博" is the same as "赌博" before it, after folding; keep one`},
		{"exceptions", rule(good + "    terms: [赌博, bet]\n    except: [反赌博, 博彩, 赌博, alphabet, Bet, a bet, 反赌博]"),
			`p.yaml:7:19: rules[0].except[1]: "博彩" covers no term of this rule; give a phrase that contains one as a whole, or take it out
p.yaml:7:23: rules[0].except[2]: "赌博" is a term of this rule, which could then never hit; give a longer phrase, or take one of them out
p.yaml:7:27: rules[0].except[3]: "alphabet" covers no term of this rule; give a phrase that contains one as a whole, or take it out
p.yaml:7:37: rules[0].except[4]: "Bet" is a term of this rule, which could then never hit; give a longer phrase, or take one of them out
p.yaml:7:49: rules[0].except[6]: "反赌博" is the same as "反赌博" before it, after folding; keep one`},
		{"an id twice", rule("{id: p.a, category: fraud, state: live, terms: [ab]}\n  - {id: p.a, category: fraud, state: draft, terms: [cd]}"),
			`p.yaml:4:10: rules[1].id: id "p.a" is given twice; first in p.yaml:3:10, rename one`},
		{"drafts are checked too", rule("{id: p.a, category: fraud, state: draft, terms: [a]}"),
			`p.yaml:3:54: rules[0].terms[0]: "a" is one character; a term has at least two, or it hits everywhere`},
		{"not YAML", "pack: [", `p.yaml:1:7: not valid YAML: sequence end token ']' not found`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(packs("p.yaml", tt.src), register(t), Options{})
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// All faults of all packs come at once, in the order of the files, and what is
// wrong between two files names both.
func TestRefusalsOfAllPacks(t *testing.T) {
	_, err := Load(packs(
		"b.yaml", "pack: a\nrules:\n  - {id: a.x, category: fraud, state: live, terms: [cd]}\n",
		"a.yaml", "pack: a\nrules:\n  - {id: a.x, category: fruad, state: live, terms: [ab]}\n",
		"c.yml", "pack: c\n",
	), register(t), Options{Dir: "/etc/weir/rules"})
	want := `/etc/weir/rules/a.yaml:3:25: rules[0].category: unknown category "fruad"; did you mean "fraud"?
/etc/weir/rules/b.yaml:1:7: pack: pack "a" is given twice; first in /etc/weir/rules/a.yaml:1:7, rename one
/etc/weir/rules/b.yaml:3:10: rules[0].id: id "a.x" is given twice; first in /etc/weir/rules/a.yaml:3:10, rename one
/etc/weir/rules/c.yml: a pack's name ends in .yaml; rename it to c.yaml, or it would be passed over`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	var problems strictyaml.Problems
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Errorf("%T", err)
	}
}

// A directory without packs is a mistake, not an empty rule set.
func TestNoPacks(t *testing.T) {
	_, err := Load(packs("README.md", "hello"), register(t), Options{Dir: "rules"})
	if err == nil || err.Error() != "read packs: no pack in rules; a pack is a file whose name ends in .yaml" {
		t.Error(err)
	}
	if _, err := Load(os.DirFS(filepath.Join(t.TempDir(), "gone")), register(t), Options{}); err == nil {
		t.Error("accepted")
	}
}

// A set too large for the budget is refused, and whoever does what the refusal says gets on: at
// once, or at the second attempt where the automaton alone was too large.
func TestMemoryBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles as many terms as there may be, again and again; not with -short")
	}
	var terms strings.Builder
	for i := range MaxTerms {
		fmt.Fprintf(&terms, "term%06d\n", i)
	}
	const src = "pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [{file: terms.txt}]}\n"
	try := func(budget Bytes) (*Set, Bytes) {
		set, err := Load(packs("p.yaml", src, "terms.txt", terms.String()), register(t), Options{MemoryBudget: budget})
		if err == nil {
			return set, 0
		}
		refused, ok := errors.AsType[*automaton.BudgetError](err)
		if !ok || !strings.HasPrefix(err.Error(), "compile rules: ") {
			t.Fatalf("got %v", err)
		}
		enough := Bytes((refused.Need + 1<<20 - 1) >> 20 << 20)
		if Bytes(refused.Budget) != budget || enough <= budget || !strings.Contains(err.Error(), fmt.Sprintf("raise the budget to %d MiB", enough>>20)) {
			t.Fatalf("%v", err)
		}
		return nil, enough
	}
	budget := Bytes(1 << 20)
	var set *Set
	for range 2 {
		var enough Bytes
		if set, enough = try(budget); set == nil {
			budget = enough
		}
	}
	if set, _ = try(budget); set == nil {
		t.Fatal("whatever is given, more is asked for")
	}
	if m := set.Stats().Memory; m <= 1<<20 || m > budget || budget > 32<<20 {
		t.Errorf("a set of %d bytes, accepted with a budget of %s", m, budget)
	}
	// Drafts take none.
	if _, err := Load(packs("p.yaml", strings.Replace(src, "live", "draft", 1), "terms.txt", terms.String()), register(t), Options{MemoryBudget: 1 << 20}); err != nil {
		t.Error(err)
	}
}

// Where rules hit, and where not.
func TestMatch(t *testing.T) {
	set := load(t, Options{},
		"id: p.bet, category: gambling, state: live, terms: [赌博, 百家乐, online casino], except: [反赌博宣传, 禁止赌博, online casino law]",
		"id: p.other, category: fraud, state: shadow, terms: [赌博, 刷单]",
		"id: p.title, category: fraud, state: live, terms: [title only], fields: [title]",
		"id: p.push, category: fraud, state: live, terms: [push only], kinds: [push]",
		"id: p.draft, category: fraud, state: draft, terms: [draft only]",
		"id: p.retired, category: fraud, state: retired, terms: [retired only]")
	tests := []struct {
		name string
		e    *event.Event
		want string
	}{
		{"nothing", post("text", "今天天气很好"), ""},
		{"no fields", post(), ""},
		{"two rules, one of them shadow", post("text", "去赌博"), "p.bet@text:3=赌博 p.other@text:3=赌博"},
		{"every field", post("title", "百家乐", "text", "x", "bio", "刷单"), "p.bet@title:0=百家乐 p.other@bio:0=刷单"},
		{"evaded", post("text", "Ｏｎｌｉｎｅ cas\u200bino 赌\u00ad博"), "p.bet@text:0=Ｏｎｌｉｎｅ cas\u200bino p.bet@text:29=赌\u00ad博 p.other@text:29=赌\u00ad博"},
		{"an exception cancels for its own rule only", post("text", "反赌博宣传"), "p.other@text:3=赌博"},
		{"and only what it covers", post("text", "反赌博宣传，赌博，禁止赌博"), "p.other@text:3=赌博 p.bet@text:18=赌博 p.other@text:18=赌博 p.other@text:33=赌博"},
		{"an exception at the end of the term", post("text", "严格禁止赌博。百家乐"), "p.other@text:12=赌博 p.bet@text:21=百家乐"},
		{"an exception at the beginning of the term", post("text", "an Online Casino Law and an online casino"), "p.bet@text:28=online casino"},
		{"an exception in pieces is none", post("text", "反赌博"), "p.bet@text:3=赌博 p.other@text:3=赌博"},
		{"an exception that is evaded still is one", post("text", "反赌\u200b博宣传"), "p.other@text:3=赌\u200b博"},
		{"an exception does not reach into another field", post("title", "反赌博宣传", "text", "赌博"), "p.other@title:3=赌博 p.bet@text:0=赌博 p.other@text:0=赌博"},
		{"only in its field", post("title", "title only", "text", "title only"), "p.title@title:0=title only"},
		{"only in its kind", post("text", "push only"), ""},
		{"drafts and retired rules hit nothing", post("text", "draft only retired only"), ""},
		{"a character that nobody sees, all ASCII", post("text", "an onl\x7fine cas\x00ino for you"), "p.bet@text:3=onl\x7fine cas\x00ino"},
		{"whole words", post("text", "nononline casino, online casinos, (online casino)"), "p.bet@text:35=online casino"},
	}
	var sc Scratch
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, quote(tt.e, set.Match(&sc, tt.e))); diff != "" {
				t.Error(diff)
			}
		})
	}
	e := post("text", "push only")
	e.Kind = event.Push
	if got := quote(e, set.Match(&sc, e)); got != "p.push@text:0=push only" {
		t.Error(got)
	}
}

// A hit says which term, in which form.
func TestHit(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: gambling, state: live, terms: [ＣＡＳＩＮＯ]")
	hits := set.Match(new(Scratch), post("a", "x", "b", "a Casino"))
	want := []Hit{{Rule: set.Rules()[0], State: Live, Field: 1, Start: 2, End: 8, Form: form.Fold, Term: "ＣＡＳＩＮＯ"}}
	if diff := cmp.Diff(want, hits, cmp.AllowUnexported(Rule{}), cmpopts.IgnoreUnexported(Hit{})); diff != "" {
		t.Error(diff)
	}
}

// The limit of hits keeps the first hit of every rule, counts after exceptions,
// and counts over all fields.
func TestMaxHits(t *testing.T) {
	set := load(t, Options{MaxHits: 3},
		"id: p.a, category: fraud, state: live, terms: [赌博], except: [反赌博宣传]",
		"id: p.b, category: fraud, state: live, terms: [刷单]",
		"id: p.c, category: fraud, state: live, terms: [代开发票]")
	var sc Scratch
	rulesOf := func(e *event.Event) string {
		var ids []string
		for _, h := range set.Match(&sc, e) {
			ids = append(ids, h.Rule.ID)
		}
		return strings.Join(ids, " ")
	}
	flood := strings.Repeat("赌博", 10_000)
	harmless := strings.Repeat("反赌博宣传", 10_000)
	for _, tt := range []struct {
		e    *event.Event
		want string
	}{
		{post("t", flood), "p.a p.a p.a"},
		{post("t", flood+"刷单刷单"+flood+"代开发票"), "p.a p.a p.a p.b p.c"},
		{post("t", flood, "u", "刷单刷单", "v", flood+"代开发票"), "p.a p.a p.a p.b p.c"},
		{post("t", harmless), ""},
		{post("t", harmless+"赌博"), "p.a"},
		{post("t", strings.Repeat("刷单", 5)+harmless+"赌博"+harmless), "p.b p.b p.b p.a"},
	} {
		if got := rulesOf(tt.e); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// One scratch serves one set after another, and a reload in between.
func TestScratch(t *testing.T) {
	small := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [ab], except: [ab cd]")
	var list []string
	for i := range 50 {
		list = append(list, fmt.Sprintf("id: p.r%d, category: fraud, state: live, terms: [ab, x%d], except: [ab y%d]", i, i+10, i+10))
	}
	large := load(t, Options{}, list...)
	var sc Scratch
	for range 3 {
		if got := len(small.Match(&sc, post("t", "ab. ab cd"))); got != 1 {
			t.Fatalf("small: %d hits", got)
		}
		if got := len(large.Match(&sc, post("t", "ab y10"))); got != 49 {
			t.Fatalf("large: %d hits", got)
		}
		if got := len(large.Match(&sc, post("t", "ab"))); got != 50 {
			t.Fatalf("large: %d hits", got)
		}
	}
	// When the counter runs over, nothing old is taken for new.
	sc.round = 1<<32 - 1
	sc.seen[0] = seen{round: 0, sure: true}
	if got := len(small.Match(&sc, post("t", "ab"))); got != 1 {
		t.Errorf("%d hits after the counter ran over", got)
	}
}

// Whatever changes a verdict changes the digest; how the packs are written does not.
func TestDigest(t *testing.T) {
	base := "id: p.a, category: fraud, severity: low, action: review, state: live, terms: [赌博, casino], except: [反赌博]"
	other := "id: p.b, category: fraud, state: live, terms: [刷单]"
	digest := load(t, Options{}, base, other).Digest()
	if len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		t.Errorf("digest %q", digest)
	}
	same := map[string]*Set{
		"rules in another order":   load(t, Options{}, other, base),
		"terms in another order":   load(t, Options{}, strings.Replace(base, "赌博, casino", "casino, 赌博", 1), other),
		"terms that fold the same": load(t, Options{}, strings.Replace(base, "casino", "ＣＡＳＩＮＯ", 1), other),
		"a draft beside":           load(t, Options{}, base, other, "id: p.c, category: fraud, state: draft, terms: [ab]"),
		"a description":            load(t, Options{}, base+", description: d", other),
		"a default written out":    load(t, Options{MaxHits: DefaultMaxHits, MemoryBudget: 1 << 30}, base+", kinds: [push, post]", other),
	}
	for name, set := range same {
		if set.Digest() != digest {
			t.Errorf("%s: another digest", name)
		}
	}
	seen := map[string]string{digest: "the base"}
	differ := map[string]*Set{
		"id":           load(t, Options{}, strings.Replace(base, "p.a", "p.z", 1), other),
		"category":     load(t, Options{}, strings.Replace(base, "fraud", "gambling", 1), other),
		"severity":     load(t, Options{}, strings.Replace(base, "low", "high", 1), other),
		"action":       load(t, Options{}, strings.Replace(base, "review", "reject", 1), other),
		"state":        load(t, Options{}, strings.Replace(base, "live", "shadow", 1), other),
		"term":         load(t, Options{}, strings.Replace(base, "casino", "casinos", 1), other),
		"no exception": load(t, Options{}, strings.Replace(base, ", except: [反赌博]", "", 1), other),
		"a term more":  load(t, Options{}, strings.Replace(base, "casino", "casino, ab", 1), other),
		"a rule less":  load(t, Options{}, base),
		"field":        load(t, Options{}, base+", fields: [title]", other),
		"kind":         load(t, Options{}, base+", kinds: [post]", other),
		"limit":        load(t, Options{MaxHits: 5}, base, other),
	}
	for name, set := range differ {
		if before := seen[set.Digest()]; before != "" {
			t.Errorf("%s: the same digest as %s", name, before)
		}
		seen[set.Digest()] = name
	}
}

// Any number of goroutines may match with one set (run with -race).
func TestConcurrency(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, ab], except: [反赌博]")
	e := post("a", "反赌博 赌博 ab", "b", "赌\u200b博")
	want := quote(e, set.Match(new(Scratch), e))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var sc Scratch
			for range 500 {
				if got := quote(e, set.Match(&sc, e)); got != want {
					t.Errorf("got %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// The words of the enumerations are those of the packs, both ways.
func TestWords(t *testing.T) {
	for _, s := range []Severity{Low, Medium, High, Critical} {
		var back Severity
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%v: %v, %v", s, back, err)
		}
	}
	for _, a := range []Action{Pass, Review, Reject} {
		var back Action
		if err := back.UnmarshalText([]byte(a.String())); err != nil || back != a {
			t.Errorf("%v: %v, %v", a, back, err)
		}
	}
	for _, s := range []State{Draft, Shadow, Live, Retired} {
		var back State
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%v: %v, %v", s, back, err)
		}
	}
	if !slices.IsSorted([]Severity{0, Low, Medium, High, Critical}) || !slices.IsSorted([]Action{Pass, Review, Reject}) {
		t.Error("the order of the words is that of their weight")
	}
	if err := new(Severity).UnmarshalText(nil); err == nil {
		t.Error("an empty severity is accepted")
	}
	if got := Severity(9).String() + Action(9).String() + State(9).String(); got != "invalidinvalidinvalid" {
		t.Error(got)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"256MiB": 256 << 20, "1 GiB": 1 << 30, "3KiB": 3 << 10, "17B": 17, "0B": 0} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want || b.String() != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%s: %d, %s, %v", text, b, b, err)
		}
	}
	for _, text := range []string{"", "256", "256 MB", "MiB", "-1MiB", "1.5GiB", "99999999999GiB"} {
		if err := new(Bytes).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "such as 256MiB") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c = Config{MemoryBudget: 5, MaxHits: 0, Breaker: DefaultBreaker()}
	want := "memory_budget: 5B is too little; give at least 1MiB\nmax_hits: 0 is out of range; choose from 1 to 10000"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Error(err)
	}
}

// A register's faults are found all at once, like a pack's.
func TestRegisterRefusals(t *testing.T) {
	_, err := ParseRegister("c.yaml", []byte(`categories:
  - {code: a, name: A, name_zh: 甲, list_a: [10, 1, 1], list_b: [7], never_publish: [0], statute: [x]}
  - {code: a, name: "", name_zh: 乙}
  - {code: B!, name: B, name_zh: 丙, action: pass, severity: mild}
  - {code: c, name: C, name_zh: 丁, leak: true, action: reject, dsa: [STATEMENT_CATEGORY_VIOLENS]}
  -
  - {code: d}
`))
	want := `c.yaml:2:45: categories[0].list_a[0]: 10 is not in the list; its numbers are 1 to 9
c.yaml:2:52: categories[0].list_a[2]: 1 is given twice; keep one
c.yaml:2:65: categories[0].list_b[0]: 7 is not in the list; its numbers are 1 to 6
c.yaml:2:85: categories[0].never_publish[0]: 0 is not in the list; its numbers are 1 to 5
c.yaml:2:99: categories[0].statute[0]: "x" is a text; give a whole number
c.yaml:3:12: categories[1].code: code "a" is given twice; first in line 2, keep one
c.yaml:3:21: categories[1].name: is empty; give the name people see
c.yaml:4:12: categories[2].code: "B!" is not a code; use a-z, 0-9 and single - between them, at most 128
c.yaml:4:45: categories[2].action: a category cannot let pass; give review or reject
c.yaml:4:61: categories[2].severity: unknown severity "mild"; known are low, medium, high, critical
c.yaml:5:56: categories[3].action: a leak is held for a human; give review
c.yaml:5:70: categories[3].dsa[0]: unknown DSA statement category "STATEMENT_CATEGORY_VIOLENS"; did you mean "STATEMENT_CATEGORY_VIOLENCE"?
c.yaml:6:4: categories[4]: is empty; give code, name and name_zh, or take it out
c.yaml:7:6: categories[5].name: missing; it must be given
c.yaml:7:6: categories[5].name_zh: missing; it must be given`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	for _, src := range []string{"", "categories: []", "categories:"} {
		if _, err := ParseRegister("c.yaml", []byte(src)); err == nil {
			t.Errorf("%q accepted", src)
		}
	}
}

// Text without hits costs no allocation, text with hits only the engine's list.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes the engine's pool forget at random")
	}
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, ab], except: [反赌博], fields: [text]")
	var sc Scratch
	clean := post("text", strings.Repeat("今天天气 Ｎice 很好", 20))
	dirty := post("text", strings.Repeat("赌博 ab 反赌博", 20))
	set.Match(&sc, dirty)
	if n := testing.AllocsPerRun(100, func() { set.Match(&sc, clean) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { set.Match(&sc, dirty) }); n > 3 {
		t.Errorf("%v allocations with hits", n)
	}
}

// Old sets are garbage: memory after many loads is that after one.
func TestReloadMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var set *Set
	var sc Scratch
	swap := func() {
		set = load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, online casino, 百家乐], except: [反赌博]")
		set.Match(&sc, post("t", "反赌博 赌博"))
	}
	swap()
	before := heap()
	for range 20 {
		swap()
	}
	if after := heap(); after > before+before/4+1<<20 {
		t.Errorf("%d bytes after one load, %d after many", before, after)
	}
	runtime.KeepAlive(set)
}

// No pack makes the loader panic, and what is accepted passes its own test.
func FuzzLoad(f *testing.F) {
	f.Add("pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [ab, 赌博], except: [反赌博]}\n")
	f.Add("pack: p\nrules:\n  - id: p.a\n    category: gambling\n    state: shadow\n    terms:\n      - ﬃ\n      - ⅲ\n    kinds: [push]\n    fields: [t]\n")
	f.Add("pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [ab, a b, 赌博, 赌赌博, 百家乐, \"8964\", c++], except: [反赌博, x ab], forms: all}\n")
	f.Add("pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [aa, 哈哈, \"&#65;\"], except: [x aa, 笑哈哈], forms: [squeeze, decode]}\n")
	reg := register(f)
	f.Fuzz(func(t *testing.T, src string) {
		set, err := Load(packs("p.yaml", src), reg, Options{MemoryBudget: 4 << 20, MaxHits: 2})
		if err == nil {
			if err := set.SelfTest(); err != nil {
				t.Fatal(err)
			}
		} else if err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}

// naive finds hits by trying every term and every exception of every rule at every
// place of the folded text.
func naive(set *Set, e *event.Event) []Hit {
	occurrences := func(folded []byte, phrase string) [][2]int {
		var list [][2]int
		p := []byte(fold.String(phrase))
		for lo := range folded {
			hi := lo + len(p)
			if hi <= len(folded) && bytes.Equal(folded[lo:hi], p) && wholeWord(folded, lo, hi) {
				list = append(list, [2]int{lo, hi})
			}
		}
		return list
	}
	var hits []Hit
	for i, f := range e.Fields {
		var t foldedText
		t.Fold(f.Text)
		for _, r := range set.Rules() {
			if !r.applies(e.Kind, f.Name) {
				continue
			}
			var covers [][2]int
			for _, x := range r.Except {
				covers = append(covers, occurrences(t.Bytes(), x.Text)...)
			}
			for _, term := range r.Terms() {
				for _, o := range occurrences(t.Bytes(), term) {
					if slices.ContainsFunc(covers, func(c [2]int) bool { return c[0] <= o[0] && o[1] <= c[1] }) {
						continue
					}
					start, end := t.Span(o[0], o[1])
					hits = append(hits, Hit{Rule: r, State: r.State, Field: i, Start: start, End: end, Form: form.Fold, Term: term})
				}
			}
		}
	}
	slices.SortFunc(hits, compare)
	return slices.Compact(hits)
}

// wholeWord is the rule of words.
func wholeWord(folded []byte, lo, hi int) bool {
	word := func(b []byte, decode func([]byte) (rune, int)) bool {
		r, n := decode(b)
		return n > 0 && fold.ClassOf(r) == fold.Token
	}
	first, last := word(folded[lo:hi], utf8.DecodeRune), word(folded[lo:hi], utf8.DecodeLastRune)
	before, after := word(folded[:lo], utf8.DecodeLastRune), word(folded[hi:], utf8.DecodeRune)
	inside := first && before || last && after
	return !inside
}

// differentialSet has terms and exceptions that overlap each other in every way.
func differentialSet(tb testing.TB, forms string) *Set {
	return load(tb, Options{MaxHits: 10_000},
		"id: p.a, category: fraud, state: live, terms: [赌博, ab, aa, 博宣, 株式], except: [反赌博宣传, 赌博宣, ab a, aa 赌博, 株式会], forms: "+forms,
		"id: p.b, category: fraud, state: shadow, terms: [赌博, 博宣, ab a], except: [博宣传, 宣传赌博, b ab a], forms: "+forms,
		"id: p.c, category: fraud, state: live, terms: [赌博, aa], fields: [a], forms: "+forms,
		"id: p.d, category: fraud, state: live, terms: [赌博], kinds: [push], forms: "+forms)
}

// alphabets are pieces of texts: of all kinds, and of ASCII alone, which has ways of its own through the
// matcher.
var alphabets = map[string][]string{
	"all": {"赌博", "赌", "博", "反", "宣", "传", "ab", "a", "b", " ", "Ａ", "\u200b", "㍿", "株式", "\xff", "，", "反赌博宣传", "賭", "а", "á", "0", "か",
		"c", "d", "-", "\n"},
	"ASCII": {"ab", "aa", "a", "b", "B", "ab a", "c d", "c", "d", "long word", "0", " ", " ", "  ", ", ", ".", "-", "\n", "\t", "\x7f", "\x01", "\x00"},
}

// share is how many of n repetitions a test does: all, and a tenth in a short run.
func share(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// randomText joins pieces.
func randomText(random *rand.Rand, pieces []string, most int) string {
	var b strings.Builder
	for range random.IntN(most) {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// Rules and exceptions that overlap in every way hit as by trying everything.
func TestDifferential(t *testing.T) {
	set := differentialSet(t, "[fold]")
	var sc Scratch
	for name, pieces := range alphabets {
		random := rand.New(rand.NewPCG(5, 6))
		found := 0
		for range share(20_000) {
			most := 14
			if random.IntN(8) == 0 {
				most = 60
			}
			e := post("a", randomText(random, pieces, most), "b", randomText(random, pieces, most))
			if random.IntN(2) == 0 {
				e.Kind = event.Push
			}
			want, got := naive(set, e), set.Match(&sc, e)
			if !slices.Equal(got, want) {
				t.Fatalf("%q, %q: got %s, want %s", e.Fields[0].Text, e.Fields[1].Text, quote(e, got), quote(e, want))
			}
			found += len(want)
		}
		if found < share(10_000) {
			t.Errorf("%s: only %d hits", name, found)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("反赌博宣传 赌博", "ＡＢ a ab")
	f.Add("aa 赌博宣传", "ⅱ ㍿ 株式会")
	f.Add("a\x7fb is here", "AAAAA\x7fAA,AA?@AAA")
	set := differentialSet(f, "[fold]")
	f.Fuzz(func(t *testing.T, a, b string) {
		// A word that looks Latin is spared in a text of its own script, of which the naive search knows nothing.
		if len(a)+len(b) > 1000 || strings.ContainsFunc(a+b, ofOtherScript) {
			return
		}
		e := post("a", a, "b", b)
		want, got := naive(set, e), set.Match(new(Scratch), e)
		if !slices.Equal(got, want) {
			t.Fatalf("got %s, want %s", quote(e, got), quote(e, want))
		}
	})
}

// ofOtherScript reports whether a letter is of a script like Latin and itself like no Latin letter.
func ofOtherScript(r rune) bool {
	to, _ := fold.Rune(r)
	return unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian) && to >= utf8.RuneSelf
}

// shipped loads the packs as shipped.
func shipped(tb testing.TB, o Options) (*Register, *Set) {
	tb.Helper()
	src, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	reg, err := ParseRegister("configs/categories.yaml", src)
	if err != nil {
		tb.Fatal(err)
	}
	o.Dir = "configs/rules"
	set, err := Load(os.DirFS("../configs/rules"), reg, o)
	if err != nil {
		tb.Fatal(err)
	}
	return reg, set
}

// An idle daemon tests itself every few seconds, which must not leave a heap of garbage: of a thousand terms
// no more objects than of a hundred.
func TestSelfTestLeavesLittleBehind(t *testing.T) {
	left := func(terms int) float64 {
		src := "pack: p\nrules:\n  - id: p.a\n    category: fraud\n    state: live\n    forms: [fold]\n    terms:\n"
		for i := range terms {
			src += fmt.Sprintf("      - term%d\n", i)
		}
		set, err := Load(packs("p.yaml", src), register(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() {
			if err := set.SelfTest(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := left(100), left(1000); many > few+10 {
		t.Errorf("%v objects of 1,000 terms, %v of 100", many, few)
	}
}
