package sinks

import (
	"encoding/hex"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// VerdictRecords makes the records of some verdicts one after another, as Write does.
func VerdictRecords(list ...*pipeline.Verdict) ([]evidence.Record, error) {
	var room verdictBody
	var records []evidence.Record
	for _, v := range list {
		r, err := verdictRecord(v, &room)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// What tests of this package look at from outside.
var (
	VerdictRecord    = func(v *pipeline.Verdict) (evidence.Record, error) { return verdictRecord(v, new(verdictBody)) }
	DeadLetterRecord = deadLetterRecord
	ConsentRecord    = consentRecord
	RecallRecord     = recallRecord
)

// formerBody is the body of a hit or push record as it was before bodies were protobuf, made by the code
// that made it then: what is shown today must say the same, and what is made today must cost less.
type formerBody struct {
	pipeline.Report
	subject
	Client   *formerEndpoint `json:"client,omitempty"`
	Server   *formerEndpoint `json:"server,omitempty"`
	Origin   origin          `json:"origin"`
	Original formerOriginal  `json:"original"`
}

type formerEndpoint struct {
	Address string        `json:"address,omitempty"`
	Port    uint16        `json:"port,omitempty"`
	Device  *formerDevice `json:"device,omitempty"`
}

type formerDevice struct {
	Model string `json:"model,omitempty"`
	OS    string `json:"os,omitempty"`
	ID    string `json:"id,omitempty"`
	App   string `json:"app,omitempty"`
}

type formerOriginal struct {
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"bytes"`
	Value  []byte `json:"value,omitempty"`
}

func formerEnd(e *event.Endpoint) *formerEndpoint {
	d := formerDevice{string(e.Device.Model), string(e.Device.OS), string(e.Device.ID), string(e.Device.App)}
	out := formerEndpoint{Address: string(e.Address), Port: e.Port}
	if d != (formerDevice{}) {
		out.Device = &d
	}
	if out == (formerEndpoint{}) {
		return nil
	}
	return &out
}

// FormerVerdictBody returns that body.
func FormerVerdictBody(v *pipeline.Verdict) ([]byte, error) {
	b := formerBody{
		Report:   v.Report(),
		subject:  subjectOf(v.Event, v.Decision),
		Client:   formerEnd(&v.Event.Client),
		Server:   formerEnd(&v.Event.Server),
		Origin:   originOf(v.Origin, v.Record),
		Original: formerOriginal{SHA256: sum(v.Record.Value), Bytes: len(v.Record.Value)},
	}
	if v.Event.Kind == event.Post || len(v.Hits) > 0 {
		b.Original.Value = v.Record.Value
	}
	return encode(b)
}

// KeySHA256 is what bodies have beside that.
func KeySHA256(key []byte) string {
	if key == nil {
		return ""
	}
	var o originBody
	o.addKey(key)
	return hex.EncodeToString(o.KeySha256)
}
