package form

import (
	"testing"
	"unicode"
)

// The short way for Han and kana leaves out no letter of a script that looks like Latin.
func TestLikeLatin(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if want := unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian); likeLatin(r) != want {
			t.Errorf("%U: %v, want %v", r, !want, want)
		}
	}
}
