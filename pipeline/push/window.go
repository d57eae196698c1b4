package push

import (
	"fmt"
	"math"
	"time"
)

// secondsADay is a day by the wall clock, which no change of the clocks makes
// longer or shorter.
const secondsADay = 24 * 60 * 60

// Window is a part of every day by the wall clock, in minutes after midnight:
// from Start up to and not including End, over midnight if End is the smaller.
// The zero Window is none.
type Window struct {
	Start, End int16
}

// ParseWindow reads "22:00-08:00". An empty text and "none" are no window.
func ParseWindow(s string) (Window, error) {
	if s == "" || s == "none" {
		return Window{}, nil
	}
	var w Window
	var ok1, ok2 bool
	if len(s) == 11 && s[5] == '-' {
		w.Start, ok1 = timeOfDay(s[:5])
		w.End, ok2 = timeOfDay(s[6:])
	}
	switch {
	case !ok1 || !ok2:
		return Window{}, fmt.Errorf("%q are not hours of rest; write them like 22:00-08:00, or none", s)
	case w.Start == w.End:
		return Window{}, fmt.Errorf("%q begins and ends at the same time; write hours like 22:00-08:00, or none", s)
	}
	return w, nil
}

// timeOfDay reads "08:30".
func timeOfDay(s string) (int16, bool) {
	digit := func(i int) int16 { return int16(s[i]) - '0' }
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := 10*digit(0)+digit(1), 10*digit(3)+digit(4)
	return 60*h + m, s[2] == ':' && h < 24 && m < 60
}

// UnmarshalText is ParseWindow, for files.
func (w *Window) UnmarshalText(text []byte) (err error) {
	*w, err = ParseWindow(string(text))
	return err
}

// MarshalText writes what ParseWindow reads.
func (w Window) MarshalText() ([]byte, error) {
	return []byte(w.String()), nil
}

// String returns the window as it is written in files: "22:00-08:00", or "none".
func (w Window) String() string {
	if w == (Window{}) {
		return "none"
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.Start/60, w.Start%60, w.End/60, w.End%60)
}

// has reports whether a second of the day lies in the window.
func (w Window) has(second int64) bool {
	start, end := int64(w.Start)*60, int64(w.End)*60
	if start <= end {
		return second >= start && second < end
	}
	return second >= start || second < end
}

// place is a time zone at a time: what its clocks show, until they change.
type place struct {
	loc         *time.Location
	offset      int64 // seconds east of Greenwich
	from, until int64 // where this offset holds, as Unix time
}

// at returns the place at the time t.
func (p place) at(t int64) place {
	if p.offset != unset && t >= p.from && t < p.until {
		return p
	}
	lt := time.Unix(t, 0).In(p.loc)
	_, offset := lt.Zone()
	p.offset, p.from, p.until = int64(offset), math.MinInt64, math.MaxInt64
	from, until := lt.ZoneBounds()
	if !from.IsZero() {
		p.from = from.Unix()
	}
	if !until.IsZero() {
		p.until = until.Unix()
	}
	return p
}

const unset = math.MinInt64

func placeIn(loc *time.Location, t int64) place {
	return place{loc: loc, offset: unset}.at(t)
}

// second returns the second of the local day at t.
func (p place) second(t int64) int64 { return mod(t + p.offset) }

func mod(wall int64) int64 {
	s := wall % secondsADay
	if s < 0 {
		s += secondsADay
	}
	return s
}

// day returns the local date at t as a number: days since 1970-01-01.
func (p place) day(t int64) int64 {
	wall := t + p.offset
	return (wall - mod(wall)) / secondsADay
}

// maxSteps bounds the walks below. Each step leads to the end of a window or to
// a change of the clocks; nobody rests for more than a few of them in a row.
const maxSteps = 64

// quietEnd returns the first instant from t on at which no window applies, and
// whether there is one: windows that fill the day together never end. It never
// steps over a change of the clocks, because behind one the same wall time is
// another distance away.
//
// Clause: push-quiet
// Rest hours are what the wall clock shows where the user lives, across every change of the clocks.
func (p place) quietEnd(t int64, windows []Window) (int64, bool) {
	for range maxSteps {
		p = p.at(t)
		second, stay := p.second(t), int64(0)
		for _, w := range windows {
			if w.has(second) {
				stay = max(stay, mod(int64(w.End)*60-second))
			}
		}
		if stay == 0 {
			return t, true
		}
		t = min(t+stay, p.until)
	}
	return 0, false
}

// quietStart returns the first instant from t on at which a window applies, and
// false if none does in the weeks to come.
func (p place) quietStart(t int64, windows []Window) (int64, bool) {
	if len(windows) == 0 {
		return 0, false
	}
	for range maxSteps {
		p = p.at(t)
		second, wait := p.second(t), int64(secondsADay)
		for _, w := range windows {
			if w.has(second) {
				return t, true
			}
			wait = min(wait, mod(int64(w.Start)*60-second))
		}
		t = min(t+wait, p.until)
	}
	return 0, false
}

// maxOffset is more than any zone was ever away from Greenwich.
const maxOffset = 16 * 60 * 60

// dayStart returns the first instant whose local date is, or is after, the one
// that was back days before the date at t (after it, if back is negative). So a
// date that a zone skipped begins where the next does, a day whose midnight does
// not exist begins where the clocks go on, and one that the clocks fall back
// from begins at its first appearance.
func (p place) dayStart(t, back int64) int64 {
	p = p.at(t)
	midnight := (p.day(t) - back) * secondsADay // by the wall clock
	for p = p.at(midnight - maxOffset); ; p = p.at(p.until) {
		if start := max(midnight-p.offset, p.from); start < p.until {
			return start
		}
	}
}
