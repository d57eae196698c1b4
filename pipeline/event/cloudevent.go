package event

import (
	"bytes"
	"time"
)

// attributes are what the headers say about a message, and in structured mode
// the object around the event. See the CloudEvents specification 1.0, its JSON
// format and its protocol binding for Kafka.
type attributes struct {
	structured bool

	specversion, id, source []byte
	kindName                []byte // the attribute "type"
	kind                    Kind   // of the type, 0 if it is none of ours
	time                    time.Time
}

// headers reads what the headers say. A header is named twice only by somebody
// who wants two readers to disagree.
func (d *Decoder) headers(headers []Header) (a attributes) {
	var contentType, timestamp []byte
	for i := range headers {
		switch h := &headers[i]; h.Key {
		case "ce_specversion":
			d.attribute(&a.specversion, h)
		case "ce_id":
			d.attribute(&a.id, h)
		case "ce_source":
			d.attribute(&a.source, h)
		case "ce_type":
			d.attribute(&a.kindName, h)
		case "ce_time":
			d.attribute(&timestamp, h)
		default:
			switch key := h.Key; {
			case equalFold(key, "content-type"):
				d.attribute(&contentType, &Header{"content-type", h.Value})
			case equalFold(key, "content-encoding"):
				d.fail(Encoding, "content-encoding", -1)
			}
		}
	}
	if contentType != nil {
		isJSON := false
		if isJSON, a.structured = mediaType(contentType); !isJSON {
			d.fail(Encoding, "content-type", -1)
		}
	}
	binary := a.specversion != nil || a.id != nil || a.source != nil || a.kindName != nil || timestamp != nil
	if timestamp != nil {
		var ok bool
		if a.time, ok = parseTime(timestamp); !ok {
			d.fail(BadTime, "ce_time", -1)
		}
	}
	if binary && !a.structured && d.fault == nil {
		d.attributes(&a)
	}
	return a
}

// attribute sets *to to the value of a header that may come once.
func (d *Decoder) attribute(to *[]byte, h *Header) {
	if *to != nil {
		d.fail(DuplicateName, h.Key, -1)
	}
	d.checkHeader(h.Key, h.Value)
	*to = h.Value[:len(h.Value):len(h.Value)]
}

// attributes looks whether all are there that a CloudEvent must have, and what
// they say.
func (d *Decoder) attributes(a *attributes) {
	d.needed("specversion", a.specversion)
	if string(a.specversion) != "1.0" {
		d.fail(SpecVersion, "specversion", -1)
	}
	d.needed("id", a.id)
	if len(a.id) > d.config.MaxWordBytes {
		d.fail(TooLong, "id", -1)
	}
	d.needed("source", a.source)
	d.needed("type", a.kindName)
	if word, ours := bytes.CutPrefix(a.kindName, []byte("weir.")); ours {
		var ok bool
		if a.kind, ok = ParseKind(string(word)); !ok {
			// One of our own outputs has come back as an input.
			d.fail(Mismatch, "type", -1)
		}
	}
	d.inAttributes(a)
}

// inAttributes is in for a fault of an attribute.
func (d *Decoder) inAttributes(a *attributes) {
	switch {
	case d.fault == nil:
	case a.structured:
		d.in("cloudevent")
	default:
		d.fault.Path = "ce_" + d.fault.Path
	}
}

// structured reads the CloudEvent around an event, and returns the index of the
// event's token. Headers of the same attributes, which the binding allows, must
// agree.
func (d *Decoder) structured(headers *attributes) (data int) {
	a := attributes{structured: true}
	data = -1
	first, end := d.object(0)
	for i := first; i < end; i = d.next(i) {
		name, v := d.name(i), i+1
		// Null is how the JSON format writes an attribute that is not set.
		null := d.tokens[v].Kind == 'n'
		switch string(name) {
		case "specversion":
			if !null {
				a.specversion = d.word("specversion", v)
			}
		case "id":
			if !null {
				a.id = d.word("id", v)
			}
		case "source":
			if !null {
				a.source = d.prose("source", v)
			}
		case "type":
			if !null {
				a.kindName = d.word("type", v)
			}
		case "time":
			if !null {
				a.time = d.time("time", v)
			}
		case "datacontenttype":
			if isJSON, nested := mediaType(d.optional("datacontenttype", v)); !null && (!isJSON || nested) {
				d.fail(Encoding, "datacontenttype", v)
			}
		case "data":
			switch data = v; {
			case null:
				d.fail(NullValue, "data", v)
			case d.tokens[v].Kind != '{':
				d.fail(WrongType, "data", v)
			}
		case "data_base64":
			d.fail(Encoding, "data_base64", v)
		default:
			// subject, dataschema and extensions: of no use here.
			switch {
			case !isAttributeName(name):
				d.unknown(i)
			case d.tokens[v].Kind == '{' || d.tokens[v].Kind == '[':
				d.fail(WrongType, "", v)
			}
		}
	}
	if data < 0 {
		d.fail(Missing, "data", -1)
	}
	d.in("cloudevent")
	if d.fault == nil {
		d.attributes(&a)
	}
	for _, pair := range [...]struct {
		name          string
		header, value []byte
	}{
		{"ce_specversion", headers.specversion, a.specversion},
		{"ce_id", headers.id, a.id},
		{"ce_source", headers.source, a.source},
		{"ce_type", headers.kindName, a.kindName},
	} {
		if pair.header != nil && !bytes.Equal(pair.header, pair.value) {
			d.fail(Mismatch, pair.name, -1)
		}
	}
	if !headers.time.IsZero() && !headers.time.Equal(a.time) {
		d.fail(Mismatch, "ce_time", -1)
	}
	*headers = a
	return data
}

// optional reads a string that may be null.
func (d *Decoder) optional(path string, at int) []byte {
	if d.tokens[at].Kind == 'n' {
		return nil
	}
	return d.prose(path, at)
}

// isAttributeName knows the names of attributes: lower-case letters and digits.
func isAttributeName(name []byte) bool {
	for _, c := range name {
		if !isDigit(c) && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(name) > 0
}

// mediaType reports whether a content type is JSON in UTF-8, and whether it is
// that of a CloudEvent in structured mode.
func mediaType(contentType []byte) (isJSON, structured bool) {
	name, parameters, _ := bytes.Cut(contentType, []byte(";"))
	name = bytes.TrimSpace(name)
	for len(parameters) > 0 {
		var parameter []byte
		parameter, parameters, _ = bytes.Cut(parameters, []byte(";"))
		key, value, _ := bytes.Cut(parameter, []byte("="))
		if equalFold(bytes.TrimSpace(key), "charset") && !equalFold(bytes.Trim(bytes.TrimSpace(value), `"`), "utf-8") {
			return false, false
		}
	}
	switch {
	case equalFold(name, "application/cloudevents+json"):
		return true, true
	case hasPrefixFold(name, "application/cloudevents"):
		return false, false // a batch, or another format
	case equalFold(name, "application/json"), equalFold(name, "text/json"):
		return true, false
	}
	const suffix = "+json"
	return len(name) > len(suffix) && equalFold(name[len(name)-len(suffix):], suffix), false
}

// equalFold compares with a word in lower case, ASCII only.
func equalFold[T string | []byte](s T, lower string) bool {
	return len(s) == len(lower) && hasPrefixFold(s, lower)
}

func hasPrefixFold[T string | []byte](s T, lower string) bool {
	if len(s) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
