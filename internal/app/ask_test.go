package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// patient is the section api with time enough on a busy machine: a pair for instance.
var patient = []string{"  listen: 127.0.0.1:0 ", "  deadline: 20s\n  listen: 127.0.0.1:0 "}

// asked sends an event to the daemon and returns the status and what is answered.
func (d *running) asked(t *testing.T, event map[string]any) (int, map[string]any) {
	t.Helper()
	b, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return d.askedRaw(t, b, nil)
}

func (d *running) askedRaw(t *testing.T, body []byte, header http.Header) (int, map[string]any) {
	t.Helper()
	url := regexp.MustCompile(`http://[0-9.:]+/v1/judge`).FindString(d.status.String())
	if url == "" {
		t.Fatalf("nobody answers:\n%s", d.status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%s %s: %v", resp.Status, text, err)
	}
	return resp.StatusCode, m
}

// zoneAt is a time zone where it is about that hour.
func zoneAt(hour int) string {
	offset := (hour - time.Now().UTC().Hour() + 24) % 24
	if offset > 12 {
		offset -= 24
	}
	return fmt.Sprintf("Etc/GMT%+d", -offset)
}

func somePost(id, user, text string) map[string]any {
	return map[string]any{"id": id, "time": time.Now().UTC().Format(time.RFC3339), "user": map[string]any{"id": user}, "fields": map[string]string{"text": text}}
}

func somePush(id, user, class, text string) map[string]any {
	now := time.Now().UTC()
	return map[string]any{"id": id, "time": now.Format(time.RFC3339), "user": map[string]any{"id": user}, "class": class, "channel": "app", "label": "广告",
		"expires": now.Add(24 * time.Hour).Format(time.RFC3339), "fields": map[string]string{"body": text}}
}

// Who asks has the verdict that the stream would have given, by the rules and the policy in force, with the same evidence and on
// the same topics; a push is not sent by Weir, and consumes one place however often and by whatever way it comes.
func TestAskedAndStreamedAreOne(t *testing.T) {
	w := newAway(t)
	d := w.instance(t, "a", patient...)

	event := somePost("p1", "u1", "这里有违禁测试词")
	status, post := d.asked(t, event)
	if status != 200 || post["action"] != "review" || post["reason"] != "content" {
		t.Fatalf("%d %v", status, post)
	}
	review := d.find(t, "weir.review", "p1")
	if review["id"] != post["id"] || fmt.Sprint(review["evidence"]) != fmt.Sprint(post["evidence"]) || fmt.Sprint(review["hits"]) != fmt.Sprint(post["hits"]) {
		t.Errorf("the answer %v, the review item %v", post, review)
	}
	if _, again := d.asked(t, event); fmt.Sprint(again) != fmt.Sprint(post) {
		t.Errorf("asked again: %v", again)
	}
	if status, pass := d.asked(t, somePost("p2", "u1", "一条普通的消息")); status != 200 || pass["action"] != "pass" || pass["evidence"] != nil {
		t.Errorf("%d %v", status, pass)
	}

	// A push is decided once, whatever way it comes.
	push := somePush("n1", "u2", "service", "your parcel is here")
	_, first := d.asked(t, push)
	_, second := d.asked(t, push)
	if first["decision"] != "allow" || first["push"].(map[string]any)["replay"] != nil || second["decision"] != "allow" || second["push"].(map[string]any)["replay"] != true || first["id"] != second["id"] {
		t.Errorf("%v\n%v", first, second)
	}
	d.send(t, "weir.pushes", "u2", push)
	streamed := d.record(t, "weir.cleared", func(r *kgo.Record) bool { return strings.Contains(string(r.Value), `"n1"`) })
	if header(streamed, "weir-replay") != "true" || header(streamed, "weir-id") == first["id"].(string)+":cleared" {
		t.Errorf("by the stream: replay %q, id %q", header(streamed, "weir-replay"), header(streamed, "weir-id"))
	}
	pseudonym := ""
	decided := d.record(t, "weir.decisions", func(r *kgo.Record) bool { return strings.Contains(string(r.Value), `"n1"`) })
	if !strings.HasPrefix(header(decided, "ce_id"), first["id"].(string)) {
		t.Errorf("the decision on the topic is %s, the answer %v", header(decided, "ce_id"), first["id"])
	}
	if _, m := d.asked(t, somePush("n2", "u2", "service", "违禁测试词")); m["action"] != "review" || m["decision"] != "deny" || m["reason"] != "content" {
		t.Errorf("a push with such words: %v", m)
	}
	sale := somePush("n3", "known", "marketing", "spring sale")
	_, denied := d.asked(t, sale)
	if denied["decision"] != "deny" || denied["reason"] != "no-consent" {
		t.Errorf("without consent: %v", denied)
	}
	// Decided otherwise later it is another effect: no reader may drop it for a repetition.
	w.consent(t, "known", 1, true)
	eventually(t, "the same push is allowed", func() bool {
		w.count++
		_, m := d.asked(t, sale)
		if m["decision"] == "allow" && m["id"] == denied["id"] {
			t.Errorf("denied and allowed have the id %v", m["id"])
		}
		return m["decision"] == "allow"
	})
	now := time.Now().UTC().Format(time.RFC3339)
	w.send(t, "weir.consent", "sleeper", map[string]any{"id": "c1", "time": now, "user": map[string]any{"id": "sleeper"}, "version": 1, "zone": zoneAt(1),
		"grants": []any{map[string]any{"class": "marketing", "channel": "app", "granted": true, "time": now, "method": "settings", "text_version": "1"}}})
	eventually(t, "a push at night is deferred", func() bool {
		w.count++
		_, m := d.asked(t, somePush(fmt.Sprint("night", w.count), "sleeper", "marketing", "spring sale"))
		if m["decision"] != "defer" || m["reason"] != "quiet-hours" {
			return false
		}
		at, err := time.Parse(time.RFC3339, fmt.Sprint(m["push"].(map[string]any)["not_before"]))
		return err == nil && time.Until(at) > time.Hour && time.Until(at) < 12*time.Hour
	})

	// Another rule set at once, in answers as on the stream.
	d.rules(t, "新的测试词")
	d.reload(t, http.StatusOK, "reloaded")
	_, m := d.asked(t, event)
	if m["action"] != "pass" || m["rules"] == post["rules"] || m["id"] == post["id"] {
		t.Errorf("by other rules: %v", m)
	}

	// The stream goes on beside it, and nothing that was asked about is sent or deferred by a topic.
	d.send(t, "weir.posts", "u9", somePost("last", "u9", "新的测试词"))
	d.find(t, "weir.review", "last")
	for _, r := range d.seen {
		if (r.Topic == "weir.cleared" && header(r, "weir-replay") == "" || r.Topic == "weir.deferred") && header(r, "weir-decision") != "" {
			t.Errorf("on %s: %s", r.Topic, header(r, "weir-id"))
		}
	}
	d.await(t, "/metrics", `weir_api_request_duration_seconds_count{result="answered"}`)
	d.stop(t)
	for _, m := range onRecord(t, w.evidence("a"), "u2") {
		if m["id"] == "n1" {
			pseudonym = m["pseudonym"].(string)
		}
	}
	if counted, refunded := w.sendLog(pseudonym); counted != 1 || refunded != 0 {
		t.Errorf("%d places are taken, %d given back; want 1 and none", counted, refunded)
	}

	// A second life asks for more: its account is another one, and nothing is missing between the two.
	d = w.instance(t, "a", patient...)
	if status, m := d.asked(t, somePost("p3", "u1", "新的测试词")); status != 200 || m["action"] != "review" {
		t.Errorf("%d %v", status, m)
	}
	d.stop(t)
	report, err := evidence.Verify(w.evidence("a"), evidence.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("evidence does not verify: %v %v", err, report.Findings)
	}
	for _, p := range report.Partitions {
		if p.Topic == "/v1/judge" && p.Fetched != p.Passed+p.Flagged+p.DeadLettered+p.Skipped {
			t.Errorf("the account %+v", p)
		}
	}
	var g evidence.Group
	if err := g.Read(w.evidence("a")); err != nil {
		t.Fatal(err)
	}
	asked := int64(0)
	for _, lane := range g.Topics()["/v1/judge"] {
		if o := g.Bounds("/v1/judge", lane); o.Count() != 0 {
			t.Errorf("lane %d has offsets that could be missed: %v", lane, o)
		}
		asked += g.Sum("/v1/judge", lane).Fetched
	}
	if want := int64(3 + 2 + 2 + w.count + 1 + 1); asked != want {
		t.Errorf("%d on the account, want %d", asked, want)
	}
}

// While Redis is away each class gets what the policy promises for that, and nothing passes that needs Redis.
func TestAskedWhileRedisIsAway(t *testing.T) {
	w := newAway(t)
	d := w.instance(t, "a", patient...)
	w.gone()
	for class, want := range map[string]string{"security": "allow/none", "marketing": "defer/store"} {
		_, m := d.asked(t, somePush("away-"+class, "u1", class, "hello"))
		flags := fmt.Sprint(m["push"].(map[string]any)["flags"])
		if got := fmt.Sprint(m["decision"], "/", m["reason"]); got != want || !strings.Contains(flags, "degraded") {
			t.Errorf("%s: %s %s, want %s and degraded", class, got, flags, want)
		}
	}
	if status, m := d.asked(t, somePost("p", "u1", "违禁测试词")); status != 200 || m["action"] != "review" {
		t.Errorf("a post, which needs no Redis: %d %v", status, m)
	}
	w.back(t)
	eventually(t, "Redis decides again", func() bool {
		w.count++
		_, m := d.asked(t, somePush(fmt.Sprint("back", w.count), "u1", "service", "hello"))
		return m["decision"] == "allow" && !strings.Contains(fmt.Sprint(m["push"].(map[string]any)["flags"]), "degraded")
	})
	d.stop(t)
}

// When the evidence is found to be gone nobody who asks is told anything more, and the daemon ends.
func TestAskedWithoutEvidence(t *testing.T) {
	w := newAway(t)
	d := w.instance(t, "a", patient...)
	loseEvidence(t, w.evidence("a"))
	url := regexp.MustCompile(`http://[0-9.:]+/v1/judge`).FindString(d.status.String())
	body, err := json.Marshal(somePost("p", "u1", "违禁测试词"))
	if err != nil {
		t.Fatal(err)
	}
	broken := false
	for deadline := time.Now().Add(time.Minute); ; {
		select {
		case err := <-d.done:
			if !errors.Is(err, evidence.ErrBroken) {
				t.Errorf("weir ended with %v, want that the evidence log is broken", err)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("weir goes on without evidence")
		}
		resp, err := http.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			broken = true // the listener has gone
			continue
		}
		_ = resp.Body.Close()
		if broken = broken || resp.StatusCode == http.StatusServiceUnavailable; broken != (resp.StatusCode == http.StatusServiceUnavailable) {
			t.Errorf("%s, and the evidence is gone", resp.Status)
		}
	}
}
