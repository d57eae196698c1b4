//go:build unix

package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// powerLoss stands between the log and the disk and knows what may be left of each
// file when the power goes: what was synced, and of what was written since any part.
// The disk writes in an order of its own, and a write may be torn. A directory is as
// it was at its last sync or at any step since. It is harsher than [powerCut], which
// drops all that was not synced.
type powerLoss struct {
	root   string
	synced map[uint64][]byte     // files by inode, as of their last sync
	since  map[uint64][]change   // what was done to them since
	dirs   map[string][]dirState // the last is how the directory is now
	open   []*os.File            // every file seen, so that no inode is given away again
}

// change is a write that was not synced, or a truncation if data is nil.
type change struct {
	off  int64
	data []byte
}

type dirState map[string]uint64

func newPowerLoss(t *testing.T, root string) *powerLoss {
	p := &powerLoss{root: root, synced: make(map[uint64][]byte), since: make(map[uint64][]change), dirs: make(map[string][]dirState)}
	t.Cleanup(func() {
		for _, f := range p.open {
			f.Close()
		}
	})
	return p
}

// did takes note of a step that was taken.
func (p *powerLoss) did(t *testing.T, s step, size int64) {
	t.Helper()
	switch s.name {
	case "write":
		ino := p.inode(t, s.f.Name())
		p.since[ino] = append(p.since[ino], change{s.off, append([]byte{}, s.b...)})
	case "truncate":
		ino := p.inode(t, s.f.Name())
		p.since[ino] = append(p.since[ino], change{off: size})
	case "sync", "datasync":
		fi, err := s.f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if fi.IsDir() {
			p.look(t)
			if states := p.dirs[s.f.Name()]; len(states) > 0 { // the parent of the root is none of ours
				p.dirs[s.f.Name()] = states[len(states)-1:]
			}
			return
		}
		ino := p.inode(t, s.f.Name())
		b, err := os.ReadFile(s.f.Name())
		if err != nil {
			t.Fatal(err)
		}
		p.synced[ino] = b
		delete(p.since, ino)
	}
	p.look(t)
}

// inode returns the number of a file, which stays its own as long as p lives.
func (p *powerLoss) inode(t *testing.T, path string) uint64 {
	ino := inode(path)
	if _, known := p.since[ino]; !known && p.synced[ino] == nil {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		p.open = append(p.open, f)
		p.since[ino] = nil
	}
	return ino
}

// look notes how the directories are now.
func (p *powerLoss) look(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(p.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		des, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		now := make(dirState)
		for _, de := range des {
			now[de.Name()] = inode(filepath.Join(path, de.Name()))
			if !de.IsDir() {
				p.inode(t, filepath.Join(path, de.Name()))
			}
		}
		states := p.dirs[path]
		if len(states) == 0 {
			states = []dirState{{}} // made, and not synced yet
		}
		if !maps.Equal(states[len(states)-1], now) {
			states = append(states, now)
		}
		p.dirs[path] = states
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left writes to a new directory what a loss of power may leave.
func (p *powerLoss) left(t *testing.T, rng *rand.Rand) string {
	to := filepath.Join(memDir(t), "evidence")
	var restore func(from, to string)
	restore = func(from, to string) {
		if err := os.MkdirAll(to, 0o700); err != nil {
			t.Fatal(err)
		}
		states := p.dirs[from]
		if len(states) == 0 {
			return
		}
		for name, ino := range states[rng.IntN(len(states))] {
			path := filepath.Join(from, name)
			if _, dir := p.dirs[path]; dir {
				restore(path, filepath.Join(to, name))
				continue
			}
			if err := os.WriteFile(filepath.Join(to, name), p.content(rng, ino), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore(p.root, to)
	return to
}

// content is what may be left of a file.
func (p *powerLoss) content(rng *rand.Rand, ino uint64) []byte {
	b := append([]byte{}, p.synced[ino]...)
	for _, c := range p.since[ino] {
		from, to := 0, len(c.data)
		switch rng.IntN(4) {
		case 0: // not at all
			continue
		case 1: // torn
			if to > 0 {
				from = rng.IntN(to)
				to = from + rng.IntN(to-from+1)
			}
		}
		if c.data == nil {
			b = append(b, make([]byte, max(0, c.off-int64(len(b))))...)[:c.off]
			continue
		}
		end := c.off + int64(to)
		if n := end - int64(len(b)); n > 0 && to > from {
			b = append(b, make([]byte, n)...)
		}
		if to > from {
			copy(b[c.off+int64(from):], c.data[from:to])
		}
	}
	return b
}

// destroyScript is a life in which the first body file of a log is destroyed.
func destroyScript(dir string, c *calls, p *promises) error {
	l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c})
	if err != nil {
		return err
	}
	var file SealedBodies
	say := func(id int, kind Kind) error {
		b, err := json.Marshal(map[string]any{"files": []SealedBodies{file}})
		if err != nil {
			return err
		}
		r := Record{ID: newID(id), Kind: kind, Class: ClassAudit, Body: b}
		if err := l.Append(context.Background(), []Record{r}); err != nil {
			return err
		}
		p.acked = append(p.acked, r.ID)
		return l.checkpoint()
	}
	err = Walk(dir, nil, func(e Entry) error {
		if e.Kind != KindSeal || file.File != "" {
			return nil
		}
		var s SealBody
		if err := json.Unmarshal(e.Body, &s); err != nil {
			return err
		}
		file = s.Bodies[0]
		return nil
	})
	if err == nil {
		err = say(5000, KindDestroy)
	}
	if err == nil {
		err = c.unlink(filepath.Join(dir, file.File))
	}
	if err == nil {
		err = syncDir(c, filepath.Dir(filepath.Join(dir, file.File)))
	}
	if err == nil {
		err = say(5001, KindDestroyed)
	}
	return errors.Join(err, l.Close())
}

// The power goes at random moments of a life in which evidence is appended, sealed and
// destroyed, and the disk has kept of what was not synced whatever it liked: nothing
// that was acknowledged is lost, and no gap is without its record.
func TestPowerLoss(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(memDir(t), "evidence")
	power := newPowerLoss(t, dir)
	var p promises
	steps, losses := 0, 0
	lose := func(when string) {
		for range 2 {
			losses++
			now := promises{append([]ID(nil), p.acked...), p.head}
			t.Run(fmt.Sprintf("%03d %s", steps, when), func(t *testing.T) {
				now.keepsPowerless(t, power.left(t, rng), seed)
			})
		}
	}
	c := hooked(func(s step) error {
		steps++
		err := s.do()
		if err == nil {
			power.did(t, s, 0)
		}
		if rng.IntN(3) > 0 {
			lose(s.name)
		}
		return err
	})
	c.truncate = func(f *os.File, size int64) error {
		steps++
		if err := f.Truncate(size); err != nil {
			return err
		}
		power.did(t, step{name: "truncate", f: f}, size)
		lose("truncate")
		return nil
	}
	for _, life := range []func() error{
		func() error { return sealScript(dir, 0, c, &p) },
		func() error { return destroyScript(dir, c, &p) },
		func() error { return sealScript(dir, 1, c, &p) },
	} {
		if err := life(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if len(p.acked) != 42 || losses < 200 {
		t.Errorf("%d acknowledged, %d losses", len(p.acked), losses)
	}
	t.Logf("%d steps, %d losses of power", steps, losses)
}

// keepsPowerless opens what a loss of power has left, and verifies it before and after.
func (p *promises) keepsPowerless(t *testing.T, dir string, seed uint64) {
	t.Helper()
	check := func(when string) {
		t.Helper()
		r, err := VerifyAll(dir, nil, VerifyOptions{})
		if err != nil {
			t.Fatalf("seed %d, %s: %v", seed, when, err)
		}
		if !r.OK() {
			t.Errorf("seed %d, %s: %d alarms, first %v", seed, when, r.Alarms, r.FirstBad)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, verifierFile)); err == nil {
		check("as it was left")
	}
	l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
	if err != nil {
		t.Fatalf("seed %d: open: %v", seed, err)
	}
	if l.Size() < p.head {
		t.Errorf("seed %d: %d records, the head of %d was published", seed, l.Size(), p.head)
	}
	mustSeal(t, l)
	mustClose(t, l)
	found := ids(t, dir)
	for _, id := range p.acked {
		if found[id] == 0 {
			t.Errorf("seed %d: record %s was acknowledged and is lost", seed, id)
		}
	}
	check("after a start")
}
