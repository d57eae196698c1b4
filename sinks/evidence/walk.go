package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Entry is a record as [Walk] finds it.
type Entry struct {
	Index    int64
	ID       ID
	Kind     Kind
	Class    Class
	Encoding uint8
	Time     time.Time // when it was recorded
	Body     []byte    // valid until fn returns; nil if the body is not here or not opened
	Salt     []byte    // what the commitment adds to the body; valid until fn returns, nil with Body
	Leaf     [64]byte  // the record's public part, as it is hashed into the tree
	File     string    // relative to the evidence directory
	Offset   int64

	Encrypted bool        // the body is, where it lies
	Handle    keys.Handle // of the key it is encrypted with
	Terms     []uint64    // what it is looked up by: see [keys.Ring.Term]
	// Closed is why an encrypted body was not opened: [ErrNoKeys], or what
	// [keys.Ring.Open] says of a key that is gone.
	Closed error
}

// Walk calls fn for every record of the only log in dir, in order, and returns
// fn's first error. A log may be walked while it is written. Bodies that are
// encrypted are opened with the keys of ring, which may be nil: then they are not.
// Checksums are checked and that keys open what they should, nothing else: [Verify]
// says whether the log can be trusted.
func Walk(dir string, ring *keys.Ring, fn func(Entry) error) error {
	g, err := onlyGeneration(dir)
	if err != nil {
		return err
	}
	return walkGeneration(dir, g, ring, fn)
}

// WalkTail is Walk for the end of a log: it begins with the last segment that has a
// record of which begin is true, or with the first if there is none. Where the
// log is not there yet it calls nobody.
func WalkTail(dir, generation string, ring *keys.Ring, begin func(Entry) bool, fn func(Entry) error) error {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for first := len(segs) - 1; first > 0; first-- {
		found := errors.New("found")
		err := walkEntries(segs[first:first+1], first == len(segs)-1, ring, func(e Entry) error {
			if begin(e) {
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			segs = segs[first:]
			break
		}
		if err != nil {
			return err
		}
	}
	return walkEntries(segs, true, ring, fn)
}

func walkGeneration(dir, generation string, ring *keys.Ring, fn func(Entry) error) error {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if err != nil {
		return err
	}
	return walkEntries(segs, true, ring, fn)
}

// walkEntries calls fn for every record of segments. A write cut short is nothing
// to speak of at the end of the last segment of a log.
func walkEntries(segs []segment, last bool, ring *keys.Ring, fn func(Entry) error) error {
	var moved *movedBodies
	var buf []byte
	onFrame := func(seg *segment, f *frame) error {
		index := f.first
		var err error
		f.each(func(e entry) {
			if err != nil {
				return
			}
			x := Entry{
				Index: index, ID: e.leaf.id(), Kind: e.leaf.kind(), Class: e.leaf.class(), Encoding: e.leaf.encoding(),
				Time: e.leaf.time(), File: seg.name, Offset: e.offset, Leaf: *e.leaf,
			}
			if p, ok := moved.parts(index, &e); ok {
				if buf, err = x.open(p, ring, buf); err != nil {
					err = fmt.Errorf("record %d, %s offset %d: %w", index, seg.name, e.offset, err)
					return
				}
			}
			err = fn(x)
			index++
		})
		return err
	}
	onFault := func(fl *fault) error {
		if fl.torn {
			return nil
		}
		return fmt.Errorf("%s offset %d: %w", fl.seg.name, fl.offset, fl.err)
	}
	for i := range segs {
		moved = segs[i].moved()
		err := walkSegment(&segs[i], last && i == len(segs)-1, onFrame, onFault)
		moved.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// open puts the body in, if there is a key to it. An encrypted one is opened into
// buf, which is returned for the next.
func (x *Entry) open(p parts, ring *keys.Ring, buf []byte) ([]byte, error) {
	plain := p.rest
	if l := (*leaf)(&x.Leaf); l.encrypted() {
		x.Encrypted, x.Handle, x.Terms = true, keys.Handle(p.handle), p.index()
		var err error
		switch plain, err = l.decrypt(p, ring, buf[:0]); {
		case closed(err) || lost(err):
			x.Closed = err
			return buf, nil
		case err != nil:
			return buf, err
		}
		buf = plain
	}
	x.Salt, x.Body = plain[:saltSize:saltSize], plain[saltSize:]
	return buf, nil
}
