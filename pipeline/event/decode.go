package event

import (
	"bytes"
	"errors"
	"math"

	"github.com/weir-moderation/weir/internal/strictjson"
)

// A Decoder reads messages into events. It belongs to one goroutine.
type Decoder struct {
	// Format says how the messages are written that are read from now on; nil: as
	// docs/schemas says. It must be of the kind that is read.
	Format *Format

	config Config
	json   strictjson.Parser

	// What is handed out and stays until Reset.
	text        slab[byte] // texts that had escapes, without them
	fields      slab[Field]
	attachments slab[Attachment]
	grants      slab[Grant]

	// Of the message in hand.
	data     []byte
	tokens   []strictjson.Token
	fault    *Error // the first one; it ends every loop over tokens
	envelope int    // how many bytes stand before data
}

// NewDecoder returns a Decoder with the limits of c; a limit of 0 stands for
// its default.
func NewDecoder(c Config) *Decoder {
	c = c.orDefaults()
	return &Decoder{config: c, json: strictjson.Parser{Limits: c.json()}}
}

// Reset forgets everything handed out so far: no event decoded before may be
// used any more. Its memory serves the next events; without a Reset after each
// batch it only grows.
func (d *Decoder) Reset() {
	d.text.reset()
	d.fields.reset()
	d.attachments.reset()
	d.grants.reset()
}

// Decode reads one message into e. The error, if any, is an [*Error], and e is
// then empty.
//
// kind is what the topic carries, one of the constants; a "kind" in the message or a CloudEvents type
// of ours must agree with it. With kind 0 the message must tell: by its
// CloudEvents type or its "kind", else it is a push if it has a name only
// pushes have, else a post.
//
// A message is a CloudEvent in structured mode if its content-type says so, and
// one in binary mode if it has ce_ headers. The event then takes id and time
// from the attributes unless it has its own, which must agree.
func (d *Decoder) Decode(kind Kind, headers []Header, value []byte, e *Event) error {
	*e = Event{}
	d.fault, d.envelope = nil, 0
	d.decode(kind, headers, value, e)
	d.data, d.tokens = nil, nil
	if d.fault != nil {
		if d.fault.Offset > 0 {
			d.fault.Offset += d.envelope
		}
		*e = Event{}
		return d.fault
	}
	return nil
}

func (d *Decoder) decode(kind Kind, headers []Header, value []byte, e *Event) {
	attrs := d.headers(headers)
	if d.fault != nil {
		return
	}
	if d.Format != nil && d.Format.confluent {
		if value = d.unwrap(value); d.fault != nil {
			return
		}
	}
	if d.scan(value); d.fault != nil {
		return
	}
	at := 0
	if attrs.structured {
		at = d.structured(&attrs)
	}
	if d.fault != nil {
		return
	}
	if f := d.Format; f != nil && kind == 0 {
		kind = f.kind
	}
	e.ID, e.Time = attrs.id, attrs.time
	if e.Kind = d.kindOf(kind, &attrs, at); d.fault != nil {
		return
	}
	switch f := d.Format; {
	case f != nil && f.kind != e.Kind:
		panic("event: a format of another kind")
	case f != nil && f.mapped:
		d.mapped(f, at, e)
	case e.Kind == Post:
		d.post(at, e)
	case e.Kind == Push:
		d.push(at, e)
	case e.Kind == Consent:
		d.consent(at, e)
	case e.Kind == Outcome:
		d.outcome(at, e)
	case e.Kind == Halt:
		d.halt(at, e)
	default:
		panic("event: no such kind")
	}
	d.needed("id", e.ID)
	if e.Time.IsZero() {
		d.fail(Missing, "time", -1)
	}
}

// scan reads the tokens of value, which must be one object.
func (d *Decoder) scan(value []byte) {
	switch {
	case value == nil:
		d.fail(NullValue, "", -1)
		return
	case len(value) == 0:
		d.fail(EmptyValue, "", -1)
		return
	}
	d.data = value
	var err error
	switch d.tokens, err = d.json.Scan(value); {
	case err != nil:
		d.fault = notJSON(err, value)
	case d.tokens[0].Kind == 'n':
		d.fail(NullValue, "", -1)
	case d.tokens[0].Kind != '{':
		d.fail(WrongType, "", 0)
	}
}

// notJSON returns the fault of a value strictjson has refused.
func notJSON(err error, value []byte) *Error {
	var fault *strictjson.Error
	if !errors.As(err, &fault) {
		panic(err) // it returns no other
	}
	if fault.Reason == strictjson.Truncated && len(bytes.TrimLeft(value, " \t\r\n")) == 0 {
		return &Error{Reason: EmptyValue}
	}
	return &Error{Reason: Reason(fault.Reason), Offset: fault.Offset}
}

// kindOf decides between what the topic, the CloudEvents attributes and the
// message at tokens[at] say. A "kind" in the message is compared with the
// result when the reader of the event comes to it.
func (d *Decoder) kindOf(topic Kind, attrs *attributes, at int) Kind {
	typed := attrs.kind
	switch {
	case topic != 0 && typed != 0 && topic != typed:
		d.fail(Mismatch, "type", -1)
		d.inAttributes(attrs)
		return 0
	case topic != 0:
		return topic
	case typed != 0:
		return typed
	}
	kind := Post
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch string(d.name(i)) {
		case "kind":
			return d.kind(i + 1)
		case "class", "channel", "campaign", "sender", "label", "personalised", "expires":
			kind = Push
		}
	}
	if attrs.kindName != nil {
		// Somebody else's type, and nothing of ours that tells.
		d.fail(BadValue, "type", -1)
		d.inAttributes(attrs)
	}
	return kind
}

// kind reads the word of a kind.
func (d *Decoder) kind(at int) Kind {
	k, ok := ParseKind(string(d.word("kind", at)))
	if !ok {
		d.fail(BadValue, "kind", at)
	}
	return k
}

// The functions that read an object all have the shape of this one: a loop over
// its members that gives each to the reader of its value, and then a look at
// what must have come.

// post reads a post.
func (d *Decoder) post(at int, e *Event) {
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		d.posted(i, e)
	}
	d.complete(e, "post.create")
}

// push reads a push: a post, and what only pushes have.
func (d *Decoder) push(at int, e *Event) {
	p := &e.Push
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "class":
			p.Class = d.word("class", v)
		case "channel":
			p.Channel = d.word("channel", v)
		case "campaign":
			p.Campaign = d.word("campaign", v)
		case "sender":
			p.Sender = d.word("sender", v)
		case "label":
			p.Label = d.word("label", v)
		case "personalised":
			p.Personalised = d.boolean("personalised", v)
		case "expires":
			p.Expires = d.time("expires", v)
		default:
			d.posted(i, e)
		}
	}
	d.completePush(e)
}

// posted reads a member that posts and pushes have.
func (d *Decoder) posted(i int, e *Event) {
	switch v := i + 1; string(d.name(i)) {
	case "user":
		d.user(v, &e.User)
	case "operation":
		e.Operation = d.word("operation", v)
	case "fields":
		e.Fields = d.textFields(v)
	case "attachments":
		e.Attachments = d.attached(v)
	case "client":
		d.client(v, &e.Client)
	case "server":
		d.server(v, &e.Server)
	default:
		d.common(i, e)
	}
}

// complete looks whether a post or push has all it needs, and fills in the
// operation.
func (d *Decoder) complete(e *Event, operation string) {
	d.needed("user.id", e.User.ID)
	if e.Fields == nil {
		d.fail(Missing, "fields", -1)
	}
	if len(e.Operation) == 0 {
		e.Operation = d.text.take(len(operation))
		copy(e.Operation, operation)
	}
}

// completePush does the same for what only pushes need, too.
func (d *Decoder) completePush(e *Event) {
	d.complete(e, "push.send")
	// Clause: push-ad
	// A push without a class is refused: service and marketing are never mixed up.
	d.needed("class", e.Push.Class)
	d.needed("channel", e.Push.Channel)
}

// common reads a member that every kind has.
func (d *Decoder) common(i int, e *Event) {
	switch v := i + 1; string(d.name(i)) {
	case "id":
		id := d.word("id", v)
		if e.ID != nil && !bytes.Equal(e.ID, id) {
			d.fail(Mismatch, "id", v)
		}
		e.ID = id
	case "time":
		t := d.time("time", v)
		if !e.Time.IsZero() && !e.Time.Equal(t) {
			d.fail(Mismatch, "time", v)
		}
		e.Time = t
	case "kind":
		if k := d.kind(v); k != e.Kind {
			d.fail(Mismatch, "kind", v)
		}
	default:
		d.unknown(i)
	}
}

// object returns the index of the first name of the object at tokens[at], and
// the index after its last value. If it is no object that is a fault, and there
// is nothing between the two.
func (d *Decoder) object(at int) (first, end int) {
	return d.container('{', at)
}

// array does the same for the elements of an array.
func (d *Decoder) array(at int) (first, end int) {
	return d.container('[', at)
}

func (d *Decoder) container(kind byte, at int) (first, end int) {
	t := &d.tokens[at]
	if t.Kind != kind {
		d.fail(WrongType, "", at)
		return 0, 0
	}
	return at + 1, int(t.Next)
}

// next returns the index of the name after that at tokens[i] and its value, or
// one beyond everything after a fault.
func (d *Decoder) next(i int) int {
	return d.after(i + 1)
}

// after does the same for the element of an array at tokens[i].
func (d *Decoder) after(i int) int {
	if d.fault != nil {
		return math.MaxInt
	}
	return int(d.tokens[i].Next)
}

// name returns the name at tokens[i].
func (d *Decoder) name(i int) []byte {
	return d.string(&d.tokens[i])
}

// fail records a fault of the value at tokens[at], or of none with -1, unless
// there is one already.
func (d *Decoder) fail(r Reason, path string, at int) {
	if d.fault != nil {
		return
	}
	d.fault = &Error{Reason: r, Path: path}
	if at >= 0 {
		d.fault.Offset = int(d.tokens[at].Lo)
	}
}

// unknown records that there is no name such as that at tokens[i] here.
func (d *Decoder) unknown(i int) {
	d.fail(UnknownName, "", i)
}

// in puts the name of an object or array, or the index of an element, before
// the path of a fault inside it. Every reader of one calls it at its end.
func (d *Decoder) in(outer string) {
	if d.fault == nil {
		return
	}
	switch inner := d.fault.Path; {
	case inner == "":
		d.fault.Path = outer
	case inner[0] == '[':
		d.fault.Path = outer + inner
	default:
		d.fault.Path = outer + "." + inner
	}
}
