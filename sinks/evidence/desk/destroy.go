package desk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// keyFile takes the name of a key file apart.
func keyFile(name string) (class string, m keys.Month, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || parts[0] != "keys" || !slices.Contains(keyed(), parts[1]) {
		return "", 0, false
	}
	text, ok := strings.CutSuffix(parts[2], ".keys")
	if !ok {
		text, ok = strings.CutSuffix(parts[2], ".restricted")
	}
	m, err := keys.ParseMonth(text)
	return parts[1], m, ok && err == nil
}

// destroy carries out what was approved. Each step can be done again, and is, from the
// beginning, if the process dies within:
//
//  1. What holds keep is copied to body/hold/. If it dies here, everything is still
//     there.
//  2. The body files are unlinked, each only if it is the one that was approved, and
//     its directory synced. If it dies here, some are gone, and the destroy record
//     says why.
//  3. The indexes forget what those records were looked up by, but for what is kept.
//  4. The key files go, but for the keys of what is kept.
//  5. The destroyed record. If it dies before, the next start does all of it again and
//     finds nothing left to do; if it dies after, the record is written once more under
//     the same id.
func (c *Conn) destroy(ctx context.Context, s *state, d *recorded[Destroy]) error {
	// Who can write the directory can also append records, but not sign them. Such a
	// record stays in the log for ever, so it must not stop anybody.
	if err := c.approved(s, d); err != nil {
		c.o.Logger.Error("a destroy record is not a plan that a reviewer approved; nothing is unlinked by it", "generation", d.Generation, "index", d.Index, "err", err)
		return nil
	}
	if err := c.carry(d); err != nil {
		return err
	}
	var sealed []string
	for _, f := range d.Body.Files {
		if err := c.unlinkPlanned(&f); err != nil {
			return err
		}
		sealed = append(sealed, sealedName(f.File))
	}
	if err := c.works.clear(ctx, sealed); err != nil {
		return fmt.Errorf("take what was destroyed out of the indexes: %w", err)
	}
	for _, name := range d.Body.KeyFiles {
		if err := c.dropPlanned(ctx, s, name); err != nil {
			return err
		}
	}
	if s.destroyed[d.ID] {
		return nil // it is a repetition, after files were restored
	}
	body := Destroyed{Destroy: d.ID, Files: d.Body.Files, KeyFiles: d.Body.KeyFiles}
	if _, err := c.appendAs(ctx, derivedID(evidence.KindDestroyed, d.ID), evidence.KindDestroyed, body); err != nil {
		return fmt.Errorf("record what was destroyed: %w", err)
	}
	return nil
}

// approved checks that a destroy record is the plan it names, signed by a reviewer.
func (c *Conn) approved(s *state, d *recorded[Destroy]) error {
	plan, err := find(s.plans, d.Body.Plan.Plan)
	if err != nil {
		return err
	}
	if plan == nil || plan.ID != d.Body.Plan.Plan {
		return errors.New("it names a plan that is not in the log")
	}
	// Whoever approved what is done already may not be a reviewer any more.
	if !s.destroyed[d.ID] && c.o.Reviewers[d.Body.ApprovedBy] != d.Body.Key {
		return fmt.Errorf("its key is not that of a reviewer; evidence.reviewers has another one, or none, for %q", d.Body.ApprovedBy)
	}
	p := d.Body.Plan
	p.Plan = plan.Body.Plan
	if !samePlan(&p, &plan.Body) {
		return errors.New("it is not the plan that was approved")
	}
	if err := checkApproval(c.originOf(plan.Generation), plan, &d.Body); err != nil {
		return fmt.Errorf("its signature: %w", err)
	}
	for _, f := range p.Files {
		if !planned(p.Class, f.File) {
			return fmt.Errorf("%s is no body file of class %s", f.File, p.Class)
		}
	}
	for _, k := range p.KeyFiles {
		if class, _, ok := keyFile(k); !ok || class != p.Class {
			return fmt.Errorf("%s is no key file of class %s", k, p.Class)
		}
	}
	return nil
}

// originOf returns the name of the log of a generation: that of ours, but for its end.
func (c *Conn) originOf(generation string) string {
	return c.o.Log.Origin[:strings.LastIndexByte(c.o.Log.Origin, '/')+1] + generation
}

// carry copies what holds keep of the files of a plan.
func (c *Conn) carry(d *recorded[Destroy]) error {
	if len(d.Body.KeptForHolds) == 0 {
		return nil
	}
	s, err := readState(c.dir, nil)
	if err != nil {
		return err
	}
	var names []string
	for _, f := range d.Body.Files {
		if _, err := os.Stat(filepath.Join(c.dir, f.File)); err == nil {
			names = append(names, f.File)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return c.eachHeld(context.Background(), s, names, func(h *recorded[Hold], name string, held map[int64]bool) error {
		to := filepath.ToSlash(evidence.HoldFile(h.ID, sealedName(name)))
		if to == name {
			return nil // it is in its place
		}
		n, err := c.calls.keep(c.dir, name, to, func(index int64) bool { return held[index] })
		if err == nil && n != len(held) {
			err = fmt.Errorf("%d of %d bodies were copied", n, len(held))
		}
		if err != nil {
			return fmt.Errorf("keep what the hold %s is on: %w", h.ID, err)
		}
		return nil
	})
}

// unlinkPlanned unlinks one file of a plan, if it is the one that was approved.
func (c *Conn) unlinkPlanned(f *File) error {
	path := filepath.Join(c.dir, f.File)
	sum, err := disk.Sum(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && sum != f.SHA256 {
		return fmt.Errorf("%s is not what was approved: its SHA-256 is %s, the destroy record has %s; it is not unlinked: see what it is, and move it elsewhere", f.File, sum, f.SHA256)
	}
	if err := c.calls.unlink(path); err != nil {
		return fmt.Errorf("unlink %s: %w", f.File, err)
	}
	// The day goes with its last file. If it is not empty, or gone, that is as well.
	_ = os.Remove(filepath.Dir(path))
	return nil
}

// dropPlanned destroys the keys of a month, but for those of bodies that holds keep.
func (c *Conn) dropPlanned(ctx context.Context, s *state, name string) error {
	class, month, _ := keyFile(name)
	d := dropping{Class: class, Month: month.String()}
	for _, h := range s.active() {
		err := c.filesIn("body/hold/"+h.ID+"/"+class, func(file string) {
			d.Keep = append(d.Keep, file)
		})
		if err != nil {
			return err
		}
	}
	files := d.Keep
	d.Keep = []string{}
	for _, file := range files {
		err := evidence.WalkBodyFile(c.dir, file, func(b evidence.MovedBody) error {
			if len(b.Handle) == len(keys.Handle{}) && keys.Handle(b.Handle).Month() == month {
				d.Keep = append(d.Keep, keys.Handle(b.Handle).String())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(d.Keep)
	d.Keep = slices.Compact(d.Keep)
	if err := c.works.drop(ctx, d); err != nil {
		return fmt.Errorf("destroy %s: %w", name, err)
	}
	return nil
}
