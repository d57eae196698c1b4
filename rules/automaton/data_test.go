package automaton

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-moderation/weir/rules/fold"
)

// lines returns the lines of a file of the test data: large samples of terms and posts
// that are not part of the repository.
func lines(tb testing.TB, name string) [][]byte {
	tb.Helper()
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	data, err := os.ReadFile(filepath.Join(dir, name+".txt"))
	if err != nil {
		tb.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

// terms returns the terms of a list of the test data as patterns, folded. Those of a
// Chinese list may stand inside tokens.
func terms(tb testing.TB, name string) []Pattern {
	tb.Helper()
	var patterns []Pattern
	for _, line := range lines(tb, "patterns_"+name) {
		if text := fold.String(string(line)); text != "" {
			patterns = append(patterns, Pattern{Text: text, Substring: name[0] == 'z'})
		}
	}
	return patterns
}
