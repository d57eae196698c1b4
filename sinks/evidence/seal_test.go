package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/disk"
)

// sealable opens a log that is sealed when told, with a clock that goes on an hour
// at each look, so that every segment has several days.
func sealable(t testing.TB, dir string, c *calls) *Log {
	t.Helper()
	at := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c, Now: func() time.Time {
		at = at.Add(time.Hour)
		return at
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mixed makes n records of all classes with the ids from first.
func mixed(first, n int) []Record {
	recs := hits(first, n)
	for i := range recs {
		switch (first + i) % 5 {
		case 1:
			recs[i].Kind, recs[i].Class = KindPush, ClassPush
		case 2:
			recs[i].Kind, recs[i].Class = KindRuleSet, ClassPolicy
		case 3:
			recs[i].Kind, recs[i].Class = KindIncident, ClassAudit
		case 4:
			recs[i].Kind, recs[i].Class = KindConsent, ClassNone
		}
	}
	return recs
}

func mustSeal(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// bodiesOf reads every record but those the log writes itself, and checks that
// each body is there and the one the leaf commits to, both by walking and by
// looking it up.
func bodiesOf(t testing.TB, dir string) map[ID]string {
	t.Helper()
	b, err := OpenBodies(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	found := make(map[ID]string)
	err = Walk(dir, nil, func(e Entry) error {
		rec, err := b.Record(e.Index)
		if err != nil {
			return err
		}
		if rec.ID() != e.ID || !rec.Intact(rec.Body) || e.Body == nil || !bytes.Equal(rec.Body[saltSize:], e.Body) {
			t.Errorf("record %d, %s: walked %q, looked up %+v", e.Index, e.ID, e.Body, rec)
		}
		same, err := b.ByID(e.ID)
		if err != nil || !slices.Contains(same, e.Index) {
			t.Errorf("record %d, %s: found by its id are %v, %v", e.Index, e.ID, same, err)
		}
		switch e.Kind {
		case KindGenesis, KindSeal, KindDamaged:
		default:
			found[e.ID] = string(e.Body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// seals reads the seal records of a log.
func seals(t testing.TB, dir string) (found []SealBody) {
	t.Helper()
	err := Walk(dir, nil, func(e Entry) error {
		if e.Kind != KindSeal {
			return nil
		}
		var b SealBody
		if err := json.Unmarshal(e.Body, &b); err != nil {
			t.Errorf("seal record %d: %v", e.Index, err)
		}
		found = append(found, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// files lists the files below a directory.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// Sealing moves bodies to files by class and day, says so in a record, and leaves
// every record and the tree as they were.
//
// Clause: rn-store
func TestSeal(t *testing.T) {
	dir := t.TempDir()
	l := sealable(t, dir, noSync())
	for i := range 30 {
		mustAppend(t, l, mixed(i*3, 3)...)
	}
	before := bodiesOf(t, dir)
	mustSeal(t, l)
	mustAppend(t, l, mixed(90, 3)...)
	if testutil.ToFloat64(l.m.lastSeal) == 0 || testutil.ToFloat64(l.m.sealedBytes.WithLabelValues("push")) == 0 {
		t.Error("the metrics know of no seal")
	}
	mustClose(t, l)
	verifyOK(t, dir)

	after := bodiesOf(t, dir)
	for id, b := range before {
		if after[id] != b {
			t.Errorf("record %s was %q, is %q", id, b, after[id])
		}
	}
	found := seals(t, dir)
	if len(found) != 1 {
		t.Fatalf("%d seals", len(found))
	}
	s := found[0]
	if s.First != 0 || s.Next != 91 || s.Segment != testSeg {
		t.Errorf("seal of %s, records %d to %d", s.Segment, s.First, s.Next)
	}
	if sum, err := disk.Sum(filepath.Join(dir, s.Segment)); err != nil || sum != s.SHA256 {
		t.Errorf("the segment has SHA-256 %s, the seal says %s (%v)", sum, s.SHA256, err)
	}
	var named []string
	records := int64(0)
	for _, b := range s.Bodies {
		named = append(named, b.File)
		records += b.Records
		sum, err := disk.Sum(filepath.Join(dir, b.File))
		fi, serr := os.Stat(filepath.Join(dir, b.File))
		if err != nil || serr != nil || sum != b.SHA256 || fi.Size() != b.Bytes || fi.Mode() != 0o600 {
			t.Errorf("%+v: SHA-256 %s, %v, %v", b, sum, fi, errors.Join(err, serr))
		}
		if g, first, class, day, ok := ParseBodyFile(b.File); !ok || g != "1" || first != 0 || class != b.Class || day != b.Day {
			t.Errorf("%s is taken apart as %q, %d, %q, %q, %v", b.File, g, first, class, day, ok)
		}
	}
	if got := files(t, filepath.Join(dir, bodiesDir)); len(got) != len(named) || records != 54 {
		t.Errorf("%d records in %v, the seal names %v", records, got, named)
	}
	if want := BodyFile("1", 0, ClassContent, "2026-11-28"); !slices.Contains(named, filepath.ToSlash(want)) {
		t.Errorf("no %s in %v", want, named)
	}
	for _, name := range files(t, dir) {
		if strings.HasSuffix(name, temporaryExt) {
			t.Errorf("%s is left", name)
		}
	}
	if b := read(t, dir, testSeg); bytes.Contains(b, []byte("body 0")) || !bytes.Contains(b, []byte("body 3\"")) {
		t.Error("the segment still has a moved body, or has lost one that stays")
	}

	// The next life finds the same, and seals the rest.
	l = sealable(t, dir, noSync())
	if len(l.unsealed) != 0 || l.movable == 0 {
		t.Errorf("%d segments to seal, movable %d", len(l.unsealed), l.movable)
	}
	mustSeal(t, l)
	mustSeal(t, l) // nothing is left to do
	mustClose(t, l)
	if n := len(seals(t, dir)); n != 2 {
		t.Errorf("%d seals", n)
	}
	again := bodiesOf(t, dir)
	if d := cmp.Diff(after, again); d != "" {
		t.Error(d)
	}
}

// A body file is gone: its records are there without bodies, all others with.
func TestDestroyedBodyFile(t *testing.T) {
	dir := t.TempDir()
	l := sealable(t, dir, noSync())
	for i := range 30 {
		mustAppend(t, l, mixed(i*3, 3)...)
	}
	mustSeal(t, l)
	mustClose(t, l)
	gone := seals(t, dir)[0].Bodies[0]
	if err := os.Remove(filepath.Join(dir, gone.File)); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBodies(dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	missing := int64(0)
	err = Walk(dir, nil, func(e Entry) error {
		rec, err := b.Record(e.Index)
		if err != nil {
			return err
		}
		if (rec.Body == nil) != (e.Body == nil) {
			t.Errorf("record %d: one has a body", e.Index)
		}
		if e.Body == nil {
			missing++
			if filepath.ToSlash(rec.BodyFile) != gone.File {
				t.Errorf("record %d has no body in %s", e.Index, rec.BodyFile)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if missing != gone.Records {
		t.Errorf("%d bodies are missing, %d were in the file", missing, gone.Records)
	}
	mustClose(t, sealable(t, dir, noSync()))
}

// A segment ends when it has enough records, and what is full is sealed beside the
// appends, also after nothing was appended for long; seals alone end no segment.
func TestSealInTheBackground(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(Options{Dir: dir, Origin: testOrigin, SegmentRecords: 20, Seal: true, SealAfter: 10 * time.Minute, calls: noSync()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for i := range 10 {
			mustAppend(t, l, mixed(i*10, 10)...)
			synctest.Wait()
		}
		if got := len(seals(t, dir)); got < 3 {
			t.Errorf("%d seals of full segments", got)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		sealed := seals(t, dir)
		if l.movable != 0 || testutil.CollectAndCount(l.m.sealedBytes) != 3 {
			t.Error("bodies wait in the active segment")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if now := seals(t, dir); len(now) != len(sealed) {
			t.Errorf("%d seals became %d while nothing was appended", len(sealed), len(now))
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, l)
	})
	if got := bodiesOf(t, dir); len(got) != 100 {
		t.Errorf("%d records", len(got))
	}
}

// encrypted writes a segment as a log with keys does, with terms: nothing but
// their places and lengths matters here.
func encrypted(t testing.TB, dir string, records int, terms func(i int) []uint64) {
	t.Helper()
	l := open(t, dir)
	mustAppend(t, l, Record{ID: newID(1 << 20), Kind: KindStart, Class: ClassAudit, Body: []byte("{}")})
	for from := 0; from < records; from += 100 {
		var items []item
		for i := from; i < min(records, from+100); i++ {
			it, _, err := prepare(nil, hits(i, 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			it[0].leaf[3] |= flagEncrypted
			items = append(items, it...)
		}
		writeEncrypted(t, l, items, func(i int) []uint64 { return terms(from + i) })
	}
	mustClose(t, l)
}

// writeEncrypted appends a frame of encrypted entries, as the leader would.
func writeEncrypted(t testing.TB, l *Log, items []item, terms func(i int) []uint64) {
	t.Helper()
	l.buf = append(l.buf[:0], make([]byte, frameHeader)...)
	for i := range items {
		stored := fmt.Appendf(nil, "key %012d", i%7)
		list := terms(i)
		stored = append(stored, byte(len(list)))
		for _, term := range list {
			stored = binary.BigEndian.AppendUint64(stored, term)
		}
		stored = append(stored, "nonce 12byte"...)
		stored = append(stored, items[i].stored...)
		stored = append(stored, "tag of 16 bytes."...)
		items[i].leaf.setNanos(l.last)
		l.buf = binary.BigEndian.AppendUint32(l.buf, uint32(len(stored)))
		l.buf = append(append(l.buf, items[i].leaf[:]...), stored...)
	}
	finishFrame(l.buf, l.tree.n, len(items))
	if err := l.calls.write(l.seg, l.buf, l.segSize); err != nil {
		t.Fatal(err)
	}
	l.segSize += int64(len(l.buf))
	l.movable = l.last
	for i := range items {
		if err := l.tree.add(hashLeaf(&items[i].leaf)); err != nil {
			t.Fatal(err)
		}
	}
}
