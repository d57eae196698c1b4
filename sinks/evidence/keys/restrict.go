package keys

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Restrict puts the keys of a subject aside, of all months, in the classes given or
// in all, and returns their handles: the subject was erased, but a law still asks
// for the records, up to and with the day of until. [Ring.Open] refuses such a key
// with [ErrRestricted], and nothing new is written with it. [Ring.OpenRestricted]
// opens it. When the day is over [Ring.Due] names it, to be shredded. What was put
// aside before stays there, with the later of the two days.
//
// If the process dies before it returns, nothing was put aside, or the next [Open]
// does the rest.
func (r *Ring) Restrict(subject string, until time.Time, classes ...string) ([]Handle, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.writable(); err != nil {
		return nil, fmt.Errorf("restrict keys: %w", err)
	}
	r.settle()
	places, err := r.ofSubject(subject, classes)
	if err != nil {
		return nil, fmt.Errorf("restrict keys: %w", err)
	}
	hs := handlesOf(places)
	if len(hs) == 0 {
		return nil, nil
	}
	if err := r.writeJournal(journal{Restrict: hexOf(hs), Until: day(until)}); err != nil {
		return nil, fmt.Errorf("restrict keys: %w", err) // nothing was touched, so the ring goes on
	}
	if err := r.restrict(day(until), places); err != nil {
		return nil, fmt.Errorf("restrict keys: %w", err)
	}
	return hs, nil
}

// restrict puts keys aside. The journal names them, and the caller holds admin.
//
// If the process dies within, the next start comes here again: a key that is aside
// already, for as long, is not put there twice.
func (r *Ring) restrict(until uint32, places []place) error {
	byFile := make(map[keyFile][]place)
	for _, p := range places {
		at := p.keyFile
		at.suffix = restrictedSuffix
		byFile[at] = append(byFile[at], p)
	}
	var inUse []place
	for _, p := range places {
		if p.suffix == keysSuffix {
			inUse = append(inUse, p)
		}
	}
	for at, from := range byFile {
		if err := r.putAside(at, from, until); err != nil {
			return r.kill(err)
		}
	}
	err := r.overwrite(inUse)
	r.evict(handlesOf(places))
	if err != nil {
		return r.kill(err)
	}
	return r.endJournal()
}

// putAside appends keys of one month to the file of those put aside.
func (r *Ring) putAside(at keyFile, from []place, until uint32) (err error) {
	path := r.path(at.class, at.month, at.suffix)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syncDir(r.calls, filepath.Dir(path)); err != nil {
		return err
	}
	there := make(map[Handle]entry)
	s, err := survey(f, func(_ int64, e *entry) { there[e.handle()] = *e })
	if err != nil {
		return err
	}
	if err := r.mend(f, path, s); err != nil {
		return err
	}
	main, err := os.Open(r.path(at.class, at.month, keysSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if main != nil {
		defer func() { err = errors.Join(err, main.Close()) }()
	}
	var buf []byte
	for _, p := range from {
		e, aside := there[p.h]
		if aside && (e.dead() || e.until() >= until) {
			continue
		}
		if !aside {
			if p.suffix == restrictedSuffix {
				continue // there it is damaged
			}
			if _, err := main.ReadAt(e[:], p.n*entrySize); err != nil {
				return err
			}
			if !e.sound() {
				// An overwriting was cut short, so it had been put aside, and is damaged
				// there: two faults, and the key is lost.
				continue
			}
		}
		binary.BigEndian.PutUint32(e[entryUntil:], until)
		e.finish()
		there[p.h] = e
		buf = append(buf, e[:]...)
	}
	if len(buf) == 0 {
		return nil
	}
	if err := r.calls.write(f, buf, s.entries*entrySize); err != nil {
		return err
	}
	return r.calls.datasync(f)
}

// OpenRestricted returns a key that was put aside, as [Ring.Open] returns others.
// Who may ask for it, and that it was asked for, is the caller's matter. It fails
// with [ErrErased] where the key has been destroyed since.
func (r *Ring) OpenRestricted(class string, h Handle) (cipher.AEAD, error) {
	if !isClass(class) {
		return nil, fmt.Errorf("class %q is none", class)
	}
	if r.erased[h] {
		return nil, ErrErased
	}
	d := &r.reader
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(keyFile{class, h.Month(), restrictedSuffix}, h)
}

// Due returns the keys that were put aside for a duty that has ended. They are to be
// shredded: see [Ring.ShredHandles].
func (r *Ring) Due() ([]Handle, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	until := make(map[Handle]uint32)
	places, err := r.locate(nil, nil, func(_ string, e *entry) bool {
		if !e.sound() || e.dead() || e.until() == 0 {
			return false
		}
		until[e.handle()] = max(until[e.handle()], e.until())
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("keys whose duty has ended: %w", err)
	}
	today := day(r.o.Now())
	var due []Handle
	for _, h := range handlesOf(places) {
		if until[h] < today {
			due = append(due, h)
		}
	}
	return due, nil
}
