package desk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// In whatever order a class is destroyed, a person erased, a hold set and released, no verification
// raises an alarm, each gap is explained, and what can be read is what nothing stands against.
func TestEveryOrder(t *testing.T) {
	orders := [][]string{{}}
	for _, step := range []string{"destroy", "hold", "erase", "release"} {
		var longer [][]string
		for _, o := range orders {
			for i := range len(o) + 1 {
				longer = append(longer, slices.Insert(slices.Clone(o), i, step))
			}
		}
		orders = longer
	}
	for n, order := range orders {
		if slices.Index(order, "release") < slices.Index(order, "hold") {
			continue
		}
		beside := n%2 == 0
		t.Run(fmt.Sprintf("%s,daemon=%v", strings.Join(order, ","), beside), func(t *testing.T) {
			w := newWorld(t)
			w.beside = beside
			w.write(say{"2026-01-10", "u1", "u1-old"}, say{"2026-01-10", "u2", "u2-old"}, say{"2026-04-20", "u1", "u1-young"}, say{"2026-04-20", "u2", "u2-young"})
			w.now = at("2026-05-10")
			var hold string
			gone := make(map[string]bool)
			var held bool
			for _, step := range order {
				switch step {
				case "destroy":
					w.destroy()
					gone["u2-old"] = true
					if !held {
						gone["u1-old"] = true
					}
				case "hold":
					hold = w.hold(HoldRequest{Subject: "u1", To: at("2026-02-01")})
					held = true
				case "erase":
					done := w.erase()
					// What was destroyed without a hold had its last key in the month that went.
					if want := held; (len(done.Holds) > 0) != (want && !gone["u1-old"]) {
						t.Errorf("holds that stand against it: %v", done.Holds)
					}
					if day(done.Until) != "2026-06-30" {
						t.Errorf("restricted until %v", done.Until)
					}
					gone["u1-old"], gone["u1-young"] = true, true
				case "release":
					w.release(hold)
					held = false
				}
				var want []string
				for _, text := range []string{"u1-old", "u1-young", "u2-old", "u2-young"} {
					if !gone[text] {
						want = append(want, text)
					}
				}
				if got := w.readable(); !slices.Equal(got, want) {
					t.Errorf("after %s %v can be read, want %v", step, got, want)
				}
				w.whole()
			}
			// Time passes: the last duty ends, the next plan takes the rest.
			w.now = at("2026-09-01")
			w.must(func(c *Conn) error { return c.ShredDue(context.Background()) })
			w.whole()
			w.destroy()
			if got := w.readable(); len(got) > 0 {
				t.Errorf("at last %v can be read", got)
			}
			if got := w.files("body"); len(got) > 0 {
				t.Errorf("at last there are the bodies %v", got)
			}
			for _, user := range []string{"u1", "u2"} {
				if got := w.found(user); len(got) > 0 {
					t.Errorf("at last the index knows %v of %s", got, user)
				}
			}
			w.whole()
		})
	}
}

// A hold keeps what it is on and not the day: by ids, by person, by time, by class, and by all that
// is given together.
func TestHoldScopes(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    HoldRequest
		want []string
	}{
		{"ids", HoldRequest{Records: []string{idOf("a1").String(), idOf("b2").String()}}, []string{"a1", "b2"}},
		{"person", HoldRequest{Subject: "u1"}, []string{"a1", "b1"}},
		{"time", HoldRequest{From: at("2026-01-11 00:00"), To: at("2026-01-12 00:00")}, []string{"b1", "b2"}},
		{"since", HoldRequest{From: at("2026-01-11 08:00")}, []string{"b1", "b2"}},
		{"before", HoldRequest{To: at("2026-01-11 08:00")}, []string{"a1", "a2"}},
		{"another class", HoldRequest{Subject: "u1", Class: "push"}, nil},
		{"person and time", HoldRequest{Subject: "u1", Class: "content", From: at("2026-01-11")}, []string{"b1"}},
		{"person and ids", HoldRequest{Subject: "u1", Records: []string{idOf("a1").String(), idOf("b2").String()}}, []string{"a1"}},
		{"nobody", HoldRequest{Subject: "u3"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write(say{"2026-01-10", "u1", "a1"}, say{"2026-01-10", "u2", "a2"}, say{"2026-01-11", "u1", "b1"}, say{"2026-01-11", "u2", "b2"})
			w.now = at("2026-05-10")
			w.hold(tt.r)
			w.destroy()
			if got := w.readable(); !slices.Equal(got, tt.want) {
				t.Errorf("%v can be read, want %v", got, tt.want)
			}
			if got := w.files("body/content"); len(got) > 0 {
				t.Errorf("a day was kept: %v", got)
			}
			w.whole()
		})
	}
}

// Two holds on one record: it stays until both are released, and goes with the next plan.
func TestTwoHolds(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "a"}, say{"2026-01-10", "u2", "b"})
	w.now = at("2026-05-10")
	first, second := w.hold(HoldRequest{Subject: "u1"}), w.hold(HoldRequest{Records: []string{idOf("a").String()}})
	w.destroy()
	w.release(first)
	w.destroy()
	if got := w.readable(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("one hold is left, and %v can be read", got)
	}
	w.whole()
	w.release(second)
	w.destroy()
	if got := w.readable(); len(got) > 0 {
		t.Errorf("no hold is left, and %v can be read", got)
	}
	if got := append(w.files("body"), w.files("keys/content")...); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	w.whole()

	// The verifier names the record that destroyed the day, and those that destroyed what was kept of it.
	s, err := readState(w.dir, nil)
	if err != nil || len(s.destroys) != 3 {
		t.Fatal(len(s.destroys), err)
	}
	want := fmt.Sprintf("2 bodies, see #%d; the hold %s kept 1 of them, until #%d; the hold %s kept 1 of them, until #%d",
		s.destroys[0].Index, first, s.destroys[1].Index, second, s.destroys[2].Index)
	named := false
	for _, f := range w.findings().Findings {
		named = named || f.Verdict == evidence.Destroyed && f.Detail == want
	}
	if !named {
		t.Errorf("nothing says %s\n%v", want, w.findings().Findings)
	}
}

// A person is erased while the daemon runs: what it wrote a moment ago, and what it writes later, is
// under other keys.
func TestEraseBesideADaemon(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "old"})
	w.now = at("2026-05-10")
	w.classes["content"] = retentionWithoutMinimum(w)
	l, ring := w.open()
	stop := serve(t, l, ring, w)
	w.append(l, "u1", "new", evidence.ClassContent)
	done := w.erase()
	if done.Shredded+done.Restricted != 2 {
		t.Errorf("%+v; there are two keys", done)
	}
	w.append(l, "u1", "later", evidence.ClassContent)
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(l.Close(), ring.Close()); err != nil {
		t.Fatal(err)
	}
	if got := w.readable(); !slices.Equal(got, []string{"later"}) {
		t.Errorf("%v can be read", got)
	}
	w.whole()
}

// Keys of yesterday's copy open nothing: what was erased since is erased again before anything is
// read; and where one file was put back by hand, or the whole evidence, restore does it.
//
// Clause: rn-erase
func TestRestore(t *testing.T) {
	begin := func(t *testing.T) (w *world, backup string) {
		w = newWorld(t)
		w.classes["content"] = retentionWithoutMinimum(w)
		w.write(say{"2026-01-10", "u1", "u1-old"}, say{"2026-01-10", "u2", "u2-old"}, say{"2026-03-20", "u1", "u1-young"}, say{"2026-03-20", "u2", "u2-young"})
		w.now = at("2026-05-10")
		backup = filepath.Join(t.TempDir(), "backup")
		copyTree(t, w.dir, backup)
		if done := w.erase(); done.Shredded != 2 || done.Restricted != 0 || done.Records != 2 {
			t.Fatalf("%+v", done)
		}
		w.destroy()
		return w, backup
	}
	left := []string{"u2-young"}

	t.Run("keys", func(t *testing.T) {
		w, backup := begin(t)
		copyTree(t, filepath.Join(backup, "keys"), filepath.Join(w.dir, "keys"))
		if got := w.readable(); !slices.Equal(got, left) {
			t.Errorf("%v can be read", got)
		}
		// The next one at the desk, or the daemon, destroys them again.
		w.must(func(c *Conn) error { return nil })
		copyTree(t, filepath.Join(backup, "keys"), filepath.Join(w.dir, "keys"))
		w.must(func(c *Conn) error { return c.Resume(context.Background()) })
		ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		s, err := readState(w.dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		for h := range s.erased {
			if _, err := ring.Open("content", h); !errors.Is(err, keys.ErrErased) && !errors.Is(err, keys.ErrDestroyed) {
				t.Errorf("a key that was shredded: %v", err)
			}
		}
		w.whole()
	})
	t.Run("one file", func(t *testing.T) {
		w, backup := begin(t)
		for _, name := range []string{"keys/content/2026-01.keys", "keys/content/2026-03.keys"} {
			b, err := os.ReadFile(filepath.Join(backup, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.must(func(c *Conn) error { return c.Restore(context.Background()) })
		if got := w.readable(); !slices.Equal(got, left) {
			t.Errorf("%v can be read", got)
		}
		w.whole()
	})
	t.Run("bodies and indexes", func(t *testing.T) {
		w, backup := begin(t)
		for _, name := range []string{"body", "idx", "keys"} {
			copyTree(t, filepath.Join(backup, name), filepath.Join(w.dir, name))
		}
		w.must(func(c *Conn) error { return c.Restore(context.Background()) })
		if got := w.readable(); !slices.Equal(got, left) {
			t.Errorf("%v can be read", got)
		}
		if got := w.files("body/content/2026-01-10"); len(got) > 0 {
			t.Errorf("bodies that were destroyed: %v", got)
		}
		if got := w.found("u1"); len(got) > 0 {
			t.Errorf("the index knows %v of u1", got)
		}
		w.whole()
	})
	t.Run("after a rotation not even a file by hand", func(t *testing.T) {
		w, backup := begin(t)
		w.must(func(c *Conn) error { _, err := c.Rotate(context.Background()); return err })
		b, err := os.ReadFile(filepath.Join(backup, "keys/content/2026-03.keys"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, "keys/content/2026-03.keys"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		s, err := readState(w.dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for h := range s.erased {
			if _, err := ring.Open("content", h); h.Month().String() == "2026-03" && errors.Is(err, keys.ErrMaster) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d keys of the copy have lost their master key, want 1", n)
		}
	})
	t.Run("not under a daemon", func(t *testing.T) {
		w, _ := begin(t)
		l, ring := w.open()
		stop := serve(t, l, ring, w)
		err := w.at(func(c *Conn) error { return c.Restore(context.Background()) })
		if err == nil || !strings.Contains(err.Error(), "a daemon holds the log; stop it first") {
			t.Error(err)
		}
		stop()
		if err := errors.Join(l.Close(), ring.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

// The keys of who was erased can be sealed to somebody for audits, and the record says so.
func TestEscrow(t *testing.T) {
	private, public, err := keys.NewEscrowKey()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.classes["content"] = retentionWithoutMinimum(w)
	w.write(say{"2026-01-10", "u1", "text"})
	w.now = at("2026-05-10")
	var done Erasure
	w.must(func(c *Conn) (err error) {
		done, err = c.Erase(context.Background(), EraseRequest{Subject: "u1", By: "u1", Basis: "x", Reason: "y", EscrowKey: public, EscrowUntil: at("2027-05-10")})
		return err
	})
	if got := w.readable(); len(got) > 0 {
		t.Errorf("%v can be read", got)
	}
	s, err := readState(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b := s.shreds[0].Body; !b.Escrow || b.EscrowFile == "" || b.EscrowFile != done.EscrowFile {
		t.Errorf("on record: %+v, done: %+v", b, done)
	}
	if _, err := keys.OpenEscrow(filepath.Join(w.dir, "keys", done.EscrowFile), private); err != nil {
		t.Error(err)
	}
	w.whole()
}

func TestRotate(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "text"})
	w.must(func(c *Conn) error {
		r, err := c.Rotate(context.Background())
		if r.Generation != 2 || r.Keys != 1 || len(r.Destroyed) != 1 {
			t.Errorf("%+v", r)
		}
		return err
	})
	if got := w.readable(); !slices.Equal(got, []string{"text"}) {
		t.Errorf("%v can be read", got)
	}
	var kinds []evidence.Kind
	if _, err := evidence.WalkAudit(w.dir, "1", 0, func(e evidence.Entry) error { kinds = append(kinds, e.Kind); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(kinds, evidence.KindRotation) {
		t.Errorf("on record are %v", kinds)
	}
	w.whole()
}

// Somebody is erased from all logs of a directory, whichever of them is written now.
func TestEraseInEveryGeneration(t *testing.T) {
	w := newWorld(t)
	w.classes["content"] = retentionWithoutMinimum(w)
	w.write(say{"2026-01-10", "u1", "first"}, say{"2026-01-10", "u2", "other"})
	w.origin = strings.TrimSuffix(testOrigin, "1") + "2"
	w.write(say{"2026-03-10", "u1", "second"})
	w.now = at("2026-05-10")
	if done := w.erase(); done.Shredded != 2 || done.Records != 2 {
		t.Errorf("%+v", done)
	}
	s, err := readState(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.shreds) != 1 || len(s.shreds[0].Body.Records) != 2 || s.shreds[0].Generation != "2" {
		t.Errorf("on record: %+v", s.shreds)
	}
	if got := w.found("u1"); len(got) > 0 {
		t.Errorf("the index of the first log knows %v of u1", got)
	}
	w.destroy() // the plan is in the second log, the bodies are of the first
	if got := w.files("body"); len(got) != 1 || !strings.HasPrefix(got[0], "body/content/2026-03-10/2-") {
		t.Errorf("bodies left: %v", got)
	}
	w.whole()
}

// The daemon finishes at its start what died, and runs on beside a file that somebody must look at.
func TestServerResumes(t *testing.T) {
	for _, spoiled := range []bool{false, true} {
		w := newWorld(t)
		w.write(say{"2026-01-10", "u1", "a"}, say{"2026-04-10", "u1", "b"})
		w.now = at("2026-05-10")
		d := &dying{at: 100}
		w.works = func(x worker) worker { return mortal{x, d} }
		var plan *Planned
		w.must(func(c *Conn) (err error) {
			plan, err = c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "x"})
			return err
		})
		*d = dying{at: 1, after: true} // once the approval is on record
		err := w.at(func(c *Conn) error {
			_, _, err := c.Approve(context.Background(), plan.ID, w.signers["li"])
			return err
		})
		if !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		w.works = nil
		if spoiled {
			w.spoil(plan.Plan.Files[0].File)
		}
		l, ring := w.open()
		var said strings.Builder
		o := w.options()
		o.Logger = slog.New(slog.NewTextHandler(&said, nil))
		s, err := Listen(ServerOptions{Options: o, Log: l, Keys: ring})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Resume(context.Background()), s.Close(), l.Close(), ring.Close()); err != nil {
			t.Fatal(err)
		}
		want := []string{"b"}
		if spoiled {
			want = []string{"a", "b"}
		}
		if got := w.files("body/content"); len(got) != len(want) {
			t.Errorf("spoiled %v: bodies left: %v", spoiled, got)
		}
		if strings.Contains(said.String(), "is not what was approved") != spoiled {
			t.Errorf("spoiled %v: said %s", spoiled, &said)
		}
		if !spoiled {
			w.whole()
		}
	}
}
