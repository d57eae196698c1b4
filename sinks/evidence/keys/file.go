package keys

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A key file is entries of equal size, one after another:
//
//	  0  handle      16  of the key
//	 16  subject     16  first half of HMAC-SHA-256(index key of the class, "subject" ‖ 0 ‖ subject)
//	 32  generation   4  of the key that wraps this one
//	 36  until        4  last day of the duty to keep a restricted key, in days since January 1970; else 0
//	 40  nonce       12
//	 52  wrapped     48  AES-256-GCM of the key, the tag of 16 last
//	100  crc32c       4  of all before
//
// What is authenticated beside the key is "ev1 key" LF ‖ class ‖ 0 ‖ bytes 0 to 35.
// A key that was destroyed leaves its handle and zeros. An entry that was given up
// is zeros with their checksum. All numbers are big-endian.
const (
	entrySize = 104

	entrySubject    = 16
	entryGeneration = 32
	entryUntil      = 36
	entrySealed     = 40
	entryCRC        = 100
)

type entry [entrySize]byte

func (e *entry) handle() Handle     { return Handle(e[:entrySubject]) }
func (e *entry) subject() tag       { return tag(e[entrySubject:entryGeneration]) }
func (e *entry) generation() uint32 { return binary.BigEndian.Uint32(e[entryGeneration:]) }
func (e *entry) until() uint32      { return binary.BigEndian.Uint32(e[entryUntil:]) }

// crc is computed with a table that is made once: crc32 keeps it.
func (e *entry) crc() uint32 {
	return crc32.Checksum(e[:entryCRC], crc32.MakeTable(crc32.Castagnoli))
}

func (e *entry) sound() bool { return binary.BigEndian.Uint32(e[entryCRC:]) == e.crc() }

func (e *entry) finish() { binary.BigEndian.PutUint32(e[entryCRC:], e.crc()) }

// dead reports whether the entry, which is sound, holds no key any more.
func (e *entry) dead() bool { return allZero(e[entrySubject:entryCRC]) }

// destroyed returns what is left of the entry when its key has gone.
func destroyed(h Handle) (e entry) {
	copy(e[:], h[:])
	e.finish()
	return e
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

func (e *entry) data(class string) []byte {
	b := append(make([]byte, 0, 80), "ev1 key\n"...)
	b = append(b, class...)
	b = append(b, 0)
	return append(b, e[:entryUntil]...)
}

// wrap puts key into the entry, whose handle and subject are set.
func (e *entry) wrap(class string, generation uint32, by cipher.AEAD, key []byte) {
	binary.BigEndian.PutUint32(e[entryGeneration:], generation)
	nonce := e[entrySealed : entrySealed+nonceSize]
	rand.Read(nonce)
	by.Seal(e[:entrySealed+nonceSize], nonce, key, e.data(class))
	e.finish()
}

// unwrap returns the entry's key.
func (e *entry) unwrap(class string, by cipher.AEAD) ([]byte, error) {
	return unseal(by, e[entrySealed:entryCRC], e.data(class))
}

// The two files of a month: keys in use, and keys that were put aside.
const (
	keysSuffix       = ".keys"
	restrictedSuffix = ".restricted"
)

func (r *Ring) path(class string, m Month, suffix string) string {
	return filepath.Join(r.dir, class, m.String()+suffix)
}

// isClass reports whether a name can be that of a class: it is a directory, too.
func isClass(s string) bool {
	ok := s != "" && s != escrowDir && len(s) <= 32 && s[0] >= 'a' && s[0] <= 'z'
	for _, c := range s {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	return ok
}

// keyFile is a file of a month by its name.
type keyFile struct {
	class  string
	month  Month
	suffix string
}

// parseName reads the name of a key file.
func parseName(class, name string) (keyFile, bool) {
	for _, suffix := range []string{keysSuffix, restrictedSuffix} {
		if s, ok := strings.CutSuffix(name, suffix); ok {
			m, err := ParseMonth(s)
			return keyFile{class, m, suffix}, err == nil
		}
	}
	return keyFile{}, false
}

// files returns the key files there are, in order of class and month.
func (r *Ring) files() ([]keyFile, error) {
	dirs, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var found []keyFile
	for _, d := range dirs {
		if !d.IsDir() || !isClass(d.Name()) {
			continue
		}
		names, err := os.ReadDir(filepath.Join(r.dir, d.Name()))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if f, ok := parseName(d.Name(), n.Name()); ok {
				found = append(found, f)
			}
		}
	}
	return found, nil
}

// scanWindow is how many entries are read at once: about a megabyte.
const scanWindow = 10_000

// scan calls fn for the whole entries from number first up to size bytes, sound or
// not, until it returns false. The entry is valid until fn returns.
func scan(f io.ReaderAt, first, size int64, fn func(n int64, e *entry) bool) error {
	buf := make([]byte, min(max(0, size/entrySize-first), scanWindow)*entrySize)
	for n, end := first, size/entrySize; n < end; {
		b := buf[:min(end-n, scanWindow)*entrySize]
		if m, err := f.ReadAt(b, n*entrySize); m < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // it became shorter while it was read
			}
			return err
		}
		for ; len(b) > 0; n, b = n+1, b[entrySize:] {
			if !fn(n, (*entry)(b)) {
				return nil
			}
		}
	}
	return nil
}

// sector is the unit in which a disk writes or does not.
const sector = 512

// torn reports whether an entry that is not sound, the n-th, can be what is left of
// a write that was cut short: of the sectors that it lies in, at least one was
// never written. Damage to an entry that was once whole does not look like that.
func torn(n int64, e *entry) bool {
	at := n * entrySize
	edge := sector - at%sector // where the next sector begins in it
	if edge >= entrySize {
		return allZero(e[:])
	}
	return allZero(e[:edge]) || allZero(e[edge:])
}
