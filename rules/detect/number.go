package detect

// group is a run of digits that nothing separates. Numerals count, so that 8九陆4 is one.
type group struct {
	from, to int // symbols
}

// readGroups finds the groups of digits of the text, in one pass.
func (sc *Scratch) readGroups() {
	for i := 0; i < len(sc.symbols); i++ {
		if sc.at(i).digit < 0 {
			continue
		}
		from := i
		for sc.at(i).digit >= 0 {
			i++
		}
		g := group{from, i}
		// A numeral or two beside digits are words, as in 13800138000 一个, unless they make a
		// mobile number complete.
		lo, hi := from, i
		for lo < hi && sc.symbols[lo].kind != digit {
			lo++
		}
		for hi > lo && sc.symbols[hi-1].kind != digit {
			hi--
		}
		if i-from != mobileDigits && hi-lo >= minPhone && i-from-(hi-lo) <= 2 && sc.plain(lo, hi) {
			g = group{lo, hi}
		}
		sc.groups = append(sc.groups, g)
	}
}

// plain reports whether symbols lo up to hi are all digits 0 to 9.
func (sc *Scratch) plain(lo, hi int) bool {
	for ; lo < hi; lo++ {
		if sc.at(lo).kind != digit {
			return false
		}
	}
	return true
}

// maxGap is how many symbols may stand between two groups of digits of one number.
const maxGap = 3

// gap is what stands between two groups of digits of one number, a set.
type gap uint8

const (
	gapBlank gap = 1 << iota
	gapDash
	gapDot
	gapParen
	gapOdd  // another sign or an emoji
	gapWide // a sign with blanks around it
)

// gapAt returns what stands between two groups, symbols lo up to hi; 0 if they belong to no one
// number.
func (sc *Scratch) gapAt(lo, hi int) gap {
	if hi-lo > maxGap || hi <= lo {
		return 0
	}
	var g gap
	for i := lo; i < hi; i++ {
		s := sc.at(i)
		switch {
		case s.kind == blank:
			g |= gapBlank
		case s.r == '-':
			g |= gapDash
		case s.r == '.':
			g |= gapDot
		case s.r == '(' || s.r == ')':
			g |= gapParen
		case s.kind != mark || noGap(s.r):
			return 0
		default:
			g |= gapOdd
		}
	}
	if g&gapBlank != 0 && g&(gapDash|gapDot|gapOdd) != 0 {
		g = g&^gapBlank | gapWide
	}
	return g
}

// noGap reports whether a mark stands between two numbers rather than inside one.
func noGap(r rune) bool {
	switch r {
	case '/', '*', '+', '=', '%', '<', '>', '$', '¥', '#', '&', '^', '×', '÷', '→', '\\', '"', '\'':
		return true
	}
	return false
}
