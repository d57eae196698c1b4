package form

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Form is a set of forms: those a term may be read in, or those that a hit took. Folding
// always takes place, so a hit in no further form is one of Fold.
type Form uint16

// The forms.
const (
	Fold     Form = 1 << iota // characters that look or count the same are one
	Squeeze                   // without separators, emoji, markup and line breaks between the characters
	Repeat                    // without lengthened letters and doubled characters
	Spaced                    // single Latin letters that stand apart are one word
	Leet                      // digits and signs for letters, in whole tokens
	Decode                    // entities, tags, percent and backslash escapes are undone, one level
	Digits                    // numbers in any writing are digits
	Split                     // parts that stand side by side are one Han character
	Pinyin                    // by the sound: typed syllables and homophones
	Initials                  // first letters of the syllables, a whole token
	Emoji                     // an emoji is the word for it
	Shape                     // a Han character is one of those that look like it
)

// words are the forms' words in packs and verdicts, in the order of the bits.
var words = []string{"fold", "squeeze", "repeat", "spaced", "leet", "decode", "digits", "split", "pinyin", "initials", "emoji", "shape"}

// All is every form.
const All = Shape<<1 - 1

// weak are the forms that read into a text what may not be in it.
const weak = Pinyin | Initials | Emoji | Shape

// Weak reports whether the set holds a form of lower confidence: by sound or by shape.
// A hit that took one is for people to look at and never rejects by itself.
func (f Form) Weak() bool { return f&weak != 0 }

// String returns the words of the forms, joined by "+". Beside another form, fold is
// understood.
func (f Form) String() string {
	if f &^= Fold; f == 0 {
		return words[0]
	}
	if f&(f-1) == 0 {
		return words[bits.TrailingZeros16(uint16(f))] // allocates nothing
	}
	return strings.Join(f.Words(), "+")
}

// Words returns the words of the forms in the order of the constants. Beside another form, fold is
// understood.
func (f Form) Words() []string {
	if f &^= Fold; f == 0 {
		f = Fold
	}
	var list []string
	for i, w := range words {
		if f>>i&1 != 0 {
			list = append(list, w)
		}
	}
	return list
}

// Names returns the words of all forms.
func Names() []string { return slices.Clone(words) }

// Parse returns the form with this word.
func Parse(word string) (Form, error) {
	i := slices.Index(words, word)
	if i < 0 {
		return 0, fmt.Errorf("unknown form %q; known are %s", word, strings.Join(words, ", "))
	}
	return 1 << i, nil
}
