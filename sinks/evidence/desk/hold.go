package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// HoldRequest says what must be kept, and who says so.
type HoldRequest struct {
	Records    []string  // ids
	Subject    string    // a user id, or "pseudonym:" and a pseudonym
	Class      string    // empty: all
	From, To   time.Time // recorded at or after, and before; zero: no bound
	Authority  string
	Reason     string
	By         string
	ApprovedBy string
}

// Hold records that records must be kept beyond their day. They are looked for when
// their day is to be destroyed: those that meet all that is given are copied to
// body/hold/<id of the hold>/ first, and their keys stay. A hold never keeps a day.
func (c *Conn) Hold(ctx context.Context, r HoldRequest) (index int64, id evidence.ID, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, id, err
	}
	defer unlock()
	switch {
	case r.Authority == "" || r.Reason == "" || r.By == "" || r.ApprovedBy == "":
		return 0, id, errors.New("a hold says on whose authority it is set, why, by whom, and who approved it: give all of them")
	case len(r.Records) == 0 && r.Subject == "" && r.From.IsZero() && r.To.IsZero():
		return 0, id, errors.New("what is to be kept? give record ids, a subject, or a time")
	case r.Class != "" && !slices.Contains(keptClasses(), r.Class):
		return 0, id, fmt.Errorf("%q is no class whose bodies are ever destroyed; there are %v", r.Class, keptClasses())
	case !r.From.IsZero() && !r.To.IsZero() && !r.From.Before(r.To):
		return 0, id, errors.New("the time ends before it begins")
	}
	h := Hold{Scope: Scope{Records: r.Records, Class: r.Class}, Authority: r.Authority, Reason: r.Reason, SetBy: r.By, ApprovedBy: r.ApprovedBy}
	for _, x := range r.Records {
		if _, err := parseID(x); err != nil {
			return 0, id, err
		}
	}
	if r.Subject != "" {
		p, err := c.works.about(ctx, r.Subject)
		if err != nil {
			return 0, id, err
		}
		h.Scope.Subject = p.Terms
	}
	if !r.From.IsZero() {
		h.Scope.From = new(r.From.UTC())
	}
	if !r.To.IsZero() {
		h.Scope.To = new(r.To.UTC())
	}
	return c.Append(ctx, evidence.KindHold, h)
}

// ReleaseRequest says which hold ends, and who says so.
type ReleaseRequest struct {
	Hold       string // id of the hold record, or the beginning of it
	Authority  string
	Reason     string
	By         string
	ApprovedBy string
}

// Release records that a hold ended. What it kept is destroyed by the next plan of its
// class; keys that were put aside because of it are shredded when nothing else stands
// against that.
func (c *Conn) Release(ctx context.Context, r ReleaseRequest) (index int64, id evidence.ID, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, id, err
	}
	defer unlock()
	if r.Authority == "" || r.Reason == "" || r.By == "" || r.ApprovedBy == "" {
		return 0, id, errors.New("a release says on whose authority the hold ends, why, by whom, and who approved it: give all of them")
	}
	s, err := readState(c.dir, nil)
	if err != nil {
		return 0, id, err
	}
	h, err := find(s.holds, r.Hold)
	switch {
	case err != nil:
		return 0, id, err
	case h == nil:
		return 0, id, fmt.Errorf("there is no hold with an id that begins with %q", r.Hold)
	case s.released[h.ID]:
		return 0, id, fmt.Errorf("the hold %s was released before", h.ID)
	}
	index, id, err = c.Append(ctx, evidence.KindRelease, Release{Hold: h.ID, Authority: r.Authority, Reason: r.Reason, ReleasedBy: r.By, ApprovedBy: r.ApprovedBy})
	if err != nil {
		return 0, id, err
	}
	return index, id, c.shredDue(ctx)
}

// keptClasses are the classes whose bodies can be destroyed, and so kept.
func keptClasses() []string {
	return []string{evidence.ClassContent.String(), evidence.ClassPush.String(), evidence.ClassPolicy.String()}
}

// ActiveHold is a hold that nobody has released.
type ActiveHold struct {
	ID    string
	Index int64
	Hold  Hold
}

// Holds lists the holds that nobody has released.
func (c *Conn) Holds() ([]ActiveHold, error) {
	s, err := readState(c.dir, nil)
	if err != nil {
		return nil, err
	}
	var list []ActiveHold
	for _, h := range s.active() {
		list = append(list, ActiveHold{h.ID, h.Index, h.Body})
	}
	return list, nil
}

// search looks records up, in all generations.
type search struct {
	dir    string
	bodies map[string]*evidence.Bodies // by generation
	found  map[string]map[place]bool   // by what was looked for
}

// place is where a record is.
type place struct {
	generation string
	index      int64
}

func (c *Conn) search(s *state) (*search, error) {
	x := &search{dir: c.dir, bodies: make(map[string]*evidence.Bodies), found: make(map[string]map[place]bool)}
	for g := range s.next {
		b, err := evidence.OpenBodies(c.dir, g)
		if err != nil {
			return nil, errors.Join(err, x.close())
		}
		x.bodies[g] = b
	}
	return x, nil
}

func (x *search) close() error {
	var errs []error
	for _, b := range x.bodies {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// all returns where the records are that look finds, in all generations.
func (x *search) all(what string, look func(b *evidence.Bodies) ([]int64, error)) (map[place]bool, error) {
	if found, ok := x.found[what]; ok {
		return found, nil
	}
	found := make(map[place]bool)
	for g, b := range x.bodies {
		list, err := look(b)
		if err != nil {
			return nil, err
		}
		for _, i := range list {
			found[place{g, i}] = true
		}
	}
	x.found[what] = found
	return found, nil
}

func (x *search) byID(id string) (map[place]bool, error) {
	return x.all("id "+id, func(b *evidence.Bodies) ([]int64, error) {
		record, err := parseID(id)
		if err != nil {
			return nil, err
		}
		return b.ByID(record)
	})
}

func (x *search) byTerm(hex string) (map[place]bool, error) {
	return x.all("term "+hex, func(b *evidence.Bodies) ([]int64, error) {
		term, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("term %q: %w", hex, err)
		}
		return b.ByTerm(term)
	})
}

// covers reports whether a hold is on a record of the class.
func (x *search) covers(h *Hold, class string, at place) (bool, error) {
	scope := &h.Scope
	if scope.Class != "" && scope.Class != class {
		return false, nil
	}
	if len(scope.Records) > 0 {
		named := false
		for _, id := range scope.Records {
			found, err := x.byID(id)
			if err != nil {
				return false, err
			}
			named = named || found[at]
		}
		if !named {
			return false, nil
		}
	}
	if scope.Subject != nil {
		found, err := x.byTerm(cmp.Or(scope.Subject[class], "0"))
		if err != nil {
			return false, err
		}
		if !found[at] {
			return false, nil
		}
	}
	if scope.From == nil && scope.To == nil {
		return true, nil
	}
	rec, err := x.bodies[at.generation].Record(at.index)
	if err != nil {
		return false, err
	}
	return (scope.From == nil || !rec.Time().Before(*scope.From)) && (scope.To == nil || rec.Time().Before(*scope.To)), nil
}

// kept says what the holds in force keep of body files.
func (c *Conn) kept(ctx context.Context, s *state, names []string) ([]Kept, error) {
	list := []Kept{}
	err := c.eachHeld(ctx, s, names, func(h *recorded[Hold], name string, held map[int64]bool) error {
		list = append(list, Kept{Hold: h.ID, File: name, Records: int64(len(held))})
		return nil
	})
	return list, err
}

// eachHeld calls fn for the holds in force and the files of which they keep something.
func (c *Conn) eachHeld(ctx context.Context, s *state, names []string, fn func(h *recorded[Hold], name string, held map[int64]bool) error) (err error) {
	holds := s.active()
	if len(holds) == 0 {
		return nil
	}
	x, err := c.search(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	for _, name := range names {
		generation, _, class, _, ok := evidence.ParseBodyFile(sealedName(name))
		if !ok {
			return fmt.Errorf("%s: not the name of a body file", name)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range holds {
			held := make(map[int64]bool)
			err := evidence.WalkBodyFile(c.dir, name, func(b evidence.MovedBody) error {
				on, err := x.covers(&holds[i].Body, class, place{generation, b.Index})
				if on {
					held[b.Index] = true
				}
				return err
			})
			if err != nil {
				return err
			}
			if len(held) > 0 {
				if err := fn(&holds[i], name, held); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
