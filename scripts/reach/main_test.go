package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write writes files of Go, of whose text the words of the test are enough.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const asking = `package p

import ("os"; "testing")

const setting = "SETTING_SASL"

var table = []string{setting}

type server struct{}
type other struct{}
type box[T any] struct{ in T }

func (server) open() string  { return os.Getenv("SETTING") }
func (other) open() string   { return "" }
func (b *box[T]) ask() string { return os.Getenv("SETTING") }

type opener interface{ open() string }

func helper() string { return server{}.open() }

func TestDirect(t *testing.T)    { os.Getenv("SETTING") }
func TestConstant(t *testing.T)  { for range table {} }
func TestHelper(t *testing.T)    { t.Run("", func(t *testing.T) { helper() }) }
func TestValue(t *testing.T)     { each(t, server.open) }
func TestGeneric(t *testing.T)   { new(box[int]).ask() }
func TestInterface(t *testing.T) { var o opener; o.open() }
func TestUnknown(t *testing.T)   { elsewhere.Make().open() }
func FuzzDirect(f *testing.F)    { helper() }
func each(t *testing.T, f any)   {}

func TestOther(t *testing.T)   { other{}.open() }
func TestNothing(t *testing.T) { each(t, nil); os.Getenv("ANOTHER") }
func TestShadow(t *testing.T)  { helper := 1; _ = helper }
`

// Tests that ask for a setting are found however they come to it, and those that do not are left out.
func TestFind(t *testing.T) {
	dir := write(t, map[string]string{
		"a/p_test.go":           asking,
		"a/b/outside_test.go":   "package p_test\n\nimport \"testing\"\n\nfunc TestOutside(t *testing.T) { p.Shared() }\nfunc TestInside(t *testing.T) { p.Own() }\n",
		"a/b/export_test.go":    "package p\n\nimport \"os\"\n\nfunc Shared() { os.Getenv(`SETTING`) }\nfunc Own() {}\n",
		"a/testdata/no_test.go": asking,
		"a/module/go.mod":       "module m\n",
		"a/module/no_test.go":   asking,
		"a/c/quiet_test.go":     "package c\n\nimport \"testing\"\n\nfunc TestQuiet(t *testing.T) {}\n",
		"a/c/quiet.go":          "package c\n\n// SETTING stands in a comment.\nfunc quiet() {}\n",
	})
	tests, packages, err := find([]string{"SETTING", "NEVER"}, []string{filepath.Join(dir, "a") + "/...", filepath.Join(dir, "a", "c")})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"FuzzDirect", "TestConstant", "TestDirect", "TestGeneric", "TestHelper", "TestInterface", "TestOutside", "TestUnknown", "TestValue"}
	if !slices.Equal(tests, want) {
		t.Errorf("tests  %v\nwanted %v", tests, want)
	}
	for i, p := range packages {
		packages[i] = strings.TrimPrefix(strings.TrimPrefix(p, "./"), dir)
	}
	if want := []string{"/a", "/a/b"}; !slices.Equal(packages, want) {
		t.Errorf("packages %v, wanted %v", packages, want)
	}
	if tests, _, err := find([]string{"SETTING"}, []string{filepath.Join(dir, "a", "b")}); err != nil || !slices.Equal(tests, []string{"TestOutside"}) {
		t.Errorf("one directory: %v, %v", tests, err)
	}
}

// What cannot be followed is refused, instead of leaving a test out.
func TestFindRefuses(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"a TestMain":         {"p_test.go", "package p\n\nimport \"os\"\n\nfunc TestMain() { os.Getenv(\"SETTING\") }\n", "TestMain asks"},
		"an init":            {"p_test.go", "package p\n\nimport \"os\"\n\nfunc init() { os.Getenv(\"SETTING\") }\n", "init asks"},
		"a file of no test":  {"p.go", "package p\n\nimport \"os\"\n\nfunc Helper() { os.Getenv(\"SETTING\") }\n", "cannot be followed"},
		"what is no program": {"p_test.go", "package", "expected"},
	} {
		dir := write(t, map[string]string{test.file: test.text})
		if _, _, err := find([]string{"SETTING"}, []string{dir}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if _, _, err := find([]string{"SETTING"}, []string{"./nowhere"}); err == nil {
		t.Error("a directory that is not there: no error")
	}
}
