package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that SECURITY.md says shows something is there: nobody reads a promise
// that nothing keeps.
func TestThreatsAreShown(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z][a-z0-9/]*)\\.(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Fatalf("%d tests are named; the table has another form", len(named))
	}
	for _, n := range named {
		files, err := filepath.Glob(filepath.Join("../..", n[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(b), "\nfunc "+n[2]+"(")
		}
		if !found {
			t.Errorf("SECURITY.md names %s.%s, and there is no such test", n[1], n[2])
		}
	}
	for _, n := range regexp.MustCompile("`cmd/weir script (\\w+)`").FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat("../../cmd/weir/testdata/script/" + n[1] + ".txtar"); err != nil {
			t.Errorf("SECURITY.md: %v", err)
		}
	}
}
