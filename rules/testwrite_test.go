package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// A case is written for people: a post as its text, a text with nothing hidden.
func TestAppendYAML(t *testing.T) {
	action := Reject
	cases := []Case{
		{Event: post("text", "赌\u200b博 \"x\"\n\tend"), Hits: []Expected{{Rule: "p.bet", Text: "赌\u200b博", Form: form.Squeeze | form.Fold | form.Leet, Field: "text"}}, Action: &action},
		{Name: "calm", Event: post("text", "😀\ufe0f👨\u200d👩 a"), Hits: []Expected{}},
		{Event: post("title", "a", "my text", "\U000E0041\x00"), Spares: []string{"p.bet", "1.2"}},
		{Event: &event.Event{Kind: event.Post, User: event.User{Verified: true}, Fields: post("text", "a").Fields}, Hits: []Expected{}},
		{Event: &event.Event{Kind: event.Push, ID: []byte("secret"), Operation: []byte("push.again"),
			User:        event.User{ID: []byte("secret"), Group: []byte("minor"), Verified: true},
			Attachments: []event.Attachment{{URI: []byte("secret")}}, Client: event.Endpoint{Address: []byte("10.0.0.1")},
			Push: event.PushPart{Class: []byte("marketing"), Channel: []byte("yes"), Campaign: []byte("c"), Sender: []byte("s"), Label: []byte("广告"), Personalised: true},
		}, Hits: []Expected{{Rule: "p.card"}}},
	}
	var got []byte
	for i := range cases {
		got = cases[i].AppendYAML(got)
	}
	want := `  - text: "赌\u200B博 \"x\"\n\x09end"
    hits:
      - {rule: p.bet, text: "赌\u200B博", form: squeeze+leet, field: text}
    action: reject
  - name: "calm"
    text: "😀\uFE0F👨\u200D👩 a"
    hits: []
  - event:
      fields:
        title: "a"
        "my text": "\U000E0041\x00"
    spares: [p.bet, "1.2"]
  - event:
      user: {verified: true}
      fields:
        text: "a"
    hits: []
  - event:
      kind: push
      user: {group: minor, verified: true}
      operation: push.again
      fields: {}
      class: marketing
      channel: "yes"
      campaign: c
      sender: s
      label: "广告"
      personalised: true
    hits:
      - {rule: p.card}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// Whatever stands in a text or in a name, the case that is read is the one that was written.
func TestAppendYAMLIsReadAgain(t *testing.T) {
	set := testedSet(t)
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "赌", " ", "  ", "\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\u0085", "\u2028", "\ufeff", "\u200b", "\ufffd", "\uffff", "\U000e0020", "\U0010ffff",
		"😀", "\"", "'", "\\", "\\n", ": ", "#", " #", "- ", "{", "}", "[", "]", ",", "&", "*", "!", "|", ">", "%", "@", "`", "?", "~", "null", "true", "12", "<<", "=", "---", "...", "$", "\u0301", "\u3000", "\u00a0"}
	text := func(most int) string {
		var b strings.Builder
		for range r.IntN(most) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	name := func() string {
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, "x"+text(4))[r.IntN(2):] + "z"
	}
	for range 300 {
		var want []*Case
		src := []byte(TestsHead)
		for i := range 5 {
			e := &event.Event{Kind: event.Post, User: event.User{Group: []byte(name())}}
			switch i {
			case 0:
				e = post("text", text(20))
			case 1:
				e = post(name(), text(20), "second", text(5))
			case 2:
				e.User.Verified = r.IntN(2) == 0
				e.Kind, e.Push = event.Push, event.PushPart{Class: []byte(name()), Channel: []byte(name()), Label: []byte(name()), Campaign: []byte(name())}
			}
			c := &Case{Name: name(), Event: e, Hits: []Expected{}}
			if len(e.Fields) > 0 {
				f := &e.Fields[0]
				c.Hits = append(c.Hits, Expected{Rule: "p.bet", Text: string(f.Text), Form: form.Fold, Field: string(f.Name)})
			}
			want = append(want, c)
			src = c.AppendYAML(src)
		}
		tests, err := LoadTests(packs("a_test.yaml", string(src)), "", set)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		for i, c := range tests.Cases {
			if got, want := describe(c), describe(want[i]); got != want {
				t.Fatalf("got  %s\nwant %s\n%s", got, want, src)
			}
			again := c.AppendYAML(nil)
			if first := want[i].AppendYAML(nil); !bytes.Equal(again, first) {
				t.Fatalf("written again:\n%s\nfirst:\n%s", again, first)
			}
		}
	}
}

// describe tells all of a case that is written.
func describe(c *Case) string {
	p := &c.Event.Push
	return fmt.Sprintf("%q %s %q %t %q %q %q %q %q %+q", c.Name, c.Event.Kind, c.Event.User.Group, c.Event.User.Verified, c.Event.Fields, p.Class, p.Channel, p.Label, p.Campaign, c.Hits)
}
