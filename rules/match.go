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
	parts   []part  // of combinations
	windows windows

	// dropped is told, by Explain, of what is no hit and why; else nil.
	dropped func(u *use, field int, h form.Hit, why string)

	second   *Scratch // of the second engine
	diverged []*Rule
}

// seen is the last event that a rule hit, and whether it did in a sure reading.
type seen struct {
	round uint32
	sure  bool
	parts int32 // of a combination, in that event
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
	sc.parts = sc.parts[:0]
	sc.round++
	if sc.round == 0 || len(sc.seen) < len(s.rules) {
		sc.seen = make([]seen, max(len(s.rules), len(sc.seen)))
		sc.round = 1
	}
	// The readings of one event are far fewer than what is left to count.
	if sc.pass > 1<<31 || len(sc.covers) < len(s.exceptions) {
		sc.covers = make([]cover, max(len(s.exceptions), len(sc.covers)))
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
		s.match(sc, e, i)
	}
	s.combine(sc, e)
	if s.sampled(e) {
		s.compareEngines(sc, e)
	}
	if len(sc.hits) > 1 {
		slices.SortFunc(sc.hits, compare)
	}
	return sc.hits
}

func compare(a, b Hit) int {
	return cmp.Or(a.Field-b.Field, a.Start-b.Start, a.End-b.End, a.Rule.number-b.Rule.number, cmp.Compare(a.Term, b.Term))
}

// match looks at one field.
func (s *Set) match(sc *Scratch, e *event.Event, field int) {
	sc.reading = -1
	first := len(sc.hits)
	s.forms.Find(&sc.form, e.Fields[field].Text, func(h form.Hit) (more bool) {
		if h.Pass != sc.reading {
			sc.reading = h.Pass
			sc.pass++
		}
		for i := s.first[h.Term]; i < s.first[h.Term+1]; i++ {
			if s.occurrence(sc, e, field, first, i, &h) {
				more = true
			}
		}
		return more
	})
}

// occurrence is told that a term stands in a field. It returns false if no more of it are wanted.
func (s *Set) occurrence(sc *Scratch, e *event.Event, field, first int, number int32, h *form.Hit) (more bool) {
	u := &s.uses[number]
	if u.term == nil {
		// What begins earlier comes first, longer first, so every exception that
		// can cover a term is seen before the term.
		sc.covers[u.exception] = cover{sc.pass, h.End}
		return true
	}
	f := &e.Fields[field]
	if !u.rule.applies(e.Kind, f.Name) {
		return false
	}
	sure := !h.Form.Weak()
	rule := &sc.seen[u.rule.number]
	known := rule.round == sc.round
	combines := u.rule.Combines()
	if !combines && len(sc.hits) >= s.max && known {
		if rule.sure {
			return false
		}
		if !sure {
			return true
		}
	}
	why := ""
	switch {
	case sc.covered(u, h.End):
		why = whyException
	case !u.term.fits(f.Text, h.Start, h.End):
		why = whyFits
	}
	if why != "" {
		if sc.dropped != nil {
			sc.dropped(u, field, *h, why)
		}
		return true
	}
	if combines {
		return sc.part(number, u, field, h)
	}
	*rule = seen{round: sc.round, sure: sure || known && rule.sure}
	if !sc.plainer(first, field, u, h) {
		sc.report(e, field, u, h)
	}
	return true
}

// report adds a hit.
func (sc *Scratch) report(e *event.Event, field int, u *use, h *form.Hit) {
	sc.hits = append(sc.hits, Hit{Rule: u.rule, State: u.rule.stateFor(e.User.ID), Field: field,
		Start: h.Start, End: h.End, Form: h.Form, Term: u.term.Text, pass: h.Pass})
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
// field, whose hits are among those from first on. A reading of lower confidence gives way to a
// sure one.
func (sc *Scratch) plainer(first, field int, u *use, h *form.Hit) bool {
	for i := range sc.hits[first:] {
		k := &sc.hits[first+i]
		if k.Rule != u.rule || k.Field != field || k.Start >= h.End || h.Start >= k.End || k.Term != u.term.Text {
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
