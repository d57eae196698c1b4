package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// later is a world in which a second generation's records destroyed a file and erased a person of the
// first: the log of the second, and the indices of the records that say so.
type later struct {
	*world
	key            string // of the second log
	erase, destroy int64
}

func newLater(t *testing.T) *later {
	t.Helper()
	w := full(t, true)
	w.seal()
	w.close()
	handles, err := w.ring.Shred("alice")
	if err != nil || len(handles) != 1 {
		t.Fatalf("%d handles, %v", len(handles), err)
	}
	policy := evidence.BodyFile("1", 0, evidence.ClassPolicy, "2026-11-27")
	two, err := evidence.Open(evidence.Options{Dir: w.dir, Origin: strings.TrimSuffix(testOrigin, "1") + "2", Keys: w.ring, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	x := &later{world: w, key: two.VerifierKey()}
	say := func(r evidence.Record) int64 {
		w.n++
		r.ID = evidence.ID{byte(w.n), 0xcc}
		n, err := two.AppendOne(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	say(statement(evidence.KindGap, evidence.ClassAudit, evidence.GapBody{Topic: "posts"}))
	x.erase = say(statement(evidence.KindShred, evidence.ClassAudit, map[string]any{"handles": []string{handles[0].String()},
		"records": []any{map[string]any{"generation": "1", "ranges": [][2]int64{{3, 4}, {7, 8}}}}}))
	x.destroy = say(statement(evidence.KindDestroy, evidence.ClassAudit, map[string]any{"files": []map[string]string{{"file": policy}}}))
	say(statement(evidence.KindGap, evidence.ClassAudit, evidence.GapBody{Topic: "other"}))
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, policy)); err != nil {
		t.Fatal(err)
	}
	return x
}

// pack exports the first generation.
func (x *later) pack(q Query) Order {
	x.t.Helper()
	s, err := Open(x.dir, "1", x.ring)
	if err != nil {
		x.t.Fatal(err)
	}
	defer s.Close()
	o := x.order(q)
	if _, err := s.Export(x.t.Context(), o, x.record); err != nil {
		x.t.Fatal(err)
	}
	return o
}

// What a later generation's records destroyed is explained by them, with their proofs against the head of
// that log: for who has been given its key, too, by Weir, by verify.py and by verify.sh.
func TestPackageExplainedByAnotherGeneration(t *testing.T) {
	x := newLater(t)
	day := x.now.Truncate(24 * time.Hour)
	o := x.pack(Query{From: day, To: day.AddDate(0, 0, 1), Kinds: []evidence.Kind{evidence.KindHit, evidence.KindStart}})
	var verdicts []string
	for l := range bytes.Lines(read(t, o.Out, "data/records/records.jsonl")) {
		var r line
		if err := json.Unmarshal(l, &r); err != nil {
			t.Fatal(err)
		}
		verdicts = append(verdicts, r.Verdict)
	}
	erased, destroyed := fmt.Sprintf("erased (see #%d of 2)", x.erase), fmt.Sprintf("destroyed (see #%d of 2)", x.destroy)
	if want := []string{destroyed, erased, "ok", erased}; fmt.Sprint(verdicts) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", verdicts, want)
	}
	both := []string{o.VerifierKey, x.key}
	r, err := Verify(o.Out, both, evidence.ThirdParties{})
	if err != nil || !r.OK() || r.Verdicts[evidence.Erased] != 2 || r.Verdicts[evidence.Destroyed] != 1 {
		t.Errorf("%v, %+v", err, r)
	}
	if out, code := tool(t, "python3", "files/verify.py", "--key", x.key, "--key", o.VerifierKey, o.Out); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	script := filepath.Join(o.Out, "data/verify/verify.sh")
	t.Setenv("OTHER_KEY", pemFile(t, x.key))
	if out, code := tool(t, "sh", script, pemFile(t, o.VerifierKey)); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	// Without its key nobody knows who wrote the second log.
	t.Setenv("OTHER_KEY", "")
	if r, err := Verify(o.Out, both[:1], evidence.ThirdParties{}); err != nil || r.Alarms != 3 || !strings.Contains(r.FirstBad.Detail, "the key of that log is not among those given") {
		t.Errorf("%v, %+v", err, r.FirstBad)
	}
	if out, code := tool(t, "sh", script, pemFile(t, o.VerifierKey)); code != 1 || !strings.Contains(out, "the key of that log was not given") {
		t.Errorf("exit %d\n%s", code, out)
	}

	// Every byte of what was added counts, and nothing may be put beside it.
	for _, name := range filesOf(t, filepath.Join(o.Out, "data/others")) {
		name = "data/others/" + name
		for how, spoil := range map[string]func([]byte) []byte{
			"changed": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
			"gone":    func([]byte) []byte { return nil },
		} {
			dir := copyDir(t, o.Out)
			if b := spoil(read(t, o.Out, name)); b != nil {
				write(t, dir, name, b)
			} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			resign(t, dir, o.Signer) // as its maker could
			if r, err := Verify(dir, both, evidence.ThirdParties{}); err != nil || r.OK() {
				t.Errorf("%s %s: Weir finds nothing: %v", name, how, err)
			}
			if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--key", x.key, dir); code != 1 {
				t.Errorf("%s %s: exit %d\n%s", name, how, code, out)
			}
		}
	}
	dir := copyDir(t, o.Out)
	write(t, dir, "data/others/2/more", []byte("x"))
	resign(t, dir, o.Signer)
	if r, err := Verify(dir, both, evidence.ThirdParties{}); err != nil || r.OK() {
		t.Errorf("a file more: Weir finds nothing: %v", err)
	}
	if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--key", x.key, dir); code != 1 {
		t.Errorf("a file more: exit %d\n%s", code, out)
	}
}

// A body that is withheld cannot be called destroyed or erased by a record about something else.
func TestOtherRecordsExplainNothing(t *testing.T) {
	x := newLater(t)
	day := x.now.Truncate(24 * time.Hour)
	o := x.pack(Query{From: day, To: day.AddDate(0, 0, 1), Kinds: []evidence.Kind{evidence.KindHit, evidence.KindStart}})
	for _, said := range []string{fmt.Sprintf("erased (see #%d of 2)", x.erase), fmt.Sprintf("destroyed (see #%d of 2)", x.destroy), fmt.Sprintf("destroyed (see #%d)", x.destroy), "destroyed (see #4 of 3)"} {
		dir := copyDir(t, o.Out)
		var out []byte
		for l := range bytes.Lines(read(t, dir, "data/records/records.jsonl")) {
			var r map[string]any
			if err := json.Unmarshal(l, &r); err != nil {
				t.Fatal(err)
			}
			if r["verdict"] == "ok" {
				if err := os.Remove(filepath.Join(dir, payload, r["content"].(string))); err != nil {
					t.Fatal(err)
				}
				for _, n := range []string{"body", "salt", "reading", "content"} {
					delete(r, n)
				}
				r["verdict"] = said
			}
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, b...), '\n')
		}
		write(t, dir, "data/records/records.jsonl", out)
		resign(t, dir, o.Signer)
		if r, err := Verify(dir, []string{o.VerifierKey, x.key}, evidence.ThirdParties{}); err != nil || r.Alarms != 1 || !strings.Contains(r.FirstBad.Detail, "does not say why its body is gone") {
			t.Errorf("%s: %v, %+v", said, err, r.FirstBad)
		}
		if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--key", x.key, dir); code != 1 || !strings.Contains(out, "does not say why its body is gone") {
			t.Errorf("%s: exit %d\n%s", said, code, out)
		}
	}
}
