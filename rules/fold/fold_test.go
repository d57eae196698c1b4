package fold

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What folds to what, some of each family.
func TestString(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"plain text stays", "赌博 gambling 123, ok?\r\n\t", "赌博 gambling 123, ok?\r\n\t"},
		{"nothing", "", ""},

		{"capitals", "GamBLING ÄÉ Σσς", "gambling ae σσσ"},
		{"full case folding", "ß ẞ ŉ ﬃ", "ss ss 'n ffi"},
		{"dotted and dotless i", "I i İ ı Ⅰ", "i i i i i"},
		{"long s", "ſ ẛ", "s s"},
		{"full width", "ＧＡＭＢＬＩＮＧ　１２３！", "gambling 123!"},
		{"half width", "ｶﾞﾝ ｱｰ ｡", "カン アー 。"},
		{"ligatures", "ﬁnance œuvre Æ ǆ", "finance oeuvre ae dz"},
		{"fractions and units", "½ ㎏ ㏂ ℃", "1/2 kg a.m. °c"},
		{"squared words", "㍿ ㌔ ™ ℡ 🆗 🆒 🆚", "株式会社 キロ tm tel ok cool vs"},
		{"a whole phrase in one character", "ﷺ", "صلى الله عليه وسلم"},

		{"diacritics", "café naïve Ångström ǘ ệ", "cafe naive angstrom u e"},
		{"combining marks", "cafe\u0301 z\u0338a\u0335l\u0336g\u0337o\u0334", "cafe zalgo"},
		{"enclosing marks", "1\ufe0f\u20e3 a\u20dd", "1 a"},
		{"Cyrillic and kana marks", "йёї がぱ", "иei かは"},
		{"Hebrew points and Arabic vowel signs", "שָׁלוֹם مُحَمَّد أإآ", "שלום محمد ااا"},
		{"strokes and hooks", "đøłħŧɨ ƒƙɓ", "dolhti fkb"},
		{"eth, thorn", "ð Ð þ Þ", "d d p p"},
		{"small capitals", "ғᴜᴄᴋ ꜱᴇx ɪɴꜰᴏ ʀʏᴢ", "fuck sex info ryz"},
		{"IPA", "ɑ ɡ ɔ ə ɛ ʃ", "a g c e e ʃ"},
		{"upside down", "ɐqɔpǝɟɥᴉʞɯɹʇʌʍʎ", "aqcpefhikmrtvwy"},
		{"superscript, subscript, modifier", "ᵃᴮ⁵ ₓ₇ ʰ ª", "ab5 x7 h a"},
		{"letterlike", "ℬ ℓ ℎ K Å №", "b l h k a no"},
		{"mathematical", "𝓖𝔸𝐌𝙴 𝟘𝟙 𝛂", "game 01 a"},
		{"outlined, new in Unicode 16", "\U0001CCD6\U0001CCEF \U0001CCF0\U0001CCF9", "az 09"},

		{"circled", "ⓖⓐⓜⓔ Ⓐ ①⑳ ㊿", "game a 120 50"},
		{"negative circled and squared", "🅐🅩 🅰🆉 🅿 🄰🅉", "az az p az"},
		{"regional indicators", "🇨🇳", "cn"},
		{"circled digits of all kinds", "❶❿ ➀➉ ➊➓ ⓫⓴ ⓵⓾ ⓪⓿ 🄋🄌 ㉈ 🔟", "110 110 110 1120 110 00 00 10 10"},
		{"parenthesised, without the brackets", "⑴ ⒜ 🄐 ㈠ ㈱ 🉀 ㈀", "1 a a 一 株 本 ᄀ"},
		{"digit full stop, without the stop", "⒈⒛ 🄁", "120 0"},
		{"circled ideographs", "㊀㊙㊣ 🈲🈶 🉐 🉥", "一秘正 禁有 得 财"},
		{"circles are symbols, the zero is not", "〇 ○ ◯", "〇 ○ ◯"},
		{"digits of other scripts", "٣ ۴ ५ ๖ ０ 𞥐", "3 4 5 6 0 0"},
		{"a zero is a zero before it is an o", "٠ ০ ௦", "0 0 0"},

		{"Cyrillic look-alikes", "рrоstitutе ВОМВ", "prostitute bomb"},
		{"Greek look-alikes", "αlρhα ΒΟΜΒ ΧΥΖ", "alpha bomb xuz"},
		{"Armenian look-alikes", "օս Օ Ս", "ou o u"},
		{"decorated alphabet", "fυcкιn яєѕт ωнy", "fuckin rest why"},
		{"Cherokee, Lisu, Canadian syllabics", "ꭰꭱ ᎠᎡ ꓐꓳꓟꓐ ᖴᑌᑕK", "dr dr bomb fuck"},
		{"lunate sigma", "ϲ Ϲ", "c c"},
		{"palochka", "Ӏ ӏ", "l l"},
		{"symbols stay", "× ¢ € $ @", "× ¢ € $ @"},

		{"Traditional", "賭博 開發 網絡 槍枝 薴", "赌博 开发 网络 枪枝 苎"},
		{"hand-written merges", "瞭解 憑藉 沈迷 鎗 睪 著 妳", "了解 凭借 沉迷 枪 睾 着 你"},
		{"no merge of ordinary words", "幺么 坏坯 俱具 哩里", "幺么 坏坯 俱具 哩里"},
		{"allographs", "卽 卷巻 吿 㑹", "即 卷卷 告 会"},
		{"other variants", "婬 躶 囯 呌 妬 㓁", "淫 裸 国 叫 妒 网"},
		{"components stay", "亻刂忄扌艹", "亻刂忄扌艹"},
		{"shinjitai", "両替 仏 売春 薬 渋", "两替 佛 卖春 药 涩"},
		{"shinjitai that are Chinese characters", "予弁欠芸浜", "予弁欠芸浜"},
		{"compatibility ideographs", "\uF900 \U0002F800", "岂 丽"},
		{"radicals and strokes", "⼀⽉ ⺟ ⻰ ㇐", "一月 母 龙 一"},

		{"quotes and apostrophes", "don’t ‘a’ “b” „c‟ ʼ ´ ′ ″", "don't 'a' \"b\" \"c\" ' ' ' \""},
		{"dashes", "a‐b‑c‒d–e—f―g−h－i﹣j", "a-b-c-d-e-f-g-h-i-j"},
		{"Chinese punctuation", "。、，！？；：「」《》…～〜", "。、,!?;:「」《》...~~"},
		{"blanks", "a\u00a0b\u2003c\u202fd\u3000e\u1680f\u2800g", "a b c d e f g"},
		{"line breaks", "a\u0085b\u2028c\u2029d\ve\ff\ng\rh", "a\nb\nc\nd\ne\nf\ng\rh"},

		{"zero width", "赌\u200b博\u200c \u200dg\ufeffa", "赌博 ga"},
		{"soft hyphen", "gam\u00adbling", "gambling"},
		{"variation selectors", "赌\ufe0f博\U000E0100", "赌博"},
		{"bidi controls", "\u202egam\u2066bl\u2069ing\u061c", "gambling"},
		{"tags, fillers, joiners", "a\U000E0041b\u3164c\uffa0d\u2060e\u115f\u1160f\u034fg", "abcdefg"},
		{"control characters", "a\x00b\x01c\x7fd\u0080e", "abcde"},
		{"format characters that show", "\u0600\u06dd", "\u0600\u06dd"},
		{"tatweel", "مـــحمد", "محمد"},
		{"skin tones", "👍🏻👍🏿👍", "👍👍👍"},
		{"emoji stay", "🐎🎰👨\u200d👩", "🐎🎰👨👩"},
		{"Hangul stays composed", "한국 ﾡ ㈎ ㉼", "한국 ᄀ 가 참고"},
		{"nothing visible", "\u200b\u0301", ""},

		{"bytes that are not UTF-8", "a\xffb\xe8\xb5c\xc0\x80", "a\uFFFDb\uFFFD\uFFFDc\uFFFD\uFFFD"},
		{"surrogates are not UTF-8", "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"the replacement character itself", "\uFFFD", "\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := String(tt.src); got != tt.want {
				t.Errorf("%q folds to %q, want %q", tt.src, got, tt.want)
			}
		})
	}
}

// every yields every character that can stand in UTF-8.
func every(yield func(rune) bool) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) && !yield(r) {
			return
		}
	}
}

// Every character: folding twice is folding once, and Rune, All and String agree.
func TestEveryCharacter(t *testing.T) {
	all := map[rune]string{}
	last := rune(-1)
	for r, s := range All() {
		if r <= last {
			t.Fatalf("All yields %U after %U", r, last)
		}
		last = r
		all[r] = s
	}
	for r := range every {
		s := String(string(r))
		if again := String(s); again != s {
			t.Fatalf("%U folds to %q, that to %q", r, s, again)
		}
		if want, ok := all[r]; ok != (s != string(r)) || ok && s != want {
			t.Fatalf("%U folds to %q, All yields %q, %v", r, s, want, ok)
		}
		want := ""
		switch to, more := Rune(r); {
		case to == Expands && utf8.RuneCountInString(more) < 2, to != Expands && more != "":
			t.Fatalf("Rune(%U) = %d, %q", r, to, more)
		case to == Expands:
			want = more
		case to != Drop:
			want = string(to)
		}
		if s != want {
			t.Fatalf("%U folds to %q, says Rune, and to %q", r, want, s)
		}
	}
}

// What is no character at all.
func TestNoCharacter(t *testing.T) {
	for _, r := range []rune{-1, -2, unicode.MaxRune + 1, 1<<31 - 1} {
		if to, more := Rune(r); to != Replacement || more != "" {
			t.Errorf("Rune(%d) = %U, %q", r, to, more)
		}
		if c := ClassOf(r); c != Other {
			t.Errorf("ClassOf(%d) = %d", r, c)
		}
	}
	if to, _ := Rune(0xD800); to != 0xD800 {
		t.Errorf("Rune(U+D800) = %U", to)
	}
}

// All cases of a letter fold alike. The iota below is a mark, its capital a letter.
func TestCases(t *testing.T) {
	const iotaBelow = '\u0345'
	n := 0
	for r := range every {
		for _, other := range []rune{unicode.ToUpper(r), unicode.ToLower(r), unicode.ToTitle(r)} {
			if other == r || r == iotaBelow {
				continue
			}
			n++
			if a, b := String(string(r)), String(string(other)); a != b {
				t.Errorf("%U %[1]c folds to %q, %U %[3]c to %q", r, a, other, b)
			}
		}
	}
	if n < 2800 {
		t.Errorf("only %d pairs", n)
	}
}

// Look-alikes keep the letters of an alphabet in use apart, but for marks.
func TestAlphabets(t *testing.T) {
	for _, alphabet := range []string{
		"абвгдежзиклмнопрстуфхцчшщъыьэюя",
		"αβγδεζηθικλμνξοπρστυφχψω",
		"աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
	} {
		from := map[string]rune{}
		for _, r := range alphabet {
			s := String(string(r))
			if other, ok := from[s]; ok {
				t.Errorf("%c and %c both fold to %q", other, r, s)
			}
			from[s] = r
		}
	}
}

// Canonically equivalent texts fold alike, except for Hangul syllables.
func TestCanonicalEquivalence(t *testing.T) {
	var composed []string
	for r := range every {
		if unicode.Is(unicode.Hangul, r) {
			continue
		}
		s := string(r)
		nfd := norm.NFD.String(s)
		if got, want := String(nfd), String(s); got != want {
			t.Errorf("%U folds to %q, decomposed to %q", r, want, got)
		}
		if nfd != s {
			composed = append(composed, s)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	marks := []rune("\u0301\u0308\u0323\u0345\u3099\u093c\u0651")
	for range 20_000 {
		var s strings.Builder
		for range random.IntN(8) {
			s.WriteString(composed[random.IntN(len(composed))])
			s.WriteRune(marks[random.IntN(len(marks))])
		}
		want := String(s.String())
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if got := String(form.String(s.String())); got != want {
				t.Fatalf("%q folds to %q, in another form to %q", s.String(), want, got)
			}
		}
	}
	if String("한") == String(norm.NFD.String("한")) {
		t.Error("Hangul no longer differs: say so in the package comment")
	}
}

func TestClassOf(t *testing.T) {
	for class, text := range map[Class]string{
		Other:     "\uFFFD",
		Token:     "az09ʃжλاשकবਅகಕമአაⴰღꝫ",
		Han:       "赌一龥㐂𠀁𰀀𲎰々〇〻丽囍",
		Letter:    "あカー〱ㄅ가ᄀกກកကༀꀀ𗀀〼",
		Separator: ". \t\n\r'\"-_/|#@$%&*()~「」《》·・○×→★🐎👍☎\ue000\U000F0000͸𯿿⿰",
		Stop:      "!?;:,。、؟،؛।॥։՞።",
	} {
		if s := String(text); s != text {
			t.Errorf("%q is no folded text: %q", text, s)
		}
		for _, r := range text {
			if got := ClassOf(r); got != class {
				t.Errorf("ClassOf(%U %[1]c) = %d, want %d", r, got, class)
			}
		}
	}
	if got := ClassOf(0xD800); got != Other {
		t.Errorf("ClassOf(U+D800) = %d", got)
	}
	// By the book, for all characters that Go knows.
	for r := range every {
		if to, _ := Rune(r); to != r || r == Replacement {
			continue
		}
		c := ClassOf(r)
		switch {
		case c == Other,
			unicode.Is(unicode.Unified_Ideograph, r) && c != Han,
			unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Hangul) && unicode.IsLetter(r) && c != Letter,
			unicode.In(r, unicode.Latin, unicode.Cyrillic, unicode.Arabic, unicode.Devanagari) && unicode.IsLetter(r) && c != Token,
			unicode.IsSpace(r) && c != Separator,
			unicode.In(r, unicode.Co, unicode.So, unicode.Sc) && c != Separator && !unicode.Is(unicode.Han, r):
			t.Errorf("ClassOf(%U %[1]c) = %d", r, c)
		}
	}
}

// Version is the hash of what the table says, through the exported functions: no
// change of the table keeps the name, and no edit by hand goes unnoticed.
func TestVersion(t *testing.T) {
	h := sha256.New()
	folds := map[rune]bool{}
	for r, s := range All() {
		fmt.Fprintf(h, "%c%s\n", r, s)
		folds[r] = true
	}
	last, class := rune(0), ClassOf(0)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if c := ClassOf(r); c != class && !folds[r] {
			fmt.Fprintf(h, "%X %d\n", last, class)
			class = c
		}
		last = r
	}
	fmt.Fprintf(h, "%X %d\n", last, class)
	if got := fmt.Sprintf("2-%x", h.Sum(nil)[:4]); got != Version {
		t.Errorf("the table is %s, Version is %s", got, Version)
	}
}

// check proves what holds for every text: its fold is the fold of its parts, is its
// own fold, and is UTF-8.
func check(t *testing.T, src []byte, cut int) {
	t.Helper()
	got := Append(nil, src)
	if !utf8.Valid(got) {
		t.Fatalf("%q folds to %q, which is not UTF-8", src, got)
	}
	if again := Append(nil, got); !bytes.Equal(again, got) {
		t.Fatalf("%q folds to %q, that to %q", src, got, again)
	}
	var parts []byte
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		switch to, more := Rune(r); to {
		case Drop:
		case Expands:
			parts = append(parts, more...)
		default:
			parts = utf8.AppendRune(parts, to)
		}
		i += n
	}
	if !bytes.Equal(got, parts) {
		t.Fatalf("%q folds to %q, its characters to %q", src, got, parts)
	}
	// Cut anywhere but inside a character.
	cut = min(max(cut, 0), len(src))
	for cut < len(src) && !utf8.RuneStart(src[cut]) {
		cut++
	}
	if joined := Append(Append(nil, src[:cut]), src[cut:]); !bytes.Equal(joined, got) {
		t.Fatalf("%q folds to %q, in two parts to %q", src, got, joined)
	}
}

func TestProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "B", "赌", "賭", "ａ", "ﬁ", "㍿", "\u200b", "\u00ad", "İ", "\xff", "\xe8\xb5", "⼀", "é", "e\u0301", " ", "\x00", "🎰", "𝓖", "ß", "\uFFFD", "한", "㈱", "Я"}
	for range 20_000 {
		var src []byte
		for range random.IntN(12) {
			src = append(src, alphabet[random.IntN(len(alphabet))]...)
		}
		check(t, src, random.IntN(len(src)+1))
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "abc", "ＡＢＣ", "賭\u200b博", "\xff\xfe", "oﬃce ㍿", "é\u0301", "ﷺ", "ВОМВ"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(check)
}

// Append allocates nothing when there is room.
func TestAllocations(t *testing.T) {
	src := []byte(strings.Repeat("Ｇambling 賭\u200b博 ﬁ㍿\xff é", 50))
	dst := make([]byte, 0, 4*len(src))
	String("x") // fills the tables
	if n := testing.AllocsPerRun(100, func() { Append(dst, src) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
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

// Real posts, when they are there.
func TestRealPosts(t *testing.T) {
	for i, post := range posts(t, "posts_mixed.txt") {
		check(t, post, i%(len(post)+1))
	}
}
