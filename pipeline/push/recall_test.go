package push

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Apply applies events that come from nowhere in particular, one after another.
func (s *Store) Apply(ctx context.Context, p *Policy, events []*event.Event) error {
	messages := make([]Message, len(events))
	for i, e := range events {
		messages[i] = Message{Event: e, Place: Place{Topic: "consent", Offset: int64(i)}}
	}
	_, err := s.ApplyMessages(ctx, p, noon, messages)
	return err
}

// consentAt puts events at consecutive offsets of a partition.
func consentAt(offset int64, events ...*event.Event) []Message {
	var messages []Message
	for i, e := range events {
		messages = append(messages, Message{Event: e, Place: Place{Topic: "consent", Offset: offset + int64(i)}})
	}
	return messages
}

// tombstone has the user u forgotten.
func tombstone(at time.Time) *event.Event {
	return &event.Event{Kind: event.Consent, User: event.User{ID: []byte("u")}, Time: at, Consent: event.ConsentPart{DailyMax: -1, Forget: true}}
}

func applyAt(t *testing.T, s *Store, p *Policy, now time.Time, messages []Message) Applied {
	t.Helper()
	a, err := s.ApplyMessages(t.Context(), p, now, messages)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An allowed push is called back by a withdrawal that comes shortly afterwards, by
// the mark that its decision has; applied again, the same withdrawal calls the same
// pushes back. A push of a class that needs no consent, one that was cancelled, one
// of another user and one of long ago are not.
func TestWithdrawalRecallsWhatWasAllowedLately(t *testing.T) {
	// Clause: push-withdraw
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true), consentEvent("v", 1, true)))
		allow := func(at time.Time, user, id, class string) string {
			t.Helper()
			d := decide(t, s, p, at, pushTo(user, id, class))
			if d.Decision != Allow || len(d.Mark) != 16 {
				t.Fatalf("%s is %s with mark %q", id, word(d), d.Mark)
			}
			return d.Mark
		}
		now := noon.Add(90 * time.Minute)
		allow(noon, "u", "long ago", "marketing")
		allow(now.Add(-time.Minute), "u", "parcel", "service")
		allow(now.Add(-time.Minute), "v", "theirs", "content")
		mark := allow(now.Add(-p.recall).Add(time.Second), "u", "sale", "marketing")

		withdrawal := consentAt(5, consentEvent("v", 1, true), consentEvent("u", 2, false))
		want := []Recall{{Message: 1, Class: "marketing", Channel: "app", AllowedAt: now.Add(-p.recall).Add(time.Second), Mark: mark,
			Reason:    ReasonWithdrawn,
			Consent:   ConsentUse{Version: 2, State: ConsentWithdrawn, Since: noon.Add(-24 * time.Hour)},
			Pseudonym: s.names.user([]byte("u")), PseudonymKey: s.names.id}}
		for range 2 {
			got := applyAt(t, s, p, now, withdrawal)
			if diff := cmp.Diff(want, got.Recalls, cmpopts.IgnoreUnexported(Recall{})); diff != "" {
				t.Errorf("recalls, -want +got:\n%s", diff)
			}
		}
		if got := testutil.ToFloat64(s.metrics.recalls); got != 2 {
			t.Errorf("weir_push_recalls_total is %v, want 2", got)
		}
		// What is older than the user's state recalls nothing, whatever it says, and
		// so does a view that is rebuilt.
		if got := applyAt(t, s, p, now, consentAt(3, consentEvent("u", 1, false))); len(got.Recalls) > 0 {
			t.Errorf("an old event recalls %+v", got.Recalls)
		}
		if err := s.Restore(t.Context(), p, now, withdrawal); err != nil || testutil.ToFloat64(s.metrics.recalls) != 2 {
			t.Errorf("a rebuild recalls: %v", err)
		}
		if got := applyAt(t, s, p, now.Add(time.Second), withdrawal); len(got.Recalls) > 0 {
			t.Errorf("after %v the push is still called back: %+v", p.recall, got.Recalls)
		}
		if _, err := s.Refund(t.Context(), []byte("u"), []byte("sale")); err != nil {
			t.Fatal(err)
		}
		if got := applyAt(t, s, p, now, withdrawal); len(got.Recalls) > 0 {
			t.Errorf("a cancelled push is called back: %+v", got.Recalls)
		}
	})
}

// Consent that is only left out of the user's newest state is gone, too; consent
// that is given again is there.
func TestRecallLooksAtTheNewestState(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true)))
	decide(t, s, p, noon, pushTo("u", "sale", "marketing"))
	silent := consentEvent("u", 2, true)
	silent.Consent.Grants = silent.Consent.Grants[:4] // content only
	if got := applyAt(t, s, p, noon, consentAt(1, silent)).Recalls; len(got) != 1 || got[0].Reason != ReasonNoConsent {
		t.Errorf("left out: recalls %+v", got)
	}
	if got := applyAt(t, s, p, noon, consentAt(2, consentEvent("u", 3, false), consentEvent("u", 4, true))).Recalls; len(got) != 0 {
		t.Errorf("given again: recalls %+v", got)
	}
}

// How long changes take is measured when they are news: not when they are applied again,
// and not when a view is rebuilt. Consent that is left out is taken back, too. The lag is
// that of the oldest change in hand, also while Redis does not take it.
//
// Clause: push-withdraw
func TestWithdrawalIsMeasuredOnce(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	s.now = func() time.Time { return noon.Add(30 * time.Second) }
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.metrics.withdrawals)
	expect := func(what string, count uint64, sum float64) {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if h := families[0].GetMetric()[0].GetHistogram(); h.GetSampleCount() != count || h.GetSampleSum() != sum {
			t.Errorf("%s: weir_push_withdrawal_seconds has %d of %v s together, want %d of %v", what, h.GetSampleCount(), h.GetSampleSum(), count, sum)
		}
	}
	withdrawal := consentAt(1, consentEvent("u", 2, false))
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true)))
	expect("given", 0, 0)
	for range 2 {
		applyAt(t, s, p, noon, withdrawal)
		expect("withdrawn", 1, 30)
	}
	m.FlushAll()
	if err := s.Restore(t.Context(), p, noon, withdrawal); err != nil {
		t.Fatal(err)
	}
	expect("rebuilt", 1, 30)
	none := consentEvent("v", 2, true)
	none.Consent.Grants = nil
	applyAt(t, s, p, noon, consentAt(5, consentEvent("v", 1, true), none))
	expect("left out", 2, 60)

	if got := testutil.ToFloat64(s.metrics.lag); got != 30 {
		t.Errorf("weir_push_consent_view_lag_seconds is %v, want 30", got)
	}
	m.SetError("LOADING")
	s.now = func() time.Time { return noon.Add(time.Hour) }
	if _, err := s.ApplyMessages(t.Context(), p, noon, withdrawal); err == nil {
		t.Error("Redis is away and nothing is said")
	}
	if got := testutil.ToFloat64(s.metrics.lag); got != 3600 {
		t.Errorf("while Redis is away weir_push_consent_view_lag_seconds is %v, want 3600", got)
	}
}

// A withdrawal whose answer was lost after it had been written is found to be written by
// the second try, and measured all the same.
func TestWithdrawalWhoseAnswerIsLostIsMeasured(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	s := newStore(t, startRedis(t).Addr())
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 1, true)))
	withdrawal := consentAt(1, consentEvent("u", 2, false))
	var once bool
	s.client.AddHook(before{"evalsha", func() {
		if !once { // another try of the same message gets there first
			once = true
			applyAt(t, s, p, noon, withdrawal)
		}
	}})
	applyAt(t, s, p, noon, withdrawal)
	if n := testutil.ToFloat64(s.metrics.profiles[true]); n != 3 {
		t.Errorf("%v profiles applied, want all three", n)
	}
}

// A user who is forgotten is not known any more: no profile, no send log. What was
// allowed lately is called back, as often as the tombstone is read; then the log is
// gone as well.
func TestForgetLeavesNothing(t *testing.T) {
	// Clause: rn-erase
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	applyAt(t, s, p, noon, consentAt(0, consentEvent("u", 5, true)))
	decide(t, s, p, noon, pushTo("u", "parcel", "service"))
	mark := decide(t, s, p, noon, pushTo("u", "sale", "marketing")).Mark

	at := noon.Add(time.Minute)
	name := s.names.user([]byte("u"))
	for range 2 {
		got := applyAt(t, s, p, at, consentAt(1, tombstone(at)))
		if len(got.Recalls) != 1 || got.Recalls[0].Mark != mark || got.Recalls[0].Reason != ReasonNoConsent {
			t.Errorf("recalls %+v", got.Recalls)
		}
		if want := []Forgotten{{0, name, s.names.id}}; !slices.Equal(got.Forgotten, want) {
			t.Errorf("forgotten %+v, want %+v", got.Forgotten, want)
		}
	}
	if l := logOf(t, s, "u"); len(l.Entries) != 1 {
		t.Errorf("the log has %d entries, want the one to be called back", len(l.Entries))
	}
	m.FastForward(p.recall)
	if keys := keysOf(m, name); len(keys) != 1 || keys[0] != profileKey(name) {
		t.Errorf("after %v there is %q, want only the mark of the tombstone", p.recall, keys)
	}
	m.FastForward(rememberForgotten)
	if keys := keysOf(m, name); len(keys) != 0 {
		t.Errorf("a day later there is still %q", keys)
	}
	if d := decide(t, s, p, at, pushTo("u", "again", "marketing")); word(d) != "deny/no-consent" {
		t.Errorf("a forgotten user gets %s", word(d))
	}
}

func keysOf(m *miniredis.Miniredis, pseudonym string) []string {
	var keys []string
	for _, key := range m.Keys() {
		if key == profileKey(pseudonym) || key == logKey(pseudonym) {
			keys = append(keys, key)
		}
	}
	return keys
}

// What stands before the tombstone in Kafka never brings the user back, whatever its
// version and whoever reads it again; what stands behind it is somebody new, from
// version 1 on. A commit that has read the profile before finds it changed.
func TestForgottenUserStaysForgotten(t *testing.T) {
	p := loadPolicy(t, shippedPolicy)
	eachRedis(t, func(t *testing.T, addr string) {
		s := newStore(t, addr)
		expect := func(what, want string) {
			t.Helper()
			s.client.Del(t.Context(), logKey(s.names.user([]byte("u"))))
			if d := decide(t, s, p, noon, pushTo("u", what, "marketing")); word(d) != want {
				t.Errorf("%s: %s, want %s", what, word(d), want)
			}
		}
		old := consentAt(7, consentEvent("u", 900, true))
		applyAt(t, s, p, noon, old)
		expect("known", "allow/none")
		applyAt(t, s, p, noon, consentAt(8, tombstone(noon)))
		expect("forgotten", "deny/no-consent")
		applyAt(t, s, p, noon, old)
		expect("judged again", "deny/no-consent")
		if err := s.Restore(t.Context(), p, noon, old); err != nil {
			t.Fatal(err)
		}
		expect("rebuilt", "deny/no-consent")
		elsewhere := consentAt(900, consentEvent("u", 1000, true))
		elsewhere[0].Place.Partition = 1
		applyAt(t, s, p, noon, elsewhere)
		expect("from a partition nobody can compare", "deny/no-consent")
		applyAt(t, s, p, noon, consentAt(9, consentEvent("u", 1, true)))
		expect("back", "allow/none")
		applyAt(t, s, p, noon, consentAt(10, consentEvent("u", 2, true), tombstone(noon), consentEvent("u", 1, true), tombstone(noon)))
		expect("all in one batch", "deny/no-consent")
		applyAt(t, s, p, noon, consentAt(10, consentEvent("u", 2, true), tombstone(noon), consentEvent("u", 1, true)))
		expect("judged again in part", "deny/no-consent")
		for range 2 {
			applyAt(t, s, p, noon, consentAt(20, consentEvent("u", 2, true), tombstone(noon), consentEvent("u", 1, true)))
			expect("forgotten and back in one batch", "allow/none")
		}
	})
}

// Records of tombstones come back as they were written, and none is taken for a
// profile or the other way round.
func TestTombRecords(t *testing.T) {
	for _, place := range []Place{{Topic: "c"}, {Topic: "weir.consent", Partition: 1<<31 - 1, Offset: 1<<62 - 1}} {
		want := forgottenProfile(place)
		record := string(want.Record())
		got, err := ParseProfile(record)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for n := 1; n < len(record); n++ {
			if got, err := ParseProfile(record[:n]); err == nil {
				t.Errorf("the first %d bytes are taken for %+v", n, got)
			}
		}
	}
}

// What a forgotten user was allowed since then counts, however often the tombstone
// is read.
func TestForgetKeepsWhatCameAfterwards(t *testing.T) {
	p := loadPolicy(t, "testdata/model.good.yaml") // at most 4 in a quarter of an hour
	s := newStore(t, startRedis(t).Addr())
	var words []string
	for i := range 6 {
		words = append(words, word(decide(t, s, p, noon.Add(time.Duration(i)*time.Second), pushTo("u", fmt.Sprint(i), "service"))))
		if i >= 1 {
			applyAt(t, s, p, noon.Add(time.Duration(i)*time.Second), consentAt(3, tombstone(noon.Add(1500*time.Millisecond))))
		}
	}
	// The first two are forgotten.
	if want := []string{"allow/none", "allow/none", "allow/none", "allow/none", "allow/none", "allow/none"}; !slices.Equal(words, want) {
		t.Errorf("%q, want %q", words, want)
	}
	if d := decide(t, s, p, noon.Add(9*time.Second), pushTo("u", "9", "service")); word(d) != "deny/cap" {
		t.Errorf("the fifth is %s", word(d))
	}
}

// The mark that others see is not the one in Redis: whoever reads both a topic and
// Redis learns by it whose log is whose in neither direction.
func TestPublicMarkIsNotTheOneInRedis(t *testing.T) {
	// Clause: push-privacy
	p := loadPolicy(t, shippedPolicy)
	m := startRedis(t)
	s := newStore(t, m.Addr())
	d := decide(t, s, p, noon, pushTo("u", "parcel", "service"))
	entry := logOf(t, s, "u").Entries[0]
	if d.Mark == fmt.Sprintf("%016x", entry.Mark) || d.Mark != s.names.public(entry.Mark) {
		t.Errorf("mark %s for entry %016x", d.Mark, entry.Mark)
	}
}
