package main

import (
	"testing"
	"unicode"

	"golang.org/x/text/width"
)

// A term is quoted in the form it was read in; a detector or a pattern has no form, and is named.
func TestReadAs(t *testing.T) {
	for term, want := range map[string]string{
		"赌博":                  `read by fold as "赌博"`,
		"detector: messenger": "found by the detector messenger",
		`pattern: v\s[0-9]+`:  `found by the pattern v\\s[0-9]+`,
	} {
		if got := readAs("fold", term); got != want {
			t.Errorf("%q: %s, want %s", term, got, want)
		}
	}
}

// What cannot be seen is shown, and what can be seen is left as it is.
func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"":              `""`,
		"赌博 bet":        `"赌博 bet"`,
		"赌\u200b博":      `"赌\u{200B}博"`,
		"e\u0301é":      `"e\u{301}é"`,
		"a\u00a0b":      `"a\u{A0}b"`,
		"a\u3164\u3000": "\"a\\u{3164}\u3000\"",
		"a\nb\tc\x00":   `"a\nb\tc\u{0}"`,
		"\u202e\"\\":    `"\u{202E}\"\\"`,
		"🐴\ufe0f":       `"🐴\u{FE0F}"`,
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%+q) = %s, want %s", text, got, want)
		}
	}
}

// Marks stand under what they mark: the characters of East Asian scripts take two columns, those
// of others one, as Unicode has it.
func TestColumns(t *testing.T) {
	scripts := []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Yi,
		unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Arabic, unicode.Nd, unicode.P}
	seen := [3]int{}
	for r := rune(' '); r <= unicode.MaxRune; r++ {
		if !unicode.IsGraphic(r) || !unicode.In(r, scripts...) {
			continue
		}
		want := 1
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			want = 2
		}
		if got := columns(string(r)); got != want {
			t.Errorf("%q (%U) takes %d columns, want %d", r, r, got, want)
		}
		seen[want]++
	}
	if seen[1] < 1000 || seen[2] < 80_000 {
		t.Errorf("looked at %d narrow and %d wide characters only", seen[1], seen[2])
	}
	if got := columns("🐴😀a"); got != 5 {
		t.Errorf("two emoji and a letter take %d columns, want 5", got)
	}
}
