package demo

import "time"

// zones are places that keep the same time all year round, one for each hour of
// the day, so that somewhere it is always night and somewhere noon.
func zones() []zone {
	return []zone{
		{"Pacific/Pago_Pago", -11}, {"Pacific/Honolulu", -10}, {"Pacific/Gambier", -9}, {"Pacific/Pitcairn", -8},
		{"America/Phoenix", -7}, {"America/Costa_Rica", -6}, {"America/Panama", -5}, {"America/Puerto_Rico", -4},
		{"America/Argentina/Buenos_Aires", -3}, {"America/Noronha", -2}, {"Atlantic/Cape_Verde", -1},
		{"Africa/Abidjan", 0}, {"Africa/Lagos", 1}, {"Africa/Johannesburg", 2}, {"Africa/Nairobi", 3},
		{"Asia/Dubai", 4}, {"Asia/Karachi", 5}, {"Asia/Dhaka", 6}, {"Asia/Bangkok", 7},
		{"Asia/Shanghai", 8}, {"Asia/Tokyo", 9}, {"Australia/Brisbane", 10}, {"Pacific/Guadalcanal", 11},
		{"Pacific/Tarawa", 12},
	}
}

type zone struct {
	name  string
	hours int // east of Greenwich
}

func (z zone) hour(now time.Time) int {
	return (now.UTC().Hour() + z.hours + 24) % 24
}

// zoneWhere returns the zone in which it is now the given full hour.
func zoneWhere(now time.Time, hour int) zone {
	for _, z := range zones() {
		if z.hour(now) == hour {
			return z
		}
	}
	panic("demo: no zone for an hour") // a test looks at all 24
}

// The hours at which the two halves of the city live when the demo starts. It
// stays night and day there for hours; then people move (see city.move).
const (
	nightHour = 1
	dayHour   = 11
)

// isNight reports whether it is rest time there for everybody, whatever their group.
func (z zone) isNight(now time.Time) bool { h := z.hour(now); return h >= 23 || h < 7 }

// isDay reports whether nobody there rests.
func (z zone) isDay(now time.Time) bool { h := z.hour(now); return h >= 9 && h < 19 }
