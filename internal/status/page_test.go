package status

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// served is a page that was looked at once, with something of everything on it.
func served(t *testing.T) (*world, *http.ServeMux) {
	t.Helper()
	w := newWorld(t)
	mux := http.NewServeMux()
	Serve(mux, w.monitor)
	return w, mux
}

func (w *world) fill() {
	w.messages.WithLabelValues("post", "passed").Add(2000)
	w.messages.WithLabelValues("post", "flagged").Add(30)
	w.messages.WithLabelValues("post", "dead_lettered").Add(3)
	w.messages.WithLabelValues("push", "passed").Add(50)
	w.hits.WithLabelValues("one", "high").Add(30)
	w.byRule[0].Add(30)
	w.decisions.WithLabelValues("deny", "cap").Add(9)
	w.decisions.WithLabelValues("allow", "none").Add(50)
	w.dead.WithLabelValues("syntax").Add(3)
	w.lag.WithLabelValues("weir.posts", "3").Set(17)
	w.age.WithLabelValues("post").Observe(.15)
	w.appends.Observe(.01)
}

func get(mux http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

// Before the first look the page says so and comes back by itself; programs are told to ask again.
func TestBeforeTheFirstLook(t *testing.T) {
	_, mux := served(t)
	for path, want := range map[string]string{"/": "Weir has just started", "/status.json": "has not looked yet"} {
		if r := get(mux, path); r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), want) {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
}

// The page has everything on it, in both languages, with nothing inline and nothing from elsewhere.
func TestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mux := served(t)
		w.fill()
		w.fail(Kafka, Fault{KafkaAway, "broker <b>1</b>: nobody listens there"})
		w.run(t)
		wait(1)
		for lang, want := range map[string][]string{
			"en": {`lang="en"`, "Kafka does not answer", "2,000", "test.one", "One", "the user has had as many as a limit allows", "syntax", "weir.posts/3",
				"abcdef012345", "10", "operations.md#kafka-does-not-answer", "broker &lt;b&gt;1&lt;/b&gt;: nobody listens there"},
			"zh": {`lang="zh-CN"`, "Kafka 无响应", "一类", "用户已达限额", "死信"},
		} {
			r := get(mux, "/?lang="+lang)
			text := r.Body.String()
			if r.Code != http.StatusOK {
				t.Fatalf("%d %s", r.Code, text)
			}
			for _, x := range want {
				if !strings.Contains(text, x) {
					t.Errorf("%s: the page lacks %q", lang, x)
				}
			}
			if csp := r.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			for _, bad := range []string{`style="`, "<style", "onclick", "javascript:", "ZgotmplZ"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: the page has %q", lang, bad)
				}
			}
			for _, m := range regexp.MustCompile(`(?:src|<link[^>]* href)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
				a := get(mux, m[1])
				if !strings.HasPrefix(m[1], "/status/") || a.Code != http.StatusOK || !strings.Contains(a.Header().Get("Cache-Control"), "immutable") {
					t.Errorf("%s: %d %v", m[1], a.Code, a.Header())
				}
			}
		}
	})
}

// The language is what the address says, what was chosen before, or what the browser prefers.
func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		path, accept, cookie string
		want                 language
	}{
		{"/", "", "", english}, {"/", "zh-CN,zh;q=0.9,en;q=0.8", "", chinese}, {"/", "fr, en;q=0.4, zh;q=0.7", "", chinese}, {"/", "en-GB,zh;q=0.5", "", english},
		{"/?lang=zh", "en", "", chinese}, {"/?lang=en", "zh", "zh", english}, {"/?lang=xx", "zh", "", chinese}, {"/", "en", "zh", chinese}, {"/", "zh;q=x", "", english},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("Accept-Language", c.accept)
		if c.cookie != "" {
			r.AddCookie(&http.Cookie{Name: languageCookie, Value: c.cookie})
		}
		if got := languageOf(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// Colours that were chosen are remembered, others are not taken.
func TestTheme(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mux := served(t)
		w.run(t)
		wait(1)
		r := get(mux, "/?theme=dark")
		if !strings.Contains(r.Body.String(), `data-theme="dark"`) || !strings.HasPrefix(r.Header().Get("Set-Cookie"), "weir-theme=dark; Path=/; ") {
			t.Errorf("chosen: %v", r.Header())
		}
		if r := get(mux, "/", "Cookie", "weir-theme=dark"); !strings.Contains(r.Body.String(), `data-theme="dark"`) || r.Header().Get("Set-Cookie") != "" {
			t.Errorf("remembered: %v", r.Header())
		}
		if r := get(mux, "/?theme=%22x", "Cookie", "weir-theme=pink"); !strings.Contains(r.Body.String(), `data-theme="auto"`) {
			t.Error("another one was taken")
		}
	})
}

// The snapshot as JSON has every member that programs were promised.
func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mux := served(t)
		w.fill()
		w.run(t)
		wait(1)
		r := get(mux, "/status.json")
		var s map[string]any
		if err := json.Unmarshal(r.Body.Bytes(), &s); err != nil || r.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%v, %v", err, r.Header())
		}
		for _, name := range []string{"version", "time", "instance", "level", "problems", "parts", "flow", "lag", "charts", "hits", "push", "dead_letters", "in_force", "evidence"} {
			if s[name] == nil {
				t.Errorf("it lacks %s", name)
			}
		}
		if len(s) != 14 || s["version"] != 1.0 {
			t.Errorf("%d members, version %v: a member that is added belongs into this list", len(s), s["version"])
		}
	})
}

// events opens the events of a server and returns the lines that come.
func events(ctx context.Context, t *testing.T, url string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/status/events?lang=zh", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return resp, lines
}

// A browser is sent each snapshot in its language, and the stream ends when the daemon does: what is open must
// not hold the process.
func TestEvents(t *testing.T) {
	w, mux := served(t)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	stop := w.run(t)
	resp, lines := events(t.Context(), t, server.URL)
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	if !lines.Scan() || lines.Text() != "retry: 3000" {
		t.Fatalf("%q, %v", lines.Text(), lines.Err())
	}
	w.monitor.hub.publish(await(t, w))
	text := ""
	for lines.Scan() && (lines.Text() != "" || text == "") {
		text += lines.Text() + "\n"
	}
	if !strings.Contains(text, "data: <section class=\"state ok\"") || !strings.Contains(text, "一切正常") {
		t.Errorf("sent %s, %v", text, lines.Err())
	}
	stop()
	rest := 0
	for lines.Scan() {
		rest++
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream ends with %v after %d lines more", err, rest)
	}
	if r, _ := events(t.Context(), t, server.URL); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: %s", r.Status)
	} else {
		_ = r.Body.Close()
	}
}

// await returns the first snapshot.
func await(t *testing.T, w *world) *Snapshot {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // between two questions, not for an effect
		if s := w.monitor.Snapshot(); s != nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal("no snapshot")
		}
	}
}

// No more browsers are served than there is room for, one that is gone makes room, and one that does not take what
// it is sent is dropped rather than waited for.
func TestBrowsersAreBounded(t *testing.T) {
	h := newHub()
	var all []chan *Snapshot
	for range maxClients {
		all = append(all, h.join())
	}
	if h.join() != nil {
		t.Error("one more than there may be")
	}
	h.leave(all[0])
	if c := h.join(); c == nil {
		t.Error("no room for the next one")
	}
	s := &Snapshot{}
	h.publish(s)
	<-all[1] // takes it; the others do not
	h.publish(s)
	if got, ok := <-all[1]; !ok || got != s {
		t.Error("who takes what is sent is not served any more")
	}
	<-all[2]
	if _, ok := <-all[2]; ok {
		t.Error("who does not is served still")
	}
	if n := len(h.clients); n != 1 {
		t.Errorf("%d are left", n)
	}
	h.close()
	if h.join() != nil {
		t.Error("somebody joins what has ended")
	}
}

// A browser that reads nothing does not hold the handler: its connection ends.
func TestSlowBrowser(t *testing.T) {
	w, mux := served(t)
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer close(ended)
		mux.ServeHTTP(stuck{rw}, r)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(server.URL + "/status/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	<-ended
	if n := len(w.monitor.hub.clients); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

// stuck is a connection on which a deadline has passed.
type stuck struct{ http.ResponseWriter }

func (stuck) Write([]byte) (int, error)        { return 0, context.DeadlineExceeded }
func (stuck) SetWriteDeadline(time.Time) error { return nil }
func (s stuck) Unwrap() http.ResponseWriter    { return s.ResponseWriter }

// The report for a terminal has what the page has, within the columns there are.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := served(t)
		w.fill()
		w.fail(Kafka, Fault{KafkaAway, strings.Repeat("nobody listens there; ", 8)})
		w.run(t)
		wait(4)
		for _, columns := range []int{40, 80, 120} {
			lines := Report(w.monitor.Snapshot(), columns, nil)
			for _, l := range lines {
				if n := len([]rune(l)); n > columns && !strings.Contains(l, "https://") {
					t.Errorf("%d columns: %q has %d", columns, l, n)
				}
			}
			text := strings.Join(lines, "\n")
			for _, want := range []string{"weir/0", "Kafka does not answer", "fault", "test.one", "cap", "2,000", "abcdef012345"} {
				if columns >= 80 && !strings.Contains(text, want) {
					t.Errorf("%d columns: no %q in\n%s", columns, want, text)
				}
			}
		}
	})
}
