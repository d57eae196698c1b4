package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Source is a log that records are taken from.
type Source struct {
	dir, generation string
	ring            *keys.Ring // nil: encrypted bodies stay closed
	bodies          *evidence.Bodies
	maxBytes        int64
}

// Open opens a log for reading, also while it is written. generation may be empty
// where dir holds only one; ring may be nil, encrypted bodies then stay closed and
// nothing is found by what stands in them. Close it.
func Open(dir, generation string, ring *keys.Ring) (*Source, error) {
	generation, err := generationOf(dir, generation)
	if err != nil {
		return nil, fmt.Errorf("open evidence: %w", err)
	}
	bodies, err := evidence.OpenBodies(dir, generation)
	if err != nil {
		return nil, err
	}
	return &Source{dir: dir, generation: generation, ring: ring, bodies: bodies, maxBytes: MaxBytes}, nil
}

// Close lets the log go.
func (s *Source) Close() error { return s.bodies.Close() }

// What may be said of a record's body. Where a record of the log explains that it
// is gone, "(see #N)" follows, N being the index of that record, or "(see #N of G)" if that
// is in the log of generation G.
const (
	FateOK        = "ok"
	FateClosed    = "ok, body not opened" // there are no keys to open it with
	FateErased    = "erased"              // the person's key was destroyed
	FateDestroyed = "destroyed"           // by class and day, body or keys
	FateAltered   = "ALTERED"             // not what the leaf commits to
	FateMissing   = "MISSING"             // neither there nor explained
)

// Found is a record with its body opened, if it could be.
type Found struct {
	evidence.Stored // without its Body if that could be opened

	Salt    []byte // nil if the body is not here
	Plain   []byte // the body
	Fate    string
	Reading json.RawMessage // the body as people read it; nil if there is none

	see *reason // the record that explains it, where that is in another log
}

// read reads a record and opens its body. The fate of a body that is not there is
// told without the record that explains it.
func (s *Source) read(index int64) (Found, error) {
	stored, err := s.bodies.Record(index)
	if err != nil {
		return Found{}, err
	}
	f := Found{Stored: stored}
	plain := stored.Body
	switch {
	case plain == nil:
		f.Fate = FateDestroyed
		return f, nil
	case stored.Encrypted():
		if plain, f.Fate, err = s.decrypt(&stored); f.Fate != "" || err != nil {
			return f, err
		}
	}
	if !stored.Intact(plain) {
		f.Fate = FateAltered
		return f, nil
	}
	f.Fate, f.Salt, f.Plain = FateOK, plain[:saltSize:saltSize], plain[saltSize:]
	f.Body = nil // not kept twice
	if f.Reading, err = reading(f.Kind(), f.Encoding(), f.Plain); err != nil {
		return Found{}, fmt.Errorf("record %d: %w", index, err)
	}
	return f, nil
}

// Sizes of the format.
const (
	saltSize  = 32
	nonceSize = 12
	boundSize = 20 // bytes of the leaf that a ciphertext is bound to
)

// decrypt returns salt and body, or why they are not to be had.
func (s *Source) decrypt(r *evidence.Stored) (plain []byte, fate string, err error) {
	if s.ring == nil {
		return nil, FateClosed, nil
	}
	if len(r.Handle) != len(keys.Handle{}) || len(r.Body) < nonceSize {
		return nil, FateAltered, nil
	}
	aead, err := s.ring.Open(r.Class().String(), keys.Handle(r.Handle))
	switch {
	case errors.Is(err, keys.ErrErased):
		return nil, FateErased, nil
	case errors.Is(err, keys.ErrDestroyed):
		return nil, FateDestroyed, nil
	case errors.Is(err, keys.ErrMissing):
		return nil, FateMissing, nil
	case errors.Is(err, keys.ErrRestricted):
		return nil, FateClosed, nil
	case err != nil:
		return nil, "", fmt.Errorf("record %d: %w", r.Index, err)
	}
	if plain, err = aead.Open(nil, r.Body[:nonceSize], r.Body[nonceSize:], r.Leaf[:boundSize]); err != nil {
		return nil, FateAltered, nil //nolint:nilerr // that is what it says
	}
	return plain, "", nil
}

// reading writes a body for people. One in clear that is no JSON is described by its
// bytes alone.
func reading(kind evidence.Kind, encoding uint8, plain []byte) (json.RawMessage, error) {
	b, err := body.JSON(kind, encoding, plain)
	if err != nil || !json.Valid(b) {
		return nil, err
	}
	return slices.Clone(b), nil
}
