package main

import (
	be "encoding/binary" // the package has a binary of its own
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/pipeline/push"
)

// explainNoon is a time of day at which nobody in Shanghai rests, a Tuesday.
var explainNoon = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

// agreed is consent to a class on some channels: app 1, sms 2, email 4, popup 8.
func agreed(class, channels uint8, since time.Time) push.Grant {
	return push.Grant{Class: class, Channels: channels, Since: uint32(since.Unix())}
}

// logRecord is a send log as it stands in Redis: class, channel and state of an
// entry, and how long before noon it was sent.
func logRecord(entries ...[4]int) string {
	b := make([]byte, 8, 8+14*len(entries))
	for i, e := range entries {
		b = be.BigEndian.AppendUint32(b, uint32(explainNoon.Unix()-int64(e[3])))
		b = append(b, byte(e[0]<<3|e[1]), byte(e[2]))
		b = be.BigEndian.AppendUint64(b, uint64(i+1))
	}
	return string(b)
}

// explainedUsers are users of all sorts.
func explainedUsers(t *testing.T) map[string]*push.Inspection {
	t.Helper()
	month := explainNoon.AddDate(0, -1, 0)
	log, err := push.ParseSendLog(logRecord([4]int{3, 0, 1, 30 * 3600}, [4]int{3, 1, 2, 26 * 3600}, [4]int{2, 0, 1, 7200}, [4]int{3, 0, 1, 1800}, [4]int{1, 0, 1, 60}))
	if err != nil {
		t.Fatal(err)
	}
	damagedLog, _ := push.ParseSendLog("damaged")
	damagedProfile, _ := push.ParseProfile("damaged")
	users := map[string]*push.Inspection{
		"1 by day": {HasProfile: true, HasLog: true, Log: log, Profile: push.Profile{Version: 17, Zone: "Asia/Shanghai", DailyMax: push.NoDailyMax,
			Grants: []push.Grant{agreed(2, 15, month), agreed(3, 3, month), {Class: 3, Channels: 12, Withdrawn: true, Since: uint32(month.Unix()) + 86400}}}},
		"2 a minor, at night": {HasProfile: true, HasLog: true, Log: log, Profile: push.Profile{Version: 3, Zone: "America/New_York", Group: "minor", DailyMax: 2,
			Quiet: push.Window{Start: 20*60 + 30, End: 9 * 60}, Grants: []push.Grant{agreed(2, 15, month), agreed(3, 1, explainNoon.AddDate(0, 1, 0))}}},
		"3 nobody knows":         {Profile: push.Profile{DailyMax: push.NoDailyMax}},
		"4 with damaged records": {HasProfile: true, HasLog: true, Log: damagedLog, Profile: damagedProfile},
		"5 who wants nothing": {HasProfile: true, Profile: push.Profile{Version: 1, Zone: "Nowhere/Atall", Group: "children", DailyMax: 0,
			Grants: []push.Grant{agreed(2, 15, month)}}},
	}
	doubtful := *users["1 by day"]
	doubtful.Profile.Doubtful = true
	users["6 while consent is read again"] = &doubtful
	for _, u := range users {
		u.Pseudonym, u.PseudonymKey = "PSEUDONYM-OF-16-", "1a2b3c4d"
	}
	return users
}

// What explain shows of users of all sorts: testdata/push_explain.txt.
// go test ./cmd/weir -run PushExplain -update writes it anew.
func TestPushExplain(t *testing.T) {
	policy, err := app.LoadPolicy(&push.Config{Policy: "testdata/push_explain.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	users := explainedUsers(t)
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(users)) {
		at := explainNoon
		if strings.Contains(name, "night") {
			at = at.Add(22 * time.Hour)
		}
		x := explainPushes(at, policy, users[name], "", "")
		var plain, coloured strings.Builder
		x.print(&plain, palette{})
		x.print(&coloured, palette{on: true})
		got.WriteString("# " + name + "\n" + plain.String() + "\n")
		for line := range strings.Lines(plain.String()) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > 100 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		if bare := regexp.MustCompile(`\x1b\[[0-9]+m`).ReplaceAllString(coloured.String(), ""); bare != plain.String() {
			t.Errorf("%s: without colours\n%s\nwant\n%s", name, bare, plain.String())
		}
		if !strings.Contains(coloured.String(), "\x1b[31mdeny\x1b[0m") && !strings.Contains(coloured.String(), "\x1b[33mdefer\x1b[0m") {
			t.Errorf("%s: nothing stands out in %q", name, coloured.String())
		}
	}
	x := explainPushes(explainNoon, policy, users["1 by day"], "marketing", "sms")
	got.WriteString("# 1 by day, only marketing by sms\n")
	x.print(&got, palette{})
	got.WriteString("\n# the same as JSON\n")
	if err := jsonTo(&got).Encode(x); err != nil {
		t.Fatal(err)
	}
	// The digest is that of the policy's inner form, which any new key changes.
	text := strings.NewReplacer(policy.Digest(), strings.Repeat("0123456789abcdef", 4), policy.Digest()[:16], "0123456789abcdef").Replace(got.String())
	path := filepath.Join("testdata", "push_explain.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
