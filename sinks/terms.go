package sinks

import (
	"fmt"
	"slices"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// Terms returns what a record with this body was given to be looked up by, so that an index that was lost can
// be made again. Bodies in JSON were given nothing. The error wraps [body.ErrMalformed].
func Terms(kind evidence.Kind, encoding uint8, b []byte) ([]evidence.Term, error) {
	if encoding != evidence.EncodingProtobuf {
		return nil, nil
	}
	m, err := body.Decode(kind, b)
	if err != nil {
		return nil, fmt.Errorf("terms of a %s record: %w", kind, err)
	}
	var r evidence.Record
	switch m := m.(type) {
	case *body.Verdict:
		return verdictTerms(m), nil
	case *body.Consent:
		r.Terms = []evidence.Term{{Name: "event", Value: m.EventId}}
		pseudonymous(&r, body.Pseudonym(m.Pseudonym))
	case *body.Breach:
		pseudonymous(&r, body.Pseudonym(m.Pseudonym))
	case *body.Recall:
		pseudonymous(&r, body.Pseudonym(m.Pseudonym))
	}
	return r.Terms, nil
}

// verdictTerms are what the record of a verdict can be looked up by.
func verdictTerms(m *body.Verdict) []evidence.Term {
	t := terms{room: 3 + 2*len(m.Hits)}
	t.add("event", m.EventId)
	t.add("account", m.Account)
	t.add("device", m.GetClient().GetDeviceId())
	for _, h := range m.Hits {
		t.add("category", h.Category)
	}
	for _, h := range m.Hits {
		t.add("rule", h.Rule)
	}
	return t.list
}

// terms is a list of which each is there once.
type terms struct {
	room int // for so many, until there are more
	list []evidence.Term
}

func (t *terms) add(name, value string) {
	n := evidence.Term{Name: name, Value: value}
	if value == "" || len(t.list) >= maxTerms || slices.Contains(t.list, n) {
		return
	}
	if t.list == nil {
		t.list = make([]evidence.Term, 0, t.room)
	}
	t.list = append(t.list, n)
}
