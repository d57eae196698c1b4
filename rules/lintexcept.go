package rules

import (
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/rules/fold"
)

// expiringSoon is how long before its end an exception is told.
const expiringSoon = 30 * 24 * time.Hour

// exceptionPlace is where an exception of a rule is written.
type exceptionPlace struct {
	doc  *strictyaml.Document
	path string // of the text
	says string // of the mapping that says who wants it; empty for a plain text
}

// expires is where its last day is.
func (p *exceptionPlace) expires() *strictyaml.Problem { return p.doc.Problem(p.says+".expires", "") }

// exceptions looks at the exceptions of rules.
func (l *linter) exceptions() {
	shared := l.sharedPlaces()
	spares := make(map[exceptionPlace]bool) // shared exceptions that spare something in some rule
	type use struct {
		r     *linted
		x     *Exception
		place exceptionPlace
	}
	var unknown []use // shared ones that spare nothing in some rule
	for _, r := range l.rules {
		if len(r.Except) == 0 {
			continue
		}
		places := l.exceptionPlaces(r, shared)
		bare := -1
		bares := 0
		index, others := r.index(), make(map[string]*Exception)
		for i := range r.Except {
			x := &r.Except[i]
			if k := fold.String(x.Text); others[k] == nil || outlives(x, others[k]) {
				others[k] = x
			}
		}
		terms := r.all()
		for i := range r.Except {
			x, place := &r.Except[i], places[i]
			if place.says == "" {
				if bares++; bare < 0 {
					bare = i
				}
			}
			switch left := x.Expires.Sub(l.o.Now); {
			case x.Expires.IsZero():
			case x.Expired(l.o.Now):
				l.add(ExpiredException, r, place.expires(), "expired at the end of %s; give another day, or take it out", x.lastDay())
				continue
			case left <= expiringSoon:
				l.add(ExpiringException, r, place.expires(), "expires at the end of %s; give another day if it is still wanted", x.lastDay())
			}
			why := idle(x, index, terms, others)
			switch {
			case why == "":
				spares[place] = true
			case x.Shared != "":
				unknown = append(unknown, use{r, x, place})
			default:
				l.add(IdleException, r, place.doc.Problem(place.path, ""), "%s spares nothing: %s", show(x.Text), why)
			}
		}
		if bare >= 0 {
			which := show(r.Except[bare].Text) + " says not who wants it"
			if bares > 1 {
				which = fmt.Sprintf("%d exceptions, from %s on, say not who wants them", bares, show(r.Except[bare].Text))
			}
			l.add(BareException, r, places[bare].doc.Problem(places[bare].path, ""),
				"%s, why and until when; write {texts: [...], owner: ..., reason: ..., expires: a day or never}", which)
		}
	}
	for _, u := range unknown {
		if !spares[u.place] {
			l.add(IdleException, u.r, u.place.doc.Problem(u.place.path, ""), "%s spares nothing in any rule that uses %s: no term of theirs needs it; take it out", show(u.x.Text), u.x.Shared)
		}
	}
}

// outlives reports whether a is in force at least as long as b.
func outlives(a, b *Exception) bool {
	return a.Expires.IsZero() || !b.Expires.IsZero() && !a.Expires.Before(b.Expires)
}

// all returns the terms of the rule, numbered as by index.
func (r *Rule) all() []*Term {
	var terms []*Term
	for _, list := range r.lists() {
		for i := range list {
			terms = append(terms, &list[i])
		}
	}
	return terms
}

// idle says why an exception spares nothing; "" if it spares something. others are the exceptions of
// the rule, of the same text the one that lasts longest.
func idle(x *Exception, index termIndex, terms []*Term, others map[string]*Exception) string {
	folded := fold.String(x.Text)
	type span struct{ from, to int }
	var found, covers []span
	by := ""
	whole := false // a term stands there, but not as it must to be a hit
	for from, to := range tokens(folded) {
		part := folded[from:to]
		for _, n := range index.all[part] {
			if terms[n].Boundary == Token && (letterBefore([]byte(folded[:from])) || letterBehind([]byte(folded[to:]))) {
				whole = true
				continue
			}
			found = append(found, span{from, to})
		}
		if y := others[part]; y != nil && part != folded && outlives(y, x) {
			covers = append(covers, span{from, to})
			by = y.Text
		}
	}
	for part := range index.within(folded) {
		for from := range folded { // inside a word, too
			if len(index.parts[part]) > 0 && strings.HasPrefix(folded[from:], part) {
				found = append(found, span{from, from + len(part)})
			}
		}
	}
	if len(found) == 0 {
		if whole {
			return "its term hits only where no letter stands beside it, and there one does; take it out"
		}
		return "it covers no term of this rule; take it out"
	}
	for _, f := range found {
		covered := false
		for _, c := range covers {
			covered = covered || c.from <= f.from && f.to <= c.to
		}
		if !covered {
			return ""
		}
	}
	return fmt.Sprintf("the exception %s stands in it and spares the same for as long; keep one", show(by))
}

// tokens yields the parts of a folded text at which a term or an exception can stand: those that
// neither begin nor end inside a word of Latin letters and digits. A text is short.
func tokens(text string) iter.Seq2[int, int] {
	token := func(r rune, n int) bool { return n > 0 && fold.ClassOf(r) == fold.Token }
	edge := func(at int) bool {
		return at == 0 || at == len(text) || !token(utf8.DecodeLastRuneInString(text[:at])) || !token(utf8.DecodeRuneInString(text[at:]))
	}
	return func(yield func(int, int) bool) {
		for from := range text {
			if !edge(from) {
				continue
			}
			for to := range text[from:] {
				if to > 0 && edge(from+to) && !yield(from, from+to) {
					return
				}
			}
			if !yield(from, len(text)) {
				return
			}
		}
	}
}

// sharedPlaces returns where the texts of shared exceptions are written, list by list.
func (l *linter) sharedPlaces() map[string][]exceptionPlace {
	places := make(map[string][]exceptionPlace)
	for i, c := range l.src.checkers {
		for j := range l.src.files[i].Exceptions {
			x, at := &l.src.files[i].Exceptions[j], fmt.Sprintf("exceptions[%d]", j)
			for k := range x.Texts {
				places[x.ID] = append(places[x.ID], exceptionPlace{c.doc, fmt.Sprintf("%s.texts[%d]", at, k), at})
			}
		}
	}
	return places
}

// exceptionPlaces returns where each exception of a rule is written.
func (l *linter) exceptionPlaces(r *linted, shared map[string][]exceptionPlace) []exceptionPlace {
	var places []exceptionPlace
	for i := range r.file.Except {
		x, at := &r.file.Except[i], fmt.Sprintf("%s.except[%d]", r.path, i)
		switch {
		case x.plain:
			places = append(places, exceptionPlace{r.doc, at, ""})
		case x.Use != "":
			places = append(places, shared[x.Use]...)
		default:
			for j := range x.Texts {
				places = append(places, exceptionPlace{r.doc, fmt.Sprintf("%s.texts[%d]", at, j), at})
			}
		}
	}
	return places
}
