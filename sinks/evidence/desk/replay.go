package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// markFile says, beside the keys, how far the log's records of destruction have been
// applied to them and to the bodies. It is copied and restored with the keys: a copy
// of yesterday says yesterday, and what was destroyed since is destroyed again before
// anything is opened.
const markFile = "keys/applied"

type mark struct {
	Format int              `json:"format"` // 1
	Next   map[string]int64 `json:"next"`   // by generation: the first record not looked at
}

func readMark(dir string) (m mark, err error) {
	path := filepath.Join(dir, markFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Format != 1 {
		return m, fmt.Errorf("%s cannot be read; run weir evidence restore, which makes it anew", path)
	}
	return m, nil
}

// setMark says that everything before next is applied. If the process dies before it is
// durable, what is applied already is applied once more.
func (c *Conn) setMark(next map[string]int64) error {
	b, err := json.Marshal(mark{1, next})
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, markFile)
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil // no keys, so none that could come back
	}
	return c.calls.replace(path, append(b, '\n'))
}

// Erased returns the keys that the log says were destroyed and that may not be yet: of
// records younger than the directory of the keys knows of. They are for Erased of
// keys.Options: a directory that was restored from a copy is not read before they are
// gone.
func Erased(dir string) ([]keys.Handle, error) {
	m, err := readMark(dir)
	if err != nil {
		return nil, err
	}
	s, err := readState(dir, m.Next)
	if err != nil {
		return nil, err
	}
	list := make([]keys.Handle, 0, len(s.erased))
	for h := range s.erased {
		list = append(list, h)
	}
	return list, nil
}

// lock waits until nobody else works at the desk, and finishes what was interrupted.
func (c *Conn) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "desk.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	unlock = func() { f.Close() } //nolint:errcheck // nothing is written to it
	if err := flock(ctx, f); err != nil {
		unlock()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err := c.resume(ctx); err != nil {
		unlock()
		return nil, fmt.Errorf("finish what was begun before: %w", err)
	}
	return unlock, nil
}

// Resume finishes what an earlier process was about to do when it died, and destroys
// again what came back with a copy of the keys. The daemon calls it before anything is
// read or written.
func (c *Conn) Resume(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	unlock()
	return nil
}

// Restore destroys everything again that the log says was destroyed, from its first
// record on: after files of the evidence were restored from a copy.
//
// Clause: rn-erase
// What was erased stays so when a backup comes back: all records of destruction are applied again before anything is opened.
func (c *Conn) Restore(ctx context.Context) error {
	if _, remote := c.works.(*remote); remote {
		return errors.New("a daemon holds the log; stop it first, restore the files, run this, then start it")
	}
	path := filepath.Join(c.dir, markFile)
	if err := c.calls.unlink(path); err != nil {
		return err
	}
	return c.Resume(ctx)
}

// resume applies the records of destruction that are not known to be applied.
func (c *Conn) resume(ctx context.Context) error {
	m, err := readMark(c.dir)
	if err != nil {
		return err
	}
	s, err := readState(c.dir, m.Next)
	if err != nil {
		return err
	}
	for _, r := range s.waiting {
		until, err := time.Parse(time.DateOnly, r.Body.Until)
		if err != nil {
			return fmt.Errorf("record %d, restricted: %w", r.Index, err)
		}
		if err := c.works.restrict(ctx, restricting{r.Body.Handles, until}); err != nil {
			return err
		}
	}
	for _, r := range s.shreds {
		if err := c.works.shred(ctx, shredding{r.Body.Handles, r.Body.Records}); err != nil {
			return err
		}
	}
	if len(s.destroys) > 0 {
		// A plan, a hold or what was destroyed may be older than the mark.
		all, err := readState(c.dir, nil)
		if err != nil {
			return err
		}
		for i := range s.destroys {
			if err := c.destroy(ctx, all, &s.destroys[i]); err != nil {
				return fmt.Errorf("%w: %w", ErrUndone, err)
			}
		}
	}
	if reflect.DeepEqual(m.Next, s.next) {
		return nil
	}
	return c.setMark(s.next)
}

// samePlan reports whether two plans are the same, as they are written.
func samePlan(a, b *Plan) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}

// shredDue shreds the keys that were put aside for a duty that has ended, unless a hold
// stands against it.
func (c *Conn) shredDue(ctx context.Context) (err error) {
	due, err := c.works.due(ctx)
	if err != nil || len(due) == 0 {
		return err
	}
	s, err := readState(c.dir, nil)
	if err != nil {
		return err
	}
	x, err := c.search(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	ended := make(map[string]bool)
	for _, h := range due {
		ended[h] = true
	}
	for _, r := range s.waiting {
		if s.ended[r.ID] || !allIn(r.Body.Handles, ended) {
			continue
		}
		held, err := x.heldBy(s, r.Body.Records)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			continue
		}
		body := Shred{RequestedBy: r.Body.RequestedBy, Basis: r.Body.Basis, Reason: r.Body.Reason,
			Handles: r.Body.Handles, Records: r.Body.Records, Restricted: []string{r.ID}}
		if _, err := c.appendAs(ctx, derivedID(evidence.KindShred, r.ID), evidence.KindShred, body); err != nil {
			return fmt.Errorf("record what is shredded: %w", err)
		}
	}
	return c.resume(ctx)
}

func allIn(list []string, set map[string]bool) bool {
	for _, s := range list {
		if !set[s] {
			return false
		}
	}
	return true
}

// ShredDue shreds the keys that were put aside until now: see [Conn.Erase]. The daemon
// calls it now and then.
func (c *Conn) ShredDue(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.shredDue(ctx)
}
