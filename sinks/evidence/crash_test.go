//go:build unix

package evidence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// What a log did before it ended: the records it acknowledged, and the largest
// head it published.
type promises struct {
	acked []ID
	head  int64
}

// script is one life of a log that touches every effect: a start, appends,
// heads, a new segment, a stop. It ends at the first error.
func script(dir string, round int, c *calls, p *promises) error {
	l, err := Open(Options{Dir: dir, Origin: testOrigin, SegmentBytes: 700, calls: c, OnCheckpoint: func(msg []byte) {
		p.head, _ = strconv.ParseInt(strings.Split(string(msg), "\n")[1], 10, 64)
	}})
	if err != nil {
		return err
	}
	for i := range 4 {
		recs := hits(round*100+i*10, 1+i)
		err := l.Append(context.Background(), recs)
		if err == nil {
			for _, r := range recs {
				p.acked = append(p.acked, r.ID)
			}
		} else if !errors.Is(err, ErrBroken) || !errors.Is(l.Append(context.Background(), recs), ErrBroken) {
			return errors.Join(fmt.Errorf("after a failure the log went on: %w", err), l.Close())
		}
		if i == 1 && err == nil {
			err = l.checkpoint()
		}
		if err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return l.Close()
}

// keeps opens what a crash left and checks that no promise is broken, neither
// for the daemon that goes on nor for who verifies.
func (p *promises) keeps(t *testing.T, dir string) {
	t.Helper()
	for range 2 { // a start that recovers leaves a log that starts again
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		history := string(read(t, dir, "log/1/"+historyFile))
		if checkpoint := string(read(t, dir, "log/1/"+checkpointFile)); !strings.HasSuffix(history, checkpoint+"\n") {
			t.Error("after a start the checkpoint is not the last head of the history")
		}
		if l.Size() < p.head {
			t.Errorf("%d records, the head of %d was published", l.Size(), p.head)
		}
		mustAppend(t, l, Record{Kind: KindStart, ID: ID{1, byte(l.Size())}})
		mustClose(t, l)
	}
	found := ids(t, dir)
	for _, id := range p.acked {
		if found[id] == 0 {
			t.Errorf("record %s was acknowledged and is lost", id)
		}
	}
	verifyOK(t, dir)
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

// hooked returns system calls that go through fn. They do not sync: what a
// power cut leaves is for [powerCut] to say.
func hooked(fn func(step) error) *calls {
	sys := noSync()
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
		unlink: func(path string) error {
			return fn(step{name: "unlink", do: func() error { return sys.unlink(path) }})
		},
		allocate: func(f *os.File, size int64) error {
			return fn(step{name: "allocate", f: f, do: func() error { return sys.allocate(f, size) }})
		},
		free: sys.free,
	}
}

// Whatever step the process dies at, nothing acknowledged is lost and the log
// goes on; dead by SIGKILL, where the kernel keeps what was written, and dead by
// a power cut, where only what was synced is left.
func TestDieAtEveryStep(t *testing.T) {
	dir := filepath.Join(memDir(t), "evidence")
	var p promises
	power := newPowerCut(dir)
	steps, deaths := 0, 0
	die := func(t *testing.T, name string, snapshot func(t *testing.T) string) {
		if deaths++; deaths%stride() != 0 {
			return
		}
		now := promises{append([]ID(nil), p.acked...), p.head}
		t.Run(fmt.Sprintf("%03d %s", steps, name), func(t *testing.T) {
			now.keeps(t, snapshot(t))
		})
	}
	c := hooked(func(s step) error {
		kill := func(t *testing.T) string { return copyDir(t, dir) }
		steps++
		die(t, s.name+" killed before", kill)
		if s.half != nil {
			if err := s.half(); err != nil {
				return err
			}
			die(t, s.name+" killed within", kill)
		}
		power.before(s)
		err := s.do()
		power.after(s, err)
		die(t, s.name+" killed after", kill)
		die(t, s.name+" power cut after", power.snapshot)
		return err
	})
	for round := range 2 {
		if err := script(dir, round, c, &p); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.acked) != 20 || steps < 60 {
		t.Errorf("%d acknowledged in %d steps", len(p.acked), steps)
	}
	p.keeps(t, dir)
	t.Logf("%d steps, %d deaths", steps, deaths)
}

// Whichever call fails, and whether or not it did its work before it said so, the
// log takes nothing more, has told nobody what is not so, and recovers.
func TestFailAtEveryStep(t *testing.T) {
	injected := errors.New("injected")
	modes := []struct {
		name string
		do   func(s step) error
	}{
		{"not persisted", func(step) error { return injected }},
		{"persisted", func(s step) error { return errors.Join(s.do(), injected) }},
		{"half persisted", func(s step) error {
			if s.half != nil {
				return errors.Join(s.half(), injected)
			}
			return injected
		}},
	}
	cases := 0
	for _, mode := range modes {
		for at := 1; ; at += stride() {
			dir := filepath.Join(memDir(t), "evidence")
			var p promises
			n := 0
			c := hooked(func(s step) error {
				if n++; n == at {
					return mode.do(s)
				}
				return s.do()
			})
			var err error
			for round := range 2 {
				if err = script(dir, round, c, &p); err != nil {
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
				p.keeps(t, dir)
			})
		}
	}
	t.Logf("%d cases", cases)
}

// After a failed fsync Linux may call pages clean that never reached the disk.
// A restart then reads records that a power cut would take away: they must not
// be signed before they were written again.
func TestFailedSyncThenPowerCut(t *testing.T) {
	injected := errors.New("injected")
	for at := 1; ; at += stride() {
		dir := filepath.Join(memDir(t), "evidence")
		power := newPowerCut(dir)
		var p promises
		n, second, failed := 0, false, false
		c := hooked(func(s step) error {
			power.before(s)
			n++
			var err error
			if n == at && !second && strings.HasSuffix(s.name, "sync") {
				err, failed = injected, true
			} else {
				err = s.do()
			}
			power.after(s, err)
			if second && failed && n <= 12 { // while it starts
				now := promises{append([]ID(nil), p.acked...), p.head}
				t.Run(fmt.Sprintf("step %d, power cut at %d of the next life", at, n), func(t *testing.T) { now.keeps(t, power.snapshot(t)) })
			}
			return err
		})
		if err := script(dir, 0, c, &p); err != nil && !errors.Is(err, injected) {
			t.Fatal(err)
		}
		if n < at {
			break
		}
		n, second = 0, true
		if err := script(dir, 1, c, &p); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) { p.keeps(t, power.snapshot(t)) })
	}
}

// At every step of a log that encrypts, the disk has the keys of what it has: each
// copy of the directory opens anew, and every acknowledged body with it.
func TestDieEncrypting(t *testing.T) {
	dir := filepath.Join(memDir(t), "evidence")
	ring := newRing(t, dir)
	var acked []Record
	steps := 0
	check := func(t *testing.T) {
		left := copyDir(t, dir)
		ring := openRing(t, left, keys.Options{})
		l, err := Open(Options{Dir: left, Origin: testOrigin, Keys: ring, calls: noSync()})
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, about(9999, "user 1", "goes on"))
		mustClose(t, l)
		bodies := make(map[ID]string)
		for _, e := range walked(t, left, ring) {
			if e.Closed != nil {
				t.Errorf("record %d: %v", e.Index, e.Closed)
			}
			bodies[e.ID] = string(e.Body)
		}
		for _, r := range acked {
			if bodies[r.ID] != string(r.Body) {
				t.Errorf("record %s was acknowledged; its body is %q", r.ID, bodies[r.ID])
			}
		}
		if rep := verifyWith(t, left, ring); !rep.OK() || rep.Closed != 0 {
			t.Errorf("%+v", rep)
		}
	}
	c := hooked(func(s step) error {
		steps++
		if steps > 12 && s.name != "write" { // past the first start what matters is what was written
			return s.do()
		}
		if s.half != nil {
			if err := s.half(); err != nil {
				return err
			}
			t.Run(fmt.Sprintf("%03d %s killed within", steps, s.name), check)
		}
		err := s.do()
		t.Run(fmt.Sprintf("%03d %s killed after", steps, s.name), check)
		return err
	})
	for round := range 2 {
		l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, SegmentBytes: 1500, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			var recs []Record
			for j := range 1 + i {
				n := round*100 + i*10 + j
				recs = append(recs, about(n, fmt.Sprint("user ", n%7), "words"))
			}
			mustAppend(t, l, recs...)
			acked = append(acked, recs...)
		}
		mustClose(t, l)
	}
	t.Run("in the end", check)
}

// powerCut knows what the disk would hold if the power went now: of each file
// what was synced, under the names that were in its directory when that was.
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

func (p *powerCut) before(s step) {
	if s.name != "write" {
		return
	}
	if fi, err := s.f.Stat(); err == nil && fi.Size() == 0 {
		// A new file may have the inode of one that is gone.
		delete(p.data, inode(s.f.Name()))
		delete(p.dirty, inode(s.f.Name()))
	}
}

func (p *powerCut) after(s step, err error) {
	switch s.name {
	case "write":
		ino := inode(s.f.Name())
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
		ino := inode(s.f.Name())
		if err == nil {
			p.syncFile(ino, s.f.Name())
		}
		delete(p.dirty, ino) // also if it failed: that is the kernel's trap
	}
}

func (p *powerCut) syncFile(ino uint64, path string) {
	now, err := os.ReadFile(path)
	if err != nil {
		return // it is gone already
	}
	data, size := p.data[ino], int64(len(now))
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
	to := filepath.Join(memDir(t), "evidence")
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
			if err := os.WriteFile(filepath.Join(to, name), p.data[ino], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore(p.root, to)
	return to
}

// A write cut short at any byte, with or without the rubbish a file system may
// leave after it, is cut off, and nothing before it is lost.
func TestTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, hits(0, 2)...)
	if err := l.checkpoint(); err != nil {
		t.Fatal(err)
	}
	signed := len(read(t, dir, testSeg))
	mustAppend(t, l, hits(10, 1)...)
	acked := len(read(t, dir, testSeg))
	mustAppend(t, l, hits(20, 2)...)
	whole := read(t, dir, testSeg)
	base := copyDir(t, dir) // as if it had been killed here
	checkpoint, history := read(t, base, "log/1/"+checkpointFile), read(t, base, "log/1/"+historyFile)
	mustClose(t, l)

	for at := signed; at <= len(whole); at += stride() {
		for _, rubbish := range [][]int{{0}, {0, 1}, {0, 4096}}[at%3] {
			torn := append(append([]byte(nil), whole[:at]...), make([]byte, rubbish)...)
			write(t, base, testSeg, torn)
			write(t, base, "log/1/"+checkpointFile, checkpoint)
			write(t, base, "log/1/"+historyFile, history)
			if r := verify(t, base); !r.OK() {
				t.Fatalf("cut at %d of %d + %d: %v", at, len(whole), rubbish, r.Findings)
			}
			l, err := Open(Options{Dir: base, Origin: testOrigin, calls: noSync()})
			if err != nil {
				t.Fatalf("cut at %d of %d + %d: %v", at, len(whole), rubbish, err)
			}
			want := int64(3)
			if at >= acked {
				want = 4
			}
			if at == len(whole) {
				want = 6
			}
			if l.Size() != want {
				t.Fatalf("cut at %d of %d + %d: %d records, want %d", at, len(whole), rubbish, l.Size(), want)
			}
			mustClose(t, l)
			if r := verify(t, base); !r.OK() || r.Unsigned != 0 || r.TornBytes != 0 {
				t.Fatalf("cut at %d of %d + %d, recovered: %+v", at, len(whole), rubbish, r)
			}
		}
	}
}

// Damage to a record that was acknowledged is no torn write, even where no
// signature covers it yet: the start refuses, and does not cut it off.
func TestDamageIsNotTorn(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, hits(0, 2)...)
	at := len(read(t, dir, testSeg))
	mustAppend(t, l, hits(10, 1)...)
	base := copyDir(t, dir)
	seg := read(t, dir, testSeg)
	mustClose(t, l)
	for off := 0; off < at; off += 3 {
		b := append([]byte(nil), seg...)
		if off%2 == 0 {
			// And the write after it was cut short, in its body or in its header.
			b = b[:at+frameHeader+40]
			if header := offsets(seg)[1]; off%4 == 0 && (off < header || off >= header+frameHeader) {
				b = b[:at+10] // too little to know a frame by, so the one before must be readable
			}
		}
		b[off] ^= 0x10
		write(t, base, testSeg, b)
		if _, err := Open(Options{Dir: base, Origin: testOrigin}); !errors.Is(err, ErrTampered) {
			t.Fatalf("byte %d of %d changed: %v", off, len(seg), err)
		}
		if got := read(t, base, testSeg); string(got) != string(b) {
			t.Fatalf("byte %d changed: the refusal wrote to the segment", off)
		}
		if r := verify(t, base); r.OK() {
			t.Fatalf("byte %d changed: verify has no alarm", off)
		}
	}
}

// What was changed behind a repaired checksum, before anything was signed, is
// found before it is signed, as far as the records themselves can tell.
func TestTailIsCheckedBeforeSigning(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, hits(0, 2)...)
	base := copyDir(t, dir)
	mustClose(t, l)
	for want, do := range map[string]func(r lay){
		"the body of record 2 at " + testSeg: func(r lay) { r.stored[saltSize+5] ^= 1 },
		"record 2 at " + testSeg:             func(r lay) { (*leaf)(r.leaf).setNanos(1) },
	} {
		seg := read(t, dir, testSeg)
		do(records(seg)[2])
		write(t, base, testSeg, repair(seg))
		if _, err := Open(Options{Dir: base, Origin: testOrigin}); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), want) {
			t.Errorf("open: %v, want %q", err, want)
		}
	}
}

// A head of which only a part was written is cut off, however much there is of it.
func TestTornHistory(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	history := read(t, dir, "log/1/"+historyFile)
	one, _ := cutCheckpoint(history)
	holed := strings.Repeat("\x00", 20) + string(history[20:one])
	for _, torn := range []string{"e", testOrigin + "\n8\n", strings.Repeat("x", 5000), holed} {
		write(t, dir, "log/1/"+historyFile, append(append([]byte(nil), history...), torn...))
		verifyOK(t, dir)
		l := open(t, dir)
		mustAppend(t, l, hits(100*len(history), 1)...)
		mustClose(t, l)
		verifyOK(t, dir)
		history = read(t, dir, "log/1/"+historyFile)
	}
}

// A log whose records were taken away does not begin again under its old name.
func TestEmptiedLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	if err := os.RemoveAll(filepath.Join(dir, testLogDir)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir, Origin: testOrigin})
	if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "ROLLED BACK: log.vkey names this log") || !strings.Contains(err.Error(), "start a new generation") {
		t.Errorf("open: %v", err)
	}
}

// A panic while writing reaches the caller, and those who wait behind it are
// told; nobody waits for ever.
func TestPanicWhileWriting(t *testing.T) {
	c := systemCalls()
	armed := false
	entered, release := make(chan struct{}), make(chan struct{})
	c.write = func(f *os.File, b []byte, off int64) error {
		if armed {
			close(entered)
			<-release
			panic("injected")
		}
		return systemCalls().write(f, b, off)
	}
	l, err := Open(Options{Dir: t.TempDir(), Origin: testOrigin, calls: c})
	if err != nil {
		t.Fatal(err)
	}
	armed = true
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = l.Append(context.Background(), hits(0, 1))
	})
	<-entered
	wg.Go(func() {
		if err := l.Append(context.Background(), hits(1, 1)); !errors.Is(err, ErrBroken) {
			t.Error(err)
		}
	})
	for queued := 0; queued == 0; {
		l.mu.Lock()
		queued = len(l.queue)
		l.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if err := l.Close(); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
}

// sealScript is one life of a log that seals: a start, which may finish what the
// life before has left, appends of all classes over two days, a seal, a stop.
func sealScript(dir string, round int, c *calls, p *promises) error {
	at := time.Date(2026, 11, 28+round, 21, 0, 0, 0, time.UTC)
	l, err := Open(Options{Dir: dir, Origin: testOrigin, SegmentRecords: 12, calls: c, Now: func() time.Time {
		at = at.Add(time.Hour)
		return at
	}, OnCheckpoint: func(msg []byte) {
		p.head, _ = strconv.ParseInt(strings.Split(string(msg), "\n")[1], 10, 64)
	}})
	if err != nil {
		return err
	}
	for i := range 4 {
		recs := mixed(round*100+i*5, 5)
		if err := l.Append(context.Background(), recs); err != nil {
			return errors.Join(err, l.Close())
		}
		for _, r := range recs {
			p.acked = append(p.acked, r.ID)
		}
	}
	if err := l.Seal(context.Background()); err != nil {
		return errors.Join(err, l.Close())
	}
	return l.Close()
}

// keepsSealed opens what a crash left, seals on, and checks that every record
// that was promised is there with the body it had.
func (p *promises) keepsSealed(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, verifierFile)); err == nil { // written last at the first start
		verifyOK(t, dir)
	}
	for round := range 2 {
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		if l.Size() < p.head {
			t.Errorf("%d records, the head of %d was published", l.Size(), p.head)
		}
		if round == 0 {
			// What has a seal is stripped before anything else happens.
			for _, s := range seals(t, dir) {
				if sum, err := disk.Sum(filepath.Join(dir, s.Segment)); err != nil || sum != s.SHA256 {
					t.Errorf("%s has SHA-256 %s after a start, its seal says %s (%v)", s.Segment, sum, s.SHA256, err)
				}
			}
			bodiesOf(t, dir)
		}
		mustSeal(t, l)
		mustClose(t, l)
	}
	found := bodiesOf(t, dir)
	for _, id := range p.acked {
		want := hits(int(binary.BigEndian.Uint64(id[8:])), 1)[0]
		if got := found[id]; got != string(want.Body) {
			t.Errorf("record %s was acknowledged with the body %q and has %q", id, want.Body, got)
		}
	}
	verifyOK(t, dir)
	sealed := make(map[string]string)
	for _, s := range seals(t, dir) {
		if other, ok := sealed[s.Segment]; ok && other != s.SHA256 {
			t.Errorf("%s was sealed twice, and not as the same", s.Segment)
		}
		sealed[s.Segment] = s.SHA256
		for _, b := range s.Bodies {
			if sum, err := disk.Sum(filepath.Join(dir, b.File)); err != nil || sum != b.SHA256 {
				t.Errorf("%s has SHA-256 %s, its seal says %s (%v)", b.File, sum, b.SHA256, err)
			}
		}
	}
}

// Whatever step of sealing the process dies at, by a signal or a power cut, the
// next start has every body and finishes the work.
func TestDieAtEveryStepOfSealing(t *testing.T) {
	dir := filepath.Join(memDir(t), "evidence")
	var p promises
	power := newPowerCut(dir)
	steps, deaths := 0, 0
	die := func(t *testing.T, name string, snapshot func(t *testing.T) string) {
		if deaths++; deaths%stride() != 0 {
			return
		}
		now := promises{append([]ID(nil), p.acked...), p.head}
		t.Run(fmt.Sprintf("%03d %s", steps, name), func(t *testing.T) { now.keepsSealed(t, snapshot(t)) })
	}
	c := hooked(func(s step) error {
		kill := func(t *testing.T) string { return copyDir(t, dir) }
		steps++
		die(t, s.name+" killed before", kill)
		if s.half != nil {
			if err := s.half(); err != nil {
				return err
			}
			die(t, s.name+" killed within", kill)
		}
		power.before(s)
		err := s.do()
		power.after(s, err)
		die(t, s.name+" killed after", kill)
		die(t, s.name+" power cut after", power.snapshot)
		return err
	})
	for round := range 2 {
		if err := sealScript(dir, round, c, &p); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.acked) != 40 || steps < 150 || len(seals(t, dir)) < 4 {
		t.Errorf("%d acknowledged in %d steps, %d seals", len(p.acked), steps, len(seals(t, dir)))
	}
	p.keepsSealed(t, dir)
	t.Logf("%d steps, %d deaths", steps, deaths)
}

// Whichever call of sealing fails, whether or not it did its work, it is said, no
// body is lost, and it goes on at the next start.
func TestFailAtEveryStepOfSealing(t *testing.T) {
	injected := errors.New("injected")
	modes := []struct {
		name string
		do   func(s step) error
	}{
		{"not persisted", func(step) error { return injected }},
		{"persisted", func(s step) error { return errors.Join(s.do(), injected) }},
		{"half persisted", func(s step) error {
			if s.half != nil {
				return errors.Join(s.half(), injected)
			}
			return injected
		}},
	}
	cases := 0
	for _, mode := range modes {
		for at := 1; ; at += stride() {
			dir := filepath.Join(memDir(t), "evidence")
			var p promises
			n := 0
			c := hooked(func(s step) error {
				if n++; n == at {
					return mode.do(s)
				}
				return s.do()
			})
			err := sealScript(dir, 0, c, &p)
			if n < at {
				break // there is no such step
			}
			cases++
			t.Run(fmt.Sprintf("%s step %d", mode.name, at), func(t *testing.T) {
				if !errors.Is(err, injected) {
					t.Errorf("the failure was not reported: %v", err)
				}
				p.keepsSealed(t, dir)
			})
		}
	}
	t.Logf("%d cases", cases)
}

// Bodies that were destroyed between a seal and the end of it do not come back
// when the rest is done at the next start, and go from the segment.
func TestDestroyedBeforeItWasStripped(t *testing.T) {
	dir := filepath.Join(memDir(t), "evidence")
	var left string
	var p promises
	c := hooked(func(s step) error {
		if s.name == "rename" && left == "" && len(files(t, filepath.Join(dir, indexesDir))) == 1 && hasSeal(t, dir) {
			left = copyDir(t, dir)
		}
		return s.do()
	})
	if err := sealScript(dir, 0, c, &p); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: copyDir(t, left), Origin: testOrigin, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	// A destroy record needs a log that runs, and that would have stripped the
	// segment: put the whole one back beside it.
	whole := read(t, left, testSeg)
	gone := seals(t, left)[0].Bodies[0]
	l, err = Open(Options{Dir: left, Origin: testOrigin, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Appendf(nil, `{"plan":"P-1","files":[{"file":%q}]}`, gone.File)
	mustAppend(t, l, Record{ID: newID(7777), Kind: KindDestroy, Class: ClassAudit, Body: body})
	mustClose(t, l)
	write(t, left, testSeg, whole)
	if err := os.Remove(filepath.Join(left, gone.File)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, open(t, left))
	if _, err := os.Stat(filepath.Join(left, gone.File)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s came back: %v", gone.File, err)
	}
	if sum, err := disk.Sum(filepath.Join(left, testSeg)); err != nil || sum != seals(t, left)[0].SHA256 {
		t.Errorf("the segment is not the stripped one: %v", err)
	}
	b, err := OpenBodies(left, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := gone.First; i <= gone.Last; i++ {
		rec, err := b.Record(i)
		if err != nil || filepath.ToSlash(rec.BodyFile) == gone.File && rec.Body != nil {
			t.Errorf("record %d still has a body: %v", i, err)
		}
	}
	for _, other := range seals(t, left)[0].Bodies[1:] {
		rec, err := b.Record(other.First)
		if err != nil || !rec.Intact(rec.Body) {
			t.Errorf("record %d of %s is not readable: %v", other.First, other.File, err)
		}
	}
}

// hasSeal reports whether the log has a seal record.
func hasSeal(t *testing.T, dir string) bool { return len(seals(t, dir)) > 0 }
