package keys

import (
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Escrow keeps the keys of a person who was erased for who may audit that later. The
// keys are sealed to a public key of the compliance department, whose private key is
// not on this machine: HPKE (RFC 9180) with ML-KEM-768 and X25519 together, so that
// what is recorded today stays closed to the computers of later years.
const (
	escrowDir    = "escrow"
	escrowSuffix = ".escrow"

	escrowPublic  = "weir-escrow-public:"
	escrowPrivate = "weir-escrow-private:"

	// maxEscrow is the largest escrow file that is read: a hundred thousand keys.
	maxEscrow = 32 << 20
)

// EscrowKey is a public key that keys are sealed to.
type EscrowKey struct{ k hpke.PublicKey }

// NewEscrowKey makes a pair of keys in the form in which people keep them. It is for
// a machine that is not connected to anything.
func NewEscrowKey() (private, public string, err error) {
	k, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return "", "", fmt.Errorf("make escrow key: %w", err)
	}
	b, err := k.Bytes()
	if err != nil {
		return "", "", fmt.Errorf("make escrow key: %w", err)
	}
	return escrowPrivate + base64.StdEncoding.EncodeToString(b),
		escrowPublic + base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}

// ParseEscrowKey reads a public key as [NewEscrowKey] returns it.
func ParseEscrowKey(public string) (*EscrowKey, error) {
	s, ok := strings.CutPrefix(strings.TrimSpace(public), escrowPublic)
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !ok {
		return nil, fmt.Errorf("not a public key for escrow; it is one line that begins with %q", escrowPublic)
	}
	k, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("not a public key for escrow: %w", err)
	}
	return &EscrowKey{k}, nil
}

// escrow is an escrow file. All but Sealed is authenticated with it, and for who
// has no key: which file is whose, and until when.
type escrow struct {
	Format  int      `json:"format"`
	Expires string   `json:"expires"` // yyyy-mm-dd, the last day on which it is kept
	Handles []string `json:"handles"`
	Sealed  []byte   `json:"sealed"`
}

const dayForm = "2006-01-02"

// info binds what is sealed to what stands beside it.
func (e *escrow) info() []byte {
	return []byte("ev1 escrow\n" + e.Expires + "\n" + strings.Join(e.Handles, "\n"))
}

// In an escrow file each key is: handle 16, key 32, length of the class 1, class.
func appendEscrowed(b []byte, class string, h Handle, key []byte) []byte {
	b = append(append(b, h[:]...), key...)
	return append(append(b, uint8(len(class))), class...)
}

// Escrow seals the keys that are named to a public key, until the end of a day, and
// returns the name of the file that holds them, below the directory of the keys. It
// is done before the keys are shredded. Keys that are gone already are left out; it
// fails if none is left.
//
// If the process dies before it returns, the file may be there; it goes when it
// expires.
func (r *Ring) Escrow(handles []Handle, to *EscrowKey, until time.Time) (name string, err error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	if name, err = r.escrow(handles, to, until); err != nil {
		return "", fmt.Errorf("put keys in escrow: %w", err)
	}
	return name, nil
}

func (r *Ring) escrow(handles []Handle, to *EscrowKey, until time.Time) (string, error) {
	if err := r.writable(); err != nil {
		return "", err
	}
	if day(until) < day(r.o.Now()) {
		return "", fmt.Errorf("it would have expired on %s; use a day to come", until.UTC().Format(dayForm))
	}
	r.settle()
	places, err := r.ofHandles(handles)
	if err != nil {
		return "", err
	}
	var plain []byte
	defer func() { clear(plain) }()
	e := escrow{Format: 1, Expires: until.UTC().Format(dayForm)}
	for _, p := range places {
		if slices.Contains(e.Handles, p.h.String()) {
			continue // put aside twice, for longer the second time
		}
		key, err := r.keyAt(p)
		if err != nil {
			return "", err
		}
		plain = slices.Grow(plain, 49+len(p.class)) // growing leaves a copy; keep it to few
		plain = appendEscrowed(plain, p.class, p.h, key)
		clear(key)
		e.Handles = append(e.Handles, p.h.String())
	}
	if len(e.Handles) == 0 {
		return "", errors.New("none of the keys is there any more")
	}
	if e.Sealed, err = hpke.Seal(to.k, hpke.HKDFSHA256(), hpke.AES256GCM(), e.info(), plain); err != nil {
		return "", err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(r.dir, escrowDir)
	if err := makeDir(r.calls, dir); err != nil {
		return "", err
	}
	var id [8]byte
	rand.Read(id[:])
	name := filepath.Join(escrowDir, e.Expires+"-"+hex.EncodeToString(id[:])+escrowSuffix)
	return name, writeFile(r.calls, filepath.Join(r.dir, name), b)
}

// keyAt returns a key from its place.
func (r *Ring) keyAt(p place) ([]byte, error) {
	f, err := os.Open(r.path(p.class, p.month, p.suffix))
	if err != nil {
		return nil, err
	}
	var e entry
	_, err = f.ReadAt(e[:], p.n*entrySize)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	damage := Damage{p.class, p.month, p.suffix == restrictedSuffix, p.n, p.h}
	if !e.sound() {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, damage)
	}
	by := r.generation(e.generation())
	if by == nil {
		return nil, fmt.Errorf("%w of generation %d: %v", ErrMaster, e.generation(), damage)
	}
	key, err := e.unwrap(p.class, by)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, damage)
	}
	return key, nil
}

// ExpireEscrow unlinks the escrow files whose day is over and returns their names.
// A copy elsewhere opens for as long as the private key is kept: it, too, has to go.
func (r *Ring) ExpireEscrow() ([]string, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	names, err := r.expireEscrow()
	if err != nil {
		return names, fmt.Errorf("end escrow: %w", err)
	}
	return names, nil
}

func (r *Ring) expireEscrow() (gone []string, err error) {
	if err := r.writable(); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(filepath.Join(r.dir, escrowDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if len(n.Name()) < len(dayForm) || !strings.HasSuffix(n.Name(), escrowSuffix) {
			continue
		}
		last, err := time.Parse(dayForm, n.Name()[:len(dayForm)])
		if err != nil || day(last) >= day(r.o.Now()) {
			continue
		}
		name := filepath.Join(escrowDir, n.Name())
		if err := removeFile(r.calls, filepath.Join(r.dir, name)); err != nil {
			return gone, err
		}
		gone = append(gone, name)
	}
	return gone, nil
}

// Escrowed are keys from an escrow file, opened by who has the private key.
type Escrowed struct {
	Expires time.Time
	Handles []Handle
	keys    []cipher.AEAD
}

// OpenEscrow opens an escrow file with the private key as [NewEscrowKey] returns it.
// [Ring.Lend] makes the keys usable.
func OpenEscrow(path, private string) (*Escrowed, error) {
	e, err := openEscrow(path, private)
	if err != nil {
		return nil, fmt.Errorf("open escrow %s: %w", path, err)
	}
	return e, nil
}

func openEscrow(path, private string) (*Escrowed, error) {
	s, ok := strings.CutPrefix(strings.TrimSpace(private), escrowPrivate)
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !ok {
		return nil, fmt.Errorf("not a private key for escrow; it is one line that begins with %q", escrowPrivate)
	}
	k, err := hpke.MLKEM768X25519().NewPrivateKey(b)
	if err != nil {
		return nil, errors.New("not a private key for escrow: its bytes are none")
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxEscrow {
		return nil, fmt.Errorf("it has %d bytes; an escrow has at most %d", fi.Size(), maxEscrow)
	}
	if b, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	return parseEscrow(b, k)
}

func parseEscrow(b []byte, k hpke.PrivateKey) (*Escrowed, error) {
	var e escrow
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Format != 1 {
		return nil, fmt.Errorf("format %d; this version reads 1", e.Format)
	}
	expires, err := time.Parse(dayForm, e.Expires)
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), e.info(), e.Sealed)
	if err != nil {
		return nil, errors.New("it was sealed to another key, or changed")
	}
	defer clear(plain)
	out := &Escrowed{Expires: expires}
	const fixed = len(Handle{}) + keySize + 1
	for p := plain; len(p) > 0; {
		if len(p) < fixed || len(p) < fixed+int(p[fixed-1]) {
			return nil, errors.New("a key in it is cut short")
		}
		out.Handles = append(out.Handles, Handle(p))
		out.keys = append(out.keys, newAEAD(p[len(Handle{}):fixed-1]))
		p = p[fixed+int(p[fixed-1]):]
	}
	return out, nil
}

// Lend lets [Ring.Open] of this ring, which is read-only, return keys from escrow.
// What was destroyed on the disk is so still.
func (r *Ring) Lend(e *Escrowed) error {
	if !r.o.ReadOnly {
		return errors.New("lend escrowed keys: the keys are open for writing; open them for reading only")
	}
	d := &r.reader
	d.openMu.Lock()
	defer d.openMu.Unlock()
	if d.lent == nil {
		d.lent = make(map[Handle]cipher.AEAD)
	}
	for i, h := range e.Handles {
		d.lent[h] = e.keys[i]
	}
	return nil
}
