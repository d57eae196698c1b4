package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Results as JUnit XML are what an XML parser reads back: a suite for each file, a case for each
// case, with failures and what was not run, whatever stands in the texts.
func TestJUnit(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", `pack: a
rules:
  - {id: a.bet, category: gambling, state: live, terms: [赌博]}
  - {id: a.later, category: gambling, state: draft, terms: [赌场]}
`)
	write("a_test.yaml", `tests:
  - {name: right, text: 赌博, hits: [{rule: a.bet}]}
  - {name: "<wrong> & \"quoted\"", text: "赌博 </failure>]]> \x00\x1b\uFFFF", hits: []}
  - {text: 赌场, hits: [{rule: a.later}]}
`)
	write("b_test.yaml", "tests: [{name: calm, text: calm, hits: []}]")
	out := filepath.Join(dir, "out.xml")
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"rules", "test", dir, "--junit", out}, streams{strings.NewReader(""), &stdout, &stderr}); code != exitFailed {
		t.Fatalf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	src, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// Not with the types it was written from.
	type element struct {
		XMLName  xml.Name
		Attrs    []xml.Attr `xml:",any,attr"`
		Text     string     `xml:",chardata"`
		Children []element  `xml:",any"`
	}
	var root element
	if err := xml.Unmarshal(src, &root); err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	var got []string
	var walk func(depth int, e element)
	walk = func(depth int, e element) {
		line := strings.Repeat(" ", depth) + e.XMLName.Local
		for _, a := range e.Attrs {
			line += " " + a.Name.Local + "=" + strconv.Quote(strings.ReplaceAll(a.Value, dir, "DIR"))
		}
		got = append(got, line)
		if text := strings.TrimSpace(e.Text); text != "" {
			got = append(got, strings.Split(text, "\n")...)
		}
		for _, c := range e.Children {
			walk(depth+1, c)
		}
	}
	walk(0, root)
	want := []string{
		`testsuites tests="4" failures="1" skipped="1"`,
		` testsuite name="DIR/a_test.yaml" tests="3" failures="1" errors="0" skipped="1"`,
		`  testcase name="right" classname="DIR/a_test.yaml" file="DIR/a_test.yaml" line="2"`,
		`  testcase name="<wrong> & \"quoted\"" classname="DIR/a_test.yaml" file="DIR/a_test.yaml" line="3"`,
		`   failure message="DIR/a_test.yaml:3: <wrong> & \"quoted\": 1 unexpected hit" type="expectation"`,
		`text: "赌博 </failure>]]> \x00\x1b\uffff"`,
		`- no hit`,
		`+ a.bet "赌博" by fold in text`,
		`  testcase name="\"赌场\"" classname="DIR/a_test.yaml" file="DIR/a_test.yaml" line="4"`,
		`   skipped message="it wants a rule to hit that is a draft or retired"`,
		` testsuite name="DIR/b_test.yaml" tests="1" failures="0" errors="0" skipped="0"`,
		`  testcase name="calm" classname="DIR/b_test.yaml" file="DIR/b_test.yaml" line="1"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
