package ask

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

// gate is a sink that holds what is written until it is opened, or fails.
type gate struct {
	pipelinetest.Sink
	mu     sync.Mutex
	closed chan struct{} // nil: open
	err    error
	came   chan int // how many verdicts each write has
}

func newGate() *gate { return &gate{came: make(chan int, 1000)} }

func (g *gate) shut() (open func()) {
	c := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = c
	return func() { close(c) }
}

func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *gate) Write(ctx context.Context, out *pipeline.Output) error {
	g.mu.Lock()
	closed, err := g.closed, g.err
	g.mu.Unlock()
	if len(out.Verdicts) > 0 {
		g.came <- len(out.Verdicts)
	}
	if err != nil && len(out.Verdicts) > 0 {
		return err
	}
	if closed != nil && len(out.Verdicts) > 0 {
		select {
		case <-closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Sink.Write(ctx, out)
}

func patient() Config {
	c := DefaultConfig()
	c.Deadline = 30 * time.Second
	return c
}

// What is asked is judged, is written to every sink before the answer, and is named by what it says:
// asked again it has the same id, and other bytes have another. All of it is on the account.
func TestAnswers(t *testing.T) {
	evidence, topics := new(pipelinetest.Sink), new(pipelinetest.Sink)
	w := start(t, patient(), evidence, topics)
	ids := make(map[string]string)
	for _, c := range []struct {
		text, action, reason string
		hits                 int
	}{
		{"harmless", "pass", "none", 0},
		{"some forbiddenstuff", "review", "content", 1},
		{"some terriblestuff and forbiddenstuff", "reject", "content", 2},
		{"some shadowystuff", "pass", "none", 1},
	} {
		g := w.ask(t, post("p", c.text))
		hits, _ := g.said["hits"].([]any)
		if g.status != http.StatusOK || g.said["action"] != c.action || g.said["reason"] != c.reason || len(hits) != c.hits || g.said["event_id"] != "p" || g.said["kind"] != "post" {
			t.Errorf("%s: %d %s", c.text, g.status, g.body)
			continue
		}
		for _, h := range hits {
			h := h.(map[string]any)
			if got := c.text[int(h["start"].(float64)):int(h["end"].(float64))]; got != h["text"] || "test."+got != h["rule"] {
				t.Errorf("%s: the hit %v", c.text, h)
			}
		}
		id := g.said["id"].(string)
		if before := ids[id]; before != "" {
			t.Errorf("%q has the id of %q", c.text, before)
		}
		ids[id] = c.text
		for name, s := range map[string]*pipelinetest.Sink{"evidence": evidence, "topics": topics} {
			n := 0
			for _, e := range s.Entries() {
				if e.ID.String() == id {
					n++
				}
			}
			if want := min(c.hits, 1); n != want {
				t.Errorf("%s: %d entries in %s when the answer is here, want %d", c.text, n, name, want)
			}
		}
		if (g.said["evidence"] != nil) != (c.hits > 0) {
			t.Errorf("%s: evidence %v", c.text, g.said["evidence"])
		}
		if again := w.ask(t, post("p", c.text)); string(again.body) != string(g.body) {
			t.Errorf("asked again:\n%s\nbefore:\n%s", again.body, g.body)
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	var sum pipeline.Counts
	for _, c := range evidence.Coverage() {
		if c.Topic != Path || !c.Balanced() || c.Rules == "" {
			t.Errorf("account %+v", c)
		}
		sum.Fetched += c.Fetched
		sum.Passed += c.Passed
		sum.Flagged += c.Flagged
	}
	if diff := cmp.Diff(pipeline.Counts{Fetched: 8, Passed: 4, Flagged: 4}, sum); diff != "" {
		t.Errorf("the account (-want +got):\n%s", diff)
	}
}

// A CloudEvent in structured mode is the same event as on a topic.
func TestCloudEvent(t *testing.T) {
	w := start(t, patient(), new(pipelinetest.Sink))
	r := w.request(t, `{"specversion":"1.0","id":"p9","source":"/x","type":"weir.post","time":"2026-01-02T03:04:05Z","data":{"user":{"id":"u1"},"fields":{"text":"terriblestuff"}}}`)
	r.Header.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
	if g := w.send(t, r); g.said["action"] != "reject" || g.said["event_id"] != "p9" {
		t.Errorf("%d %s", g.status, g.body)
	}
}

// What is no event that can be judged is refused with the word for it and what would be right; the answer
// holds nothing of the request, and nothing of it is written anywhere.
func TestRefusals(t *testing.T) {
	s := new(pipelinetest.Sink)
	w := start(t, patient(), s)
	canary := "Canary" + rand.Text()
	whole := post("a", "terriblestuff "+canary)
	for _, c := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
		word       string // of the problem's type
		reason     string
	}{
		{"not JSON", canary, nil, 400, "no-event", "syntax"},
		{"cut off", whole[:len(whole)-1], nil, 400, "no-event", "truncated"},
		{"empty", "", nil, 400, "no-event", "empty-value"},
		{"a name twice", strings.Replace(whole, `"id"`, `"id":"`+canary+`","id"`, 1), nil, 400, "no-event", "duplicate-name"},
		{"an unknown name", strings.Replace(whole, `"id"`, `"`+canary+`":1,"id"`, 1), nil, 400, "no-event", "unknown-name"},
		{"nested deep", strings.Replace(whole, `"terrible`, strings.Repeat(`{"`+canary+`":`, 40)+`"terrible`, 1), nil, 400, "no-event", "too-deep"},
		{"bad UTF-8", strings.Replace(whole, canary, canary+"\xff", 1), nil, 400, "no-event", "invalid-utf8"},
		{"a phone number as user", strings.Replace(whole, `"u1"`, `"13800138000"`, 1), nil, 400, "no-event", "personal-number"},
		{"consent", `{"kind":"consent","id":"c","time":"2026-01-02T03:04:05Z","user":{"id":"u1"},"version":1,"grants":[]}`, nil, 422, "kind", ""},
		{"a push where there are none", strings.Replace(whole, `"id"`, `"class":"x","channel":"y","id"`, 1), nil, 422, "no-pushes", ""},
		{"large", post("a", strings.Repeat("x", 1<<20)), nil, 413, "too-large", "too-large"},
		{"large, of a length it does not tell", post("a", strings.Repeat("x", 1<<20)), func(r *http.Request) { r.ContentLength = -1 }, 413, "too-large", "too-large"},
		{"no media type", whole, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "media-type", ""},
		{"a form", whole, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415, "media-type", ""},
		{"another charset", whole, func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=gbk") }, 415, "media-type", ""},
		{"compressed", whole, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, "media-type", ""},
		{"another method", whole, func(r *http.Request) { r.Method = http.MethodPut }, 405, "method", ""},
		{"another path", whole, func(r *http.Request) { r.URL.Path = "/v1/judge/" + canary }, 404, "not-found", ""},
		{"a page in a browser", whole, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "foreign-origin", ""},
		{"a name made to point here", whole, func(r *http.Request) { r.Host = canary + ".example.org" }, 421, "misdirected", ""},
	} {
		r := w.request(t, c.body)
		if c.change != nil {
			c.change(r)
		}
		g := w.send(t, r)
		if reason, _ := g.said["reason"].(string); g.status != c.status || g.said["type"] != "urn:weir:problem:"+c.word || reason != c.reason || g.said["detail"] == "" {
			t.Errorf("%s: %d %s; want %d %s %s", c.name, g.status, g.body, c.status, c.word, c.reason)
		}
		if strings.Contains(string(g.body), canary) {
			t.Errorf("%s: the answer tells what was sent: %s", c.name, g.body)
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if len(s.Entries()) > 0 || len(s.Coverage()) > 0 {
		t.Errorf("refused, and yet written: %v %v", s.Entries(), s.Coverage())
	}
}

// More requests than are allowed in hand are refused at once with 503 and when to come again; those in
// hand are answered.
func TestOverload(t *testing.T) {
	s := newGate()
	c := patient()
	c.MaxRequests = 2
	w := start(t, c, s)
	open := s.shut()
	answers := make(chan got, 2)
	for i := range 2 {
		go func() { answers <- w.ask(t, post(fmt.Sprint("p", i), "terriblestuff")) }()
	}
	for n := 0; n < 2; {
		n += <-s.came
	}
	for range 10 {
		if g := w.ask(t, post("more", "harmless")); g.status != 503 || g.said["type"] != "urn:weir:problem:overloaded" || g.header.Get("Retry-After") != "1" {
			t.Errorf("%d %s", g.status, g.body)
		}
	}
	open()
	for range 2 {
		if g := <-answers; g.status != 200 || g.said["action"] != "reject" {
			t.Errorf("%d %s", g.status, g.body)
		}
	}
	if n := testutil.CollectAndCount(w.registry, "weir_api_request_duration_seconds"); n != int(numResults) {
		t.Errorf("%d series of results, want %d", n, numResults)
	}
}

// Bodies are bounded together, whatever their number.
func TestOverloadByBytes(t *testing.T) {
	w := start(t, patient(), new(pipelinetest.Sink))
	if !w.server.bodies.TryAcquire(maxBodies - 100) {
		t.Fatal("no room")
	}
	defer w.server.bodies.Release(maxBodies - 100)
	if g := w.ask(t, post("p", strings.Repeat("x", 200))); g.status != 503 || g.said["type"] != "urn:weir:problem:overloaded" {
		t.Errorf("%d %s", g.status, g.body)
	}
	if n := len(w.server.slots); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

// While an output cannot be written nobody is told anything but 503, also of a post in the same batch
// that passes; when it can be again the same request has its answer, under the same id.
func TestLate(t *testing.T) {
	evidence, topics := new(pipelinetest.Sink), newGate()
	c := DefaultConfig()
	c.Deadline = 50 * time.Millisecond
	w := start(t, c, evidence, topics)
	topics.fail(errors.New("no broker"))
	for range 3 {
		if g := w.ask(t, post("p", "terriblestuff")); g.status != 503 || g.said["type"] != "urn:weir:problem:late" || g.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", g.status, g.body)
		}
	}
	topics.fail(nil)
	entries := evidence.Entries()
	var g got
	for deadline := time.Now().Add(time.Minute); g.status != 200 && time.Now().Before(deadline); {
		g = w.ask(t, post("p", "terriblestuff")) // 50 ms may be short for a busy machine
	}
	for _, e := range entries {
		if e.ID.String() != g.said["id"] {
			t.Errorf("the evidence has %s, the answer %v", e.ID, g.said["id"])
		}
	}
	if len(entries) == 0 {
		t.Error("nothing was on record before the topic took it")
	}
}

// Requests that wait at the same time are judged together.
func TestBatches(t *testing.T) {
	s := newGate()
	w := start(t, patient(), s)
	open := s.shut()
	const first, more = lanesEach, 100
	var wg sync.WaitGroup
	ask := func(i int) {
		wg.Go(func() {
			if g := w.ask(t, post(fmt.Sprint("p", i), "terriblestuff")); g.said["event_id"] != fmt.Sprint("p", i) || g.said["action"] != "reject" {
				t.Errorf("%d: %d %s", i, g.status, g.body)
			}
		})
	}
	for i := range first { // each lane has one
		ask(i)
		if n := <-s.came; n != 1 {
			t.Fatalf("%d at once", n)
		}
	}
	for i := range more {
		ask(first + i)
	}
	for deadline := time.Now().Add(time.Minute); len(w.server.lanes[event.Post].requests) < more; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not wait")
		}
	}
	open()
	wg.Wait()
	if n := len(s.came); n > lanesEach {
		t.Errorf("%d requests that waited were written in %d batches, want at most one a lane", more, n)
	}
	seen := make(map[pipeline.ID]bool)
	for _, e := range s.Entries() {
		seen[e.ID] = true
	}
	if len(seen) != first+more {
		t.Errorf("%d events are written, want %d", len(seen), first+more)
	}
}

// Told to stop, it answers what is in hand, tells others to go elsewhere, and puts all on the account
// before it ends.
func TestDrain(t *testing.T) {
	s := newGate()
	w := start(t, patient(), s)
	// A connection that is open already, as of a pool.
	if g := w.ask(t, post("before", "harmless")); g.status != 200 {
		t.Fatalf("%d %s", g.status, g.body)
	}
	open := s.shut()
	answer := make(chan got, 1)
	other := &world{server: w.server, client: &http.Client{Transport: &http.Transport{}}}
	defer other.client.CloseIdleConnections()
	go func() { answer <- other.ask(t, post("p", "terriblestuff")) }()
	<-s.came
	w.cancel()
	for deadline := time.Now().Add(time.Minute); w.server.open.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not hear")
		}
	}
	if g := w.ask(t, post("late", "harmless")); g.status != 503 || g.said["type"] != "urn:weir:problem:stopping" || g.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", g.status, g.body)
	}
	open()
	if g := <-answer; g.status != 200 || g.said["action"] != "reject" {
		t.Errorf("in hand: %d %s", g.status, g.body)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, c := range s.Coverage() {
		sum += c.Fetched
	}
	if sum != 2 {
		t.Errorf("%d on the account, want 2", sum)
	}
}

// When the evidence is broken for good nobody who waits is told that anything passes, and it ends with
// the error, as the stream does.
func TestBrokenForGood(t *testing.T) {
	s := newGate()
	w := start(t, patient(), s)
	dead := errors.New("the log is dead")
	s.fail(pipeline.Permanent(dead))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := w.request(t, post(fmt.Sprint("p", i), "terriblestuff"))
			resp, err := w.client.Do(r)
			if err != nil {
				return // the listener has gone: no answer is no pass
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 503 {
				t.Errorf("%d while nothing can be put on record", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	if err := w.stop(); !errors.Is(err, dead) {
		t.Errorf("it ended with %v", err)
	}
}

// An event whose verdict no topic takes is a dead letter, and who asked is told so and not that it passes.
func TestUnjudged(t *testing.T) {
	s := &pipelinetest.Sink{Limit: 200}
	w := start(t, patient(), s)
	g := w.ask(t, post("p", "terriblestuff"+strings.Repeat(" x", 200)))
	if g.status != 422 || g.said["type"] != "urn:weir:problem:unjudged" || g.said["reason"] != "output-too-large" {
		t.Errorf("%d %s", g.status, g.body)
	}
	if g := w.ask(t, post("p", "terriblestuff")); g.status != 200 || g.said["action"] != "reject" {
		t.Errorf("the next one: %d %s", g.status, g.body)
	}
}

// The document is served, and docs/openapi.yaml is the same.
func TestOpenAPIIsServed(t *testing.T) {
	w := start(t, patient(), new(pipelinetest.Sink))
	copied, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/openapi.yaml": string(copied), "/-/ready": "ready\n"} {
		resp, err := w.client.Get(strings.TrimSuffix(w.server.URL(), Path) + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(text) != want {
			t.Errorf("%s: %d, %d bytes; want %d (make generate copies the document)", path, resp.StatusCode, len(text), len(want))
		}
	}
}
