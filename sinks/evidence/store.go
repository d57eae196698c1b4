package evidence

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Store is where a log is durable whose directory does not last: a pod has no disk
// of its own. The directory is then a working copy, made anew by [WorkingCopy] before
// each start, and a record is acknowledged when the store has it. Where Options has no
// store, the files of the directory themselves are synced.
//
// A method that returns nil has made durable what it was given. After an error it may
// have or not: the log breaks, and the next start reads what is there.
type Store interface {
	// Append takes the frame of the n records from first, in the segment that begins
	// with record segment. If another frame has that place, the log has another writer,
	// and the error is [ErrForked].
	Append(segment, first int64, n int, frame []byte) error
	// AppendHead takes the checkpoint of the log's first size records. Another one of
	// that size is [ErrForked], the same one again is not.
	AppendHead(size int64, checkpoint []byte) error
	// PutBodies takes a body file by its name relative to the evidence directory, in
	// the place of one with that name.
	PutBodies(file string, content io.Reader) error
	// RemoveBodies destroys a body file. That it is gone already is no error.
	RemoveBodies(file string) error
	// Strip puts frames without bodies in the place of those of a segment: all of them, or
	// none. frames calls its argument for each in order.
	Strip(segment int64, frames func(put func(first int64, n int, frame []byte) error) error) error
	// Size returns how many records are there.
	Size() (int64, error)
	StoreReader
}

// StoreReader is what reads a log out of a [Store]. Slices are valid until the call returns.
type StoreReader interface {
	// Frames calls fn for all frames in the order of their first records.
	Frames(ctx context.Context, fn func(segment, first int64, n int, frame []byte) error) error
	// Heads calls fn for all checkpoints, from the smallest to the largest.
	Heads(ctx context.Context, fn func(checkpoint []byte) error) error
	// Bodies calls fn for all body files, in parts, each file's in order.
	Bodies(ctx context.Context, fn func(file string, part []byte) error) error
}

// ErrForked means that a [Store] has something else at the place of what was to be
// written: another writer continued the log.
var ErrForked = errors.New("another writer has continued the evidence log")

// workingCopy is the name of the file that says what the directory is: nothing in it is
// the only copy, and nobody may append to it but who has the store. What was appended to a
// copy alone would be a second history of the log.
const workingCopy = "working-copy"

// WorkingCopy makes the directory of the log origin a working copy of what s has. What
// was there of an earlier one is removed; a directory with a log of its own is refused.
// If the process dies in it, the next call begins again.
func WorkingCopy(ctx context.Context, s StoreReader, dir, origin string) error {
	generation, err := checkOrigin(origin)
	if err != nil {
		return err
	}
	if err := clearCopy(dir); err != nil {
		return fmt.Errorf("working copy of the evidence in %s: %w", dir, err)
	}
	if err := markCopy(dir, generation); err != nil {
		return fmt.Errorf("working copy of the evidence: %w", err)
	}
	if err := writeOut(ctx, s, dir, generation, true); err != nil {
		return fmt.Errorf("working copy of the evidence in %s: %w", dir, err)
	}
	return nil
}

// CopyGeneration adds the log of another generation to a working copy, after [WorkingCopy].
// Nothing is appended to it, so it is taken as it is; what becomes of its bodies is the
// matter of the log in force.
func CopyGeneration(ctx context.Context, s StoreReader, dir, generation string) error {
	if !isFileName(generation) {
		return fmt.Errorf("working copy of the evidence: generation %q; use the last part of the log's origin", generation)
	}
	if err := writeOut(ctx, s, dir, generation, false); err != nil {
		return fmt.Errorf("working copy of the evidence of generation %s in %s: %w", generation, dir, err)
	}
	return nil
}

// Pull writes the log of a generation out as the files that a log in a directory has:
// the same frames, byte for byte, in the same segments, every head, and the body files.
// The directory must not have a log of that generation yet. What the store has is taken as
// it is; [Verify] says whether it can be trusted. It may run while the log is written. Nothing
// can be appended to it afterwards: [Open] refuses.
func Pull(ctx context.Context, s StoreReader, dir, generation string) error {
	if !isFileName(generation) {
		return fmt.Errorf("pull evidence: generation %q; use the last part of the log's origin", generation)
	}
	_, err := os.Stat(filepath.Join(dir, logsDir, generation))
	if err == nil {
		return fmt.Errorf("pull evidence: %s holds a log of generation %s already; name a directory without one", dir, generation)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = markCopy(dir, generation); err == nil {
			err = writeOut(ctx, s, dir, generation, false)
		}
	}
	if err != nil {
		return fmt.Errorf("pull evidence into %s: %w", dir, err)
	}
	return nil
}

// markCopy says that a directory is a copy, before anything is in it.
func markCopy(dir, generation string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, workingCopy), []byte(generation+"\n"), 0o600)
}

// isCopy reports whether the directory is a working copy.
func isCopy(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, workingCopy))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// clearCopy removes what an earlier working copy has left of a log.
func clearCopy(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	marked, err := isCopy(dir)
	if err != nil {
		return err
	}
	if !marked {
		_, err := os.Stat(filepath.Join(dir, logsDir))
		if err == nil {
			return errors.New("the directory holds a log of its own; name one that is empty")
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range []string{logsDir, bodiesDir, indexesDir, keysDir} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// writeOut writes the files of a log. strict refuses what no writer of ours has written:
// a copy that is to be continued has no writes cut short, for a row is there whole or not.
//
// Heads are read before frames: of a log that is being written, no head then covers more
// records than are there.
func writeOut(ctx context.Context, s StoreReader, dir, generation string, strict bool) error {
	logDir := filepath.Join(dir, logsDir, generation)
	if err := os.MkdirAll(filepath.Join(logDir, segmentsDir), 0o700); err != nil {
		return err
	}
	out := outFile{dir: dir}
	var last []byte
	err := s.Heads(ctx, func(msg []byte) error {
		last = append(last[:0], msg...)
		return out.write(filepath.Join(logDir, historyFile), msg, []byte("\n"))
	})
	if err = errors.Join(err, out.close()); err != nil {
		return err
	}
	if last != nil {
		if err := os.WriteFile(filepath.Join(logDir, checkpointFile), last, 0o600); err != nil {
			return err
		}
	}
	var next int64
	err = s.Frames(ctx, func(segment, first int64, n int, b []byte) error {
		if strict {
			if first != next {
				return refuse("MISSING: record %d is due, the next frame begins with record %d", next, first)
			}
			if err := checkFrame(first, n, b); err != nil {
				return refuse("ALTERED: the frame of record %d: %w", first, err)
			}
			next += int64(n)
		}
		return out.write(segmentPath(logDir, segment), b)
	})
	if err = errors.Join(err, out.close()); err != nil {
		return err
	}
	err = s.Bodies(ctx, func(file string, part []byte) error {
		if !filepath.IsLocal(file) || !strings.HasPrefix(file, bodiesDir+"/") {
			return fmt.Errorf("%q is no name of a body file", file)
		}
		return out.write(filepath.Join(dir, filepath.FromSlash(file)), part)
	})
	if err = errors.Join(err, out.close()); err != nil {
		return err
	}
	return writeGenesisKey(dir, logDir, generation)
}

// writeGenesisKey puts the key beside the log of which its first record speaks, where
// there is none: for convenience, as [Log.writeVerifierKey].
func writeGenesisKey(dir, logDir, generation string) error {
	path := filepath.Join(dir, verifierFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	segs, err := segments(logDir, generation)
	if err != nil || len(segs) == 0 {
		return err
	}
	stop := errors.New("first record")
	var g genesis
	err = walkSegment(&segs[0], false, func(_ *segment, f *frame) error {
		f.each(func(e entry) {
			if b, err := readGenesis(e); err == nil {
				g = b
			}
		})
		return stop
	}, func(*fault) error { return stop }) // the verifier says what is wrong
	if err != nil && !errors.Is(err, stop) {
		return err
	}
	if g.VerifierKey == "" {
		return nil
	}
	return os.WriteFile(path, []byte(g.VerifierKey+"\n"), 0o644)
}

// checkFrame refuses bytes that are not the one frame of the n records from first.
func checkFrame(first int64, n int, b []byte) error {
	r := frameReader{r: bytes.NewReader(b), size: int64(len(b))}
	f, err := r.next()
	switch {
	case errors.Is(err, io.EOF):
		return errNoFrame
	case err != nil:
		return err
	case f.first != first || f.count != n || f.end() != r.size:
		return errors.New("the frame is not the one its row speaks of")
	}
	return nil
}

// outFile writes files one after another, each in parts.
type outFile struct {
	dir  string
	path string
	f    *os.File
	w    *bufio.Writer
}

func (o *outFile) write(path string, parts ...[]byte) error {
	if path != o.path {
		if err := o.close(); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		o.path, o.f, o.w = path, f, bufio.NewWriterSize(f, readWindow)
	}
	for _, b := range parts {
		if _, err := o.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (o *outFile) close() error {
	if o.f == nil {
		return nil
	}
	err := errors.Join(o.w.Flush(), o.f.Close())
	o.path, o.f, o.w = "", nil, nil
	return err
}

// volatile are the calls of a working copy: nothing in it need survive.
func volatile(c *calls) *calls {
	v := *c
	v.datasync = func(*os.File) error { return nil }
	v.sync = func(*os.File) error { return nil }
	return &v
}

// checkCopy refuses a directory that the log cannot be opened in, with its store or without.
func (l *Log) checkCopy() error {
	marked, err := isCopy(l.o.Dir)
	switch {
	case err != nil:
		return err
	case marked && l.o.Store == nil:
		return errors.New("the directory is a copy of a log that is kept in a database; only the daemon that has the database may append to it")
	case !marked && l.o.Store != nil:
		return errors.New("the directory is no working copy of the log in the store; make one first")
	}
	return nil
}

// checkStored refuses a working copy that is not as long as what the store has.
func (l *Log) checkStored() error {
	if l.o.Store == nil {
		return nil
	}
	n, err := l.o.Store.Size()
	if err != nil {
		return err
	}
	if n != l.tree.n {
		return fmt.Errorf("%w: the store has %d records, its working copy %d", ErrForked, n, l.tree.n)
	}
	return nil
}

// durable makes a frame that was written to the active segment durable: in the file, or
// in the store, of which the file is then only a copy.
func (l *Log) durable(frame []byte, first int64, n int) error {
	if s := l.o.Store; s != nil {
		if err := s.Append(l.segAt.first, first, n, frame); err != nil {
			return fmt.Errorf("store the frame of record %d: %w", first, err)
		}
		return nil
	}
	if err := l.calls.datasync(l.seg); err != nil {
		return fmt.Errorf("sync %s: %w", l.segAt.name, err)
	}
	return nil
}

// storeBodies gives the store the body files of a segment that is being sealed.
func (s *sealing) storeBodies() error {
	store := s.l.o.Store
	if store == nil {
		return nil
	}
	for _, name := range s.names() {
		w := s.writers[name]
		if w.destroyed {
			continue
		}
		err := func() error {
			f, err := os.Open(w.path)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // only read
			return store.PutBodies(filepath.ToSlash(name), f)
		}()
		if err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
	}
	return nil
}

// storeStripped has the store forget the bodies that were moved out of a segment.
func (s *sealing) storeStripped() error {
	store := s.l.o.Store
	if store == nil {
		return nil
	}
	stripped := s.u.seg
	stripped.path += temporaryExt
	err := store.Strip(s.u.seg.first, func(put func(first int64, n int, frame []byte) error) error {
		var buf []byte
		return walkSegment(&stripped, false, func(_ *segment, f *frame) error {
			buf = append(buf[:0], make([]byte, frameHeader)...)
			buf = append(buf, f.entries...)
			finishFrame(buf, f.first, f.count)
			return put(f.first, f.count, buf)
		}, func(fl *fault) error { return fl.err })
	})
	if err != nil {
		return fmt.Errorf("store %s without its bodies: %w", s.u.seg.name, err)
	}
	return nil
}
