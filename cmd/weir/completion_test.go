package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bash itself completes verbs, verbs of verbs, flags and the values of flags; where anything may stand it is left to name files.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	script := ran(t, "completion", "bash")
	for _, c := range []struct {
		line string
		want []string
	}{
		{"weir ru", []string{"run", "rules"}},
		{"weir rules li", []string{"lint"}},
		{"weir run --log-f", []string{"--log-format"}},
		{"weir run --log-format ", []string{"json", "text"}},
		{"weir run --log-format json --log-level w", []string{"warn"}},
		{"weir run --config ", nil},
		{"weir rules lint run --json", []string{"--json"}}, // run is an argument there
		{"weir completion ", []string{"bash", "zsh", "fish"}},
		{"weir nonsense", nil},
	} {
		words := strings.Split(c.line, " ")
		ask := fmt.Sprintf("%s\nCOMP_WORDS=(%s) COMP_CWORD=%d\n_weir\nprintf '%%s\\n' \"${COMPREPLY[@]}\"\n",
			script, "'"+strings.Join(words, "' '")+"'", len(words)-1)
		cmd := exec.Command(bash, "--norc", "-euo", "pipefail")
		cmd.Stdin = strings.NewReader(ask)
		out, err := cmd.CombinedOutput()
		if err != nil && c.want != nil {
			t.Fatalf("%q: %v\n%s", c.line, err, out)
		}
		if got := strings.Fields(string(out)); !cmp.Equal(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%q completes to %q, want %q", c.line, got, c.want)
		}
	}
}

// What other shells read is well-formed for them, where they are installed.
func TestCompletionIsWellFormed(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := ran(t, "completion", shell)
		if !strings.Contains(script, "--log-format") && !strings.Contains(script, "-l log-format") {
			t.Errorf("%s is not told of --log-format", shell)
		}
		program, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed: its completion is not parsed", shell)
			continue
		}
		cmd := exec.Command(program, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// The manual page tells of every verb and exit code, and no formatter finds fault with it.
func TestManual(t *testing.T) {
	page := ran(t, "man", "--date", "2026-11-28")
	for _, verb := range verbs(t) {
		if !strings.Contains(page, roff("weir "+verb)) {
			t.Errorf("the manual page says nothing of weir %s", verb)
		}
	}
	if got, want := roff(".x\n\n'a-b \\ \"c\""), "\\&.x\n\\&'a\\-b \\e \\(dqc\\(dq"; got != want {
		t.Errorf("escaped to %q, want %q", got, want)
	}
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Log("mandoc is not installed: the page is not linted")
		return
	}
	cmd := exec.Command(mandoc, "-Tlint", "-Wwarning")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

// ran returns what a verb prints.
func ran(t *testing.T, args ...string) string {
	t.Helper()
	var out, said strings.Builder
	if code := run(t.Context(), args, streams{strings.NewReader(""), &out, &said}); code != exitFine {
		t.Fatalf("weir %s: exit code %d\n%s", strings.Join(args, " "), code, said.String())
	}
	return out.String()
}
