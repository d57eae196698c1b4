package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The command says what the daemon says.
func TestRestoreAsksTheDaemon(t *testing.T) {
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/-/rules/restore" {
			http.NotFound(w, r)
			return
		}
		switch r.URL.Query().Get("rule") {
		case "a.b & c":
			_, _ = io.WriteString(w, "restored\n")
		case "a.broken":
			http.Error(w, "broken", http.StatusInternalServerError)
		default:
			http.Error(w, "rule has not lost its action", http.StatusUnprocessableEntity)
		}
	}))
	defer daemon.Close()
	for _, c := range []struct {
		rule, admin      string
		code             int
		stdout, stderror string
	}{
		{"a.b & c", daemon.URL, exitFine, "rule a.b & c has its action back\n", ""},
		{"a.b & c", daemon.URL + "/", exitFine, "rule a.b & c has its action back\n", ""},
		{"a.x", daemon.URL, exitFailed, "", "weir: error: rule has not lost its action\n"},
		{"a.broken", daemon.URL, exitFailed, "", "weir: error: " + daemon.URL + " is no admin listener of Weir: it answers 500 Internal Server Error\n"},
		{"a.x", daemon.URL + "/elsewhere", exitFailed, "", "it answers 404 Not Found\n"},
		{"a.x", "127.0.0.1:9464", exitMisuse, "", `--admin: "127.0.0.1:9464" is no address of an admin listener; give one such as http://127.0.0.1:9464`},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), []string{"rules", "restore", c.rule, "--admin", c.admin}, streams{strings.NewReader(""), &out, &err})
		if code != c.code || out.String() != c.stdout || !strings.Contains(err.String(), c.stderror) {
			t.Errorf("%s at %s: %d, %q, %q; want %d, %q, %q", c.rule, c.admin, code, out.String(), err.String(), c.code, c.stdout, c.stderror)
		}
	}
}
