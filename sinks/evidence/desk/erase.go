package desk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// EraseRequest says who is to be erased, and who says so.
type EraseRequest struct {
	Subject string // a user id, or "pseudonym:" and a pseudonym
	By      string
	Basis   string
	Reason  string
	// EscrowKey, if not empty, is the public key to which the keys are sealed before they
	// are destroyed, for audits until the day EscrowUntil.
	EscrowKey   string
	EscrowUntil time.Time
}

// Erasure says what became of a person's keys.
type Erasure struct {
	Shredded   int       // keys destroyed now
	Restricted int       // keys put aside until a duty ends
	Until      time.Time // the last day of the longest legal minimum, zero if none runs
	Holds      []string  // ids of the holds that stand against it
	Records    int64     // that cannot be read any more
	EscrowFile string
}

// Erase destroys the keys of a person in all classes, so that no record about him can
// be read any more, and takes him out of the indexes. Where a legal minimum or a hold
// still runs, the keys are put aside instead, and destroyed when the last duty ends.
// What is written of him later has new keys. [ErrNothing] if there are no keys of him.
//
// The records come first. If the process dies after them, the next start of the daemon,
// or the next command at the desk, does the rest.
//
// Clause: rn-erase
// A person is erased by destroying keys, recorded with reason and the records concerned; while a duty runs they are put aside; a sealed escrow can be kept for audits.
func (c *Conn) Erase(ctx context.Context, r EraseRequest) (done Erasure, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return done, err
	}
	defer unlock()
	if r.By == "" || r.Basis == "" || r.Reason == "" {
		return done, errors.New("an erasure says who asked for it, on which basis, and why: give all of them")
	}
	s, err := readState(c.dir, nil)
	if err != nil {
		return done, err
	}
	p, err := c.works.about(ctx, r.Subject)
	if err != nil {
		return done, err
	}
	if len(p.allHandles()) == 0 {
		return done, fmt.Errorf("%w: there are no keys of this person", ErrNothing)
	}
	for class := range p.Handles {
		if !c.o.Retention[class].Minimum.IsSet() {
			return done, fmt.Errorf("evidence.retention.%s.minimum is unset, so nobody can say whether a duty to keep records of class %s still runs; set it, 0 days if there is none", class, class)
		}
	}
	fates, err := c.fatesOf(s, &p)
	if err != nil {
		return done, err
	}
	if r.EscrowKey != "" {
		if done.EscrowFile, err = c.works.escrow(ctx, escrowing{p.allHandles(), r.EscrowKey, r.EscrowUntil}); err != nil {
			return done, err
		}
	}
	for _, f := range fates {
		if f.now {
			err = c.recordShred(ctx, &r, f, &done)
		} else {
			err = c.recordRestricted(ctx, &r, f, &done)
		}
		if err != nil {
			return done, err
		}
	}
	if err := c.resume(ctx); err != nil {
		return done, err
	}
	return done, c.shredDue(ctx)
}

// fate is what happens to keys of one person that share it.
type fate struct {
	now     bool
	until   time.Time // the last day of the duty
	handles []string
	places  map[place]bool
	holds   map[string]bool
}

// fatesOf decides of each key of a person whether it goes now.
func (c *Conn) fatesOf(s *state, p *person) (list []*fate, err error) {
	x, err := c.search(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	now := c.o.Now().UTC()
	byDay := make(map[string]*fate)
	for _, class := range keyed() {
		places, err := x.ofHandles(p.Handles[class], p.Terms[class])
		if err != nil {
			return nil, err
		}
		for _, text := range p.Handles[class] {
			h, err := keys.ParseHandle(text)
			if err != nil {
				return nil, err
			}
			// The last record under a key may be of the first moment of the next month.
			end := c.o.Retention[class].Minimum.After(monthStart(h.Month()).AddDate(0, 1, 1))
			held := make(map[string]bool)
			for at := range places[text] {
				ids, err := x.holdsOn(s, class, at)
				if err != nil {
					return nil, err
				}
				for _, id := range ids {
					held[id] = true
				}
			}
			f := &fate{now: !end.After(now) && len(held) == 0}
			key := "now"
			if !f.now {
				f.until = end.AddDate(0, 0, -1)
				key = day(f.until)
			}
			if byDay[key] == nil {
				f.places, f.holds = make(map[place]bool), make(map[string]bool)
				byDay[key] = f
			}
			f = byDay[key]
			f.handles = append(f.handles, text)
			maps.Copy(f.places, places[text])
			maps.Copy(f.holds, held)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byDay)) {
		list = append(list, byDay[key])
	}
	return list, nil
}

func (c *Conn) recordShred(ctx context.Context, r *EraseRequest, f *fate, done *Erasure) error {
	body := Shred{RequestedBy: r.By, Basis: r.Basis, Reason: r.Reason, Handles: f.handles, Escrow: done.EscrowFile != "", EscrowFile: done.EscrowFile}
	for _, part := range rangesOf(f.places) {
		body.Records = part
		if _, _, err := c.Append(ctx, evidence.KindShred, body); err != nil {
			return fmt.Errorf("record what is shredded: %w", err)
		}
	}
	done.Shredded += len(f.handles)
	done.Records += int64(len(f.places))
	return nil
}

func (c *Conn) recordRestricted(ctx context.Context, r *EraseRequest, f *fate, done *Erasure) error {
	body := Restricted{RequestedBy: r.By, Basis: r.Basis, Reason: r.Reason, Handles: f.handles, Until: day(f.until), Holds: slices.Sorted(maps.Keys(f.holds))}
	for _, part := range rangesOf(f.places) {
		body.Records = part
		if _, _, err := c.Append(ctx, evidence.KindRestricted, body); err != nil {
			return fmt.Errorf("record what is restricted: %w", err)
		}
	}
	done.Restricted += len(f.handles)
	done.Records += int64(len(f.places))
	if f.until.After(done.Until) {
		done.Until = f.until
	}
	done.Holds = append(done.Holds, body.Holds...)
	slices.Sort(done.Holds)
	done.Holds = slices.Compact(done.Holds)
	return nil
}

// maxRanges is how many runs of records one statement names; more take another one.
const maxRanges = 100_000

// rangesOf writes where records are as runs, in parts that fit into a statement. There
// is one part at least.
func rangesOf(places map[place]bool) [][]Ranges {
	byGeneration := make(map[string][]int64)
	for p := range places {
		byGeneration[p.generation] = append(byGeneration[p.generation], p.index)
	}
	parts := [][]Ranges{{}}
	n := 0
	for _, g := range slices.Sorted(maps.Keys(byGeneration)) {
		list := byGeneration[g]
		slices.Sort(list)
		current := Ranges{Generation: g}
		flush := func() {
			if len(current.Ranges) > 0 {
				last := len(parts) - 1
				parts[last] = append(parts[last], current)
			}
			current.Ranges = nil
		}
		for _, i := range list {
			if last := len(current.Ranges) - 1; last >= 0 && current.Ranges[last][1] == i {
				current.Ranges[last][1]++
				continue
			}
			if n == maxRanges {
				flush()
				parts = append(parts, []Ranges{})
				n = 0
			}
			current.Ranges = append(current.Ranges, [2]int64{i, i + 1})
			n++
		}
		flush()
	}
	return parts
}

// ofHandles returns where the records are that are encrypted with each of the keys. They
// are looked for by the person's term; where an index is missing, everywhere.
func (x *search) ofHandles(handles []string, term string) (map[string]map[place]bool, error) {
	found := make(map[string]map[place]bool)
	for _, h := range handles {
		found[h] = make(map[place]bool)
	}
	if len(handles) == 0 {
		return found, nil
	}
	maybe, err := x.byTerm(term)
	if errors.Is(err, evidence.ErrNoIndex) {
		maybe, err = x.everywhere()
	}
	if err != nil {
		return nil, err
	}
	for at := range maybe {
		rec, err := x.bodies[at.generation].Record(at.index)
		if err != nil {
			return nil, err
		}
		if len(rec.Handle) != len(keys.Handle{}) {
			continue // its body is gone
		}
		if of := found[keys.Handle(rec.Handle).String()]; of != nil {
			of[at] = true
		}
	}
	return found, nil
}

func (x *search) everywhere() (map[place]bool, error) {
	return x.all("everywhere", func(b *evidence.Bodies) ([]int64, error) {
		n, err := b.Size()
		list := make([]int64, n)
		for i := range list {
			list[i] = int64(i)
		}
		return list, err
	})
}

// holdsOn returns the ids of the holds in force that are on a record.
func (x *search) holdsOn(s *state, class string, at place) (ids []string, err error) {
	for _, h := range s.active() {
		on, err := x.covers(&h.Body, class, at)
		if err != nil {
			return nil, err
		}
		if on {
			ids = append(ids, h.ID)
		}
	}
	return ids, nil
}

// heldBy returns the ids of the holds in force that are on any of the records.
func (x *search) heldBy(s *state, records []Ranges) ([]string, error) {
	held := make(map[string]bool)
	for _, r := range records {
		for _, run := range r.Ranges {
			for i := run[0]; i < run[1]; i++ {
				rec, err := x.bodies[r.Generation].Record(i)
				if err != nil {
					return nil, err
				}
				ids, err := x.holdsOn(s, rec.Class().String(), place{r.Generation, i})
				if err != nil {
					return nil, err
				}
				for _, id := range ids {
					held[id] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(held)), nil
}
