package fold

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What folds to what, one line for each promise of the package comment.
func TestString(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"plain text stays", "赌博 gambling 123, ok?\n", "赌博 gambling 123, ok?\n"},
		{"capitals", "GamBLING ÄÉ ΑΒΓ Привет", "gambling äé αβγ привет"},
		{"full width", "ＧＡＭＢＬＩＮＧ　１２３", "gambling 123"},
		{"half width", "ｶﾞﾝ ｱ", "カ\u3099ン ア"},
		{"circled and styled", "ⓖⓐⓜⓔ 𝓖𝔸𝐌𝙴 ①⑳", "game game 120"},
		{"ligatures and long s", "ﬁnance oﬃce ſ", "finance office s"},
		{"sharp s, both cases", "ß ẞ", "ss ss"},
		{"sigmas", "Σσς", "σσσ"},
		{"squared words", "㍿ ㎏ ㈱", "株式会社 kg (株)"},
		{"trade mark is letters", "™ ℡", "tm tel"},
		{"compatibility Han", "\uF900\U0002F800", "豈丽"},
		{"radicals of the Kangxi block", "⼀⽉", "一月"},
		{"zero width", "赌\u200b博\u200c \u200dg\ufeffa", "赌博 ga"},
		{"soft hyphen", "gam\u00adbling", "gambling"},
		{"variation selectors", "赌\ufe0f博\U000E0100", "赌博"},
		{"bidi controls", "\u202egam\u2066bl\u2069ing\u061c", "gambling"},
		{"tags, fillers, joiners", "a\U000E0041b\u3164c\uffa0d\u2060e\u115ff", "abcdef"},
		{"control characters, white space excepted", "a\x00b\x01c\x7fd\u0085e\tf\r\n", "abcd\u0085e\tf\r\n"},
		{"dotted capital I", "İ", "i\u0307"},
		{"Cherokee", "ꭰ Ꭰ", "Ꭰ Ꭰ"},
		{"combining marks stay where they stand", "e\u0301 é", "e\u0301 é"},
		{"bytes that are not UTF-8", "a\xffb\xe8\xb5c\xc0\x80", "a\uFFFDb\uFFFD\uFFFDc\uFFFD\uFFFD"},
		{"surrogates are not UTF-8", "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"the replacement character itself", "\uFFFD", "\uFFFD"},
		{"nothing", "", ""},
		{"nothing visible", "\u200b\u200b", ""},
		{"a long word of one character", "ﷺ", "صلى الله عليه وسلم"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := String(tt.src); got != tt.want {
				t.Errorf("%q folds to %q, want %q", tt.src, got, tt.want)
			}
		})
	}
}

// The place of a piece of folded text in the original.
func TestSpan(t *testing.T) {
	tests := []struct{ name, src, find, want string }{
		{"plain", "去赌博吧", "赌博", "赌博"},
		{"after capitals", "ABC赌博", "赌博", "赌博"},
		{"full width", "x ＧＡＭＥ y", "game", "ＧＡＭＥ"},
		{"from full width to plain", "xＧＡme y", "game", "ＧＡme"},
		{"dropped inside belongs, around not", "\u200b\u200b赌\u200b\u00ad博\u200b!", "赌博", "赌\u200b\u00ad博"},
		{"part of an expansion is the whole character", "去㍿吧", "式会", "㍿"},
		{"into an expansion", "oﬃce", "of", "oﬃ"},
		{"out of an expansion", "oﬃce", "ice", "ﬃce"},
		{"after bytes that are not UTF-8", "\xff\xe8赌博\xe8", "赌博", "赌博"},
		{"longer when folded", "ßx", "sx", "ßx"},
		{"shorter when folded", "\u212Aİlo", "ki", "\u212Aİ"},
		{"same length, other character", "⼀⽉x", "月x", "⽉x"},
		{"whole text", "ＡﬁＢ", "afib", "ＡﬁＢ"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f Text
			f.Fold([]byte(tt.src))
			i := bytes.Index(f.Bytes(), []byte(tt.find))
			if i < 0 {
				t.Fatalf("%q is not in %q", tt.find, f.Bytes())
			}
			start, end := f.Span(i, i+len(tt.find))
			if got := tt.src[start:end]; got != tt.want {
				t.Errorf("span is %q, want %q", got, tt.want)
			}
		})
	}
}

// An empty span is empty, also at the ends and in an empty text.
func TestEmptySpan(t *testing.T) {
	for _, src := range []string{"", "\u200b", "ａb"} {
		var f Text
		f.Fold([]byte(src))
		for i := 0; i <= len(f.Bytes()); i++ {
			if start, end := f.Span(i, i); start != end || start < 0 || end > len(src) {
				t.Errorf("%q: Span(%d, %d) = %d, %d", src, i, i, start, end)
			}
		}
	}
}

// Every character: folding twice is folding once, the table agrees with the
// functions it was made from (also where no candidates were asked), and no
// expansion is longer than promised.
func TestEveryCharacter(t *testing.T) {
	f := folder{fold: newFold()}
	tab := table()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := string(r)
		got := String(s)
		if again := String(got); again != got {
			t.Fatalf("%U folds to %q, that to %q", r, got, again)
		}
		if want := f.character(r); got != want {
			t.Fatalf("%U folds to %q, want %q", r, got, want)
		}
		if len(got) > maxExpansion*len(s) {
			t.Fatalf("%U folds to %d bytes, more than %d times its own", r, len(got), maxExpansion)
		}
		if strings.ContainsFunc(got, unicode.IsUpper) && !unicode.Is(unicode.Cherokee, r) {
			t.Logf("%U keeps a capital: %q", r, got)
		}
	}
	if n := len(tab.pages); n > 1<<16 {
		t.Fatalf("%d pages do not fit the index", n)
	}
}

// The fold of a text is that of its characters in a row, and every folded byte's
// span is the character it came from.
func check(t *testing.T, src []byte) {
	t.Helper()
	var f Text
	f.Fold(src)
	var want []byte
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		part := String(string(src[i : i+n]))
		if r == utf8.RuneError && n == 1 {
			part = "\uFFFD"
		}
		for at := range part {
			lo := len(want) + at
			if lo >= len(f.Bytes()) {
				t.Fatalf("%q folds to %q, too short", src, f.Bytes())
			}
			if start, end := f.Span(lo, lo+1); start != i || end != i+n {
				t.Fatalf("%q: folded byte %d of %q is at %d:%d, want %d:%d", src, lo, f.Bytes(), start, end, i, i+n)
			}
		}
		want = append(want, part...)
		i += n
	}
	if !bytes.Equal(f.Bytes(), want) {
		t.Fatalf("%q folds to %q, want %q", src, f.Bytes(), want)
	}
	if !utf8.Valid(want) {
		t.Fatalf("%q folds to %q, which is not UTF-8", src, want)
	}
	if again := Append(nil, want); !bytes.Equal(again, want) {
		t.Fatalf("%q folds to %q, that to %q", src, want, again)
	}
	if n := len(want); n > 0 {
		start, end := f.Span(0, n)
		if got := Append(nil, src[start:end]); !bytes.Equal(got, want) {
			t.Fatalf("%q: the span of all folds to %q, want %q", src, got, want)
		}
	}
}

func TestProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "B", "赌", "博", "ａ", "ﬁ", "㍿", "\u200b", "\u00ad", "İ", "\xff", "\xe8\xb5", "⼀", "é", "e\u0301", " ", "\x00", "🎰", "𝓖", "ß", "\uFFFD"}
	for range 20_000 {
		var src []byte
		for range random.IntN(12) {
			src = append(src, alphabet[random.IntN(len(alphabet))]...)
		}
		check(t, src)
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "abc", "ＡＢＣ", "赌\u200b博", "\xff\xfe", "oﬃce ㍿", "é\u0301", "ﷺ"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) { check(t, src) })
}

// Where the table changes nothing but compatibility and case, it agrees with
// x/text on whole texts in normal form: real posts, when they are there.
func TestRealPosts(t *testing.T) {
	for _, post := range posts(t, "posts_mixed.txt") {
		check(t, post)
		if !norm.NFKC.IsNormal(post) || !utf8.Valid(post) {
			continue
		}
		var visible []byte
		for _, r := range string(post) {
			if !invisible(r) {
				visible = utf8.AppendRune(visible, r)
			}
		}
		if got, want := Append(nil, post), newFold().Bytes(visible); !bytes.Equal(got, norm.NFKC.Bytes(want)) {
			t.Fatalf("%q folds to %q, want %q", post, got, want)
		}
	}
}

// A Text that is used again allocates nothing.
func TestAllocations(t *testing.T) {
	var f Text
	src := []byte(strings.Repeat("Ｇambling 赌\u200b博 ﬁ㍿\xff", 50))
	f.Fold(src)
	if n := testing.AllocsPerRun(100, func() {
		f.Fold(src)
		f.Span(10, 20)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Too long a text is refused loudly, never judged by its beginning.
func TestTooLong(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	new(Text).Fold(make([]byte, MaxBytes+1))
}

// posts returns the lines of a file of the test data.
func posts(tb testing.TB, name string) [][]byte {
	tb.Helper()
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		tb.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

func BenchmarkFold(b *testing.B) {
	for _, name := range []string{"posts_zh_short.txt", "posts_en.txt", "posts_zh_long.txt"} {
		b.Run(strings.TrimSuffix(name, ".txt"), func(b *testing.B) {
			lines := posts(b, name)
			size := 0
			for _, l := range lines {
				size += len(l)
			}
			var f Text
			b.ReportAllocs()
			b.SetBytes(int64(size / len(lines)))
			i := 0
			for b.Loop() {
				f.Fold(lines[i%len(lines)])
				i++
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	for b.Loop() {
		build()
	}
}
