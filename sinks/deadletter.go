package sinks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
)

// whole returns a dead letter as it was received, with headers that say what
// became of it. They stand behind all headers of the message, whatever those are
// called, so that [ReadDeadLetter] can tell them apart.
func (s *Kafka) whole(d *pipeline.DeadLetter) produce.Message {
	headers := make([]batch.Header, 0, len(d.Record.Headers)+16)
	for _, h := range d.Record.Headers {
		headers = append(headers, batch.Header(h))
	}
	return produce.Message{
		Topic: s.Config.DeadLetter, Key: d.Record.Key, Value: d.Record.Value,
		Headers: append(headers, why(d)...),
	}
}

// maxKey is the longest key of a dead letter that goes without its value: as
// long as the longest user id may be configured.
const maxKey = 4096

// withoutValue returns a dead letter that no topic finds too large: what is
// known of the message and, unless that is the monster, its key. The message
// itself is still in its topic, at the place the headers name, and in the
// evidence up to [MaxOriginalBytes].
func (s *Kafka) withoutValue(d *pipeline.DeadLetter) produce.Message {
	// Of its headers only the trace goes with it: the others may be what is too large.
	m := produce.Message{Topic: s.Config.DeadLetter, Headers: append(append(traced(d.Record), why(d)...),
		header(valueOmitted, "too-large"),
		header(originalBytes, strconv.Itoa(len(d.Record.Value))),
		header("weir-original-sha256", sum(d.Record.Value)),
	)}
	if len(d.Record.Key) <= maxKey {
		m.Key = d.Record.Key
	}
	return m
}

// Headers of a dead letter that are read again, by [ReadDeadLetter].
const (
	connect = "__connect.errors." // what Kafka Connect's names begin with

	originTopic     = connect + "topic" // the first one that Weir adds
	originPartition = connect + "partition"
	originOffset    = connect + "offset"
	originSource    = connect + "connector.name"
	detail          = connect + "exception.message"

	deadID     = "weir-id"
	deadStage  = "weir-stage"
	deadReason = "weir-reason"
	deadRules  = "weir-ruleset"

	valueOmitted  = "weir-value-omitted"
	originalBytes = "weir-original-bytes"

	// replayedFrom says of a message that it was replayed, and from which place of
	// the dead-letter topic.
	replayedFrom = "weir-replayed-from"
)

// why says why a message is dead: under the header names of Kafka Connect,
// which every tool for dead letters knows, and under Weir's own. They hold
// nothing of the message: the detail is made of Weir's own words.
func why(d *pipeline.DeadLetter) []batch.Header {
	return []batch.Header{
		header(originTopic, d.Origin.Topic),
		header(originPartition, strconv.Itoa(int(d.Origin.Partition))),
		header(originOffset, strconv.FormatInt(d.Record.Offset, 10)),
		header(originSource, d.Origin.Source),
		header(connect+"task.id", "0"),
		header(connect+"stage", string(d.Stage)),
		header(connect+"class.name", "weir"),
		header(connect+"exception.class.name", string(d.Reason)),
		header(detail, d.Detail),
		header(deadID, d.ID.String()+":deadletter"),
		header(deadStage, string(d.Stage)),
		header(deadReason, string(d.Reason)),
		header(deadRules, d.Rules),
	}
}

// Place is where a message lies.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String returns the place as topic/partition/offset.
func (p Place) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }

// ParsePlace reads what [Place.String] writes.
func ParsePlace(text string) (Place, error) {
	parts := strings.Split(text, "/")
	if len(parts) == 3 && kafka.IsTopicName(parts[0]) {
		partition, err := strconv.ParseUint(parts[1], 10, 31)
		offset, err2 := strconv.ParseUint(parts[2], 10, 63)
		if err == nil && err2 == nil {
			return Place{parts[0], int32(partition), int64(offset)}, nil
		}
	}
	return Place{}, fmt.Errorf("%q is no place of a message; write it as topic/partition/offset, such as weir.deadletter/0/17", text)
}

// DeadLetter is a dead letter as it lies on its topic.
type DeadLetter struct {
	ID     string // the same whenever the same message is given up for the same reason by the same rules
	Source string // the deployment that gave it up
	Origin Place  // where the message was read
	Stage  pipeline.Stage
	Reason pipeline.Reason
	Detail string
	Rules  string // digest of the rule set that was in force

	Key, Value []byte         // of the message, nil for null
	Headers    []batch.Header // of the message
	Bytes      int            // of the value as it was received
	Omitted    bool           // the value is not here: it was too large for the topic
	Replayed   []string       // the places it was replayed from before it came here, oldest first
}

// ReadDeadLetter takes apart what [Kafka.Write] has put together. It reports
// false for a message that is no dead letter of Weir. What it returns borrows the
// bytes of the record.
//
// The message may have had headers of the same names, from a Kafka Connect before
// Weir or made up by its producer: those that Weir added are all from the last one
// that names the topic on, since it added them at the end and names the topic first.
func ReadDeadLetter(r *kafka.Record) (d DeadLetter, ok bool) {
	if r.Corrupt != "" {
		return d, false
	}
	headers := make([]batch.Header, 0, r.HeaderCount())
	from := -1
	for key, value := range r.Headers {
		if string(key) == originTopic {
			from = len(headers)
		}
		headers = append(headers, batch.Header{Key: string(key), Value: value})
	}
	if from < 0 {
		return d, false
	}
	said := make(map[string]string)
	for _, h := range headers[from:] {
		said[h.Key] = string(h.Value)
	}
	origin, err := ParsePlace(said[originTopic] + "/" + said[originPartition] + "/" + said[originOffset])
	id, ours := strings.CutSuffix(said[deadID], ":deadletter")
	if err != nil || !ours || said[deadReason] == "" {
		return d, false
	}
	d = DeadLetter{
		ID: id, Source: said[originSource], Origin: origin,
		Stage: pipeline.Stage(said[deadStage]), Reason: pipeline.Reason(said[deadReason]), Detail: said[detail], Rules: said[deadRules],
		Key: r.Key, Value: r.Value, Headers: headers[:from:from], Bytes: len(r.Value),
	}
	if _, d.Omitted = said[valueOmitted]; d.Omitted {
		if d.Bytes, err = strconv.Atoi(said[originalBytes]); err != nil {
			return DeadLetter{}, false
		}
	}
	for _, h := range d.Headers {
		if h.Key == replayedFrom {
			d.Replayed = append(d.Replayed, string(h.Value))
		}
	}
	return d, true
}

// First returns where a deferred push was read first, and false if the message does
// not say that it was one.
func (d *DeadLetter) First() (Place, bool) {
	headers := make([]event.Header, len(d.Headers))
	for i, h := range d.Headers {
		headers[i] = event.Header(h)
	}
	p, ok := deferral.ReadPast(headers)
	return Place{p.Topic, p.Partition, p.Offset}, ok
}

// Lacks says what is missing of the message, so that it cannot be written anew as
// it was; it is empty if nothing is.
func (d *DeadLetter) Lacks() string {
	switch {
	case d.Omitted:
		return "its value, which was too large for the dead-letter topic"
	case d.Reason == pipeline.ReasonHeaders:
		return "its headers, which were too many to be read"
	case slices.ContainsFunc(batch.Reasons(), func(r batch.ReasonText) bool { return pipeline.Reason(r.Reason) == d.Reason }):
		return "the message: these are the bytes of a record batch that cannot be read"
	}
	return ""
}

// Replay returns the message as it was received, for a topic, with one more header
// behind its own that says from which place it was replayed. The keys, values and
// headers are those of the dead letter, not copies.
func (d *DeadLetter) Replay(topic string, from Place) produce.Message {
	return produce.Message{Topic: topic, Key: d.Key, Value: d.Value,
		Headers: append(d.Headers, header(replayedFrom, from.String()))}
}
