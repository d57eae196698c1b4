//go:build unix

package keys

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// given is a key that was given out, and what was sealed with it.
type given struct {
	class  string
	sealed []byte
}

// promises are what the calls of a life have returned, and what was begun.
type promises struct {
	open       map[Handle]given // given out; nothing was begun against them
	going      map[Handle]given // a call that destroys them or puts them aside has begun
	gone       map[Handle]given // destroyed
	restricted map[Handle]given
	dropped    map[Handle]given
	rotated    bool // and nothing was rotated since in vain
	term       uint64
}

func newPromises() *promises {
	return &promises{map[Handle]given{}, map[Handle]given{}, map[Handle]given{}, map[Handle]given{}, map[Handle]given{}, false, 0}
}

func (p *promises) clone() *promises {
	return &promises{maps.Clone(p.open), maps.Clone(p.going), maps.Clone(p.gone), maps.Clone(p.restricted), maps.Clone(p.dropped), p.rotated, p.term}
}

// move moves keys from where they are to where a call takes them.
func (p *promises) move(to map[Handle]given, hs ...Handle) {
	for _, h := range hs {
		for _, from := range []map[Handle]given{p.open, p.going} {
			if g, ok := from[h]; ok {
				delete(from, h)
				to[h] = g
			}
		}
	}
}

// script is a life of a ring that touches every effect. It ends at the first error.
func script(base string, round int, c *calls, p *promises) (err error) {
	now := testNow.AddDate(0, 2*round-10, 0)
	r, err := Open(filepath.Join(base, "keys"), Options{Now: func() time.Time { return now }, calls: c})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ask := func(class string, subjects ...string) error {
		ks, err := r.Keys(class, subjects)
		if err != nil {
			return err
		}
		for _, k := range ks {
			if _, ok := p.open[k.Handle]; !ok {
				p.open[k.Handle] = given{class, seal(k.AEAD, []byte("a post"), []byte("leaf"))}
			}
		}
		return nil
	}
	// A life that destroys: what is begun may be done or not, what returned is done.
	destroy := func(to map[Handle]given, subject string, do func(string) ([]Handle, error)) error {
		hs, err := r.Find(subject)
		if err != nil {
			return err
		}
		p.move(p.going, hs...)
		done, err := do(subject)
		if err == nil {
			p.move(to, done...)
		}
		return err
	}
	one := fmt.Sprintf("anna%d", round)
	if err := ask("content", one, "ben", "", "cleo"); err != nil {
		return err
	}
	if err := ask("push", one, "ben"); err != nil {
		return err
	}
	if p.term == 0 {
		p.term = r.Term("content", "account", "ben")
	}
	old := MonthOf(now)
	now = now.AddDate(0, 1, 0)
	if err := ask("content", one, "ben", "dora"); err != nil {
		return err
	}
	if err := destroy(p.gone, one, func(s string) ([]Handle, error) { return r.Shred(s) }); err != nil {
		return err
	}
	if err := destroy(p.restricted, "cleo", func(s string) ([]Handle, error) { return r.Restrict(s, now.AddDate(1, 0, 0)) }); err != nil {
		return err
	}
	p.rotated = false
	if _, err := r.Rotate(); err != nil {
		return err
	}
	p.rotated = true
	if err := ask("content", one, "emil"); err != nil {
		return err
	}
	for h, g := range p.open {
		if g.class == "push" && h.Month() == old {
			p.move(p.going, h)
		}
	}
	if err := r.Drop("push", old); err != nil {
		return err
	}
	for h, g := range p.going {
		if g.class == "push" && h.Month() == old {
			p.move(p.dropped, h)
		}
	}
	return nil
}

// keeps opens what a crash left and checks that no promise is broken, then goes on.
func (p *promises) keeps(t *testing.T, base string) {
	t.Helper()
	now := testNow.AddDate(0, -1, 0)
	open1 := func(r *Ring, h Handle, g given, restricted bool) error {
		do := r.Open
		if restricted {
			do = r.OpenRestricted
		}
		a, err := do(g.class, h)
		if err != nil {
			return err
		}
		b, err := unseal(a, g.sealed, []byte("leaf"))
		if err == nil && !bytes.Equal(b, []byte("a post")) {
			err = errors.New("another post")
		}
		return err
	}
	for round := range 2 { // a start that recovers leaves what starts again
		c := quiet()
		r, err := Open(filepath.Join(base, "keys"), Options{Now: func() time.Time { return now }, calls: c})
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		for h, g := range p.open {
			if err := open1(r, h, g, false); err != nil {
				t.Errorf("round %d: a key that was given out: %v", round, err)
			}
		}
		for h, g := range p.gone {
			if _, err := r.Open(g.class, h); !errors.Is(err, ErrErased) && (g.class != "push" || !errors.Is(err, ErrDestroyed)) { // its month may be dropped
				t.Errorf("a key that was destroyed: %v", err)
			}
		}
		for h, g := range p.dropped {
			wants(t, r, g.class, h, ErrDestroyed)
		}
		for h, g := range p.restricted {
			wants(t, r, g.class, h, ErrRestricted)
			if err := open1(r, h, g, true); err != nil {
				t.Errorf("a key that was put aside: %v", err)
			}
		}
		for h, g := range p.going {
			err := open1(r, h, g, false)
			if errors.Is(err, ErrRestricted) {
				err = open1(r, h, g, true)
			}
			if err != nil && !errors.Is(err, ErrErased) && !errors.Is(err, ErrDestroyed) {
				t.Errorf("a key on its way: %v", err)
			}
		}
		if damaged, err := r.Damaged(); err != nil || len(damaged) > 0 {
			t.Errorf("damaged: %v, %v", damaged, err)
		}
		if p.term != 0 && r.Term("content", "account", "ben") != p.term {
			t.Error("terms are others")
		}
		if p.rotated && r.Rotating() {
			t.Error("a rotation that has returned is not finished")
		}
		if _, err := os.Stat(filepath.Join(base, "keys", journalFile)); err == nil {
			t.Error("the journal is still there")
		}
		for h := range p.going {
			if _, err := r.ShredHandles([]Handle{h}); err != nil {
				t.Error(err)
			}
		}
		ks := mustKeys(t, r, "content", "ben", "new")
		if _, err := r.Rotate(); err != nil {
			t.Error(err)
		}
		if r.Rotating() || bytes.Count(readFile(t, filepath.Join(base, "master.key")), []byte(r.copyKeyring().ID)) != 1 {
			t.Error("an old master key is left")
		}
		for _, k := range ks {
			if _, err := r.Open("content", k.Handle); err != nil {
				t.Error(err)
			}
		}
		mustClose(t, r)
	}
}

// quiet are system calls that do not sync: what a power cut leaves is for
// [powerCut] to say.
func quiet() *calls {
	c := systemCalls()
	c.sync = func(*os.File) error { return nil }
	c.datasync = c.sync
	return c
}

// step is one call that changes the disk.
type step struct {
	name string
	f    *os.File
	b    []byte
	off  int64
	do   func() error
	half func() error // of a write: a part of it
}

// hooked returns system calls that go through fn.
func hooked(fn func(step) error) *calls {
	sys := quiet()
	return &calls{
		write: func(f *os.File, b []byte, off int64) error {
			return fn(step{"write", f, b, off, func() error { return sys.write(f, b, off) },
				func() error { return sys.write(f, b[:len(b)/2], off) }})
		},
		datasync: func(f *os.File) error {
			return fn(step{name: "datasync", f: f, do: func() error { return sys.datasync(f) }})
		},
		sync: func(f *os.File) error {
			return fn(step{name: "sync", f: f, do: func() error { return sys.sync(f) }})
		},
		rename: func(from, to string) error {
			return fn(step{name: "rename", do: func() error { return sys.rename(from, to) }})
		},
		truncate: func(f *os.File, size int64) error {
			return fn(step{name: "truncate", f: f, do: func() error { return sys.truncate(f, size) }})
		},
		remove: func(path string) error {
			return fn(step{name: "remove", do: func() error { return sys.remove(path) }})
		},
	}
}

// Whatever step the process dies at, no key that was given out is lost, none that was
// destroyed comes back, and the ring goes on; dead by SIGKILL, where the kernel keeps
// what was written, and dead by a power cut, where only what was synced is left.
func TestDieAtEveryStep(t *testing.T) {
	base := memDir(t)
	p := newPromises()
	power := newPowerCut(base)
	steps, deaths := 0, 0
	die := func(name string, snapshot func(t *testing.T) string) {
		deaths++
		now := p.clone()
		t.Run(fmt.Sprintf("%03d %s", steps, name), func(t *testing.T) { now.keeps(t, snapshot(t)) })
	}
	c := hooked(func(s step) error {
		kill := func(t *testing.T) string { return copyKeys(t, base) }
		steps++
		die(s.name+" killed before", kill)
		if s.half != nil {
			if err := s.half(); err != nil {
				return err
			}
			die(s.name+" killed within", kill)
		}
		power.before(s)
		err := s.do()
		power.after(s, err)
		die(s.name+" killed after", kill)
		die(s.name+" power cut after", power.snapshot)
		return err
	})
	for round := range 2 {
		if err := script(base, round, c, p); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.gone) != 6 || len(p.restricted) != 2 || len(p.dropped) != 2 || len(p.open) != 12 {
		t.Errorf("%d gone, %d restricted, %d dropped, %d open", len(p.gone), len(p.restricted), len(p.dropped), len(p.open))
	}
	p.keeps(t, base)
	t.Logf("%d steps, %d deaths", steps, deaths)
}

// Whichever call fails, and whether or not it did its work before it said so, the
// failure is told, and what the next start finds keeps all promises.
func TestFailAtEveryStep(t *testing.T) {
	injected := errors.New("injected")
	modes := []struct {
		name string
		do   func(s step) error
	}{
		{"not persisted", func(step) error { return injected }},
		{"persisted", func(s step) error {
			if err := s.do(); err != nil && !errors.Is(err, os.ErrNotExist) { // unlinking what is gone
				return err
			}
			return injected
		}},
		{"half persisted", func(s step) error {
			if s.half != nil {
				return errors.Join(s.half(), injected)
			}
			return injected
		}},
	}
	cases := 0
	for _, mode := range modes {
		for at := 1; ; at++ {
			base := memDir(t)
			p := newPromises()
			n := 0
			c := hooked(func(s step) error {
				if n++; n == at {
					return mode.do(s)
				}
				return s.do()
			})
			var err error
			for round := range 2 {
				if err = script(base, round, c, p); err != nil {
					break
				}
			}
			if n < at {
				break // there is no such step
			}
			cases++
			t.Run(fmt.Sprintf("%s step %d", mode.name, at), func(t *testing.T) {
				if !errors.Is(err, injected) {
					t.Errorf("the failure was not reported: %v", err)
				}
				p.keeps(t, base)
			})
		}
	}
	t.Logf("%d cases", cases)
}

// After a failed fsync Linux may call pages clean that never reached the disk. The
// next start reads keys that a power cut would take away: they must not be given out
// before they were written again.
func TestFailedSyncThenPowerCut(t *testing.T) {
	injected := errors.New("injected")
	for at := 1; ; at++ {
		base := memDir(t)
		power := newPowerCut(base)
		p := newPromises()
		n, second := 0, false
		c := hooked(func(s step) error {
			power.before(s)
			n++
			var err error
			if n == at && !second && strings.HasSuffix(s.name, "sync") {
				err = injected
			} else {
				err = s.do()
			}
			power.after(s, err)
			return err
		})
		if err := script(base, 0, c, p); err != nil && !errors.Is(err, injected) {
			t.Fatal(err)
		}
		if n < at {
			break
		}
		second = true
		// The same subjects in the same months: the next life finds their keys in memory.
		if err := script(base, 0, c, p); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) { p.keeps(t, power.snapshot(t)) })
	}
}

// So it is also where the next life needs nothing new, and writes nothing for itself.
func TestFailedSyncThenKnown(t *testing.T) {
	base := memDir(t)
	power := newPowerCut(base)
	armed := false
	o := Options{calls: hooked(func(s step) error {
		power.before(s)
		err := errors.New("injected")
		if !armed || s.name != "datasync" {
			err = s.do()
		}
		power.after(s, err)
		return err
	})}
	r := open(t, base, o)
	mustKeys(t, r, "content", "ben")
	armed = true
	if _, err := r.Keys("content", []string{"anna"}); !errors.Is(err, ErrBroken) {
		t.Fatal(err)
	}
	armed = false
	mustClose(t, r)
	k := mustKeys(t, open(t, base, o), "content", "anna")[0]
	if _, err := open(t, power.snapshot(t), Options{}).Open("content", k.Handle); err != nil {
		t.Errorf("a key that was given out: %v", err)
	}
}

// After a failed write no new key is made, known ones are still given out and open,
// and the reason is told each time.
func TestBroken(t *testing.T) {
	injected := errors.New("injected")
	for _, at := range []string{"write", "datasync"} {
		armed := false
		c := hooked(func(s step) error {
			if armed && s.name == at {
				return injected
			}
			return s.do()
		})
		dir := memDir(t)
		r := open(t, dir, Options{calls: c})
		k := mustKeys(t, r, "content", "anna")[0]
		armed = true
		for range 2 {
			if _, err := r.Keys("content", []string{"anna", "ben"}); !errors.Is(err, ErrBroken) || !errors.Is(err, injected) {
				t.Errorf("%s: %v", at, err)
			}
			armed = false
		}
		if got := mustKeys(t, r, "content", "anna")[0]; got.Handle != k.Handle {
			t.Error("another key")
		}
		if _, err := r.Open("content", k.Handle); err != nil {
			t.Error(err)
		}
		for _, err := range []error{
			errOf(r.Shred("anna")), errOf(r.Rotate()), errOf(r.Restrict("anna", testNow)), r.Drop("content", 3),
			errOf(r.ShredHandles([]Handle{k.Handle})), errOf(r.ExpireEscrow()),
		} {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// powerCut knows what the disk would hold if the power went now: of each file what
// was synced, under the names that were in its directory when that was.
type powerCut struct {
	root  string
	data  map[uint64][]byte            // by inode
	dirty map[uint64][][2]int64        // what was written since: offset, length
	names map[string]map[string]uint64 // by directory
}

func newPowerCut(root string) *powerCut {
	return &powerCut{root, map[uint64][]byte{}, map[uint64][][2]int64{}, map[string]map[string]uint64{}}
}

func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// inodeOf is inode for a file that is open: its name may be another one's by now.
func inodeOf(f *os.File) uint64 {
	var st syscall.Stat_t
	if syscall.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}

func (p *powerCut) before(s step) {
	if s.name != "write" {
		return
	}
	if fi, err := s.f.Stat(); err == nil && fi.Size() == 0 {
		// A new file may have the inode of one that is gone.
		delete(p.data, inodeOf(s.f))
		delete(p.dirty, inodeOf(s.f))
	}
}

func (p *powerCut) after(s step, err error) {
	switch s.name {
	case "write":
		ino := inodeOf(s.f)
		p.dirty[ino] = append(p.dirty[ino], [2]int64{s.off, int64(len(s.b))})
	case "sync", "datasync":
		fi, serr := s.f.Stat()
		if serr != nil {
			return
		}
		if fi.IsDir() {
			if err == nil {
				p.syncDir(s.f.Name())
			}
			return
		}
		if err == nil {
			p.syncFile(s.f, fi.Size())
		}
		delete(p.dirty, inodeOf(s.f)) // also if it failed: that is the kernel's trap
	}
}

func (p *powerCut) syncFile(f *os.File, size int64) {
	// The file may be open for writing only.
	now, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		if now, err = os.ReadFile(f.Name()); err != nil {
			return
		}
	}
	ino := inodeOf(f)
	data := p.data[ino]
	if int64(len(data)) > size {
		data = data[:size]
	}
	for _, r := range p.dirty[ino] {
		end := min(r[0]+r[1], size)
		if r[0] >= end {
			continue
		}
		for int64(len(data)) < end {
			data = append(data, 0)
		}
		copy(data[r[0]:end], now[r[0]:end])
	}
	p.data[ino] = data
}

func (p *powerCut) syncDir(dir string) {
	names := make(map[string]uint64)
	des, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, de := range des {
		names[de.Name()] = inode(filepath.Join(dir, de.Name()))
	}
	p.names[dir] = names
}

// snapshot writes what is left to a new directory.
func (p *powerCut) snapshot(t *testing.T) string {
	to := memDir(t)
	var restore func(from, to string)
	restore = func(from, to string) {
		if err := os.MkdirAll(to, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, ino := range p.names[from] {
			path := filepath.Join(from, name)
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				restore(path, filepath.Join(to, name))
				continue
			}
			write(t, filepath.Join(to, name), p.data[ino])
		}
	}
	restore(p.root, to)
	return to
}
