package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ID names one effect of one message. It is computed, never drawn: judging the
// same message again under the same rule set gives the same id, so that a
// repeated batch repeats ids and consumers can drop what they have seen.
type ID [16]byte

// NewID returns the id of an effect: the first 16 bytes of a SHA-256 over the
// name of this deployment, the message's place in Kafka, the kind of effect, its
// ordinal among those of the message, and the digest of the rule set it was
// judged under. Texts are preceded by their length, so that no two inputs share
// an encoding.
func NewID(source, topic string, partition int32, offset int64, kind string, ordinal int, rules string) ID {
	b := make([]byte, 0, 256)
	b = append(b, "weir id 1\n"...)
	for _, s := range [...]string{source, topic, kind, rules} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = binary.BigEndian.AppendUint32(b, uint32(ordinal))
	sum := sha256.Sum256(b)
	return ID(sum[:16])
}

// String returns the id as 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// deadLetterID is the id of a dead letter. The reason is part of it: under other
// limits or by another version the same message may be given up for another one,
// and that is another effect.
func deadLetterID(o Origin, r *Record, reason Reason, rules string) ID {
	return NewID(o.Source, o.Topic, o.Partition, r.Offset, r.named("deadletter "+string(reason)), 0, rules)
}

// named adds to the kind of an effect the name of an event that was asked about.
func (r *Record) named(kind string) string {
	if r.Name == (ID{}) {
		return kind
	}
	return kind + " " + r.Name.String()
}
