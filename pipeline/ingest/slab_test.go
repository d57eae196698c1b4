package ingest

import (
	"fmt"
	"testing"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/pipeline"
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
