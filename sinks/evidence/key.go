package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// key is the log's signing key. Its name is the log's origin, so that a key can
// sign for no other log by mistake.
type key struct {
	signer   note.Signer
	verifier note.Verifier
	public   string // the verifier's encoding: what a stranger needs
	created  bool
}

// tooOpen are the permission bits a key file must not have. Reading by the group
// is allowed: that is how orchestrators hand secrets to processes without root.
const tooOpen fs.FileMode = 0o027

// loadKey reads the key file. If there is none and the log is new it makes one.
func loadKey(c *calls, path, origin string, newLog bool) (*key, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !newLog {
			return nil, fmt.Errorf("read evidence key: %w; the log exists and was signed with it: put it back, or start a new generation", err)
		}
		return createKey(c, path, origin)
	}
	if err != nil {
		return nil, fmt.Errorf("read evidence key: %w", err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read evidence key: %w", err)
	}
	if fi.Mode().Perm()&tooOpen != 0 {
		return nil, fmt.Errorf("evidence key %s has mode %04o, so others can use it; run: chmod 600 %s", path, fi.Mode().Perm(), path)
	}
	k, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("evidence key %s: %w", path, err)
	}
	if k.signer.Name() != origin {
		return nil, fmt.Errorf("evidence key %s is for the log %s, this log is %s; name the key of this log, or a file that does not exist yet for a new one", path, k.signer.Name(), origin)
	}
	if newLog {
		// An earlier start may have died after it named the file and before the name
		// was durable. Where keys are mounted read-only there is nothing to sync.
		_ = syncDir(c, filepath.Dir(path))
	}
	return k, nil
}

// createKey makes the key of a new log. If the process dies before the file has
// its name, the next start makes another one: nothing was signed yet.
func createKey(c *calls, path, origin string) (*key, error) {
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("make evidence key: %w", err)
	}
	if err := writeFile(c, path, []byte(secret+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write evidence key: %w", err)
	}
	k, err := parseKey(secret)
	if err != nil {
		return nil, fmt.Errorf("make evidence key: %w", err)
	}
	k.created = true
	return k, nil
}

func parseKey(secret string) (*key, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, errors.New(`not a signing key; it is one line that begins with "PRIVATE+KEY+"`)
	}
	// NewSigner has checked the form: PRIVATE+KEY+name+hash+data, where data is
	// the base64 of one byte for the algorithm and the seed, and may itself have
	// a "+" in it.
	parts := strings.SplitN(secret, "+", 5)
	data, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(data) != 1+ed25519.SeedSize {
		return nil, errors.New("not an Ed25519 signing key")
	}
	public := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &key{signer: signer, verifier: v, public: vkey}, nil
}

// checkOrigin refuses what cannot name a log. The form is
// <name>/evidence/<instance>/<generation>; the last part is also a directory.
func checkOrigin(origin string) (generation string, err error) {
	parts := strings.Split(origin, "/")
	n := len(parts)
	bad := n < 4 || parts[max(0, n-3)] != "evidence" || !isFileName(parts[n-1]) ||
		strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r == '+' || r > '~' })
	for _, p := range parts {
		bad = bad || p == ""
	}
	if bad {
		return "", fmt.Errorf("evidence origin %q; use <name>/evidence/<instance>/<generation>, in printable ASCII without spaces or +", origin)
	}
	return parts[n-1], nil
}
