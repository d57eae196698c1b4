package sinks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// What stands in this file is shared by evidence records and messages.

// origin is where a message was read, and of a push that was deferred before where
// it was read first and how often it was deferred.
type origin struct {
	Source    string `json:"source"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp string `json:"timestamp,omitempty"`
	First     *first `json:"first,omitempty"`
	Deferrals int    `json:"deferrals,omitempty"`
}

type first struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func originOf(o pipeline.Origin, r *pipeline.Record) origin {
	out := origin{Source: o.Source, Topic: o.Topic, Partition: o.Partition, Offset: r.Offset, Timestamp: stamp(r.Time)}
	if p := r.Past; p != nil {
		out.First, out.Deferrals = &first{p.Topic, p.Partition, p.Offset}, p.Count
	}
	return out
}

// subject is who did what, and of a push what is to be sent and how that was
// decided. It holds no text.
type subject struct {
	User        user         `json:"user"`
	Time        string       `json:"time"`
	Operation   string       `json:"operation,omitempty"`
	Attachments []attachment `json:"attachments,omitempty"`
	Push        *pushBody    `json:"push,omitempty"`
}

type user struct {
	ID       string `json:"id"`
	Group    string `json:"group,omitempty"`
	Verified bool   `json:"verified,omitempty"`
}

type attachment struct {
	URI       string `json:"uri"`
	SHA256    string `json:"sha256,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Scan      string `json:"scan,omitempty"`
}

type pushBody struct {
	Class        string         `json:"class"`
	Channel      string         `json:"channel"`
	Campaign     string         `json:"campaign,omitempty"`
	Sender       string         `json:"sender,omitempty"`
	Label        string         `json:"label,omitempty"`
	Personalised bool           `json:"personalised,omitempty"`
	Expires      string         `json:"expires,omitempty"`
	Decision     *push.Decision `json:"decision,omitempty"`
}

func subjectOf(e *event.Event, d *push.Decision) subject {
	s := subject{
		User:      user{string(e.User.ID), string(e.User.Group), e.User.Verified},
		Time:      stamp(e.Time),
		Operation: string(e.Operation),
	}
	for i := range e.Attachments {
		a := &e.Attachments[i]
		s.Attachments = append(s.Attachments, attachment{string(a.URI), string(a.SHA256), string(a.MediaType), string(a.Scan)})
	}
	if e.Kind == event.Push {
		p := &e.Push
		s.Push = &pushBody{string(p.Class), string(p.Channel), string(p.Campaign), string(p.Sender),
			string(p.Label), p.Personalised, stamp(p.Expires), d}
	}
	return s
}

// sum returns a SHA-256 in hex.
func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// stamp writes a time, and nothing for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// encode is json.Marshal without the escapes meant for HTML: a reviewer's tool
// should find "<" where the user wrote it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
