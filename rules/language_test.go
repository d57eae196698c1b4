package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
)

// What a rule can ask of its terms and how they stand together.
func TestLanguage(t *testing.T) {
	const fraud = "id: p.a, category: fraud, severity: low, state: live, "
	tests := []struct {
		name, rule string
		hits       []string // text, and what of it hits after " => "
	}{
		{"terms of their own", "terms: [赌博, {text: VX, case: exact, boundary: token}]", []string{
			"赌博 => 赌博", "加VX吧 => ", "加 VX 吧 => VX", "加 vx 吧 => ", "加 ＶＸ => ＶＸ", "ＶＸ号 => ", "Ⓥx => ", "ⓋX => ⓋX", "VX! VX => VX,VX",
		}},
		{"boundary token", "boundary: token, terms: [大麻, {text: 赌博, boundary: auto}]", []string{
			"卖大麻 => ", "大麻。 => 大麻", "「大麻」 => 大麻", "x大麻 => ", "\u200b大麻\u200b => 大麻", "大\u200b麻\u200bx => ", "卖赌博 => 赌博",
		}},
		{"boundary substring", "boundary: substring, terms: [sino]", []string{"casinos => sino", "si no => "}},
		{"boundary auto", "terms: [sino]", []string{"casinos => ", "sino => sino", "说sino => sino"}},
		{"a gap of one", "gap: 1, terms: [赌博]", []string{"赌博 => 赌博", "赌 博 => 赌 博", "赌--博 => ", "赌-\u200b博 => 赌-\u200b博"}},
		{"a gap of its own", "gap: 1, terms: [a - b]", []string{"a - b => a - b", "a - - b => "}},
		{"forms of their own", "forms: fold, terms: [赌博, {text: 彩票, forms: [squeeze]}]", []string{"赌 博 => ", "彩 票 => 彩 票"}},
		{"all, anywhere", "all: [[高价收, 求购], [银行卡, 电话卡]]", []string{
			"高价收银行卡 => 高价收,银行卡", "高价收 => ", "银行卡丢了 => ", "电话卡。求购 => 电话卡,求购", "求购求购 => ",
		}},
		{"all, near", "all: [[高价收, 求购], [银行卡]], within: 8", []string{
			"高价收银行卡 => 高价收,银行卡", "高价收个,,,,银行卡 => 高价收,银行卡", "高价收一二银行卡 => 高价收,银行卡", "高价收一二三银行卡 => ", "银行卡一二三求购 => 银行卡,求购", "银行卡一二三四求购 => ",
			"求购一二三四五六七八求购银行卡 => 求购,银行卡",
			"高价收&#19968;&#x4E8C;银行卡 => 高价收,银行卡", "高价收<b>一二</b>银行卡 => 高价收,银行卡", "高价收%E4%B8%80二三银行卡 => ", "高价收&一二三;银行卡 => ",
		}},
		{"all, in a sentence", "all: [[高价收], [银行卡]], within: sentence", []string{
			"高价收。银行卡 => ", "银行卡,我高价收! => 银行卡,高价收", "高价收v1.5银行卡 => 高价收,银行卡", "高价收. 银行卡 => ", "高价收\n银行卡 => 高价收,银行卡", "高价收\n \n银行卡 => ", "高价收……银行卡 => ",
			"。高价收。银行卡。高价收银行卡。 => 高价收,银行卡",
		}},
		{"all, in a sentence that a term ends", "all: [[快来], ['点我!']], within: sentence", []string{
			"快来点我! => 快来,点我!", "点我!快来 => ",
		}},
		{"none, anywhere", "terms: [赌博], none: [警方]", []string{"赌博 => 赌博", "赌博。警方 => ", "警方说赌博 => "}},
		{"none, near", "terms: [赌博], none: [警方], within: 5", []string{
			"警方说赌博 => ", "警方一二三四赌博 => ", "警方一二三四五赌博 => 赌博", "赌博一二警方 => ", "赌博一二三警方 => 赌博", "警方说赌博,一二三四五六七八九,赌博 => 赌博",
		}},
		{"none, in a sentence", "terms: [赌博], none: [警方], within: sentence", []string{"警方说赌博 => ", "警方。赌博 => 赌博", "赌博。警方 => 赌博", "赌博!一二警方赌博 => 赌博"}},
		{"distinct", "terms: [刷单, 日结, 兼职], distinct: 2", []string{"刷单刷单 => ", "刷单,日结 => 刷单,日结"}},
		{"distinct, near", "terms: [刷单, 日结, 兼职], distinct: 2, within: 6", []string{
			"刷单一二日结 => 刷单,日结", "刷单一二三日结 => ", "刷单一二三四五六日结兼职 => 日结,兼职",
		}},
		{"a detector alone", "terms: [{detector: url}]", []string{"看 https://example.com/a 吧 => https://example.com/a", "看看 => "}},
		{"a detector or a term", "terms: [刷单, {detector: phone}]", []string{"刷单 => 刷单", "电话13800138000 => 13800138000", "刷单,电话１３８００１３８０００ => 刷单,１３８００１３８０００"}},
		{"terms and a detector, near", "all: [[刷单], [{detector: phone}, {detector: messenger}]], within: 20", []string{
			"刷单 13800138000 => 刷单,13800138000", "电话13800138000 => ", "刷单,一二三四五六七八九十一二三四五六七八九,电话13800138000 => ",
		}},
		{"terms and a pattern", "all: [[代号], [{pattern: 'x-[0-9]+'}]]", []string{"代号 Ｘ-１２ => 代号,Ｘ-１２", "代号 x-a => ", "x-12 => ", "\u200b代号x\u200b-12 => 代号,x\u200b-12"}},
		{"none of a detector", "terms: [刷单], none: [{detector: url}]", []string{"刷单 => 刷单", "刷单 https://example.com => "}},
		{"a condition", `terms: [刷单, 日结, 兼职], when: "hits.distinct >= 2 && event.fields['text'].contains('!')"`, []string{
			"刷单! => ", "刷单日结 => ", "刷单日结! => 刷单,日结", "刷单刷单! => ",
		}},
		{"a condition without an answer", "terms: [刷单], when: 1 / (hits.count - 1) > 5", []string{"刷单 => 刷单", "刷单刷单 => "}},
		{"a condition on what is sure", "forms: pinyin, terms: [赌博赌], when: hits.sure == hits.count", []string{
			"赌博赌 => 赌博赌", "堵搏赌 => ", "堵搏赌博赌 => 赌博赌",
		}},
		{"a condition on forms", "forms: pinyin, terms: [赌博赌], when: \"!('pinyin' in hits.forms)\"", []string{
			"赌博赌 => 赌博赌", "堵搏赌 => ", "堵搏赌博赌 => 赌博赌",
		}},
		{"an exception of a part of a word", "terms: [{text: cat, boundary: substring}, dog], except: [category, hot dog]", []string{
			"cats => cat", "a category => ", "hot dog => ", "dog => dog",
		}},
		{"a part with an exception", "all: [[大麻], [出售]], except: [大麻袋]", []string{"出售大麻袋 => ", "出售大麻袋,大麻 => 出售,大麻"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := load(t, Options{}, fraud+tt.rule)
			var sc Scratch
			for _, row := range tt.hits {
				text, want, ok := strings.Cut(row, " => ")
				if !ok {
					t.Fatal(row)
				}
				var got []string
				for _, h := range set.Match(&sc, post("text", text)) {
					got = append(got, text[h.Start:h.End])
				}
				if diff := cmp.Diff(want, strings.Join(got, ",")); diff != "" {
					t.Errorf("%q: %s", text, diff)
				}
			}
		})
	}
}

// Terms and exceptions are shared by name, between packs too, and come from files.
func TestShared(t *testing.T) {
	fsys := packs("a.yaml", `
pack: a
groups:
  - {id: a.contacts, terms: [加微信, {text: VX, case: exact}, {file: contacts.txt}]}
exceptions:
  - {id: a.news, texts: [警方通报赌博, 加微信公众号], owner: o, reason: r, expires: never}
rules:
  - {id: a.x, category: fraud, severity: low, state: live, terms: [{group: a.contacts}], except: [{use: a.news}]}
`, "b.yaml", `
pack: b
rules:
  - {id: b.x, category: fraud, severity: low, state: live, all: [[赌博, {file: terms.txt}], [{group: a.contacts, boundary: substring}]], except: [{use: a.news}]}
  - {id: b.y, category: fraud, severity: low, state: live, terms: [赌博, {file: terms.txt}]}
`, "contacts.txt", "\uFEFF# how they are reached\n\n  加扣扣\r\n加微信\ntelegram", "terms.txt", "百家乐\n赌 博\n")
	set, err := Load(fsys, register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
	var sc Scratch
	for text, want := range map[string]string{
		"加微信":           "a.x@t:0=加微信",
		"加微信公众号":        "",
		"VX":            "a.x@t:0=VX",
		"vx":            "",
		"xtelegrams":    "",
		"百家乐xtelegrams": "b.y@t:0=百家乐 b.x@t:0=百家乐 b.x@t:10=telegram",
		"赌博,加扣扣":        "b.x@t:0=赌博 b.y@t:0=赌博 a.x@t:7=加扣扣 b.x@t:7=加扣扣",
		"警方通报赌博,加扣扣":    "b.y@t:12=赌博 a.x@t:19=加扣扣",
	} {
		e := post("t", text)
		got := strings.Fields(quote(e, set.Match(&sc, e)))
		list := strings.Fields(want)
		slices.Sort(got)
		slices.Sort(list)
		if diff := cmp.Diff(list, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// A term that a shared exception takes out is the pack's fault and not Weir's: lint tells it, and the
// set can be in force.
func TestTermAsSharedException(t *testing.T) {
	set, err := Load(packs("p.yaml", `
pack: p
exceptions: [{id: p.x, texts: [赌博], owner: o, reason: r, expires: never}]
rules: [{id: p.a, category: fraud, state: live, terms: [赌博, 百家乐], except: [{use: p.x}]}]
`), register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
	e := post("t", "赌博,百家乐")
	if got := quote(e, set.Match(new(Scratch), e)); got != "p.a@t:7=百家乐" {
		t.Error(got)
	}
}

// An exception holds up to the end of its last day and is then left out, and the set says when.
func TestExpiry(t *testing.T) {
	day := time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)
	const rule = "id: p.a, category: fraud, state: live, terms: [赌博], except: [赌博电影, {texts: [反赌博], owner: o, reason: r, expires: 2027-03-31}]"
	digests := make(map[string]bool)
	for _, tt := range []struct {
		now  time.Time
		hits int
	}{{day, 0}, {day.Add(24*time.Hour - 1), 0}, {day.Add(24 * time.Hour), 1}} {
		set := load(t, Options{Now: tt.now}, rule)
		if got := set.Match(new(Scratch), post("t", "反赌博")); len(got) != tt.hits {
			t.Errorf("at %s: %d hits", tt.now, len(got))
		}
		want := day.Add(24 * time.Hour)
		if tt.hits == 1 {
			want = time.Time{}
		}
		if set.Expires() != want || set.Stats().Expired != tt.hits {
			t.Errorf("at %s: expires %s, %d have expired", tt.now, set.Expires(), set.Stats().Expired)
		}
		digests[set.Digest()] = true
	}
	if len(digests) != 2 {
		t.Errorf("%d digests", len(digests))
	}
}

// A rule that is rolled out to a part of the users is in shadow for the others, the same ones every
// time, and who is in the part stays in it when it grows.
func TestRollout(t *testing.T) {
	const users = 20_000
	in := make([]int, users) // the smallest share that a user is in
	for _, percent := range []int{1, 10, 50, 99, 100} {
		set := load(t, Options{}, fmt.Sprintf("id: p.a, category: fraud, state: live, terms: [赌博], rollout: %d", percent))
		var sc Scratch
		live := 0
		for i := range users {
			e := post("t", "赌博")
			e.User.ID = fmt.Append(nil, "user-", i)
			hits := set.Match(&sc, e)
			if len(hits) != 1 {
				t.Fatalf("%d hits", len(hits))
			}
			if hits[0].State == Live {
				live++
				if in[i] == 0 {
					in[i] = percent
				}
			} else if in[i] != 0 {
				t.Fatalf("user %d is in %d %% and not in %d %%", i, in[i], percent)
			}
		}
		if want := users * percent / 100; live < want-want/5-20 || live > want+want/5+20 || percent == 100 && live != users {
			t.Errorf("%d %%: %d of %d users", percent, live, users)
		}
	}
	// Shadow rules stay in shadow.
	set := load(t, Options{}, "id: p.a, category: fraud, state: shadow, terms: [赌博]")
	if h := set.Match(new(Scratch), post("t", "赌博")); len(h) != 1 || h[0].State != Shadow {
		t.Errorf("%+v", h)
	}
}

// Parts that stand together are found as by trying all windows.
func TestCombinations(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	words := []string{"甲子", "乙丑", "丙寅", "丁卯", "戊辰"}
	filler := []string{"x", "我", "。", ",", " ", "\u200b", "!", "\n", "1.5", ". "}
	for range share(1000) {
		lists := make([][]string, 1+rng.IntN(3))
		var parts []string
		for i := range lists {
			for range 1 + rng.IntN(2) {
				lists[i] = append(lists[i], words[rng.IntN(4)])
			}
			slices.Sort(lists[i])
			lists[i] = slices.Compact(lists[i])
			parts = append(parts, "["+strings.Join(lists[i], ", ")+"]")
		}
		rule := "id: p.a, category: fraud, state: live, forms: fold, none: [戊辰], "
		if len(lists) == 1 {
			rule += "terms: " + parts[0]
		} else {
			rule += "all: [" + strings.Join(parts, ", ") + "]"
		}
		total := 0
		for _, l := range lists {
			total += len(l)
		}
		distinct := 1
		if total > 1 && rng.IntN(2) == 0 {
			distinct = 2
			rule += ", distinct: 2"
		}
		w := Window{Characters: 1 + rng.IntN(12)}
		switch rng.IntN(3) {
		case 0:
			w = Window{Sentence: true}
			rule += ", within: sentence"
		case 1:
			w = Window{}
		default:
			rule += fmt.Sprintf(", within: %d", w.Characters)
		}
		set := load(t, Options{}, rule)
		for range 10 {
			var text strings.Builder
			for range rng.IntN(14) {
				if rng.IntN(2) == 0 {
					n := 4
					if rng.IntN(4) == 0 {
						n = 5
					}
					text.WriteString(words[rng.IntN(n)])
				} else {
					text.WriteString(filler[rng.IntN(len(filler))])
				}
			}
			want := windowsNaively(lists, "戊辰", distinct, w, text.String())
			var got []int
			for _, h := range set.Match(new(Scratch), post("t", text.String())) {
				got = append(got, h.Start)
			}
			slices.Sort(got)
			got = slices.Compact(got) // one place may be a term of two lists
			if !slices.Equal(got, want) {
				t.Fatalf("%s\n%q\ngot %v, want %v", rule, text.String(), got, want)
			}
		}
	}
}

// windowsNaively returns where the terms begin that hit.
func windowsNaively(lists [][]string, none string, distinct int, w Window, text string) []int {
	// units counts what the window is measured in, up to a place.
	units := func(place int) int {
		n, between := 0, false
		lines := 0
		for i, r := range text[:place] {
			size := utf8.RuneLen(r)
			rest := text[i+size:]
			if w.Sentence {
				blank := rest == "" || rest[0] == ' ' || rest[0] == '\n'
				if r == '。' || r == '!' || r == '.' && blank {
					n++
				}
				if r == '\n' {
					if lines++; lines == 2 {
						n++
					}
				} else if r != ' ' {
					lines = 0
				}
				continue
			}
			if fold.String(string(r)) == "" {
				continue
			}
			is := !strings.ContainsRune("。, !\n.", r)
			if is || !between {
				n++
			}
			between = !is
		}
		return n
	}
	type spot struct{ start, end, from, to int }
	find := func(word string) []spot {
		var list []spot
		for i := range text {
			if strings.HasPrefix(text[i:], word) {
				s := spot{i, i + len(word), units(i), units(i + len(word))}
				if w.Sentence {
					s.to++
				}
				list = append(list, s)
			}
		}
		return list
	}
	length, before := w.Characters, w.Characters
	if w.Sentence {
		length, before = 1, 0
	}
	if w == (Window{}) {
		length, before = 1<<30, 1<<30
	}
	var hits []int
	var starts []spot
	for _, l := range lists {
		for _, word := range l {
			starts = append(starts, find(word)...)
		}
	}
	for _, s := range starts {
		start := s.start
		if w == (Window{}) {
			start = 0
		}
		var inside []int
		different := make(map[string]bool) // of a list: the same word in two is two terms
		ok := true
		for i, l := range lists {
			found := false
			for _, word := range l {
				for _, p := range find(word) {
					if p.start >= start && p.to <= s.from+length {
						found = true
						different[fmt.Sprint(i, word)] = true
						inside = append(inside, p.start)
					}
				}
			}
			ok = ok && found
		}
		for _, p := range find(none) {
			if p.from < s.from+length && p.to > s.from-before {
				ok = false
			}
		}
		if ok && len(different) >= distinct {
			hits = append(hits, inside...)
		}
	}
	slices.Sort(hits)
	return slices.Compact(hits)
}

// A flood of what only sounds like a term does not make one that is meant look doubtful.
func TestPartsFloodOfWeak(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, severity: high, action: reject, state: live, forms: pinyin, terms: [赌博赌], none: [乙丑]")
	e := post("a", strings.Repeat("堵搏赌,", MaxParts), "b", "赌博赌")
	if hits := set.Match(new(Scratch), e); ActionOf(hits) != Reject {
		t.Errorf("%d hits call for %s", len(hits), ActionOf(hits))
	}
}

// What a scratch saw of one set says nothing of another: of a flood the first of each term is kept.
func TestScratchOfManySets(t *testing.T) {
	const one = "id: p.a, category: fraud, state: live, all: [[甲子], [乙丑]]"
	small, large := load(t, Options{}, one), load(t, Options{}, one, "id: p.b, category: fraud, state: live, terms: [丁卯]")
	var sc Scratch
	small.Match(&sc, post("t", "乙丑"))
	if got := large.Match(&sc, post("t", strings.Repeat("甲子。", MaxParts)+"乙丑")); len(got) == 0 {
		t.Error("the rare part of a flood is lost")
	}
}

// A flood of parts makes a hit more likely, never less: neither where the parts stand nor what must
// not stand there is asked any more.
func TestPartsFlood(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, all: [[甲子], [乙丑]], within: 5, none: [丙寅]")
	flood := strings.Repeat("甲子。", MaxParts)
	for text, hit := range map[string]bool{flood: false, flood + "乙丑": true, "乙丑" + flood: true, flood + "丙寅,乙丑": true, flood[:len("甲子。")*100] + "丙寅,乙丑": false} {
		got := set.Match(new(Scratch), post("t", text))
		if len(got) > 0 != hit {
			t.Errorf("%d bytes: %d hits", len(text), len(got))
		}
		if hit && !slices.ContainsFunc(got, func(h Hit) bool { return h.Term == "乙丑" }) && len(got) < DefaultMaxHits {
			t.Errorf("%d bytes: the rare part is not told of", len(text))
		}
	}
}

// However many combinations there are, what is kept of one event is bounded, and all of them still hit.
func TestPartsFloodOfManyRules(t *testing.T) {
	const n = 40
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("id: p.r%d, category: fraud, state: live, all: [[甲子, 乙丑], [丙寅]], within: 5", i))
	}
	set := load(t, Options{}, list...)
	var sc Scratch
	hits := set.Match(&sc, post("t", strings.Repeat("甲子。", MaxParts-1)+"丙寅"))
	if len(sc.parts) > MaxEventParts+n*3 {
		t.Errorf("%d parts are kept", len(sc.parts))
	}
	rules := make(map[string]bool)
	for _, h := range hits {
		rules[h.Rule.ID] = true
	}
	if len(rules) < n-MaxEventParts/MaxParts {
		t.Errorf("%d rules hit", len(rules)) // those that were full before the event was are asked how near the parts stand
	}
}

// Faults of the language have their own words and places.
func TestLanguageRefusals(t *testing.T) {
	rule := func(fields string) string {
		return "pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, " + fields + "}\n"
	}
	tests := []struct{ name, src, want string }{
		{"terms and all", rule("terms: [ab], all: [[ab], [cd]]"), `p.yaml:3:58: rules[0].all: a rule has terms or all, not both; write the terms as one more list of all`},
		{"one list", rule("all: [[ab]]"), `p.yaml:3:45: rules[0].all: has 1 lists; a combination has at least two, write terms for one`},
		{"nothing to combine", rule("terms: [ab], within: 5"), `p.yaml:3:66: rules[0].within: says how near terms stand together, but one term of this rule is enough; give all, distinct or none with it, or take it out`},
		{"no distance", rule("all: [[ab], [cd]], within: near"), `p.yaml:3:72: rules[0].within: "near" says not how near; give a number of characters from 1 to 1000 (rules.MaxWithin), or sentence`},
		{"too far", rule("all: [[ab], [cd]], within: 1001"), `p.yaml:3:72: rules[0].within: "1001" says not how near; give a number of characters from 1 to 1000 (rules.MaxWithin), or sentence`},
		{"more than there are", rule("terms: [ab, cd], distinct: 3"), `p.yaml:3:72: rules[0].distinct: 3 different terms are asked for, of a rule that has 2; it could never hit`},
		{"one of them", rule("terms: [ab, cd], distinct: 1"), `p.yaml:3:72: rules[0].distinct: 1 says nothing; give how many different terms there must be, at least 2`},
		{"nobody", rule("terms: [ab], rollout: 0"), `p.yaml:3:67: rules[0].rollout: 0 is not a percentage; give 1 to 100, or state shadow for a rule that must not act`},
		{"an unknown boundary", rule("terms: [{text: ab, boundary: word}]"), `p.yaml:3:74: rules[0].terms[0].boundary: unknown boundary "word"; known are auto, token, substring`},
		{"case and forms", rule("terms: [{text: ab, case: exact, forms: [leet, squeeze]}]"),
			`p.yaml:3:77: rules[0].terms[0].forms: leet cannot be read where the case of letters counts; case: exact goes with squeeze+spaced`},
		{"no gap", rule("terms: [{text: ab, gap: 0}]"), `p.yaml:3:69: rules[0].terms[0].gap: 0 is out of range; give 1 to 32 (form.MaxGapLength), or forms without squeeze for none`},
		{"two things", rule("terms: [{text: ab, group: p.g}]"), `p.yaml:3:54: rules[0].terms[0]: says twice what it is; give one of text, group, file, detector and pattern, and an entry for each`},
		{"an unknown group", rule("terms: [{group: p.g}]"), `p.yaml:3:61: rules[0].terms[0].group: unknown group "p.g"; there are none`},
		{"no file", rule("terms: [{file: words.txt}]"), `p.yaml:3:60: rules[0].terms[0].file: "words.txt" cannot be read: open words.txt: file does not exist`},
		{"a file elsewhere", rule("terms: [{file: ../words.txt}]"), `p.yaml:3:60: rules[0].terms[0].file: "../words.txt" is not the name of a file of terms beside the packs; give one such as terms.txt`},
		{"an exception that says too little", rule("terms: [ab], except: [{texts: [ab cd], owner: o}]"),
			"p.yaml:3:68: rules[0].except[0].reason: missing; an exception says what it is, who wants it, why, and until when (a day, or never)\n" +
				"p.yaml:3:68: rules[0].except[0].expires: missing; an exception says what it is, who wants it, why, and until when (a day, or never)"},
		{"no day", rule("terms: [ab], except: [{texts: [ab cd], owner: o, reason: r, expires: 31.12.2027}]"),
			`p.yaml:3:114: rules[0].except[0].expires: "31.12.2027" is not a day; write its last day, such as 2027-12-31, or never`},
		{"unknown exceptions", rule("terms: [ab], except: [{use: p.x}]"), `p.yaml:3:73: rules[0].except[0].use: unknown list of exceptions "p.x"; there are none`},
		{"shared and more", "pack: p\nexceptions: [{id: p.x, texts: [ab cd], owner: o, reason: r, expires: never}]\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [ab], except: [{use: p.x, owner: me}]}\n",
			`p.yaml:4:68: rules[0].except[0]: names a shared list and says more; what a shared list says stands where it is`},
		{"an unknown detector", rule("terms: [{detector: fone}]"), `p.yaml:3:64: rules[0].terms[0].detector: unknown detector "fone"; known are url, email, phone, messenger, price`},
		{"a detector in forms", rule("terms: [{detector: phone, forms: all}]"), `p.yaml:3:54: rules[0].terms[0]: says how a term is read, but a detector or a pattern is none; take that out`},
		{"more than there are, without those of none", rule("terms: [ab, cd], none: [ef], distinct: 3"), `p.yaml:3:84: rules[0].distinct: 3 different terms are asked for, of a rule that has 2; it could never hit`},
		{"a pattern of none beside a detector", rule("terms: [{detector: url}], none: [{pattern: ab+}]"), `p.yaml:3:6: rules[0]: has a pattern and no list of terms alone; write all, with a list of terms that must stand there too: only then the pattern is asked`},
		{"a pattern alone", rule("terms: [{pattern: ab+}, cd]"), `p.yaml:3:6: rules[0]: has a pattern and no list of terms alone; write all, with a list of terms that must stand there too: only then the pattern is asked`},
		{"no pattern", rule("all: [[ab], [{pattern: 'a('}]]"), "p.yaml:3:68: rules[0].all[1][0].pattern: no regular expression in RE2 syntax: error parsing regexp: missing closing ): `a(`"},
		{"a pattern of nothing", rule("all: [[ab], [{pattern: 'a*'}]]"), `p.yaml:3:68: rules[0].all[1][0].pattern: "a*" matches nothing at all, too, and so would hit everywhere; write what must be there`},
		{"a long pattern", rule("all: [[ab], [{pattern: '" + strings.Repeat("a", 501) + "'}]]"), `p.yaml:3:68: rules[0].all[1][0].pattern: 501 bytes; at most 500 (rules.MaxPattern)`},
		{"a wrong condition", rule("terms: [ab], when: event.user.gruop == 'minor' && hits.count > 'a'"), "p.yaml:3:64: rules[0].when: at 1:12 of the condition: event.user has no field gruop; did you mean group?\n" +
			"p.yaml:3:64: rules[0].when: at 1:43 of the condition: > does not take (int, string); both sides must be int, both string or both timestamp"},
		{"a group in a group", "pack: p\ngroups: [{id: p.g, terms: [{group: p.h}]}, {id: q.h, terms: []}]\n",
			"p.yaml:2:36: groups[0].terms[0].group: a group holds no groups; give terms\n" +
				"p.yaml:2:49: groups[1].id: \"q.h\" does not begin with the name of its pack; write \"p.h\"\n" +
				`p.yaml:2:54: groups[1].terms: is empty; give at least one term, or take the group out`},
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
	// Of a file of terms, by its lines.
	_, err := Load(packs("p.yaml", rule("terms: [{file: t.txt}]"), "t.txt", "赌博\n赌\n\xff\xff\n"), register(t), Options{Dir: "d"})
	want := "d/t.txt:2:1: \"赌\" is one character; a term has at least two, or it hits everywhere\nd/t.txt:3:1: is not UTF-8; save the file as UTF-8"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// Combinations allocate nothing either.
func TestCombinationAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, all: [[甲子], [乙丑]], within: 5, none: [丙寅]",
		"id: p.b, category: fraud, state: live, terms: [甲子, 乙丑], distinct: 2, rollout: 50")
	e := post("t", strings.Repeat("甲子乙丑,丙寅。我&#25105;<b>我我我甲子一乙丑", 10))
	e.User = event.User{ID: []byte("u")}
	var sc Scratch
	set.Match(&sc, e)
	if n := testing.AllocsPerRun(100, func() { set.Match(&sc, e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A rule can be put in shadow without loading anything anew: its hits stay, what they do ends, and
// the digest tells the two apart.
func TestShadowed(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, action: reject, terms: [赌博]", "id: p.b, category: fraud, state: live, terms: [赌博]",
		"id: p.c, category: fraud, state: shadow, terms: [赌博]")
	shadowed, err := set.Shadowed([]string{"p.a"})
	if err != nil {
		t.Fatal(err)
	}
	actions := func(s *Set) []Action {
		var list []Action
		for _, h := range s.Match(new(Scratch), post("t", "赌博")) {
			list = append(list, ActionOf([]Hit{h}))
		}
		return list
	}
	if got := actions(set); !slices.Equal(got, []Action{Reject, Review, Pass}) {
		t.Errorf("%v", got)
	}
	if got := actions(shadowed); !slices.Equal(got, []Action{Pass, Review, Pass}) {
		t.Errorf("in shadow: %v", got)
	}
	if set.Digest() == shadowed.Digest() || !slices.Equal(shadowed.InShadow(), []string{"p.a"}) {
		t.Errorf("%s, %v", shadowed.Digest(), shadowed.InShadow())
	}
	restored, err := shadowed.Shadowed(nil)
	if err != nil || restored.Digest() != set.Digest() || !slices.Equal(actions(restored), actions(set)) {
		t.Errorf("restored: %v", err)
	}
	for _, id := range []string{"p.x", "p.c"} {
		if _, err := set.Shadowed([]string{id}); err == nil {
			t.Errorf("%s was accepted", id)
		}
	}
	// A rule that is written so is the same.
	written := load(t, Options{}, "id: p.a, category: fraud, state: shadow, action: reject, terms: [赌博]", "id: p.b, category: fraud, state: live, terms: [赌博]",
		"id: p.c, category: fraud, state: shadow, terms: [赌博]")
	if written.Digest() != shadowed.Digest() {
		t.Error("a rule in shadow by its pack makes another digest")
	}
}
