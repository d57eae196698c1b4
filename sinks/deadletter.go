package sinks

import (
	"strconv"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
)

// whole returns a dead letter as it was received, with headers that say what
// became of it.
func (s *Kafka) whole(d *pipeline.DeadLetter) produce.Message {
	return produce.Message{
		Topic: s.Config.DeadLetter, Key: d.Record.Key, Value: d.Record.Value,
		Headers: append(received(d.Record), why(d)...),
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
	m := produce.Message{Topic: s.Config.DeadLetter, Headers: append(why(d),
		header("weir-value-omitted", "too-large"),
		header("weir-original-bytes", strconv.Itoa(len(d.Record.Value))),
		header("weir-original-sha256", sum(d.Record.Value)),
	)}
	if len(d.Record.Key) <= maxKey {
		m.Key = d.Record.Key
	}
	return m
}

// why says why a message is dead: under the header names of Kafka Connect,
// which every tool for dead letters knows, and under Weir's own. They hold
// nothing of the message: the detail is made of Weir's own words.
func why(d *pipeline.DeadLetter) []batch.Header {
	const connect = "__connect.errors."
	return []batch.Header{
		header(connect+"topic", d.Origin.Topic),
		header(connect+"partition", strconv.Itoa(int(d.Origin.Partition))),
		header(connect+"offset", strconv.FormatInt(d.Record.Offset, 10)),
		header(connect+"connector.name", d.Origin.Source),
		header(connect+"task.id", "0"),
		header(connect+"stage", string(d.Stage)),
		header(connect+"class.name", "weir"),
		header(connect+"exception.class.name", string(d.Reason)),
		header(connect+"exception.message", d.Detail),
		header("weir-id", d.ID.String()+":deadletter"),
		header("weir-stage", string(d.Stage)),
		header("weir-reason", string(d.Reason)),
		header("weir-ruleset", d.Rules),
	}
}
