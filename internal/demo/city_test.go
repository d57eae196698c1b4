package demo

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // zones are looked up in a test

	"github.com/weir-moderation/weir/pipeline/event"
)

var noon = time.Date(2026, 3, 14, 12, 30, 0, 0, time.UTC)

// testCity returns a city as Start makes it.
func testCity(t *testing.T, seed int64) *city {
	t.Helper()
	return newCity(seed, noon, readTestTaboos(t))
}

// Compiling the packs once is enough for all tests.
var taboosOnce = sync.OnceValues(readTaboos)

func readTestTaboos(t *testing.T) *taboos {
	t.Helper()
	taboos, err := taboosOnce()
	if err != nil {
		t.Fatal(err)
	}
	return taboos
}

// story is everything a city says at its beginning.
func story(c *city, n int) []message {
	list := c.consents(noon)
	for i := range n {
		list = append(list, c.next(noon.Add(time.Duration(i)*10*time.Millisecond)))
	}
	return list
}

// The same seed tells the same story to the byte, another seed another one.
func TestCityIsDeterministic(t *testing.T) {
	first, again, other := story(testCity(t, 7), 3000), story(testCity(t, 7), 3000), story(testCity(t, 8), 3000)
	same := 0
	for i := range first {
		if !reflect.DeepEqual(first[i], again[i]) {
			t.Fatalf("message %d is told in two ways:\n%s\n%s", i, first[i].value, again[i].value)
		}
		if string(first[i].value) == string(other[i].value) {
			same++
		}
	}
	if same > len(first)/2 {
		t.Errorf("%d of %d messages of another seed are the same", same, len(first))
	}
}

// Every message the city means well is a valid event under its own id, and no
// message it breaks is; every way of breaking one has a reason of its own.
func TestCityKeepsTheInputContract(t *testing.T) {
	d := event.NewDecoder(event.DefaultConfig())
	reasons := make(map[event.Reason]int)
	ids := make(map[string]bool)
	kinds := make(map[event.Kind]int)
	for _, m := range story(testCity(t, 1), 12_000) {
		var e event.Event
		err := d.Decode(m.kind, m.headers, m.value, &e)
		if m.meant == broken {
			fault, ok := errors.AsType[*event.Error](err)
			if !ok {
				t.Fatalf("a broken message was read, err = %v:\n%s", err, m.value)
			}
			reasons[fault.Reason]++
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v:\n%s", m.kind, err, m.value)
		}
		if string(e.ID) != m.id || string(e.User.ID) != m.key || e.Kind != m.kind {
			t.Fatalf("sent as %v %s of %s, read as %v %s of %s", m.kind, m.id, m.key, e.Kind, e.ID, e.User.ID)
		}
		if ids[m.id] {
			t.Fatalf("id %s twice", m.id)
		}
		ids[m.id] = true
		kinds[m.kind]++
		d.Reset()
	}
	if len(reasons) < 8 {
		t.Errorf("only %d reasons to refuse a message: %v", len(reasons), reasons)
	}
	for _, k := range []event.Kind{event.Post, event.Push, event.Consent} {
		if kinds[k] < 400 {
			t.Errorf("only %d messages of kind %v", kinds[k], k)
		}
	}
}

// A push that is taken back is told of in a valid event.
func TestCityTakesBackPushes(t *testing.T) {
	m := testCity(t, 1).cancelled("u-0042", "push-000001", noon)
	var e event.Event
	if err := event.NewDecoder(event.DefaultConfig()).Decode(event.Outcome, nil, m.value, &e); err != nil {
		t.Fatal(err)
	}
	if string(e.Outcome.PushID) != "push-000001" || string(e.User.ID) != "u-0042" {
		t.Errorf("read as %s of %s", e.Outcome.PushID, e.User.ID)
	}
}

// The city is varied: every operation, class, channel and group appears, texts
// rarely repeat, some users live in the night, and some pushes come in bursts.
func TestCityIsVaried(t *testing.T) {
	d := event.NewDecoder(event.DefaultConfig())
	seen := make(map[string]int)
	texts := make(map[string]int)
	night := zoneWhere(noon, nightHour).name
	posts, streak, last := 0, 0, ""
	for _, m := range story(testCity(t, 3), 12_000) {
		seen[[]string{"ordinary", "prohibited", "evasive", "canary", "broken"}[m.meant]]++
		if len(m.headers) > 0 {
			seen["cloudevent "+m.headers[0].Key]++
		}
		var e event.Event
		if d.Decode(m.kind, m.headers, m.value, &e) != nil {
			continue
		}
		seen["group "+string(e.User.Group)]++
		switch m.kind {
		case event.Post:
			posts++
			seen[string(e.Operation)]++
			if string(e.Operation) == "post.create" {
				texts[string(e.Fields[0].Text)]++
			}
		case event.Push:
			seen["class "+string(e.Push.Class)]++
			seen["channel "+string(e.Push.Channel)]++
			if len(e.Push.Label) == 0 && string(e.Push.Class) == "marketing" {
				seen["unlabelled"]++
			}
			if e.Push.Expires.Before(e.Time) {
				seen["expired"]++
			}
			if streak++; string(e.User.ID) != last {
				streak = 1
			}
			if last = string(e.User.ID); streak >= 4 {
				seen["burst"]++
			}
		case event.Consent:
			if string(e.Consent.Zone) == night {
				seen["night"]++
			}
			if len(e.Consent.Grants) == 0 {
				seen["no consent"]++
			}
		}
		d.Reset()
	}
	for _, want := range []string{
		"ordinary", "prohibited", "evasive", "canary", "broken", "cloudevent ce_specversion", "cloudevent content-type",
		"group default", "group minor", "group elderly",
		"post.create", "comment", "forward", "profile.update", "group.rename",
		"class security", "class service", "class content", "class marketing",
		"channel app", "channel sms", "channel email", "channel popup",
		"unlabelled", "expired", "burst", "night", "no consent",
	} {
		if seen[want] < 5 {
			t.Errorf("%s: %d times", want, seen[want])
		}
	}
	if n := seen["prohibited"] + seen["evasive"] + seen["canary"]; n < posts/100 || n > posts/12 {
		t.Errorf("%d of %d posts are meant to be hit; a few in a hundred are believable", n, posts)
	}
	most := 0
	for _, n := range texts {
		most = max(most, n)
	}
	if len(texts) < 3000 || most > posts/100 {
		t.Errorf("%d different posts, one of them %d times", len(texts), most)
	}
}

// Every hour of the day finds a place where it is one in the morning and one
// where it is eleven, and the places keep the hours said here.
func TestZones(t *testing.T) {
	for h := range 24 {
		now := time.Date(2026, 7, 1, h, 59, 59, 0, time.UTC)
		night, day := zoneWhere(now, nightHour), zoneWhere(now, dayHour)
		if !night.isNight(now) || night.isDay(now) || !day.isDay(now) || day.isNight(now) {
			t.Errorf("at %02d UTC: %s is not night or %s is not day", h, night.name, day.name)
		}
	}
	for _, z := range zones() {
		l, err := time.LoadLocation(z.name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, month := range []time.Month{1, 7} {
			if _, offset := time.Date(2026, month, 1, 0, 0, 0, 0, l).Zone(); offset != z.hours*3600 {
				t.Errorf("%s is %d s east in month %d, not %d h", z.name, offset, month, z.hours)
			}
		}
	}
}

// When morning comes to those who live in the night, they move on, and say so.
func TestPeopleMoveWithTheNight(t *testing.T) {
	c := testCity(t, 1)
	if moved := c.move(noon.Add(time.Hour)); len(moved) != 0 {
		t.Fatalf("%d moved after an hour", len(moved))
	}
	for h := 1; h <= 30; h++ {
		now := noon.Add(time.Duration(h) * time.Hour)
		moved := c.move(now)
		if !c.night.isNight(now) || !c.day.isDay(now) {
			t.Fatalf("after %d h it is not night in %s or not day in %s", h, c.night.name, c.day.name)
		}
		if len(moved) > 0 && !strings.Contains(string(moved[0].value), c.night.name) {
			t.Errorf("%s moved to %s and did not say so: %s", nightOwl, c.night.name, moved[0].value)
		}
	}
}

// Newcomers make the city larger up to a bound, and never push out those a
// visitor was introduced to.
func TestCityIsBounded(t *testing.T) {
	c := testCity(t, 1)
	for range 2 * maxPopulation * 2 {
		c.change(noon)
	}
	if len(c.users) != maxPopulation {
		t.Errorf("%d users", len(c.users))
	}
	for i, want := range []string{nightOwl, earlyBird, stranger} {
		if c.users[i].id != want {
			t.Errorf("user %d is %s, not %s", i, c.users[i].id, want)
		}
	}
	known := make(map[string]bool)
	for _, u := range c.users {
		if known[u.id] {
			t.Fatalf("%s lives here twice", u.id)
		}
		known[u.id] = true
	}
}
