package form

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// Term is something to find, by its place in the slice given to [New].
type Term struct {
	Text string // as written
	// Forms are those it may be read in; Fold is understood.
	Forms Form
	// Substring lets it stand inside a longer token.
	Substring bool
	// Syllables is how many it must have at least to be looked for by its sound: two or more,
	// or 0 for [MinSyllables]. A term that no ordinary words sound like may do with fewer.
	Syllables int
}

// leastSyllables returns how many syllables the term must have to be looked for by its sound.
func (t *Term) leastSyllables() (int, error) {
	if t.Syllables < 0 || t.Syllables == 1 {
		return 0, fmt.Errorf("%d is no number of syllables to look for; give 2 or more, or 0 for %d (form.MinSyllables)", t.Syllables, MinSyllables)
	}
	return cmp.Or(t.Syllables, MinSyllables), nil
}

// Hit is a place where a term stands.
type Hit struct {
	Term int
	// Start and End are bytes of the text as it was given. What stands there reads, in the
	// form, as the term.
	Start, End int
	Form       Form
	// Pass tells the readings of one text apart. Hits come pass by pass.
	Pass int
}

// Contains reports whether a term stands in a text, both folded, as it would be found there
// without further forms: as whole tokens.
func Contains(text, term string) bool {
	for _, inside := range Occurrences(text, term) {
		if !inside {
			return true
		}
	}
	return false
}

// Occurrences yields where in a text a term begins, both folded, and whether it is a part of a longer
// token there. The next may overlap it.
func Occurrences(text, term string) iter.Seq2[int, bool] {
	token := func(r rune, n int) bool { return n > 0 && fold.ClassOf(r) == fold.Token }
	return func(yield func(int, bool) bool) {
		first, last := token(utf8.DecodeRuneInString(term)), token(utf8.DecodeLastRuneInString(term))
		for from := 0; term != ""; {
			i := strings.Index(text[from:], term)
			if i < 0 {
				return
			}
			at := from + i
			inside := first && token(utf8.DecodeLastRuneInString(text[:at])) || last && token(utf8.DecodeRuneInString(text[at+len(term):]))
			if !yield(at, inside) {
				return
			}
			_, n := utf8.DecodeRuneInString(term)
			from = at + n
		}
	}
}
