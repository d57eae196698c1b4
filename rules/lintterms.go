package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// repeated tells of terms that are in their list already.
func (l *linter) repeated(w *origins) {
	for _, x := range w.repeated {
		if x.rule.State == Retired {
			continue
		}
		if !x.place.ofRule() && x.before.ofRule() { // better the rule's own entry: it is the one to take out
			x.text, x.place, x.before = x.first, x.before, x.place
		}
		r := &linted{Rule: x.rule}
		l.add(RepeatedTerm, r, x.place.problem(), "%s is in the list already, after folding, by %s; keep one", show(x.text), x.before)
	}
}

// show is how findings quote a term.
func show(text string) string { return quoted(text, MaxTermLength) }

// duplicates tells of terms that decide alone in two live rules of one category.
func (l *linter) duplicates() {
	type key struct{ category, folded string }
	type place struct {
		rule *linted
		at   origin
	}
	first := make(map[key][]place)
	for _, r := range l.rules {
		if r.state != Live || r.Combines() {
			continue
		}
		for j := range r.Lists[0] {
			t := &r.Lists[0][j]
			k, here := key{r.Category, fold.String(t.Text)}, place{r, r.written(t)}
			i := slices.IndexFunc(first[k], func(p place) bool { return p.rule.meets(r) })
			if i < 0 {
				first[k] = append(first[k], here)
				continue
			}
			before := first[k][i]
			if before.at == here.at {
				l.add(DuplicateTerm, r, r.at("terms"), "shares terms with %s of the same category, by a group or a file; let one of the two look for them", before.rule.ID)
				continue
			}
			l.add(DuplicateTerm, r, here.at.problem(), "%s is a term of %s, too (%s), of the same category; keep one", show(t.Text), before.rule.ID, before.at)
		}
	}
}

// meets reports whether some field of some event is looked at by both rules.
func (r *linted) meets(other *linted) bool {
	kinds := slices.ContainsFunc(r.Kinds, func(k event.Kind) bool { return slices.Contains(other.Kinds, k) })
	fields := len(r.Fields) == 0 || len(other.Fields) == 0 || slices.ContainsFunc(r.Fields, func(f string) bool { return slices.Contains(other.Fields, f) })
	return kinds && fields
}

// deadTerm is a term that can never hit.
type deadTerm struct {
	kind FindingKind
	term *Term
	why  string
}

// wanted looks at what each rule looks for: at the terms one by one, and whether it can hit at all.
func (l *linter) wanted() {
	for _, r := range l.rules {
		excepted := r.excepted(l.o.Now)
		alive, reachable := 0, true
		for i, list := range r.Lists {
			var dead []*deadTerm
			for j := range list {
				if d := l.term(r, i, j, excepted); d != nil {
					dead = append(dead, d)
				}
			}
			alive += len(list) - len(dead)
			if len(dead) == len(list) {
				reachable = false
				l.add(UnreachableRule, r, r.at(r.listName(i)), "no term of this list can hit: %s", dead[0].why)
				continue // more is not to be said of each
			}
			for _, d := range dead {
				l.add(d.kind, r, r.written(d.term).problem(), "%s", d.why)
			}
		}
		for j := range r.None {
			if x, ok := excepted[fold.String(r.None[j].Text)]; ok {
				l.add(ExceptedTerm, r, r.written(&r.None[j]).problem(), "%s is itself an exception of this rule (%s) and is never found; take one of the two out",
					show(r.None[j].Text), x)
			}
		}
		switch shortest := r.shortest(); {
		case !reachable:
		case r.Distinct > alive:
			l.add(UnreachableRule, r, r.at("distinct"), "%d different terms are asked for, and only %d of this rule can hit; ask for fewer", r.Distinct, alive)
		case r.Within.Characters > 0 && r.Within.Characters < shortest:
			l.add(UnreachableRule, r, r.at("within"), "what must stand there takes at least %d characters, and within is %d; give more room", shortest, r.Within.Characters)
		}
	}
}

// listName is the name of a list in the pack.
func (r *linted) listName(i int) string {
	if r.doc.Has(r.path + ".all") {
		return fmt.Sprintf("all[%d]", i)
	}
	return "terms"
}

// excepted returns the exceptions in force that are terms of the rule, by their folded texts.
func (r *linted) excepted(now time.Time) map[string]*Exception {
	var found map[string]*Exception
	var index termIndex
	for i := range r.Except {
		x := &r.Except[i]
		if x.Expired(now) {
			continue
		}
		if found == nil {
			index, found = r.index(), make(map[string]*Exception)
		}
		folded := fold.String(x.Text)
		if _, ok := index.all[folded]; ok {
			found[folded] = x
		}
	}
	return found
}

// term looks at a term by letting the set judge the text of it alone: what else of its rule stands
// in there? It returns nil if the term can be a hit, or a part of one.
func (l *linter) term(r *linted, list, j int, excepted map[string]*Exception) *deadTerm {
	t := &r.Lists[list][j]
	if t.shaped() {
		return nil
	}
	if x, ok := excepted[fold.String(t.Text)]; ok && t.Forms&^r.Forms == 0 {
		return &deadTerm{ExceptedTerm, t, fmt.Sprintf("%s is itself an exception of this rule (%s); take one of the two out", show(t.Text), x)}
	}
	name := "text"
	if len(r.Fields) > 0 {
		name = r.Fields[0]
	}
	e := event.Event{Kind: r.Kinds[0], Fields: []event.Field{{Name: []byte(name), Text: []byte(t.Text)}}}
	matched := l.set.Match(&l.sc, &e)
	if !r.Combines() {
		for i := range matched {
			h := &matched[i]
			if h.Rule != r.Rule || h.Form != form.Fold || h.Term == t.Text {
				continue
			}
			if shorter := r.term(h.Term); l.always(shorter, t) {
				l.shadowed(r, t, shorter)
				break
			}
		}
		return nil
	}
	shadowed := false
	for i := range l.sc.parts {
		p := &l.sc.parts[i]
		u := &l.set.uses[p.use]
		if u.rule != r.Rule || u.term == t || p.form != form.Fold || u.term.shaped() || !l.always(u.term, t) {
			continue
		}
		switch longer := fold.String(u.term.Text) != fold.String(t.Text); {
		case u.list == noList:
			return &deadTerm{CancelledTerm, t, fmt.Sprintf("%s always has %s of none in it and is never a part of a hit; take one of the two out", show(t.Text), show(u.term.Text))}
		case int(u.list) == list:
			// Where different terms count, or a condition may count them, each adds something.
			if !shadowed && r.Distinct < 2 && r.When == nil {
				shadowed = true
				l.shadowed(r, t, u.term)
			}
		case !longer && int(u.list) < list:
			l.add(OverlappingLists, r, r.written(t).problem(), "%s is in list %d of this combination, too, and fills both; take it out of one, or give it a rule of its own", show(t.Text), u.list+1)
		case longer:
			l.add(OverlappingLists, r, r.written(t).problem(), "%s fills list %d and, by %s in it, list %d of this combination; take one of the two terms out, or give it a rule of its own",
				show(t.Text), list+1, show(u.term.Text), u.list+1)
		}
	}
	return nil
}

func (l *linter) shadowed(r *linted, t, shorter *Term) {
	l.add(ShadowedTerm, r, r.written(t).problem(), "%s never adds a hit, because %s (%s) always stands in it; take one of the two out",
		show(t.Text), show(shorter.Text), r.written(shorter))
}

// always reports whether a term is found wherever a longer one is, of whose text it was found to be a
// part. Where it cannot be told it says no. That ordinary words may spare the shorter one is left
// aside.
func (l *linter) always(t, longer *Term) bool {
	switch {
	case longer.Forms&^t.Forms != 0:
		return false
	case longer.Forms.Weak() && strings.ContainsFunc(longer.Text, func(r rune) bool { return fold.ClassOf(r) == fold.Han }):
		return false // by sound or shape a part of a word is not found
	case t.Boundary != Substring && longer.Boundary != Token && t.Boundary != longer.Boundary:
		return false
	case t.ExactCase && !longer.ExactCase:
		return false
	case t.Gap > 0 && (longer.Gap == 0 || longer.Gap > t.Gap):
		return false
	}
	for _, x := range l.covers[t] {
		if between(fold.String(t.Text), fold.String(longer.Text), fold.String(l.set.exceptions[x])) {
			return false
		}
	}
	return true
}

// between reports whether, in some text, an exception covers a term that stands in a longer one, and
// does not cover that. All are folded.
func between(term, longer, exception string) bool {
	for i := range longer {
		if !strings.HasPrefix(longer[i:], term) {
			continue
		}
		for j := range exception {
			if !strings.HasPrefix(exception[j:], term) {
				continue
			}
			before, behind := min(i, j), min(len(longer)-i, len(exception)-j)
			if longer[i-before:i+behind] == exception[j-before:j+behind] && (j < i || len(exception)-j < len(longer)-i) {
				return true
			}
		}
	}
	return false
}

// shortest returns how many characters what the rule asks for takes at least, as a window counts them.
// Terms of two lists can overlap if they have a character in common; of such lists only the longest
// counts. Of what has a shape one character is known, and that it may overlap with anything.
func (r *Rule) shortest() int {
	if len(r.Lists) > MaxLists || r.Within.Characters == 0 {
		return 0
	}
	least := make([]int, len(r.Lists))         // of each list its shortest term
	group := make([]int, len(r.Lists))         // lists that may overlap have one number
	has := make([]map[rune]bool, len(r.Lists)) // nil for a list with a shape
	var lengths []int
	for i, list := range r.Lists {
		group[i] = i
		if r.shaped>>i&1 == 0 {
			has[i] = make(map[rune]bool)
		}
		for j := range list {
			n := 1
			if t := &list[j]; !t.shaped() {
				u := ruler{text: []byte(t.Text)}
				n = max(1, u.at(len(t.Text)))
				for _, c := range fold.String(t.Text) {
					if has[i] != nil {
						has[i][c] = true
					}
				}
			}
			lengths = append(lengths, n)
			if j == 0 || n < least[i] {
				least[i] = n
			}
		}
		for k := range i {
			if group[k] != group[i] && common(has[k], has[i]) {
				from, to := group[i], group[k]
				for m := range group[:i+1] {
					if group[m] == from {
						group[m] = to
					}
				}
			}
		}
	}
	longest := make(map[int]int)
	for i, g := range group {
		longest[g] = max(longest[g], least[i])
	}
	sum := 0
	for _, n := range longest {
		sum += n
	}
	// One of so many different terms is at least as long as that many-th shortest.
	slices.Sort(lengths)
	if r.Distinct > 1 && r.Distinct <= len(lengths) {
		sum = max(sum, lengths[r.Distinct-1])
	}
	return sum
}

// common reports whether terms of two lists may have a character in common.
func common(a, b map[rune]bool) bool {
	if a == nil || b == nil {
		return true
	}
	if len(b) < len(a) {
		a, b = b, a
	}
	for c := range a {
		if b[c] {
			return true
		}
	}
	return false
}
