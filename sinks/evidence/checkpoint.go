package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// head is what a checkpoint says: the log's first size records have this root.
type head struct {
	size int64
	root tlog.Hash
}

// text is the signed part of a checkpoint, in the form of C2SP tlog-checkpoint:
// three lines, origin, size and root.
func (h head) text(origin string) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, h.size, h.root)
}

// sign makes a checkpoint and reads it back as a stranger would. A signature
// gone wrong in memory must not leave the process: a log with two answers for
// one size is a log nobody can believe again.
func (h head) sign(k *key) ([]byte, error) {
	msg, err := note.Sign(&note.Note{Text: h.text(k.signer.Name())}, k.signer)
	if err != nil {
		return nil, err
	}
	back, err := parseCheckpoint(msg, k.verifier)
	if err != nil {
		return nil, fmt.Errorf("check own signature: %w", err)
	}
	if back != h {
		return nil, errors.New("check own signature: the checkpoint says something else")
	}
	return msg, nil
}

// parseCheckpoint reads a checkpoint signed by v, whose name is the log's
// origin. Signatures of others beside it are left alone: witnesses may add theirs.
func parseCheckpoint(msg []byte, v note.Verifier) (head, error) {
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case errors.As(err, &unverified):
			return head{}, errors.New("it is not signed by the log's key")
		case errors.As(err, &invalid):
			return head{}, errors.New("its signature is not right")
		}
		return head{}, errors.New("it is not a signed note")
	}
	origin, h, err := parseHead(n.Text)
	if err == nil && origin != v.Name() {
		return head{}, errors.New("it belongs to another log")
	}
	return h, err
}

// parseHead reads the text of a checkpoint.
func parseHead(text string) (origin string, h head, err error) {
	origin, rest, _ := strings.Cut(text, "\n")
	size, rest, _ := strings.Cut(rest, "\n")
	root, _, ok := strings.Cut(rest, "\n")
	if !ok {
		return "", head{}, errors.New("it has fewer than three lines")
	}
	if h.size, err = strconv.ParseInt(size, 10, 64); err != nil || h.size < 1 || strconv.FormatInt(h.size, 10) != size {
		return "", head{}, errors.New("its size is not a number")
	}
	if h.root, err = tlog.ParseHash(root); err != nil || h.root.String() != root {
		return "", head{}, errors.New("its root is not a hash")
	}
	return origin, h, nil
}

// maxCheckpoint is the size of the largest checkpoint that is read, room for many
// signatures of witnesses.
const maxCheckpoint = 64 << 10

// The history is checkpoints one after another, each followed by an empty line.

var sigPrefix = []byte("— ")

// cutCheckpoint returns the length of the first checkpoint of a history, with
// the empty line after it. It reports false if b ends before that.
func cutCheckpoint(b []byte) (int, bool) {
	signed := false
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, false
		}
		if n == 0 && signed {
			return i + 1, true
		}
		signed = bytes.HasPrefix(b[i:], sigPrefix)
		i += n + 1
	}
}

// lastCheckpoint finds the last complete checkpoint of a history and the offset
// at which it ends. What lies after that is an append cut short. A history
// without any gives nil and 0.
func lastCheckpoint(f *os.File) (msg []byte, end int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	off := max(0, fi.Size()-2*maxCheckpoint)
	b := make([]byte, fi.Size()-off)
	if _, err := f.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	for {
		n, ok := cutCheckpoint(b)
		if !ok {
			return msg, off, nil
		}
		if _, more := cutCheckpoint(b[n:]); !more && bytes.IndexByte(b[:n], 0) >= 0 {
			// Of an append cut short the end may be there and the beginning not: a disk
			// has an order of its own, and a file system fills the hole with zeros.
			return msg, off, nil
		}
		msg, b, off = b[:n-1], b[n:], off+int64(n)
	}
}

// historyReader reads a history from its beginning to where it ended when
// reading began.
type historyReader struct {
	r    io.ReaderAt
	size int64
	off  int64
	buf  []byte // the bytes from off
}

// next returns the next checkpoint and its offset; io.EOF at the end, and
// io.ErrUnexpectedEOF if the last one is cut short.
func (h *historyReader) next() (msg []byte, offset int64, err error) {
	for {
		if n, ok := cutCheckpoint(h.buf); ok {
			msg, offset = h.buf[:n-1], h.off
			h.buf = h.buf[n:]
			h.off += int64(n)
			return msg, offset, nil
		}
		at := h.off + int64(len(h.buf))
		if at >= h.size || len(h.buf) > maxCheckpoint {
			if len(h.buf) == 0 {
				return nil, h.off, io.EOF
			}
			return nil, h.off, io.ErrUnexpectedEOF
		}
		more := make([]byte, min(h.size-at, 2*maxCheckpoint))
		n, err := h.r.ReadAt(more, at)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, h.off, err
		}
		h.buf = append(bytes.Clone(h.buf), more[:n]...)
	}
}
