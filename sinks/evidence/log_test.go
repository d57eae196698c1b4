package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/disk"
)

// What is appended is found again, in order and whole, also after the log was
// closed and opened several times.
func TestAppendedRecordsAreFound(t *testing.T) {
	dir := t.TempDir()
	var want []Record
	for round := range 3 {
		l := open(t, dir)
		recs := hits(round*10, 4)
		recs = append(recs, Record{ID: newID(round*10 + 4), Kind: KindDeadLetter, Class: ClassContent})
		mustAppend(t, l, recs...)
		want = append(want, recs...)
		if got := l.Size(); got != int64(len(want)+1) {
			t.Errorf("size %d, want %d and the genesis record", got, len(want))
		}
		mustClose(t, l)
		mustClose(t, l) // a second time does nothing
	}
	var got []Record
	index := int64(0)
	err := Walk(dir, nil, func(e Entry) error {
		if e.Index != index {
			t.Errorf("record %d has index %d", index, e.Index)
		}
		index++
		if e.Kind == KindGenesis {
			return nil
		}
		got = append(got, Record{ID: e.ID, Kind: e.Kind, Class: e.Class, Encoding: e.Encoding, Body: bytes.Clone(e.Body)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Transformer("body", func(b []byte) string { return string(b) })); d != "" {
		t.Error(d)
	}
	r := verifyOK(t, dir)
	if r.Records != index || r.Signed != index || r.Unsigned != 0 || r.Heads < 4 {
		t.Errorf("%+v", r)
	}
}

// The end of a log begins with the last segment in which there is what is looked
// for, and is the whole log if there is no such record.
func TestWalkTail(t *testing.T) {
	dir := t.TempDir()
	if err := WalkTail(dir, "1", nil, nil, nil); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	l, err := Open(Options{Dir: dir, Origin: testOrigin, SegmentBytes: 700, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		mustAppend(t, l, hits(i, 1)...)
	}
	mustClose(t, l)
	files := make(map[ID]string)
	if err := Walk(dir, nil, func(e Entry) error { files[e.ID] = e.File; return nil }); err != nil {
		t.Fatal(err)
	}
	if files[newID(0)] == files[newID(10)] || files[newID(10)] == files[newID(19)] {
		t.Fatal("the log has too few segments to tell anything")
	}
	for _, last := range []int{0, 10, 19, 99} {
		want := []ID{}
		for i := range 20 {
			if last == 99 || files[newID(i)] >= files[newID(last)] {
				want = append(want, newID(i))
			}
		}
		got := []ID{}
		err := WalkTail(dir, "1", nil, func(e Entry) bool { return e.ID == newID(last) || e.ID == newID(last-10) }, func(e Entry) error {
			if e.Kind != KindGenesis {
				got = append(got, e.ID)
			}
			return nil
		})
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("from record %d on: %v %s", last, err, d)
		}
	}
	stop := errors.New("stop")
	if err := WalkTail(dir, "1", nil, func(Entry) bool { return true }, func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of who is called is %v", err)
	}
}

// A second writer is refused in words that say what to do, and the first goes on.
func TestTwoWritersAreRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	_, err := Open(Options{Dir: dir, Origin: testOrigin})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "another writer holds the log; stop it, or give this instance a directory of its own") {
		t.Errorf("second writer: %v", err)
	}
	mustAppend(t, l, hits(0, 1)...)
	mustClose(t, l)
	open(t, dir)
}

// A start without the log's own key is refused, whichever way it is wrong, and
// nothing on the disk changes.
func TestWrongKeysAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		origin string
		do     func(t *testing.T, dir string)
		want   string
	}{
		{"gone", testOrigin, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, testKey)); err != nil {
				t.Fatal(err)
			}
		}, "the log exists and was signed with it: put it back, or start a new generation"},
		{"another of the same name", testOrigin, func(t *testing.T, dir string) {
			other := t.TempDir()
			mustClose(t, open(t, other))
			write(t, dir, testKey, read(t, other, testKey))
		}, "it is not signed by the log's key"},
		{"of another log", "example.net/evidence/other/1", func(*testing.T, string) {}, "is for the log example.net/evidence/test/1"},
		{"readable by all", testOrigin, func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, testKey), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "run: chmod 600 "},
		{"not a key", testOrigin, func(t *testing.T, dir string) {
			write(t, dir, testKey, []byte("secret\n"))
		}, `not a signing key; it is one line that begins with "PRIVATE+KEY+"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 3)
			tt.do(t, dir)
			before := read(t, dir, testSeg)
			_, err := Open(Options{Dir: dir, Origin: tt.origin})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE+KEY+example") {
				t.Error("the error shows the key")
			}
			if !bytes.Equal(before, read(t, dir, testSeg)) {
				t.Error("the segment has changed")
			}
		})
	}
}

// The key of a new log is made where it was asked for, readable by its owner
// only, and the operator is told.
func TestKeyIsMade(t *testing.T) {
	dir, keyDir := t.TempDir(), t.TempDir()
	var out bytes.Buffer
	keyFile := filepath.Join(keyDir, "weir.key")
	l, err := Open(Options{Dir: dir, Origin: testOrigin, KeyFile: keyFile, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	fi, err := os.Stat(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if !strings.Contains(out.String(), l.VerifierKey()) || !strings.Contains(out.String(), keyFile) {
		t.Errorf("message: %s", &out)
	}
	secret := strings.TrimSpace(string(read(t, keyDir, "weir.key")))
	if strings.Contains(out.String(), secret) {
		t.Error("the message shows the key")
	}
	if got := string(read(t, dir, verifierFile)); got != l.VerifierKey()+"\n" {
		t.Errorf("%s holds %q", verifierFile, got)
	}
	if _, err := os.Stat(filepath.Join(dir, testKey)); err == nil {
		t.Error("a key was also made beside the log")
	}
}

// An origin that cannot name a log is refused before anything is made.
func TestBadOriginsAreRefused(t *testing.T) {
	for _, origin := range []string{"", "a", "a/evidence/b", "a/evidence/b/", "a/evidence/b/..", "a/proof/b/1", "a//evidence/b/1",
		"a b/evidence/c/1", "a+b/evidence/c/1", "a\n/evidence/c/1", "ä/evidence/c/1", "a/evidence/b/1+"} {
		dir := filepath.Join(t.TempDir(), "new")
		_, err := Open(Options{Dir: dir, Origin: origin})
		if err == nil || !strings.Contains(err.Error(), "<name>/evidence/<instance>/<generation>") {
			t.Errorf("%q: %v", origin, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: made a directory", origin)
		}
	}
}

// A bad record is refused with its id and fault, nothing of its append is
// written, and the log goes on.
func TestBadRecordsAreRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for _, tt := range []struct {
		rec  Record
		want string
	}{
		{Record{ID: newID(7)}, "has no kind"},
		{Record{ID: newID(7), Kind: KindGenesis}, "only Open writes one"},
		{Record{ID: newID(7), Kind: KindHit, Encoding: 16}, "has encoding 16"},
		{Record{ID: newID(7), Kind: KindHit, Body: make([]byte, MaxBodyBytes+1)}, "too large: 16777217 bytes, at most 16777216"},
	} {
		err := l.Append(t.Context(), append(hits(0, 1), tt.rec))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), newID(7).String()) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
		if errors.Is(err, ErrTooLarge) != (tt.rec.Body != nil) {
			t.Errorf("%v", err)
		}
	}
	if l.Size() != 1 {
		t.Errorf("%d records", l.Size())
	}
	mustAppend(t, l, Record{ID: newID(7), Kind: KindHit, Body: make([]byte, MaxBodyBytes)})
	mustAppend(t, l)
	mustClose(t, l)
	verifyOK(t, dir)
	if err := l.Append(t.Context(), hits(0, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

// Recorded times never decrease, not when the clock is set back and not over a
// restart, and the operator is told once.
func TestClockGoesBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	o := Options{Dir: dir, Origin: testOrigin, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&out, nil))}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	step := func(d time.Duration) {
		now = now.Add(d)
		mustAppend(t, l, hits(int(l.Size()), 1)...)
	}
	step(time.Second)
	step(-time.Hour)
	step(time.Second)
	mustClose(t, l)
	if l, err = Open(o); err != nil {
		t.Fatal(err)
	}
	step(time.Second)
	step(2 * time.Hour)
	mustClose(t, l)

	var got []string
	if err := Walk(dir, nil, func(e Entry) error {
		got = append(got, e.Time.Format("15:04:05"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"08:00:00", "08:00:01", "08:00:01", "08:00:01", "08:00:01", "09:00:03"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := strings.Count(out.String(), "the clock is behind"); n != 2 { // once in each run
		t.Errorf("told %d times: %s", n, &out)
	}
	verifyOK(t, dir)
}

// Run signs at each interval in which something came, publishes each head once,
// and the latest one again after a start.
func TestRunSignsEverySecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		run := func(steps ...int) (heads []string) {
			l, err := Open(Options{Dir: dir, Origin: testOrigin, OnCheckpoint: func(msg []byte) {
				heads = append(heads, strings.Split(string(msg), "\n")[1])
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			for _, n := range steps {
				mustAppend(t, l, hits(int(l.Size()), n)...)
				time.Sleep(time.Second) // the bubble's clock
				synctest.Wait()
			}
			stop()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			mustAppend(t, l, hits(int(l.Size()), 1)...)
			mustClose(t, l)
			return heads
		}
		if d := cmp.Diff([]string{"1", "3", "6", "7"}, run(2, 0, 3, 0)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"7", "8", "9"}, run(0, 1, 0)); d != "" {
			t.Error(d)
		}
	})
	r := verifyOK(t, dir)
	if r.Heads != 6 {
		t.Errorf("%d heads", r.Heads)
	}
}

// While one caller's sync runs the others queue, and one more sync serves them all.
func TestOneSyncServesAllWhoWait(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := systemCalls()
		syncs, held := 0, make(chan struct{})
		hold := false
		c.datasync = func(f *os.File) error {
			if hold {
				syncs++
				<-held
			}
			return disk.Datasync(f)
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		hold = true
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if err := l.Append(context.Background(), hits(i*10, 3)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(held)
		wg.Wait()
		if syncs != 2 {
			t.Errorf("%d syncs for 50 appends, want one for the first and one for the rest", syncs)
		}
		hold = false
		mustClose(t, l)
	})
	if n := len(ids(t, dir)); n != 150 {
		t.Errorf("%d records", n)
	}
}

// An append that is cancelled while it waits is not written; one that is being
// written is not cancelled any more. Nobody's wait is disturbed.
func TestCancelledAppends(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := systemCalls()
		held := make(chan struct{})
		hold := false
		c.datasync = func(f *os.File) error {
			if hold {
				<-held
			}
			return disk.Datasync(f)
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		hold = true
		type result struct {
			n   int
			err error
		}
		results := make(chan result, 10)
		start := func(n int) context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { results <- result{n, l.Append(ctx, hits(n, 1))} }()
			synctest.Wait()
			return cancel
		}
		cancel0 := start(0) // being written
		cancel1 := start(1) // first in the queue: the next leader
		cancel2 := start(2)
		defer start(3)()
		cancel0()
		cancel1()
		cancel2()
		synctest.Wait()
		if len(results) != 2 {
			t.Errorf("%d have returned, want the two that waited and were cancelled", len(results))
		}
		held <- struct{}{}
		held <- struct{}{}
		synctest.Wait()
		for range 4 {
			r := <-results
			if (r.n == 1 || r.n == 2) != errors.Is(r.err, context.Canceled) || r.n != 1 && r.n != 2 && r.err != nil {
				t.Errorf("append %d: %v", r.n, r.err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Append(ctx, hits(4, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("append with an ended context: %v", err)
		}
		hold = false
		mustClose(t, l)
	})
	if d := cmp.Diff(map[ID]int{newID(0): 1, newID(3): 1}, ids(t, dir)); d != "" {
		t.Error(d)
	}
}

// A request of which a part is being written is not cancelled any more, though
// its caller does not write.
func TestCancelledWhenPartlyWritten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := noSync()
		held := make(chan struct{})
		hold := false
		c.datasync = func(*os.File) error {
			if hold {
				<-held
			}
			return nil
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		hold = true
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, n := range []int{1, 1, maxGroupRecords + 10} {
			wg.Go(func() {
				if err := l.Append(ctx, hits(i*100_000, n)); err != nil {
					t.Errorf("append %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		held <- struct{}{} // the first is done; the second writes itself and most of the third
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(held)
		wg.Wait()
		hold = false
		mustClose(t, l)
	})
	if n := len(ids(t, dir)); n != maxGroupRecords+12 {
		t.Errorf("%d records", n)
	}
}

// Who was just given the lead does not walk away with it.
func TestLeaderDoesNotWithdraw(t *testing.T) {
	l := open(t, t.TempDir())
	next, other := &request{leads: true}, &request{}
	l.queue = []*request{next, other}
	if l.withdraw(next) || !l.withdraw(other) || len(l.queue) != 1 {
		t.Errorf("%d left", len(l.queue))
	}
	l.queue = nil
}

// What is being written while a checkpoint finds that the file is gone is not
// acknowledged.
func TestDeletedDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := noSync()
		held := make(chan struct{})
		hold := false
		c.datasync = func(*os.File) error {
			if hold {
				<-held
			}
			return nil
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		hold = true
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if err := l.Append(t.Context(), hits(i, 1)); !errors.Is(err, ErrBroken) {
					t.Errorf("append %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		if err := os.Remove(filepath.Join(dir, testSeg)); err != nil {
			t.Fatal(err)
		}
		if err := l.checkpoint(); !errors.Is(err, ErrBroken) {
			t.Errorf("checkpoint: %v", err)
		}
		close(held)
		wg.Wait()
		if err := l.Close(); !errors.Is(err, ErrBroken) {
			t.Errorf("close: %v", err)
		}
	})
}

// Many callers, a signer and readers at once: everything acknowledged is there
// once, each append in its order, and verify agrees while it is still written.
func TestManyCallers(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, CheckpointEvery: time.Millisecond, SegmentBytes: 2_000})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()

	const callers, appends = 16, 40
	var acked, gaveUp atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for a := range appends {
				n := 1 + (c+a)%4
				ctx, cancel := context.WithCancel(t.Context())
				if a%7 == 3 {
					go cancel()
				}
				err := l.Append(ctx, hits(c*10_000+a*10, n))
				cancel()
				switch {
				case err == nil:
					acked.Add(int64(n))
				case errors.Is(err, context.Canceled):
					gaveUp.Add(int64(n))
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			verifyOK(t, dir)
		}
	})
	wg.Wait()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if got := l.Size(); got != acked.Load()+1 {
		t.Errorf("%d records, %d acknowledged", got, acked.Load())
	}
	mustClose(t, l)
	r := verifyOK(t, dir)
	if r.Replayed != 0 || r.Records != acked.Load()+1 || r.Segments < 3 {
		t.Errorf("%+v", r)
	}
	last := make(map[int]int)
	if err := Walk(dir, nil, func(e Entry) error {
		n := int(e.ID[12])<<24 | int(e.ID[13])<<16 | int(e.ID[14])<<8 | int(e.ID[15])
		if e.Kind == KindHit && n/10_000 > 0 {
			if n <= last[n/10_000] {
				t.Errorf("record %d after %d", n, last[n/10_000])
			}
			last[n/10_000] = n
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d acknowledged, %d cancelled, %d segments", acked.Load(), gaveUp.Load(), r.Segments)
}

// An append larger than a group is split and comes out whole; so does one that
// comes when a group is nearly full.
func TestLargeAppendsAreSplit(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, hits(0, 2*maxGroupRecords+5)...)
	big := hits(100_000, 5)
	for i := range big {
		big[i].Body = bytes.Repeat([]byte{'x'}, maxGroupBytes/2)
	}
	mustAppend(t, l, big...)
	mustClose(t, l)
	verifyOK(t, dir)
	want := int64(0)
	frames := 0
	segs, err := segments(filepath.Join(dir, testLogDir), "1")
	if err != nil {
		t.Fatal(err)
	}
	err = walk(segs, func(_ *segment, f *frame) error {
		frames++
		if f.count > maxGroupRecords || len(f.entries) > maxGroupBytes {
			t.Errorf("a frame of %d records, %d bytes", f.count, len(f.entries))
		}
		want += int64(f.count)
		return nil
	}, func(fl *fault) error { return fl.err })
	if err != nil {
		t.Fatal(err)
	}
	if want != l.Size() || frames != 1+3+5 {
		t.Errorf("%d records in %d frames, log says %d", want, frames, l.Size())
	}
}

// Whatever is taken away under the writer, the next checkpoint finds it, Run
// ends with it, and nothing is acknowledged from then on.
func TestDeletedUnderTheWriter(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(dir string) error
	}{
		{"segment", func(dir string) error { return os.Remove(filepath.Join(dir, testSeg)) }},
		{"history", func(dir string) error { return os.Remove(filepath.Join(dir, testLogDir, historyFile)) }},
		{"everything", os.RemoveAll},
		{"moved", func(dir string) error { return os.Rename(dir, dir+".old") }},
		{"replaced by a copy", func(dir string) error {
			path := filepath.Join(dir, testSeg)
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, b, 0o600))
		}},
		{"cut", func(dir string) error { return os.Truncate(filepath.Join(dir, testSeg), 100) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "evidence")
				l, err := Open(Options{Dir: dir, Origin: testOrigin})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- l.Run(t.Context()) }()
				mustAppend(t, l, hits(0, 3)...)
				if err := tt.do(dir); err != nil {
					t.Fatal(err)
				}
				if err := <-done; !errors.Is(err, ErrBroken) {
					t.Errorf("Run: %v", err)
				}
				if err := l.Append(t.Context(), hits(3, 1)); !errors.Is(err, ErrBroken) {
					t.Errorf("append: %v", err)
				}
				if err := l.Err(); !errors.Is(err, ErrBroken) {
					t.Errorf("Err: %v", err)
				}
				if err := l.Close(); !errors.Is(err, ErrBroken) {
					t.Errorf("close: %v", err)
				}
			})
		})
	}
}

// The log is cut into segments; they are recovered and verified as one log.
func TestSegments(t *testing.T) {
	dir := t.TempDir()
	n := 0
	for range 3 {
		l, err := Open(Options{Dir: dir, Origin: testOrigin, SegmentBytes: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			mustAppend(t, l, hits(n, 2)...)
			n += 2
		}
		mustClose(t, l)
	}
	r := verifyOK(t, dir)
	if r.Records != int64(n+1) || r.Segments < 10 {
		t.Errorf("%+v", r)
	}
	l := open(t, dir)
	if l.older+l.segSize != r.Bytes {
		t.Errorf("opened %d bytes, there are %d", l.older+l.segSize, r.Bytes)
	}
	mustClose(t, l)
	if got := len(ids(t, dir)); got != n {
		t.Errorf("%d of %d records", got, n)
	}
	// One of them gone is named.
	segs, err := segments(filepath.Join(dir, testLogDir), "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(segs[4].path); err != nil {
		t.Fatal(err)
	}
	r = verify(t, dir)
	f := r.Findings[0]
	if len(r.Findings) != 1 {
		t.Errorf("one segment is gone, and no root after it can be told: %v", r.Findings)
	}
	if f.Verdict != Missing || f.Index != segs[4].first || f.Count != segs[5].first-segs[4].first || f.File != segs[5].name {
		t.Errorf("%v", f)
	}
	if _, err := Open(Options{Dir: dir, Origin: testOrigin}); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), fmt.Sprintf("record %d is due", segs[4].first)) {
		t.Errorf("open: %v", err)
	}
}

// Two generations live beside each other, each with its own key, and a reader
// that is not told which one asks.
func TestGenerations(t *testing.T) {
	dir := t.TempDir()
	l1, err := Open(Options{Dir: dir, Origin: "example.net/evidence/a/1", KeyFile: filepath.Join(t.TempDir(), "1")})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l1, hits(0, 2)...)
	mustClose(t, l1)
	l2, err := Open(Options{Dir: dir, Origin: "example.net/evidence/a/2", KeyFile: filepath.Join(t.TempDir(), "2")})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l2)
	for key, want := range map[string]int64{l1.VerifierKey(): 3, l2.VerifierKey(): 1, "": 1} {
		r, err := Verify(dir, VerifyOptions{VerifierKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || r.Records != want || r.KeyFromLog != (key == "") {
			t.Errorf("%q: %+v", key, r)
		}
	}
	if err := Walk(dir, nil, func(Entry) error { return nil }); err == nil || !strings.Contains(err.Error(), "2 generations (1, 2); name one") {
		t.Errorf("walk: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	reg := prometheus.NewPedanticRegistry()
	c := systemCalls()
	var fail error
	c.datasync = func(f *os.File) error { return errors.Join(fail, disk.Datasync(f)) }
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Registerer: reg, calls: c})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, append(hits(0, 3), Record{Kind: 200})...)
	want := `
# HELP weir_evidence_unsigned_records Durable evidence records that no checkpoint covers yet.
# TYPE weir_evidence_unsigned_records gauge
weir_evidence_unsigned_records 4
# HELP weir_evidence_append_errors_total Appends of evidence that failed because the log is broken. It stays broken until restart.
# TYPE weir_evidence_append_errors_total counter
weir_evidence_append_errors_total 0
# HELP weir_evidence_records_total Evidence records made durable, by kind.
# TYPE weir_evidence_records_total counter
weir_evidence_records_total{kind="other"} 1
`
	for _, k := range Kinds() {
		n := 0
		if k == KindHit {
			n = 3
		}
		want += fmt.Sprintf("weir_evidence_records_total{kind=%q} %d\n", k, n)
	}
	names := []string{"weir_evidence_unsigned_records", "weir_evidence_append_errors_total", "weir_evidence_records_total"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if err := l.checkpoint(); err != nil {
		t.Fatal(err)
	}
	fail = errors.New("injected")
	if err := l.Append(t.Context(), hits(3, 1)); !errors.Is(err, ErrBroken) || !errors.Is(err, fail) {
		t.Error(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	fi, err := os.Stat(filepath.Join(dir, testSeg))
	if err != nil {
		t.Fatal(err)
	}
	if got["weir_evidence_unsigned_records"] != 0 || got["weir_evidence_append_errors_total"] != 1 ||
		got["weir_evidence_append_duration_seconds"] != 1 || got["weir_evidence_log_records"] != float64(l.Size()) || got["weir_evidence_last_checkpoint_timestamp_seconds"] < 1e9 ||
		got["weir_evidence_log_bytes"] <= 0 || got["weir_evidence_log_bytes"] > float64(fi.Size()) {
		t.Errorf("%v, file of %d bytes", got, fi.Size())
	}
	if err := l.Close(); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	l, err = Open(Options{Dir: dir, Origin: testOrigin, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
}

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c = Config{Generation: "a/b", SegmentBytes: 1, CheckpointEvery: time.Hour, ScrubEvery: time.Second, BallastBytes: -1}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"dir: none given; ", `generation: "a/b"; use `, "checkpoint_every: 1h0m0s; use 10ms up to 1m0s", "segment_bytes: 1; use 1048576 up to 2147483648", "segment_records: 0; use 1024 up to 16777216", "seal_after: 0s; use at least 1s", "scrub_every: 1s; use at least 1m0s, or 0 for never", "ballast_bytes: -1; use at least 1048576, or 0 for none"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// The root that is signed is RFC 6962's, computed here the slow way, for every
// size from one on.
func TestRootIsRFC6962(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var leaves [][]byte
	for n := 0; n < 70; n += 1 + rand.IntN(3) {
		mustAppend(t, l, hits(n, 1+rand.IntN(2))...)
		if err := l.checkpoint(); err != nil {
			t.Fatal(err)
		}
		leaves = leaves[:0]
		segs, err := segments(filepath.Join(dir, testLogDir), "1")
		if err != nil {
			t.Fatal(err)
		}
		if err := walk(segs, func(_ *segment, f *frame) error {
			f.each(func(e entry) { leaves = append(leaves, bytes.Clone(e.leaf[:])) })
			return nil
		}, func(fl *fault) error { return fl.err }); err != nil {
			t.Fatal(err)
		}
		h, err := parseCheckpoint(read(t, dir, "log/1/checkpoint"), l.key.verifier)
		if err != nil {
			t.Fatal(err)
		}
		if h.size != int64(len(leaves)) || h.root != naiveRoot(leaves) {
			t.Fatalf("head %v of %d leaves, want root %x", h, len(leaves), naiveRoot(leaves))
		}
	}
}
