package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// spoilKey changes a byte of an entry of the key file of January.
func (w *world) spoilKey(entry, at int) {
	w.t.Helper()
	name := filepath.Join(w.dir, "keys/content/2026-01.keys")
	b, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	b[entry*keyEntrySize+at] ^= 0x40
	if err := os.WriteFile(name, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) damaged() (list []DamagedKey) {
	w.t.Helper()
	w.must(func(c *Conn) (err error) { list, err = c.Damaged(context.Background()); return err })
	return list
}

func giveUp(name string) GiveUpRequest {
	return GiveUpRequest{Key: name, Reason: "no copy has it", By: "zhao", ApprovedBy: "wang"}
}

// verdicts are what a verification with the keys says of records.
func (w *world) findings() (r *evidence.Report) {
	w.t.Helper()
	ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	defer ring.Close()
	if r, err = evidence.Verify(w.dir, evidence.VerifyOptions{Keys: ring}); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// A key that cannot be read is listed with the records that hang on it, and stands in the way of a
// rotation until somebody gives it up: for a reason, with another one's approval, on record first. A
// verifier goes on to say MISSING of what is lost, and names the record that tells of it.
func TestGiveUpADamagedKey(t *testing.T) {
	for _, beside := range []bool{false, true} {
		for _, at := range []int{5, 60} { // in its handle, and in the key
			t.Run(fmt.Sprintf("beside a daemon %v, byte %d", beside, at), func(t *testing.T) {
				w := newWorld(t)
				w.write(say{"2026-01-01", "u1", "a"}, say{"2026-01-02", "u2", "b"}, say{"2026-01-03", "u2", "c"}, say{"2026-01-04", "u3", "d"})
				w.beside = beside
				if list := w.damaged(); len(list) != 0 {
					t.Fatalf("%+v", list)
				}
				w.spoilKey(1, at)
				list := w.damaged()
				if len(list) != 1 || list[0].Name != "content/2026-01.keys:1" || list[0].File != "keys/content/2026-01.keys" || list[0].Offset != keyEntrySize ||
					list[0].Records != 2 || len(list[0].Handles) != 1 {
					t.Fatalf("%+v", list)
				}
				rotate := func(c *Conn) error { _, err := c.Rotate(context.Background()); return err }
				if err := w.at(rotate); err == nil || !strings.Contains(err.Error(), "keys cannot be read") {
					t.Fatal(err)
				}
				var index int64
				w.must(func(c *Conn) error {
					i, k, err := c.GiveUp(context.Background(), giveUp(list[0].Name))
					index = i
					if k.Records != 2 {
						t.Errorf("%+v", k)
					}
					return err
				})
				if list := w.damaged(); len(list) != 0 {
					t.Fatalf("%+v", list)
				}
				w.must(rotate)
				if got := fmt.Sprint(w.readable()); got != "[a d]" {
					t.Errorf("readable: %s", got)
				}
				r := w.findings()
				if r.Verdicts[evidence.Missing] != 2 || r.Alarms != 2 {
					t.Errorf("%v, %d alarms", r.Verdicts, r.Alarms)
				}
				for _, f := range r.Findings {
					if f.Verdict.Alarm() && !strings.Contains(f.Detail, fmt.Sprintf("record #%d says that it could not be read any more, and who gave it up", index)) {
						t.Errorf("%s", f)
					}
				}
				var told GivenUp
				if _, err := evidence.WalkAudit(w.dir, "1", index, func(e evidence.Entry) error {
					if e.Index != index || e.Kind != evidence.KindDamaged {
						return nil
					}
					return json.Unmarshal(e.Body, &told)
				}); err != nil {
					t.Fatal(err)
				}
				if told.File != "keys/content/2026-01.keys" || told.Index != -1 || told.Reason != "no copy has it" || told.By != "zhao" || told.ApprovedBy != "wang" ||
					told.Records != 2 || len(told.Handles) != 1 || told.Handles[0] != list[0].Handles[0] {
					t.Errorf("on record: %+v", told)
				}
			})
		}
	}
}

// Where the damage is in two keys of a file and hit the handle of one, each is told what may be its own.
func TestDamagedKeysOfOneFile(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-01", "u1", "a"}, say{"2026-01-02", "u2", "b"}, say{"2026-01-03", "u3", "c"}, say{"2026-01-04", "u2", "d"})
	w.spoilKey(0, 9)  // the handle
	w.spoilKey(1, 70) // the key
	list := w.damaged()
	if len(list) != 2 || list[0].Records != 1 || list[1].Records != 2 || len(list[0].Handles) != 1 || len(list[1].Handles) != 1 || list[0].Handles[0] == list[1].Handles[0] {
		t.Fatalf("%+v", list)
	}
	w.spoilKey(1, 9)
	for _, k := range w.damaged() {
		if k.Records != 3 || len(k.Handles) != 2 {
			t.Errorf("%+v", k)
		}
	}
}

// Nothing is given up that can be read, nor without saying who and why.
func TestGiveUpRefuses(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-01", "u1", "a"})
	for want, spoil := range map[string]func(*GiveUpRequest){
		"say why":                        func(r *GiveUpRequest) { r.Reason = " " },
		"say by whom":                    func(r *GiveUpRequest) { r.By = "" },
		"say who approved that":          func(r *GiveUpRequest) { r.ApprovedBy = "" },
		"cannot be who approves it":      func(r *GiveUpRequest) { r.ApprovedBy = r.By },
		"is no key that cannot be read;": func(*GiveUpRequest) {},
	} {
		r := giveUp("content/2026-01.keys:0")
		spoil(&r)
		if err := w.at(func(c *Conn) error { _, _, err := c.GiveUp(context.Background(), r); return err }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Asked of the daemon itself, too.
	l, ring := w.open()
	works := &local{log: l, dir: w.dir, ring: ring}
	if _, err := works.giveUp(context.Background(), givingUp{Key: keys.Damage{Class: "content", Month: 672}}); err == nil || !strings.Contains(err.Error(), "can be read, or is not there") {
		t.Error(err)
	}
	if err := errors.Join(l.Close(), ring.Close()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.readable()); got != "[a]" {
		t.Errorf("readable: %s", got)
	}
}

// Whatever a process dies at, a key is given up on record or not at all, and asking again does the rest.
func TestGiveUpDies(t *testing.T) {
	for at := 1; at <= 2; at++ {
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			w.write(say{"2026-01-01", "u1", "a"}, say{"2026-01-02", "u2", "b"})
			w.spoilKey(1, 60)
			l, ring := w.open()
			d := &dying{at: at, after: after}
			// The two effects of the worker, in their order.
			works := &local{log: l, dir: w.dir, ring: ring}
			found, err := works.damaged(context.Background())
			if err != nil || len(found) != 1 {
				t.Fatalf("%+v, %v", found, err)
			}
			g := givingUp{Key: found[0].At, Body: GivenUp{DamagedBody: evidence.DamagedBody{File: found[0].File, Index: -1}, GivenUp: evidence.GivenUp{Handles: found[0].Handles, By: "zhao"}}}
			err = d.step(func() error { _, err := works.record(context.Background(), g); return err })
			if err == nil {
				err = d.step(func() error { return ring.GiveUp(g.Key) })
			}
			if !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			if err := errors.Join(l.Close(), ring.Close()); err != nil {
				t.Fatal(err)
			}
			if list := w.damaged(); len(list) == 1 {
				w.must(func(c *Conn) error {
					_, _, err := c.GiveUp(context.Background(), giveUp(list[0].Name))
					return err
				})
			}
			r := w.findings()
			if r.Verdicts[evidence.Missing] != 1 || r.Alarms != 1 || !strings.Contains(r.FirstBad.Detail, "who gave it up") {
				t.Errorf("died at %d, after %v: %v, %+v", at, after, r.Verdicts, r.FirstBad)
			}
		}
	}
}
