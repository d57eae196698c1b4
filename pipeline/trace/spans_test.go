package trace

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/weir-moderation/weir/internal/dial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is an OTLP receiver over HTTP.
type receiver struct {
	mu       sync.Mutex
	spans    []*wire.Span
	resource map[string]string
	token    string // of the last request
	answer   int    // what requests are answered with; 0: that they are taken
	got      chan int
	hold     chan struct{} // if not nil, requests wait for it to be closed
}

func newReceiver() *receiver { return &receiver{got: make(chan int, 1000)} }

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-q.Context().Done():
			return
		}
	}
	var body io.Reader = q.Body
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(q.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	var m collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(b, &m)
	}
	if err != nil || q.Header.Get("Content-Type") != "application/x-protobuf" || q.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint("no export: ", err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = q.Header.Get("Authorization")
	if r.answer != 0 {
		w.WriteHeader(r.answer)
		r.got <- 0
		return
	}
	n := 0
	for _, rs := range m.ResourceSpans {
		r.resource = attributes(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
			n += len(ss.Spans)
		}
	}
	r.got <- n
}

// await waits until so many spans have come.
func (r *receiver) await(t *testing.T, n int) []*wire.Span {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		spans := slices.Clone(r.spans)
		r.mu.Unlock()
		if len(spans) >= n {
			return spans
		}
		select {
		case <-r.got:
		case <-late:
			t.Fatalf("%d spans, want %d", len(spans), n)
		}
	}
}

func attributes(list []*common.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_IntValue:
			m[a.Key] = fmt.Sprint(v.IntValue)
		default:
			m[a.Key] = a.Value.GetStringValue()
		}
	}
	return m
}

// running makes Spans to a receiver that run until the test ends or stop is called.
func running(t *testing.T, c Config, reg *prometheus.Registry, log *slog.Logger) (s *Spans, stop func()) {
	t.Helper()
	if c.Queue == 0 {
		c.Queue = DefaultConfig().Queue
	}
	s, err := New(Options{Config: c, Source: "city", Instance: "a", Build: "1.2.3", Logger: log, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func flagged(n int) *Flagged {
	return &Flagged{Context: Of(headers("traceparent", parent, "tracestate", "vendor=opaque")), Topic: "weir.posts", Partition: 3, Offset: int64(n),
		Kind: "post", Action: "review", Reason: "content", Evidence: "e1", Rules: "d1", Began: began,
		Steps: []Step{{"judged", began.Add(time.Millisecond)}, {"evidence", began.Add(2 * time.Millisecond)}, {"kafka", began.Add(3 * time.Millisecond)}}, Ended: began.Add(4 * time.Millisecond)}
}

func count(t *testing.T, reg *prometheus.Registry, want string) {
	t.Helper()
	text := "# HELP weir_trace_spans_total Spans of flagged messages, by what became of them: exported to the receiver, dropped because it is too slow, failed because it refused them or did not answer.\n# TYPE weir_trace_spans_total counter\n" + want
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text), "weir_trace_spans_total"); err != nil {
		t.Error(err)
	}
}

func totals(dropped, exported, failed int) string {
	return fmt.Sprintf("weir_trace_spans_total{result=\"dropped\"} %d\nweir_trace_spans_total{result=\"exported\"} %d\nweir_trace_spans_total{result=\"failed\"} %d\n", dropped, exported, failed)
}

// The span of a flagged message comes to an OTLP receiver: a trace of its own, with a link to
// the producer's span, the steps as events, and nothing of the message or its user.
func TestSpan(t *testing.T) {
	r := newReceiver()
	server := httptest.NewServer(r)
	defer server.Close()
	reg := prometheus.NewRegistry()
	s, stop := running(t, Config{Endpoint: server.URL + "/v1/traces"}, reg, slog.New(slog.DiscardHandler))
	s.Flagged(flagged(17))
	push := flagged(18)
	push.Decision = "deny"
	s.Flagged(push)
	unsampled := flagged(19)
	unsampled.Context = Of(headers("traceparent", strings.TrimSuffix(parent, "1")+"0"))
	s.Flagged(unsampled)
	without := flagged(20)
	without.Context = Context{}
	s.Flagged(without)
	spans := r.await(t, 2)
	stop()
	if len(r.spans) != 2 {
		t.Fatalf("%d spans, want those whose producers record", len(r.spans))
	}
	x := spans[0]
	link := x.Links[0]
	if hex.EncodeToString(link.TraceId) != traceID || hex.EncodeToString(link.SpanId) != spanID || len(x.Links) != 1 {
		t.Errorf("links %v", x.Links)
	}
	if hex.EncodeToString(x.TraceId) == traceID || len(x.ParentSpanId) > 0 {
		t.Errorf("trace %x, parent %x: want a trace of its own", x.TraceId, x.ParentSpanId)
	}
	if x.Name != "judge weir.posts" || x.Kind != wire.Span_SPAN_KIND_CONSUMER || x.StartTimeUnixNano != uint64(began.UnixNano()) || x.EndTimeUnixNano-x.StartTimeUnixNano != 4e6 {
		t.Errorf("span %v", x)
	}
	want := map[string]string{
		"messaging.system": "kafka", "messaging.operation.type": "process", "messaging.operation.name": "judge",
		"messaging.destination.name": "weir.posts", "messaging.destination.partition.id": "3", "messaging.kafka.offset": "17",
		"weir.kind": "post", "weir.action": "review", "weir.reason": "content", "weir.evidence": "e1", "weir.ruleset": "d1",
	}
	if diff := cmp.Diff(want, attributes(x.Attributes)); diff != "" {
		t.Errorf("attributes, -want +got:\n%s", diff)
	}
	if got := attributes(spans[1].Attributes)["weir.decision"]; got != "deny" {
		t.Errorf("decision %q", got)
	}
	var steps []string
	for _, e := range x.Events {
		steps = append(steps, fmt.Sprint(e.Name, " ", e.TimeUnixNano-x.StartTimeUnixNano))
	}
	if diff := cmp.Diff([]string{"judged 1000000", "evidence 2000000", "kafka 3000000"}, steps); diff != "" {
		t.Errorf("events, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"service.name": "weir", "service.namespace": "city", "service.instance.id": "a", "service.version": "1.2.3"}, r.resource); diff != "" {
		t.Errorf("resource, -want +got:\n%s", diff)
	}
	count(t, reg, totals(0, 2, 0))
}

// A receiver that does not answer holds nobody up: what its queue has no room for is dropped
// and counted, and nothing waits.
func TestSlowReceiver(t *testing.T) {
	r := newReceiver()
	r.hold = make(chan struct{})
	server := httptest.NewServer(r)
	defer server.Close()
	reg := prometheus.NewRegistry()
	s, err := New(Options{Config: Config{Endpoint: server.URL + "/v1/traces", Queue: 10}, Logger: slog.New(slog.DiscardHandler), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 { // nobody even sends
		s.Flagged(flagged(i))
	}
	count(t, reg, totals(15, 0, 0))
	close(r.hold)
	if err := s.Close(t.Context()); err != nil { // what is left goes out at the end
		t.Fatal(err)
	}
	if len(r.spans) != 10 {
		t.Errorf("%d spans, want the 10 that the queue held", len(r.spans))
	}
	count(t, reg, totals(15, 10, 0))
}

// A receiver that refuses is told of once in the log, and once more when it takes spans again.
func TestReceiverRefuses(t *testing.T) {
	r := newReceiver()
	r.answer = http.StatusBadRequest
	server := httptest.NewServer(r)
	defer server.Close()
	reg := prometheus.NewRegistry()
	var log strings.Builder
	s, stop := running(t, Config{Endpoint: server.URL + "/v1/traces"}, reg, slog.New(slog.NewTextHandler(&log, nil)))
	refused := func() float64 { return testutil.ToFloat64(s.metrics.failed) }
	for i := range 2 {
		s.Flagged(flagged(i))
		<-r.got
	}
	for deadline := time.Now().Add(30 * time.Second); refused() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v spans failed, want 2", refused())
		}
	}
	r.mu.Lock()
	r.answer = 0
	r.mu.Unlock()
	s.Flagged(flagged(2))
	r.await(t, 1)
	stop()
	count(t, reg, totals(0, 1, 2))
	if text := log.String(); strings.Count(text, "does not take spans") != 1 || strings.Count(text, "takes spans again") != 1 {
		t.Errorf("log:\n%s", text)
	}
}

// Over https the receiver is known by the authority that is configured, and gets the token.
func TestEncrypted(t *testing.T) {
	r := newReceiver()
	server := httptest.NewTLSServer(r)
	defer server.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for file, text := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), token: []byte("secret-token\n")} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := running(t, Config{Endpoint: server.URL + "/v1/traces", TLS: dial.TLS{Enabled: true, CAFile: ca}, TokenFile: token}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	s.Flagged(flagged(1))
	r.await(t, 1)
	if r.token != "Bearer secret-token" {
		t.Errorf("token %q", r.token)
	}
	for _, c := range []Config{
		{Endpoint: server.URL, TLS: dial.TLS{Enabled: true, CAFile: filepath.Join(dir, "none")}},
		{Endpoint: server.URL, TokenFile: filepath.Join(dir, "none")},
	} {
		if _, err := New(Options{Config: c}); err == nil || !strings.HasPrefix(err.Error(), "tracing.") {
			t.Errorf("a file that is not there: %v", err)
		}
		if err := c.CheckFiles(); err == nil || !strings.HasPrefix(err.Error(), "tracing.") {
			t.Errorf("checked, a file that is not there: %v", err)
		}
	}
}

// Settings of the environment, which the library would read, change neither where spans go nor
// which there are nor who they are from; they may add what else is known of the process.
func TestEnvironmentDoesNotCount(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=stolen")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,who=me")
	r := newReceiver()
	server := httptest.NewServer(r)
	defer server.Close()
	s, _ := running(t, Config{Endpoint: server.URL + "/v1/traces"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	s.Flagged(flagged(1))
	r.await(t, 1)
	if r.token != "" || r.resource["service.name"] != "weir" || r.resource["who"] != "me" {
		t.Errorf("token %q, resource %v", r.token, r.resource)
	}
}

// Spans that are off are nil, and all that can be asked of nil.
func TestOff(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := New(Options{Config: DefaultConfig(), Registerer: reg})
	if s != nil || err != nil {
		t.Fatal(s, err)
	}
	s.Flagged(flagged(1))
	off := DefaultConfig()
	if err := off.CheckFiles(); err != nil {
		t.Error(err)
	}
	if s.Wants(flagged(1).Context) || s.Run(t.Context()) != nil || s.Close(t.Context()) != nil {
		t.Error("spans that are off do something")
	}
	count(t, reg, totals(0, 0, 0))
}

// What the library takes for the producer's span is what the headers say.
func TestRemote(t *testing.T) {
	c := Of(headers("traceparent", parent)).remote()
	if !c.IsRemote() || !c.IsSampled() || c.TraceID().String() != traceID || c.SpanID().String() != spanID || c.TraceFlags() != trace.FlagsSampled {
		t.Errorf("%v", c)
	}
}

// What cannot work is refused, with what would be right.
func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{Config{Queue: 1}, ""},
		{Config{Queue: 1, Endpoint: "http://127.0.0.1:4318/v1/traces"}, ""},
		{Config{Queue: 1, Endpoint: "https://otel.example/v1/traces", TokenFile: "token", TLS: dial.TLS{Enabled: true}}, ""},
		{Config{Queue: 1, Endpoint: "127.0.0.1:4318"}, "endpoint: not the URL of an OTLP receiver"},
		{Config{Queue: 1, Endpoint: "grpc://127.0.0.1:4317"}, "endpoint: not the URL of an OTLP receiver"},
		{Config{Queue: 1, Endpoint: "https://u:p@otel.example"}, "endpoint: not the URL of an OTLP receiver"},
		{Config{Queue: 1, Endpoint: "http://otel.example", TLS: dial.TLS{Enabled: true}}, "endpoint: begins with http, but tls is enabled"},
		{Config{Queue: 1, Endpoint: "http://otel.example", TokenFile: "token"}, "endpoint: begins with http, but there is a token_file"},
		{Config{Queue: 0}, "queue: 0; use 1 to 1048576 spans"},
		{Config{Queue: 1, TLS: dial.TLS{CAFile: "x"}}, "tls.enabled: not set"},
	} {
		err := tt.c.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
	}
}
