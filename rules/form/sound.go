package form

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// sounds finds terms by their syllables: typed in Latin letters, written with other
// characters that sound alike, or both. A text is read as a stream of syllables, and an
// automaton of its own searches that.
type sounds struct {
	auto    *automaton.Automaton
	terms   []uint32           // by pattern
	written []uint64           // by pattern: hash of the term as it is written
	seed    maphash.Seed       // of written
	symbols []automaton.Symbol // by syllable
	table   *soundTable
	// triples are hashes of all three syllables that follow one another in a pattern: where
	// the other way to read a character makes none of them, it makes no term.
	triples bloom
	pairs   bool // there are patterns of two, which stand among the triples with nothing behind
}

const (
	soundBreak     = 0       // nothing is read across it
	soundSeparator = 1 << 14 // left out
	soundLetter    = 1 << 15 // with the letter: part of a typed syllable
	soundBoth      = 1 << 13 // with a number: two syllables, see soundTable.both
	// syllableRune is the character that stands for syllable 0 in patterns, in the area for
	// private use.
	syllableRune = 0xE000
	// maxSounds is how many ways to pronounce one term are looked for.
	maxSounds = 16
)

// newSounds returns nil if no term can be found by its sound.
func newSounds(terms []Term) (*sounds, error) {
	s := &sounds{seed: maphash.MakeSeed()}
	var patterns []automaton.Pattern
	for i := range terms {
		if terms[i].Forms&Pinyin == 0 {
			continue
		}
		least, err := terms[i].leastSyllables()
		if err != nil {
			return nil, &automaton.PatternError{Index: i, Err: err}
		}
		for _, p := range pronounce(fold.String(terms[i].Text), least) {
			patterns = append(patterns, automaton.Pattern{Text: p, Substring: true})
			s.terms = append(s.terms, uint32(i))
			s.written = append(s.written, maphash.String(s.seed, fold.String(terms[i].Text)))
		}
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	var err error
	if s.auto, err = automaton.New(patterns, automaton.Options{}); err != nil {
		return nil, err
	}
	var triples []uint64
	for _, p := range patterns {
		y := []rune(p.Text)
		if len(y) == 2 {
			triples = append(triples, tripleKey(s.auto.Symbol(y[0]), s.auto.Symbol(y[1]), 0))
			s.pairs = true
		}
		for i := 2; i < len(y); i++ {
			triples = append(triples, tripleKey(s.auto.Symbol(y[i-2]), s.auto.Symbol(y[i-1]), s.auto.Symbol(y[i])))
		}
	}
	s.triples = newBloom(triples)
	s.symbols = make([]automaton.Symbol, len(syllableNames()))
	for n := 1; n < len(s.symbols); n++ {
		s.symbols[n] = s.auto.Symbol(rune(syllableRune + n))
	}
	s.table = allSounds()
	return s, nil
}

// soundTable says what a character of the basic plane is to the reading: a syllable, or one of
// the values above.
type soundTable struct {
	first [1 << 16]uint16
	both  [][2]syllable // of the characters that are read in two ways
	// Of each letter those that follow it in pinyin, within a syllable or where two meet, and
	// those that a syllable ends with.
	follow [26]uint32
	last   uint32
}

// allSounds makes the table once per process, when it is first needed: 2 ms.
var allSounds = sync.OnceValue(func() *soundTable {
	t := &soundTable{}
	for r := range rune(1 << 16) {
		t.set(r)
	}
	for _, r := range "üǖǘǚǜÜǕǗǙǛ" {
		t.first[r] = soundLetter | 'v'
	}
	var firsts uint32
	for _, y := range append(slices.Clone(syllableNames()[1:]), "jv", "qv", "xv", "yv", "lue", "nue") {
		for i := 1; i < len(y); i++ {
			t.follow[y[i-1]-'a'] |= 1 << (y[i] - 'a')
		}
		firsts |= 1 << (y[0] - 'a')
		t.last |= 1 << (y[len(y)-1] - 'a')
	}
	for c := range t.follow {
		if t.last>>c&1 != 0 {
			t.follow[c] |= firsts
		}
	}
	return t
})

func (t *soundTable) set(r rune) {
	to, _ := fold.Rune(r)
	switch {
	case to == fold.Drop:
		t.first[r] = soundSeparator
		return
	case to == fold.Expands:
		return
	case 'a' <= to && to <= 'z':
		t.first[r] = soundLetter | uint16(to)
		return
	}
	switch fold.ClassOf(to) {
	case fold.Separator:
		t.first[r] = soundSeparator
	case fold.Han:
		one, more := readings(to)
		t.first[r] = uint16(one)
		if len(more) > 0 {
			t.first[r] = soundBoth | uint16(len(t.both))
			t.both = append(t.both, [2]syllable{one, more[0]})
		}
	}
}

func tripleKey(a, b, c automaton.Symbol) uint64 {
	return uint64(a.Code())<<32 | uint64(b.Code())<<16 | uint64(c.Code())
}

// pronounce returns the ways a term of Han characters sounds, nothing if it has fewer than
// the least number of them or one that cannot be read.
func pronounce(term string, least int) []string {
	if utf8.RuneCountInString(term) < least {
		return nil
	}
	ways := [][]syllable{nil}
	for _, r := range term {
		one, more := readings(r)
		if one == 0 {
			return nil
		}
		var longer [][]syllable
		for _, s := range append([]syllable{one}, more...) {
			for _, w := range ways {
				if len(longer) < maxSounds {
					longer = append(longer, append(slices.Clip(w), s))
				}
			}
		}
		ways = longer
	}
	var list []string
	add := func(w []syllable) {
		var b strings.Builder
		for _, s := range w {
			b.WriteRune(rune(syllableRune + s))
		}
		if !slices.Contains(list, b.String()) {
			list = append(list, b.String())
		}
	}
	for _, w := range ways {
		add(w)
		// Typed in one go, it may be divided otherwise: fang'an, fan'gan.
		var typed []byte
		for _, s := range w {
			typed = append(typed, syllableNames()[s]...)
		}
		if again, ok := parseSyllables(typed, nil); ok && len(again) >= least {
			add(again)
		}
	}
	return list
}

func (s *sounds) memory() int64 {
	return s.auto.Memory() + int64(12*cap(s.terms)+4*cap(s.symbols)+8*cap(s.triples.words))
}

// soundScratch is a text as syllables: their symbols, and the bytes of the text each was made
// from.
type soundScratch struct {
	symbols   []automaton.Symbol
	start     []uint32 // with typedSyllable, and with innerSyllable if it goes on with a token
	end       []uint32 // of a typed syllable
	n         int
	others    []other
	token     [maxPinyin]byte // the letters of a token, where each stands, and its syllables
	places    [maxPinyin + 1]uint32
	syllables []syllable
}

// other is another way to read the character of one symbol.
type other struct {
	at     int
	symbol automaton.Symbol
}

const (
	typedSyllable = 1 << 31
	innerSyllable = 1 << 30
	startMask     = innerSyllable - 1
)

// begin makes room for the syllables of a text of n bytes: at most one a byte, and one more for
// each place where reading stops.
func (sc *soundScratch) begin(n int) {
	if n = 2*n + 2 + automaton.Padding; len(sc.symbols) < n {
		n += n / 4
		sc.symbols, sc.start, sc.end = make([]automaton.Symbol, n), make([]uint32, n), make([]uint32, n)
	}
	sc.n, sc.others = 0, sc.others[:0]
}

func (sc *soundScratch) put(x automaton.Symbol, start uint32) {
	sc.symbols[sc.n], sc.start[sc.n] = x, start
	sc.n++
}

// stop ends what can be read together.
func (sc *soundScratch) stop() {
	if sc.n > 0 && sc.symbols[sc.n-1] != 0 {
		sc.put(0, 0)
	}
}

// inner reports whether a syllable goes on with the token of the one before.
func (sc *soundScratch) inner(i int) bool { return i < sc.n && sc.start[i]&innerSyllable != 0 }

// span returns the bytes of the text that syllables i up to and not including j come from.
func (sc *soundScratch) span(text []byte, i, j int) (start, end int) {
	last := int(sc.start[j-1] & startMask)
	if sc.start[j-1]&typedSyllable != 0 {
		return int(sc.start[i] & startMask), int(sc.end[j-1])
	}
	_, n := utf8.DecodeRune(text[last:])
	return int(sc.start[i] & startMask), last + n
}

// read makes the stream of a text's syllables.
func (s *sounds) read(sc *soundScratch, text []byte) {
	sc.begin(len(text))
	first := &s.table.first
	gap := 0
	for i := 0; i < len(text); {
		b := text[i]
		r, n := rune(b), 1
		if b&0xF0 == 0xE0 && i+2 < len(text) && text[i+1]&0xC0 == 0x80 && text[i+2]&0xC0 == 0x80 {
			r, n = rune(b)<<12&0xF000|rune(text[i+1])<<6&0xFC0|rune(text[i+2])&0x3F, 3
		} else if b >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(text[i:])
		}
		v := uint16(soundBreak)
		if r < 1<<16 {
			v = first[r]
		} else if r >= firstEmoji && r < 0x20000 {
			v = soundSeparator
		}
		switch {
		case v-1 < soundBoth-1: // a syllable
			sc.put(s.symbols[v], uint32(i))
			gap = 0
		case v < soundSeparator && v != 0:
			both := s.table.both[v&^soundBoth]
			if x := s.symbols[both[1]]; x.Code() != 0 {
				sc.others = append(sc.others, other{sc.n, x})
			}
			sc.put(s.symbols[both[0]], uint32(i))
			gap = 0
		case v >= soundLetter:
			i = s.typed(sc, text, i)
			gap = 0
			continue
		case v == soundSeparator:
			if gap++; gap > MaxGapLength {
				sc.stop()
			}
		default:
			sc.stop()
		}
		i += n
	}
	clear(sc.symbols[sc.n : sc.n+automaton.Padding])
}

// typed reads a token of Latin letters from byte i on and returns where it ends.
func (s *sounds) typed(sc *soundScratch, text []byte, i int) int {
	letters, ok := 0, true
	var before, last byte
	for i < len(text) {
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(text[i:])
		}
		if r >= 1<<16 || s.table.first[r] < soundLetter {
			break
		}
		if before, last = last, byte(s.table.first[r]); letters == maxPinyin || letters > 0 && s.table.follow[before-'a']>>(last-'a')&1 == 0 {
			ok = false
		}
		if ok {
			sc.token[letters], sc.places[letters] = last, uint32(i)
			letters++
		}
		i += n
	}
	// Most words of other languages are turned away by two letters that do not follow one
	// another, or by the last one.
	if ok = ok && s.table.last>>(last-'a')&1 != 0; ok {
		sc.syllables, ok = parseSyllables(sc.token[:letters], sc.syllables[:0])
	}
	if !ok {
		sc.stop()
		return i
	}
	sc.places[letters] = uint32(i)
	at, kind := 0, uint32(typedSyllable)
	for _, y := range sc.syllables {
		n := len(syllableNames()[y])
		sc.end[sc.n] = sc.places[at+n]
		sc.put(s.symbols[y], sc.places[at]|kind)
		at, kind = at+n, typedSyllable|innerSyllable
	}
	return i
}

// sound searches a text by its sound.
func (v *visit) sound() {
	s, sc := v.m.sounds, &v.sc.sounds
	s.read(sc, v.sc.text.Source)
	v.syllables(0, sc.n)
	for _, o := range sc.others {
		if !s.makes(sc, o) {
			continue
		}
		// Only what holds the character can be new.
		usual := sc.symbols[o.at]
		sc.symbols[o.at] = o.symbol
		v.syllables(max(0, o.at-s.auto.Longest()+1), min(sc.n, o.at+s.auto.Longest()))
		sc.symbols[o.at] = usual
	}
}

// makes reports whether the other reading of a character may make a pattern.
func (s *sounds) makes(sc *soundScratch, o other) bool {
	at := func(d int) automaton.Symbol {
		if i := o.at + d; i >= 0 && i < sc.n && d != 0 {
			return sc.symbols[i]
		}
		if d == 0 {
			return o.symbol
		}
		return 0
	}
	for d := -2; d <= 0; d++ {
		if s.triples.has(tripleKey(at(d), at(d+1), at(d+2))) {
			return true
		}
	}
	return s.pairs && (s.triples.has(tripleKey(at(-1), at(0), 0)) || s.triples.has(tripleKey(at(0), at(1), 0)))
}

// syllables searches the stream of syllables from one up to another.
func (v *visit) syllables(from, to int) {
	s, sc := v.m.sounds, v.sc
	for s.auto.Start(&sc.search, sc.sounds.symbols[from:to]); s.auto.Next(&sc.search); {
		for _, h := range sc.search.Hits {
			h.Start, h.End = h.Start+int32(from), h.End+int32(from)
			more := false
			fair := v.fairSound(int(h.Start), int(h.End))
			start, end := sc.sounds.span(v.sc.text.Source, int(h.Start), int(h.End))
			sc.surface = appendBare(sc.surface[:0], v.sc.text.Source[start:end])
			plainly := maphash.Bytes(s.seed, sc.surface)
			for _, p := range s.auto.Patterns(h.Entry) {
				if !fair || s.written[p] == plainly {
					more = true // as it is written it is no hit by its sound
					if sc := v.sc; sc.Rejected != nil && !fair && s.written[p] != plainly {
						why := OrdinaryWords
						if v.excluded(v.sc.text.Source[start:end]) {
							why = Excluded
						}
						v.rejectedAt(s.terms[p], start, end, Pinyin, why)
					}
					continue
				}
				more = v.report(s.terms[p], start, end, Pinyin) || more
			}
			if !more {
				s.auto.Done(&sc.search, h.Entry)
			}
		}
	}
}

// fairSound reports whether syllables i up to and not including j may be read as a term: not
// out of the middle of a typed word unless there are many, not from ordinary words.
func (v *visit) fairSound(i, j int) bool {
	sc := &v.sc.sounds
	if j-i <= MinSyllables && (sc.inner(i) || sc.inner(j)) {
		return false
	}
	text := v.sc.text.Source
	start, end := sc.span(text, i, j)
	surface := text[start:end]
	if v.excluded(surface) || v.foreign(i, j) {
		return false
	}
	w := v.m.ordinary
	if w == nil || j-i > maxSurface {
		return true
	}
	run := appendHanBefore(v.sc.run[:0], text, start)
	from := len(run)
	for _, r := range string(surface) {
		to, _ := fold.Rune(r)
		if fold.ClassOf(to) == fold.Separator || to == fold.Drop {
			continue
		}
		if fold.ClassOf(to) != fold.Han || len(run) == from+maxSurface {
			return true // typed, or with something between
		}
		run = append(run, to)
	}
	to := len(run)
	return !w.accident(appendHanAfter(run, text, end), from, to, Pinyin)
}

// foreign reports whether syllables i up to and not including j are words of another language
// that merely look like pinyin, as in "my mama sang": typed tokens only, each an ordinary word.
// One or two letters are no such word: to, me and he are syllables just as often.
func (v *visit) foreign(i, j int) bool {
	s, sc := v.m.sounds, &v.sc.sounds
	if v.m.ordinary == nil {
		return false
	}
	// A word that the syllables come from the middle of is looked at whole.
	for sc.inner(i) {
		i--
	}
	for sc.inner(j) {
		j++
	}
	start, end := sc.span(v.sc.text.Source, i, j)
	word := sc.token[:0]
	for _, r := range string(v.sc.text.Source[start:end]) {
		kind := uint16(soundSeparator)
		if r < 1<<16 {
			kind = s.table.first[r]
		}
		switch {
		case kind >= soundLetter:
			word = append(word, byte(kind))
			continue
		case kind != soundSeparator:
			return false // a Chinese character
		}
		if len(word) > 0 && !v.ordinaryWord(word) {
			return false
		}
		word = word[:0]
	}
	return v.ordinaryWord(word)
}

// ordinaryWord reports whether letters are a word that is not taken for pinyin.
func (v *visit) ordinaryWord(letters []byte) bool {
	return len(letters) >= minForeign && v.m.ordinary.latinWord(letters)
}

// minForeign is how many letters a word has at least that is not taken for pinyin.
const minForeign = 3

// appendBare appends a text folded and without separators.
func appendBare(dst, text []byte) []byte {
	return appendWithout(dst, text, isSeparator)
}

// appendSurface appends a text as exclusions are compared: folded and without separators, but
// with the pictures, which a term may be written in.
func appendSurface(dst, text []byte) []byte {
	return appendWithout(dst, text, func(r rune) bool { return isSeparator(r) && !unicode.Is(unicode.So, r) })
}

func appendWithout(dst, text []byte, leave func(rune) bool) []byte {
	n := len(dst)
	dst = fold.Append(dst, text)
	out := dst[:n]
	for _, r := range string(dst[n:]) {
		if !leave(r) {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// appendHanBefore appends up to maxWord-1 folded Han characters that stand right before a byte.
func appendHanBefore(run []rune, text []byte, at int) []rune {
	n := len(run)
	for at > 0 && len(run) < n+maxWord-1 {
		r, size := utf8.DecodeLastRune(text[:at])
		to, _ := fold.Rune(r)
		if fold.ClassOf(to) != fold.Han {
			break
		}
		run = append(run, to)
		at -= size
	}
	slices.Reverse(run[n:])
	return run
}

// appendHanAfter appends up to maxWord-1 folded Han characters that stand from a byte on.
func appendHanAfter(run []rune, text []byte, at int) []rune {
	n := len(run)
	for at < len(text) && len(run) < n+maxWord-1 {
		r, size := utf8.DecodeRune(text[at:])
		to, _ := fold.Rune(r)
		if fold.ClassOf(to) != fold.Han {
			break
		}
		run = append(run, to)
		at += size
	}
	return run
}
