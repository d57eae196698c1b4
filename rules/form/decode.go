package form

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decoded is a text with its escapes undone, one level, and the way back: HTML entities
// and tags, percent escapes, backslash escapes.
type decoded struct {
	text    []byte
	escapes []escape
}

// escape is a piece of the original that reads otherwise: n bytes of the decoded text, from
// at on, were written as the original's bytes from begin up to end.
type escape struct {
	at, n, begin, end int32
}

// Limits of escapes.
const (
	maxTag    = 1024 // bytes of a tag
	maxEntity = 34   // bytes of an entity, & and ; included: the longest name has 31
)

// escapeBytes are what every escape begins with.
const escapeBytes = `&%\<`

// undo decodes a text and reports whether there was anything to decode.
func (d *decoded) undo(src []byte) bool {
	d.text, d.escapes = d.text[:0], d.escapes[:0]
	var next [len(escapeBytes)]int // where each of them stands next
	for c := range next {
		next[c] = indexFrom(src, 0, escapeBytes[c])
	}
	copied := 0
	for {
		at, c := len(src), 0
		for i, n := range next {
			if n < at {
				at, c = n, i
			}
		}
		if at == len(src) {
			break
		}
		next[c] = indexFrom(src, at+1, escapeBytes[c])
		if at < copied {
			continue // a piece of the escape before
		}
		d.text = append(d.text, src[copied:at]...)
		copied = at
		before, n := len(d.text), 0
		if d.text, n = unescape(d.text, src[at:]); n > 0 {
			d.escapes = append(d.escapes, escape{int32(before), int32(len(d.text) - before), int32(at), int32(at + n)})
			copied = at + n
		}
	}
	if len(d.escapes) == 0 {
		return false
	}
	d.text = append(d.text, src[copied:]...)
	return true
}

// indexFrom is bytes.IndexByte from a place on; the length if there is none.
func indexFrom(src []byte, from int, c byte) int {
	if i := bytes.IndexByte(src[from:], c); i >= 0 {
		return from + i
	}
	return len(src)
}

// Unescape appends to dst what the escape that src begins with stands for, and returns how long it
// is: 0 if src begins with none.
func Unescape(dst, src []byte) ([]byte, int) {
	if len(src) == 0 || strings.IndexByte(escapeBytes, src[0]) < 0 {
		return dst, 0
	}
	return unescape(dst, src)
}

// unescape appends to dst what the escape that src begins with stands for, and returns how
// long it is, 0 if there is none.
func unescape(dst, src []byte) ([]byte, int) {
	switch src[0] {
	case '&':
		return unescapeEntity(dst, src)
	case '<':
		return dropTag(dst, src)
	case '%':
		return unescapePercent(dst, src)
	}
	return unescapeBackslash(dst, src)
}

func unescapeEntity(dst, src []byte) ([]byte, int) {
	src = src[:min(len(src), maxEntity)]
	if len(src) > 2 && src[1] == '#' {
		digits, base := src[2:], int32(10)
		if digits[0]|0x20 == 'x' {
			digits, base = digits[1:], 16
		}
		r, n := number32(digits, base, len(digits))
		if n == 0 {
			return dst, 0
		}
		n += len(src) - len(digits)
		if n < len(src) && src[n] == ';' {
			n++
		}
		return utf8.AppendRune(dst, r), n
	}
	n := 1
	for n < len(src) && isAlnum(src[n]) {
		n++
	}
	if n == len(src) || src[n] != ';' {
		return dst, 0 // without its semicolon a name may be an ordinary word
	}
	s, ok := entity(src[1:n])
	if !ok {
		return dst, 0
	}
	return append(dst, s...), n + 1
}

// dropTag drops a tag or comment. A tag that ends a line or a block in a browser is a line
// break; of what is no HTML nothing is dropped.
func dropTag(dst, src []byte) ([]byte, int) {
	src = src[:min(len(src), maxTag)]
	if bytes.HasPrefix(src, []byte("<!--")) {
		end := bytes.Index(src[4:], []byte("-->"))
		if end < 0 {
			return dst, 0
		}
		return dst, 4 + end + 3
	}
	i := 1
	if i < len(src) && src[i] == '/' {
		i++
	}
	var name [maxTagName]byte
	n := 0
	for i < len(src) && n < maxTagName && isAlnum(src[i]) {
		name[n] = src[i] | 0x20
		i, n = i+1, n+1
	}
	line, known := tags[string(name[:n])]
	if !known || i == len(src) || src[i] != '>' && src[i] != '/' && src[i] != ' ' && src[i] != '\n' && src[i] != '\t' {
		return dst, 0
	}
	end := bytes.IndexByte(src[i:], '>')
	if end < 0 {
		return dst, 0
	}
	if line {
		dst = append(dst, '\n')
	}
	return dst, i + end + 1
}

const maxTagName = 10

// tags are the elements that people write into posts; true for those that begin a line.
var tags = map[string]bool{
	"a": false, "abbr": false, "b": false, "bdi": false, "bdo": false, "big": false, "center": true, "cite": false,
	"code": false, "del": false, "dfn": false, "em": false, "font": false, "i": false, "img": false, "ins": false,
	"kbd": false, "label": false, "mark": false, "q": false, "rp": false, "rt": false, "ruby": false, "s": false,
	"samp": false, "small": false, "span": false, "strike": false, "strong": false, "sub": false, "sup": false,
	"svg": false, "time": false, "tt": false, "u": false, "var": false, "wbr": false, "script": false, "style": false,
	"input": false, "button": false, "nobr": false,
	"address": true, "article": true, "aside": true, "blockquote": true, "body": true, "br": true, "dd": true, "details": true,
	"div": true, "dl": true, "dt": true, "figure": true, "footer": true, "form": true, "h1": true, "h2": true, "h3": true,
	"h4": true, "h5": true, "h6": true, "head": true, "header": true, "hr": true, "html": true, "li": true, "main": true,
	"nav": true, "ol": true, "p": true, "pre": true, "section": true, "table": true, "tbody": true, "td": true, "th": true,
	"thead": true, "title": true, "tr": true, "ul": true,
}

// unescapePercent undoes %E8 and %u8D4C. Bytes that are not UTF-8 stay bytes that match
// nothing.
func unescapePercent(dst, src []byte) ([]byte, int) {
	if len(src) >= 6 && src[1]|0x20 == 'u' {
		if r, n := number32(src[2:], 16, 4); n == 4 {
			return unescapeUnit(dst, src, r, 6)
		}
	}
	if len(src) >= 3 {
		if r, n := number32(src[1:], 16, 2); n == 2 {
			return append(dst, byte(r)), 3
		}
	}
	return dst, 0
}

// unescapeBackslash undoes \n \r \t \/ \xE8 \u8D4C \u{8D4C} \U00008D4C.
func unescapeBackslash(dst, src []byte) ([]byte, int) {
	if len(src) < 2 {
		return dst, 0
	}
	switch src[1] {
	case 'n', 'r':
		return append(dst, '\n'), 2
	case 't':
		return append(dst, '\t'), 2
	case '/':
		return append(dst, '/'), 2
	case 'x':
		if r, n := number32(src[2:], 16, 2); n == 2 {
			return append(dst, byte(r)), 4
		}
	case 'u':
		if len(src) > 3 && src[2] == '{' {
			if r, n := number32(src[3:], 16, 6); n > 0 && 3+n < len(src) && src[3+n] == '}' {
				return utf8.AppendRune(dst, r), 3 + n + 1
			}
		} else if r, n := number32(src[2:], 16, 4); n == 4 {
			return unescapeUnit(dst, src, r, 6)
		}
	case 'U':
		if r, n := number32(src[2:], 16, 8); n == 8 {
			return utf8.AppendRune(dst, r), 10
		}
	}
	return dst, 0
}

// unescapeUnit appends a UTF-16 unit, the first n bytes of src, with the unit that follows
// it if both are one character.
func unescapeUnit(dst, src []byte, r rune, n int) ([]byte, int) {
	if utf16.IsSurrogate(r) && len(src) >= 2*n && src[n] == src[0] && src[n+1] == src[1] {
		if low, k := number32(src[n+2:], 16, 4); k == 4 {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return utf8.AppendRune(dst, both), 2 * n
			}
		}
	}
	return utf8.AppendRune(dst, r), n
}

// number32 reads a number of at most most digits and returns how many it has, 0 if it is none
// or no character.
func number32(src []byte, base int32, most int) (r rune, n int) {
	for n < len(src) && n < most {
		d := int32(src[n])
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case base == 16 && 'a' <= d|0x20 && d|0x20 <= 'f':
			d = d | 0x20 - 'a' + 10
		default:
			d = base
		}
		if d >= base {
			break
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, 0
		}
		n++
	}
	return r, n
}

func isAlnum(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

// span returns the original's bytes that the decoded bytes from start up to end were written
// as, and whether an escape is among them: only then is it another reading.
func (d *decoded) span(start, end int) (from, to int, escaped bool) {
	from, _ = d.origin(start)
	last, size := d.origin(end - 1)
	to = last + size
	i, _ := slices.BinarySearchFunc(d.escapes, start, func(e escape, at int) int { return int(e.at+e.n) - at })
	for _, e := range d.escapes[i:] {
		if int(e.at) >= end {
			break
		}
		// A dropped tag at the edge is outside.
		if e.n > 0 && int(e.at+e.n) > start || e.n == 0 && int(e.at) > start {
			return from, to, true
		}
	}
	return from, to, false
}

// origin returns where in the original a decoded byte was written, and in how many bytes.
func (d *decoded) origin(at int) (begin, size int) {
	// The last escape that begins at or before the byte; of those that are empty and stand
	// there, the text behind them is meant.
	i, _ := slices.BinarySearchFunc(d.escapes, at+1, func(e escape, at int) int { return int(e.at) - at })
	if i == 0 {
		return at, 1
	}
	e := d.escapes[i-1]
	if at < int(e.at+e.n) {
		return int(e.begin), int(e.end - e.begin)
	}
	return int(e.end) + at - int(e.at+e.n), 1
}
