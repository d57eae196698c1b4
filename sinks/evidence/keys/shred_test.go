package keys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who is erased is gone in every month and class, on the disk and in memory, and
// nobody else is. What comes later gets a new key, which stays.
//
// Clause: rn-erase
func TestShred(t *testing.T) {
	dir := t.TempDir()
	now := testNow.AddDate(0, -2, 0)
	r := open(t, dir, Options{Now: func() time.Time { return now }})
	other := open(t, dir, Options{ReadOnly: true}) // has not opened any yet
	var hers, his []Key
	for range 3 {
		for _, class := range []string{"content", "push"} {
			ks := mustKeys(t, r, class, "anna", "ben", "")
			hers, his = append(hers, ks[0]), append(his, ks[1], ks[2])
		}
		now = now.AddDate(0, 1, 0)
	}
	now = testNow
	for i, k := range hers {
		if _, err := r.Open([]string{"content", "push"}[i%2], k.Handle); err != nil { // so that it is in memory
			t.Fatal(err)
		}
	}
	found, err := r.Find("anna")
	if err != nil || len(found) != 6 {
		t.Fatalf("found %v, %v", found, err)
	}
	some, err := r.Shred("anna", "push")
	if err != nil || len(some) != 3 {
		t.Fatalf("of one class: %v, %v", some, err)
	}
	for i, k := range hers {
		if _, err := r.Open([]string{"content", "push"}[i%2], k.Handle); (i%2 == 1) != errors.Is(err, ErrErased) {
			t.Errorf("key %d: %v", i, err)
		}
	}
	all, err := r.Shred("anna")
	if err != nil || len(all) != 3 {
		t.Fatalf("of all classes: %v, %v", all, err)
	}
	again := mustKeys(t, r, "content", "anna")[0]
	for i := range hers {
		class := []string{"content", "push"}[i%2]
		for _, ring := range []*Ring{r, other} {
			wants(t, ring, class, hers[i].Handle, ErrErased)
			for _, k := range []Key{his[2*i], his[2*i+1]} {
				if _, err := ring.Open(class, k.Handle); err != nil {
					t.Error(err)
				}
			}
		}
		if again.Handle == hers[i].Handle {
			t.Error("a destroyed key was given out")
		}
	}
	// Nothing of a destroyed key or of whose it was is left: its handle stands alone.
	left := 0
	for _, name := range keyFiles(t, dir) {
		b := readFile(t, name)
		for _, k := range hers {
			if i := bytes.Index(b, k.Handle[:]); i >= 0 {
				left++
				if !allZero(b[i+entrySubject : i+entryCRC]) {
					t.Errorf("%s: something is left beside a handle", name)
				}
			}
		}
	}
	if left != 6 {
		t.Errorf("%d handles are left", left)
	}
	if hs, err := r.Shred("anna"); err != nil || len(hs) != 1 || hs[0] != again.Handle {
		t.Errorf("again: %v, %v", hs, err)
	}
	if hs, err := r.Shred("anna"); err != nil || hs != nil {
		t.Errorf("nothing left: %v, %v", hs, err)
	}
	if _, err := r.Shred(""); err == nil {
		t.Error("nobody was shredded")
	}
	if _, err := other.Shred("ben"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a reader shreds: %v", err)
	}
}

// A key that another goroutine has asked for and that is not written yet is found.
func TestShredFindsWhatIsOnItsWay(t *testing.T) {
	c := systemCalls()
	sync := c.datasync
	started, goOn := make(chan struct{}), make(chan struct{})
	armed := false
	c.datasync = func(f *os.File) error {
		if armed {
			armed = false
			close(started)
			<-goOn
		}
		return sync(f)
	}
	r := open(t, t.TempDir(), Options{calls: c})
	mustKeys(t, r, "content", "ben")
	armed = true
	got := make(chan Key)
	go func() { got <- mustKeys(t, r, "content", "anna")[0] }()
	<-started
	shredded := make(chan []Handle)
	go func() {
		hs, err := r.Shred("anna")
		if err != nil {
			t.Error(err)
		}
		shredded <- hs
	}()
	close(goOn)
	k, hs := <-got, <-shredded
	if len(hs) != 1 || hs[0] != k.Handle {
		t.Errorf("%v, want %v", hs, k.Handle)
	}
	wants(t, r, "content", k.Handle, ErrErased)
}

// A directory restored from yesterday's copy has the keys of those who were erased
// since. The log names them, and they are gone before anything is opened.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	anna, ben := mustKeys(t, r, "content", "anna")[0], mustKeys(t, r, "content", "ben")[0]
	yesterday := copyKeys(t, dir)
	hs, err := r.Shred("anna")
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, r)

	reader := open(t, yesterday, Options{ReadOnly: true, Erased: hs})
	wants(t, reader, "content", anna.Handle, ErrErased)
	r = open(t, yesterday, Options{Erased: hs})
	wants(t, r, "content", anna.Handle, ErrErased)
	if _, err := r.Open("content", ben.Handle); err != nil {
		t.Error(err)
	}
	if again := mustKeys(t, r, "content", "anna")[0]; again.Handle == anna.Handle {
		t.Error("a destroyed key was given out")
	}
	if b := readFile(t, keyFiles(t, yesterday)[0]); !bytes.Contains(b, append(anna.Handle[:], make([]byte, 84)...)) {
		t.Error("the key is still on the disk")
	}
	if n, err := r.ShredHandles(hs); n != 0 || err != nil {
		t.Errorf("a second time: %d, %v", n, err)
	}
	mustClose(t, r)
	wants(t, open(t, yesterday, Options{}), "content", anna.Handle, ErrErased)
}

// After a rotation yesterday's copy opens nothing at all, with everything there is
// today, and today's opens all but the shredded.
func TestOldCopiesAreUseless(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	anna, ben := mustKeys(t, r, "content", "anna")[0], mustKeys(t, r, "content", "ben")[0]
	sealed := seal(ben.AEAD, []byte("a post"), []byte("leaf"))
	yesterday := copyKeys(t, dir)
	hs, err := r.Shred("anna")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, r)

	// The whole directory of yesterday, and its key files under today's keyring. The
	// master key is today's: it was not in the copy.
	if err := os.Remove(filepath.Join(yesterday, "master.key")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(yesterday, "master.key"), readFile(t, filepath.Join(dir, "master.key")))
	for _, readOnly := range []bool{true, false} {
		if _, err := Open(filepath.Join(yesterday, "keys"), Options{ReadOnly: readOnly}); !errors.Is(err, ErrMaster) {
			t.Errorf("yesterday's keyring opens: %v", err)
		}
	}
	write(t, filepath.Join(yesterday, "keys", keyringFile), readFile(t, filepath.Join(dir, "keys", keyringFile)))
	old := open(t, yesterday, Options{})
	wants(t, old, "content", anna.Handle, ErrMaster)
	wants(t, old, "content", ben.Handle, ErrMaster)
	if k := mustKeys(t, old, "content", "ben")[0]; k.Handle == ben.Handle {
		t.Error("a key that cannot be opened was given out")
	}
	// Nor does the old wrapped key open by hand, with all master keys there are.
	if strings.Contains(string(readFile(t, filepath.Join(dir, "master.key"))), "-1 ") {
		t.Error("the first master key is still in the file")
	}

	r = open(t, dir, Options{})
	opens(t, r, ben.Handle, sealed)
	wants(t, r, "content", anna.Handle, ErrErased)
	if len(hs) != 1 || hs[0] != anna.Handle {
		t.Errorf("shredded %v", hs)
	}
}

// A month that is over can be dropped, but for the keys that somebody holds; what is
// dropped is gone from memory too.
func TestDrop(t *testing.T) {
	dir := t.TempDir()
	now := testNow.AddDate(0, -1, 0)
	r := open(t, dir, Options{Now: func() time.Time { return now }})
	ks := mustKeys(t, r, "content", "anna", "ben", "cleo")
	if err := r.Drop("content", MonthOf(now)); err == nil {
		t.Error("the current month was dropped")
	}
	rare := mustKeys(t, r, "push", "anna")[0]
	now = testNow
	if err := r.Drop("push", ks[0].Handle.Month()); err != nil {
		t.Error(err) // although nobody has asked for a key of the class since
	}
	wants(t, r, "push", rare.Handle, ErrDestroyed)
	if err := r.Drop("other", ks[0].Handle.Month()); err != nil {
		t.Error(err) // there never was anything
	}
	late := mustKeys(t, r, "content", "anna")[0]
	if _, err := r.Restrict("cleo", now.AddDate(0, 6, 0)); err != nil {
		t.Fatal(err)
	}
	for _, k := range ks[:2] {
		if _, err := r.Open("content", k.Handle); err != nil {
			t.Fatal(err)
		}
	}
	m := ks[0].Handle.Month()
	if names, err := r.Files("content", m); err != nil || len(names) != 2 || names[0] != "content/2026-10.keys" {
		t.Errorf("files %v, %v", names, err)
	}
	if err := r.Drop("content", m, ks[1].Handle); err != nil {
		t.Fatal(err)
	}
	wants(t, r, "content", ks[0].Handle, ErrMissing)
	if _, err := r.Open("content", ks[1].Handle); err != nil {
		t.Errorf("a key that is held: %v", err)
	}
	if _, err := r.OpenRestricted("content", ks[2].Handle); !errors.Is(err, ErrDestroyed) {
		t.Errorf("a key that was put aside: %v", err)
	}
	for range 2 { // that it is gone is no error
		if err := r.Drop("content", m); err != nil {
			t.Fatal(err)
		}
		wants(t, r, "content", ks[0].Handle, ErrDestroyed)
		wants(t, r, "content", ks[1].Handle, ErrDestroyed)
	}
	if _, err := r.Open("content", late.Handle); err != nil {
		t.Error(err)
	}
	if months, err := r.Months("content"); err != nil || len(months) != 1 || months[0].String() != "2026-11" {
		t.Errorf("months %v, %v", months, err)
	}
}

// A key that was put aside opens only where it is asked for by that name, lives
// through a rotation, and is due when its day is over.
func TestRestrict(t *testing.T) {
	dir := t.TempDir()
	now := testNow
	r := open(t, dir, Options{Now: func() time.Time { return now }})
	k := mustKeys(t, r, "content", "anna")[0]
	sealed := seal(k.AEAD, []byte("a post"), []byte("leaf"))
	until := testNow.AddDate(0, 2, 0)
	hs, err := r.Restrict("anna", until)
	if err != nil || len(hs) != 1 || hs[0] != k.Handle {
		t.Fatalf("%v, %v", hs, err)
	}
	if again := mustKeys(t, r, "content", "anna")[0]; again.Handle == k.Handle {
		t.Error("a key that was put aside was given out")
	}
	check := func() {
		t.Helper()
		wants(t, r, "content", k.Handle, ErrRestricted)
		wants(t, open(t, dir, Options{ReadOnly: true}), "content", k.Handle, ErrRestricted)
		a, err := r.OpenRestricted("content", k.Handle)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := unseal(a, sealed, []byte("leaf")); err != nil || string(b) != "a post" {
			t.Errorf("%q, %v", b, err)
		}
	}
	check()
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	check()
	// A longer duty is found; a shorter one does not end it.
	for _, days := range []int{10, -20} {
		if _, err := r.Restrict("anna", until.AddDate(0, 0, days)); err != nil {
			t.Fatal(err)
		}
		check()
	}
	mustClose(t, r)
	r = open(t, dir, Options{Now: func() time.Time { return now }})
	for _, c := range []struct {
		day  int
		want int
	}{{0, 0}, {10, 0}, {11, 2}} {
		now = until.AddDate(0, 0, c.day)
		if due, err := r.Due(); err != nil || len(due) != c.want {
			t.Errorf("%d days after the first duty: %v, %v", c.day, due, err)
		}
	}
	check()
	due, err := r.Due()
	if err != nil {
		t.Fatal(err)
	}
	// The second key is the one that was given out after the first was put aside.
	if n, err := r.ShredHandles(due); err != nil || n != 2 {
		t.Errorf("shredded %d, %v", n, err)
	}
	wants(t, r, "content", k.Handle, ErrErased)
	if _, err := r.OpenRestricted("content", k.Handle); !errors.Is(err, ErrErased) {
		t.Errorf("%v", err)
	}
}

// Shredding a subject takes what was put aside, too.
func TestShredTakesWhatWasPutAside(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	k := mustKeys(t, r, "content", "anna")[0]
	if _, err := r.Restrict("anna", testNow.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if hs, err := r.Shred("anna"); err != nil || len(hs) != 1 {
		t.Fatalf("%v, %v", hs, err)
	}
	wants(t, r, "content", k.Handle, ErrErased)
	if _, err := r.OpenRestricted("content", k.Handle); !errors.Is(err, ErrErased) {
		t.Errorf("%v", err)
	}
}

// Keys in escrow open with the private key alone, until they expire, and only as
// they were sealed.
func TestEscrow(t *testing.T) {
	dir := t.TempDir()
	now := testNow
	r := open(t, dir, Options{Now: func() time.Time { return now }})
	k := mustKeys(t, r, "content", "anna")[0]
	push := mustKeys(t, r, "push", "anna")[0]
	sealed := seal(k.AEAD, []byte("a post"), []byte("leaf"))
	private, public, err := NewEscrowKey()
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseEscrowKey(public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	hs, err := r.Find("anna")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Escrow(hs, to, testNow.AddDate(0, 0, -1)); err == nil {
		t.Error("an escrow that has expired")
	}
	name, err := r.Escrow(hs, to, testNow.AddDate(3, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Shred("anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Escrow(hs, to, testNow.AddDate(3, 0, 0)); err == nil {
		t.Error("an escrow of keys that are gone")
	}
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	wants(t, r, "content", k.Handle, ErrErased)

	path := filepath.Join(dir, "keys", name)
	opened, err := OpenEscrow(path, private)
	if err != nil {
		t.Fatal(err)
	}
	if len(opened.Handles) != 2 || opened.Expires.Year() != 2029 {
		t.Errorf("%+v", opened)
	}
	if err := r.Lend(opened); err == nil {
		t.Error("lent to a ring that writes")
	}
	reader := open(t, dir, Options{ReadOnly: true})
	wants(t, reader, "content", k.Handle, ErrErased)
	if err := reader.Lend(opened); err != nil {
		t.Fatal(err)
	}
	opens(t, reader, k.Handle, sealed)
	if _, err := reader.Open("push", push.Handle); err != nil {
		t.Error(err)
	}

	stranger, _, err := NewEscrowKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEscrow(path, stranger); err == nil {
		t.Error("a stranger opens it")
	}
	whole := readFile(t, path)
	for _, change := range [][2]string{{"2029-11-28", "2099-11-28"}, {hs[0].String(), Handle{}.String()}} {
		write(t, path, bytes.Replace(whole, []byte(change[0]), []byte(change[1]), 1))
		if _, err := OpenEscrow(path, private); err == nil {
			t.Errorf("it opens after %s was changed", change[0])
		}
	}
	write(t, path, whole)

	now = testNow.AddDate(3, 0, 0)
	if gone, err := r.ExpireEscrow(); err != nil || len(gone) != 0 {
		t.Errorf("on its last day: %v, %v", gone, err)
	}
	now = now.AddDate(0, 0, 1)
	if gone, err := r.ExpireEscrow(); err != nil || len(gone) != 1 || gone[0] != name {
		t.Errorf("after its last day: %v, %v", gone, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it is still there")
	}
	for _, bad := range []string{"", "x", private, escrowPublic + "AAAA"} {
		if _, err := ParseEscrowKey(bad); err == nil {
			t.Errorf("%q is a public key", bad)
		}
	}
}

// keyFiles returns the key files below dir.
func keyFiles(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	for _, suffix := range []string{keysSuffix, restrictedSuffix} {
		found, err := filepath.Glob(filepath.Join(dir, "keys", "*", "*"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyKeys copies the keys and the master key to another directory.
func copyKeys(t testing.TB, from string) string {
	t.Helper()
	to := memDir(t)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS gives files more permissions than a master key may have.
	if err := os.Chmod(filepath.Join(to, "master.key"), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return to
}

// memDir is t.TempDir in memory where there is such a place: for the hundreds of
// small directories of which the disk is not what is tested.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-keys-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Of keys in use it is known without opening them whether they were destroyed, also of those that were before the
// process started; putting aside is not destroying.
func TestErased(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	ks := mustKeys(t, r, "content", "anna", "ben", "carl", "dora")
	if _, err := r.Shred("anna"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, r)
	r = open(t, dir, Options{})
	for range 2 { // before the file is open for writing, and after
		wants(t, r, "content", ks[0].Handle, ErrErased)
		wants(t, r, "content", ks[3].Handle, nil)
		mustKeys(t, r, "content", "dora")
	}
	if _, err := r.Shred("ben"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Restrict("carl", testNow.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	wants(t, r, "content", ks[1].Handle, ErrErased)
	wants(t, r, "content", ks[2].Handle, ErrRestricted)
	opened := r.reader.opened.len()
	for range 10 {
		k := mustKeys(t, r, "content", "emil")[0]
		if r.Erased("content", k.Handle) || r.reader.opened.len() != opened {
			t.Error("a key in use was opened to find out that it is not destroyed, or was called so")
		}
	}
}
