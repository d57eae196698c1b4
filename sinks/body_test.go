package sinks_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// all returns verdicts of every shape: posts and pushes, hit and not, bare and with all they can have.
func all(t testing.TB, d *desk) []*pipeline.Verdict {
	t.Helper()
	bare := d.judge(t, event.Post, `{"id":"p","time":"9999-12-31T23:59:59.999999999Z","user":{"id":"u","group":"business"},"fields":{"text":"违禁品"},"client":{"address":"2001:DB8:0::1"}}`)
	bare.Record.Key, bare.Record.Time = nil, time.Time{}
	first := d.judge(t, event.Post, `{"id":"p","time":"1970-01-01T00:00:00Z","user":{"id":"u"},"fields":{"text":"𝄞 forbiddenstuff"},"client":{"address":"::ffff:1.2.3.4","device":{"os":"x"}},"server":{"port":1}}`)
	first.Record.Key, first.Record.Time = []byte("u"), time.UnixMilli(0)
	list := []*pipeline.Verdict{
		d.post(t, "buy forbiddenstuff and 违禁品 here, qwertyuiop"), d.post(t, "terriblestuff shadowystuff"), bare, first,
		d.push(t, "come and buy", noon, 5), d.push(t, "come and buy", noon.Add(11*time.Hour), 5), d.push(t, "come and buy", noon, 0),
		d.push(t, "forbiddenstuff", noon, 5), d.push(t, "shadowystuff", noon, 5), d.push(t, "come and buy", noon.AddDate(0, 0, 2), 5),
		d.ordinary(t, "security", 1, noon, -1), d.ordinary(t, "service", 2, noon, -1), d.ordinary(t, "content", 3, noon, 1), d.ordinary(t, "news", 4, noon, 1),
	}
	for _, o := range push.Outcomes() {
		v := d.push(t, "come and buy", noon, 5)
		v.Decision.Decision, v.Decision.Reason, v.Reason = o.Decision, o.Reason, pipeline.Reason(o.Reason)
		v.Decision.Flags, v.Decision.Replay, v.Decision.LogSize = 1<<9-1, true, 64
		v.Decision.Limit, v.Decision.Count, v.Decision.Max = "send-log", 64, 64
		v.Decision.NotBefore, v.Decision.Release = noon.Add(time.Hour), noon.Add(time.Hour+1)
		v.Decision.Deadline = noon.Add(time.Millisecond)
		v.Decision.Group, v.Decision.GroupSource = "minor+elderly", push.GroupFromBoth
		v.Decision.Halt = &push.Halt{Target: push.Target{Scope: push.ScopeSender, Value: "<s>"}, Since: noon.Add(1), Why: "w", By: "b", ID: "i"}
		v.Record.Past = &deferral.Past{Topic: "shop.pushes", Partition: 9, Offset: 70, Count: 2}
		list = append(list, v)
	}
	return list
}

// A body has nothing of the one that was put together in the same room before it.
func TestBodiesLeaveNothingBehind(t *testing.T) {
	list := all(t, newDesk(t))
	for i, v := range list {
		alone, err := sinks.VerdictRecord(v)
		if err != nil {
			t.Fatal(err)
		}
		for j, before := range list {
			both, err := sinks.VerdictRecords(before, v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(alone, both[1]); diff != "" {
				t.Fatalf("verdict %d after %d (-alone +after):\n%s", i, j, diff)
			}
		}
	}
}

// What a body says is what bodies said before they were protobuf, word for word, and whose the message's key was.
func TestBodiesSayWhatTheySaid(t *testing.T) {
	d := newDesk(t)
	for i, v := range all(t, d) {
		former, err := sinks.FormerVerdictBody(v)
		if err != nil {
			t.Fatal(err)
		}
		r, err := sinks.VerdictRecord(v)
		if err != nil {
			t.Fatalf("%d: %v of %s", i, err, former)
		}
		shown, err := body.JSON(r.Kind, r.Encoding, r.Body)
		if err != nil {
			t.Fatal(err)
		}
		key := ""
		if k := sinks.KeySHA256(v.Record.Key); k != "" {
			key = `"key_sha256":"` + k + `",`
		}
		want := strings.Replace(string(former), `"original":{`, key+`"original":{`, 1)
		if v.Event.Kind == event.Push && len(v.Hits) == 0 {
			// Of a push that nothing hit the digests are named by their first half, which covers the fold.
			at := strings.Index(want, `,"fold":"`)
			want = want[:at] + want[at+strings.Index(want[at+2:], `,`)+2:]
			want = strings.Replace(strings.Replace(want, v.Rules, v.Rules[:32], 1), v.Policy, v.Policy[:32], 1)
		}
		if diff := cmp.Diff(want, string(shown)); diff != "" {
			t.Errorf("%d: -former +now:\n%s", i, diff)
		}
	}
}

// A message that is judged again, by another instance at another time, has the same record to the byte.
func TestBodiesOfTwoJudgementsAreEqual(t *testing.T) {
	one, other := newDesk(t), newDesk(t)
	for _, text := range []string{"forbiddenstuff", "terriblestuff shadowystuff 违禁品"} {
		a, err := sinks.VerdictRecord(one.post(t, text))
		if err != nil {
			t.Fatal(err)
		}
		b, err := sinks.VerdictRecord(other.post(t, text))
		if err != nil || a.ID != b.ID || !bytes.Equal(a.Body, b.Body) {
			t.Errorf("%q: the records differ, %v", text, err)
		}
	}
}

// Every word that can stand in a body has a number, and every number a word of the code.
func TestWordsHaveNumbers(t *testing.T) {
	same := func(what string, numbered []string, words ...string) {
		t.Helper()
		slices.Sort(numbered)
		slices.Sort(words)
		if diff := cmp.Diff(words, numbered); diff != "" {
			t.Errorf("%s, -code +body.proto:\n%s", what, diff)
		}
	}
	var reasons, scopes, causes, kinds []string
	for _, r := range push.Reasons() {
		reasons = append(reasons, string(r.Reason))
	}
	for _, s := range push.Scopes() {
		scopes = append(scopes, string(s))
	}
	for _, c := range push.BreachCauses() {
		causes = append(causes, string(c))
	}
	for k := event.Post; k.String() != "invalid"; k++ {
		kinds = append(kinds, k.String())
	}
	same("reasons", keys(body.Values[body.Reason]()), reasons...)
	same("decisions", keys(body.Values[body.Decision]()), string(push.Allow), string(push.Defer), string(push.Deny))
	same("flags", keys(body.Values[body.Flag]()), (^push.Flags(0)).Words()...)
	same("states of consent", keys(body.Values[body.ConsentState]()), string(push.ConsentNotNeeded), string(push.ConsentNone), string(push.ConsentGranted),
		string(push.ConsentLater), string(push.ConsentWithdrawn), string(push.ConsentUnknown))
	same("sources of a group", keys(body.Values[body.GroupSource]()), string(push.GroupFromPolicy), string(push.GroupFromEvent), string(push.GroupFromProfile), string(push.GroupFromBoth))
	same("sources of a zone", keys(body.Values[body.ZoneSource]()), string(push.ZoneFromProfile), string(push.ZoneFromPolicy))
	same("who sets limits", keys(body.Values[body.Bound]()), string(push.ByPolicy), string(push.ByPreset), string(push.ByUser))
	same("scopes of halts", keys(body.Values[body.Scope]()), scopes...)
	same("causes of a breach", keys(body.Values[body.Cause]()), causes...)
	same("kinds of events", keys(body.Values[body.Kind]()), kinds...)
	same("stages", keys(body.Values[body.Stage]()), string(pipeline.StageFetch), string(pipeline.StageDecode), string(pipeline.StageJudge), string(pipeline.StageOutput))
	same("actions", keys(body.Values[body.Action]()), rules.Pass.String(), rules.Review.String(), rules.Reject.String())
	same("severities", keys(body.Values[body.Severity]()), rules.Low.String(), rules.Medium.String(), rules.High.String(), rules.Critical.String())
}

func keys[E any](m map[string]E) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// A record is kept under its subject and found by its terms: account, event, device, and each category and
// rule once. Who is known by a pseudonym only is kept and found under that.
func TestSubjectsAndTerms(t *testing.T) {
	d := newDesk(t)
	check := func(r evidence.Record, err error, subject string, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, term := range r.Terms {
			got = append(got, term.Name+" "+term.Value)
		}
		if diff := cmp.Diff(want, got); diff != "" || r.Subject != subject {
			t.Errorf("%s: subject %q, want %q; terms -want +got:\n%s", r.Kind, r.Subject, subject, diff)
		}
		if r.Encoding != evidence.EncodingProtobuf {
			t.Errorf("%s has encoding %d", r.Kind, r.Encoding)
		}
		again, err := sinks.Terms(r.Kind, r.Encoding, r.Body)
		if diff := cmp.Diff(r.Terms, again); diff != "" || err != nil {
			t.Errorf("%s: terms of the body: %v, -written +again:\n%s", r.Kind, err, diff)
		}
	}
	r, err := sinks.VerdictRecord(d.post(t, "forbiddenstuff 违禁品 terriblestuff"))
	check(r, err, "user-1", "event post-1", "account user-1", "device d-77", "category test", "rule test.review", "rule test.reject")
	r, err = sinks.VerdictRecord(d.push(t, "come and buy", noon, 5))
	check(r, err, "user-1", "event push-1", "account user-1")
	broken := d.broken(pipeline.Record{Key: []byte("user-1"), Value: []byte("{")})
	r, err = sinks.DeadLetterRecord(&broken)
	check(r, err, "")
	notices := noticesOf(d)
	r, err = sinks.RecallRecord(&notices.Recalls[0])
	check(r, err, "pseudonym:pseudonym-redis_", "pseudonym pseudonym-redis_")
	e := &event.Event{Kind: event.Consent, ID: []byte("c1"), Time: noon, User: event.User{ID: []byte("user-7")}}
	change := pipeline.ConsentChange{Record: &pipeline.Record{}, Event: e, Pseudonym: "pseudonym-redis_", PseudonymKey: "01234567"}
	r, err = sinks.ConsentRecord(&change)
	check(r, err, "pseudonym:pseudonym-redis_", "event c1", "pseudonym pseudonym-redis_")
	if bytes.Contains(r.Body, []byte("user-7")) {
		t.Error("a record of consent names its user")
	}

	v := d.post(t, "forbiddenstuff")
	for i := range 600 {
		h := v.Hits[0]
		h.Rule = &rules.Rule{ID: fmt.Sprint("rule-", i), Category: fmt.Sprint("category-", i%3)}
		v.Hits = append(v.Hits, h)
	}
	r, err = sinks.VerdictRecord(v)
	if err != nil || len(r.Terms) != 255 || r.Terms[6].Value != "category-2" {
		t.Errorf("%d terms of an event that 600 rules hit, %v; want 255, the categories first", len(r.Terms), err)
	}
	again, err := sinks.Terms(r.Kind, r.Encoding, r.Body)
	if diff := cmp.Diff(r.Terms, again); diff != "" || err != nil {
		t.Errorf("terms of the body: %v, -written +again:\n%s", err, diff)
	}
	if _, err := sinks.Terms(evidence.KindHit, evidence.EncodingProtobuf, []byte{0xff}); !errors.Is(err, body.ErrMalformed) {
		t.Errorf("terms of no body: %v", err)
	}
	if list, err := sinks.Terms(evidence.KindRuleSet, evidence.EncodingJSON, []byte("{}")); err != nil || list != nil {
		t.Errorf("terms of rules: %v, %v", list, err)
	}
}

// What cannot be said is refused, and says why.
func TestBodiesRefuse(t *testing.T) {
	d := newDesk(t)
	for want, spoil := range map[string]func(v *pipeline.Verdict){
		`the reason "whim"`:                                  func(v *pipeline.Verdict) { v.Reason, v.Decision.Reason = "whim", "whim" },
		`the decision "perhaps"`:                             func(v *pipeline.Verdict) { v.Decision.Decision = "perhaps" },
		`the state of consent "so-so"`:                       func(v *pipeline.Verdict) { v.Decision.Consent.State = "so-so" },
		`the source of a group "rumour"`:                     func(v *pipeline.Verdict) { v.Decision.GroupSource = "rumour" },
		`the source of a zone "rumour"`:                      func(v *pipeline.Verdict) { v.Decision.ZoneSource = "rumour" },
		`the source of a limit "rumour"`:                     func(v *pipeline.Verdict) { v.Decision.Limits[0].By = "rumour" },
		`the scope of a halt "all"`:                          func(v *pipeline.Verdict) { v.Decision.Halt = &push.Halt{Target: push.Target{Scope: "all"}} },
		"a decision for the reason cap in a verdict for the": func(v *pipeline.Verdict) { v.Decision.Reason = push.ReasonCap },
		"4 hex digits, want 64":                              func(v *pipeline.Verdict) { v.Rules = "beef" },
		"4 hex digits, want 16":                              func(v *pipeline.Verdict) { v.Decision.Mark = "beef" },
		"invalid byte":                                       func(v *pipeline.Verdict) { v.Policy = strings.Repeat("xy", 32) },
		"a pseudonym of 3 characters, want 16":               func(v *pipeline.Verdict) { v.Decision.Pseudonym = "abc" },
		"a pseudonym that is no base64url":                   func(v *pipeline.Verdict) { v.Decision.Pseudonym = "abcdefgh ijklmno" },
	} {
		v := d.push(t, "come and buy", noon, 5)
		spoil(v)
		if _, err := sinks.VerdictRecord(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say: %s", err, want)
		}
	}
	// Bytes that are no text are no reason to fail.
	v := d.post(t, "forbiddenstuff")
	v.Origin.Topic = "top\xffic"
	r, err := sinks.VerdictRecord(v)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := body.JSON(r.Kind, r.Encoding, r.Body)
	if err != nil || !strings.Contains(string(shown), `"topic":"top`+"\uFFFD"+`ic"`) {
		t.Errorf("%s, %v", shown, err)
	}
}

// ordinary returns a push as platforms send them: the user's id is the message's key, and only
// what is not waited for has a campaign, a label and a deadline.
func (d *desk) ordinary(t testing.TB, class string, n int, now time.Time, daily int) *pipeline.Verdict {
	t.Helper()
	user := fmt.Sprintf("user-%08d", 10_000_000+n)
	more := ""
	if class == "marketing" || class == "content" {
		more = `,"campaign":"spring-2026","sender":"shop","label":"广告","expires":"2026-11-25T03:00:00Z"`
	}
	v := d.judge(t, event.Push, fmt.Sprintf(`{"id":"push-%012d","time":%q,"user":{"id":%q,"group":"default"},"fields":{"text":"come and buy"},"class":%q,"channel":"app"%s}`,
		n, now.Add(-800*time.Millisecond).Format(time.RFC3339Nano), user, class, more))
	v.Record.Key, v.Record.Offset, v.Origin.Source = []byte(user), int64(1_000_000+n), "prod"
	return d.decide(t, v, now, daily)
}

// Under the shipped policy a decision on a push that no rule hit holds everything that led to it in at most
// 300 bytes, not counting the limits that were looked at; with them at most 300 where one limit covers the
// class or the push is deferred, and at most 400 where five do. It holds no text.
func TestDecisionsAreSmall(t *testing.T) {
	d := newDesk(t)
	night := noon.Add(11 * time.Hour)
	for i, c := range []struct {
		class string
		now   time.Time
		daily int
		is    string
		most  int
	}{
		{"security", noon, -1, "allow none", 300},
		{"security", night, -1, "allow none", 300},
		{"service", noon, -1, "allow none", 300},
		{"service", night, -1, "allow none", 300},
		{"service", noon, 0, "deny cap", 300},
		{"content", night, -1, "defer quiet-hours", 300},
		{"marketing", night, -1, "defer quiet-hours", 300},
		{"content", noon, -1, "allow none", 400},
		{"marketing", noon, -1, "allow none", 400},
		{"marketing", noon, 0, "deny cap", 400},
	} {
		v := d.ordinary(t, c.class, i, c.now, c.daily)
		r, err := sinks.VerdictRecord(v)
		if err != nil {
			t.Fatal(err)
		}
		m, err := body.Decode(r.Kind, r.Body)
		if err != nil {
			t.Fatal(err)
		}
		said := m.(*body.Verdict)
		limits := len(said.Push.Proof.Limits)
		said.Push.Proof.Limits = nil
		without, err := body.Encode(said)
		if err != nil {
			t.Fatal(err)
		}
		former, err := sinks.FormerVerdictBody(v)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-9s %-17s %d bytes with %d limits, %d without; as JSON %d", c.class, c.is, len(r.Body), limits, len(without), len(former))
		if is := string(v.Decision.Decision) + " " + string(v.Decision.Reason); is != c.is {
			t.Errorf("%s: %s, want %s", c.class, is, c.is)
		}
		if len(r.Body) > c.most || len(without) > 300 {
			t.Errorf("%s %s: %d bytes, %d of them without limits; want at most %d and 300", c.class, c.is, len(r.Body), len(without), c.most)
		}
		if bytes.Contains(r.Body, []byte("come and buy")) {
			t.Errorf("%s: the body holds the text", c.class)
		}
	}
}

// What it costs to make a record with its body and terms, and to make the JSON that was its body before. A hit
// is of a post of 0.6 KB that one rule hit, a push an allowed one of marketing, which looks at four limits.
func BenchmarkBody(b *testing.B) {
	d := newDesk(b)
	for _, c := range []struct {
		name string
		v    *pipeline.Verdict
	}{
		{"hit", d.post(b, "buy forbiddenstuff "+strings.Repeat("and more of it ", 10))},
		{"push", d.ordinary(b, "marketing", 1, noon, -1)},
	} {
		for _, encoding := range []struct {
			name string
			body func() ([]byte, error)
		}{
			{"protobuf", func() ([]byte, error) { r, err := sinks.VerdictRecord(c.v); return r.Body, err }},
			{"json", func() ([]byte, error) { return sinks.FormerVerdictBody(c.v) }},
		} {
			b.Run(c.name+"/"+encoding.name, func(b *testing.B) {
				b.ReportAllocs()
				size := 0
				for b.Loop() {
					body, err := encoding.body()
					if err != nil {
						b.Fatal(err)
					}
					size = len(body)
				}
				b.ReportMetric(float64(size), "bytes/body")
			})
		}
	}
}
