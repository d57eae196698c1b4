package evidence

import (
	"encoding/binary"
	"errors"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// The ciphertext is AES-256-GCM of salt and body. What is authenticated beside it
// is the leaf up to the time: version, kind, class, flags and id. Stored bytes that
// are moved to another record, or whose leaf is changed, do not open. The handle is
// not in the leaf, so once the stored bytes are gone nothing connects the records of
// a person.
const (
	nonceSize = 12
	tagSize   = 16
	maxTerms  = 255
)

// encrypted reports whether bodies of the class are: those that are about people.
// What the log says of itself stays readable, or a verifier without keys could
// not see why something is gone; rules are no secret to who may check them.
func (c Class) encrypted() bool { return c == ClassContent || c == ClassPush }

// keysOf asks the ring for the keys of the records, all of a class at once, so
// that the new ones among them cost one sync. Records that are not encrypted get
// none, nor does any without a ring.
func keysOf(recs []Record, ring *keys.Ring) ([]keys.Key, error) {
	if ring == nil {
		return nil, nil
	}
	found := make([]keys.Key, len(recs))
	for _, class := range []Class{ClassContent, ClassPush} {
		var subjects []string
		for i := range recs {
			if recs[i].Class == class {
				subjects = append(subjects, recs[i].Subject)
			}
		}
		if len(subjects) == 0 {
			continue
		}
		ks, err := ring.Keys(class.String(), subjects)
		if err != nil {
			return nil, err
		}
		for i := range recs {
			if recs[i].Class == class {
				found[i], ks = ks[0], ks[1:]
			}
		}
	}
	return found, nil
}

// termsOf returns the record's terms as they are written. A text can be made to
// break any number of rules: what is over the limit is not looked up by.
func termsOf(r *Record, ring *keys.Ring) []uint64 {
	return appendTerms(nil, r, ring)
}

func appendTerms(terms []uint64, r *Record, ring *keys.Ring) []uint64 {
	for _, t := range r.Terms[:min(len(r.Terms), maxTerms)] {
		term := ring.Term
		if t.Name == "category" || t.Name == "rule" { // they come again and again
			term = ring.CommonTerm
		}
		terms = append(terms, term(r.Class.String(), t.Name, t.Value))
	}
	return terms
}

// appendBeforeText appends the stored bytes before the ciphertext.
func appendBeforeText(b []byte, h keys.Handle, terms []uint64, nonce []byte) []byte {
	b = append(b, h[:]...)
	b = append(b, uint8(len(terms)))
	for _, t := range terms {
		b = binary.BigEndian.AppendUint64(b, t)
	}
	return append(b, nonce...)
}

// index returns the terms that the record can be looked up by.
func (p *parts) index() []uint64 {
	terms := make([]uint64, 0, len(p.terms)/termSize)
	for b := p.terms; len(b) > 0; b = b[termSize:] {
		terms = append(terms, binary.BigEndian.Uint64(b))
	}
	return terms
}

// ErrNoKeys means that a body is encrypted and no keys were given.
var ErrNoKeys = errors.New("the body is encrypted and no keys were given")

// errForged is said of stored bytes that their key does not open.
var errForged = errors.New("the key it names does not open it: it was changed, it is another record's, or the key is not the one it was written with")

// open returns salt and body of a record from what a segment stores of it. It
// fails with [ErrNoKeys], with what the ring says of a key that it does not have,
// or with errForged.
func (l *leaf) open(stored []byte, ring *keys.Ring) ([]byte, error) {
	if !l.encrypted() {
		return stored, nil
	}
	p, ok := splitStored(l, stored)
	if !ok {
		return nil, errForged
	}
	return l.decrypt(p, ring, nil)
}

// decrypt is open for stored bytes that were taken apart. It appends to buf, which
// may be p.text()[:0]: then that is overwritten.
func (l *leaf) decrypt(p parts, ring *keys.Ring, buf []byte) ([]byte, error) {
	if len(p.rest) != nonceSize+saltSize+l.bodyBytes()+tagSize {
		return nil, errForged
	}
	if ring == nil {
		return nil, ErrNoKeys
	}
	aead, err := ring.Open(l.class().String(), keys.Handle(p.handle))
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(buf, p.rest[:nonceSize], p.text(), l[:leafTime])
	if err != nil {
		return nil, errForged // what it says itself is less
	}
	return plain, nil
}

// text returns the ciphertext and its tag, of stored bytes that are long enough.
func (p *parts) text() []byte { return p.rest[min(nonceSize, len(p.rest)):] }

// Open returns salt and body of a record, which its leaf has to commit to:
// [Stored.Intact]. An encrypted one is opened with ring; the error is then that of
// [Entry.Closed], or says that the key does not open it.
func (s *Stored) Open(ring *keys.Ring) ([]byte, error) {
	if !s.Encrypted() {
		return s.Body, nil
	}
	return s.leaf().decrypt(parts{handle: s.Handle, rest: s.Body}, ring, nil)
}

// closed reports whether a body was not opened because its key was taken away, or
// not given, which says nothing against the record.
func closed(err error) bool {
	for _, why := range []error{ErrNoKeys, keys.ErrErased, keys.ErrRestricted, keys.ErrDestroyed, keys.ErrMaster} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}

// lost reports whether a key that should be there is not, or is not what it was.
func lost(err error) bool { return errors.Is(err, keys.ErrMissing) || errors.Is(err, keys.ErrDamaged) }
