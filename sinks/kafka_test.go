package sinks_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/sinks"
)

// one returns the only message of a topic.
func one(t testing.TB, list []*kgo.Record) *kgo.Record {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d messages, want one", len(list))
	}
	return list[0]
}

// pairs returns headers as they come, null apart from empty.
func pairs(r *kgo.Record) []string {
	var list []string
	for _, h := range r.Headers {
		if h.Value == nil {
			list = append(list, h.Key+" is null")
		} else {
			list = append(list, h.Key+"="+string(h.Value))
		}
	}
	return list
}

// A review item has what a reviewer needs, and neither where the user was nor
// what they are called in Redis.
//
// Clause: cmp-stop
func TestReviewItem(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	v := d.post(t, "buy forbiddenstuff here")
	if err := s.Write(t.Context(), output(v)); err != nil {
		t.Fatal(err)
	}
	r := one(t, read(s.Config.Review))
	if string(r.Key) != "user-1" {
		t.Errorf("key %q, want the user's id", r.Key)
	}
	if diff := cmp.Diff([]string{
		"ce_specversion=1.0",
		"ce_id=" + v.ID.String() + ":review",
		"ce_type=weir.review",
		"ce_source=/weir/test",
		"content-type=application/json",
		"ce_time=2026-11-24T03:59:59Z",
	}, pairs(r)); diff != "" {
		t.Errorf("headers, -want +got:\n%s", diff)
	}
	want := map[string]any{
		"id": v.ID.String(), "event_id": "post-1", "kind": "post", "action": "review", "reason": "content", "rules": d.set.Digest(), "fold": fold.Version,
		"hits": []any{map[string]any{"rule": "test.review", "category": "test", "severity": "low", "field": "text",
			"start": 4., "end": 18., "start_utf16": 4., "end_utf16": 18., "text": "forbiddenstuff", "form": "fold", "confidence": "high"}},
		"user":      map[string]any{"id": "user-1", "group": "minor", "verified": true},
		"time":      "2026-11-24T04:00:00Z",
		"operation": "comment",
		"attachments": []any{map[string]any{"uri": "s3://bucket/a.png", "sha256": strings.Repeat("ab", 32),
			"media_type": "image/png", "scan": "clean"}},
		"queue": "standard",
		"fields": []any{map[string]any{"name": "title", "text": "<hello> & \u2028 good bye"},
			map[string]any{"name": "text", "text": "buy forbiddenstuff here"}},
		"evidence": map[string]any{"log": "test/evidence/0/1", "record": v.ID.String()},
		"origin":   map[string]any{"source": "test", "topic": "weir.posts", "partition": 3., "offset": 1., "timestamp": "2026-11-24T03:59:59Z"},
	}
	if diff := cmp.Diff(want, validate(t, schema(t, "review.json"), r.Value)); diff != "" {
		t.Errorf("value, -want +got:\n%s", diff)
	}
	if !bytes.Contains(r.Value, []byte("<hello> & ")) {
		t.Errorf("what the user wrote cannot be found by searching for it: %s", r.Value)
	}
}

// A decision tells programs what was decided and why, with every input.
//
// Clause: push-record
func TestDecision(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	v := d.push(t, "come and buy", noon, 5)
	if err := s.Write(t.Context(), output(v)); err != nil {
		t.Fatal(err)
	}
	r := one(t, read(s.Config.Decisions))
	if string(r.Key) != "user-1" {
		t.Errorf("key %q, want the user's id", r.Key)
	}
	if diff := cmp.Diff([]string{
		"ce_specversion=1.0",
		"ce_id=" + v.ID.String() + ":decision",
		"ce_type=weir.decision",
		"ce_source=/weir/test",
		"content-type=application/json",
		"ce_time=2026-11-24T03:59:59Z",
	}, pairs(r)); diff != "" {
		t.Errorf("headers, -want +got:\n%s", diff)
	}
	limit := func(by push.Bound, id, from string, most float64) any {
		return map[string]any{"id": id, "from": from, "count": 0., "max": most, "by": string(by)}
	}
	want := map[string]any{
		"id": v.ID.String(), "event_id": "push-1", "kind": "push", "action": "pass", "decision": "allow", "reason": "none",
		"hits": []any{}, "rules": d.set.Digest(), "fold": fold.Version, "policy": d.policy.Digest(),
		"user": map[string]any{"id": "user-1", "group": "default"},
		"time": "2026-11-24T03:59:00Z",
		"push": map[string]any{
			"class": "marketing", "channel": "app", "campaign": "c-1", "sender": "s-1", "label": "广告", "personalised": true,
			"expires": "2026-11-25T03:00:00Z",
			"decision": map[string]any{
				"decision": "allow", "reason": "none", "mark": "0123456789abcdef", "at": "2026-11-24T04:00:00Z", "policy_version": d.policy.Version(),
				"not_after": "2026-11-24T13:59:59Z", "deadline": "2026-11-25T03:00:00Z",
				"consent": map[string]any{"version": 3., "state": "granted", "since": "2026-10-24T04:00:00Z"},
				"group":   "default", "group_source": "event", "zone": "Asia/Shanghai", "zone_source": "profile",
				"local_time": "2026-11-24T12:00:00+08:00", "quiet": []any{"22:00-08:00", "23:00-07:00"},
				"limits": []any{
					limit(push.ByPolicy, "mkt-hour", "2026-11-24T03:00:01Z", 1), limit(push.ByPolicy, "mkt-day", "2026-11-23T16:00:00Z", 2),
					limit(push.ByPolicy, "mkt-week", "2026-11-17T04:00:01Z", 8), limit(push.ByPreset, "vendor-cn-2026/app-day", "2026-11-23T16:00:00Z", 2),
					limit(push.ByUser, "user-daily", "2026-11-23T16:00:00Z", 5),
				},
			},
		},
		"evidence": map[string]any{"log": "test/evidence/0/1", "record": v.ID.String()},
		"origin":   map[string]any{"source": "test", "topic": "weir.pushes", "partition": 3., "offset": 1., "timestamp": "2026-11-24T03:59:59Z"},
	}
	if diff := cmp.Diff(want, validate(t, schema(t, "decision.json"), r.Value)); diff != "" {
		t.Errorf("value, -want +got:\n%s", diff)
	}
	if v.Decision.Pseudonym == "" {
		t.Error("the verdict itself has lost the user's name in Redis")
	}
}

// Every verdict goes where it belongs and nowhere else, and every message is
// what its schema and docs/asyncapi.yaml say. What only a shadow rule hit goes
// nowhere. A repeated write repeats the messages with their ids.
func TestWhereVerdictsGo(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	values := map[string]*jsonschema.Schema{
		"review": schema(t, "review.json"), "decision": schema(t, "decision.json"),
		"cleared": schema(t, "push.json"), "deferred": schema(t, "push.json"),
	}
	doc := readAsyncAPI(t)
	night := noon.Add(11 * time.Hour)
	for _, c := range []struct {
		name string
		v    *pipeline.Verdict
		want string // topics, and the queue of a review item
	}{
		{"post to review", d.post(t, "forbiddenstuff"), "review standard, decision"},
		{"post to reject", d.post(t, "terriblestuff"), "review critical, decision"},
		{"post a shadow rule hit", d.post(t, "shadowystuff"), ""},
		{"post both hit", d.post(t, "shadowystuff forbiddenstuff"), "review standard, decision"},
		{"push to send", d.push(t, "come and buy", noon, 5), "decision, cleared"},
		{"push a shadow rule hit", d.push(t, "shadowystuff", noon, 5), "decision, cleared"},
		{"push at night", d.push(t, "come and buy", night, 5), "decision, deferred"},
		{"push too many", d.push(t, "come and buy", noon, 0), "decision"},
		{"push with prohibited text", d.push(t, "come and buy forbiddenstuff", noon, 5), "review standard, decision"},
		{"push with prohibited text at night", d.push(t, "terriblestuff", night, 5), "review critical, decision"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, read := newKafka(t, brokers)
			topics := map[string]string{"review": s.Config.Review, "decision": s.Config.Decisions, "cleared": s.Config.Cleared, "deferred": s.Config.Deferred}
			for range 2 {
				if err := s.Write(t.Context(), output(c.v)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, name := range []string{"review", "decision", "cleared", "deferred"} {
				list := read(topics[name])
				if len(list) == 0 {
					continue
				}
				if len(list) != 2 || !cmp.Equal(list[0].Key, list[1].Key) || !cmp.Equal(list[0].Value, list[1].Value) || !cmp.Equal(list[0].Headers, list[1].Headers) {
					t.Errorf("%s: written twice there are %d messages, or they differ", name, len(list))
				}
				r := list[0]
				if string(r.Key) != "user-1" {
					t.Errorf("%s: key %q", name, r.Key)
				}
				value := validate(t, values[name], r.Value)
				doc.checkHeaders(t, name, r)
				h := headers(r)
				if id := h["ce_id"] + h["weir-id"]; id != c.v.ID.String()+":"+name {
					t.Errorf("%s: id %q", name, id)
				}
				if name == "review" {
					name += " " + at(t, value, "queue").(string)
				}
				if bytes.Contains(r.Value, []byte("pseudonym")) || bytes.Contains(r.Value, []byte("203.0.113.7")) {
					t.Errorf("%s: tells the user's name in Redis or address: %s", name, r.Value)
				}
				got = append(got, name)
			}
			if got := strings.Join(got, ", "); got != c.want {
				t.Errorf("went to %q, want %q", got, c.want)
			}
			if list := read(s.Config.DeadLetter); len(list) > 0 {
				t.Errorf("%d dead letters", len(list))
			}
		})
	}
}

// What a live rule of severity critical hit goes to the queue of its own.
//
// Clause: cmp-major
func TestCriticalHasAQueueOfItsOwn(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	want := make(map[string]string) // queue by id
	out := new(pipeline.Output)
	for text, queue := range map[string]string{
		"forbiddenstuff": "standard", "terriblestuff": "critical", "forbiddenstuff terriblestuff": "critical",
		"forbiddenstuff shadowystuff": "standard", // of that severity, but in shadow
	} {
		v := d.post(t, text)
		want[v.ID.String()] = queue
		out.Verdicts = append(out.Verdicts, *v)
	}
	if err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, r := range read(s.Config.Review) {
		value := validate(t, schema(t, "review.json"), r.Value)
		got[at(t, value, "id").(string)] = at(t, value, "queue").(string)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A push is passed on to the byte, with its own headers, null and repeated ones,
// and with those of Weir. Headers that a producer made up in Weir's name, or
// that an earlier pass left, are not among them.
func TestPushIsPassedOnAsReceived(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	own := []event.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("push-1")}, {Key: "ce_type", Value: []byte("weir.push")},
		{Key: "ce_source", Value: []byte("/shop")}, {Key: "x", Value: []byte("1")}, {Key: "x", Value: nil}, {Key: "x", Value: []byte{}},
		{Key: "weir-not-after", Value: []byte("2099-01-01T00:00:00Z")}, {Key: "weir-decision", Value: []byte("defer")},
		{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
	}
	kept := []string{"ce_specversion=1.0", "ce_id=push-1", "ce_type=weir.push", "ce_source=/shop", "x=1", "x is null", "x=",
		"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	cleared, deferred := d.push(t, "come and buy", noon, 5, own...), d.push(t, "come and buy", noon.Add(11*time.Hour), 5, own...)
	service := d.judge(t, event.Push, strings.Replace(strings.Replace(pushOf("your order"), `"marketing"`, `"service"`, 1), `,"expires":"2026-11-25T03:00:00Z"`, " ", 1))
	endless := d.decide(t, service, noon, 5)
	endless.Decision.Replay = true
	if err := s.Write(t.Context(), output(cleared, deferred, endless)); err != nil {
		t.Fatal(err)
	}
	doc := readAsyncAPI(t)
	byID := make(map[string]*kgo.Record)
	for _, r := range slices.Concat(read(s.Config.Cleared), read(s.Config.Deferred)) {
		byID[headers(r)["weir-id"]] = r
	}
	for _, c := range []struct {
		v     *pipeline.Verdict
		topic string
		want  []string
	}{
		{cleared, "cleared", append(slices.Clone(kept), "weir-id="+cleared.ID.String()+":cleared", "weir-decision=allow", "weir-reason=none", "weir-not-after=2026-11-24T13:59:59Z", "weir-mark=0123456789abcdef")},
		{deferred, "deferred", append(slices.Clone(kept), "weir-id="+deferred.ID.String()+":deferred", "weir-decision=defer", "weir-reason=quiet-hours", "weir-not-before=2026-11-25T00:00:00Z",
			fmt.Sprintf("weir-first=weir.pushes/3/%d", deferred.Record.Offset), "weir-deferrals=1")},
		{endless, "cleared", []string{"weir-id=" + endless.ID.String() + ":cleared", "weir-decision=allow", "weir-reason=none", "weir-mark=0123456789abcdef", "weir-replay=true"}},
	} {
		r := byID[c.v.ID.String()+":"+c.topic]
		if r == nil {
			t.Fatalf("%s: not there", c.topic)
		}
		doc.checkHeaders(t, c.topic, r)
		if !bytes.Equal(r.Value, c.v.Record.Value) || string(r.Key) != "user-1" {
			t.Errorf("%s: key %q, value %q", c.topic, r.Key, r.Value)
		}
		if diff := cmp.Diff(c.want, pairs(r)); diff != "" {
			t.Errorf("%s: headers, -want +got:\n%s", c.topic, diff)
		}
	}
}

// A trace goes on from a message to everything it causes, and with a deferred push through its
// deferral. What is malformed of it does not; only a dead letter has it all, as it came.
func TestTraceGoesOn(t *testing.T) {
	const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=opaque"
	for _, tt := range []struct {
		name          string
		parent, state string
		want          []string
	}{
		{"both", parent, state, []string{"traceparent=" + parent, "tracestate=" + state}},
		{"a tracestate that is too long", parent, "vendor=" + strings.Repeat("x", 512), []string{"traceparent=" + parent}},
		{"a malformed tracestate", parent, "vendor", []string{"traceparent=" + parent}},
		{"a malformed traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", state, nil},
		{"a traceparent of no version", "ff" + parent[2:], state, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			s, read := newKafka(t, testBrokers(t))
			came := []event.Header{{Key: "traceparent", Value: []byte(tt.parent)}, {Key: "cookie", Value: []byte("secret")}, {Key: "tracestate", Value: []byte(tt.state)}}
			flagged := d.judge(t, event.Post, postOf("forbiddenstuff"), came...)
			flagged.Record.Time = time.Time{} // and a message without a timestamp
			cleared, deferred := d.push(t, "come and buy", noon, 5, came...), d.push(t, "come and buy", noon.Add(11*time.Hour), 5, came...)
			out := output(flagged, cleared, deferred)
			broken := pipeline.Record{Offset: 99, Value: []byte("{"), Headers: came}
			huge := pipeline.Record{Offset: 100, Value: bytes.Repeat([]byte("x"), s.Config.MaxMessageBytes), Headers: came}
			out.DeadLetters = append(out.DeadLetters, d.broken(broken), d.broken(huge))
			out.Recalls = append(out.Recalls, pipeline.Recall{Origin: cleared.Origin, Record: cleared.Record, User: []byte("user-1")})
			if err := s.Write(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			of := func(r *kgo.Record) []string {
				return slices.DeleteFunc(pairs(r), func(p string) bool { return !strings.HasPrefix(p, "trace") })
			}
			doc := readAsyncAPI(t)
			for name, topic := range map[string]string{"review": s.Config.Review, "decision": s.Config.Decisions, "cleared": s.Config.Cleared, "deferred": s.Config.Deferred} {
				records := read(topic)
				if len(records) == 0 {
					t.Fatalf("%s: nothing", name)
				}
				for _, r := range records {
					if headers(r)["weir-decision"] != "recall" {
						doc.checkHeaders(t, name, r)
					}
					if name == "review" && len(r.Headers) != 5+len(tt.want) {
						t.Errorf("%s: headers %v", name, pairs(r))
					}
					// All of these come from messages with that trace.
					if diff := cmp.Diff(tt.want, of(r), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s: -want +got:\n%s", name, diff)
					}
				}
			}
			for _, r := range read(s.Config.DeadLetter) {
				want := []string{"traceparent=" + tt.parent, "tracestate=" + tt.state}
				if headers(r)["weir-value-omitted"] != "" {
					want = tt.want
				}
				if diff := cmp.Diff(want, of(r), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("dead letter: -want +got:\n%s", diff)
				}
			}
		})
	}
}

// Topics that are off get nothing, and nobody minds.
func TestTopicsThatAreOff(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	all := s.Config
	s.Config.Decisions, s.Config.Cleared, s.Config.Deferred = "", "", ""
	out := output(d.post(t, "forbiddenstuff"), d.push(t, "come and buy", noon, 5), d.push(t, "come and buy", noon.Add(11*time.Hour), 5))
	if err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	one(t, read(all.Review))
	for _, topic := range []string{all.Decisions, all.Cleared, all.Deferred, all.DeadLetter} {
		if n := len(read(topic)); n != 0 {
			t.Errorf("%s: %d messages", topic, n)
		}
	}
}

// noise is text that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26))
	}
	return string(b)
}

// An item too large for its topic goes without the event's texts and says so;
// one that is then still too large is refused, whether we or the broker find
// out. Everything else of the output is written.
func TestItemTooLargeForItsTopic(t *testing.T) {
	const limit = 20_000
	brokers := testBrokers(t)
	for name, ours := range map[string]int{"by our count": limit, "by the broker's": 10 * limit} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			s, read := newKafka(t, brokers, "max.message.bytes", fmt.Sprint(limit))
			s.Config.MaxMessageBytes = ours
			small := d.post(t, "forbiddenstuff")
			texts := d.post(t, "forbiddenstuff "+noise(limit))
			long := d.judge(t, event.Post, strings.Replace(postOf("forbiddenstuff"), "bucket", noise(2*limit), 1))
			longPush := d.push(t, noise(2*limit), noon, 5)
			last := d.post(t, "terriblestuff")
			err := s.Write(t.Context(), output(small, texts, long, longPush, last))
			refused, ok := errors.AsType[*pipeline.Refused](err)
			if !ok {
				t.Fatalf("error %v, want verdicts refused", err)
			}
			wantRefused := []int{2, 3}
			wantTexts := map[string]bool{small.ID.String(): true, texts.ID.String(): false, last.ID.String(): true}
			if ours > limit { // only the broker knows, and then it is too late to leave out texts
				wantRefused = []int{1, 2, 3}
				delete(wantTexts, texts.ID.String())
			}
			slices.Sort(refused.Verdicts)
			if !slices.Equal(refused.Verdicts, wantRefused) {
				t.Errorf("refused %v, want %v", refused.Verdicts, wantRefused)
			}
			gotTexts := make(map[string]bool)
			review := schema(t, "review.json")
			for _, r := range read(s.Config.Review) {
				value := validate(t, review, r.Value)
				whole := len(at(t, value, "fields").([]any)) == 2
				if omitted := at(t, value, "fields_omitted") != nil; omitted == whole {
					t.Errorf("fields_omitted: %v, fields: %.100v", omitted, at(t, value, "fields"))
				}
				if len(at(t, value, "hits").([]any)) != 1 {
					t.Errorf("hits: %v", at(t, value, "hits"))
				}
				gotTexts[at(t, value, "id").(string)] = whole
			}
			if diff := cmp.Diff(wantTexts, gotTexts); diff != "" {
				t.Errorf("review items and whether they have their texts, -want +got:\n%s", diff)
			}
			// What stops a message is told although what explains it is refused.
			if n := len(read(s.Config.Decisions)); n != 5 {
				t.Errorf("%d decisions, want 5", n)
			}
			if n := len(read(s.Config.Cleared)); n != 0 {
				t.Errorf("%d pushes cleared, want none", n)
			}
		})
	}
}

// A verdict that several of its topics refuse is refused once.
func TestVerdictIsRefusedOnce(t *testing.T) {
	d := newDesk(t)
	s, _ := newKafka(t, testBrokers(t))
	s.Config.MaxMessageBytes = 10_000
	v := d.judge(t, event.Push, strings.Replace(pushOf("forbiddenstuff"), `"c-1"`, quote(strings.Repeat("x", 256)), 1))
	v = d.decide(t, v, noon, 5)
	v.Event.Push.Campaign = bytes.Repeat([]byte("x"), 10_000)
	err := s.Write(t.Context(), output(v))
	if refused, ok := errors.AsType[*pipeline.Refused](err); !ok || !slices.Equal(refused.Verdicts, []int{0}) {
		t.Errorf("error %v, want verdict 0 refused once", err)
	}
}

// What JSON cannot say is refused; it is no reason to end the daemon, which
// would meet the same message at its next start.
func TestVerdictThatCannotBeEncodedIsRefused(t *testing.T) {
	d := newDesk(t)
	s, _ := newKafka(t, testBrokers(t))
	v := d.push(t, "come and buy", noon, 5)
	v.Decision = &push.Decision{Decision: push.Deny, Reason: push.ReasonCap, At: noon, Deadline: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}
	err := s.Write(t.Context(), output(v))
	if refused, ok := errors.AsType[*pipeline.Refused](err); !ok || !slices.Equal(refused.Verdicts, []int{0}) {
		t.Errorf("error %v, want verdict 0 refused", err)
	}
}

// The pipeline makes dead letters of what the topics refuse, and both sinks
// have them.
func TestRefusedVerdictsAreDeadLettersEverywhere(t *testing.T) {
	d := newDesk(t)
	ev, dir := newEvidence(t)
	s, read := newKafka(t, testBrokers(t))
	s.Config.MaxMessageBytes = 10_000
	p := pipelineOf(t, d, ev, s)
	value := strings.Replace(postOf("forbiddenstuff"), "bucket", strings.Repeat("x", 10_000), 1)
	b := &pipeline.Batch{Kind: event.Post, Topic: "weir.posts", Next: 1, Records: []pipeline.Record{{Value: []byte(value)}}}
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := one(t, read(s.Config.DeadLetter))
	readAsyncAPI(t).checkHeaders(t, "deadletter", r)
	if h := headers(r); h["weir-stage"] != "output" || h["weir-reason"] != "output-too-large" || r.Value != nil {
		t.Errorf("dead letter %v with %d bytes", h, len(r.Value))
	}
	var kinds []string
	for _, k := range records(t, dir) {
		kinds = append(kinds, k.Kind.String())
	}
	if diff := cmp.Diff([]string{"hit", "deadletter"}, kinds); diff != "" {
		t.Errorf("evidence, -want +got:\n%s", diff)
	}
}

func pipelineOf(t *testing.T, d *desk, list ...pipeline.Sink) *pipeline.Pipeline {
	t.Helper()
	o := pipeline.Options{Source: "test", Force: pipeline.Force{Rules: d.set}, Events: event.DefaultConfig()}
	for i, s := range list {
		o.Sinks = append(o.Sinks, pipeline.NamedSink{Name: fmt.Sprint(i), Sink: s})
	}
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var _ pipeline.Sink = (*sinks.Kafka)(nil)
