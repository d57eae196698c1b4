package keys

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// reader finds keys by their handles.
type reader struct {
	r *Ring

	openMu sync.RWMutex
	opened cache[Handle, cipher.AEAD]
	lent   map[Handle]cipher.AEAD // from escrow

	mu    sync.Mutex
	files []*month // the one used last is last
}

// maxMonths is how many key files are kept open, with the places of their keys.
const maxMonths = 8

// month is a key file open for reading.
type month struct {
	keyFile
	f      *os.File
	places map[Handle]uint32
	s      findings
}

func (d *reader) init(r *Ring) {
	d.r = r
	d.opened.limit = r.o.OpenKeys
}

// Open returns the key that a record of the class names, as an AES-256-GCM with
// nonces of 12 bytes.
//
// It fails with [ErrErased] if the key was destroyed, [ErrRestricted] if it was put
// aside, [ErrDestroyed] if there are no keys of the class and month at all,
// [ErrMissing] if there are and this one is not among them, [ErrDamaged] if it
// cannot be read, and [ErrMaster] if there is no master key that opens it.
func (r *Ring) Open(class string, h Handle) (cipher.AEAD, error) {
	d := &r.reader
	d.openMu.RLock()
	a, ok := d.opened.get(h)
	if !ok {
		a, ok = d.lent[h]
	}
	d.openMu.RUnlock()
	if ok {
		return a, nil
	}
	if !isClass(class) {
		return nil, fmt.Errorf("class %q is none", class)
	}
	if r.erased[h] {
		return nil, ErrErased
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Under d.mu, so that what is shredded meanwhile is not kept after it.
	d.openMu.Lock()
	a, ok = d.opened.take(h)
	d.openMu.Unlock()
	if ok {
		return a, nil
	}
	a, err := d.find(keyFile{class, h.Month(), keysSuffix}, h)
	if err != nil {
		return nil, err
	}
	d.openMu.Lock()
	d.opened.put(h, a)
	d.openMu.Unlock()
	return a, nil
}

// Erased reports whether [Ring.Open] would say [ErrErased] of the key. Of keys that are in use it knows without
// opening them: sealing asks of every record.
func (r *Ring) Erased(class string, h Handle) bool {
	if v, ok := r.writers.Load(class); ok {
		w := v.(*writer)
		w.mu.RLock()
		inUse := w.file != nil && w.month == h.Month() && !w.gone[h]
		w.mu.RUnlock()
		if inUse {
			return false
		}
	}
	_, err := r.Open(class, h)
	return errors.Is(err, ErrErased)
}

// find reads a key from a file. The caller holds mu.
//
// Another process may rotate the master key meanwhile, more than once. What it
// replaced is read anew until nothing is newer than what was read.
func (d *reader) find(at keyFile, h Handle) (cipher.AEAD, error) {
	for {
		a, err := d.look(at, h)
		if !d.r.o.ReadOnly || !errors.Is(err, ErrMaster) {
			return a, err
		}
		newFile, ferr := d.follow(at)
		newRing, rerr := d.r.refresh()
		if rerr != nil || ferr != nil {
			return nil, errors.Join(rerr, ferr)
		}
		if !newFile && !newRing {
			return nil, err
		}
	}
}

// follow lets go of a key file that was replaced, and reports whether it was.
func (d *reader) follow(at keyFile) (bool, error) {
	m, err := d.month(at)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), nil // look says so
	}
	now, err := os.Stat(m.f.Name())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	then, terr := m.f.Stat()
	if terr != nil || err == nil && os.SameFile(now, then) {
		return false, terr
	}
	d.files = d.files[:len(d.files)-1] // where month has put it
	return true, m.f.Close()
}

// look is find without a second look.
func (d *reader) look(at keyFile, h Handle) (cipher.AEAD, error) {
	m, err := d.month(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: class %s, %v", ErrDestroyed, at.class, at.month)
	}
	if err != nil {
		return nil, err
	}
	n, ok := m.places[h]
	if !ok {
		// It may have been written, or the file replaced, since it was read.
		if m, err = d.reload(m); err != nil {
			return nil, err
		}
		if n, ok = m.places[h]; !ok {
			return nil, m.missing()
		}
	}
	e, err := m.read(n)
	if err == nil && !e.sound() {
		e, err = d.again(m, n, h)
	}
	if err != nil {
		return nil, err
	}
	if e.dead() {
		return nil, d.gone(at, h)
	}
	a, err := d.r.unwrap(at.class, &e)
	if err != nil {
		return nil, fmt.Errorf("%w: entry %d of %s", err, n, m.f.Name())
	}
	return a, nil
}

func (m *month) read(n uint32) (e entry, err error) {
	_, err = m.f.ReadAt(e[:], int64(n)*entrySize)
	return e, err
}

// again reads an entry that was not sound a second time: another process may have
// been overwriting it. Then its journal names the key, or it has finished.
func (d *reader) again(m *month, n uint32, h Handle) (entry, error) {
	_, shred, restrict, err := d.r.readJournal()
	if err != nil {
		return entry{}, err
	}
	if slices.Contains(shred, h) || slices.Contains(restrict, h) && m.suffix == keysSuffix {
		return destroyed(h), nil
	}
	e, err := m.read(n)
	if err == nil && !e.sound() {
		err = fmt.Errorf("%w: entry %d of %s, at offset %d", ErrDamaged, n, m.f.Name(), int64(n)*entrySize)
	}
	return e, err
}

// gone says why a key is not in its entry any more. The caller holds mu.
func (d *reader) gone(at keyFile, h Handle) error {
	if at.suffix == restrictedSuffix {
		return ErrErased
	}
	at.suffix = restrictedSuffix
	m, err := d.month(at)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrErased
	}
	if err != nil {
		return err
	}
	n, ok := m.places[h]
	if !ok {
		if m, err = d.reload(m); err != nil {
			return err
		}
		if n, ok = m.places[h]; !ok {
			return ErrErased
		}
	}
	e, err := m.read(n)
	if err == nil && !e.sound() {
		e, err = d.again(m, n, h)
	}
	switch {
	case err != nil:
		return err
	case e.dead():
		return ErrErased
	}
	return ErrRestricted
}

// missing says what it can mean that a key is not in the file.
func (m *month) missing() error {
	if len(m.s.damaged) > 0 {
		return fmt.Errorf("%w: it must be one of the %d damaged entries of %s, of which entry %d, at offset %d, is the first",
			ErrDamaged, len(m.s.damaged), m.f.Name(), m.s.damaged[0], m.s.damaged[0]*entrySize)
	}
	return fmt.Errorf("%w: %s", ErrMissing, m.f.Name())
}

// month returns a key file open for reading.
func (d *reader) month(at keyFile) (*month, error) {
	for i, m := range d.files {
		if m.keyFile == at {
			d.files = append(append(d.files[:i:i], d.files[i+1:]...), m)
			return m, nil
		}
	}
	m, err := d.load(at)
	if err != nil {
		return nil, err
	}
	if len(d.files) == maxMonths {
		if err := d.files[0].f.Close(); err != nil {
			return nil, errors.Join(err, m.f.Close())
		}
		d.files = d.files[1:]
	}
	d.files = append(d.files, m)
	return m, nil
}

func (d *reader) load(at keyFile) (*month, error) {
	f, err := os.Open(d.r.path(at.class, at.month, at.suffix))
	if err != nil {
		return nil, err
	}
	m := &month{keyFile: at, f: f, places: make(map[Handle]uint32)}
	m.s, err = survey(f, func(n int64, e *entry) { m.places[e.handle()] = uint32(n) })
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// reload reads again what may have changed since the file was read.
func (d *reader) reload(m *month) (*month, error) {
	now, err := os.Stat(m.f.Name())
	if err != nil {
		return nil, err
	}
	then, err := m.f.Stat()
	if err != nil {
		return nil, err
	}
	// A file of whole entries only grows. One with a write at its end that was cut short is cut
	// before it grows, and may then be as long as it was.
	if os.SameFile(now, then) && now.Size() == m.s.size && m.s.size == m.s.entries*entrySize {
		return m, nil
	}
	fresh, err := d.load(m.keyFile)
	if err != nil {
		return nil, err
	}
	d.files[len(d.files)-1] = fresh
	return fresh, m.f.Close()
}

// forget closes all files: they were replaced.
func (d *reader) forget() error {
	var errs []error
	for _, m := range d.files {
		errs = append(errs, m.f.Close())
	}
	d.files = nil
	return errors.Join(errs...)
}

func (d *reader) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.forget()
}
