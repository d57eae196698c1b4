// Package fold brings texts that read the same into one shape before they are
// compared: upper and lower case, full and half width, Traditional and Simplified
// characters, letters with and without diacritics, look-alikes from other scripts,
// circled, squared and styled characters, the digits of all scripts; what is
// invisible vanishes. What it is not: it compares nothing and knows no rules; and it
// does not transform for display, the result is only good for comparing.
//
// The one thing to know: folding works character by character, from one table. A
// character always folds to the same characters, whatever stands beside it, so the
// fold of a text is the fold of its parts, and folding twice equals folding once.
//
// What a character goes through, until nothing changes:
//
//   - Decisions of our own: look-alikes (Cyrillic а, small capital ᴀ, ø, 🅰 to a),
//     quotes, dashes and blanks.
//   - What shows nothing is dropped: format and control characters, variation
//     selectors, tags, fillers, and all combining marks. As these also come off
//     composed letters (é is e, й is и, が is か), texts that are canonically
//     equivalent fold alike. The price is paid by scripts that write vowels or tones
//     as marks, such as Thai and Devanagari, where more words become the same. Hangul
//     is the exception to both: a syllable stays composed, and a text that spells it
//     out in conjoining jamo differs.
//   - Decimal digits of all scripts become 0 to 9, before anything takes a zero for
//     a letter.
//   - Compatibility decomposition, without the brackets and full stops it puts about
//     enclosed characters: ㈱ is 株, ⑴ is 1.
//   - Full case folding: ß is ss.
//   - Han: Traditional to Simplified, variants of the same character, radicals,
//     Japanese simplified forms.
//
// Letters fold to a look-alike in both cases or in none, so the two cases of a word
// in Russian or Greek still match each other.
//
// The table is generated; go generate writes it afresh from the sources pinned in
// gen, if anything there has changed.
package fold

import (
	"iter"
	"unicode/utf8"
)

//go:generate go -C gen run ./cmd/fold -o ../table_gen.go

// Replacement stands in folded text for each byte of the original that is not
// UTF-8. No term can contain it, so it matches nothing.
const Replacement = utf8.RuneError

// What Rune returns in place of a character.
const (
	Drop    rune = -1 // the character vanishes
	Expands rune = -2 // it becomes several characters
)

// Rune returns what a character folds to: itself, another character, Drop, or
// Expands and then the characters, two or more, in more.
func Rune(r rune) (to rune, more string) {
	t := table()
	if uint32(r) > utf8.MaxRune {
		return Replacement, ""
	}
	to = t.pages[t.index[r>>pageBits]][r&pageMask]
	switch {
	case to == same:
		return r, ""
	case to <= Expands:
		return Expands, t.expansions[Expands-to]
	}
	return to, ""
}

// All yields every character that does not fold to itself, in ascending order, with
// its fold, which is empty if the character is dropped.
func All() iter.Seq2[rune, string] {
	return func(yield func(rune, string) bool) {
		t := table()
		for i, page := range t.index {
			if page == 0 {
				continue
			}
			for j, to := range t.pages[page] {
				var s string
				switch {
				case to == same:
					continue
				case to > 0:
					s = string(to)
				case to <= Expands:
					s = t.expansions[Expands-to]
				}
				if !yield(rune(i<<pageBits|j), s) {
					return
				}
			}
		}
	}
}

// Append appends the fold of src to dst.
func Append(dst, src []byte) []byte {
	t := table()
	run := 0 // src[run:i] folds to itself and is not copied yet
	for i := 0; i < len(src); {
		var to rune
		n := 1
		if c := src[i]; c < utf8.RuneSelf {
			to = t.ascii[c]
		} else if r, size := utf8.DecodeRune(src[i:]); size > 1 {
			to, n = t.pages[t.index[r>>pageBits]][r&pageMask], size
		} else {
			to = Replacement
		}
		if to != same {
			dst = append(dst, src[run:i]...)
			switch {
			case to > 0:
				dst = utf8.AppendRune(dst, to)
			case to <= Expands:
				dst = append(dst, t.expansions[Expands-to]...)
			}
			run = i + n
		}
		i += n
	}
	return append(dst, src[run:]...)
}

// String returns the fold of s.
func String(s string) string { return string(Append(nil, []byte(s))) }

// Class says what part a character plays in a folded text.
type Class uint8

// The classes. The ASCII full stop and line breaks are separators, not stops: the
// one stands in numbers and addresses too, the others in the middle of anything.
const (
	Other     Class = iota // Replacement and surrogates: stands for no text
	Token                  // letter of a script that puts blanks between words, or digit
	Han                    // ideograph
	Letter                 // letter of a script without blanks: kana, Thai, Hangul and so on
	Separator              // white space, punctuation, symbol, emoji, private or not assigned
	Stop                   // ends a sentence or a clause: ! ? ; : , and 。 、 and their like
)

// ClassOf returns the class of a folded character. Of one that does not fold to
// itself it says nothing.
func ClassOf(r rune) Class {
	t := table()
	if uint32(r) > utf8.MaxRune {
		return Other
	}
	return t.classes[t.classIndex[r>>classBits]][r&classMask]
}
