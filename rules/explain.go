package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Explanation says what a set sees in an event.
type Explanation struct {
	Hits []Hit      // as Match returns them
	Near []NearMiss // sorted by field, place and rule
	More int        // near misses beyond MaxNearMisses, once for each way to read them
	// Readings are the texts as they were read where anything was found, field by field: folded
	// first, then in each other form, MaxReadings of these at most.
	Readings  []Reading
	Undecided []*Rule // as of [Scratch.Undecided]: their hits stood without an answer
}

// NearMiss is a place that reads like a term of a rule and is no hit.
type NearMiss struct {
	Hit
	Why string // in words
}

// Reading is a field's text as it was read in a form.
type Reading struct {
	Field int
	Form  form.Form
	// Text is folded, and has the terms in the places of what reads in the form as them.
	Text string
}

// MaxNearMisses is how many near misses of one event are told: more than anybody reads, and few
// enough that a long text is explained in reasonable time.
const MaxNearMisses = 100

// MaxReadings is how many readings of one event are told beside those of fold.
const MaxReadings = 20

// Why a place is no hit, beside what package form says (see [form.Rejection]). What its rule
// misses is said by the functions below.
const (
	whyException = "the exception %q of its rule covers it"
	whyInside    = "it stands inside a longer word"
	whyCondition = "the condition of its rule does not hold: %s (hits.count is %d, hits.distinct %d, hits.sure %d)"
	whyNone      = "what its rule wants none of is there: %s, bytes %d to %d of %q"
	whyDistinct  = "its rule asks for %d different terms %s; there are %d"
	whyUncounted = "its rule wants none of it, but it does not count: %s"
)

// Explain returns the hits of an event, as Match does, and what reads like a hit and is none, also
// in forms that its rule does not ask for. It is made for people who ask about one text, and takes
// its time: the first time it compiles all terms once more, in all forms, which the set then keeps.
func (s *Set) Explain(e *event.Event) Explanation {
	var plain, sc Scratch
	x := Explanation{Hits: s.Match(&plain, e)}
	x.Undecided = slices.Clone(plain.undecided)
	note := func(u *use, field int, h form.Hit, why string) {
		if u.list == noList {
			why = fmt.Sprintf(whyUncounted, why)
		}
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
				note(u, field, h, whyRejected(u.term, &h, why))
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
			term := fold.String(u.term.Text)
			for at, inside := range form.Occurrences(text.text, term) {
				start, end := text.place(at, at+len(term))
				switch h := (form.Hit{Start: start, End: end, Form: form.Fold}); {
				case inside && here && u.term.Boundary != Substring:
					note(u, field, h, whyInside)
				case !inside && !here:
					note(u, field, h, whyElsewhere(u.rule, e.Kind))
				}
			}
		}
	}
	s.findShapes(&sc, e)
	s.combine(&sc, e)
	s.otherForms(&sc, e)
	slices.SortStableFunc(x.Near, func(a, b NearMiss) int { return compare(a.Hit, b.Hit) })
	x.read(e)
	return x
}

// wider finds the terms of a set in all forms, for those who ask why something is no hit. It is
// made when it is first asked for, and has the memory budget of the set.
type wider struct {
	once    sync.Once
	options form.Options
	matcher *form.Matcher // its terms are numbered as those of the set; nil if it would take too much
}

func (s *Set) inAllForms() *form.Matcher {
	s.wider.once.Do(func() {
		terms := make([]form.Term, len(s.first)-1)
		for i := range terms {
			t := s.uses[s.first[i]].term
			terms[i] = form.Term{Text: t.Text, Forms: form.All, Substring: t.Boundary == Substring}
		}
		s.wider.matcher, _ = form.New(terms, s.wider.options)
	})
	return s.wider.matcher
}

// otherForms tells what would be found if rules asked for other forms.
func (s *Set) otherForms(sc *Scratch, e *event.Event) {
	m := s.inAllForms()
	if m == nil {
		return
	}
	var scratch form.Scratch
	for field := range e.Fields {
		f := &e.Fields[field]
		sc.covers.known = false
		m.Find(&scratch, f.Text, func(h form.Hit) (more bool) {
			for i := s.first[h.Term]; i < s.first[h.Term+1]; i++ {
				u := &s.uses[i]
				switch forms := h.Form &^ form.Fold; {
				case forms&^u.term.Forms == 0 || u.term.ExactCase && forms&^exactForms != 0:
				case !u.rule.applies(e.Kind, f.Name) || u.term.fit(f.Text, h.Start, h.End) != fits || s.coveredBy(sc, u, f.Text, &h) >= 0:
				default:
					sc.dropped(u, field, h, whyRejected(u.term, &h, form.NotAsked))
				}
			}
			return true
		})
	}
}

// Idle says why a hit does nothing, in words; it is empty for one that acts.
func (s *Set) Idle(h *Hit) string {
	switch r := h.Rule; {
	case h.acts():
		return ""
	case r.State == Shadow:
		return "its rule is in shadow"
	case s.shadowed != nil && s.shadowed[r.number]:
		return "its rule is live and was put in shadow"
	default:
		return fmt.Sprintf("its rule is rolled out to %d %% of users, and not to this one", r.Rollout)
	}
}

// whyRejected says why package form lets go of a term.
func whyRejected(t *Term, h *form.Hit, why form.Rejection) string {
	if why == form.NotAsked {
		return fmt.Sprintf("it takes %s, which its rule does not ask for", h.Form&^t.Forms)
	}
	return string(why)
}

// whyMisfit says why a term may not stand as it does.
func whyMisfit(t *Term, text []byte, why misfit) string {
	switch why {
	case misfitBoundary:
		return "a letter or digit stands beside it, and its boundary is token"
	case misfitCase:
		return fmt.Sprintf("its letters stand in another case than those of %q, and its case is exact", t.Text)
	case misfitGap:
		return fmt.Sprintf("%d characters stand between two of its own, and its gap is %d", widestGap(text), t.Gap)
	}
	return ""
}

// whyElsewhere says where a rule looks that does not look here.
func whyElsewhere(r *Rule, kind event.Kind) string {
	if len(r.Kinds) == 1 && r.Kinds[0] != kind {
		return fmt.Sprintf("its rule is about the kind %s only", r.Kinds[0])
	}
	return "its rule looks only at " + strings.Join(r.Fields, ", ")
}

// explainParts tells which parts of a rule are no hit, and what is missing or in their way: it
// asks again, and demands less each time.
func (s *Set) explainParts(sc *Scratch, e *event.Event, r *Rule, d demand, parts []part, refused bool, found *condition.Hits) {
	together := func(d demand, parts []part) map[part]bool {
		stand := make(map[part]bool)
		s.together(sc, e, &d, parts, func(p *part) { stand[*p] = true })
		return stand
	}
	hit := together(d, parts)
	loose := d
	loose.none = false
	broken := together(loose, parts)
	loose.distinct = 1
	few := together(loose, parts)
	pairs := make(map[uint16]map[part]bool) // by both lists
	terms := make(map[int]map[part]bool)    // by how many are demanded
	var blame map[part]*part
	for i := range parts {
		p := &parts[i]
		u := &s.uses[p.use]
		why := ""
		switch {
		case u.list == noList || hit[*p] && !refused:
			continue
		case hit[*p]:
			why = fmt.Sprintf(whyCondition, strings.Join(strings.Fields(r.When.String()), " "), found.Count, found.Distinct, found.Sure)
		case broken[*p]:
			if blame == nil {
				blame = s.blame(d, parts, broken, together)
			}
			q := blame[*p]
			why = fmt.Sprintf(whyNone, s.uses[q.use].term.Text, q.start, q.end, e.Fields[q.field].Name)
		case few[*p]:
			// There are as many as can be demanded for it to stand.
			n := sort.Search(d.distinct-1, func(n int) bool {
				loose := loose
				loose.distinct = n + 1
				if terms[n] == nil {
					terms[n] = together(loose, parts)
				}
				return !terms[n][*p]
			})
			why = fmt.Sprintf(whyDistinct, d.distinct, whereOf(d.within), n)
		default:
			why = s.whyLists(d, parts, p, func(i int) bool {
				pair := demand{lists: 1<<u.list | 1<<i, distinct: 1, within: d.within}
				if pairs[pair.lists] == nil {
					pairs[pair.lists] = together(pair, parts)
				}
				return pairs[pair.lists][*p]
			})
		}
		sc.dropped(u, int(p.field), form.Hit{Start: p.start, End: p.end, Form: p.form}, why)
	}
}

// blame returns for parts that would stand together one that must not be there and is.
func (s *Set) blame(d demand, parts []part, broken map[part]bool, together func(demand, []part) map[part]bool) map[part]*part {
	blame := make(map[part]*part)
	var some []part // that may be there
	for i := range parts {
		if s.uses[parts[i].use].list != noList {
			some = append(some, parts[i])
		}
	}
	tried := 0
	for i := range parts {
		q := &parts[i]
		if s.uses[q.use].list != noList {
			continue
		}
		if tried++; tried <= MaxNearMisses { // further ones are blamed unasked
			// The order of the parts matters only within a field.
			with := slices.Insert(slices.Clone(some), sort.Search(len(some), func(k int) bool {
				return cmp.Or(int(some[k].field-q.field), some[k].start-q.start) >= 0
			}), *q)
			stand := together(d, with)
			for p := range broken {
				if !stand[p] && blame[p] == nil {
					blame[p] = q
				}
			}
		}
	}
	for p := range broken {
		for i := range parts { // several are in the way, each of something else
			if q := &parts[i]; blame[p] == nil && s.uses[q.use].list == noList && (q.field == p.field || d.within == Window{}) {
				blame[p] = q
			}
		}
	}
	return blame
}

// whyLists says of which lists nothing stands with a part. Near reports whether anything of a
// list does.
func (s *Set) whyLists(d demand, parts []part, p *part, near func(list int) bool) string {
	var there uint16
	for i := range parts {
		if l := s.uses[parts[i].use].list; l != noList {
			there |= 1 << l
		}
	}
	r := s.uses[p.use].rule
	var absent, far []string
	for i := range r.Lists {
		switch {
		case there>>i&1 == 0:
			absent = append(absent, listOf(r, i))
		case !near(i):
			far = append(far, listOf(r, i))
		}
	}
	var why []string
	if len(absent) > 0 {
		why = append(why, fmt.Sprintf("nothing of %s is in the event", strings.Join(absent, " or ")))
	}
	if len(far) > 0 {
		why = append(why, fmt.Sprintf("nothing of %s is %s", strings.Join(far, " or "), whereOf(d.within)))
	}
	if len(why) == 0 {
		why = append(why, fmt.Sprintf("something of each other list is there, but not of all together %s", whereOf(d.within)))
	}
	return "it is one part of a combination; " + strings.Join(why, ", and ")
}

// maxListed is how many terms of a list are named.
const maxListed = 3

// listOf names a list of a combination, such as "list 2 (银行卡, 电话卡)".
func listOf(r *Rule, i int) string {
	var terms []string
	for j := range r.Lists[i] {
		if j == maxListed {
			terms = append(terms, "...")
			break
		}
		terms = append(terms, r.Lists[i][j].Text)
	}
	return fmt.Sprintf("list %d (%s)", i+1, strings.Join(terms, ", "))
}

// whereOf says where parts must stand.
func whereOf(w Window) string {
	switch {
	case w.Sentence:
		return "in its sentence"
	case w.Characters > 0:
		return fmt.Sprintf("within %d characters with it", w.Characters)
	}
	return "in the event"
}

// read adds the readings of the event's fields.
func (x *Explanation) read(e *event.Event) {
	found := slices.Clone(x.Hits)
	for i := range x.Near {
		found = append(found, x.Near[i].Hit)
	}
	more := 0
	for field := range e.Fields {
		text := e.Fields[field].Text
		x.Readings = append(x.Readings, Reading{field, form.Fold, fold.String(string(text))})
		forms := make(map[form.Form][]Hit)
		for _, h := range found {
			if f := h.Form &^ form.Fold; h.Field == field && f != 0 {
				forms[f] = append(forms[f], h)
			}
		}
		for _, f := range slices.Sorted(maps.Keys(forms)) {
			if more++; more > MaxReadings {
				break
			}
			x.Readings = append(x.Readings, Reading{field, f, readAs(text, forms[f])})
		}
	}
}

// readAs returns a text folded, with terms in the places of hits. Of places that overlap the first
// in the list is read.
func readAs(text []byte, hits []Hit) string {
	var places []Hit
	for _, h := range hits {
		if !slices.ContainsFunc(places, func(k Hit) bool { return k.Start < h.End && h.Start < k.End }) {
			places = append(places, h)
		}
	}
	slices.SortFunc(places, func(a, b Hit) int { return a.Start - b.Start })
	var b strings.Builder
	at := 0
	for _, h := range places {
		b.WriteString(fold.String(string(text[at:h.Start])))
		b.WriteString(fold.String(h.Term))
		at = h.End
	}
	b.WriteString(fold.String(string(text[at:])))
	return b.String()
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

// place returns where a piece of the folded text was before it was folded.
func (t *foldedPlaces) place(start, end int) (int, int) {
	return t.from[start], t.from[end-1] + t.size[end-1]
}
