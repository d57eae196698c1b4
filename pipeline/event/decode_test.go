package event

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// Each message is accepted or refused as the table says, and a refusal tells
// nothing of it and leaves nothing in the event.
func TestMessages(t *testing.T) {
	d := NewDecoder(DefaultConfig())
	for _, m := range append(messages(), broken()...) {
		decode(t, d, m.kind, nil, m.text, m.want, m.path)
		d.Reset()
	}
}

// decode fails unless the message is accepted or refused as it should be.
func decode(t *testing.T, d *Decoder, kind Kind, headers []Header, text string, want Reason, path string) *Event {
	t.Helper()
	e := &Event{ID: []byte("left over")}
	err := d.Decode(kind, headers, []byte(text), e)
	if want == "" {
		if err != nil {
			t.Errorf("%v %.300s %v: %v", kind, text, headers, err)
		}
		return e
	}
	var fault *Error
	if !errors.As(err, &fault) {
		t.Errorf("%v %.300s %v: got %v, want %s", kind, text, headers, err, want)
		return e
	}
	if fault.Reason != want || fault.Path != path {
		t.Errorf("%v %.300s %v: got %q at %q, want %q at %q", kind, text, headers, fault.Reason, fault.Path, want, path)
	}
	if diff := cmp.Diff(&Event{}, e); diff != "" {
		t.Errorf("%.300s: refused, but the event holds %s", text, diff)
	}
	if !ours.MatchString(err.Error()) {
		t.Errorf("%.300s: %q may hold content", text, err)
	}
	return e
}

// ours matches errors that are made of nothing but our own words.
var ours = regexp.MustCompile(`^event: ` +
	`(((user|fields|attachments|client|device|server|grants|cloudevent|ce_)?(\[\d+\])?[._]?)*` +
	`(id|group|verified|kind|time|operation|uri|sha256|media_type|scan|address|port|model|os|app|class|channel|campaign|sender|label|personalised|expires|` +
	`version|granted|method|text_version|zone|quiet|daily_max|push_id|result|scope|value|halted|why|by|` +
	`specversion|source|type|datacontenttype|data|data_base64|content-type|content-encoding)?: )?` +
	`[a-z0-9-]+( at byte \d+)?(; [a-zA-Z0-9 ./_+,;:-]+)?$`)

// All that a message says arrives, and nothing else.
func TestWholeEvents(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 30, 0, 0, time.UTC)
	b := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		kind Kind
		text string
		want Event
	}{
		{Post, plainPost, Event{
			Kind: Post, ID: b("p1"), Time: at, User: User{ID: b("u1")}, Operation: b("post.create"),
			Fields: []Field{{b("body"), b("text")}},
		}},
		{Post, fullPost, Event{
			Kind: Post, ID: b("p1"), Time: at.Add(123 * time.Millisecond), User: User{b("u1"), b("minor"), true}, Operation: b("profile.update"),
			Fields:      []Field{{b("nickname"), b("风筝")}, {b("body"), b("a\n\x00\"\\ 😀")}},
			Attachments: []Attachment{{b("s3://bucket/1"), b(sum), b("image/png"), b("clean")}, {URI: b("x")}},
			Client:      Endpoint{b("2001:db8::1"), 51234, Device{b("M1"), b("android 16"), b("d1"), b("town/8.4.1")}},
			Server:      Endpoint{Address: b("203.0.113.7"), Port: 443},
		}},
		{Push, plainPush, Event{
			Kind: Push, ID: b("n1"), Time: at, User: User{ID: b("u1")}, Operation: b("push.send"),
			Fields: []Field{{b("body"), b("text")}}, Push: PushPart{Class: b("service"), Channel: b("app")},
		}},
		{Push, fullPush, Event{
			Kind: Push, ID: b("n1"), Time: at, User: User{ID: b("u1"), Group: b("elderly")}, Operation: b("push.send"),
			Fields: []Field{{b("title"), b("t")}, {b("body"), b("b")}}, Attachments: []Attachment{},
			Push: PushPart{
				Class: b("marketing"), Channel: b("sms"), Campaign: b("double-eleven"), Sender: b("shop"), Label: b("广告"),
				Personalised: true, Expires: time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC),
			},
		}},
		{Consent, plainConsent, Event{
			Kind: Consent, ID: b("c1"), Time: at, User: User{ID: b("u1")},
			Consent: ConsentPart{Version: 1, Grants: []Grant{}, DailyMax: -1},
		}},
		{Consent, fullConsent, Event{
			Kind: Consent, ID: b("c1"), Time: at, User: User{ID: b("u1"), Group: b("minor")},
			Consent: ConsentPart{
				Version: 1<<53 - 1,
				Grants: []Grant{
					{b("marketing"), b("app"), true, at.Add(-time.Second), b("settings"), b("v3")},
					{Class: b("marketing"), Channel: b("sms"), Time: at.Add(-time.Second)},
				},
				Zone: b("Asia/Shanghai"), Quiet: b("22:00-08:00"), DailyMax: 3,
			},
		}},
		{Outcome, fullOutcome, Event{
			Kind: Outcome, ID: b("o1"), Time: at, User: User{ID: b("u1")}, Outcome: OutcomePart{b("n1"), b("rejected")},
		}},
		{Halt, fullHalt, Event{
			Kind: Halt, ID: b("h1"), Time: at,
			Halt: HaltPart{Scope: b("class"), Value: b("marketing"), Why: b("checked\nand corrected"), By: b("officer-7")},
		}},
	} {
		d := NewDecoder(Config{})
		var e Event
		if err := d.Decode(c.kind, nil, []byte(c.text), &e); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if diff := cmp.Diff(c.want, e); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

// Fields come in the order of the message, however they are written.
func TestFieldOrder(t *testing.T) {
	var want, got []string
	for _, f := range strings.Split(numbered(64), ",") {
		want = append(want, strings.Split(f, `"`)[1])
	}
	var e Event
	text := swap(plainPost, `"body":"text"`, strings.ReplaceAll(numbered(64), `"f`, `"\u0066`))
	if err := NewDecoder(Config{}).Decode(Post, nil, []byte(text), &e); err != nil {
		t.Fatal(err)
	}
	for _, f := range e.Fields {
		got = append(got, string(f.Name))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of a message of unknown kind its "kind" tells, else what only pushes have.
func TestKindTold(t *testing.T) {
	d := NewDecoder(Config{})
	for _, c := range []struct {
		text string
		kind Kind
		want Reason
		path string
	}{
		{plainPost, Post, "", ""},
		{plainPush, Push, "", ""},
		{fullPost, Post, "", ""},
		{fullPush, Push, "", ""},
		{fullConsent, Consent, "", ""},
		{fullOutcome, Outcome, "", ""},
		{fullHalt, Halt, "", ""},
		{with(plainPost, `"label":"ad"`), 0, Missing, "class"},
		{swap(with(plainPost, `"label":"ad"`), `{"id"`, `{"kind":"post","id"`), 0, UnknownName, ""},
		{with(with(plainPost, `"label":"ad"`), `"kind":"post"`), 0, UnknownName, ""},
		{with(plainPost, `"kind":"pst"`), 0, BadValue, "kind"},
		{with(plainPost, `"kind":1`), 0, WrongType, "kind"},
		{plainConsent, 0, UnknownName, ""},
		{`{}`, 0, Missing, "user.id"},
		{`[]`, 0, WrongType, ""},
	} {
		if e := decode(t, d, 0, nil, c.text, c.want, c.path); e.Kind != c.kind {
			t.Errorf("%s: %v", c.text, e.Kind)
		}
	}
}

// A nil value and the JSON value null are the same; an empty one is another.
func TestNoValue(t *testing.T) {
	d := NewDecoder(Config{})
	var e Event
	for _, c := range []struct {
		value []byte
		want  string
	}{
		{nil, "event: null-value"},
		{[]byte("null"), "event: null-value"},
		{[]byte{}, "event: empty-value"},
		{[]byte("\n"), "event: empty-value"},
	} {
		if err := d.Decode(Post, nil, c.value, &e); err == nil || err.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.value, err, c.want)
		}
	}
}

// A value of 100 MB is refused for its size before anybody looks at it.
func TestHugeValue(t *testing.T) {
	d := NewDecoder(Config{})
	value := bytes.Repeat([]byte(" "), 100<<20)
	took := time.Hour
	for range 5 {
		var e Event
		start := time.Now()
		err := d.Decode(Post, nil, value, &e)
		took = min(took, time.Since(start))
		if want := "event: too-large at byte 1048576"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if took > time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

// Errors say what is wrong, where, and what would be right.
func TestErrors(t *testing.T) {
	d := NewDecoder(Config{})
	for text, want := range map[string]string{
		without(plainPost, `"id":"u1"`):               "event: user.id: missing",
		swap(plainPost, `"u1"`, `"13812345678"`):      "event: user.id: personal-number at byte 55; send a pseudonym",
		swap(plainPost, "2026-11-24T08", "yesterday"): "event: time: bad-time at byte 19; write it like 2026-11-24T08:30:00Z or 2026-11-24T16:30:00.123+08:00",
		with(plainPost, `"secret":"word"`):            "event: unknown-name at byte 86; docs/schemas lists the names; free names belong into fields",
		plainPost[:40]:                                "event: truncated at byte 40",
	} {
		var e Event
		if err := d.Decode(Post, nil, []byte(text), &e); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// Limits are those of the configuration.
func TestLimits(t *testing.T) {
	d := NewDecoder(Config{MaxBytes: 2048, MaxDepth: 4, MaxFields: 2, MaxItems: 1, MaxWordBytes: 64})
	for _, c := range []struct {
		text string
		want Reason
		path string
	}{
		{plainPost + strings.Repeat(" ", 2048-len(plainPost)), "", ""},
		{plainPost + strings.Repeat(" ", 2049-len(plainPost)), TooLarge, ""},
		{with(plainPost, `"client":[[[0]]]`), WrongType, "client"},
		{with(plainPost, `"client":[[[[]]]]`), TooDeep, ""},
		{swap(plainPost, `"body":"text"`, numbered(2)), "", ""},
		{swap(plainPost, `"body":"text"`, numbered(3)), TooManyFields, "fields"},
		{with(plainPost, `"attachments":[{"uri":"a"}]`), "", ""},
		{with(plainPost, `"attachments":[{"uri":"a"},{"uri":"b"}]`), TooManyItems, "attachments"},
		{swap(plainPost, `"p1"`, `"`+strings.Repeat("x", 64)+`"`), "", ""},
		{swap(plainPost, `"p1"`, `"`+strings.Repeat("x", 65)+`"`), TooLong, "id"},
		{swap(plainPost, `"p1"`, `"\u0078`+strings.Repeat("x", 63)+`"`), "", ""},
	} {
		decode(t, d, Post, nil, c.text, c.want, c.path)
	}
	// The largest event there can be is never too many values.
	d = NewDecoder(Config{})
	full := `{"uri":"a","sha256":"","media_type":"","scan":""}`
	text := swap(with(fullPush, `"f":0`), `"attachments":[]`, `"attachments":[`+repeated(full, 256)+`]`)
	decode(t, d, Push, nil, without(text, `,"f":0`), "", "")
}

// What was handed out stays as it was until Reset, however much is decoded in
// between; then its memory is used again.
func TestArena(t *testing.T) {
	d := NewDecoder(Config{})
	text := swap(fullPost, "风筝", `\u98ce筝 `+strings.Repeat("x", 200))
	var first *byte
	for round := range 5 {
		events := make([]Event, 100)
		for i := range events {
			if err := d.Decode(Post, nil, []byte(text), &events[i]); err != nil {
				t.Fatal(err)
			}
			for _, f := range events[i].Fields {
				_ = append(f.Name, "overwrites what follows"...)
				_ = append(f.Text, "overwrites what follows"...)
			}
			_ = append(events[i].Fields, Field{})
			_ = append(events[i].Attachments, Attachment{})
		}
		for i := range events {
			if diff := cmp.Diff(events[0], events[i]); diff != "" {
				t.Fatalf("event %d of round %d: %s", i, round, diff)
			}
		}
		if got := string(events[0].Fields[1].Text); got != "a\n\x00\"\\ 😀" {
			t.Fatalf("round %d: %q", round, got)
		}
		at := &events[0].Fields[0].Text[0]
		if round == 4 && at != first {
			t.Error("memory is not used again")
		}
		first = at
		d.Reset()
		if round == 4 && *at != 0 {
			t.Error("Reset leaves content in memory")
		}
	}
}

// Once its memory has grown, a Decoder allocates nothing for what it accepts.
func TestNoAllocation(t *testing.T) {
	d := NewDecoder(DefaultConfig())
	var e Event
	post, err := os.ReadFile("testdata/post.json")
	if err != nil {
		t.Fatal(err)
	}
	cloud := []Header{
		{"ce_specversion", []byte("1.0")},
		{"ce_id", []byte("p1")},
		{"ce_type", []byte("weir.post")},
		{"ce_source", []byte("/town")},
		{"ce_time", []byte("2026-11-24T08:30:00Z")},
		{"Content-Type", []byte("application/json; charset=UTF-8")},
	}
	for _, c := range []struct {
		kind    Kind
		headers []Header
		value   []byte
	}{
		{Post, nil, post},
		{0, nil, post},
		{Post, nil, []byte(fullPost)},
		{Post, cloud, []byte(plainPost)},
		{0, []Header{{"content-type", []byte("application/cloudevents+json")}}, []byte(cloudPost)},
		{Push, nil, []byte(fullPush)},
		{Consent, nil, []byte(fullConsent)},
		{Outcome, nil, []byte(fullOutcome)},
		{Halt, nil, []byte(fullHalt)},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := d.Decode(c.kind, c.headers, c.value, &e); err != nil {
				t.Fatal(err)
			}
			d.Reset()
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.value, n)
		}
	}
}

// The list of reasons is closed, each has a line that says what it means, and
// each is tried.
func TestReasons(t *testing.T) {
	listed := map[Reason]bool{}
	for _, r := range Reasons() {
		if listed[r] {
			t.Errorf("%s is listed twice", r)
		}
		listed[r] = true
		if s := r.Description(); s == "" || strings.ContainsAny(s, "\n|") {
			t.Errorf("%s: description %q", r, s)
		}
	}
	if s := Reason("no such reason").Description(); s != "" {
		t.Errorf("got %q", s)
	}

	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, decl := range file.Decls {
		if decl, ok := decl.(*ast.GenDecl); ok && decl.Tok == token.CONST {
			declared += len(decl.Specs)
		}
	}
	if declared != len(listed) {
		t.Errorf("%d reasons declared, %d listed", declared, len(listed))
	}

	for _, m := range append(messages(), broken()...) {
		delete(listed, m.want)
	}
	for _, c := range cloudEvents {
		delete(listed, c.want)
	}
	for _, c := range laidOut {
		delete(listed, c.want)
	}
	for r := range listed {
		t.Errorf("%s is never tried", r)
	}
}

// inside reports whether s lies in block.
func inside(s, block []byte) bool {
	lo, at := uintptr(unsafe.Pointer(unsafe.SliceData(block))), uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	return at >= lo && at+uintptr(len(s)) <= lo+uintptr(len(block))
}
