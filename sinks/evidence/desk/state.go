package desk

import (
	"encoding/json"
	"fmt"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// recorded is a statement with its place in the log.
type recorded[T any] struct {
	ID         string
	Generation string
	Index      int64
	Raw        []byte // the body as it was written
	Body       T
}

// state is what the records of all generations say of retention.
type state struct {
	next      map[string]int64  // by generation: where reading ended
	sealed    map[string]string // body files by name: the SHA-256 they were sealed with
	segments  map[string]bool   // "<generation>/<first>" of segments that are sealed
	plans     []recorded[Plan]
	destroys  []recorded[Destroy]
	destroyed map[string]bool // by id of the destroy record
	holds     []recorded[Hold]
	released  map[string]bool // by id of the hold record
	shreds    []recorded[Shred]
	erased    map[keys.Handle]bool
	waiting   []recorded[Restricted]
	ended     map[string]bool // by id of the restricted record
}

// readState reads the records from the given indices on, by generation; a
// generation that is not named is read whole.
func readState(dir string, from map[string]int64) (*state, error) {
	s := &state{
		next: make(map[string]int64), sealed: make(map[string]string), segments: make(map[string]bool),
		destroyed: make(map[string]bool), released: make(map[string]bool), erased: make(map[keys.Handle]bool), ended: make(map[string]bool),
	}
	gens, err := evidence.Generations(dir)
	if err != nil {
		return nil, fmt.Errorf("read what the log says of retention: %w", err)
	}
	for _, g := range gens {
		s.next[g], err = evidence.WalkAudit(dir, g, from[g], func(e evidence.Entry) error { return s.take(g, &e) })
		if err != nil {
			return nil, fmt.Errorf("read what the log says of retention: %w", err)
		}
	}
	return s, nil
}

// take adds what one record says. A record that was written again after a crash says
// the same once more.
func (s *state) take(generation string, e *evidence.Entry) error {
	switch e.Kind {
	case evidence.KindSeal:
		r, err := parse[struct {
			First  int64
			Bodies []struct{ File, SHA256 string }
		}](generation, e)
		if err != nil {
			return err
		}
		s.segments[fmt.Sprintf("%s/%d", generation, r.Body.First)] = true
		for _, f := range r.Body.Bodies {
			s.sealed[f.File] = f.SHA256
		}
	case evidence.KindDestroyPlan:
		return add(&s.plans, generation, e)
	case evidence.KindDestroy:
		return add(&s.destroys, generation, e)
	case evidence.KindDestroyed:
		r, err := parse[Destroyed](generation, e)
		s.destroyed[r.Body.Destroy] = true
		return err
	case evidence.KindHold:
		return add(&s.holds, generation, e)
	case evidence.KindRelease:
		r, err := parse[Release](generation, e)
		s.released[r.Body.Hold] = true
		return err
	case evidence.KindShred:
		if err := add(&s.shreds, generation, e); err != nil {
			return err
		}
		r := s.shreds[len(s.shreds)-1]
		handles, err := parseHandles(r.Body.Handles)
		if err != nil {
			return err
		}
		for _, h := range handles {
			s.erased[h] = true
		}
		for _, id := range r.Body.Restricted {
			s.ended[id] = true
		}
	case evidence.KindRestricted:
		return add(&s.waiting, generation, e)
	}
	return nil
}

func parse[T any](generation string, e *evidence.Entry) (recorded[T], error) {
	r := recorded[T]{ID: e.ID.String(), Generation: generation, Index: e.Index, Raw: append([]byte(nil), e.Body...)}
	if err := json.Unmarshal(e.Body, &r.Body); err != nil {
		// It commits to this body: it was written so, by a later version or by hand.
		return r, fmt.Errorf("%s offset %d: record %d, %s, cannot be read: %w", e.File, e.Offset, e.Index, e.Kind, err)
	}
	return r, nil
}

func add[T any](list *[]recorded[T], generation string, e *evidence.Entry) error {
	r, err := parse[T](generation, e)
	if err != nil {
		return err
	}
	*list = append(*list, r)
	return nil
}

// find returns the record whose id begins with what is given, if there is one.
func find[T any](list []recorded[T], id string) (*recorded[T], error) {
	var found *recorded[T]
	for i := range list {
		r := &list[i]
		if id == "" || len(r.ID) < len(id) || r.ID[:len(id)] != id || found != nil && found.ID == r.ID {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("more than one record has an id that begins with %s; give more of it", id)
		}
		found = r
	}
	return found, nil
}

// active returns the holds that nobody has released.
func (s *state) active() []recorded[Hold] {
	var list []recorded[Hold]
	for _, h := range s.holds {
		if !s.released[h.ID] {
			list = append(list, h)
		}
	}
	return list
}

// pending returns what was approved and is not known to be done.
func (s *state) pending() []recorded[Destroy] {
	var list []recorded[Destroy]
	for _, d := range s.destroys {
		if !s.destroyed[d.ID] {
			list = append(list, d)
		}
	}
	return list
}

func parseHandles(list []string) ([]keys.Handle, error) {
	hs := make([]keys.Handle, len(list))
	for i, s := range list {
		h, err := keys.ParseHandle(s)
		if err != nil {
			return nil, err
		}
		hs[i] = h
	}
	return hs, nil
}
