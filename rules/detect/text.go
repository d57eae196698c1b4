package detect

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// symbol is a folded character of a text.
type symbol struct {
	r        rune
	from, to uint32 // bytes of the original character
	trait
}

// trait is what is known of a folded character.
type trait struct {
	digit int8 // its value where numbers are written digit by digit, -1 if it has none
	kind  kind
	has   uint8 // what it may begin
}

// kind says what part a symbol plays.
type kind uint8

const (
	edge    kind = iota // beyond the text
	letter              // a to z
	digit               // 0 to 9
	han                 // ideograph
	foreign             // letter of another script
	blank               // white space within a line
	newline             // the end of a line
	mark                // what separates: punctuation within a sentence, symbol, emoji
	stop                // what ends a sentence or clause
	other               // stands for no text
)

// Scratch holds what a call needs, to be used again. The zero value is ready. It is for one
// goroutine at a time.
type Scratch struct {
	text    []byte
	symbols []symbol
	has     uint8 // what all symbols may begin
	digits  int   // symbols with a value
	groups  []group
	next    int // the first group of digits that is not consumed
	steps   int // symbols looked at so far; a test holds it to a multiple of the text
}

// What a symbol may begin or mean to a detector. A text that has none of it is not looked through.
const (
	hasHost      = 1 << iota // a dot or what stands for it, a slash
	hasMailbox               // an at sign or what stands for it
	hasName                  // the beginning of a messenger's name
	hasPhoneWord             // the beginning of a word that tells of a phone number
	hasSign                  // the beginning of a currency before an amount
	hasUnit                  // the beginning of a currency behind one
	hasAmount                // a digit or numeral

	// begins are the traits that a letter behind another has not: words begin at their beginning.
	begins = hasName | hasPhoneWord | hasSign | hasUnit
)

// may reports whether a detector can find anything in the text at hand.
func (sc *Scratch) may(d Detector) bool {
	switch d {
	case URL:
		return sc.has&hasHost != 0
	case Email:
		return sc.has&hasMailbox != 0
	case Phone:
		return sc.digits >= minPhone
	case Messenger:
		return sc.has&hasName != 0
	default:
		return sc.has&hasAmount != 0 && sc.has&(hasSign|hasUnit) != 0
	}
}

// table holds the traits of the folded characters of the basic plane, and the symbols of ASCII.
type table struct {
	traits [1 << 16]trait
	ascii  [utf8.RuneSelf]symbol // r is Drop for what vanishes
}

var tables = sync.OnceValue(func() *table {
	t := new(table)
	for r := range rune(len(t.traits)) {
		t.traits[r] = traitOf(r)
	}
	mark := func(has uint8, r rune) {
		if r < rune(len(t.traits)) {
			t.traits[r].has |= has
		}
	}
	for _, r := range ".。·•点丶/" {
		mark(hasHost, r)
	}
	for _, r := range "@艾圈#*⊙◎" {
		mark(hasMailbox, r)
	}
	for has, l := range map[uint8]*lexicon{hasName: names(), hasPhoneWord: phoneWords(), hasSign: currencies(), hasUnit: units()} {
		for r := range l.by {
			mark(has, r)
		}
	}
	for r := range rune(len(t.ascii)) {
		to, _ := fold.Rune(r)
		t.ascii[r].r = to
		if to >= 0 {
			t.ascii[r].trait = t.traits[to]
		}
	}
	return t
})

func traitOf(r rune) trait {
	t := trait{digit: -1}
	switch {
	case 'a' <= r && r <= 'z':
		t.kind = letter
	case '0' <= r && r <= '9':
		t.kind, t.digit = digit, int8(r-'0')
	case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' || r == '\v' || r == '\f' || r == '\u0085':
		t.kind = newline
	case unicode.IsSpace(r):
		t.kind = blank
	default:
		switch fold.ClassOf(r) {
		case fold.Token, fold.Letter:
			t.kind = foreign
		case fold.Han:
			t.kind = han
		case fold.Separator:
			t.kind = mark
		case fold.Stop:
			t.kind = stop
		default:
			t.kind = other
		}
	}
	if r >= firstPicture { // maybe a telephone, or a penguin for QQ
		t.has = hasPhoneWord | hasName
	}
	if d, ok := fold.Numeral(r); ok {
		t.digit = int8(d)
	}
	if t.digit >= 0 || multiple(r) > 0 {
		t.has |= hasAmount
	}
	return t
}

// firstPicture is where the pictures begin.
const firstPicture = 0x1F300

// read folds a text.
func (sc *Scratch) read(text []byte) {
	t := tables()
	symbols := slices.Grow(sc.symbols[:0], len(text))
	has, digits, last := uint8(0), 0, edge
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			s := t.ascii[c]
			if s.r >= 0 {
				s.from, s.to = uint32(i), uint32(i+1)
				if s.kind == letter {
					if last == letter {
						s.has &^= begins
					}
					if s.r == 't' {
						has |= wordSign(symbols)
					}
				}
				last = s.kind
				has |= s.has
				if s.digit >= 0 {
					digits++
				}
				symbols = append(symbols, s)
			}
			i++
			continue
		}
		k := len(symbols)
		r, n := utf8.DecodeRune(text[i:])
		more := ""
		if n == 1 {
			r = fold.Replacement
		} else {
			r, more = fold.Rune(r)
		}
		switch r {
		case fold.Drop:
		case fold.Expands:
			for _, m := range more {
				symbols = append(symbols, symbol{r: m, from: uint32(i), to: uint32(i + n), trait: t.trait(m)})
			}
		default:
			symbols = append(symbols, symbol{r: r, from: uint32(i), to: uint32(i + n), trait: t.trait(r)})
		}
		for ; k < len(symbols); k++ {
			s := &symbols[k]
			if s.kind == letter {
				if last == letter {
					s.has &^= begins
				}
				if s.r == 't' {
					has |= wordSign(symbols[:k])
				}
			}
			last = s.kind
			if has |= s.has; s.digit >= 0 {
				digits++
			}
		}
		i += n
	}
	sc.text, sc.symbols, sc.groups = text, symbols, sc.groups[:0]
	sc.has, sc.digits, sc.steps = has, digits, 0
}

func (t *table) trait(r rune) trait {
	if uint32(r) < uint32(len(t.traits)) {
		return t.traits[r]
	}
	return traitOf(r)
}

// wordSign says what a t makes of the symbols before it: a dot or an at in words. The a of an at is
// marked.
func wordSign(s []symbol) uint8 {
	n := len(s)
	switch {
	case n < 2:
	case s[n-1].r == 'o' && s[n-2].r == 'd':
		return hasHost
	case s[n-1].r == 'a' && !s[n-2].latin():
		s[n-1].has |= hasMailbox
		return hasMailbox
	}
	return 0
}

// beyond is what stands outside of a text.
var beyond = symbol{r: -1, trait: trait{digit: -1}}

// at returns the symbol at a place, or beyond.
func (sc *Scratch) at(i int) *symbol {
	sc.steps++
	if uint(i) < uint(len(sc.symbols)) {
		return &sc.symbols[i]
	}
	return &beyond
}

// written returns the first byte of the original of a symbol.
func (sc *Scratch) written(i int) byte {
	if s := sc.at(i); s.kind != edge {
		return sc.text[s.from]
	}
	return 0
}

// latin reports whether a symbol is a letter a to z or a digit 0 to 9.
func (s *symbol) latin() bool { return s.kind == letter || s.kind == digit }

// seek returns the first place from i on whose symbol has one of some traits, or the end.
func (sc *Scratch) seek(i int, has uint8) int {
	from := i
	for i < len(sc.symbols) && sc.symbols[i].has&has == 0 {
		i++
	}
	sc.steps += i - from
	return i
}

// skip returns the place behind up to limit symbols of a kind.
func (sc *Scratch) skip(i int, k kind, limit int) int {
	for end := i + limit; i < end && sc.at(i).kind == k; {
		i++
	}
	return i
}
