package anchor

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// ThirdParties returns what a verifier of logs and packages checks the signatures of
// others with: witnesses are keys as they publish them, <name>+<hash>+<key>, and ca the PEM
// certificates from which those of a time-stamp authority come, nil for none.
func ThirdParties(witnesses []string, ca []byte) (evidence.ThirdParties, error) {
	var t evidence.ThirdParties
	var keys []note.Verifier
	for _, w := range witnesses {
		v, err := newCosignatureVerifier(w)
		if err != nil {
			return t, fmt.Errorf("witness: %w", err)
		}
		keys = append(keys, v)
		if !slices.Contains(t.Witnesses, v.name) {
			t.Witnesses = append(t.Witnesses, v.name)
		}
	}
	t.Cosigned = func(witness string, checkpoint []byte) (time.Time, error) {
		return cosigned(witness, checkpoint, keys)
	}
	if ca != nil {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return t, errors.New("there is no certificate in PEM")
		}
		t.Stamped = func(token, data []byte) (time.Time, error) { return CheckToken(answered(token), data, roots) }
	}
	return t, nil
}

// cosigned checks the lines of a witness in a checkpoint, with those of keys that are the
// witness's, and returns when it signed.
func cosigned(witness string, checkpoint []byte, keys []note.Verifier) (time.Time, error) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(v note.Verifier) bool { return v.Name() != witness })
	n, err := note.Open(checkpoint, note.VerifierList(keys...))
	switch _, unverified := errors.AsType[*note.UnverifiedNoteError](err); {
	case unverified:
		return time.Time{}, errors.New("it is not signed by the witness's key that was given")
	case err != nil:
		if _, invalid := errors.AsType[*note.InvalidSignatureError](err); invalid {
			return time.Time{}, errors.New("the witness's signature is not right")
		}
		return time.Time{}, errors.New("it is not a signed note")
	}
	sig, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(sig) < 12 {
		return time.Time{}, errors.New("it is not a signed note") // Open has read it
	}
	// Four bytes name the key; then come the seconds.
	return time.Unix(int64(binary.BigEndian.Uint64(sig[4:])), 0).UTC(), nil
}

// answered returns the token of an authority's whole answer, which is what people keep
// in files; anything else is taken for a token.
func answered(b []byte) []byte {
	var reply timeStampResp
	if parse(b, &reply) == nil && reply.Status.Status <= 1 && len(reply.Token.FullBytes) > 0 {
		return reply.Token.FullBytes
	}
	return b
}
