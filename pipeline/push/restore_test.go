package push

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
)

// history is what messages tell of a random past, and what Redis held after it.
type history struct {
	sent      []Sent
	cancelled []cancellation
	now       time.Time
	logs      map[string][]Entry // by user; what a limit can still see
}

type cancellation struct {
	user, id string
	at       time.Time
}

// decideHistory lets a store decide pushes to some users over some weeks, with
// redelivery and cancellation, one id as two classes among them.
func decideHistory(t *testing.T, s *Store, p *Policy, seed int64, users, steps int) *history {
	t.Helper()
	h := &history{now: noon, logs: make(map[string][]Entry)}
	rng := rand.New(rand.NewSource(seed))
	var consents []*event.Event
	for u := range users {
		consents = append(consents, consentEvent(fmt.Sprint("u", u), 1, true))
	}
	if err := s.Apply(t.Context(), p, consents); err != nil {
		t.Fatal(err)
	}
	classes, channels := p.Classes(), p.Channels()
	for range steps {
		h.now = h.now.Add(time.Duration(rng.Intn(20*60)) * time.Second)
		var reqs []Request
		for range 1 + rng.Intn(20) {
			user := fmt.Sprint("u", rng.Intn(users))
			r := pushTo(user, fmt.Sprint(rng.Intn(steps)), classes[rng.Intn(len(classes))])
			r.Channel, r.Time = []byte(channels[rng.Intn(len(channels))]), h.now
			if len(h.sent) > 0 && rng.Intn(5) == 0 { // again, now or then as something else
				x := h.sent[rng.Intn(len(h.sent))]
				r.User, r.ID = x.User, x.ID
				if rng.Intn(2) == 0 {
					r.Class, r.Channel = x.Class, x.Channel
				}
			}
			reqs = append(reqs, r)
		}
		got, err := s.Decide(t.Context(), p, h.now, reqs)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range got {
			if d.Decision == Allow {
				r := &reqs[i]
				h.sent = append(h.sent, Sent{User: r.User, ID: r.ID, Class: r.Class, Channel: r.Channel, At: d.At})
			}
		}
		if len(h.sent) > 0 && rng.Intn(8) == 0 {
			x := h.sent[rng.Intn(len(h.sent))]
			if _, err := s.Refund(t.Context(), x.User, x.ID); err != nil {
				t.Fatal(err)
			}
			h.cancelled = append(h.cancelled, cancellation{string(x.User), string(x.ID), h.now})
		}
	}
	for u := range users {
		name := fmt.Sprint("u", u)
		h.logs[name] = h.visible(p, logOf(t, s, name))
	}
	return h
}

// visible returns the entries that a limit can still see.
func (h *history) visible(p *Policy, l SendLog) []Entry {
	return slices.DeleteFunc(slices.Clone(l.Entries), func(e Entry) bool { return int64(e.At) <= h.now.Unix()-p.keep[e.Tag] })
}

// lose deletes the send logs of all users.
func (h *history) lose(t *testing.T, s *Store) {
	t.Helper()
	for user := range h.logs {
		s.client.Del(t.Context(), logKey(s.names.user([]byte(user))))
	}
}

func (h *history) restore(t *testing.T, s *Store, p *Policy, dry bool, hold int) *Restoration {
	t.Helper()
	r := s.RestoreLogs(p, h.now, dry)
	r.hold = hold
	for _, c := range h.cancelled {
		r.Cancel([]byte(c.user), []byte(c.id), c.at)
	}
	for i := range h.sent {
		if err := r.Add(t.Context(), &h.sent[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Flush(t.Context()), r.Settle(t.Context())); err != nil {
		t.Fatal(err)
	}
	if r.held != 0 || len(r.users) != 0 {
		t.Errorf("%d entries of %d users are still held", r.held, len(r.users))
	}
	return r
}

func (h *history) compare(t *testing.T, s *Store, p *Policy) {
	t.Helper()
	for user, want := range h.logs {
		if diff := cmp.Diff(want, h.visible(p, logOf(t, s, user))); diff != "" {
			t.Errorf("log of %s (-before +after):\n%s", user, diff)
		}
	}
}

// What is lost with Redis comes back entry for entry: whether everything is held
// at once or written in many parts, whether all is lost or some, again and again.
func TestRestoreBringsLogsBack(t *testing.T) {
	p := loadPolicy(t, "testdata/model.good.yaml")
	eachRedis(t, func(t *testing.T, addr string) {
		for seed := range int64(4) {
			s := newStore(t, addr)
			h := decideHistory(t, s, p, seed, 9, 150)
			entries := 0
			for _, l := range h.logs {
				entries += len(l)
			}
			if entries < 30 || len(h.cancelled) < 5 {
				t.Fatalf("%d entries, %d cancelled; the test shows nothing", entries, len(h.cancelled))
			}
			if r := h.restore(t, s, p, false, 50); r.Inserted+r.Refunded != 0 || r.Changed != 0 {
				t.Errorf("nothing was lost, and %+v", r.Restored)
			}
			h.lose(t, s)
			dry := h.restore(t, s, p, true, 1<<20)
			if n := len(logOf(t, s, "u0").Entries); n != 0 {
				t.Errorf("a dry run wrote %d entries", n)
			}
			whole := h.restore(t, s, p, false, 1<<20)
			if diff := cmp.Diff(dry.Restored, whole.Restored); diff != "" {
				t.Errorf("a dry run says other than what is done (-dry +done):\n%s", diff)
			}
			if len(whole.OverCap) > 0 {
				t.Errorf("over the cap: %+v", whole.OverCap)
			}
			h.compare(t, s, p)
			h.lose(t, s)
			if parts := h.restore(t, s, p, false, 7); parts.Inserted != whole.Inserted {
				t.Errorf("in parts %+v, at once %+v", parts.Restored, whole.Restored)
			}
			h.compare(t, s, p)
			s.client.Del(t.Context(), logKey(s.names.user([]byte("u3"))))
			if r := h.restore(t, s, p, false, 1<<20); r.Changed > 1 {
				t.Errorf("one log was lost, and %+v", r.Restored)
			}
			h.compare(t, s, p)
		}
	})
}

// A log lives as long as if it had never been lost.
func TestRestoredLogExpires(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	r := s.RestoreLogs(p, noon.Add(24*time.Hour), false)
	x := Sent{User: []byte("u"), ID: []byte("1"), Class: []byte("service"), Channel: []byte("app"), At: noon}
	if err := r.Add(t.Context(), &x); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := m.TTL(logKey(s.names.user([]byte("u")))), p.retain-24*time.Hour; got != want {
		t.Errorf("it is kept for %v, want %v", got, want)
	}
}

// Pushes that are decided while logs are restored are not lost, and a cancelled
// push that a log still counts is given back.
func TestRestoreMeanwhile(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		config := configFor(t, addr)
		other, s := storeFor(t, config), storeFor(t, config)
		decide(t, other, p, noon, pushTo("u", "cancelled", "service"))
		s.client.AddHook(&between{do: func() { decide(t, other, p, noon.Add(time.Minute), pushTo("u", "new", "service")) }})
		r := s.RestoreLogs(p, noon.Add(time.Hour), false)
		r.Cancel([]byte("u"), []byte("cancelled"), noon.Add(time.Second))
		r.Cancel([]byte("u"), []byte("old"), noon.Add(-time.Second)) // before it was allowed
		for i, id := range []string{"old", "cancelled", "older"} {
			x := Sent{User: []byte("u"), ID: []byte(id), Class: []byte("service"), Channel: []byte("app"), At: noon.Add(time.Duration(-i) * time.Hour)}
			if err := r.Add(t.Context(), &x); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(r.Flush(t.Context()), r.Settle(t.Context())); err != nil {
			t.Fatal(err)
		}
		if r.Inserted != 2 || r.Known != 1 || r.Refunded != 1 {
			t.Errorf("%+v", r.Restored)
		}
		var got []string
		for _, e := range logOf(t, s, "u").Entries {
			got = append(got, fmt.Sprint(e.State, time.Unix(int64(e.At), 0).Sub(noon)))
		}
		if want := []string{"1 -2h0m0s", "2 0s", "1 0s", "1 1m0s"}; !slices.Equal(got, want) {
			t.Errorf("log %v, want %v", got, want)
		}
	})
}

// A damaged log is made anew, in one piece; one that has more than a limit allows
// is told of; what no limit counts or sees is left out.
func TestRestoreReports(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	if err := s.client.Set(t.Context(), logKey(s.names.user([]byte("u0"))), "damaged", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	r := s.RestoreLogs(p, noon, false)
	r.hold = 2
	for i := range 3 {
		for _, user := range []string{"u0", "u1"} {
			x := Sent{User: []byte(user), ID: fmt.Append(nil, i), Class: []byte("marketing"), Channel: []byte("app"), At: noon.Add(time.Duration(i-3) * time.Hour)}
			if err := r.Add(t.Context(), &x); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.client.StrLen(t.Context(), logKey(s.names.user([]byte("u0")))).Val(); n != int64(len("damaged")) {
			t.Errorf("the damaged log was replaced before the end: %d bytes", n)
		}
	}
	for _, x := range []Sent{{Class: []byte("security"), Channel: []byte("app"), At: noon}, {Class: []byte("other"), Channel: []byte("app"), At: noon},
		{Class: []byte("service"), Channel: []byte("tv"), At: noon}, {Class: []byte("service"), Channel: []byte("app"), At: noon.Add(-30 * 24 * time.Hour)}} {
		x.User = []byte("u2")
		if err := r.Add(t.Context(), &x); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(logOf(t, s, "u0").Entries); n != 3 {
		t.Errorf("the damaged log has %d entries now, want 3", n)
	}
	if r.Read != 10 || r.Uncounted != 3 || r.Old != 1 || r.Damaged != 1 || r.Inserted != 6 {
		t.Errorf("%+v", r.Restored)
	}
	if got := r.OverCap["mkt-day"]; got.Users < 2 || got.Pushes < 2 {
		t.Errorf("three on a day of two: %+v", r.OverCap)
	}
}
