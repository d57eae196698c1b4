package form

import (
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// The lettered reading knows tokens only, separated by blanks, with letters in place of
// the digits and signs that stand for them. As 1 and | may be i or l, there is no l in
// it: i stands for both, in terms too.

// leetLetter returns the letter that a folded character may stand for, 0 if none.
func leetLetter(r rune) byte {
	switch r {
	case '0':
		return 'o'
	case '1', '!', '|', 'l':
		return 'i'
	case '2':
		return 'z'
	case '3':
		return 'e'
	case '4', '@':
		return 'a'
	case '5', '$':
		return 's'
	case '6', '9':
		return 'g'
	case '7', '+':
		return 't'
	case '8':
		return 'b'
	case '(':
		return 'c'
	}
	return 0
}

// letters returns the lettered reading of a term, nothing if it has none: a term of
// small Latin letters and blanks, minLeet letters at least.
func letters(term string) string {
	n := 0
	for _, r := range term {
		switch {
		case 'a' <= r && r <= 'z':
			n++
		case r != ' ':
			return ""
		}
	}
	if n < minLeet {
		return ""
	}
	return strings.ReplaceAll(term, "l", "i")
}

// leetKind says what a symbol is in the lettered reading.
type leetKind uint8

const (
	leetNone  leetKind = iota
	leetPlain          // a letter, or a digit that stands for none
	leetDigit          // a digit for a letter
	leetInner          // a sign for a letter, at the edge of a token punctuation
	leetAny            // a sign for a letter wherever it stands
)

// leetTable is what the lettered reading needs to know of an automaton.
type leetTable struct {
	kinds   []leetKind         // by code
	letters []automaton.Symbol // by code: what the character becomes
	blank   automaton.Symbol
	runes   []rune // by code
	i       int    // code of the letter i
}

func newLeetTable(a *automaton.Automaton) *leetTable {
	codes := a.Codes()
	t := &leetTable{kinds: make([]leetKind, codes), letters: make([]automaton.Symbol, codes), blank: a.Symbol(' ')}
	t.letters[0] = automaton.Symbol(0).Joined()
	t.runes = []rune{0}
	t.i = a.Symbol('i').Code()
	for c := 1; c < codes; c++ {
		r := a.Rune(c)
		t.runes = append(t.runes, r)
		l := leetLetter(r)
		switch {
		case l == 0:
			t.letters[c] = a.Symbol(r)
			if a.Symbol(r).Token() {
				t.kinds[c] = leetPlain
			}
			continue
		case r == 'l':
			t.kinds[c] = leetPlain
		case '0' <= r && r <= '9':
			t.kinds[c] = leetDigit
		case r == '@' || r == '$':
			t.kinds[c] = leetAny
		default:
			t.kinds[c] = leetInner
		}
		t.letters[c] = a.Symbol(rune(l)).Joined()
	}
	return t
}

func (t *leetTable) kind(s automaton.Symbol) leetKind {
	if k := t.kinds[s.Code()]; k != leetNone || !s.Token() {
		return k
	}
	return leetPlain // a letter in no pattern
}

// minApart is how many characters must stand apart to be read as one token.
const minApart = 3

// letter makes the lettered reading of symbols and reports whether a token in it was in
// disguise. Its places are those of the symbols.
func (s *stream) letter(sym []automaton.Symbol, t *leetTable) (disguised bool) {
	s.symbols, s.from = s.symbols[:0], s.from[:0]
	for k := 0; k < len(sym); {
		if t.kind(sym[k]) == leetNone {
			s.between(sym[k], uint32(k), t.blank)
			k++
			continue
		}
		s.unit = s.unit[:0]
		e := k
		for e < len(sym) && t.kind(sym[e]) != leetNone {
			s.unit = append(s.unit, uint32(e))
			e++
		}
		if e == k+1 {
			e = s.apart(sym, t, k)
		}
		lo, hi := 0, len(s.unit)
		for lo < hi && t.kind(sym[s.unit[lo]]) == leetInner {
			lo++
		}
		for hi > lo && t.kind(sym[s.unit[hi-1]]) == leetInner {
			hi--
		}
		swap := t.disguised(sym, s.unit[lo:hi])
		disguised = disguised || swap
		if r := rune(0); swap && lo > 0 {
			// A sign in front may be punctuation or a letter: both are read.
			if r = t.runes[sym[s.unit[lo-1]].Code()]; r == '!' || r == '|' {
				s.put(sym, t, s.unit[lo-1:hi], true)
				s.symbols, s.from = append(s.symbols, 0), append(s.from, s.unit[lo-1])
			}
		}
		s.put(sym, t, s.unit[lo:hi], swap)
		if k = e; hi < len(s.unit) {
			s.symbols, s.from = append(s.symbols, 0), append(s.from, s.unit[hi]) // punctuation behind it
		}
	}
	n := len(s.symbols)
	s.from = append(s.from, uint32(len(sym)))
	for range automaton.Padding {
		s.symbols = append(s.symbols, 0)
	}
	s.symbols = s.symbols[:n]
	return disguised
}

// between notes what stands between tokens: a blank, or something that is not read across.
func (s *stream) between(x automaton.Symbol, at uint32, blank automaton.Symbol) {
	n := len(s.symbols)
	switch {
	case n == 0:
	case !x.Separator():
		if s.symbols[n-1] != 0 {
			s.symbols, s.from = append(s.symbols, 0), append(s.from, at)
		}
	case s.symbols[n-1] != blank && s.symbols[n-1] != 0:
		s.symbols, s.from = append(s.symbols, blank), append(s.from, at)
	}
}

// apart adds to the unit, a single character at k, those that stand apart from it one by one,
// if they are enough, and returns where what belongs to it ends.
func (s *stream) apart(sym []automaton.Symbol, t *leetTable, k int) int {
	end, n := k+1, 1
	for e := k + 1; ; {
		for e < len(sym) && t.kind(sym[e]) == leetNone && sym[e].Separator() {
			e++
		}
		if e >= len(sym) || t.kind(sym[e]) == leetNone || e+1 < len(sym) && t.kind(sym[e+1]) != leetNone {
			break
		}
		s.unit = append(s.unit, uint32(e))
		e++
		end, n = e, n+1
	}
	if n < minApart {
		s.unit = s.unit[:1]
		return k + 1
	}
	return end
}

// put writes a token, with letters for what stands for them if it is in disguise; three of a
// letter are then one.
func (s *stream) put(sym []automaton.Symbol, t *leetTable, unit []uint32, swap bool) {
	for q := 0; q < len(unit); q++ {
		x := sym[unit[q]]
		if swap || x.Token() && t.kind(x) == leetPlain {
			x = t.letters[x.Code()]
		}
		first := q
		if swap {
			e := q + 1
			for e < len(unit) && t.letters[sym[unit[e]].Code()].Same(x) && x.Code() != 0 {
				e++
			}
			if e-q > 2 && x.Code() != t.i { // of i and l and what stands for them three are not rare
				q = e - 1
			}
		}
		if first == 0 {
			x = x.Loose()
		}
		s.symbols, s.from = append(s.symbols, x), append(s.from, unit[first])
	}
}

// disguised reports whether a token may be a word with digits or signs for letters: two
// letters at least, or one and a sign, and not many more digits than letters. Else it is
// a number, a name of a thing (A55), a price.
func (t *leetTable) disguised(sym []automaton.Symbol, token []uint32) bool {
	letters, digits, signs := 0, 0, 0
	for _, i := range token {
		switch t.kind(sym[i]) {
		case leetPlain:
			letters++
		case leetDigit:
			digits++
		default:
			signs++
		}
	}
	return digits+signs > 0 && letters > 0 && (letters > 1 || signs > 0) && digits <= letters+1
}

// traceLetters checks that symbols i up to and not including j of the lettered reading of t
// hold a disguise, and nothing between them but what may stand between words, or between
// letters that stand apart.
func (s *stream) traceLetters(t *automaton.Text, table *leetTable, i, j int) (trace, bool) {
	tr := trace{lo: int(s.from[i]), hi: int(s.from[j-1]) + 1, form: Leet}
	found := false
	for q := i; q < j; q++ {
		b := int(s.from[q])
		if s.symbols[q] == table.blank {
			if !gapBetween(t, b, int(s.from[q+1])) {
				return tr, false
			}
			continue
		}
		found = found || table.kind(t.Symbols[b]) != leetPlain
		end := b + 1
		for end < len(t.Symbols) && table.letters[t.Symbols[end].Code()].Same(s.symbols[q]) && s.repeats(q, end) {
			tr.form |= Repeat
			end++
		}
		if q == j-1 {
			tr.hi = end
			break
		}
		if next := int(s.from[q+1]); end < next && s.symbols[q+1] != table.blank {
			if !gap(t, end, next, true) {
				return tr, false
			}
			tr.form |= Spaced
		}
	}
	return tr, found && !partOfID(t, tr.lo, tr.hi)
}

// repeats reports whether the symbol at a place of the text is a further copy of symbol q.
func (s *stream) repeats(q, place int) bool { return place < int(s.from[q+1]) }

// partOfID reports whether symbols lo to hi are a piece of a longer name of a thing: bound
// by a hyphen, a slash or the like to a piece with digits. 3f-s3x-19 says nothing.
func partOfID(t *automaton.Text, lo, hi int) bool {
	const binders = "-_/.:=&#%?+"
	digitIn := func(at, step int) bool {
		if at < 0 || at >= len(t.Symbols) || !strings.ContainsRune(binders, runeAt(t, at)) {
			return false
		}
		for at += step; at >= 0 && at < len(t.Symbols) && t.Symbols[at].Token(); at += step {
			if r := runeAt(t, at); '0' <= r && r <= '9' {
				return true
			}
		}
		return false
	}
	return digitIn(lo-1, -1) || digitIn(hi, 1)
}

// runeAt returns the folded character at a symbol.
func runeAt(t *automaton.Text, at int) rune {
	r, _ := utf8.DecodeRune(t.Source[t.Offsets[at]:])
	to, more := fold.Rune(r)
	if to != fold.Expands {
		return to
	}
	first := at
	for first > 0 && t.Offsets[first-1] == t.Offsets[at] {
		first--
	}
	return []rune(more)[at-first]
}

// han reports whether the character at a symbol is a Han character.
func han(t *automaton.Text, at int) bool { return fold.ClassOf(runeAt(t, at)) == fold.Han }
