package keys

import (
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// place is where a key lies.
type place struct {
	keyFile
	n int64
	h Handle
}

// locate finds entries in the files of the classes, of all if none are given, and
// of the months, of all if that is nil. The entries need not be sound. The caller
// holds admin.
func (r *Ring) locate(classes []string, months map[Month]bool, want func(class string, e *entry) bool) ([]place, error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	var found []place
	for _, at := range files {
		if len(classes) > 0 && !slices.Contains(classes, at.class) || months != nil && !months[at.month] {
			continue
		}
		f, err := os.Open(r.path(at.class, at.month, at.suffix))
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		if err == nil {
			err = scan(f, 0, fi.Size(), func(n int64, e *entry) bool {
				if want(at.class, e) {
					found = append(found, place{at, n, e.handle()})
				}
				return true
			})
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// ofSubject finds the keys of a subject that are left.
func (r *Ring) ofSubject(subject string, classes []string) ([]place, error) {
	if subject == "" {
		return nil, errors.New("no subject is given; the keys of whoever is not known are not one person's, and cannot be asked for")
	}
	tags := make(map[string]tag)
	return r.locate(classes, nil, func(class string, e *entry) bool {
		t, ok := tags[class]
		if !ok {
			t = r.macOf(class).subject(subject)
			tags[class] = t
		}
		return e.subject() == t && e.sound() && !e.dead()
	})
}

// handlesOf returns the handles of the places, each once.
func handlesOf(places []place) []Handle {
	hs := make([]Handle, 0, len(places))
	for _, p := range places {
		hs = append(hs, p.h)
	}
	slices.SortFunc(hs, func(a, b Handle) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(hs)
}

// settle makes every key that was asked for before this call durable, so that what
// is about to look through the files finds it. What a write of keys meets is told to
// those who asked for them.
func (r *Ring) settle() {
	r.writers.Range(func(_, v any) bool {
		w := v.(*writer)
		w.writing.Lock()
		w.write()
		w.writing.Unlock()
		return true
	})
}

// Find returns the keys that a subject has, in use or put aside, in the classes
// given or in all: what [Ring.Shred] would destroy.
func (r *Ring) Find(subject string, classes ...string) ([]Handle, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	r.settle()
	places, err := r.ofSubject(subject, classes)
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	return handlesOf(places), nil
}

// Shred destroys the keys of a subject, those in use and those put aside, of all
// months, in the classes given or in all, and returns their handles. What was
// encrypted with them cannot be read any more; a record of the subject that comes
// later gets a new key. When it returns, the keys are gone from this disk and from
// the memory of this process, but for who holds a [Key] already.
//
// If the process dies before it returns, none are destroyed, or the next [Open]
// destroys the rest. So that it can be recorded first, there are [Ring.Find] and
// [Ring.ShredHandles].
func (r *Ring) Shred(subject string, classes ...string) ([]Handle, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.writable(); err != nil {
		return nil, fmt.Errorf("shred keys: %w", err)
	}
	r.settle()
	places, err := r.ofSubject(subject, classes)
	if err != nil {
		return nil, fmt.Errorf("shred keys: %w", err)
	}
	hs := handlesOf(places)
	if len(hs) == 0 {
		return nil, nil
	}
	if err := r.shred(hs, places); err != nil {
		return nil, fmt.Errorf("shred keys: %w", err)
	}
	return hs, nil
}

// ShredHandles destroys the keys that are named, as [Ring.Shred] does, and returns
// how many of them were still there. After a directory was restored from a copy,
// this destroys again what the log says was destroyed; see also Erased in [Options].
func (r *Ring) ShredHandles(handles []Handle) (int, error) {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.writable(); err != nil {
		return 0, fmt.Errorf("shred keys: %w", err)
	}
	r.settle()
	n, err := r.shredHandles(handles)
	if err != nil {
		return 0, fmt.Errorf("shred keys: %w", err)
	}
	return n, nil
}

func (r *Ring) shredHandles(handles []Handle) (int, error) {
	places, err := r.ofHandles(handles)
	if err != nil || len(places) == 0 {
		return 0, err
	}
	hs := handlesOf(places)
	return len(hs), r.shred(hs, places)
}

// ofHandles finds the keys that are named, also in entries that are damaged: an
// overwriting that was cut short leaves such.
func (r *Ring) ofHandles(handles []Handle) ([]place, error) {
	if len(handles) == 0 {
		return nil, nil
	}
	want, months := make(map[Handle]bool), make(map[Month]bool)
	for _, h := range handles {
		want[h], months[h.Month()] = true, true
	}
	return r.locate(nil, months, func(_ string, e *entry) bool {
		return want[e.handle()] && (!e.sound() || !e.dead())
	})
}

// journal says what is being done to keys in place, so that it is done again from
// the beginning if the process dies within. There is one at most.
type journal struct {
	Shred    []string `json:"shred,omitempty"`
	Restrict []string `json:"restrict,omitempty"`
	Until    uint32   `json:"until,omitempty"` // of what is put aside, in days since January 1970
}

const journalFile = "journal"

// maxJournal is the largest journal that is read: a million keys.
const maxJournal = 40 << 20

func parseJournal(b []byte) (j journal, shred, restrict []Handle, err error) {
	if err = json.Unmarshal(b, &j); err != nil {
		return j, nil, nil, err
	}
	for _, list := range []struct {
		from []string
		to   *[]Handle
	}{{j.Shred, &shred}, {j.Restrict, &restrict}} {
		for _, s := range list.from {
			h, err := ParseHandle(s)
			if err != nil {
				return j, nil, nil, err
			}
			*list.to = append(*list.to, h)
		}
	}
	return j, shred, restrict, nil
}

func (r *Ring) readJournal() (j journal, shred, restrict []Handle, err error) {
	path := filepath.Join(r.dir, journalFile)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, nil, nil
	}
	if err != nil {
		return j, nil, nil, err
	}
	if fi.Size() > maxJournal {
		return j, nil, nil, fmt.Errorf("%s has %d bytes; a journal has at most %d", path, fi.Size(), maxJournal)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // the writer has just finished
		return j, nil, nil, nil
	}
	if err != nil {
		return j, nil, nil, err
	}
	if j, shred, restrict, err = parseJournal(b); err != nil {
		err = fmt.Errorf("%s: %w; it names the keys that were being destroyed: destroy them again by the records of the log, then remove it", path, err)
	}
	return j, shred, restrict, err
}

func (r *Ring) writeJournal(j journal) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return writeFile(r.calls, filepath.Join(r.dir, journalFile), b)
}

func hexOf(handles []Handle) []string {
	s := make([]string, len(handles))
	for i, h := range handles {
		s[i] = h.String()
	}
	return s
}

// redo finishes what the journal says.
func (r *Ring) redo() error {
	j, shred, restrict, err := r.readJournal()
	if err != nil || len(shred)+len(restrict) == 0 {
		return err
	}
	r.log.Warn("finishing the destruction of keys that was interrupted", "keys", len(shred)+len(restrict))
	places, err := r.ofHandles(append(shred, restrict...))
	if err != nil {
		return err
	}
	if len(shred) > 0 {
		return r.shred(shred, places)
	}
	return r.restrict(j.Until, places)
}

// shred destroys keys where they lie. The caller holds admin.
//
// If the process dies before the journal is there, nothing has happened; after it,
// the next start comes here again. An entry that was half overwritten then has its
// handle, which is the same before and after, and not its checksum.
func (r *Ring) shred(handles []Handle, places []place) error {
	if err := r.writeJournal(journal{Shred: hexOf(handles)}); err != nil {
		return err // nothing was touched, so the ring goes on
	}
	err := r.overwrite(places)
	r.evict(handles)
	if err != nil {
		return r.kill(err)
	}
	return r.endJournal()
}

// endJournal takes the journal away. Should it come back, because the process died
// before that was durable, its work is done once more.
func (r *Ring) endJournal() error {
	return removeFile(r.calls, filepath.Join(r.dir, journalFile))
}

// overwrite puts zeros in the place of keys and syncs.
func (r *Ring) overwrite(places []place) error {
	for len(places) > 0 {
		at := places[0].keyFile
		n := 0
		for n < len(places) && places[n].keyFile == at {
			n++
		}
		f, err := os.OpenFile(r.path(at.class, at.month, at.suffix), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		for _, p := range places[:n] {
			e := destroyed(p.h)
			if err = r.calls.write(f, e[:], p.n*entrySize); err != nil {
				break
			}
		}
		if err == nil {
			err = r.calls.datasync(f)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

// evict drops keys from memory. Who reads one from the disk while it is overwritten
// does so under the locks that are taken here afterwards.
func (r *Ring) evict(handles []Handle) {
	gone := make(map[Handle]bool)
	for _, h := range handles {
		gone[h] = true
	}
	r.writers.Range(func(_, v any) bool {
		w := v.(*writer)
		w.mu.Lock()
		w.ready.dropFunc(func(_ string, k *ready) bool { return gone[k.Handle] })
		// Of whichever class and month: Erased looks more closely. A file that is just being loaded may have been
		// read before they were overwritten.
		if w.gone == nil {
			w.gone = make(map[Handle]bool)
		}
		maps.Copy(w.gone, gone)
		w.mu.Unlock()
		return true
	})
	d := &r.reader
	d.mu.Lock()
	defer d.mu.Unlock()
	d.openMu.Lock()
	defer d.openMu.Unlock()
	for h := range gone {
		d.opened.drop(h)
		delete(d.lent, h)
	}
}

// Drop destroys the keys of a class and month, in use and put aside: it unlinks the
// files. Keys that are to be kept because somebody else has a right to their records
// stay, alone, in new files; a later Drop without them ends that. The current month
// cannot be dropped.
//
// If the process dies before it returns, call it again. That nothing is there is no
// error.
func (r *Ring) Drop(class string, m Month, keep ...Handle) error {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.drop(class, m, keep); err != nil {
		return fmt.Errorf("drop the keys of class %s, %v: %w", class, m, err)
	}
	return nil
}

func (r *Ring) drop(class string, m Month, keep []Handle) error {
	if err := r.writable(); err != nil {
		return err
	}
	w, err := r.writer(class)
	if err != nil {
		return err
	}
	current := MonthOf(r.o.Now())
	if m >= current {
		return fmt.Errorf("the month is not over; the last one that can be dropped is %v", current-1)
	}
	if w.isAt(m) { // nobody has asked for a key of the class since
		if err := w.turn(current); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, class)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Who reads must not put back what is being dropped.
	d := &r.reader
	d.mu.Lock()
	defer d.mu.Unlock()
	err = errors.Join(
		r.dropFile(keyFile{class, m, keysSuffix}, keep),
		r.dropFile(keyFile{class, m, restrictedSuffix}, keep))
	d.openMu.Lock()
	d.opened.dropFunc(func(h Handle, _ cipher.AEAD) bool { return h.Month() == m && !slices.Contains(keep, h) })
	d.openMu.Unlock()
	return errors.Join(err, d.forget())
}

// dropFile unlinks a key file, or replaces it by one with nothing but the keys that
// are kept.
func (r *Ring) dropFile(at keyFile, keep []Handle) error {
	path := r.path(at.class, at.month, at.suffix)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		// An earlier try may have died before this was durable.
		return removeFile(r.calls, path)
	}
	if err != nil {
		return err
	}
	var left []byte
	_, err = survey(f, func(_ int64, e *entry) {
		if !e.dead() && slices.Contains(keep, e.handle()) {
			left = append(left, e[:]...)
		}
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if len(left) > 0 {
		return writeFile(r.calls, path, left)
	}
	return removeFile(r.calls, path)
}

// isAt reports whether m is the month that new keys go to.
func (w *writer) isAt(m Month) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.file != nil && w.month == m
}

// Months returns the months of which there are keys of the class, in order.
func (r *Ring) Months(class string) ([]Month, error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	var months []Month
	for _, f := range files {
		if f.class == class {
			months = append(months, f.month)
		}
	}
	slices.Sort(months)
	return slices.Compact(months), nil
}

// Files returns the names, below the directory of the keys, of the files that hold
// the keys of a class and month: what [Ring.Drop] unlinks.
func (r *Ring) Files(class string, m Month) ([]string, error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if f.class == class && f.month == m {
			names = append(names, strings.TrimPrefix(r.path(f.class, f.month, f.suffix), r.dir+string(filepath.Separator)))
		}
	}
	return names, nil
}

// day is the day of t in UTC, counted from the first of January 1970.
func day(t time.Time) uint32 { return uint32(max(0, t.Unix()) / (24 * 60 * 60)) }
