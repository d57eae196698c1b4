package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type colour string

func (c *colour) UnmarshalText(b []byte) error {
	if s := string(b); s != "red" && s != "blue" {
		return fmt.Errorf("unknown colour %q; known are red, blue", s)
	}
	*c = colour(b)
	return nil
}

type base struct {
	Name string `yaml:"name,required"`
}

type part struct {
	base
	Wait   time.Duration     `yaml:"wait"`
	Count  int               `yaml:"count"`
	Small  uint8             `yaml:"small"`
	Share  float64           `yaml:"share"`
	On     bool              `yaml:"on"`
	Paint  colour            `yaml:"paint"`
	Words  []string          `yaml:"words"`
	Labels map[string]string `yaml:"labels"`
	Max    *int              `yaml:"max"`
	Parts  []part            `yaml:"parts"`
	Sub    struct {
		Deep string `yaml:"deep"`
	} `yaml:"sub"`
	Inner  string
	Hidden string `yaml:"-"`
}

// A good document fills every kind of field, and leaves alone what it does not give.
func TestDecode(t *testing.T) {
	src := "\uFEFF" + `# head
---
name: "賭博" # a comment
wait: 1m30s
count: -0x10
small: 255
share: 0.5
on: true
paint: blue
words: [a, 'b''c', "d\u4e00"]
labels: {x.y: one, 2: two}
max: 7
parts:
- name: |
    two
    lines
  words:
  - plain
  - multi
    line
- {name: flow}
sub:
  deep: "22:00"
...
# foot
`
	seven := 7
	want := part{base: base{"賭博"}, Wait: 90 * time.Second, Count: -16, Small: 255, Share: 0.5, On: true, Paint: "blue",
		Words: []string{"a", "b'c", "d一"}, Labels: map[string]string{"x.y": "one", "2": "two"}, Max: &seven,
		Parts: []part{{base: base{"two\nlines\n"}, Words: []string{"plain", "multi line"}}, {base: base{"flow"}}}, Inner: "kept"}
	want.Sub.Deep = "22:00"
	for _, end := range []string{"\n", "\r\n"} {
		got := part{Inner: "kept"}
		doc, err := Decode("a.yaml", []byte(strings.ReplaceAll(src, "\n", end)), &got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(part{})); diff != "" {
			t.Error(diff)
		}
		for path, has := range map[string]bool{"parts[1].name": true, "parts[2]": false, `labels["x.y"]`: true, "hidden": false, "sub.deep": true, "": true} {
			if doc.Has(path) != has {
				t.Errorf("Has(%q) = %v", path, !has)
			}
		}
	}
}

// A default stays when nothing is given, and a given list or mapping replaces it whole.
func TestDefaults(t *testing.T) {
	p := part{Wait: time.Second, Words: []string{"a", "b"}, Labels: map[string]string{"a": "b"}}
	if _, err := Decode("a.yaml", []byte("name: x\nwords: [c]\nlabels: {d: e}\nsub:\n"), &p); err != nil {
		t.Fatal(err)
	}
	want := part{base: base{"x"}, Wait: time.Second, Words: []string{"c"}, Labels: map[string]string{"d": "e"}}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(part{})); diff != "" {
		t.Error(diff)
	}
}

// palette is a list that may be given as one word.
type palette []colour

func (p *palette) UnmarshalText(b []byte) error {
	var c colour
	err := c.UnmarshalText(b)
	*p = palette{c}
	return err
}

// A list that can be read from one word is given as a word or as a list, and the document knows which.
func TestWordOrList(t *testing.T) {
	type wall struct {
		Paint palette `yaml:"paint"`
	}
	for _, tt := range []struct {
		src  string
		want palette
		list bool
	}{
		{"paint: red\n", palette{"red"}, false},
		{"paint: \"red\"\n", palette{"red"}, false},
		{"paint: [red]\n", palette{"red"}, true},
		{"paint:\n  - blue\n  - red\n", palette{"blue", "red"}, true},
		{"paint: []\n", palette{}, false},
		{"{}\n", palette{"the default"}, false},
	} {
		w := wall{Paint: palette{"the default"}}
		doc, err := Decode("a.yaml", []byte(tt.src), &w)
		if err != nil {
			t.Errorf("%q: %v", tt.src, err)
			continue
		}
		if diff := cmp.Diff(tt.want, w.Paint); diff != "" {
			t.Errorf("%q: %s", tt.src, diff)
		}
		if doc.Has("paint[0]") != tt.list {
			t.Errorf("%q: a list is %v", tt.src, !tt.list)
		}
	}
	for src, want := range map[string]string{
		"paint: green\n":        `a.yaml:1:8: paint: unknown colour "green"; known are red, blue`,
		"paint: [red, green]\n": `a.yaml:1:14: paint[1]: unknown colour "green"; known are red, blue`,
		"paint: [red, 1]\n":     `a.yaml:1:14: paint[1]: unknown colour "1"; known are red, blue`,
		"paint: [[red]]\n":      `a.yaml:1:9: paint[0]: is a list; give a text`,
		"paint: 12\n":           `a.yaml:1:8: paint: unknown colour "12"; known are red, blue`,
		"paint: {red: 1}\n":     `a.yaml:1:9: paint: is a mapping; give a text (in quotes if it has a colon) or a list`,
		"paint:\n":              `a.yaml:1:1: paint: is empty; give a text (in quotes if it has a colon) or a list or take the line out`,
	} {
		_, err := Decode("a.yaml", []byte(src), new(wall))
		if err == nil {
			t.Errorf("%q: accepted", src)
			continue
		}
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q: %s", src, diff)
		}
	}
}

// Every fault has its own words and its place.
func TestProblems(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"empty", "", `a.yaml:1:1: name: missing; it must be given`},
		{"only a comment", "# nothing\n", `a.yaml:1:1: name: missing; it must be given`},
		{"no mapping", "- a\n", `a.yaml:1:1: is a list; give a mapping`},
		{"bare text", "hello\n", `a.yaml:1:1: "hello" is a text; give a mapping`},
		{"unknown, near", "name: a\ncuont: 1\n", `a.yaml:2:1: cuont: unknown name; did you mean "count"?`},
		{"unknown, far", "name: a\nsub:\n  zebra: 1\n", `a.yaml:3:3: sub.zebra: unknown name; known here: deep`},
		{"untagged field", "name: a\nInner: b\n", `a.yaml:2:1: Inner: unknown name; known here: name, wait, count, small, share, on, paint, words, labels, max, parts, sub`},
		{"untagged by dash", "name: a\n\"-\": b\n", `a.yaml:2:1: -: unknown name; known here: name, wait, count, small, share, on, paint, words, labels, max, parts, sub`},
		{"twice", "name: a\ncount: 1\nname: b\n", `a.yaml:3:1: name: given twice; first in line 1, keep one`},
		{"twice in a map", "name: a\nlabels: {\"a b\": c,\n  \"a b\": d}\n", `a.yaml:3:3: labels["a b"]: given twice; first in line 2, keep one`},
		{"number for text", "name: 12\n", `a.yaml:1:7: name: 12 is a number here; if it is meant as a text, write "12"`},
		{"bool for text", "name: True\n", `a.yaml:1:7: name: True is true or false here; if it is meant as a text, write "True"`},
		{"nothing for text", "name:\n", `a.yaml:1:1: name: is empty; give a text or take the line out`},
		{"list for text", "name: [a]\n", `a.yaml:1:7: name: is a list; give a text`},
		{"mapping for text", "name:\n  a: b\n", `a.yaml:2:3: name: is a mapping; give a text, in quotes if it has a colon`},
		{"text for list", "name: a\nwords: b\n", `a.yaml:2:8: words: "b" is a text; give a list, such as [b]`},
		{"number for list", "name: a\nwords: 1\n", `a.yaml:2:8: words: 1 is a number; give a list`},
		{"nothing for list", "name: a\nwords:\n", `a.yaml:2:1: words: is empty; give a list or take the line out`},
		{"number in list", "name: a\nwords:\n  - b\n  - 字\n  - 3.50\n", `a.yaml:5:5: words[2]: 3.50 is a number here; if it is meant as a text, write "3.50"`},
		{"text for number", "name: a\ncount: many\n", `a.yaml:2:8: count: "many" is a text; give a whole number`},
		{"quoted number", "name: a\ncount: \"5\"\n", `a.yaml:2:8: count: "5" is a text; give a whole number, without quotes`},
		{"fraction", "name: a\ncount: 1.5\n", `a.yaml:2:8: count: 1.5 is a number; give a whole number`},
		{"octal or not", "name: a\ncount: 010\n", `a.yaml:2:8: count: 010 can be read as decimal or octal; write it without leading zeros`},
		{"too large", "name: a\nsmall: 256\n", `a.yaml:2:8: small: 256 does not fit; give a number between 0 and 255`},
		{"negative", "name: a\nsmall: -1\n", `a.yaml:2:8: small: -1 does not fit; give a number between 0 and 255`},
		{"much too large", "name: a\ncount: 99999999999999999999\n", `a.yaml:2:8: count: 99999999999999999999 does not fit; give a number between -9223372036854775808 and 9223372036854775807`},
		{"infinite", "name: a\nshare: .inf\n", `a.yaml:2:8: share: .inf is not a number that can be read; write a finite decimal number, such as 0.5`},
		{"not a number", "name: a\nshare: .nan\n", `a.yaml:2:8: share: .nan is not a number that can be read; write a finite decimal number, such as 0.5`},
		{"no unit", "name: a\nwait: 10\n", `a.yaml:2:7: wait: 10 has no unit; write 10s for seconds, or another unit of ms, s, m, h`},
		{"bad duration", "name: a\nwait: 10 sec\n", `a.yaml:2:7: wait: "10 sec" is not a duration; write number and unit, such as 300ms, 10s, 5m or 1h30m`},
		{"list as duration", "name: a\nwait: []\n", `a.yaml:2:7: wait: is a list; give a duration, such as 10s, 5m or 1h30m`},
		{"yes is no bool", "name: a\non: yes\n", `a.yaml:2:5: on: "yes" is a text; give true or false`},
		{"own type", "name: a\npaint: green\n", `a.yaml:2:8: paint: unknown colour "green"; known are red, blue`},
		{"list for own type", "name: a\npaint: [red]\n", `a.yaml:2:8: paint: is a list; give a text`},
		{"missing in list", "name: a\nparts:\n  - count: 1\n  - {}\n", "a.yaml:3:5: parts[0].name: missing; it must be given\na.yaml:4:5: parts[1].name: missing; it must be given"},
		{"something after the end", "name: a\n...\ncount: 1\n", `a.yaml:3:1: a second document; one file is one document`},
		{"two documents", "name: a\n---\nname: b\n", `a.yaml:2:1: a second document; one file is one document`},
		{"an empty second document", "name: a\n---\n", `a.yaml:2:1: a second document; one file is one document`},
		{"anchor and alias", "name: &x a\nwords: [*x]\n", "a.yaml:1:7: anchors (&) are not read; write the value where it is used, or in quotes if it is a text\na.yaml:2:9: aliases (*) are not read; write the value itself, or in quotes if it is a text"},
		{"merge key", "name: a\n<<: {count: 1}\n", `a.yaml:2:1: merge keys (<<) are not read; write the names themselves`},
		{"tag", "name: !!str 1\n", `a.yaml:1:7: tags (!) are not read; write the value without, or in quotes if it is a text`},
		{"directive", "%YAML 1.2\n---\nname: a\n", `a.yaml:1:1: directives (%) are not read; take the line out`},
		{"complex key", "? name\n: a\n", `a.yaml:1:1: "?" before a name is not read; write "name: value", or quotes if it is a text`},
		{"unclosed", "name: a\nwords: [b,\n", `a.yaml:2:8: not valid YAML: sequence end token ']' not found`},
		{"tab", "name: a\n\tcount: 1\n", "a.yaml:2:1: not valid YAML: found character '\t' that cannot start any token"},
		{"not UTF-8", "name: a\nwords: [字\xff]\n", `a.yaml:2:10: a byte that is not UTF-8; save the file as UTF-8`},
		{"control character", "name: \"a\x00b\"\n", `a.yaml:1:9: control character U+0000; write it as an escape in double quotes, or take it out`},
		{"too large a file", "# " + strings.Repeat("x", DefaultMaxBytes), `a.yaml: 1048578 bytes; at most 1048576 can be read`},
		{"too deep, flow", "name: " + strings.Repeat("[", 33), `a.yaml:1:38: more than 32 lists and mappings in one another`},
		{"too deep, dashes", strings.Repeat("- ", 40) + "a\n", `a.yaml:1:65: more than 32 lists and mappings in one another`},
		{"many blank lines", "name: a\n" + strings.Repeat("\n", 500) + "count: 1\n", `a.yaml:202:1: more than 200 blank lines in a row; take some out`},
		{"several at once", "cuont: 1\nname: [b]\nwait: 1\nparts: [{name: 1}, {nam: x}]\n", strings.Join([]string{
			`a.yaml:1:1: cuont: unknown name; did you mean "count"?`,
			`a.yaml:2:7: name: is a list; give a text`,
			`a.yaml:3:7: wait: 1 has no unit; write 1s for seconds, or another unit of ms, s, m, h`,
			`a.yaml:4:16: parts[0].name: 1 is a number here; if it is meant as a text, write "1"`,
			`a.yaml:4:21: parts[1].nam: unknown name; did you mean "name"?`,
			`a.yaml:4:21: parts[1].name: missing; it must be given`}, "\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p part
			doc, err := Decode("a.yaml", []byte(tt.src), &p)
			if doc == nil {
				t.Fatal("no document")
			}
			if err == nil {
				t.Fatalf("no error; want %s", tt.want)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What could be read is there even when something else could not.
func TestPartialDecode(t *testing.T) {
	var p part
	_, err := Decode("a.yaml", []byte("name: a\ncount: x\nwords: [b, 1, c]\n"), &p)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Fatal(err)
	}
	if p.Name != "a" || !cmp.Equal(p.Words, []string{"b", "", "c"}) {
		t.Errorf("%+v", p)
	}
	var one *Problem
	if !errors.As(err, &one) || one.Line != 2 || one.Path != "count" {
		t.Errorf("errors.As finds %+v", one)
	}
}

// The reader of a hundred thousand problems is told the first ones.
func TestManyProblems(t *testing.T) {
	var p part
	_, err := Decode("a.yaml", []byte("name: a\nwords: ["+strings.Repeat("1, ", 1000)+"b]"), &p)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if got := problems[maxProblems].Message; got != "800 more problems from here on; these first" {
		t.Error(got)
	}
}

// A caller's own problem stands where the node is, or its nearest parent.
func TestDocumentProblem(t *testing.T) {
	src := "name: a\nparts:\n  - name: 一二\n    words: [x,\n      y]\n    labels:\n      a.b: c\n"
	var p part
	doc, err := Decode("a.yaml", []byte(src), &p)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                            "1:1",
		"name":                        "1:7",
		"parts":                       "2:1",
		"parts[0]":                    "3:5",
		"parts[0].name":               "3:11",
		"parts[0].words[1]":           "5:7",
		"parts[0].words[7]":           "4:5",
		`parts[0].labels["a.b"]`:      "7:12",
		"parts[0].labels.z.z.z":       "6:5",
		"parts[9].name":               "2:1",
		"zebra":                       "1:1",
		"parts[0].name.more":          "3:11",
		"parts[0]..name":              "1:1",
		"parts[99999999999999].x":     "1:1",
		`parts[0].labels["a.b`:        "1:1",
		`parts[0].labels["\u0061.b"]`: "7:12",
	} {
		got := doc.Problem(path, "no %s", "good")
		if where := fmt.Sprintf("%d:%d", got.Line, got.Column); where != want || got.Message != "no good" || got.Path != path {
			t.Errorf("%s: at %s, want %s; %v", path, where, want, got)
		}
	}
}

// Detail shows the line with a mark, also below wide characters.
func TestDetail(t *testing.T) {
	var p part
	_, err := Decode("a.yaml", []byte("name: a\nwords: [\"赌博\",  12]\n"), &p)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	want := "a.yaml:2:16: words[1]: 12 is a number here; if it is meant as a text, write \"12\"\n" +
		"    2 | words: [\"赌博\",  12]\n" +
		"      |                  ^"
	if diff := cmp.Diff(want, problems.Detail()); diff != "" {
		t.Error(diff)
	}
}

// Errors of a Validate method find their place.
func TestLocated(t *testing.T) {
	var v struct {
		Sub part `yaml:"sub"`
	}
	doc, err := Decode("a.yaml", []byte("sub:\n  name: a\n  words: [x]\n"), &v)
	if err != nil {
		t.Fatal(err)
	}
	got := doc.Located("sub", errors.Join(
		fmt.Errorf("words[0]: too short"),
		errors.Join(fmt.Errorf("name: taken: %w", errors.New("by you"))),
		errors.New("something is odd: really"),
		errors.New("odd")))
	want := `a.yaml:1:1: sub: something is odd: really
a.yaml:1:1: sub: odd
a.yaml:2:9: sub.name: taken: by you
a.yaml:3:11: sub.words[0]: too short`
	if diff := cmp.Diff(want, got.Error()); diff != "" {
		t.Error(diff)
	}
	if got := doc.Located("sub", nil); got != nil {
		t.Error(got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"gambling", "fraud", "obscenity", "drugs"}
	for word, want := range map[string]string{"gambing": "gambling", "fruad": "fraud", "drug": "drugs", "DRUGS": "drugs", "weather": "", "": "", strings.Repeat("x", 1000): ""} {
		if got, ok := Nearest(word, known); got != want || ok != (want != "") {
			t.Errorf("Nearest(%q) = %q, %v", word, got, ok)
		}
	}
}

// Within the limits the worst known files are read or refused in seconds, not in hours.
func TestHostile(t *testing.T) {
	const size = DefaultMaxBytes / 4 // the whole takes a while with -race
	tests := map[string]string{
		"names in one mapping":     repeat("key%d: v\n", 15000),
		"names in one flow map":    "{" + repeat("key%d: v, ", 15000) + "}",
		"blocks in one mapping":    repeat("k%d: |\n", 15000),
		"brackets":                 strings.Repeat("[", size),
		"braces":                   strings.Repeat("{a: ", size/4),
		"dashes":                   strings.Repeat("- ", size/2),
		"questions":                strings.Repeat("? ", size/2),
		"tags":                     strings.Repeat("!a ", size/3),
		"anchors":                  strings.Repeat("&a ", size/3),
		"colons on a line":         strings.Repeat("a: ", size/3),
		"blank lines in a literal": "a: |\n" + strings.Repeat("\n", size-10),
		"quotes":                   strings.Repeat("' ", size/2),
		"documents":                strings.Repeat("---\n", size/4),
		"billion laughs":           "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"steps":                    steps(),
	}
	for name, src := range tests {
		t.Run(name, func(t *testing.T) {
			var v map[string]string
			start := time.Now()
			if _, err := Decode("a.yaml", []byte(src), &v); err == nil {
				t.Error("accepted")
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func repeat(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func steps() string {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// No input makes the reader panic, and a refusal always says where.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nparts:\n  - {name: b, words: [c, \"d\"]}\n"))
	f.Add([]byte("a: |\n  b\nc: >-\n  d\n? e\n: f\n"))
	f.Add([]byte("%YAML 1.2\n---\n!!map {<<: *x, &y a: 'b''c'}\n...\n"))
	f.Add([]byte("- - - a\n- b: [1, {c: ~}]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var p part
		d := Decoder{MaxBytes: 4096}
		doc, err := d.Decode("a.yaml", src, &p)
		if doc == nil {
			t.Fatal("no document")
		}
		var problems Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
			t.Fatalf("%T", err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line > 0 && p.Column < 1 || p.Line > strings.Count(string(src), "\n")+1 {
				t.Fatalf("%#v", p)
			}
			if _, ok := splitPath(p.Path); !ok {
				t.Fatalf("path %q", p.Path)
			}
		}
		if err == nil && p.Name == "" && !doc.Has("name") {
			t.Fatal("accepted without a required name")
		}
		_ = problems.Detail()
	})
}
