package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	bigend "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
)

// Of what a witness has signed weir evidence verify says how many records were there when, if it is given
// the witness's key as text or as a file; without, that nothing was checked; and with another key it fails.
func TestVerifySaysWhatAWitnessSigned(t *testing.T) {
	witness := func() (vkey string, sign func(text string) string) {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		data := append([]byte{4}, public...)
		hash := sha256.Sum256(append([]byte("w.example\n"), data...))
		return fmt.Sprintf("w.example+%x+%s", hash[:4], base64.StdEncoding.EncodeToString(data)), func(text string) string {
			sig := ed25519.Sign(private, []byte("cosignature/v1\ntime 1795766400\n"+text))
			return "— w.example " + base64.StdEncoding.EncodeToString(append(bigend.BigEndian.AppendUint64(hash[:4:4], 1795766400), sig...)) + "\n"
		}
	}
	vkey, sign := witness()
	other, _ := witness()
	dir := filepath.Join(t.TempDir(), "evidence")
	l, err := evidence.Open(evidence.Options{Dir: dir, Origin: "example.net/evidence/0/1"})
	if err != nil {
		t.Fatal(err)
	}
	msg := string(l.Checkpoint())
	text, _, _ := strings.Cut(msg, "\n\n")
	b, err := json.Marshal(anchor.Body{Cosigned: []anchor.Cosigned{{Witness: "w.example", Checkpoint: msg + sign(text+"\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Append(t.Context(), []evidence.Record{{ID: evidence.ID{1}, Kind: evidence.KindAnchor, Class: evidence.ClassAudit, Body: b}})
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "witness.vkey")
	if err := os.WriteFile(file, []byte(vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		witness []string
		want    string
		fails   bool
	}{
		{"no key", nil, "  witness   w.example: 1 head, not checked: no key given\n", false},
		{"a key", []string{vkey}, "  witness   w.example: 1 head, 1 with a good signature; the first 1 record was there at 2026-11-27T08:00:00Z (record 1 of log/1/seg/", false},
		{"a file", []string{file}, "; the first 1 record was there at 2026-11-27T08:00:00Z (", false},
		{"another key", []string{other}, "  found     ALTERED: record 1: the head that the witness w.example is said to have signed: it is not signed by the witness's key that was given (", true},
	} {
		var out, errs bytes.Buffer
		c := verifyCmd{Dir: dir, Witness: tt.witness}
		if err := c.Run(t.Context(), streams{out: &out, err: &errs}); (err != nil) != tt.fails || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, &out)
		}
	}
}
