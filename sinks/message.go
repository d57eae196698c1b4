package sinks

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/rules"
)

// reviewMessage is the value of a message on the review topic: everything a
// human needs to decide. Where the user was and by what device stays in the
// evidence: no reviewer needs it for that.
type reviewMessage struct {
	ID string `json:"id"`
	pipeline.Report
	subject
	Queue  string `json:"queue"`
	Fields []text `json:"fields"`
	// FieldsOmitted says that the texts were left out because the message
	// would be too large; the hits still quote what was found.
	FieldsOmitted bool        `json:"fields_omitted,omitempty"`
	Evidence      evidenceRef `json:"evidence"`
	Origin        origin      `json:"origin"`
}

// text is one named text of an event.
type text struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// decisionMessage is the value of a message on the decisions topic.
type decisionMessage struct {
	ID string `json:"id"`
	pipeline.Report
	User     user        `json:"user"`
	Time     string      `json:"time"`
	Push     *pushBody   `json:"push,omitempty"`
	Evidence evidenceRef `json:"evidence"`
	Origin   origin      `json:"origin"`
}

// evidenceRef says where the evidence of a verdict is.
type evidenceRef struct {
	Log    string `json:"log"`    // origin of the log
	Record string `json:"record"` // id of the record
}

// review makes the message for reviewers. If it is too large it goes without
// the event's texts.
func (s *Kafka) review(v *pipeline.Verdict, room *[]byte) (produce.Message, error) {
	id := v.ID.String()
	value := reviewMessage{
		ID: id, Report: v.Report(), subject: subjectOf(v.Event, public(v.Decision)),
		Queue: queue(v.Hits), Fields: texts(v.Event),
		Evidence: evidenceRef{s.Origin, id}, Origin: originOf(v.Origin, v.Record),
	}
	told := cloudEvent{topic: s.Config.Review, kind: "review", id: id, time: value.Origin.Timestamp}
	m, err := told.of(v, &value, room)
	if err == nil && !s.fits(&m) {
		value.Fields, value.FieldsOmitted = []text{}, true
		m, err = told.of(v, &value, room)
	}
	return m, err
}

func texts(e *event.Event) []text {
	out := make([]text, len(e.Fields))
	for i := range e.Fields {
		out[i] = text{string(e.Fields[i].Name), string(e.Fields[i].Text)}
	}
	return out
}

// queue is the review queue a verdict belongs to. A shadow rule has no effect
// on it, as on anything else.
//
// Clause: cmp-major
// An item that a rule of severity critical hit goes to a review queue of its own.
func queue(hits []rules.Hit) string {
	for i := range hits {
		if r := hits[i].Rule; r.Severity == rules.Critical && r.State == rules.Live {
			return "critical"
		}
	}
	return "standard"
}

// decision makes the message that tells programs what was decided.
func (s *Kafka) decision(v *pipeline.Verdict, room *[]byte) (produce.Message, error) {
	id, who := v.ID.String(), subjectOf(v.Event, public(v.Decision))
	value := decisionMessage{
		ID: id, Report: v.Report(), User: who.User, Time: who.Time, Push: who.Push,
		Evidence: evidenceRef{s.Origin, id}, Origin: originOf(v.Origin, v.Record),
	}
	told := cloudEvent{topic: s.Config.Decisions, kind: "decision", id: id, time: value.Origin.Timestamp}
	return told.of(v, &value, room)
}

// public returns a decision without the user's name in Redis. Beside the user's
// id on a topic it would tell whoever reads Redis whose records those are.
func public(d *push.Decision) *push.Decision {
	if d == nil {
		return nil
	}
	c := *d
	c.Pseudonym, c.PseudonymKey = "", ""
	return &c
}

// cloudEvent is what a message about a verdict says of itself in headers, as a
// CloudEvent in binary mode. Its id is the same whenever the same message is
// judged again under the same rule set.
type cloudEvent struct {
	topic, kind string
	id          string // of the verdict
	time        string // when its message came to Kafka
}

// of makes the message with a value, keyed by the user. The value is put together in room.
func (c *cloudEvent) of(v *pipeline.Verdict, value jsonValue, room *[]byte) (produce.Message, error) {
	b, err := value.appendTo((*room)[:0])
	if err != nil {
		return produce.Message{}, fmt.Errorf("encode %s: %w", c.kind, err)
	}
	*room = b
	headers := append(make([]batch.Header, 0, 8),
		header("ce_specversion", "1.0"),
		header("ce_id", c.id+":"+c.kind),
		header("ce_type", "weir."+c.kind),
		header("ce_source", "/weir/"+v.Origin.Source),
		header("content-type", "application/json"),
	)
	if c.time != "" {
		headers = append(headers, header("ce_time", c.time))
	}
	return produce.Message{Topic: c.topic, Key: v.Event.User.ID, Value: bytes.Clone(b), Headers: append(headers, traced(v.Record)...)}, nil
}

// traced returns the trace context of a message as headers of what it causes: a trace leads on.
func traced(r *pipeline.Record) []batch.Header {
	var headers []batch.Header
	for _, h := range trace.Of(r.Headers).Headers() {
		headers = append(headers, batch.Header(h))
	}
	return headers
}

// forward passes a push on exactly as it was received, with what whoever reads it
// needs to know in headers: the decision's id and when it holds, and of a deferred
// one where it was read first, for it is decided again as what it was there.
func (s *Kafka) forward(topic, kind string, v *pipeline.Verdict) produce.Message {
	d := v.Decision
	headers := append(received(v.Record),
		header("weir-id", v.ID.String()+":"+kind),
		header("weir-decision", string(d.Decision)),
		header("weir-reason", string(d.Reason)),
	)
	if !d.NotBefore.IsZero() {
		headers = append(headers, header("weir-not-before", stamp(d.NotBefore)))
	}
	if !d.NotAfter.IsZero() {
		headers = append(headers, header("weir-not-after", stamp(d.NotAfter)))
	}
	if d.Mark != "" {
		headers = append(headers, header("weir-mark", d.Mark))
	}
	if d.Replay {
		headers = append(headers, header("weir-replay", "true"))
	}
	m := produce.Message{Topic: topic, Key: v.Event.User.ID, Value: v.Record.Value}
	past := v.Record.Past
	if d.Decision == push.Defer {
		past = deferredOnceMore(v)
		if !d.Release.IsZero() {
			headers = append(headers, header("weir-release", stamp(d.Release)))
			m.Slot = s.Config.Ring().Slot(d.Release)
		}
	}
	if past != nil {
		for _, h := range past.Headers() {
			headers = append(headers, batch.Header(h))
		}
	}
	m.Headers = headers
	return m
}

// deferredOnceMore returns what will be the past of a push that is deferred.
func deferredOnceMore(v *pipeline.Verdict) *deferral.Past {
	if p := v.Record.Past; p != nil {
		return &deferral.Past{Topic: p.Topic, Partition: p.Partition, Offset: p.Offset, Count: p.Count + 1}
	}
	return &deferral.Past{Topic: v.Origin.Topic, Partition: v.Origin.Partition, Offset: v.Record.Offset, Count: 1}
}

// received returns the headers of a message as they were received, save those
// that only Weir writes: from an earlier pass through Weir or made up by a
// producer, a sender would take them for what was decided now. A trace context
// that is malformed goes, too: who reads it next could not say what is wrong with it.
func received(r *pipeline.Record) []batch.Header {
	headers := make([]batch.Header, 0, len(r.Headers)+pipeline.MaxOwnHeaders)
	traces := 0
	for _, h := range r.Headers {
		switch {
		case strings.HasPrefix(h.Key, pipeline.OwnHeaders):
		case trace.IsHeader(h.Key):
			traces++
		default:
			headers = append(headers, batch.Header(h))
		}
	}
	if traces > 0 {
		headers = append(headers, traced(r)...)
	}
	return headers
}

func header(key, value string) batch.Header { return batch.Header{Key: key, Value: []byte(value)} }
