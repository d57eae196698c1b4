// Package event is Weir's input contract: what a platform writes into Kafka and
// what every later stage reads.
//
// A [Decoder] turns one Kafka message (bare JSON, or a CloudEvent in binary or
// structured mode) into an [Event], strictly: whatever two JSON readers could
// read differently is refused, each fault with a [Reason] of its own. What it
// is not: it knows no rules, no Kafka client and no Redis.
//
// The one thing to know: an Event does not own its bytes. Its slices point into
// the message, its headers or the decoder's arena and stay valid until
// [Decoder.Reset]. Copy what must live longer.
//
// # Messages
//
// Each kind has a JSON Schema in docs/schemas. In short (? may be left out):
//
//	every kind: id, time, kind?
//	post:       user, fields, operation?, attachments?, client?, server?
//	push:       the same, and class, channel, campaign?, sender?, label?, personalised?, expires?
//	consent:    user, version, grants, zone?, quiet?, daily_max? (or a tombstone: [Decoder.Forget])
//	outcome:    user, push_id, result
//	halt:       scope, value, halted, why?, by?
//
// Names are free only inside fields; any other that is not listed is refused.
// Words (ids, classes, names of things) are short and hold no control
// characters; an optional word may be "", which says the same as leaving it
// out. Texts may hold anything, escaped as JSON demands, and are bounded only by
// the size of the message.
package event

import (
	"log/slog"
	"time"
)

// Kind tells what an event is about.
type Kind uint8

// The kinds of events. The zero Kind means that the message itself must tell.
const (
	Post    Kind = iota + 1 // a user's text: post, comment, profile, group name
	Push                    // a notification a platform wants to send to one user
	Consent                 // the whole of what one user has agreed to, and how they want to be reached
	Outcome                 // what became of an allowed push before it was handed over
	Halt                    // stop or resume a campaign, a sender or a class
)

var kindNames = [...]string{"", "post", "push", "consent", "outcome", "halt"}

// String returns the kind's word in JSON, metrics and records: "post", "push", ...
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "invalid"
}

// ParseKind returns the kind whose word is s, and false if there is none.
func ParseKind(s string) (Kind, bool) {
	for i := 1; i < len(kindNames); i++ {
		if kindNames[i] == s {
			return Kind(i), true
		}
	}
	return 0, false
}

// Event is one decoded message. Only the part that belongs to its Kind is set.
type Event struct {
	Kind Kind
	ID   []byte    // the platform's own id, unique per kind
	Time time.Time // when it happened on the platform
	User User

	// Clause: cmp-log
	// Account, time, kind of operation, source and destination address and port, client features.
	Operation   []byte  // post.create (default of a post), comment, forward, profile.update, group.rename, push.send (of a push), ...
	Fields      []Field // every named text, in the order of the message; all are judged
	Attachments []Attachment
	Client      Endpoint
	Server      Endpoint

	Push    PushPart
	Consent ConsentPart
	Outcome OutcomePart
	Halt    HaltPart
}

// User is the account an event belongs to, as the platform sees it.
type User struct {
	ID       []byte // a pseudonym; personal numbers are refused
	Group    []byte // default, minor, elderly, ...; empty when not told
	Verified bool
}

// Field is one named text of an event.
type Field struct {
	Name []byte
	Text []byte // UTF-8
}

// Attachment is a file that came with an event. Weir never opens it.
type Attachment struct {
	URI       []byte
	SHA256    []byte // 64 hex digits, empty when not told
	MediaType []byte
	Scan      []byte // what a virus scanner said: clean, infected, unscanned, ...
}

// Endpoint is one end of the connection an event came in by.
type Endpoint struct {
	Address []byte // IPv4 or IPv6
	Port    uint16
	Device  Device // of a client
}

// Device describes the client's hardware and software.
type Device struct {
	Model []byte
	OS    []byte
	ID    []byte // a hash of the device's identity, never the identity
	App   []byte // application and version
}

// PushPart is what a push has beyond a post.
type PushPart struct {
	Class        []byte // security, service, content, marketing: a class of the push policy
	Channel      []byte // app, sms, email, popup: a channel of the push policy
	Campaign     []byte
	Sender       []byte
	Label        []byte // the advertising label shown to the user; empty means unlabelled
	Personalised bool
	Expires      time.Time // zero when not told
}

// ConsentPart is the whole state of one user: what it does not grant is not
// granted. (The topic is compacted, so only a user's newest event survives.)
type ConsentPart struct {
	Version uint64 // from 1, grows with every change of this user's state
	Grants  []Grant
	Zone    []byte // IANA name such as Asia/Shanghai; empty when not told
	Quiet   []byte // the user's own quiet hours, "22:00-08:00"; empty for none
	// DailyMax is the user's own limit of pushes a day over everything, -1 for none.
	DailyMax int
	// Forget is true of a tombstone: the user is to be forgotten. Nothing else is set.
	Forget bool
}

// Grant is consent given or withdrawn for one class on one channel.
type Grant struct {
	Class, Channel []byte
	Granted        bool // false: withdrawn
	Time           time.Time
	Method         []byte // how it was given: settings, checkbox, contract, ...
	// Clause: push-inform
	// Which notice the user was shown is part of their consent.
	TextVersion []byte
}

// OutcomePart says what became of a push that was allowed.
type OutcomePart struct {
	PushID []byte
	Result []byte // cancelled or rejected: the push was not handed over
}

// HaltPart stops or resumes what it names.
type HaltPart struct {
	Scope  []byte // campaign, sender or class
	Value  []byte
	Halted bool
	Why    []byte
	By     []byte
}

// LogValue keeps texts and user ids out of logs even by accident: only what
// kind of event it is gets logged.
func (e Event) LogValue() slog.Value {
	return slog.StringValue(e.Kind.String())
}

// String does for fmt what LogValue does for slog.
func (e Event) String() string {
	return e.Kind.String()
}

// Header is one header of a message. A CloudEvent in binary mode lives in them.
type Header struct {
	Key   string
	Value []byte
}
