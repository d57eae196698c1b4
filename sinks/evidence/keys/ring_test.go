package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A key that was given out opens what was sealed with it: at once, by another ring
// on the same directory while the first one lives, and after a restart.
//
// Clause: rn-store
func TestKeysOpen(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	ks := mustKeys(t, r, "content", "anna", "", "ben", "anna")
	if ks[0].Handle != ks[3].Handle || ks[0].Handle == ks[2].Handle || ks[0].Handle == ks[1].Handle {
		t.Errorf("handles %v", ks)
	}
	if got := ks[0].Handle.Month(); got.String() != "2026-11" {
		t.Errorf("month %v", got)
	}
	if other := mustKeys(t, r, "push", "anna"); other[0].Handle == ks[0].Handle {
		t.Error("two classes share a key")
	}
	sealed := seal(ks[0].AEAD, []byte("a post"), []byte("leaf"))
	reader := open(t, dir, Options{ReadOnly: true})
	opens(t, reader, ks[0].Handle, sealed)
	opens(t, r, ks[0].Handle, sealed)
	late := mustKeys(t, r, "content", "late")[0]
	if _, err := reader.Open("content", late.Handle); err != nil {
		t.Errorf("a key that is younger than the reader: %v", err)
	}
	term := r.Term("content", "account", "anna")
	if term == r.Term("push", "account", "anna") || term == r.Term("content", "device", "anna") {
		t.Error("terms of two classes or names are equal")
	}
	mustClose(t, r)

	r = open(t, dir, Options{})
	opens(t, r, ks[0].Handle, sealed)
	if again := mustKeys(t, r, "content", "ben", "anna"); again[1].Handle != ks[0].Handle || again[0].Handle != ks[2].Handle {
		t.Error("after a restart the subjects have other keys")
	}
	if term != r.Term("content", "account", "anna") || term != reader.Term("content", "account", "anna") {
		t.Error("after a restart the terms are others")
	}
}

// Many goroutines that ask for the same new subjects at once get the same keys.
func TestKeysAtOnce(t *testing.T) {
	r := open(t, t.TempDir(), Options{OpenKeys: 16})
	var mu sync.Mutex
	seen := make(map[string]Handle)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				var subjects []string
				for s := range 5 {
					subjects = append(subjects, fmt.Sprint((i*5+s*g)%90))
				}
				ks, err := r.Keys("content", subjects)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for j, k := range ks {
					if h, ok := seen[subjects[j]]; ok && h != k.Handle {
						t.Errorf("subject %s has two keys", subjects[j])
					}
					seen[subjects[j]] = k.Handle
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// A new month has new keys, and those of the old one still open.
func TestMonths(t *testing.T) {
	now := time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)
	r := open(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	old := mustKeys(t, r, "content", "anna")[0]
	now = now.Add(time.Second)
	k := mustKeys(t, r, "content", "anna")[0]
	if k.Handle == old.Handle || k.Handle.Month().String() != "2026-12" {
		t.Errorf("%v after %v", k.Handle, old.Handle)
	}
	now = now.Add(-time.Hour) // the clock goes back: no third key
	if again := mustKeys(t, r, "content", "anna")[0]; again.Handle != k.Handle {
		t.Errorf("%v after %v", again.Handle, k.Handle)
	}
	if _, err := r.Open("content", old.Handle); err != nil {
		t.Error(err)
	}
}

// What is not there has a name of its own.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	k := mustKeys(t, r, "content", "anna")[0]
	strange := k.Handle
	strange[9] ^= 1
	wants(t, r, "content", strange, ErrMissing)
	wants(t, r, "push", k.Handle, ErrDestroyed)
	strange[0] ^= 1
	wants(t, r, "content", strange, ErrDestroyed)
	if _, err := r.Open("../x", k.Handle); err == nil {
		t.Error("a class that is a path")
	}
	if _, err := r.Keys("../x", []string{"anna"}); err == nil {
		t.Error("a class that is a path")
	}
	if _, err := Open(dir+"/keys", Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second writer: %v", err)
	}
	mustClose(t, r)
	if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir+"/keys", Options{}); !errors.Is(err, ErrMaster) {
		t.Errorf("without the master key: %v", err)
	}
}

var testNow = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// open opens dir/keys. The ring is closed when the test ends.
func open(t testing.TB, dir string, o Options) *Ring {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return testNow }
	}
	r, err := Open(filepath.Join(dir, "keys"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, r) })
	return r
}

func mustClose(t testing.TB, r *Ring) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func mustKeys(t testing.TB, r *Ring, class string, subjects ...string) []Key {
	t.Helper()
	ks, err := r.Keys(class, subjects)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func opens(t testing.TB, r *Ring, h Handle, sealed []byte) {
	t.Helper()
	a, err := r.Open("content", h)
	if err != nil {
		t.Error(err)
		return
	}
	if b, err := unseal(a, sealed, []byte("leaf")); err != nil || !bytes.Equal(b, []byte("a post")) {
		t.Errorf("%q, %v", b, err)
	}
}

func wants(t testing.TB, r *Ring, class string, h Handle, want error) {
	t.Helper()
	if _, err := r.Open(class, h); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if erased := r.Erased(class, h); erased != errors.Is(want, ErrErased) {
		t.Errorf("erased: %v, though opening it says %v", erased, want)
	}
}

// A term that is remembered is the one that is not.
func TestCommonTerm(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for range 2 {
		for i := range maxCommon + 10 {
			name, value := "rule", fmt.Sprint(i)
			for _, class := range []string{"content", "push"} {
				if got, want := r.CommonTerm(class, name, value), r.Term(class, name, value); got != want {
					t.Fatalf("class %s, rule %s: %x, want %x", class, value, got, want)
				}
			}
		}
	}
}
