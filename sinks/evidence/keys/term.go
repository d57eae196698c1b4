package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// keySize is the length of every key here: AES-256, HMAC-SHA-256.
const keySize = 32

// tag names a subject within its class: what a key file says instead of whom its
// keys are about.
type tag [16]byte

// mac is a keyed hash that many goroutines may use.
type mac struct{ pool sync.Pool }

func newMAC(key []byte) *mac {
	return &mac{sync.Pool{New: func() any { return &hashing{h: hmac.New(sha256.New, key)} }}}
}

// hashing is a hash in use, with room for what goes in and out.
type hashing struct {
	h   hash.Hash
	buf []byte

	common map[string]uint64 // terms of values of which there are few
}

// maxCommon is how many of them are remembered.
const maxCommon = 4096

// sum hashes name, a zero byte and value.
func (m *mac) sum(name, value string) (sum [sha256.Size]byte) {
	s := m.pool.Get().(*hashing)
	s.h.Reset()
	s.buf = append(append(append(s.buf[:0], name...), 0), value...)
	s.h.Write(s.buf)
	s.buf = s.h.Sum(s.buf[:0])
	copy(sum[:], s.buf)
	clear(s.buf[:cap(s.buf)]) // it held whom this is about
	m.pool.Put(s)
	return sum
}

// indexKey derives the index key of a class from the one in the keyring.
func indexKey(root []byte, class string) []byte {
	h := hmac.New(sha256.New, root)
	h.Write([]byte("ev1 index\n" + class))
	return h.Sum(nil)
}

func (m *mac) subject(subject string) tag {
	sum := m.sum("subject", subject)
	return tag(sum[:])
}

// Term returns what an index says instead of a value that records of the class can
// be looked up by: the first 8 bytes of HMAC-SHA-256(index key of the class,
// name ‖ 0 ‖ value). It is the same in every month and after every rotation.
func (r *Ring) Term(class, name, value string) uint64 {
	sum := r.macOf(class).sum(name, value)
	return binary.BigEndian.Uint64(sum[:])
}

// CommonTerm is [Ring.Term] of a value of which there are few, and none is about a person, such as a category: it is
// remembered.
func (r *Ring) CommonTerm(class, name, value string) uint64 {
	m := r.macOf(class)
	s := m.pool.Get().(*hashing)
	defer m.pool.Put(s)
	s.buf = append(append(append(s.buf[:0], name...), 0), value...)
	term, ok := s.common[string(s.buf)]
	if ok {
		return term
	}
	if s.common == nil || len(s.common) >= maxCommon {
		s.common = make(map[string]uint64)
	}
	term = r.Term(class, name, value)
	s.common[string(s.buf)] = term
	return term
}

// macOf returns the keyed hash of a class.
func (r *Ring) macOf(class string) *mac {
	if m, ok := r.macs.Load(class); ok {
		return m.(*mac)
	}
	m, _ := r.macs.LoadOrStore(class, newMAC(indexKey(r.index, class)))
	return m.(*mac)
}
