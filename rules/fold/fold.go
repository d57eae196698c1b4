// Package fold brings texts that read the same into one shape before they are
// compared: full-width and half-width, upper and lower case, ligatures, circled
// and styled characters become the plain ones, invisible characters vanish. Each
// byte of the folded text knows the character of the original it came from. What
// it is not: it compares nothing and knows no rules; and it does not transform
// for display, the result is only good for comparing.
//
// The one thing to know: folding works character by character. A character
// always folds to the same characters, whatever stands beside it, so the fold
// of a text is the fold of its parts, and folding twice equals folding once. The
// price, in this version of the table: a letter followed by a combining mark
// stays two characters and differs from the one character that looks the same
// ("e" and U+0301 against "é"), and Traditional characters, look-alikes of other
// scripts and letters with diacritics stay what they are.
//
// What happens to one character, in this order and until nothing changes: NFKC
// (which includes width), full case folding, and dropping what is not visible.
package fold

import (
	"slices"
	"unicode/utf8"
)

// Version names the table. It goes into every digest of a rule set: another
// version may find other hits.
const Version = "1"

// Replacement stands in folded text for each byte of the original that is not
// UTF-8. No term can contain it, so it matches nothing.
const Replacement = utf8.RuneError

// Text is a folded text with the way back to the original. The zero Text is
// ready; a Text that is used again allocates nothing once it has grown. It
// belongs to one goroutine, and it keeps hold of the last original.
type Text struct {
	src    []byte
	folded []byte
	marks  []mark
}

// mark begins a piece of folded text. Up to the next mark either both texts run
// in step, byte for byte, or all folded bytes came from one character.
type mark struct {
	folded, src uint32
	one         bool // of the second kind
}

// MaxBytes is the length of the longest text that can be folded: what it expands
// to must have 32-bit positions.
const MaxBytes = (1<<31 - 1) / maxExpansion

// Fold folds src, which must not change while the Text is in use. It panics when
// src is longer than MaxBytes: a caller has its own, much smaller limit.
func (t *Text) Fold(src []byte) {
	if len(src) > MaxBytes {
		panic("fold: text longer than fold.MaxBytes")
	}
	t.src, t.folded, t.marks = src, t.folded[:0], t.marks[:0]
	t.fold(src)
}

// Bytes returns the folded text, UTF-8, valid until the next Fold.
func (t *Text) Bytes() []byte { return t.folded }

// Span returns the bytes of the original that the folded bytes lo up to and not
// including hi came from: from the beginning of the first one's character to the
// end of the last one's. Dropped characters before and after are not part of it,
// those between are. An empty span stays empty.
func (t *Text) Span(lo, hi int) (start, end int) {
	start = t.origin(lo)
	if hi <= lo {
		return start, start
	}
	last := t.origin(hi - 1)
	_, n := utf8.DecodeRune(t.src[last:])
	return start, last + n
}

// origin returns where the character begins that a folded byte came from.
func (t *Text) origin(at int) int {
	if at >= len(t.folded) {
		return len(t.src)
	}
	i, found := slices.BinarySearchFunc(t.marks, uint32(at), func(m mark, at uint32) int {
		return int(int64(m.folded) - int64(at))
	})
	if !found {
		i-- // never below 0: the first mark is at 0
	}
	m := t.marks[i]
	if m.one {
		return int(m.src)
	}
	src := int(m.src) + at - int(m.folded)
	for src > 0 && !utf8.RuneStart(t.src[src]) {
		src--
	}
	return src
}

// fold appends the fold of src. Most characters fold to themselves; runs of them
// are copied at once, and only where the two texts get out of step is a mark made.
func (t *Text) fold(src []byte) {
	tab := table()
	dst, marks := t.folded, t.marks
	begin := true // the next character begins a new piece
	run := 0      // src[run:i] folds to itself and is not copied yet
	for i := 0; i < len(src); {
		to, n := Replacement, 1
		if c := src[i]; c < utf8.RuneSelf {
			to = tab.ascii[c]
		} else if r, size := utf8.DecodeRune(src[i:]); size > 1 {
			to, n = tab.pages[tab.index[r>>pageBits]][r&pageMask], size
		}
		if to == same && !begin {
			i += n
			continue
		}
		dst = append(dst, src[run:i]...)
		run = i
		before := len(dst)
		switch {
		case to == same: // copied with its run
		case to > 0:
			dst = utf8.AppendRune(dst, to)
			run += n
		case to == drop:
			run += n
		default:
			dst = append(dst, tab.expansions[expanded-to]...)
			run += n
		}
		i += n
		switch grown := len(dst) - before; {
		case to == drop:
			begin = true
		case to == same || to > 0 && grown == n:
			// In step, also when another character of the same length was put in.
			if begin {
				marks = append(marks, mark{folded: uint32(before), src: uint32(i - n)})
				begin = false
			}
		default:
			marks = append(marks, mark{folded: uint32(before), src: uint32(i - n), one: true})
			begin = true
		}
	}
	t.folded, t.marks = append(dst, src[run:]...), marks
}

// Append appends the fold of src to dst.
func Append(dst, src []byte) []byte {
	t := Text{folded: dst[len(dst):]}
	t.fold(src)
	return append(dst, t.folded...)
}

// String returns the fold of s.
func String(s string) string { return string(Append(nil, []byte(s))) }
