package form

import "testing"

// What is undone is what it stands for, one level only, and every byte of it has a place in the
// original.
func TestUndo(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"&#36172;博", "赌博"}, {"&#x8D4C;博", "赌博"}, {"&#36172 博", "赌 博"}, {"a&amp;b", "a&b"}, {"&amp;#36172;", "&#36172;"},
		{"%E8%B5%8C", "赌"}, {"%u8D4C", "赌"}, {"100% sure", "100% sure"}, {`\u8d4c\x41\u{1F3B2}`, "赌A🎲"}, {`\ud83c\udfb2`, "🎲"},
		{`\U0001F3B2`, "🎲"}, {"<b>赌</b>博", "赌博"}, {"赌<br/>博", "赌\n博"}, {"a < b > c", "a < b > c"}, {"<!-- x -->y", "y"},
		{"List<String> x", "List<String> x"}, {"&nosuch;", "&nosuch;"}, {"&lt;b&gt;", "<b>"}, {"&", "&"}, {`\`, `\`}, {"%", "%"}, {"<", "<"},
	} {
		var d decoded
		got := c.text
		if d.undo([]byte(c.text)) {
			got = string(d.text)
		}
		if got != c.want {
			t.Errorf("%q is %q, want %q", c.text, got, c.want)
		}
	}
}

func FuzzUndo(f *testing.F) {
	f.Add([]byte("&#36172;&amp;%E8%B5%8C<b>x</b>\\u8d4c<!--"))
	f.Add([]byte("&#x110000;&#99999999999;%u12\\ud83c\\u{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var d decoded
		if !d.undo(text) {
			return
		}
		end := 0
		for _, e := range d.escapes {
			if int(e.begin) < end || e.end <= e.begin || int(e.end) > len(text) || int(e.at+e.n) > len(d.text) {
				t.Fatalf("%q: escape %+v", text, e)
			}
			end = int(e.end)
		}
		for i := range d.text {
			from, to, _ := d.span(i, i+1)
			if from < 0 || from >= to || to > len(text) {
				t.Fatalf("%q: byte %d of %q comes from [%d,%d)", text, i, d.text, from, to)
			}
		}
	})
}
