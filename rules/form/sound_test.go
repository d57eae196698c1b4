package form

import (
	"strings"
	"testing"
)

// Typed English words are no pinyin, though they consist of syllables; but one token that is no
// word, a short one or a Chinese character among them makes them pinyin again.
func TestForeignWordsAreNoPinyin(t *testing.T) {
	terms := []Term{{Text: "妈妈桑", Forms: Pinyin}, {Text: "赌博网站", Forms: Pinyin}, {Text: "莫萨妈妈", Forms: Pinyin}}
	m, err := New(terms, Options{Words: testWords(t)})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := New(terms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for _, tc := range []struct {
		text, want, bare string // surfaces of the hits with words and without
	}{
		{"my mama sang me to sleep", "", "mama sang"},
		{"Mama Sang!", "", "Mama Sang"},
		{"ＭＡＭＡ ｓａｎｇ", "", "ＭＡＭＡ ｓａｎｇ"},
		{"mama-sang", "", "mama-sang"},
		{"ma ma sang", "ma ma sang", "ma ma sang"},
		{"mamasang", "mamasang", "mamasang"},
		{"妈妈 sang", "妈妈 sang", "妈妈 sang"},
		{"du bo wang zhan", "du bo wang zhan", "du bo wang zhan"},
		{"dubo wangzhan", "dubo wangzhan", "dubo wangzhan"},
		// The word counts that the syllables stand in, not what is cut out of it.
		{"a mimosa mama", "", "mosa mama"},
		{"a mosa mama", "mosa mama", "mosa mama"},
	} {
		for _, m := range []struct {
			*Matcher
			want string
		}{{m, tc.want}, {bare, tc.bare}} {
			got := ""
			for _, h := range findAll(m.Matcher, &sc, tc.text) {
				got += tc.text[h.Start:h.End]
			}
			if got != m.want {
				t.Errorf("%q: hit %q, want %q", tc.text, got, m.want)
			}
		}
	}
}

// A term says how many syllables it must have to be looked for by its sound; without a word it
// is MinSyllables.
func TestSyllablesOfATerm(t *testing.T) {
	for _, tc := range []struct {
		term      string
		syllables int
		texts     string // found by sound, each
		others    string // not found
	}{
		{"冰毒", 0, "", "bingdu|bing du|兵毒"},
		{"冰毒", 2, "bingdu|Bing Du|兵毒|病 du|冰-督", "dubing|ping du|abingdub|病毒都|冰"},
		{"百家乐", 2, "baijiale|白家乐|bai jia yue", "bai jia"},
		{"百家乐", 4, "", "baijiale|白家乐"},
		{"赌博网站", 4, "dubowangzhan", "dubowang"},
		{"音乐", 2, "yinyue|因月|yin le", ""}, // 乐 is read in two ways
		{"因月", 2, "殷乐|殷乐殷", ""},           // and here in the text
	} {
		m, err := New([]Term{{Text: tc.term, Forms: Pinyin, Syllables: tc.syllables}, {Text: "病毒", Forms: Fold}}, Options{Words: testWords(t)})
		if err != nil {
			t.Fatal(err)
		}
		var sc Scratch
		found := func(text string) bool {
			for _, h := range findAll(m, &sc, text) {
				if h.Term == 0 {
					return true
				}
			}
			return false
		}
		for text := range strings.SplitSeq(tc.texts, "|") {
			if text != "" && !found(text) {
				t.Errorf("%s, at least %d syllables: missed in %q", tc.term, tc.syllables, text)
			}
		}
		for text := range strings.SplitSeq(tc.others, "|") {
			if found(text) {
				t.Errorf("%s, at least %d syllables: found in %q", tc.term, tc.syllables, text)
			}
		}
	}
	for _, n := range []int{-1, 1} {
		_, err := New([]Term{{Text: "冰毒", Forms: Pinyin, Syllables: n}}, Options{})
		if err == nil || !strings.Contains(err.Error(), "give 2 or more") {
			t.Errorf("%d syllables: %v", n, err)
		}
	}
}

// A circle that is a zero in the numbered reading is read over by sound.
func TestSoundsOverZeros(t *testing.T) {
	m, err := New([]Term{{Text: "二二六", Forms: Pinyin}, {Text: "2026", Forms: Fold | Digits | Squeeze}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if hits := findAll(m, new(Scratch), "贰○二六"); len(hits) != 2 || hits[0].Term != 0 || hits[1].Term != 1 {
		t.Errorf("%v", hits)
	}
}

// A text that becomes longer when it is folded is read to its end.
func TestSoundsBehindExpansions(t *testing.T) {
	m, err := New([]Term{{Text: "赌博机", Forms: Pinyin}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("ﷺ", 200) + "读播鸡"
	if hits := findAll(m, new(Scratch), text); len(hits) != 1 || text[hits[0].Start:hits[0].End] != "读播鸡" {
		t.Errorf("%v", hits)
	}
}

// Letters and characters of every guise are read as what they fold to.
func TestSoundsInGuise(t *testing.T) {
	m, err := New([]Term{{Text: "赌博机", Forms: Pinyin}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"ｄｕｂｏｊｉ", "🅳🅤🅑🅞 ji", "𝐝𝐮𝐛𝐨𝐣𝐢", "读\u200b播-鸡", "du博 JI"} {
		if hits := findAll(m, new(Scratch), text); len(hits) != 1 || hits[0].Start != 0 || hits[0].End != len(text) {
			t.Errorf("%q: %v", text, hits)
		}
	}
}

// Every syllable has one of the letters that are counted as vowels.
func TestSyllablesHaveVowels(t *testing.T) {
	for _, name := range syllableNames()[1:] {
		if !strings.ContainsAny(name, "aeiouv") {
			t.Errorf("%s has none", name)
		}
	}
}

// A text that is all syllables, of terms or nearly so, takes time as it grows: were each looked at
// again for what stands around it, this test would not end.
func TestSoundsAreLinear(t *testing.T) {
	m, err := New([]Term{
		{Text: "赌博机", Forms: Fold | Squeeze | Decode | Pinyin}, {Text: "长行乐", Forms: Fold | Pinyin},
		{Text: "冰毒", Forms: Pinyin, Syllables: 2},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	most := 2 << 20
	if testing.Short() {
		most /= 10
	}
	for _, piece := range []string{"读播鸡", "du bo ji ", "dubo", "行", "读播 ", "e", "du&amp;bo ", "读-", "乐the ", "兵督", "bingdu"} {
		m.Find(&sc, []byte(strings.Repeat(piece, most/len(piece))), func(Hit) bool { return false })
	}
}
