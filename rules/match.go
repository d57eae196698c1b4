package rules

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/form"
)

// Scratch is the working memory of one goroutine. The zero Scratch is ready; it
// may be used with one set after another.
type Scratch struct {
	form    form.Scratch
	hits    []Hit
	round   uint32 // grows with every event
	seen    []seen // by rule
	covers  covers
	parts   []part // of combinations
	windows windows
	detect  detect.Scratch
	numbers []int32 // of uses, for a condition
	fields  []int32 // for a condition

	undecided []*Rule

	// dropped is told, by Explain, of what is no hit and why; else nil.
	dropped func(u *use, field int, h form.Hit, why string)

	second   *Scratch // of the second engine
	diverged []*Rule
}

// seen is the last event that a rule hit, and whether it did in a sure reading.
type seen struct {
	round uint32
	sure  bool
	parts int32  // of a combination, in that event
	lists uint16 // of a combination: bit set of the lists of which a part was found
}

// begin makes the scratch fit the set.
func (sc *Scratch) begin(s *Set) {
	sc.hits, sc.diverged = sc.hits[:0], sc.diverged[:0]
	sc.parts, sc.undecided = sc.parts[:0], sc.undecided[:0]
	sc.round++
	if sc.round == 0 {
		clear(sc.seen)
		clear(sc.windows.known)
		sc.round = 1
	}
	if n := len(s.rules) - len(sc.seen); n > 0 {
		sc.seen = append(sc.seen, make([]seen, n)...)
	}
}

// Match returns the hits of all live and shadow rules in the fields of a post or
// push, sorted by field, place and rule, and valid until the next Match with the
// same scratch. An occurrence that lies inside an exception of its rule is no hit, in
// whatever forms both are read (but see covers), and where a term can be read in two forms
// only the plainer one is reported.
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
	s.findShapes(sc, e)
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
	sc.covers.known = false
	first := len(sc.hits)
	s.forms.Find(&sc.form, e.Fields[field].Text, func(h form.Hit) (more bool) {
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
	if why := u.term.fit(f.Text, h.Start, h.End); why != fits {
		if sc.dropped != nil {
			sc.dropped(u, field, *h, whyMisfit(u.term, f.Text[h.Start:h.End], why))
		}
		return true
	}
	if x := s.coveredBy(sc, u, f.Text, h); x >= 0 {
		if sc.dropped != nil {
			sc.dropped(u, field, *h, fmt.Sprintf(whyException, s.exceptions[x]))
		}
		return true
	}
	if combines {
		return sc.part(number, u, field, h)
	}
	*rule = seen{round: sc.round, sure: sure || known && rule.sure}
	if k := sc.plainer(first, field, u, h); k == nil {
		s.report(sc, e, field, u, h)
	} else {
		k.yield(h)
	}
	return true
}

// report adds a hit.
func (s *Set) report(sc *Scratch, e *event.Event, field int, u *use, h *form.Hit) {
	sc.hits = append(sc.hits, Hit{Rule: u.rule, State: s.stateOf(u.rule, e.User.ID), Field: field,
		Start: h.Start, End: h.End, Form: h.Form, Term: u.term.Text, pass: h.Pass})
}

// coveredBy returns the exception that covers an occurrence of a term in a text, -1 if none does.
func (s *Set) coveredBy(sc *Scratch, u *use, text []byte, h *form.Hit) int32 {
	if len(u.by) == 0 {
		return -1
	}
	if !sc.covers.known {
		sc.covers.find(s.spares, text)
	}
	return sc.covers.by(u, h)
}

// plainer returns the hit of the same term that was found there already, in another reading of the
// field, whose hits are among those from first on; nil if there is none.
func (sc *Scratch) plainer(first, field int, u *use, h *form.Hit) *Hit {
	for i := range sc.hits[first:] {
		k := &sc.hits[first+i]
		if k.Rule != u.rule || k.Field != field || k.Start >= h.End || h.Start >= k.End || k.Term != u.term.Text {
			continue
		}
		if k.pass == h.Pass && (k.Start != h.Start || k.End != h.End) {
			continue // another occurrence, which overlaps
		}
		return k
	}
	return nil
}

// yield gives the hit's place to another reading of its term if that is sure and it is not, and reports
// whether it did.
func (h *Hit) yield(to *form.Hit) bool {
	if !h.Form.Weak() || to.Form.Weak() {
		return false
	}
	h.Start, h.End, h.Form, h.pass = to.Start, to.End, to.Form, to.Pass
	return true
}
