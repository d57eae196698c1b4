package desk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// world is evidence of some days, with people who may decide about it.
type world struct {
	t   testing.TB
	dir string
	now time.Time
	n   int // records written

	signers   map[string]note.Signer
	reviewers retention.Reviewers
	classes   retention.Classes
	calls     *calls
	works     func(worker) worker // put between a Conn and its worker
	beside    bool                // a daemon holds the log
	origin    string
	store     evidence.Store // where the log is durable, if not in dir
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, origin: testOrigin, dir: filepath.Join(memDir(t), "evidence"), now: at("2026-01-01 08:00"),
		signers: make(map[string]note.Signer), reviewers: make(retention.Reviewers)}
	for _, name := range []string{"li", "wang", "zhao"} {
		secret, public, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			t.Fatal(err)
		}
		if w.signers[name], err = note.NewSigner(secret); err != nil {
			t.Fatal(err)
		}
		w.reviewers[name] = public
	}
	w.classes = retention.Classes{
		"content": {Minimum: w.period("60 days"), Maximum: w.period("90 days"), Basis: "a law", Reviewers: []string{"li", "wang"}},
		"push":    {Minimum: w.period("6 months"), Maximum: w.period("1 year"), Basis: "another law", Reviewers: []string{"wang"}},
	}
	return w
}

func at(s string) time.Time {
	if len(s) == len(time.DateOnly) {
		s += " 08:00"
	}
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func (w *world) period(s string) retention.Period {
	w.t.Helper()
	p, err := retention.ParsePeriod(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) clock() time.Time { return w.now }

func (w *world) options() Options {
	return Options{
		Log:       evidence.Options{Dir: w.dir, Origin: w.origin, Now: w.clock, Store: w.store},
		Encrypt:   true,
		Retention: w.classes, Reviewers: w.reviewers,
		Now: w.clock, calls: w.calls,
	}
}

// open opens keys and log, as a daemon would.
func (w *world) open() (*evidence.Log, *keys.Ring) {
	w.t.Helper()
	ring, err := evidence.OpenKeys(w.dir, keys.Options{Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.options().Log
	o.Keys, o.Forgotten = ring, Forgotten(ring)
	l, err := evidence.Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return l, ring
}

// memDir is t.TempDir in memory where there is such a place: for many small logs of which
// the disk is not what is tested.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-desk-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// say is a record to be written on a day.
type say struct{ day, user, text string }

// write writes records of class content and seals them. They are found by the text
// they hold, as their ids.
func (w *world) write(list ...say) {
	w.t.Helper()
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	l, ring := w.open()
	for _, s := range list {
		w.now = at(s.day)
		w.append(l, s.user, s.text, evidence.ClassContent)
	}
	if err := errors.Join(l.Seal(context.Background()), l.Close(), ring.Close()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(l *evidence.Log, user, text string, class evidence.Class) {
	w.t.Helper()
	w.n++
	kind := evidence.KindHit
	if class == evidence.ClassPush {
		kind = evidence.KindPush
	}
	err := l.Append(context.Background(), []evidence.Record{{ID: idOf(text), Kind: kind, Class: class, Subject: user, Body: fmt.Appendf(nil, "{%q:%q}", "text", text),
		Terms: []evidence.Term{{Name: "account", Value: user}, {Name: "event", Value: text}}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func idOf(text string) (id evidence.ID) {
	copy(id[:], text)
	return id
}

// dial opens a desk; it is closed by done.
func (w *world) dial() *Conn {
	w.t.Helper()
	c, err := Dial(context.Background(), w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.works != nil {
		c.works = w.works(c.works)
	}
	return c
}

// at does something at the desk.
func (w *world) at(do func(c *Conn) error) error {
	w.t.Helper()
	if w.beside {
		l, ring := w.open()
		stop := serve(w.t, l, ring, w)
		c := w.dial()
		if _, ok := c.works.(*remote); !ok {
			w.t.Error("the log was opened beside a daemon")
		}
		err := errors.Join(do(c), c.Close())
		stop()
		return errors.Join(err, l.Close(), ring.Close())
	}
	c := w.dial()
	return errors.Join(do(c), c.Close())
}

func (w *world) must(do func(c *Conn) error) {
	w.t.Helper()
	if err := w.at(do); err != nil {
		w.t.Fatal(err)
	}
}

// destroy plans and approves what is past its maximum of class content.
func (w *world) destroy() {
	w.t.Helper()
	w.must(func(c *Conn) error {
		p, err := c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "period is over"})
		if err != nil {
			return err
		}
		_, _, err = c.Approve(context.Background(), p.ID, w.signers["wang"])
		return err
	})
}

func (w *world) hold(r HoldRequest) (id string) {
	w.t.Helper()
	r.Authority, r.Reason, r.By, r.ApprovedBy = "court of the city", "case 7", "zhao", "wang"
	w.must(func(c *Conn) error {
		_, x, err := c.Hold(context.Background(), r)
		id = x.String()
		return err
	})
	return id
}

func (w *world) release(hold string) {
	w.t.Helper()
	w.must(func(c *Conn) error {
		_, _, err := c.Release(context.Background(), ReleaseRequest{Hold: hold, Authority: "court of the city", Reason: "case 7 is closed", By: "zhao", ApprovedBy: "wang"})
		return err
	})
}

// erase erases u1.
func (w *world) erase() (done Erasure) {
	w.t.Helper()
	w.must(func(c *Conn) (err error) {
		done, err = c.Erase(context.Background(), EraseRequest{Subject: "u1", By: "the user", Basis: "PIPL article 47", Reason: "account closed"})
		return err
	})
	return done
}

// readable returns the texts that can be read now, by who has the keys.
func (w *world) readable() []string {
	w.t.Helper()
	erased, err := Erased(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true, Erased: erased, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	defer ring.Close()
	var list []string
	err = evidence.Walk(w.dir, ring, func(e evidence.Entry) error {
		if e.Class == evidence.ClassContent && e.Body != nil {
			list = append(list, strings.TrimRight(string(e.ID[:]), "\x00"))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	list = append(list, w.heldReadable(ring)...)
	slices.Sort(list)
	return slices.Compact(list)
}

// heldReadable reads what holds kept, which is in no segment's body file any more.
func (w *world) heldReadable(ring *keys.Ring) (list []string) {
	w.t.Helper()
	b, err := evidence.OpenBodies(w.dir, "1")
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	err = filepath.WalkDir(filepath.Join(w.dir, "body", "hold"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		return evidence.WalkBodyFile(w.dir, name, func(m evidence.MovedBody) error {
			if _, err := ring.Open("content", keys.Handle(m.Handle)); err != nil {
				return nil
			}
			rec, err := b.Record(m.Index)
			if err == nil {
				id := rec.ID()
				list = append(list, strings.TrimRight(string(id[:]), "\x00"))
			}
			return err
		})
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return list
}

// found returns the texts that an index knows of a person.
func (w *world) found(user string) (list []string) {
	w.t.Helper()
	ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	defer ring.Close()
	b, err := evidence.OpenBodies(w.dir, "1")
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	records, err := b.ByTerm(ring.Term("content", "account", user))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range records {
		rec, err := b.Record(i)
		if err != nil {
			w.t.Fatal(err)
		}
		id := rec.ID()
		list = append(list, strings.TrimRight(string(id[:]), "\x00"))
	}
	return list
}

// whole fails if a verification, with the keys and without, finds an alarm.
func (w *world) whole() {
	w.t.Helper()
	for _, with := range []bool{false, true} {
		var o evidence.VerifyOptions
		if with {
			ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true, Now: w.clock})
			if err != nil {
				w.t.Fatal(err)
			}
			defer ring.Close()
			o.Keys = ring
		}
		r, err := evidence.Verify(w.dir, o)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range r.Findings {
			if f.Verdict.Alarm() {
				w.t.Errorf("with keys %v: %s", with, f)
			}
		}
	}
}

// files lists what is in a folder of the evidence.
func (w *world) files(under string) (list []string) {
	w.t.Helper()
	err := filepath.WalkDir(filepath.Join(w.dir, under), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		list = append(list, filepath.ToSlash(name))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return list
}

// copyTo copies files of the evidence to another directory, as a backup would.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600) // the keys must be private
	})
	if err != nil {
		t.Fatal(err)
	}
}

func retentionWithoutMinimum(w *world) retention.Class {
	c := w.classes["content"]
	c.Minimum = w.period("0 days")
	w.t.Helper()
	return c
}

// serve answers on the control socket of a log that is open.
func serve(t testing.TB, l *evidence.Log, ring *keys.Ring, w *world) (stop func()) {
	t.Helper()
	s, err := Listen(ServerOptions{Options: w.options(), Log: l, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
