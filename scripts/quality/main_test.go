package main

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/rules"
)

// What is put between characters leaves them as they are, stands in one gap at least, and never at an edge.
func TestBetween(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range []float64{0, 0.5, 1} {
		for range 100 {
			s := between(r, []rune("赌博网"), p, always("-"))
			n := strings.Count(s, "-")
			if strings.ReplaceAll(s, "-", "") != "赌博网" || n < 1 || n > 2 || p == 1 && n != 2 || p == 0 && n != 1 || strings.Trim(s, "-") != s {
				t.Fatalf("with probability %v: %q", p, s)
			}
		}
	}
	if s := between(r, []rune("赌"), 1, always("-")); s != "" {
		t.Errorf("one character has no gap, got %q", s)
	}
}

// One character at least is written otherwise, and none that there is no way for.
func TestReplace(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	way := func(c rune) string {
		if c == '博' {
			return ""
		}
		return "x"
	}
	for range 100 {
		if s := replace(r, []rune("赌博网"), 0, way); s != "x博网" && s != "赌博x" {
			t.Fatalf("one of three: %q", s)
		}
	}
	if s := replace(r, []rune("赌博网"), 1, way); s != "x博x" {
		t.Errorf("all of them: %q", s)
	}
	if s := replace(r, []rune("博"), 1, way); s != "" {
		t.Errorf("none of them: %q", s)
	}
}

// Every disguise makes something of the terms it is for, and what it makes has the length that it should have.
func TestDisguises(t *testing.T) {
	tab, err := readTables()
	if err != nil {
		t.Fatal(err)
	}
	length := map[string][2]int{ // characters of 赌博8手枪, or of sleepy
		"traditional characters": {5, 5}, "one sign in every gap": {9, 11}, "doubled characters": {6, 9}, "split characters": {6, 10},
		"numerals in another writing": {5, 5}, "capitals here and there": {6, 6}, "full width": {6, 6}, "letters of other scripts": {6, 6},
		"lengthened": {8, 36}, "one letter doubled": {7, 7}, "letters apart": {11, 11}, "digits and signs for letters": {6, 6},
		"broken in two": {7, 7}, "a star for a letter": {6, 6}, "backwards": {5, 6},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, part := range []struct {
		disguises []disguise
		terms     []string
	}{
		{tab.chinese(), []string{"赌博8手枪", "赌博网站", "手枪"}},
		{tab.latin(), []string{"sleepy"}},
	} {
		for _, d := range part.disguises {
			made := false
			for _, term := range part.terms {
				for range 20 {
					s := d.write(r, []rune(term))
					made = made || s != ""
					n := utf8.RuneCountInString(s)
					if l, ok := length[d.name]; ok && s != "" && term == part.terms[0] && (n < l[0] || n > l[1]) {
						t.Errorf("%s makes %q of %s, %d characters, want %v", d.name, s, term, n, l)
					}
					if d.name != "none" && s == term || !utf8.ValidString(s) {
						t.Errorf("%s makes %q of %s", d.name, s, term)
					}
				}
			}
			if !made {
				t.Errorf("%s makes nothing of %q", d.name, part.terms)
			}
		}
	}
}

// What was put into a post is where the sample says, the rest of the post is still there, and nothing grows together.
func TestInsertions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := betweenClauses(r, "今天1，好。a", "赌qq")
		if s.Text[s.Start:s.End] != "赌qq" || strings.ReplaceAll(strings.Replace(s.Text, "赌qq", "", 1), " ", "") != "今天1，好。a" {
			t.Fatalf("%+v", s)
		}
		if s.End < len(s.Text) && isToken(s.Text[s.End]) || s.Start > 0 && isToken(s.Text[s.Start-1]) && s.Text[s.Start] < 0x80 {
			t.Fatalf("grown together: %+v", s)
		}
		s = betweenWords(r, "one two", "bad")
		if s.Text[s.Start:s.End] != "bad" || s.Text[s.Start-1] != ' ' || s.Text[s.End] != ' ' || len(strings.Fields(s.Text)) != 3 {
			t.Fatalf("%+v", s)
		}
	}
}

// The hand-written tables hold what they say.
func TestTables(t *testing.T) {
	tab, err := readTables()
	if err != nil {
		t.Fatal(err)
	}
	for r, ways := range tab.splits {
		for _, w := range ways {
			if n := utf8.RuneCountInString(w); n < 2 || n > 3 || strings.ContainsRune(w, r) {
				t.Errorf("%c is split as %s", r, w)
			}
		}
	}
	for r, group := range tab.shapes {
		if slices.Contains(group, string(r)) || len(group) == 0 {
			t.Errorf("%c looks like %q", r, group)
		}
	}
	if tab.traditional['赌'] != "賭" || tab.reading['赌'] != "du" || !slices.Contains(tab.alike['赌'], "毒") || len(tab.pictures) < 40 {
		t.Error("a table lacks what everybody knows")
	}
}

// With one seed the same texts come out; and no term is put into a post that holds it.
func TestSeeds(t *testing.T) {
	tab, err := readTables()
	if err != nil {
		t.Fatal(err)
	}
	text, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := rules.ParseRegister("categories.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	terms, posts := []string{"赌博网站", "卖枪"}, []string{"今天天气很好。", "卖枪的人", "去哪里？"}
	c := &corpus{register: reg}
	set, err := c.set([]rule{{terms: terms}}, []string{"all"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	draw := func(seed uint64) []sample {
		m := measuring{o: options{posts: 30, seed: seed}, corpus: c, log: io.Discard}
		return m.draw(tab.chinese()[3], terms, posts, betweenClauses, set)
	}
	one := draw(1)
	if len(one) != 30 || !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) {
		t.Errorf("30 samples of one seed: %v", one)
	}
	for _, s := range one {
		if s.Term == "卖枪" && strings.Contains(s.Text, "卖枪的人") {
			t.Errorf("%q holds the term already", s.Text)
		}
	}
	m := measuring{corpus: c}
	if hit, exact := m.found(set, sample{Term: "卖枪", Text: "在-卖 枪-", Start: 4, End: 11}); !hit || !exact {
		t.Errorf("hit %t, exact %t", hit, exact)
	}
	if hit, exact := m.found(set, sample{Term: "卖枪", Text: "在-卖 枪-", Start: 3, End: 11}); !hit || exact {
		t.Errorf("hit %t, exact %t", hit, exact)
	}
}

// Tables go between their marks in the document, and what is around stays.
func TestRewrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "quality.md")
	if err := os.WriteFile(name, []byte("# Title\n<!-- a -->\nold\n<!-- /a -->\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := rewrite(name, []block{{"a", "new\n"}}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if want := "# Title\n<!-- a -->\n\nnew\n\n<!-- /a -->\nend\n"; err != nil || string(got) != want {
			t.Errorf("got %q, want %q (%v)", got, want, err)
		}
	}
	if err := rewrite(name, []block{{"b", "new"}}); err == nil || !strings.Contains(err.Error(), "<!-- b -->") {
		t.Errorf("got %v, want the mark that is missing", err)
	}
}

// Of real lists only what a pack may have is left, and of Latin terms only words.
func TestTerms(t *testing.T) {
	if got, want := usable([]string{"赌博", "賭博", "赌", " 卖枪", "卖枪"}), []string{"赌博", "卖枪"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for term, want := range map[string]bool{"bad": true, "bad word": true, "be bad": false, "bad.com": false, "bad1": false, "坏": false} {
		if isWords(term) != want {
			t.Errorf("%q is words: %t, want %t", term, !want, want)
		}
	}
}
