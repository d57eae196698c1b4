package form

import (
	"bytes"
	"html"
	"testing"
	"unicode/utf8"
)

// Every name means what the standard library takes it for, but for two that it
// leaves out because they are shorter than what they stand for.
func TestEntities(t *testing.T) {
	if n := len(entities()); n != 2125 {
		t.Errorf("%d names, want 2125", n)
	}
	for name := range entities() {
		got, ok := entity([]byte(name))
		want := html.UnescapeString("&" + name + ";")
		switch name {
		case "nGt":
			want = "\u226B\u20D2"
		case "nLt":
			want = "\u226A\u20D2"
		}
		if !ok || got != want {
			t.Errorf("%s is %q, %t, want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "Amp", "amp;", "&amp", "ampx", "lt gt"} {
		if got, ok := entity([]byte(name)); ok {
			t.Errorf("%q is %q, want nothing", name, got)
		}
	}
	name := []byte("CounterClockwiseContourIntegral")
	if n := testing.AllocsPerRun(100, func() { _, _ = entity(name) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// A name is one of the table or nothing, whatever its bytes.
func FuzzEntity(f *testing.F) {
	for _, s := range []string{"amp", "NewLine", "nbsp", "acE", "", "\xff", "#39", "notit"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		got, ok := entity(name)
		if text, in := entities()[string(name)]; ok != in || got != text {
			t.Fatalf("%q is %q, %t, want %q, %t", name, got, ok, text, in)
		}
		// One that is no name is no reference for the standard library either. It
		// does find names without a semicolon in front of other letters.
		if whole := "&" + string(name) + ";"; !ok && utf8.Valid(name) {
			if text := html.UnescapeString(whole); !bytes.ContainsAny(name, "&;#") && utf8.RuneCountInString(text) == 1 && text != "&" {
				t.Fatalf("%q is nothing, want %q", name, text)
			}
		}
	})
}
