package automaton

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudflare/ahocorasick"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/rules/fold"
)

func build(tb testing.TB, token bool, texts ...string) *Automaton {
	tb.Helper()
	patterns := make([]Pattern, len(texts))
	for i, t := range texts {
		patterns[i] = Pattern{t, token}
	}
	a, err := New(patterns, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// quote writes hits as pattern and text, in order.
func quote(text string, hits []Hit) string {
	var b strings.Builder
	for i, h := range hits {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d@%d=%s", h.Pattern, h.Start, text[h.Start:h.End])
	}
	return b.String()
}

// Which occurrences there are, and where.
func TestScan(t *testing.T) {
	tests := []struct {
		name  string
		terms []string
		token bool
		text  string
		want  string
	}{
		{"no terms", nil, true, "abc", ""},
		{"no text", []string{"ab"}, true, "", ""},
		{"nothing there", []string{"赌博"}, true, "今天天气很好", ""},
		{"one", []string{"赌博"}, true, "他去赌博了", "0@6=赌博"},
		{"overlapping itself", []string{"哈哈"}, true, "哈哈哈", "0@0=哈哈 0@3=哈哈"},
		{"one in another", []string{"赌博网站", "赌博", "网站"}, true, "赌博网站", "1@0=赌博 0@0=赌博网站 2@6=网站"},
		{"prefixes and suffixes", []string{"ab", "abc", "bc", "abcd"}, false, "xabcdx", "0@1=ab 1@1=abc 3@1=abcd 2@2=bc"},
		{"the same after folding", []string{"Bet", "ＢＥＴ"}, true, "a bet", "0@2=bet 1@2=bet"},
		{"folded text", []string{"casino"}, true, "ＣＡ\u200bＳi\u00adno!", "0@0=ＣＡ\u200bＳi\u00adno"},
		{"whole words only", []string{"bet"}, true, "alphabet bets bet.", "0@14=bet"},
		{"anywhere", []string{"bet"}, false, "alphabet bets", "0@5=bet 0@9=bet"},
		{"Han ends a word", []string{"bet"}, true, "去bet吧bet2", "0@3=bet"},
		{"digits are words too", []string{"300"}, true, "1300 300元 3000 300x", "0@5=300"},
		{"Latin with diacritics", []string{"nude"}, true, "énude nudeé nude", "0@14=nude"},
		{"full-width neighbours", []string{"bet"}, true, "ａbet betｓ bet", "0@14=bet"},
		{"only the Latin edge counts", []string{"百度bet"}, true, "我百度bet x百度bets", "0@3=百度bet"},
		{"punctuation and underscore end a word", []string{"bet"}, true, "_bet_ (bet)", "0@1=bet 0@7=bet"},
		{"words of several parts", []string{"buy followers now"}, true, "Buy Followers  now; buy followers now", "0@20=buy followers now"},
		{"inside one character", []string{"会社"}, true, "㍿", "0@0=㍿"},
		{"twice inside one character", []string{"i"}, false, "ⅲ", "0@0=ⅲ"},
		{"bad bytes separate", []string{"赌博"}, true, "赌\xff博 \xe8赌博", "0@9=赌博"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := build(t, tt.token, tt.terms...)
			if diff := cmp.Diff(tt.want, quote(tt.text, a.Scan(new(Scratch), []byte(tt.text), 0))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What cannot be a pattern is refused by its number, all at once.
func TestRefusedPatterns(t *testing.T) {
	_, err := New([]Pattern{{Text: "ok"}, {Text: ""}, {Text: "\u200b"}, {Text: strings.Repeat("赌", 86)}, {Text: "a\xff"}, {Text: "a\uFFFD"}}, Options{})
	want := "pattern 1: nothing is left of it after folding; use characters that can be seen\n" +
		"pattern 2: nothing is left of it after folding; use characters that can be seen\n" +
		"pattern 3: 258 bytes long after folding; at most 256 (automaton.MaxPatternBytes)\n" +
		"pattern 4: contains a byte that is not UTF-8 or the replacement character, which match nothing; take it out\n" +
		"pattern 5: contains a byte that is not UTF-8 or the replacement character, which match nothing; take it out"
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

// A set that would take too much memory is refused before it takes it, and the
// refusal names the budget, the need and the way out. Equal patterns count once.
func TestBudget(t *testing.T) {
	patterns := make([]Pattern, 100)
	for i := range patterns {
		patterns[i].Text = fmt.Sprintf("ＴＥＲＭ%06d", i%50)
	}
	const bytes = 50 * 10
	_, err := New(patterns, Options{MemoryBudget: 1 << 20})
	var budget *BudgetError
	if !errors.As(err, &budget) || *budget != (BudgetError{bytes, bytes * BytesPerPatternByte, 1 << 20}) {
		t.Fatalf("got %v", err)
	}
	want := "500 bytes of terms would take about 3 MiB of memory (4.2 KB a byte), more than the memory budget of 1 MiB; raise the budget to 3 MiB or take out terms"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	a, err := New(patterns, Options{MemoryBudget: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if a.Memory() != bytes*BytesPerPatternByte {
		t.Errorf("Memory() = %d", a.Memory())
	}
}

// The limit keeps the first occurrences and the first of every other pattern.
func TestLimit(t *testing.T) {
	a := build(t, false, "aa", "b", "c")
	text := "aaaaaaaa b aaaa b c c"
	got := quote(text, a.Scan(new(Scratch), []byte(text), 3))
	if want := "0@0=aa 0@1=aa 0@2=aa 1@9=b 2@18=c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Walk goes by beginning, longer first, and stops for the patterns it is told to.
func TestWalk(t *testing.T) {
	a := build(t, false, "ab", "abc", "bc", "b")
	var got []Hit
	text := "abc abc"
	a.Walk(new(Scratch), []byte(text), func(h Hit) bool {
		got = append(got, h)
		return h.Pattern != 3
	})
	if want := "1@0=abc 0@0=ab 2@1=bc 3@1=b 1@4=abc 0@4=ab 2@5=bc"; quote(text, got) != want {
		t.Errorf("got %s, want %s", quote(text, got), want)
	}
}

// naive is what the automaton must find, by trying everything everywhere.
func naive(patterns []Pattern, text []byte) []Hit {
	var f fold.Text
	f.Fold(text)
	folded := f.Bytes()
	var hits []Hit
	for i, p := range patterns {
		term := []byte(fold.String(p.Text))
		for lo := 0; lo+len(term) <= len(folded); lo++ {
			hi := lo + len(term)
			if !utf8.RuneStart(folded[lo]) || !bytes.Equal(folded[lo:hi], term) {
				continue
			}
			runes := []rune(string(term))
			if p.Token && (word(runes[0]) && wordBefore(folded, lo) || word(runes[len(runes)-1]) && wordAfter(folded, hi)) {
				continue
			}
			start, end := f.Span(lo, hi)
			hits = append(hits, Hit{int32(i), int32(start), int32(end)})
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmpAll(a.Start-b.Start, a.End-b.End, a.Pattern-b.Pattern)
	})
	return slices.Compact(hits)
}

func cmpAll(d ...int32) int {
	for _, x := range d {
		if x != 0 {
			return int(x)
		}
	}
	return 0
}

// Over small alphabets, where everything overlaps with everything, the automaton
// finds what trying everything finds: same occurrences, same order.
func TestDifferential(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	alphabets := [][]string{
		{"a", "b"},
		{"a", "B", " ", "ａ", "b\u200b", "1"},
		{"赌", "博", "a", "\u200b"},
		{"哈", "ﬁ", "f", "i", "㍿", "株", "\xff", "ⅲ", "é"},
	}
	sc := new(Scratch) // one for all: no automaton may leave anything behind in it
	for n := range 6000 {
		alphabet := alphabets[n%len(alphabets)]
		word := func(longest int) string {
			var b strings.Builder
			for range 1 + random.IntN(longest) {
				b.WriteString(alphabet[random.IntN(len(alphabet))])
			}
			return b.String()
		}
		var patterns []Pattern
		for range 1 + random.IntN(8) {
			p := Pattern{word(4), random.IntN(2) == 0}
			if Check(fold.Append(nil, []byte(p.Text))) == nil {
				patterns = append(patterns, p)
			}
		}
		a, err := New(patterns, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			text := []byte(word(30))
			want := naive(patterns, text)
			for i, p := range patterns {
				has := slices.ContainsFunc(want, func(h Hit) bool { return h.Pattern == int32(i) })
				if Contains(fold.Append(nil, text), fold.Append(nil, []byte(p.Text)), p.Token) != has {
					t.Fatalf("Contains(%q, %+v) is not %v", text, p, has)
				}
			}
			got := a.Scan(sc, text, 0)
			if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
				t.Fatalf("patterns %+v in %q: %s", patterns, text, diff)
			}
			limit := 1 + random.IntN(5)
			limited := a.Scan(sc, text, limit)
			if err := checkLimit(want, limited, limit); err != nil {
				t.Fatalf("patterns %+v in %q, limit %d: %v", patterns, text, limit, err)
			}
		}
	}
}

// checkLimit says whether limited is what a limit may leave of all hits.
func checkLimit(all, limited []Hit, limit int) error {
	seen := make(map[int32]bool)
	for i, h := range limited {
		if !slices.Contains(all, h) {
			return fmt.Errorf("%v is not a hit", h)
		}
		if i > 0 && slices.Contains(limited[:i], h) {
			return fmt.Errorf("%v is there twice", h)
		}
		seen[h.Pattern] = true
	}
	patterns := make(map[int32]bool)
	for _, h := range all {
		if patterns[h.Pattern] = true; !seen[h.Pattern] {
			return fmt.Errorf("nothing of pattern %d", h.Pattern)
		}
	}
	if len(limited) < min(limit, len(all)) || len(limited) > limit+len(patterns) {
		return fmt.Errorf("%d of %d hits", len(limited), len(all))
	}
	return nil
}

func FuzzScan(f *testing.F) {
	f.Add("ab|b|abc", "xabcabx", true)
	f.Add("赌博|博", "ＡＢ赌\u200b博", false)
	f.Add("fi|株式|i", "ﬁ㍿ⅲ\xff", true)
	sc := new(Scratch)
	f.Fuzz(func(t *testing.T, terms, text string, token bool) {
		if len(terms) > 200 || len(text) > 2000 {
			return
		}
		var patterns []Pattern
		for _, term := range strings.Split(terms, "|") {
			if Check(fold.Append(nil, []byte(term))) == nil {
				patterns = append(patterns, Pattern{term, token})
			}
		}
		a, err := New(patterns, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, got := naive(patterns, []byte(text)), a.Scan(sc, []byte(text), 0)
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Fatal(diff)
		}
		if err := checkLimit(want, a.Scan(sc, []byte(text), 2), 2); err != nil {
			t.Fatal(err)
		}
	})
}

// What we rely on in the engine, and what we must keep from it.
func TestEngine(t *testing.T) {
	t.Run("of equal entries only the last is reported", func(t *testing.T) {
		m := ahocorasick.NewStringMatcher([]string{"ab", "cd", "ab"})
		if got := m.MatchThreadSafe([]byte("ab")); !slices.Equal(got, []int{2}) {
			t.Errorf("%v: New no longer needs to take care of equal patterns", got)
		}
	})
	t.Run("an empty entry and no entries are harmless", func(t *testing.T) {
		if got := ahocorasick.NewStringMatcher([]string{"", "ab"}).MatchThreadSafe([]byte("xaby")); !slices.Equal(got, []int{1}) {
			t.Error(got)
		}
		if got := ahocorasick.NewStringMatcher(nil).MatchThreadSafe([]byte("xaby")); len(got) != 0 {
			t.Error(got)
		}
	})
	t.Run("entries inside entries are all reported", func(t *testing.T) {
		got := ahocorasick.NewStringMatcher([]string{"abcd", "bc", "c", "ab", "d"}).MatchThreadSafe([]byte("abcd"))
		slices.Sort(got)
		if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Error(got)
		}
	})
	t.Run("each once, however often it occurs", func(t *testing.T) {
		if got := ahocorasick.NewStringMatcher([]string{"a"}).MatchThreadSafe([]byte("aaaa")); !slices.Equal(got, []int{0}) {
			t.Error(got)
		}
	})
}

// The longest patterns of the worst kind are built in a moment.
func TestWorstPatterns(t *testing.T) {
	start := time.Now()
	a := build(t, false, strings.Repeat("a", MaxPatternBytes), "b"+strings.Repeat("a", MaxPatternBytes-1))
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	text := strings.Repeat("a", 3*MaxPatternBytes)
	if got := len(a.Scan(new(Scratch), []byte(text), 0)); got != 2*MaxPatternBytes+1 {
		t.Errorf("%d hits", got)
	}
}

// Any number of goroutines may scan with one automaton (run with -race).
func TestConcurrency(t *testing.T) {
	terms := []string{"赌博", "博", "casino", "ab", "abc", "bc", "哈哈"}
	a := build(t, false, terms...)
	texts := make([][]byte, 50)
	want := make([][]Hit, len(texts))
	for i := range texts {
		texts[i] = []byte(strings.Repeat(terms[i%len(terms)]+terms[(i*3+1)%len(terms)], 1+i%7))
		want[i] = slices.Clone(a.Scan(new(Scratch), texts[i], 0))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var sc Scratch
			for n := range 400 {
				i := (n*7 + g) % len(texts)
				if got := a.Scan(&sc, texts[i], 0); !slices.Equal(got, want[i]) {
					t.Errorf("goroutine %d, text %d: %v, want %v", g, i, got, want[i])
					return
				}
			}
		})
	}
	wg.Wait()
}

// On a real list and real posts the same terms are found as by looking for each.
func TestRealList(t *testing.T) {
	terms := lines(t, "patterns_zh_1000.txt")
	posts := lines(t, "posts_zh_short.txt")[:1500]
	patterns := make([]Pattern, len(terms))
	folded := make([]string, len(terms))
	for i, term := range terms {
		patterns[i].Text = term
		folded[i] = fold.String(term)
	}
	a, err := New(patterns, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Every term itself is a text too, so that there is much to find.
	found := 0
	var sc Scratch
	for _, post := range append(posts, terms...) {
		text := fold.String(post)
		var want []int32
		for i := range folded {
			if strings.Contains(text, folded[i]) {
				want = append(want, int32(i))
			}
		}
		var got []int32
		for _, h := range a.Scan(&sc, []byte(post), 0) {
			got = append(got, h.Pattern)
			if fold.String(post[h.Start:h.End]) != folded[h.Pattern] {
				t.Errorf("hit of %q is %q", terms[h.Pattern], post[h.Start:h.End])
			}
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Fatalf("%q: found %v, want %v", post, got, want)
		}
		found += len(got)
	}
	if found < len(terms) {
		t.Errorf("only %d terms found", found)
	}
}

// Text that hits nothing allocates nothing.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes the engine's pool forget at random")
	}
	a := build(t, true, "赌博", "casino")
	var sc Scratch
	text := []byte(strings.Repeat("今天天气 Ｎice 很好\u200b", 20))
	a.Scan(&sc, text, 10)
	if n := testing.AllocsPerRun(100, func() { a.Scan(&sc, text, 10) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// With hits the engine allocates its list of them, nothing else does.
	text = []byte(strings.Repeat("去 casino 赌博", 20))
	a.Scan(&sc, text, 10)
	if n := testing.AllocsPerRun(100, func() { a.Scan(&sc, text, 10) }); n > 2 {
		t.Errorf("%v allocations with hits", n)
	}
}

// lines returns the lines of a file of the test data.
func lines(tb testing.TB, name string) []string {
	tb.Helper()
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		tb.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func BenchmarkScan(b *testing.B) {
	for _, n := range []int{100, 1000} {
		for _, name := range []string{"posts_zh_short.txt", "posts_en.txt", "posts_zh_long.txt"} {
			b.Run(fmt.Sprintf("terms=%d/%s", n, strings.TrimSuffix(name, ".txt")), func(b *testing.B) {
				a := build(b, true, lines(b, "patterns_zh_1000.txt")[:n]...)
				var posts [][]byte
				size := 0
				for _, l := range lines(b, name) {
					posts = append(posts, []byte(l))
					size += len(l)
				}
				var sc Scratch
				b.SetBytes(int64(size / len(posts)))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					a.Scan(&sc, posts[i%len(posts)], 100)
					i++
				}
			})
		}
	}
}

// Hostile texts: a flood of hits, with and without a limit.
func BenchmarkFlood(b *testing.B) {
	a := build(b, true, "哈哈", "哈哈哈", "ab ab")
	text := []byte(strings.Repeat("哈", 170_000) + strings.Repeat("ab ", 170_000))
	var sc Scratch
	for _, limit := range []int{100, 0} {
		b.Run(fmt.Sprintf("limit=%d", limit), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				a.Scan(&sc, text, limit)
			}
		})
	}
}
