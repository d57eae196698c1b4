package ask

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// problem is an answer that says why there is no verdict (RFC 9457). It holds nothing of
// the request but names and places.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Reason is the word of what is wrong with an event, as of a dead letter.
	Reason string `json:"reason,omitempty"`
	Path   string `json:"path,omitempty"`
	Offset int    `json:"offset,omitempty"`

	result result
}

const problemType = "urn:weir:problem:"

func newProblem(status int, word, title, detail string, r result) *problem {
	return &problem{Type: problemType + word, Title: title, Status: status, Detail: detail, result: r}
}

// What can be wrong with a request, whatever it says.
var (
	unauthorized = newProblem(http.StatusUnauthorized, "unauthorized", "Not logged in",
		"send the header Authorization: Bearer TOKEN, with a token of api.token_files", denied)
	misdirected = newProblem(http.StatusMisdirectedRequest, "misdirected", "Another host",
		"this is 127.0.0.1 or localhost and no other name", denied)
	foreign = newProblem(http.StatusForbidden, "foreign-origin", "A page of another origin asks",
		"ask from a server, not from a page in a browser", denied)
	notFound = newProblem(http.StatusNotFound, "not-found", "Nothing is here",
		"POST "+Path+" judges an event, GET /openapi.yaml says how", refused)
	wrongMethod = newProblem(http.StatusMethodNotAllowed, "method", "Another method",
		"use POST", refused)
	mediaType = newProblem(http.StatusUnsupportedMediaType, "media-type", "Another media type",
		"send Content-Type: application/json or application/cloudevents+json, in UTF-8 and without Content-Encoding", refused)
	unreadable = newProblem(http.StatusBadRequest, "unreadable", "The request ended early",
		"the body was not there in full in time", refused)
	wrongKind = newProblem(http.StatusUnprocessableEntity, "kind", "Nothing to judge",
		"only posts and pushes are judged; consent, outcomes and halts belong on their topics", refused)
	noPushes = newProblem(http.StatusUnprocessableEntity, "no-pushes", "Pushes are off",
		"pushes are decided where input.pushes names their topic", refused)

	overloaded = newProblem(http.StatusServiceUnavailable, "overloaded", "Too many requests in hand",
		"nothing is known of the event; ask again after the time in Retry-After", full)
	late = newProblem(http.StatusServiceUnavailable, "late", "No verdict in time",
		"the evidence, Kafka or Redis did not take it within api.deadline; nothing is known of the event, and asking again repeats nothing", tooLate)
	closing = newProblem(http.StatusServiceUnavailable, "stopping", "Stopping, or not up yet",
		"nothing is known of the event; ask another instance, or again after the time in Retry-After", stopping)
)

// tooLargeFor is the problem of an event that is too large.
func tooLargeFor(most int) *problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "too-large", "The event is too large",
		"events.max_bytes allows "+strconv.Itoa(most)+" bytes", refused)
	p.Reason = string(event.TooLarge)
	return p
}

// noEvent is the problem of what is no event.
func noEvent(e *event.Error) *problem {
	p := newProblem(http.StatusBadRequest, "no-event", "Not an event", e.Reason.Description()+" ("+e.Error()+")", refused)
	p.Reason, p.Path, p.Offset = string(e.Reason), e.Path, e.Offset
	return p
}

// unjudged is the problem of an event that has become a dead letter.
func unjudged(d *pipeline.DeadLetter) *problem {
	p := newProblem(http.StatusUnprocessableEntity, "unjudged", "It can never be judged", d.Detail+"; it is a dead letter, and asking again will not help", dead)
	p.Reason = string(d.Reason)
	return p
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="weir"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	if p == closing || p == unreadable {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who does not read it has gone
}
