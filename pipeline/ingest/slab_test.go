package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
)

// read makes a consumer's batch with headers.
func read(tb testing.TB, n int, name func(i int) string) *kafka.Batch {
	tb.Helper()
	var w batch.Writer
	w.Reset()
	for i := range n {
		w.Add([]byte("user"), []byte("value"), []batch.Header{{Key: "ce_id", Value: []byte("1")}, {Key: name(i), Value: []byte("x")}}, 1)
	}
	b, err := w.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	r := batch.NewReader(batch.NewInflater(1 << 20))
	r.Reset(batch.Input{Data: b, End: int64(n)})
	var c batch.Chunk
	if !r.Read(&c) {
		tb.Fatal("nothing read")
	}
	return &kafka.Batch{Topic: "t", First: c.First, Next: c.Next, Records: c.Records}
}

// Handing on a batch copies no bytes and, once the memory is there, allocates
// nothing, headers included.
func TestFillCopiesNothing(t *testing.T) {
	b := read(t, 100, func(int) string { return "traceparent" })
	l := &slab{names: make(map[string]string)}
	l.fill(b, event.Post, nil, pipeline.MaxHeaders)
	for i := range b.Records {
		if &l.batch.Records[i].Value[0] != &b.Records[i].Value[0] || &l.batch.Records[i].Key[0] != &b.Records[i].Key[0] {
			t.Fatal("bytes were copied")
		}
	}
	if h := l.batch.Records[99].Headers; len(h) != 2 || h[1].Key != "traceparent" {
		t.Errorf("headers %v", h)
	}
	if n := testing.AllocsPerRun(20, func() { l.reset(); l.fill(b, event.Post, nil, pipeline.MaxHeaders) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Header names that are new with every message are not remembered for ever.
func TestNamesAreBounded(t *testing.T) {
	l := &slab{names: make(map[string]string)}
	b := read(t, 1000, func(i int) string { return fmt.Sprint("h", i) })
	l.fill(b, event.Post, nil, pipeline.MaxHeaders)
	if len(l.names) > maxNames {
		t.Errorf("%d names", len(l.names))
	}
	if got := l.batch.Records[999].Headers[1].Key; got != "h999" {
		t.Errorf("header %q", got)
	}
	l.reset()
	if l.batch.Records[0].Value != nil || len(l.headers) != 0 {
		t.Error("the slab holds on to the batch")
	}
}

func BenchmarkFill(b *testing.B) {
	in := read(b, 100, func(int) string { return "traceparent" })
	l := &slab{names: make(map[string]string)}
	b.ReportAllocs()
	for b.Loop() {
		l.fill(in, event.Post, nil, pipeline.MaxHeaders)
		l.reset()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
}

// A message with a flood of headers, which costs next to nothing to send, is
// handed on without them, and its memory is not kept.
func TestFloodOfHeadersIsNotRead(t *testing.T) {
	var w batch.Writer
	w.Reset()
	w.Add(nil, []byte("value"), make([]batch.Header, pipeline.MaxHeaders+1), 1)
	w.Add(nil, []byte("value"), make([]batch.Header, pipeline.MaxHeaders), 1)
	b, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r := batch.NewReader(batch.NewInflater(1 << 20))
	r.Reset(batch.Input{Data: b, End: 2})
	var c batch.Chunk
	if !r.Read(&c) {
		t.Fatal("nothing read")
	}
	l := &slab{names: make(map[string]string)}
	if n := l.fill(&kafka.Batch{Topic: "t", First: c.First, Next: c.Next, Records: c.Records}, event.Post, nil, pipeline.MaxHeaders); n != 1 {
		t.Errorf("%d records are corrupt, want 1", n)
	}
	if r := l.batch.Records[0]; r.Corrupt != pipeline.ReasonHeaders || len(r.Headers) != 0 {
		t.Errorf("reason %q with %d headers, want %q with none", r.Corrupt, len(r.Headers), pipeline.ReasonHeaders)
	}
	if r := l.batch.Records[1]; r.Corrupt != "" || len(r.Headers) != pipeline.MaxHeaders {
		t.Errorf("reason %q with %d headers, want none with %d", r.Corrupt, len(r.Headers), pipeline.MaxHeaders)
	}
	l.headers = make([]event.Header, 0, maxPooled+1)
	if l.reset(); cap(l.headers) > maxPooled {
		t.Error("the memory of an unusual batch is kept")
	}
}

// deferredBatch makes a batch of deferred pushes with headers of their own.
func deferredBatch(t *testing.T, headers ...[]batch.Header) *kafka.Batch {
	t.Helper()
	var w batch.Writer
	w.Reset()
	for _, h := range headers {
		w.Add([]byte("user"), []byte("value"), h, 1)
	}
	b, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r := batch.NewReader(batch.NewInflater(1 << 20))
	r.Reset(batch.Input{Data: b, End: int64(len(headers))})
	var c batch.Chunk
	if !r.Read(&c) {
		t.Fatal("nothing read")
	}
	return &kafka.Batch{Topic: "deferred", First: c.First, Next: c.Next, Records: c.Records}
}

// handed is a handler that notes what it is given.
type handed struct {
	t       *testing.T
	records []pipeline.Record
}

func (h *handed) Handle(_ context.Context, b *pipeline.Batch) error {
	if b.Kind != event.Push || b.Topic != "deferred" {
		h.t.Errorf("a batch of kind %s from %s", b.Kind, b.Topic)
	}
	h.records = append(h.records, b.Records...)
	return nil
}

func (h *handed) Checkpoint(context.Context, []pipeline.Range) error { return nil }

// A deferred push brings with it where it was read first, and is written as on that
// topic. What says nothing of the kind, or names a topic that is no topic of pushes that is
// read, is handed on as unreadable. Of headers it may have as many as it had at first,
// and Weir's.
func TestDeferredPushesRecallTheirPast(t *testing.T) {
	c := DefaultConfig()
	c.Pushes = Topics{{Topic: "pushes"}, {Pattern: `shop\..+`, Layout: event.Layout{Envelope: event.EnvelopeConfluent}}}
	c.Deferred, c.Ring = "deferred", deferral.Default()
	h := &handed{t: t}
	reg := prometheus.NewRegistry()
	s := &Source{config: c, handler: h, log: slog.New(slog.DiscardHandler), metrics: newMetrics(reg, nil, c.streams())}
	s.slabs.New = func() any { return &slab{names: make(map[string]string)} }
	from := func(place, count string, more int) []batch.Header {
		list := make([]batch.Header, more)
		return append(list, batch.Header{Key: "weir-first", Value: []byte(place)}, batch.Header{Key: "weir-deferrals", Value: []byte(count)})
	}
	b := deferredBatch(t, from("pushes/2/17", "1", 0), from("shop.a/0/4", "3", pipeline.MaxHeaders), from("weir.posts/0/4", "1", 0),
		from("deferred/0/4", "1", 0), from("elsewhere/0/4", "1", 0), from("pushes/2/17", "0", 0), nil, from("pushes/0/1", "1", pipeline.MaxHeaders+pipeline.MaxOwnHeaders))
	if err := s.handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i, want := range []pipeline.Reason{"", "", pipeline.ReasonOrigin, pipeline.ReasonOrigin, pipeline.ReasonOrigin, pipeline.ReasonOrigin, pipeline.ReasonOrigin, pipeline.ReasonHeaders} {
		if got := h.records[i]; got.Corrupt != want || (got.Past != nil) != (want == "") {
			t.Errorf("record %d: reason %q, past %+v; want reason %q", i, got.Corrupt, got.Past, want)
		}
	}
	if p := h.records[0].Past; *p != (deferral.Past{Topic: "pushes", Partition: 2, Offset: 17, Count: 1}) || h.records[0].Format != nil {
		t.Errorf("the first has the past %+v", p)
	}
	if p := h.records[1].Past; *p != (deferral.Past{Topic: "shop.a", Offset: 4, Count: 3}) || h.records[1].Format == nil {
		t.Errorf("the second has the past %+v and the format %v", p, h.records[1].Format)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_unkeyed_records_total Pushes read that have no key, so that those of one user may be in several partitions.
# TYPE weir_unkeyed_records_total counter
weir_unkeyed_records_total{stream="push"} 0
`), "weir_unkeyed_records_total"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(s.metrics.records["deferred"][1]); got != 6 {
		t.Errorf("%v deferred pushes are counted as corrupt, want 6", got)
	}
}

// The topic of deferred pushes is read in windows, from its beginning, and is none of
// those the section names; a pattern that matches it is refused all the same.
func TestDeferredStream(t *testing.T) {
	c := DefaultConfig()
	c.Pushes = Topics{{Pattern: `d.+`}}
	c.Start = kafka.Latest
	c.Deferred, c.Ring = "deferred", deferral.Default()
	s, ok := c.Stream("deferred")
	if !ok || !s.Deferred || s.Kind != event.Push || s.Start != kafka.Earliest {
		t.Errorf("the stream is %+v", s)
	}
	if got := c.Topics(); slices.Contains(got, "deferred") {
		t.Errorf("named are %v", got)
	}
	windowed := 0
	for _, x := range c.subscriptions() {
		if x.Windows == nil {
			continue
		}
		windowed++
		now := time.Unix(1_790_000_000, 0)
		if got, want := x.Windows(3, 12, now), kafka.Window(c.Ring.Window(3, 12, now)); x.Topic != "deferred" || got != want {
			t.Errorf("%s has the window %+v, want %+v", x.Topic, got, want)
		}
	}
	if windowed != 1 {
		t.Errorf("%d topics are read in windows, want 1", windowed)
	}
	if err := c.Refuse([]string{"deferred"}, "is an output"); err == nil || !strings.Contains(err.Error(), "pushes[0]: the pattern matches") || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("refused: %v", err)
	}
}
