package form

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// reads says what is wrong if a text, read in a hit's form, is not the term. It undoes each form
// by itself, in the plainest way: it shares the tables with the matcher and nothing else.
func reads(surface string, f Form, t *Term) error {
	text := surface
	if f&Decode != 0 {
		var d decoded
		if !d.undo([]byte(text)) {
			return fmt.Errorf("%q has no escape", text)
		}
		text = string(d.text)
	}
	text = fold.String(text)
	if zeros := strings.NewReplacer("○", "〇", "◯", "〇").Replace(text); f&Digits != 0 && zeros != text && reads(zeros, f, t) == nil {
		return nil
	}
	written := []string{fold.String(t.Text)}
	if f&(Split|Emoji|Shape|Initials|Digits) != 0 {
		s := speller{marked: asciiMarks + numerals(), exactOpen: make(map[int]bool)}
		s.spell(0, &Term{Text: t.Text, Forms: f})
		written = append(written, s.written...)
		for _, p := range s.patterns {
			written = append(written, p.Text)
		}
	}
	bare := func(s string) string { return string(appendBare(nil, []byte(s))) }
	switch {
	case f&Pinyin != 0:
		if !soundsAs(bare(text), written[0], t.Syllables) {
			return fmt.Errorf("%q does not sound like %q", text, written[0])
		}
		return nil
	case f&Leet != 0:
		got := strings.Map(func(r rune) rune {
			if c := leetLetter(r); c != 0 {
				return rune(c)
			}
			if fold.ClassOf(r) == fold.Separator {
				return -1
			}
			return r
		}, text)
		want := bare(letters(written[0]))
		if got != want && (f&Repeat == 0 || squashed(got) != squashed(want)) {
			return fmt.Errorf("%q is not %q in letters", got, want)
		}
		return nil
	}
	for _, w := range written {
		if text == w {
			return nil
		}
		if f&(Squeeze|Spaced|Repeat|Digits) == 0 {
			continue
		}
		got, want := bare(text), bare(w)
		if f&Digits != 0 {
			for _, s := range []*string{&got, &want} {
				if n := number(*s); n != "" {
					*s = n
				}
			}
		}
		if f&Repeat != 0 {
			got, want = squashed(got), squashed(want)
		}
		if got == want {
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, written)
}

// squashed has each run of a character once.
func squashed(s string) string { return string(slices.Compact([]rune(s))) }

// soundsAs reports whether a text without separators can be read as the syllables of a term.
func soundsAs(text, term string, least int) bool {
	for _, way := range pronounce(term, least) {
		rest := []rune(way)
		if followSounds([]rune(text), rest) {
			return true
		}
	}
	return false
}

func followSounds(text, way []rune) bool {
	if len(text) == 0 || len(way) == 0 {
		return len(text) == len(way)
	}
	want := syllable(way[0] - syllableRune)
	first, more := readings(text[0])
	if first == want || slices.Contains(more, want) {
		return followSounds(text[1:], way[1:])
	}
	for n := 1; n <= len(text) && n <= 6; n++ {
		one, ok := parseSyllables([]byte(strings.Map(func(r rune) rune {
			if r >= utf8.RuneSelf {
				return '?'
			}
			return r
		}, string(text[:n]))), nil)
		// u stands for ü too, once its dots are folded away.
		names := syllableNames()
		if ok && len(one) == 1 && (one[0] == want || strings.ReplaceAll(names[one[0]], "v", "u") == strings.ReplaceAll(names[want], "v", "u")) &&
			followSounds(text[n:], way[1:]) {
			return true
		}
	}
	return false
}

// What stands at the span of a hit reads, in the hit's form, as the term: on every hit of every
// text of the tables and, where they are at hand, of the samples.
func TestSpans(t *testing.T) {
	words := testWords(t)
	var sc Scratch
	checked := 0
	check := func(m *Matcher, terms []Term, text []byte) {
		m.Find(&sc, text, func(h Hit) bool {
			checked++
			if h.Start < 0 || h.Start >= h.End || h.End > len(text) {
				t.Fatalf("span [%d,%d) of %d bytes", h.Start, h.End, len(text))
			}
			if err := reads(string(text[h.Start:h.End]), h.Form, &terms[h.Term]); err != nil {
				t.Errorf("%q in %q as %s: %v", terms[h.Term].Text, text, h.Form, err)
			}
			return true
		})
	}
	for _, name := range []string{"evasions", "innocent"} {
		var terms []Term
		var texts []string
		for _, r := range rows(t, tableDir()+"/"+name+".tsv", 3) {
			list, text := r.fields[0], r.fields[1]
			if name == "evasions" {
				list, text = r.fields[1], strings.NewReplacer("⟦", "", "⟧", "").Replace(r.fields[2])
			}
			for w := range strings.SplitSeq(unescapeRow(t, list), "|") {
				terms = append(terms, Term{Text: w, Forms: All})
			}
			texts = append(texts, unescapeRow(t, text))
		}
		m, err := New(terms, Options{Words: words})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range texts {
			check(m, terms, []byte(x))
		}
	}
	t.Run("samples", func(t *testing.T) {
		list := dataLines(t, "patterns_mix_10000")
		terms := make([]Term, len(list))
		for i, l := range list {
			terms[i] = Term{Text: string(l), Forms: All}
		}
		m, err := New(terms, Options{Words: words})
		if err != nil {
			t.Fatal(err)
		}
		every := 4
		if testing.Short() || raceEnabled {
			every = 40
		}
		for _, name := range []string{"zh_short", "en", "mixed"} {
			for i, p := range dataLines(t, "posts_"+name) {
				if i%every == 0 {
					check(m, terms, p)
				}
			}
		}
	})
	t.Logf("%d hits", checked)
}

// pieces are what random texts are made of: what each form reads over, and what it does not.
var pieces = [][]string{
	{"赌", "博", "网", "-", " ", "，", "赌", "博"},
	{"f", "u", "c", "k", " ", ".", "F", "\n", "ﬁ"},
	{"a", "b", " ", "1", "@", "!", "0", "5", "$", "(", "-"},
	{"a ", "i ", "u ", "b ", "c ", "d ", "d", "b", "c", ".", ", ", "'", "u"},
	{"go", "to", "hell", " ", "-", "  ", ", ", "l", "h e"},
	{"八", "九", "8", "9", "十", "百", "一", "万", " ", "○", "◯"},
	{"&#36172;", "&lt;", "%E5%8D%9A", "<b>", "</b>", "赌", "博", "\\u8d4c", "&", "x"},
	{"du", "bo", "ji", "赌", "博", "机", " ", "'", "都", "ng"},
	{"&amp;", "&#8220;", "&#128514;", "&nbsp;", "<b>", "</b>", "<br>", "\\n", "%20", "go", "too", "hell", "h", " ", "-", "go"},
	{"&amp;", "&#8220;", "&#128514;", "<b>", "<br>", "赌", "博", "，", " ", "a", "赌", "&"},
	{"二", "○", "六", "◯", "&#9675;", "<b>", "&nbsp;", "一", "十", "&amp;", "6", "，"},
	{"a ", "i ", "u ", "b ", "c ", "d", "&nbsp;", "<b>", "&#39;", "b", "&amp;", "ab", "&#97;"},
	{"du", "bo", "赌", "博", "行", "了", "长", "乐", "🅓", "ü", "é", "㍿", "ﬁ", "，", " ", "the", "1", "e", "\u200b", "机"},
	{"🎲", "\u200b", "\ufe0f", "é", "\xff", "赌", "博", "🐴", "马", "贝", "者"},
}

func randomText(r *rand.Rand, from []string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(from[r.Intn(len(from))])
	}
	return b.String()
}

// usable reports whether a text can be a term.
func usable(text string) bool {
	folded := fold.String(text)
	return utf8.RuneCountInString(folded) > 1 && utf8.RuneCountInString(folded) <= 64 && !strings.ContainsRune(folded, fold.Replacement)
}

func findHits(m *Matcher, sc *Scratch, text []byte) []Hit {
	var hits []Hit
	m.Find(sc, text, func(h Hit) bool {
		h.Pass = 0
		hits = append(hits, h)
		return true
	})
	slices.SortFunc(hits, func(a, b Hit) int {
		return slices.Compare([]int{a.Start, a.End, a.Term, int(a.Form)}, []int{b.Start, b.End, b.Term, int(b.Form)})
	})
	return slices.Compact(hits)
}

// heard returns what is found by its sound, also with the whole text read.
func heard(m *Matcher, sc *Scratch, text []byte, whole bool) []Hit {
	var hits []Hit
	v := visit{m: m, sc: sc, f: func(h Hit) bool {
		hits = append(hits, h)
		return true
	}}
	sc.text.Source = text
	if !whole {
		v.sound(false)
		return hits
	}
	sc.sounds.begin(len(text))
	m.sounds.stretch(&sc.sounds, text, 0)
	clear(sc.sounds.symbols[sc.sounds.n:][:automaton.Padding])
	v.heard()
	return hits
}

func onlyFold(hits []Hit) []Hit {
	return slices.DeleteFunc(slices.Clone(hits), func(h Hit) bool { return h.Form != Fold })
}

// checkForms holds what must be so for any terms and any text: the plain hits are those found
// without further forms; every span reads as its term; and a text is only ruled out without
// being read if it holds nothing.
func checkForms(t *testing.T, texts []string, text []byte, sc *Scratch) {
	t.Helper()
	folds := make([]Term, len(texts))
	all := make([]Term, len(texts))
	for i, w := range texts {
		folds[i] = Term{Text: w, Forms: Fold}
		all[i] = Term{Text: w, Forms: All, Syllables: i % 2 * 2}
	}
	plainly, err := New(folds, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	hits := findHits(m, sc, text)
	if got, want := onlyFold(hits), findHits(plainly, sc, text); !slices.Equal(got, want) {
		t.Fatalf("terms %q\ntext %q\nplain hits with all forms %v\nwith none         %v", texts, text, got, want)
	}
	for _, h := range hits {
		if h.Start < 0 || h.Start >= h.End || h.End > len(text) {
			t.Fatalf("terms %q\ntext %q: span [%d,%d)", texts, text, h.Start, h.End)
		}
		if err := reads(string(text[h.Start:h.End]), h.Form, &all[h.Term]); err != nil {
			t.Fatalf("terms %q\ntext %q: %s as %s: %v", texts, text, texts[h.Term], h.Form, err)
		}
	}
	if m.sounds != nil {
		if got, want := heard(m, sc, text, false), heard(m, sc, text, true); !slices.Equal(got, want) {
			t.Fatalf("terms %q\ntext %q\nby sound %v\nwith nothing passed over %v", texts, text, got, want)
		}
	}
	checkLatin(t, plainly, texts, text, sc)
	checkLatin(t, m, texts, text, sc)
}

func TestForms(t *testing.T) {
	n := 1200
	if testing.Short() || raceEnabled {
		n = 100
	}
	r := rand.New(rand.NewSource(11))
	var sc Scratch
	for range n {
		from := pieces[r.Intn(len(pieces))]
		var terms []string
		for range 1 + r.Intn(4) {
			if w := randomText(r, from, 1+r.Intn(5)); usable(w) {
				terms = append(terms, w)
			}
		}
		if len(terms) == 0 {
			continue
		}
		for range 5 {
			checkForms(t, terms, []byte(randomText(r, from, r.Intn(30))), &sc)
		}
	}
}

func FuzzForms(f *testing.F) {
	f.Add("赌博\ngo to hell", []byte("赌-博 go-to-hell &#36172;博 h e l l"))
	f.Add("8964\nporn\n赌博机", []byte("八九六四 p0rn du bo ji <b>赌</b>博机 %E8%B5%8C博机"))
	f.Add("weed\n哈哈\na片", []byte("w33d weeeed 哈 哈哈 b a片 !d!ot"))
	f.Fuzz(func(t *testing.T, list string, text []byte) {
		var terms []string
		for w := range strings.SplitSeq(list, "\n") {
			if usable(w) && len(terms) < 8 {
				terms = append(terms, w)
			}
		}
		if len(terms) > 0 && len(text) < 4096 {
			checkForms(t, terms, text, new(Scratch))
		}
	})
}

// A control character that nobody sees does not hide a term, wherever among the eight bytes that
// are looked at together it stands.
func TestUnseenInASCII(t *testing.T) {
	for _, forms := range []Form{Fold, All} {
		m, err := New([]Term{{Text: "casino", Forms: forms}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var sc Scratch
		for _, unseen := range []string{"\x7f", "\x00", "\x1f"} {
			for lead := range 17 {
				text := strings.Repeat("x ", lead) + "cas" + unseen + "ino is open now"
				if hits := findAll(m, &sc, text); len(hits) != 1 || hits[0].Start != 2*lead || hits[0].End != 2*lead+7 {
					t.Errorf("%s: %q: %v", forms, text, hits)
				}
			}
		}
	}
}

// An exclusion spares what it says and nothing else: pictures in it count, and one of which
// nothing is left is refused instead of sparing everything.
func TestExclusions(t *testing.T) {
	terms := []Term{{Text: "蛇羊", Forms: All}, {Text: "马牛", Forms: All}, {Text: "赌马", Forms: All}}
	m, err := New(terms, Options{Exclusions: []string{"🐴🐮", "赌🐴"}})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for text, want := range map[string]int{"🐍🐑": 1, "🐴🐮": 0, "看🐴 🐮了": 0, "赌🐴": 0, "赌🐎": 1, "马牛": 1, "赌-马": 1} {
		if hits := findAll(m, &sc, text); len(hits) != want {
			t.Errorf("%q: %v, want %d", text, hits, want)
		}
	}
	for _, nothing := range []string{"-", " . ", "\u200b"} {
		if _, err := New(terms, Options{Exclusions: []string{nothing}}); err == nil {
			t.Errorf("exclusion %q, of which nothing is left, was taken", nothing)
		}
	}
}

// One scratch serves texts of any length, one after another, whatever readings the one before took.
func TestScratchOfAnyText(t *testing.T) {
	m, err := New([]Term{{Text: "casino", Forms: All}, {Text: "2026", Forms: All}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for n := range 200 {
		for text, want := range map[string]int{"a c a s i n o u! ": 1, "二○二六。 ": 1, "c a s i n o! ": 1, "nothing here! ": 0} {
			if hits := findAll(m, &sc, strings.Repeat(text, n)); len(hits) != n*want {
				t.Fatalf("%d times %q: %d hits, want %d", n, text, len(hits), n*want)
			}
		}
	}
}

// A character that folds to one beyond the basic plane sounds like it, and each alone is read.
func TestSoundBeyondBasicPlane(t *testing.T) {
	m, err := New([]Term{{Text: "絍博机", Forms: All}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for _, text := range []string{"絍博朞", "𫟃博朞", "看絍博朞A0", "ren bo ji", "𫟃-博 ji"} {
		if hits := findAll(m, &sc, text); len(hits) != 1 || hits[0].Form != Pinyin {
			t.Errorf("%q: %v, want one hit by its sound", text, hits)
		}
	}
}

// A stream that has room for the symbols only, after a reading that added to it, is given more.
func TestStreamGrows(t *testing.T) {
	s := stream{symbols: make([]automaton.Symbol, 0, 100+automaton.Padding), from: make([]uint32, 0, 10)}
	if s.grow(100); cap(s.from) < 101 {
		t.Errorf("room for %d places of 100 symbols and the end", cap(s.from))
	}
}

// An encoded surrogate hides no term beside it, moves no span, and nothing is read over it, as over
// no other byte that is not UTF-8; written as an escape neither.
func TestSurrogates(t *testing.T) {
	m, err := New([]Term{{Text: "赌博", Forms: All}, {Text: "casino", Forms: All}, {Text: "百家乐", Forms: All}, {Text: "8964", Forms: All}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for _, surrogate := range []string{"\xed\xa0\x80", "\xed\xb0\x80", "\xed\xa0\x80\xed\xb0\x80", "\xed\xa0", `\ud800`, "%ED%A0%80"} {
		for text, want := range map[string]string{
			"S赌博S":               "赌博",
			"S赌-S-博，赌-博S":        "赌-博",
			"赌S博":                "",
			"casSino S casino S": "casino",
			"S c a s i n o S":    "c a s i n o",
			"c a s S i n o":      "",
			"S c4s1n0! S":        "c4s1n0",
			"bai Sjia le":        "",
			"S bai jia le S":     "bai jia le",
			"八九S六四 S，八九六四，S":     "八九六四",
			"S&#36172;博S":        "&#36172;博",
		} {
			text = strings.ReplaceAll(text, "S", surrogate)
			got := ""
			for _, h := range findAll(m, &sc, text) {
				got += text[h.Start:h.End]
			}
			if got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}
	}
}

// What a term takes is what the memory budget is said to have room for: many terms without split,
// about 140,000 with it, and more in all forms.
func TestMemoryOfATerm(t *testing.T) {
	const sure = Fold | Squeeze | Repeat | Spaced | Decode | Leet | Digits
	for _, name := range []string{"patterns_zh_10000", "patterns_mix_10000"} {
		list := dataLines(t, name)
		for forms, most := range map[Form]int64{Fold: 130, sure: 200, sure | Split: automaton.DefaultMemoryBudget / 140_000, All: 3200} {
			terms := make([]Term, len(list))
			for i, l := range list {
				terms[i] = Term{Text: string(l), Forms: forms}
			}
			m, err := New(terms, Options{})
			if err != nil {
				t.Fatal(err)
			}
			few, err := New(terms[:10], Options{})
			if err != nil {
				t.Fatal(err)
			}
			if each := (m.Memory() - few.Memory()) / int64(len(terms)); each > most {
				t.Errorf("%s, %s: %d bytes a term, want at most %d", name, forms, each, most)
			}
		}
	}
}

// Terms that are one character again and again, or a character alone, are found beside terms that
// ask for more forms as they are without those.
func TestRepetitionsBesideOtherForms(t *testing.T) {
	for _, word := range []string{"666", "哈哈", "xx", "一一", "x", "$$"} {
		terms := []Term{{Text: word, Forms: Fold, Substring: true}, {Text: "赌博", Forms: All}}
		m, err := New(terms, Options{})
		if err != nil {
			t.Fatal(err)
		}
		alone, err := New(terms[:1], Options{})
		if err != nil {
			t.Fatal(err)
		}
		var sc Scratch
		for _, around := range []string{"", " ", "啊", word, "-" + word + "，"} {
			text := []byte(around + word + around)
			if got, want := findHits(m, &sc, text), findHits(alone, &sc, text); !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("%q in %q: %v, alone %v", word, text, got, want)
			}
		}
	}
}

// Nothing is allocated once the scratch has grown, whatever the text asks for.
func TestFindAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	m, err := New([]Term{{Text: "赌博机", Forms: All}, {Text: "go to hell", Forms: All}, {Text: "哈哈", Forms: All}}, Options{Words: testWords(t)})
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{
		[]byte("哈哈哈，赌-博-机 du bo ji 读播鸡 &#36172;博机 &amp; g0 t0 hell"),
		[]byte("you &amp; them, make a go to hell &#128514; of it"),
		[]byte(strings.Repeat("重庆银行长乐，the quick ﷺ %20 brown\\n<b>", 40)),
	}
	var sc Scratch
	all := func() {
		for _, text := range texts {
			m.Find(&sc, text, func(Hit) bool { return true })
		}
	}
	all()
	if n := testing.AllocsPerRun(20, all); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
