package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/pipeline/event"
)

// stage is a desk whose broker and daemon are played by the test.
type stage struct {
	*desk
	url string

	mu   sync.Mutex
	sent []message
	done offsets
}

// play starts a desk. For each message sent, the daemon is asked what to write.
func play(t *testing.T, daemon func(s *stage, m message, at place) []*kgo.Record) *stage {
	t.Helper()
	s := &stage{done: make(offsets)}
	s.desk = &desk{
		dir: "/tmp/demo", taboos: readTestTaboos(t), now: func() time.Time { return noon }, patience: 20 * time.Second,
		tail: newTail(),
	}
	s.send = func(_ context.Context, list []message) ([]place, error) {
		var places []place
		for _, m := range list {
			if len(m.value) > 1<<20 {
				return nil, fmt.Errorf("write to the embedded broker: %w", kerr.MessageTooLarge)
			}
			s.mu.Lock()
			at := place{m.topic, 2, int64(100 + len(s.sent))}
			s.sent = append(s.sent, m)
			s.mu.Unlock()
			places = append(places, at)
			s.tail.take(daemon(s, m, at))
		}
		return places, nil
	}
	s.committed = func(context.Context) (offsets, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		done := make(offsets)
		for topic, list := range s.done {
			done[topic] = maps.Clone(list)
		}
		return done, nil
	}
	s.written = func(context.Context) (offsets, error) { return offsets{}, nil }
	srv := httptest.NewServer(s.handler())
	t.Cleanup(srv.Close)
	s.url, s.base = srv.URL, srv.URL
	return s
}

func (s *stage) pass(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done[at.topic] == nil {
		s.done[at.topic] = make(map[int32]int64)
	}
	s.done[at.topic][at.partition] = at.offset + 1
}

func (s *stage) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	return s.do(t, "POST", path, body)
}

func (s *stage) do(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return resp.StatusCode, text
}

// The messages a daemon writes, as small as the desk needs them.

func verdictRecord(topic string, at place, fields string) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Offset: 7, Key: []byte("visitor"), Timestamp: noon,
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: fmt.Appendf(nil, "%032x:%s", at.offset, topic)}},
		Value: fmt.Appendf(nil, `{"id":"%032x",%s,"evidence":{"log":"demo/0","record":"%032x"},"origin":{"topic":"%s","partition":%d,"offset":%d}}`,
			at.offset, fields, at.offset, at.topic, at.partition, at.offset),
	}
}

func forwarded(topic string, at place, m message) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Offset: 8, Key: []byte(m.key), Value: m.value, Timestamp: noon,
		Headers: []kgo.RecordHeader{{Key: "weir-id", Value: fmt.Appendf(nil, "%032x:cleared", at.offset)}},
	}
}

// A post that is hit is answered with its verdict, the hit's span marked in the
// text and what was invisible made visible, and with where to look.
func TestPostThatIsHit(t *testing.T) {
	const text = "下班来玩百\u200b家乐，首存送彩金"
	s := play(t, func(_ *stage, m message, at place) []*kgo.Record {
		var e event.Event
		if err := event.NewDecoder(event.DefaultConfig()).Decode(event.Post, nil, m.value, &e); err != nil {
			t.Errorf("the desk wrapped the text into %s: %v", m.value, err)
			return nil
		}
		start := strings.Index(text, "百")
		end := strings.Index(text, "，")
		fields, _ := json.Marshal([]map[string]string{{"name": "text", "text": string(e.Fields[0].Text)}})
		core := fmt.Sprintf(`"event_id":"%s","kind":"post","action":"review","reason":"content","rules":"0123456789abcdef0123",
			"hits":[{"rule":"gambling.betting","category":"gambling","severity":"high","field":"text","start":%d,"end":%d,"text":"x","form":"fold"}]`,
			m.id, start, end)
		return []*kgo.Record{
			verdictRecord(topicReview, at, core+`,"fields":`+string(fields)),
			verdictRecord(topicDecisions, at, core),
		}
	})
	status, got := s.post(t, "/posts?unescape=1&from=u-0042", `下班来玩百\u200b家乐，首存送彩金`)
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{
		"sent      weir.posts partition 2 offset 100, event try-0001",
		"verdict   review, reason content",
		"hit       gambling.betting (gambling, high), found by fold",
		"text: 下班来玩«百<U+200B>家乐»，首存送彩金",
		"weir.review     curl -s '" + s.url + "/topics/weir.review?at=0:7'",
		"weir.decisions ",
		"in /tmp/demo/evidence",
		"rules     0123456789abcdef\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if _, got := s.do(t, "GET", "/topics/weir.review?at=0:7", ""); !strings.Contains(got, `"rule": "gambling.betting"`) {
		t.Errorf("the topic shows at that place\n%s", got)
	}
	if key := s.sent[0].key; key != "u-0042" {
		t.Errorf("keyed by %s", key)
	}
}

// A post that passes leaves no message: the desk says so once the daemon has
// committed past it, and not before.
func TestPostThatPasses(t *testing.T) {
	s := play(t, func(s *stage, _ message, at place) []*kgo.Record { s.pass(at); return nil })
	if _, got := s.post(t, "/posts", "今天天气不错"); !strings.Contains(got, "verdict   pass") {
		t.Errorf("got\n%s", got)
	}
	idle := play(t, func(*stage, message, place) []*kgo.Record { return nil })
	idle.patience = 250 * time.Millisecond
	if _, got := idle.post(t, "/posts", "今天天气不错"); strings.Contains(got, "pass:") || !strings.Contains(got, "none within 250ms") {
		t.Errorf("nobody judged it, but the desk says\n%s", got)
	}
}

// What begins with a brace goes out as it is, byte for byte, and a message that
// can never be judged is answered with the reason from its dead letter.
func TestBrokenJSON(t *testing.T) {
	s := play(t, func(_ *stage, m message, at place) []*kgo.Record {
		h := func(k, v string) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: []byte(v)} }
		return []*kgo.Record{{
			Topic: topicDeadLetter, Value: m.value, Timestamp: noon,
			Headers: []kgo.RecordHeader{
				h("__connect.errors.topic", at.topic), h("__connect.errors.partition", fmt.Sprint(at.partition)),
				h("__connect.errors.offset", fmt.Sprint(at.offset)), h("weir-id", "5f:deadletter"),
				h("weir-stage", "decode"), h("weir-reason", "truncated"), h("__connect.errors.exception.message", "the JSON ends early"),
			},
		}}
	})
	const body = " {\"id\":\"post-1\",\"user\":{\"id\":\"u-0042\"\x1b[31m"
	_, got := s.post(t, "/posts", body)
	if v := string(s.sent[0].value); v != body {
		t.Errorf("sent %q", v)
	}
	for _, want := range []string{"dead letter, reason truncated, at stage decode", "the JSON ends early", "weir.deadletter ", "record 5f in"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if c := s.tail.snapshot(); c.DeadLetters != 1 || c.deadPosts != 1 {
		t.Errorf("counted %+v", c)
	}
	// The terminal of who looks at the topic is not to obey the message.
	_, got = s.do(t, "GET", "/topics/deadletter?n=1", "")
	if strings.Contains(got, "\x1b") || !strings.Contains(got, "<U+001B>[31m") || !strings.Contains(got, "weir-reason: truncated") {
		t.Errorf("the topic shows\n%s", got)
	}
}

// Several pushes to one user are answered in a line each, in their order.
func TestOnePushTooMany(t *testing.T) {
	s := play(t, func(_ *stage, m message, at place) []*kgo.Record {
		var e event.Event
		if err := event.NewDecoder(event.DefaultConfig()).Decode(event.Push, nil, m.value, &e); err != nil {
			t.Errorf("%s: %v", m.value, err)
			return nil
		}
		if at.offset == 100 {
			return []*kgo.Record{
				verdictRecord(topicDecisions, at, `"event_id":"a","kind":"push","action":"pass","decision":"allow","reason":"none"`),
				forwarded(topicCleared, at, m),
			}
		}
		return []*kgo.Record{verdictRecord(topicDecisions, at,
			`"event_id":"b","kind":"push","action":"pass","decision":"deny","reason":"cap","push":{"decision":{"decision":"deny","limit":"mkt-hour","count":1,"max":1,"limits":[]}}`)}
	})
	_, got := s.post(t, "/pushes?to=early-bird&times=3", "周末套票八折")
	lines := strings.Split(got, "\n")
	if len(lines) < 3 || !strings.Contains(lines[0], "allow  none") ||
		!strings.Contains(lines[1], "deny   cap, limit mkt-hour: 1 of 1") || !strings.Contains(lines[2], "deny   cap") {
		t.Errorf("got\n%s", got)
	}
	if c := s.tail.snapshot(); c.Allowed != 1 || c.Denied != 2 {
		t.Errorf("counted %+v", c)
	}
	p, ok := s.tail.regretted()
	if !ok || p.push != "a" {
		t.Errorf("the allowed push is %+v, %v", p, ok)
	}
	var e event.Event
	if err := event.NewDecoder(event.DefaultConfig()).Decode(event.Push, nil, s.sent[0].value, &e); err != nil {
		t.Fatal(err)
	}
	if string(e.User.ID) != "early-bird" || string(e.Push.Class) != "marketing" || string(e.Push.Label) != adLabel {
		t.Errorf("sent %s", s.sent[0].value)
	}
}

// A push is answered only when all its topics have it: the decision and the
// push passed on.
func TestPushAtNight(t *testing.T) {
	s := play(t, func(s *stage, m message, at place) []*kgo.Record {
		go s.tail.take([]*kgo.Record{forwarded(topicDeferred, at, m)})
		return []*kgo.Record{verdictRecord(topicDecisions, at,
			`"event_id":"a","kind":"push","action":"pass","decision":"defer","reason":"quiet-hours","push":{"decision":{"decision":"defer","reason":"quiet-hours","not_before":"2026-03-14T19:12:00Z","zone":"Pacific/Pago_Pago","local_time":"2026-03-14T01:30:00-11:00","limits":[]}}`)}
	})
	_, got := s.post(t, "/pushes?to=night-owl", "周末套票八折")
	for _, want := range []string{"defer, reason quiet-hours", "not before 2026-03-14T19:12:00Z", "it is 01:30 there (Pacific/Pago_Pago)", "weir.deferred "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// What is asked wrongly is refused with what would be right.
func TestDeskRefuses(t *testing.T) {
	s := play(t, func(*stage, message, place) []*kgo.Record { return nil })
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{name: "no such topic", method: "GET", path: "/topics/weir.posts", status: 404, want: "there are weir.review, "},
		{name: "too many messages", method: "GET", path: "/topics/review?n=1000", status: 400, want: "from 1 to 256"},
		{name: "a message long gone", method: "GET", path: "/topics/review?at=0:7", status: 404, want: "give at=PARTITION:OFFSET"},
		{name: "too many pushes", method: "POST", path: "/pushes?times=21", body: "x", status: 400, want: "from 1 to 20"},
		{name: "too large for the broker", method: "POST", path: "/posts", body: strings.Repeat("x", 2<<20), status: 413, want: "stay under 1 MiB"},
		{name: "too large for the desk", method: "POST", path: "/posts", body: strings.Repeat("x", 5<<20), status: 413, want: "1 MiB"},
		{name: "from a page of another site", method: "POST", path: "/posts", body: "x",
			headers: []string{"Origin", "https://example.com", "Sec-Fetch-Site", "cross-site"}, status: 403, want: "cross-origin"},
		{name: "under another name", method: "GET", path: "/", headers: []string{"Host", "example.com"}, status: 421, want: "this is http://127.0.0.1:"},
		{name: "no such page", method: "GET", path: "/x", status: 404, want: "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, got := s.do(t, c.method, c.path, c.body, c.headers...)
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("got %d %s, want %d with %q", status, got, c.status, c.want)
			}
		})
	}
	if len(s.sent) != 0 {
		t.Errorf("%d messages were sent all the same", len(s.sent))
	}
	s.send = func(context.Context, []message) ([]place, error) { return nil, errors.New("gone") }
	if status, got := s.post(t, "/posts", "x"); status != 503 || !strings.Contains(got, "gone") {
		t.Errorf("with the broker gone: %d %s", status, got)
	}
}

// Escapes are for what cannot be typed; everything else stays as it is.
func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`a\u200bb`:         "a\u200bb",
		`\ud83d\ude00`:     "😀",
		`\u12 \x41 \n C:\`: `\u12 \x41 \n C:\`,
		`\uFF21`:           "Ａ",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

var shellCommand = regexp.MustCompile(`^curl -s '(http://127\.0\.0\.1:\d+/[^' ]*)' -d '([^']*)'$`)

// Each trial is one line for any shell: no quote or character inside its quotes
// ends it early, and its address is one of the desk's. The help shows them all.
func TestTrialsAreCommands(t *testing.T) {
	s := play(t, func(s *stage, _ message, at place) []*kgo.Record { s.pass(at); return nil })
	_, help := s.do(t, "GET", "/", "")
	titles := make(map[string]bool)
	for _, trial := range s.trials() {
		m := shellCommand.FindStringSubmatch(trial.Command)
		if m == nil {
			t.Errorf("%s: %s", trial.Title, trial.Command)
			continue
		}
		if !strings.Contains(help, trial.Title) || !strings.Contains(help, trial.Command) {
			t.Errorf("the help does not show %s", trial.Title)
		}
		u, err := url.Parse(m[1])
		if err != nil {
			t.Error(err)
			continue
		}
		if status, got := s.post(t, u.RequestURI(), m[2]); status != http.StatusOK {
			t.Errorf("%s: %d %s", trial.Title, status, got)
		}
		titles[trial.Title] = true
	}
	if len(titles) != 6 {
		t.Errorf("%d trials", len(titles))
	}
	_, list := s.do(t, "GET", "/topics", "")
	for _, name := range outputs() {
		if !strings.Contains(list, name) {
			t.Errorf("the list of topics lacks %s", name)
		}
	}
}
