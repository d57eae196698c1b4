package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-moderation/weir/internal/status"
)

func someStatus(t *testing.T, problems ...status.Problem) []byte {
	t.Helper()
	s := status.Snapshot{Version: 1, Time: time.Now(), Instance: status.Instance{Source: "weir", Name: "7"}, Level: status.OK, Problems: problems}
	if len(problems) > 0 {
		s.Level = problems[0].Level
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What top says once, and with which exit code.
func TestTopOnce(t *testing.T) {
	kafka := status.Problem{Kind: status.KafkaAway, Part: status.Kafka, Level: status.Down, What: "Kafka does not answer", Next: "See that its brokers run.", Detail: "nobody listens there"}
	for _, c := range []struct {
		name     string
		args     []string
		answer   []byte
		code     int
		exit     int
		out, err string
	}{
		{"well", []string{"--once"}, someStatus(t), 200, exitFine, "All is well", ""},
		{"something is wrong", []string{"--once"}, someStatus(t, kafka), 200, exitFindings, "See that its brokers run.", ""},
		{"no terminal", nil, someStatus(t, kafka), 200, exitFine, "Kafka does not answer", ""},
		{"json", []string{"--json"}, someStatus(t, kafka), 200, exitFine, `"kafka-away"`, ""},
		{"too early", []string{"--once"}, nil, 503, exitFailed, "", "just started"},
		{"something else", []string{"--once"}, []byte("<html>"), 200, exitFailed, "", "is no status of Weir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/status.json" {
					t.Errorf("asks for %s", r.URL.Path)
				}
				w.WriteHeader(c.code)
				_, _ = w.Write(c.answer)
			}))
			defer server.Close()
			var out, errs bytes.Buffer
			exit := run(t.Context(), append([]string{"top", "--admin", server.URL}, c.args...), streams{strings.NewReader(""), &out, &errs})
			if exit != c.exit || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.err) {
				t.Errorf("exit code %d\n%s\n%s", exit, out.String(), errs.String())
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Errorf("colours where no terminal is: %q", out.String())
			}
		})
	}
}

// At a terminal the screen is drawn in place at every tick; p holds it still, q and Ctrl-C end it. It never writes
// more lines than there are, and says why what it shows is old.
func TestTopLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, tick := make(chan byte), make(chan time.Time)
		asked, fails := 0, false
		pr, pw := io.Pipe()
		screens := make(chan string, 1)
		go func() {
			b := make([]byte, 64<<10)
			for {
				n, err := pr.Read(b)
				if err != nil {
					return
				}
				screens <- string(b[:n])
			}
		}()
		v := viewer{out: pw, paint: palette{on: true}.tone, keys: keys, tick: tick,
			size: func() (int, int) { return 80, 10 },
			fetch: func(context.Context) ([]byte, error) {
				asked++
				if fails {
					return nil, errors.New("ask the daemon: nobody there")
				}
				return someStatus(t), nil
			}}
		done := make(chan error, 1)
		go func() { done <- v.run(t.Context()) }()
		screen := func(wantAsked int, want ...string) {
			t.Helper()
			s := <-screens
			if asked != wantAsked || !strings.HasPrefix(s, "\x1b[H") || strings.Count(s, "\r\n") != 9 {
				t.Errorf("asked %d times, %d lines: %q", asked, strings.Count(s, "\r\n")+1, s)
			}
			for _, w := range want {
				if !strings.Contains(s, w) {
					t.Errorf("no %q in %q", w, s)
				}
			}
		}
		screen(1, "All is well", "q quits, p pauses", "\x1b[32m● ")
		tick <- time.Time{}
		screen(2, "All is well")
		keys <- 'p'
		screen(2, "paused")
		tick <- time.Time{}
		screen(2, "paused")
		fails = true
		keys <- 'p'
		screen(3, "nobody there", "All is well")
		keys <- 'q'
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() { done <- v.run(t.Context()) }()
		screen(4)
		keys <- interrupt
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = pw.Close()
	})
}
