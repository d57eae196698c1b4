package keys

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Rotation is what [Ring.Rotate] did.
type Rotation struct {
	Generation uint32   // that wraps all keys now
	Master     string   // the name of its master key
	Destroyed  []string // the names of the master keys that were destroyed
	Keys       int64    // that were wrapped anew
	Files      int
}

// Rotate makes a new generation of the master key, wraps every key that is left with
// it in new files, and destroys the generations before. After that no older copy of
// the directory opens any key, even one that was not destroyed: copies that are to be
// of use must be made anew. It wraps some hundred thousand keys a second; keys are
// given out, and new ones made, meanwhile.
//
// It refuses with [ErrDamaged], before it has done anything, while there are damaged
// keys: they would be lost. Restore them, or give them up with [Ring.GiveUp].
//
// If the process dies before it returns, or it fails, some files are wrapped with the
// new generation and some with one before; all are in the keyring, and nothing is
// lost. But older copies still open: rotate again. See [Ring.Rotating].
func (r *Ring) Rotate() (Rotation, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	res, err := r.rotate()
	if err != nil {
		return res, fmt.Errorf("rotate the master key: %w", err)
	}
	return res, nil
}

func (r *Ring) rotate() (res Rotation, err error) {
	if err := r.writable(); err != nil {
		return res, err
	}
	damaged, err := r.damaged()
	if err != nil {
		return res, err
	}
	if len(damaged) > 0 {
		return res, fmt.Errorf("%d keys cannot be read, the first is %v: %w", len(damaged), damaged[0], ErrDamaged)
	}
	k := r.copyKeyring()
	g, key, err := r.newGeneration(k, k.newest().Number+1)
	if err != nil {
		return res, err
	}
	k.Generations = append(k.Generations, g)
	by := newAEAD(key)
	k.Index = seal(by, r.index, indexData(k.ID))
	if err := r.setKeyring(k, map[uint32]cipher.AEAD{g.Number: by}); err != nil {
		return res, err
	}
	res.Generation, res.Master = g.Number, g.Master

	files, err := r.files()
	if err != nil {
		return res, err
	}
	for _, at := range files {
		n, err := r.rewrap(at, g.Number, by)
		if err != nil {
			return res, err
		}
		res.Keys += n
		res.Files++
	}

	k = r.copyKeyring()
	for i := range k.Generations[:len(k.Generations)-1] {
		k.Generations[i].Retired = true
	}
	d := &r.reader
	d.mu.Lock()
	if err = r.setKeyring(k, nil); err == nil {
		err = d.forget() // what it holds open may be the old files
	}
	d.mu.Unlock()
	if err != nil {
		return res, err
	}
	res.Destroyed, err = r.destroyRetired()
	return res, err
}

// copyKeyring returns a keyring that can be changed before it is set.
func (r *Ring) copyKeyring() *keyring {
	r.genMu.RLock()
	defer r.genMu.RUnlock()
	k := *r.ring
	k.Generations = slices.Clone(k.Generations)
	return &k
}

// setKeyring makes a keyring durable and then the one in force.
//
// If the process dies within, or it fails, the next start finds the old one or the
// new one, and both open everything: what is wrapped with a generation that only the
// new one names is written after this.
func (r *Ring) setKeyring(k *keyring, opened map[uint32]cipher.AEAD) error {
	if err := r.writeKeyring(k); err != nil {
		return err
	}
	r.genMu.Lock()
	defer r.genMu.Unlock()
	gens := make(map[uint32]cipher.AEAD)
	for _, g := range k.Generations {
		if g.Retired {
			continue
		}
		if gens[g.Number] = r.gens[g.Number]; opened[g.Number] != nil {
			gens[g.Number] = opened[g.Number]
		}
	}
	r.ring, r.gens = k, gens
	return nil
}

// rewrap writes a key file anew, its keys wrapped with another generation and every
// entry in its old place, and returns how many keys there were.
//
// Appends go on while the bulk is copied; only the end is done while they wait. If
// the process dies before the rename, the old file stands, and a file ending in .tmp
// that the next try overwrites; after it, either stands: both can be opened.
func (r *Ring) rewrap(at keyFile, generation uint32, by cipher.AEAD) (keys int64, err error) {
	w, err := r.writer(at.class)
	if err != nil {
		return 0, err
	}
	path := r.path(at.class, at.month, at.suffix)
	from, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := newFile(path)
	if err != nil {
		return 0, err
	}
	swapped := false
	defer func() {
		if !swapped {
			err = errors.Join(err, to.Close(), os.Remove(path+tmpSuffix))
		}
	}()

	c := rewrapping{r: r, class: at.class, path: path, from: from, to: to, generation: generation, by: by}
	if err := c.upToEnd(); err != nil {
		return 0, err
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := c.upToEnd(); err != nil {
		return 0, err
	}
	swapped = true
	if err := r.calls.rename(path+tmpSuffix, path); err != nil {
		return 0, errors.Join(r.kill(err), to.Close())
	}
	if err := syncDir(r.calls, filepath.Dir(path)); err != nil {
		return 0, errors.Join(r.kill(err), to.Close())
	}
	if at.suffix != keysSuffix || !w.isAt(at.month) {
		return c.keys, to.Close()
	}
	w.mu.Lock()
	old := w.file
	w.file = to
	w.mu.Unlock()
	return c.keys, old.Close()
}

// rewrapping is a key file on its way into another one.
type rewrapping struct {
	r          *Ring
	class      string
	path       string
	from, to   *os.File
	generation uint32
	by         cipher.AEAD

	done int64 // entries
	keys int64
}

// upToEnd copies what is not copied yet and syncs it.
func (c *rewrapping) upToEnd() error {
	fi, err := c.from.Stat()
	if err != nil {
		return err
	}
	var failed error
	var buf []byte
	var zeros []byte // unfinished at the end, if nothing sound follows
	at := c.done
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		if err := c.r.calls.write(c.to, buf, at*entrySize); err != nil {
			return err
		}
		at += int64(len(buf) / entrySize)
		buf = buf[:0]
		return nil
	}
	err = scan(c.from, c.done, fi.Size(), func(n int64, e *entry) bool {
		switch {
		case !e.sound() && torn(n, e):
			var void entry
			void.finish()
			zeros = append(zeros, void[:]...)
			return true
		case !e.sound():
			failed = fmt.Errorf("%w: entry %d of %s, at offset %d", ErrDamaged, n, c.path, n*entrySize)
			return false
		}
		buf = append(buf, zeros...)
		zeros = zeros[:0]
		out := *e
		if !e.dead() {
			if failed = c.entry(n, &out); failed != nil {
				return false
			}
		}
		buf = append(buf, out[:]...)
		if len(buf) >= scanWindow*entrySize {
			failed = flush()
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	c.done = at
	return c.r.calls.sync(c.to)
}

// entry wraps one key anew.
func (c *rewrapping) entry(n int64, e *entry) error {
	by := c.r.generation(e.generation())
	if by == nil {
		return nil // of a copy that was restored in part: nothing opens it, nor will
	}
	key, err := e.unwrap(c.class, by)
	if err != nil {
		return fmt.Errorf("%w: entry %d of %s, at offset %d", ErrDamaged, n, c.path, n*entrySize)
	}
	e.wrap(c.class, c.generation, c.by, key)
	clear(key)
	c.keys++
	return nil
}

// destroyRetired destroys the master keys of the generations that are retired, and
// makes sure that they are.
//
// If the process dies within, the keyring still names them, and the next start or
// rotation comes here again.
func (r *Ring) destroyRetired() (names []string, err error) {
	k := r.copyKeyring()
	var left []generation
	var errs []error
	for _, g := range k.Generations {
		if !g.Retired {
			left = append(left, g)
			continue
		}
		if err := r.destroyMaster(g); err != nil {
			left = append(left, g)
			errs = append(errs, fmt.Errorf("destroy %s in %s: %w; until it is destroyed, older copies of the keys can be opened with it", g.Master, r.master.where(), err))
			continue
		}
		names = append(names, g.Master)
	}
	if len(names) > 0 {
		k.Generations = left
		errs = append(errs, r.setKeyring(k, nil))
	}
	return names, errors.Join(errs...)
}

func (r *Ring) destroyMaster(g generation) error {
	if err := r.master.destroy(g.Master); err != nil {
		return err
	}
	if _, err := r.master.unwrap(g.Master, g.Key); err == nil {
		return errors.New("it says that it was, and still unwraps")
	}
	return nil
}

// retire finishes at a start what a rotation left over. That a service refuses to
// destroy a key is no reason not to start.
func (r *Ring) retire() {
	if _, err := r.destroyRetired(); err != nil {
		r.log.Error("an old master key is still there", "err", err)
	}
	if r.Rotating() {
		r.log.Warn("a rotation of the master key was interrupted; rotate again, or older copies of the keys can still be opened")
	}
}

// Rotating reports whether a generation before the newest is still there, because
// [Ring.Rotate] is under way, was interrupted or has failed.
func (r *Ring) Rotating() bool {
	r.genMu.RLock()
	defer r.genMu.RUnlock()
	return len(r.ring.Generations) > 1
}

// Damage is a key that cannot be read.
type Damage struct {
	Class      string
	Month      Month
	Restricted bool
	Entry      int64  // its number in the file
	Handle     Handle // as far as it can be trusted
}

// String names the place.
func (d Damage) String() string {
	suffix := keysSuffix
	if d.Restricted {
		suffix = restrictedSuffix
	}
	return fmt.Sprintf("entry %d of %s/%v%s, at offset %d", d.Entry, d.Class, d.Month, suffix, d.Entry*entrySize)
}

// Damaged reads all key files and returns the keys that cannot be read.
func (r *Ring) Damaged() ([]Damage, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	found, err := r.damaged()
	if err != nil {
		return nil, fmt.Errorf("look for damaged keys: %w", err)
	}
	return found, nil
}

func (r *Ring) damaged() ([]Damage, error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	var found []Damage
	for _, at := range files {
		f, err := os.Open(r.path(at.class, at.month, at.suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := survey(f, func(n int64, e *entry) {
			if by := r.generation(e.generation()); !e.dead() && by != nil {
				if _, err := e.unwrap(at.class, by); err != nil {
					found = append(found, Damage{at.class, at.month, at.suffix == restrictedSuffix, n, e.handle()})
				}
			}
		})
		for _, n := range s.damaged {
			var e entry
			if err == nil {
				_, err = f.ReadAt(e[:], n*entrySize)
			}
			found = append(found, Damage{at.class, at.month, at.suffix == restrictedSuffix, n, e.handle()})
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// GiveUp puts zeros in the place of a key that cannot be read, so that the master key
// can be rotated. What was encrypted with it is lost; that it is, the caller records.
func (r *Ring) GiveUp(d Damage) error {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.giveUp(d); err != nil {
		return fmt.Errorf("give up %v: %w", d, err)
	}
	return nil
}

func (r *Ring) giveUp(d Damage) error {
	if err := r.writable(); err != nil {
		return err
	}
	found, err := r.damaged()
	if err != nil {
		return err
	}
	if !slices.Contains(found, d) {
		return errors.New("there is no damaged key")
	}
	at := keyFile{d.Class, d.Month, keysSuffix}
	if d.Restricted {
		at.suffix = restrictedSuffix
	}
	// If the process dies within, it is as damaged as it was.
	if err := r.overwrite([]place{{at, d.Entry, Handle{}}}); err != nil {
		return r.kill(err)
	}
	m := &r.reader
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forget()
}
