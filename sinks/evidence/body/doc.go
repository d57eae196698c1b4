// Package body is what stands in the bodies of evidence records about messages: the verdict on a post, the
// decision on a push, a dead letter, a breach, a recall and a change of consent.
//
// body.proto says every field with its unit, and body.pb.go is made of it. [Encode] and [Decode] are the way
// to bytes and back, [JSON] writes a body for people: the same names and words as docs/schemas/evidence.json,
// whatever the body's encoding. What it is not: it judges nothing and knows no log; records about the log
// itself are JSON, described where they are written.
//
// The one thing to know: the bytes are hashed into the log, so a body is never read and written again; and two
// bodies of one message under one rule set are the same bytes, because they hold nothing that two judgements
// could tell differently. A push is the exception: decided again it may be decided otherwise.
package body

import (
	_ "embed"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/weir-moderation/weir/sinks/evidence"
)

//go:generate go -C gen run . .. body

// Source is the text of body.proto: with FORMAT.md all that a stranger needs to read a body.
//
//go:embed body.proto
var Source string

// ErrMalformed is that bytes are no body of the kind they are said to be.
var ErrMalformed = errors.New("malformed body")

// Message is a body: a *[Verdict], *[DeadLetter], *[Breach], *[Recall] or *[Consent].
type Message interface{ proto.Message }

// Encode returns the bytes of a body. They are the same for equal bodies: fields in the order of their
// numbers, no maps, nothing that is zero. It fails on a text that is not UTF-8.
func Encode(m Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode evidence: %w", err)
	}
	return b, nil
}

// Decode reads the body of a record of a kind, encoded as [evidence.EncodingProtobuf]. What a later version has
// added is kept but not known. The error wraps ErrMalformed, also for a kind that has no such body.
func Decode(kind evidence.Kind, b []byte) (Message, error) {
	var m Message
	switch kind {
	case evidence.KindHit, evidence.KindPush:
		m = new(Verdict)
	case evidence.KindDeadLetter:
		m = new(DeadLetter)
	case evidence.KindBreach:
		m = new(Breach)
	case evidence.KindRecall:
		m = new(Recall)
	case evidence.KindConsent:
		m = new(Consent)
	default:
		return nil, fmt.Errorf("%w: a %s record has none in protobuf", ErrMalformed, kind)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		// What the decoder says is the same for all faults, and differs from build to build.
		return nil, fmt.Errorf("%w: not the protobuf of a %s record", ErrMalformed, kind)
	}
	if proto.Size(m) == 0 {
		// A message that says nothing is a body that is not here.
		return nil, fmt.Errorf("%w: a %s record without one", ErrMalformed, kind)
	}
	return m, nil
}
