package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// explained is what a set says of the second of two fields, the near misses as lines too.
func explained(t *testing.T, s *Set, kind event.Kind, text string) (Explanation, []string) {
	t.Helper()
	e := event.Event{Kind: kind, Fields: []event.Field{{Name: []byte("title")}, {Name: []byte("text"), Text: []byte(text)}}}
	x := s.Explain(&e)
	var near []string
	for _, n := range x.Near {
		near = append(near, fmt.Sprintf("%s %d %d:%d %s: %s", n.Rule.ID, n.Field, n.Start, n.End, e.Fields[n.Field].Text[n.Start:n.End], n.Why))
	}
	return x, near
}

// explainSet has a rule that applies everywhere, one that applies to pushes, and one to titles.
func explainSet(t *testing.T) *Set {
	t.Helper()
	return load(t, Options{},
		`id: p.bet, category: gambling, state: live, forms: [squeeze, spaced, leet], terms: [赌博, bet], except: [反赌博宣传, 赌博片]`,
		`id: p.push, category: gambling, state: live, kinds: [push], terms: [优惠]`,
		`id: p.title, category: gambling, state: live, fields: [title], forms: [squeeze], terms: [casino, 彩票]`)
}

// What reads like a term and is none is told with its place and its reason, in the order of the
// text, though the term stands elsewhere in the text and is a hit there.
func TestExplainNearMisses(t *testing.T) {
	s := explainSet(t)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "平常的一天", nil},
		{"empty", "", nil},
		{"inside a word", "alphabet", []string{"p.bet 1 5:8 bet: " + whyInside}},
		{"inside a word and alone", "bet, ＢＥＴters", []string{"p.bet 1 5:14 ＢＥＴ: " + whyInside}},
		{"a hit is no near miss", "b.e.t 赌-博", nil},
		{"covered, by the exception that does", "赌博 看赌博片 反赌博宣传", []string{
			`p.bet 1 10:16 赌博: the exception "赌博片" of its rule covers it`,
			`p.bet 1 23:29 赌博: the exception "反赌博宣传" of its rule covers it`,
		}},
		{"covered, the other way round", "反赌博宣传 看赌博片", []string{
			`p.bet 1 3:9 赌博: the exception "反赌博宣传" of its rule covers it`,
			`p.bet 1 19:25 赌博: the exception "赌博片" of its rule covers it`,
		}},
		{"a hit that another reading rejects", "9tt宣bet", nil},
		{"a gap too wide", "赌\n\n博", []string{"p.bet 1 0:8 赌\n\n博: " + string(form.BadGap)}},
		{"a gap too wide in another field", "彩\n\n票", nil},
		{"another kind", "优惠", []string{"p.push 1 0:6 优惠: its rule is about the kind push only"}},
		{"another field", "casino casinos", []string{"p.title 1 0:6 casino: its rule looks only at title"}},
		{"in the order of the text", "反赌博宣传 alphabet 反赌博宣传", []string{
			`p.bet 1 3:9 赌博: the exception "反赌博宣传" of its rule covers it`,
			"p.bet 1 21:24 bet: " + whyInside,
			`p.bet 1 28:34 赌博: the exception "反赌博宣传" of its rule covers it`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := explained(t, s, event.Post, c.text)
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("%q:\n%s\nwant\n%s", c.text, a, b)
			}
		})
	}
}

// The hits explained are those of Match, in its order.
func TestExplainHits(t *testing.T) {
	s := explainSet(t)
	text := "b.e.t bet 赌-博 赌博"
	x, _ := explained(t, s, event.Post, text)
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("title")}, {Name: []byte("text"), Text: []byte(text)}}}
	var sc Scratch
	want := quoteForms(&e, s.Match(&sc, &e))
	if got := quoteForms(&e, x.Hits); got != want || len(x.Hits) != 4 {
		t.Errorf("hits\n%s\nwant the 4 of Match\n%s", got, want)
	}
}

// However many near misses a text has, a bounded number is told, and how many more there are.
func TestExplainIsBounded(t *testing.T) {
	x, _ := explained(t, explainSet(t), event.Post, strings.Repeat("alphabet ", 1000))
	if len(x.Near) != MaxNearMisses || x.More != 1000-MaxNearMisses {
		t.Errorf("%d near misses and %d more, want %d and %d", len(x.Near), x.More, MaxNearMisses, 1000-MaxNearMisses)
	}
}

// Whatever keeps a part of a combination, or a term that is read in its own way, from being a hit
// is told, with what is missing or in the way.
func TestExplainReasons(t *testing.T) {
	const fraud = "id: p.a, category: fraud, severity: low, state: live, "
	const combined = "it is one part of a combination; "
	tests := []struct {
		name, rule, text string
		want             []string // place and reason
	}{
		{"boundary", "boundary: token, terms: [赌博]", "卖赌博", []string{"赌博: a letter or digit stands beside it, and its boundary is token"}},
		{"case", "terms: [{text: VX, case: exact}]", "加 vx", []string{`vx: its letters stand in another case than those of "VX", and its case is exact`}},
		{"gap", "gap: 2, terms: [赌博]", "赌---博", []string{"赌---博: 3 characters stand between two of its own, and its gap is 2"}},
		{"form", "terms: [赌博, {text: 彩票, forms: fold}]", "彩 票", []string{"彩 票: it takes squeeze, which its rule does not ask for"}},
		{"form, by sound", "terms: [网络赌场]", "wang luo du chang", []string{"wang luo du chang: it takes pinyin, which its rule does not ask for"}},
		{"form, of a part", "all: [[求购], [{text: VX, case: exact, forms: fold}]]", "求购V X", []string{
			"求购: " + combined + "nothing of list 2 (VX) is in the event", "V X: it takes spaced, which its rule does not ask for"}},
		{"a form that cannot be asked for", "terms: [{text: 微信VX, case: exact}]", "weixin VX", nil},
		{"a form that is covered", "forms: fold, terms: [赌博], except: [反赌博]", "反赌博 反 赌 博", []string{
			`赌博: the exception "反赌博" of its rule covers it`, "赌 博: it takes squeeze, which its rule does not ask for"}},
		{"a list is missing", "all: [[求购], [银行卡, 电话卡], [现金]]", "求购现金", []string{
			"求购: " + combined + "nothing of list 2 (银行卡, 电话卡) is in the event",
			"现金: " + combined + "nothing of list 2 (银行卡, 电话卡) is in the event",
		}},
		{"lists are missing", "all: [[求购], [甲子, 乙丑, 丙寅, 丁卯], [现金]]", "求购", []string{
			"求购: " + combined + "nothing of list 2 (甲子, 乙丑, 丙寅, ...) or list 3 (现金) is in the event"}},
		{"a shape is there, a list is missing", "all: [[求购], [现金], [{detector: url}]]", "求购 https://example.com", []string{
			"求购: " + combined + "nothing of list 2 (现金) is in the event",
			"https://example.com: " + combined + "nothing of list 2 (现金) is in the event",
		}},
		{"nothing but a shape is there", "all: [[求购], [{detector: url}]]", "https://example.com", []string{
			"https://example.com: " + combined + "nothing of list 1 (求购) is in the event",
		}},
		{"too far", "all: [[求购], [银行卡]], within: 6", "求购一二三银行卡", []string{
			"求购: " + combined + "nothing of list 2 (银行卡) is within 6 characters with it",
			"银行卡: " + combined + "nothing of list 1 (求购) is within 6 characters with it",
		}},
		{"one too far, one absent", "all: [[求购], [银行卡], [现金]], within: 6", "求购一二三银行卡", []string{
			"求购: " + combined + "nothing of list 3 (现金) is in the event, and nothing of list 2 (银行卡) is within 6 characters with it",
			"银行卡: " + combined + "nothing of list 3 (现金) is in the event, and nothing of list 1 (求购) is within 6 characters with it",
		}},
		{"each near, not all", "all: [[求购], [银行卡], [现金]], within: 6", "现金一求购一银行卡", []string{
			"现金: " + combined + "nothing of list 2 (银行卡) is within 6 characters with it",
			"求购: " + combined + "something of each other list is there, but not of all together within 6 characters with it",
			"银行卡: " + combined + "nothing of list 3 (现金) is within 6 characters with it",
		}},
		{"another sentence", "all: [[求购], [银行卡]], within: sentence", "求购。银行卡", []string{
			"求购: " + combined + "nothing of list 2 (银行卡) is in its sentence",
			"银行卡: " + combined + "nothing of list 1 (求购) is in its sentence",
		}},
		{"one hits, one is too far", "all: [[求购], [银行卡]], within: 6", "求购,银行卡,一二三四求购", []string{
			"求购: " + combined + "nothing of list 2 (银行卡) is within 6 characters with it"}},
		{"too few", "terms: [刷单, 日结, 兼职], distinct: 3", "刷单刷单日结", []string{
			"刷单: its rule asks for 3 different terms in the event; there are 2",
			"刷单: its rule asks for 3 different terms in the event; there are 2",
			"日结: its rule asks for 3 different terms in the event; there are 2",
		}},
		{"too few near", "terms: [刷单, 日结, 兼职], distinct: 3, within: 6", "刷单日结一二三四兼职", []string{
			"刷单: its rule asks for 3 different terms within 6 characters with it; there are 2",
			"日结: its rule asks for 3 different terms within 6 characters with it; there are 2",
			"兼职: its rule asks for 3 different terms within 6 characters with it; there are 1",
		}},
		{"too few in lists", "all: [[求购, 现金], [求购, 现金]], distinct: 4", "求购", []string{
			"求购: its rule asks for 4 different terms in the event; there are 2"}},
		{"none", "terms: [赌博], none: [警方]", "警方说赌博", []string{"赌博: what its rule wants none of is there: 警方, bytes 0 to 6 of \"text\""}},
		{"none near", "terms: [赌博], none: [警方, 法院], within: 5", "法院,一二三四五六七,警方说赌博", []string{
			"赌博: what its rule wants none of is there: 警方, bytes 29 to 35 of \"text\""}},
		{"two of none, each in the way of one window", "all: [[求购], [银行卡]], within: 6, none: [警方]", "一二三四警方一二三四银行卡求购银行卡警方", []string{
			"银行卡: what its rule wants none of is there: 警方, bytes 12 to 18 of \"text\"",
			"求购: what its rule wants none of is there: 警方, bytes 12 to 18 of \"text\"",
			"银行卡: what its rule wants none of is there: 警方, bytes 54 to 60 of \"text\"",
		}},
		{"what none does not count", "terms: [赌博], none: [cop]", "赌博 scope", []string{"cop: its rule wants none of it, but it does not count: " + whyInside}},
		{"condition", `terms: [刷单, 日结], when: "hits.distinct >= 2\n && hits.count > 1"`, "刷单刷单", []string{
			"刷单: the condition of its rule does not hold: hits.distinct >= 2 && hits.count > 1 (hits.count is 2, hits.distinct 1, hits.sure 2)",
			"刷单: the condition of its rule does not hold: hits.distinct >= 2 && hits.count > 1 (hits.count is 2, hits.distinct 1, hits.sure 2)",
		}},
		{"a part with an exception", "all: [[大麻], [出售]], except: [大麻袋]", "出售大麻袋", []string{
			"出售: " + combined + "nothing of list 1 (大麻) is in the event",
			`大麻: the exception "大麻袋" of its rule covers it`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, n := range load(t, Options{}, fraud+tt.rule).Explain(post("text", tt.text)).Near {
				got = append(got, tt.text[n.Start:n.End]+": "+n.Why)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A hit that does nothing says why.
func TestExplainIdle(t *testing.T) {
	set := load(t, Options{},
		"id: p.all, category: fraud, state: live, terms: [赌博]",
		"id: p.off, category: fraud, state: live, terms: [赌博]",
		"id: p.part, category: fraud, state: live, terms: [赌博], rollout: 1",
		"id: p.shadow, category: fraud, state: shadow, terms: [赌博]")
	set, err := set.Shadowed([]string{"p.off"})
	if err != nil {
		t.Fatal(err)
	}
	e := post("text", "赌博")
	e.User.ID = []byte("u1")
	var got []string
	for _, h := range set.Explain(e).Hits {
		got = append(got, h.Rule.ID+": "+set.Idle(&h))
	}
	want := []string{"p.all: ", "p.off: its rule is live and was put in shadow",
		"p.part: its rule is rolled out to 1 % of users, and not to this one", "p.shadow: its rule is in shadow"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A rule whose condition had no answer is told beside its hits.
func TestExplainUndecided(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博], when: 1 / (hits.count - 1) > 5")
	x := set.Explain(post("text", "赌博"))
	if len(x.Hits) != 1 || len(x.Undecided) != 1 || x.Undecided[0].ID != "p.a" {
		t.Errorf("%+v", x)
	}
}

// The readings of a text are told in which anything was found: folded, and with terms in the places
// of what reads as them.
func TestExplainReadings(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, severity: high, state: live, terms: [赌博, casino, {text: 彩票, forms: fold}]")
	e := post("title", "ＡＢ", "text", "来 赌-博 c@sino 彩 票，&#36172;博")
	var got []string
	for _, r := range set.Explain(e).Readings {
		got = append(got, fmt.Sprintf("%s %s: %s", e.Fields[r.Field].Name, r.Form, r.Text))
	}
	want := []string{"title fold: ab", "text fold: 来 赌-博 c@sino 彩 票,&#36172;博", "text squeeze: 来 赌博 c@sino 彩票,&#36172;博",
		"text leet: 来 赌-博 casino 彩 票,&#36172;博", "text decode: 来 赌-博 c@sino 彩 票,赌博"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Of a flood of readings a bounded number is told.
	var flood Explanation
	for f := form.Squeeze; f <= form.All; f++ {
		flood.Hits = append(flood.Hits, Hit{Field: 1, Form: f, End: 3, Term: "x"})
	}
	if flood.read(e); len(flood.Readings) != 2+MaxReadings {
		t.Errorf("%d readings", len(flood.Readings))
	}
}

// Whatever the rules and texts, each occurrence of a combination that is no hit has a reason, and
// asking for it changes no hit.
func TestExplainCombinations(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 3))
	words := []string{"甲子", "乙丑", "丙寅", "丁卯", "戊辰"}
	list := func() string {
		some := slices.Clone(words)
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return "[" + strings.Join(some[:1+rng.IntN(2)], ", ") + "]"
	}
	for range share(300) {
		rule := "id: p.a, category: fraud, severity: low, state: live, all: [" + list() + ", " + list() + ", " + list() + "]"
		switch rng.IntN(3) {
		case 0:
			rule += fmt.Sprint(", within: ", 4+rng.IntN(8))
		case 1:
			rule += ", within: sentence"
		}
		if rng.IntN(2) == 0 {
			rule += ", none: " + list()
		}
		if rng.IntN(2) == 0 {
			rule += ", distinct: 3"
		}
		set, err := Load(packs("p.yaml", "pack: p\nrules: [{"+rule+"}]"), register(t), Options{})
		if err != nil {
			continue // more different terms than it has
		}
		var b strings.Builder
		for range 1 + rng.IntN(12) {
			b.WriteString(append(words, "一", "。", "二")[rng.IntN(len(words)+3)])
		}
		e := post("text", b.String())
		x := set.Explain(e)
		var sc Scratch
		if got, want := quote(e, x.Hits), quote(e, set.Match(&sc, e)); got != want {
			t.Fatalf("%s in %s: hits %s, want %s", rule, b.String(), got, want)
		}
		told := make(map[int]bool)
		for _, h := range x.Hits {
			told[h.Start] = true
		}
		for _, n := range x.Near {
			told[n.Start] = true
			if n.Why == "" || strings.Contains(n.Why, "%!") {
				t.Fatalf("%s in %s: %q", rule, b.String(), n.Why)
			}
		}
		for _, l := range set.Rules()[0].Lists {
			for _, term := range l {
				for at := range b.String() {
					if strings.HasPrefix(b.String()[at:], term.Text) && !told[at] {
						t.Fatalf("%s in %s: nothing is told of %s at %d", rule, b.String(), term.Text, at)
					}
				}
			}
		}
	}
}
