package form

import (
	"strings"

	"github.com/weir-moderation/weir/rules/automaton"
)

// In the joined reading all letters that stand apart are one token, also a word of one letter
// beside a word in letters: "a c a s i n o" is acasino. So the rows of such letters are read
// once more without what may be a word of its own at their ends.

// loners are the words of one letter: in English, and in what people type for it.
const loners = "aiu"

// minRow is how many letters a row has at least that is read without one.
const minRow = minApart + 1

// rows makes the joined reading of every row of letters that stand apart, without the loner it
// begins with, without the one it ends with, and without both. It reports whether there are any.
func (s *stream) rows(t *automaton.Text) (some bool) {
	s.symbols, s.from = s.symbols[:0], s.from[:0]
	sym := t.Symbols
	token := func(at int) bool { return at >= 0 && at < len(sym) && sym[at].Token() }
	for at := 0; at < len(sym); {
		s.unit = s.unit[:0]
		for ; at < len(sym) && (sym[at].Separator() || token(at) && !token(at-1) && !token(at+1)); at++ {
			if token(at) {
				s.unit = append(s.unit, uint32(at))
			}
		}
		n := len(s.unit)
		if n >= minRow {
			first, last := int(s.unit[0]), int(s.unit[n-1])
			front := loner(t, first) || token(first-2) && isApostrophe(runeAt(t, first-1)) // don't
			back := loner(t, last) || token(last+2) && isApostrophe(runeAt(t, last+1))     // I'm
			both := front && back && n > minRow
			// A loner that lengthens the word is left out on both sides or not at all.
			if front && (!both || !sym[last].Same(sym[s.unit[n-2]])) {
				s.row(sym, s.unit[1:])
			}
			if back && (!both || !sym[first].Same(sym[s.unit[1]])) {
				s.row(sym, s.unit[:n-1])
			}
			if both {
				s.row(sym, s.unit[1:n-1])
			}
			some = some || front || back
		}
		at++
	}
	s.from = append(s.from, uint32(len(sym)))
	n := len(s.symbols)
	for range automaton.Padding {
		s.symbols = append(s.symbols, 0)
	}
	s.symbols = s.symbols[:n]
	return some
}

func loner(t *automaton.Text, at int) bool { return strings.ContainsRune(loners, runeAt(t, at)) }

func isApostrophe(r rune) bool { return r == '\'' || r == '’' }

// row writes letters as one token, as join does, and behind it nothing that belongs to a pattern.
func (s *stream) row(sym []automaton.Symbol, letters []uint32) {
	var last automaton.Symbol
	for i, at := range letters {
		x := sym[at]
		switch {
		case i == 0:
			x = x.Loose()
		case x.Same(last) && !x.Marked():
			continue
		}
		s.symbols, s.from = append(s.symbols, x), append(s.from, at)
		last = x
	}
	s.symbols, s.from = append(s.symbols, 0), append(s.from, letters[len(letters)-1]+1)
}
