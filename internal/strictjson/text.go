package strictjson

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The lowest and the highest bit of each of eight bytes.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// text reads a string whose first byte after the quote is b[i]. It returns the
// index after the closing quote and whether there are escapes.
//
// Plain ASCII goes by eight bytes at a time, everything else by the character.
func text(b []byte, i int) (end int, escaped bool, r Reason) {
	for {
		for i+8 <= len(b) {
			// A byte that needs a look gets its high bit set: one below ' ', a
			// quote, a backslash, or one outside ASCII. A borrow may set bits
			// above a real one too; the lowest is exact and only it is used.
			x := binary.LittleEndian.Uint64(b[i:])
			quote, backslash := x^(ones*'"'), x^(ones*'\\')
			look := ((x-ones*' ')&^x | (quote-ones)&^quote | (backslash-ones)&^backslash | x) & highs
			if look != 0 {
				i += bits.TrailingZeros64(look) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return i, escaped, Truncated
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, ""
		case c == '\\':
			escaped = true
			if i, r = escape(b, i); r != "" {
				return i, escaped, r
			}
		case c < ' ':
			return i, escaped, Control
		case c < utf8.RuneSelf:
			i++
		default:
			i = wide(b, i)
			switch {
			case i == len(b) || b[i] < utf8.RuneSelf:
			case !utf8.FullRune(b[i:]):
				return i, escaped, Truncated
			default:
				return i, escaped, UTF8
			}
		}
	}
}

// wide skips characters outside ASCII. It stops at the first byte that is ASCII
// or begins no valid character.
func wide(b []byte, i int) int {
	for {
		// Three-byte characters, which is what Chinese text is made of.
		for i+4 <= len(b) {
			x := binary.LittleEndian.Uint32(b[i:])
			if x&0xC0C0F0 != 0x8080E0 {
				break
			}
			// The five highest of the sixteen bits: 0 begins what two bytes
			// could say as well (U+0000 to U+07FF), 27 a surrogate.
			if top := x&0xF<<1 | x>>13&1; top == 0 || top == 27 {
				return i
			}
			i += 3
		}
		if i >= len(b) || b[i] < utf8.RuneSelf {
			return i
		}
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

// escape reads the escape whose backslash is b[i], with both halves of a
// surrogate pair.
func escape(b []byte, i int) (int, Reason) {
	if i+1 >= len(b) {
		return len(b), Truncated
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, ""
	case 'u':
	default:
		return i, Escape
	}
	unit, r := hex4(b, i+2)
	switch {
	case r != "":
		return i, r
	case unit&^0x7FF != 0xD800:
		return i + 6, ""
	case unit >= 0xDC00:
		return i, Surrogate
	}
	switch rest := b[i+6:]; {
	case len(rest) == 0, len(rest) == 1 && rest[0] == '\\':
		return len(b), Truncated
	case rest[0] != '\\' || rest[1] != 'u':
		return i, Surrogate
	}
	switch unit, r = hex4(b, i+8); {
	case r != "":
		return i + 6, r
	case unit&^0x3FF != 0xDC00:
		return i, Surrogate
	}
	return i + 12, ""
}

// hex4 reads four hex digits.
func hex4(b []byte, i int) (rune, Reason) {
	var unit rune
	for end := i + 4; i < end; i++ {
		if i >= len(b) {
			return 0, Truncated
		}
		c := b[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, Escape
		}
		unit = unit<<4 | rune(c)
	}
	return unit, ""
}

// unescape appends s, which text has accepted, with its escapes resolved. What
// it appends is never longer than s.
func unescape(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			unit, _ := hex4(s, 0)
			s = s[4:]
			if unit&^0x3FF == 0xD800 {
				low, _ := hex4(s, 2)
				unit = 0x10000 + (unit-0xD800)<<10 + low - 0xDC00
				s = s[6:]
			}
			dst = utf8.AppendRune(dst, unit)
			continue
		}
		dst = append(dst, c)
	}
}
