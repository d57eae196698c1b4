package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Keys are given out, made and opened while the master key is rotated again and
// again; none is lost, and at the end one generation is left.
func TestRotateUnderLoad(t *testing.T) {
	dir := memDir(t)
	r := open(t, dir, Options{OpenKeys: 8, calls: quiet()})
	reader := open(t, dir, Options{OpenKeys: 8, ReadOnly: true})
	var made, stop atomic.Int64
	var mu sync.Mutex
	var all []Key
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := 0; stop.Load() == 0; i++ {
				ks, err := r.Keys("content", []string{fmt.Sprint(g, " ", i), "ben", fmt.Sprint(g, " ", i/2)})
				if err != nil {
					t.Error(err)
					return
				}
				for _, ring := range []*Ring{r, reader} {
					if _, err := ring.Open("content", ks[2].Handle); err != nil {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				all = append(all, ks...)
				mu.Unlock()
				made.Add(1)
			}
		})
	}
	for range 20 {
		for n := made.Load(); made.Load() < n+20 && !t.Failed(); {
			if _, err := r.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop.Store(1)
	wg.Wait()
	mustClose(t, r)
	r = open(t, dir, Options{})
	handles := make(map[Handle]bool)
	for _, k := range all {
		handles[k.Handle] = true
		if _, err := r.Open("content", k.Handle); err != nil {
			t.Fatal(err)
		}
	}
	if ben := mustKeys(t, r, "content", "ben")[0]; !handles[ben.Handle] {
		t.Error("ben has another key")
	}
	if r.Rotating() || strings.Count(string(readFile(t, filepath.Join(dir, "master.key"))), "\n") != 1 {
		t.Error("an old generation is left")
	}
	if fi, err := os.Stat(filepath.Join(dir, "keys", testFile)); err != nil || fi.Size() != int64(len(handles))*entrySize {
		t.Errorf("%d handles in %d bytes", len(handles), fi.Size())
	}
}

// A master key that was destroyed leaves nothing in the place where it was.
func TestMasterIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	r := open(t, dir, Options{})
	secret := bytes.Fields(readFile(t, path))[1]
	old, err := os.Open(path) // the file as it was, also when it has no name any more
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	// It was replaced by one with both, whose place is overwritten in turn.
	both := make(chan []byte, 1)
	sys := r.calls.write
	r.calls.write = func(f *os.File, b []byte, off int64) error {
		err := sys(f, b, off)
		if f.Name() == path {
			after, rerr := os.ReadFile(path)
			both <- after
			return errors.Join(err, rerr)
		}
		return err
	}
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	if b := <-both; bytes.Contains(b, secret) || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("the secret was not overwritten before its line went: %d lines", bytes.Count(b, []byte("\n")))
	}
	if bytes.Contains(readFile(t, path), secret) {
		t.Error("the secret is still there")
	}
}

// A key that was handed out as often as random nonces allow is not handed out again.
func TestWornKeys(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	k := mustKeys(t, r, "content", "")[0]
	w, err := r.writer("content")
	if err != nil {
		t.Fatal(err)
	}
	w.ready.young[""].uses.Store(maxUses - 1)
	if again := mustKeys(t, r, "content", "")[0]; again.Handle != k.Handle {
		t.Error("it is not worn yet")
	}
	next := mustKeys(t, r, "content", "")[0]
	if next.Handle == k.Handle {
		t.Error("it is worn")
	}
	if again := mustKeys(t, r, "content", "")[0]; again.Handle != next.Handle {
		t.Error("a third key")
	}
	if _, err := r.Open("content", k.Handle); err != nil {
		t.Error(err)
	}
	mustClose(t, r)
	if again := mustKeys(t, open(t, dir, Options{}), "content", "")[0]; again.Handle != next.Handle {
		t.Error("after a restart the older key is used")
	}
}

// What is kept in memory of opened keys has a bound, and what fell out is read again.
func TestOpenKeysAreBounded(t *testing.T) {
	dir := memDir(t)
	r := open(t, dir, Options{OpenKeys: 10, calls: quiet()})
	var all []Key
	for round := range 2 {
		for i := range 100 {
			k := mustKeys(t, r, "content", fmt.Sprint(i))[0]
			if round == 1 && all[i].Handle != k.Handle {
				t.Fatalf("subject %d has another key", i)
			}
			all = append(all, k)
			if _, err := r.Open("content", k.Handle); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := r.writer("content")
	if err != nil {
		t.Fatal(err)
	}
	if n, m := w.ready.len(), r.reader.opened.len(); n > 10 || m > 10 || n < 5 || m < 5 {
		t.Errorf("%d and %d keys are open", n, m)
	}
}

// Two readers follow a writer that makes, shreds and rotates: what they are told of
// is there, and what is being overwritten is never taken for damage.
func TestReadersFollow(t *testing.T) {
	dir := memDir(t)
	r := open(t, dir, Options{calls: quiet()})
	mustKeys(t, r, "content", "")
	told := make(chan Key, 1)
	var wg sync.WaitGroup
	for range 2 {
		reader := open(t, dir, Options{ReadOnly: true, OpenKeys: 1})
		wg.Go(func() {
			for k := range told {
				for range 20 {
					_, err := reader.Open("content", k.Handle)
					if err != nil && !errors.Is(err, ErrErased) && !errors.Is(err, ErrRestricted) {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 200 {
		s := fmt.Sprint(i)
		k := mustKeys(t, r, "content", s)[0]
		told <- k
		var err error
		switch i % 4 {
		case 0, 1:
			_, err = r.Shred(s)
		case 2:
			_, err = r.Restrict(s, testNow.Add(time.Hour))
		case 3:
			_, err = r.Rotate()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(told)
	wg.Wait()
}
