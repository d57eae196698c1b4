package rules

import (
	"cmp"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// Scratch is the working memory of one goroutine. The zero Scratch is ready; it
// may be used with one set after another.
type Scratch struct {
	form    form.Scratch
	hits    []Hit
	round   uint32  // grows with every event
	seen    []seen  // by rule
	reading int     // form.Hit.Pass of the last hit; a variable of match would go to the heap
	pass    uint32  // grows with every reading of every field
	covers  []cover // by exception

	covering func(*use, form.Hit) // of Explain: told of what an exception covers; else nil

	second   *Scratch // of the second engine
	diverged []*Rule
}

// seen is the last event that a rule hit, and whether it did in a sure reading.
type seen struct {
	round uint32
	sure  bool
}

// cover is the last occurrence of an exception in one reading of a field. One that
// begins later also ends later, so the last is the one that reaches farthest.
type cover struct {
	pass uint32
	end  int
}

// begin makes the scratch fit the set.
func (sc *Scratch) begin(s *Set) {
	sc.hits, sc.diverged = sc.hits[:0], sc.diverged[:0]
	sc.round++
	if sc.round == 0 || len(sc.seen) < len(s.rules) {
		sc.seen = make([]seen, max(len(s.rules), len(sc.seen)))
		sc.round = 1
	}
	// The readings of one event are far fewer than what is left to count.
	if sc.pass > 1<<31 || len(sc.covers) < s.covers {
		sc.covers = make([]cover, max(s.covers, len(sc.covers)))
		sc.pass = 0
	}
}

// Match returns the hits of all live and shadow rules in the fields of a post or
// push, sorted by field, place and rule, and valid until the next Match with the
// same scratch. An occurrence that lies inside an exception of its rule is no hit, and
// where a term can be read in two forms only the plainer one is reported.
//
// When there are more hits than the set's limit, those found first are kept, and of
// every further rule the first one and the first that is no reading of lower confidence:
// a flood of what only sounds like a term does not make one that is meant look doubtful.
// The limit counts after exceptions, so that a flood of harmless phrases hides nothing
// either.
func (s *Set) Match(sc *Scratch, e *event.Event) []Hit {
	sc.begin(s)
	for i := range e.Fields {
		s.match(sc, e.Kind, i, &e.Fields[i])
	}
	if s.sampled(e) {
		s.compareEngines(sc, e)
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
	sc.reading = -1
	first := len(sc.hits)
	s.forms.Find(&sc.form, f.Text, func(h form.Hit) (more bool) {
		if h.Pass != sc.reading {
			sc.reading = h.Pass
			sc.pass++
		}
		u := &s.uses[h.Term]
		if u.exception >= 0 {
			// What begins earlier comes first, longer first, so every exception that
			// can cover a term is seen before the term.
			sc.covers[u.exception] = cover{sc.pass, h.End}
			return true
		}
		sure := !h.Form.Weak()
		rule := &sc.seen[u.rule.index]
		known := rule.round == sc.round
		if !u.rule.applies(kind, f.Name) || len(sc.hits) >= s.max && known && rule.sure {
			return false
		}
		if len(sc.hits) >= s.max && known && !sure {
			return true
		}
		if sc.covered(u, h.End) {
			if sc.covering != nil {
				sc.covering(u, h)
			}
			return true
		}
		*rule = seen{sc.round, sure || known && rule.sure}
		if sc.plainer(first, u, &h) {
			return true
		}
		sc.hits = append(sc.hits, Hit{Rule: u.rule, Field: field, Start: h.Start, End: h.End, Form: h.Form, Term: u.term, pass: h.Pass})
		return true
	})
}

// covered reports whether an occurrence that ends there lies inside one of an
// exception of its rule. That it does not begin before the exception follows from
// the order in which occurrences come.
func (sc *Scratch) covered(u *use, end int) bool {
	for _, x := range u.by {
		if c := sc.covers[x]; c.pass == sc.pass && c.end >= end {
			return true
		}
	}
	return false
}

// plainer reports whether the term was found there already, in a plainer reading of the
// field, whose hits are those from first on. A reading of lower confidence gives way to a
// sure one.
func (sc *Scratch) plainer(first int, u *use, h *form.Hit) bool {
	for i := range sc.hits[first:] {
		k := &sc.hits[first+i]
		if k.Rule != u.rule || k.Start >= h.End || h.Start >= k.End || k.Term != u.term {
			continue
		}
		if k.pass == h.Pass && (k.Start != h.Start || k.End != h.End) {
			continue // another occurrence, which overlaps
		}
		if k.Form.Weak() && !h.Form.Weak() {
			k.Start, k.End, k.Form, k.pass = h.Start, h.End, h.Form, h.Pass
		}
		return true
	}
	return false
}
