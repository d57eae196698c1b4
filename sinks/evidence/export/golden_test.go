package export

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

var update = flag.Bool("update", false, "write the golden log anew")

// The golden log that things have happened to: it is encrypted, a segment is sealed and another is not, a
// day's pushes were destroyed and a person was erased. Its keys lie beside it; they protect nothing.
const (
	goldenDir    = "../testdata/lived"
	goldenReport = "../testdata/lived.json"
)

// makeGolden writes it. Salts and keys are drawn, so each is another one.
func makeGolden(t *testing.T) {
	w := full(t, true)
	pushed := encoded(evidence.KindPush, evidence.ClassPush, &body.Verdict{
		EventId: "p1", Action: body.Action_ACTION_PASS, Decision: body.Decision_DECISION_ALLOW, Rules: rules[:16], Account: "bob", TimeMs: 1795766400000,
		Push: &body.Push{Class: body.Class_CLASS_SERVICE, Channel: body.Channel_CHANNEL_APP, Proof: &body.Proof{At: 1795766401, UtcOffset: proto.Int32(28800)}},
	})
	pushed.Subject = "bob"
	w.append(pushed)
	w.seal()
	w.append(hit("e4", "alice", "illegal.gambling", "g-1", "after the seal"), hit("e5", "carol", "illegal.drugs", "d-2", "pills"))

	var seal evidence.SealBody
	ranges := [][2]int64{}
	bob, err := w.ring.Find("bob")
	if err != nil {
		t.Fatal(err)
	}
	err = evidence.Walk(w.dir, w.ring, func(e evidence.Entry) error {
		if e.Kind == evidence.KindSeal {
			return json.Unmarshal(e.Body, &seal)
		}
		for _, h := range bob {
			if e.Encrypted && e.Handle == h {
				ranges = append(ranges, [2]int64{e.Index, e.Index + 1})
			}
		}
		return nil
	})
	if err != nil || len(seal.Bodies) != 3 || len(ranges) != 2 {
		t.Fatalf("%+v, %v, %v", seal, ranges, err)
	}
	handles := make([]string, len(bob))
	for i, h := range bob {
		handles[i] = h.String()
	}
	var gone []evidence.SealedBodies
	for _, b := range seal.Bodies {
		if b.Class == "push" {
			gone = append(gone, b)
		}
	}
	w.append(
		statement(evidence.KindShred, evidence.ClassAudit, map[string]any{"requested_by": "bob", "basis": "their request", "handles": handles,
			"records": []any{map[string]any{"generation": "1", "ranges": ranges}}, "escrow": false}),
		statement(evidence.KindDestroy, evidence.ClassAudit, map[string]any{"plan": "00", "class": "push", "files": gone, "key_files": []string{}}),
	)
	w.close() // signs: what explains a gap is signed before there is one
	if _, err := w.ring.Shred("bob"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, gone[0].File)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.record(t.Context(), evidence.KindDestroyed, map[string]any{"destroy": "00", "files": gone}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(goldenDir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(goldenVerdict(t), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenReport, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// golden returns a copy of the golden log whose keys only their owner can read, as git cannot say.
func golden(t *testing.T) string {
	t.Helper()
	dir := copyDir(t, goldenDir)
	for _, name := range filesOf(t, dir) {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verdict is what Weir says of the golden log.
type verdict struct {
	WithKeys, Keyless *evidence.DirReport
}

func goldenVerdict(t *testing.T) (v verdict) {
	t.Helper()
	dir := golden(t)
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if v.WithKeys, err = evidence.VerifyAll(dir, nil, evidence.VerifyOptions{Keys: ring}); err != nil {
		t.Fatal(err)
	}
	if v.Keyless, err = evidence.VerifyAll(dir, nil, evidence.VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
	return v
}

// A log to which things have happened is read as it was: the same records, the same root, the same words.
func TestGolden(t *testing.T) {
	if *update {
		makeGolden(t)
	}
	b, err := os.ReadFile(goldenReport)
	if err != nil {
		t.Fatal(err)
	}
	var want, got verdict
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	now := goldenVerdict(t)
	if b, err = json.Marshal(now); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !now.WithKeys.OK() || !now.Keyless.OK() {
		t.Errorf("an alarm: %s", b)
	}
	for _, word := range []string{`"erased":1`, `"destroyed":1`} {
		if !strings.Contains(string(b), word) {
			t.Errorf("no record is %s: %s", word, b)
		}
	}
}

// The verifier that was written from FORMAT.md in another language agrees without any key, and finds what
// is changed in what was sealed.
func TestPythonVerifiesTheGoldenLog(t *testing.T) {
	script := "../testdata/verify.py"
	out, code := tool(t, "python3", script, goldenDir)
	for _, want := range []string{"origin " + testOrigin, "not opened 6", "destroyed 1"} {
		if code != 0 || !strings.Contains(out, want+"\n") {
			t.Errorf("exit %d, want %s\n%s", code, want, out)
		}
	}
	var head struct {
		Root string `json:"root"`
	}
	b, err := json.Marshal(goldenVerdict(t).Keyless.Logs[0])
	if err == nil {
		err = json.Unmarshal(b, &head)
	}
	if err != nil || head.Root == "" || !strings.Contains(out, "root "+head.Root+"\n") {
		t.Errorf("Weir has the root %q, %v; %s", head.Root, err, out)
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"body/content/2026-11-27/1-00000000000000000000.body": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"body/policy/2026-11-27/1-00000000000000000000.body":  func([]byte) []byte { return nil },
		"log/1/seg/00000000000000000000.seg":                  func(b []byte) []byte { b[20] ^= 1; return b },
		"log/1/checkpoint":                                    func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		dir := golden(t)
		if b := spoil(read(t, dir, name)); b != nil {
			write(t, dir, name, b)
		} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if out, code := tool(t, "python3", script, dir); code == 0 {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
}

// A package of the golden log holds without Weir, and says which record explains what is gone.
func TestPackageOfTheGoldenLog(t *testing.T) {
	dir := golden(t)
	vkey := strings.TrimSpace(string(read(t, dir, "log.vkey")))
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	w := &world{t: t, dir: dir, n: 500}
	w.log, err = evidence.Open(evidence.Options{Dir: dir, Origin: testOrigin})
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.AddDate(2030, 0, 0)
	w.close()
	o := w.order(Query{Kinds: []evidence.Kind{evidence.KindHit, evidence.KindPush}})
	s, err := Open(dir, "", ring)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if o.VerifierKey != vkey {
		t.Errorf("key %s, want %s", o.VerifierKey, vkey)
	}
	x, err := s.Export(t.Context(), o, w.record)
	if err != nil || x.Records != 6 {
		t.Fatalf("%+v, %v", x, err)
	}
	out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, vkey))
	if code != 0 || !strings.Contains(out, "6 records, 4 with their bodies") {
		t.Errorf("exit %d\n%s", code, out)
	}
	b := string(read(t, o.Out, "data/records/records.jsonl"))
	if strings.Count(b, `"verdict":"erased (see #`) != 1 || strings.Count(b, `"verdict":"destroyed (see #`) != 1 {
		t.Errorf("%s", b)
	}
}
