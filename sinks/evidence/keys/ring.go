package keys

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/weir-moderation/weir/internal/disk"
)

// Errors that callers may want to tell apart.
var (
	// ErrErased means that the key was destroyed, and its body with it.
	ErrErased = errors.New("the key was destroyed: its subject was erased")
	// ErrRestricted means that the key was put aside: see [Ring.OpenRestricted].
	ErrRestricted = errors.New("the key is restricted: its subject was erased, and a duty to keep it still runs")
	// ErrDestroyed means that there are no keys of that class and month.
	ErrDestroyed = errors.New("there is no key file of that month")
	// ErrMissing means that the file of the month is there and the key is not in it.
	ErrMissing = errors.New("the key is not in the file of its month")
	// ErrDamaged means that a key is there and cannot be read.
	ErrDamaged = errors.New("the key is damaged")
	// ErrMaster means that the key that wraps others is not there: it was destroyed,
	// or cannot be reached.
	ErrMaster = errors.New("no master key")
	// ErrReadOnly means that the ring was opened to read.
	ErrReadOnly = errors.New("the keys are open for reading only")
	// ErrBroken means that writing failed. Keys that are known still open; nothing is
	// written until the ring is opened again, which finds out what is on the disk.
	ErrBroken = errors.New("writing of keys failed before; nothing more is written until restart")
	// ErrLocked means that another process, or another Ring of this one, writes to
	// the directory.
	ErrLocked = errors.New("another process holds the keys")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("the keys are closed")
)

// Options says how a ring is opened.
type Options struct {
	Master Config // its File empty, and no Command: master.key beside the directory

	// ReadOnly changes nothing on the disk and needs no lock, so it can be had while
	// another process writes. Such a ring makes no keys, and may go on opening for as
	// long as it lives what it has opened once.
	ReadOnly bool
	// Erased are the keys that the log says were destroyed. Before anything is opened
	// they are destroyed again where they are found: the directory may have been
	// restored from a copy. A ring that is read-only does not open them.
	Erased []Handle
	// OpenKeys is how many keys are kept ready for use in each of two places, those
	// to encrypt with and those to decrypt with. 0: 32768, at about a kilobyte each.
	OpenKeys int

	// Store is where the keys are durable if the directory is only a working copy of
	// them, which [WorkingCopy] has made. It is not closed with the ring.
	Store Store

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: silent

	calls *calls // tests
}

const defaultOpenKeys = 32768

// Ring is an open directory of keys. Its methods may be called from many goroutines.
type Ring struct {
	dir    string
	o      Options
	calls  *calls
	log    *slog.Logger
	master master
	lock   *os.File // nil if read-only

	index []byte   // the key from which the index keys of the classes are derived; never changes
	macs  sync.Map // class to *mac

	genMu sync.RWMutex
	ring  *keyring
	gens  map[uint32]cipher.AEAD

	writers sync.Map // class to *writer
	reader  reader
	erased  map[Handle]bool // not to be opened, if read-only; else they are destroyed

	// admin is held by who changes what was written: rotates, shreds, drops.
	admin sync.Mutex

	stateMu sync.Mutex
	broken  error
	closed  bool
}

// Open opens the keys in dir, which is <evidence>/keys, or begins them: then it
// makes the master key, too. It finishes what a crash interrupted.
//
// It fails with [ErrMaster] where the master key is not the one the keys were
// wrapped with, or cannot be reached, and with [ErrLocked].
func Open(dir string, o Options) (*Ring, error) {
	if o.Master.File == "" && len(o.Master.Command) == 0 {
		o.Master.File = filepath.Join(filepath.Dir(filepath.Clean(dir)), "master.key")
	}
	if err := o.Master.Validate(); err != nil {
		return nil, fmt.Errorf("open keys %s: master_key: %w", dir, err)
	}
	if o.OpenKeys == 0 {
		o.OpenKeys = defaultOpenKeys
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.calls == nil {
		o.calls = systemCalls()
	}
	if o.Store != nil && !o.ReadOnly {
		o.calls = o.calls.with(o.Store, dir)
	}
	r := &Ring{dir: dir, o: o, calls: o.calls, log: o.Logger, master: newMaster(o.Master, o.calls)}
	r.reader.init(r)
	if err := r.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open keys %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// open is Open without the defaults.
func (r *Ring) open() error {
	if !r.o.ReadOnly {
		if err := makeDir(r.calls, r.dir); err != nil {
			return err
		}
		var err error
		if r.lock, err = disk.Lock(r.dir); err != nil {
			if errors.Is(err, disk.ErrLocked) {
				return fmt.Errorf("%w; stop it, or give this instance a directory of its own", ErrLocked)
			}
			return err
		}
		// A rename of an earlier life may not be durable yet.
		if err := syncDir(r.calls, r.dir); err != nil {
			return err
		}
	}
	k, err := readKeyring(r.dir)
	if err != nil {
		return err
	}
	if k == nil {
		if r.o.ReadOnly {
			return fmt.Errorf("there is no %s", keyringFile)
		}
		if k, err = r.beginKeyring(); err != nil {
			return err
		}
		r.log.Warn("made the master key that opens the evidence; keep a copy in a safe place, and none beside copies of the log",
			"where", r.master.where(), "name", k.newest().Master)
	}
	for {
		if err = r.openKeyring(k); err == nil {
			break
		}
		// Who writes may have rotated the master key between the two.
		again, rerr := readKeyring(r.dir)
		if rerr != nil || again == nil || again.same(k) {
			return err
		}
		k = again
	}
	if r.o.ReadOnly {
		r.erased = make(map[Handle]bool)
		for _, h := range r.o.Erased {
			r.erased[h] = true
		}
		return nil
	}
	if err := r.redo(); err != nil {
		return err
	}
	r.retire()
	n, err := r.shredHandles(r.o.Erased)
	if n > 0 {
		r.log.Warn("destroyed keys again that the log says were destroyed; the keys were restored from a copy", "keys", n)
	}
	return err
}

// Close lets the directory go. It waits for nothing: whoever uses the ring ends first.
func (r *Ring) Close() error {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	errs := []error{r.reader.close()}
	r.writers.Range(func(_, w any) bool {
		errs = append(errs, w.(*writer).close())
		return true
	})
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

// writable reports why nothing can be written, or nil.
func (r *Ring) writable() error {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case r.o.ReadOnly:
		return ErrReadOnly
	}
	return r.broken
}

// kill remembers that writing failed and returns the error to tell.
func (r *Ring) kill(err error) error {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if r.broken == nil {
		r.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		r.log.Error("keys cannot be written; restart when the disk is well", "err", err)
	}
	return r.broken
}

// newest returns the generation that wraps new keys, and its key.
func (r *Ring) newest() (uint32, cipher.AEAD) {
	r.genMu.RLock()
	defer r.genMu.RUnlock()
	n := r.ring.newest().Number
	return n, r.gens[n]
}

// generation returns the key of a generation, or nil.
func (r *Ring) generation(n uint32) cipher.AEAD {
	r.genMu.RLock()
	defer r.genMu.RUnlock()
	return r.gens[n]
}

// unwrap opens the key of an entry, which is sound and not dead.
func (r *Ring) unwrap(class string, e *entry) (cipher.AEAD, error) {
	by := r.generation(e.generation())
	if by == nil {
		return nil, fmt.Errorf("%w of generation %d", ErrMaster, e.generation())
	}
	key, err := e.unwrap(class, by)
	if err != nil {
		return nil, fmt.Errorf("%w: what is in the entry is not what was written", ErrDamaged)
	}
	a := newAEAD(key)
	clear(key)
	return a, nil
}
