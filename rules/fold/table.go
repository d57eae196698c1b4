package fold

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// What the table says of a character. A positive number is the one character it
// becomes.
const (
	same     int32 = 0
	drop     int32 = -1
	expanded int32 = -2 // and below: the expansion with number expanded-value
)

// maxExpansion is the greatest number of folded bytes from one byte: U+FDFA, of
// three bytes, becomes 33. A test watches it.
const maxExpansion = 11

const (
	pageBits = 8
	pageMask = 1<<pageBits - 1
)

type page [1 << pageBits]int32

// tables hold what each character folds to. Most pages are all zero and shared.
type tables struct {
	ascii      [utf8.RuneSelf]int32
	index      [(unicode.MaxRune + 1) >> pageBits]uint16
	pages      []page
	expansions []string
}

// table builds the tables once per process, at the first fold: some 20 ms.
var table = sync.OnceValue(build)

func build() *tables {
	t := &tables{pages: make([]page, 1)} // page 0: all the same
	f := folder{fold: newFold()}
	for _, span := range candidates {
		for r := span.lo; r <= span.hi; r++ {
			s := f.character(r)
			if s == string(r) {
				continue
			}
			at := &t.index[r>>pageBits]
			if *at == 0 {
				*at = uint16(len(t.pages))
				t.pages = append(t.pages, page{})
			}
			to := drop
			if s != "" {
				c, n := utf8.DecodeRuneInString(s)
				to = c
				if n < len(s) {
					to = expanded - int32(len(t.expansions))
					t.expansions = append(t.expansions, s)
				}
			}
			t.pages[*at][r&pageMask] = to
		}
	}
	copy(t.ascii[:], t.pages[t.index[0]][:])
	return t
}

// candidates are all characters that can fold to something else. Left out are the
// large blocks that never do, Han, Hangul, private use and planes without
// characters: asking the libraries for each of a million takes a second.
var candidates = []struct{ lo, hi rune }{
	{0x0000, 0x33FF},
	{0x4DC0, 0x4DFF},
	{0xA000, 0xABFF},
	{0xD7A4, 0xD7FF},
	{0xF900, 0x1FFFF},
	{0x2F800, 0x2FFFF},
	{0xE0000, 0xE0FFF},
}

// newFold returns full case folding that does not look at neighbours.
func newFold() cases.Caser { return cases.Fold(cases.HandleFinalSigma(false)) }

type folder struct{ fold cases.Caser }

// character returns the characters r folds to, none if it is dropped.
func (f *folder) character(r rune) string {
	s := string(r)
	for {
		var next []byte
		for _, c := range s {
			for _, c := range f.once(c) {
				if !invisible(c) {
					next = utf8.AppendRune(next, c)
				}
			}
		}
		if string(next) == s {
			return s
		}
		s = string(next)
	}
}

// once folds one character by one round of the three steps.
func (f *folder) once(r rune) string {
	if r == utf8.RuneError {
		return string(r)
	}
	if unicode.Is(unicode.Cherokee, r) {
		// Its small letters fold to capitals; the library turns each into the other.
		return string(unicode.ToUpper(r))
	}
	s := norm.NFKC.String(string(r))
	s = f.fold.String(s)
	return norm.NFKC.String(s)
}

// invisible reports whether a character shows nothing and takes no place: format
// and control characters (white space is neither), variation selectors, fillers,
// and what Unicode reserves for such. The few format characters that do show are
// kept.
func invisible(r rune) bool {
	switch {
	case unicode.Is(unicode.White_Space, r) || unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		return false
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Variation_Selector, r),
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return true
	}
	return false
}
