package form

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// What stands in this file spares texts that only look as if a term stood in them. Whole
// tokens are the automaton's matter, sentences that of the joined reading, ordinary words
// that of Words.

// partOfNumber reports whether a numeral at an edge of symbols lo up to hi goes on beyond it.
func partOfNumber(t *automaton.Text, lo, hi int) bool {
	numeral := func(at int) bool {
		if at < 0 || at >= len(t.Symbols) {
			return false
		}
		r := runeAt(t, at)
		return valueOf(r) >= 0 || !t.Symbols[at].Separator() && strings.ContainsRune(circles, r)
	}
	return numeral(lo) && numeral(lo-1) || numeral(hi-1) && numeral(hi)
}

// likeLatin reports whether a character is of a script some of whose letters look like Latin
// ones.
func likeLatin(r rune) bool {
	if 0x3000 <= r && r < 0xA640 {
		return false // Han and kana, where no such script has letters: most hits are there
	}
	return unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian)
}

// nearBytes is how far from a word its language is looked for.
const nearBytes = 96

// otherScript reports whether symbols lo up to hi are a word in another script, in a text of
// that script: all letters are of one that looks like Latin, and nearby stands one that looks
// like none. рот in a Russian sentence is a mouth, in an English one it is a disguise.
func otherScript(t *automaton.Text, lo, hi int) bool {
	for at := lo; at < hi; at++ {
		r, _ := utf8.DecodeRune(t.Source[t.Offsets[at]:])
		if r < utf8.RuneSelf && isAlnum(byte(r)) || r >= utf8.RuneSelf && !likeLatin(r) {
			return false
		}
	}
	from := max(0, int(t.Offsets[lo])-nearBytes)
	for i := from; i < min(len(t.Source), int(t.Offsets[hi-1])+nearBytes); {
		r, n := utf8.DecodeRune(t.Source[i:])
		if to, _ := fold.Rune(r); likeLatin(r) && to >= utf8.RuneSelf {
			return true
		}
		i += n
	}
	return false
}
