package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	goldenDir    = "testdata/golden"
	goldenReport = "testdata/golden.json"
)

// makeGolden writes a small log with something of everything. Its salts and its
// key are drawn, so each golden log is another one; the key is thrown away.
func makeGolden(t *testing.T, update bool) {
	if !update {
		return
	}
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: goldenDir, Origin: "example.net/evidence/golden/1", KeyFile: filepath.Join(t.TempDir(), "key"), SegmentBytes: 2500, Now: clock()}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	flagged := judged(0, 100, 105)
	flagged.Passed, flagged.Flagged, flagged.DeadLettered = 1, 3, 1
	push := Record{ID: newID(10), Kind: KindPush, Class: ClassPush, Body: []byte(`{"decision":"allow"}`)}
	again := push
	again.Body = []byte(`{"decision":"defer","reason":"quiet-hours"}`)
	for _, recs := range [][]Record{
		{{ID: newID(1), Kind: KindStart, Class: ClassAudit, Body: []byte(`{"version":"0"}`)}, {ID: newID(2), Kind: KindRuleSet, Class: ClassPolicy, Body: []byte(`{"rules":"00"}`)}},
		hits(3, 3),
		{{ID: newID(6), Kind: KindDeadLetter, Class: ClassContent, Body: []byte("\x00\xff not text")}},
		{coverageRecord(7, flagged)},
		{push}, {push}, {again},
		{gapRecord(8, GapBody{"posts", 0, 105, 110}), coverageRecord(9, judged(0, 110, 120))},
		hits(100, 9),
		{{ID: newID(11), Kind: KindHit}}, // an empty body
		{{ID: newID(12), Kind: KindStop, Class: ClassAudit, Body: []byte(`{}`)}},
	} {
		mustAppend(t, l, recs...)
		if len(recs) > 1 {
			if err := l.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, l)
	b, err := json.MarshalIndent(verifyOK(t, goldenDir), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenReport, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A log written by an earlier version is read as it was: the same records, the
// same root, the same findings.
func TestGolden(t *testing.T) {
	makeGolden(t, *update)
	var want, got Report
	if err := json.Unmarshal(read(t, ".", goldenReport), &want); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(verify(t, goldenDir))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got.Records < 20 || got.Segments < 2 || got.Heads < 5 || !got.OK() || got.Replayed != 2 {
		t.Errorf("the golden log is not what it should be: %+v", got)
	}
}

// A verifier written from FORMAT.md in another language, with its standard
// library only, finds the same root, and finds tampering.
func TestPythonVerifierAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("asks another program; not with -short")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on this machine")
	}
	run := func(dir string) (string, int) {
		out, err := exec.Command(python, "testdata/verify.py", dir).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), exit.ExitCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(out), 0
	}
	r := verify(t, goldenDir)
	out, code := run(goldenDir)
	want := fmt.Sprintf("origin %s\nrecords %d\nheads %d\nroot %s\n", r.Origin, r.Records, r.Heads, r.Root)
	if out != want || code != 0 {
		t.Errorf("exit %d\n%s\nwant\n%s", code, out, want)
	}
	for name, tt := range map[string]struct {
		file string
		do   func(b []byte) []byte
		want string
	}{
		"leaf":      {testSeg, func(b []byte) []byte { b[frameHeader+4+1]++; return repair(b) }, "the head of 1 records has another root"},
		"body":      {testSeg, func(b []byte) []byte { b[frameHeader+entryHeader+40]++; return repair(b) }, "record 0: the body is not the one"},
		"checksum":  {testSeg, func(b []byte) []byte { b[9]++; return b }, "the frame is damaged"},
		"signature": {"log/1/checkpoint", func(b []byte) []byte { return bytes.Replace(b, []byte("\n"), []byte("\n1"), 1) }, "not signed by the key"},
	} {
		dir := copyDir(t, goldenDir)
		write(t, dir, tt.file, tt.do(read(t, dir, tt.file)))
		if out, code := run(dir); code != 1 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
		if verify(t, dir).OK() {
			t.Errorf("%s: Verify has no alarm", name)
		}
	}
	if out, code := run(t.TempDir()); code != 2 {
		t.Errorf("nothing there: exit %d\n%s", code, out)
	}
}

// The checkpoint's signature is one that OpenSSL knows, as FORMAT.md says.
func TestOpenSSLAgrees(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl on this machine")
	}
	doc := string(read(t, ".", "FORMAT.md"))
	_, script, ok := strings.Cut(doc, "```sh\n")
	script, _, ok2 := strings.Cut(script, "```")
	if !ok || !ok2 {
		t.Fatal("FORMAT.md has no script")
	}
	golden, err := filepath.Abs(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "LOG="+golden)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Signature Verified Successfully") {
		t.Errorf("%v\n%s", err, out)
	}
}
