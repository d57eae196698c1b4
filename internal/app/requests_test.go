package app

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests to the admin listener are counted by route and class of code: what is asked for beside
// the routes is one series, whatever scanners make up. A stream can still be flushed.
func TestRequestsAreMeasured(t *testing.T) {
	reg := prometheus.NewRegistry()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		if err := errors.Join(http.NewResponseController(w).Flush(), fprint(w)); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /-/evidence/consistency/{from}/{to}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /debug/pprof/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /new", func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{"/{$}", "/status.json", "/status/style.css", "/status/events"} {
		mux.HandleFunc("GET "+path, func(http.ResponseWriter, *http.Request) {})
	}
	h := newRequestMetrics(reg).around(mux)
	for _, r := range []struct{ method, path string }{
		{"GET", "/-/ready"}, {"GET", "/-/healthy"}, {"GET", "/-/healthy"}, {"GET", "/-/evidence/consistency/1/2"}, {"GET", "/debug/pprof/heap"},
		{"GET", "/new"}, {"GET", "/wp-login.php"}, {"GET", "/-/readyy"}, {"POST", "/-/healthy"},
		{"GET", "/"}, {"GET", "/status.json"}, {"GET", "/status/style.css"}, {"GET", "/status/events"}, // the last has no end
	} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r.method, r.path, nil))
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	series := 0
	for _, m := range families[0].GetMetric() {
		series++
		if n := m.GetHistogram().GetSampleCount(); n > 0 {
			got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = n
		}
	}
	want := map[string]uint64{"/-/ready 5xx": 1, "/-/healthy 2xx": 2, "/-/evidence/ 2xx": 1, "/debug/pprof/ 2xx": 1, "other 2xx": 1, "other 4xx": 3, "/status 2xx": 3}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if series != len(routes)*4 {
		t.Errorf("%d series, want %d: as many as from the start", series, len(routes)*4)
	}
}

func fprint(w http.ResponseWriter) error {
	_, err := strings.NewReader("healthy\n").WriteTo(w)
	return err
}
