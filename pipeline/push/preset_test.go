package push

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Every shipped preset can be read, says as much as the least of the numbers it
// stands for, and for each of those where and when it was read.
func TestPresetsNameTheirSources(t *testing.T) {
	// Clause: push-frequency
	names := PresetNames()
	if len(names) == 0 {
		t.Fatal("no presets")
	}
	for _, name := range names {
		preset, err := readPreset(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, l := range preset.Limits {
			if len(l.Classes) == 0 || len(l.Channels) == 0 {
				t.Errorf("%s: limit %s names no classes or no channels", name, l.ID)
			}
			for _, of := range l.Of {
				if _, err := time.Parse(time.DateOnly, of.Date); err != nil || !strings.HasPrefix(of.Source, "https://") || of.Who == "" {
					t.Errorf("%s: limit %s: no date or source in %+v", name, l.ID, of)
				}
			}
		}
	}
}

// withPreset compiles the shipped policy with other lines in it.
func withPreset(t *testing.T, replace ...string) *Policy {
	t.Helper()
	src, err := os.ReadFile(shippedPolicy)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(src), replace[i]) {
			t.Fatalf("the shipped policy does not say %q", replace[i])
		}
	}
	p, err := ParsePolicy("p.yaml", []byte(strings.NewReplacer(replace...).Replace(string(src))))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A preset holds in every group whatever the policy's own limits are raised to,
// and the decision says which limit stood in the way and who set it.
func TestPresetOnlyTightens(t *testing.T) {
	const raised = "days: 1, max: 5}"
	sent := []Entry{
		{At: uint32(noon.Unix()) - 7200, Tag: 3 << 3, State: counted, Mark: 1},
		{At: uint32(noon.Unix()) - 3600, Tag: 2 << 3, State: counted, Mark: 2},
	}
	raise := []string{"days: 1, max: 2}", raised, "{id: mkt-day, max: 1}", "{id: mkt-day, max: 5}"}
	for _, group := range []string{"default", "minor", "elderly"} {
		r := pushTo("u", "1", "marketing")
		r.Group, r.Mark = []byte(group), 9
		p := withPreset(t, raise...)
		d, _ := Decide(noon, p, agreeing(t, p, nil), &SendLog{Entries: sent}, &r)
		last := d.Limits[len(d.Limits)-1]
		if word(d) != "deny/cap" || d.Limit != "vendor-cn-2026/app-day" || last.ID != d.Limit || last.By != ByPreset || last.Count != 2 || last.Max != 2 {
			t.Errorf("%s: %s by %s, last of the limits %+v", group, word(d), d.Limit, last)
		}
		if first := d.Limits[0]; first.ID != "mkt-hour" || first.By != ByPolicy {
			t.Errorf("%s: first of the limits %+v, want the policy's own first", group, first)
		}
		p = withPreset(t, append(raise, "presets: [vendor-cn-2026]", "presets: [vendor-cn-2026-news]")...)
		if d, _ := Decide(noon, p, agreeing(t, p, nil), &SendLog{Entries: sent}, &r); word(d) != "allow/none" {
			t.Errorf("%s: an app of news: %s by %s, want it allowed", group, word(d), d.Limit)
		}
		r.Channel = []byte("email") // which no maker of phones carries
		p = withPreset(t, raise...)
		if d, _ := Decide(noon, p, agreeing(t, p, nil), &SendLog{Entries: sent}, &r); word(d) != "allow/none" {
			t.Errorf("%s: by mail: %s by %s, want it allowed", group, word(d), d.Limit)
		}
	}
	// Where the policy's own limit is reached, too, that one is named.
	p := withPreset(t)
	r := pushTo("u", "1", "marketing")
	r.Mark = 9
	if d, _ := Decide(noon, p, agreeing(t, p, nil), &SendLog{Entries: sent}, &r); d.Limit != "mkt-day" {
		t.Errorf("both reached: denied by %s, want mkt-day", d.Limit)
	}
}

// A preset speaks of classes and channels by its own names; a policy with others
// says which of its own are meant.
func TestPresetUnderOtherNames(t *testing.T) {
	p, err := ParsePolicy("p.yaml", []byte(`
policy: push
version: "1"
default_zone: UTC
classes:
  ads: {consent: none, quiet: ignore, count: true}
  offers: {consent: none, quiet: ignore, count: true}
  service: {consent: none, quiet: ignore, count: true}
channels: [ios, android, sms]
codes: {classes: {ads: 4, offers: 5}, channels: {ios: 4, android: 5}}
groups: {default: {limits: [{id: day, days: 1, max: 9}]}}
presets: [{preset: vendor-cn-2026, classes: {marketing: [ads, offers], content: []}, channels: {app: [ios, android]}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := tagSet(0)
	for _, class := range []uint8{4, 5} {
		for _, channel := range []uint8{4, 5} {
			want |= 1 << tagOf(class, channel)
		}
	}
	limits := p.strictest.limits
	if l := limits[len(limits)-1]; len(limits) != 2 || l.id != "vendor-cn-2026/app-day" || l.tags != want || l.max != 2 || l.days != 1 {
		t.Errorf("limits %+v, want the preset's over ads and offers on ios and android", limits)
	}
}
