package event

import (
	"bytes"
	"time"
)

// This file reads messages of which a Format says where things stand.

// member is a part of an event that a message can be mapped to.
type member uint8

const (
	ofField member = iota
	ofID
	ofTime
	ofUser
	ofGroup
	ofVerified
	ofOperation
	ofClientAddress
	ofClientPort
	ofModel
	ofOS
	ofDevice
	ofApp
	ofServerAddress
	ofServerPort
	ofClass
	ofChannel
	ofCampaign
	ofSender
	ofLabel
	ofPersonalised
	ofExpires
	ofPushID
	ofResult
)

// memberNames are the names docs/schemas has for them.
var memberNames = [...]string{
	"fields", "id", "time", "user.id", "user.group", "user.verified", "operation",
	"client.address", "client.port", "client.device.model", "client.device.os", "client.device.id", "client.device.app",
	"server.address", "server.port",
	"class", "channel", "campaign", "sender", "label", "personalised", "expires", "push_id", "result",
}

// mappedMember is a member with its place in a Mapping.
type mappedMember struct {
	member
	place         Place
	kinds, needed []Kind // of events that have it, and that cannot do without
}

// members returns all but the texts.
func (m *Mapping) members() []mappedMember {
	all, texts, push, outcome := []Kind{Post, Push, Outcome}, []Kind{Post, Push}, []Kind{Push}, []Kind{Outcome}
	return []mappedMember{
		{ofID, m.ID, all, nil}, {ofTime, m.Time, all, nil},
		{ofUser, m.User.ID, all, all}, {ofGroup, m.User.Group, all, nil}, {ofVerified, m.User.Verified, all, nil},
		{ofOperation, m.Operation, texts, nil},
		{ofClientAddress, m.Client.Address, texts, nil}, {ofClientPort, m.Client.Port, texts, nil},
		{ofModel, m.Client.Device.Model, texts, nil}, {ofOS, m.Client.Device.OS, texts, nil},
		{ofDevice, m.Client.Device.ID, texts, nil}, {ofApp, m.Client.Device.App, texts, nil},
		{ofServerAddress, m.Server.Address, texts, nil}, {ofServerPort, m.Server.Port, texts, nil},
		{ofClass, m.Class, push, push}, {ofChannel, m.Channel, push, push}, {ofCampaign, m.Campaign, push, nil},
		{ofSender, m.Sender, push, nil}, {ofLabel, m.Label, push, nil}, {ofPersonalised, m.Personalised, push, nil},
		{ofExpires, m.Expires, push, nil},
		{ofPushID, m.PushID, outcome, outcome}, {ofResult, m.Result, outcome, outcome},
	}
}

// word returns where a word belongs.
func (e *Event) word(m member) *[]byte {
	switch m {
	case ofID:
		return &e.ID
	case ofUser:
		return &e.User.ID
	case ofGroup:
		return &e.User.Group
	case ofOperation:
		return &e.Operation
	case ofClientAddress:
		return &e.Client.Address
	case ofModel:
		return &e.Client.Device.Model
	case ofOS:
		return &e.Client.Device.OS
	case ofDevice:
		return &e.Client.Device.ID
	case ofApp:
		return &e.Client.Device.App
	case ofServerAddress:
		return &e.Server.Address
	case ofClass:
		return &e.Push.Class
	case ofChannel:
		return &e.Push.Channel
	case ofCampaign:
		return &e.Push.Campaign
	case ofSender:
		return &e.Push.Sender
	case ofLabel:
		return &e.Push.Label
	case ofPushID:
		return &e.Outcome.PushID
	case ofResult:
		return &e.Outcome.Result
	}
	panic("event: no word")
}

// flag returns where true or false belongs.
func (e *Event) flag(m member) *bool {
	if m == ofVerified {
		return &e.User.Verified
	}
	return &e.Push.Personalised
}

// unwrap returns the JSON behind the envelope.
func (d *Decoder) unwrap(value []byte) []byte {
	const number, guid = 1 + 4, 1 + 16
	switch {
	case len(value) == 0: // has a reason of its own
	case value[0] == 0 && len(value) >= number:
		d.envelope = number
	case value[0] == 1 && len(value) >= guid:
		d.envelope = guid
	default:
		d.fail(NoEnvelope, "", -1)
	}
	return value[d.envelope:]
}

// mapped reads the object at tokens[at] as the format says.
func (d *Decoder) mapped(f *Format, at int, e *Event) {
	e.User, e.Operation = f.constants.User, f.constants.Operation
	switch e.Kind {
	case Push:
		e.Push = f.constants.Push
	case Outcome:
		e.Outcome = f.constants.Outcome
	}
	// What the map names is not what the attributes around it name.
	if f.ownID {
		e.ID = nil
	}
	if f.ownTime {
		e.Time = time.Time{}
	}
	d.walk(&f.root, at, e)
	d.fields.giveBack(cap(e.Fields) - len(e.Fields))
	e.Fields = e.Fields[:len(e.Fields):len(e.Fields)]

	switch e.Kind {
	case Post:
		d.complete(e, "post.create")
	case Push:
		d.completePush(e)
	case Outcome:
		d.completeOutcome(e)
	}
}

// walk goes with the tree of pointers into the value at tokens[at].
func (d *Decoder) walk(n *node, at int, e *Event) {
	t := &d.tokens[at]
	switch {
	case t.Kind == 'n':
		// How platforms write that there is nothing. A text may be none; but that a
		// name for it is there shows that the map is for such messages.
		if n.text {
			d.texts(e)
		}
	case len(n.children) == 0:
		for i := range n.targets {
			d.put(&n.targets[i], at, e)
		}
	case t.Kind == '{':
		left := len(n.children) // no name comes twice
		for i := at + 1; i < int(t.Next) && left > 0; i = d.next(i) {
			name := d.name(i)
			for k := range n.children {
				if c := &n.children[k]; string(name) == c.name {
					d.walk(c, i+1, e)
					left--
					break
				}
			}
		}
	case t.Kind == '[' && n.last >= 0:
		for i, index := at+1, 0; i < int(t.Next) && index <= n.last; i, index = d.after(i), index+1 {
			for k := range n.children {
				if c := &n.children[k]; c.index == index {
					d.walk(c, i, e)
				}
			}
		}
	default:
		d.fail(WrongType, n.path, at)
	}
}

// put puts the value at tokens[at] where it belongs.
func (d *Decoder) put(to *target, at int, e *Event) {
	path := memberNames[to.member]
	switch to.member {
	case ofField:
		d.textsOf(to.field, at, e)
	case ofTime:
		e.Time = d.moment(path, at)
	case ofExpires:
		e.Push.Expires = d.moment(path, at)
	case ofVerified, ofPersonalised:
		*e.flag(to.member) = d.boolean(path, at)
	case ofClientPort:
		e.Client.Port = uint16(d.number(path, at, 0, 65535, BadPort))
	case ofServerPort:
		e.Server.Port = uint16(d.number(path, at, 0, 65535, BadPort))
	default:
		w := d.wordOrNumber(path, at)
		*e.word(to.member) = w
		switch to.member {
		case ofUser:
			if isPersonalNumber(w) {
				d.fail(PersonalNumber, path, at)
			}
		case ofClientAddress, ofServerAddress:
			if len(w) != 0 && !isAddress(w) {
				d.fail(BadAddress, path, at)
			}
		case ofResult:
			if string(w) != "cancelled" && string(w) != "rejected" {
				d.fail(BadValue, path, at)
			}
		}
	}
}

// texts makes room for the texts of an event, if there is none.
func (d *Decoder) texts(e *Event) {
	if e.Fields == nil {
		e.Fields = d.fields.take(d.config.MaxFields)[:0]
	}
}

// textsOf reads a text, or a list of texts of the same name.
func (d *Decoder) textsOf(name []byte, at int, e *Event) {
	d.texts(e)
	if d.tokens[at].Kind != '[' {
		d.textOf(name, at, e)
		return
	}
	first, end := d.array(at)
	for i := first; i < end; i = d.after(i) {
		if d.tokens[i].Kind != 'n' {
			d.textOf(name, i, e)
		}
	}
}

func (d *Decoder) textOf(name []byte, at int, e *Event) {
	n := len(e.Fields)
	if n == d.config.MaxFields {
		d.fail(TooManyFields, "fields", at)
		return
	}
	e.Fields = append(e.Fields, Field{Name: name, Text: d.prose("", at)})
	if d.fault != nil && d.fault.Path == "" {
		d.in("fields" + element(n))
	}
}

// wordOrNumber reads a word, or takes the digits of a whole number for one.
func (d *Decoder) wordOrNumber(path string, at int) []byte {
	t := &d.tokens[at]
	if t.Kind != '-' && !isDigit(t.Kind) {
		return d.word(path, at)
	}
	w := d.data[t.Lo:t.Hi:t.Hi]
	for _, c := range bytes.TrimPrefix(w, []byte("-")) {
		if !isDigit(c) {
			d.fail(WrongType, path, at) // 1.0 and 1e3, which not every reader takes for whole
			return nil
		}
	}
	d.checkWord(path, at, w)
	return w
}

// moment reads a time as RFC 3339 writes it, or in seconds or milliseconds since
// 1970.
func (d *Decoder) moment(path string, at int) time.Time {
	t := &d.tokens[at]
	if t.Kind != '-' && !isDigit(t.Kind) {
		return d.time(path, at)
	}
	m, ok := parseUnix(d.data[t.Lo:t.Hi])
	if !ok {
		d.fail(BadTime, path, at)
	}
	return m
}
