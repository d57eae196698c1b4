package event

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Whatever comes, Decode does not panic and changes nothing of it. A refusal
// has a reason of the list and leaves the event empty. What is accepted is
// UTF-8, lies in the message, the headers or the arena, and says what jsontext
// reads in the message.
func FuzzDecode(f *testing.F) {
	for i, m := range append(messages(), broken()...) {
		if len(m.text) < 1000 {
			f.Add(uint8(m.kind), uint8(i%3), []byte(m.text))
		}
	}
	for _, c := range cloudEvents {
		f.Add(uint8(c.kind), uint8(1), []byte(c.text))
		f.Add(uint8(c.kind), uint8(2), []byte(c.text))
	}
	known := map[Reason]bool{}
	for _, r := range Reasons() {
		known[r] = true
	}
	f.Fuzz(func(t *testing.T, kind, mode uint8, value []byte) {
		k := Kind(kind) % (Halt + 1)
		var headers []Header
		switch mode % 3 {
		case 1:
			headers = ce(structured)
		case 2:
			headers = ce(specversion, id, source, "ce_type: com.example.post", timed)
		}
		d := NewDecoder(Config{})
		d.text.take(4 * (len(value) + 64)) // all copies will fit into one block
		d.Reset()
		before := bytes.Clone(value)
		e := Event{ID: []byte("left over")}
		err := d.Decode(k, headers, value, &e)
		if !bytes.Equal(before, value) {
			t.Fatal("the message has changed")
		}
		if err != nil {
			var fault *Error
			if !errors.As(err, &fault) || !known[fault.Reason] || !ours.MatchString(err.Error()) {
				t.Fatalf("%q: %v", value, err)
			}
			if e.ID != nil || e.Fields != nil || e.Kind != 0 {
				t.Fatalf("%q: refused, but the event is not empty", value)
			}
			return
		}
		if k != 0 && e.Kind != k || e.Kind == 0 {
			t.Fatalf("%q: kind %v", value, e.Kind)
		}
		blocks := [][]byte{value, d.text.block}
		for _, h := range headers {
			blocks = append(blocks, h.Value)
		}
		for _, s := range wordsOf(&e) {
			if !utf8.Valid(s) || len(s) != cap(s) {
				t.Fatalf("%q: %q is not UTF-8, or can grow", value, s)
			}
			found := s == nil
			for _, b := range blocks {
				found = found || inside(s, b)
			}
			if !found {
				t.Fatalf("%q: %q lies elsewhere", value, s)
			}
		}
		compare(t, value, mode%3 == 1, &e)
	})
}

// wordsOf returns everything of e that is bytes.
func wordsOf(e *Event) [][]byte {
	all := [][]byte{
		e.ID, e.User.ID, e.User.Group, e.Operation,
		e.Client.Address, e.Client.Device.Model, e.Client.Device.OS, e.Client.Device.ID, e.Client.Device.App, e.Server.Address,
		e.Push.Class, e.Push.Channel, e.Push.Campaign, e.Push.Sender, e.Push.Label,
		e.Consent.Zone, e.Consent.Quiet, e.Outcome.PushID, e.Outcome.Result,
		e.Halt.Scope, e.Halt.Value, e.Halt.Why, e.Halt.By,
	}
	for _, f := range e.Fields {
		all = append(all, f.Name, f.Text)
	}
	for _, a := range e.Attachments {
		all = append(all, a.URI, a.SHA256, a.MediaType, a.Scan)
	}
	for _, g := range e.Consent.Grants {
		all = append(all, g.Class, g.Channel, g.Method, g.TextVersion)
	}
	return all
}

// compare reads the message with jsontext and looks whether it says the same.
func compare(t *testing.T, value []byte, structured bool, e *Event) {
	t.Helper()
	var m struct {
		ID     string         `json:"id"`
		Data   jsontext.Value `json:"data"`
		Fields jsontext.Value `json:"fields"`
	}
	if err := json.Unmarshal(value, &m); err != nil {
		t.Fatalf("%q: jsontext refuses it: %v", value, err)
	}
	if structured {
		if err := json.Unmarshal(m.Data, &m); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
	}
	if m.ID != "" && m.ID != string(e.ID) {
		t.Fatalf("%q: id %q, want %q", value, e.ID, m.ID)
	}
	if e.Fields == nil {
		return
	}
	d := jsontext.NewDecoder(bytes.NewReader(m.Fields))
	read := func() string {
		tok, err := d.ReadToken()
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		return tok.String()
	}
	read() // {
	for _, field := range e.Fields {
		if name, text := read(), read(); name != string(field.Name) || text != string(field.Text) {
			t.Fatalf("%q: field %q %q, want %q %q", value, field.Name, field.Text, name, text)
		}
	}
	if read() != "}" {
		t.Fatalf("%q: a field is missing", value)
	}
}
