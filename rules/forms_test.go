package rules

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// shippedWords returns the ordinary words as shipped.
func shippedWords(tb testing.TB) *form.Words {
	tb.Helper()
	read := func(name string) []byte {
		src, err := os.ReadFile(filepath.Join("..", "configs", "words", name))
		if err != nil {
			tb.Fatal(err)
		}
		return src
	}
	words, err := form.NewWords("configs/words/zh.txt", read("zh.txt"), read("en.txt"))
	if err != nil {
		tb.Fatal(err)
	}
	return words
}

// quoteForms writes hits as quote does, with their forms.
func quoteForms(e *event.Event, hits []Hit) string {
	var parts []string
	for _, h := range hits {
		parts = append(parts, fmt.Sprintf("%s/%s", quote(e, []Hit{h}), h.Form))
	}
	return strings.Join(parts, " ")
}

// The forms of a rule are a list, or the word all; fold is understood.
func TestForms(t *testing.T) {
	for src, want := range map[string]form.Form{
		"":                                 DefaultForms(Low),
		", forms: all":                     form.All,
		", forms: [all]":                   form.All,
		`, forms: "all"`:                   form.All,
		", forms: fold":                    form.Fold,
		", forms: [fold]":                  form.Fold,
		", forms: squeeze":                 form.Fold | form.Squeeze,
		", forms: [shape, fold, initials]": form.Fold | form.Initials | form.Shape,
		", forms: [" + strings.Join(form.Names(), ", ") + "]": form.All,
	} {
		set := load(t, Options{}, "id: p.a, category: fraud, severity: low, state: live, terms: [赌博]"+src)
		if got := set.Rules()[0].Forms; got != want {
			t.Errorf("%q: %s, want %s", src, got, want)
		}
	}
	// On a line of its own, as people write it.
	set, err := Load(packs("p.yaml", "pack: p\nrules:\n  - id: p.a\n    category: fraud\n    state: live\n    terms: [ab]\n    forms:\n      - leet\n      - repeat\n"), register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Rules()[0].Forms; got != form.Fold|form.Leet|form.Repeat {
		t.Error(got)
	}
}

// A rule that does not say is read in the forms that suit its severity, its own or its category's.
func TestDefaultForms(t *testing.T) {
	for severity, want := range map[Severity]string{
		Low:      "squeeze+repeat+spaced+decode",
		Medium:   "squeeze+repeat+spaced+leet+decode+digits",
		High:     "squeeze+repeat+spaced+leet+decode+digits+split",
		Critical: "squeeze+repeat+spaced+leet+decode+digits+split+pinyin",
	} {
		if got := DefaultForms(severity); got.String() != want || got&form.Fold == 0 {
			t.Errorf("%s: %s, want %s", severity, got, want)
		}
		set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博], severity: "+severity.String())
		if got := set.Rules()[0].Forms; got != DefaultForms(severity) {
			t.Errorf("%s: a rule has %s", severity, got)
		}
	}
	set := load(t, Options{}, "id: p.a, category: gambling, state: live, terms: [赌博]") // of high severity
	if got := set.Rules()[0].Forms; got != DefaultForms(High) {
		t.Error(got)
	}
}

// A rule hits in the forms it asks for, and in no other, though another rule asks for them for the
// same term.
func TestFormsOfARule(t *testing.T) {
	texts := map[string]string{
		"fold": "賭博 c asino", "squeeze": "赌-博 free😀bet", "repeat": "caaaasino", "spaced": "c a s i n o", "leet": "c4s1n0",
		"decode": "&#36172;博", "digits": "八九六四", "split": "贝者博", "pinyin": "bai jia le", "initials": "bjl", "emoji": "🎰", "shape": "堵博",
	}
	const terms = `terms: [赌博, 百家乐, casino, free bet, "8964", 老虎机]`
	var sc Scratch
	for _, name := range form.Names() {
		f, err := form.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		set := load(t, Options{},
			"id: p.one, category: fraud, state: live, "+terms+", forms: "+name,
			"id: p.fold, category: fraud, state: live, "+terms+", forms: fold",
			"id: p.all, category: fraud, state: live, "+terms+", forms: all")
		for of, text := range texts {
			e := post("text", text)
			ids := map[string]bool{}
			for _, h := range set.Match(&sc, e) {
				ids[h.Rule.ID] = true
				if h.Form&^(h.Rule.Forms) != 0 {
					t.Errorf("%s, %q: rule with %s hits in %s", name, text, h.Rule.Forms, h.Form)
				}
				if h.Rule.ID == "p.one" && of != "fold" && h.Form != f {
					t.Errorf("%s, %q: hit in %s", name, text, h.Form)
				}
			}
			if !ids["p.all"] {
				t.Errorf("%s, %q: not hit with all forms", name, text)
			}
			if ids["p.one"] != (of == name || of == "fold") || ids["p.fold"] != (of == "fold") {
				t.Errorf("%s, %q: hit by %v", name, text, ids)
			}
		}
	}
}

// Of the ways in which a term can be read in one place the plainest is reported, and one that is
// sure rather than one of lower confidence.
func TestPlainestReading(t *testing.T) {
	set := load(t, Options{}, `id: p.a, category: fraud, state: live, terms: [赌博, 百家乐, casino, "8964", 哈哈], forms: all`,
		"id: p.b, category: fraud, state: live, terms: [百家乐], forms: [initials, pinyin, decode]")
	for _, tt := range []struct{ text, want string }{
		{"赌博", "p.a@text:0=赌博/fold"},
		{"赌 博", "p.a@text:0=赌 博/squeeze"},
		{"赌博 赌-博 赌博", "p.a@text:0=赌博/fold p.a@text:7=赌-博/squeeze p.a@text:15=赌博/fold"},
		{"赌赌博博", "p.a@text:3=赌博/fold"},
		{"赌赌 博博", "p.a@text:3=赌 博/squeeze"},
		{"casino", "p.a@text:0=casino/fold"},
		{"c4sino casino", "p.a@text:0=c4sino/leet p.a@text:7=casino/fold"},
		{"8964", "p.a@text:0=8964/fold"},
		{"哈哈", "p.a@text:0=哈哈/fold"},
		{"哈哈哈", "p.a@text:0=哈哈/fold p.a@text:3=哈哈/fold"},
		{"百家乐", "p.a@text:0=百家乐/fold p.b@text:0=百家乐/fold"},
		{"白家乐", "p.a@text:0=白家乐/shape p.b@text:0=白家乐/pinyin"},
		{"佰家乐", "p.a@text:0=佰家乐/pinyin p.b@text:0=佰家乐/pinyin"},
		{"bai家le", "p.a@text:0=bai家le/pinyin p.b@text:0=bai家le/pinyin"},
		// By its sound in the text as it is, and for sure in the text without escapes.
		{"百家&#x4e50;", "p.a@text:0=百家&#x4e50;/decode p.b@text:0=百家&#x4e50;/decode"},
		{"<b>赌</b>博", "p.a@text:3=赌</b>博/decode"},
		{"赌&#21338;博", "p.a@text:0=赌&#21338;/decode"},
	} {
		e := post("text", tt.text)
		if got := quoteForms(e, set.Match(new(Scratch), e)); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// An exception holds in every form of its rule: it cancels what it covers, however both are
// written, and nothing else.
func TestExceptionsInForms(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, casino, 百家乐, aa, 哈哈], except: [反赌博宣传, anti casino, 反百家乐, xx aa, 笑哈哈], forms: all")
	for _, tt := range []struct{ text, want string }{
		{"反赌博宣传", ""},
		{"反-赌-博-宣-传", ""},
		{"反赌-博宣传", ""},
		{"反-赌博-宣-传", ""},
		{"反反赌赌博博宣宣传传", ""},
		{"反贝者博宣传", ""},
		{"反 赌 博 宣 传", ""},
		{"反&#36172;博宣传", ""},
		{"反-赌-博", "p.a@text:4=赌-博/squeeze"},
		{"反-赌-博-宣-传，赌-博", "p.a@text:22=赌-博/squeeze"},
		{"赌-博。反-赌-博-宣-传", "p.a@text:0=赌-博/squeeze"},
		{"反赌博，宣传", "p.a@text:3=赌博/fold"},
		{"anti casino", ""},
		{"anti-casino", ""},
		{"Anti  C4sino", ""},
		{"ant1 casino", ""},
		{"a n t i c a s i n o", ""},
		{"anti casinos casino", "p.a@text:13=casino/fold"},
		{"anti. casino", "p.a@text:6=casino/fold"},
		{"fan bai jia le", ""},
		{"反白家乐", ""},
		{"fan，bai jia le", "p.a@text:6=bai jia le/pinyin"},
		{"xx aa", ""},
		{"xx aa aa", "p.a@text:6=aa/fold"},
		{"笑哈哈", ""},
		{"笑哈哈，哈哈", "p.a@text:12=哈哈/fold"},
	} {
		e := post("text", tt.text)
		if got := quoteForms(e, set.Match(new(Scratch), e)); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// An exception cancels what it covers in the text as it was received, in whatever readings the two
// are found: written out of escapes it spares what stands plainly, and the other way round. One
// that is only heard or seen into the text spares nothing that is there for sure.
func TestExceptionsAcrossReadings(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, 百家乐, casino, \"8964\", 哈哈], except: [反赌博, 反百家乐, anti casino, 记8964号, 笑哈哈], forms: all")
	for _, tt := range []struct{ text, want string }{
		{"&#21453;赌博", ""},
		{"%E5%8F%8D赌博", ""},
		{"<b>反</b>赌博", ""},
		{"反赌&#21338;", ""},
		{"反 贝者博", ""},
		{"反，&#21453;赌-博", ""},
		{"&#21453;赌博，赌博", "p.a@text:17=赌博/fold"},
		{"赌博&#21453;赌博，", "p.a@text:0=赌博/fold"},
		{"记八九六四号，8964", "p.a@text:21=8964/fold"},
		{"ant1 casino", ""},
		{"&#97;nti casino", ""},
		{"&#21453;白家乐", ""},                      // both by sound
		{"番百家乐", "p.a@text:3=百家乐/fold"},          // sounds alike: the exception only may be there
		{"fan百家乐", "p.a@text:3=百家乐/fold"},        // the same, typed
		{"番白家乐", ""},                             // so may the term
		{"仅赌博", "p.a@text:3=赌博/fold"},            // looks alike
		{"&#21453;。赌博", "p.a@text:11=赌博/fold"},   // another sentence
		{"笑&#21704;哈 哈哈", "p.a@text:15=哈哈/fold"}, // what stands behind is another
		{"笑哈哈哈", "p.a@text:6=哈哈/fold"},
	} {
		e := post("text", tt.text)
		if got := quoteForms(e, set.Match(new(Scratch), e)); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// The limit of hits hides nothing behind a flood of hits in other forms, of exceptions in other
// forms, or of readings of lower confidence.
func TestMaxHitsInForms(t *testing.T) {
	set := load(t, Options{MaxHits: 3},
		"id: p.a, category: fraud, state: live, terms: [百家乐, 赌博], except: [反赌博宣传], forms: all",
		"id: p.b, category: fraud, state: live, terms: [刷单], forms: all",
		"id: p.c, category: fraud, state: live, terms: [casino], forms: all")
	var sc Scratch
	hit := func(e *event.Event) string {
		var parts []string
		for _, h := range set.Match(&sc, e) {
			parts = append(parts, h.Rule.ID+"/"+h.Form.String())
		}
		return strings.Join(parts, " ")
	}
	flood := func(text string) string { return strings.Repeat(text, 5_000) }
	for _, tt := range []struct {
		e    *event.Event
		want string
	}{
		{post("t", flood("赌-博。")), "p.a/squeeze p.a/squeeze p.a/squeeze"},
		{post("t", flood("赌-博。")+"刷/单 c4s1n0 "+flood("赌赌博")), "p.a/squeeze p.a/squeeze p.a/squeeze p.b/squeeze p.c/leet"},
		{post("t", flood("赌博")+"刷&#21333;"+flood("赌博")+"c a s i n o"), "p.a/fold p.a/fold p.a/fold p.b/decode p.c/spaced"},
		{post("t", flood("反-赌-博-宣-传。")), ""},
		{post("t", flood("反-赌-博-宣-传。")+"赌-博 &#36172;博"), "p.a/squeeze p.a/decode"},
		// What only sounds like a term comes by the thousand: rules that are hit for sure still are.
		{post("t", flood("佰家乐。")), "p.a/pinyin p.a/pinyin p.a/pinyin"},
		{post("t", flood("佰家乐。")+"刷单"), "p.a/pinyin p.a/pinyin p.b/fold"},
		{post("t", flood("白家乐。")+"c4s1n0"+flood("白家乐。")), "p.a/shape p.a/shape p.a/shape p.c/leet"},
		{post("t", flood("佰家乐。")+"&#36172;博"), "p.a/pinyin p.a/pinyin p.a/pinyin p.a/decode"},
		{post("t", flood("佰家乐。"), "u", "赌博"), "p.a/pinyin p.a/pinyin p.a/pinyin p.a/fold"},
		{post("t", flood("佰家乐。"), "u", flood("佰家乐。"), "v", flood("百家乐。")), "p.a/pinyin p.a/pinyin p.a/pinyin p.a/fold"},
	} {
		if got := hit(tt.e); got != tt.want {
			text := tt.e.Fields[0].Text
			t.Errorf("%q: got %s, want %s", text[max(0, len(text)-60):], got, tt.want)
		}
	}
}

// Hits of all forms come sorted by field, place and rule.
func TestSortedInForms(t *testing.T) {
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, casino, 百家乐], forms: all",
		"id: p.b, category: fraud, state: live, terms: [赌博, 博casino], forms: all")
	e := post("t", "bai jia le 赌-博 c4sino &#36172;博casino 贝者博", "u", "c a s i n o 赌博")
	want := "p.a@t:0=bai jia le/pinyin p.a@t:11=赌-博/squeeze p.b@t:11=赌-博/squeeze p.a@t:19=c4sino/leet " +
		"p.a@t:26=&#36172;博/decode p.b@t:26=&#36172;博/decode p.b@t:34=博casino/fold p.a@t:37=casino/fold " +
		"p.a@t:44=贝者博/split p.b@t:44=贝者博/split p.a@u:0=c a s i n o/spaced p.a@u:12=赌博/fold p.b@u:12=赌博/fold"
	if got := quoteForms(e, set.Match(new(Scratch), e)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// mixture is texts that take every reading of a set with all forms.
var mixture = []string{
	"今天早上在滨江公园跑了五公里，膝盖还行。赌-博 赌赌博博，反-赌-博-宣-传",
	"We met at the c4s1n0 and played b a c c a r a t for $20; the FREEEE beeet was no good.",
	"赌&#21338; %E8%B5%8C博 \\u8d4c\\u535a <b>赌</b>博 &amp;nbsp; 100% &&&",
	"🎰🎲 赌🎰博 ➀➁➂ 八九六四 捌玖陆肆 8-9-6-4",
	"wo men qu wan bai jia le ba, baijiale, bjl, 白家乐",
	"贝者博 者贝 氵者 百家东 㪘\xff\xfe赌",
}

// allForms is a set with every form, exceptions and a shadow rule.
func allFormsSet(tb testing.TB, o Options) *Set {
	return load(tb, o,
		"id: p.a, category: fraud, state: live, terms: [赌博, 百家乐, casino, free bet, 哈哈, aa], except: [反赌博宣传, anti casino, 百家乐器], forms: all",
		`id: p.b, category: fraud, state: shadow, terms: ["8964", 老虎机, baccarat, ab c], forms: all`,
		"id: p.c, category: fraud, state: live, terms: [赌博], forms: fold, fields: [a]")
}

// One scratch serves sets with and without forms in turn.
func TestScratchInForms(t *testing.T) {
	all := allFormsSet(t, Options{})
	fold := differentialSet(t, "[fold]")
	var sc Scratch
	for range 3 {
		for _, text := range mixture {
			e := post("a", text, "b", "赌&#21338; ab a", "c", text)
			for _, set := range []*Set{all, fold} {
				want := quoteForms(e, set.Match(new(Scratch), e))
				if got := quoteForms(e, set.Match(&sc, e)); got != want {
					t.Fatalf("%q:\n got %s\nwant %s", text, got, want)
				}
			}
		}
	}
}

// Matching allocates nothing, whatever the forms and the text.
func TestAllocationsInForms(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, set := range map[string]*Set{
		"all":           allFormsSet(t, Options{}),
		"all and words": allFormsSet(t, Options{Words: shippedWords(t), Exclusions: []string{"白家乐"}}),
		"default":       load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, casino], except: [反赌博宣传]"),
		"fold":          differentialSet(t, "[fold]"),
	} {
		var sc Scratch
		for _, text := range mixture {
			e := post("a", strings.Repeat(text, 20), "b", text)
			set.Match(&sc, e)
			if n := testing.AllocsPerRun(50, func() { set.Match(&sc, e) }); n != 0 {
				t.Errorf("%s, %q: %v allocations", name, text, n)
			}
		}
	}
}

// Any number of goroutines may match with one set in all its forms (run with -race).
func TestConcurrencyInForms(t *testing.T) {
	set := allFormsSet(t, Options{Words: shippedWords(t), Exclusions: []string{"白家乐"}})
	var events []*event.Event
	var want []string
	for _, text := range mixture {
		e := post("a", text, "b", text)
		events = append(events, e)
		want = append(want, quoteForms(e, set.Match(new(Scratch), e)))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var sc Scratch
			for range 50 {
				for i, e := range events {
					if got := quoteForms(e, set.Match(&sc, e)); got != want[i] {
						t.Errorf("got %s, want %s", got, want[i])
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// More forms find more, and change nothing about what stands in a text as it is: without
// exceptions it is found just so, and of what exceptions cancel nothing comes back.
func TestFormsAgainstFold(t *testing.T) {
	fold, all := differentialSet(t, "[fold]"), differentialSet(t, "all")
	plain := func(terms string) string {
		return "id: p.a, category: fraud, state: live, terms: [" + terms + "], forms: "
	}
	const terms = "赌博, ab, aa, 博宣, 株式, ab a, 博博, c d"
	foldOnly, allOnly := load(t, Options{MaxHits: 10_000}, plain(terms)+"fold"), load(t, Options{MaxHits: 10_000}, plain(terms)+"all")
	asItIs := func(hits []Hit) []Hit {
		return slices.DeleteFunc(slices.Clone(hits), func(h Hit) bool { return h.Form != form.Fold })
	}
	place := func(h Hit) Hit { h.pass, h.Rule = 0, nil; return h }
	var one, two Scratch
	for name, pieces := range alphabets {
		random := rand.New(rand.NewPCG(7, 8))
		found := 0
		for range 15_000 {
			text := randomText(random, pieces, 14)
			e := post("a", text)
			e.Kind = event.Push
			want, got := foldOnly.Match(&one, e), asItIs(allOnly.Match(&two, e))
			found += len(want)
			if !slices.EqualFunc(want, got, func(a, b Hit) bool { return place(a) == place(b) }) {
				t.Fatalf("%q: %s as it is with all forms, want %s", text, quote(e, got), quote(e, want))
			}
			want = fold.Match(&one, e)
			for _, h := range asItIs(all.Match(&two, e)) {
				if !slices.ContainsFunc(want, func(w Hit) bool { return w.Rule.ID == h.Rule.ID && place(w) == place(h) }) {
					t.Fatalf("%q: %s with all forms, which an exception cancels with one", text, quote(e, []Hit{h}))
				}
			}
		}
		if found < 5_000 {
			t.Errorf("%s: only %d hits", name, found)
		}
	}
}

// A text of ASCII alone is mostly judged by its tokens, without being decoded. A character behind it that
// rules this out changes nothing about what is found.
func TestFormsOfASCII(t *testing.T) {
	set := allFormsSet(t, Options{MaxHits: 10_000, Words: shippedWords(t)})
	pieces := []string{"casino", "cas", "ino", "c", "a", "s", "i", "n", "o", "4", "1", "0", "$", "@", "|", "!", "free", "bet", "fr33", "b3t", "freee", "aa", "aaa", "ab c", "8964",
		"8", "9", "6", "4", "baccarat", "bacarat", "anti", "bai jia", " le", "bjl", "c a s i", " n o", "free-", "c4s", "&#97;", "%61", "<b>", "\\u0061", "good", " ", " ", " ", ".", ", ", "-", "_", "\n", "\x7f", "\x01", "'"}
	random := rand.New(rand.NewPCG(9, 10))
	var one, two Scratch
	found := make(map[string]int)
	for range share(60_000) {
		text := randomText(random, pieces, 20)
		e, behind := post("a", text), post("a", text+"。赌")
		hits := set.Match(&one, e)
		got, want := quoteForms(e, hits), quoteForms(behind, set.Match(&two, behind))
		if got != want {
			t.Fatalf("%q: got %s\nwant %s", text, got, want)
		}
		for _, h := range hits {
			found[h.Form.String()]++
		}
	}
	for _, f := range []form.Form{form.Fold, form.Squeeze, form.Repeat, form.Spaced, form.Leet, form.Decode, form.Pinyin, form.Initials} {
		if found[f.String()] < share(10) {
			t.Errorf("%s: %d hits", f, found[f.String()])
		}
	}
}

// isWritten reports whether a folded character is more than a separator.
func isWritten(r rune) bool { return fold.ClassOf(r) != fold.Separator }

// Every term that a pack may hold hits in all forms where it stands alone, under ordinary words and
// whatever the limit of hits.
func TestSelfTestInForms(t *testing.T) {
	terms := []string{"aa", "a b", "a a", "c++", "c# c", "8964", "110", "一一零", "a-b", "- -", "...", "哈哈", "哈哈哈", "哈哈 哈", "哈-哈", "𠮷野家",
		"ⅲⅲ", "㍿㍿", "贝者", "🎰🎰", "bai jia le", "bjl", "百家乐", "赌赌博", "大麻", "大麻烦", "&#36172;", "&amp;", "%41", "<b>", "100%", "good", "god", "goood",
		"p0rn", "l33t", "$ex", "@@", "fuuuck", "f u c k", "f u", "b.et", "don't", "слово", "кот ы", "ไทยไทย", "한국", "日本の", "ab赌博", "赌博ab", "赌 博", "…", "！？"}
	terms = slices.DeleteFunc(terms, func(s string) bool { return len([]rune(s)) < 2 })
	var quoted []string
	for _, s := range terms {
		quoted = append(quoted, fmt.Sprintf("%q", s))
	}
	// An exclusion of which nothing is left without separators is refused.
	exclusions := slices.DeleteFunc(slices.Clone(terms), func(term string) bool { return !strings.ContainsFunc(fold.String(term), isWritten) })
	for _, forms := range append(form.Names(), "all") {
		src := "pack: p\nrules:\n"
		for i, q := range quoted { // a rule each, and one with all of them
			src += fmt.Sprintf("  - {id: p.r%d, category: fraud, state: live, terms: [%s], forms: %s}\n", i, q, forms)
		}
		src += fmt.Sprintf("  - {id: p.all, category: fraud, state: shadow, terms: [%s], forms: %s}\n", strings.Join(quoted, ", "), forms)
		for _, o := range []Options{{}, {MaxHits: 1, Words: shippedWords(t), Exclusions: exclusions}} {
			set, err := Load(packs("p.yaml", src), register(t), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := set.SelfTest(); err != nil {
				t.Errorf("%s: %v", forms, err)
			}
		}
	}
}

// Forms, words and exclusions change verdicts, so they change the digest; how a list is ordered
// does not.
func TestDigestOfForms(t *testing.T) {
	const base = "id: p.a, category: fraud, severity: low, state: live, terms: [赌博, 百家乐]"
	words := func(han, latin string) *form.Words {
		w, err := form.NewWords("words", []byte(han), []byte(latin))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	digest := load(t, Options{}, base).Digest()
	written := strings.ReplaceAll(DefaultForms(Low).String(), "+", ", ")
	for name, set := range map[string]*Set{
		"the default written out": load(t, Options{}, base+", forms: [fold, "+written+"]"),
		"fold understood":         load(t, Options{}, base+", forms: ["+written+"]"),
		"another order":           load(t, Options{}, base+", forms: [decode, spaced, repeat, squeeze]"),
		"no words, no exclusions": load(t, Options{Exclusions: []string{}}, base),
	} {
		if set.Digest() != digest {
			t.Errorf("%s: another digest", name)
		}
	}
	if load(t, Options{}, base+", forms: all").Digest() != load(t, Options{}, base+", forms: ["+strings.Join(form.Names(), ", ")+"]").Digest() {
		t.Error("all is not all")
	}
	if load(t, Options{Exclusions: []string{"白家乐", "百加乐"}}, base).Digest() != load(t, Options{Exclusions: []string{"百加乐", "白家乐"}}, base).Digest() {
		t.Error("the order of exclusions changes the digest")
	}
	seen := map[string]string{digest: "the base"}
	for name, set := range map[string]*Set{
		"one form less":      load(t, Options{}, base+", forms: [squeeze, repeat, spaced]"),
		"one form more":      load(t, Options{}, base+", forms: [squeeze, repeat, spaced, decode, leet]"),
		"fold only":          load(t, Options{}, base+", forms: fold"),
		"all":                load(t, Options{}, base+", forms: all"),
		"words":              load(t, Options{Words: words("百家 10\n", "")}, base),
		"other words":        load(t, Options{Words: words("百家 11\n", "")}, base),
		"Latin words":        load(t, Options{Words: words("", "good\n")}, base),
		"exclusions":         load(t, Options{Exclusions: []string{"白家乐"}}, base),
		"another exclusion":  load(t, Options{Exclusions: []string{"百加乐"}}, base),
		"words, exclusions":  load(t, Options{Words: words("百家 10\n", ""), Exclusions: []string{"白家乐"}}, base),
		"the same for other": load(t, Options{}, strings.Replace(base, "百家乐", "百家东", 1)),
	} {
		if before := seen[set.Digest()]; before != "" {
			t.Errorf("%s: the same digest as %s", name, before)
		}
		seen[set.Digest()] = name
	}
}
