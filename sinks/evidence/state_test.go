package evidence

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A log says how far it is signed, when it was read again last, and of the disk how much room there is and
// for how long a write has not come back.
func TestState(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		c := noSync()
		free, hang := int64(1<<30), make(chan struct{})
		var hangs bool
		c.free = func(string) (int64, error) { return free, nil }
		sync := c.datasync
		c.datasync = func(f *os.File) error {
			if hangs {
				<-hang
			}
			return sync(f)
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, BallastBytes: 1 << 20, ScrubEvery: time.Hour, calls: c})
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, hits(0, 3)...)
		if s := l.State(); s.Records != 4 || s.Signed != 1 || !s.Scrubbed.IsZero() {
			t.Errorf("before it was signed: %+v", s)
		}
		if err := l.checkpoint(); err != nil {
			t.Fatal(err)
		}
		if err := l.scrubbed(); err != nil {
			t.Fatal(err)
		}
		if s := l.State(); s.Records != 4 || s.Signed != 4 || s.Root != l.signed.root || s.Bytes == 0 || !s.Scrubbed.Equal(time.Now().Truncate(time.Second)) || s.SignedAt.IsZero() {
			t.Errorf("after it was signed: %+v", s)
		}

		for _, x := range []struct {
			free      int64
			full, low bool
		}{{1 << 30, false, false}, {2<<20 - 1, false, true}, {1<<18 - 1, true, true}} {
			free = x.free
			if r, err := l.Room(); err != nil || r != (Room{Free: x.free, Full: x.full, Low: x.low}) {
				t.Errorf("with %d bytes free: %+v, %v", x.free, r, err)
			}
		}
		free, hangs = 1<<30, true
		done := make(chan error, 1)
		go func() { done <- l.Append(context.Background(), hits(3, 1)) }()
		synctest.Wait()
		time.Sleep(7 * time.Second)
		if r, err := l.Room(); err != nil || r.Writing != 7*time.Second {
			t.Errorf("a write hangs for 7 s: %+v, %v", r, err)
		}
		close(hang)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if r, _ := l.Room(); r.Writing != 0 {
			t.Errorf("it came back: %+v", r)
		}
		hangs = false
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
