package app_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// canaries are random words, by where they were put. Whoever finds one elsewhere
// has found a leak.
type canaries map[string]string

func (c canaries) word(place string) string {
	if c[place] == "" {
		c[place] = "Canary" + rand.Text()
	}
	return c[place]
}

// in lists the places whose words stand in a text.
func (c canaries) in(text []byte) (places []string) {
	for place, word := range c {
		if bytes.Contains(text, []byte(word)) {
			places = append(places, place)
		}
	}
	slices.Sort(places)
	return places
}

// Whatever is pushed through Weir, and whatever goes wrong with it, nothing of
// what users wrote, of who they are, or of secrets comes out but where it belongs:
// on the topics, and encrypted in the evidence. Logs are at debug.
func TestCanary(t *testing.T) {
	c := make(canaries)
	w := newAway(t)
	w.redis.RequireUserAuth("weir", c.word("password of redis"))
	w.write(t, "redis.password", c.word("password of redis")+"\n")
	spans := &otlp{come: make(chan struct{}, 100)}
	receiver := httptest.NewServer(spans)
	defer receiver.Close()
	w.write(t, "api.token", c.word("token of the api")+"\n")
	d := w.instance(t, "canary", "  listen: 127.0.0.1:0 ", "  token_files: [api.token]\n  deadline: 20s\n  listen: 127.0.0.1:0 ", "\noutput:\n", "\ntracing: {endpoint: '"+receiver.URL+"/v1/traces'}\noutput:\n", "    addrs:\n", "    username: weir\n    password_file: redis.password\n    addrs:\n")

	now := time.Now().UTC().Format(time.RFC3339)
	user := func(place string) map[string]any { return map[string]any{"id": c.word("user of " + place)} }
	put := func(topic, place string, event map[string]any) {
		t.Helper()
		event["time"] = now
		d.send(t, topic, c.word("user of "+place), event)
	}
	post := func(place, text string) map[string]any {
		return map[string]any{"id": c.word("id of " + place), "user": user(place), "fields": map[string]string{"text": text + " " + c.word("text of "+place)}}
	}
	push := func(place, class, text string) map[string]any {
		return map[string]any{"id": c.word("id of " + place), "user": user(place), "class": class, "channel": "app", "label": "广告", "campaign": c.word("campaign"), "sender": c.word("sender"),
			"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "fields": map[string]string{"body": text + " " + c.word("text of "+place)}}
	}
	put("weir.posts", "a post", post("a post", "harmless"))
	put("weir.posts", "a hit", post("a hit", "违禁测试词"))
	event := post("a traced hit", "违禁测试词")
	event["time"] = now
	traced, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.client.ProduceSync(t.Context(), &kgo.Record{Topic: "weir.posts", Key: []byte(c.word("user of a traced hit")), Value: traced, Headers: append(traceHeaders("canary"),
		kgo.RecordHeader{Key: c.word("name of a header"), Value: []byte(c.word("value of a header"))})}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	put("weir.pushes", "a service", push("a service", "service", "your parcel"))
	put("weir.pushes", "an advertisement", push("an advertisement", "marketing", "a sale"))
	put("weir.pushes", "a denied push", push("a denied push", "service", "违禁测试词"))
	put("weir.consent", "consent", map[string]any{"id": c.word("id of consent"), "user": user("consent"), "version": 1, "zone": dayZone(),
		"grants": []any{map[string]any{"class": "marketing", "channel": "app", "granted": true, "time": now, "method": "settings", "text_version": c.word("text of consent")}}})
	put("weir.outcomes", "a service", map[string]any{"id": c.word("id of an outcome"), "user": user("a service"), "push": c.word("id of a service"), "outcome": "cancelled"})

	// Every kind of broken input, with a word in each place that might be told.
	brokenInput := []string{
		`{"id":"%s`, `{"%s":1}`, `{"id":"%s","id":"x"}`, "{\"id\":\"%s\xff\"}", `{"id":["%s"]}`, `%s`, `{"id":"%s","time":"%[1]s"}`, `{"id":"%s","user":"%[1]s"}`,
		`{"id":"a","time":"2026-01-01T00:00:00Z","user":{"id":"%s","%[1]s":1}}`, `{"id":"%s\ud800"}`, `{"id":1e999,"x":"%s"}`, `[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["%s"]]]]]]]]`,
		`{"specversion":"1.0","id":"%s","source":"%[1]s","type":"%[1]s","datacontenttype":"%[1]s"}`,
	}
	for i, value := range brokenInput {
		for _, topic := range []string{"weir.posts", "weir.pushes", "weir.consent", "weir.outcomes"} {
			r := &kgo.Record{Topic: topic, Key: []byte(c.word("key of broken input")), Value: fmt.Appendf(nil, value, c.word(fmt.Sprint("broken input ", i))),
				Headers: []kgo.RecordHeader{{Key: c.word("name of a header"), Value: []byte(c.word("value of a header"))}, {Key: "ce_id", Value: []byte(c.word("ce_id"))},
					{Key: "traceparent", Value: []byte(c.word("traceparent"))}, {Key: "tracestate", Value: []byte(c.word("tracestate"))}}}
			if err := d.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.find(t, "weir.review", c.word("id of a hit"))
	d.find(t, "weir.review", c.word("id of a traced hit"))
	for _, place := range []string{"a service", "an advertisement", "a denied push"} {
		d.find(t, "weir.decisions", c.word("id of "+place))
	}
	d.order(t, c.word("campaign"), true)
	d.await(t, "/metrics", `weir_push_halted{scope="campaign"} 1`)
	put("weir.pushes", "a halted push", push("a halted push", "service", "hello"))
	d.find(t, "weir.decisions", c.word("id of a halted push"))

	// The same by asking: answers hold what belongs to the event, refusals nothing.
	login := http.Header{"Authorization": {"Bearer " + c.word("token of the api")}, "Traceparent": {c.word("traceparent")}}
	asked := func(event map[string]any, header http.Header) (int, map[string]any) {
		t.Helper()
		event["time"] = now
		b, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		return d.askedRaw(t, b, header)
	}
	for _, event := range []map[string]any{post("an asked post", "harmless"), post("an asked hit", "违禁测试词"), push("an asked push", "service", "your parcel")} {
		status, m := asked(event, login)
		if found := c.in(fmt.Append(nil, m)); status != http.StatusOK || len(found) != 1 || !strings.HasPrefix(found[0], "id of ") {
			t.Errorf("asked: %d, it tells %q", status, found)
		}
	}
	d.find(t, "weir.review", c.word("id of an asked hit"))
	if status, m := asked(post("an asked post without a token", "违禁测试词"), http.Header{"Authorization": {"Bearer " + c.word("wrong token")}}); status != http.StatusUnauthorized || len(c.in(fmt.Append(nil, m))) > 0 {
		t.Errorf("without a token: %d %v", status, m)
	}
	for i, value := range brokenInput {
		status, m := d.askedRaw(t, fmt.Appendf(nil, value, c.word(fmt.Sprint("broken request ", i))), login)
		if found := c.in(fmt.Append(nil, m)); status != http.StatusBadRequest || len(found) > 0 {
			t.Errorf("broken request %d: %d, it tells %q", i, status, found)
		}
	}

	// Redis goes away, and refuses the password when it is back.
	w.gone()
	put("weir.pushes", "a push without redis", push("a push without redis", "service", "hello"))
	d.find(t, "weir.decisions", c.word("id of a push without redis"))
	w.back(t)
	w.redis.RequireUserAuth("weir", c.word("another password of redis"))
	put("weir.pushes", "a push refused by redis", push("a push refused by redis", "service", "hello"))
	d.find(t, "weir.decisions", c.word("id of a push refused by redis"))
	w.write(t, "redis.password", c.word("another password of redis"))

	// A file that cannot be read at a reload, with a secret in it.
	w.write(t, "canary.yaml", "kafka: {sasl: {password: "+c.word("a secret in the wrong place")+"}}\n")
	if code, body := d.ask(t, http.MethodPost, "/-/reload"); code != http.StatusUnprocessableEntity || len(c.in([]byte(body))) > 0 {
		t.Errorf("reload: %d %s", code, body)
	}

	for _, path := range []string{"/metrics", "/-/ready", "/-/healthy", "/-/rules/tripped", "/-/evidence/checkpoint", "/", "/?lang=zh", "/status.json", "/debug/pprof/", "/debug/pprof/cmdline"} {
		if _, body := d.ask(t, http.MethodGet, path); len(c.in([]byte(body))) > 0 {
			t.Errorf("%s tells %q", path, c.in([]byte(body)))
		}
	}
	broken := 0
	d.record(t, "weir.deadletter", func(r *kgo.Record) bool {
		for _, h := range r.Headers {
			if strings.HasPrefix(h.Key, "weir-") || strings.HasPrefix(h.Key, "__connect.") {
				if found := c.in(append([]byte(h.Key), h.Value...)); len(found) > 0 {
					t.Errorf("header %s of a dead letter tells %q", h.Key, found)
				}
			}
		}
		broken++
		return broken == 13*4
	})
	d.stop(t)
	spans.mu.Lock()
	defer spans.mu.Unlock()
	if found := c.in(spans.bytes.Bytes()); len(spans.spans) == 0 || len(found) > 0 {
		t.Errorf("%d spans tell %q", len(spans.spans), found)
	}
	for line := range strings.Lines(d.log.String()) {
		found := c.in([]byte(line))
		if strings.Contains(line, `"pushes are halted"`) { // what an officer ordered, about no user
			found = slices.DeleteFunc(found, func(place string) bool { return place == "campaign" })
		}
		if len(found) > 0 {
			t.Errorf("the log tells %q: %s", found, line)
		}
	}
	if found := c.in([]byte(w.redis.Dump())); len(found) > 0 {
		t.Errorf("redis holds %q in clear", found)
	}
	files := 0
	if err := filepath.WalkDir(w.evidence("canary"), func(path string, f fs.DirEntry, err error) error {
		if err != nil || !f.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if found := c.in(b); len(found) > 0 {
			t.Errorf("%s holds %q in clear", path, found)
		}
		return err
	}); err != nil || files < 8 {
		t.Errorf("%d files of evidence: %v", files, err)
	}
}
