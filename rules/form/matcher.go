package form

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unsafe"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// Options are what New needs beside the terms.
type Options struct {
	Words      *Words   // ordinary words; nil for none
	Exclusions []string // texts that are no hit by sound or shape, although they sound or look alike
	Automaton  automaton.Options
	// CountNumerals makes every numeral of a row count (三三 is no lengthened 三), as it is
	// where a term is a number. It is for who compares with a matcher of more terms.
	CountNumerals bool
}

// Matcher finds terms in all their forms. It is immutable and may be used by any number of
// goroutines at once, each with a [Scratch] of its own.
type Matcher struct {
	auto           *automaton.Automaton
	spellings      []spelling // by pattern of auto
	runs           []uint8    // of the spellings that have any
	terms          []term
	exact          []rune               // of the spellings that are compared with the text, the length before each
	rows           map[int][]repetition // by code
	latin          *latin               // nil if the terms rule it out
	forms          Form                 // that any term asks for
	blank          automaton.Symbol
	countsNumerals bool
	numbers        *numbers   // nil unless a term asks for numbers
	leet           *leetTable // nil unless a term asks for letters in disguise
	sounds         *sounds    // nil unless a term asks for sounds
	seams          *seams     // nil unless a term asks for escapes
	ordinary       *Words
	excluded       map[string]bool
	exclusions     string // hash of excluded
}

// term is what is to be known of a term when it is found.
type term struct {
	forms     Form
	substring bool
	foreign   bool // it is written in a script whose letters look like Latin ones
}

// New compiles terms. All that are refused are named, each by an [*automaton.PatternError]
// with its place in terms.
func New(terms []Term, o Options) (*Matcher, error) {
	m := &Matcher{ordinary: o.Words, terms: make([]term, len(terms))}
	s := speller{ordinary: o.Words, marked: asciiMarks, exactOpen: make(map[int]bool)}
	if o.CountNumerals {
		s.countNumerals()
	}
	for i := range terms {
		t := &terms[i]
		m.forms |= t.Forms | Fold
		m.terms[i] = term{t.Forms | Fold, t.Substring, strings.ContainsFunc(t.Text, likeLatin)}
		if t.Forms&Digits != 0 && s.marked == asciiMarks && number(withZeros(fold.String(t.Text))) != "" {
			s.countNumerals()
		}
	}
	m.countsNumerals = s.marked != asciiMarks
	for i := range terms {
		s.spell(i, &terms[i])
	}
	var rows []repetition
	if m.forms&joinedForms != 0 {
		rows = s.putAside()
	}
	m.exact = slices.Clone(s.exact)
	m.spellings, m.runs = slices.Clone(s.spellings), slices.Clone(s.runs) // as large as they have to be
	if m.forms&(joinedForms|Leet) != 0 {
		o.Automaton.Marked, o.Automaton.Alphabet = s.marked, " i"
		for _, r := range rows {
			o.Automaton.Alphabet += string(r.r)
		}
	}
	var err error
	if m.auto, err = automaton.New(s.patterns, o.Automaton); err != nil {
		return nil, m.refusal(err)
	}
	m.blank = m.auto.Symbol(' ')
	if len(rows) > 0 {
		m.rows = make(map[int][]repetition)
		for _, r := range rows {
			c := m.auto.Symbol(r.r).Code()
			m.rows[c] = append(m.rows[c], r)
		}
	}
	m.latin = newLatin(&s, rows, m.forms, o.Automaton.Engine)
	if m.forms&Digits != 0 && s.in(numbered) {
		m.numbers = newNumbers(m.auto)
	}
	if m.forms&Leet != 0 && s.in(lettered) {
		m.leet = newLeetTable(m.auto)
	}
	if m.forms&Decode != 0 {
		m.seams = newSeams(&s, m)
	}
	if m.forms&Pinyin != 0 {
		if m.sounds, err = newSounds(terms, m.auto); err != nil {
			return nil, fmt.Errorf("by sound: %w", err)
		}
	}
	if len(o.Exclusions) > 0 {
		m.excluded = make(map[string]bool, len(o.Exclusions))
		for _, x := range o.Exclusions {
			key := string(appendSurface(nil, []byte(x)))
			if key == "" {
				return nil, fmt.Errorf("exclusion %q: nothing is left of it without separators; take it out", x)
			}
			m.excluded[key] = true
		}
		h := sha256.New()
		for _, x := range slices.Sorted(maps.Keys(m.excluded)) {
			h.Write([]byte(x + "\n"))
		}
		m.exclusions = hex.EncodeToString(h.Sum(nil)[:4])
	}
	return m, nil
}

// CountsNumerals reports whether every numeral of a row counts, see [Options].
func (m *Matcher) CountsNumerals() bool { return m.countsNumerals }

func (s *speller) countNumerals() { s.marked = asciiMarks + numerals() + circles }

// in reports whether any spelling is looked for in the reading.
func (s *speller) in(r reading) bool {
	return slices.ContainsFunc(s.spellings, func(sp spelling) bool { return sp.in&r != 0 })
}

// refusal says which terms are refused instead of which patterns.
func (m *Matcher) refusal(err error) error {
	var errs []error
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) {
		return err
	}
	for _, e := range list.Unwrap() {
		p, ok := errors.AsType[*automaton.PatternError](e)
		if !ok {
			return err
		}
		errs = append(errs, &automaton.PatternError{Index: int(m.spellings[p.Index].term), Err: p.Err})
	}
	return errors.Join(errs...)
}

// Memory returns how many bytes of heap the matcher takes, its lists of words left out.
func (m *Matcher) Memory() int64 {
	n := m.auto.Memory() + m.latin.memory() + int64(int(unsafe.Sizeof(spelling{}))*cap(m.spellings)+cap(m.runs)+int(unsafe.Sizeof(term{}))*cap(m.terms)+4*cap(m.exact))
	if m.sounds != nil {
		n += m.sounds.memory()
	}
	if m.seams != nil {
		n += int64(8 * cap(m.seams.meet.words))
	}
	return n
}

// Scratch is the working memory of one goroutine. The zero Scratch is ready; it may be used
// with one matcher after another.
type Scratch struct {
	// Rejected is called for what reads as a term and is no hit, if it is set. It is for
	// explanations: nothing else needs to know.
	Rejected func(Hit, Rejection)

	search    automaton.Scratch
	text      automaton.Text
	joined    stream
	rewritten stream // numbered or lettered
	decoded   decoded
	sounds    soundScratch
	surface   []byte
	cut       cut // of an ASCII text
	run       [maxAround]rune
}

// passes of one text.
const (
	passPlain = iota
	passJoined
	passNumbered
	passLettered
	passApart
	passSound
	passZeros
	passes // of the text as it is
)

// Find calls f for every place where a term stands in the text, in one of the term's forms,
// overlapping ones too. A place is reported in the plainest form in which it can be read,
// though one term may stand in one place in two ways (赌赌博 once as it is, once with both).
// When f returns false no more of that term are wanted; the rest of the search is then the
// quicker for it.
//
// Time is linear in the text plus what is found in it. Nothing is allocated once the scratch
// has grown.
func (m *Matcher) Find(sc *Scratch, text []byte, f func(Hit) (more bool)) {
	m.find(sc, text, nil, 0, f)
	if m.forms&Decode == 0 || !sc.decoded.undo(text) {
		return
	}
	written, sound := true, true
	if sc.Rejected == nil && m.seams != nil { // whoever explains wants to see all of it
		written, sound = m.seams.matter(&sc.decoded)
	}
	switch {
	case written:
		m.find(sc, sc.decoded.text, &sc.decoded, passes, f)
	case sound && m.sounds != nil:
		sc.text.Source = sc.decoded.text
		v := visit{m: m, sc: sc, decoded: &sc.decoded, f: f, pass: passes + passSound}
		v.sound(false)
	}
}

// find searches the text as it is, or as decoded from another.
func (m *Matcher) find(sc *Scratch, text []byte, d *decoded, pass int, f func(Hit) bool) {
	v := visit{m: m, sc: sc, decoded: d, f: f}
	var is traits
	if m.latin != nil {
		if places, ok := m.latin.places(&sc.cut, text, m.auto); ok {
			sc.text.Source = text
			v.pass = pass + passPlain
			v.ascii(places)
			if m.sounds != nil {
				v.pass = pass + passSound
				v.sound(false)
			}
			return
		}
	}
	m.auto.Decode(&sc.text, text)
	v.pass = pass + passPlain
	if m.forms&joinedForms == 0 {
		m.auto.Start(&sc.search, sc.text.Symbols)
		v.all(plain)
	} else {
		is = sc.joined.join(sc.text.Symbols, m.blank)
		m.auto.StartAside(&sc.search, sc.text.Symbols)
		v.all(plain)
		if m.rows != nil {
			v.repetitions()
		}
		v.pass = pass + passJoined
		m.auto.StartRewritten(&sc.search, sc.joined.symbols)
		v.all(joined)
		if m.numbers != nil && is.numerals {
			v.pass = pass + passNumbered
			v.numbered()
		}
	}
	if m.leet != nil {
		v.pass = pass + passLettered
		if sc.rewritten.letter(sc.text.Symbols, m.leet) {
			m.auto.StartRewritten(&sc.search, sc.rewritten.symbols)
			v.all(lettered)
		}
	}
	if is.apart && m.forms&Spaced != 0 && sc.joined.rows(&sc.text) {
		v.pass = pass + passApart
		m.auto.StartRewritten(&sc.search, sc.joined.symbols)
		v.all(joined)
	}
	if m.sounds != nil {
		v.pass = pass + passSound
		v.sound(true)
	}
	// This comes last: it changes the symbols of the text. A number with a circle begins with a
	// numeral and another one or the circle.
	if is.marks && is.numerals && m.numbers != nil && m.numbers.zeros(sc.text.Symbols) {
		v.pass = pass + passZeros
		sc.joined.join(sc.text.Symbols, m.blank)
		v.numbered()
	}
}

// numbered searches the numbered reading of the joined one.
func (v *visit) numbered() {
	m, sc := v.m, v.sc
	if sc.rewritten.number(&sc.joined, sc.text.Symbols, m.numbers) {
		m.auto.StartRewritten(&sc.search, sc.rewritten.symbols)
		v.all(numbered)
	}
}

// visit is one pass over one text.
type visit struct {
	m       *Matcher
	sc      *Scratch
	decoded *decoded // what the text was decoded from; nil for a text as it is
	f       func(Hit) bool
	pass    int
}

// all takes what the search that was started finds.
func (v *visit) all(r reading) {
	m, sc := v.m, v.sc
	for m.auto.Next(&sc.search) {
		for _, h := range sc.search.Hits {
			more := false
			for _, p := range m.auto.Patterns(h.Entry) {
				sp := &m.spellings[p]
				if sp.in&r != 0 {
					more = v.hit(r, h, sp) || more
				}
			}
			if !more {
				m.auto.Done(&sc.search, h.Entry)
			}
		}
	}
}

// ascii takes what begins at some places of a text that is all ASCII, where each byte is a
// symbol and only the plain reading is looked for. No Han characters and no other script are
// around it.
func (v *visit) ascii(places []uint32) {
	m, sc, text := v.m, v.sc, v.sc.text.Source
	for _, at := range places {
		m.auto.Walk(&sc.search, text, int(at))
		for _, h := range sc.search.Hits {
			start, end := int(h.Start), int(h.End)
			inside := insideToken(text, start) || insideToken(text, end)
			for _, p := range m.auto.Patterns(h.Entry) {
				if sp := &m.spellings[p]; sp.open || !inside {
					v.judged(sp.term, start, end, sp.form)
				}
			}
		}
	}
}

// repetitions looks for terms that are one character again and again, where the joined reading left
// some of a run out.
func (v *visit) repetitions() {
	t, j := &v.sc.text, &v.sc.joined
	before := -1
	for _, a := range j.again {
		q := int(a)
		if q == before {
			continue
		}
		before = q
		lo, hi := int(j.from[q]), int(j.from[q+1])
		rows := v.m.rows[t.Symbols[lo].Code()]
		for lo+1 < hi && len(rows) > 0 {
			end := lo + 1 // of the run that begins at lo
			for end < hi && t.Symbols[end].Same(t.Symbols[lo]) {
				end++
			}
			for i := range rows {
				v.row(&rows[i], lo, end)
			}
			for lo = end; lo < hi && t.Symbols[lo].Separator(); {
				lo++
			}
		}
	}
}

// row reports a term of one character again and again in a run of it.
func (v *visit) row(r *repetition, lo, hi int) {
	t := &v.sc.text
	if r.whole && (hi-lo != r.n || lo > 0 && t.Symbols[lo-1].Token() || hi < len(t.Symbols) && t.Symbols[hi].Token()) {
		return
	}
	for ; lo+r.n <= hi; lo++ {
		if !v.place(&r.spelling, trace{lo: lo, hi: lo + r.n, form: r.spelling.form}) {
			return
		}
	}
}

// hit judges one occurrence of a spelling and hands it on if it is a fair reading of the
// text. It returns false if no more of the term are wanted.
func (v *visit) hit(r reading, h automaton.Hit, sp *spelling) bool {
	if !sp.open && v.sc.search.Inside(h) {
		return true // another term with the same letters may stand there
	}
	tr, ok := v.trace(r, int(h.Start), int(h.End), sp)
	tr.form |= sp.form
	switch {
	case !ok:
		if sp.exact == 0 {
			v.rejected(sp.term, tr, BadGap)
		}
		return true
	case r != plain && tr.form == sp.form && !sp.plainly && sp.exact == 0:
		return true // it stands there as it is, and is found so
	}
	return v.place(sp, tr)
}

// place judges a place of the text that can be read as a spelling.
func (v *visit) place(sp *spelling, tr trace) bool {
	m, t := v.m, &v.sc.text
	term := &m.terms[sp.term]
	switch {
	case !t.Aligned(tr.lo, tr.hi):
		return true // a piece of a character
	case tr.form&^term.forms != 0:
		v.rejected(sp.term, tr, NotAsked)
		return true
	case tr.form&Emoji == 0 && v.accident(tr.lo, tr.hi, tr.form):
		v.rejected(sp.term, tr, OrdinaryWords)
		return true
	}
	if tr.form&Digits != 0 && partOfNumber(t, tr.lo, tr.hi) || !term.foreign && otherScript(t, tr.lo, tr.hi) {
		v.rejected(sp.term, tr, OrdinaryWords)
		return true
	}
	start, end := t.Span(tr.lo, tr.hi)
	return v.judged(sp.term, start, end, tr.form)
}

// judged reports what reads as a term, unless its text is excluded.
func (v *visit) judged(term uint32, start, end int, f Form) bool {
	if f.Weak() && v.excluded(v.sc.text.Source[start:end]) {
		v.rejectedAt(term, start, end, f, Excluded)
		return true
	}
	return v.report(term, start, end, f)
}

// Rejection says why what reads as a term is no hit.
type Rejection string

// The rejections.
const (
	BadGap        Rejection = "what stands between its characters is not read over, or letters are doubled as in ordinary words"
	NotAsked      Rejection = "it takes a form that its rule does not ask for"
	OrdinaryWords Rejection = "ordinary words around it claim its characters"
	Excluded      Rejection = "the text is excluded for its sound or shape"
)

// rejected tells who wants to know that something is no hit.
func (v *visit) rejected(term uint32, tr trace, why Rejection) {
	if v.sc.Rejected == nil || tr.hi <= tr.lo {
		return
	}
	start, end := v.sc.text.Span(tr.lo, tr.hi)
	v.rejectedAt(term, start, end, tr.form, why)
}

func (v *visit) rejectedAt(term uint32, start, end int, f Form, why Rejection) {
	if v.sc.Rejected == nil {
		return
	}
	if v.decoded != nil {
		start, end, _ = v.decoded.span(start, end)
		f |= Decode
	}
	v.sc.Rejected(Hit{Term: int(term), Start: start, End: end, Form: cmp.Or(f, Fold), Pass: v.pass}, why)
}

// trace says what a hit in a reading looks like in the text.
func (v *visit) trace(r reading, i, j int, sp *spelling) (trace, bool) {
	m, sc := v.m, v.sc
	switch r {
	case joined:
		if sp.exact != 0 {
			n := m.exact[sp.exact-1]
			return sc.joined.standsAsItIs(&sc.text, i, m.exact[sp.exact:][:n], m.terms[sp.term].substring)
		}
		var runs []uint8
		if sp.runs != 0 {
			runs = m.runs[sp.runs-1:][:j-i]
		}
		tr, ok := sc.joined.trace(&sc.text, i, j, runs)
		if sp.spread && !spread(&sc.text, tr.lo, tr.hi) {
			return tr, false
		}
		if ok && tr.doubtful {
			start, end := sc.text.Span(tr.lo, tr.hi)
			sc.surface = appendBare(sc.surface[:0], sc.text.Source[start:end])
			ok = !m.ordinary.latinWord(sc.surface)
		}
		return tr, ok
	case numbered:
		if !sc.rewritten.whole(i, j) {
			return trace{}, false
		}
		tr, ok := sc.joined.trace(&sc.text, int(sc.rewritten.from[i]), int(sc.rewritten.from[j]), nil)
		tr.form |= Digits
		return tr, ok && v.numerals(tr.lo, tr.hi)
	case lettered:
		return sc.rewritten.traceLetters(&sc.text, m.leet, i, j)
	}
	return trace{lo: i, hi: j}, true
}

// numerals reports whether symbols lo to hi of the text hold a number that is not written in
// digits.
func (v *visit) numerals(lo, hi int) bool {
	for _, x := range v.sc.text.Symbols[lo:hi] {
		if !x.Token() && !x.Separator() && v.m.numbers.value(x) >= 0 {
			return true
		}
	}
	return false
}

// accident reports whether what stands at symbols lo up to hi, read in a form, is only there
// because of the words around it: a short run of Han characters that is divided into words
// otherwise. A letter or digit may be among them, as in K粉.
func (v *visit) accident(lo, hi int, form Form) bool {
	w := v.m.ordinary
	t := &v.sc.text
	if w == nil || !han(t, lo) && !han(t, hi-1) {
		return false
	}
	begin := lo
	for begin > 0 && lo-begin < maxWord-1 && han(t, begin-1) {
		begin--
	}
	run := v.sc.run[:0]
	from, to := lo-begin, 0
	for at := begin; at < len(t.Symbols) && at < hi+maxWord-1; at++ {
		if at == hi {
			to = len(run)
		}
		if t.Symbols[at].Separator() && at < hi {
			continue // what was read over
		}
		r := runeAt(t, at)
		if fold.ClassOf(r) != fold.Han {
			if at >= hi {
				break
			}
			r = amongHan(r)
		}
		if len(run) == cap(run) {
			return false
		}
		run = append(run, r)
	}
	if to == 0 {
		to = len(run)
	}
	return w.accident(run, from, to, form)
}

// report hands a hit on, in the bytes of the text as it was given.
func (v *visit) report(term uint32, start, end int, f Form) bool {
	if v.decoded != nil {
		var escaped bool
		if start, end, escaped = v.decoded.span(start, end); !escaped {
			return true // it stands in the text as it was given
		}
		if f |= Decode; v.m.terms[term].forms&Decode == 0 {
			return true
		}
	}
	return v.f(Hit{Term: int(term), Start: start, End: end, Form: cmp.Or(f, Fold), Pass: v.pass})
}

// excluded reports whether a text is no hit by sound or shape.
func (v *visit) excluded(surface []byte) bool {
	if v.m.excluded == nil {
		return false
	}
	v.sc.surface = appendSurface(v.sc.surface[:0], surface)
	return v.m.excluded[string(v.sc.surface)]
}
