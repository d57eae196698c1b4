package app_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traceHeaders are those of a sampled trace of somebody, another one for each name.
func traceHeaders(name string) []kgo.RecordHeader {
	sum := sha256.Sum256([]byte(name))
	return []kgo.RecordHeader{
		{Key: "traceparent", Value: fmt.Appendf(nil, "00-%x-%x-01", sum[:16], sum[16:24])},
		{Key: "tracestate", Value: []byte("vendor=" + hex.EncodeToString(sum[24:]))},
	}
}

// traceIDOf is the trace of somebody.
func traceIDOf(name string) string { return string(traceHeaders(name)[0].Value[3:35]) }

// traceOf returns the headers of a message that are about its trace.
func traceOf(r *kgo.Record) []kgo.RecordHeader {
	var list []kgo.RecordHeader
	for _, h := range r.Headers {
		if strings.HasPrefix(h.Key, "trace") {
			list = append(list, h)
		}
	}
	return list
}

// otlp is an OTLP receiver.
type otlp struct {
	mu    sync.Mutex
	spans []*wire.Span
	bytes bytes.Buffer // all that came
	come  chan struct{}
}

func (o *otlp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b, err := io.ReadAll(z)
	var m collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(b, &m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes.Write(b)
	for _, rs := range m.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				o.spans = append(o.spans, s)
				o.come <- struct{}{}
			}
		}
	}
}

// A trace goes through a daemon: from the headers of a message to those of everything it causes, with
// spans on or off; a flagged message of a trace that is recorded has a span that links to its producer's;
// its age has the trace as exemplar; and what the message says and whose it is, is in none of it.
func TestTraceGoesThroughTheDaemon(t *testing.T) {
	f := newFleet(t)
	f.publishFirst(f.signed(pack("一号测试词")))
	f.start("off")
	f.post("p1", "一号测试词 and a secret-text", traceHeaders("p1")...)
	f.post("p2", "一号测试词", kgo.RecordHeader{Key: "traceparent", Value: []byte("00-malformed")}, kgo.RecordHeader{Key: "tracestate", Value: []byte("vendor=x")})
	f.produce(f.tag+".posts", fleetUser, []byte("{"), traceHeaders("dead")...)
	review := f.onTopic(".review", 2)
	if diff := cmp.Diff(traceHeaders("p1"), traceOf(review["p1"])); diff != "" {
		t.Errorf("spans off: -want +got:\n%s", diff)
	}
	if h := traceOf(review["p2"]); h != nil {
		t.Errorf("a malformed trace is passed on: %v", h)
	}
	if diff := cmp.Diff(traceHeaders("dead"), traceOf(f.onTopic(".dead", 1)[""])); diff != "" {
		t.Errorf("a dead letter: -want +got:\n%s", diff)
	}
	f.awaitMetric("off", `weir_trace_spans_total{result="exported"} 0`)
	f.stop("off")

	o := &otlp{come: make(chan struct{}, 100)}
	server := httptest.NewServer(o)
	defer server.Close()
	f.extra = fmt.Sprintf("output: {review: %[1]s.review, deadletter: %[1]s.dead}\ntracing: {endpoint: '%[2]s/v1/traces'}\nlog: {verdicts: info}", f.tag, server.URL)
	f.start("on")
	f.post("p3", "一号测试词 and a secret-text", traceHeaders("p3")...)
	f.post("p4", "一号测试词", traceHeaders("p4")[:1]...)
	f.post("passes", "harmless", traceHeaders("passes")...)
	unsampled := traceHeaders("p5")
	unsampled[0].Value = append(bytes.Clone(unsampled[0].Value[:54]), '0')
	f.post("p5", "一号测试词", unsampled...)
	f.post("p6", "一号测试词")
	review = f.onTopic(".review", 6)
	for id, want := range map[string][]kgo.RecordHeader{"p3": traceHeaders("p3"), "p4": traceHeaders("p4")[:1], "p5": unsampled, "p6": nil} {
		if diff := cmp.Diff(want, traceOf(review[id])); diff != "" {
			t.Errorf("spans on: %s: -want +got:\n%s", id, diff)
		}
	}
	f.awaitMetric("on", `weir_messages_total{outcome="flagged",stream="post"} 4`)
	f.awaitMetric("on", `weir_messages_total{outcome="passed",stream="post"} 1`)
	exemplar := regexp.MustCompile(`weir_message_age_seconds_bucket\{.*stream="post".*\} \d+ # \{trace_id="([0-9a-f]{32})"\}`)
	found := exemplar.FindStringSubmatch(f.openMetrics("on"))
	if found == nil || found[1] != traceIDOf("p3") && found[1] != traceIDOf("p4") && found[1] != traceIDOf("passes") {
		t.Errorf("exemplar %q, want a trace that is recorded", found)
	}
	f.stop("on")

	o.mu.Lock()
	defer o.mu.Unlock()
	var linked []string
	for _, s := range o.spans {
		linked = append(linked, fmt.Sprintf("%x", s.Links[0].TraceId))
		var steps []string
		for _, e := range s.Events {
			steps = append(steps, e.Name)
		}
		if diff := cmp.Diff([]string{"judged", "evidence", "kafka"}, steps); diff != "" {
			t.Errorf("steps, -want +got:\n%s", diff)
		}
	}
	if diff := cmp.Diff(map[string]bool{traceIDOf("p3"): true, traceIDOf("p4"): true}, set(linked)); diff != "" || len(linked) != 2 {
		t.Errorf("%d spans, linked to -want +got:\n%s", len(linked), diff)
	}
	log := f.members["on"].log.String()
	for _, id := range []string{"p3", "p4", "p5"} {
		if strings.Count(log, `"trace_id":"`+traceIDOf(id)+`"`) != 1 {
			t.Errorf("the log has no line with the trace of %s", id)
		}
	}
	if strings.Contains(log, traceIDOf("passes")) {
		t.Error("a post that passes has a line in the log")
	}
	for _, secret := range []string{"一号测试词", "secret-text", fleetUser} {
		if bytes.Contains(o.bytes.Bytes(), []byte(secret)) {
			t.Errorf("%q is in the spans", secret)
		}
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func set(list []string) map[string]bool {
	m := make(map[string]bool)
	for _, x := range list {
		m[x] = true
	}
	return m
}

// onTopic waits until so many messages are on a topic and returns them by the id of the event,
// "" where the value names none.
func (f *fleet) onTopic(name string, n int) map[string]*kgo.Record {
	f.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.ConsumeTopics(f.tag+name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	records := make(map[string]*kgo.Record)
	for len(records) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.t.Fatalf("%d messages on %s, want %d: %v", len(records), name, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var m struct {
				EventID string `json:"event_id"`
			}
			_ = json.Unmarshal(r.Value, &m) // a dead letter need not be JSON
			records[m.EventID] = r
		})
	}
	return records
}

// openMetrics returns what an instance tells who asks for OpenMetrics.
func (f *fleet) openMetrics(name string) string {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.members[name].url+"/metrics", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") {
		f.t.Errorf("content type %q", got)
	}
	return string(text)
}
