package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A body file holds the bodies of one class and one day (UTC, of recorded_at)
// that were moved out of one segment when it was sealed. To unlink it is to
// destroy them; the leaves stay in the segment.
//
//	body/<class>/<yyyy-mm-dd>/<generation>-<first index of the segment, 20 digits>.body
//
//	 0  magic     4   "evb1"
//	 4  reserved  4   0
//	 8  first     8   first index of the segment
//	16  entries, in the order of the records:
//	    index     4   minus first
//	    length    4   of what follows
//	    stored        as in the segment, but without n and the index terms
const (
	bodiesDir = "body"
	bodyExt   = ".body"
	bodyMagic = "evb1"

	bodyHeader      = 16
	bodyEntryHeader = 8

	// maxStored is the largest stored body: handle, count and terms, nonce, salt, body and tag.
	maxStored = handleSize + 1 + 255*termSize + 12 + saltSize + MaxBodyBytes + 16
)

// Moved reports whether sealing moves the bodies of this class to body files.
// Those of other classes say what the log is and why something is gone; they
// stay in the segment for ever, where a verifier without keys can read them.
func (c Class) Moved() bool {
	switch c {
	case ClassContent, ClassPush, ClassPolicy:
		return true
	}
	return false
}

// dayOf is the day that a record belongs to.
func dayOf(nanos int64) string { return time.Unix(0, nanos).UTC().Format(time.DateOnly) }

// BodyFile is the name, relative to the evidence directory, of the file that has
// the bodies of a class and a day (yyyy-mm-dd, UTC) once the segment that begins
// with record first is sealed.
func BodyFile(generation string, first int64, c Class, day string) string {
	return filepath.Join(bodiesDir, c.String(), day, fmt.Sprintf("%s-%020d%s", generation, first, bodyExt))
}

// bodyNames are the names of the body files of one segment. They are asked for with every record, and are few.
type bodyNames struct {
	generation string
	segment    int64 // its first index
	known      map[bodyDay]string
}

type bodyDay struct {
	class Class
	day   int64 // since January 1970
}

// of returns the name of the file that has the body of a record.
func (n *bodyNames) of(l *leaf) string {
	const day = int64(24 * time.Hour)
	at := bodyDay{l.class(), l.nanos() / day}
	if l.nanos() < 0 {
		at.day-- // nobody wrote this
	}
	name, ok := n.known[at]
	if !ok {
		if n.known == nil {
			n.known = make(map[bodyDay]string)
		}
		name = BodyFile(n.generation, n.segment, at.class, dayOf(l.nanos()))
		n.known[at] = name
	}
	return name
}

// errBodyFile says that a body file is not what sealing wrote.
var errBodyFile = errors.New("the body file is damaged")

// bodyWriter writes one body file under a temporary name.
type bodyWriter struct {
	calls *calls
	f     *os.File
	path  string // the final one
	name  string // relative to the evidence directory
	class Class
	day   string

	buf []byte // from off on
	off int64
	crc uint32 // of all of it, to know it by when it is read again

	segment     int64 // first index of the segment
	first, last int64
	records     int64

	// Only the places of bodies count: they were destroyed, or a crash left the file
	// as its seal has it.
	destroyed, kept bool
}

func newBodyWriter(c *calls, dir, generation string, segment int64, class Class, day string) *bodyWriter {
	name := BodyFile(generation, segment, class, day)
	w := &bodyWriter{calls: c, path: filepath.Join(dir, name), name: name, class: class, day: day, segment: segment, first: -1}
	w.buf = append(w.buf, bodyMagic...)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(segment))
	return w
}

// create makes the directories of a body file in the evidence directory, and the
// file. If the process dies here, empty directories and a file ending in .tmp are
// left, which the next attempt takes over.
func (w *bodyWriter) create(dir string) error {
	parent := filepath.Dir(w.path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	// The names of the directories must be as durable as the file's. The file's own
	// directory is synced when the file has its name.
	for d := filepath.Dir(parent); ; d = filepath.Dir(d) {
		if err := syncDir(w.calls, d); err != nil {
			return err
		}
		if d == filepath.Clean(dir) {
			break
		}
	}
	var err error
	w.f, err = createTemporary(w.path)
	return err
}

// createTemporary begins the file that is to become path. A leftover of an
// earlier life could have another mode; it goes.
func createTemporary(path string) (*os.File, error) {
	tmp := path + temporaryExt
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

const (
	temporaryExt = ".tmp"
	sealBuffer   = 512 << 10
)

// add appends a record and returns the offset of its entry.
func (w *bodyWriter) add(index int64, p parts) (offset int64, err error) {
	offset = w.off + int64(len(w.buf))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(index-w.segment))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(p.handle)+len(p.rest)))
	w.buf = append(w.buf, p.handle...)
	w.buf = append(w.buf, p.rest...)
	if w.first < 0 {
		w.first = index
	}
	w.last = index
	w.records++
	if len(w.buf) >= sealBuffer {
		return offset, w.flush()
	}
	return offset, nil
}

func (w *bodyWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if w.destroyed || w.kept {
		w.off += int64(len(w.buf))
		w.buf = w.buf[:0]
		return nil
	}
	if err := w.calls.write(w.f, w.buf, w.off); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	w.crc = crc32.Update(w.crc, castagnoli(), w.buf)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// finish makes the file durable under its name. If the process dies before the
// directory is synced, either the temporary name or the final one is found; no
// record speaks of the file yet, and the next attempt writes it again.
func (w *bodyWriter) finish() error {
	err := w.flush()
	if w.destroyed || w.kept {
		return err
	}
	if err == nil {
		err = w.calls.sync(w.f)
	}
	if err == nil {
		dropCache(w.f)
	}
	if err = errors.Join(err, w.f.Close()); err != nil {
		return err
	}
	w.f = nil
	if err := w.calls.rename(w.path+temporaryExt, w.path); err != nil {
		return err
	}
	return syncDir(w.calls, filepath.Dir(w.path))
}

// abandon closes a file that will not be finished.
func (w *bodyWriter) abandon() {
	if w.f != nil {
		w.f.Close() //nolint:errcheck // its content is of no use
		w.f = nil
	}
}

// bodyReader reads a body file from its beginning to its end.
type bodyReader struct {
	f       *os.File
	name    string
	segment int64
	win     frameReader // only its window onto the file is used
	off     int64
	sum     hash.Hash // of what was read, if set before the first call of next
	crc     uint32
	last    int64

	// What next returned last, until it is asked for.
	index  int64
	stored []byte
	at     int64
	held   bool
}

func openBodyFile(dir, name string, segment int64) (*bodyReader, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &bodyReader{f: f, name: name, segment: segment, win: frameReader{r: f, size: fi.Size()}, last: -1}, nil
}

func (r *bodyReader) close() { r.f.Close() } //nolint:errcheck // only read

func (r *bodyReader) damage(format string, args ...any) error {
	return fmt.Errorf("%s offset %d: %w: %s", r.name, r.off, errBodyFile, fmt.Sprintf(format, args...))
}

// take reads exactly n bytes. They are valid until the next call.
func (r *bodyReader) take(n int) ([]byte, error) {
	b, err := r.win.bytes(r.off, n)
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, r.damage("it ends inside an entry")
	}
	return b, nil
}

func (r *bodyReader) took(b []byte) {
	if r.sum != nil {
		r.sum.Write(b)
		r.crc = crc32.Update(r.crc, castagnoli(), b)
	}
	r.off += int64(len(b))
}

// next returns the next record's index, stored bytes and offset; io.EOF at the
// end. The bytes are valid until the next call. Damage is an [errBodyFile].
func (r *bodyReader) next() (index int64, stored []byte, offset int64, err error) {
	if r.off == 0 {
		b, err := r.take(bodyHeader)
		if err != nil {
			return 0, nil, 0, err
		}
		if string(b[:4]) != bodyMagic || binary.BigEndian.Uint32(b[4:]) != 0 || binary.BigEndian.Uint64(b[8:]) != uint64(r.segment) {
			return 0, nil, 0, r.damage("it is not the file of the segment of record %d", r.segment)
		}
		r.took(b)
	}
	if r.off == r.win.size {
		return 0, nil, r.off, io.EOF
	}
	b, err := r.take(bodyEntryHeader)
	if err != nil {
		return 0, nil, 0, err
	}
	n := binary.BigEndian.Uint32(b[4:])
	index = r.segment + int64(binary.BigEndian.Uint32(b))
	if index <= r.last || n > maxStored {
		return 0, nil, 0, r.damage("no entry begins here")
	}
	if b, err = r.take(bodyEntryHeader + int(n)); err != nil {
		return 0, nil, 0, err
	}
	offset = r.off
	r.took(b)
	r.last = index
	return index, b[bodyEntryHeader:], offset, nil
}

// movedBodies reads what was moved out of one segment, in the order of the
// records, beside the segment itself.
type movedBodies struct {
	dir    string // of the evidence
	names  bodyNames
	hash   func() hash.Hash
	files  map[string]*bodyReader // by name; nil where there is none
	failed map[string]error
}

// moved returns a reader of what was moved out of the segment, which opens files
// as it needs them.
func (s *segment) moved() *movedBodies {
	logDir := filepath.Dir(filepath.Dir(s.path))
	return &movedBodies{dir: filepath.Dir(filepath.Dir(logDir)), names: bodyNames{generation: filepath.Base(logDir), segment: s.first}}
}

// find returns the stored bytes of a record, the file and the offset of its
// entry. They are nil where the file is not there, or has no such record. The
// records are asked for in order; the bytes are valid until the next call.
func (m *movedBodies) find(index int64, l *leaf) (stored []byte, name string, offset int64, err error) {
	name = m.names.of(l)
	r, seen := m.files[name]
	if !seen {
		if m.files == nil {
			m.files, m.failed = make(map[string]*bodyReader), make(map[string]error)
		}
		r, err = openBodyFile(m.dir, name, m.names.segment)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.failed[name] = err
		}
		if r != nil && m.hash != nil {
			r.sum = m.hash()
		}
		m.files[name] = r
	}
	if err := m.failed[name]; err != nil || r == nil {
		return nil, name, 0, err
	}
	for !r.held || r.index < index {
		r.index, r.stored, r.at, err = r.next()
		if errors.Is(err, io.EOF) {
			return nil, name, r.off, nil
		}
		if err != nil {
			m.failed[name] = err
			return nil, name, r.off, err
		}
		r.held = true
	}
	if r.index != index {
		return nil, name, r.at, nil
	}
	return r.stored, name, r.at, nil
}

// parts returns the stored bytes of an entry, from the segment or a body file,
// taken apart. It reports false where they are not there or cannot be used.
func (m *movedBodies) parts(index int64, e *entry) (parts, bool) {
	if len(e.stored) > 0 {
		return splitStored(e.leaf, e.stored)
	}
	if !e.leaf.class().Moved() {
		return parts{}, false
	}
	stored, _, _, err := m.find(index, e.leaf)
	if err != nil || stored == nil {
		return parts{}, false
	}
	return splitMoved(e.leaf, stored)
}

func (m *movedBodies) close() {
	for _, r := range m.files {
		if r != nil {
			r.close()
		}
	}
}
