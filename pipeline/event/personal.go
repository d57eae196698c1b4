package event

// isPersonalNumber reports whether a user id looks like the number of a Chinese
// identity card (18 digits or the old 15) or of a phone, with or without blanks
// and hyphens.
//
// An identity-card number has a province, a date of birth and, if it is a new
// one, a check digit. All of them are looked at: ids that merely have as many
// digits are common, and only one in some hundred thousand of them is refused.
// A mobile number has 11 digits and begins with 13 to 19. A platform whose own
// ids do too must put something before them, which a pseudonym bears.
func isPersonalNumber(id []byte) bool {
	if len(id) == 0 || id[0] != '+' && !isDigit(id[0]) {
		return false
	}
	abroad := id[0] == '+'
	if abroad {
		id = id[1:]
	}
	var digits [18]byte
	n := 0
	for _, c := range id {
		switch {
		case c == ' ' || c == '-':
			continue
		case n == len(digits):
			return false
		case !isDigit(c) && (n != 17 || c|0x20 != 'x'):
			return false
		}
		digits[n] = c
		n++
	}
	d := digits[:n]
	if abroad {
		return n >= 8 && n <= 15
	}
	return isMobile(d) || isOldIdentity(d) || isIdentity(d)
}

// isMobile accepts a number with or without China's code in front.
func isMobile(d []byte) bool {
	switch {
	case len(d) == 15 && string(d[:4]) == "0086":
		d = d[4:]
	case len(d) == 13 && string(d[:2]) == "86":
		d = d[2:]
	}
	return len(d) == 11 && d[0] == '1' && d[1] >= '3'
}

// isOldIdentity knows province, district, YYMMDD and three digits more.
func isOldIdentity(d []byte) bool {
	return len(d) == 15 && isProvince(two(d)) && isDay(two(d[8:]), two(d[10:]))
}

// isIdentity knows province, district, YYYYMMDD, three digits more and the
// check digit of GB 11643.
func isIdentity(d []byte) bool {
	if len(d) != 18 || !isProvince(two(d)) || !isDay(two(d[10:]), two(d[12:])) {
		return false
	}
	if century := two(d[6:]); century != 19 && century != 20 {
		return false
	}
	sum := 0
	for i, weight := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += weight * int(d[i]-'0')
	}
	want := "10X98765432"[sum%11]
	return d[17] == want || d[17] == 'x' && want == 'X'
}

func isProvince(code int) bool {
	switch code / 10 {
	case 1:
		return code >= 11 && code <= 15
	case 2:
		return code >= 21 && code <= 23
	case 3:
		return code >= 31 && code <= 37
	case 4:
		return code >= 41 && code <= 46
	case 5:
		return code >= 50 && code <= 54
	case 6:
		return code >= 61 && code <= 65
	case 7:
		return code == 71
	case 8:
		return code >= 81 && code <= 83
	default:
		return code == 91
	}
}

func isDay(month, day int) bool {
	return month >= 1 && month <= 12 && day >= 1 && day <= 31
}
