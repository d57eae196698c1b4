package body

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// enum is an enum of body.proto.
type enum interface {
	~int32
	protoreflect.Enum
}

// Word returns the word that an enum's value stands for, in configuration, metrics and JSON: that of
// REASON_QUIET_HOURS is quiet-hours. It is empty for a value that says that there is nothing, and the number
// for one of a later version.
func Word[E enum](e E) string {
	d := e.Descriptor()
	v := d.Values().ByNumber(e.Number())
	if v == nil {
		return strconv.Itoa(int(e))
	}
	return wordOf(d, v)
}

// Values returns the values of an enum by their words.
func Values[E enum]() map[string]E {
	var e E
	d := e.Descriptor()
	of := make(map[string]E)
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		if w := wordOf(d, v); w != "" {
			of[w] = E(v.Number())
		}
	}
	return of
}

// wordOf takes the word from a value's name, which begins with that of its enum.
func wordOf(d protoreflect.EnumDescriptor, v protoreflect.EnumValueDescriptor) string {
	word := strings.ReplaceAll(strings.ToLower(string(v.Name())), "_", "-")
	word = word[len(prefix(string(d.Name()))):]
	if word == "unspecified" || word == "named" {
		return ""
	}
	return word
}

// prefix returns consent-state- for ConsentState.
func prefix(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String()) + "-"
}

// GroupWord returns the group that the event names, empty if it names none.
func (v *Verdict) GroupWord() string { return named(v.Group, v.GroupName) }

// ClassWord returns the class of the push.
func (p *Push) ClassWord() string { return named(p.Class, p.ClassName) }

// ChannelWord returns the channel of the push.
func (p *Push) ChannelWord() string { return named(p.Channel, p.ChannelName) }

// named returns the word of a code, or the name where there is no code.
func named[E enum](code E, name string) string {
	if code != 0 {
		return Word(code)
	}
	return name
}
