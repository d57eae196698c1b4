package push

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := loadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// Quiet hours end and begin when the clock on the user's wall says so, also in
// nights in which it is changed.
func TestQuietHoursByTheWallClock(t *testing.T) {
	// Clause: push-quiet
	for _, c := range []struct{ name, zone, windows, now, end, start string }{
		{"an evening", "Asia/Shanghai", "22:00-08:00", "2026-11-24T22:00:00+08:00", "2026-11-25T08:00:00+08:00", ""},
		{"the last second", "Asia/Shanghai", "22:00-08:00", "2026-11-24T07:59:59+08:00", "2026-11-24T08:00:00+08:00", ""},
		{"awake", "Asia/Shanghai", "22:00-08:00", "2026-11-24T08:00:00+08:00", "2026-11-24T08:00:00+08:00", "2026-11-24T22:00:00+08:00"},
		{"a siesta", "Europe/Madrid", "13:00-15:30", "2026-11-24T14:10:07+01:00", "2026-11-24T15:30:00+01:00", ""},
		{"after the siesta", "Europe/Madrid", "13:00-15:30", "2026-11-24T15:30:00+01:00", "2026-11-24T15:30:00+01:00", "2026-11-25T13:00:00+01:00"},
		{"one window after another", "Asia/Shanghai", "22:00-08:00 07:00-10:00", "2026-11-24T23:00:00+08:00", "2026-11-25T10:00:00+08:00", ""},
		{"the day is full", "Asia/Shanghai", "22:00-08:00 08:00-22:00", "2026-11-24T23:00:00+08:00", "never", ""},
		{"spring, night an hour shorter", "America/New_York", "22:00-08:00", "2026-03-07T23:30:00-05:00", "2026-03-08T08:00:00-04:00", ""},
		{"autumn, night an hour longer", "America/New_York", "22:00-08:00", "2026-10-31T23:30:00-04:00", "2026-11-01T08:00:00-05:00", ""},
		{"the window ends in the hour left out", "America/New_York", "22:00-02:30", "2026-03-08T01:59:00-05:00", "2026-03-08T03:00:00-04:00", ""},
		{"the window ends in the hour that comes twice", "America/New_York", "22:00-01:30", "2026-11-01T01:29:00-04:00", "2026-11-01T01:30:00-04:00", ""},
		{"and again the second time", "America/New_York", "22:00-01:30", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00", ""},
		{"the window begins in the hour left out", "America/New_York", "02:30-06:00", "2026-03-08T01:00:00-05:00", "2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"},
		{"half an hour on Lord Howe, forward", "Australia/Lord_Howe", "01:00-02:15", "2026-10-04T01:30:00+10:30", "2026-10-04T02:30:00+11:00", ""},
		{"half an hour on Lord Howe, back", "Australia/Lord_Howe", "22:00-01:45", "2026-04-05T01:44:59+11:00", "2026-04-05T01:45:00+11:00", ""},
		{"half an hour on Lord Howe, again", "Australia/Lord_Howe", "22:00-01:45", "2026-04-05T01:31:00+10:30", "2026-04-05T01:45:00+10:30", ""},
		{"no midnight in Sao Paulo", "America/Sao_Paulo", "21:00-00:30", "2017-10-14T23:59:59-03:00", "2017-10-15T01:00:00-02:00", ""},
		{"midnight twice in Sao Paulo", "America/Sao_Paulo", "22:00-23:30", "2018-02-17T23:10:00-02:00", "2018-02-17T23:30:00-02:00", ""},
		{"midnight twice in Sao Paulo, again", "America/Sao_Paulo", "22:00-23:30", "2018-02-17T23:10:00-03:00", "2018-02-17T23:30:00-03:00", ""},
		{"a zone with quarters", "Asia/Kathmandu", "22:00-08:00", "2026-11-24T07:30:00+05:45", "2026-11-24T08:00:00+05:45", ""},
		{"a date left out in Apia", "Pacific/Apia", "22:00-08:00", "2011-12-29T23:00:00-10:00", "2011-12-31T08:00:00+14:00", ""},
	} {
		var windows []Window
		for _, s := range strings.Fields(c.windows) {
			w, err := ParseWindow(s)
			if err != nil {
				t.Fatal(err)
			}
			windows = append(windows, w)
		}
		loc := zoneOf(t, c.zone)
		show := func(at int64, ok bool) string {
			if !ok {
				return "never"
			}
			return time.Unix(at, 0).In(loc).Format(time.RFC3339)
		}
		p := placeIn(loc, at(c.now))
		if end := show(p.quietEnd(at(c.now), windows)); end != c.end {
			t.Errorf("%s: quiet until %s, want %s", c.name, end, c.end)
		}
		if c.start != "" {
			if start := show(p.quietStart(at(c.now), windows)); start != c.start {
				t.Errorf("%s: quiet from %s, want %s", c.name, start, c.start)
			}
		}
	}
	if _, ok := placeIn(time.UTC, 0).quietStart(0, nil); ok {
		t.Error("no windows, but rest begins")
	}
}

// A local day begins at its first instant, where midnight is left out, comes
// twice, or the whole date is missing.
func TestDaysBeginAtTheirFirstInstant(t *testing.T) {
	for _, c := range []struct {
		name, zone, now string
		back            int64
		want            string
	}{
		{"today", "Asia/Shanghai", "2026-11-24T00:00:00+08:00", 0, "2026-11-24T00:00:00+08:00"},
		{"yesterday", "Asia/Shanghai", "2026-11-24T12:00:00+08:00", 1, "2026-11-23T00:00:00+08:00"},
		{"tomorrow", "Asia/Shanghai", "2026-11-24T12:00:00+08:00", -1, "2026-11-25T00:00:00+08:00"},
		{"no midnight", "America/Sao_Paulo", "2017-10-15T12:00:00-02:00", 0, "2017-10-15T01:00:00-02:00"},
		{"no midnight, seen from the day before", "America/Sao_Paulo", "2017-10-14T12:00:00-03:00", -1, "2017-10-15T01:00:00-02:00"},
		{"clocks back to the day before", "America/Sao_Paulo", "2018-02-18T12:00:00-03:00", 0, "2018-02-18T00:00:00-03:00"},
		{"the hour that comes twice belongs to the day before", "America/Sao_Paulo", "2018-02-17T23:30:00-03:00", 0, "2018-02-17T00:00:00-02:00"},
		{"midnight twice", "America/Havana", "2026-11-01T12:00:00-05:00", 0, "2026-11-01T00:00:00-04:00"},
		{"a minute of the day comes early", "America/St_Johns", "2006-10-29T12:00:00-03:30", 0, "2006-10-29T00:00:00-02:30"},
		{"the date before was left out", "Pacific/Apia", "2011-12-31T12:00:00+14:00", 1, "2011-12-31T00:00:00+14:00"},
		{"two dates before", "Pacific/Apia", "2011-12-31T12:00:00+14:00", 2, "2011-12-29T00:00:00-10:00"},
		{"half an hour forward", "Australia/Lord_Howe", "2026-10-04T12:00:00+11:00", 0, "2026-10-04T00:00:00+10:30"},
	} {
		loc := zoneOf(t, c.zone)
		got := placeIn(loc, at(c.now)).dayStart(at(c.now), c.back)
		if s := time.Unix(got, 0).In(loc).Format(time.RFC3339); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// In every zone there is, days begin where a walk in minutes finds them, around
// every change of the clocks of a few years.
func TestDaysBeginInEveryZone(t *testing.T) {
	names := zoneNames(t)
	from, to := at("2010-01-01T00:00:00Z"), at("2014-01-01T00:00:00Z")
	if testing.Short() {
		to = at("2011-01-01T00:00:00Z")
	}
	r := newReference()
	zones, checks := 0, 0
	for _, name := range names {
		loc, err := time.LoadLocation(name)
		if err != nil {
			continue // leap seconds and other files that are no zones
		}
		zones++
		for p := placeIn(loc, from); p.until < to; p = p.at(p.until) {
			for _, hours := range []int64{-23, -2, 0, 1, 24} {
				now := p.until + hours*3600 + 137
				back := int64(checks % 3)
				checks++
				got := placeIn(loc, now).dayStart(now, back)
				if want := r.start(now, loc, int(back)); got != want {
					t.Errorf("%s at %v, %d days back: %v, want %v", name, time.Unix(now, 0).In(loc), back, time.Unix(got, 0).In(loc), time.Unix(want, 0).In(loc))
				}
			}
		}
	}
	if zones < 300 {
		t.Errorf("only %d zones were tried", zones)
	}
	t.Logf("%d zones, %d days", zones, checks)
}

// zoneNames lists the zones of the machine's database, or of the copy in the Go
// tool's, one name for each content.
func zoneNames(t *testing.T) []string {
	seen := make(map[string]bool)
	var names []string
	add := func(name string, data []byte) {
		if bytes.HasPrefix(data, []byte("TZif")) && !strings.HasPrefix(name, "right/") && !strings.HasPrefix(name, "posix/") && !seen[string(data)] {
			seen[string(data)] = true
			names = append(names, name)
		}
	}
	const files = "/usr/share/zoneinfo"
	_ = filepath.WalkDir(files, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if data, err := os.ReadFile(path); err == nil {
				add(strings.TrimPrefix(path, files+"/"), data)
			}
		}
		return nil
	})
	if len(names) > 0 {
		return names
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("neither the machine nor a Go tool has a zone database to list")
	}
	z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Skip("the Go tool has no zone database to list")
	}
	defer z.Close()
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return names
}

// Windows are read strictly and written as they were.
func TestParseWindow(t *testing.T) {
	for _, s := range []string{"22:00-08:00", "00:00-23:59", "13:30-13:31"} {
		if w, err := ParseWindow(s); err != nil || w.String() != s {
			t.Errorf("%s: %v, %v", s, w, err)
		}
	}
	for _, s := range []string{"", "none"} {
		if w, err := ParseWindow(s); err != nil || w != (Window{}) || w.String() != "none" {
			t.Errorf("%q: %v, %v", s, w, err)
		}
	}
	for _, s := range []string{"22:00", "22:00-8:00", "24:00-08:00", "22:60-08:00", "22:00-22:00", "22.00-08.00", "22:00 08:00", "２２:00-08:00", "-1:00-08:00", "22:00-08:000"} {
		if w, err := ParseWindow(s); err == nil {
			t.Errorf("%q was read as %v", s, w)
		}
	}
}
