package sinks

import (
	"errors"
	"time"

	"github.com/weir-moderation/weir/internal/strictjson"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// AllowedReader finds the allowed pushes among the messages of the decisions
// topic. It reads of each message only what a send log needs. It belongs to one
// goroutine; the zero value is not ready, see [NewAllowedReader].
type AllowedReader struct {
	json    strictjson.Parser
	scratch []byte
}

// NewAllowedReader returns a reader.
func NewAllowedReader() *AllowedReader {
	// What Weir wrote is not to be refused for its size; only a shadow rule that
	// hits everywhere makes an allowed push's message long.
	return &AllowedReader{json: strictjson.Parser{Limits: strictjson.Limits{Bytes: 128 << 20, Values: 16 << 20}}}
}

// errNoDecision is the error of a message that is none of the decisions topic.
var errNoDecision = errors.New("not a message of the decisions topic")

// Read reads the value of a message. Allowed is false for any other decision;
// an error says that the value is no decision. What is returned borrows the
// value's bytes and is valid until the next call.
func (a *AllowedReader) Read(value []byte) (sent push.Sent, allowed bool, err error) {
	tokens, err := a.json.Scan(value)
	if err != nil || tokens[0].Kind != '{' {
		return push.Sent{}, false, errNoDecision
	}
	a.scratch = a.scratch[:0]
	var kind, decision, at []byte
	text := func(t *strictjson.Token) (s []byte) {
		if t.Kind == '"' {
			a.scratch, s = strictjson.Text(a.scratch, value, t)
		}
		return s
	}
	// Objects are walked one inside the other: decisions, their push, its decision.
	each := func(at int, member func(name string, value int)) {
		if tokens[at].Kind != '{' {
			return
		}
		for i, end := at+1, int(tokens[at].Next); i < end; i = int(tokens[i+1].Next) {
			member(string(value[tokens[i].Lo:tokens[i].Hi]), i+1)
		}
	}
	each(0, func(name string, v int) {
		switch name {
		case "event_id":
			sent.ID = text(&tokens[v])
		case "kind":
			kind = text(&tokens[v])
		case "decision":
			decision = text(&tokens[v])
		case "user":
			each(v, func(name string, v int) {
				switch name {
				case "id":
					sent.User = text(&tokens[v])
				case "group":
					sent.Group = text(&tokens[v])
				}
			})
		case "push":
			each(v, func(name string, v int) {
				switch name {
				case "class":
					sent.Class = text(&tokens[v])
				case "channel":
					sent.Channel = text(&tokens[v])
				case "decision":
					each(v, func(name string, v int) {
						if name == "at" {
							at = text(&tokens[v])
						}
					})
				}
			})
		}
	})
	switch k, ok := event.ParseKind(string(kind)); {
	case !ok:
		return push.Sent{}, false, errNoDecision
	case k != event.Push || string(decision) != string(push.Allow):
		return push.Sent{}, false, nil
	}
	sent.At, err = time.Parse(time.RFC3339, string(at))
	if err != nil || len(sent.User) == 0 || len(sent.ID) == 0 || len(sent.Class) == 0 || len(sent.Channel) == 0 {
		return push.Sent{}, false, errNoDecision
	}
	return sent, true, nil
}
