package keys

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Key encrypts what is recorded of a subject in a month. Its AEAD is AES-256-GCM
// with nonces of 12 bytes, which the caller draws at random for every use. The
// handle is written beside the ciphertext, so that [Ring.Open] can find the key.
type Key struct {
	Handle Handle
	AEAD   cipher.AEAD
}

// maxUses is how often a key is handed out before its subject gets another one.
// Random nonces of 12 bytes are safe for 2^32 uses; what this process does not know
// of, the uses before it started, has room above this.
const maxUses = 1 << 30

// ready is a key in use.
type ready struct {
	Key
	uses atomic.Int64
}

// writer makes the keys of a class and knows those of the current month.
type writer struct {
	r     *Ring
	class string
	mac   *mac

	// writing is held by who changes the month's file. It is taken before mu.
	writing sync.Mutex
	size    int64

	mu    sync.RWMutex
	file  *os.File // changed only under both locks
	month Month
	ready cache[string, *ready] // by subject
	known map[tag]uint32        // where the subject's newest key is in the file
	gone  map[Handle]bool       // keys that are not in the file any more: destroyed, or put aside
	next  *batch                // new keys that nobody has begun to write
	fresh map[tag]*newKey       // all new keys that are not durable yet
}

// newKey is a key on its way into the file.
type newKey struct {
	ready
	subject string
	tag     tag
	batch   *batch
}

// batch is the new keys that one write and one sync make durable.
type batch struct {
	keys []*newKey
	// Both are guarded by the writer's writing.
	done bool
	err  error
}

// Keys returns a key for each of the subjects, in their order: the one that the
// subject has in this class and month. The subject "" is whoever is not known. New
// keys are on the disk when it returns, those of all concurrent calls by one write
// and one sync.
//
// It fails with [ErrBroken] or [ErrReadOnly] if a new key is needed, and none can be
// made: then what they were for must not be recorded. If the process dies before it
// returns, some of the new keys may be there; they are used or never missed.
//
// Clause: rn-store
// Bodies about people are encrypted under a key of their own for each person, retention class and month.
func (r *Ring) Keys(class string, subjects []string) ([]Key, error) {
	if r.o.ReadOnly {
		return nil, ErrReadOnly
	}
	w, err := r.writer(class)
	if err != nil {
		return nil, err
	}
	out := make([]Key, len(subjects))
	missing := w.fill(MonthOf(r.o.Now()), subjects, out)
	if missing == 0 {
		return out, nil
	}
	if err := w.make(subjects, out); err != nil {
		return nil, fmt.Errorf("keys of class %s: %w", class, err)
	}
	return out, nil
}

func (r *Ring) writer(class string) (*writer, error) {
	if w, ok := r.writers.Load(class); ok {
		return w.(*writer), nil
	}
	if !isClass(class) {
		return nil, fmt.Errorf("class %q; use up to 32 of a-z 0-9 - _, a letter first", class)
	}
	w := &writer{r: r, class: class, mac: r.macOf(class), fresh: make(map[tag]*newKey)}
	w.ready.limit = r.o.OpenKeys
	got, _ := r.writers.LoadOrStore(class, w)
	return got.(*writer), nil
}

// fill fills in the keys that are ready and returns how many are not. Many do this
// at once.
func (w *writer) fill(m Month, subjects []string, out []Key) (missing int) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.file == nil || w.month < m {
		return len(subjects)
	}
	for i, s := range subjects {
		if k, ok := w.ready.get(s); ok && k.uses.Add(1) <= maxUses {
			out[i] = k.Key
		} else {
			missing++
		}
	}
	return missing
}

// make fills in the keys that are still missing: those that are in the file are
// read, the others made.
func (w *writer) make(subjects []string, out []Key) error {
	m := MonthOf(w.r.o.Now())
	if err := w.turn(m); err != nil {
		return err
	}
	waits := make(map[*batch]bool)
	type place struct {
		at  int // in out
		key *newKey
	}
	var fresh []place
	w.mu.Lock()
	for i, s := range subjects {
		if out[i].AEAD != nil {
			continue
		}
		k, ok := w.ready.take(s)
		if ok && k.uses.Load() < maxUses {
			out[i] = k.Key
			continue
		}
		n, err := w.find(s, ok)
		if err != nil {
			w.mu.Unlock()
			return err
		}
		if n.batch == nil {
			out[i] = n.Key
			continue
		}
		fresh = append(fresh, place{i, n})
		waits[n.batch] = true
	}
	w.mu.Unlock()
	for b := range waits {
		if err := w.flush(b); err != nil {
			return err
		}
	}
	for _, p := range fresh {
		out[p.at] = p.key.Key
	}
	return nil
}

// find returns the key of a subject that is not ready: read from the file, with no
// batch, or a new one in the batch that will write it. The caller holds mu.
func (w *writer) find(subject string, worn bool) (*newKey, error) {
	t := w.mac.subject(subject)
	if n, ok := w.fresh[t]; ok {
		return n, nil
	}
	if n, ok := w.known[t]; ok && !worn {
		k, err := w.read(n, t)
		if err != nil {
			return nil, err
		}
		if k != nil {
			w.ready.put(subject, k)
			return &newKey{ready: ready{Key: k.Key}}, nil
		}
	}
	if err := w.r.writable(); err != nil {
		return nil, err
	}
	if w.next == nil {
		w.next = new(batch)
	}
	n := &newKey{subject: subject, tag: t, batch: w.next}
	w.next.keys = append(w.next.keys, n)
	w.fresh[t] = n
	return n, nil
}

// read returns the key of the n-th entry, or nil if it is not there any more or
// cannot be opened: then its subject gets another one, and what was written with
// the first says so when it is read.
func (w *writer) read(n uint32, t tag) (*ready, error) {
	var e entry
	if _, err := w.file.ReadAt(e[:], int64(n)*entrySize); err != nil {
		return nil, err
	}
	if !e.sound() || e.dead() || e.subject() != t {
		return nil, nil
	}
	a, err := w.r.unwrap(w.class, &e)
	if errors.Is(err, ErrMaster) || errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &ready{Key: Key{e.handle(), a}}, nil
}

// flush returns when the batch is durable, or failed. The first caller that gets
// here after the write before it writes for all who joined the batch meanwhile.
func (w *writer) flush(b *batch) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if !b.done {
		w.write() // it is the next one: who took another for writing has finished it
	}
	return b.err
}

// maxWrite is how many new keys one write holds at most. What a failed sync may
// have left unsafe at the end of a file is not more than that.
const maxWrite = 4096

// write writes the next batch, if there is one. The caller holds writing.
//
// If the process dies within, the end of the file is cut short, or has keys that
// nobody has used.
func (w *writer) write() {
	w.mu.Lock()
	b := w.next
	w.next = nil
	w.mu.Unlock()
	if b == nil {
		return
	}
	at := w.size
	b.err = w.append(b.keys)
	b.done = true
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, n := range b.keys {
		delete(w.fresh, n.tag)
		if b.err == nil {
			w.known[n.tag] = uint32(at/entrySize) + uint32(i)
			w.ready.put(n.subject, &n.ready)
		}
	}
}

func (w *writer) append(keys []*newKey) error {
	if err := w.r.writable(); err != nil {
		return err
	}
	if w.size/entrySize+int64(len(keys)) > math.MaxUint32 {
		return fmt.Errorf("the key file of %v is full", w.month)
	}
	generation, by := w.r.newest()
	for len(keys) > 0 {
		some := keys[:min(len(keys), maxWrite)]
		buf := make([]byte, len(some)*entrySize)
		var key [keySize]byte
		for i, n := range some {
			rand.Read(key[:])
			binary.BigEndian.PutUint16(n.Handle[:], uint16(w.month))
			rand.Read(n.Handle[2:])
			n.AEAD = newAEAD(key[:])
			e := (*entry)(buf[i*entrySize:])
			copy(e[:], n.Handle[:])
			copy(e[entrySubject:], n.tag[:])
			e.wrap(w.class, generation, by, key[:])
		}
		clear(key[:])
		err := w.r.calls.write(w.file, buf, w.size)
		if err == nil {
			err = w.r.calls.datasync(w.file)
		}
		if err != nil {
			return w.r.kill(fmt.Errorf("write %s: %w", w.r.path(w.class, w.month, keysSuffix), err))
		}
		w.size += int64(len(buf))
		keys = keys[len(some):]
	}
	return nil
}

// turn makes m the current month, if it is later than the one that is.
func (w *writer) turn(m Month) error {
	w.mu.RLock()
	done := w.file != nil && w.month >= m
	w.mu.RUnlock()
	if done {
		return nil
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.file != nil && w.month >= m {
		return nil
	}
	if err := w.r.writable(); err != nil {
		return err
	}
	w.write() // what still belongs to the month before
	loaded := &writer{r: w.r, class: w.class, month: m}
	if err := loaded.load(); err != nil {
		return err
	}
	w.mu.Lock()
	old := w.file
	w.file, w.size, w.month, w.known = loaded.file, loaded.size, m, loaded.known
	for h := range w.gone {
		if h.Month() >= m {
			loaded.gone[h] = true
		}
	}
	w.gone = loaded.gone
	w.ready.clear()
	w.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// load opens the file of the writer's month, or makes it, and finds the subjects.
func (w *writer) load() (err error) {
	path := w.r.path(w.class, w.month, keysSuffix)
	dir := filepath.Dir(path)
	if err := makeDir(w.r.calls, dir); err != nil {
		return w.r.kill(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return w.r.kill(err)
	}
	defer func() {
		if err != nil {
			err = w.r.kill(errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close()))
		}
	}()
	if err := syncDir(w.r.calls, dir); err != nil {
		return err
	}
	w.known, w.gone = make(map[tag]uint32), make(map[Handle]bool)
	s, err := survey(f, func(n int64, e *entry) {
		if e.dead() {
			w.gone[e.handle()] = true
		} else {
			w.known[e.subject()] = uint32(n)
		}
	})
	if err != nil {
		return err
	}
	if err := w.r.mend(f, path, s); err != nil {
		return err
	}
	w.file, w.size = f, s.entries*entrySize
	return nil
}

func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// findings are what a key file holds beside sound entries.
type findings struct {
	size    int64
	entries int64   // without what a write that was cut short left at the end
	holes   []int64 // parts of the last write that never reached the disk
	damaged []int64 // entries that were whole once
}

// survey reads a key file and calls fn for the sound entries.
func survey(f *os.File, fn func(n int64, e *entry)) (s findings, err error) {
	fi, err := f.Stat()
	if err != nil {
		return s, err
	}
	s.size = fi.Size()
	var bad, zero []int64
	err = scan(f, 0, s.size, func(n int64, e *entry) bool {
		switch {
		case e.sound():
			s.entries = n + 1
			fn(n, e)
		case torn(n, e):
			zero = append(zero, n)
		default:
			s.entries = n + 1 // damage is not cut off
			bad = append(bad, n)
		}
		return true
	})
	s.damaged = bad
	for _, n := range zero {
		switch {
		case n >= s.entries: // the end
		case n >= s.entries-maxWrite:
			s.holes = append(s.holes, n)
		default:
			s.damaged = append(s.damaged, n)
		}
	}
	return s, err
}

// mend makes the end of a key file ready for more: a write that was cut short goes,
// for nobody was told of it. What is whole there is written again: an earlier
// process may have died of a failed sync, after which the kernel calls pages clean
// that never reached the disk.
func (r *Ring) mend(f *os.File, path string, s findings) error {
	end := s.entries * entrySize
	if s.size > end {
		r.log.Warn("cut unfinished keys", "file", path, "bytes", s.size-end)
		if err := r.calls.truncate(f, end); err != nil {
			return err
		}
		if err := r.calls.sync(f); err != nil {
			return err
		}
	}
	for _, n := range s.damaged {
		r.log.Error("a key is damaged; restore it from a copy of the file that is not older than the last rotation", "file", path, "entry", n, "offset", n*entrySize)
	}
	from := max(0, s.entries-maxWrite) * entrySize
	if from == end {
		return nil
	}
	b := make([]byte, end-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return err
	}
	for _, n := range s.holes {
		r.log.Warn("closed a hole that an unfinished write of keys left", "file", path, "entry", n)
		var e entry
		e.finish()
		copy(b[n*entrySize-from:], e[:])
	}
	if err := r.calls.write(f, b, from); err != nil {
		return err
	}
	return r.calls.datasync(f)
}
