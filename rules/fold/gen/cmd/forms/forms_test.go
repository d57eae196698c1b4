package main

import (
	"slices"
	"testing"
)

// A pickle of plain data is read; one that would run code, or is broken, is not.
func TestUnpickle(t *testing.T) {
	// {"k": ["a", "b"]}, as Python writes it with protocol 4.
	plain := "\x80\x04\x95\x15\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01k\x94]\x94(\x8c\x01a\x94\x8c\x01b\x94eu."
	value, err := unpickle([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := value.(map[string]any)["k"].([]any)
	if !slices.Equal(list, []any{"a", "b"}) {
		t.Errorf("got %v, want k with a and b", value)
	}
	for _, bad := range []string{
		"", ".", "}", "a.", "e.", "u.", "(u.", "}}.", "(}u.", "\x8c\x05ab", "}(\x8c\x01ku.", "](\x8c\x01k\x8c\x01vu.",
		"cos\nsystem\n(\x8c\x02idtR.",
	} {
		if value, err := unpickle([]byte(bad)); err == nil {
			t.Errorf("%q is %v, want an error", bad, value)
		}
	}
}

func TestToneless(t *testing.T) {
	for _, tc := range []struct{ reading, want string }{
		{"xíng", "xing"}, {"lǜ", "lv"}, {"lüè", "lve"}, {"jū", "ju"}, {"ê̄", "e"}, {"ń", ""}, {"hm", ""}, {"hng", ""},
	} {
		if got := toneless(tc.reading); got != tc.want {
			t.Errorf("%s is typed %q, want %q", tc.reading, got, tc.want)
		}
	}
}

func TestWrap(t *testing.T) {
	const paragraph = `one two
		three four`
	if got, want := wrap(paragraph, 9), "one two\nthree\nfour"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Parts are side by side if the layout says so, or if something stands within a
// pair that is.
func TestAcross(t *testing.T) {
	d := layouts{
		'明': {"a", []string{"日", "月"}},
		'林': {"ra", []string{"木"}},
		'行': {"a", []string{"彳", "亍"}},
		'街': {"w", []string{"行", "圭"}},
		'国': {"s", []string{"囗", "玉"}},
		'兆': {"w", []string{"儿", "37036"}},
		'毒': {"d", []string{"龶", "母"}},
		'锁': {"a", []string{"钅", "37310"}},
	}
	for r, want := range map[rune]bool{'明': true, '林': true, '街': true, '锁': true, '国': false, '兆': false, '毒': false, '一': false} {
		if d.across(r) != want {
			t.Errorf("%c is across: %t, want %t", r, !want, want)
		}
	}
	for r, want := range map[rune]string{'明': "日月", '林': "木木", '街': "", '锁': "", '毒': ""} {
		if got := string(d.parts(r)); got != want {
			t.Errorf("%c has the parts %q, want %q", r, got, want)
		}
	}
}

// A part that stands with one radical only is that radical: 氵 makes no family. Rare
// characters stand beside the common ones, alone with one of them too if the radicals
// differ.
func TestFamilies(t *testing.T) {
	u := &unihan{rank: map[rune]int{}, radical: map[rune]int{}}
	s := splits{}
	for _, row := range []struct {
		text    string
		radical int
		rank    int
	}{
		{"赌贝者", 154, 1}, {"诸讠者", 149, 1}, {"堵土者", 32, 1}, {"奢女者", 38, 3501},
		{"河氵可", 85, 1}, {"湖氵胡", 85, 1}, {"江氵工", 85, 1}, {"何亻可", 9, 1}, {"泸氵卢", 85, 3501},
		{"漂氵票", 85, 1}, {"嫖女票", 38, 3501}, {"魂云鬼", 194, 1}, {"魄白鬼", 194, 3501},
	} {
		r := []rune(row.text)
		u.rank[r[0]], u.radical[r[0]], s[r[0]] = row.rank, row.radical, [][]rune{r[1:]}
	}
	got := families(u, s)
	slices.SortFunc(got, func(a, b family) int { return len(a.common) - len(b.common) })
	want := []family{{"漂", "嫖"}, {sorted("何河"), ""}, {sorted("赌诸堵"), "奢"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is easier to write comes first.
func TestEffort(t *testing.T) {
	u := &unihan{rank: map[rune]int{'至': 900, '到': 901, '射': 902, '甫': 903, '寸': 904, '鳜': 7000}}
	ways := []string{"亻到", "亻至刂", "至鳜刂", "至尃刂"}
	if !slices.IsSortedFunc(ways, func(a, b string) int { return u.effort(a) - u.effort(b) }) {
		t.Errorf("%q are not in the order of effort", ways)
	}
}

// A word consists of syllables if it can be cut into them in some way.
func TestConsists(t *testing.T) {
	syllables := map[string]bool{"ma": true, "fan": true, "fang": true, "gan": true, "an": true}
	for word, want := range map[string]bool{"mama": true, "fangan": true, "fan": true, "fa": false, "man": false, "good": false} {
		if consists(word, syllables) != want {
			t.Errorf("%s consists of syllables: %t, want %t", word, !want, want)
		}
	}
}

// Reviewed lists have comments, and a line may have several fields.
func TestList(t *testing.T) {
	got := list("# all of it\n\n冰 ❄ 🧊 # ice\n")
	if len(got) != 1 || !slices.Equal(got[0], []string{"冰", "❄", "🧊"}) {
		t.Errorf("got %q", got)
	}
}
