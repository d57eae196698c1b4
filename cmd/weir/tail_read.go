package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks"
)

// flow is a message of an output topic as it is shown. It holds no user's id, and what
// users wrote only for whoever asks for it.
type flow struct {
	Place    string      `json:"place"`          // topic/partition/offset
	Time     string      `json:"time,omitempty"` // since when it lies there, RFC 3339
	ID       string      `json:"id,omitempty"`
	Kind     string      `json:"kind,omitempty"`     // post, push, recall or dead-letter
	Action   string      `json:"action,omitempty"`   // of a post
	Decision string      `json:"decision,omitempty"` // of a push
	Stage    string      `json:"stage,omitempty"`    // of a dead letter
	Reason   string      `json:"reason,omitempty"`
	Detail   string      `json:"detail,omitempty"` // of a dead letter
	User     string      `json:"user,omitempty"`   // a pseudonym
	Queue    string      `json:"queue,omitempty"`
	Class    string      `json:"class,omitempty"`
	Channel  string      `json:"channel,omitempty"`
	Campaign string      `json:"campaign,omitempty"`
	Hits     []flowHit   `json:"hits,omitempty"`
	Fields   []flowField `json:"fields,omitempty"`
	Bytes    int         `json:"bytes"`            // of its value
	Broken   string      `json:"broken,omitempty"` // why it cannot be read

	at time.Time
}

// flowHit is a hit. Start and end count bytes.
type flowHit struct {
	Rule       string  `json:"rule"`
	Category   string  `json:"category"`
	Severity   string  `json:"severity"`
	State      string  `json:"state,omitempty"`
	Field      string  `json:"field"`
	Start      int     `json:"start"`
	End        int     `json:"end"`
	Form       string  `json:"form"`
	Confidence string  `json:"confidence"`
	Text       *string `json:"text,omitempty"`
}

// flowField is a text of an event.
type flowField struct {
	Name  string  `json:"name"`
	Bytes int     `json:"bytes"`
	Text  *string `json:"text,omitempty"`
}

// namesOfRun returns names of users that hold for one run: nobody can tell from them who
// it is, and the same user has the same one.
func namesOfRun() func(user []byte) string {
	key := []byte(rand.Text())
	return func(user []byte) string {
		h := hmac.New(sha256.New, key)
		h.Write(user)
		return "~" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
	}
}

// tailReader reads the messages of an output topic.
type tailReader struct {
	what    string
	names   func(user []byte) string
	decoder *event.Decoder
	formats []*event.Format // in which pushes are written
}

func newTailReader(cfg *config.Config, what string, names func([]byte) string) (*tailReader, error) {
	t := &tailReader{what: what, names: names, decoder: event.NewDecoder(cfg.Events)}
	for i := range cfg.Input.Pushes {
		f, err := cfg.Input.Pushes[i].Format(event.Push)
		if err != nil {
			return nil, err
		}
		t.formats = append(t.formats, f)
	}
	if len(t.formats) == 0 {
		t.formats = []*event.Format{nil} // as docs/schemas says
	}
	return t, nil
}

// read reads a message. Whatever it is, something is returned.
func (t *tailReader) read(b *kafka.Batch, r *kafka.Record) *flow {
	f := &flow{Place: sinks.Place{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset}.String(), Bytes: len(r.Value)}
	if r.Time >= 0 {
		f.at = time.UnixMilli(r.Time).UTC()
		f.Time = f.at.Format(time.RFC3339Nano)
	}
	switch {
	case r.Corrupt != "":
		f.Broken = "the record batch cannot be read: " + string(r.Corrupt)
	case t.what == "deadletter":
		t.deadLetter(f, r)
	case t.what == "cleared", t.what == "deferred":
		t.forwarded(f, r)
	default:
		t.verdict(f, r.Value)
	}
	return f
}

// flowVerdict is what is read of messages on the topics of reviewers and of decisions.
type flowVerdict struct {
	ID string `json:"id"`
	pipeline.Report
	User struct {
		ID string `json:"id"`
	} `json:"user"`
	Queue string `json:"queue"`
	Push  struct {
		Class    string `json:"class"`
		Channel  string `json:"channel"`
		Campaign string `json:"campaign"`
	} `json:"push"`
	Fields []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"fields"`
}

func (t *tailReader) verdict(f *flow, value []byte) {
	var v flowVerdict
	if json.Unmarshal(value, &v) != nil || v.Kind == "" || v.Action == "" || v.Hits == nil {
		f.Broken = "it is no verdict"
		return
	}
	f.ID, f.Kind, f.Action, f.Decision, f.Reason, f.Queue = v.ID, v.Kind, v.Action, v.Decision, string(v.Reason), v.Queue
	f.Class, f.Channel, f.Campaign = v.Push.Class, v.Push.Channel, v.Push.Campaign
	f.User = t.names([]byte(v.User.ID))
	for _, x := range v.Fields {
		f.Fields = append(f.Fields, flowField{Name: x.Name, Bytes: len(x.Text), Text: new(x.Text)})
	}
	for _, h := range v.Hits {
		f.Hits = append(f.Hits, flowHit{Rule: h.Rule, Category: h.Category, Severity: h.Severity, State: h.State, Field: h.Field,
			Start: h.Start, End: h.End, Form: h.Form, Confidence: h.Confidence, Text: new(h.Text)})
	}
}

// header names that are read of pushes which are passed on; docs/asyncapi.yaml has all.
const (
	headerID       = "weir-id"
	headerDecision = "weir-decision"
	headerReason   = "weir-reason"
)

// forwarded reads a push that was passed on as it was received, or its recall.
func (t *tailReader) forwarded(f *flow, r *kafka.Record) {
	var headers []event.Header
	said := make(map[string]string)
	for k, v := range r.Headers {
		headers = append(headers, event.Header{Key: string(k), Value: v})
		said[string(k)] = string(v)
	}
	f.ID, f.Decision, f.Reason = said[headerID], said[headerDecision], said[headerReason]
	if f.ID == "" || f.Decision == "" {
		f.Broken = "it has no header weir-decision"
		return
	}
	if f.Decision == "recall" {
		t.recall(f, r)
		return
	}
	f.Kind = event.Push.String()
	defer t.decoder.Reset()
	for _, format := range t.formats {
		t.decoder.Format = format
		var e event.Event
		if t.decoder.Decode(event.Push, headers, r.Value, &e) != nil {
			continue
		}
		f.User = t.names(e.User.ID)
		f.Class, f.Channel, f.Campaign = string(e.Push.Class), string(e.Push.Channel), string(e.Push.Campaign)
		for _, x := range e.Fields {
			f.Fields = append(f.Fields, flowField{Name: string(x.Name), Bytes: len(x.Text), Text: new(string(x.Text))})
		}
		return
	}
	f.Broken = "its push is written in another way than the configuration says"
}

func (t *tailReader) recall(f *flow, r *kafka.Record) {
	var v struct {
		Class   string `json:"class"`
		Channel string `json:"channel"`
		Reason  string `json:"reason"`
	}
	if json.Unmarshal(r.Value, &v) != nil {
		f.Broken = "it is no recall"
		return
	}
	f.Kind, f.Class, f.Channel, f.Reason = "recall", v.Class, v.Channel, v.Reason
	f.User = t.names(r.Key)
}

// deadLetter reads what could not be judged. Its key is most often its user's id.
func (t *tailReader) deadLetter(f *flow, r *kafka.Record) {
	d, ok := sinks.ReadDeadLetter(r)
	if !ok {
		f.Broken = "it is no dead letter of Weir"
		return
	}
	f.ID, f.Kind, f.Stage, f.Reason, f.Detail, f.Bytes = d.ID, "dead-letter", string(d.Stage), string(d.Reason), d.Detail, d.Bytes
	if d.Key != nil {
		f.User = t.names(d.Key)
	}
	value := flowField{Name: "value", Bytes: d.Bytes}
	if utf8.Valid(d.Value) && !d.Omitted {
		value.Text = new(string(d.Value))
	}
	f.Fields = []flowField{value}
}
