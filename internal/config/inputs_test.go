package config

import (
	"bytes"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/pipeline/event"
)

// fence is a block of code in a document.
type fence struct{ language, name, text string }

func fences(t *testing.T, file string) []fence {
	t.Helper()
	var list []fence
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+) ?([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(string(readFile(t, file)), -1) {
		list = append(list, fence{m[1], m[2], m[3]})
	}
	return list
}

// The example that teaches maps is a configuration, and each message in it is
// judged like the event beside it.
func TestInputsExample(t *testing.T) {
	list := fences(t, "../../docs/inputs.md")
	c, err := Parse("weir.yaml", []byte(list[0].text))
	if err != nil {
		t.Fatal(err)
	}
	list = list[1:]
	if len(list) < 8 || len(list)%2 != 0 {
		t.Fatalf("%d messages and events", len(list))
	}
	shown := make(map[event.Kind]bool)
	for i := 0; i < len(list); i += 2 {
		message, same := list[i], list[i+1]
		s, ok := c.Input.Stream(message.name)
		if !ok || s.Kind.String() != same.name {
			t.Fatalf("%s is %v, shown as %s", message.name, s.Kind, same.name)
		}
		shown[s.Kind] = true
		format, err := s.Topic.Format(s.Kind)
		if err != nil {
			t.Fatal(err)
		}
		value := []byte(message.text)
		if s.Topic.Envelope == event.EnvelopeConfluent {
			value = slices.Concat([]byte{0, 0, 0, 1, 7}, value)
		}
		var got, want event.Event
		d := event.NewDecoder(event.DefaultConfig())
		if err := d.Decode(s.Kind, nil, []byte(same.text), &want); err != nil {
			t.Fatalf("%s: %v", same.text, err)
		}
		d.Format = format
		if err := d.Decode(s.Kind, nil, value, &got); err != nil {
			t.Fatalf("%s: %v", message.name, err)
		}
		for i := range want.Fields { // the names of a list's elements, which only a map can make the same
			want.Fields[i].Name = bytes.TrimRight(want.Fields[i].Name, "0123456789")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-as shown +as read):\n%s", message.name, diff)
		}
		// Without its map nobody would take it for an event.
		d.Format = nil
		if err := d.Decode(s.Kind, nil, value, &got); err == nil {
			t.Errorf("%s needs no map", message.name)
		}
	}
	for _, k := range []event.Kind{event.Post, event.Push, event.Outcome} {
		if !shown[k] {
			t.Errorf("no %v is shown", k)
		}
	}
}

// A name that maps can have and that the example does not use is undocumented.
func TestInputsExampleShowsEveryName(t *testing.T) {
	example := fences(t, "../../docs/inputs.md")[0].text
	var look func(shape reflect.Type)
	look = func(shape reflect.Type) {
		for i := range shape.NumField() {
			f := shape.Field(i)
			name := f.Tag.Get("yaml")
			if name != "" && !regexp.MustCompile(`\b`+name+`:`).MatchString(example) {
				t.Errorf("%s is not in the example of docs/inputs.md", name)
			}
			if inner := f.Type; inner.Kind() == reflect.Struct {
				look(inner)
			}
		}
	}
	look(reflect.TypeFor[event.Mapping]())
}

// The inputs that the shipped file shows as another way are one.
func TestShippedInputs(t *testing.T) {
	src, err := configs.FS.ReadFile("weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const one = "  posts: weir.posts\n"
	var items []string
	for _, m := range regexp.MustCompile(`(?m)^  # (  - .*)$`).FindAllStringSubmatch(string(src), -1) {
		items = append(items, m[1])
	}
	if len(items) != 3 || !strings.Contains(string(src), one) {
		t.Fatalf("%q", items)
	}
	c, err := Parse("weir.yaml", []byte(strings.Replace(string(src), one, "  posts:\n"+strings.Join(items, "\n")+"\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := c.Input.Stream("city.comments")
	if !ok || s.Topic.Map == nil {
		t.Errorf("city.comments: %+v", s)
	}
	if s, ok = c.Input.Stream("forum.sports"); !ok || s.Topic.Envelope != event.EnvelopeConfluent {
		t.Errorf("forum.sports: %+v", s)
	}
}
