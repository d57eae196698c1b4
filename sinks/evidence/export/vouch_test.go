package export

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// others are third parties whose signatures are words; package anchor has real ones.
func others() evidence.ThirdParties {
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	good := base64.StdEncoding.EncodeToString([]byte("good!"))
	return evidence.ThirdParties{
		Witnesses: []string{"w"},
		Cosigned: func(_ string, checkpoint []byte) (time.Time, error) {
			if !bytes.Contains(checkpoint, []byte("— w "+good+"\n")) {
				return time.Time{}, errors.New("a bad signature")
			}
			return at, nil
		},
		Stamped: func(token, data []byte) (time.Time, error) {
			if !bytes.Equal(token, append([]byte("stamp of "), data...)) {
				return time.Time{}, errors.New("a bad token")
			}
			return at, nil
		},
	}
}

func witnessed(checkpoint []byte, signature string) string {
	return string(checkpoint) + "— w " + base64.StdEncoding.EncodeToString([]byte(signature)) + "\n"
}

// What others have signed, in the records of a package, beside its signed head and over the package
// itself, is checked with their keys: how many records were there when, and what is false is found.
func TestPackageSaysWhatOthersSigned(t *testing.T) {
	type anchored struct {
		Cosigned []map[string]string `json:"cosigned"`
	}
	// head is what is signed of the first records of a log: as it is, or with another root.
	for _, tt := range []struct {
		name      string
		signature string
		token     string
		root      func(w *world, cp []byte) []byte
		word      evidence.Verdict
		want      string
	}{
		{name: "all good", signature: "good!", token: "stamp of "},
		{name: "a bad signature", signature: "bad!!", token: "stamp of ", word: evidence.Altered, want: "a bad signature"},
		{name: "a bad token", signature: "good!", token: "stump of ", word: evidence.Altered, want: "a bad token"},
		{name: "another history", signature: "good!", token: "stamp of ", word: evidence.Fork, want: "has another root than the leaves here", root: func(w *world, cp []byte) []byte {
			h, err := evidence.ParseCheckpoint(cp, "")
			if err != nil {
				t.Fatal(err)
			}
			msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", h.Origin, h.Size, tlog.Hash{1})}, w.order(Query{Subject: "alice"}).Signer)
			if err != nil {
				t.Fatal(err)
			}
			return msg
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := full(t, true)
			w.close()
			cp, err := os.ReadFile(filepath.Join(w.dir, "log/1/checkpoint"))
			if err != nil {
				t.Fatal(err)
			}
			h, err := evidence.ParseCheckpoint(cp, "")
			if err != nil {
				t.Fatal(err)
			}
			if tt.root != nil {
				cp = tt.root(w, cp)
			}
			w.open()
			w.append(statement(evidence.KindAnchor, evidence.ClassAudit, anchored{[]map[string]string{{"witness": "w", "checkpoint": witnessed(cp, tt.signature)}}}))
			w.close()
			day := w.now.Truncate(24 * 3600e9)
			o := w.order(Query{From: day, To: day.AddDate(0, 0, 1)})
			x := w.export(o)
			// Whoever hands it over has it stamped.
			write(t, o.Out, "signatures/authority.tsr", append([]byte(tt.token), read(t, o.Out, "tagmanifest-sha256.txt")...))

			r, err := Verify(o.Out, []string{o.VerifierKey}, others())
			if err != nil {
				t.Fatal(err)
			}
			v := r.Logs[0].Vouched
			if tt.word != "" {
				if r.Alarms != 1 || r.FirstBad.Verdict != tt.word || !strings.Contains(r.FirstBad.Detail, tt.want) || r.FirstBad.File == "" {
					t.Errorf("%d alarms, %+v", r.Alarms, r.FirstBad)
				}
				return
			}
			if !r.OK() || len(v) != 2 || v[0].By != "w" || v[0].Checked != 1 || v[0].Size != h.Size || v[1].Checked != 1 || v[1].Size != x.Size || v[1].File != "signatures/authority.tsr" {
				t.Errorf("%v, %+v", r.FirstBad, v)
			}
			// Nobody's key: said, and no alarm.
			if r, err = Verify(o.Out, []string{o.VerifierKey}, evidence.ThirdParties{}); err != nil || !r.OK() {
				t.Fatal(err, r.FirstBad)
			}
			for i, want := range []string{"1 head, not checked: no key given", "1 head, not checked: no certificate given"} {
				if got := r.Logs[0].Vouched[i].String(); got != want {
					t.Error(got)
				}
			}
			// verify.py leaves other signatures to others.
			if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 0 {
				t.Errorf("exit %d\n%s", code, out)
			}
		})
	}
}

// witnessKey is one of a witness with a real signature, as verify.py checks it.
func witnessKey(t *testing.T) (vkey string, line func(checkpoint []byte, at int64) string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := append([]byte{4}, public...)
	hash := sha256.Sum256(append([]byte("w\n"), data...))
	return fmt.Sprintf("w+%x+%s", hash[:4], base64.StdEncoding.EncodeToString(data)), func(checkpoint []byte, at int64) string {
		text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
		sig := ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))
		sig = append(binary.BigEndian.AppendUint64(hash[:4:4], uint64(at)), sig...)
		return string(checkpoint) + "— w " + base64.StdEncoding.EncodeToString(sig) + "\n"
	}
}

// Every package holds of each third party a head with its signature, the first that covers the records
// asked for or else the latest, and a proof that the signed head begins with it: Weir and verify.py say how
// many records were there when. The order of a person's records has nothing to do with it.
func TestPackageHoldsWitnessedHeads(t *testing.T) {
	vkey, sign := witnessKey(t)
	third := evidence.ThirdParties{Witnesses: []string{"w"}, Cosigned: func(_ string, msg []byte) (time.Time, error) {
		if !bytes.Contains(msg, []byte("— w ")) {
			return time.Time{}, errors.New("no signature")
		}
		return time.Unix(1795766400, 0), nil
	}}
	w := full(t, true)
	var sizes []int64
	// A witness signs after 11 records, and after three more, and after three more.
	for round := range int64(3) {
		w.close()
		cp, err := os.ReadFile(filepath.Join(w.dir, "log/1/checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := evidence.ParseCheckpoint(cp, "")
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, h.Size)
		w.open()
		w.append(statement(evidence.KindAnchor, evidence.ClassAudit, map[string]any{"cosigned": []map[string]string{{"witness": "w", "checkpoint": sign(cp, 1795766400+round)}}}),
			hit(fmt.Sprintf("x%d", round), "carol", "illegal.drugs", "d-1", "more"))
	}
	w.close()
	for _, tt := range []struct {
		name string
		q    Query
		size int64
	}{
		{"covered by the first", Query{Subject: "alice"}, sizes[0]},
		{"covered by the second", Query{Event: "x0"}, sizes[1]},
		{"covered by none", Query{Subject: "carol"}, sizes[2]},
	} {
		o := w.order(tt.q)
		w.export(o)
		r, err := Verify(o.Out, []string{o.VerifierKey}, third)
		if err != nil || !r.OK() {
			t.Fatal(tt.name, err, r)
		}
		if v := r.Logs[0].Vouched; len(v) != 1 || v[0].Heads != 1 || v[0].Size != tt.size {
			t.Errorf("%s: %+v, want a head of %d", tt.name, v, tt.size)
		}
		at := time.Unix(1795766400+int64(slices.Index(sizes, tt.size)), 0).UTC().Format(time.RFC3339)
		said := fmt.Sprintf("witness w: the first %d records were there at %s", tt.size, at)
		if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--witness", vkey, o.Out); code != 0 || !strings.Contains(out, said) {
			t.Errorf("%s: exit %d, want %s\n%s", tt.name, code, said, out)
		}
		if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, o.Out); code != 0 || !strings.Contains(out, "not checked, no key given (--witness)") {
			t.Errorf("%s: exit %d\n%s", tt.name, code, out)
		}
		other, _ := witnessKey(t)
		if out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--witness", other, o.Out); code != 1 || !strings.Contains(out, "the witness w has not signed the head") {
			t.Errorf("%s: exit %d\n%s", tt.name, code, out)
		}

		// A proof that is none is found by both; without it nothing is proven.
		name := fmt.Sprintf("data/log/1/consistency/%d", tt.size)
		for how, spoil := range map[string]func(dir string) error{
			"changed": func(dir string) error {
				return os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("A", 43)+"=\n"), 0o600)
			},
			"more": func(dir string) error { return os.WriteFile(filepath.Join(dir, name+"7"), nil, 0o600) },
			"gone": func(dir string) error { return os.Remove(filepath.Join(dir, name)) },
		} {
			dir := copyDir(t, o.Out)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			resign(t, dir, o.Signer)
			r, err := Verify(dir, []string{o.VerifierKey}, third)
			if err != nil || how != "gone" && r.OK() {
				t.Errorf("%s, the proof %s: %v, %+v", tt.name, how, err, r)
			}
			if how == "gone" && tt.size == sizes[0] && r.Logs[0].Vouched[0].Size != 0 { // the others can be computed from the leaves
				t.Errorf("%s, the proof gone: believed: %s", tt.name, &r.Logs[0].Vouched[0])
			}
			out, code := tool(t, "python3", "files/verify.py", "--key", o.VerifierKey, "--witness", vkey, dir)
			if how != "gone" && code != 1 || how == "gone" && strings.Contains(out, said) {
				t.Errorf("%s, the proof %s: exit %d\n%s", tt.name, how, code, out)
			}
		}
	}
}

// verify.sh checks a time-stamp of the package with openssl, where it is given the authority's certificates.
func TestPackageTimestampIsCheckedWithoutWeir(t *testing.T) {
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		for i, a := range args {
			if _, err := os.Stat(filepath.Join(dir, a)); err == nil || strings.Contains(a, ".") && !strings.Contains(a, "/") {
				args[i] = filepath.Join(dir, a)
			}
		}
		if out, code := tool(t, "openssl", args...); code != 0 {
			t.Fatalf("openssl %q\n%s", args, out)
		}
	}
	write(t, dir, "tsa.ext", []byte("extendedKeyUsage=critical,timeStamping\n"))
	write(t, dir, "tsa.cnf", []byte("[tsa]\ndefault_tsa = it\n[it]\nserial = "+dir+"/serial\ndefault_policy = 1.2.3.4\ndigests = sha256\nsigner_digest = sha256\n"))
	write(t, dir, "serial", []byte("01\n"))
	for _, name := range []string{"ca", "other"} {
		openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", name+".key", "-out", name+".pem", "-subj", "/CN="+name, "-days", "9")
	}
	openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
	openssl("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "tsa.ext", "-days", "9", "-out", "tsa.pem")

	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	w.export(o)
	stamp := filepath.Join(o.Out, "signatures/authority.tsr")
	openssl("ts", "-query", "-data", filepath.Join(o.Out, "tagmanifest-sha256.txt"), "-sha256", "-cert", "-out", "query.tsq")
	openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-inkey", "tsa.key", "-signer", "tsa.pem", "-out", stamp)
	script, key := filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, o.VerifierKey)
	for _, tt := range []struct {
		ca   string
		code int
		want string
	}{
		{"", 0, "not checked: signatures/authority.tsr; give the authority's certificates as STAMP_CA\n"},
		{"other.pem", 1, "ALARM: openssl: signatures/authority.tsr says that the package was there at "},
		{"ca.pem", 0, "ok     openssl: signatures/authority.tsr says that the package was there at "},
	} {
		t.Setenv("STAMP_CA", "")
		if tt.ca != "" {
			t.Setenv("STAMP_CA", filepath.Join(dir, tt.ca))
		}
		if out, code := tool(t, "sh", script, key); code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("certificates %q: exit %d\n%s", tt.ca, code, out)
		}
	}
	spoilt := read(t, o.Out, "signatures/authority.tsr")
	spoilt[len(spoilt)-20] ^= 1
	write(t, o.Out, "signatures/authority.tsr", spoilt)
	if out, code := tool(t, "sh", script, key); code != 1 {
		t.Errorf("a spoilt time-stamp: exit %d\n%s", code, out)
	}
}
