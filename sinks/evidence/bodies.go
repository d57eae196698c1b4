package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNoIndex means that a sealed segment has no index, so that nothing can be
// said of its terms. [Log.RebuildIndexes] makes it anew, with the keys.
var ErrNoIndex = errors.New("a sealed segment has no index")

// Stored is a record as it lies on the disk, wherever its body is.
type Stored struct {
	Index int64
	Leaf  [64]byte
	// Where the leaf lies: a segment, relative to the evidence directory, and the
	// offset of its entry.
	File   string
	Offset int64
	// Where the body lies: the same, or a body file. BodyFile names it also where
	// the body is not there.
	BodyFile   string
	BodyOffset int64
	// Handle names the key of an encrypted body, 16 bytes; nil if it is in clear.
	Handle []byte
	// Body is what is stored: salt 32 and body, or nonce 12, ciphertext and tag 16. It
	// is nil if the body is not there: destroyed, or lost.
	Body []byte
}

func (s *Stored) leaf() *leaf { return (*leaf)(&s.Leaf) }

// ID returns the record's id.
func (s *Stored) ID() ID { return s.leaf().id() }

// Kind returns what the record is.
func (s *Stored) Kind() Kind { return s.leaf().kind() }

// Class returns the record's retention class.
func (s *Stored) Class() Class { return s.leaf().class() }

// Encoding returns how the plain body is written.
func (s *Stored) Encoding() uint8 { return s.leaf().encoding() }

// Time returns when the record was recorded.
func (s *Stored) Time() time.Time { return s.leaf().time() }

// Encrypted reports whether the body is stored encrypted.
func (s *Stored) Encrypted() bool { return s.leaf().encrypted() }

// Intact reports whether salt and plain body are what the leaf commits to.
func (s *Stored) Intact(saltAndBody []byte) bool { return s.leaf().commitsTo(saltAndBody) }

// set puts in the stored bytes, which are copied.
func (s *Stored) set(p parts, ok bool) error {
	if !ok {
		return fmt.Errorf("%s offset %d: the stored body of record %d cannot be taken apart", s.BodyFile, s.BodyOffset, s.Index)
	}
	s.Handle, s.Body = slices.Clone(p.handle), slices.Clone(p.rest)
	return nil
}

// Bodies reads single records of one log, by index, by id and by term, also while
// the log is written, sealed and thinned out by others. In sealed segments a
// look-up is a search in the index; the others are scanned once, and then only
// what came since. It may be used from many goroutines; one works at a time.
type Bodies struct {
	dir, generation string

	mu     sync.Mutex
	segs   []*bodySegment // by first index
	listed time.Time
	times  [2]time.Time // when the directories of segments and indexes had changed
	open   int          // files of sealed segments
}

// maxOpen is how many sealed segments are kept open.
const maxOpen = 512

// bodySegment is a segment as [Bodies] knows it.
type bodySegment struct {
	segment
	file *os.File
	idx  *index // of a sealed segment; nil if it is scanned
	scan *segmentScan
}

// segmentScan is what was found in a segment that has no index in force.
type segmentScan struct {
	off      int64   // where the next frame begins
	entries  []int64 // offset of each record's entry
	ids      map[ID][]uint32
	terms    map[uint64][]uint32
	unlisted bool // terms of some records are in an index that is not there
}

// OpenBodies opens the log of a generation in dir for look-ups; an empty
// generation is the only one there.
func OpenBodies(dir, generation string) (*Bodies, error) {
	if generation == "" {
		var err error
		if generation, err = onlyGeneration(dir); err != nil {
			return nil, err
		}
	}
	b := &Bodies{dir: dir, generation: generation}
	if err := b.refresh(); err != nil {
		return nil, errors.Join(fmt.Errorf("open bodies of %s: %w", dir, err), b.Close())
	}
	return b, nil
}

// Close closes what is open. The reader can be used again.
func (b *Bodies) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.segs {
		b.drop(s)
	}
	b.segs, b.listed = nil, time.Time{}
	return nil
}

// drop closes what is open of a segment and forgets what was found in it.
func (b *Bodies) drop(s *bodySegment) {
	if s.idx != nil {
		s.idx.close()
		b.open--
	}
	if s.file != nil {
		s.file.Close() //nolint:errcheck // only read
	}
	s.idx, s.file, s.scan = nil, nil, nil
}

// Size returns how many records can be read now.
func (b *Bodies) Size() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refresh(); err != nil || len(b.segs) == 0 {
		return 0, err
	}
	s := b.segs[len(b.segs)-1]
	if err := b.ready(s); err != nil {
		return 0, err
	}
	return s.first + s.records(), nil
}

// Record returns a record by its index.
func (b *Bodies) Record(i int64) (Stored, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refresh(); err != nil {
		return Stored{}, err
	}
	n := sort.Search(len(b.segs), func(n int) bool { return b.segs[n].first > i })
	if n == 0 || i < 0 {
		return Stored{}, fmt.Errorf("there is no record %d", i)
	}
	s := b.segs[n-1]
	if err := b.ready(s); err != nil {
		return Stored{}, err
	}
	if i-s.first >= s.records() {
		return Stored{}, fmt.Errorf("there is no record %d", i)
	}
	return b.record(s, i)
}

// ByID returns the indices of the records with this id, in order. There is more
// than one where a record was written again after a crash, or decided again.
func (b *Bodies) ByID(id ID) ([]int64, error) {
	return b.find(func(s *bodySegment) ([]uint32, error) {
		if s.scan != nil {
			return s.scan.ids[id], nil
		}
		maybe, err := s.idx.byID(id)
		if err != nil {
			return nil, err
		}
		var found []uint32
		for _, r := range maybe {
			rec := Stored{Index: s.first + int64(r)}
			if _, err := b.readLeaf(s, &rec); err != nil {
				return nil, err
			}
			if rec.ID() == id {
				found = append(found, r)
			}
		}
		return found, nil
	})
}

// ByTerm returns the indices of the records that have an index term, in order.
// Records that were written without encryption have none. The error is an
// [ErrNoIndex] where an index is not there; what the others say is returned.
func (b *Bodies) ByTerm(term uint64) ([]int64, error) {
	return b.find(func(s *bodySegment) ([]uint32, error) {
		if s.scan != nil {
			if s.scan.unlisted {
				return s.scan.terms[term], fmt.Errorf("%w: %s", ErrNoIndex, s.name)
			}
			return s.scan.terms[term], nil
		}
		return s.idx.byTerm(term)
	})
}

// find asks every segment.
func (b *Bodies) find(in func(s *bodySegment) ([]uint32, error)) (found []int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refresh(); err != nil {
		return nil, err
	}
	var missing error
	for _, s := range b.segs {
		if err := b.ready(s); err != nil {
			return nil, err
		}
		records, err := in(s)
		if errors.Is(err, ErrNoIndex) {
			missing, err = err, nil
		}
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			found = append(found, s.first+int64(r))
		}
	}
	return found, missing
}

// refresh lists the directories if they changed. A change as recent as the clock
// of the file system is coarse may not show in their times, so for a moment after
// a change they are listed each time.
func (b *Bodies) refresh() error {
	logDir := filepath.Join(b.dir, logsDir, b.generation)
	var now [2]time.Time
	for i, d := range []string{filepath.Join(logDir, segmentsDir), filepath.Join(b.dir, indexesDir)} {
		fi, err := os.Stat(d)
		if err == nil {
			now[i] = fi.ModTime()
		} else if i == 0 || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	const coarse = 100 * time.Millisecond
	settled := b.listed.Sub(now[0]) > coarse && b.listed.Sub(now[1]) > coarse
	if now == b.times && settled {
		return nil
	}
	b.listed, b.times = time.Now(), now // before the listing: what comes during it may be missed
	segs, err := segments(logDir, b.generation)
	if err != nil {
		return err
	}
	old := make(map[int64]*bodySegment, len(b.segs))
	for _, s := range b.segs {
		old[s.first] = s
	}
	b.segs = b.segs[:0:0]
	for _, seg := range segs {
		s := old[seg.first]
		delete(old, seg.first)
		if s == nil {
			s = &bodySegment{segment: seg}
		} else if !b.same(s) {
			b.drop(s)
		}
		b.segs = append(b.segs, s)
	}
	for _, s := range old {
		b.drop(s)
	}
	return nil
}

// same reports whether the files that are open are still those in place, and no
// index has come into force.
func (b *Bodies) same(s *bodySegment) bool {
	if s.file == nil {
		return true
	}
	shown, err := os.Stat(s.path)
	if err != nil {
		return false
	}
	ours, err := s.file.Stat()
	if err != nil || !os.SameFile(shown, ours) {
		return false
	}
	shown, err = os.Stat(filepath.Join(b.dir, indexName(b.generation, s.first)))
	if s.idx == nil {
		return err != nil // an index is there: look whether it is in force
	}
	if err != nil {
		return false
	}
	ours, err = s.idx.f.Stat()
	return err == nil && os.SameFile(shown, ours)
}

// ready opens a segment, or scans what came to it.
func (b *Bodies) ready(s *bodySegment) error {
	if s.idx != nil {
		return nil
	}
	if s.file == nil {
		if b.open >= maxOpen {
			for _, o := range b.segs {
				if o.idx != nil {
					b.drop(o)
					break
				}
			}
		}
		var err error
		if s.file, err = os.Open(s.path); err != nil {
			return err
		}
		s.scan = &segmentScan{ids: make(map[ID][]uint32), terms: make(map[uint64][]uint32)}
		x, err := openIndex(b.dir, b.generation, s.first)
		switch {
		case err == nil:
			fi, err := s.file.Stat()
			if err != nil {
				x.close()
				return err
			}
			if fi.Size() == x.size {
				s.idx, s.scan = x, nil
				b.open++
				return nil
			}
			x.close() // sealing has not come to its end: the segment still has everything
		case errors.Is(err, errIndex), errors.Is(err, fs.ErrNotExist):
			// The scan finds all but the terms.
		default:
			return err
		}
	}
	return s.scan.extend(s)
}

// extend scans what came to the segment. A frame that is not sound ends it: it is
// being written, or the verifier has a word for it.
func (c *segmentScan) extend(s *bodySegment) error {
	fi, err := s.file.Stat()
	if err != nil {
		return err
	}
	if fi.Size() <= c.off {
		return nil
	}
	r := frameReader{r: s.file, size: fi.Size(), off: c.off}
	for {
		f, err := r.next()
		if errors.Is(err, io.EOF) || isDamage(err) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", s.name, r.off, err)
		}
		if f.first != s.first+int64(len(c.entries)) {
			return fmt.Errorf("%s offset %d: record %d where %d is due; run weir evidence verify", s.name, f.offset, f.first, s.first+int64(len(c.entries)))
		}
		f.each(func(e entry) {
			record := uint32(len(c.entries))
			c.entries = append(c.entries, e.offset)
			c.ids[e.leaf.id()] = append(c.ids[e.leaf.id()], record)
			if !e.leaf.encrypted() {
				return
			}
			if len(e.stored) == 0 {
				c.unlisted = true
				return
			}
			if p, ok := splitStored(e.leaf, e.stored); ok {
				for t := p.terms; len(t) >= termSize; t = t[termSize:] {
					term := binary.BigEndian.Uint64(t)
					if l := c.terms[term]; len(l) == 0 || l[len(l)-1] != record {
						c.terms[term] = append(l, record)
					}
				}
			}
		})
		c.off = r.off
	}
}

func (s *bodySegment) records() int64 {
	if s.idx != nil {
		return s.idx.records
	}
	return int64(len(s.scan.entries))
}

// readLeaf reads the leaf of rec.Index and returns the offset of its entry in the
// body file: 0 if it was not moved, -1 if that is not known.
func (b *Bodies) readLeaf(s *bodySegment, rec *Stored) (body int64, err error) {
	rec.File = s.name
	if s.idx != nil {
		if rec.Offset, body, err = s.idx.place(rec.Index - s.first); err != nil {
			return 0, err
		}
	} else {
		rec.Offset, body = s.scan.entries[rec.Index-s.first], -1
	}
	var head [entryHeader]byte
	if _, err := s.file.ReadAt(head[:], rec.Offset); err != nil {
		return 0, fmt.Errorf("read %s at %d: %w", s.name, rec.Offset, err)
	}
	copy(rec.Leaf[:], head[4:])
	return body, nil
}

// record reads a record of a segment that is ready.
func (b *Bodies) record(s *bodySegment, i int64) (Stored, error) {
	rec := Stored{Index: i}
	body, err := b.readLeaf(s, &rec)
	if err != nil {
		return Stored{}, err
	}
	var size [4]byte
	if _, err := s.file.ReadAt(size[:], rec.Offset); err != nil {
		return Stored{}, fmt.Errorf("read %s at %d: %w", s.name, rec.Offset, err)
	}
	if n := binary.BigEndian.Uint32(size[:]); n > 0 {
		rec.BodyFile, rec.BodyOffset = rec.File, rec.Offset
		if n > maxStored {
			return Stored{}, fmt.Errorf("%s offset %d: %w", s.name, rec.Offset, errEntries)
		}
		stored := make([]byte, n)
		if _, err := s.file.ReadAt(stored, rec.Offset+entryHeader); err != nil {
			return Stored{}, fmt.Errorf("read %s at %d: %w", s.name, rec.Offset, err)
		}
		return rec, rec.set(splitStored(rec.leaf(), stored))
	}
	rec.BodyFile = BodyFile(b.generation, s.first, rec.Class(), dayOf(rec.leaf().nanos()))
	if body < 0 {
		// Without an index the file is read up to the record.
		m := movedBodies{dir: b.dir, names: bodyNames{generation: b.generation, segment: s.first}}
		defer m.close()
		stored, _, offset, err := m.find(i, rec.leaf())
		if err == nil && stored == nil {
			return b.kept(s.first, rec)
		}
		if err != nil {
			return rec, err
		}
		rec.BodyOffset = offset
		return rec, rec.set(splitMoved(rec.leaf(), stored))
	}
	rec.BodyOffset = body
	f, err := os.Open(filepath.Join(b.dir, rec.BodyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b.kept(s.first, rec)
	}
	if err != nil {
		return Stored{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	var head [bodyEntryHeader]byte
	if _, err := f.ReadAt(head[:], body); err != nil {
		return Stored{}, fmt.Errorf("read %s at %d: %w", rec.BodyFile, body, err)
	}
	n := binary.BigEndian.Uint32(head[4:])
	if int64(binary.BigEndian.Uint32(head[:])) != i-s.first || n > maxStored {
		return Stored{}, fmt.Errorf("%s offset %d: %w: record %d is not there", rec.BodyFile, body, errBodyFile, i)
	}
	stored := make([]byte, n)
	if _, err := f.ReadAt(stored, body+bodyEntryHeader); err != nil {
		return Stored{}, fmt.Errorf("read %s at %d: %w", rec.BodyFile, body, err)
	}
	return rec, rec.set(splitMoved(rec.leaf(), stored))
}

// ParseBodyFile takes the name of a body file apart, relative to the evidence
// directory. It reports false for other names.
func ParseBodyFile(name string) (generation string, first int64, class, day string, ok bool) {
	part := strings.Split(filepath.ToSlash(name), "/")
	if len(part) != 4 || part[0] != bodiesDir {
		return "", 0, "", "", false
	}
	base, ok := strings.CutSuffix(part[3], bodyExt)
	i := len(base) - 21
	if !ok || i < 1 || base[i] != '-' || !isFileName(base[:i]) || strings.Trim(base[i+1:], "0123456789") != "" {
		return "", 0, "", "", false
	}
	first, err := strconv.ParseInt(base[i+1:], 10, 64)
	if _, derr := time.Parse(time.DateOnly, part[2]); derr != nil || err != nil {
		return "", 0, "", "", false
	}
	return base[:i], first, part[1], part[2], true
}
