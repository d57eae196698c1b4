package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// minKey is the shortest key that keeps the users behind their pseudonyms from
// being found by trying ids.
const minKey = 32

// maxKey is as much as is read of a key file; more adds nothing to a key.
const maxKey = 4096

// pseudonyms names users and pushes in Redis: by the beginning of an HMAC under
// a secret key, so that who reads Redis learns no id and cannot test a guess.
//
// Clause: push-privacy
// Redis holds no user id, no push id and no text: only keyed pseudonyms, times and codes.
type pseudonyms struct {
	id   string // of the key: names it without telling it
	macs sync.Pool
}

type mac struct {
	hash.Hash
	sum [sha256.Size]byte
}

func readPseudonyms(file string) (*pseudonyms, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("pseudonym_key_file: %w; %s", err, makeKey)
	}
	key, err := io.ReadAll(io.LimitReader(f, maxKey))
	_ = f.Close() // only read from
	if err != nil {
		return nil, fmt.Errorf("pseudonym_key_file: %w", err)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("pseudonym_key_file: %s has %d bytes, a key needs %d or more; %s", file, len(key), minKey, makeKey)
	}
	return newPseudonyms(key), nil
}

func newPseudonyms(key []byte) *pseudonyms {
	p := new(pseudonyms)
	p.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, key)} }
	id := p.of('k', nil)
	p.id = hex.EncodeToString(id[:4])
	return p
}

// of returns the keyed hash of an id. What keeps a user's id apart from the same
// bytes as a push's id.
func (p *pseudonyms) of(what byte, id []byte) [sha256.Size]byte {
	m := p.macs.Get().(*mac)
	defer p.macs.Put(m)
	m.Reset()
	m.sum[0] = what
	m.Write(m.sum[:1])
	m.Write(id)
	m.Sum(m.sum[:0])
	return m.sum
}

// user returns the pseudonym of a user: 96 bits in 16 characters.
func (p *pseudonyms) user(id []byte) string {
	sum := p.of('u', id)
	var b [16]byte
	base64.RawURLEncoding.Encode(b[:], sum[:12])
	return string(b[:])
}

// push returns the mark of a push: 64 bits. In a log of n entries a new push is
// taken for an old one with a chance of n in 2^64.
func (p *pseudonyms) push(id []byte) uint64 {
	sum := p.of('p', id)
	return binary.BigEndian.Uint64(sum[:])
}

// public returns a mark as others may see it, beside the id of the user. It is not
// what stands in Redis: who reads both must not learn whose log that is.
func (p *pseudonyms) public(mark uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], mark)
	sum := p.of('m', b[:])
	return hex.EncodeToString(sum[:8])
}

// The keys of a user. The braces make a Redis Cluster keep both in one place.
func profileKey(pseudonym string) string { return "pg:{" + pseudonym + profileSuffix }
func logKey(pseudonym string) string     { return "pg:{" + pseudonym + logSuffix }

const (
	profileSuffix = "}:c"
	logSuffix     = "}:q"
)
