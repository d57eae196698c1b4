package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What package desk needs of the files of a log: to say what is to be destroyed,
// and to keep of it what a hold is on.

// Generations lists the logs in an evidence directory by their names. There is none
// where there is no directory.
func Generations(dir string) ([]string, error) {
	g, err := generations(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return g, err
}

// WalkAudit calls fn for the records of class audit in a generation, from the index
// from on, in order, and returns the index after the last record and fn's first
// error. Segments before from are not read. A body is what its leaf commits to;
// what is damaged is passed over: [Verify] has words for it.
func WalkAudit(dir, generation string, from int64, fn func(Entry) error) (next int64, err error) {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if err != nil {
		return 0, err
	}
	for len(segs) > 1 && segs[1].first <= from {
		segs = segs[1:]
	}
	var failed error
	onFrame := func(seg *segment, f *frame) error {
		index := f.first
		f.each(func(e entry) {
			l := e.leaf
			if failed == nil && index >= from && l.class() == ClassAudit && l.known() && l.commitsTo(e.stored) {
				failed = fn(Entry{
					Index: index, ID: l.id(), Kind: l.kind(), Class: l.class(), Encoding: l.encoding(), Time: l.time(),
					Body: e.stored[saltSize:], File: seg.name, Offset: e.offset,
				})
			}
			index++
		})
		next = index
		return failed
	}
	err = walk(segs, onFrame, func(fl *fault) error {
		if fl.frame != nil {
			return onFrame(fl.seg, fl.frame)
		}
		return nil
	})
	return max(next, from), err
}

// OldestRaw returns when the oldest record was recorded whose body is still in a
// segment and that sealing would move; zero if there is none. Segments of which sealed
// says so, by their first index, are not read.
func OldestRaw(dir, generation string, sealed func(first int64) bool) (oldest time.Time, err error) {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if err != nil {
		return oldest, err
	}
	found := errors.New("found")
	for i := range segs {
		if sealed(segs[i].first) {
			continue
		}
		err := walkSegment(&segs[i], true, func(_ *segment, f *frame) error {
			f.each(func(e entry) {
				if oldest.IsZero() && e.leaf.class().Moved() && len(e.stored) > 0 {
					oldest = e.leaf.time()
				}
			})
			if !oldest.IsZero() {
				return found
			}
			return nil
		}, func(fl *fault) error {
			if fl.torn {
				return nil
			}
			return fmt.Errorf("%s offset %d: %w", fl.seg.name, fl.offset, fl.err)
		})
		if errors.Is(err, found) {
			return oldest, nil // records are in the order of their times
		}
		if err != nil {
			return oldest, err
		}
	}
	return oldest, nil
}

// MovedBody is an entry of a body file.
type MovedBody struct {
	Index int64
	// Handle names the key of an encrypted body; it is no handle if the body is in
	// clear: the leaf knows. It is valid until the next entry is read.
	Handle []byte
}

// WalkBodyFile calls fn for the entries of a body file, or of what a hold kept of
// one, in order, and returns fn's first error. The name is relative to dir.
func WalkBodyFile(dir, name string, fn func(MovedBody) error) error {
	r, err := openMoved(dir, name)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		index, stored, _, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(MovedBody{index, stored[:min(len(stored), handleSize)]}); err != nil {
			return err
		}
	}
}

func openMoved(dir, name string) (*bodyReader, error) {
	digits, ok := strings.CutSuffix(filepath.Base(name), bodyExt)
	if i := len(digits) - 20; ok && i > 0 {
		if first, err := strconv.ParseInt(digits[i:], 10, 64); err == nil {
			return openBodyFile(dir, name, first)
		}
	}
	return nil, fmt.Errorf("%s: not the name of a body file", name)
}

// KeepBodies copies the entries of a body file of which keep says so to another one,
// and makes that durable under its name; where there are none it makes no file. Both
// names are relative to dir. It returns how many there were.
//
// If the process dies within, a file ending in .tmp is left, which the next call
// overwrites: call it again.
func KeepBodies(dir, from, to string, keep func(index int64) bool) (int, error) {
	r, err := openMoved(dir, from)
	if err != nil {
		return 0, err
	}
	defer r.close()
	path := filepath.Join(dir, to)
	n, err := keepBodies(systemCalls(), dir, r, path, keep)
	if err != nil {
		return 0, fmt.Errorf("keep bodies of %s: %w", from, err)
	}
	return n, nil
}

func keepBodies(c *calls, dir string, r *bodyReader, path string, keep func(index int64) bool) (int, error) {
	w := &bodyWriter{calls: c, path: path, name: filepath.Base(path), segment: r.segment, first: -1}
	w.buf = append(w.buf, bodyMagic...)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(r.segment))
	defer w.abandon()
	for {
		index, stored, _, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if !keep(index) {
			continue
		}
		if w.f == nil {
			// The directories are synced also when they exist: who died between making and syncing
			// them left some that a loss of power takes away, and the original is unlinked next.
			if err := w.create(dir); err != nil {
				return 0, err
			}
		}
		if _, err := w.add(index, parts{rest: stored}); err != nil {
			return 0, err
		}
	}
	if w.f == nil {
		return 0, nil
	}
	return int(w.records), w.finish()
}

// ForgetRanges takes what records can be looked up by out of the indexes of sealed
// segments of any generation in the log's directory. Each range is from an index up to
// and not including the next. Segments without an index have no terms to be found by.
// If the process dies within, some indexes have been changed: call it again.
func (l *Log) ForgetRanges(generation string, ranges [][2]int64) error {
	l.sealMu.Lock() // an index that is being made would come back with them
	defer l.sealMu.Unlock()
	segs, err := segments(filepath.Join(l.o.Dir, logsDir, generation), generation)
	if err != nil {
		return fmt.Errorf("take terms out of indexes: %w", err)
	}
	for i, seg := range segs {
		gone := make(map[uint32]bool)
		for _, r := range ranges {
			first, next := max(r[0], seg.first), r[1]
			if i < len(segs)-1 {
				next = min(next, segs[i+1].first)
			}
			for n := first; n < next; n++ {
				gone[uint32(n-seg.first)] = true
			}
		}
		if err := l.forget(generation, seg.first, gone); err != nil {
			return err
		}
	}
	return nil
}

// ForgetBodies takes what the records can be looked up by whose bodies are in the body
// files named, out of the indexes, but for those that a hold has kept. The files need
// not be there any more. If the process dies within, call it again.
func (l *Log) ForgetBodies(files []string) error {
	l.sealMu.Lock()
	defer l.sealMu.Unlock()
	for _, name := range files {
		generation, first, class, day, ok := ParseBodyFile(name)
		if !ok {
			return fmt.Errorf("%s: not the name of a body file", name)
		}
		kept, err := l.keptOf(name)
		if err != nil {
			return err
		}
		seg := segment{first: first, path: segmentPath(filepath.Join(l.o.Dir, logsDir, generation), first), name: name}
		gone := make(map[uint32]bool)
		err = walkSegment(&seg, false, func(_ *segment, f *frame) error {
			index := f.first
			f.each(func(e entry) {
				if e.leaf.class().String() == class && dayOf(e.leaf.nanos()) == day && !kept[index] {
					gone[uint32(index-first)] = true
				}
				index++
			})
			return nil
		}, func(fl *fault) error { return fl.err })
		if err != nil {
			return fmt.Errorf("take the terms of %s out of the index: %w", name, err)
		}
		if err := l.forget(generation, first, gone); err != nil {
			return err
		}
	}
	return nil
}

// HoldFile is the name, relative to the evidence directory, of what a hold keeps of a
// body file.
func HoldFile(hold, bodyFile string) string {
	rest, _ := strings.CutPrefix(filepath.ToSlash(bodyFile), bodiesDir+"/")
	return filepath.Join(bodiesDir, holdsDir, hold, filepath.FromSlash(rest))
}

// kept returns a record whose body file is gone, with what a hold has kept of it.
func (b *Bodies) kept(first int64, rec Stored) (Stored, error) {
	holds, err := os.ReadDir(filepath.Join(b.dir, bodiesDir, holdsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err != nil {
		return Stored{}, err
	}
	for _, h := range holds {
		name := HoldFile(h.Name(), rec.BodyFile)
		r, err := openBodyFile(b.dir, name, first)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Stored{}, err
		}
		found, err := func() (bool, error) {
			defer r.close()
			for {
				index, stored, offset, err := r.next()
				if errors.Is(err, io.EOF) || err == nil && index > rec.Index {
					return false, nil
				}
				if err != nil {
					return false, err
				}
				if index == rec.Index {
					rec.BodyFile, rec.BodyOffset = name, offset
					return true, rec.set(splitMoved(rec.leaf(), stored))
				}
			}
		}()
		if found || err != nil {
			return rec, err
		}
	}
	return rec, nil
}

// keptOf returns the records of a body file that holds have kept.
func (l *Log) keptOf(bodyFile string) (map[int64]bool, error) {
	holds, err := os.ReadDir(filepath.Join(l.o.Dir, bodiesDir, holdsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	kept := make(map[int64]bool)
	for _, h := range holds {
		err := WalkBodyFile(l.o.Dir, HoldFile(h.Name(), bodyFile), func(b MovedBody) error {
			kept[b.Index] = true
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return kept, nil
}

// forget takes the terms of records out of the index of one segment.
func (l *Log) forget(generation string, first int64, gone map[uint32]bool) error {
	if len(gone) == 0 {
		return nil
	}
	if err := l.forgetIn(generation, first, gone); err != nil {
		return fmt.Errorf("take terms out of %s: %w", indexName(generation, first), err)
	}
	return nil
}
