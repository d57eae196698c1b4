package automaton

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// occurrence is what a search reports, and what the naive one does.
type occurrence struct {
	pattern    uint32
	start, end int // bytes of the original
}

// found returns what the automaton finds in a text.
func found(a *Automaton, t *Text, sc *Scratch, text []byte) []occurrence {
	a.Decode(t, text)
	var list []occurrence
	for a.Start(sc, t.Symbols); a.Next(sc); {
		list = appendOccurrences(list, a, t, sc.Hits)
	}
	return sorted(list)
}

func appendOccurrences(list []occurrence, a *Automaton, t *Text, hits []Hit) []occurrence {
	for _, h := range hits {
		start, end := t.Span(int(h.Start), int(h.End))
		for _, p := range a.Patterns(h.Entry) {
			list = append(list, occurrence{p, start, end})
		}
	}
	return list
}

func sorted(list []occurrence) []occurrence {
	slices.SortFunc(list, inOrder)
	return list
}

func inOrder(a, b occurrence) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.pattern, b.pattern))
}

// naive is the specification: every occurrence of every pattern in the folded text.
// An entry whose patterns disagree is restricted only if all of them are, so naive
// looks at all patterns with one text.
func naive(patterns []Pattern, text []byte) []occurrence {
	type char struct {
		r        rune
		off, end int
	}
	var t []char
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError {
			t = append(t, char{-1, i, i + n})
		} else {
			for _, f := range fold.String(string(r)) {
				t = append(t, char{f, i, i + n})
			}
		}
		i += n
	}
	token := func(i int) bool { return i >= 0 && i < len(t) && t[i].r >= 0 && fold.ClassOf(t[i].r) == fold.Token }
	open := make(map[string]bool)
	for _, p := range patterns {
		open[p.Text] = open[p.Text] || p.Substring
	}
	var list []occurrence
	for id, p := range patterns {
		q := []rune(p.Text)
	next:
		for i := 0; i+len(q) <= len(t); i++ {
			for d, r := range q {
				if t[i+d].r != r {
					continue next
				}
			}
			j := i + len(q)
			if !open[p.Text] && (token(i-1) && token(i) || token(j-1) && token(j)) {
				continue
			}
			list = append(list, occurrence{uint32(id), t[i].off, t[j-1].end})
		}
	}
	return sorted(list)
}

// compiled returns the automaton for patterns that are none to refuse.
func compiled(tb testing.TB, patterns []Pattern, o Options) *Automaton {
	tb.Helper()
	a, err := New(patterns, o)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// check compares a search with the naive one, also when patterns are done with after
// their first occurrence, and with walks.
func check(t *testing.T, a *Automaton, patterns []Pattern, text []byte, tx *Text, sc *Scratch) {
	t.Helper()
	want := naive(patterns, text)
	if got := found(a, tx, sc, text); !slices.Equal(got, want) {
		t.Fatalf("patterns %+v\ntext %q\n got %v\nwant %v", patterns, text, got, want)
	}
	a.Decode(tx, text)
	seen := make(map[uint32]bool)
	for a.Start(sc, tx.Symbols); a.Next(sc); {
		for _, h := range sc.Hits {
			start, end := tx.Span(int(h.Start), int(h.End))
			for _, p := range a.Patterns(h.Entry) {
				seen[p] = true
				if _, ok := slices.BinarySearchFunc(want, occurrence{p, start, end}, inOrder); !ok {
					t.Fatalf("patterns %+v\ntext %q\nno such occurrence: %v", patterns, text, h)
				}
			}
			a.Done(sc, h.Entry)
		}
	}
	for _, o := range want {
		if !seen[o.pattern] {
			t.Fatalf("patterns %+v\ntext %q\npattern %d was lost when others were done with", patterns, text, o.pattern)
		}
	}
	if len(tx.Symbols) == len(text) && !slices.ContainsFunc(text, func(b byte) bool { return b >= utf8.RuneSelf }) {
		checkWalk(t, a, patterns, text, sc)
	}
}

// checkWalk compares walks from every byte of a text with the naive search for patterns that
// may stand inside a token.
func checkWalk(t *testing.T, a *Automaton, patterns []Pattern, text []byte, sc *Scratch) {
	t.Helper()
	var got []occurrence
	for at := range text {
		a.Walk(sc, text, at)
		for _, h := range sc.Hits {
			for _, p := range a.Patterns(h.Entry) {
				got = append(got, occurrence{p, int(h.Start), int(h.End)})
			}
		}
	}
	open := slices.Clone(patterns)
	for i := range open {
		open[i].Substring = true
	}
	if want := naive(open, text); !slices.Equal(sorted(got), want) {
		t.Fatalf("patterns %+v\ntext %q\nwalked %v\nwant   %v", patterns, text, got, want)
	}
}

// alphabets are what random patterns and texts are made of: few characters, so that
// much overlaps, with all that decoding and folding can meet.
var alphabets = [][]string{
	{"a", "b"}, {"a", "b", "c", " "}, {"中", "国", "人"}, {"哈"}, {"a", "B", " ", ".", "\x00"},
	{"中", "國", "a", "é", "\u200B"}, {"😀", "中", "a", "\U000E0041"}, {"a", "\xff", "\xe4\xb8", "中"},
	{"ﬁ", "f", "i", "㍿", "株", "式"}, {"𠮷", "中", "０", "0", "\uFFFD"}, {"\U000F0001", "中", "a", "\U000E20A2", "\U0010FFFF"},
}

func randomWord(r *rand.Rand, letters []string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(letters[r.Intn(len(letters))])
	}
	return b.String()
}

// randomPatterns returns up to 20 patterns that can be compiled.
func randomPatterns(r *rand.Rand, letters []string) []Pattern {
	var patterns []Pattern
	longest, open := 1+r.Intn(12), r.Intn(3)
	for range 1 + r.Intn(20) {
		p := Pattern{Text: fold.String(randomWord(r, letters, 1+r.Intn(longest))), Substring: open == 0 || open == 1 && r.Intn(2) == 0}
		if p.Text != "" && !strings.ContainsRune(p.Text, fold.Replacement) {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// randomText returns a text, one of 50 of several blocks.
func randomText(r *rand.Rand, letters []string) []byte {
	size := r.Intn(60)
	if r.Intn(50) == 0 {
		size = 1000 + r.Intn(2500)
	}
	return []byte(randomWord(r, letters, size))
}

// Whatever the patterns and the text, the automaton finds what looking for each
// pattern at each place finds.
func TestDifferential(t *testing.T) {
	const texts = 20 // for each set of patterns: compiling costs more than searching
	cases := 100_000
	if testing.Short() || raceEnabled {
		cases = 4_000
	}
	for seed := range 4 {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewSource(int64(7 + seed)))
			var tx Text
			var sc Scratch
			for range cases / texts / 4 {
				letters := alphabets[r.Intn(len(alphabets))]
				patterns := randomPatterns(r, letters)
				a := compiled(t, patterns, Options{})
				for range texts {
					check(t, a, patterns, randomText(r, letters), &tx, &sc)
				}
			}
		})
	}
}

// A search for the patterns that are aside finds all of them, and the other one all the
// others, whoever else begins alike.
func TestAside(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var tx Text
	var sc Scratch
	for range 300 {
		letters := alphabets[r.Intn(len(alphabets))]
		patterns := randomPatterns(r, letters)
		for i := range patterns {
			patterns[i].Aside = r.Intn(2) == 0
		}
		a := compiled(t, patterns, Options{})
		text := randomText(r, letters)
		a.Decode(&tx, text)
		for _, aside := range []bool{false, true} {
			other := func(o occurrence) bool { return patterns[o.pattern].Aside != aside }
			start := a.Start
			if aside {
				start = a.StartAside
			}
			var got []occurrence
			for start(&sc, tx.Symbols); a.Next(&sc); {
				got = appendOccurrences(got, a, &tx, sc.Hits)
			}
			got = slices.DeleteFunc(sorted(got), other)
			if want := slices.DeleteFunc(naive(patterns, text), other); !slices.Equal(got, want) {
				t.Fatalf("aside %v\npatterns %+v\ntext %q\n got %v\nwant %v", aside, patterns, text, got, want)
			}
		}
	}
}

// One automaton serves many goroutines, with either engine.
func TestConcurrent(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	letters := []string{"中", "國", "a", "b", " ", "ﬁ", "\u200B", "\xff"}
	patterns := randomPatterns(r, letters)
	for range 10 {
		patterns = append(patterns, randomPatterns(r, letters)...)
	}
	texts := make([][]byte, 200)
	want := make([][]occurrence, len(texts))
	for i := range texts {
		texts[i] = randomText(r, letters)
		want[i] = naive(patterns, texts[i])
	}
	for _, c := range []struct {
		name    string
		engine  Engine
		workers int
	}{{"own", Own, 8}, {"cloudflare", Cloudflare, 4}} {
		t.Run(c.name, func(t *testing.T) {
			a := compiled(t, patterns, Options{Engine: c.engine})
			var wg sync.WaitGroup
			for w := range c.workers {
				wg.Go(func() {
					var tx Text
					var sc Scratch
					for k := range 2 * len(texts) {
						i := (k*(2*w+1) + w) % len(texts)
						if got := found(a, &tx, &sc, texts[i]); !slices.Equal(got, want[i]) {
							t.Errorf("text %q\n got %v\nwant %v", texts[i], got, want[i])
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// A search with a Text and a Scratch that have grown allocates nothing, whatever it meets.
func TestAllocs(t *testing.T) {
	var patterns []Pattern
	for n := range 32 {
		patterns = append(patterns, Pattern{Text: strings.Repeat("哈", n+1)})
	}
	for _, text := range []string{"go to hell", "hell", "fi", "株式会社", "中国人", "国人", "😀", "a\x01b"} {
		patterns = append(patterns, Pattern{Text: fold.String(text)}, Pattern{Text: fold.String(text), Substring: true})
	}
	a := compiled(t, patterns, Options{})
	for _, c := range []struct{ name, text string }{
		{"empty", ""},
		{"ascii", strings.Repeat("Go to hell. Shell! ", 100)},
		{"chinese", strings.Repeat("中國人民，国人。", 300)},
		{"expansions", strings.Repeat("ﬁ㍿ﬁﬁ㍿", 300)},
		{"mixed", strings.Repeat("a\u200B中\xff😀é\U000E0041", 300)},
		{"flood", strings.Repeat("哈", 5000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := []byte(c.text)
			var tx Text
			var sc Scratch
			hits := 0
			n := testing.AllocsPerRun(5, func() {
				a.Decode(&tx, text)
				for a.Start(&sc, tx.Symbols); a.Next(&sc); {
					hits += len(sc.Hits)
				}
				for a.Start(&sc, tx.Symbols); a.Next(&sc); {
					for _, h := range sc.Hits {
						a.Done(&sc, h.Entry)
					}
				}
			})
			if n != 0 {
				t.Errorf("%v allocations", n)
			}
			if hits == 0 && c.text != "" {
				t.Error("nothing was found")
			}
		})
	}
}

// refusal is one of the errors New returns for patterns.
type refusal struct {
	index int
	err   error
}

// refusals returns the [PatternError]s joined in an error, in the order of the patterns.
func refusals(t *testing.T, err error) []refusal {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v, want refusals of patterns", err)
	}
	var list []refusal
	for _, err := range joined.Unwrap() {
		p, ok := errors.AsType[*PatternError](err)
		if !ok {
			t.Fatalf("got %v, want the refusal of a pattern", err)
		}
		list = append(list, refusal{p.Index, p.Err})
	}
	slices.SortFunc(list, func(a, b refusal) int { return cmp.Compare(a.index, b.index) })
	return list
}

// All patterns that are refused are named, with what is wrong, and none is quoted.
func TestPatternErrors(t *testing.T) {
	long := strings.Repeat("中", MaxSymbols)
	_, err := New([]Pattern{
		{Text: "good"}, {Text: ""}, {Text: long}, {Text: long + "国"}, {Text: "secret\xff"}, {Text: "good"}, {Text: "secret\uFFFD"}, {Text: ""},
	}, Options{})
	want := []refusal{{1, ErrEmpty}, {3, ErrTooLong}, {4, ErrReplacement}, {6, ErrReplacement}, {7, ErrEmpty}}
	if got := refusals(t, err); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "国") {
		t.Errorf("%v quotes a pattern", err)
	}
	if _, err := New([]Pattern{{Text: "a"}}, Options{Engine: Cloudflare + 1}); err == nil {
		t.Error("an engine that does not exist was accepted")
	}
}

// han returns n characters that fold to themselves.
func han(n int) []rune {
	var list []rune
	for r := rune(0x3400); len(list) < n; r++ {
		if to, _ := fold.Rune(r); to == r && fold.ClassOf(r) == fold.Han {
			list = append(list, r)
		}
	}
	return list
}

// What just fits is found; one more is refused.
func TestLimits(t *testing.T) {
	long := strings.Repeat("中", MaxSymbols)
	patterns := []Pattern{{Text: long}}
	check(t, compiled(t, patterns, Options{}), patterns, []byte(long+long), new(Text), new(Scratch))

	letters := han(MaxAlphabet + 1)
	all := make([]Pattern, len(letters))
	for i, r := range letters {
		all[i] = Pattern{Text: string(r) + string(letters[0])}
	}
	a := compiled(t, all[:MaxAlphabet], Options{})
	if n := a.Codes() - 1; n != MaxAlphabet {
		t.Errorf("%d codes, want %d", n, MaxAlphabet)
	}
	last := all[MaxAlphabet-1].Text
	want := []occurrence{{uint32(MaxAlphabet - 1), 1, 1 + len(last)}}
	if got := found(a, new(Text), new(Scratch), []byte("a"+last)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := New(all, Options{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}

// repeats returns patterns of one character repeated, from lo to hi times, with an end.
func repeats(c string, lo, hi int, end string, substring bool) []Pattern {
	var patterns []Pattern
	for n := lo; n <= hi; n++ {
		patterns = append(patterns, Pattern{Text: strings.Repeat(c, n) + end, Substring: substring})
	}
	return patterns
}

// lexicon returns different words of Chinese characters, the same every time.
func lexicon(n int) []string {
	r := rand.New(rand.NewSource(3))
	letters := han(400)
	seen := make(map[string]bool)
	var words []string
	for len(words) < n {
		word := make([]rune, 2+r.Intn(7))
		for i := range word {
			word[i] = letters[r.Intn(len(letters))]
		}
		if w := string(word); !seen[w] {
			seen[w] = true
			words = append(words, w)
		}
	}
	return words
}

// everywhere returns a text of n characters at nearly each of which a word of the lexicon
// begins with its first three: the filter lets all of them pass.
func everywhere(words []string, n int) string {
	next := make(map[[2]rune][]rune)
	var heads [][]rune
	for _, w := range words {
		if r := []rune(w); len(r) >= 3 {
			next[[2]rune(r)] = append(next[[2]rune(r)], r[2])
			heads = append(heads, r[:3])
		}
	}
	r := rand.New(rand.NewSource(4))
	var text []rune
	for len(text) < n {
		text = append(text, heads[r.Intn(len(heads))]...)
		for len(text) < n {
			thirds := next[[2]rune(text[len(text)-2:])]
			if len(thirds) == 0 {
				break
			}
			text = append(text, thirds[r.Intn(len(thirds))])
		}
	}
	return string(text)
}

// occurrences counts where the words stand in the text, overlapping ones too.
func occurrences(words []string, text string) int {
	n := 0
	for _, w := range words {
		_, first := utf8.DecodeRuneInString(w)
		for rest := text; ; n++ {
			i := strings.Index(rest, w)
			if i < 0 {
				break
			}
			rest = rest[i+first:]
		}
	}
	return n
}

// Texts and lists made against the engine are searched in full. What they cost is for the
// benchmarks; that a search ends with the right number of hits is for here.
func TestAdversarial(t *testing.T) {
	words := lexicon(20_000)
	var list []Pattern
	for _, w := range words {
		list = append(list, Pattern{Text: w, Substring: true})
	}
	var cut, all strings.Builder
	for _, w := range words {
		if n := utf8.RuneCountInString(w); n >= 6 && cut.Len() < 5000 {
			_, last := utf8.DecodeLastRuneInString(w)
			cut.WriteString(w[:len(w)-last])
		}
		if all.Len() < 5000 {
			all.WriteString(w)
		}
	}
	chain := everywhere(words, 1700)
	letters := han(5041)
	prefix := string(letters[5001:])
	var alike []Pattern
	for _, r := range letters[:5000] {
		alike = append(alike, Pattern{Text: prefix + string(r)})
	}
	flood := strings.Repeat("哈", 1700)
	for _, c := range []struct {
		name     string
		patterns []Pattern
		text     string
		hits     int
	}{
		{"A a repeated character and an end that never comes", repeats("哈", 63, 63, "啊", true), flood, 0},
		{"B a repeated character", repeats("哈", 63, 63, "", true), flood, 1700 - 62},
		{"C all of 2 to 32", repeats("哈", 2, 32, "", true), flood, 31*1701 - (2+32)*31/2},
		{"D all of 1 to 62, each with an end that never comes", repeats("哈", 1, 62, "啊", true), flood, 0},
		{"E 5,000 with 40 characters in common, all wrong in the last", alike, strings.Repeat(prefix+string(letters[5000]), 40), 0},
		{"F long words less their last character", list, cut.String(), occurrences(words, cut.String())},
		{"G words back to back", list, all.String(), occurrences(words, all.String())},
		{"H a text the filter lets pass everywhere", list, chain, occurrences(words, chain)},
		{"I whole words in one long token", repeats("a", 2, 63, "", false), strings.Repeat("a", 5000), 0},
		{"J whole words, each ending where the longest does", repeats("a", 2, 63, "", false), strings.Repeat(strings.Repeat("a", 63)+" ", 80), 80},
	} {
		for _, engine := range []struct {
			name string
			Engine
		}{{"own", Own}, {"cloudflare", Cloudflare}} {
			t.Run(c.name+" "+engine.name, func(t *testing.T) {
				a, err := New(c.patterns, Options{Engine: engine.Engine, MemoryBudget: 64 << 20})
				if errors.As(err, new(*BudgetError)) && engine.Engine == Cloudflare {
					t.Skip(err)
				} else if err != nil {
					t.Fatal(err)
				}
				if hasHits := strings.ContainsAny(c.name[:1], "BCFGHJ"); hasHits != (c.hits > 0) {
					t.Errorf("%d hits wanted: the case is not what it says", c.hits)
				}
				if got := len(found(a, new(Text), new(Scratch), []byte(c.text))); got != c.hits {
					t.Errorf("%d hits, want %d", got, c.hits)
				}
			})
		}
	}
}

// A flood yields nothing more of the patterns that are done with, all of the others, and
// in the next search all again, wherever it begins.
func TestDone(t *testing.T) {
	const size, wanted = 5000, 7 // wanted is the length that is never done with
	for _, c := range []struct {
		engine  Engine
		longest int
	}{{Own, 32}, {Own, 63}, {Own, MaxSymbols}, {Cloudflare, 32}, {Cloudflare, 63}} {
		a := compiled(t, repeats("哈", 1, c.longest, "", true), Options{Engine: c.engine})
		for _, before := range []int{0, 1, 70, 1100} {
			text := []byte(strings.Repeat("好", before) + strings.Repeat("哈", size))
			var tx Text
			var sc Scratch
			a.Decode(&tx, text)
			got := make([]int, c.longest+1) // by length
			vain := 0                       // hits of what one is enough of
			for a.Start(&sc, tx.Symbols); a.Next(&sc); {
				for _, h := range sc.Hits {
					n := int(h.End - h.Start)
					if got[n]++; n != wanted {
						a.Done(&sc, h.Entry)
						vain++
					}
				}
			}
			for n := 1; n <= c.longest; n++ {
				if got[n] == 0 || n == wanted && got[n] != size-wanted+1 {
					t.Errorf("%+v, %d before: %d hits of length %d", c, before, got[n], n)
				}
			}
			if most := max(floodHits, floodBlock*c.longest); vain > most {
				t.Errorf("%+v, %d before: %d hits of what one was enough of, want %d at most", c, before, vain, most)
			}
			want := c.longest*(size+1) - c.longest*(c.longest+1)/2
			if all := len(found(a, &tx, &sc, text)); all != want {
				t.Errorf("%+v, %d before: %d hits in the next search, want %d", c, before, all, want)
			}
		}
	}
}

// The budget is for what the automaton takes, to the byte.
func TestBudget(t *testing.T) {
	patterns := []Pattern{{Text: "中国人"}, {Text: "go to hell"}}
	for _, c := range []struct {
		engine Engine
		advice string
	}{
		{Own, "raise the budget to 1 MiB or take out terms"},
		{Cloudflare, "take out terms, or use the engine weir"},
	} {
		need := compiled(t, patterns, Options{Engine: c.engine}).Memory()
		compiled(t, patterns, Options{Engine: c.engine, MemoryBudget: need})
		_, err := New(patterns, Options{Engine: c.engine, MemoryBudget: need - 1})
		if refused, ok := errors.AsType[*BudgetError](err); !ok || *refused != (BudgetError{need, need - 1, c.engine}) {
			t.Errorf("engine %d: got %v, want a refusal of %d bytes", c.engine, err, need)
		} else if !strings.Contains(err.Error(), c.advice) || !strings.Contains(err.Error(), "raise the budget to") {
			t.Errorf("engine %d: %v does not say: %s", c.engine, err, c.advice)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("ab\nabc\n!bc", []byte("xabcabc ab"))
	f.Add("中国\n国人\n!中国人", []byte("中國\u200b人a中国"))
	f.Add("哈哈\n哈哈哈\n哈哈哈哈\n哈哈哈哈哈", []byte("哈哈哈哈哈哈哈哈"))
	f.Add("go to hell\n!ell\n.com", []byte("Go to hell. a.com \xff\xe0\x80\x80"))
	f.Fuzz(func(t *testing.T, words string, text []byte) {
		var patterns []Pattern
		for w := range strings.SplitSeq(words, "\n") {
			sub := strings.TrimPrefix(w, "!")
			patterns = append(patterns, Pattern{Text: fold.String(sub), Substring: sub != w})
		}
		a, err := New(patterns, Options{})
		if errors.As(err, new(*PatternError)) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		check(t, a, patterns, text, new(Text), new(Scratch))
	})
}

// An encoded surrogate is one symbol that matches nothing, a piece of one is a symbol for each byte.
// What stands around is found where it stands, and nothing across it.
func TestSurrogates(t *testing.T) {
	patterns := []Pattern{{Text: "赌博"}, {Text: "ab"}, {Text: "a b"}, {Text: "é"}}
	a := compiled(t, patterns, Options{})
	var tx Text
	var sc Scratch
	for text, offsets := range map[string][]uint32{
		"\xed\xa0\x80":             {0},
		"\xed\xbf\xbf":             {0},
		"\xed\xa0\x80\xed\xb0\x80": {0, 3},
		"\xed\xa0":                 {0, 1},
		"\xed\xa0a":                {0, 1, 2},
		"\xed\x9f\xbf":             {0}, // the character before the first one
		"赌\xed\xa0\x80博":           {0, 3, 6},
		"\xed\xa0\x80ab\xed\xb0":   {0, 3, 4, 5, 6},
	} {
		a.Decode(&tx, []byte(text))
		if !slices.Equal(tx.Offsets, offsets) {
			t.Errorf("%q: symbols at %d, want %d", text, tx.Offsets, offsets)
		}
		for i, s := range tx.Symbols {
			if text[offsets[i]] == 0xED && s != 0 && text[offsets[i]+1] != 0x9F {
				t.Errorf("%q: symbol %#x", text, s)
			}
		}
	}
	pieces := []string{"\xed\xa0\x80", "\xed\xbf\xbf", "\xed", "\xa0", "\x80", "赌", "博", "赌博", "a", "b", " ", "é", "\u200b", "\ufffd"}
	r := rand.New(rand.NewSource(8))
	for range 3000 {
		var text []byte
		for range r.Intn(12) {
			text = append(text, pieces[r.Intn(len(pieces))]...)
		}
		check(t, a, patterns, text, &tx, &sc)
	}
}
