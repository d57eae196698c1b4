package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// A body file is read in step with the segment its bodies were in, so that never
// more of it than one entry is in memory.

// bodyStream is a body file of which the next entry is in hand.
type bodyStream struct {
	*bodyReader
	broken error // why there is no more, if not for the end of the file
}

func openBodyStream(dir, name string, segment int64) (*bodyStream, error) {
	r, err := openBodyFile(dir, name, segment)
	if err != nil {
		return nil, err
	}
	s := &bodyStream{bodyReader: r}
	if err := s.advance(); err != nil {
		r.close()
		return nil, err
	}
	return s, nil
}

// advance goes to the next entry; at the end, or at damage, the index is -1.
func (s *bodyStream) advance() (err error) {
	s.index, s.stored, s.at, err = s.next()
	if err == nil {
		return nil
	}
	s.index, s.stored = -1, nil
	if errors.Is(err, errBodyFile) {
		s.broken, err = err, nil
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// take appends what is stored in the entry in hand to buf, and goes to the next.
func (s *bodyStream) take(buf []byte) (all, stored []byte, err error) {
	start := len(buf)
	buf = append(buf, s.stored...)
	return buf, buf[start:len(buf):len(buf)], s.advance()
}

// bodyFile is a body file, and what became of the records it belongs to.
type bodyFile struct {
	*SealedBodies
	class  Class
	day    int64         // since 1970
	stream *bodyStream   // nil if the file is not here
	held   []*bodyStream // what holds kept of it
	hash   <-chan fileHash

	why    witness // says that it was destroyed
	hasWhy bool

	records int64 // of the segment, that belong to it
	// Records whose bodies it should have and has not, and the first of them.
	lost   int64
	lostAt place
	// Records whose bodies were not opened, so that only the hash of the whole file
	// speaks for them; by their verdict.
	unread map[Verdict]int64
	first  place // the first record that belongs to it
	// Entries that belong to no record.
	stray   int64
	strayAt int64
}

// sealedSegment is a segment whose bodies were moved, while it is checked.
type sealedSegment struct {
	*sealedBy
	name  string
	files []*bodyFile
	raw   bool // a body that was moved is also in the segment
	hash  <-chan fileHash
	index *indexCheck
}

// fileOf returns the body file that has the body of a record.
func (s *sealedSegment) fileOf(l *leaf) *bodyFile {
	day := l.nanos() / int64(24*time.Hour)
	for _, f := range s.files {
		if f.class == l.class() && f.day == day {
			return f
		}
	}
	return nil
}

// fileHash is the SHA-256 of a file, in hex.
type fileHash struct {
	sum string
	err error
}

// hashFile hashes a file while other work goes on.
func (v *verifier) hashFile(path string) <-chan fileHash {
	c := make(chan fileHash, 1)
	v.hashing.Go(func() {
		v.hashers <- struct{}{}
		defer func() { <-v.hashers }()
		f, err := os.Open(path)
		if err != nil {
			c <- fileHash{err: err}
			return
		}
		defer f.Close() //nolint:errcheck // only read
		h := sha256.New()
		_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<18))
		c <- fileHash{hex.EncodeToString(h.Sum(nil)), err}
	})
	return c
}

// seal opens the body files of the segment that comes next, if it was sealed.
func (v *verifier) seal(seg *segment) error {
	if err := v.unseal(); err != nil {
		return err
	}
	v.segment = seg.name
	s := v.fates.seals[filepath.ToSlash(seg.name)]
	if s == nil {
		return nil
	}
	v.sealed = &sealedSegment{sealedBy: s, name: seg.name, hash: v.hashFile(seg.path)}
	for i := range s.Bodies {
		f, err := v.openBodyFile(s, &s.Bodies[i])
		if err != nil {
			return err
		}
		v.sealed.files = append(v.sealed.files, f)
	}
	var err error
	v.sealed.index, err = v.openIndex(s)
	return err
}

func (v *verifier) openBodyFile(s *sealedBy, b *SealedBodies) (*bodyFile, error) {
	f := &bodyFile{SealedBodies: b, unread: make(map[Verdict]int64)}
	for f.class = range maxClass {
		if f.class.String() == b.Class {
			break
		}
	}
	day, err := time.Parse(time.DateOnly, b.Day)
	if err != nil {
		f.day = -1 // no record is of such a day: all are missed
	} else {
		f.day = day.Unix() / int64(24*time.Hour/time.Second)
	}
	f.why, f.hasWhy = v.fates.destroyedBy(b)
	if !filepath.IsLocal(filepath.FromSlash(b.File)) {
		return f, nil
	}
	f.stream, err = openBodyStream(v.dir, filepath.FromSlash(b.File), s.First)
	if errors.Is(err, fs.ErrNotExist) {
		return f, v.openHeld(f, s)
	}
	if err == nil && v.keys == nil {
		f.hash = v.hashFile(f.stream.f.Name())
	}
	return f, err
}

// openHeld opens what holds have kept of a body file that is gone.
func (v *verifier) openHeld(f *bodyFile, s *sealedBy) error {
	for _, name := range v.fates.held[filepath.Base(f.File)] {
		held, err := openBodyStream(v.dir, name, s.First)
		if err != nil {
			return err
		}
		f.held = append(f.held, held)
	}
	return nil
}

// locate finds the body of a record that is not in the segment.
func (v *verifier) locate(c *checked) error {
	if v.sealed == nil {
		// A log that is being written may have been sealed since it was looked at.
		if changed, err := v.refresh(); err != nil || !changed {
			return err
		}
		if s := v.fates.seals[filepath.ToSlash(v.segment)]; s == nil {
			return nil
		}
		seg := segment{name: v.segment, path: filepath.Join(v.dir, v.segment)}
		if err := v.seal(&seg); err != nil {
			return err
		}
	}
	c.from = v.sealed.fileOf(&c.leaf)
	if c.from == nil {
		return nil
	}
	streams := c.from.held
	if c.from.stream != nil {
		streams = []*bodyStream{c.from.stream}
	}
	for _, s := range streams {
		if err := c.from.reach(s, c.at.index); err != nil {
			return err
		}
		if s.index != c.at.index {
			continue
		}
		c.body = place{index: c.at.index, file: s.name, offset: s.at, nanos: c.at.nanos}
		var err error
		if v.bodies, c.stored, err = s.take(v.bodies); err != nil {
			return err
		}
		c.moved, c.held = true, c.from.stream == nil
		return nil
	}
	return nil
}

// reach moves a stream to the entry of a record, if there is one. Those before it belong
// to no record.
func (f *bodyFile) reach(s *bodyStream, index int64) error {
	for s.index >= 0 && s.index < index {
		// A hold may keep bodies of other days and classes in a file of this name.
		if s == f.stream {
			if f.stray++; f.stray == 1 {
				f.strayAt = s.at
			}
		}
		if err := s.advance(); err != nil {
			return err
		}
	}
	return nil
}

// pass goes past the body of a record that is in its segment, too: sealing died before
// it put the stripped segment into the place of the whole one.
func (v *verifier) pass(f *bodyFile, c *checked) error {
	s := f.stream
	if s == nil {
		return nil
	}
	if err := f.reach(s, c.at.index); err != nil || s.index != c.at.index {
		return err
	}
	if p, ok := splitStored(&c.leaf, c.stored); ok && (!bytes.HasPrefix(s.stored, p.handle) || !bytes.Equal(s.stored[len(p.handle):], p.rest)) {
		at := place{index: c.at.index, file: s.name, offset: s.at, nanos: c.at.nanos}
		v.rep.find(at.finding(Altered, 1, "the body here is another than in the segment it was moved from"))
	}
	return s.advance()
}

// unseal says what the whole segment means for its body files, and closes them.
func (v *verifier) unseal() error {
	s := v.sealed
	if s == nil {
		return nil
	}
	if err := v.flush(); err != nil {
		return err
	}
	v.sealed = nil
	var errs []error
	for _, f := range s.files {
		errs = append(errs, v.judgeFile(f, s))
		for _, x := range append(f.held, f.stream) {
			if x != nil {
				x.close()
			}
		}
	}
	v.judgeIndex(s)
	h := <-s.hash
	switch {
	case h.err != nil:
		errs = append(errs, h.err)
	case s.raw:
		v.rep.find(Finding{Verdict: Unfinished, Index: s.First, Count: s.Next - s.First, File: s.name,
			Detail: fmt.Sprintf("record %s seals this segment, and its bodies are still in it too; the next start takes them out", s.by)})
	case h.sum != s.SHA256:
		v.rep.find(Finding{Verdict: Altered, Index: s.First, Count: s.Next - s.First, File: s.name,
			Detail: fmt.Sprintf("the segment is not the one that record %s seals: its SHA-256 is another", s.by)})
	}
	return errors.Join(errs...)
}

// judgeFile says what became of a body file.
func (v *verifier) judgeFile(f *bodyFile, s *sealedSegment) error {
	find := func(verdict Verdict, at place, offset int64, format string, args ...any) {
		v.rep.find(Finding{Verdict: verdict, Index: at.index, Count: 1, File: f.File, Offset: offset,
			Time: at.time(), Detail: fmt.Sprintf(format, args...)})
	}
	if f.records != f.Records && v.due >= s.Next && !v.lost {
		find(Altered, f.first, 0, "record %s seals the file as having the bodies of %d records, and %d belong to it", s.by, f.Records, f.records)
	}
	if f.stream == nil {
		v.judgeGone(f, find)
		return nil
	}
	if f.hasWhy {
		find(Unfinished, f.first, 0, "record %s says that the file is destroyed, and it is here", f.why)
	}
	if s.raw {
		// A crash came between the seal and the end of sealing: the bodies were read
		// from the segment, and the next start looks whether the file has the same.
		return nil
	}
	for f.stream.index >= 0 {
		if f.stray++; f.stray == 1 {
			f.strayAt = f.stream.at
		}
		if err := f.stream.advance(); err != nil {
			return err
		}
	}
	if f.stray > 0 {
		find(Altered, place{index: -1}, f.strayAt, "%s of it that %s of no record", plural(f.stray, "body", "bodies"), are(f.stray))
	}
	switch {
	case f.lost > 0 && f.stream.broken != nil:
		find(Altered, f.lostAt, f.stream.off, "%v; %s from record %d on cannot be read", f.stream.broken, plural(f.lost, "body", "bodies"), f.lostAt.index)
	case f.stream.broken != nil:
		find(Altered, place{index: -1}, f.stream.off, "%v", f.stream.broken)
	case f.lost > 0:
		find(Missing, f.lostAt, 0, "%s of it, which record %s seals, %s not there", plural(f.lost, "body", "bodies"), s.by, are(f.lost))
	}
	unread := int64(0)
	for _, n := range f.unread {
		unread += n
	}
	if unread == 0 {
		return nil
	}
	if f.hash == nil {
		f.hash = v.hashFile(f.stream.f.Name())
	}
	h := <-f.hash
	if h.err != nil {
		return h.err
	}
	if h.sum != f.SHA256 {
		find(Altered, f.first, 0, "the file is not the one that record %s seals: its SHA-256 is another; any of the %s in it may have been changed, verify with keys to learn which",
			s.by, plural(unread, "body", "bodies"))
		for verdict, n := range f.unread {
			v.recount(verdict, Altered, n)
		}
	}
	return nil
}

// judgeGone says why a body file is not here.
func (v *verifier) judgeGone(f *bodyFile, find func(verdict Verdict, at place, offset int64, format string, args ...any)) {
	switch bodies := plural(f.lost, "body", "bodies"); {
	case f.lost == 0:
	case !f.hasWhy:
		find(Missing, f.lostAt, 0, "the file is gone with %s, and no record says why", bodies)
	case !f.why.signed:
		find(Missing, f.lostAt, 0, "the file is gone with %s; record %s says why, but no signed head covers that record", bodies, f.why)
	default:
		find(Destroyed, f.lostAt, 0, "%s, see %s%s", bodies, f.why, v.unheld(f))
	}
}

// unheld says which records destroyed what holds had kept of a body file. Which of its
// bodies these were nobody can tell any more but by the scope of the hold.
func (v *verifier) unheld(f *bodyFile) (text string) {
	for _, u := range v.fates.unheld[f.File] {
		if u.signed && !v.hasFile(u.file) {
			text += fmt.Sprintf("; the hold %s kept %d of them, until %s", u.hold, u.records, u.witness)
		}
	}
	return text
}

// absent returns the verdict on a record whose body is nowhere.
func (v *verifier) absent(c *checked) Verdict {
	f := c.from
	if f == nil {
		v.rep.find(c.at.finding(Missing, 1, "its body is not here, and no record says why"))
		return Missing
	}
	if f.lost++; f.lost == 1 {
		f.lostAt = c.at
	}
	switch {
	case f.stream != nil && f.stream.broken != nil:
		return Altered
	case f.stream == nil && f.hasWhy && f.why.signed:
		return Destroyed
	}
	return Missing
}

// unopened reports whether a body could not be opened for want of its key. What that
// means depends on what the records say of it.
func unopened(err error) bool {
	for _, e := range []error{ErrNoKeys, keys.ErrMaster, keys.ErrRestricted, keys.ErrErased, keys.ErrDestroyed, keys.ErrMissing, keys.ErrDamaged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// keyFile is the file with the keys of a class and month.
type keyFile struct {
	name      string
	here      bool
	removed   witness // says that it was destroyed
	destroyed bool
	// The records that need it although it is not here.
	records int64
	first   place
	why     string // that nothing says so, or nothing signed
}

// keyFileID names a key file.
type keyFileID struct {
	class Class
	month keys.Month
}

// month returns the key file of a class and month. It looks once whether it is here.
func (v *verifier) month(c Class, month keys.Month) *keyFile {
	id := keyFileID{c, month}
	f := v.keyFiles[id]
	if f == nil {
		f = &keyFile{name: path.Join(keysDir, c.String(), month.String()+".keys")}
		f.here = v.hasFile(f.name)
		f.removed, f.destroyed = v.fates.keyFiles[f.name]
		v.keyFiles[id] = f
	}
	return f
}

// closed returns the verdict on a record whose body is here and cannot be opened.
func (v *verifier) closed(c *checked) Verdict {
	by, erased := v.fates.keys[c.handle]
	if !erased {
		by, erased = v.fates.erasedBy(v.generation, c.at.index)
	}
	if erased && by.signed {
		v.erased[by]++
		return Erased
	}
	m := v.month(c.leaf.class(), c.handle.Month())
	if m.destroyed && m.removed.signed && !errors.Is(c.err, keys.ErrMissing) {
		return Destroyed
	}
	unsigned := ""
	if erased || m.destroyed {
		if m.destroyed {
			by = m.removed
		}
		unsigned = fmt.Sprintf("; record %s says why, but no signed head covers that record", by)
	} else {
		unsigned = ", and no record says why"
	}
	if by, ok := v.fates.givenUp[c.handle]; ok && errors.Is(c.err, keys.ErrMissing) {
		// Who can spoil a key could give it up, too: the record tells what happened, and is no approval.
		unsigned = fmt.Sprintf("; record %s says that it could not be read any more, and who gave it up", by)
	}
	switch {
	case errors.Is(c.err, keys.ErrDestroyed), errors.Is(c.err, ErrNoKeys) && v.keysHere && !m.here:
		if m.records++; m.records == 1 {
			m.first, m.why = c.body, unsigned
		}
		return Missing
	case errors.Is(c.err, keys.ErrErased), errors.Is(c.err, keys.ErrMissing):
		v.rep.find(c.body.finding(Missing, 1, "the key of its body is gone%s", unsigned))
		return Missing
	case errors.Is(c.err, keys.ErrDamaged):
		v.rep.find(c.body.finding(Altered, 1, "the key of its body in %s is damaged", m.name))
		return Altered
	}
	return NotOpened
}

// hasFile reports whether a file of the directory is here.
func (v *verifier) hasFile(name string) bool {
	_, err := os.Stat(filepath.Join(v.dir, filepath.FromSlash(name)))
	return !errors.Is(err, fs.ErrNotExist)
}

// refresh reads the records that say what became of bodies again, if there are more
// records than before.
func (v *verifier) refresh() (changed bool, err error) {
	size, err := logSize(v.dir)
	if err != nil || size == v.fates.size {
		return false, err
	}
	f, err := readFates(v.dir, nil)
	if err != nil {
		return false, err
	}
	v.fates = f
	return true, nil
}

func are(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// plural says how many there are.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
