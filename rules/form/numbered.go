package form

import (
	"strconv"
	"strings"
	"sync"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// The numbered reading is the joined one with digits in place of every number of two characters
// or more, however it is written: digit by digit (八九六四, 8九陆4) or with units
// (八千九百六十四). A single numeral is a word.

// units are the values of the characters by which Chinese numbers are built.
var units = map[rune]int64{
	'十': 10, '拾': 10, '百': 100, '佰': 100, '千': 1000, '仟': 1000, '万': 1e4, '亿': 1e8,
}

// numerals lists the Han characters that numbers are written with.
var numerals = sync.OnceValue(func() string {
	var b strings.Builder
	for r := rune(0x3007); r < 0xA000; r++ {
		if _, unit := units[r]; unit || valueOf(r) >= 0 && fold.ClassOf(r) == fold.Han {
			b.WriteRune(r)
		}
	}
	return b.String()
})

// valueOf returns the digit a folded character stands for, its unit, or -1.
func valueOf(r rune) int64 {
	if '0' <= r && r <= '9' {
		return int64(r - '0')
	}
	if u, ok := units[r]; ok {
		return u
	}
	if d, ok := fold.Numeral(r); ok && fold.ClassOf(r) == fold.Han {
		return int64(d)
	}
	return -1
}

// circles are signs that are typed for 〇, as in 二○二六. They are as often separators, bullets and
// marks for what is left out, so they count only within a number (see zerosIn).
const circles = "○◯"

// zerosIn calls f with the place of every circle that is a zero. It stands amid or behind numerals
// in one piece: two of them at least, or one and several circles (二○二六, 六一○, 一○○). What begins
// with a circle, and a single one behind a single numeral, is a list or a name with a gap.
// Numeral and circle say what stands at a place below n.
func zerosIn(n int, numeral, circle func(at int) bool, f func(at int)) {
	for at := 0; at < n; at++ {
		first, counts := at, [2]int{}
		for at < n {
			if numeral(at) {
				counts[0]++
			} else if counts[0] > 0 && circle(at) {
				counts[1]++
			} else {
				break
			}
			at++
		}
		if counts[1] > 1 || counts[0] > 1 {
			for i := first; i < at; i++ {
				if circle(i) {
					f(i)
				}
			}
		}
	}
}

// withZeros returns a term with 〇 for the circles that are zeros.
func withZeros(term string) string {
	runes := []rune(term)
	zerosIn(len(runes), func(at int) bool { return valueOf(runes[at]) >= 0 && !isDigit(runes[at]) },
		func(at int) bool { return strings.ContainsRune(circles, runes[at]) },
		func(at int) { runes[at] = '〇' })
	return string(runes)
}

// zeros makes numerals of the symbols of circles that are zeros and reports whether there are any.
func (n *numbers) zeros(sym []automaton.Symbol) (some bool) {
	zerosIn(len(sym), func(at int) bool { return !sym[at].Token() && !sym[at].Separator() && n.value(sym[at]) >= 0 },
		func(at int) bool { return sym[at].Separator() && n.value(sym[at]) == 0 },
		func(at int) { sym[at], some = sym[at].Solid(), true })
	return some
}

// maxNumber is how many characters of a number are read as one with units.
const maxNumber = 24

// inDigits appends the digits of a number to dst: values are digits and units in the
// order of writing. Without units, or where they make no number, each digit stands for
// itself; then aligned says that there are as many digits as values.
func inDigits(dst []byte, values []int64) (out []byte, aligned bool) {
	if len(values) < 2 {
		return dst, false
	}
	if n, ok := evaluate(values); ok {
		return strconv.AppendInt(dst, n, 10), false
	}
	for _, v := range values {
		if v > 9 {
			return dst, false // a unit that is no part of a number: a word
		}
		dst = append(dst, byte('0'+v))
	}
	return dst, true
}

// evaluate returns the value of a number written with units: 三百二十万, 3千, 十五.
func evaluate(values []int64) (int64, bool) {
	if len(values) > maxNumber {
		return 0, false
	}
	var total, section, digit int64 // what stands before 亿 or 万, since then, and since the last unit
	hasUnit, hasDigit := false, false
	last := int64(1e18) // the unit before; each next one is smaller
	for i, v := range values {
		switch {
		case v < 10:
			if hasDigit && digit != 0 && hasUnit { // two digits in a row behind a unit
				return 0, false
			}
			digit = digit*10 + v
			if digit > 1e9 {
				return 0, false
			}
			hasDigit = true
		case v >= 1e4:
			section += digit
			if section == 0 {
				return 0, false
			}
			total = (total + section) * v
			if total > 1e15 {
				return 0, false
			}
			section, digit, hasDigit, hasUnit, last = 0, 0, false, true, v
		default:
			if !hasDigit && (i != 0 || v != 10) { // only ten goes without a digit, at the front
				return 0, false
			}
			if v >= last {
				return 0, false
			}
			if !hasDigit {
				digit = 1
			}
			section += digit * v
			digit, hasDigit, hasUnit, last = 0, false, true, v
		}
	}
	return total + section + digit, hasUnit
}

// number returns a joined text with digits for its numbers, nothing if it holds none.
func number(text string) string {
	var out []byte
	found := false
	runes := []rune(text)
	for i := 0; i < len(runes); {
		values := make([]int64, 0, maxNumber)
		for _, r := range runes[i:] {
			v := valueOf(r)
			if v < 0 || len(values) == maxNumber {
				break
			}
			values = append(values, v)
		}
		if n, _ := inDigits(nil, values); len(n) > 0 {
			out, found = append(out, n...), true
			i += len(values)
			continue
		}
		for range max(1, len(values)) { // a word, and maybe one made of numerals
			out = append(out, string(runes[i])...)
			i++
		}
	}
	if !found {
		return ""
	}
	return string(out)
}

// numeralStyles are the digits as they are usually written, one style a string.
var numeralStyles = []string{"0123456789", "零一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖"}

// inStyles returns a term with its digits and numerals in each style that differs from it:
// 6合彩 and 陆合彩 for 六合彩. A text that mixes them has the numbered reading.
func inStyles(term string) []string {
	var list []string
	if n := number(term); n != "" && n != term { // 21点 for 二十一点
		list = append(list, n)
	}
	for _, style := range numeralStyles {
		digits := []rune(style)
		out := []rune(term)
		for i, r := range out {
			if d := valueOf(r); d >= 0 && d < 10 {
				out[i] = digits[d]
			}
		}
		if s := string(out); s != term {
			list = append(list, s)
		}
	}
	return list
}

// numbers is what the numbered reading needs to know of an automaton.
type numbers struct {
	values []int64              // by code, -1 for what is no numeral
	digits [10]automaton.Symbol // of 0 to 9
}

func newNumbers(a *automaton.Automaton) *numbers {
	n := &numbers{}
	for d := range n.digits {
		n.digits[d] = a.Symbol(rune('0' + d))
	}
	for _, r := range asciiMarks + numerals() + circles {
		c := a.Symbol(r).Code()
		for len(n.values) <= c {
			n.values = append(n.values, -1)
		}
		n.values[c] = valueOf(r)
		if strings.ContainsRune(circles, r) {
			n.values[c] = 0
		}
	}
	return n
}

func (n *numbers) value(s automaton.Symbol) int64 {
	if c := s.Code(); s.Marked() && c < len(n.values) {
		return n.values[c]
	}
	return -1
}

// number makes the numbered reading of a joined one, made from the symbols raw, and
// reports whether it differs. Its places are those in the joined reading. The digits of a
// number with units all stand where it begins.
func (s *stream) number(j *stream, raw []automaton.Symbol, n *numbers) (changed bool) {
	s.symbols, s.from = s.symbols[:0], s.from[:0]
	tokenEnd := -1 // place in raw behind the last symbol that belongs to a token
	var buf [maxNumber]int64
	var text [maxNumber]byte
	for k := 0; k < len(j.symbols); {
		values := buf[:0]
		for _, x := range j.symbols[k:] {
			v := n.value(x)
			if v < 0 || len(values) == maxNumber {
				break
			}
			values = append(values, v)
		}
		at := int(j.from[k])
		begins := !j.symbols[k].Token() && tokenEnd != at // a token, if it is part of one
		out, aligned := inDigits(text[:0], values)
		if len(out) == 0 {
			x := j.symbols[k]
			if raw[at].Token() {
				if tokenEnd = at + 1; !begins {
					x = x.Joined()
				}
			}
			s.symbols, s.from = append(s.symbols, x), append(s.from, uint32(k))
			k++
			continue
		}
		for i, d := range out {
			x := n.digits[d-'0']
			if i == 0 && begins {
				x = x.Loose()
			}
			place := k
			if aligned {
				place += i
			}
			s.symbols, s.from = append(s.symbols, x), append(s.from, uint32(place))
		}
		for range values {
			changed = changed || !raw[j.from[k]].Token()
			tokenEnd = int(j.from[k]) + 1
			k++
		}
	}
	s.from = append(s.from, uint32(len(j.symbols)))
	m := len(s.symbols)
	for range automaton.Padding {
		s.symbols = append(s.symbols, 0)
	}
	s.symbols = s.symbols[:m]
	return changed
}

// whole reports whether symbols i up to and not including j are all that comes from their
// places: no part of the digits of a number with units.
func (s *stream) whole(i, j int) bool {
	return (i == 0 || s.from[i] != s.from[i-1]) && s.from[j] != s.from[j-1]
}
