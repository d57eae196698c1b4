package push

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

func allowedAt(user, id, class string, at time.Time) Allowed {
	return Allowed{User: []byte(user), ID: []byte(id), Class: class, Channel: "app", At: at}
}

func reapply(t *testing.T, s *Store, p *Policy, now time.Time, list ...Allowed) Reapplied {
	t.Helper()
	done, err := s.Reapply(t.Context(), p, now, list)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// counts says what was done in one word each, breaches by limit and count.
func counts(r Reapplied) string {
	s := fmt.Sprintf("entered %d known %d left %d", r.Entered, r.Known, r.Left)
	for _, b := range r.Breaches {
		s += fmt.Sprintf(" %s %d of %d", b.Limit, b.Count, b.Max)
	}
	return s
}

// A push is entered once, at its time, and then counts; what no window sees, what
// is not counted and what the policy does not know is left out; a push that was
// cancelled stays so.
func TestReapplyEntersOnce(t *testing.T) {
	// Clause: push-breach
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		if d := decide(t, s, p, noon, pushTo("u", "there", "service")); word(d) != "allow/none" {
			t.Fatal(word(d))
		}
		decide(t, s, p, noon, pushTo("u", "cancelled", "service"))
		if ok, err := s.Refund(t.Context(), []byte("u"), []byte("cancelled")); !ok || err != nil {
			t.Fatal(ok, err)
		}
		list := []Allowed{
			allowedAt("u", "missing", "service", noon.Add(-time.Minute)),
			allowedAt("u", "there", "service", noon.Add(time.Minute)),
			allowedAt("u", "cancelled", "service", noon),
			allowedAt("u", "code", "security", noon),
			allowedAt("u", "odd", "no-such-class", noon),
			allowedAt("u", "old", "service", noon.Add(-60*24*time.Hour)),
			allowedAt("v", "other", "service", noon.Add(time.Second)),
			allowedAt("v", "other", "content", noon), // an id that came as another class is another push
		}
		if got, want := counts(reapply(t, s, p, noon.Add(time.Hour), list...)), "entered 3 known 2 left 3"; got != want {
			t.Errorf("first: %s, want %s", got, want)
		}
		before := logOf(t, s, "u")
		if got, want := counts(reapply(t, s, p, noon.Add(time.Hour), list...)), "entered 0 known 5 left 3"; got != want {
			t.Errorf("again: %s, want %s", got, want)
		}
		after := logOf(t, s, "u")
		if after.Version != before.Version {
			t.Error("a log in which nothing was missing was written")
		}
		var at []string
		for _, e := range after.Entries {
			at = append(at, fmt.Sprint(time.Unix(int64(e.At), 0).Sub(noon), " ", e.State))
		}
		if got, want := strings.Join(at, ", "), "-1m0s 1, 0s 1, 0s 2"; got != want {
			t.Errorf("log %s, want %s", got, want)
		}
		if d := decide(t, s, p, noon.Add(time.Hour), pushTo("u", "missing", "service")); !d.Replay || word(d) != "allow/none" {
			t.Errorf("the push that was entered, delivered again: %s, replay %v", word(d), d.Replay)
		}
	})
}

// Where a window holds more than its limit with what was entered, that is booked:
// once for a user and limit, by the window that holds the most. Again for the
// same pushes, since the first booking may have been lost in a crash.
func TestReapplyBooksBreaches(t *testing.T) {
	// Clause: push-breach
	p := loadPolicy(t, shippedPolicy) // 30 services a day, at most 1 marketing an hour and 2 a day
	s := newStore(t, startRedis(t).Addr())
	var list []Allowed
	for i := range 33 {
		list = append(list, allowedAt("u", fmt.Sprint(i), "service", noon.Add(time.Duration(i)*time.Minute)))
	}
	list = append(list, allowedAt("minor", "1", "marketing", noon), allowedAt("minor", "2", "marketing", noon.Add(2*time.Hour)),
		allowedAt("fine", "1", "marketing", noon), allowedAt("fine", "2", "marketing", noon.Add(time.Hour)))
	list[33].Group, list[34].Group = "minor", "minor"
	rand.New(rand.NewSource(1)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })

	got := reapply(t, s, p, noon.Add(3*time.Hour), list...)
	if want := "entered 37 known 0 left 0"; !strings.HasPrefix(counts(got), want) || len(got.Breaches) != 2 {
		t.Fatalf("%s, want %s and two breaches", counts(got), want)
	}
	day := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC) // midnight in Shanghai
	for _, want := range []Breach{
		{Limit: "svc-day", Count: 33, Max: 30, Size: 3, Group: "default", WindowFrom: day, WindowTo: noon.Add(32 * time.Minute), Pseudonym: s.names.user([]byte("u"))},
		{Limit: "mkt-day", Count: 2, Max: 1, Size: 1, Group: "minor", WindowFrom: day, WindowTo: noon.Add(2 * time.Hour), Pseudonym: s.names.user([]byte("minor"))},
	} {
		want.PseudonymKey, want.PolicyVersion, want.Policy = s.names.id, p.version, p.digest
		if got.Breaches[0] != want && got.Breaches[1] != want {
			t.Errorf("no breach %+v in %+v", want, got.Breaches)
		}
	}
	if again := reapply(t, s, p, noon.Add(3*time.Hour), list...); again.Entered != 0 || len(again.Breaches) != 2 {
		t.Errorf("again: %s, want the same two breaches", counts(again))
	}
}

// Users are entered whole, some at a time, so that each commit is small and each
// breach is booked once.
func TestReapplyOfManyUsers(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	var list []debt
	for u := range 20 {
		for i := range 200 {
			list = append(list, debt{user: fmt.Sprint("u", u), entry: Entry{At: unixTime(noon) + uint32(i), Tag: tagOf(1, 0), State: counted, Mark: uint64(i)}})
		}
	}
	done, err := s.reapply(t.Context(), p, noon.Add(time.Hour), list)
	if err != nil || done.Entered != len(list) || len(done.Breaches) != 20 || done.Breaches[0].Count != 200 {
		t.Errorf("%d entered, %d breaches, %v", done.Entered, len(done.Breaches), err)
	}
}

// What a window ending before or after a push holds is not its breach.
func TestBreachIsOfTheWindowsOfThePush(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	at := func(h float64) time.Time { return noon.Add(time.Duration(h * float64(time.Hour))) }
	first := reapply(t, s, p, at(5), allowedAt("u", "1", "content", at(0)), allowedAt("u", "2", "content", at(0.5)))
	if got, want := counts(first), "entered 2 known 0 left 0 mkt-hour 2 of 1"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	// Tomorrow: its hour and day are its own, and the week has room.
	if got, want := counts(reapply(t, s, p, at(25), allowedAt("u", "3", "content", at(24)))), "entered 1 known 0 left 0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Half an hour before the first: in its hour there are two, in the whole day three.
	got := counts(reapply(t, s, p, at(25), allowedAt("u", "0", "content", at(-0.5))))
	if want := "entered 1 known 0 left 0 mkt-hour 2 of 1 mkt-day 3 of 2 vendor-cn-2026/app-day 3 of 2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A window is found also where entries do not stand in the order of their times,
// because a clock was set back between them.
func TestBreachInALogOutOfOrder(t *testing.T) {
	p, err := ParsePolicy("p.yaml", []byte(outagePolicy)) // 3 in an hour
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t, startRedis(t).Addr())
	for i, minutes := range []time.Duration{30, 40, 0} {
		if d := decide(t, s, p, noon.Add(minutes*time.Minute), pushTo("u", fmt.Sprint(i), "service")); word(d) != "allow/none" {
			t.Fatal(word(d))
		}
	}
	got := reapply(t, s, p, noon.Add(time.Hour), allowedAt("u", "more", "service", noon.Add(10*time.Minute)))
	if len(got.Breaches) != 1 || got.Breaches[0].Count != 4 || !got.Breaches[0].WindowTo.Equal(noon.Add(40*time.Minute)) {
		t.Errorf("%+v, want four in the hour that ends at %v", got, noon.Add(40*time.Minute))
	}
}

// A log that is damaged or full takes nothing more; a full one is a breach by itself.
func TestReapplyToALogThatTakesNothing(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	key := logKey(s.names.user([]byte("u")))
	if err := s.client.Set(t.Context(), key, "damaged", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := counts(reapply(t, s, p, noon, allowedAt("u", "1", "service", noon))), "entered 0 known 0 left 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var list []Allowed
	for i := range maxEntries + 2 {
		list = append(list, allowedAt("v", fmt.Sprint(i), "service", noon))
	}
	got := reapply(t, s, p, noon, list...)
	if got.Entered != maxEntries || got.Left != 2 || !strings.Contains(counts(got), "send-log 258 of 256") {
		t.Errorf("%s, want %d entered", counts(got), maxEntries)
	}
}
