package event

import "time"

// parseTime reads a time as RFC 3339 writes it, in UTC.
//
// It is stricter than the RFC where readers differ: capital T and Z, one to
// nine digits of a second's fraction, no leap seconds, nothing before 1970 (the
// zero time means "not told") or after 9999 (which RFC 3339 cannot write).
// Unlike time.Parse it needs no string and makes no time zone.
func parseTime(b []byte) (time.Time, bool) {
	const layout = "0000-00-00T00:00:00" // then the fraction, then the zone
	if len(b) < len(layout)+1 {
		return time.Time{}, false
	}
	for i := range len(layout) {
		switch c := layout[i]; {
		case c == '0' && !isDigit(b[i]), c != '0' && b[i] != c:
			return time.Time{}, false
		}
	}
	year, month, day := 100*two(b)+two(b[2:]), two(b[5:]), two(b[8:])
	hour, minute, second := two(b[11:]), two(b[14:]), two(b[17:])
	b = b[len(layout):]

	nanos := 0
	if b[0] == '.' {
		n, unit := 1, 1_000_000_000
		for ; n < len(b) && isDigit(b[n]); n++ {
			unit /= 10
			nanos += unit * int(b[n]-'0')
		}
		if n < 2 || n > 10 {
			return time.Time{}, false
		}
		b = b[n:]
	}

	east := 0 // of UTC, in minutes
	switch {
	case len(b) == 1 && b[0] == 'Z':
	case len(b) == 6 && (b[0] == '+' || b[0] == '-') && isDigit(b[1]) && isDigit(b[2]) && b[3] == ':' && isDigit(b[4]) && isDigit(b[5]):
		h, m := two(b[1:]), two(b[4:])
		if h > 23 || m > 59 {
			return time.Time{}, false
		}
		if east = 60*h + m; b[0] == '-' {
			east = -east
		}
	default:
		return time.Time{}, false
	}

	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute-east, second, nanos, time.UTC)
	// A day the month does not have would have become one of the next month.
	if day > 28 && time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day {
		return time.Time{}, false
	}
	if y := t.Year(); y < 1970 || y > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// parseUnix reads a time as a number: of seconds since 1970, with up to nine digits
// of a fraction, or from 100,000,000,000 on of whole milliseconds. So many seconds
// will have passed in the year 5138, so many milliseconds in March 1973.
func parseUnix(b []byte) (time.Time, bool) {
	const (
		millis = 100_000_000_000
		last   = 253_402_300_799_999 // milliseconds, in the year 9999
	)
	n, i := int64(0), 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		if n = 10*n + int64(b[i]-'0'); n > last {
			return time.Time{}, false
		}
	}
	switch {
	case i == 0: // a sign
		return time.Time{}, false
	case i == len(b) && n >= millis:
		return time.UnixMilli(n).UTC(), true
	case i == len(b):
		return time.Unix(n, 0).UTC(), true
	case n >= millis || b[i] != '.' || len(b)-i > 10:
		return time.Time{}, false
	}
	nanos, unit := int64(0), int64(1_000_000_000)
	for _, c := range b[i+1:] {
		if !isDigit(c) {
			return time.Time{}, false // an exponent
		}
		unit /= 10
		nanos += unit * int64(c-'0')
	}
	return time.Unix(n, nanos).UTC(), true
}

// two reads two digits.
func two(b []byte) int { return 10*int(b[0]-'0') + int(b[1]-'0') }

func isDigit(c byte) bool { return c-'0' <= 9 }
