package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
)

// stateOf returns the state in which a rule meets a user: of one that is rolled out to a part of
// them, shadow to the others. It depends on rule and user alone, so a user stays in or out of the
// part, and whoever is in it stays in when it grows.
func (s *Set) stateOf(r *Rule, user []byte) State {
	switch {
	case s.shadowed != nil && s.shadowed[r.number]:
		return Shadow
	case r.Rollout >= 100 || r.State != Live || s.everyone:
		return r.State
	}
	h := fnv.New64a() // FNV-1a
	h.Write([]byte(r.ID))
	h.Write([]byte{0}) // the id ends here
	h.Write(user)
	// FNV mixes its low bits poorly with short texts.
	sum := h.Sum64()
	sum ^= sum >> 32
	if sum%100 < uint64(r.Rollout) {
		return Live
	}
	return Shadow
}

// forEveryone returns the same set with every rule rolled out to all users, as tests want it.
func (s *Set) forEveryone() *Set {
	all := *s
	all.everyone = true
	return &all
}

// Shadowed returns the same set with some live rules in shadow, whatever their packs say: their hits
// are recorded and do nothing. It has a digest of its own; without any it is the set as loaded. An id
// that no live rule has is refused. What was compiled is shared.
func (s *Set) Shadowed(ids []string) (*Set, error) {
	shadowed := *s
	shadowed.shadowed = nil
	if len(ids) > 0 {
		shadowed.shadowed = make([]bool, len(s.rules))
	}
	for _, id := range ids {
		i, ok := s.find(id)
		if !ok || s.rules[i].State != Live {
			return nil, fmt.Errorf("rule %q is no live rule of the set in force", id)
		}
		shadowed.shadowed[i] = true
	}
	shadowed.digest = shadowed.sum()
	return &shadowed, nil
}

// InShadow returns the ids of the rules that [Set.Shadowed] put in shadow, sorted.
func (s *Set) InShadow() []string {
	var ids []string
	for i, is := range s.shadowed {
		if is {
			ids = append(ids, s.rules[i].ID)
		}
	}
	return ids
}

// find returns the number of a live or shadow rule.
func (s *Set) find(id string) (int, bool) {
	return slices.BinarySearchFunc(s.rules, id, func(r *Rule, id string) int { return cmp.Compare(r.ID, id) })
}

// Fingerprint returns a digest, in hex, of what a live or shadow rule hits and asks for, empty for one that is
// not there. It stays the same where only state, roll-out or descriptions differ.
func (s *Set) Fingerprint(id string) string {
	i, ok := s.find(id)
	if !ok {
		return ""
	}
	r, h := s.rules[i], sha256.New()
	text(h, r.Category)
	text(h, r.Severity.String())
	text(h, r.Action.String())
	// Of expired exceptions too: that one has ended is no change of the rule by anybody.
	s.sumSearch(h, r, func(*Exception) bool { return true })
	return hex.EncodeToString(h.Sum(nil))
}
