package evidence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sort"
)

// The index of a sealed segment says where its records and their bodies are, and
// finds them by id and by term. It is derived: from the segment, the body files
// and, for the terms, the keys it can be made again. It is not in the tree and no
// seal speaks of it, so that a person's terms can be taken out of it.
//
//	idx/<generation>-<first index of the segment, 20 digits>.idx
//
//	 0  magic     4   "evx1"
//	 4  crc32c    4   of everything after this field
//	 8  first     8   first index of the segment
//	16  size      8   of the segment's file, stripped
//	24  records   4
//	28  terms     4
//	32  places    8 for each record, in order: offset of its entry in the segment 4,
//	              offset of its entry in the body file 4, or 0 if it was not moved
//	    ids       12 for each record, sorted: first 8 bytes of the record id, record 4
//	    terms     12 each, sorted: term 8, record 4
//
// A record is its index minus first. Which body file has it follows from the
// class and the day in its leaf.
const (
	indexesDir = "idx"
	indexExt   = ".idx"
	indexMagic = "evx1"

	indexHeader = 32
	placeSize   = 8
	postingSize = 12
)

func indexName(generation string, first int64) string {
	return filepath.Join(indexesDir, fmt.Sprintf("%s-%020d%s", generation, first, indexExt))
}

// posting says that a record has a key: the beginning of its id, or a term.
type posting struct {
	key    uint64
	record uint32
}

func sortPostings(p []posting) {
	slices.SortFunc(p, func(a, b posting) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.record, b.record))
	})
}

// indexWriter gathers the index of a segment.
type indexWriter struct {
	first  int64
	places []byte
	ids    []posting
	terms  []posting
}

// add takes the next record. body is 0 if it was not moved.
func (w *indexWriter) add(l *leaf, entry, body int64, terms []byte) {
	record := uint32(len(w.ids))
	w.places = binary.BigEndian.AppendUint32(w.places, uint32(entry))
	w.places = binary.BigEndian.AppendUint32(w.places, uint32(body))
	w.ids = append(w.ids, posting{binary.BigEndian.Uint64(l[leafID:]), record})
	for ; len(terms) >= termSize; terms = terms[termSize:] {
		w.terms = append(w.terms, posting{binary.BigEndian.Uint64(terms), record})
	}
}

// bytes is the file, size being that of the stripped segment.
func (w *indexWriter) bytes(size int64) []byte {
	sortPostings(w.ids)
	sortPostings(w.terms)
	w.terms = slices.Compact(w.terms)
	b := make([]byte, indexHeader, indexHeader+len(w.places)+postingSize*(len(w.ids)+len(w.terms)))
	copy(b, indexMagic)
	binary.BigEndian.PutUint64(b[8:], uint64(w.first))
	binary.BigEndian.PutUint64(b[16:], uint64(size))
	binary.BigEndian.PutUint32(b[24:], uint32(len(w.ids)))
	binary.BigEndian.PutUint32(b[28:], uint32(len(w.terms)))
	b = append(b, w.places...)
	for _, list := range [][]posting{w.ids, w.terms} {
		for _, p := range list {
			b = binary.BigEndian.AppendUint64(b, p.key)
			b = binary.BigEndian.AppendUint32(b, p.record)
		}
	}
	sealIndex(b)
	return b
}

// sealIndex sets the checksum.
func sealIndex(b []byte) {
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
}

// writeIndex makes the index durable. If the process dies in it, there is an old
// index or none, and a file ending in .tmp; either can be made again.
func writeIndex(c *calls, dir, generation string, first int64, b []byte) error {
	path := filepath.Join(dir, indexName(generation, first))
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := syncDir(c, dir); err != nil {
			return err
		}
	}
	return writeFile(c, path, b, 0o600)
}

// errIndex says that an index is not what was written.
var errIndex = errors.New("the index is damaged")

// index is an open index file.
type index struct {
	f              *os.File
	name           string
	first          int64
	size           int64 // of the stripped segment
	records, terms int64
}

// openIndex opens an index and checks that it is as long as it says; its checksum
// is for [index.check], which reads all of it.
func openIndex(dir, generation string, first int64) (*index, error) {
	x := &index{name: indexName(generation, first), first: first}
	var err error
	if x.f, err = os.Open(filepath.Join(dir, x.name)); err != nil {
		return nil, err
	}
	var head [indexHeader]byte
	_, err = x.f.ReadAt(head[:], 0)
	if errors.Is(err, io.EOF) {
		err = x.damage("it is too short")
	}
	var fi os.FileInfo
	if err == nil {
		fi, err = x.f.Stat()
	}
	if err == nil {
		x.size = int64(binary.BigEndian.Uint64(head[16:]))
		x.records, x.terms = int64(binary.BigEndian.Uint32(head[24:])), int64(binary.BigEndian.Uint32(head[28:]))
		switch {
		case string(head[:4]) != indexMagic || int64(binary.BigEndian.Uint64(head[8:])) != first:
			err = x.damage("it is not the index of the segment of record %d", first)
		case fi.Size() != x.termsAt()+x.terms*postingSize:
			err = x.damage("it has %d bytes, not %d", fi.Size(), x.termsAt()+x.terms*postingSize)
		}
	}
	if err != nil {
		return nil, errors.Join(err, x.f.Close())
	}
	return x, nil
}

func (x *index) damage(format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", x.name, errIndex, fmt.Sprintf(format, args...))
}

func (x *index) close() { x.f.Close() } //nolint:errcheck // only read

func (x *index) idsAt() int64   { return indexHeader + x.records*placeSize }
func (x *index) termsAt() int64 { return x.idsAt() + x.records*postingSize }

// check reads all of the index and compares its checksum.
func (x *index) check() error {
	b, err := x.read()
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli()) {
		return x.damage("its checksum does not match")
	}
	return nil
}

func (x *index) read() ([]byte, error) {
	b := make([]byte, x.termsAt()+x.terms*postingSize)
	_, err := x.f.ReadAt(b, 0)
	return b, err
}

// place returns the offsets of a record's entries in the segment and in its body
// file, the latter 0 if the body was not moved.
func (x *index) place(record int64) (entry, body int64, err error) {
	if record < 0 || record >= x.records {
		return 0, 0, fmt.Errorf("%s has no record %d", x.name, x.first+record)
	}
	var b [placeSize]byte
	if _, err := x.f.ReadAt(b[:], indexHeader+record*placeSize); err != nil {
		return 0, 0, err
	}
	return int64(binary.BigEndian.Uint32(b[:])), int64(binary.BigEndian.Uint32(b[4:])), nil
}

// searchWindow is how many postings one read of a search takes. Keys are hashes,
// evenly spread, so the place of one can be guessed; of a segment's 500,000 terms
// the guess is off by some hundreds.
const searchWindow = 1024

// find returns the records that have the key, in order, from the n postings at off.
func (x *index) find(off, n int64, key uint64) ([]uint32, error) {
	var found []uint32
	buf := make([]byte, searchWindow*postingSize)
	// The first posting that is not less than key is in [lo, hi].
	lo, hi := int64(0), n
	guess, _ := bits.Mul64(key, uint64(n))
	from := max(0, min(int64(guess)-searchWindow/2, n-searchWindow))
	for lo < hi {
		b := buf[:min(searchWindow, n-from)*postingSize]
		if _, err := x.f.ReadAt(b, off+from*postingSize); err != nil {
			return nil, err
		}
		count := int64(len(b)) / postingSize
		first, last := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[len(b)-postingSize:])
		switch {
		case first >= key && from > lo:
			hi = from
		case last < key:
			lo = from + count
		default:
			at := sort.Search(int(count), func(i int) bool { return binary.BigEndian.Uint64(b[i*postingSize:]) >= key })
			lo = from + int64(at)
			hi = lo
		}
		if hi-lo <= searchWindow {
			from = lo
		} else {
			from = lo + (hi-lo-searchWindow)/2
		}
	}
	for ; lo < n; lo += searchWindow {
		b := buf[:min(searchWindow, n-lo)*postingSize]
		if _, err := x.f.ReadAt(b, off+lo*postingSize); err != nil {
			return nil, err
		}
		for ; len(b) > 0; b = b[postingSize:] {
			if binary.BigEndian.Uint64(b) != key {
				return found, nil
			}
			found = append(found, binary.BigEndian.Uint32(b[8:]))
		}
	}
	return found, nil
}

// byTerm returns the records that have a term.
func (x *index) byTerm(term uint64) ([]uint32, error) { return x.find(x.termsAt(), x.terms, term) }

// byID returns the records whose id may be this one: eight bytes of it are the same.
func (x *index) byID(id ID) ([]uint32, error) {
	return x.find(x.idsAt(), x.records, binary.BigEndian.Uint64(id[:]))
}

// without returns the index without the terms of the records, which are numbered
// within the segment, and whether there were any.
func (x *index) without(records map[uint32]bool) (b []byte, any bool, err error) {
	if b, err = x.read(); err != nil {
		return nil, false, err
	}
	if binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli()) {
		return nil, false, x.damage("its checksum does not match")
	}
	kept := b[x.termsAt():x.termsAt()]
	for t := b[x.termsAt():]; len(t) > 0; t = t[postingSize:] {
		if records[binary.BigEndian.Uint32(t[8:])] {
			any = true
			continue
		}
		kept = append(kept, t[:postingSize]...)
	}
	binary.BigEndian.PutUint32(b[28:], uint32(len(kept)/postingSize))
	b = b[:x.termsAt()+int64(len(kept))]
	sealIndex(b)
	return b, any, nil
}
