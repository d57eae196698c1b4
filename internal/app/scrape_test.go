package app

import (
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// What a scrape costs, of a daemon with everything on that reads 64 partitions of posts and those of
// the other streams: CPU of the process, the collection of garbage included, and how many bytes go
// over the line. Percent is of one core at a scrape every 15 seconds.
func BenchmarkScrape(b *testing.B) {
	d := startMeasured(b, true)
	if n := len(d.gather(b)["weir_consumer_lag_messages"].GetMetric()); n < many {
		b.Fatalf("%d partitions", n)
	}
	for name, accept := range map[string]string{
		"protobuf":    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
		"openmetrics": "application/openmetrics-text;version=1.0.0",
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Encoding", "gzip")
			size := 0
			began := cpu(b)
			for b.Loop() {
				w := httptest.NewRecorder()
				d.admin.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				size = w.Body.Len()
			}
			each := (cpu(b) - began) / time.Duration(b.N)
			b.ReportMetric(float64(each.Microseconds()), "cpu-us/op")
			b.ReportMetric(each.Seconds()/15*100, "percent")
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
