package app

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// routes are the paths of the admin listener that have series of their own, the pattern
// of a request without its method; of a family only the beginning. Whatever else is asked for, the
// wrong paths of scanners among it, is "other".
// The page is "/status" with all that belongs to it.
var routes = [...]string{"/metrics", "/-/healthy", "/-/ready", "/-/reload", "/-/rules/", "/-/evidence/", "/status", "/debug/pprof/", "other"}

// stream is the pattern of the answers that have no end: how long one was listened to is no time to answer.
const stream = "GET /status/events"

// codes are the classes of HTTP status codes, by their first digit.
var codes = [...]string{2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

// requestMetrics are what operators see of the admin listener.
type requestMetrics [len(routes)][len(codes)]prometheus.Observer

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_http_request_duration_seconds",
		Help:                        "Time to answer a request to the admin listener, by the class of the status code; other: a path that is none of its own.",
		Buckets:                     []float64{.005, .05, .5, 5},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{"route", "code"})
	reg.MustRegister(durations)
	m := new(requestMetrics)
	for i, route := range routes {
		for digit, code := range codes {
			if code != "" {
				m[i][digit] = durations.WithLabelValues(route, code)
			}
		}
	}
	return m
}

// around returns a handler that measures another, whose mux names the pattern.
func (m *requestMetrics) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &codeWriter{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			if r.Pattern == stream && c.code == http.StatusOK {
				return
			}
			if digit := c.code / 100; digit < len(codes) && codes[digit] != "" {
				m[route(r.Pattern)][digit].Observe(time.Since(began).Seconds())
			}
		}()
		h.ServeHTTP(c, r)
	})
}

// route returns the index of the route of a pattern.
func route(pattern string) int {
	_, path, ok := strings.Cut(pattern, " ")
	if !ok {
		path = pattern
	}
	if path == "/{$}" || strings.HasPrefix(path, "/status") {
		path = "/status"
	}
	for i, r := range routes[:len(routes)-1] {
		if path == r || strings.HasSuffix(r, "/") && strings.HasPrefix(path, r) {
			return i
		}
	}
	return len(routes) - 1
}

// codeWriter remembers the status code.
type codeWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *codeWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach what the server gave: a stream of events
// flushes through it.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
