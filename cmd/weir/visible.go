package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/weir-moderation/weir/rules/fold"
)

// visible quotes a text with escapes for what cannot be seen or would join what stands before it.
func visible(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		to, _ := fold.Rune(r)
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r != ' ' && !unicode.IsGraphic(r) || to == fold.Drop || unicode.Is(unicode.Zs, r) && r != ' ' && r != '\u3000':
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// readAs says how something was read as a term in a form; what has a shape was not, and is named.
func readAs(form, term string) string {
	for _, shape := range []string{"detector", "pattern"} {
		if what, ok := strings.CutPrefix(term, shape+": "); ok {
			return "found by the " + shape + " " + seen(what)
		}
	}
	return "read by " + form + " as " + visible(term)
}

// columns returns how many columns of a terminal a visible text takes. Terminals differ about
// some symbols.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n++
		if unicode.Is(wide, r) {
			n++
		}
	}
	return n
}

// wide are the characters that take two columns: those of East Asian scripts, full-width forms and
// emoji, by blocks.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115F, Stride: 1}, // leading jamo
		{Lo: 0x231A, Hi: 0x231B, Stride: 1},
		{Lo: 0x2329, Hi: 0x232A, Stride: 1},
		{Lo: 0x23E9, Hi: 0x23EC, Stride: 1},
		{Lo: 0x2614, Hi: 0x2615, Stride: 1},
		{Lo: 0x2648, Hi: 0x2653, Stride: 1},
		{Lo: 0x26BD, Hi: 0x26BE, Stride: 1},
		{Lo: 0x2753, Hi: 0x2755, Stride: 1},
		{Lo: 0x2795, Hi: 0x2797, Stride: 1},
		{Lo: 0x2E80, Hi: 0x303E, Stride: 1}, // radicals, punctuation
		{Lo: 0x3041, Hi: 0x3247, Stride: 1}, // kana, bopomofo, jamo, enclosed
		{Lo: 0x3250, Hi: 0x4DBF, Stride: 1},
		{Lo: 0x4E00, Hi: 0xA4CF, Stride: 1}, // Han, Yi
		{Lo: 0xA960, Hi: 0xA97F, Stride: 1},
		{Lo: 0xAC00, Hi: 0xD7A3, Stride: 1}, // Hangul
		{Lo: 0xF900, Hi: 0xFAFF, Stride: 1},
		{Lo: 0xFE10, Hi: 0xFE19, Stride: 1},
		{Lo: 0xFE30, Hi: 0xFE6F, Stride: 1},
		{Lo: 0xFF01, Hi: 0xFF60, Stride: 1}, // full width
		{Lo: 0xFFE0, Hi: 0xFFE6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16FE0, Hi: 0x16FF1, Stride: 1}, // marks of Han and Tangut
		{Lo: 0x1AFF0, Hi: 0x1B2FF, Stride: 1}, // kana
		{Lo: 0x1F200, Hi: 0x1F320, Stride: 1}, // emoji from here on
		{Lo: 0x1F32D, Hi: 0x1F64F, Stride: 1},
		{Lo: 0x1F680, Hi: 0x1F6FF, Stride: 1},
		{Lo: 0x1F90C, Hi: 0x1F9FF, Stride: 1},
		{Lo: 0x1FA70, Hi: 0x1FAFF, Stride: 1},
		{Lo: 0x20000, Hi: 0x3FFFD, Stride: 1}, // Han
	},
}
