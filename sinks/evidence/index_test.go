package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A search in an index finds what looking at every posting finds, however the
// keys are spread.
func TestIndexFinds(t *testing.T) {
	spread := map[string]func(i int) uint64{
		"even":                 func(int) uint64 { return rand.Uint64() },
		"all the same":         func(int) uint64 { return 1 << 40 },
		"few":                  func(int) uint64 { return rand.Uint64N(5) << 61 },
		"at the ends":          func(i int) uint64 { return []uint64{0, 1<<64 - 1, 7, 1 << 63}[i%4] },
		"even and a crowd":     func(i int) uint64 { return []uint64{rand.Uint64(), 3 << 60}[i%2] },
		"all below the middle": func(int) uint64 { return rand.Uint64N(1 << 20) },
	}
	for name, key := range spread {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1, 2, 700, 5000} {
				dir := t.TempDir()
				w := indexWriter{first: 10}
				want := make(map[uint64][]uint32)
				var keys []uint64
				for i := range n {
					var l leaf
					k := key(i)
					binary.BigEndian.PutUint64(l[leafID:], k)
					w.add(&l, int64(i), int64(2*i), binary.BigEndian.AppendUint64(nil, k))
					want[k] = append(want[k], uint32(i))
					keys = append(keys, k, k+1, k-1)
				}
				if err := writeIndex(noSync(), dir, "1", 10, w.bytes(1)); err != nil {
					t.Fatal(err)
				}
				x, err := openIndex(dir, "1", 10)
				if err != nil {
					t.Fatal(err)
				}
				whole, err := x.read()
				if err != nil || !listRight(whole[x.idsAt():x.termsAt()], x.records) || !listRight(whole[x.termsAt():], x.terms) {
					t.Fatalf("of %d: the lists are not right: %v", n, err)
				}
				if k := tableSize(x.terms); k > 0 {
					whole[x.termsAt()+k/2] ^= 1
					if listRight(whole[x.termsAt():], x.terms) {
						t.Fatalf("of %d: a table was changed and is right", n)
					}
				}
				for _, k := range append(keys, 0, 1<<64-1, rand.Uint64()) {
					terms, err := x.byTerm(k)
					var id ID
					binary.BigEndian.PutUint64(id[:], k)
					ids, ierr := x.byID(id)
					if err != nil || ierr != nil || !slices.Equal(terms, want[k]) || !slices.Equal(ids, want[k]) {
						t.Fatalf("of %d: %d is at %v and %v, want %v (%v)", n, k, terms, ids, want[k], errors.Join(err, ierr))
					}
				}
				x.close()
			}
		})
	}
}

// testTerms are the terms of record i: one of its own, one of a person, one of many.
func testTerms(i int) []uint64 { return []uint64{own(i), person(i % 50), 42} }

func own(i int) uint64    { return uint64(i) * 0x9e3779b97f4a7c15 }
func person(i int) uint64 { return uint64(i) * 0xc2b2ae3d27d4eb4f }

func termIndices(t testing.TB, b *Bodies, term uint64) []int64 {
	t.Helper()
	found, err := b.ByTerm(term)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Records are found by their terms before and after they are sealed, by a reader
// that was open all the time.
func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	encrypted(t, dir, 1000, testTerms)
	l := open(t, dir)
	b, err := OpenBodies(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var theirs []int64
	for i := 7; i < 1000; i += 50 {
		theirs = append(theirs, int64(2+i)) // after genesis and start
	}
	check := func(when string) {
		t.Helper()
		for _, term := range []uint64{0, 42, own(7), 1} {
			want := 0
			switch term {
			case 0:
				want = 20 // record 0 has it twice
			case 42:
				want = 1000
			case own(7):
				want = 1
			}
			if got := termIndices(t, b, term); len(got) != want || !slices.IsSorted(got) {
				t.Errorf("%s: term %d is in %d records, want %d", when, term, len(got), want)
			}
		}
		if d := cmp.Diff(theirs, termIndices(t, b, person(7))); d != "" {
			t.Errorf("%s: %s", when, d)
		}
		rec, err := b.Record(9)
		if err != nil || rec.ID() != newID(7) || string(rec.Handle) != "key 000000000000" || !rec.Encrypted() ||
			!rec.Intact(rec.Body[len("nonce 12byte"):len(rec.Body)-len("tag of 16 bytes.")]) {
			t.Errorf("%s: %+v, %v", when, rec, err)
		}
		if found, err := b.ByID(newID(999)); err != nil || len(found) != 1 || found[0] != 1001 {
			t.Errorf("%s: %v, %v", when, found, err)
		}
		if found, err := b.ByID(newID(12345)); err != nil || len(found) != 0 {
			t.Errorf("%s: %v, %v", when, found, err)
		}
		for _, i := range []int64{-1, 1 << 40} {
			if _, err := b.Record(i); err == nil {
				t.Errorf("%s: there is a record %d", when, i)
			}
		}
	}
	check("raw")
	mustSeal(t, l)
	check("sealed")
	mustAppend(t, l, hits(5000, 1)...)
	if n, err := b.Size(); err != nil || n != l.Size() {
		t.Errorf("%d records, %v", n, err)
	}
	if found, err := b.ByID(newID(5000)); err != nil || len(found) != 1 {
		t.Errorf("what came since: %v, %v", found, err)
	}

	// The index is lost: what needs no terms is found all the same, the rest is said.
	name := filepath.Join(dir, indexName("1", 0))
	whole := read(t, dir, indexName("1", 0))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ByTerm(42); !errors.Is(err, ErrNoIndex) {
		t.Errorf("without an index: %v", err)
	}
	if rec, err := b.Record(9); err != nil || rec.ID() != newID(7) || rec.Body == nil {
		t.Errorf("without an index: %+v, %v", rec, err)
	}
	rebuilt, err := l.RebuildIndexes(context.Background(), func(s Stored) ([]uint64, error) { return testTerms(int(s.Index - 2)), nil })
	if err != nil || rebuilt != 1 {
		t.Errorf("%d rebuilt, %v", rebuilt, err)
	}
	if got := read(t, dir, indexName("1", 0)); string(got) != string(whole) {
		t.Error("the index made anew is another")
	}
	check("made anew")
	if rebuilt, err := l.RebuildIndexes(context.Background(), nil); err != nil || rebuilt != 0 {
		t.Errorf("%d rebuilt, %v", rebuilt, err)
	}

	// A person is erased.
	if err := l.ForgetTerms(context.Background(), theirs); err != nil {
		t.Fatal(err)
	}
	if got := termIndices(t, b, person(7)); len(got) != 0 {
		t.Errorf("still found: %v", got)
	}
	if got := termIndices(t, b, 42); len(got) != 1000-len(theirs) {
		t.Errorf("%d others are found", len(got))
	}
	if found, err := b.ByID(newID(7)); err != nil || len(found) != 1 {
		t.Errorf("by id: %v, %v", found, err)
	}
	if x, err := openIndex(dir, "1", 0); err != nil || x.check() != nil {
		t.Errorf("%v", err)
	} else {
		x.close()
	}
}

// Who was erased before his records were sealed is in no index.
func TestForgottenBeforeSealing(t *testing.T) {
	dir := t.TempDir()
	encrypted(t, dir, 100, testTerms)
	l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync(), Forgotten: func(c Class, handle []byte) bool {
		return c == ClassContent && string(handle) == "key 000000000003"
	}})
	if err != nil {
		t.Fatal(err)
	}
	mustSeal(t, l)
	mustClose(t, l)
	b, err := OpenBodies(dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range 100 {
		got := termIndices(t, b, testTerms(i)[0])
		if gone := i%100%7 == 3; (len(got) == 0) != gone && i != 0 {
			t.Errorf("record %d is found %d times", i, len(got))
		}
	}
}

// With real keys: records are found by the terms the ring computes, sealed or not,
// and open; who was shredded before his records were sealed is not found by them.
func TestLookUpWithKeys(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	for i := range 60 {
		mustAppend(t, l, about(i, fmt.Sprintf("user-%d", i%6), fmt.Sprintf("text %d", i)))
	}
	b, err := OpenBodies(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	check := func(user string, want int) {
		t.Helper()
		found := termIndices(t, b, ring.Term("content", "account", user))
		if len(found) != want {
			t.Errorf("%s is in %d records, want %d", user, len(found), want)
		}
		for _, i := range found {
			rec, err := b.Record(i)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := rec.Open(ring)
			if err != nil || !rec.Intact(plain) || !strings.Contains(string(plain), user) {
				t.Errorf("record %d: %q, %v", i, plain, err)
			}
		}
	}
	check("user-3", 10)
	if _, err := ring.Shred("user-4"); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, l)
	check("user-3", 10)
	if found := termIndices(t, b, ring.Term("content", "account", "user-4")); len(found) != 0 {
		t.Errorf("who was erased is found in %v", found)
	}
	if found := termIndices(t, b, ring.Term("content", "category", "gambling")); len(found) != 50 {
		t.Errorf("%d records of the category", len(found))
	}
	mustClose(t, l)
	verifyOK(t, dir)
}

// Whichever call fails while terms are forgotten, the index is the old one or the
// new one, and doing it again forgets them.
func TestForgetTermsFailsAtEveryStep(t *testing.T) {
	injected := errors.New("injected")
	base := t.TempDir()
	encrypted(t, base, 100, testTerms)
	l := open(t, base)
	mustSeal(t, l)
	mustClose(t, l)
	theirs := []int64{9, 59}
	for at := 1; ; at++ {
		dir := copyDir(t, base)
		n := 0
		armed := false
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: hooked(func(s step) error {
			if armed {
				if n++; n == at {
					if s.half != nil {
						return errors.Join(s.half(), injected)
					}
					return injected
				}
			}
			return s.do()
		})})
		if err != nil {
			t.Fatal(err)
		}
		armed = true
		err = l.ForgetTerms(context.Background(), theirs)
		armed = false
		if n < at {
			mustClose(t, l)
			if at < 4 {
				t.Errorf("%d steps", at-1)
			}
			break
		}
		if !errors.Is(err, injected) {
			t.Errorf("step %d: %v", at, err)
		}
		b, oerr := OpenBodies(dir, "")
		if oerr != nil {
			t.Fatal(oerr)
		}
		if got := len(termIndices(t, b, person(7))); got != 2 && got != 0 {
			t.Errorf("step %d: %d of 2 are found", at, got)
		}
		if err := l.ForgetTerms(context.Background(), theirs); err != nil {
			t.Error(err)
		}
		if got := termIndices(t, b, person(7)); len(got) != 0 {
			t.Errorf("step %d, again: %v are found", at, got)
		}
		if got := termIndices(t, b, person(8)); len(got) != 2 {
			t.Errorf("step %d: others are lost: %v", at, got)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		mustClose(t, l)
	}
}

// An index that is lost or damaged is made again by a log that has the keys, and is
// the same.
func TestIndexIsMadeAgain(t *testing.T) {
	dir := memDir(t)
	ring := newRing(t, dir)
	termsOfBody := func(_ Kind, _ uint8, body []byte) ([]Term, error) {
		var b struct {
			Event string `json:"event_id"`
			User  string `json:"user_id"`
		}
		err := json.Unmarshal(body, &b)
		return []Term{{"event", b.Event}, {"account", b.User}, {"category", "gambling"}}, err
	}
	options := Options{Dir: dir, Origin: testOrigin, Keys: ring, Seal: true, ScrubEvery: 24 * time.Hour, CheckpointEvery: time.Minute, TermsOf: termsOfBody, calls: noSync()}
	l, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		mustAppend(t, l, about(i, fmt.Sprintf("user-%d", i%6), "text"))
	}
	mustSeal(t, l)
	mustClose(t, l)
	name := indexName("1", 0)
	whole := read(t, dir, name)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-5] ^= 1
	for what, now := range map[string][]byte{"gone": nil, "cut": whole[:200], "damaged": damaged} {
		synctest.Test(t, func(t *testing.T) {
			if remove(t, dir, name); now != nil {
				write(t, dir, name, now)
			}
			l, err := Open(options)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			synctest.Wait()
			if what == "damaged" {
				time.Sleep(25 * time.Hour) // until it is read whole
				synctest.Wait()
			}
			if got := read(t, dir, name); !bytes.Equal(got, whole) {
				t.Errorf("%s: the index is not what it was", what)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			mustClose(t, l)
		})
	}
}
