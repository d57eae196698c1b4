package app_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// A withdrawal, end to end: what was allowed before it is called back, what comes after
// it is denied; when Redis loses everything nothing is allowed or denied for consent
// until it has been read again, while the other pushes go on; and a user can be forgotten.
//
// Clause: push-withdraw
// Clause: push-consent
// Clause: rn-erase
func TestConsentEndToEnd(t *testing.T) {
	d := startDaemon(t)
	d.await(t, "/-/ready", "consumer: ready")
	d.await(t, "/metrics", "weir_push_consent_view_trusted 1")
	now := time.Now().UTC().Format(time.RFC3339)
	push := func(id, to, class string) map[string]any {
		return map[string]any{"id": id, "time": now, "user": map[string]any{"id": to}, "class": class, "channel": "app", "label": "广告",
			"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "fields": map[string]string{"body": "spring sale now"}}
	}
	consent := func(user string, version int, granted bool) {
		t.Helper()
		d.send(t, "weir.consent", user, map[string]any{"id": fmt.Sprint(user, version), "time": time.Now().UTC().Format(time.RFC3339Nano), "user": map[string]any{"id": user},
			"version": version, "zone": dayZone(),
			"grants": []any{map[string]any{"class": "marketing", "channel": "app", "granted": granted, "time": now, "method": "settings", "text_version": "1"}}})
	}
	// cleared returns the message that lets a user's last push pass, recalled the one that calls it back.
	cleared := func() *kgo.Record {
		t.Helper()
		id := fmt.Sprintf(`"try%d"`, d.count)
		return d.record(t, "weir.cleared", func(r *kgo.Record) bool {
			return header(r, "weir-decision") == "allow" && strings.Contains(string(r.Value), id)
		})
	}
	recalled := func(user string) *kgo.Record {
		t.Helper()
		return d.record(t, "weir.cleared", func(r *kgo.Record) bool {
			return header(r, "weir-decision") == "recall" && string(r.Key) == user
		})
	}
	sale := func(user string) func(id string) map[string]any {
		return func(id string) map[string]any { return push(id, user, "marketing") }
	}

	const leaver, goer = "user-who-withdraws", "user-who-goes"
	for _, user := range []string{leaver, goer} {
		consent(user, 1, true)
		d.decideUntil(t, "allow", sale(user))
		allowed := cleared()
		reason := "withdrawn"
		if user == leaver {
			consent(user, 2, false)
		} else {
			d.produce(t, "weir.consent", user, nil)
			reason = "no-consent"
		}
		r := recalled(user)
		if header(r, "weir-mark") != header(allowed, "weir-mark") || len(header(r, "weir-mark")) != 16 || header(r, "weir-reason") != reason ||
			r.Partition != allowed.Partition || r.Offset <= allowed.Offset {
			t.Errorf("push %v in %d/%d is called back by %v in %d/%d", allowed.Headers, allowed.Partition, allowed.Offset, r.Headers, r.Partition, r.Offset)
		}
		d.decideUntil(t, reason, sale(user))
	}
	d.await(t, "/metrics", "weir_push_recalls_total 2")
	d.await(t, "/metrics", "weir_push_withdrawal_seconds_count 2")

	client := redis.NewClient(&redis.Options{Addr: d.world.RedisAddr(), DisableIdentity: true})
	defer client.Close()
	markers, err := client.Keys(t.Context(), "pg:{view-0}:*").Result()
	if err != nil || len(markers) != 1 {
		t.Fatalf("markers %q, %v", markers, err)
	}
	lease := markers[0] + ":lease"
	tx := client.TxPipeline() // all is lost, and somebody else has the right to rebuild it
	tx.FlushAll(t.Context())
	tx.Set(t.Context(), lease, "somebody else", 0)
	if _, err := tx.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.send(t, "weir.pushes", leaver, push("held", leaver, "marketing"))
	if m := d.find(t, "weir.decisions", "held"); m["decision"] != "defer" || m["reason"] != "held" {
		t.Errorf("decision %v", m)
	}
	d.record(t, "weir.deferred", func(r *kgo.Record) bool {
		return header(r, "weir-reason") == "held" && header(r, "weir-not-before") != ""
	})
	d.send(t, "weir.pushes", leaver, push("parcel", leaver, "service"))
	if m := d.find(t, "weir.decisions", "parcel"); m["decision"] != "allow" {
		t.Errorf("decision %v", m)
	}
	d.await(t, "/metrics", "weir_push_consent_view_trusted 0")
	if code, text := d.ask(t, http.MethodGet, "/-/ready"); code != http.StatusOK {
		t.Errorf("not ready: %s", text)
	}
	if err := client.Del(t.Context(), lease).Err(); err != nil {
		t.Fatal(err)
	}
	d.await(t, "/metrics", "weir_push_consent_view_trusted 1")
	d.decideUntil(t, "withdrawn", sale(leaver))
	d.decideUntil(t, "no-consent", sale(goer))

	d.stop(t)
	seen := make(map[evidence.Kind]int)
	err = evidencetest.Walk(d.world.EvidenceDir(), func(e evidence.Entry) error {
		seen[e.Kind]++
		if e.Kind == evidence.KindErase && bytes.Contains(e.Body, []byte(goer)) {
			t.Errorf("the record of an erasure says of whom: %s", e.Body)
		}
		return nil
	})
	if err != nil || seen[evidence.KindRecall] != 2 || seen[evidence.KindErase] != 1 || seen[evidence.KindConsent] != 3 {
		t.Errorf("records %v, %v; want 2 recalls, 1 erasure and 3 changes of consent", seen, err)
	}
}
