package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memStore is a [Store] in memory that can fail at any call, before or after it has done
// what it was asked: a server that dies, and one whose answer is lost.
type memStore struct {
	frames []memFrame
	heads  map[int64][]byte
	bodies map[string][]byte

	calls     int // changes so far
	fail      int // the change to fail, counted from 1; 0 for none
	persisted bool
}

type memFrame struct {
	segment, first int64
	n              int
	b              []byte
}

var errStore = errors.New("the server is gone")

func newMemStore() *memStore {
	return &memStore{heads: make(map[int64][]byte), bodies: make(map[string][]byte)}
}

// change does one change, or fails. After a failure nothing works, as on a lost connection.
func (s *memStore) change(do func() error) error {
	s.calls++
	if s.fail == 0 || s.calls < s.fail {
		return do()
	}
	if s.calls == s.fail && s.persisted {
		return errors.Join(do(), errStore)
	}
	return errStore
}

func (s *memStore) Append(segment, first int64, n int, frame []byte) error {
	return s.change(func() error {
		for _, f := range s.frames {
			if f.first == first {
				return ErrForked
			}
		}
		s.frames = append(s.frames, memFrame{segment, first, n, bytes.Clone(frame)})
		return nil
	})
}

func (s *memStore) AppendHead(size int64, checkpoint []byte) error {
	return s.change(func() error {
		if b, ok := s.heads[size]; ok && !bytes.Equal(b, checkpoint) {
			return ErrForked
		}
		s.heads[size] = bytes.Clone(checkpoint)
		return nil
	})
}

func (s *memStore) PutBodies(file string, content io.Reader) error {
	return s.change(func() (err error) {
		s.bodies[file], err = io.ReadAll(content)
		return err
	})
}

func (s *memStore) RemoveBodies(file string) error {
	return s.change(func() error { delete(s.bodies, file); return nil })
}

func (s *memStore) Strip(segment int64, frames func(put func(first int64, n int, frame []byte) error) error) error {
	return s.change(func() error {
		return frames(func(first int64, n int, frame []byte) error {
			i := slices.IndexFunc(s.frames, func(f memFrame) bool { return f.first == first && f.n == n && f.segment == segment })
			if i < 0 {
				return fmt.Errorf("no frame of %d records at %d in segment %d", n, first, segment)
			}
			s.frames[i].b = bytes.Clone(frame)
			return nil
		})
	})
}

func (s *memStore) Size() (n int64, err error) {
	for _, f := range s.frames {
		n = f.first + int64(f.n)
	}
	return n, nil
}

func (s *memStore) Frames(_ context.Context, fn func(segment, first int64, n int, frame []byte) error) error {
	for _, f := range s.frames {
		if err := fn(f.segment, f.first, f.n, f.b); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) Heads(_ context.Context, fn func(checkpoint []byte) error) error {
	for _, size := range slices.Sorted(maps.Keys(s.heads)) {
		if err := fn(s.heads[size]); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) Bodies(_ context.Context, fn func(file string, part []byte) error) error {
	for _, name := range slices.Sorted(maps.Keys(s.bodies)) {
		if err := fn(name, s.bodies[name]); err != nil {
			return err
		}
	}
	return nil
}

// live begins a log on what the store has, appends, signs and seals, and returns which
// records were acknowledged. It ends at the first failure.
func (s *memStore) live(t testing.TB, key string, from int) (acked []int, err error) {
	dir := filepath.Join(memDir(t), "evidence")
	if err := WorkingCopy(context.Background(), s, dir, testOrigin); err != nil {
		return nil, err
	}
	l, err := Open(Options{Dir: dir, KeyFile: key, Origin: testOrigin, Store: s, SegmentRecords: 8, Now: clock()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for i := from; i < from+20; i += 2 {
		if err := l.Append(context.Background(), hits(i, 2)); err != nil {
			return acked, err
		}
		acked = append(acked, i, i+1)
		if i%4 == 0 {
			if err := l.checkpoint(); err != nil {
				return acked, err
			}
		}
	}
	return acked, l.Seal(context.Background())
}

// Every change that a log's life makes in a store fails once without and once with effect.
// No acknowledged record is lost, the next start goes on, and what is pulled verifies.
func TestStoreFails(t *testing.T) {
	key := filepath.Join(t.TempDir(), "log.key")
	whole := newMemStore()
	if _, err := whole.live(t, key, 0); err != nil {
		t.Fatal(err)
	}
	if len(whole.bodies) == 0 || whole.calls < 20 {
		t.Fatalf("%d calls, %d body files: the life is too short", whole.calls, len(whole.bodies))
	}
	for fail := 1; fail <= whole.calls; fail++ {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/%t", fail, persisted), func(t *testing.T) {
				s := newMemStore()
				s.fail, s.persisted = fail, persisted
				acked, err := s.live(t, key, 0)
				if !errors.Is(err, errStore) {
					t.Fatalf("the life ended with %v", err)
				}
				s.fail = 0
				again, err := s.live(t, key, 100)
				if err != nil {
					t.Fatalf("the next life: %v", err)
				}
				dir := filepath.Join(memDir(t), "pulled")
				if err := Pull(context.Background(), s, dir, "1"); err != nil {
					t.Fatal(err)
				}
				verifyOK(t, dir)
				found := ids(t, dir)
				for _, n := range append(acked, again...) {
					if found[newID(n)] != 1 {
						t.Errorf("record %d was acknowledged and is there %d times", n, found[newID(n)])
					}
				}
				// What is sealed has its bodies in files and nowhere else.
				for _, f := range s.frames {
					if f.first < 20 && strings.Contains(string(f.b), `"text":"body 2"`) {
						t.Errorf("the frame of record %d still has a body that was moved", f.first)
					}
				}
			})
		}
	}
}

// A file log and a log in a store give the same frames for the same records: the store gets
// the very bytes that are in the segments.
func TestStoreHasTheBytesOfTheSegments(t *testing.T) {
	s := newMemStore()
	key := filepath.Join(t.TempDir(), "log.key")
	dir := filepath.Join(memDir(t), "evidence")
	if err := WorkingCopy(context.Background(), s, dir, testOrigin); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: dir, KeyFile: key, Origin: testOrigin, Store: s, Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustAppend(t, l, hits(i*3, 3)...)
	}
	mustClose(t, l)
	var all []byte
	for _, f := range s.frames {
		all = append(all, f.b...)
	}
	if !bytes.Equal(all, read(t, dir, testSeg)) {
		t.Error("the segment is not the frames of the store, one after another")
	}
}

// What a store has and no log could have written is not continued.
func TestWorkingCopyRefuses(t *testing.T) {
	key := filepath.Join(t.TempDir(), "log.key")
	for name, c := range map[string]struct {
		spoil func(*memStore)
		want  string
	}{
		"two frames in one":   {func(s *memStore) { s.frames[1].b = append(s.frames[1].b, s.frames[2].b...) }, "ALTERED"},
		"empty frame":         {func(s *memStore) { s.frames[1].b = nil }, "ALTERED"},
		"cut short":           {func(s *memStore) { f := &s.frames[len(s.frames)-1]; f.b = f.b[:len(f.b)-1] }, "ALTERED"},
		"frame missing":       {func(s *memStore) { s.frames = slices.Delete(s.frames, 1, 2) }, "MISSING"},
		"count is another":    {func(s *memStore) { s.frames[1].n++ }, "ALTERED"},
		"body file elsewhere": {func(s *memStore) { s.bodies["../x"] = []byte("x") }, "no name of a body file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMemStore()
			if _, err := s.live(t, key, 0); err != nil {
				t.Fatal(err)
			}
			c.spoil(s)
			err := WorkingCopy(context.Background(), s, filepath.Join(memDir(t), "evidence"), testOrigin)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
