package rules

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Share is a part of a whole in millionths, written in percent, such as 0.1%.
type Share int64

// Percent is one hundredth.
const Percent Share = 10_000

// String returns the share in percent, without needless zeros.
func (s Share) String() string {
	decimals := strings.TrimRight(fmt.Sprintf(".%04d", s%Percent), "0")
	return strconv.FormatInt(int64(s/Percent), 10) + strings.TrimSuffix(decimals, ".") + "%"
}

// ShareOf returns a fraction between 0 and 1 as a share, rounded.
func ShareOf(fraction float64) Share { return Share(math.Round(fraction * float64(100*Percent))) }

// Fraction returns the share as a number between 0 and 1.
func (s Share) Fraction() float64 { return float64(s) / float64(100*Percent) }

var shareShape = regexp.MustCompile(`^([0-9]{1,3})(?:\.([0-9]{1,4}))?%$`)

// UnmarshalText reads a share such as 0.1%.
func (s *Share) UnmarshalText(text []byte) error {
	m := shareShape.FindStringSubmatch(string(text))
	if m != nil {
		whole, _ := strconv.ParseInt(m[1], 10, 64) // of three digits
		decimals, _ := strconv.ParseInt((m[2] + "0000")[:4], 10, 64)
		if share := Share(whole)*Percent + Share(decimals); share <= 100*Percent {
			*s = share
			return nil
		}
	}
	return fmt.Errorf("%q is not a share; write a number from 0 to 100, with at most four decimals, and a percent sign, such as 0.1%%", text)
}

// of returns the share of a number of things, rounded up to whole ones.
func (s Share) of(n int) int {
	const all = int64(100 * Percent)
	return int((int64(s)*int64(n) + all - 1) / all)
}

// shareOf returns which share of n things some of them are, rounded.
func shareOf(some, n int) Share {
	return Share((int64(some)*int64(100*Percent) + int64(n)/2) / int64(n))
}
