package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// A package is checked on a machine without Weir: by sha256sum, openssl and python3, with a key that
// came another way. Whatever was asked for, whether bodies were encrypted and sealed or not.
//
// Clause: cmp-support
// Clause: rn-share
func TestPackageIsCheckedWithoutWeir(t *testing.T) {
	if testing.Short() {
		t.Skip("asks other programs; not with -short")
	}
	for _, how := range []string{"clear", "encrypted", "sealed"} {
		w := full(t, how != "clear")
		if how == "sealed" {
			w.seal()
		}
		w.close()
		day := w.now.Truncate(24 * 3600e9)
		for _, tt := range []struct {
			name    string
			q       Query
			records int
			said    string
		}{
			{"a day", Query{From: day, To: day.AddDate(0, 0, 1)}, 11, "every record that was asked for is here"},
			{"hits of a day", Query{From: day, To: day.AddDate(0, 0, 1), Kinds: []evidence.Kind{evidence.KindHit}}, 3, "every record that was asked for is here"},
			{"a person", Query{Subject: "alice"}, 2, "records outside the request are here as leaves only"},
			{"an event", Query{Event: "e2"}, 1, "records outside the request are here as leaves only"},
			{"a time without records", Query{From: day.AddDate(-1, 0, 0), To: day.AddDate(-1, 0, 1)}, 0, "every record that was asked for is here"},
		} {
			t.Run(how+", "+tt.name, func(t *testing.T) {
				w.t = t
				o := w.order(tt.q)
				x := w.export(o)
				if tt.name == "a day" && how == "sealed" {
					tt.records++ // the seal
				}
				if x.Records != tt.records {
					t.Errorf("%d records, want %d", x.Records, tt.records)
				}
				key := pemFile(t, o.VerifierKey)
				out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), key)
				if code != 0 || !strings.Contains(out, "everything holds") || !strings.Contains(out, tt.said) || strings.Contains(out, "ALARM") {
					t.Errorf("exit %d\n%s", code, out)
				}
				for _, args := range [][]string{{"--key", o.VerifierKey, o.Out}, {"--key", key, "--package-key", key, o.Out}} {
					if out, code := tool(t, "python3", append([]string{"files/verify.py"}, args...)...); code != 0 {
						t.Errorf("exit %d\n%s", code, out)
					}
				}
				// The package's own keys prove nothing.
				if out, code := tool(t, "python3", "files/verify.py", o.Out); code != 2 || !strings.Contains(out, "UNPROVEN") {
					t.Errorf("without a key: exit %d\n%s", code, out)
				}
				other := "other/evidence/0/1+ccf2c1ad+AQCKiFCpy7B28+lBaGLLchyg0uwJtr8VI+Fa4uPsFvFZ"
				if out, code := tool(t, "python3", "files/verify.py", "--key", other, o.Out); code != 1 {
					t.Errorf("another key: exit %d\n%s", code, out)
				}
				if out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, other)); code != 1 {
					t.Errorf("another key: exit %d\n%s", code, out)
				}
			})
		}
	}
}

// The same package as one file.
func TestPackageAsTar(t *testing.T) {
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	o.Out += ".tar"
	x := w.export(o)
	if x.Out != o.Out {
		t.Errorf("written to %s", x.Out)
	}
	if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	dir := t.TempDir()
	if out, code := tool(t, "tar", "-xf", o.Out, "-C", dir); code != 0 {
		t.Fatal(out)
	}
	if out, code := tool(t, "sh", filepath.Join(dir, "package/data/verify/verify.sh"), pemFile(t, o.VerifierKey)); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if left, err := filepath.Glob(strings.TrimSuffix(o.Out, ".tar") + "*"); err != nil || len(left) != 1 {
		t.Errorf("left beside it: %q, %v", left, err)
	}
}

// A key of the organisation may sign the package instead of the log's.
func TestPackageSignedByAnother(t *testing.T) {
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	secret, vkey, err := note.GenerateKey(nil, "desk.example.net")
	if err != nil {
		t.Fatal(err)
	}
	if o.Signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	o.SignerKey = vkey
	w.export(o)
	if out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, o.VerifierKey), pemFile(t, vkey)); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, o.VerifierKey)); code != 1 {
		t.Errorf("the log's key alone: exit %d\n%s", code, out)
	}
}

// Every body is read by the Python verifier as Weir reads it, whatever stands in its fields.
func TestPythonReadsBodiesAsWeirDoes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := begin(t, true)
	for range 60 {
		verdict, push, dead, breach, recall, consent := new(body.Verdict), new(body.Verdict), new(body.DeadLetter), new(body.Breach), new(body.Recall), new(body.Consent)
		for _, m := range []proto.Message{verdict, push, dead, breach, recall, consent} {
			fill(m.ProtoReflect(), r)
		}
		original(verdict.Original)
		original(push.Original)
		original(dead.Original)
		original(consent.Original)
		w.append(
			encoded(evidence.KindHit, evidence.ClassContent, verdict), encoded(evidence.KindPush, evidence.ClassPush, push),
			encoded(evidence.KindDeadLetter, evidence.ClassContent, dead), encoded(evidence.KindBreach, evidence.ClassPush, breach),
			encoded(evidence.KindRecall, evidence.ClassPush, recall), encoded(evidence.KindConsent, evidence.ClassPush, consent))
	}
	w.close()
	o := w.order(Query{Kinds: []evidence.Kind{evidence.KindHit, evidence.KindPush, evidence.KindDeadLetter, evidence.KindBreach, evidence.KindRecall, evidence.KindConsent}})
	if x := w.export(o); x.Records != 360 {
		t.Errorf("%d records", x.Records)
	}
	if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// copyDir copies a package so that it can be spoiled.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func filesOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// relist writes the manifests of a package anew, as who forges it would.
func relist(t *testing.T, dir string) {
	t.Helper()
	b := &bag{sums: make(map[string]string)}
	files := 0
	list := func(ofPayload bool) {
		for _, name := range filesOf(t, dir) {
			if name == "tagmanifest-sha256.txt" || strings.HasPrefix(name, "signatures/") || name == "manifest-sha256.txt" && ofPayload {
				continue
			}
			data := read(t, dir, name)
			b.sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))
			if ofPayload && strings.HasPrefix(name, payload) {
				b.bytes += int64(len(data))
				files++
			}
		}
	}
	list(true)
	info := read(t, dir, "bag-info.txt")
	at := bytes.Index(info, []byte("Payload-Oxum: "))
	write(t, dir, "bag-info.txt", append(slices.Clone(info[:at]), fmt.Sprintf("Payload-Oxum: %d.%d\n", b.bytes, files)...))
	write(t, dir, "manifest-sha256.txt", b.manifest(true))
	list(false)
	write(t, dir, "tagmanifest-sha256.txt", b.manifest(false))
}

// resign signs a package anew, as its organisation could.
func resign(t *testing.T, dir string, s note.Signer) {
	t.Helper()
	relist(t, dir)
	msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%x\n%s\n", packageTag, sha256.Sum256(read(t, dir, "tagmanifest-sha256.txt")), testOrigin)}, s)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "signatures/tagmanifest.note", msg)
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever file of a package is changed, cut, taken away or put in, both scripts find it, and the
// Python verifier finds it also where the lists of files were written anew.
func TestTamperingIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("asks other programs; not with -short")
	}
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	w.export(o)
	key := pemFile(t, o.VerifierKey)
	names := filesOf(t, o.Out)
	for _, want := range []string{"data/records/records.jsonl", "data/content/0003ee00000000000000000000000000.bin", "data/log/1/leaves.bin", "data/log/1/range.json",
		"data/log/1/checkpoint", "data/log/1/proofs/11.tlog-proof", "data/rules.jsonl", "data/coverage.csv", "data/destroyed.jsonl", "data/holds.jsonl",
		"data/access.jsonl", "data/keys/trust.json", "data/keys/log.pem", "data/extraction.json", "data/README.zh.md", "data/README.en.md", "bag-info.txt"} {
		if !slices.Contains(names, want) {
			t.Errorf("no file %s in the package: %q", want, names)
		}
	}
	shell := []string{"data/records/records.jsonl", "data/log/1/checkpoint", "manifest-sha256.txt", "tagmanifest-sha256.txt", "signatures/tagmanifest.note"}
	spoilt := map[string]func(b []byte) []byte{
		"changed": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		"gone":    func([]byte) []byte { return nil },
	}
	for _, name := range names {
		for how, spoil := range spoilt {
			b := read(t, o.Out, name)
			if len(b) == 0 && how != "gone" {
				continue
			}
			dir := copyDir(t, o.Out)
			if b = spoil(b); b != nil {
				write(t, dir, name, b)
			} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if out, code := tool(t, "python3", "files/verify.py", "--key", key, dir); code != 1 {
				t.Errorf("%s %s: verify.py: exit %d\n%s", name, how, code, out)
			}
			if r, err := Verify(dir, []string{o.VerifierKey}, evidence.ThirdParties{}); err != nil || r.OK() || r.FirstBad.File == "" {
				t.Errorf("%s %s: Verify finds nothing, or no file: %v", name, how, err)
			}
			if strings.HasPrefix(name, "data/verify/") {
				continue // a script that was changed may say anything: take it from elsewhere
			}
			if how == "changed" {
				if slices.Contains(shell, name) {
					if out, code := tool(t, "sh", filepath.Join(dir, "data/verify/verify.sh"), key); code != 1 {
						t.Errorf("%s %s: verify.sh: exit %d\n%s", name, how, code, out)
					}
				}
				if !strings.HasPrefix(name, "signatures/") && !strings.HasSuffix(name, "manifest-sha256.txt") && name != "bag-info.txt" {
					relist(t, dir)
					if out, code := tool(t, "python3", "files/verify.py", "--key", key, dir); code != 1 {
						t.Errorf("%s %s and listed anew: exit %d\n%s", name, how, code, out)
					}
					if r, err := Verify(dir, []string{o.VerifierKey}, evidence.ThirdParties{}); err != nil || r.OK() {
						t.Errorf("%s %s and listed anew: Verify finds nothing: %v", name, how, err)
					}
				}
			}
		}
	}
	dir := copyDir(t, o.Out)
	write(t, dir, "data/records/records.jsonl", bytes.Replace(read(t, dir, "data/records/records.jsonl"), []byte(`"verdict":"ok"`), []byte(`"verdict":"no"`), 1))
	resign(t, dir, o.Signer)
	if r, err := Verify(dir, []string{o.VerifierKey}, evidence.ThirdParties{}); err != nil || r.FirstBad == nil || r.FirstBad.Index != 3 || r.FirstBad.Time.IsZero() || r.FirstBad.File != "data/records/records.jsonl" {
		t.Errorf("not named by index, file and time: %v, %+v", err, r.FirstBad)
	}
	dir = copyDir(t, o.Out)
	write(t, dir, "data/more.txt", []byte("more"))
	if out, code := tool(t, "python3", "files/verify.py", "--key", key, dir); code != 1 || !strings.Contains(out, "ALARM: data/more.txt: is in no manifest") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// The organisation itself, which can sign a package anew, cannot change what the log says.
func TestForgedByItsMaker(t *testing.T) {
	if testing.Short() {
		t.Skip("asks other programs; not with -short")
	}
	w := full(t, true)
	w.close()
	day := w.now.Truncate(24 * 3600e9)
	o := w.order(Query{From: day, To: day.AddDate(0, 0, 1)})
	w.export(o)
	edit := func(name, from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b := read(t, dir, name)
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("%s: no %s in it\n%s", name, from, b)
			}
			write(t, dir, name, bytes.Replace(b, []byte(from), []byte(to), 1))
		}
	}
	without := func(name, with string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			var out []byte
			for line := range bytes.Lines(read(t, dir, name)) {
				if !bytes.Contains(line, []byte(with)) {
					out = append(out, line...)
				}
			}
			if len(out) == len(read(t, dir, name)) {
				t.Fatal("nothing taken out")
			}
			write(t, dir, name, out)
		}
	}
	record := func(change func(map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			lines := bytes.SplitAfter(read(t, dir, "data/records/records.jsonl"), []byte("\n"))
			var l map[string]any
			if err := json.Unmarshal(lines[3], &l); err != nil {
				t.Fatal(err)
			}
			change(l)
			b, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			lines[3] = append(b, '\n')
			write(t, dir, "data/records/records.jsonl", bytes.Join(lines, nil))
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"nothing", func(*testing.T, string) {}, "everything holds"},
		{"another reading", edit("data/records/records.jsonl", `"action":"reject"`, `"action":"review"`), "the reading is not what the body says"},
		{"another kind", edit("data/records/records.jsonl", `"kind":"hit"`, `"kind":"push"`), "id, kind, class, time or encoding are not those of its leaf"},
		{"another body", record(func(l map[string]any) { l["body"] = "AAAA" }), "ALARM"},
		{"a body called erased", record(func(l map[string]any) {
			for _, n := range []string{"body", "salt", "reading", "content"} {
				delete(l, n)
			}
			l["verdict"] = "erased (see #9)"
		}), "record 9 does not say why its body is gone"},
		{"a body left out", record(func(l map[string]any) {
			for _, n := range []string{"body", "salt", "reading", "content"} {
				delete(l, n)
			}
			l["verdict"] = "MISSING"
		}), "its body is gone, and no record says why"},
		{"a record left out", without("data/records/records.jsonl", `"index":4,`), "record 4: was asked for and is not here"},
		{"an account left out", without("data/coverage.jsonl", `"index":6,`), "record 6: is not in coverage.jsonl"},
		{"another account", edit("data/coverage.csv", ",9,6,2,0,1,", ",8,6,2,0,0,"), "coverage.csv: is not what the coverage records say"},
		{"a hold left out", without("data/holds.jsonl", `"hold"`), "record 9: is not in holds.jsonl"},
		{"the access left out", without("data/access.jsonl", `"export"`), "ALARM: export"},
		{"another recipient", edit("data/extraction.json", "City Court", "Town Court"), "recipient is not what the log says"},
		{"another purpose", edit("data/extraction.json", `"purpose": "inv`, `"purpose": "Inv`), "purpose is not what the log says"},
		{"other rules", func(t *testing.T, dir string) {
			edit(fmt.Sprintf("data/rules/%x.json", rules), "the text", "a text")(t, dir)
		}, "the body is not the one its leaf commits to"},
		{"another message", func(t *testing.T, dir string) {
			edit("data/content/0003ee00000000000000000000000000.bin", "bets", "nice")(t, dir)
		}, "the message is not the one the body holds"},
		{"another leaf", func(t *testing.T, dir string) {
			b := read(t, dir, "data/log/1/leaves.bin")
			b[64*3+40] ^= 1
			write(t, dir, "data/log/1/leaves.bin", b)
		}, "the leaves do not have the root that was signed"},
		{"leaves in another order", func(t *testing.T, dir string) {
			b := read(t, dir, "data/log/1/leaves.bin")
			b = slices.Concat(b[:64], b[128:192], b[64:128], b[192:])
			write(t, dir, "data/log/1/leaves.bin", b)
		}, "the leaves do not have the root that was signed"},
		{"another head", edit("data/log/1/checkpoint", "\n12\n", "\n11\n"), "the signature is wrong"},
		{"another proof", func(t *testing.T, dir string) {
			b := read(t, dir, "data/log/1/proofs/11.tlog-proof")
			b[40] ^= 1
			write(t, dir, "data/log/1/proofs/11.tlog-proof", b)
		}, "ALARM"},
		{"another schema", edit("data/schema/body.proto", "ACTION_REVIEW = 1", "ACTION_PRAISE = 1"), "everything holds"}, // no body has it
		{"a schema that says otherwise", edit("data/schema/body.proto", "ACTION_REJECT = 2", "ACTION_PRAISE = 2"), "the reading is not what the body says"},
		{"another key", edit("data/keys/trust.json", testOrigin+"+", "example.net/evidence/tesu/1+"), "ALARM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, o.Out)
			tt.spoil(t, dir)
			resign(t, dir, o.Signer)
			out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, dir)
			if want := map[bool]int{true: 0, false: 1}[tt.want == "everything holds"]; code != want || !strings.Contains(out, tt.want) {
				t.Errorf("exit %d, want %q\n%s", code, tt.want, out)
			}
			// Weir reads bodies by the schema that is built in, not by the one in the package.
			r, err := Verify(dir, []string{o.VerifierKey}, evidence.ThirdParties{})
			if err != nil {
				t.Fatal(err)
			}
			if want := tt.want == "everything holds" || strings.Contains(tt.name, "schema"); r.OK() != want {
				t.Errorf("Verify: %+v", r)
			}
		})
	}
}

// Where a record cannot be had any more the package says so, and which record explains it.
func TestPackageOfWhatIsGone(t *testing.T) {
	w := full(t, true)
	w.seal()
	handles, err := w.ring.Shred("alice")
	if err != nil || len(handles) != 1 {
		t.Fatalf("%d handles, %v", len(handles), err)
	}
	day := w.now.Truncate(24 * 3600e9)
	gone := evidence.BodyFile("1", 0, evidence.ClassContent, "2026-11-27")
	policy := evidence.BodyFile("1", 0, evidence.ClassPolicy, "2026-11-27")
	w.append(
		statement(evidence.KindShred, evidence.ClassAudit, map[string]any{"handles": []string{handles[0].String()}}),
		statement(evidence.KindDestroy, evidence.ClassAudit, map[string]any{"files": []map[string]string{{"file": policy}}}),
	)
	w.close()
	if err := os.Remove(filepath.Join(w.dir, policy)); err != nil {
		t.Fatal(err)
	}
	fates := func(q Query) []string {
		found, err := w.source().find(&q)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range found.list {
			out = append(out, fmt.Sprint(f.Kind(), " ", f.Fate))
		}
		return out
	}
	q := Query{From: day, To: day.AddDate(0, 0, 1), Kinds: []evidence.Kind{evidence.KindHit, evidence.KindStart}}
	want := []string{"start destroyed (see #13)", "hit erased (see #12)", "hit ok", "hit erased (see #12)"}
	if got := fates(q); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	o := w.order(q)
	w.export(o)
	if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	// A file that no record explains.
	if err := os.Remove(filepath.Join(w.dir, gone)); err != nil {
		t.Fatal(err)
	}
	if got := fates(q); got[1] != "hit MISSING" {
		t.Errorf("got %q", got)
	}
	o = w.order(q)
	w.export(o)
	if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 1 || !strings.Contains(out, "no record says why") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// Nothing is written where the record of it fails, and nothing half is left.
//
// Clause: rn-share
func TestNothingIsHandedOutOffTheRecord(t *testing.T) {
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	broken := errors.New("broken")
	_, err := w.source().Export(t.Context(), o, func(_ context.Context, _ evidence.Kind, _ any) (int64, evidence.ID, error) {
		for _, name := range filesOf(t, filepath.Dir(o.Out)) {
			t.Errorf("%s was there before the record", name)
		}
		return 0, evidence.ID{}, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	for _, spoil := range []func(*Order){
		func(o *Order) { o.Recipient = " " },
		func(o *Order) { o.Who = "" },
		func(o *Order) { o.Purpose = "" },
		func(o *Order) { o.Basis = "\t" },
		func(o *Order) { o.Query = Query{} },
		func(o *Order) { o.Query = Query{Subject: "nobody"} },
		func(o *Order) { o.Out = t.TempDir() },
	} {
		o := w.order(Query{Subject: "alice"})
		spoil(&o)
		_, err := w.source().Export(t.Context(), o, func(context.Context, evidence.Kind, any) (int64, evidence.ID, error) {
			t.Error("what is refused was recorded")
			return 0, evidence.ID{}, broken
		})
		if err == nil {
			t.Errorf("not refused: %+v", o)
		}
	}
	if left, err := filepath.Glob(o.Out + "*"); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// The export stands in the log twice: what is to be handed out, before, and by which hash the package
// is known again, after.
//
// Clause: rn-share
func TestExportIsOnRecord(t *testing.T) {
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	x := w.export(o)
	var before HandOutBody
	var after ExportedBody
	seen := 0
	err := evidence.Walk(w.dir, nil, func(e evidence.Entry) error {
		if e.Kind != evidence.KindExport {
			return nil
		}
		seen++
		if e.Index == x.Export {
			return json.Unmarshal(e.Body, &before)
		}
		return json.Unmarshal(e.Body, &after)
	})
	if err != nil || seen != 2 {
		t.Fatalf("%d records, %v", seen, err)
	}
	if before.Who != o.Who || before.Recipient != o.Recipient || before.Basis != o.Basis || before.Purpose != o.Purpose || before.Records != 2 || !before.Scope.Content {
		t.Errorf("%+v", before)
	}
	if len(before.Scope.Subject) != 16 || strings.Contains(fmt.Sprint(before), "alice") {
		t.Errorf("the record names the user: %+v", before)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(read(t, o.Out, "tagmanifest-sha256.txt"))); after.TagManifest != want || after.Export == "" || after.Files == 0 {
		t.Errorf("%+v, want the hash %s", after, want)
	}
}

// bagit.py, which others wrote, accepts a package where it is installed.
func TestBagItAgrees(t *testing.T) {
	if exec.Command("python3", "-c", "import bagit").Run() != nil {
		t.Skip("no bagit.py on this machine")
	}
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	w.export(o)
	if out, code := tool(t, "python3", "-m", "bagit", "--validate", o.Out); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}
