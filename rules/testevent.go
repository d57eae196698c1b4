package rules

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
)

// What an event in a test has where it does not say.
const (
	testID   = "test" // of the event, and of its user
	testTime = "2026-01-01T00:00:00Z"
	// textField is the one field of a post that is given by its text.
	textField = "text"
)

// eventFile is the shape of an event in a test: that of docs/schemas/post.json and push.json. It is
// read from YAML and written as the JSON that a platform sends, which the event decoder then reads
// and checks like any other.
type eventFile struct {
	ID           string            `yaml:"id" json:"id"`
	Time         string            `yaml:"time" json:"time"`
	Kind         string            `yaml:"kind" json:"kind,omitempty"`
	User         userFile          `yaml:"user" json:"user"`
	Operation    string            `yaml:"operation" json:"operation,omitempty"`
	Fields       textFields        `yaml:"-" json:"fields"`
	Texts        map[string]string `yaml:"fields,required" json:"-"`
	Attachments  []attachmentFile  `yaml:"attachments" json:"attachments,omitempty"`
	Client       *clientFile       `yaml:"client" json:"client,omitempty"`
	Server       *endpointFile     `yaml:"server" json:"server,omitempty"`
	Class        string            `yaml:"class" json:"class,omitempty"`
	Channel      string            `yaml:"channel" json:"channel,omitempty"`
	Campaign     string            `yaml:"campaign" json:"campaign,omitempty"`
	Sender       string            `yaml:"sender" json:"sender,omitempty"`
	Label        string            `yaml:"label" json:"label,omitempty"`
	Personalised bool              `yaml:"personalised" json:"personalised,omitempty"`
	Expires      string            `yaml:"expires" json:"expires,omitempty"`
}

type userFile struct {
	ID       string `yaml:"id" json:"id"`
	Group    string `yaml:"group" json:"group,omitempty"`
	Verified bool   `yaml:"verified" json:"verified,omitempty"`
}

type attachmentFile struct {
	URI       string `yaml:"uri,required" json:"uri"`
	SHA256    string `yaml:"sha256" json:"sha256,omitempty"`
	MediaType string `yaml:"media_type" json:"media_type,omitempty"`
	Scan      string `yaml:"scan" json:"scan,omitempty"`
}

type endpointFile struct {
	Address string `yaml:"address" json:"address,omitempty"`
	Port    int    `yaml:"port" json:"port,omitempty"`
}

type clientFile struct {
	Address string      `yaml:"address" json:"address,omitempty"`
	Port    int         `yaml:"port" json:"port,omitempty"`
	Device  *deviceFile `yaml:"device" json:"device,omitempty"`
}

type deviceFile struct {
	Model string `yaml:"model" json:"model,omitempty"`
	OS    string `yaml:"os" json:"os,omitempty"`
	ID    string `yaml:"id" json:"id,omitempty"`
	App   string `yaml:"app" json:"app,omitempty"`
}

// textFields are named texts in an order, which a map does not have.
type textFields struct {
	names []string
	texts map[string]string
}

// MarshalJSON writes the texts in their order.
func (f textFields) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, n := range f.names {
		if i > 0 {
			b = append(b, ',')
		}
		for j, s := range []string{n, f.texts[n]} {
			text, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			if b = append(b, text...); j == 0 {
				b = append(b, ':')
			}
		}
	}
	return append(b, '}'), nil
}

// defaults fills in what an event in a test may leave out, and finds the order of its fields.
func (p *testParser) defaults(at string, f *eventFile) {
	if !p.doc.Has(at + ".id") {
		f.ID = testID
	}
	if !p.doc.Has(at + ".time") {
		f.Time = testTime
	}
	if !p.doc.Has(at + ".user.id") {
		f.User.ID = testID
	}
	f.Fields = textFields{slices.Collect(maps.Keys(f.Texts)), f.Texts}
	if len(f.Texts) > 1 {
		place := make(map[string]*strictyaml.Problem, len(f.Texts))
		for n := range f.Texts {
			place[n] = p.doc.Problem(fieldPath(at, n), "")
		}
		slices.SortFunc(f.Fields.names, func(a, b string) int {
			return cmp.Or(cmp.Compare(place[a].Line, place[b].Line), cmp.Compare(place[a].Column, place[b].Column))
		})
	}
}

// fieldPath is the path of a field's text in an event.
func fieldPath(event, name string) string { return event + ".fields[" + strconv.Quote(name) + "]" }

// event makes the event, or notes why a platform could not send it and returns nil.
func (p *testParser) event(at string, f *eventFile) *event.Event {
	if kinds := []string{event.Post.String(), event.Push.String()}; f.Kind != "" && !slices.Contains(kinds, f.Kind) {
		p.add(at+".kind", "%s", unknown("kind", f.Kind, kinds))
		return nil
	}
	var message bytes.Buffer
	enc := json.NewEncoder(&message)
	if err := enc.Encode(f); err != nil {
		p.add(at, "%s", err) // does not happen
		return nil
	}
	e := new(event.Event)
	err := p.decoder.Decode(0, nil, message.Bytes(), e)
	if err == nil {
		return e
	}
	refused, ok := errors.AsType[*event.Error](err)
	if !ok {
		p.add(at, "%s", err) // does not happen
		return nil
	}
	where := at + "." + refused.Path
	var n int
	switch _, err := fmt.Sscanf(refused.Path, "fields[%d]", &n); {
	case refused.Path == "":
		where = at
	case err == nil && n < len(f.Fields.names):
		where = fieldPath(at, f.Fields.names[n])
	}
	// Without its place in a JSON that nobody wrote.
	_, advice, _ := strings.Cut((&event.Error{Reason: refused.Reason}).Error(), ": ")
	p.add(where, "%s; such an event is refused as %s", refused.Reason.Description(), advice)
	return nil
}

// within reports whether there is a problem at the path or below it.
func (p *testParser) within(at string) bool {
	for path := range p.faulty {
		if rest, ok := strings.CutPrefix(path, at); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
