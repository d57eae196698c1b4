package push

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Records come back as they were written, and have the size the design counts on.
func TestRecordsComeBack(t *testing.T) {
	logs := []SendLog{
		{Version: 1, Entries: []Entry{}},
		{Version: math.MaxUint64, Entries: []Entry{{At: 1, Tag: 0, State: counted, Mark: 1}, {At: math.MaxUint32, Tag: 63, State: refunded, Mark: math.MaxUint64}}},
	}
	for _, l := range logs {
		record := l.Record()
		if want := 8 + 14*len(l.Entries); len(record) != want {
			t.Errorf("%d entries take %d bytes, want %d", len(l.Entries), len(record), want)
		}
		got, err := ParseSendLog(string(record))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, got); diff != "" {
			t.Error(diff)
		}
	}
	profiles := []Profile{
		{Version: 1, DailyMax: NoDailyMax},
		{Version: math.MaxUint64, DailyMax: 0, Group: "minor", Zone: "America/Argentina/Buenos_Aires", Quiet: Window{1320, 480},
			Grants: []Grant{{Class: 7, Channels: 0xFF, Withdrawn: true, Since: math.MaxUint32}, {Class: 0, Channels: 1, Since: 1}}},
		{Version: 5, DailyMax: 3, Group: strings.Repeat("g", maxName), Zone: strings.Repeat("z", maxName), Quiet: Window{0, 1}},
	}
	for _, p := range profiles {
		got, err := ParseProfile(string(p.Record()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Error(diff)
		}
	}
	// A user who agreed to two classes on all channels, in one sitting: as large
	// a value as Redis keeps in one piece with its header.
	p := Profile{Version: 1, DailyMax: NoDailyMax, Zone: "Asia/Shanghai", Grants: []Grant{{Class: 2, Channels: 15, Since: 1}, {Class: 3, Channels: 15, Since: 1}}}
	if n := len(p.Record()); n > 44 {
		t.Errorf("a usual profile has %d bytes, want at most 44", n)
	}
}

// A record that was not written by us is refused and treated as unreadable.
func TestDamagedRecordsAreRefused(t *testing.T) {
	log := SendLog{Version: 1, Entries: []Entry{{At: 1, Tag: 1, State: counted, Mark: 1}}}
	whole := string(log.Record())
	change := func(s string, at int, to byte) string { return s[:at] + string(to) + s[at+1:] }
	for name, record := range map[string]string{
		"cut header":       whole[:7],
		"cut entry":        whole[:len(whole)-1],
		"a byte more":      whole + "x",
		"no such tag":      change(whole, 12, 64),
		"no such state":    change(whole, 13, 3),
		"state of nothing": change(whole, 13, 0),
		"too many":         string((&SendLog{Entries: make([]Entry, maxEntries+1)}).Record()),
	} {
		if l, err := ParseSendLog(record); !errors.Is(err, ErrRecord) || !l.Unreadable || len(l.Entries) != 0 {
			t.Errorf("log, %s: %+v, %v; want it refused as damaged", name, l, err)
		}
	}
	profile := Profile{Version: 1, DailyMax: NoDailyMax, Group: "minor", Grants: []Grant{{Class: 1, Channels: 1, Since: 1}}}
	whole = string(profile.Record())
	for name, record := range map[string]string{
		"cut header":       whole[:16],
		"cut grant":        whole[:20],
		"cut group":        whole[:len(whole)-1],
		"version 0":        change(whole, 7, 0),
		"another form":     change(whole, 8, 2),
		"rest without end": change(whole, 10, 1)[:12] + "\x01" + change(whole, 10, 1)[13:],
		"rest at 24:00":    change(change(whole, 9, 5), 10, 160),
		"too many grants":  change(whole, 15, 200),
		"no such class":    change(whole, 16, 16),
		"no channel":       change(whole, 17, 0),
		"long group":       change(whole, 22, 65) + strings.Repeat("x", 65),
		"long zone":        whole + strings.Repeat("x", 65),
	} {
		if p, err := ParseProfile(record); !errors.Is(err, ErrRecord) || !p.Unreadable || len(p.Grants) != 0 {
			t.Errorf("profile, %s: %+v, %v; want it refused as damaged", name, p, err)
		}
	}
	if l, err := ParseSendLog(""); err != nil || l.Unreadable {
		t.Errorf("no log: %+v, %v", l, err)
	}
	if p, err := ParseProfile(""); err != nil || p.Unreadable || p.DailyMax != NoDailyMax {
		t.Errorf("no profile: %+v, %v", p, err)
	}
}

// Whatever bytes Redis returns, reading them ends well, and what is read is
// written again as it was.
func FuzzRecords(f *testing.F) {
	f.Add("")
	f.Add(string((&SendLog{Version: 9, Entries: []Entry{{At: 1, Tag: 9, State: counted, Mark: 7}}}).Record()))
	f.Add(string((&Profile{Version: 9, Group: "minor", Zone: "UTC", DailyMax: 4, Quiet: Window{60, 120}, Grants: []Grant{{Class: 3, Channels: 9, Withdrawn: true, Since: 5}}}).Record()))
	p := loadPolicy(f, shippedPolicy)
	f.Fuzz(func(t *testing.T, record string) {
		log, err := ParseSendLog(record)
		if err == nil && record != "" && string(log.Record()) != record {
			t.Errorf("log %q was written as %q", record, log.Record())
		}
		profile, err := ParseProfile(record)
		if err == nil && record != "" && string(profile.Record()) != record {
			t.Errorf("profile %q was written as %q", record, profile.Record())
		}
		r := Request{Class: []byte("marketing"), Channel: []byte("sms"), Label: []byte("x"), Time: noon}
		d, next := Decide(noon, p, &profile, &log, &r)
		if (d.Decision == Allow && !d.Replay) != (next != nil) || next != nil && len(next.Entries) > maxEntries {
			t.Errorf("%s, next log %v", word(d), next != nil)
		}
	})
}

// A log that is full forgets refunded pushes, oldest first, and never one that
// counts; when only those are left there is no room.
func TestFullLogNeverForgetsWhatCounts(t *testing.T) {
	var keep [numTags]int64
	for i := range keep {
		keep[i] = 1000
	}
	var l SendLog
	for i := range maxEntries {
		l.Entries = append(l.Entries, Entry{At: 100, State: counted, Mark: uint64(i)})
	}
	l.Entries[5].State, l.Entries[9].State = refunded, refunded
	next := l.with(Entry{At: 200, State: counted, Mark: 1000}, &keep)
	if next == nil || len(next.Entries) != maxEntries || next.Entries[5].Mark != 6 || next.Entries[8].State != refunded {
		t.Fatalf("the oldest refunded entry was not the one to go: %+v", next)
	}
	next = next.with(Entry{At: 200, State: counted, Mark: 1001}, &keep)
	if next == nil || len(next.Entries) != maxEntries {
		t.Fatal("the second refunded entry did not make room")
	}
	if next.with(Entry{At: 200, State: counted, Mark: 1002}, &keep) != nil {
		t.Error("a counted entry was dropped to make room")
	}
	if len(l.Entries) != maxEntries || l.Entries[5].State != refunded {
		t.Error("the log itself was changed")
	}
	// Seen from later all of them are out of every window.
	if later := next.with(Entry{At: 1101, State: counted, Mark: 1003}, &keep); len(later.Entries) != 3 {
		t.Errorf("%d entries left of those no window sees, want the new one and 2 that are seen", len(later.Entries)-1)
	}
	p := loadPolicy(t, "testdata/roomy.good.yaml")
	full := SendLog{}
	for i := range maxEntries {
		full.Entries = append(full.Entries, Entry{At: uint32(noon.Unix()), Tag: 63, State: counted, Mark: uint64(i + 1)})
	}
	profile := Profile{Version: 1, DailyMax: NoDailyMax, Grants: []Grant{{Class: 3, Channels: 1}}}
	r := pushTo("u", "x", "marketing")
	if d, next := Decide(noon, p, &profile, &full, &r); word(d) != "deny/cap" || d.Limit != "send-log" || next != nil {
		t.Errorf("a push with a full log: %s of limit %q", word(d), d.Limit)
	}
}

// A consent event becomes a profile: what the policy does not know is left out
// or kept as it is, and never makes a withdrawal get lost.
func TestProfileFromConsent(t *testing.T) {
	// Clause: push-consent
	p := loadPolicy(t, shippedPolicy)
	when := time.Unix(1000, 1)
	e := &event.Event{Kind: event.Consent, User: event.User{ID: []byte("u"), Group: []byte("strangers")}}
	e.Consent = event.ConsentPart{Version: 7, DailyMax: 1 << 30, Zone: []byte("Mars/Olympus_Mons"), Quiet: []byte("23:30-07:15"), Grants: []event.Grant{
		{Class: []byte("content"), Channel: []byte("app"), Granted: true, Time: when},
		{Class: []byte("gossip"), Channel: []byte("app"), Granted: true, Time: when},
		{Class: []byte("content"), Channel: []byte("fax"), Granted: true, Time: when},
		{Class: []byte("content"), Channel: []byte("email"), Granted: true, Time: when},
		{Class: []byte("marketing"), Channel: []byte("popup"), Granted: false, Time: time.Unix(-5, 0)},
	}}
	got, err := ProfileFrom(p, e)
	if err != nil {
		t.Fatal(err)
	}
	want := Profile{Version: 7, Group: "strangers", Zone: "Mars/Olympus_Mons", Quiet: Window{23*60 + 30, 7*60 + 15}, DailyMax: NoDailyMax - 1, Grants: []Grant{
		{Class: 2, Channels: 1<<0 | 1<<2, Since: 1001}, // not before the second it was given in is over
		{Class: 3, Channels: 1 << 3, Withdrawn: true, Since: 0},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, e := range map[string]*event.Event{"no version": {Kind: event.Consent}, "a post": {Kind: event.Post, Consent: event.ConsentPart{Version: 1}}} {
		if _, err := ProfileFrom(p, e); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
