package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// dying lets the process die at one of its effects: before it, or right after.
type dying struct {
	at    int // the effect at which it dies, from 1; 0: never
	after bool
	n     int
	dead  bool
}

var errDied = errors.New("the process died here")

func (d *dying) step(do func() error) error {
	if d.dead {
		return errDied
	}
	d.n++
	if d.n != d.at {
		return do()
	}
	d.dead = true
	if d.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errDied
}

// calls are the system's calls, each of them an effect.
func (d *dying) calls() *calls {
	c := systemCalls()
	return &calls{
		write:  func(path string, data []byte) error { return d.step(func() error { return c.write(path, data) }) },
		rename: func(from, to string) error { return d.step(func() error { return c.rename(from, to) }) },
		remove: func(path string) error { return d.step(func() error { return c.remove(path) }) },
		sync:   func(dir string) error { return d.step(func() error { return c.sync(dir) }) },
		keep: func(dir, from, to string, keep func(int64) bool) (n int, err error) {
			err = d.step(func() (err error) { n, err = c.keep(dir, from, to, keep); return err })
			return n, err
		},
	}
}

// mortal is a worker whose every change is an effect.
type mortal struct {
	worker
	d *dying
}

func (m mortal) append(ctx context.Context, a appending) (index int64, err error) {
	err = m.d.step(func() (err error) { index, err = m.worker.append(ctx, a); return err })
	return index, err
}

func (m mortal) shred(ctx context.Context, s shredding) error {
	return m.d.step(func() error { return m.worker.shred(ctx, s) })
}

func (m mortal) restrict(ctx context.Context, r restricting) error {
	return m.d.step(func() error { return m.worker.restrict(ctx, r) })
}

func (m mortal) drop(ctx context.Context, x dropping) error {
	return m.d.step(func() error { return m.worker.drop(ctx, x) })
}

func (m mortal) clear(ctx context.Context, files []string) error {
	return m.d.step(func() error { return m.worker.clear(ctx, files) })
}

func (m mortal) escrow(ctx context.Context, e escrowing) (name string, err error) {
	err = m.d.step(func() (err error) { name, err = m.worker.escrow(ctx, e); return err })
	return name, err
}

func (m mortal) rotate(ctx context.Context) (r keys.Rotation, err error) {
	err = m.d.step(func() (err error) { r, err = m.worker.rotate(ctx); return err })
	return r, err
}

// dies runs a story once for every effect of it, dying there, and then what follows.
func dies(t *testing.T, begin func(t *testing.T) *world, story func(w *world) error, then func(w *world, recorded bool)) {
	for at := 1; ; at++ {
		through := false
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d after %v", at, after), func(t *testing.T) {
				w := begin(t)
				d := &dying{at: at, after: after}
				w.calls = d.calls()
				w.works = func(x worker) worker { return mortal{x, d} }
				err := story(w)
				through = !d.dead
				if through {
					if err != nil {
						t.Fatal(err)
					}
				} else if !errors.Is(err, errDied) {
					t.Fatalf("%v; it died", err)
				}
				w.calls, w.works = nil, nil
				s, err := readState(w.dir, nil)
				if err != nil {
					t.Fatal(err)
				}
				then(w, len(s.destroys)+len(s.shreds)+len(s.waiting) > 0)
			})
		}
		if through {
			if at < 6 {
				t.Errorf("the story has %d effects only", at-1)
			}
			return
		}
	}
}

// Wherever the process dies while something is destroyed, what was approved is done by the next one,
// what was not is not, and every gap is explained.
func TestDestroyDies(t *testing.T) {
	var plan, hold string
	dies(t, func(t *testing.T) *world {
		w := newWorld(t)
		w.write(say{"2026-01-10", "u1", "old-1"}, say{"2026-01-10", "u2", "old-2"}, say{"2026-01-12", "u1", "held"}, say{"2026-01-12", "u2", "old-3"}, say{"2026-02-20", "u2", "young"})
		w.now = at("2026-05-10")
		hold = w.hold(HoldRequest{Records: []string{idOf("held").String()}})
		w.must(func(c *Conn) error {
			p, err := c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "x"})
			plan = p.ID
			return err
		})
		return w
	}, func(w *world) error {
		return w.at(func(c *Conn) error {
			_, _, err := c.Approve(context.Background(), plan, w.signers["li"])
			return err
		})
	}, func(w *world, approved bool) {
		w.must(func(c *Conn) error { return c.Resume(context.Background()) })
		want := []string{"held", "old-1", "old-2", "old-3", "young"}
		if approved {
			want = []string{"held", "young"}
			if got := w.files("body/hold/" + hold); len(got) != 1 {
				w.t.Errorf("%v is kept for the hold", got)
			}
			if got := w.found("u1"); !slices.Equal(got, []string{"held"}) {
				w.t.Errorf("the index knows %v of u1", got)
			}
			s, err := readState(w.dir, nil)
			if err != nil {
				w.t.Fatal(err)
			}
			if len(s.pending()) > 0 {
				w.t.Error("no record says that it is done")
			}
		}
		if got := w.readable(); !slices.Equal(got, want) {
			w.t.Errorf("%v can be read, want %v", got, want)
		}
		w.whole()
	})
}

// Wherever the process dies while a person is erased, what is on record is done by the next one, and
// asking again does the rest.
func TestEraseDies(t *testing.T) {
	dies(t, func(t *testing.T) *world {
		w := newWorld(t)
		w.write(say{"2026-01-10", "u1", "old"}, say{"2026-01-10", "u2", "other"}, say{"2026-03-12", "u1", "young"})
		w.now = at("2026-04-10")
		return w
	}, func(w *world) error {
		return w.at(func(c *Conn) error {
			_, err := c.Erase(context.Background(), EraseRequest{Subject: "u1", By: "u1", Basis: "x", Reason: "y"})
			return err
		})
	}, func(w *world, recorded bool) {
		w.must(func(c *Conn) error { return c.Resume(context.Background()) })
		if !recorded {
			if got := w.readable(); !slices.Equal(got, []string{"old", "other", "young"}) {
				w.t.Errorf("nothing is on record, and %v can be read", got)
			}
		}
		err := w.at(func(c *Conn) error {
			_, err := c.Erase(context.Background(), EraseRequest{Subject: "u1", By: "u1", Basis: "x", Reason: "y"})
			return err
		})
		if err != nil && !errors.Is(err, ErrNothing) {
			w.t.Fatal(err)
		}
		if got := w.readable(); !slices.Equal(got, []string{"other"}) {
			w.t.Errorf("%v can be read", got)
		}
		w.whole()
		w.now = at("2026-06-02") // 60 days after the first of April are over
		w.must(func(c *Conn) error { return c.ShredDue(context.Background()) })
		if got := w.found("u1"); len(got) > 0 {
			w.t.Errorf("the index knows %v of u1", got)
		}
		w.whole()
	})
}
