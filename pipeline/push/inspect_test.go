package push

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Inspect shows what there is of a user and changes nothing; a user who is not
// there, and damaged records, are shown as they are.
func TestInspect(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		got, err := s.InspectUser(t.Context(), []byte("u"))
		if err != nil || got.HasProfile || got.HasLog || got.Profile.DailyMax != NoDailyMax {
			t.Fatalf("a user nobody knows: %+v, %v", got, err)
		}
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 3, true)}); err != nil {
			t.Fatal(err)
		}
		d := decide(t, s, p, noon, pushTo("u", "1", "marketing"))
		before := logOf(t, s, "u")
		for range 2 {
			got, err = s.InspectUser(t.Context(), []byte("u"))
			if err != nil || !got.HasProfile || !got.HasLog || got.Pseudonym != d.Pseudonym || got.PseudonymKey != d.PseudonymKey {
				t.Fatalf("%+v, %v", got, err)
			}
			if got.Profile.Version != 3 || got.Profile.Zone != "Asia/Shanghai" || got.Log.Version != before.Version || !slices.Equal(got.Log.Entries, before.Entries) {
				t.Errorf("profile %+v, log %+v; want version 3 and %+v", got.Profile, got.Log, before)
			}
		}
		if err := s.client.Set(t.Context(), logKey(got.Pseudonym), "not a log", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err = s.InspectUser(t.Context(), []byte("u")); err != nil || !got.Log.Unreadable || !got.HasLog {
			t.Errorf("a damaged log: %+v, %v", got, err)
		}
	})
}

// A forgotten user is one nobody has ever heard of, the second time too; others
// stay as they are.
func TestForget(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 3, true), consentEvent("v", 1, true)}); err != nil {
			t.Fatal(err)
		}
		decide(t, s, p, noon, pushTo("u", "1", "marketing"))
		decide(t, s, p, noon, pushTo("u", "2", "service"))
		decide(t, s, p, noon, pushTo("v", "1", "marketing"))
		later := noon.Add(2 * time.Hour)
		for _, want := range []Deleted{{Profile: true, Pushes: 2}, {}, {}} {
			if done, err := s.Forget(t.Context(), p, []byte("u"), later); err != nil || done != want {
				t.Fatalf("%+v, %v; want %+v", done, err, want)
			}
		}
		if got, err := s.InspectUser(t.Context(), []byte("u")); err != nil || got.HasProfile || got.HasLog {
			t.Errorf("after it: %+v, %v", got, err)
		}
		if d := decide(t, s, p, later, pushTo("u", "2", "marketing")); word(d) != "deny/no-consent" {
			t.Errorf("a push to somebody who was forgotten: %s", word(d))
		}
		if d := decide(t, s, p, later, pushTo("v", "1", "marketing")); word(d) != "allow/none" || !d.Replay {
			t.Errorf("a push to somebody else: %s, replay %v", word(d), d.Replay)
		}
	})
}

// Pushes that are on their way when their user is forgotten by hand are called
// back by the daemon that reads the tombstone, and then are gone, too.
func TestForgetLeavesWhatIsToBeCalledBack(t *testing.T) {
	// Clause: push-withdraw
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		if err := s.Apply(t.Context(), p, []*event.Event{consentEvent("u", 3, true)}); err != nil {
			t.Fatal(err)
		}
		decide(t, s, p, noon, pushTo("u", "1", "service"))
		decide(t, s, p, noon, pushTo("u", "2", "marketing"))
		soon := noon.Add(time.Minute)
		for _, want := range []Deleted{{Profile: true, Pushes: 1, Kept: 1}, {Kept: 1}} {
			if done, err := s.Forget(t.Context(), p, []byte("u"), soon); err != nil || done != want {
				t.Fatalf("%+v, %v; want %+v", done, err, want)
			}
		}
		if ttl := s.client.TTL(t.Context(), logKey(s.names.user([]byte("u")))).Val(); ttl > p.recall {
			t.Errorf("what is left stays for %v, want at most %v", ttl, p.recall)
		}
		tombstone := &event.Event{Kind: event.Consent, User: event.User{ID: []byte("u")}, Time: soon}
		tombstone.Consent = event.ConsentPart{DailyMax: -1, Forget: true}
		applied, err := s.ApplyMessages(t.Context(), p, soon, []Message{{Event: tombstone, Place: Place{Topic: "weir.consent", Offset: 7}}})
		if err != nil || len(applied.Recalls) != 1 || applied.Recalls[0].Class != "marketing" || len(applied.Forgotten) != 1 {
			t.Fatalf("%+v, %v", applied, err)
		}
		if done, err := s.Forget(t.Context(), p, []byte("u"), noon.Add(time.Hour)); err != nil || done.Profile || done.Kept != 0 {
			t.Errorf("later: %+v, %v", done, err)
		}
		if got, err := s.InspectUser(t.Context(), []byte("u")); err != nil || got.HasProfile || got.HasLog || !got.Profile.Forgotten.set() {
			t.Errorf("after it: %+v, %v", got, err)
		}
	})
}

// A push that is being decided while its user is forgotten is decided again, as
// that of somebody who agreed to nothing.
func TestForgetMeanwhile(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		config := configFor(t, addr)
		other, s := storeFor(t, config), storeFor(t, config)
		if err := other.Apply(t.Context(), p, []*event.Event{consentEvent("u", 1, true)}); err != nil {
			t.Fatal(err)
		}
		s.client.AddHook(&between{do: func() {
			if _, err := other.Forget(t.Context(), p, []byte("u"), noon); err != nil {
				t.Error(err)
			}
		}})
		if d := decide(t, s, p, noon, pushTo("u", "1", "marketing")); word(d) != "deny/no-consent" {
			t.Errorf("%s, want deny/no-consent", word(d))
		}
		if got, err := s.InspectUser(t.Context(), []byte("u")); err != nil || got.HasProfile || got.HasLog {
			t.Errorf("it came back: %+v, %v", got, err)
		}
	})
}

// A Redis that is away is an error, soon.
func TestInspectAndForgetWithoutRedis(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	m.Close()
	var wg sync.WaitGroup
	for what, ask := range map[string]func(context.Context) error{
		"inspect": func(ctx context.Context) error { _, err := s.InspectUser(ctx, []byte("u")); return err },
		"forget":  func(ctx context.Context) error { _, err := s.Forget(ctx, p, []byte("u"), noon); return err },
	} {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := ask(ctx); err == nil || !strings.Contains(err.Error(), "redis") || ctx.Err() != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	wg.Wait()
}

// What Windows and StandingOf say is what Decide goes by, for users and times of
// all sorts.
func TestWindowsAreThoseOfDecide(t *testing.T) {
	p := loadPolicy(t, "testdata/model.good.yaml")
	rng := rand.New(rand.NewSource(7))
	zones := []string{"", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Nowhere/Atall"}
	capped, rested := 0, 0
	for range 3000 {
		now := noon.Add(time.Duration(rng.Intn(365*24*3600)) * time.Second)
		prof := Profile{Version: 1, Zone: zones[rng.Intn(len(zones))], DailyMax: NoDailyMax}
		if rng.Intn(3) == 0 {
			prof.DailyMax = uint16(rng.Intn(4))
		}
		if rng.Intn(3) == 0 {
			prof.Quiet = Window{Start: int16(rng.Intn(1440)), End: int16(rng.Intn(1440))}
		}
		for _, c := range p.classes {
			prof.grant(Grant{Class: c.code, Channels: 255, Since: 1})
		}
		groups := slices.Sorted(func(yield func(string) bool) {
			for g := range p.groups {
				if !yield(g) {
					return
				}
			}
		})
		prof.Group = groups[rng.Intn(len(groups))]
		var log SendLog
		for i := range rng.Intn(12) {
			class, channel := p.classes[p.Classes()[rng.Intn(len(p.classes))]].code, p.channels[p.Channels()[rng.Intn(len(p.channels))]]
			log.Entries = append(log.Entries, Entry{At: uint32(now.Unix() - int64(rng.Intn(2*24*3600))), Tag: tagOf(class, channel), State: counted, Mark: uint64(i)})
		}
		windows := make(map[string]WindowState)
		for _, w := range Windows(now, p, &prof, &log) {
			windows[fmt.Sprint(w.ID, w.From, w.Max)] = w
		}
		standing := StandingOf(now, p, &prof)
		for _, class := range p.Classes() {
			for _, channel := range p.Channels() {
				r := Request{Class: []byte(class), Channel: []byte(channel), Label: []byte("x"), Mark: 99, Time: now}
				d, _ := Decide(now, p, &prof, &log, &r)
				if d.Group != standing.Group || d.Zone != "" && (d.Zone != standing.Zone || !d.LocalTime.Equal(standing.LocalTime)) {
					t.Fatalf("decided for %s in %s, standing %+v", d.Group, d.Zone, standing)
				}
				if d.Reason == ReasonQuietHours {
					rested++
					if !standing.Resting || !d.NotBefore.Equal(standing.RestEnds) {
						t.Fatalf("decision %+v, standing %+v", d, standing)
					}
				}
				var latest time.Time
				for _, l := range d.Limits {
					w, ok := windows[fmt.Sprint(l.ID, l.From, l.Max)]
					covered := slices.ContainsFunc(w.Covers, func(c Cover) bool { return c.Class == class && slices.Contains(c.Channels, channel) })
					if !ok || w.LimitUse != l || !covered {
						t.Fatalf("decided by %+v, window %+v", l, w)
					}
					if w.Again.After(latest) {
						latest = w.Again
					}
				}
				if d.Reason == ReasonCap {
					capped++
					if w := windows[fmt.Sprint(d.Limit, limitFrom(&d), d.Max)]; !w.Never && !d.NotBefore.IsZero() && !d.NotBefore.Equal(latest) {
						t.Fatalf("room again at %v, windows say %v", d.NotBefore, latest)
					}
				}
			}
		}
	}
	if capped < 100 || rested < 100 {
		t.Errorf("%d capped, %d resting; the test shows little", capped, rested)
	}
}

func limitFrom(d *Decision) time.Time {
	for _, l := range d.Limits {
		if l.ID == d.Limit {
			return l.From
		}
	}
	return time.Time{}
}
