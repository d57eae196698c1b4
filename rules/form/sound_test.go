package form

import "testing"

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
