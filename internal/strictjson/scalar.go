package strictjson

// scalar reads true, false, null or a number.
func scalar(b []byte, i int) (int, Reason) {
	switch c := b[i]; {
	case c == '-' || isDigit(c):
		return number(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n' && (i+1 >= len(b) || b[i+1]|0x20 != 'a'):
		return literal(b, i, "null")
	case c == 'n', c == 'N', c == 'I', c == 'i', c == '+', c == '.':
		return i, Number // nan, NaN, Infinity, inf, +1, .5
	default:
		return i, misplaced(b, i)
	}
}

func literal(b []byte, i int, want string) (int, Reason) {
	rest := b[i:min(len(b), i+len(want))]
	switch {
	case string(rest) == want:
		return i + len(want), ""
	case i+len(rest) == len(b) && string(rest) == want[:len(rest)]:
		return len(b), Truncated
	default:
		return i, Syntax
	}
}

// number reads -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?
func number(b []byte, i int) (int, Reason) {
	if b[i] == '-' {
		i++
	}
	first := i
	i, r := digits(b, i)
	if r != "" {
		return i, r
	}
	if b[first] == '0' && i > first+1 {
		return first, Number
	}
	if i < len(b) && b[i] == '.' {
		if i, r = digits(b, i+1); r != "" {
			return i, r
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i, r = digits(b, i); r != "" {
			return i, r
		}
	}
	return i, ""
}

// digits reads one or more digits.
func digits(b []byte, i int) (int, Reason) {
	first := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	switch {
	case i > first:
		return i, ""
	case i == len(b):
		return i, Truncated
	default:
		return i, Number
	}
}

func isDigit(c byte) bool { return c-'0' <= 9 }
