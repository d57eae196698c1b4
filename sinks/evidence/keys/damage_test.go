package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testFile = "content/2026-11.keys"

// written makes a directory with n subjects and returns the keys.
func written(t testing.TB, dir string, n int) []Key {
	t.Helper()
	r := open(t, dir, Options{calls: quiet()})
	var ks []Key
	for i := range n {
		ks = append(ks, mustKeys(t, r, "content", fmt.Sprint(i))...)
	}
	mustClose(t, r)
	return ks
}

// A write cut short at any byte, with or without the zeros that a file system may
// leave after it, is cut off, and nothing before it is lost. A reader that looks
// before that sees the same.
func TestTornAtEveryByte(t *testing.T) {
	dir := memDir(t)
	ks := written(t, dir, 9)
	name := filepath.Join(dir, "keys", testFile)
	whole := readFile(t, name)
	if len(whole) != 9*entrySize {
		t.Fatalf("%d bytes", len(whole))
	}
	for at := range whole {
		sectors := (at + sector - 1) / sector * sector // what the file system had room for
		for _, size := range []int{at, max(sectors, at), max(sectors, at) + sector} {
			if size == max(sectors, at) && at%sector != 0 {
				continue // in the middle of a sector nothing tears but the end of the file
			}
			torn := append(bytes.Clone(whole[:at]), make([]byte, size-at)...)
			if size > at && at%sector != 0 {
				torn = append(bytes.Clone(whole[:at/sector*sector]), make([]byte, size)...)
			}
			write(t, name, torn)
			good := min(at, len(torn)) / entrySize
			if size > at && at%sector != 0 {
				good = at / sector * sector / entrySize
			}
			reader := open(t, dir, Options{ReadOnly: true})
			r := open(t, dir, Options{calls: quiet()})
			k := mustKeys(t, r, "content", "0", "late")
			if good > 0 && k[0].Handle != ks[0].Handle {
				t.Fatalf("cut at %d of %d: subject 0 has another key", at, size)
			}
			for i, key := range ks {
				for _, ring := range []*Ring{reader, r} {
					_, err := ring.Open("content", key.Handle)
					if i < good && err != nil || i >= good && !errors.Is(err, ErrMissing) {
						t.Fatalf("cut at %d of %d, key %d: %v", at, size, i, err)
					}
				}
			}
			if damaged, err := r.Damaged(); err != nil || len(damaged) > 0 {
				t.Fatalf("cut at %d of %d: damaged %v, %v", at, size, damaged, err)
			}
			mustClose(t, r)
			mustClose(t, reader)
			if fi, err := os.Stat(name); err != nil || fi.Size()%entrySize != 0 {
				t.Fatalf("cut at %d of %d: %v", at, size, fi)
			}
		}
	}
}

// A byte that changed is no torn write, wherever it is: the key is refused by file,
// entry and offset, the others still open, new ones are made, and the file stays as
// it is. The master key is not rotated while it could still be restored; a person can
// give it up.
func TestDamageIsNotTorn(t *testing.T) {
	dir := memDir(t)
	ks := written(t, dir, 9)
	name := filepath.Join(dir, "keys", testFile)
	whole := readFile(t, name)
	for at := 0; at < len(whole); at += 7 {
		b := bytes.Clone(whole)
		b[at] ^= 0x10
		write(t, name, b)
		n := at / entrySize
		entry := fmt.Sprintf("entry %d", n)
		offset := fmt.Sprintf("offset %d", n*entrySize)
		reader := open(t, dir, Options{ReadOnly: true})
		r := open(t, dir, Options{calls: quiet()})
		mustKeys(t, r, "content", fmt.Sprint((n+1)%9)) // so that it mends
		if got := readFile(t, name); !bytes.Equal(got, b) {
			t.Fatalf("byte %d changed: the file was written", at)
		}
		if k := mustKeys(t, r, "content", fmt.Sprint(n))[0]; k.Handle == ks[n].Handle {
			t.Fatalf("byte %d changed: the key was given out", at)
		}
		for i, key := range ks {
			for _, ring := range []*Ring{reader, r} {
				_, err := ring.Open("content", key.Handle)
				if i == n {
					if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), entry) || !strings.Contains(err.Error(), offset) || !strings.Contains(err.Error(), name) {
						t.Fatalf("byte %d changed: %v, want %s of %s at %s", at, err, entry, name, offset)
					}
				} else if err != nil {
					t.Fatalf("byte %d changed, key %d: %v", at, i, err)
				}
			}
		}
		damaged, err := r.Damaged()
		if err != nil || len(damaged) != 1 || damaged[0].Entry != int64(n) || damaged[0].Class != "content" {
			t.Fatalf("byte %d changed: damaged %v, %v", at, damaged, err)
		}
		before := readFile(t, filepath.Join(dir, "keys", keyringFile))
		if _, err := r.Rotate(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), offset) {
			t.Fatalf("byte %d changed: rotate: %v", at, err)
		}
		if !bytes.Equal(before, readFile(t, filepath.Join(dir, "keys", keyringFile))) || r.Rotating() {
			t.Fatal("a rotation was begun")
		}
		if at%3 == 0 {
			if err := r.GiveUp(damaged[0]); err != nil {
				t.Fatal(err)
			}
			if err := r.GiveUp(damaged[0]); err == nil {
				t.Fatal("given up twice")
			}
			wants(t, r, "content", ks[n].Handle, ErrMissing)
			if damaged, err := r.Damaged(); err != nil || len(damaged) > 0 {
				t.Fatalf("damaged %v, %v", damaged, err)
			}
		}
		mustClose(t, r)
		mustClose(t, reader)
	}
	r := open(t, dir, Options{})
	write(t, name, whole)
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	for _, key := range ks {
		if _, err := r.Open("content", key.Handle); err != nil {
			t.Error(err)
		}
	}
}

// An entry whose checksum was repaired after it was changed does not open, and
// neither does one that was put into the place of another.
func TestForgedEntries(t *testing.T) {
	dir := memDir(t)
	ks := written(t, dir, 2)
	name := filepath.Join(dir, "keys", testFile)
	whole := readFile(t, name)
	for _, at := range []int{0, 16, 35, 40, 60, 99} {
		b := bytes.Clone(whole)
		b[at] ^= 1
		(*entry)(b).finish()
		write(t, name, b)
		r := open(t, dir, Options{ReadOnly: true})
		_, err := r.Open("content", ks[0].Handle)
		want := ErrDamaged
		switch at {
		case 0:
			want = ErrMissing
		case 35:
			want = ErrMaster // of a generation there is not
		}
		if !errors.Is(err, want) {
			t.Errorf("byte %d forged: %v", at, err)
		}
		if damaged, err := r.Damaged(); at != 35 && (err != nil || len(damaged) != 1) {
			t.Errorf("byte %d forged: damaged %v, %v", at, damaged, err)
		}
	}
	// The key of subject 1 under the handle of subject 0, and in another class.
	b := bytes.Clone(whole)
	copy(b[16:entrySize], b[entrySize+16:])
	(*entry)(b).finish()
	write(t, name, b)
	wants(t, open(t, dir, Options{ReadOnly: true}), "content", ks[0].Handle, ErrDamaged)
	if err := os.Rename(filepath.Join(dir, "keys", "content"), filepath.Join(dir, "keys", "push")); err != nil {
		t.Fatal(err)
	}
	wants(t, open(t, dir, Options{ReadOnly: true}), "push", ks[1].Handle, ErrDamaged)
}

// Of a write of many keys the first sectors may never have reached the disk although
// the last did. Nobody was given those keys: the holes are closed and harm nobody.
func TestHoles(t *testing.T) {
	dir := memDir(t)
	r := open(t, dir, Options{})
	before := mustKeys(t, r, "content", "before")[0]
	var subjects []string
	for i := range 50 {
		subjects = append(subjects, fmt.Sprint(i))
	}
	ks := mustKeys(t, r, "content", subjects...)
	mustClose(t, r)
	name := filepath.Join(dir, "keys", testFile)
	b := readFile(t, name)
	clear(b[1*sector : 5*sector])
	write(t, name, b)
	for _, rotate := range []bool{false, true} {
		r = open(t, dir, Options{})
		if rotate {
			if _, err := r.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		again := mustKeys(t, r, "content", append(subjects, "before")...)
		if again[50].Handle != before.Handle || again[49].Handle != ks[49].Handle || again[10].Handle == ks[10].Handle {
			t.Error("the keys are not those that are there")
		}
		if damaged, err := r.Damaged(); err != nil || len(damaged) > 0 {
			t.Errorf("damaged %v, %v", damaged, err)
		}
		mustClose(t, r)
	}
}

// A keyring or journal that is not one is refused by name; so is one that is gone
// while there are keys.
func TestKeyringRefused(t *testing.T) {
	dir := memDir(t)
	written(t, dir, 1)
	path := filepath.Join(dir, "keys", keyringFile)
	whole := readFile(t, path)
	for want, b := range map[string][]byte{
		"not a keyring":                 []byte("{}x"),
		"of this version":               []byte(`{"format":2}`),
		"no generation":                 []byte(`{"format":1,"id":"0011223344556677"}`),
		"more after its end":            append(bytes.Clone(whole), '{'),
		"no master key":                 bytes.Replace(whole, []byte(`"index": "`), []byte(`"index": "AAAA`), 1)[:0],
		"is not 16 hexadecimal":         []byte(`{"format":1,"id":"x"}`),
		"was changed":                   flip(whole, `"index": "`),
		"another one than the keyring":  flip(whole, `"key": "`),
		"generation 1 is not one":       bytes.Replace(whole, []byte(`"master": "weir`), []byte(`"master": "reir`), 1),
		"the index key has 12 bytes":    bytes.Replace(whole, whole[bytes.Index(whole, []byte(`"index": "`))+10+16:len(whole)-4], nil, 1),
		`unknown field "retired_since"`: bytes.Replace(whole, []byte(`"number"`), []byte(`"retired_since": 1, "number"`), 1),
	} {
		write(t, path, b)
		if len(b) == 0 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(filepath.Join(dir, "keys"), Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), keyringFile) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	write(t, path, whole)
	write(t, filepath.Join(dir, "keys", journalFile), []byte("x"))
	if _, err := Open(filepath.Join(dir, "keys"), Options{}); err == nil || !strings.Contains(err.Error(), journalFile) {
		t.Errorf("%v", err)
	}
}

// flip changes the first character after a mark.
func flip(b []byte, mark string) []byte {
	b = bytes.Clone(b)
	i := bytes.Index(b, []byte(mark)) + len(mark)
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return b
}
