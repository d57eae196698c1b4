package evidence

import (
	"bytes"
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
//	    ids       a list with one posting for each record: first 8 bytes of its id, record 4
//	    terms     a list: term 8, record 4
//
// A list is its postings, 12 bytes each, sorted, and before them a table: for each
// value of the first bits of a key, 4 bytes with the number of postings up to and
// including those whose keys begin so. Of a list of n postings these are as many bits
// as n / 128 has, rounded down, which is none for fewer than 128.
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

// compare orders postings by key, and by record among those of one key.
func (p posting) compare(q posting) int {
	if p.key != q.key {
		return cmp.Compare(p.key, q.key)
	}
	return cmp.Compare(p.record, q.record)
}

// sorted returns postings in order. Keys are spread evenly, but for those that many records have; so they are dealt
// out by their first bits, in the order they come in, which leaves little to sort.
func sorted(list []posting) []posting {
	k := tableBits(int64(len(list))) + 4 // some four to eight in each heap
	ends := make([]int, 1<<k)
	for _, p := range list {
		ends[p.key>>(64-k)]++
	}
	sum := 0
	for i, n := range ends {
		ends[i] = sum // where the heap begins; when all are dealt out, where it ends
		sum += n
	}
	out := make([]posting, len(list))
	for _, p := range list {
		heap := p.key >> (64 - k)
		out[ends[heap]] = p
		ends[heap]++
	}
	from := 0
	for _, end := range ends {
		if heap := out[from:end]; !slices.IsSortedFunc(heap, posting.compare) {
			slices.SortFunc(heap, posting.compare)
		}
		from = end
	}
	return out
}

// indexWriter gathers the index of a segment.
type indexWriter struct {
	first  int64
	places []byte
	ids    []posting
	terms  []posting
}

// newIndexWriter has room for so many records.
func newIndexWriter(first, records int64) indexWriter {
	return indexWriter{first: first, places: make([]byte, 0, records*placeSize), ids: make([]posting, 0, records)}
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
	w.ids, w.terms = sorted(w.ids), slices.Compact(sorted(w.terms))
	b := make([]byte, indexHeader, indexHeader+int64(len(w.places))+listSize(int64(len(w.ids)))+listSize(int64(len(w.terms))))
	copy(b, indexMagic)
	binary.BigEndian.PutUint64(b[8:], uint64(w.first))
	binary.BigEndian.PutUint64(b[16:], uint64(size))
	binary.BigEndian.PutUint32(b[24:], uint32(len(w.ids)))
	b = append(b, w.places...)
	b = appendList(b, w.ids)
	return finishIndex(b, w.terms)
}

// finishIndex appends the terms to an index that has all before them.
func finishIndex(b []byte, terms []posting) []byte {
	b = appendList(b, terms)
	binary.BigEndian.PutUint32(b[28:], uint32(len(terms)))
	sealIndex(b)
	return b
}

// sealIndex sets the checksum.
func sealIndex(b []byte) { binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli())) }

// tableBits is by how many bits of a key the table of a list of n postings leads
// to it: so many that some 64 to 128 postings are left to be searched.
func tableBits(n int64) int { return bits.Len64(uint64(n) / 128) }

// tableSize is the size of that table, in bytes.
func tableSize(n int64) int64 {
	if k := tableBits(n); k > 0 {
		return 4 << k
	}
	return 0
}

func listSize(n int64) int64 { return tableSize(n) + n*postingSize }

// appendList appends postings that are sorted.
func appendList(b []byte, list []posting) []byte {
	if k := tableBits(int64(len(list))); k > 0 {
		at := 0
		for prefix := range uint64(1) << k {
			for at < len(list) && list[at].key>>(64-k) <= prefix {
				at++
			}
			b = binary.BigEndian.AppendUint32(b, uint32(at))
		}
	}
	for _, p := range list {
		b = binary.BigEndian.AppendUint64(b, p.key)
		b = binary.BigEndian.AppendUint32(b, p.record)
	}
	return b
}

// listRight reports whether the list of n postings is sorted and its table leads to
// them.
func listRight(b []byte, n int64) bool {
	list := make([]posting, 0, n)
	for p := b[tableSize(n):]; len(p) > 0; p = p[postingSize:] {
		list = append(list, posting{binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:])})
	}
	return slices.IsSortedFunc(list, posting.compare) && bytes.Equal(appendList(nil, list), b)
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

	idTable, termTable []byte // read when they are first needed
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
		case fi.Size() != x.length():
			err = x.damage("it has %d bytes, not %d", fi.Size(), x.length())
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
func (x *index) termsAt() int64 { return x.idsAt() + listSize(x.records) }
func (x *index) length() int64  { return x.termsAt() + listSize(x.terms) }

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
	b := make([]byte, x.length())
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

// searchWindow is how many postings one read of a search takes.
const searchWindow = 256

// find returns the records that have the key, in order, from the list of n
// postings at off.
func (x *index) find(off, n int64, table *[]byte, key uint64) ([]uint32, error) {
	lo, hi := int64(0), n // the first posting that is not less than key is in [lo, hi]
	if k := tableBits(n); k > 0 {
		if *table == nil {
			b := make([]byte, tableSize(n))
			if _, err := x.f.ReadAt(b, off); err != nil {
				return nil, err
			}
			*table = b
		}
		prefix := key >> (64 - k)
		hi = int64(binary.BigEndian.Uint32((*table)[4*prefix:]))
		if prefix > 0 {
			lo = int64(binary.BigEndian.Uint32((*table)[4*(prefix-1):]))
		}
		if lo > hi || hi > n {
			return nil, x.damage("its table leads nowhere")
		}
	}
	off += tableSize(n)
	var buf [searchWindow * postingSize]byte
	for hi-lo > searchWindow {
		mid := lo + (hi-lo)/2
		if _, err := x.f.ReadAt(buf[:8], off+mid*postingSize); err != nil {
			return nil, err
		}
		if binary.BigEndian.Uint64(buf[:]) < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	var found []uint32
	for end := min(n, hi+1); lo < n; end = n { // most often one posting of another key is seen within the table's reach
		b := buf[:min(searchWindow, end-lo)*postingSize]
		if _, err := x.f.ReadAt(b, off+lo*postingSize); err != nil {
			return nil, err
		}
		lo += int64(len(b)) / postingSize
		for ; len(b) > 0; b = b[postingSize:] {
			switch at := binary.BigEndian.Uint64(b); {
			case at > key:
				return found, nil
			case at == key:
				found = append(found, binary.BigEndian.Uint32(b[8:]))
			}
		}
	}
	return found, nil
}

// byTerm returns the records that have a term.
func (x *index) byTerm(term uint64) ([]uint32, error) {
	return x.find(x.termsAt(), x.terms, &x.termTable, term)
}

// byID returns the records whose id may be this one: eight bytes of it are the same.
func (x *index) byID(id ID) ([]uint32, error) {
	return x.find(x.idsAt(), x.records, &x.idTable, binary.BigEndian.Uint64(id[:]))
}

// without returns the index without the terms of the records, which are numbered
// within the segment, and whether there were any.
func (x *index) without(records map[uint32]bool) (b []byte, changed bool, err error) {
	if b, err = x.read(); err != nil {
		return nil, false, err
	}
	if binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli()) {
		return nil, false, x.damage("its checksum does not match")
	}
	var kept []posting
	for t := b[x.termsAt()+tableSize(x.terms):]; len(t) > 0; t = t[postingSize:] {
		if p := (posting{binary.BigEndian.Uint64(t), binary.BigEndian.Uint32(t[8:])}); records[p.record] {
			changed = true
		} else {
			kept = append(kept, p)
		}
	}
	return finishIndex(b[:x.termsAt()], kept), changed, nil
}
