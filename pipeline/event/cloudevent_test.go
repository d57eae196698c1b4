package event

import (
	"strings"
	"testing"
	"time"
)

// A post in structured mode.
const cloudPost = `{"specversion":"1.0","id":"p1","source":"/town","type":"weir.post","time":"2026-11-24T08:30:00Z",` +
	`"datacontenttype":"application/json","data":{"user":{"id":"u1"},"fields":{"body":"text"}}}`

// ce makes headers from "key: value" lines.
func ce(lines ...string) []Header {
	var headers []Header
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		headers = append(headers, Header{key, []byte(value)})
	}
	return headers
}

const (
	bare        = `{"user":{"id":"u1"},"fields":{"body":"text"}}` // id and time are in the headers
	specversion = "ce_specversion: 1.0"
	id          = "ce_id: p1"
	source      = "ce_source: /town"
	typed       = "ce_type: weir.post"
	timed       = "ce_time: 2026-11-24T16:30:00+08:00"
	structured  = "content-type: application/cloudevents+json"
)

var cloudEvents = []struct {
	kind    Kind
	headers []Header
	text    string
	want    Reason
	path    string
}{
	// Plain JSON.
	{Post, ce("content-type: application/json"), plainPost, "", ""},
	{Post, ce("Content-Type: Application/JSON; charset=UTF-8"), plainPost, "", ""},
	{Post, ce(`content-type: application/json;charset="utf-8";profile=x`), plainPost, "", ""},
	{Post, ce("content-type: application/vnd.town.post+json"), plainPost, "", ""},
	{Post, ce("content-type: text/json"), plainPost, "", ""},
	{Post, ce("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x: \xff"), plainPost, "", ""},
	{Post, ce("content-type: application/json; charset=gbk"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: text/plain"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: application/avro"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: application/x-protobuf"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: +json"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: json"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: application/j\u017fon"), plainPost, Encoding, "content-type"},
	{Post, ce("content-type: "), plainPost, EmptyWord, "content-type"},
	{Post, ce("content-type: \xff"), plainPost, InvalidUTF8, "content-type"},
	{Post, ce("content-type: application/json", "CONTENT-TYPE: application/json"), plainPost, DuplicateName, "content-type"},
	{Post, ce("content-encoding: gzip"), plainPost, Encoding, "content-encoding"},
	{Post, ce("Content-Encoding: identity"), plainPost, Encoding, "content-encoding"},

	// Binary mode.
	{Post, ce(specversion, id, source, typed, timed), bare, "", ""},
	{Post, ce(specversion, id, source, typed, timed, "content-type: application/json", "ce_subject: u1", "ce_traceparent: x"), bare, "", ""},
	{Post, ce(specversion, id, source, typed, timed), plainPost, "", ""}, // both, and they agree
	{Post, ce(specversion, id, source, typed), plainPost, "", ""},
	{0, ce(specversion, id, source, typed), plainPost, "", ""},
	{Post, ce(specversion, id, source, "ce_type: com.example.post"), plainPost, "", ""},
	{Push, ce(specversion, id, source, "ce_type: com.example.post", timed), without(plainPush, `"id":"n1",`), "", ""},
	{Post, ce(specversion, id, source, typed), bare, Missing, "time"},
	{Post, ce(specversion, "ce_id: p2", source, typed), plainPost, Mismatch, "id"},
	{Post, ce(specversion, id, source, typed, "ce_time: 2026-11-24T08:30:00.001Z"), plainPost, Mismatch, "time"},
	{Push, ce(specversion, id, source, typed), plainPost, Mismatch, "ce_type"},
	{Post, ce(specversion, id, source, "ce_type: weir.push"), plainPost, Mismatch, "ce_type"},
	{0, ce(specversion, id, source, typed), with(plainPost, `"kind":"push"`), Mismatch, "kind"},
	{0, ce(specversion, id, source, typed), with(plainPost, `"class":"content"`), UnknownName, ""},
	{0, ce(specversion, id, source, "ce_type: com.example.post"), plainPost, BadValue, "ce_type"},
	{0, ce(specversion, id, source, "ce_type: com.example.post"), with(plainPost, `"kind":"post"`), "", ""},
	{Post, ce(specversion, id, source, "ce_type: weir.review"), plainPost, Mismatch, "ce_type"},
	{Post, ce(specversion, id, source, "ce_type: weir."), plainPost, Mismatch, "ce_type"},
	{Post, ce("ce_specversion: 0.3", id, source, typed), plainPost, SpecVersion, "ce_specversion"},
	{Post, ce("ce_specversion: 1.0.2", id, source, typed), plainPost, SpecVersion, "ce_specversion"},
	{Post, ce("ce_specversion: ", id, source, typed), plainPost, EmptyWord, "ce_specversion"},
	{Post, ce(id, source, typed), plainPost, Missing, "ce_specversion"},
	{Post, ce(timed), plainPost, Missing, "ce_specversion"},
	{Post, ce(specversion, source, typed), plainPost, Missing, "ce_id"},
	{Post, ce(specversion, id, typed), plainPost, Missing, "ce_source"},
	{Post, ce(specversion, id, source), plainPost, Missing, "ce_type"},
	{Post, ce(specversion, id, source, typed, id), plainPost, DuplicateName, "ce_id"},
	{Post, ce(specversion, "ce_id: \xff", source, typed), bare, InvalidUTF8, "ce_id"},
	{Post, ce(specversion, "ce_id: a\x00b", source, typed), bare, ControlCharacter, "ce_id"},
	{Post, ce(specversion, "ce_id: "+strings.Repeat("x", 257), source, typed), bare, TooLong, "ce_id"},
	{Post, ce(specversion, id, source, typed, "ce_time: now"), bare, BadTime, "ce_time"},
	{Post, ce(specversion, id, source, typed, timed), "null", NullValue, ""},
	{Post, ce(specversion, id, source, typed, timed), "", EmptyValue, ""},

	// Structured mode.
	{Post, ce(structured), cloudPost, "", ""},
	{0, ce(structured), cloudPost, "", ""},
	{Post, ce(structured + "; charset=utf-8"), cloudPost, "", ""},
	{Post, ce(structured, specversion, id, source, typed, timed), cloudPost, "", ""},
	{Post, ce(structured), with(without(cloudPost, `"time":"2026-11-24T08:30:00Z",`), `"subject":null,"dataschema":"x","ext1":1,"ext2":true,"time":null`), Missing, "time"},
	{Post, ce(structured), with(cloudPost, `"subject":null,"dataschema":"x","ext1":1,"ext2":true,"traceparent":"x"`), "", ""},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"data":{"id":"p1","time":"2026-11-24T08:30:00.000Z","kind":"post",`), "", ""},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"data":{"id":"p2",`), Mismatch, "id"},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"data":{"time":"2026-11-24T08:30:01Z",`), Mismatch, "time"},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"data":{"kind":"push",`), Mismatch, "kind"},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"data":{"specversion":"1.0",`), UnknownName, ""},
	{Post, ce(structured), swap(cloudPost, `"u1"`, `7`), WrongType, "user.id"},
	{Post, ce(structured, "ce_id: p2"), cloudPost, Mismatch, "ce_id"},
	{Post, ce(structured, "ce_specversion: 0.3"), cloudPost, Mismatch, "ce_specversion"},
	{Post, ce(structured, "ce_source: /city"), cloudPost, Mismatch, "ce_source"},
	{Post, ce(structured, "ce_type: weir.push"), cloudPost, Mismatch, "ce_type"},
	{Post, ce(structured, "ce_time: 2026-11-24T08:30:01Z"), cloudPost, Mismatch, "ce_time"},
	{Push, ce(structured), cloudPost, Mismatch, "cloudevent.type"},
	{Post, ce(structured), swap(cloudPost, `weir.post`, `weir.decision`), Mismatch, "cloudevent.type"},
	{Post, ce(structured), swap(cloudPost, `weir.post`, `org.town.created`), "", ""},
	{0, ce(structured), swap(cloudPost, `weir.post`, `org.town.created`), BadValue, "cloudevent.type"},
	{0, ce(structured), swap(swap(cloudPost, `weir.post`, `org.town.created`), `"data":{`, `"data":{"kind":"post",`), "", ""},
	{Post, ce(structured), without(cloudPost, `"specversion":"1.0",`), Missing, "cloudevent.specversion"},
	{Post, ce(structured), swap(cloudPost, `"1.0"`, `"1.1"`), SpecVersion, "cloudevent.specversion"},
	{Post, ce(structured), swap(cloudPost, `"1.0"`, `1.0`), WrongType, "cloudevent.specversion"},
	{Post, ce(structured), without(cloudPost, `"id":"p1",`), Missing, "cloudevent.id"},
	{Post, ce(structured), swap(cloudPost, `"p1"`, `null`), Missing, "cloudevent.id"},
	{Post, ce(structured), swap(cloudPost, `"p1"`, `""`), EmptyWord, "cloudevent.id"},
	{Post, ce(structured), swap(cloudPost, `"p1"`, `"\u0000"`), ControlCharacter, "cloudevent.id"},
	{Post, ce(structured), without(cloudPost, `"source":"/town",`), Missing, "cloudevent.source"},
	{Post, ce(structured), without(cloudPost, `"type":"weir.post",`), Missing, "cloudevent.type"},
	{Post, ce(structured), swap(cloudPost, `"2026-11-24T08:30:00Z"`, `"now"`), BadTime, "cloudevent.time"},
	{Post, ce(structured), swap(cloudPost, `"datacontenttype":"application/json"`, `"datacontenttype":null`), "", ""},
	{Post, ce(structured), swap(cloudPost, `"datacontenttype":"application/json"`, `"datacontenttype":"text/xml"`), Encoding, "cloudevent.datacontenttype"},
	{Post, ce(structured), swap(cloudPost, `"datacontenttype":"application/json"`, `"datacontenttype":"application/cloudevents+json"`), Encoding, "cloudevent.datacontenttype"},
	{Post, ce(structured), swap(cloudPost, `"datacontenttype":"application/json"`, `"datacontenttype":7`), WrongType, "cloudevent.datacontenttype"},
	{Post, ce(structured), with(cloudPost, `"data_base64":""`), Encoding, "cloudevent.data_base64"},
	{Post, ce(structured), swap(cloudPost, `"data":{`, `"other":{`), WrongType, "cloudevent"},
	{Post, ce(structured), with(cloudPost, `"Other":""`), UnknownName, "cloudevent"},
	{Post, ce(structured), with(cloudPost, `"":""`), UnknownName, "cloudevent"},
	{Post, ce(structured), `{"specversion":"1.0","id":"p1","source":"/town","type":"weir.post"}`, Missing, "cloudevent.data"},
	{Post, ce(structured), `{"specversion":"1.0","id":"p1","source":"/town","type":"weir.post","data":null}`, NullValue, "cloudevent.data"},
	{Post, ce(structured), `{"specversion":"1.0","id":"p1","source":"/town","type":"weir.post","data":"{}"}`, WrongType, "cloudevent.data"},
	{Post, ce(structured), plainPost, WrongType, "cloudevent"},
	{Post, ce(structured), "null", NullValue, ""},
	{Post, ce(structured), "[" + cloudPost + "]", WrongType, ""},
	{Post, ce("content-type: application/cloudevents-batch+json"), "[" + cloudPost + "]", Encoding, "content-type"},
	{Post, ce("content-type: application/cloudevents+avro"), cloudPost, Encoding, "content-type"},
	{Post, ce("content-type: application/json"), cloudPost, UnknownName, ""},
	{Post, nil, cloudPost, UnknownName, ""},
}

// CloudEvents are read in both modes, and refused where a part contradicts
// another or is not plain JSON.
func TestCloudEvents(t *testing.T) {
	d := NewDecoder(DefaultConfig())
	for _, c := range cloudEvents {
		e := decode(t, d, c.kind, c.headers, c.text, c.want, c.path)
		if c.want != "" {
			continue
		}
		if c.kind != 0 && e.Kind != c.kind || c.kind == 0 && e.Kind != Post {
			t.Errorf("%s %v: kind %v", c.text, c.headers, e.Kind)
		}
		if string(e.ID) != "p1" || string(e.User.ID) != "u1" || string(e.Fields[0].Text) != "text" {
			t.Errorf("%s %v: %+v", c.text, c.headers, e.Fields)
		}
		if want := time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC); e.Time != want {
			t.Errorf("%s %v: time %v", c.text, c.headers, e.Time)
		}
	}
}
