package rules

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Explanation says what a set sees in an event.
type Explanation struct {
	Hits []Hit      // as Match returns them
	Near []NearMiss // sorted by field, place and rule
	More int        // near misses beyond MaxNearMisses, once for each way to read them
}

// NearMiss is a place that reads like a term of a rule and is no hit.
type NearMiss struct {
	Hit
	Why string // in words
}

// MaxNearMisses is how many near misses of one event are told: more than anybody reads, and few
// enough that a long text is explained in reasonable time.
const MaxNearMisses = 100

// Why a place is no hit, beside what package form says (see [form.Rejection]).
const (
	whyException = "the exception %q of its rule covers it"
	whyInside    = "it stands inside a longer word"
	whyElsewhere = "its rule does not look at this field, or not at this kind of event"
	whyFits      = "it does not stand as its rule asks: beside letters, in another case, or with too wide a gap"
	whyCondition = "the condition of its rule does not hold"
	whyAlone     = "it is one part of a combination; what else its rule asks for is not there"
)

// Explain returns the hits of an event, as Match does, and what reads like a hit and is none.
// It is made for people who ask about one text, and takes its time.
func (s *Set) Explain(e *event.Event) Explanation {
	var plain, sc Scratch
	x := Explanation{Hits: s.Match(&plain, e)}
	note := func(u *use, field int, h form.Hit, why string) {
		at := Hit{Rule: u.rule, State: s.stateOf(u.rule, e.User.ID), Field: field, Start: h.Start, End: h.End, Form: h.Form, Term: u.term.Text}
		hit := slices.ContainsFunc(x.Hits, func(k Hit) bool {
			return k.Rule == at.Rule && k.Term == at.Term && k.Field == field && k.Start < at.End && at.Start < k.End
		})
		// The plainest reading comes first; that the place can be read in others too says no more.
		known := slices.ContainsFunc(x.Near, func(k NearMiss) bool {
			return k.Rule == at.Rule && k.Term == at.Term && k.Field == field && k.Start == at.Start && k.End == at.End && k.Why == why
		})
		switch {
		case hit || known:
		case len(x.Near) == MaxNearMisses:
			x.More++
		default:
			x.Near = append(x.Near, NearMiss{at, why})
		}
	}
	field := 0
	applies := func(u *use) bool { return u.rule.applies(e.Kind, e.Fields[field].Name) }
	sc.dropped = note
	sc.form.Rejected = func(h form.Hit, why form.Rejection) {
		for i := s.first[h.Term]; i < s.first[h.Term+1]; i++ {
			if u := &s.uses[i]; applies(u) {
				note(u, field, h, string(why))
			}
		}
	}
	sc.begin(s)
	for field = range e.Fields {
		s.match(&sc, e, field)
		text := foldPlaces(e.Fields[field].Text)
		for i := range s.uses {
			u := &s.uses[i]
			if u.term.shaped() {
				continue
			}
			here := applies(u)
			text.occurrences(fold.String(u.term.Text), func(start, end int, inside bool) {
				switch h := (form.Hit{Start: start, End: end, Form: form.Fold}); {
				case inside && here:
					note(u, field, h, whyInside)
				case !inside && !here:
					note(u, field, h, whyElsewhere)
				}
			})
		}
	}
	s.findShapes(&sc, e)
	s.combine(&sc, e)
	slices.SortStableFunc(x.Near, func(a, b NearMiss) int { return compare(a.Hit, b.Hit) })
	return x
}

// foldedPlaces is a folded text that knows where it comes from.
type foldedPlaces struct {
	text string
	from []int // of each of its bytes, where the character begins that it was folded from
	size []int // of each of its bytes, how long that character is
}

// foldPlaces folds a text, as fold.Append does.
func foldPlaces(text []byte) foldedPlaces {
	var f foldedPlaces
	var folded []byte
	for at := 0; at < len(text); {
		_, n := utf8.DecodeRune(text[at:])
		folded = fold.Append(folded, text[at:at+n])
		for len(f.from) < len(folded) {
			f.from, f.size = append(f.from, at), append(f.size, n)
		}
		at += n
	}
	f.text = string(folded)
	return f
}

// occurrences calls f for each place where a folded term stands in the text, told in bytes of the
// text before it was folded, and whether it is a part of a longer token.
func (t *foldedPlaces) occurrences(term string, f func(start, end int, inside bool)) {
	token := func(r rune, n int) bool { return n > 0 && fold.ClassOf(r) == fold.Token }
	first, last := token(utf8.DecodeRuneInString(term)), token(utf8.DecodeLastRuneInString(term))
	for from := 0; term != ""; {
		i := strings.Index(t.text[from:], term)
		if i < 0 {
			return
		}
		at := from + i
		end := at + len(term)
		f(t.from[at], t.from[end-1]+t.size[end-1],
			first && token(utf8.DecodeLastRuneInString(t.text[:at])) || last && token(utf8.DecodeRuneInString(t.text[end:])))
		_, n := utf8.DecodeRuneInString(term)
		from = at + n
	}
}
