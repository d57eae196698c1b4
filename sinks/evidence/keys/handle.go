package keys

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Month is a calendar month in UTC: how many there were since January 1970.
type Month uint16

// MonthOf returns the month of t in UTC.
func MonthOf(t time.Time) Month {
	t = t.UTC()
	return Month((t.Year()-1970)*12 + int(t.Month()) - 1)
}

// ParseMonth reads a month as [Month.String] writes it.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Year() < 1970 {
		return 0, fmt.Errorf("month %q; use yyyy-mm, such as 2026-11", s)
	}
	return MonthOf(t), nil
}

// String returns the month as yyyy-mm.
func (m Month) String() string {
	return fmt.Sprintf("%04d-%02d", 1970+int(m)/12, int(m)%12+1)
}

// Handle names a key. It says in which month the key was first asked for and
// nothing else: the other 14 bytes are random.
type Handle [16]byte

// ParseHandle reads a handle as [Handle.String] writes it.
func ParseHandle(s string) (h Handle, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("handle %q; it has 32 hexadecimal digits", s)
	}
	return Handle(b), nil
}

// Month returns the month whose file holds the key.
func (h Handle) Month() Month { return Month(binary.BigEndian.Uint16(h[:])) }

// String returns the handle in hexadecimal.
func (h Handle) String() string { return hex.EncodeToString(h[:]) }
