package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/internal/disk"
)

// SealBody is the body of a [KindSeal] record: what became of a segment when
// nothing more was to be written to it.
type SealBody struct {
	Segment string         `json:"segment"` // its file, relative to the evidence directory
	First   int64          `json:"first"`   // its records are from First up to and not including Next
	Next    int64          `json:"next"`
	Root    string         `json:"root"`   // of the tree of Next records, base64
	SHA256  string         `json:"sha256"` // of the segment's file without the bodies that were moved, hex
	Bodies  []SealedBodies `json:"bodies"` // where these are now; empty if none were moved
}

// SealedBodies says what one body file holds.
type SealedBodies struct {
	File    string `json:"file"` // relative to the evidence directory
	Class   string `json:"class"`
	Day     string `json:"day"`   // of recorded_at, UTC, yyyy-mm-dd
	First   int64  `json:"first"` // indices of the first and the last record
	Last    int64  `json:"last"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"` // of the file
	SHA256  string `json:"sha256"`
}

// sealID is the id of the record that seals the segment beginning with first.
// It is the same when a crash has it written again.
func sealID(origin string, first int64) ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "ev1 seal\n%s\n%d", origin, first))
	return ID(sum[:len(ID{})])
}

// unsealed is a full segment that is not sealed yet.
type unsealed struct {
	seg  segment
	next int64
	// The tree before its first record, and its root after the last: what the
	// writer hashed, to be compared with what is on the disk.
	start tree
	root  tlog.Hash
	// sealed is what a seal record says already: a crash came before its end.
	sealed  *SealBody
	damaged bool // it cannot be sealed; said once
}

// sealRetry is how long a failed sealing is left alone, unless another segment
// becomes full.
const sealRetry = time.Minute

// sealLoop seals full segments, one at a time, until ctx ends or the log breaks.
// What fails is tried again: the segment has everything until its last step.
func (l *Log) sealLoop(ctx context.Context) {
	every := sealRetry
	if l.o.SealAfter > 0 {
		every = min(every, max(l.o.SealAfter/4, 10*time.Millisecond))
	}
	t := time.NewTicker(every)
	defer t.Stop()
	l.mendIndexes(ctx, false)
	for {
		if err := l.sealFull(ctx, l.overdue(), true); err != nil && ctx.Err() == nil && !errors.Is(err, ErrBroken) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrFull) {
			l.m.sealErrors.Inc()
			l.log.Error("sealing a segment of the evidence log failed; it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.dead:
			return
		case <-l.segmentFull:
		case <-t.C:
		}
	}
}

// Seal ends the active segment, if it has bodies that sealing would move, and
// seals all that is not sealed, now. It returns when all of it is on the disk.
// What was not sealed when it returns an error is sealed later.
func (l *Log) Seal(ctx context.Context) error {
	l.stateMu.Lock()
	moves := l.movable != 0
	l.stateMu.Unlock()
	if err := l.sealFull(ctx, moves, false); err != nil {
		return fmt.Errorf("seal evidence: %w", err)
	}
	return nil
}

// overdue reports whether bodies have been in the active segment for too long. A
// segment in which nothing is to be moved may wait: otherwise the seal of each
// would be the reason for the next.
func (l *Log) overdue() bool {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	return l.o.SealAfter > 0 && l.movable != 0 && l.o.Now().Sub(time.Unix(0, l.movable)) >= l.o.SealAfter
}

// sealFull seals the full segments, after ending the active one if end is set.
// gently leaves time to others.
func (l *Log) sealFull(ctx context.Context, end, gently bool) error {
	l.sealMu.Lock()
	defer l.sealMu.Unlock()
	if l.scarce.Load() {
		return ErrFull // bodies are written twice before they are gone from here
	}
	if end {
		l.endSegment.Store(true)
		if err := l.commit(ctx, &request{wake: make(chan struct{}, 1)}); err != nil {
			return err
		}
	}
	var failed error
	for {
		u := l.nextUnsealed()
		if u == nil || failed != nil {
			return failed
		}
		started := time.Now()
		err := l.seal(ctx, u, gently)
		var d *damage
		switch {
		case errors.As(err, &d):
			// It stays as it is, for the verifier to look at, and the others go on.
			u.damaged = true
			failed = l.reportDamage(ctx, d.body)
		case err != nil:
			return fmt.Errorf("%s: %w", u.seg.name, err)
		default:
			l.log.Info("sealed a segment of the evidence log", "file", u.seg.name, "records", u.next-u.seg.first,
				"seconds", time.Since(started).Seconds())
		}
	}
}

func (l *Log) nextUnsealed() *unsealed {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	for _, u := range l.unsealed {
		if !u.damaged {
			return u
		}
	}
	return nil
}

// sealing is one segment being sealed.
type sealing struct {
	l       *Log
	u       *unsealed
	files   bodyNames
	writers map[string]*bodyWriter // by name
	index   indexWriter
	raw     int64 // size of the segment
	size    int64 // and of the stripped one
	body    SealBody

	gently bool
	rested time.Time
}

// restless is how many segments may wait while sealing takes its time.
const restless = 4

// rest stops when ctx ends, and now and then sleeps as long as it has worked since:
// nobody waits for a seal, and whoever appends has a core sooner. Where it cannot
// keep up so, it does not rest.
func (s *sealing) rest(ctx context.Context) error {
	worked := time.Since(s.rested)
	if !s.gently || worked < 5*time.Millisecond {
		return ctx.Err()
	}
	s.l.stateMu.Lock()
	waiting := len(s.l.unsealed)
	s.l.stateMu.Unlock()
	if waiting <= restless {
		t := time.NewTimer(worked)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	s.rested = time.Now()
	return ctx.Err()
}

// seal moves the bodies out of a segment. Each step leaves something a reader can
// use, and until the last one the segment still has everything:
//
//  1. Body files, the index and the stripped segment, this one under a temporary
//     name, are written and synced. If the process dies here, no record speaks of
//     them; all of it is done again at the next start.
//  2. All of it is read again from the disk, hashed and compared with what the
//     writer hashed. If the process dies here: the same.
//  3. The seal record is appended, synced and signed. If it dies after that, the
//     next start, before anything else, does 1 and 2 again, finds the same and
//     goes on with 4: else bodies that are destroyed meanwhile would live on in
//     the segment.
//  4. The stripped segment takes the place of the whole one, and the directory is
//     synced. If it dies in between, one or the other is found: again the same.
//
// Clause: rn-store
// Records are stored by class: the bodies of each retention class and day have files of their own.
func (l *Log) seal(ctx context.Context, u *unsealed, gently bool) error {
	s := &sealing{l: l, u: u, files: bodyNames{generation: l.generation, segment: u.seg.first}, writers: make(map[string]*bodyWriter), index: newIndexWriter(u.seg.first, u.next-u.seg.first), gently: gently, rested: time.Now()}
	defer s.abandon()
	err := s.split(ctx)
	if err == nil {
		err = s.reread(ctx)
	}
	if err == nil {
		err = s.storeBodies()
	}
	if err != nil {
		return errors.Join(err, s.discard())
	}
	if u.sealed == nil {
		b, err := json.Marshal(&s.body)
		if err != nil {
			return err
		}
		rec := Record{ID: sealID(l.o.Origin, u.seg.first), Kind: KindSeal, Class: ClassAudit, Body: b}
		if err := l.Append(ctx, []Record{rec}); err != nil {
			return err
		}
		u.sealed = &s.body
		// Signed first: of records that no signature covers, the next start wants to
		// see the bodies.
		if err := l.checkpoint(); err != nil {
			return err
		}
	} else if u.sealed.SHA256 != s.body.SHA256 || u.sealed.Root != s.body.Root {
		return fmt.Errorf("it is not what was sealed: root %s and SHA-256 %s, the seal has %s and %s",
			s.body.Root, s.body.SHA256, u.sealed.Root, u.sealed.SHA256)
	}
	// What fails from here on leaves bodies in a segment that is called sealed. The
	// log breaks, so that the next start clears it up.
	if err := s.storeStripped(); err != nil {
		return l.kill(err)
	}
	err = l.calls.rename(u.seg.path+temporaryExt, u.seg.path)
	if err == nil {
		err = syncDir(l.calls, filepath.Dir(u.seg.path))
	}
	if err != nil {
		return l.kill(fmt.Errorf("replace %s: %w", u.seg.name, err))
	}
	l.sealed(u, s)
	return nil
}

// sealed takes a segment off the list.
func (l *Log) sealed(u *unsealed, s *sealing) {
	l.stateMu.Lock()
	l.unsealed = slices.DeleteFunc(l.unsealed, func(o *unsealed) bool { return o == u })
	l.older += s.size - s.raw
	l.stateMu.Unlock()
	if l.m == nil {
		return // Open is not through yet
	}
	l.m.lastSeal.Set(float64(l.o.Now().UnixNano()) / 1e9)
	for _, b := range s.body.Bodies {
		l.m.sealedBytes.WithLabelValues(b.Class).Add(float64(b.Bytes))
	}
}

// discard takes away what was written in vain: where the disk is full, others need
// the room. What a seal speaks of stays. If the process dies in it, the next
// attempt writes over what is left.
func (s *sealing) discard() error {
	s.abandon()
	paths := []string{s.u.seg.path + temporaryExt}
	for _, w := range s.writers {
		if s.u.sealed == nil {
			paths = append(paths, w.path+temporaryExt, w.path)
		}
	}
	var errs []error
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			errs = append(errs, s.l.calls.unlink(path))
		}
	}
	return errors.Join(errs...)
}

// abandon closes what a failure has left open.
func (s *sealing) abandon() {
	for _, w := range s.writers {
		w.abandon()
	}
}

// split writes the body files, the stripped segment and the index.
func (s *sealing) split(ctx context.Context) error {
	l, seg := s.l, &s.u.seg
	out, err := createTemporary(seg.path)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // synced below, or the error is returned
	var buf []byte
	flush := func() error {
		if err := l.calls.write(out, buf, s.size); err != nil {
			return fmt.Errorf("write %s: %w", seg.name, err)
		}
		s.size += int64(len(buf))
		buf = buf[:0]
		return nil
	}
	index := seg.first
	err = walkSegment(seg, false, func(_ *segment, f *frame) error {
		if err := s.rest(ctx); err != nil {
			return err
		}
		if f.first != index {
			return s.damage(index, f.offset, "a frame begins with record %d", f.first)
		}
		s.raw = f.end()
		if s.raw > math.MaxUint32 {
			return fmt.Errorf("it has more than %d bytes, which is the most that can be sealed", uint32(math.MaxUint32))
		}
		start := len(buf)
		buf = append(buf, make([]byte, frameHeader)...)
		var err error
		f.each(func(e entry) {
			if err == nil {
				buf, err = s.entry(buf, index, &e)
			}
			index++
		})
		if err != nil {
			return err
		}
		finishFrame(buf[start:], f.first, f.count)
		if len(buf) >= sealBuffer {
			return flush()
		}
		return nil
	}, func(fl *fault) error {
		return s.damage(index, fl.offset, "%v", fl.err)
	})
	if err != nil {
		return err
	}
	if index != s.u.next {
		return s.damage(index, s.raw, "it ends here; record %d should be its last", s.u.next-1)
	}
	if err := flush(); err != nil {
		return err
	}
	for _, name := range s.names() {
		if err := s.writers[name].finish(); err != nil {
			return err
		}
	}
	if err := l.calls.sync(out); err != nil {
		return err
	}
	dropCache(out)
	return writeIndex(l.calls, l.o.Dir, l.generation, seg.first, s.index.bytes(s.size))
}

// entry puts a record into the stripped segment, and its body where it belongs.
func (s *sealing) entry(buf []byte, index int64, e *entry) ([]byte, error) {
	at := s.size + int64(len(buf))
	class := e.leaf.class()
	if !class.Moved() || len(e.stored) == 0 {
		buf = append(buf, byte(len(e.stored)>>24), byte(len(e.stored)>>16), byte(len(e.stored)>>8), byte(len(e.stored)))
		buf = append(buf, e.leaf[:]...)
		s.index.add(e.leaf, at, 0, nil)
		return append(buf, e.stored...), nil
	}
	p, ok := splitStored(e.leaf, e.stored)
	if !ok {
		return nil, s.damage(index, e.offset, "its stored body cannot be taken apart")
	}
	w, err := s.writer(e.leaf)
	if err != nil {
		return nil, err
	}
	body, err := w.add(index, p)
	if err != nil {
		return nil, err
	}
	if len(p.terms) > 0 && s.l.o.Forgotten != nil && s.l.o.Forgotten(class, p.handle) {
		p.terms = nil // who was erased while his records lay here must not be found by them
	}
	s.index.add(e.leaf, at, body, p.terms)
	buf = append(buf, 0, 0, 0, 0)
	return append(buf, e.leaf[:]...), nil
}

// writer returns the body file that a record's body goes to.
func (s *sealing) writer(l *leaf) (*bodyWriter, error) {
	name := s.files.of(l)
	if w := s.writers[name]; w != nil {
		return w, nil
	}
	class, day := l.class(), dayOf(l.nanos())
	if s.l.destroyed[filepath.ToSlash(name)] {
		// Sealed before a crash and destroyed since: it must not come back.
		w := newBodyWriter(s.l.calls, s.l.o.Dir, s.l.generation, s.u.seg.first, class, day)
		w.destroyed = true
		s.writers[name] = w
		return w, nil
	}
	w := newBodyWriter(s.l.calls, s.l.o.Dir, s.l.generation, s.u.seg.first, class, day)
	if s.u.sealed != nil {
		// Surely as its seal has it: then writing it again needs only room.
		sum, err := disk.Sum(w.path)
		w.kept = err == nil && slices.ContainsFunc(s.u.sealed.Bodies, func(b SealedBodies) bool {
			return b.File == filepath.ToSlash(name) && b.SHA256 == sum
		})
		if w.kept {
			s.writers[name] = w
			return w, nil
		}
	}
	if err := w.create(s.l.o.Dir); err != nil {
		return nil, err
	}
	s.writers[name] = w
	return w, nil
}

func (s *sealing) names() []string {
	names := make([]string, 0, len(s.writers))
	for name := range s.writers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// reread reads everything that was written from the disk, hashes it, and composes
// the seal.
func (s *sealing) reread(ctx context.Context) error {
	l, u := s.l, s.u
	stripped := u.seg
	stripped.path += temporaryExt
	t := u.start
	moved := movedBodies{dir: l.o.Dir, names: s.files, hash: func() hash.Hash { return sha256.New() }}
	defer moved.close()
	index := u.seg.first
	err := walkSegment(&stripped, false, func(_ *segment, f *frame) error {
		if err := s.rest(ctx); err != nil {
			return err
		}
		var err error
		f.each(func(e entry) {
			if err == nil {
				err = s.check(&moved, &t, index, &e)
			}
			index++
		})
		return err
	}, func(fl *fault) error {
		return fmt.Errorf("read again at %d: %w", fl.offset, fl.err)
	})
	if err != nil {
		return err
	}
	root, err := t.root()
	if err != nil {
		return err
	}
	if index != u.next || root != u.root {
		return s.damage(u.seg.first, 0, "its %d records have another root than when they were written", index-u.seg.first)
	}
	sum, err := disk.Sum(stripped.path)
	if err != nil {
		return err
	}
	x, err := openIndex(l.o.Dir, l.generation, u.seg.first)
	if err != nil {
		return err
	}
	defer x.close()
	if err := x.check(); err != nil {
		return err
	}
	s.body = SealBody{Segment: filepath.ToSlash(u.seg.name), First: u.seg.first, Next: u.next, Root: root.String(), SHA256: sum, Bodies: []SealedBodies{}}
	for _, name := range s.names() {
		w := s.writers[name]
		if w.destroyed {
			continue
		}
		r := moved.files[name]
		if r == nil {
			return fmt.Errorf("%s is gone", name)
		}
		if _, _, _, err := r.next(); !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("%s has more than was written", name), err)
		}
		if r.crc != w.crc && !w.kept || r.off != w.off {
			return fmt.Errorf("%s: read again it is not what was written", name)
		}
		s.body.Bodies = append(s.body.Bodies, SealedBodies{File: filepath.ToSlash(name), Class: w.class.String(), Day: w.day,
			First: w.first, Last: w.last, Records: w.records, Bytes: w.off, SHA256: hex.EncodeToString(r.sum.Sum(nil))})
	}
	return nil
}

// check looks at one record as it lies on the disk now.
func (s *sealing) check(moved *movedBodies, t *tree, index int64, e *entry) error {
	if err := t.add(hashLeaf(e.leaf)); err != nil {
		return err
	}
	p, ok := parts{rest: e.stored}, true
	if len(e.stored) == 0 && e.leaf.class().Moved() {
		stored, name, _, err := moved.find(index, e.leaf)
		if err != nil {
			return err
		}
		w := s.writers[name]
		if w == nil {
			return fmt.Errorf("record %d: nothing was written to %s", index, name)
		}
		if w.destroyed {
			return nil
		}
		p, ok = splitMoved(e.leaf, stored)
	}
	// What is encrypted can be held against its commitment only with the key; that
	// it is what was written, the checksum says.
	if !ok || e.leaf.known() && !e.leaf.encrypted() && !e.leaf.commitsTo(p.rest) {
		return s.damage(index, e.offset, "the body of the record is not the one its leaf commits to")
	}
	return nil
}

// damage is an error that says what on the disk is not what was written.
type damage struct{ body DamagedBody }

func (d *damage) Error() string {
	return fmt.Sprintf("%s offset %d, record %d: %s", d.body.File, d.body.Offset, d.body.Index, d.body.Detail)
}

func (s *sealing) damage(index, offset int64, format string, args ...any) error {
	return &damage{DamagedBody{File: filepath.ToSlash(s.u.seg.name), Index: index, Offset: offset, Detail: fmt.Sprintf(format, args...)}}
}

// sealScan gathers, while a log is recovered, what is sealed and what is not.
type sealScan struct {
	current  *unsealed
	raw      bool // it has bodies that sealing moves
	stripped bool // it had
	movable  int64
	list     []*unsealed
	seals    map[int64]*SealBody // by first record
	destroys map[string]bool     // files that destroy records name
	damages  map[ID]bool         // damaged records
}

// begin takes a segment whose first record comes next.
func (c *sealScan) begin(seg *segment, t *tree) error {
	if err := c.end(t); err != nil {
		return err
	}
	c.current, c.raw, c.stripped, c.movable = &unsealed{seg: *seg, start: *t}, false, false, 0
	return nil
}

// end completes the segment before. One that was stripped is sealed, surely.
func (c *sealScan) end(t *tree) error {
	if c.current == nil || c.stripped {
		return nil
	}
	root, err := t.root()
	if err != nil {
		return err
	}
	c.current.next, c.current.root = t.n, root
	c.list = append(c.list, c.current)
	return nil
}

// record takes a record of the segment.
func (c *sealScan) record(e *entry) {
	switch {
	case e.leaf.class().Moved():
		c.stripped = c.stripped || len(e.stored) == 0
		if c.raw = c.raw || len(e.stored) > 0; c.raw && c.movable == 0 {
			c.movable = e.leaf.nanos()
		}
	case len(e.stored) < saltSize || e.leaf.encoding() != EncodingJSON:
	case e.leaf.kind() == KindSeal:
		var b SealBody
		if json.Unmarshal(e.stored[saltSize:], &b) == nil {
			if c.seals == nil {
				c.seals = make(map[int64]*SealBody)
			}
			c.seals[b.First] = &b
		}
	case e.leaf.kind() == KindDamaged:
		if c.damages == nil {
			c.damages = make(map[ID]bool)
		}
		c.damages[e.leaf.id()] = true
	case e.leaf.kind() == KindDestroy:
		for _, f := range destroyedFiles(e.stored[saltSize:]) {
			if c.destroys == nil {
				c.destroys = make(map[string]bool)
			}
			c.destroys[f] = true
		}
	}
}

// destroyedFiles returns the body files that the body of a destroy record names.
func destroyedFiles(body []byte) []string {
	var b struct {
		Files []struct {
			File string `json:"file"`
		} `json:"files"`
	}
	if json.Unmarshal(body, &b) != nil {
		return nil
	}
	var names []string
	for _, f := range b.Files {
		names = append(names, f.File)
	}
	return names
}

// take hands what was found to the log: the last segment is the active one, the
// others wait to be sealed, or for the rest of it.
func (c *sealScan) take(l *Log) error {
	l.destroyed, l.damages = c.destroys, c.damages
	if c.current != nil && c.current.seg.first == l.segAt.first {
		l.segStart, l.movable = c.current.start, c.movable
	} else {
		// The active segment is empty.
		if err := c.end(&l.tree); err != nil {
			return err
		}
		l.segStart, l.movable = l.tree, 0
	}
	for _, u := range c.list {
		if u.sealed = c.seals[u.seg.first]; u.sealed == nil {
			l.unsealed = append(l.unsealed, u)
		} else if len(u.sealed.Bodies) > 0 { // else it was only sealed, nothing was to be moved
			l.halfSealed = append(l.halfSealed, u)
		}
	}
	return nil
}

// finishSeals does what is left of a sealing whose record is in the log. There is
// at most one.
func (l *Log) finishSeals() error {
	if len(l.halfSealed) == 0 {
		return nil
	}
	// The crash may have come before the seal, and the records, were signed.
	if err := l.checkpoint(); err != nil {
		return err
	}
	for _, u := range l.halfSealed {
		if err := l.seal(context.Background(), u, false); err != nil {
			return fmt.Errorf("finish sealing %s: %w", u.seg.name, err)
		}
		l.log.Info("finished sealing a segment of the evidence log", "file", u.seg.name)
	}
	l.halfSealed = nil
	return nil
}
