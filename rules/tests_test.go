package rules

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// testedSet is a set to write tests for.
func testedSet(tb testing.TB) *Set {
	return load(tb, Options{},
		`id: p.bet, category: gambling, state: live, forms: [squeeze, leet], terms: [赌博, casino], except: [反赌博宣传]`,
		`id: p.sound, category: gambling, state: live, forms: [pinyin], terms: [网络赌场]`,
		`id: p.card, category: fraud, state: live, kinds: [push], terms: [银行卡]`,
		`id: p.look, category: fraud, state: shadow, terms: [优惠]`,
		`id: p.later, category: fraud, state: draft, terms: [赌博]`,
		`id: p.gone, category: fraud, state: retired, terms: [赌博]`)
}

func loadTests(tb testing.TB, set *Set, nameAndSource ...string) *Tests {
	tb.Helper()
	t, err := LoadTests(packs(nameAndSource...), "dir", set)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// Files of tests are read whatever stands beside them, and are no packs.
func TestLoadTests(t *testing.T) {
	files := packs("a_test.yaml", "tests: [{text: 赌博, hits: [{rule: p.bet}]}]",
		"b_test.yaml", "tests:\n- name: clean\n  text: calm\n  hits: []\n- {text: calm, spares: [p.bet]}",
		"p.yaml", "pack: p\nrules: [{id: p.bet, category: gambling, state: live, terms: [赌博]}]",
		".hidden_test.yaml", "no", "terms.txt", "no", "dir_test.yaml/x", "no")
	set, err := Load(files, register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	tests, err := LoadTests(files, "dir", set)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"dir/a_test.yaml", "dir/b_test.yaml"}; !slices.Equal(tests.Files, want) {
		t.Errorf("files %v, want %v", tests.Files, want)
	}
	var got []string
	for _, c := range tests.Cases {
		got = append(got, fmt.Sprintf("%s:%d %s", c.File, c.Line, c.Title()))
	}
	want := []string{`dir/a_test.yaml:1 "赌博"`, `dir/b_test.yaml:2 clean`, `dir/b_test.yaml:5 "calm"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if failures := tests.Run(set); failures != nil {
		t.Error(failures)
	}
	none, err := LoadTests(fstest.MapFS{"p.yaml": {}}, "", set)
	if err != nil || len(none.Cases) != 0 || none.Run(set) != nil {
		t.Errorf("without a file of tests: %v, %v", none, err)
	}
	if _, err := LoadTests(os.DirFS(filepath.Join(t.TempDir(), "nowhere")), "", set); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// Every mistake of every file is told at once, with its place and what would be right.
func TestLoadTestsRefuses(t *testing.T) {
	_, err := LoadTests(packs("a_test.yaml", `colour: red
tests:
  - text: 赌 博
    hits:
      - {rule: p.bit, text: 赌博, form: squeze, field: txt}
      - {rule: weather, text: "", form: squeeze+, field: ""}
      - {text: 赌}
      - {rule: p.bet}
      - {rule: p.bet}
      - just a text
  - text: 赌博
    event: {fields: {text: 赌博}}
    hits: []
  - name: nothing
  - text: 赌博
    spares: [p.bet, p.bet, p.bat]
    hits: [{rule: p.bet}]
    action: stop
  - {text: 赌博, spares: []}
  - {text: 12, hits: no}
  - {name: "two\nlines", text: 赌博, hits: []}
  - just a text
`, "b_test.yaml", `tests:
  - event: {kind: comment, fields: {a: x}}
    hits: []
  - event: {kind: push, fields: {title: 赌博, body: 银行卡}, class: marketing, channel: app}
    hits: [{rule: p.bet, text: 赌博, field: body}, {rule: p.card, text: 赌场}, {rule: p.card, field: bdy}]
  - event: {kind: push, fields: {a: x}}
    hits: []
  - event: {user: {id: "13812345678"}, fields: {a: x}}
    hits: []
  - event: {time: today, fields: {a: x}}
    hits: []
  - event: {usr: {id: u}, fields: {a: x, b: 12}}
    hits: [{rule: p.bet, text: y}]
  - event: {id: "", fields: {a: x}, client: {address: here}}
    hits: []
  - event: {fields: {"": x}}
    hits: []
  - event: {user: {group: minor}}
    hits: []
  - event: 
    hits: []
`, "c_test.yaml", "tests: []", "d_test.yaml", "tests: [", "e_test.yml", "", "f_test.yaml", ""), "dir", testedSet(t))
	if err == nil {
		t.Fatal("no error")
	}
	want := strings.TrimPrefix(`
dir/a_test.yaml:1:1: colour: unknown name; known here: tests
dir/a_test.yaml:5:16: tests[0].hits[0].rule: unknown rule "p.bit"; did you mean "p.bet"?
dir/a_test.yaml:5:39: tests[0].hits[0].form: unknown form "squeze"; did you mean "squeeze"?
dir/a_test.yaml:5:54: tests[0].hits[0].field: unknown field "txt"; did you mean "text"?
dir/a_test.yaml:6:16: tests[0].hits[1].rule: unknown rule "weather"; give the id of a rule of these packs
dir/a_test.yaml:6:31: tests[0].hits[1].text: is empty; give what stands there, or take it out
dir/a_test.yaml:6:41: tests[0].hits[1].form: unknown form ""; known are fold, squeeze, repeat, spaced, leet, decode, digits, split, pinyin, initials, emoji, shape
dir/a_test.yaml:6:58: tests[0].hits[1].field: is empty; give the name of a field, or take it out
dir/a_test.yaml:7:10: tests[0].hits[2].rule: missing; it must be given
dir/a_test.yaml:9:10: tests[0].hits[4]: is given twice; keep one
dir/a_test.yaml:10:9: tests[0].hits[5]: "just a text" is a text; give a mapping
dir/a_test.yaml:12:5: tests[1].event: stands beside text, which is a whole post; keep one of the two
dir/a_test.yaml:14:5: tests[2].text: missing, and event too; give the text to be judged, or an event as the platform sends it
dir/a_test.yaml:14:5: tests[2].hits: missing, and spares too; say what must hit, or which rules must not; hits: [] says that nothing may hit
dir/a_test.yaml:16:14: tests[3].spares[0]: p.bet is among the hits too; keep one of the two
dir/a_test.yaml:16:21: tests[3].spares[1]: p.bet is given twice; keep one
dir/a_test.yaml:16:28: tests[3].spares[2]: unknown rule "p.bat"; did you mean "p.bet"?
dir/a_test.yaml:18:13: tests[3].action: unknown action "stop"; known are pass, review, reject
dir/a_test.yaml:19:16: tests[4].spares: is empty; name the rules that must not hit, or take it out; hits: [] says that nothing may hit
dir/a_test.yaml:20:12: tests[5].text: 12 is a number here; if it is meant as a text, write "12"
dir/a_test.yaml:20:22: tests[5].hits: "no" is a text; give a list, such as [no]
dir/a_test.yaml:21:12: tests[6].name: has a line break or another control character; a name is a line
dir/a_test.yaml:22:5: tests[7]: "just a text" is a text; give a mapping
dir/b_test.yaml:2:19: tests[0].event.kind: unknown kind "comment"; known are post, push
dir/b_test.yaml:5:32: tests[1].hits[0].text: "赌博" does not occur in the field body; give what stands there, with all that stands between its characters
dir/b_test.yaml:5:71: tests[1].hits[1].text: "赌场" does not occur in any field; give what stands there, with all that stands between its characters
dir/b_test.yaml:5:98: tests[1].hits[2].field: unknown field "bdy"; did you mean "body"?
dir/b_test.yaml:6:5: tests[2].event.class: a name the schema requires is not there; such an event is refused as missing
dir/b_test.yaml:8:24: tests[3].event.user.id: the user id looks like an identity-card or phone number; such an event is refused as personal-number; send a pseudonym
dir/b_test.yaml:10:19: tests[4].event.time: not a time as RFC 3339 writes it; such an event is refused as bad-time; write it like 2026-11-24T08:30:00Z or 2026-11-24T16:30:00.123+08:00
dir/b_test.yaml:12:13: tests[5].event.usr: unknown name; did you mean "user"?
dir/b_test.yaml:12:45: tests[5].event.fields.b: 12 is a number here; if it is meant as a text, write "12"
dir/b_test.yaml:14:55: tests[6].event.client.address: not an IPv4 or IPv6 address; such an event is refused as bad-address
dir/b_test.yaml:16:26: tests[7].event.fields[""]: a required word is empty; such an event is refused as empty-word
dir/b_test.yaml:18:13: tests[8].event.fields: missing; it must be given
dir/b_test.yaml:20:5: tests[9].event.fields: missing; it must be given
dir/c_test.yaml:1:1: tests: is empty; give at least one case, or take the file out
dir/d_test.yaml:1:8: not valid YAML: sequence end token ']' not found
dir/e_test.yml: the name of a file of tests ends in _test.yaml; rename it to e_test.yaml, or it would be passed over
dir/f_test.yaml:1:1: tests: missing; it must be given
`, "\n")
	if diff := cmp.Diff(want, err.Error()+"\n"); diff != "" {
		t.Error(diff)
	}
}

// The events of tests are those that platforms send: every name of the schemas can be given, and
// no other.
func TestTestEventsHaveTheShapeOfEvents(t *testing.T) {
	type properties = map[string]struct {
		Ref   string `json:"$ref"`
		Items struct {
			Ref string `json:"$ref"`
		}
	}
	type object struct{ Properties properties }
	for _, kind := range []string{"post", "push"} {
		src, err := os.ReadFile("../docs/schemas/" + kind + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			object
			Defs map[string]object `json:"$defs"`
		}
		if err := json.Unmarshal(src, &schema); err != nil {
			t.Fatal(err)
		}
		got, want := map[string]bool{}, map[string]bool{}
		var walk func(at string, p properties)
		walk = func(at string, p properties) {
			for name, v := range p {
				want[at+name] = true
				for _, ref := range []string{v.Ref, v.Items.Ref} {
					walk(at+name+".", schema.Defs[strings.TrimPrefix(ref, "#/$defs/")].Properties)
				}
			}
		}
		walk("", schema.Properties)
		var fields func(at string, s reflect.Type)
		fields = func(at string, s reflect.Type) {
			for i := range s.NumField() {
				f := s.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				if inJSON, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == "-" || inJSON != "-" && inJSON != name {
					if name != "-" {
						t.Errorf("%s%s is %s in JSON", at, name, inJSON)
					}
					continue
				}
				got[at+name] = true
				in := f.Type
				if in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice {
					in = in.Elem()
				}
				if in.Kind() == reflect.Struct {
					fields(at+name+".", in)
				}
			}
		}
		fields("", reflect.TypeFor[eventFile]())
		if kind == "post" {
			for _, name := range []string{"class", "channel", "campaign", "sender", "label", "personalised", "expires"} {
				delete(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-schema +tests):\n%s", kind, diff)
		}
	}
}

// What a test gives of an event is in the event, and what it leaves out has a default.
func TestTestEvents(t *testing.T) {
	tests := loadTests(t, testedSet(t), "a_test.yaml", `tests:
  - event:
      id: p1
      time: 2026-11-24T08:30:00Z
      kind: push
      user: {id: u1, group: minor, verified: true}
      operation: push.again
      fields: {z: "a<b>&\u2028\x00\U0001F600", a: second, "m.n[\"o\"]": third}
      attachments: [{uri: s3://x, sha256: "", media_type: image/png, scan: clean}]
      client: {address: 203.0.113.7, port: 4711, device: {model: m, os: o, id: i, app: a}}
      server: {address: "2001:db8::1", port: 443}
      class: marketing
      channel: app
      campaign: c
      sender: s
      label: ad
      personalised: true
      expires: 2026-11-25T08:30:00Z
    hits: []
  - {event: {user: {group: minor}, fields: {}}, hits: []}
  - {event: {class: service, channel: sms, fields: {a: x}}, hits: []}
  - {text: "", hits: []}
`)
	var got []string
	for _, c := range tests.Cases {
		e := c.Event
		got = append(got, fmt.Sprintf("%s %s %s %s/%s/%t %s %q %s", e.Kind, e.ID, e.Time.Format("2006-01-02"), e.User.ID, e.User.Group, e.User.Verified, e.Operation, e.Fields, e.Push.Class))
	}
	want := []string{
		`push p1 2026-11-24 u1/minor/true push.again [{"z" "a<b>&\u2028\x00😀"} {"a" "second"} {"m.n[\"o\"]" "third"}] marketing`,
		`post test 2026-01-01 test/minor/false post.create [] `,
		`push test 2026-01-01 test//false push.send [{"a" "x"}] service`,
		`post test 2026-01-01 test//false post.create [{"text" ""}] `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	e := tests.Cases[0].Event
	if e.Client.Port != 4711 || string(e.Server.Address) != "2001:db8::1" || string(e.Client.Device.App) != "a" || len(e.Attachments) != 1 ||
		!e.Push.Personalised || e.Push.Expires.IsZero() || string(e.Push.Campaign)+string(e.Push.Sender)+string(e.Push.Label) != "csad" {
		t.Errorf("got %#v", e)
	}
}
