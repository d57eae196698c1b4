package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const someClauses = `# what is asked
## Pushes

push-quiet | now | no pushes in rest hours
push-report | later | a report | every quarter's end
push-staff | operator: it is about people | staff are trained
## Content
cmp-log | now | things are kept
`

// A citation in code becomes a row with its sentence and place, a citation in a
// test names the nearest test; a clause without either says so.
func TestPage(t *testing.T) {
	sections, err := parse("list", strings.Replace(someClauses, " | every quarter's end", "", 1))
	if err != nil {
		t.Fatal(err)
	}
	citations, err := scan(fstest.MapFS{
		"push/quiet.go": {Data: []byte(`package push

// Quiet says whether it is quiet now.
//
// Clause: push-quiet
// A push in rest hours waits
// for their end.
//
// It never fails.
func Quiet() {}

type record struct {
	// Clause: cmp-log
	// The address | port is kept.
	// Clause: push-quiet
	// The hours are recorded.
	Address string
}
`)},
		"push/quiet_test.go": {Data: []byte(`package push

func helper() {}

// It is quiet at night.
//
// Clause: push-quiet
func TestQuiet(t *testing.T) {
	t.Run("more", func(t *testing.T) {
		// Clause: cmp-log
	})
}
`)},
		"push/testdata/x.go": {Data: []byte("package x\n// Clause: nobody-asks\n")},
		".cache/x.go":        {Data: []byte("package x\n// Clause: nobody-asks\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := page(sections, citations)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(text), "\nOf ")
	want := `4 clauses, code keeps 2 (each as far as its sentence says); 0 are not yet built, 1 come later, 1 are left to the operator.

## Pushes

| clause | the text asks | what Weir does | where | test |
|---|---|---|---|---|
| ` + "`push-quiet`" + ` | no pushes in rest hours | A push in rest hours waits for their end. | [push/quiet.go](../push/quiet.go) | [TestQuiet](../push/quiet_test.go) |
|  |  | The hours are recorded. | [push/quiet.go](../push/quiet.go) |  |
| ` + "`push-report`" + ` | a report | *later* |  |  |
| ` + "`push-staff`" + ` | staff are trained | *left to the operator: it is about people* |  |  |

## Content

| clause | the text asks | what Weir does | where | test |
|---|---|---|---|---|
| ` + "`cmp-log`" + ` | things are kept | The address \| port is kept. | [push/quiet.go](../push/quiet.go) | [TestQuiet](../push/quiet_test.go) |
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("page (-want +got):\n%s", d)
	}
}

// A citation that cannot be right is refused with its place: nothing is dropped
// in silence.
func TestCitationsRefused(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"a clause nobody asks for", "a.go", "package a\n\n// Clause: push-quite\n// We do.\n", "a.go:3: there is no clause push-quite"},
		{"a clause nobody asks for, in a test", "a_test.go", "package a\n\n// Clause: push-quite\nfunc TestA() {}\n", "a_test.go:3: there is no clause push-quite"},
		{"nothing is said", "a.go", "package a\n\n// Clause: push-quiet\n//\n// Something else.\n", "a.go:3:1: says not what is done about push-quiet"},
		{"nothing is said before the next", "a.go", "package a\n\n// Clause: push-quiet\n// Clause: cmp-log\n// Kept.\n", "a.go:3:1: says not what is done about push-quiet"},
		{"two ids", "a.go", "package a\n\n// Clause: push-quiet, cmp-log\n// We do.\n", `a.go:3:1: "// Clause: push-quiet, cmp-log" cites no clause`},
		{"another spelling", "a.go", "package a\n\n//clause: push-quiet\n// We do.\n", `a.go:3:1: "//clause: push-quiet" cites no clause`},
		{"no test below", "a_test.go", "package a\n\nfunc TestA() {}\n\n// Clause: push-quiet\nfunc help() {}\n", "a_test.go:5:1: no test stands below the citation of push-quiet"},
		{"not Go", "a.go", "package\n", "a.go:"},
	}
	sections, err := parse("list", "## A\npush-quiet | now | a\ncmp-log | now | b\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			citations, err := scan(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err == nil {
				_, err = page(sections, citations)
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that begins %q", err, tt.want)
			}
		})
	}
}

// All faults of the list are reported, each with its line.
func TestListRefused(t *testing.T) {
	_, err := parse("list", "early | now | no heading\n## A\npush-quiet | now | a\npush-quiet | now | again\nPush | now | b\nx | some day | c\ny | operator: | d\nz | now\n"+someClauses[strings.Index(someClauses, "push-report"):])
	want := []string{
		"list:1: early stands under no heading; begin a section with ## and its title",
		"list:4: push-quiet stands on line 3 already; an id names one clause",
		`list:5: "Push" is not an id; use small letters, digits and hyphens`,
		`list:6: x: "some day" says not when; write now, later, or operator: and why`,
		`list:7: y: "operator:" says not when; write now, later, or operator: and why`,
		"list:8: not a clause; a line is: id | when | what the text asks",
		"list:9: not a clause; a line is: id | when | what the text asks",
	}
	if err == nil {
		t.Fatal("no error")
	}
	if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}

// The page is written once, found fresh then, also when lines move, and found stale as soon as
// what is done is another thing; -check leaves a stale page as it is.
func TestRun(t *testing.T) {
	root := t.TempDir()
	source := filepath.Join(root, "a.go")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-root", root, "-out", "clauses.md"}
	check := append([]string{"-check"}, args...)

	write("package a\n\n// Clause: push-quiet\n// We wait.\n")
	if err := run(check, io.Discard); err == nil || !strings.Contains(err.Error(), "clauses.md is stale; run go generate") {
		t.Errorf("check without a page: got %v", err)
	}
	if err := run(args, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(check, io.Discard); err != nil {
		t.Errorf("check of a fresh page: %v", err)
	}
	before, err := os.ReadFile(filepath.Join(root, "clauses.md"))
	if err != nil {
		t.Fatal(err)
	}
	write("package a\n\n\n// Clause: push-quiet\n// We wait.\n")
	if err := run(check, io.Discard); err != nil {
		t.Errorf("check after a line moved: %v", err)
	}
	write("package a\n\n// Clause: push-quiet\n// We wait longer.\n")
	if err := run(check, io.Discard); err == nil {
		t.Error("check of a stale page: no error")
	}
	after, err := os.ReadFile(filepath.Join(root, "clauses.md"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(before), string(after)); d != "" {
		t.Errorf("-check wrote the page:\n%s", d)
	}
}

// No code of this repository cites a clause that is not in the list, and every
// citation says what is done. (That the page is fresh is checked by make
// check-generated.)
func TestThisRepository(t *testing.T) {
	sections, err := parse("requirements.txt", requirements)
	if err != nil {
		t.Fatal(err)
	}
	citations, err := scan(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := page(sections, citations); err != nil {
		t.Error(err)
	}
	if len(citations) == 0 {
		t.Error("no citation found at all; the scan looks in the wrong place")
	}
}
