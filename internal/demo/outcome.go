package demo

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An outcome is one message the daemon wrote, read leniently: a demo that shows
// less because a name is new would be a poor witness.
type outcome struct {
	topic     string
	partition int32
	offset    int64
	time      time.Time
	key       []byte
	value     []byte
	headers   []kgo.RecordHeader

	id string
	of place // the message it speaks of

	verdict verdict // of review and decisions
	stage   string  // of a dead letter
	reason  string  // of a dead letter
	detail  string  // of a dead letter
}

// verdict is what the review and decisions topics say of an event.
type verdict struct {
	EventID  string `json:"event_id"`
	Kind     string `json:"kind"`
	Action   string `json:"action"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Rules    string `json:"rules"`
	Hits     []hit  `json:"hits"`
	Fields   []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"fields"`
	User struct {
		ID string `json:"id"`
	} `json:"user"`
	Push struct {
		Decision pushDecision `json:"decision"`
	} `json:"push"`
	Evidence struct {
		Record string `json:"record"`
	} `json:"evidence"`
	Origin struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	} `json:"origin"`
}

// pushDecision is why a push was decided on as it was.
type pushDecision struct {
	Limit     string    `json:"limit"`
	Count     int       `json:"count"`
	Max       int       `json:"max"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Zone      string    `json:"zone"`
	LocalTime time.Time `json:"local_time"`
	Group     string    `json:"group"`
	Replay    bool      `json:"replay"`
}

type hit struct {
	Rule     string `json:"rule"`
	Category string `json:"category"`
	Severity string `json:"severity"`
	State    string `json:"state"`
	Field    string `json:"field"`
	Start    int    `json:"start"`
	End      int    `json:"end"`
	Text     string `json:"text"`
	Form     string `json:"form"`
}

// newOutcome reads a message of an output topic.
func newOutcome(r *kgo.Record) outcome {
	o := outcome{
		topic: r.Topic, partition: r.Partition, offset: r.Offset, time: r.Timestamp,
		key: r.Key, value: r.Value, headers: r.Headers,
	}
	switch r.Topic {
	case topicReview, topicDecisions:
		if json.Unmarshal(r.Value, &o.verdict) == nil {
			v := &o.verdict
			o.of = place{v.Origin.Topic, v.Origin.Partition, v.Origin.Offset}
			o.reason = v.Reason
		}
	case topicDeadLetter:
		o.of.topic = o.header("__connect.errors.topic")
		p, errP := strconv.ParseInt(o.header("__connect.errors.partition"), 10, 32)
		n, errN := strconv.ParseInt(o.header("__connect.errors.offset"), 10, 64)
		if errP == nil && errN == nil {
			o.of.partition, o.of.offset = int32(p), n
		} else {
			o.of = place{}
		}
		o.stage, o.reason, o.detail = o.header("weir-stage"), o.header("weir-reason"), o.header("__connect.errors.exception.message")
	}
	if o.id = o.header("ce_id"); o.id == "" || o.header("weir-id") != "" {
		o.id = o.header("weir-id") // a message passed on keeps its sender's ce_id
	}
	return o
}

// header returns the last header of that name: what Weir adds stands after what
// came with the message.
func (o *outcome) header(key string) string {
	for i := len(o.headers) - 1; i >= 0; i-- {
		if o.headers[i].Key == key {
			return string(o.headers[i].Value)
		}
	}
	return ""
}
