package evidence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// sealedDays makes a closed log with a sealed segment for each day and some records of the log itself.
func sealedDays(t *testing.T, days ...string) (dir string) {
	t.Helper()
	dir = memDir(t)
	var now time.Time
	clock := func() time.Time { return now }
	now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Now: clock, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range days {
		if now, err = time.Parse(time.DateOnly, d); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, hits(n, 3)...)
		mustAppend(t, l, Record{ID: newID(1000 + n), Kind: KindHold, Class: ClassAudit, Body: []byte(`{}`)})
		n += 3
		if err := l.Seal(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	return dir
}

// The records of the log itself are read from any index on, in order.
func TestWalkAudit(t *testing.T) {
	dir := sealedDays(t, "2026-01-10", "2026-01-11")
	walk := func(from int64) (list []int64, next int64) {
		next, err := WalkAudit(dir, "1", from, func(e Entry) error {
			if e.Class != ClassAudit || len(e.Body) == 0 {
				t.Errorf("record %d: %v, %q", e.Index, e.Class, e.Body)
			}
			list = append(list, e.Index)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list, next
	}
	all, next := walk(0)
	// genesis, three hits, a hold, its seal; the same again.
	if want := []int64{0, 4, 5, 9, 10}; !slices.Equal(all, want) || next != 11 {
		t.Fatalf("records %v, next %d; want %v, 11", all, next, want)
	}
	for from := range next + 1 {
		i, _ := slices.BinarySearch(all, from)
		if got, n := walk(from); !slices.Equal(got, all[i:]) || n != next {
			t.Errorf("from %d: %v, next %d", from, got, n)
		}
	}
	fault := errors.New("fault")
	if _, err := WalkAudit(dir, "1", 0, func(Entry) error { return fault }); !errors.Is(err, fault) {
		t.Error(err)
	}
}

// Only bodies that wait to be moved count as raw: a segment that holds nothing but what the log says of
// itself may be as old as it likes.
func TestOldestRaw(t *testing.T) {
	dir := sealedDays(t, "2026-01-10")
	none := func(int64) bool { return false }
	if got, err := OldestRaw(dir, "1", none); !got.IsZero() || err != nil {
		t.Errorf("all is sealed: %v, %v", got, err)
	}
	at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Now: func() time.Time { return at }, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, hits(10, 1)...)
	mustClose(t, l)
	if got, err := OldestRaw(dir, "1", none); !got.Equal(at) || err != nil {
		t.Errorf("%v, %v; want %v", got, err, at)
	}
	if got, err := OldestRaw(dir, "1", func(int64) bool { return true }); !got.IsZero() || err != nil {
		t.Errorf("none is asked about: %v, %v", got, err)
	}
}

// What a hold keeps is copied as it is, or not at all, wherever the process dies; a record is then read
// from the copy.
func TestKeepBodies(t *testing.T) {
	errDied := errors.New("died")
	for at := 1; ; at++ {
		dir := sealedDays(t, "2026-01-10")
		from := BodyFile("1", 0, ClassContent, "2026-01-10")
		to := HoldFile("h1", from)
		c, n := noSync(), 0
		step := func() error {
			if n++; n >= at {
				return errDied
			}
			return nil
		}
		write, rename := c.write, c.rename
		c.write = func(f *os.File, b []byte, off int64) error {
			if err := step(); err != nil {
				return errors.Join(err, write(f, b[:len(b)/2], off))
			}
			return write(f, b, off)
		}
		c.sync = func(*os.File) error { return step() }
		c.rename = func(from, to string) error {
			if err := step(); err != nil {
				return err
			}
			return rename(from, to)
		}
		keep := func(index int64) bool { return index != 2 }
		r, err := openMoved(dir, from)
		if err != nil {
			t.Fatal(err)
		}
		_, died := keepBodies(c, dir, r, filepath.Join(dir, to), keep)
		r.close()
		if died != nil && !errors.Is(died, errDied) {
			t.Fatal(died)
		}
		if n, err := KeepBodies(dir, from, to, keep); n != 2 || err != nil {
			t.Fatalf("step %d: %d bodies are kept, %v; want 2", at, n, err)
		}
		var kept []int64
		if err := WalkBodyFile(dir, to, func(b MovedBody) error { kept = append(kept, b.Index); return nil }); err != nil || !slices.Equal(kept, []int64{1, 3}) {
			t.Fatalf("step %d: kept %v, %v", at, kept, err)
		}
		b, err := OpenBodies(dir, "1")
		if err != nil {
			t.Fatal(err)
		}
		before, err := b.Record(3)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
		after, err := b.Record(3)
		if err != nil || !slices.Equal(after.Body, before.Body) || after.BodyFile != to || !after.Intact(after.Body) {
			t.Errorf("step %d: from the copy %+v, %v", at, after, err)
		}
		if gone, err := b.Record(2); gone.Body != nil || err != nil {
			t.Errorf("step %d: what was not kept: %+v, %v", at, gone, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if died == nil {
			if at < 5 {
				t.Errorf("it has %d steps only", at-1)
			}
			return
		}
	}
}

// The directories of what is kept are durable before the original goes, also those that somebody who died
// there has made and not synced.
func TestKeepBodiesSyncsDirectories(t *testing.T) {
	dir := sealedDays(t, "2026-01-10")
	from := BodyFile("1", 0, ClassContent, "2026-01-10")
	to := HoldFile("h1", from)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o700); err != nil {
		t.Fatal(err)
	}
	c := noSync()
	synced := make(map[string]bool)
	c.sync = func(f *os.File) error {
		synced[f.Name()] = true
		return nil
	}
	r, err := openMoved(dir, from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if n, err := keepBodies(c, dir, r, filepath.Join(dir, to), func(int64) bool { return true }); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	for d := filepath.Dir(filepath.Join(dir, to)); len(d) >= len(dir); d = filepath.Dir(d) {
		if !synced[d] {
			t.Errorf("%s was not synced", d)
		}
	}
}

// Where nothing is to be kept no file is made.
func TestKeepNothing(t *testing.T) {
	dir := sealedDays(t, "2026-01-10")
	from := BodyFile("1", 0, ClassContent, "2026-01-10")
	if n, err := KeepBodies(dir, from, HoldFile("h1", from), func(int64) bool { return false }); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "body", "hold")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := WalkBodyFile(dir, "log.vkey", nil); err == nil {
		t.Error("a file of another kind was read")
	}
}
