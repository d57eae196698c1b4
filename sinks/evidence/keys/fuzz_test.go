package keys

import (
	"crypto/hpke"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
)

// Whatever a key file holds, the ring opens, gives out keys that open again, and
// ends no process; what it says of the keys that were there is one of its errors.
func FuzzKeyFile(f *testing.F) {
	dir := f.TempDir()
	ks := written(f, dir, 3)
	whole := readFile(f, filepath.Join(dir, "keys", testFile))
	f.Add(whole)
	f.Add(whole[:entrySize+10])
	f.Add(append(whole[:entrySize:entrySize], make([]byte, 700)...))
	f.Add(make([]byte, 3*entrySize))
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, filepath.Join(dir, "keys", testFile), b)
		reader := open(t, dir, Options{ReadOnly: true})
		r := open(t, dir, Options{calls: quiet()})
		for _, ring := range []*Ring{reader, r} {
			for _, k := range ks {
				if _, err := ring.Open("content", k.Handle); err != nil && !errors.Is(err, ErrDamaged) &&
					!errors.Is(err, ErrMissing) && !errors.Is(err, ErrErased) && !errors.Is(err, ErrMaster) {
					t.Error(err)
				}
			}
		}
		for _, k := range mustKeys(t, r, "content", "0", "new") {
			if _, err := r.Open("content", k.Handle); err != nil {
				t.Error(err)
			}
		}
		if _, err := r.Shred("0"); err != nil {
			t.Error(err)
		}
		damaged, err := r.Damaged()
		if err != nil {
			t.Error(err)
		}
		if len(damaged) > 0 {
			if err := r.GiveUp(damaged[0]); err != nil {
				t.Error(err)
			}
		}
		mustClose(t, r)
		mustClose(t, reader)
	})
}

// Whatever a keyring holds, reading it ends no process, and what is accepted is
// written and read again as it was.
func FuzzKeyring(f *testing.F) {
	dir := f.TempDir()
	written(f, dir, 1)
	f.Add(readFile(f, filepath.Join(dir, "keys", keyringFile)))
	f.Add([]byte(`{"format":1,"id":"0011223344556677","generations":[{"number":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKeyring(b)
		if err != nil {
			if !errors.Is(err, errKeyring) {
				t.Error(err)
			}
			return
		}
		again, err := json.Marshal(k)
		if err != nil {
			return // a year that JSON does not write
		}
		if k2, err := parseKeyring(again); err != nil || !k2.same(k) {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// Whatever an escrow file holds, opening it ends no process.
func FuzzEscrow(f *testing.F) {
	k, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	e := escrow{Format: 1, Expires: "2029-11-28"}
	plain := appendEscrowed(nil, "content", Handle{1}, make([]byte, keySize))
	if e.Sealed, err = hpke.Seal(k.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), e.info(), plain); err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := parseEscrow(b, k); err == nil && len(out.Handles) != len(out.keys) {
			t.Error("handles and keys differ in number")
		}
	})
}

// Whatever a journal holds, reading it ends no process.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"shred":["02aa11e298bb19a05a862cacde47998f"],"restrict":[],"until":3}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _, _ = parseJournal(b) })
}
