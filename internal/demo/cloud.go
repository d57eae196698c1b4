package demo

import (
	"encoding/json"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// cloudHeaders are the headers of a CloudEvent in binary mode: the envelope in
// headers, the event itself as the value.
func cloudHeaders(kind event.Kind, e *envelope) []event.Header {
	h := func(k, v string) event.Header { return event.Header{Key: k, Value: []byte(v)} }
	return []event.Header{
		h("ce_specversion", "1.0"),
		h("ce_id", e.ID),
		h("ce_source", "/city/"+kind.String()),
		h("ce_type", "example.city."+kind.String()),
		h("ce_time", e.Time.Format(time.RFC3339Nano)),
		h("content-type", "application/json"),
	}
}

// structured is a CloudEvent in structured mode: envelope and event in one value.
func structured(kind event.Kind, e *envelope) []byte {
	b, err := json.Marshal(struct {
		SpecVersion string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Time        time.Time       `json:"time"`
		ContentType string          `json:"datacontenttype"`
		Data        json.RawMessage `json:"data"`
	}{"1.0", e.ID, "/city/" + kind.String(), "example.city." + kind.String(), e.Time, "application/json", encode(e)})
	if err != nil {
		panic("demo: an event cannot be encoded: " + err.Error())
	}
	return b
}
