package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The answer says of every part whether it is ready, and why not; one that is
// not makes all of Weir not ready.
func TestReadinessSaysWhatIsNotReady(t *testing.T) {
	well := func(context.Context) error { return nil }
	ill := func(context.Context) error { return errors.New("no partitions assigned: joining") }
	less := func(context.Context) error { return &degraded{errors.New("redis is away")} }
	for _, c := range []struct {
		probes []probe
		status int
		text   string
	}{
		{[]probe{{"rules", well}, {"redis", well}}, http.StatusOK, "rules: ready\nredis: ready\n"},
		{[]probe{{"consumer", ill}, {"rules", well}}, http.StatusServiceUnavailable,
			"consumer: not ready: no partitions assigned: joining\nrules: ready\n"},
		{[]probe{{"redis", less}, {"rules", well}}, http.StatusOK, "redis: ready, but degraded: redis is away\nrules: ready\n"},
	} {
		w := httptest.NewRecorder()
		readiness(c.probes).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/-/ready", nil))
		if w.Code != c.status || w.Body.String() != c.text {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.text)
		}
	}
}
