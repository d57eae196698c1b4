package evidence

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func ballast(t testing.TB, dir string) int64 {
	t.Helper()
	fi, err := os.Stat(filepath.Join(dir, ballastFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// While the disk is nearly full records about people are refused and those of the
// log itself are taken, in the room that the ballast was; when there is room again
// the ballast is back.
func TestBallast(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 30)
		c := noSync()
		c.free = func(string) (int64, error) { return free.Load(), nil }
		reg := prometheus.NewRegistry()
		l, err := Open(Options{Dir: dir, Origin: testOrigin, BallastBytes: 1 << 20, CheckpointEvery: time.Second, Seal: true, calls: c, Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		if n := ballast(t, dir); n != 1<<20 {
			t.Errorf("the ballast has %d bytes", n)
		}
		mustAppend(t, l, hits(0, 3)...)

		tick := func(now int64) {
			free.Store(now)
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		for _, c := range []struct {
			free    int64
			ballast int64
			full    bool
		}{
			{1 << 19, 1 << 20, false}, // little, but enough
			{1 << 17, 0, true},
			{1<<20 + 1<<17, 0, true}, // what the ballast gave back is not room
			{3 << 20, 1 << 20, false},
			{100, 0, true},
			{1 << 30, 1 << 20, false},
		} {
			tick(c.free)
			if n := ballast(t, dir); n != c.ballast {
				t.Errorf("%d free: the ballast has %d bytes", c.free, n)
			}
			err := l.Append(context.Background(), hits(10, 1))
			serr := l.Seal(context.Background())
			if errors.Is(err, ErrFull) != c.full || errors.Is(serr, ErrFull) != c.full || (err == nil) == c.full {
				t.Errorf("%d free: append %v, seal %v", c.free, err, serr)
			}
			mustAppend(t, l, Record{ID: newID(20), Kind: KindDestroy, Class: ClassAudit, Body: []byte("{}")})
			want := 0.0
			if c.full {
				want = 1
			}
			if err := testutil.GatherAndCompare(reg, strings.NewReader(expectFull(want)), "weir_evidence_disk_full"); err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, l)

		// A crash left half a ballast, and what it takes is what is missing.
		remove(t, dir, ballastFile)
		write(t, dir, ballastFile+temporaryExt, []byte("half"))
		free.Store(1 << 19)
		if l, err = Open(Options{Dir: dir, Origin: testOrigin, BallastBytes: 1 << 20, calls: c}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, ballastFile+temporaryExt)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("half a ballast is left: %v", err)
		}
		if err := l.Append(context.Background(), hits(30, 1)); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		mustClose(t, l)

		// No ballast is wanted any more; half of one that a crash has left goes, too.
		write(t, dir, ballastFile+temporaryExt, []byte("half"))
		mustClose(t, open(t, dir))
		if got := files(t, dir); strings.Contains(strings.Join(got, " "), ballastFile) {
			t.Errorf("left: %v", got)
		}
	})
}

func expectFull(n float64) string {
	v := "0"
	if n == 1 {
		v = "1"
	}
	return "# HELP weir_evidence_disk_full 1 while the disk of the evidence is nearly full and records about people are not accepted.\n" +
		"# TYPE weir_evidence_disk_full gauge\nweir_evidence_disk_full " + v + "\n"
}

// A write that finds no room breaks the log, whichever it is, and gives up the
// ballast; the next start, on a disk that is still full, takes records of the log
// itself, and everything when there is room.
func TestNoRoomAtEveryStep(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "evidence", Err: syscall.ENOSPC}
	for at := 1; ; at += stride() {
		dir := filepath.Join(memDir(t), "evidence")
		var p promises
		n := 0
		c := hooked(func(s step) error {
			if n++; n == at && s.name != "unlink" {
				if s.half != nil {
					return errors.Join(s.half(), full)
				}
				return full
			}
			return s.do()
		})
		c.free = func(string) (int64, error) { return 1 << 30, nil }
		err := fullScript(dir, c, &p)
		if n < at {
			break
		}
		if err == nil {
			continue // an unlink, or the disk was looked at: nothing failed
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("step %d: %v", at, err)
		}
		none := noSync()
		none.free = func(string) (int64, error) { return 1000, nil }
		l, err := Open(Options{Dir: dir, Origin: testOrigin, BallastBytes: 4096, calls: none})
		if err != nil {
			t.Errorf("step %d: start on a full disk: %v", at, err)
			continue
		}
		if err := l.Append(context.Background(), hits(900, 1)); !errors.Is(err, ErrFull) {
			t.Errorf("step %d: append on a full disk: %v", at, err)
		}
		mustAppend(t, l, Record{ID: newID(901), Kind: KindStart, Class: ClassAudit, Body: []byte("{}")})
		mustClose(t, l)
		if b := ballast(t, dir); b != 0 {
			t.Errorf("step %d: there is a ballast of %d bytes on a full disk", at, b)
		}
		p.keepsSealed(t, dir)
	}
}

func fullScript(dir string, c *calls, p *promises) error {
	l, err := Open(Options{Dir: dir, Origin: testOrigin, BallastBytes: 4096, calls: c})
	if err != nil {
		return err
	}
	recs := mixed(0, 10)
	if err := l.Append(context.Background(), recs); err != nil {
		return errors.Join(err, l.Close())
	}
	for _, r := range recs {
		p.acked = append(p.acked, r.ID)
	}
	if err := l.Seal(context.Background()); err != nil {
		return errors.Join(err, l.Close())
	}
	return l.Close()
}

// A file system of its own becomes full in the middle of appends: what was
// acknowledged is there, the log starts again in the room of the ballast, and goes
// on when there is room.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := mountSmall(mount, "6m"); err != nil {
		t.Skip("no file system can be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unmount(mount); err != nil {
			t.Error(err)
		}
	})
	write(t, mount, "other", make([]byte, 2<<20))
	dir := filepath.Join(mount, "evidence")
	options := Options{Dir: dir, Origin: testOrigin, BallastBytes: 1 << 20, SegmentBytes: 1 << 20}
	l, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	acked := make(map[ID]bool)
	for i := 0; ; i++ {
		recs := hits(i, 1)
		recs[0].Body = append(recs[0].Body, make([]byte, 50_000)...)
		if err = l.Append(context.Background(), recs); err != nil {
			break
		}
		acked[recs[0].ID] = true
	}
	if !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is full: %v", err)
	}
	if err := l.Append(context.Background(), hits(9000, 1)); !errors.Is(err, ErrBroken) {
		t.Errorf("append after that: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrBroken) {
		t.Errorf("close: %v", err)
	}

	if l, err = Open(options); err != nil {
		t.Fatalf("start on a full disk: %v", err)
	}
	if err := l.Append(context.Background(), hits(9000, 1)); !errors.Is(err, ErrFull) {
		t.Errorf("append on a full disk: %v", err)
	}
	mustAppend(t, l, Record{ID: newID(9001), Kind: KindDestroy, Class: ClassAudit, Body: make([]byte, 10_000)})
	remove(t, mount, "other")
	if err := l.watchDisk(); err != nil {
		t.Error(err)
	}
	if n := ballast(t, dir); n != 1<<20 {
		t.Errorf("there is room, and the ballast has %d bytes", n)
	}
	mustAppend(t, l, hits(9002, 1)...)
	mustClose(t, l)
	found := ids(t, dir)
	for id := range acked {
		if found[id] == 0 {
			t.Errorf("record %s was acknowledged and is lost", id)
		}
	}
	verifyOK(t, dir)
	t.Logf("%d records fitted", len(acked))
}
