package form

import (
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
	token := func(r rune, n int) bool { return n > 0 && fold.ClassOf(r) == fold.Token }
	first, last := token(utf8.DecodeRuneInString(term)), token(utf8.DecodeLastRuneInString(term))
	for from := 0; term != ""; {
		i := strings.Index(text[from:], term)
		if i < 0 {
			break
		}
		at := from + i
		inside := first && token(utf8.DecodeLastRuneInString(text[:at])) || last && token(utf8.DecodeRuneInString(text[at+len(term):]))
		if !inside {
			return true
		}
		_, n := utf8.DecodeRuneInString(term)
		from = at + n
	}
	return false
}
