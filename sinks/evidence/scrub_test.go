package evidence

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// damagedRecords reads what a log says is damaged.
func damagedRecords(t testing.TB, dir string) (found []DamagedBody) {
	t.Helper()
	err := Walk(dir, nil, func(e Entry) error {
		if e.Kind != KindDamaged {
			return nil
		}
		var b DamagedBody
		if err := json.Unmarshal(e.Body, &b); err != nil {
			t.Error(err)
		}
		found = append(found, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What the disk has changed or lost since it was written is found, named and put
// on record once, and counted each time; what was destroyed in order is not.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	l := sealable(t, dir, noSync())
	for i := range 30 {
		mustAppend(t, l, mixed(i*3, 3)...)
	}
	mustSeal(t, l)
	for i := range 5 {
		mustAppend(t, l, mixed(90+i*3, 3)...)
	}
	seal := seals(t, dir)[0]
	active := segmentPath(testLogDir, seal.Next)

	rep, err := l.Scrub(context.Background())
	if err != nil || len(rep.Damaged) != 0 || rep.Segments != 2 || rep.BodyFiles != len(seal.Bodies) || rep.Bytes == 0 {
		t.Fatalf("whole: %+v, %v", rep, err)
	}
	flip := func(name string, at int) func() {
		return func() {
			b := read(t, dir, name)
			b[at] ^= 1
			write(t, dir, name, b)
		}
	}
	leafOf := func(name string, record int) int { return records(read(t, dir, name))[record].entry + 4 }
	content, push := seal.Bodies[0], seal.Bodies[len(seal.Bodies)-1]
	for _, c := range []struct {
		name string
		do   func()
		file string
		want string
	}{
		{"a body", flip(content.File, 16+8+40), content.File, "the SHA-256"},
		{"the length of a body", flip(content.File, 16+4), content.File, "body file is damaged"},
		{"a body file is cut", func() {
			write(t, dir, content.File, read(t, dir, content.File)[:content.Bytes-3])
		}, content.File, "ends inside an entry"},
		{"a body file is gone", func() { remove(t, dir, push.File) }, push.File, "it is gone, and no record says why"},
		{"a leaf in a sealed segment", flip(testSeg, leafOf(testSeg, 7)+30), testSeg, "checksum does not match"},
		{"a leaf behind a repaired checksum", func() {
			b := read(t, dir, testSeg)
			b[leafOf(testSeg, 7)+40] ^= 1
			write(t, dir, testSeg, repair(b))
		}, testSeg, "its seal says"},
		{"a byte of the index", flip(indexName("1", 0), 60), indexName("1", 0), "the index is damaged"},
		{"the index is gone", func() { remove(t, dir, indexName("1", 0)) }, indexName("1", 0), "can be made anew"},
		{"a body in the active segment, behind a repaired checksum", func() {
			b := read(t, dir, active)
			at := records(b)[3]
			at.stored[saltSize+3] ^= 1
			write(t, dir, active, repair(b))
		}, active, "not the one its leaf commits to"},
		{"the first segment is gone", func() { remove(t, dir, testSeg) }, active, "record 0 is due"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := snapshotFiles(t, dir)
			counted := testutil.ToFloat64(l.m.damaged)
			c.do()
			for range 2 {
				rep, err := l.scrubDry(t)
				if err != nil {
					t.Fatal(err)
				}
				said := false
				for _, d := range rep.Damaged {
					said = said || d.File == filepath.ToSlash(c.file) && strings.Contains(d.Detail, c.want)
				}
				if !said {
					t.Errorf("nothing of %q in %s: %+v", c.want, c.file, rep.Damaged)
				}
			}
			if testutil.ToFloat64(l.m.damaged) != counted {
				t.Error("a scrub that reports nothing counts")
			}
			restoreFiles(t, dir, before)
		})
	}

	// Destroyed in order: no damage. The record is there before the file goes.
	mustAppend(t, l, Record{ID: newID(5000), Kind: KindDestroy, Class: ClassAudit, Body: []byte(`{"files":[{"file":"` + push.File + `"}]}`)})
	remove(t, dir, push.File)
	flip(content.File, 16+8+40)()
	for range 2 {
		if rep, err = l.Scrub(context.Background()); err != nil || len(rep.Damaged) != 1 || rep.Damaged[0].File != content.File {
			t.Errorf("%+v, %v", rep, err)
		}
	}
	if n := testutil.ToFloat64(l.m.damaged); n != 2 {
		t.Errorf("the metric counts %v", n)
	}
	mustClose(t, l)
	l = sealable(t, dir, noSync())
	if _, err := l.Scrub(context.Background()); err != nil {
		t.Error(err)
	}
	mustClose(t, l)
	found := damagedRecords(t, dir)
	if len(found) != 1 || found[0].File != content.File || found[0].Index != content.First {
		t.Errorf("on record: %+v", found)
	}
}

// scrubDry scrubs and puts nothing on record.
func (l *Log) scrubDry(t *testing.T) (ScrubReport, error) {
	t.Helper()
	s := newScrubbing(context.Background(), l, 0)
	err := s.run()
	return s.rep, err
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func snapshotFiles(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, name := range files(t, dir) {
		all[name] = read(t, dir, name)
	}
	return all
}

// restoreFiles puts the content back. The active segment is written in place: the
// log has it open.
func restoreFiles(t testing.TB, dir string, all map[string][]byte) {
	t.Helper()
	for name, b := range all {
		write(t, dir, name, b)
	}
}

// A body that was changed in a raw segment, behind a repaired checksum, is found
// before the segment is replaced: it stays for the verifier to look at, the
// segments after it are sealed.
func TestDamagedSegmentIsNotSealed(t *testing.T) {
	dir := t.TempDir()
	l := sealable(t, dir, noSync())
	mustAppend(t, l, mixed(0, 20)...)
	l.endSegment.Store(true)
	mustAppend(t, l, mixed(20, 20)...)
	seg := read(t, dir, testSeg)
	records(seg)[6].stored[saltSize+3] ^= 1
	write(t, dir, testSeg, repair(seg))
	mustSeal(t, l)
	found := damagedRecords(t, dir)
	if len(found) != 1 || found[0].File != testSeg || found[0].Index != 6 {
		t.Errorf("on record: %+v", found)
	}
	if got := read(t, dir, testSeg); string(got) != string(seg) {
		t.Error("the damaged segment was replaced")
	}
	if s := seals(t, dir); len(s) != 1 || s[0].First != 21 {
		t.Errorf("sealed: %+v", s)
	}
	mustSeal(t, l) // it is said once
	if found := damagedRecords(t, dir); len(found) != 1 {
		t.Errorf("on record: %+v", found)
	}
}

// Everything is read again when it is time, whatever restarts come in between.
func TestScrubInTheBackground(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		last := float64(0) // what the metric says at the end
		run := func(d time.Duration) {
			l, err := Open(Options{Dir: dir, Origin: testOrigin, ScrubEvery: 7 * 24 * time.Hour, CheckpointEvery: time.Minute, calls: noSync()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			if l.Size() == 1 {
				mustAppend(t, l, mixed(0, 20)...)
				mustSeal(t, l)
				remove(t, dir, seals(t, dir)[0].Bodies[0].File)
			}
			time.Sleep(d)
			synctest.Wait()
			last = testutil.ToFloat64(l.m.lastScrub)
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			mustClose(t, l)
		}
		began := float64(time.Now().Unix())
		run(5 * 24 * time.Hour)
		if last != began {
			t.Errorf("before the first scrub the metric says %v, want when it began to wait, %v", last, began)
		}
		if found := damagedRecords(t, dir); len(found) != 0 {
			t.Errorf("scrubbed after five days: %+v", found)
		}
		run(3 * 24 * time.Hour)
		if found := damagedRecords(t, dir); len(found) != 1 {
			t.Errorf("not scrubbed after eight days: %+v", found)
		}
		if days := (last - began) / (24 * 60 * 60); days < 7 || days > 7.1 {
			t.Errorf("the metric says that it was scrubbed after %v days, want 7", days)
		}
	})
}
