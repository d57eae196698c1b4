package evidence

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// refuse says that the log on the disk cannot be continued, and what to do.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w; run weir evidence verify on a copy, then restore the files or start a new generation",
		ErrTampered, fmt.Errorf(format, args...))
}

// isNew reports whether the log has never held a record.
//
// The verifier key is written when the first checkpoint is safe. Where it is
// found and the records are not, they were taken away: beginning again under the
// same name would be a second history of the same log.
func (l *Log) isNew(segs []segment) (bool, error) {
	for _, s := range segs {
		fi, err := os.Stat(s.path)
		if err != nil {
			return false, err
		}
		if fi.Size() > 0 {
			return false, nil
		}
	}
	for _, name := range []string{checkpointFile, historyFile} {
		fi, err := os.Stat(filepath.Join(l.dir, name))
		if err == nil && fi.Size() > 0 {
			return false, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	b, err := os.ReadFile(filepath.Join(l.o.Dir, verifierFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if name, _, _ := strings.Cut(string(b), "+"); name == l.o.Origin {
		return false, refuse("ROLLED BACK: %s names this log, but none of its records are left", verifierFile)
	}
	return true, nil
}

// readHeads reads the last signed heads and opens the history for more.
func (l *Log) readHeads() error {
	var err error
	// Its name becomes durable with the first checkpoint file, beside it.
	path := filepath.Join(l.dir, historyFile)
	if l.history, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	last, end, err := lastCheckpoint(l.history)
	if err != nil {
		return err
	}
	fi, err := l.history.Stat()
	if err != nil {
		return err
	}
	if fi.Size()-end > maxCheckpoint {
		return refuse("ALTERED: %s does not end with a checkpoint", historyFile)
	}
	if end < fi.Size() {
		// A crash came into the append of a head, which was published nowhere yet.
		if err := l.cut(l.history, end); err != nil {
			return err
		}
		l.log.Warn("cut an unfinished checkpoint", "file", historyFile, "bytes", fi.Size()-end)
	}
	l.histSize = end
	if last != nil {
		// It may be there only in memory, like the records that [Log.rewrite] is about.
		line := append(append([]byte(nil), last...), '\n')
		if err := l.calls.write(l.history, line, end-int64(len(line))); err != nil {
			return err
		}
		if err := l.calls.datasync(l.history); err != nil {
			return err
		}
		if l.signed, err = parseCheckpoint(last, l.key.verifier); err != nil {
			return refuse("ALTERED: last checkpoint in %s: %w (if the key file was replaced, put the log's own key back)", historyFile, err)
		}
		l.latest = last
	}

	msg, err := os.ReadFile(filepath.Join(l.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		msg, err = nil, nil
	}
	if err != nil {
		return err
	}
	if msg != nil {
		h, err := parseCheckpoint(msg, l.key.verifier)
		if err != nil {
			return refuse("ALTERED: %s: %w", checkpointFile, err)
		}
		switch {
		case h.size > l.signed.size:
			return refuse("ROLLED BACK: %s is of %d records, but %s ends at %d", checkpointFile, h.size, historyFile, l.signed.size)
		case h.size == l.signed.size && h != l.signed:
			return refuse("FORK: %s and %s have different roots for %d records", checkpointFile, historyFile, h.size)
		}
	}
	if last != nil && string(msg) != string(last) {
		// A crash came between the two files. If it comes again here, so do we.
		if err := writeFile(l.calls, filepath.Join(l.dir, checkpointFile), last, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// cut shortens a file for good.
func (l *Log) cut(f *os.File, size int64) error {
	if err := l.calls.truncate(f, size); err != nil {
		return err
	}
	return l.calls.sync(f)
}

// tail is what lies past the signed records in one segment.
type tail struct {
	seg  segment
	from int64
}

// recover reads all records, compares them with what was signed, and makes the
// end of the log ready for more: what is whole past the signed records stays, a
// write cut short by a crash goes.
func (l *Log) recover(segs []segment) error {
	var (
		started = time.Now()
		tails   []tail // unsigned records, by segment
		torn    *fault
		failure error
		// Unsigned records whose keys are not here: the owner of the log may have
		// turned encryption off, or a person was erased a moment before the crash.
		unopened int
		seals    sealScan
	)
	claims, err := l.claims()
	if err != nil {
		return err
	}
	record := func(seg *segment, e entry) error {
		if e.leaf.nanos() < l.last {
			return refuse("ALTERED: record %d at %s offset %d is older than the one before it", l.tree.n, seg.name, e.offset)
		}
		l.last = e.leaf.nanos()
		if l.tree.n == 0 {
			if err := l.checkGenesis(e); err != nil {
				return err
			}
		}
		// What a signature covers needs no second look at the bodies. What is
		// about to be signed does.
		if l.tree.n >= l.signed.size {
			plain, err := e.leaf.open(e.stored, l.o.Keys)
			switch {
			case closed(err) || lost(err):
				unopened++
			case err != nil && !errors.Is(err, errForged):
				return err
			case err != nil || !e.leaf.commitsTo(plain):
				return refuse("ALTERED: the body of record %d at %s offset %d is not the one its leaf commits to", l.tree.n, seg.name, e.offset)
			}
		}
		if err := l.tree.add(tlog.RecordHash(e.leaf[:])); err != nil {
			return err
		}
		seals.record(&e)
		if l.tree.n == l.signed.size {
			root, err := l.tree.root()
			if err != nil {
				return err
			}
			if root != l.signed.root {
				return refuse("REWRITTEN: the first %d records are not those that were signed", l.signed.size)
			}
		}
		return claims.meet(&l.tree)
	}
	err = walk(segs, func(seg *segment, f *frame) error {
		if f.first != l.tree.n || f.offset == 0 && seg.first != f.first {
			return refuse("MISSING: record %d is due at %s offset %d, found record %d", l.tree.n, seg.name, f.offset, f.first)
		}
		if f.offset == 0 {
			if err := seals.begin(seg, &l.tree); err != nil {
				return err
			}
		}
		if f.first >= l.signed.size && (len(tails) == 0 || tails[len(tails)-1].seg.first != seg.first) {
			tails = append(tails, tail{*seg, f.offset})
		}
		f.each(func(e entry) {
			if failure == nil {
				failure = record(seg, e)
			}
		})
		return failure
	}, func(fl *fault) error {
		if !fl.torn || l.tree.n < l.signed.size {
			return refuse("ALTERED: %s at offset %d, where record %d is due: %w", fl.seg.name, fl.offset, l.tree.n, fl.err)
		}
		torn = fl
		return nil
	})
	if err != nil {
		return err
	}
	if l.tree.n < l.signed.size {
		return refuse("ROLLED BACK: %d records are signed, %d are on the disk", l.signed.size, l.tree.n)
	}
	if l.signed.size == 0 && l.tree.n > 1 {
		return refuse("MISSING: the log holds %d records and no checkpoint", l.tree.n)
	}
	if err := claims.unmet(l.tree.n); err != nil {
		return err
	}
	if err := l.openActive(segs, torn); err != nil {
		return err
	}
	if err := l.rewrite(tails); err != nil {
		return err
	}
	if unopened > 0 {
		l.log.Warn("records that no checkpoint covers yet are taken as they are: they are encrypted and their keys are not here", "records", unopened)
	}
	if err := seals.take(l); err != nil {
		return err
	}
	l.log.Info("opened the evidence log", "origin", l.o.Origin, "records", l.tree.n, "signed", l.signed.size,
		"bytes", l.older+l.segSize, "seconds", time.Since(started).Seconds())
	return nil
}

// openActive opens the last segment for writing and cuts a torn write off.
//
// If the process dies before the cut is synced, the next start finds the torn
// write again, or not, and both are well.
func (l *Log) openActive(segs []segment, torn *fault) error {
	if len(segs) == 0 {
		return l.newSegment()
	}
	l.segAt = segs[len(segs)-1]
	for _, s := range segs[:len(segs)-1] {
		fi, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		l.older += fi.Size()
	}
	var err error
	if l.seg, err = os.OpenFile(l.segAt.path, os.O_RDWR, 0); err != nil {
		return err
	}
	fi, err := l.seg.Stat()
	if err != nil {
		return err
	}
	l.segSize = fi.Size()
	if torn != nil {
		l.segSize = torn.offset
		if err := l.cut(l.seg, l.segSize); err != nil {
			return err
		}
		l.log.Warn("cut an unfinished write that no one was told had succeeded", "file", l.segAt.name,
			"offset", torn.offset, "bytes", torn.size-torn.offset)
	}
	if l.segSize == 0 && l.segAt.first != l.tree.n {
		return refuse("MISSING: %s begins at record %d, but record %d is due", l.segAt.name, l.segAt.first, l.tree.n)
	}
	return nil
}

// newSegment begins an empty segment at the next record and makes it the active
// one. If the process dies before anything is written to it, the next start
// finds it empty and goes on with it.
func (l *Log) newSegment() error {
	path := segmentPath(l.dir, l.tree.n)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// The name must be durable before a record in it is acknowledged.
	if err := syncDir(l.calls, filepath.Dir(path)); err != nil {
		return errors.Join(err, f.Close())
	}
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	old := l.seg
	if old != nil {
		root, err := l.tree.root()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		l.unsealed = append(l.unsealed, &unsealed{seg: l.segAt, next: l.tree.n, start: l.segStart, root: root})
		select {
		case l.segmentFull <- struct{}{}:
		default: // the sealer has not looked yet and will see this one too
		}
	}
	l.segStart, l.movable = l.tree, 0
	l.older += l.segSize
	l.seg, l.segSize = f, 0
	l.segAt = segment{first: l.tree.n, path: path, name: filepath.Join(logsDir, l.generation, segmentsDir, filepath.Base(path))}
	if old != nil {
		return old.Close()
	}
	return nil
}

// rewrite writes the unsigned records once more, in place, and syncs them.
//
// After a failed fsync Linux may hold pages that it believes are clean and that
// never reached the disk. A process that restarts reads them and finds the
// records there; if it signed them and the power then went, the log would be
// shorter than its signature. Writing the same bytes again makes the pages dirty
// and the sync real. If the process dies here, the bytes are the same as before.
func (l *Log) rewrite(tails []tail) error {
	for _, t := range tails {
		f := l.seg
		if t.seg.first != l.segAt.first {
			old, err := os.OpenFile(t.seg.path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer old.Close() //nolint:errcheck // synced below, or the error is returned
			f = old
		}
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		r := frameReader{r: f, size: fi.Size()}
		for off := t.from; off < r.size; {
			b, err := r.bytes(off, readWindow)
			if err != nil {
				return err
			}
			if err := l.calls.write(f, b, off); err != nil {
				return err
			}
			off += int64(len(b))
		}
		if err := l.calls.datasync(f); err != nil {
			return err
		}
	}
	return nil
}

// genesis is the body of the first record.
type genesis struct {
	Format      int    `json:"format"`
	Origin      string `json:"origin"`
	VerifierKey string `json:"verifier_key"`
	Created     string `json:"created"` // RFC 3339

	Previous *Previous `json:"previous,omitempty"`
}

// genesisID is the id of the first record of the log of this origin.
func genesisID(origin string) ID {
	sum := sha256.Sum256([]byte("ev1 genesis\n" + origin))
	return ID(sum[:len(ID{})])
}

// begin writes the first record: what this log is and who may sign for it. If the
// process dies during it, the next start finds an empty log and begins again.
func (l *Log) begin() error {
	g := genesis{
		Format: 1, Origin: l.o.Origin, VerifierKey: l.key.public,
		Created: l.o.Now().UTC().Format(time.RFC3339Nano),
	}
	if l.o.Previous != nil {
		var err error
		if g.Previous, err = l.o.Previous(); err != nil {
			return err
		}
	}
	body, err := json.Marshal(g)
	if err != nil {
		return err
	}
	items, _, err := prepare(nil, []Record{{ID: genesisID(l.o.Origin), Kind: KindGenesis, Class: ClassAudit, Body: body}}, nil)
	if err != nil {
		return err
	}
	return l.write([]part{{items: items}})
}

// checkGenesis refuses a log that belongs to another origin or key, which the
// signatures would show only later.
func (l *Log) checkGenesis(e entry) error {
	g, err := readGenesis(e)
	if err != nil {
		return refuse("ALTERED: %w", err)
	}
	if g.Origin != l.o.Origin {
		return fmt.Errorf("the log in this directory is %s, this instance is %s; give it a directory of its own", g.Origin, l.o.Origin)
	}
	if g.VerifierKey != l.key.public {
		return fmt.Errorf("the log was begun with another key than %s; put the log's key back, or start a new generation", l.o.KeyFile)
	}
	return nil
}

func readGenesis(e entry) (g genesis, err error) {
	if e.leaf.kind() != KindGenesis {
		return g, fmt.Errorf("record 0 is of kind %s, not genesis", e.leaf.kind())
	}
	if !e.leaf.commitsTo(e.stored) {
		return g, errors.New("the body of record 0 is not the one its leaf commits to")
	}
	if err := json.Unmarshal(e.stored[saltSize:], &g); err != nil {
		return g, errors.New("the body of record 0 cannot be read")
	}
	return g, nil
}

// writeVerifierKey puts the public key beside the log, for convenience: who does
// not trust this directory takes it from elsewhere.
func (l *Log) writeVerifierKey() error {
	path := filepath.Join(l.o.Dir, verifierFile)
	want := l.key.public + "\n"
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(b) == want {
		return nil
	}
	if name, _, _ := strings.Cut(string(b), "+"); err == nil && name == l.o.Origin {
		l.log.Warn("the verifier key beside the log was not the log's; wrote it anew", "file", path)
	}
	return writeFile(l.calls, path, []byte(want), 0o644)
}
