package form

import (
	"strings"
	"testing"
)

// A decoded text is searched again only where an escape can have put together what a term holds.
func TestSeams(t *testing.T) {
	terms := []Term{{Text: "go to hell", Forms: All}, {Text: "赌博", Forms: All}, {Text: "c&a", Forms: All}, {Text: "wanted!", Forms: All}}
	for i := range terms {
		terms[i].Forms &^= Leet | Digits
	}
	m, err := New(terms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"you &amp; them":                  false,
		"go &amp; them":                   false,
		"this&#8230; and &#128514; that.": false,
		"them&#128514;&#128514;&#128514;": false,
		"&lt;3 them":                      true, // a single character may be one of several that stand apart
		"<b>bold</b> words":               false,
		"有<b>点</b>意思":                     false,
		`first line\nsecond`:              false,
		"go&amp;to":                       true,
		"goo &lt;too":                     true,
		"h&amp;e":                         true,
		"赌&amp;博":                         true,
		"大赌&nbsp;-<b>博":                   true,
		"赌&amp;赌博":                        true,
		"he<b>ll":                         true,
		"&#36172;场":                       true,
		"wanted&#33;":                     true,
		"caf&eacute; them":                true,
	} {
		var d decoded
		if !d.undo([]byte(text)) {
			t.Fatalf("%q has no escape", text)
		}
		if got, _ := m.seams.matter(&d); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// However many escapes stand between two words, what is between them is looked at once: were it
// once for each, this test would not end.
func TestSeamsAreLinear(t *testing.T) {
	m, err := New([]Term{{Text: "go to hell", Forms: Fold | Squeeze | Decode}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	most := 4 << 20
	if testing.Short() {
		most /= 10
	}
	for _, piece := range []string{"&amp;", "<b>", " &amp;", "- <b>", "&#8220;", "you &amp; them ", "&#8220; "} {
		n := most / len(piece) / 2
		for _, text := range []string{
			"you " + strings.Repeat(piece, 2*n) + " them",
			"you " + strings.Repeat(" ", n) + strings.Repeat(piece, n) + " them",
			"you " + strings.Repeat(piece, n) + strings.Repeat("-", n) + " them",
			strings.Repeat("you", n/3) + strings.Repeat(piece, n) + strings.Repeat("them", n/4),
		} {
			var d decoded
			d.undo([]byte(text))
			_, _ = m.seams.matter(&d)
		}
	}
}

// What only sounds like a term is looked for where both sides of an escape may be pinyin.
func TestSeamsSound(t *testing.T) {
	m, err := New([]Term{{Text: "赌博机", Forms: Decode | Pinyin}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"du&amp;bo ji": true, "读&amp;bo鸡": true, "读<b>播</b>鸡": true, "1du &amp; bo2": true,
		"the &amp; bo": false, "du &amp; the": false, "du，&amp;bo": false, "du bo ji &#128514;": false,
	} {
		var d decoded
		d.undo([]byte(text))
		if _, got := m.seams.matter(&d); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
