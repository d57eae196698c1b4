package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A frame is what one write puts into a segment: the records of one group.
//
//	 0  magic    4   "evf1"
//	 4  length   4   bytes of the entries
//	 8  crc32c   4   of the first 8 bytes, then of everything after this field
//	12  first    8   index of the first record
//	20  count    4   of records
//	24  reserved 4   0
//	28  entries
//
// An entry is the length of the stored body (4), the leaf (64) and the stored
// body: salt and plain body, unless it is encrypted. All numbers are big-endian. A
// stored length of 0 means that the body is not here.
const (
	frameMagic  = "evf1"
	frameHeader = 28
	entryHeader = 4 + leafSize

	// maxEntries is the largest entries part a reader accepts. It is a little more
	// than the largest one a writer makes, which holds one record of the largest
	// body or a group.
	maxEntries = max(entryHeader+maxStored, maxGroupBytes)
)

// castagnoli is computed once: crc32 keeps it behind a sync.Once of its own.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func frameCRC(head, entries []byte) uint32 {
	t := castagnoli()
	c := crc32.Checksum(head[:8], t)
	c = crc32.Update(c, t, head[12:frameHeader])
	return crc32.Update(c, t, entries)
}

// appendEntry puts a record at the end of a frame in the making.
func appendEntry(b []byte, it *item) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(it.stored)))
	b = append(b, it.leaf[:]...)
	return append(b, it.stored...)
}

// finishFrame fills in the header of b, whose entries are complete.
func finishFrame(b []byte, first int64, count int) {
	copy(b, frameMagic)
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)-frameHeader))
	binary.BigEndian.PutUint64(b[12:], uint64(first))
	binary.BigEndian.PutUint32(b[20:], uint32(count))
	binary.BigEndian.PutUint32(b[24:], 0)
	binary.BigEndian.PutUint32(b[8:], frameCRC(b, b[frameHeader:]))
}

// Encrypted records (flagEncrypted) are stored in a segment as
//
//	handle 16 ‖ n 1 ‖ n index terms of 8 ‖ nonce 12 ‖ ciphertext of salt and body ‖ tag 16
//
// and in a body file without n and the terms, which then are in the index.
const (
	handleSize = 16
	termSize   = 8
)

// parts are the stored bytes of a record taken apart. They share its memory.
type parts struct {
	handle []byte // of the key; nil if the record is not encrypted
	terms  []byte // 8 bytes each; none if it is not encrypted
	rest   []byte // nonce, ciphertext and tag; or salt and body in clear
}

// splitStored takes apart what a segment stores of a record. It reports false if
// the bytes are too few for what they say of themselves.
func splitStored(l *leaf, stored []byte) (p parts, ok bool) {
	if !l.encrypted() {
		return parts{rest: stored}, len(stored) >= saltSize
	}
	if len(stored) < handleSize+1 {
		return parts{}, false
	}
	const from = handleSize + 1
	end := from + int(stored[handleSize])*termSize
	if len(stored) < end {
		return parts{}, false
	}
	return parts{stored[:handleSize:handleSize], stored[from:end:end], stored[end:]}, true
}

// splitMoved takes apart what a body file stores of a record.
func splitMoved(l *leaf, stored []byte) (p parts, ok bool) {
	if !l.encrypted() {
		return parts{rest: stored}, len(stored) >= saltSize
	}
	if len(stored) < handleSize {
		return parts{}, false
	}
	return parts{handle: stored[:handleSize:handleSize], rest: stored[handleSize:]}, true
}

// frame is a frame as read. Its entries are valid until the next read.
type frame struct {
	offset  int64 // of its first byte in the segment
	first   int64
	count   int
	entries []byte
}

func (f *frame) end() int64 { return f.offset + frameHeader + int64(len(f.entries)) }

// entry is a record as it lies in a frame.
type entry struct {
	leaf   *leaf
	stored []byte // empty if the body is not here
	offset int64  // of the entry's first byte in the segment
}

// each calls fn for the frame's entries in order. It reports whether they fill
// the frame exactly and are as many as the header says; if not, fn may have been
// called for the first of them.
func (f *frame) each(fn func(e entry)) bool {
	b := f.entries
	n := 0
	for ; len(b) >= entryHeader && n < f.count; n++ {
		stored := int64(binary.BigEndian.Uint32(b))
		if stored > int64(len(b)-entryHeader) {
			return false
		}
		end := entryHeader + int(stored)
		fn(entry{
			leaf:   (*leaf)(b[4:entryHeader]),
			stored: b[entryHeader:end:end],
			offset: f.offset + frameHeader + int64(len(f.entries)-len(b)),
		})
		b = b[end:]
	}
	return len(b) == 0 && n == f.count
}

func (f *frame) wellFormed() bool { return f.each(func(entry) {}) }

// recount sets the count to what the entries themselves say. It reports whether
// they fill the frame.
func (f *frame) recount() bool {
	n := 0
	for b := f.entries; len(b) > 0; n++ {
		if len(b) < entryHeader {
			return false
		}
		stored := int64(binary.BigEndian.Uint32(b))
		if stored > int64(len(b)-entryHeader) {
			return false
		}
		b = b[entryHeader+int(stored):]
	}
	f.count = n
	return n > 0
}

// What can be wrong with the bytes where a frame should begin.
var (
	errNoFrame  = errors.New("no frame begins here")
	errCutShort = errors.New("the file ends inside this frame")
	errChecksum = errors.New("the frame's checksum does not match")
	errEntries  = errors.New("the frame's records do not fill it")
	errLater    = errors.New("the frame was written by a later version")
	errNoEnd    = errors.New("the damage is too large to look beyond it")
)

// frameReader reads the frames of one segment. The size is fixed when reading
// begins: a log that is being written is read as far as it then went.
type frameReader struct {
	r    io.ReaderAt
	size int64
	off  int64 // where the next frame begins

	win    []byte // a window onto the file
	winOff int64
}

const readWindow = 1 << 20

// bytes returns n bytes at off, or fewer where the file ends. They are valid
// until the next call.
func (r *frameReader) bytes(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(0, r.size-off)))
	if off < r.winOff || off+int64(n) > r.winOff+int64(len(r.win)) {
		want := int(min(int64(max(n, readWindow)), r.size-off))
		if cap(r.win) < want {
			r.win = make([]byte, want)
		}
		r.win = r.win[:want]
		r.winOff = off
		if m, err := r.r.ReadAt(r.win, off); m < want {
			r.win = r.win[:0]
			if err == nil || errors.Is(err, io.EOF) {
				// The file became shorter while it was read.
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	i := off - r.winOff
	return r.win[i : i+int64(n)], nil
}

// next reads the frame at r.off and moves past it. At the end of the file it
// returns io.EOF. If what is there is not a sound frame it does not move; f then
// says what its header claims, with entries only if the claim fits the file.
func (r *frameReader) next() (f frame, err error) {
	f.offset = r.off
	head, err := r.bytes(r.off, frameHeader)
	if err != nil {
		return f, err
	}
	if len(head) == 0 {
		return f, io.EOF
	}
	if len(head) < frameHeader {
		return f, errCutShort
	}
	length := int64(binary.BigEndian.Uint32(head[4:]))
	first := binary.BigEndian.Uint64(head[12:])
	count := binary.BigEndian.Uint32(head[20:])
	if string(head[:4]) != frameMagic || length > maxEntries || int64(first) < 0 || count == 0 || int64(count)*entryHeader > length {
		return f, errNoFrame
	}
	f.first, f.count = int64(first), int(count)
	b, err := r.bytes(r.off, int(frameHeader+length))
	if err != nil {
		return f, err
	}
	if int64(len(b)) < frameHeader+length {
		return f, errCutShort
	}
	f.entries = b[frameHeader:]
	switch {
	case binary.BigEndian.Uint32(b[8:]) != frameCRC(b, f.entries):
		return f, errChecksum
	case binary.BigEndian.Uint32(b[24:]) != 0:
		return f, errLater
	case !f.wellFormed():
		return f, errEntries
	}
	r.off = f.end()
	return f, nil
}

// isDamage tells what the bytes say from what the disk says.
func isDamage(err error) bool {
	return errors.Is(err, errNoFrame) || errors.Is(err, errCutShort) || errors.Is(err, errChecksum) ||
		errors.Is(err, errEntries) || errors.Is(err, errLater)
}

// maxSeekTries is how many places that look like the beginning of a frame are
// tried after damage. Each may cost a checksum over the largest frame, so without
// a limit a crafted file could keep a verifier busy for days.
const maxSeekTries = 4096

// seek moves to the first sound frame at or after off; if there is none, to the
// end. It reports whether there was one, and whether there was at least the
// header of one.
func (r *frameReader) seek(off int64) (found, header bool, err error) {
	magic := []byte(frameMagic)
	tries := 0
	for r.off = off; r.off < r.size; {
		b, err := r.bytes(r.off, readWindow)
		if err != nil {
			return false, header, err
		}
		i := bytes.Index(b, magic)
		if i < 0 {
			// The magic may stand across the end of this window.
			r.off += int64(max(1, len(b)-len(magic)+1))
			continue
		}
		r.off += int64(i)
		if tries++; tries > maxSeekTries {
			return false, header, errNoEnd
		}
		at := r.off
		f, err := r.next()
		if err == nil {
			r.off = at
			return true, true, nil
		}
		if !isDamage(err) {
			return false, header, err
		}
		header = header || f.count > 0
		r.off = at + 1
	}
	r.off = r.size
	return false, header, nil
}

// zeros reports whether nothing but zero bytes lies from off to the end. A crash
// leaves them where a file system had made the file longer before the data was
// written.
func (r *frameReader) zeros(off int64) (bool, error) {
	for off < r.size {
		b, err := r.bytes(off, readWindow)
		if err != nil {
			return false, err
		}
		if len(bytes.Trim(b, "\x00")) > 0 {
			return false, nil
		}
		off += int64(len(b))
	}
	return true, nil
}
