package event

import (
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/internal/strictjson"
)

// Reason is the one word for why a message was refused: in the dead letter's
// headers, on the metric and in the runbook. The list is closed.
type Reason string

// Of the message as a whole.
const (
	EmptyValue  Reason = "empty-value"
	NullValue   Reason = "null-value"
	Encoding    Reason = "encoding"
	NoEnvelope  Reason = "no-envelope"
	SpecVersion Reason = "specversion"
	Mismatch    Reason = "mismatch"
)

// Of its JSON.
const (
	TooLarge         = Reason(strictjson.TooLarge)
	TooDeep          = Reason(strictjson.TooDeep)
	TooManyValues    = Reason(strictjson.TooMany)
	Truncated        = Reason(strictjson.Truncated)
	Syntax           = Reason(strictjson.Syntax)
	TrailingData     = Reason(strictjson.Trailing)
	InvalidUTF8      = Reason(strictjson.UTF8)
	ControlCharacter = Reason(strictjson.Control)
	BadEscape        = Reason(strictjson.Escape)
	LoneSurrogate    = Reason(strictjson.Surrogate)
	BadNumber        = Reason(strictjson.Number)
	DuplicateName    = Reason(strictjson.Duplicate)
)

// Of what it says.
const (
	UnknownName    Reason = "unknown-name"
	Missing        Reason = "missing"
	WrongType      Reason = "wrong-type"
	EmptyWord      Reason = "empty-word"
	TooLong        Reason = "too-long"
	TooManyFields  Reason = "too-many-fields"
	TooManyItems   Reason = "too-many-items"
	BadTime        Reason = "bad-time"
	BadAddress     Reason = "bad-address"
	BadPort        Reason = "bad-port"
	BadSHA256      Reason = "bad-sha256"
	BadInteger     Reason = "bad-integer"
	BadValue       Reason = "bad-value"
	DuplicateGrant Reason = "duplicate-grant"
	PersonalNumber Reason = "personal-number"
)

// reasons holds all of them in the order of the documentation, what each means,
// and what the sender of the message should do where the name does not say it.
var reasons = [...]struct {
	reason  Reason
	meaning string
	advice  string
}{
	{EmptyValue, "the message has no value, or one of blanks only", ""},
	{NullValue, "the message's value is null: a tombstone (of consent, one without a key), or the JSON value null", ""},
	{Encoding, "the headers announce something else than plain JSON in UTF-8", "send application/json or application/cloudevents+json, uncompressed within the message"},
	{NoEnvelope, "the value does not begin with a schema's number or GUID, as all of its topic must (envelope: confluent)", "write them all with a serializer of the schema registry, or take out envelope"},
	{SpecVersion, "the CloudEvent is of another version than 1.0", ""},
	{Mismatch, "the message contradicts its topic, its CloudEvents attributes or itself", ""},

	{TooLarge, "the value is longer than events.max_bytes", ""},
	{TooDeep, "the JSON is nested deeper than events.max_depth", ""},
	{TooManyValues, "the JSON has more values than any event needs", ""},
	{Truncated, "the JSON ends in the middle", ""},
	{Syntax, "the value is not JSON", ""},
	{TrailingData, "something follows the JSON value", "send one event a message"},
	{InvalidUTF8, "bytes that are not UTF-8", ""},
	{ControlCharacter, "a control character (NUL included) that JSON does not allow as it is, or an escaped one in a word", ""},
	{BadEscape, "an escape in a string that JSON does not know", ""},
	{LoneSurrogate, "an escaped half of a surrogate pair", ""},
	{BadNumber, "a number that JSON does not know, such as NaN, Infinity, 01 or +1", ""},
	{DuplicateName, "a name twice in one object, or a header twice", ""},

	{UnknownName, "a name the schema does not have at this place", "docs/schemas lists the names; free names belong into fields"},
	{Missing, "a name the schema requires is not there", ""},
	{WrongType, "a value of another JSON type than the schema says", ""},
	{EmptyWord, "a required word is empty", ""},
	{TooLong, "a word is longer than events.max_word_bytes", ""},
	{TooManyFields, "more fields than events.max_fields", ""},
	{TooManyItems, "more attachments or grants than events.max_items", ""},
	{BadTime, "not a time as RFC 3339 writes it", "write it like 2026-11-24T08:30:00Z or 2026-11-24T16:30:00.123+08:00"},
	{BadAddress, "not an IPv4 or IPv6 address", ""},
	{BadPort, "not a port", "a whole number up to 65535"},
	{BadSHA256, "not a SHA-256", "write 64 hex digits"},
	{BadInteger, "not a whole number in the range the schema allows", ""},
	{BadValue, "a word that is none of those the schema allows here, or not of their form", ""},
	{DuplicateGrant, "two grants for the same class and channel", ""},
	{PersonalNumber, "the user id looks like an identity-card or phone number", "send a pseudonym"},
}

// Reasons returns all reasons there are.
func Reasons() []Reason {
	all := make([]Reason, len(reasons))
	for i := range reasons {
		all[i] = reasons[i].reason
	}
	return all
}

// Description says in one line what r means; it is empty for an unknown r.
func (r Reason) Description() string {
	for i := range reasons {
		if reasons[i].reason == r {
			return reasons[i].meaning
		}
	}
	return ""
}

func (r Reason) advice() string {
	for i := range reasons {
		if reasons[i].reason == r {
			return reasons[i].advice
		}
	}
	return ""
}

// Error tells why a message can never be an event. It holds nothing of the
// message: where a name would be content, the path names its surroundings.
type Error struct {
	Reason Reason
	Path   string // names of ours only, such as "user.id", "attachments[2].uri", "fields[0]" or "ce_id"; empty for the whole
	Offset int    // in bytes of the value, 0 where there is no place
}

// Error returns path, reason, place and, where it helps, what would be right.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("event: ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(string(e.Reason))
	if e.Offset > 0 {
		fmt.Fprintf(&b, " at byte %d", e.Offset)
	}
	if advice := e.Reason.advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	return b.String()
}
