package event

// isAddress reports whether b is an IPv4 or IPv6 address in text, without a
// zone. (netip.ParseAddr says the same, but needs a string.)
func isAddress(b []byte) bool {
	return isIPv4(b) || isIPv6(b)
}

// isIPv4 accepts four numbers up to 255 without leading zeros.
func isIPv4(b []byte) bool {
	for part := range 4 {
		n, v := 0, 0
		for n < len(b) && n < 3 && isDigit(b[n]) {
			v = 10*v + int(b[n]-'0')
			n++
		}
		if n == 0 || v > 255 || n > 1 && b[0] == '0' {
			return false
		}
		if b = b[n:]; part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

// isIPv6 accepts eight groups of up to four hex digits; "::" once for one group
// of zeros or more; the last two groups also as IPv4.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = true, b[2:]
	}
	for len(b) > 0 {
		if groups <= 6 && isIPv4(b) {
			groups, b = groups+2, nil
			break
		}
		n := 0
		for n < len(b) && n < 4 && isHex(b[n]) {
			n++
		}
		if n == 0 {
			return false
		}
		groups++
		if b = b[n:]; len(b) == 0 {
			break
		}
		if len(b) < 2 || b[0] != ':' {
			return false // a fifth digit, a zone, or a colon at the end
		}
		if b = b[1:]; b[0] == ':' {
			if gap {
				return false
			}
			gap, b = true, b[1:]
		}
	}
	if gap {
		return groups < 8
	}
	return groups == 8
}

func isHex(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f'
}
