package automaton

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// table turns characters into symbols: decoder and fold at once. Its values are
// symbols or, with special set, dropped or the place of an expansion.
type table struct {
	flat      *[flatRunes]uint32 // of the basic plane
	index     []uint16           // page of each pageRunes characters above it
	pages     []uint32           // pages of so many; page 0 is all zero, page 1 all separators
	expanded  []uint32           // symbols of the characters that fold to several
	codeRunes []rune             // character of each code
}

const (
	pageBits  = 6 // few characters of a page differ from page 0: larger pages waste more, smaller ones need a larger index
	pageRunes = 1 << pageBits
	special   = 1 << 31
	dropped   = special
	countBits = 5       // of an expansion: its length, below its place in expanded
	private   = 0xE1000 // from here on: private use, or not assigned
)

func tokenRune(r rune) bool { return fold.ClassOf(r) == fold.Token }

// build fills the table for the characters of the patterns and the marked ones.
func (t *table) build(alpha *alphabet, marked string) {
	t.flat = new([flatRunes]uint32)
	t.index = make([]uint16, (utf8.MaxRune+1-flatRunes)>>pageBits)
	t.pages = make([]uint32, 2*pageRunes)
	for i := range t.pages[pageRunes:] {
		t.pages[pageRunes+i] = separatorBit
	}
	for i := (private - flatRunes) >> pageBits; i < len(t.index); i++ {
		t.index[i] = 1
	}
	t.codeRunes = slices.Clone(alpha.runes)
	folded := func(r rune) uint32 { // r is folded
		var s uint32
		switch fold.ClassOf(r) {
		case fold.Token:
			s = tokenBit
		case fold.Separator:
			s = separatorBit
		}
		if alpha.code(r) != 0 && strings.ContainsRune(marked, r) {
			s |= markedBit
		}
		return s | uint32(symbolOf(uint32(alpha.code(r))))
	}
	for r := range rune(flatRunes) {
		t.flat[r] = folded(r)
	}
	// Above the basic plane only emoji and other signs matter by their class, and
	// what stands in patterns by its code.
	for r := rune(0x1F000); r < 0x20000; r++ {
		t.set(r, folded(r))
	}
	for _, r := range alpha.runes[1:] {
		if r >= flatRunes {
			t.set(r, folded(r))
		}
	}
	for r, to := range fold.All() {
		t.set(r, t.fold(to, folded))
	}
	t.pages, t.expanded = slices.Clone(t.pages), slices.Clone(t.expanded)
}

// fold returns the table value of a character that folds to these.
func (t *table) fold(to string, folded func(rune) uint32) uint32 {
	switch n := utf8.RuneCountInString(to); n {
	case 0:
		return dropped
	case 1:
		r, _ := utf8.DecodeRuneInString(to)
		return folded(r)
	default:
		v := uint32(special | len(t.expanded)<<countBits | n)
		for _, r := range to {
			t.expanded = append(t.expanded, folded(r))
		}
		return v
	}
}

func (t *table) set(r rune, v uint32) {
	if r < flatRunes {
		t.flat[r] = v
		return
	}
	if v == t.valueOf(r) {
		return
	}
	page := &t.index[(r-flatRunes)>>pageBits]
	if shared := int(*page); shared < 2 {
		*page = uint16(len(t.pages) >> pageBits)
		t.pages = append(t.pages, t.pages[shared<<pageBits:][:pageRunes]...)
	}
	t.pages[int(*page)<<pageBits|int(r&(pageRunes-1))] = v
}

// value decodes one character of any kind and returns its table value and length.
func (t *table) value(p []byte) (uint32, int) {
	r, n := utf8.DecodeRune(p)
	if n <= 1 && r == utf8.RuneError {
		return 0, 1 // a byte that is not UTF-8 matches nothing
	}
	return t.valueOf(r), n
}

// valueOf returns the table value of a character.
func (t *table) valueOf(r rune) uint32 {
	if r < flatRunes {
		return t.flat[r]
	}
	return t.pages[int(t.index[(r-flatRunes)>>pageBits])<<pageBits|int(r&(pageRunes-1))]
}

func (t *table) memory() int {
	return 4*len(t.flat) + 2*cap(t.index) + 4*(cap(t.pages)+cap(t.expanded)+cap(t.codeRunes))
}

// Text is a text as symbols, with the way back to its bytes. The zero Text is
// ready; a Text that is used again allocates nothing once it has grown. It belongs
// to one goroutine.
type Text struct {
	Source []byte
	// Symbols are the characters of the folded text. Behind the last one stand
	// [Padding] zero symbols, which Find reads.
	Symbols []Symbol
	// Offsets say at which byte of the source the character of each symbol begins.
	// A character that folds to several has several symbols with one offset.
	Offsets []uint32
}

// Padding is how many zero symbols must stand behind the last one that is searched.
const Padding = 16

// Decode reads the text. Dropped characters leave no symbol; a byte that is not UTF-8
// leaves one that matches nothing, and so do the three of an encoded surrogate together:
// nothing is found across one such symbol or three, and to tell them apart here would cost
// every Chinese character a comparison.
func (a *Automaton) Decode(t *Text, src []byte) {
	t.Source = src
	t.grow(len(src) + Padding)
	flat := a.flat
	sym, off := t.Symbols[:len(src)+Padding], t.Offsets[:len(src)+Padding]
	k, i := 0, 0
	for i < len(src) {
		// A value is stored before it is known to be a symbol, and taken back if it is
		// none: that leaves the loop without a branch the text could surprise.
		b := src[i]
		off[k] = uint32(i)
		v := uint32(0)
		if b < utf8.RuneSelf {
			v = flat[b]
			sym[k] = Symbol(v)
			k++
			i++
			if v < special {
				continue
			}
			k--
		} else if b1, b2, r := uint32(0), uint32(0), uint32(0); b&0xF0 == 0xE0 && i+2 < len(src) {
			b1, b2 = uint32(src[i+1])^0x80, uint32(src[i+2])^0x80
			r = uint32(b)<<12&0xF000 | b1<<6 | b2
			if b1|b2 < 0x40 && r >= 0x800 {
				v = flat[uint16(r)]
				sym[k] = Symbol(v)
				k++
				i += 3
				if v < special {
					continue
				}
				k--
			}
		}
		if v == 0 {
			var n int
			v, n = a.value(src[i:])
			i += n
			if v < special {
				sym[k] = Symbol(v)
				k++
				continue
			}
		}
		if v != dropped {
			k = a.expand(t, k, v, len(src)-i)
			sym, off = t.Symbols[:cap(t.Symbols)], t.Offsets[:cap(t.Offsets)]
		}
	}
	t.Symbols, t.Offsets = t.Symbols[:k], t.Offsets[:k]
	clear(t.Symbols[k : k+Padding])
}

// expand writes the symbols of a character that folds to several. rest is how many
// bytes of the text follow.
func (a *Automaton) expand(t *Text, k int, v uint32, rest int) int {
	n := int(v & (1<<countBits - 1))
	from := int(v &^ special >> countBits)
	at := t.Offsets[:k+1][k]
	t.reserve(k, k+n+rest+Padding)
	for _, v := range a.expanded[from : from+n] {
		t.Symbols[:k+1][k] = Symbol(v)
		t.Offsets[:k+1][k] = at
		k++
	}
	return k
}

// grow makes room for n symbols; what was there is lost.
func (t *Text) grow(n int) {
	if cap(t.Symbols) < n || cap(t.Offsets) < n {
		n += n / 4
		t.Symbols, t.Offsets = make([]Symbol, n), make([]uint32, n)
	}
}

// reserve makes room for n symbols and keeps the first k.
func (t *Text) reserve(k, n int) {
	if cap(t.Symbols) >= n && cap(t.Offsets) >= n {
		return
	}
	sym, off := t.Symbols[:k], t.Offsets[:k+1]
	n += n / 4
	t.Symbols, t.Offsets = make([]Symbol, n), make([]uint32, n)
	copy(t.Symbols, sym)
	copy(t.Offsets, off)
}

// Span returns the bytes of the source that the symbols from i up to and not
// including j came from: from the beginning of the first one's character to the end
// of the last one's. Dropped characters before and after are not part of it, those
// between are.
func (t *Text) Span(i, j int) (start, end int) {
	last := int(t.Offsets[j-1])
	_, n := utf8.DecodeRune(t.Source[last:])
	return int(t.Offsets[i]), last + n
}

// Aligned reports whether the symbols from i up to and not including j are whole
// characters of the source: they neither begin nor end amid the symbols that one
// character folds to.
func (t *Text) Aligned(i, j int) bool {
	off := t.Offsets
	return (i == 0 || off[i] != off[i-1]) && (j >= len(off) || off[j] != off[j-1])
}
