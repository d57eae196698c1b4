package rules

import (
	"cmp"
	"math"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// MaxParts is how many occurrences of the terms of one combination are looked at in an event, so
// many that no writer gets there by accident. Of what comes then only the first of each term and
// its first in a sure reading are kept, and how near the parts stand and what else stands there is
// no longer asked: whoever floods a text is hit rather than hidden.
const MaxParts = 4096

// MaxEventParts is how many are looked at of all combinations together. From then on each is taken for
// flooded.
const MaxEventParts = 16 * MaxParts

// part is an occurrence of a term of a combination.
type part struct {
	use        int32
	field      int32
	start, end int
	form       form.Form
	pass       int
}

// part notes an occurrence. It returns false if no more of the term are wanted.
func (sc *Scratch) part(number int32, u *use, field int, h *form.Hit) bool {
	rule := &sc.seen[u.rule.number]
	if rule.round != sc.round {
		*rule = seen{round: sc.round}
	}
	if len(sc.parts) >= MaxEventParts {
		rule.parts = max(rule.parts, MaxParts)
	}
	sure := !h.Form.Weak()
	known := sc.windows.knowUse(number)
	if before := *known; before.round != sc.round {
		*known = knownUse{round: sc.round, sure: sure}
	} else {
		if rule.parts >= MaxParts && (before.sure || !sure) {
			return !before.sure
		}
		known.sure = before.sure || sure
	}
	rule.parts++
	if u.list != noList {
		rule.lists |= 1 << u.list
	}
	sc.parts = append(sc.parts, part{number, int32(field), h.Start, h.End, h.Form, h.Pass})
	return true
}

// combine looks at what was found of combinations and reports those that are met.
func (s *Set) combine(sc *Scratch, e *event.Event) {
	if len(sc.parts) == 0 {
		return
	}
	slices.SortFunc(sc.parts, func(a, b part) int {
		return cmp.Or(s.uses[a.use].rule.number-s.uses[b.use].rule.number, int(a.field-b.field), a.start-b.start, a.end-b.end, a.pass-b.pass)
	})
	for from := 0; from < len(sc.parts); {
		rule := s.uses[sc.parts[from].use].rule
		to := from + 1
		for to < len(sc.parts) && s.uses[sc.parts[to].use].rule == rule {
			to++
		}
		s.settle(sc, e, rule, sc.parts[from:to])
		from = to
	}
}

// settle reports the parts of a rule that hit.
func (s *Set) settle(sc *Scratch, e *event.Event, r *Rule, parts []part) {
	flooded := sc.seen[r.number].parts >= MaxParts
	first := len(sc.hits)
	found := condition.Hits{}
	sc.numbers = sc.numbers[:0]
	forms, fields := form.Form(0), sc.fields[:0]
	report := func(p *part) {
		h := form.Hit{Start: p.start, End: p.end, Form: p.form, Pass: p.pass}
		u := &s.uses[p.use]
		if k := sc.plainer(first, int(p.field), u, &h); k != nil {
			if k.yield(&h) {
				found.Sure++
			}
			return
		}
		full := len(sc.hits) >= s.max && len(sc.hits) > first && (found.Sure > 0 || h.Form.Weak())
		found.Count++
		if !h.Form.Weak() {
			found.Sure++
		}
		if r.When != nil {
			sc.numbers = append(sc.numbers, p.use)
			fields = append(fields, p.field)
		}
		if full {
			forms |= h.Form
		} else {
			s.report(sc, e, int(p.field), u, &h)
		}
	}
	d := demandOf(r)
	if flooded {
		d.none, d.within = false, Window{}
	}
	s.together(sc, e, &d, parts, report)
	for i := range sc.hits[first:] {
		forms |= sc.hits[first+i].Form
	}
	sc.fields = fields
	refused := r.When != nil && found.Count > 0 && !s.holds(sc, e, r, &found, forms, fields)
	if refused {
		sc.hits = sc.hits[:first]
	}
	if sc.dropped != nil {
		s.explainParts(sc, e, r, d, parts, refused, &found)
	}
}

// demand is what a rule asks of the parts that hit together.
type demand struct {
	lists    uint16 // bit set of those of which there must be a part
	distinct int    // how many different terms there must be
	none     bool   // whether it counts what must not be there
	within   Window
}

func demandOf(r *Rule) demand {
	return demand{lists: r.everyList(), distinct: r.Distinct, none: len(r.None) > 0, within: r.Within}
}

// together reports the parts, sorted by field and place, that stand as is demanded.
func (s *Set) together(sc *Scratch, e *event.Event, d *demand, parts []part, report func(*part)) {
	if d.within == (Window{}) {
		if !s.metAnywhere(sc, d, parts) {
			return
		}
		for i := range parts {
			if s.uses[parts[i].use].list != noList {
				report(&parts[i])
			}
		}
		return
	}
	for from := 0; from < len(parts); {
		to := from + 1
		for to < len(parts) && parts[to].field == parts[from].field {
			to++
		}
		sc.windows.met(s, d, e.Fields[parts[from].field].Text, parts[from:to], report)
		from = to
	}
}

// holds asks the condition of a rule. Where it has no answer the hits stand: a text must not be able
// to talk its way out by making a condition fail.
func (s *Set) holds(sc *Scratch, e *event.Event, r *Rule, found *condition.Hits, forms form.Form, fields []int32) bool {
	slices.Sort(sc.numbers)
	found.Distinct = len(slices.Compact(sc.numbers))
	slices.Sort(fields)
	for _, f := range slices.Compact(fields) {
		found.Fields = append(found.Fields, string(e.Fields[f].Name))
	}
	found.Forms = forms.Words()
	yes, err := r.When.Eval(e, *found)
	if err != nil {
		sc.undecided = append(sc.undecided, r)
	}
	return yes || err != nil
}

// Undecided returns the rules whose condition had no answer for the last event that Match looked
// at: it cost too much, or divided by zero. Their hits stood. It is valid until the next Match.
func (sc *Scratch) Undecided() []*Rule { return sc.undecided }

// metAnywhere reports whether the parts fulfil what is demanded, wherever they stand.
func (s *Set) metAnywhere(sc *Scratch, d *demand, parts []part) bool {
	w := &sc.windows
	w.begin(s)
	defer w.clear(parts)
	for i := range parts {
		if u := &s.uses[parts[i].use]; u.list != noList {
			w.add(u, parts[i].use)
		} else if d.none {
			return false
		}
	}
	return w.full(d)
}

// windows is the working memory for finding parts that stand together.
type windows struct {
	known  []knownUse // by use
	count  []int32    // by use, how many of it are in the window
	lists  [MaxLists]int32
	terms  int     // different ones in the window
	places []place // of a field, by where they begin
	ends   []int32 // numbers of places, by where they end
	escape []byte
}

// knownUse is the last event in which a term was a part, and whether it was in a sure reading.
type knownUse struct {
	round uint32
	sure  bool
}

// place is where a part stands, in characters or sentences instead of bytes.
type place struct {
	part     *part
	use      *use
	from, to int
	inside   bool // it was counted
}

// knowUse returns what is known of a use.
func (w *windows) knowUse(number int32) *knownUse {
	if int(number) >= len(w.known) {
		w.known = append(w.known, make([]knownUse, int(number)+1-len(w.known))...)
	}
	return &w.known[number]
}

// begin empties the window.
func (w *windows) begin(s *Set) {
	if len(w.count) < len(s.uses) {
		w.count = make([]int32, len(s.uses))
	}
	w.lists, w.terms = [MaxLists]int32{}, 0
}

// clear forgets the counts of parts.
func (w *windows) clear(parts []part) {
	for i := range parts {
		w.count[parts[i].use] = 0
	}
}

func (w *windows) add(u *use, number int32) {
	w.lists[u.list]++
	if w.count[number]++; w.count[number] == 1 {
		w.terms++
	}
}

func (w *windows) remove(u *use, number int32) {
	w.lists[u.list]--
	if w.count[number]--; w.count[number] == 0 {
		w.terms--
	}
}

// full reports whether every list has a part in the window, and there are terms enough.
func (w *windows) full(d *demand) bool {
	for i := range w.lists {
		if d.lists>>i&1 != 0 && w.lists[i] == 0 {
			return false
		}
	}
	return w.terms >= d.distinct
}

// met reports the parts of one field, sorted by start, that stand together as is demanded. A
// window begins with each part and is as long as the rule says. It takes time by the parts and by
// the text, once they are sorted.
func (w *windows) met(s *Set, d *demand, text []byte, parts []part, report func(*part)) {
	if !s.someOfEach(d, parts) {
		return // most often so; measuring reads the whole text
	}
	w.begin(s)
	defer w.clear(parts)
	length, before := d.within.Characters, d.within.Characters
	if d.within.Sentence {
		length, before = 1, 0
	}
	w.measure(s, d.within.Sentence, text, parts)
	added, looked := 0, 0
	nearest := math.MinInt // where what must not stand near ends, of all that begins before the window's end
	reach := -1            // the end of the last window that is full
	for i := range w.places {
		p := &w.places[i]
		for added < len(w.ends) && w.places[w.ends[added]].to <= p.from+length {
			// What began before the window can end in it; it is no part of it.
			if k := &w.places[w.ends[added]]; int(w.ends[added]) >= i && k.use.list != noList {
				w.add(k.use, k.part.use)
				k.inside = true
			}
			added++
		}
		for looked < len(w.places) && w.places[looked].from < p.from+length {
			if d.none && w.places[looked].use.list == noList {
				nearest = max(nearest, w.places[looked].to)
			}
			looked++
		}
		if p.use.list == noList {
			continue
		}
		if w.full(d) && nearest <= p.from-before {
			reach = p.from + length
		}
		if p.to <= reach {
			report(p.part)
		}
		if p.inside {
			w.remove(p.use, p.part.use)
		}
	}
}

// someOfEach reports whether the parts are of every list of the rule.
func (s *Set) someOfEach(d *demand, parts []part) bool {
	seen := uint16(0)
	for i := range parts {
		if list := s.uses[parts[i].use].list; list != noList {
			seen |= 1 << list
		}
	}
	return seen&d.lists == d.lists
}

// measure tells where the parts stand, counted in characters or in sentences.
func (w *windows) measure(s *Set, sentences bool, text []byte, parts []part) {
	w.places, w.ends = w.places[:0], w.ends[:0]
	starts := ruler{text: text, sentences: sentences, escape: w.escape}
	for i := range parts {
		w.ends = append(w.ends, int32(i))
		w.places = append(w.places, place{part: &parts[i], use: &s.uses[parts[i].use], from: starts.at(parts[i].start)})
	}
	if sentences {
		// A part stands in the sentence in which it begins, though it may end that (加我!).
		for i := range w.places {
			w.places[i].to = w.places[i].from + 1
		}
		w.escape = starts.escape
		return
	}
	slices.SortStableFunc(w.ends, func(a, b int32) int { return parts[a].end - parts[b].end })
	ends := ruler{text: text, escape: starts.escape}
	for _, i := range w.ends {
		w.places[i].to = ends.at(parts[i].end)
	}
	w.escape = ends.escape
}

// ruler counts the characters of a text, or its sentences, up to one place after another.
type ruler struct {
	text      []byte
	sentences bool
	place     int // how far it has counted
	n         int
	between   bool // the last character was no letter
	lines     int  // line breaks since the last character that is seen
	escape    []byte
}

// at returns how many characters or ends of sentences there are before a place, which must not be
// before the last one that was asked for.
func (u *ruler) at(place int) int {
	for u.place < place {
		// What stands in escapes counts as what it says, or they would stretch a text.
		var size int
		if u.escape, size = form.Unescape(u.escape[:0], u.text[u.place:]); size > 0 {
			u.place += size
			for escaped := u.escape; len(escaped) > 0; {
				r, n := utf8.DecodeRune(escaped)
				escaped = escaped[n:]
				u.count(r)
			}
			continue
		}
		r, n := utf8.DecodeRune(u.text[u.place:])
		u.place += n
		u.count(r)
	}
	return u.n
}

// count counts one character.
func (u *ruler) count(r rune) {
	if u.sentences {
		u.sentence(r)
	} else if is, seen := letter(r); is || seen && !u.between {
		u.n++
		u.between = !is
	}
}

// sentence counts r if it ends a sentence: a full stop before white space, an exclamation or
// question mark, two dots of omission, an empty line.
func (u *ruler) sentence(r rune) {
	to, _ := fold.Rune(r)
	rest := u.text[u.place:]
	next, _ := utf8.DecodeRune(rest)
	switch {
	case to == '。' || to == '!' || to == '?':
		u.n++
	case to == '.' && (len(rest) == 0 || unicode.IsSpace(next)):
		u.n++
	case r == '…' && next == '…':
		u.n++
	case r == '\n':
		if u.lines++; u.lines == 2 {
			u.n++
		}
	}
	if !unicode.IsSpace(r) {
		u.lines = 0
	}
}
