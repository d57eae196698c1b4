package rules

import (
	"cmp"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
)

// Scratch is the working memory of one goroutine. The zero Scratch is ready; it
// may be used with one set after another.
type Scratch struct {
	auto   automaton.Scratch
	hits   []Hit
	round  uint32   // grows with every event
	seen   []uint32 // by rule: the round it hit in
	field  uint32   // grows with every field
	covers []cover  // by exception
}

// cover is the last occurrence of an exception. One that begins later also ends
// later, so the last is the one that reaches farthest.
type cover struct {
	field uint32
	end   int32
}

// begin makes the scratch fit the set.
func (sc *Scratch) begin(s *Set) {
	sc.hits = sc.hits[:0]
	sc.round++
	if sc.round == 0 || len(sc.seen) < len(s.rules) {
		sc.seen = make([]uint32, max(len(s.rules), len(sc.seen)))
		sc.round = 1
	}
	// The fields of one event are far fewer than what is left to count.
	if sc.field > 1<<31 || len(sc.covers) < s.covers {
		sc.covers = make([]cover, max(s.covers, len(sc.covers)))
		sc.field = 0
	}
}

// Match returns the hits of all live and shadow rules in the fields of a post or
// push, sorted by field, place and rule, and valid until the next Match with the
// same scratch. An occurrence that lies inside an exception of its rule is no hit.
//
// When there are more hits than the set's limit, those that come first are kept,
// and of every further rule the first one. The limit counts after exceptions, so
// that a flood of harmless phrases hides nothing either.
func (s *Set) Match(sc *Scratch, e *event.Event) []Hit {
	sc.begin(s)
	for i := range e.Fields {
		s.match(sc, e.Kind, i, &e.Fields[i])
	}
	if len(sc.hits) > 1 {
		slices.SortFunc(sc.hits, compare)
	}
	return sc.hits
}

func compare(a, b Hit) int {
	return cmp.Or(a.Field-b.Field, a.Start-b.Start, a.End-b.End, a.Rule.index-b.Rule.index, cmp.Compare(a.Term, b.Term))
}

func (s *Set) match(sc *Scratch, kind event.Kind, field int, f *event.Field) {
	sc.field++
	s.auto.Walk(&sc.auto, f.Text, func(h automaton.Hit) (more bool) {
		full := len(sc.hits) >= s.max
		for i := range s.uses[h.Pattern] {
			u := &s.uses[h.Pattern][i]
			if u.exception >= 0 {
				// What begins earlier comes first, longer first, so every exception
				// that can cover a term is seen before the term.
				sc.covers[u.exception] = cover{sc.field, h.End}
				more = true
				continue
			}
			known := sc.seen[u.rule.index] == sc.round
			if full && known || !u.rule.applies(kind, f.Name) {
				continue
			}
			more = true
			if sc.covered(u, h.End) {
				continue
			}
			sc.seen[u.rule.index] = sc.round
			sc.hits = append(sc.hits, Hit{Rule: u.rule, Field: field, Start: int(h.Start), End: int(h.End), Form: FormFold, Term: u.term})
		}
		return more
	})
}

// covered reports whether an occurrence that ends there lies inside one of an
// exception of its rule. That it does not begin before the exception follows from
// the order in which occurrences come.
func (sc *Scratch) covered(u *use, end int32) bool {
	for _, x := range u.by {
		if c := sc.covers[x]; c.field == sc.field && c.end >= end {
			return true
		}
	}
	return false
}
