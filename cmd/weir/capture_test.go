package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// weir runs a verb that must end well, and returns what it writes.
func weir(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	if code := run(context.Background(), args, streams{strings.NewReader(stdin), &out, &said}); code != exitFine {
		t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, &out, &said)
	}
	return out.String(), said.String()
}

// mustPass saves a file of tests and runs it under the rules: every one of its cases passes.
func mustPass(t *testing.T, tests string, cases int, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "captured_test.yaml"), []byte(tests), 0o600); err != nil {
		t.Fatal(err)
	}
	said, _ := weir(t, "", append([]string{"rules", "test", dir}, flags...)...)
	if want := fmt.Sprintf("captured_test.yaml: %d passed\n", cases); !strings.HasSuffix(said, want) {
		t.Errorf("got %s, want %s", said, want)
	}
}

// What weir judge says of events, captured, passes under the same rules: ordinary and evil texts in
// both kinds of events, with whatever may stand in them.
func TestCapturedVerdictsPass(t *testing.T) {
	var texts []string
	for _, name := range []string{"benign/traps.txt", "testdata/evil.tsv"} {
		src, err := os.ReadFile(filepath.Join("..", "..", "configs", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(src)) {
			text, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			texts = append(texts, strings.ReplaceAll(text, `\u200b`, "\u200b"))
		}
	}
	var events strings.Builder
	enc := json.NewEncoder(&events)
	distinct := map[string]bool{}
	for i, text := range texts {
		e := map[string]any{"id": fmt.Sprint("id-", i), "time": "2026-03-01T12:00:00Z", "user": map[string]any{"id": "u-secret", "verified": true},
			"client": map[string]any{"address": "203.0.113.7", "port": 4711}, "fields": map[string]string{"text": text}}
		switch i % 4 {
		case 1:
			e["fields"] = map[string]string{"title: #1": text, "body": "\x00\n\t" + text + " \U000E0041\uFEFF\"\\", "z": ""}
		case 2:
			e["class"], e["channel"], e["sender"] = "marketing", "app", "a sender"
			e["user"] = map[string]string{"id": "u-secret", "group": "minor"}
		}
		if i%4 == 3 && distinct[text] {
			continue
		}
		distinct[text] = true
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(events.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	verdicts, _ := weir(t, events.String(), "judge")
	tests, said := weir(t, verdicts, "rules", "capture", "--events", file)
	for _, secret := range []string{"u-secret", "id-", "2026", "203.0.113.7", "4711"} {
		if strings.Contains(tests, secret) {
			t.Errorf("%q is in the tests", secret)
		}
	}
	cases := strings.Count(tests, "    action: ")
	if want := fmt.Sprintf("weir: %d lines, %d cases captured\n", strings.Count(verdicts, "\n"), cases); !strings.HasPrefix(said, want) || cases < 400 {
		t.Errorf("said %q, want %q", said, want)
	}
	if n := strings.Count(tests, "action: review") + strings.Count(tests, "action: reject"); n < 60 {
		t.Errorf("%d cases of flagged events", n)
	}
	mustPass(t, tests, cases, "--rules", filepath.Join("..", "..", "configs", "rules"))
	again, _ := weir(t, verdicts+verdicts, "rules", "capture", "--events", file)
	if again != tests {
		t.Error("the same verdicts twice are other tests")
	}
}

// What a daemon writes of posts, to the review topic and as evidence, is captured as the same cases,
// and they pass.
func TestCaptureOfReviewAndEvidence(t *testing.T) {
	k := newKillRun(t, embeddedBroker(t).ListenAddrs(), sinks.AtLeastOnce)
	user := `"user":{"id":"u-secret","group":"minor","verified":true}`
	header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	records := []*kgo.Record{
		{Value: []byte(`{"id":"id-1","time":"2026-03-01T12:00:00Z",` + user + `,"fields":{"text":"来，我\u200b们"},"client":{"address":"203.0.113.7"}}`)},
		{Value: []byte(`{"id":"id-2","time":"2026-03-01T12:00:00Z",` + user + `,"operation":"comment","fields":{"title":"北京","text":"公司 <b>"},"attachments":[{"uri":"s3://x"}]}`)},
		{Value: []byte(`{` + user + `,"fields":{"text":"美 国"}}`), Headers: []kgo.RecordHeader{header("ce_specversion", "1.0"), header("ce_id", "id-3"),
			header("ce_source", "/city"), header("ce_type", "weir.post"), header("ce_time", "2026-03-01T12:00:00.5+08:00")}},
		{Value: []byte(`{"specversion":"1.0","id":"id-4","source":"/city","type":"weir.post","time":"2026-03-01T12:00:00Z","data":{` + user + `,"fields":{"text":"people"}}}`),
			Headers: []kgo.RecordHeader{header("content-type", "application/cloudevents+json")}},
		{Value: []byte(`{"id":"id-5","time":"2026-03-01T12:00:00Z",` + user + `,"fields":{"text":"calm"}}`)},
	}
	for _, r := range records {
		r.Topic, r.Key = k.in, []byte("u-secret")
	}
	if err := k.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p := k.start(t)
	p.waitFor(t, time.Minute, int64(len(records)))
	p.terminate(t)

	var review, bodies strings.Builder
	client, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ConsumeTopics(k.review))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := 0; n < 4; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			review.Write(append(r.Value, '\n'))
			n++
		}
	}
	err = evidencetest.Walk(filepath.Join(k.dir, "evidence"), func(e evidence.Entry) error {
		if e.Kind != evidence.KindHit {
			return nil
		}
		text, err := body.JSON(e.Kind, e.Encoding, e.Body)
		bodies.Write(append(text, '\n'))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "tests:\n" +
		"  - event:\n      user: {group: minor, verified: true}\n      fields:\n        text: \"来，我\\u200B们\"\n    hits:\n" +
		"      - {rule: insult.common, text: \"我\\u200B们\", form: fold, field: text}\n    action: review\n" +
		"  - event:\n      user: {group: minor, verified: true}\n      operation: comment\n      fields:\n        title: \"北京\"\n        text: \"公司 <b>\"\n    hits:\n" +
		"      - {rule: insult.rejected, text: \"北京\", form: fold, field: title}\n      - {rule: insult.common, text: \"公司\", form: fold, field: text}\n    action: reject\n" +
		"  - event:\n      user: {group: minor, verified: true}\n      fields:\n        text: \"美 国\"\n    hits:\n" +
		"      - {rule: insult.rejected, text: \"美 国\", form: squeeze, field: text}\n    action: reject\n" +
		"  - event:\n      user: {group: minor, verified: true}\n      fields:\n        text: \"people\"\n    hits:\n" +
		"      - {rule: insult.common, text: \"people\", form: fold, field: text}\n    action: review\n"
	for name, lines := range map[string]string{"review": review.String(), "evidence": bodies.String()} {
		tests, said := weir(t, lines, "rules", "capture")
		if said != "weir: 4 lines, 4 cases captured\n" || !strings.HasSuffix(tests, want) {
			t.Errorf("%s: %s\n%s\nwant\n%s", name, said, tests, want)
		}
		mustPass(t, tests, 4, "--rules", filepath.Join(k.dir, "rules"))
	}
}
