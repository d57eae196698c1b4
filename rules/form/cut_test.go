package form

import (
	"bytes"
	"math/rand"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/rules/automaton"
)

var alnums = regexp.MustCompile(`[0-9A-Za-z]+`)

// checkCut compares a cut with what a regular expression finds.
func checkCut(t *testing.T, c *cut, text []byte) {
	t.Helper()
	want := alnums.FindAllIndex(text, -1)
	if len(c.at) != len(want) || len(c.keys) != len(want)+1 || c.keys[len(want)] != 0 {
		t.Fatalf("%q: %d tokens, want %d; keys %x", text, len(c.at), len(want), c.keys)
	}
	for i, w := range want {
		token := text[w[0]:w[1]]
		var key [8]byte
		copy(key[:], bytes.ToLower(token))
		if int(c.at[i]) != w[0] || c.keys[i] != load(key[:]) || !bytes.Equal(c.token(text, i), token) {
			t.Fatalf("%q: token %d at %d is %q, key %x; want %q at %d", text, i, c.at[i], c.token(text, i), c.keys[i], token, w[0])
		}
	}
	if rest := c.token(text, len(want)); rest != nil {
		t.Fatalf("%q: %q behind the last token", text, rest)
	}
}

func newASCII(tb testing.TB) *automaton.Automaton {
	tb.Helper()
	a, err := automaton.New([]automaton.Pattern{{Text: "ab"}, {Text: "é"}, {Text: "中"}}, automaton.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// Texts of every length, with tokens of every length across the borders of blocks, are cut as
// a regular expression cuts them.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	a := newASCII(t)
	var c cut
	for _, pieces := range [][]string{
		{"a", "Z", "7", " "},
		{"a", "B", "c", "x", "9", "0", "z", "A", "d", "e", "f", "g", "h", " "},
		{"@", "[", "`", "{", "/", ":", "~", "!", "a", "\n"},
		{"a", "b", " ", "😀", "…", "—", "❤"},
	} {
		for length := range 4*blockBytes + 10 {
			for range 4 {
				var b strings.Builder
				for b.Len() < length {
					b.WriteString(pieces[r.Intn(len(pieces))])
				}
				text := []byte(b.String())
				ascii, ok := c.cut(text, a)
				if !ok || ascii != isASCII(text) {
					t.Fatalf("%q: ascii %v, cut %v", text, ascii, ok)
				}
				checkCut(t, &c, text)
			}
		}
	}
}

// A character that may be part of a pattern, join what stands around it or is dropped forbids
// a cut, wherever it stands.
func TestNoCut(t *testing.T) {
	a := newASCII(t)
	var c cut
	for _, unfit := range []string{"é", "中", "ﬁ", "\u200b", "\u00ad", "\x00", "\x7f", "\x1f", "\xff"} {
		for lead := range 2*blockBytes + 2 {
			for _, behind := range []int{0, 3, blockBytes} {
				text := []byte(strings.Repeat("x", lead) + unfit + strings.Repeat("y", behind))
				if _, ok := c.cut(text, a); ok {
					t.Fatalf("%q was cut", text)
				}
			}
		}
	}
}

// Whatever a text is, it is cut as a regular expression cuts it or not at all.
func FuzzCut(f *testing.F) {
	f.Add([]byte("RT @someone: nothing to see here, but 12345678 and abcdefghi… 😀 and more than 64 bytes"))
	f.Add([]byte("a\x00b"))
	a := newASCII(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var c cut
		ascii, ok := c.cut(text, a)
		if ok {
			checkCut(t, &c, text)
		}
		if ok && ascii != isASCII(text) || isASCII(text) && !ok && !bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F }) {
			t.Fatalf("%q: ascii %v, cut %v", text, ascii, ok)
		}
	})
}
