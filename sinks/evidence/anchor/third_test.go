package anchor

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// line is the witness's signature line on a head, at a time.
func (w *witness) line(text string, at time.Time) string {
	sig := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
	sig = append(sig, ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at.Unix(), text))...)
	hash := cosignerHash(w.name, w.public())
	return fmt.Sprintf("— %s %s\n", w.name, base64.StdEncoding.EncodeToString(append(hash[:4:4], sig...)))
}

// signed returns a checkpoint as the holder of a log's key can write it.
func signed(t *testing.T, dir string, h evidence.Head) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "log.1.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", h.Origin, h.Size, h.Root)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg)
}

func third(t *testing.T, w *witness, a *authority) evidence.ThirdParties {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(a.dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := ThirdParties([]string{w.vkey()}, pem)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func verify(t *testing.T, dir string, x evidence.ThirdParties) *evidence.Report {
	t.Helper()
	r, err := evidence.VerifyAll(dir, nil, evidence.VerifyOptions{ThirdParties: x})
	if err != nil || len(r.Logs) != 1 {
		t.Fatal(err)
	}
	return r.Logs[0]
}

// What a witness and an authority have signed is checked with their keys, and a verifier says what that
// proves: how many records were there, and when. Without their keys it says that nothing was checked.
func TestVerifySaysWhatOthersSigned(t *testing.T) {
	w, s := newWitness(t)
	a := newAuthority(t, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "sha256")
	l := open(t, evidence.Options{Origin: origin("a")})
	w.knows(l.Log)
	c := newTestCosigner(t, w, s, l.Log)
	var sizes []int64
	for range 3 {
		l.grow(t, 5)
		if err := c.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, c.old)
	}
	head, err := evidence.ParseCheckpoint(l.Checkpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	stamper := a.stamper(l.Log)
	body, err := stamper.stamp(t.Context(), l.Checkpoint())
	if err == nil {
		head, err = evidence.ParseCheckpoint([]byte(body.Checkpoint), "")
	}
	if err == nil {
		err = record(t.Context(), l.Log, evidence.KindTimestamp, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.grow(t, 4)
	l.stop()

	r := verify(t, l.dir, third(t, w, a))
	if r.Alarms > 0 || len(r.Vouched) != 2 {
		t.Fatalf("%d alarms, %+v", r.Alarms, r)
	}
	by := r.Vouched[0]
	if by.By != w.name || by.Heads != 3 || by.Checked != 3 || by.Size != sizes[2] || time.Since(by.Time).Abs() > time.Hour || by.File == "" {
		t.Errorf("%+v, want a head of %d", by, sizes[2])
	}
	if want := fmt.Sprintf("3 heads, 3 with a good signature; the first %d records were there at 20", sizes[2]); !strings.HasPrefix(by.String(), want) {
		t.Error(by.String())
	}
	if x := r.Vouched[1]; x.By != "" || x.Heads != 1 || x.Checked != 1 || x.Size != head.Size || x.Time.UTC().Format(time.RFC3339Nano) != body.Time {
		t.Errorf("%+v, want a head of %d at %s", x, head.Size, body.Time)
	}

	r = verify(t, l.dir, evidence.ThirdParties{})
	if r.Alarms > 0 || len(r.Vouched) != 2 || r.Vouched[0].Size != 0 || r.Vouched[0].String() != "3 heads, not checked: no key given" || r.Vouched[1].String() != "1 head, not checked: no certificate given" {
		t.Errorf("%d alarms, %+v", r.Alarms, r.Vouched)
	}

	// A key of somebody who has signed nothing.
	other, _ := newWitness(t)
	other.name = "other.example"
	x, err := ThirdParties([]string{other.vkey()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r = verify(t, l.dir, x)
	if r.Alarms > 0 || len(r.Vouched) != 3 || r.Vouched[0].String() != "no head of this log with its signature is here" || r.Vouched[1].Checked != 0 {
		t.Errorf("%d alarms, %+v", r.Alarms, r.Vouched)
	}
}

// What is no signature of who is said to have signed is an alarm that names the record; so is a head
// of other records, which only the holder of the log's key can have had signed.
func TestVerifyFindsFalseSignaturesOfOthers(t *testing.T) {
	w, _ := newWitness(t)
	a := newAuthority(t, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "sha256")
	forger, _ := newWitness(t)
	now := time.Now()
	text := func(h evidence.Head) string { return fmt.Sprintf("%s\n%d\n%s\n", h.Origin, h.Size, h.Root) }
	cosigned := func(msg string) Body { return Body{Cosigned: []Cosigned{{w.name, msg}}} }
	stamp := func(l *evidence.Log) *TimestampBody {
		b, err := a.stamper(l).stamp(t.Context(), l.Checkpoint())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		kind evidence.Kind
		body func(l *signing, msg string, h evidence.Head) any
		word evidence.Verdict // with keys and certificates; and without, if it needs none
		none evidence.Verdict
		want string
	}{
		{"nothing false", evidence.KindAnchor, func(_ *signing, msg string, h evidence.Head) any {
			return cosigned(msg + w.line(text(h), now))
		}, "", "", ""},
		{"another one's key", evidence.KindAnchor, func(_ *signing, msg string, h evidence.Head) any {
			return cosigned(msg + forger.line(text(h), now))
		}, evidence.Altered, "", "it is not signed by the witness's key that was given"},
		{"a signature of another head", evidence.KindAnchor, func(_ *signing, msg string, h evidence.Head) any {
			h.Size--
			return cosigned(msg + w.line(text(h), now))
		}, evidence.Altered, "", "the witness's signature is not right"},
		{"no signature", evidence.KindAnchor, func(_ *signing, msg string, h evidence.Head) any {
			return cosigned(msg)
		}, evidence.Altered, "", "it is not signed by the witness's key that was given"},
		{"a head that the log did not sign", evidence.KindAnchor, func(_ *signing, msg string, h evidence.Head) any {
			return cosigned(strings.Replace(msg, fmt.Sprintf("\n%d\n", h.Size), fmt.Sprintf("\n%d\n", h.Size-1), 1))
		}, evidence.Altered, evidence.Altered, "its signature is not right"},
		{"no head", evidence.KindAnchor, func(*signing, string, evidence.Head) any { return cosigned("x") }, evidence.Altered, evidence.Altered, "it is not a signed note"},
		{"another history, signed", evidence.KindAnchor, func(l *signing, _ string, h evidence.Head) any {
			h.Size, h.Root = h.Size-1, tlog.Hash{7}
			return cosigned(signed(t, l.dir, h) + w.line(text(h), now))
		}, evidence.Fork, evidence.Fork, "was signed with another root than the records have"},
		{"a token over another head", evidence.KindTimestamp, func(l *signing, msg string, _ evidence.Head) any {
			b := stamp(l.Log)
			b.Checkpoint = msg + "— other AAAAAAAA\n"
			return b
		}, evidence.Altered, "", "it is over something else"},
		{"another time", evidence.KindTimestamp, func(l *signing, _ string, _ evidence.Head) any {
			b := stamp(l.Log)
			b.Time = "2020-01-01T00:00:00Z"
			return b
		}, evidence.Altered, "", "the time-stamp token of 2020-01-01T00:00:00Z: it says 20"},
		{"no token", evidence.KindTimestamp, func(l *signing, _ string, _ evidence.Head) any {
			b := stamp(l.Log)
			b.Token = []byte("token")
			return b
		}, evidence.Altered, "", "not the DER that RFC 3161 asks for"},
		{"no body", evidence.KindTimestamp, func(*signing, string, evidence.Head) any { return []int{1} }, evidence.Altered, evidence.Altered, "its body cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t, evidence.Options{Origin: origin("a")})
			l.grow(t, 4)
			msg := string(l.Checkpoint())
			h, err := evidence.ParseCheckpoint([]byte(msg), "")
			if err != nil {
				t.Fatal(err)
			}
			index := l.Size()
			if err := record(t.Context(), l.Log, tt.kind, tt.body(l, msg, h)); err != nil {
				t.Fatal(err)
			}
			l.grow(t, 2)
			l.stop()
			for with, word := range map[bool]evidence.Verdict{true: tt.word, false: tt.none} {
				var x evidence.ThirdParties
				if with {
					x = third(t, w, a)
				}
				r := verify(t, l.dir, x)
				if word == "" {
					if r.Alarms != 0 {
						t.Errorf("with keys %v: %s", with, r.FirstBad)
					}
					continue
				}
				if r.Alarms != 1 || r.FirstBad.Verdict != word || !strings.Contains(r.FirstBad.Detail, tt.want) ||
					r.FirstBad.Index != index && !strings.Contains(r.FirstBad.File, fmt.Sprintf("record %d of ", index)) {
					t.Errorf("with keys %v: %d alarms, %+v, want %s: %s in record %d", with, r.Alarms, r.FirstBad, word, tt.want, index)
				}
				for _, v := range r.Vouched {
					if v.Size != 0 {
						t.Errorf("with keys %v: believed: %s", with, &v)
					}
				}
			}
		})
	}
}

// A signature of a witness that stands in the checkpoint itself is checked, too.
func TestVerifyChecksTheCheckpointsLines(t *testing.T) {
	w, _ := newWitness(t)
	l := open(t, evidence.Options{Origin: origin("a")})
	l.grow(t, 4)
	l.stop()
	name := filepath.Join(l.dir, "log/1/checkpoint")
	msg, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(msg), "\n\n")
	x, err := ThirdParties([]string{w.vkey()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	for what, tt := range map[string]struct {
		line   string
		alarms int64
		size   int64
	}{
		"signed": {w.line(text+"\n", at), 0, 5},
		"false":  {w.line(text, at), 1, 0},
	} {
		if err := os.WriteFile(name, append(msg[:len(msg):len(msg)], tt.line...), 0o600); err != nil {
			t.Fatal(err)
		}
		r := verify(t, l.dir, x)
		if r.Alarms != tt.alarms || r.Vouched[0].Size != tt.size || tt.size > 0 && !r.Vouched[0].Time.Equal(at) || tt.alarms > 0 && !strings.HasSuffix(r.FirstBad.File, "checkpoint") {
			t.Errorf("%s: %d alarms, %+v", what, r.Alarms, r.Vouched)
		}
	}
}

// Keys and certificates that are none are refused, whatever else is given.
func TestThirdPartiesRefuses(t *testing.T) {
	if _, err := ThirdParties([]string{"example.net+00000000+AAAA"}, nil); err == nil || !strings.Contains(err.Error(), "not the key of an Ed25519 cosigner") {
		t.Error(err)
	}
	if _, err := ThirdParties(nil, []byte{}); err == nil || !strings.Contains(err.Error(), "there is no certificate in PEM") {
		t.Error(err)
	}
	b, err := json.Marshal(evidence.Vouched{By: "w", Heads: 1})
	if err != nil || string(b) != `{"by":"w","heads":1,"checked":0,"size":0}` {
		t.Errorf("%s, %v", b, err)
	}
}

// An authority's answer as openssl writes it into a file is checked like the token in it, and what the
// script in a package says of it is the same.
func TestAnswerInAFile(t *testing.T) {
	a := newAuthority(t, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "sha256")
	data := []byte("the list of the files\n")
	if err := os.WriteFile(filepath.Join(a.dir, "data"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	a.openssl("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query.tsq")
	a.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-inkey", "tsa.key", "-signer", "tsa.pem", "-chain", "middle.pem", "-out", "reply.tsr")
	reply, err := os.ReadFile(filepath.Join(a.dir, "reply.tsr"))
	if err != nil {
		t.Fatal(err)
	}
	w, _ := newWitness(t)
	x := third(t, w, a)
	if at, err := x.Stamped(reply, data); err != nil || time.Since(at).Abs() > time.Hour {
		t.Error(at, err)
	}
	if _, err := x.Stamped(reply, append(data, '\n')); err == nil || !strings.Contains(err.Error(), "over something else") {
		t.Error(err)
	}
}
