package form

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// joinedForms are the forms that ask for the joined reading.
const joinedForms = Squeeze | Repeat | Spaced | Digits

// The joined reading of a text, and of a term alike:
//
//   - separators are left out, but those between two tokens are one blank, so that joined
//     neighbours do not make a word;
//   - tokens of one letter that stand apart are one token;
//   - a run of one character is that character, other than of digits, numerals and what
//     stands for letters, where every one counts.
//
// What ends a sentence or a clause stays where it is, so nothing is found across it.

// stream is a text rewritten: its symbols, and for each where in the text it was made
// from the symbol stands that it comes from. One more entry says where the text ends.
type stream struct {
	symbols []automaton.Symbol
	from    []uint32
	unit    []uint32 // of the lettered reading: places of the token at hand
	again   []uint32 // of the joined reading: those whose character follows itself in the text, ascending, some more than once
}

// grow makes room for n symbols.
func (s *stream) grow(n int) {
	if cap(s.symbols) < n+automaton.Padding || cap(s.from) < n+1 {
		n += n / 4
		s.symbols = make([]automaton.Symbol, n+automaton.Padding)
		s.from = make([]uint32, n+1)
	}
}

// close sets the length and what stands behind.
func (s *stream) close(n, end int) {
	s.symbols, s.from = s.symbols[:n], s.from[:n+1]
	s.from[n] = uint32(end)
	clear(s.symbols[n : n+automaton.Padding])
}

// traits are what the joined reading tells on the way about a text.
type traits struct {
	numerals bool // two characters that numbers are written with stand together
	apart    bool // letters stand apart, one beside another
	marks    bool // some separator is marked: a circle may be a zero
}

// join makes the joined reading of symbols.
func (s *stream) join(sym []automaton.Symbol, blank automaton.Symbol) (is traits) {
	s.grow(len(sym))
	s.again = s.again[:0]
	out, from := s.symbols[:cap(s.symbols)], s.from[:cap(s.from)]
	m := 0
	var last automaton.Symbol // the last one that is no separator
	gap := -1                 // where the separators behind it begin
	lone := false             // it is a token of one letter, or the last of such
	padded := sym[:len(sym)+1]
	for k, x := range sym {
		if x.Ordinary() {
			// Most characters: no branch but this one is taken now and then. A repetition is
			// written and then overwritten by what follows.
			out[m], from[m] = x, uint32(k)
			n := x.Differs(last)
			m += n
			if n == 0 {
				s.again = append(s.again, uint32(m-1))
			}
			last, gap = x, -1
			continue
		}
		switch {
		case x.Separator():
			if gap < 0 {
				gap = k
			}
			is.marks = is.marks || x.Marked()
			continue
		case !x.Token():
			is.numerals = is.numerals || x.Marked() && (last.Marked() || padded[k+1].Marked())
			out[m] = x
		case !last.Token(): // begins a token
			out[m] = x.Loose()
			lone = !padded[k+1].Token()
		case gap < 0: // goes on with one
			if x.Same(last) && !x.Marked() {
				s.again = append(s.again, uint32(m-1))
				continue
			}
			out[m] = x
		case lone && !padded[k+1].Token(): // one more letter apart
			is.apart = true
			if x.Same(last) && !x.Marked() {
				gap = -1
				continue
			}
			out[m] = x
		default: // begins another token
			out[m], from[m] = blank, uint32(gap)
			m++
			out[m] = x.Loose()
			lone = !padded[k+1].Token()
		}
		from[m] = uint32(k)
		m++
		last, gap = x, -1
	}
	s.close(m, len(sym))
	return is
}

// join returns the joined reading of a term and the lengths of its runs, nil if all are 1.
// Every one of a run of the marked characters counts.
// The reading is empty if the term is a single character again and again.
func join(term, marked string) (text string, runs []uint8) {
	runes := []rune(term)
	var out []rune
	last, gap, lone, long := rune(-1), false, false, false
	token := func(i int) bool { return i < len(runes) && fold.ClassOf(runes[i]) == fold.Token }
	for i, r := range runes {
		class := fold.ClassOf(r)
		if class == fold.Separator {
			gap = true
			continue
		}
		lastToken := last >= 0 && fold.ClassOf(last) == fold.Token
		apart := class == fold.Token && lastToken && gap && (!lone || token(i+1))
		switch {
		case r == last && !strings.ContainsRune(marked, r) && !apart:
			runs[len(runs)-1]++
			long = true
			gap = false
			continue
		case apart:
			out, runs = append(out, ' '), append(runs, 1)
			lone = !token(i + 1)
		case class == fold.Token && !lastToken:
			lone = !token(i + 1)
		}
		out, runs = append(out, r), append(runs, 1)
		last, gap = r, false
	}
	if len(out) < 2 {
		return "", nil
	}
	if !long {
		runs = nil
	}
	return string(out), runs
}

// signs are what stands for letters beside digits (see leetLetter).
const signs = "@$!|+("

// asciiMarks are the characters of which every one counts; numerals are more of them, where
// numbers are looked for. By them a text also shows that it may hold letters or numbers in
// disguise.
const asciiMarks = "0123456789" + signs

// Limits of what may stand between the characters of a term.
const (
	// MaxGap is how many different separators in a row are read over, MaxGapLength how
	// many in all. Two different ones catch what writers use; without a limit one more
	// ordinary post in three thousand is hit.
	MaxGap       = 2
	MaxGapLength = 32
)

// trace is what a hit in a rewritten text looks like in the text it was made from: symbols
// lo up to and not including hi, and the forms it took to read them.
type trace struct {
	lo, hi int
	form   Form
	// doubtful says that a letter stands twice where the term has it once.
	doubtful bool
}

// often are the letters that words have twice. Words with one and with two of such a letter are
// different words (bet and beet, Casino and Cassino).
const often = "bcdefglmnoprstz"

// trace checks that symbols i up to and not including j of the joined reading of t are a
// fair reading. runs are the lengths of the term's runs, nil if all are 1. A hit that took
// no form at all stands in the text as it is and is found there.
func (s *stream) trace(t *automaton.Text, i, j int, runs []uint8) (tr trace, ok bool) {
	tr.lo, tr.hi = int(s.from[i]), int(s.from[j])
	twice, everyTwice, natural := false, true, false
	for q := i; q < j; q++ {
		lo, hi := int(s.from[q]), int(s.from[q+1])
		if t.Symbols[lo].Separator() { // the blank between two tokens
			if !gapBetween(t, lo, hi) {
				return tr, false
			}
			if hi-lo > 1 || runeAt(t, lo) != ' ' {
				tr.form |= Squeeze
			}
			continue
		}
		want := 1
		if runs != nil {
			want = int(runs[q-i])
		}
		n, end := copies(t, lo, hi)
		if n < want {
			return tr, false
		}
		begin := lo
		switch {
		case t.Symbols[lo].Token():
			everyTwice = everyTwice && n >= 2*want
			if n > want {
				tr.form |= Repeat
			}
			if n > want && n < 3 {
				twice = true
				natural = natural || strings.ContainsRune(often, runeAt(t, lo))
			}
		case n == want:
		case q == i: // the last ones are enough
			begin = nthCopy(t, lo, n-want)
			tr.lo = begin
		case q == j-1: // the first ones are
			end = nthCopy(t, lo, want-1) + 1
		default:
			tr.form |= Repeat
		}
		if q == j-1 {
			tr.hi, hi = end, end
		}
		if !s.gaps(t, begin, hi, &tr.form) {
			return tr, false
		}
	}
	if tr.doubtful = twice && !everyTwice; tr.doubtful && natural {
		return tr, false
	}
	if tr.form&Repeat != 0 { // then what is repeated at the edges belongs to it too
		for tr.lo > int(s.from[i]) && t.Symbols[tr.lo-1].Same(t.Symbols[tr.lo]) {
			tr.lo--
		}
		for tr.hi < int(s.from[j]) && t.Symbols[tr.hi].Same(t.Symbols[tr.hi-1]) {
			tr.hi++
		}
	}
	return tr, true
}

// standsAsItIs looks for a term in the text itself where symbol i of its joined reading, the
// term's first that is no separator, comes from.
func (s *stream) standsAsItIs(t *automaton.Text, i int, term []rune, substring bool) (trace, bool) {
	lead := 0
	for fold.ClassOf(term[lead]) == fold.Separator {
		lead++
	}
	token := func(at int) bool { return at >= 0 && at < len(t.Symbols) && t.Symbols[at].Token() }
next:
	for first := int(s.from[i]); first < int(s.from[i+1]); first++ {
		lo := first - lead
		hi := lo + len(term)
		if lo < 0 || hi > len(t.Symbols) || !substring && (token(lo-1) && token(lo) || token(hi-1) && token(hi)) {
			continue
		}
		for q, r := range term {
			if runeAt(t, lo+q) != r {
				continue next
			}
		}
		return trace{lo: lo, hi: hi}, true
	}
	return trace{}, false
}

// spread reports whether no two symbols from lo to hi that are no separators touch.
func spread(t *automaton.Text, lo, hi int) bool {
	for b := lo + 1; b < hi; b++ {
		if !t.Symbols[b].Separator() && !t.Symbols[b-1].Separator() {
			return false
		}
	}
	return true
}

// copies counts the symbols from lo to hi that are no separators, all the same, and says
// where the last one ends.
func copies(t *automaton.Text, lo, hi int) (n, end int) {
	for b := lo; b < hi; b++ {
		if !t.Symbols[b].Separator() {
			n, end = n+1, b+1
		}
	}
	return n, end
}

// nthCopy returns where the symbol stands that follows n others that are no separators.
func nthCopy(t *automaton.Text, lo, n int) int {
	for b := lo; ; b++ {
		if t.Symbols[b].Separator() {
			continue
		}
		if n == 0 {
			return b
		}
		n--
	}
}

// gaps checks all runs of separators from symbol lo up to hi, where the next symbol that
// counts stands (or the hit ends), and notes which form it takes to read over them.
func (s *stream) gaps(t *automaton.Text, lo, hi int, f *Form) bool {
	for b := lo; b < hi; b++ {
		if !t.Symbols[b].Separator() {
			continue
		}
		from := b
		for b < hi && t.Symbols[b].Separator() {
			b++
		}
		spaced := t.Symbols[from-1].Token() && t.Symbols[:b+1][b].Token()
		if !gap(t, from, b, spaced) {
			return false
		}
		if spaced {
			*f |= Spaced
		} else {
			*f |= Squeeze
		}
	}
	return true
}

// gapBetween is gap for what stands between two words.
func gapBetween(t *automaton.Text, lo, hi int) bool { return gap(t, lo, hi, false) }

// gap reports whether separators lo up to hi may be read over: few different ones, not too
// many, no empty line, no full stop that ends a sentence. Between letters that stand apart
// a full stop ends none; between digits it makes a version or an address.
func gap(t *automaton.Text, lo, hi int, spaced bool) bool {
	if hi-lo > MaxGapLength {
		return false
	}
	var kinds [MaxGap]rune
	n, lines := 0, 0
	for b := lo; b < hi; b++ {
		r, _ := utf8.DecodeRune(t.Source[t.Offsets[b]:])
		switch {
		case r == '\n':
			lines++
		case r == '…' && b >= lo+3 && t.Offsets[b] != t.Offsets[b-3] && t.Offsets[b] == t.Offsets[b+2]:
			if before, _ := utf8.DecodeRune(t.Source[t.Offsets[b-1]:]); before == '…' {
				return false // two of them end a sentence
			}
		case r == '.' && spaced:
			if isDigit(runeAt(t, lo-1)) && isDigit(runeAt(t, hi)) {
				return false
			}
		case r == '.' && b+1 < hi && isBlank(t, b+1):
			return false
		case r >= firstEmoji:
			r = firstEmoji
		}
		if slices.Contains(kinds[:n], r) {
			continue
		}
		if n == MaxGap {
			return false
		}
		kinds[n] = r
		n++
	}
	return lines < 2
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// firstEmoji is where the pictures begin. However one is put together, it is one picture.
const firstEmoji = 0x1F000

func isBlank(t *automaton.Text, b int) bool {
	r, _ := utf8.DecodeRune(t.Source[t.Offsets[b]:])
	return unicode.IsSpace(r)
}
