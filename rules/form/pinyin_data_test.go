package form

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// named returns the names of syllables, with blanks between.
func named(ss ...syllable) string {
	var names []string
	for _, s := range ss {
		names = append(names, syllableNames()[s])
	}
	return strings.Join(names, " ")
}

// The usual reading comes first, and dictionary rarities are left out.
func TestReadings(t *testing.T) {
	for _, tc := range []struct {
		character rune
		want      string
	}{
		{'行', "xing hang heng"},
		{'长', "zhang chang"},
		{'重', "zhong chong"},
		{'赌', "du"},
		{'博', "bo"},
		{'万', "wan mo"}, // as in 万俟, but not the classical reading of 伯
		{'伯', "bo bai"},
		{'佛', "fo fu"},
		{'绿', "lv lu"},
		{'略', "lve"},
		{'女', "nv"},
		{'居', "ju"},
		{'〇', "ling"},
		{'㐬', "liu"},
		{'𪠡', "sa"},
		{'a', ""},
		{'🐴', ""},
		{0x10FFFF, ""},
		{-1, ""},
	} {
		first, more := readings(tc.character)
		got := named(append([]syllable{first}, more...)...)
		if got != tc.want {
			t.Errorf("%c is read %q, want %q", tc.character, got, tc.want)
		}
	}
}

// Every character of the table is a folded Han character, and is read as the
// table says; nearly all of the two common blocks have a reading.
func TestReadingsCoverHan(t *testing.T) {
	for name, characters := range tableRows(pinyinTable) {
		for _, r := range characters {
			if fold.ClassOf(r) != fold.Han || fold.String(string(r)) != string(r) {
				t.Errorf("%c (%U) is no folded Han character; run rules/fold/gen/cmd/forms again", r, r)
			}
			if first, _ := readings(r); syllableNames()[first] != name {
				t.Errorf("%c is first read %q, want %q", r, syllableNames()[first], name)
			}
		}
	}
	missing := 0
	for r := rune(0x4E00); r <= 0x9FFF; r++ {
		if first, _ := readings(r); first == 0 && fold.String(string(r)) == string(r) {
			missing++
		}
	}
	if missing > 150 {
		t.Errorf("%d characters of the oldest block have no reading, want at most 150", missing)
	}
	several := 0
	for character := range tableRows(polyphoneTable) {
		r, _ := utf8.DecodeRuneInString(character)
		one, more := readings(r)
		if one == 0 || len(more) == 0 || slices.Contains(more, one) {
			t.Errorf("%c is read %q, want two different readings at least", r, named(append([]syllable{one}, more...)...))
		}
		several++
	}
	if several < 300 || several > 400 {
		t.Errorf("%d characters have several readings, want 300 to 400", several)
	}
}

func TestParseSyllables(t *testing.T) {
	for _, tc := range []struct{ token, want string }{
		{"dubowangzhan", "du bo wang zhan"},
		{"dubo", "du bo"},
		{"xian", "xian"},
		{"fangan", "fang an"}, // not fan gan, which is as short
		{"fenge", "feng e"},   // not fen ge
		{"haiuan", ""},
		{"zhuangshuang", "zhuang shuang"},
		{"nv", "nv"},
		{"lvse", "lv se"},
		{"lvelue", "lve lve"},
		{"nuezhe", "nve zhe"},
		{"jvzi", "ju zi"},
		{"qvanyuan", "quan yuan"},
		{"xvexue", "xue xue"},
		{"yvn", "yun"},
		{"hm", ""},
		{"hello", ""},
		{"dubo1", ""},
		{"Dubo", ""},
		{"du bo", ""},
		{"赌", ""},
		{"", ""},
		{strings.Repeat("a", 64), strings.TrimSpace(strings.Repeat("a ", 64))},
		{strings.Repeat("a", 65), ""},
		{strings.Repeat("zhuang", 10) + "b", ""},
	} {
		got, ok := parseSyllables([]byte(tc.token), nil)
		if named(got...) != tc.want || ok != (tc.want != "") {
			t.Errorf("%q is %q, %t, want %q", tc.token, named(got...), ok, tc.want)
		}
	}
}

// Every syllable is one when typed, and every name is there once.
func TestSyllableNames(t *testing.T) {
	names := syllableNames()
	if names[0] != "" || len(names) < 400 || len(names) > 430 {
		t.Errorf("%d names, the first %q, want 400 to 430 and none for 0", len(names), names[0])
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Error("the names are not sorted or one is there twice")
	}
	for i, name := range names[1:] {
		got, ok := parseSyllables([]byte(name), nil)
		if !ok || len(got) != 1 || int(got[0]) != i+1 {
			t.Errorf("%q is parsed as %q", name, named(got...))
		}
	}
}

// What was in dst stays, whatever the token, and room in dst is used.
func TestParseSyllablesAppends(t *testing.T) {
	dst := make([]syllable, 1, 80)
	dst[0] = 7
	token := []byte("dubowangzhan")
	if got, ok := parseSyllables([]byte("hello"), dst); ok || !slices.Equal(got, dst) {
		t.Errorf("a token that is no pinyin left %v", got)
	}
	if got, ok := parseSyllables(token, dst); !ok || got[0] != 7 || len(got) != 5 {
		t.Errorf("got %v, want 7 and four syllables", got)
	}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = parseSyllables(token, dst)
		_, _ = readings('行')
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// Setting up has to be quick: it delays the first start of a daemon.
func TestPinyinIsReadQuickly(t *testing.T) {
	best := time.Hour
	for range 5 {
		start := time.Now()
		newPinyin()
		best = min(best, time.Since(start))
	}
	if best > 30*time.Millisecond { // 2 ms on the machines of 2026
		t.Errorf("the tables take %v to read, want 30 ms at most", best)
	}
}

// The result is always the token spelled by syllables that are there, and the
// fewest that there can be.
func FuzzSyllables(f *testing.F) {
	for _, s := range []string{"dubowangzhan", "fangan", "lvelue", "jv", "hello", "", "\xff\x00", "xi'an", "赌bo"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		got, ok := parseSyllables(token, nil)
		if want := fewest(token); ok != (want > 0) || len(got) != want {
			t.Fatalf("%q is %d syllables (%q), want %d", token, len(got), named(got...), want)
		}
	})
}

// fewest returns how many syllables a token has at least, 0 if it is no pinyin. It
// tries every name at every place.
func fewest(token []byte) int {
	if len(token) > maxPinyin || len(token) == 0 {
		return 0
	}
	least := make([]int, len(token)+1)
	for i := range token {
		if i > 0 && least[i] == 0 {
			continue
		}
		for _, name := range syllableNames()[1:] {
			for _, way := range typed(name) {
				if j := i + len(way); bytes.HasPrefix(token[i:], []byte(way)) && (least[j] == 0 || least[i]+1 < least[j]) {
					least[j] = least[i] + 1
				}
			}
		}
	}
	return least[len(token)]
}

// typed returns the ways to type a syllable.
func typed(name string) []string {
	switch {
	case name == "lve", name == "nve":
		return []string{name, name[:1] + "ue"}
	case len(name) > 1 && name[1] == 'u' && strings.Contains("jqxy", name[:1]):
		return []string{name, name[:1] + "v" + name[2:]}
	}
	return []string{name}
}

func BenchmarkReadings(b *testing.B) {
	text := []rune("赌博网站长期招聘重庆行业银行")
	for i := range b.N {
		first, _ := readings(text[i%len(text)])
		if first == 0 {
			b.Fatal("no reading")
		}
	}
}

func BenchmarkParseSyllables(b *testing.B) {
	dst := make([]syllable, 0, 64)
	for _, token := range []string{"dubowangzhan", "moderation"} {
		b.Run(token, func(b *testing.B) {
			token := []byte(token)
			for b.Loop() {
				_, _ = parseSyllables(token, dst[:0])
			}
		})
	}
}

func BenchmarkNewPinyin(b *testing.B) {
	for b.Loop() {
		newPinyin()
	}
}
