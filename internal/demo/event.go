package demo

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// What follows is the input contract as a platform would write it down: plain
// structs for encoding/json. The demo writes events the way a stranger would
// and leaves the strict reading to package event.

type envelope struct {
	ID          string            `json:"id"`
	Kind        string            `json:"kind,omitempty"`
	Time        time.Time         `json:"time"`
	User        userPart          `json:"user"`
	Operation   string            `json:"operation,omitempty"`
	Fields      map[string]string `json:"fields,omitempty"`
	Attachments []attachment      `json:"attachments,omitempty"`
	Client      *endpoint         `json:"client,omitempty"`
	Server      *endpoint         `json:"server,omitempty"`
	*pushPart
	*consentPart
	*outcomePart
}

type userPart struct {
	ID       string `json:"id"`
	Group    string `json:"group,omitempty"`
	Verified bool   `json:"verified,omitempty"`
}

type attachment struct {
	URI       string `json:"uri"`
	SHA256    string `json:"sha256,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Scan      string `json:"scan,omitempty"`
}

type endpoint struct {
	Address string  `json:"address,omitempty"`
	Port    uint16  `json:"port,omitempty"`
	Device  *device `json:"device,omitempty"`
}

type device struct {
	Model string `json:"model,omitempty"`
	OS    string `json:"os,omitempty"`
	ID    string `json:"id,omitempty"`
	App   string `json:"app,omitempty"`
}

type pushPart struct {
	Class        string    `json:"class"`
	Channel      string    `json:"channel"`
	Campaign     string    `json:"campaign,omitempty"`
	Sender       string    `json:"sender,omitempty"`
	Label        string    `json:"label,omitempty"`
	Personalised bool      `json:"personalised,omitempty"`
	Expires      time.Time `json:"expires,omitzero"`
}

type consentPart struct {
	Version  uint64  `json:"version"`
	Grants   []grant `json:"grants"`
	Zone     string  `json:"zone,omitempty"`
	Quiet    string  `json:"quiet,omitempty"`
	DailyMax *int    `json:"daily_max,omitempty"`
}

type grant struct {
	Class       string    `json:"class"`
	Channel     string    `json:"channel"`
	Granted     bool      `json:"granted"`
	Time        time.Time `json:"time"`
	Method      string    `json:"method,omitempty"`
	TextVersion string    `json:"text_version,omitempty"`
}

type outcomePart struct {
	PushID string `json:"push_id"`
	Result string `json:"result"`
}

// encode writes an event without the escapes meant for HTML.
func encode(e *envelope) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic("demo: an event cannot be encoded: " + err.Error()) // strings, numbers and times always can
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// message is an event on its way into Kafka.
type message struct {
	topic   string
	key     string
	value   []byte
	headers []event.Header
	kind    event.Kind
	id      string
	meant   intent
}

// An intent is what the city means a message to be. The daemon is not told; a
// test holds its judgement against it.
type intent uint8

const (
	ordinary   intent = iota // nothing stands against its content
	prohibited               // it says what a starter rule forbids
	evasive                  // the same in disguise
	canary                   // it holds the harmless string of a category
	broken                   // it can never be judged
)
