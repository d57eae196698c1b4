package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// layout reads a layout as the configuration does.
func layout(t testing.TB, src string) *Layout {
	t.Helper()
	var l Layout
	if _, err := strictyaml.Decode("layout.yaml", []byte(src), &l); err != nil {
		t.Fatal(err)
	}
	return &l
}

// reader returns a decoder of messages of a layout.
func reader(t testing.TB, k Kind, src string) *Decoder {
	t.Helper()
	f, err := layout(t, src).Format(k)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(DefaultConfig())
	d.Format = f
	return d
}

const (
	commentMap = `map: {id: /comment_id, user: /author/uid, time: /created_at, fields: {body: /text, title: /title, tag: /tags, first: /parts/0/text}}`
	comment    = `{"comment_id":81234567,"created_at":1795509000,"author":{"uid":"u1","name":"n"},"text":"风筝\n","score":0.5,"more":[{"text":"x"}]}`
	promoMap   = `map: {id: /nid, user: {id: /to, group: /age, verified: /real}, time: /ts, fields: {body: /msg}, class: {const: marketing}, channel: /via,
  campaign: /c~1d/~0, sender: {const: 7}, label: /ad, personalised: {const: true}, expires: /till, operation: {const: push.send},
  client: {address: /ip, port: /port, device: {model: /dev/m, os: /dev/o, id: /dev/i, app: /dev/a}}, server: {address: /host, port: /hp}}`
	promo = `{"nid":-5,"to":"u1","age":"elderly","real":true,"ts":1795509000123,"msg":"m","via":"app","c/d":{"~":9},"ad":"广告","till":"2026-11-24T20:00:00Z",` +
		`"ip":"203.0.113.7","port":1,"dev":{"m":"M1","o":"o","i":"i","a":"a"},"host":"::1","hp":443}`
	resultMap = `map: {id: /id, user: /u, time: /t, push_id: /id, result: {const: cancelled}}`
	result    = `{"id":12,"u":3,"t":0.5}`
)

// laidOut is a message of a layout, and what comes of it.
var laidOut = []struct {
	kind   Kind
	layout string
	text   string
	want   Reason
	path   string
}{
	{Post, commentMap, comment, "", ""},
	{Push, promoMap, promo, "", ""},
	{Outcome, resultMap, result, "", ""},

	// What is needed and is not there, in every way in which it can be not there.
	{Post, commentMap, without(comment, `"comment_id":81234567,`), Missing, "id"},
	{Post, commentMap, swap(comment, `81234567`, `null`), Missing, "id"},
	{Post, commentMap, swap(comment, `81234567`, `""`), EmptyWord, "id"},
	{Post, commentMap, without(comment, `"created_at":1795509000,`), Missing, "time"},
	{Post, commentMap, without(comment, `"uid":"u1",`), Missing, "user.id"},
	{Post, commentMap, swap(comment, `{"uid":"u1","name":"n"}`, `null`), Missing, "user.id"},
	{Post, commentMap, without(comment, `"text":"风筝\n",`), Missing, "fields"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `null`), "", ""},
	{Post, commentMap, swap(comment, `"text":"风筝\n"`, `"parts":null`), "", ""},
	{Post, commentMap, swap(comment, `"风筝\n"`, `""`), "", ""},
	{Push, promoMap, without(promo, `"via":"app",`), Missing, "channel"},
	{Push, promoMap, without(promo, `"age":"elderly","real":true,`), "", ""},
	{Outcome, strings.Replace(resultMap, "/id, result", "/push, result", 1), result, Missing, "push_id"},

	// What is there and is something else.
	{Post, commentMap, swap(comment, `{"uid":"u1","name":"n"}`, `"u1"`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `{"uid":"u1","name":"n"}`, `["u1"]`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `"u1"`, `{}`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `"u1"`, `true`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `"u1"`, `1.0`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `"u1"`, `1e3`), WrongType, "user.id"},
	{Post, commentMap, swap(comment, `"u1"`, `13912345678`), PersonalNumber, "user.id"},
	{Post, commentMap, swap(comment, `81234567`, repeated("1", 1)+strings.Repeat("0", 256)), TooLong, "id"},
	{Post, commentMap, swap(comment, `"u1"`, `"a\u0001"`), ControlCharacter, "user.id"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `7`), WrongType, "fields[0]"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `"a","tags":["b",7]`), WrongType, "fields[2]"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `"a","tags":["b",["c"]]`), WrongType, "fields[2]"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `"a","parts":"b"`), WrongType, "fields"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `"a","tags":[`+repeated(`""`, 64)+`]`), TooManyFields, "fields"},
	{Post, commentMap, swap(comment, `"风筝\n"`, `"a","tags":[`+repeated(`""`, 63)+`,null]`), "", ""},
	{Post, commentMap, `[]`, WrongType, ""},
	{Push, promoMap, swap(promo, `"203.0.113.7"`, `"home"`), BadAddress, "client.address"},
	{Push, promoMap, swap(promo, `"::1"`, `"home"`), BadAddress, "server.address"},
	{Push, promoMap, swap(promo, `"port":1`, `"port":65536`), BadPort, "client.port"},
	{Push, promoMap, swap(promo, `443`, `"443"`), WrongType, "server.port"},
	{Push, promoMap, swap(promo, `"real":true`, `"real":1`), WrongType, "user.verified"},
	{Push, promoMap, swap(promo, `"2026-11-24T20:00:00Z"`, `"tomorrow"`), BadTime, "expires"},
	{Outcome, strings.Replace(resultMap, "{const: cancelled}", "/r", 1), with(result, `"r":"sent"`), BadValue, "result"},

	// Times as numbers.
	{Post, commentMap, swap(comment, `1795509000`, `-1`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `1.7955e9`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `1795509000123456`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `179550900012345678901234567890`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `1795509000123.5`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `1.0123456789`), BadTime, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `true`), WrongType, "time"},
	{Post, commentMap, swap(comment, `1795509000`, `"1795509000"`), BadTime, "time"},

	// All that is strict about JSON is strict about what the map does not name.
	{Post, commentMap, with(comment, `"more":1`), DuplicateName, ""},
	{Post, commentMap, with(comment, `"other":"\ud800"`), LoneSurrogate, ""},
	{Post, commentMap, with(comment, `"other":01`), BadNumber, ""},
	{Post, commentMap, comment + "x", TrailingData, ""},

	// The envelope of a schema registry.
	{Post, "envelope: confluent", "\x00\x00\x00\x00\x07" + plainPost, "", ""},
	{Post, "envelope: confluent", "\x010123456789abcdef" + plainPost, "", ""},
	{Consent, "envelope: confluent", "\x00\x00\x00\x00\x07" + plainConsent, "", ""},
	{Post, "envelope: confluent\n" + commentMap, "\x00\x00\x00\x00\x07" + comment, "", ""},
	{Post, "envelope: confluent", plainPost, NoEnvelope, ""},
	{Post, "envelope: confluent", "\x02\x00\x00\x00\x07" + plainPost, NoEnvelope, ""},
	{Post, "envelope: confluent", "\x00\x00\x00\x00", NoEnvelope, ""},
	{Post, "envelope: confluent", "\x010123456789abcde", NoEnvelope, ""},
	{Post, "envelope: confluent", "\x00\x00\x00\x00\x07", EmptyValue, ""},
	{Post, "envelope: confluent", "", EmptyValue, ""},
	{Post, "envelope: confluent", "\x00\x00\x00\x00\x07null", NullValue, ""},
	{Post, "envelope: confluent", "\x00\x00\x00\x00\x07\x00\x00\x00\x00\x07" + plainPost, ControlCharacter, ""},
	{Post, "envelope: none", "\x00\x00\x00\x00\x07" + plainPost, ControlCharacter, ""},
}

// Messages of a layout are accepted or refused as the table says.
func TestLayouts(t *testing.T) {
	for _, c := range laidOut {
		decode(t, reader(t, c.kind, c.layout), c.kind, nil, c.text, c.want, c.path)
	}
	// No message at all is a tombstone also where an envelope is due.
	d := reader(t, Post, "envelope: confluent")
	var fault *Error
	if err := d.Decode(Post, nil, nil, new(Event)); !errors.As(err, &fault) || fault.Reason != NullValue {
		t.Errorf("no value: %v", err)
	}
	// The place of a fault is that in the message, its envelope included.
	text := "\x00\x00\x00\x00\x07" + swap(plainPost, `"u1"`, `7`)
	if err := d.Decode(Post, nil, []byte(text), new(Event)); !errors.As(err, &fault) || text[fault.Offset] != '7' {
		t.Errorf("%v", err)
	}
}

// All that a map names arrives as it is written, and nothing else.
func TestMappedEvents(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	at := time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		kind         Kind
		layout, text string
		want         Event
	}{
		{Post, commentMap, comment, Event{
			Kind: Post, ID: b("81234567"), Time: at, User: User{ID: b("u1")}, Operation: b("post.create"), Fields: []Field{{b("body"), b("风筝\n")}},
		}},
		// In the order of the message, also of names with escapes; of lists all.
		{Post, commentMap, with(swap(comment, `"text"`, `"tags":["a","b"],"parts":[{"text":"c"},{"text":"d"}],"te\u0078t"`), `"title":"e"`), Event{
			Kind: Post, ID: b("81234567"), Time: at, User: User{ID: b("u1")}, Operation: b("post.create"),
			Fields: []Field{{b("tag"), b("a")}, {b("tag"), b("b")}, {b("first"), b("c")}, {b("body"), b("风筝\n")}, {b("title"), b("e")}},
		}},
		{Post, commentMap, swap(comment, `"风筝\n"`, `null`), Event{
			Kind: Post, ID: b("81234567"), Time: at, User: User{ID: b("u1")}, Operation: b("post.create"), Fields: []Field{},
		}},
		{Push, promoMap, promo, Event{
			Kind: Push, ID: b("-5"), Time: at.Add(123 * time.Millisecond), User: User{b("u1"), b("elderly"), true}, Operation: b("push.send"),
			Fields: []Field{{b("body"), b("m")}},
			Client: Endpoint{b("203.0.113.7"), 1, Device{b("M1"), b("o"), b("i"), b("a")}}, Server: Endpoint{Address: b("::1"), Port: 443},
			Push: PushPart{b("marketing"), b("app"), b("9"), b("7"), b("广告"), true, time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)},
		}},
		{Outcome, resultMap, result, Event{
			Kind: Outcome, ID: b("12"), Time: time.UnixMilli(500).UTC(), User: User{ID: b("3")}, Outcome: OutcomePart{b("12"), b("cancelled")},
		}},
		// A map of everything to where it stands anyway.
		{Post, `map: {id: /id, time: /time, user: {id: /user/id, group: /user/group, verified: /user/verified}, operation: /operation,
  fields: {nickname: /fields/nickname, body: /fields/body}, client: {address: /client/address, port: /client/port,
  device: {model: /client/device/model, os: /client/device/os, id: /client/device/id, app: /client/device/app}},
  server: {address: /server/address, port: /server/port}}`, fullPost, func() (e Event) {
			if err := NewDecoder(Config{}).Decode(Post, nil, []byte(fullPost), &e); err != nil {
				t.Fatal(err)
			}
			e.Attachments = nil // which no pointer leads to
			return e
		}()},
	} {
		d := reader(t, c.kind, c.layout)
		for range 2 { // nothing of the first is left in the second
			var e Event
			if err := d.Decode(c.kind, nil, []byte(c.text), &e); err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
			if diff := cmp.Diff(c.want, e); diff != "" {
				t.Errorf("%s: %s", c.text, diff)
			}
		}
	}
}

// What the map names comes from the message; id and time it does not name come
// from the CloudEvent around it, in both modes.
func TestMappedCloudEvents(t *testing.T) {
	const noID = `map: {user: /author/uid, fields: {body: /text}}`
	attrs := ce("ce_specversion: 1.0", "ce_id: e9", "ce_source: /city", "ce_type: com.example.comment", "ce_time: 2026-01-01T00:00:00Z")
	inside := `{"specversion":"1.0","id":"e9","source":"/city","type":"com.example.comment","time":"2026-01-01T00:00:00Z","data":` + comment + `}`
	for _, c := range []struct {
		layout  string
		headers []Header
		text    string
		want    string
	}{
		{commentMap, attrs, comment, "81234567 2026"},
		{noID, attrs, comment, "e9 2026"},
		{commentMap, ce("content-type: application/cloudevents+json"), inside, "81234567 2026"},
		{noID, ce("content-type: application/cloudevents+json"), inside, "e9 2026"},
		{noID, nil, comment, "missing id"},
		// The message must have what the map says it has.
		{commentMap, attrs, without(comment, `"comment_id":81234567,`), "missing id"},
		{commentMap, attrs, without(comment, `"created_at":1795509000,`), "missing time"},
		{commentMap, ce("ce_specversion: 1.0", "ce_id: e9", "ce_source: /", "ce_type: weir.push"), comment, "mismatch ce_type"},
		{commentMap, ce("content-type: application/cloudevents+json"), comment, "unknown-name cloudevent"},
	} {
		d := reader(t, Post, c.layout)
		var e Event
		err := d.Decode(Post, c.headers, []byte(c.text), &e)
		got := string(e.ID) + e.Time.Format(" 2006")
		if fault := (*Error)(nil); errors.As(err, &fault) {
			got = string(fault.Reason) + " " + fault.Path
		}
		if got != c.want {
			t.Errorf("%s %v %s: %s, want %s", c.layout, c.headers, c.text, got, c.want)
		}
	}
}

// A layout that cannot be is refused with the field and what would be right.
func TestLayoutRefusals(t *testing.T) {
	const id = "id: /i, time: /t, user: /u"
	for _, c := range []struct {
		kind Kind
		src  string
		want []string
	}{
		{Post, "envelope: avro", []string{`envelope: "avro" is not known; use none or confluent`}},
		{Consent, "map: {" + id + "}", []string{"map: the kind consent cannot be mapped; write it as docs/schemas/consent.json says"}},
		{Post, "map: {}", []string{"map.user.id: missing; the kind post needs it", "map.fields: missing; name each text that is to be judged, such as {body: /text}"}},
		{Push, "map: {" + id + ", fields: {b: /b}}", []string{"map.class: missing; the kind push needs it", "map.channel: missing; the kind push needs it"}},
		{Outcome, "map: {" + id + ", fields: {b: /b}, push_id: /p}", []string{"map.result: missing; the kind outcome needs it", "map.fields: the kind outcome has none"}},
		{Post, "map: {" + id + ", fields: {b: /b}, class: {const: c}}", []string{"map.class: the kind post has none; take it out"}},
		{Outcome, "map: {" + id + ", push_id: /p, result: {const: sent}, operation: /o}", []string{"map.operation: the kind outcome has none", `map.result: "sent" is not known; use cancelled or rejected`}},
		{Post, "map: {" + id + ", fields: {b: b}}", []string{`map.fields.b: "b" is not a JSON Pointer; write it like /author/uid`}},
		{Post, "map: {" + id + ", fields: {b: /b~2}}", []string{`map.fields.b: "/b~2" is not a JSON Pointer: write ~ as ~0`}},
		{Post, "map: {" + id + ", fields: {b: /b~}}", []string{`map.fields.b: "/b~" is not a JSON Pointer`}},
		{Post, "map: {" + id + ", fields: {b: {const: x}}}", []string{`map.fields.b: a text is never the same`}},
		{Post, "map: {" + id + ", fields: {'': /b}}", []string{`map.fields[""]: not a name`}},
		{Post, "map: {" + id + ", fields: {b: /u/x}}", []string{`map.fields.b: "/u/x" leads into what user.id is; a member is a single value`}},
		{Post, "map: {id: /u/i, time: /t, user: /u, fields: {b: /b}}", []string{`map.user.id: "/u" leads to where id stands inside; point to a single value`}},
		{Post, "map: {id: {const: x}, time: {const: x}, user: {id: {const: x}}, fields: {b: /b}}", []string{"map.id: it cannot be the same in every message", "map.time: it cannot", "map.user.id: it cannot"}},
		{Push, "map: {" + id + ", fields: {b: /b}, class: {const: \"a\\n\"}, channel: /c, personalised: {const: 1}}", []string{"map.class: not a word", `map.personalised: "1" is not true or false`}},
	} {
		f, err := layout(t, c.src).Format(c.kind)
		if err == nil || f != nil {
			t.Errorf("%s: accepted", c.src)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(c.want) {
			t.Errorf("%s: %q", c.src, lines)
			continue
		}
		for i, w := range c.want {
			if !strings.HasPrefix(lines[i], w) {
				t.Errorf("%s: %q, want %q", c.src, lines[i], w)
			}
		}
	}
	for _, src := range []string{"{}", "envelope: none"} {
		if f, err := layout(t, src).Format(Post); f != nil || err != nil {
			t.Errorf("%s: %v, %v", src, f, err)
		}
	}
}

// Texts without escapes and ids that are numbers lie in the message, and nothing
// is allocated.
func TestMappedInPlace(t *testing.T) {
	for _, c := range []struct {
		kind         Kind
		layout, text string
	}{
		{Post, commentMap, comment}, {Push, promoMap, promo}, {Outcome, resultMap, result},
		{Post, "envelope: confluent\n" + commentMap, "\x00\x00\x00\x00\x07" + comment},
	} {
		d, value := reader(t, c.kind, c.layout), []byte(c.text)
		var e Event
		if n := testing.AllocsPerRun(100, func() {
			if err := d.Decode(c.kind, nil, value, &e); err != nil {
				t.Fatal(err)
			}
			d.Reset()
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.text, n)
		}
		if err := d.Decode(c.kind, nil, value, &e); err != nil {
			t.Fatal(err)
		}
		if !inside(e.ID, value) || !inside(e.User.ID, value) || c.kind == Push && !inside(e.Fields[0].Text, value) {
			t.Errorf("%s: something was copied", c.text)
		}
	}
}

// Whatever comes, a mapped message is read without a panic and changed in
// nothing; what is accepted says what the message says where the map points to.
func FuzzMapped(f *testing.F) {
	for _, c := range laidOut {
		f.Add(uint8(c.kind), []byte(c.text))
	}
	readers := map[Kind]*Decoder{Post: reader(f, Post, commentMap), Push: reader(f, Push, promoMap), Outcome: reader(f, Outcome, resultMap)}
	f.Fuzz(func(t *testing.T, kind uint8, value []byte) {
		k := []Kind{Post, Push, Outcome}[kind%3]
		d := readers[k]
		defer d.Reset()
		before := bytes.Clone(value)
		var e Event
		err := d.Decode(k, nil, value, &e)
		if !bytes.Equal(before, value) {
			t.Fatal("the message has changed")
		}
		var fault *Error
		switch {
		case err == nil:
			if len(e.ID) == 0 || len(e.User.ID) == 0 || e.Time.IsZero() || (e.Fields == nil) != (k == Outcome) {
				t.Fatalf("%q: accepted without what is needed", value)
			}
			comparePointers(t, k, value, &e)
		case !errors.As(err, &fault) || fault.Reason.Description() == "" || !ours.MatchString(err.Error()):
			t.Fatalf("%q: %v", value, err)
		}
	})
}

// comparePointers follows some of the pointers with jsontext.
func comparePointers(t *testing.T, k Kind, value []byte, e *Event) {
	t.Helper()
	at := func(pointer string) string {
		v, steps := jsontext.Value(value), strings.Split(pointer, "/")[1:]
		for _, s := range steps {
			var m map[string]jsontext.Value
			if json.Unmarshal(v, &m) != nil {
				return ""
			}
			v = m[s]
		}
		var s string
		if len(v) > 0 && v[0] != '"' {
			return string(v)
		}
		if len(v) > 0 && json.Unmarshal(v, &s) != nil {
			t.Fatalf("%q: jsontext refuses it", value)
		}
		return s
	}
	for pointer, got := range map[Kind]map[string][]byte{
		Post:    {"/comment_id": e.ID, "/author/uid": e.User.ID},
		Push:    {"/nid": e.ID, "/to": e.User.ID, "/via": e.Push.Channel},
		Outcome: {"/id": e.ID, "/u": e.User.ID},
	}[k] {
		if want := at(pointer); want != string(got) {
			t.Fatalf("%q: %s is %q, want %q", value, pointer, got, want)
		}
	}
}
