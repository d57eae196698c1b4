package form

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/rules/automaton"
)

// checkLatin compares what is found with what is found where every text is decoded, and searched
// again with its escapes undone.
func checkLatin(t *testing.T, m *Matcher, terms []string, text []byte, sc *Scratch) {
	t.Helper()
	slow := *m
	slow.latin, slow.seams = nil, nil
	if got, want := findHits(m, sc, text), findHits(&slow, sc, text); !slices.Equal(got, want) {
		t.Fatalf("terms %q\ntext %q\ngot  %v\nwant %v", terms, text, got, want)
	}
}

// latinWords are what terms and texts are made of: tokens of less and more than eight bytes that
// begin alike, and what stands between tokens.
var latinWords = []string{"a", "ab", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmnop", "7", "c7", "@ab", "ab@", "abc.de", "-"}

// Whatever the terms, in ASCII texts of every length about multiples of the eight bytes and
// the block that are looked at together the same is found as where they are decoded.
func TestLatin(t *testing.T) {
	n := 400
	if testing.Short() || raceEnabled {
		n = 40
	}
	r := rand.New(rand.NewSource(5))
	var sc Scratch
	found, many := 0, 0
	for i := range n {
		var terms []Term
		var texts []string
		for range 1 + r.Intn(6) {
			var parts []string
			for range 1 + r.Intn(3) {
				parts = append(parts, latinWords[r.Intn(len(latinWords))])
			}
			w := strings.Join(parts, []string{" ", "", ", "}[r.Intn(3)])
			if w = strings.TrimSpace(w); usable(w) {
				terms = append(terms, Term{Text: w, Forms: Fold})
				texts = append(texts, w)
			}
		}
		o := Options{}
		if i%10 == 0 {
			o.Automaton.Engine = automaton.Cloudflare
		}
		m, err := New(terms, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range []int{8, 16, 56, 64, 72, 128, 192, 320} {
			for length := block - 2; length <= block+2; length++ {
				text := latinText(r, texts, length)
				checkLatin(t, m, texts, text, &sc)
				if m.latin == nil {
					continue // a term begins or ends without a letter or digit, or holds none
				}
				if list, ok := m.latin.places(&sc.cut, text, m.auto); ok {
					found += len(list)
				} else {
					many++
				}
			}
		}
	}
	if found == 0 || many == 0 {
		t.Errorf("%d places walked from, %d texts with too many: one of the ways was not tried", found, many)
	}
}

// latinText returns a text of that many bytes with terms among words.
func latinText(r *rand.Rand, terms []string, length int) []byte {
	var b []byte
	often := r.Intn(8)
	for len(b) < length {
		if r.Intn(8) < often && len(terms) > 0 {
			b = append(b, terms[r.Intn(len(terms))]...)
		} else {
			b = append(b, latinWords[r.Intn(len(latinWords))]...)
		}
		b = append(b, []string{" ", " ", ", ", "", "\n"}[r.Intn(5)]...)
		if r.Intn(3) == 0 {
			b = []byte(strings.ToUpper(string(b)))
		}
	}
	return b[:length]
}

// A text with few places is walked, one with many is not: else a term that goes on and on
// would be read again from each. Either way everything is found, and nothing allocated.
func TestWalks(t *testing.T) {
	m, err := New([]Term{{Text: "casino", Forms: Fold}, {Text: strings.Repeat("casino ", 30), Forms: Fold}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for _, c := range []struct {
		text  string
		hits  int
		walks bool
	}{
		{"no such thing", 0, true},
		{"My Casino.", 1, true},
		{strings.Repeat("casino ", walks), walks, true},
		{strings.Repeat("casino ", 2*walks), 2 * walks, false},
		{strings.Repeat("casino ", 40), 40 + 11, false},
		{strings.Repeat("casino "+strings.Repeat("x ", 40), 40), 40, true},
	} {
		text := []byte(c.text)
		if _, ok := m.latin.places(&sc.cut, text, m.auto); ok != c.walks {
			t.Errorf("%.20q, %d bytes: walked %v", text, len(text), ok)
		}
		hits := 0
		if n := testing.AllocsPerRun(20, func() {
			hits = 0
			m.Find(&sc, text, func(Hit) bool { hits++; return true })
		}); n != 0 {
			t.Errorf("%.20q, %d bytes: %v allocations", text, len(text), n)
		}
		if hits != c.hits {
			t.Errorf("%.20q, %d bytes: %d hits, want %d", text, len(text), hits, c.hits)
		}
	}
}

// A list that no ASCII text can hold rules all of them out.
func TestNothingLatin(t *testing.T) {
	m, err := New([]Term{{Text: "赌博", Forms: Fold | Squeeze}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"": true, "dubo": true, "some 15 bytes..": true, "16 bytes of text": true, "a 赌博": false, "eight..赌博": false} {
		if got := m.latin.nothing && isASCII([]byte(text)); got != want {
			t.Errorf("%q: ruled out %v", text, got)
		}
		if hits := findAll(m, new(Scratch), text); len(hits) != strings.Count(text, "赌博") {
			t.Errorf("%q: %v", text, hits)
		}
	}
}

// Evasions of which only a later token, or what lies beyond eight bytes of one, tells that a
// text does not hold the term as it is.
func TestLatinReadings(t *testing.T) {
	terms := []Term{{Text: "go to hell", Forms: All}, {Text: "international", Forms: All}}
	m, err := New(terms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sc Scratch
	for _, text := range []string{"go t o hell", "go tooo hell", "internationaaal", "internati0nal", "g o to hell", "i n t e r n a t i o n a l"} {
		for _, lead := range []string{"", "x, ", strings.Repeat("xyz, ", 12), strings.Repeat("xyz, ", 13)} {
			text := lead + text
			if hits := findAll(m, &sc, text); len(hits) == 0 {
				t.Errorf("%q: no hit", text)
			}
			checkLatin(t, m, []string{terms[0].Text, terms[1].Text}, []byte(text), &sc)
		}
	}
}
