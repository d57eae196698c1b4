package ask

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// request is an event that is asked about.
type request struct {
	kind     event.Kind
	record   pipeline.Record
	deadline time.Time
	done     chan outcome // has room for the one that comes
	log      string       // origin of the evidence
	release  func()       // gives back what was taken for it
}

// outcome is the answer to a request: a verdict as JSON, or a problem.
type outcome struct {
	json    []byte
	problem *problem
}

// handler answers requests, whatever they ask for.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, s.judge)
	mux.HandleFunc(Path, s.refuse(wrongMethod))
	mux.HandleFunc("/", s.refuse(notFound))
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(OpenAPI)
	})
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if !s.open.Load() {
			closing.write(w)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(s.refuse(foreign))
	guarded := origins.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

func (s *Server) refuse(p *problem) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		began := time.Now()
		p.write(w)
		s.metrics.took(p.result, began)
	}
}

// judge answers one request, and counts how.
func (s *Server) judge(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := s.outcome(w, r, began)
	if out.problem != nil {
		out.problem.write(w)
		s.metrics.took(out.problem.result, began)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(out.json, '\n')) // who does not read it has gone, and finds the same when it asks again
	s.metrics.took(answered, began)
}

func (s *Server) outcome(w http.ResponseWriter, r *http.Request, began time.Time) outcome {
	if !s.open.Load() {
		return outcome{problem: closing}
	}
	if p := s.door.admits(r); p != nil {
		return outcome{problem: p}
	}
	headers, ok := headersOf(r)
	if !ok {
		return outcome{problem: mediaType}
	}
	size := int64(s.o.Events.MaxBytes)
	if r.ContentLength > size {
		return outcome{problem: tooLargeFor(s.o.Events.MaxBytes)}
	}
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	release, ok := s.admit(size)
	if !ok {
		return outcome{problem: overloaded}
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, int64(s.o.Events.MaxBytes))); err != nil {
		release()
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return outcome{problem: tooLargeFor(s.o.Events.MaxBytes)}
		}
		return outcome{problem: unreadable}
	}
	q := &request{deadline: began.Add(s.o.Config.Deadline), done: make(chan outcome, 1), log: s.o.Evidence, release: release}
	if p := s.read(q, headers, body.Bytes()); p != nil {
		release()
		return outcome{problem: p}
	}
	// Reading the body may have taken longer than judging it may.
	if now := time.Now(); q.deadline.Before(now.Add(s.o.Config.Deadline / 2)) {
		q.deadline = now.Add(s.o.Config.Deadline / 2)
	}
	s.lanes[q.kind].put(q)
	timer := time.NewTimer(time.Until(q.deadline))
	defer timer.Stop()
	select {
	case out := <-q.done:
		return out
	case <-timer.C:
		// It may still be judged; then that is on record, and who asks again is told.
		return outcome{problem: late}
	}
}

// admit takes a place and room for a body, and returns how to give both back; false if
// there is none. Nobody waits here: a queue in front of a queue helps nobody.
func (s *Server) admit(size int64) (release func(), ok bool) {
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, false
	}
	if !s.bodies.TryAcquire(size) {
		<-s.slots
		return nil, false
	}
	return func() {
		s.bodies.Release(size)
		<-s.slots
	}, true
}

// headersOf returns the headers of an event that a message on a topic would have, and false if it is
// written in a way that is not read.
func headersOf(r *http.Request) ([]event.Header, bool) {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "application/cloudevents+json" {
		return nil, false
	}
	if c, ok := parameters["charset"]; ok && !strings.EqualFold(c, "utf-8") {
		return nil, false
	}
	if c := r.Header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		return nil, false
	}
	headers := []event.Header{{Key: "content-type", Value: []byte(media)}}
	for _, name := range [...]string{"traceparent", "tracestate"} {
		if v := r.Header.Values(name); len(v) > 0 {
			headers = append(headers, event.Header{Key: name, Value: []byte(strings.Join(v, ","))})
		}
	}
	return headers, true
}

// read looks whether a body is an event that can be judged, and makes the record of it. Only
// then does it take a place in a batch, so that what is no event is no message either.
func (s *Server) read(q *request, headers []event.Header, body []byte) *problem {
	d := s.decoders.Get().(*event.Decoder)
	defer func() {
		d.Reset()
		s.decoders.Put(d)
	}()
	var e event.Event
	if err := d.Decode(0, headers, body, &e); err != nil {
		fault, _ := errors.AsType[*event.Error](err) // it returns no other
		return noEvent(fault)
	}
	switch {
	case e.Kind != event.Post && e.Kind != event.Push:
		return wrongKind
	case s.lanes[e.Kind] == nil:
		return noPushes
	}
	q.kind = e.Kind
	q.record = pipeline.Record{Key: append([]byte(nil), e.User.ID...), Value: body, Headers: headers}
	h := sha256.New()
	h.Write([]byte("weir ask 1\n"))
	h.Write(headers[0].Value)
	h.Write([]byte{'\n'})
	h.Write(body)
	sum := h.Sum(nil)
	copy(q.record.Name[:], sum)
	// In place of an offset, for people to look for; readers in JavaScript have 53 bits.
	for _, b := range sum[len(q.record.Name):][:6] {
		q.record.Offset = q.record.Offset<<8 | int64(b)
	}
	return nil
}
