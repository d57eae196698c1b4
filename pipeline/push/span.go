package push

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// span is a length of time that may be written in days: 7d, 1d12h, 90m.
type span time.Duration

const maxSpan = 366 * 24 * time.Hour

// UnmarshalText reads a span.
func (s *span) UnmarshalText(text []byte) error {
	days, rest, found := strings.Cut(string(text), "d")
	if !found {
		days, rest = "0", string(text)
	}
	n, ok := 0, len(days) > 0 && len(days) <= 4
	for _, c := range days {
		ok = ok && c >= '0' && c <= '9'
		n = 10*n + int(c-'0')
	}
	d := time.Duration(0)
	if rest != "" {
		var err error
		d, err = time.ParseDuration(rest)
		ok = ok && err == nil && d >= 0
	}
	if !ok {
		return fmt.Errorf("%q is not a length of time; write number and unit, such as 90m, 24h or 7d", text)
	}
	d = time.Duration(min(n, math.MaxInt16))*24*time.Hour + min(d, 2*maxSpan)
	if d%time.Second != 0 || d <= 0 || d > maxSpan {
		return fmt.Errorf("%q is out of range; write whole seconds, more than none and at most 366d", text)
	}
	*s = span(d)
	return nil
}
