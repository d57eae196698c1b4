package trace

import (
	"strings"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func headers(pairs ...string) []event.Header {
	list := []event.Header{{Key: "other", Value: []byte("x")}}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, event.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return list
}

// A traceparent is taken as the specification writes it, and no other.
func TestParent(t *testing.T) {
	for _, tt := range []struct {
		name, parent string
		ok           bool
	}{
		{"sampled", parent, true},
		{"not sampled", strings.TrimSuffix(parent, "1") + "0", true},
		{"of a later version", "cc" + parent[2:], true},
		{"of a later version, with more", "cc" + parent[2:] + "-what-comes-later", true},
		{"of a later version, without a dash before more", "cc" + parent[2:] + ".what", false},
		{"of this version, with more", parent + "-00", false},
		{"of the version that is forbidden", "ff" + parent[2:], false},
		{"of no version", "0x" + parent[2:], false},
		{"empty", "", false},
		{"too short", parent[:54], false},
		{"in capitals", strings.ToUpper(parent), false},
		{"with a trace of zeros", strings.Replace(parent, traceID, strings.Repeat("0", 32), 1), false},
		{"with a span of zeros", strings.Replace(parent, spanID, strings.Repeat("0", 16), 1), false},
		{"with a trace that is no hex", strings.Replace(parent, "4bf", "4bg", 1), false},
		{"with a span that is no hex", strings.Replace(parent, "00f0", "00g0", 1), false},
		{"with flags that are no hex", parent[:53] + "0g", false},
		{"with other dashes", strings.ReplaceAll(parent, "-", "_"), false},
		{"too long", "cc" + parent[2:] + "-" + strings.Repeat("a", 512), false},
	} {
		c := Of(headers("traceparent", tt.parent))
		if c.Known() != tt.ok {
			t.Errorf("a traceparent %s: known is %v, want %v", tt.name, c.Known(), tt.ok)
		}
		if tt.ok && (c.ID() != traceID || c.span() != spanID || c.Sampled() != strings.Contains(tt.parent, "-01")) {
			t.Errorf("a traceparent %s: trace %s, span %s, sampled %v", tt.name, c.ID(), c.span(), c.Sampled())
		}
		if !tt.ok && (c.ID() != "" || c.Sampled() || c.Headers() != nil) {
			t.Errorf("a traceparent %s is passed on", tt.name)
		}
	}
	if Of(headers("traceparent", parent, "traceparent", parent)).Known() {
		t.Error("a traceparent that is there twice is believed")
	}
	if Of(headers("Traceparent", parent)).Known() || Of(nil).Known() {
		t.Error("there is a context without its header")
	}
}

// A tracestate that is malformed goes, the traceparent stays; without a traceparent it goes, too.
func TestState(t *testing.T) {
	for _, tt := range []struct {
		state string
		ok    bool
	}{
		{"vendor=opaque", true},
		{"rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", true},
		{"a=1,,b=2", true},
		{"fw529a3039@dt=FfD;x, 0a-b*c/d_e=~!", true},
		{"", false},
		{" , ", false},
		{"novalue", false},
		{"empty=", false},
		{"=x", false},
		{"Upper=x", false},
		{"_a=x", false},
		{"a=b=c", false},
		{"a=1,a=2", false},
		{"a=\x01", false},
		{"a=字", false},
		{strings.Repeat("k", 257) + "=x", false},
		{"k=" + strings.Repeat("x", 257), false},
		{"k=" + strings.Repeat("x", 255) + ",l=" + strings.Repeat("x", 256), false}, // too long in all
		{many(32), true},
		{many(33), false},
	} {
		c := Of(headers("tracestate", tt.state, "traceparent", parent))
		if !c.Known() {
			t.Fatalf("%q takes the traceparent with it", tt.state)
		}
		list := c.Headers()
		if got := len(list) == 2 && string(list[1].Value) == tt.state && list[1].Key == "tracestate"; got != tt.ok {
			t.Errorf("%q: passed on is %v, want %v", tt.state, got, tt.ok)
		}
		if string(list[0].Value) != parent || list[0].Key != "traceparent" {
			t.Errorf("passed on as %q", list[0].Value)
		}
	}
	if list := Of(headers("tracestate", "a=1")).Headers(); list != nil {
		t.Errorf("a tracestate without a traceparent is passed on: %v", list)
	}
	if list := Of(headers("traceparent", parent, "tracestate", "a=1", "tracestate", "b=1")).Headers(); len(list) != 1 {
		t.Errorf("one of two tracestates is passed on: %v", list)
	}
}

// many returns a tracestate of n members.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, string(rune('a'+i%26))+string(rune('a'+i/26))+"=1")
	}
	return strings.Join(list, ",")
}

// Whatever the headers hold, what is passed on is well-formed.
func FuzzOf(f *testing.F) {
	f.Add([]byte(parent), []byte("a=1,b=2"))
	f.Add([]byte("cc"+parent[2:]+"-x"), []byte(""))
	f.Fuzz(func(t *testing.T, parent, state []byte) {
		c := Of([]event.Header{{Key: "traceparent", Value: parent}, {Key: "tracestate", Value: state}})
		if !c.Known() {
			return
		}
		if again := Of(c.Headers()); again.ID() != c.ID() || len(again.Headers()) != len(c.Headers()) {
			t.Errorf("%q %q is passed on and not read again", parent, state)
		}
		if len(c.ID()) != 32 || strings.Trim(c.ID(), "0123456789abcdef") != "" {
			t.Errorf("trace %q", c.ID())
		}
	})
}
