package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// Entry is a record as [Walk] finds it.
type Entry struct {
	Index    int64
	ID       ID
	Kind     Kind
	Class    Class
	Encoding uint8
	Time     time.Time // when it was recorded
	Body     []byte    // valid until fn returns; nil if the body is not here
	Salt     []byte    // what the commitment adds to the body; valid until fn returns, nil with Body
	Leaf     [64]byte  // the record's public part, as it is hashed into the tree
	File     string    // relative to the evidence directory
	Offset   int64
}

// Walk calls fn for every record of the only log in dir, in order, and returns
// fn's first error. A log may be walked while it is written. Checksums are
// checked, nothing else: [Verify] says whether the log can be trusted.
func Walk(dir string, fn func(Entry) error) error {
	g, err := onlyGeneration(dir)
	if err != nil {
		return err
	}
	return walkGeneration(dir, g, fn)
}

// WalkTail is Walk for the end of a log: it begins with the last segment that has a
// record of which begin is true, or with the first if there is none. Where the
// log is not there yet it calls nobody.
func WalkTail(dir, generation string, begin func(Entry) bool, fn func(Entry) error) error {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for first := len(segs) - 1; first > 0; first-- {
		found := errors.New("found")
		err := walkEntries(segs[first:first+1], first == len(segs)-1, func(e Entry) error {
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
	return walkEntries(segs, true, fn)
}

func walkGeneration(dir, generation string, fn func(Entry) error) error {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if err != nil {
		return err
	}
	return walkEntries(segs, true, fn)
}

// walkEntries calls fn for every record of segments. A write cut short is nothing
// to speak of at the end of the last segment of a log.
func walkEntries(segs []segment, last bool, fn func(Entry) error) error {
	var moved *movedBodies
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
			if p, ok := moved.parts(index, &e); ok && p.handle == nil {
				x.Salt, x.Body = p.rest[:saltSize:saltSize], p.rest[saltSize:]
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
