package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-moderation/weir/internal/dial"
)

// Flagged is what the span of a flagged message says: where the message lies, what was
// decided, and when. Nothing of it is content, and none of it names a person.
type Flagged struct {
	Context   Context // of the message; a span is made only if it is sampled
	Topic     string
	Partition int32
	Offset    int64
	Kind      string // of event
	Action    string
	Decision  string // of a push; else empty
	Reason    string
	Evidence  string // id of the evidence record
	Rules     string // digest of the rule set
	Began     time.Time
	Steps     []Step // ascending
	Ended     time.Time
}

// Step is something that was done by a time.
type Step struct {
	Name string
	At   time.Time
}

// Options is what Spans are made of.
type Options struct {
	Config Config
	// Source, Instance and Build name this process among others.
	Source, Instance, Build string
	Logger                  *slog.Logger
	Registerer              prometheus.Registerer
}

// Spans sends a span for each flagged message to an OTLP receiver. Its methods may be
// called on nil, which does nothing: tracing is off.
type Spans struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	exporter *otlptrace.Exporter
	queue    chan sdk.ReadOnlySpan
	log      *slog.Logger
	metrics  *metrics
	failing  atomic.Bool // it was said that the receiver takes nothing
}

// New returns Spans, nil where they are off; their metrics are there in any case. It reads the files that
// the configuration names and connects to nobody.
func New(o Options) (*Spans, error) {
	m := newMetrics(o.Registerer)
	if !o.Config.On() {
		return nil, nil
	}
	exporter, err := newExporter(&o.Config)
	if err != nil {
		return nil, err
	}
	s := &Spans{exporter: exporter, queue: make(chan sdk.ReadOnlySpan, o.Config.Queue), log: o.Logger, metrics: m}
	// Whether there is a span at all is decided before, by who produced the message;
	// settings of the environment must not decide otherwise. Attributes of the resource they
	// may add (OTEL_RESOURCE_ATTRIBUTES): those of a pod or a zone.
	s.provider = sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(processor{s}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "weir"),
			attribute.String("service.namespace", o.Source),
			attribute.String("service.instance.id", o.Instance),
			attribute.String("service.version", o.Build))))
	s.tracer = s.provider.Tracer("github.com/weir-moderation/weir/pipeline/trace", trace.WithInstrumentationVersion(o.Build))
	// The library has one place for what it cannot return, for the whole process, and writes to standard
	// error by itself.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { s.log.Warn("the span exporter has something to say", "err", err) }))
	return s, nil
}

const (
	// exportTimeout is how long the receiver may take for some spans, repetitions included.
	exportTimeout = 10 * time.Second
	// maxExport is how many spans go in one request, gather how long they are waited for.
	maxExport = 512
	gather    = time.Second
)

func newExporter(c *Config) (*otlptrace.Exporter, error) {
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(c.Endpoint),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout}),
		otlptracehttp.WithHeaders(map[string]string{}), // not nil: settings of the environment do not count
	}
	secure, err := c.TLS.Handshake("tls")
	if err != nil {
		return nil, fmt.Errorf("tracing.%w", err)
	}
	send := &sender{http.DefaultTransport.(*http.Transport).Clone(), nil}
	if secure != nil {
		send.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return secure.Client(ctx, conn, address)
		}
	}
	if c.TokenFile != "" {
		if send.token, err = dial.OpenSecret("token_file", c.TokenFile); err != nil {
			return nil, fmt.Errorf("tracing.%w", err)
		}
	}
	options = append(options, otlptracehttp.WithHTTPClient(&http.Client{Transport: send, Timeout: exportTimeout}))
	return otlptrace.NewUnstarted(otlptracehttp.NewClient(options...)), nil
}

// sender sends spans, with the token that its file has by then.
type sender struct {
	*http.Transport
	token *dial.Secret // nil for none
}

// RoundTrip sends a request.
func (s *sender) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.token != nil {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+s.token.Value())
	}
	return s.Transport.RoundTrip(r)
}

// Wants reports whether a message of this context is to have a span if it is flagged.
func (s *Spans) Wants(c Context) bool { return s != nil && c.Sampled() }

// Flagged makes the span of a flagged message. It does not wait.
//
// Between the producer and Weir lies a topic, so the span is no child of the producer's:
// it begins a trace of its own and links there. If the process dies before the span is sent,
// it is lost; the evidence is not.
func (s *Spans) Flagged(f *Flagged) {
	if !s.Wants(f.Context) {
		return
	}
	attributes := []attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.operation.name", "judge"),
		attribute.String("messaging.destination.name", f.Topic),
		attribute.String("messaging.destination.partition.id", fmt.Sprint(f.Partition)),
		attribute.Int64("messaging.kafka.offset", f.Offset),
		attribute.String("weir.kind", f.Kind),
		attribute.String("weir.action", f.Action),
		attribute.String("weir.reason", f.Reason),
		attribute.String("weir.evidence", f.Evidence),
		attribute.String("weir.ruleset", f.Rules),
	}
	if f.Decision != "" {
		attributes = append(attributes, attribute.String("weir.decision", f.Decision))
	}
	_, span := s.tracer.Start(context.Background(), "judge "+f.Topic, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithTimestamp(f.Began), trace.WithLinks(trace.Link{SpanContext: f.Context.remote()}), trace.WithAttributes(attributes...))
	for _, step := range f.Steps {
		span.AddEvent(step.Name, trace.WithTimestamp(step.At))
	}
	span.End(trace.WithTimestamp(f.Ended))
}

// remote returns the producer's span in the library's words. The tracestate is left out: the exporter
// does not send that of a link.
func (c Context) remote() trace.SpanContext {
	o := trace.SpanContextConfig{Remote: true}
	fill(o.TraceID[:], c.ID())
	fill(o.SpanID[:], c.span())
	if c.Sampled() {
		o.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(o)
}

// processor puts spans that have ended into the queue, and does no more: what it has to
// be besides is what the library asks for.
type processor struct{ *Spans }

func (p processor) OnStart(context.Context, sdk.ReadWriteSpan) {}

func (p processor) OnEnd(span sdk.ReadOnlySpan) {
	select {
	case p.queue <- span:
	default:
		p.metrics.dropped.Inc()
	}
}

func (p processor) Shutdown(context.Context) error   { return nil }
func (p processor) ForceFlush(context.Context) error { return nil }

// Run sends what is in the queue until ctx ends. What is left then is for [Spans.Close].
func (s *Spans) Run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-s.queue:
			// What comes within a moment goes with it.
			some, late := append(make([]sdk.ReadOnlySpan, 0, 16), first), time.NewTimer(gather)
			for more := true; more && len(some) < maxExport; {
				select {
				case span := <-s.queue:
					some = append(some, span)
				case <-late.C:
					more = false
				case <-ctx.Done():
					more = false
				}
			}
			late.Stop()
			// When ctx ends these still have their chance; an attempt is short.
			s.export(context.WithoutCancel(ctx), some, closeTimeout(ctx))
		}
	}
}

// closeTimeout is how long an export may take.
func closeTimeout(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return lastTimeout
	}
	return exportTimeout
}

// lastTimeout is how long an export may hold the end of the process.
const lastTimeout = 2 * time.Second

// Close sends what is left, if the receiver takes it at once.
func (s *Spans) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	for left := true; left; {
		var some []sdk.ReadOnlySpan
		for left && len(some) < maxExport {
			select {
			case span := <-s.queue:
				some = append(some, span)
			default:
				left = false
			}
		}
		if len(some) > 0 {
			s.export(ctx, some, lastTimeout)
		}
	}
	if err := s.exporter.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop sending spans: %w", err)
	}
	return nil
}

// export sends some spans. Those that the receiver does not take in time are lost.
func (s *Spans) export(ctx context.Context, some []sdk.ReadOnlySpan, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := s.exporter.ExportSpans(ctx, some); err != nil {
		s.metrics.failed.Add(float64(len(some)))
		if !s.failing.Swap(true) {
			s.log.Warn("the OTLP receiver does not take spans; they are dropped until it does", "err", err)
		}
		return
	}
	s.metrics.exported.Add(float64(len(some)))
	if s.failing.Swap(false) {
		s.log.Info("the OTLP receiver takes spans again")
	}
}
