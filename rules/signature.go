package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/tools/txtar"
)

// SignatureFile is the name of the file in which a signed rule set has its signature: a signed note
// (golang.org/x/mod/sumdb/note, Ed25519) of three lines,
//
//	weir rule set
//	<SHA-256 of the bundle without this file, in hex>
//	<time of signing, RFC 3339>
const SignatureFile = "rules.sig"

const signatureHeader = "weir rule set"

// ErrUnsigned is what a rule set without signature is refused with where a key is given.
var ErrUnsigned = errors.New("the rule set is not signed, and a verification key is configured; sign it with weir rules sign")

// Sign returns the bundle with a signature, in place of the one that it may have, and the text of
// the signature's file.
func (b *Bundle) Sign(s note.Signer, now time.Time) (*Bundle, []byte, error) {
	text := fmt.Sprintf("%s\n%s\n%s\n", signatureHeader, b.Digest(), now.UTC().Format(time.RFC3339))
	signed, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		return nil, nil, fmt.Errorf("sign rules: %w", err)
	}
	c := &Bundle{files: slices.DeleteFunc(slices.Clone(b.files), func(f txtar.File) bool { return f.Name == SignatureFile })}
	c.files = append(c.files, txtar.File{Name: SignatureFile, Data: signed})
	c.sort()
	return c, signed, nil
}

// Verify checks that the bundle as it is was signed by the holder of the key. It returns when.
func (b *Bundle) Verify(v note.Verifier) (time.Time, error) {
	i := slices.IndexFunc(b.files, func(f txtar.File) bool { return f.Name == SignatureFile })
	if i < 0 {
		return time.Time{}, ErrUnsigned
	}
	n, err := note.Open(b.files[i].Data, note.VerifierList(v))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: the signature is none of the key %s: %w", SignatureFile, v.Name(), err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != signatureHeader {
		return time.Time{}, fmt.Errorf("%s: the note signs something else than a rule set", SignatureFile)
	}
	at, err := time.Parse(time.RFC3339, lines[2])
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", SignatureFile, err)
	}
	if lines[1] != b.Digest() {
		return time.Time{}, fmt.Errorf("%s: the rules were changed since they were signed on %s; sign them again with weir rules sign", SignatureFile, lines[2])
	}
	return at, nil
}
