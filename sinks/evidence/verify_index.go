package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
)

// indexCheck holds an index against the segment it was made of. An index is
// derived, so it is no evidence and what is wrong with it no alarm; but who looks up
// by one that was changed may not find what is there. Its terms cannot be derived
// without the keys: of them only the checksum speaks.
type indexCheck struct {
	name   string
	b      []byte // the file
	x      *index
	seed   maphash.Seed
	wrong  string // the first thing that is
	ids    uint64 // sum over the hashes of ids and records, which come in another order than the table's
	number int64  // of records seen
}

// openIndex reads the index of a segment. Damage is remembered, not returned.
func (v *verifier) openIndex(s *sealedBy) (*indexCheck, error) {
	c := &indexCheck{name: indexName(v.generation, s.First), seed: v.seed}
	x, err := openIndex(v.dir, v.generation, s.First)
	if errors.Is(err, fs.ErrNotExist) {
		c.wrong = "it is not here"
		return c, nil
	}
	if errors.Is(err, errIndex) {
		c.wrong = err.Error()
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	defer x.close()
	if err := x.check(); errors.Is(err, errIndex) {
		c.wrong = err.Error()
		return c, nil
	} else if err != nil {
		return nil, err
	}
	c.x = x
	c.b, err = x.read()
	return c, err
}

// add holds the next record of the segment against the index. body is where its body
// begins in a body file, 0 if it is in the segment, -1 if that is not known.
func (c *indexCheck) add(l *leaf, entry, body int64) {
	record := c.number
	c.number++
	if c.wrong != "" || record >= c.x.records {
		return
	}
	place := c.b[indexHeader+record*placeSize:]
	if int64(binary.BigEndian.Uint32(place)) != entry || body >= 0 && int64(binary.BigEndian.Uint32(place[4:])) != body {
		c.wrong = fmt.Sprintf("it has another place for record %d", c.x.first+record)
	}
	var key [postingSize]byte
	copy(key[:], l[leafID:leafID+8])
	binary.BigEndian.PutUint32(key[8:], uint32(record))
	c.ids += maphash.Bytes(c.seed, key[:])
}

// judgeIndex says what is wrong with the index of a segment that was read whole.
func (v *verifier) judgeIndex(s *sealedSegment) {
	c := s.index
	if c.wrong == "" && !s.raw {
		ids, terms := c.b[c.x.idsAt():c.x.termsAt()], c.b[c.x.termsAt():]
		for p := ids[tableSize(c.x.records):]; len(p) > 0; p = p[postingSize:] {
			c.ids -= maphash.Bytes(c.seed, p[:postingSize])
		}
		if c.ids != 0 || c.number != c.x.records {
			c.wrong = "it does not have the records of its segment"
		} else if !listRight(ids, c.x.records) || !listRight(terms, c.x.terms) {
			c.wrong = "its tables lead elsewhere"
		}
	}
	if c.wrong != "" && !s.raw {
		v.rep.find(Finding{Verdict: Rebuild, Index: -1, File: c.name, Detail: c.wrong + "; it is derived, and is made again at the next start"})
	}
}
