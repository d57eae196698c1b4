package form

import (
	"hash/maphash"
	"math/bits"
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
	// By code of the automaton that searches the text: the code of the character's syllable and,
	// 16 bits above, of the other one it may have; 0 for what is in no pattern.
	byCode []uint32
	table  *soundTable
	// triples are hashes of all three syllables that follow one another in a pattern: where
	// the other way to read a character makes none of them, it makes no term. firsts are those
	// of the three that patterns begin with: text without them is passed over. A pattern of two
	// has a nothing behind them in triples, and before them in firsts.
	triples, firsts bloom
	pairs           *syllablePairs
	least           int // syllables of the shortest pattern
}

// Kinds of characters to the reading. What lies between soundBreak and soundSeparator is read
// as soundTable.syllables says.
const (
	soundBreak     = 0       // nothing is read across it
	soundSeparator = 1 << 14 // left out
	soundLetter    = 1 << 15 // with the letter: part of a typed syllable
)

const (
	// syllableRune is the character that stands for syllable 0 in patterns, in the area for
	// private use.
	syllableRune = 0xE000
	// maxSounds is how many ways to pronounce one term are looked for.
	maxSounds = 16
	// soundRunes is how many characters the table of kinds has, up to the end of the plane of
	// CJK Unified Ideographs Extension G and H.
	soundRunes = 0x40000
)

// newSounds returns nil if no term can be found by its sound. Texts are searched by a.
func newSounds(terms []Term, a *automaton.Automaton) (*sounds, error) {
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
	s.index(patterns)
	s.symbols = make([]automaton.Symbol, len(syllableNames()))
	for n := 1; n < len(s.symbols); n++ {
		s.symbols[n] = s.auto.Symbol(rune(syllableRune + n))
	}
	s.table = allSounds()
	s.byCode = make([]uint32, a.Codes())
	for c := 1; c < len(s.byCode); c++ {
		if r := a.Rune(c); int(r) < len(s.table.kinds) {
			s.byCode[c] = s.ofKind(s.table.kinds[r])
		}
	}
	return s, nil
}

// index notes which syllables follow one another in the patterns.
func (s *sounds) index(patterns []automaton.Pattern) {
	s.pairs, s.least = new(syllablePairs), automaton.MaxSymbols
	var triples, firsts []uint64
	for _, p := range patterns {
		var y []uint32
		for _, r := range p.Text {
			y = append(y, uint32(s.auto.Symbol(r).Code()))
		}
		s.least = min(s.least, len(y))
		if len(y) == 2 {
			triples = append(triples, triple(y[0], y[1], 0))
			firsts = append(firsts, triple(0, y[0], y[1]))
			for front := range uint32(1 << pairBits) {
				s.pairs.add(front, y[0], firstPair)
			}
			s.pairs.add(y[0], y[1], secondPair)
			continue
		}
		firsts = append(firsts, triple(y[0], y[1], y[2]))
		s.pairs.add(y[0], y[1], firstPair)
		s.pairs.add(y[1], y[2], secondPair)
		for i := 2; i < len(y); i++ {
			triples = append(triples, triple(y[i-2], y[i-1], y[i]))
		}
	}
	s.triples, s.firsts = newBloom(triples), newBloom(firsts)
}

// ofKind returns the codes of the syllables of a kind, as byCode has them.
func (s *sounds) ofKind(kind uint16) uint32 {
	if int(kind) >= len(s.table.syllables) {
		return 0
	}
	y := s.table.syllables[kind]
	return uint32(s.symbols[y[0]].Code()) | uint32(s.symbols[y[1]].Code())<<16
}

// soundTable says of which kind a character is.
type soundTable struct {
	// Of the planes that have Han characters and those before: a character of the basic plane may
	// fold to one of another, which must read alike.
	kinds [soundRunes]uint16
	// By kind the usual syllable and another one, 0 if there is none. The kind of what is read in
	// one way only is the number of its syllable.
	syllables [][2]syllable
	// Of each letter those that follow it in pinyin, within a syllable or where two meet, and
	// where a token begins; those that a syllable ends with; those that are one.
	follow, open [26]uint32
	last, alone  uint32
}

// allSounds makes the table once per process, when it is first needed: 2 ms.
var allSounds = sync.OnceValue(func() *soundTable {
	t := &soundTable{}
	for y := range syllableNames() {
		t.syllables = append(t.syllables, [2]syllable{syllable(y), 0})
	}
	kinds := make(map[[2]syllable]uint16)
	for r := range rune(soundRunes) {
		t.set(r, kinds)
	}
	for _, r := range "üǖǘǚǜÜǕǗǙǛ" {
		t.kinds[r] = soundLetter | 'v'
	}
	var firsts uint32
	for _, y := range append(slices.Clone(syllableNames()[1:]), "jv", "qv", "xv", "yv", "lue", "nue") {
		for i := 1; i < len(y); i++ {
			t.follow[y[i-1]-'a'] |= 1 << (y[i] - 'a')
		}
		firsts |= 1 << (y[0] - 'a')
		t.last |= 1 << (y[len(y)-1] - 'a')
		if len(y) == 1 {
			t.alone |= 1 << (y[0] - 'a')
		} else {
			t.open[y[0]-'a'] |= 1 << (y[1] - 'a')
		}
	}
	for c := range t.follow {
		if t.last>>c&1 != 0 {
			t.follow[c] |= firsts
		}
		if t.alone>>c&1 != 0 {
			t.open[c] |= firsts
		}
	}
	return t
})

func (t *soundTable) set(r rune, kinds map[[2]syllable]uint16) {
	to, _ := fold.Rune(r)
	switch {
	case to == fold.Drop:
		t.kinds[r] = soundSeparator
		return
	case to == fold.Expands:
		return
	case 'a' <= to && to <= 'z':
		t.kinds[r] = soundLetter | uint16(to)
		return
	}
	switch fold.ClassOf(to) {
	case fold.Separator:
		t.kinds[r] = soundSeparator
	case fold.Han:
		one, more := readings(to)
		if t.kinds[r] = uint16(one); len(more) == 0 {
			return
		}
		both := [2]syllable{one, more[0]}
		if kinds[both] == 0 {
			kinds[both] = uint16(len(t.syllables))
			t.syllables = append(t.syllables, both)
		}
		t.kinds[r] = kinds[both]
	}
}

func tripleKey(a, b, c automaton.Symbol) uint64 {
	return triple(uint32(a.Code()), uint32(b.Code()), uint32(c.Code()))
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
	return s.auto.Memory() + int64(12*cap(s.terms)+4*cap(s.symbols)+4*cap(s.byCode)+8*(cap(s.triples.words)+cap(s.firsts.words)+len(s.pairs)))
}

// soundScratch is a text as syllables: their symbols, and the bytes of the text each was made
// from.
type soundScratch struct {
	symbols []automaton.Symbol
	start   []uint32 // with typedSyllable, and with innerSyllable if it goes on with a token
	end     []uint32 // of a typed syllable
	n       int
	others  []other
	// Lists of the text as a whole. The codes are those of the syllables of what is no separator,
	// as byCode has them; at says which symbol of the text each stands for. The others hold places
	// in codes.
	codes, at, rest, triples, alike, typed []uint32

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
		for _, list := range []*[]uint32{&sc.codes, &sc.at, &sc.triples, &sc.alike, &sc.rest} {
			*list = make([]uint32, n)
		}
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

// kind returns of which kind the character is that the text has at byte i, and its length.
func (t *soundTable) kind(text []byte, i int) (kind uint16, n int) {
	b := text[i]
	if b < utf8.RuneSelf {
		return t.kinds[b], 1
	}
	if 0xE1 <= b && b <= 0xEF && i+2 < len(text) && text[i+1]&0xC0 == 0x80 && text[i+2]&0xC0 == 0x80 {
		return t.kinds[uint16(b)<<12|uint16(text[i+1]&0x3F)<<6|uint16(text[i+2]&0x3F)], 3
	}
	r, n := utf8.DecodeRune(text[i:])
	if r < soundRunes {
		return t.kinds[r], n
	}
	if to, _ := fold.Rune(r); to == fold.Drop || to >= 0 && fold.ClassOf(to) == fold.Separator {
		return soundSeparator, n
	}
	return soundBreak, n
}

// read makes the stream of a text's syllables, but for the stretches in which no pattern can
// begin. A stretch is what can be read together, a clause. Nearly all of them are ruled out: those
// of Han characters because no three in a row are what a pattern begins with, those of another
// language because their words are no pinyin. As in the automaton's filter, no branch depends on
// the text until little is left.
func (s *sounds) read(sc *soundScratch, t *automaton.Text) {
	sc.begin(max(len(t.Source), len(t.Symbols)))
	n, typed := s.list(sc, t)
	triples, alike := s.candidates(sc, n)
	next := func(list *[]uint32, to int) int { // the first of the list from to on
		for len(*list) > 0 {
			if i := int((*list)[0]); i >= to {
				return i
			}
			*list = (*list)[1:]
		}
		return n
	}
	for done := frontCodes; ; {
		triple, other, token := next(&triples, done), next(&alike, done), next(&typed, done)
		i := min(triple, other, token)
		if i == n {
			break
		}
		switch {
		case i == triple && !s.starts(sc.codes[i-2:]):
			triples = triples[1:]
			continue
		case i == other && i != triple && !s.otherwise(sc.codes[i-2:]):
			alike = alike[1:]
			continue
		}
		from, syllables := i, 0
		for from > done && sc.codes[from-1] != 0 {
			from--
		}
		for done = from; done < n && sc.codes[done] != 0; done++ {
			if c := sc.codes[done]; c&codeMask == typedCode {
				syllables += int(c >> pairBits) // no more than its vowels
			} else {
				syllables++
			}
		}
		if syllables >= s.least {
			to := len(t.Source)
			if done < n {
				to = int(t.Offsets[sc.at[done]])
			}
			s.stretch(sc, t.Source[:to], int(t.Offsets[sc.at[from]]))
		}
	}
	clear(sc.symbols[sc.n : sc.n+automaton.Padding])
}

const (
	frontCodes = 2               // zeros before the codes of a text
	codeMask   = 1<<pairBits - 1 // of the usual syllable, see byCode
	typedCode  = 1<<pairBits - 1 // of a letter in a token that may be pinyin; above it the vowels of the token, on its first
)

// list writes down the codes of what is no separator, as byCode has them, 0 for what nothing is
// read across, and two zeros more on either side. It returns how many they are and at which letters
// stand that may be pinyin.
func (s *sounds) list(sc *soundScratch, t *automaton.Text) (n int, typed []uint32) {
	codes, at, rest, byCode := sc.codes, sc.at, sc.rest, s.byCode
	codes[0], codes[1] = 0, 0
	n = frontCodes
	u := 0
	for k, x := range t.Symbols {
		y := byCode[x.Code()]
		codes[n], at[n], rest[u] = y, uint32(k), uint32(n)
		counts := 1
		if x.Separator() {
			counts = 0
		}
		n += counts
		if y != 0 {
			counts = 0
		}
		u += counts
	}
	codes[n], codes[n+1] = 0, 0
	typed = sc.typed[:0]
	for q := 0; q < u; {
		i := rest[q]
		q++
		x, begin := t.Symbols[at[i]], int(t.Offsets[at[i]])
		if !x.Token() {
			if x.Code() == 0 { // in no pattern of the automaton, but it may sound like what is
				kind, _ := s.table.kind(t.Source, begin)
				codes[i] = s.ofKind(kind)
			}
			continue
		}
		end, vowels := s.table.token(t.Source, begin)
		if vowels > 0 {
			typed = append(typed, i)
			codes[i] = typedCode | uint32(vowels)<<pairBits
		}
		for ; q < u && int(t.Offsets[at[rest[q]]]) < end; q++ {
			if vowels > 0 {
				codes[rest[q]] = typedCode
			}
		}
	}
	sc.typed = typed
	return n, typed
}

// candidates returns where the third of three syllables stands that may begin a pattern, and where
// what can be read in another way.
func (s *sounds) candidates(sc *soundScratch, n int) (triples, alike []uint32) {
	pairs := s.pairs
	triples, alike = sc.triples[:len(sc.codes)], sc.alike[:len(sc.codes)]
	last, before := uint32(0), uint32(0)
	found, others := 0, 0
	for i, y := range sc.codes[:n] {
		c := y & codeMask
		two := pairs.of(last, c)
		triples[found], alike[others] = uint32(i), uint32(i)
		found += int(before & (two >> 1) & 1)
		others += int((y>>16 + 1<<16 - 1) >> 16)
		last, before = c, two
	}
	return triples[:found], alike[:others]
}

// otherwise reports whether three syllables in a row of five begin a pattern if that in the middle
// is read in its other way.
func (s *sounds) otherwise(five []uint32) bool {
	l, o, r := five[1]&codeMask, five[2]>>16, five[3]&codeMask
	if s.pairs.of(l, o)|s.pairs.of(o, r) == 0 {
		return false
	}
	return s.first(five[0]&codeMask, l, o) || s.first(l, o, r) || s.first(o, r, five[4]&codeMask)
}

// starts reports whether a pattern begins with three codes in a row, as byCode has them, or is
// the last two of them.
func (s *sounds) starts(y []uint32) bool { return s.first(y[0]&codeMask, y[1]&codeMask, y[2]&codeMask) }

// first is starts for the codes of three syllables.
func (s *sounds) first(a, b, c uint32) bool {
	return s.firsts.has(triple(a, b, c)) || s.least == 2 && s.firsts.has(triple(0, b, c))
}

// triple is the key of the codes of three syllables.
func triple(a, b, c uint32) uint64 { return uint64(a)<<32 | uint64(b)<<16 | uint64(c) }

// syllablePairs holds two bits for each two syllables, by their codes: whether they are the first
// and second of a pattern, and whether the second and third. A pattern of two is taken for the
// second and third of one that begins with anything.
type syllablePairs [1 << (2 * pairBits) / 32]uint64

const pairBits = 9 // of a code: there are fewer than 512 syllables

const (
	firstPair = 1 << iota
	secondPair
)

func (p *syllablePairs) of(a, b uint32) uint32 {
	i := a<<pairBits | b
	return uint32(p[i>>5%uint32(len(p))]>>(i&31*2)) & 3
}

func (p *syllablePairs) add(a, b uint32, bits uint64) {
	i := a<<pairBits | b
	p[i>>5] |= bits << (i & 31 * 2)
}

// readLatin is read for a text without Chinese characters, of which it needs the bytes only. It
// returns false if there are any.
func (s *sounds) readLatin(sc *soundScratch, text []byte) bool {
	sc.begin(len(text))
	from, vowels := 0, 0
	for i := 0; i <= len(text); {
		end := i + 1
		if i < len(text) {
			kind, n := s.table.kind(text, i)
			end = i + n
			switch {
			case kind == soundSeparator:
				i = end
				continue
			case kind >= soundLetter:
				to, v := s.table.token(text, i)
				if vowels += v; v > 0 {
					i = to
					continue
				}
				end = to
			case kind != soundBreak:
				return false
			}
		}
		if vowels >= s.least {
			n := sc.n
			if s.stretch(sc, text[:i], from); !s.begins(sc.symbols[n:sc.n]) {
				sc.n = n
			}
		}
		i = end
		from, vowels = end, 0
	}
	clear(sc.symbols[sc.n : sc.n+automaton.Padding])
	return true
}

// begins reports whether a pattern may begin among syllables.
func (s *sounds) begins(symbols []automaton.Symbol) bool {
	a, b := uint32(0), uint32(0)
	for _, x := range symbols {
		c := uint32(x.Code())
		if s.first(a, b, c) {
			return true
		}
		a, b = b, c
	}
	return false
}

// stretch adds to the stream what the text reads from byte i on, and ends it.
func (s *sounds) stretch(sc *soundScratch, text []byte, i int) {
	for gap := 0; i < len(text); {
		kind, n := s.table.kind(text, i)
		if kind >= soundLetter {
			i = s.typed(sc, text, i)
			gap = 0
			continue
		}
		if kind != soundSeparator {
			if y := s.table.syllables[kind]; y[1] != 0 && s.symbols[y[1]].Code() != 0 {
				sc.others = append(sc.others, other{sc.n, s.symbols[y[1]]})
			}
			sc.put(s.symbols[s.table.syllables[kind][0]], uint32(i))
			gap = 0
		} else if gap++; gap > MaxGapLength {
			sc.stop()
		}
		i += n
	}
	sc.stop()
}

// token returns where a token of Latin letters ends that begins at byte i, and how many vowels it
// has: no fewer than syllables. It is 0 for most words of other languages, which two letters show
// to be no pinyin: the first ones, the last ones, or some between.
func (t *soundTable) token(text []byte, i int) (end, vowels int) {
	x := load(text[i:]) | 0x20*ones
	letters := (x + (0x80-'a')*ones) &^ (x + (0x80-'z'-1)*ones) & highs
	n := bits.TrailingZeros64(^letters&highs) / 8
	if n == 0 || n == 8 || i+n < len(text) && text[i+n] >= utf8.RuneSelf {
		return t.longToken(text, i)
	}
	first, last := x&0xFF-'a', x>>(8*(n-1))&0xFF-'a'
	if n == 1 {
		return i + 1, int(t.alone >> first & 1)
	}
	if t.open[first%26]>>(x>>8&0xFF-'a')&(t.last>>last)&1 == 0 {
		return i + n, 0
	}
	for q := 0; ; q++ {
		c := x&0xFF - 'a'
		vowels += vowelLetters >> c & 1
		if q == n-1 {
			return i + n, vowels
		}
		if x >>= 8; t.follow[c%26]>>(x&0xFF-'a')&1 == 0 {
			return i + n, 0
		}
	}
}

// longToken is token for one of any length and of letters in any guise.
func (t *soundTable) longToken(text []byte, i int) (end, vowels int) {
	n, ok := 0, true
	last := byte(0)
	for ; i < len(text); n++ {
		kind, size := t.kind(text, i)
		if kind < soundLetter {
			break
		}
		c := byte(kind) - 'a'
		ok = ok && (n == 0 || t.follow[last]>>c&1 != 0)
		vowels += vowelLetters >> c & 1
		last = c
		i += size
	}
	if !ok || n > maxPinyin || t.last>>last&1 == 0 {
		return i, 0
	}
	return i, vowels
}

// vowelLetters are the letters one of which every syllable has: a, e, i, o, u and v.
const vowelLetters = 1<<0 | 1<<4 | 1<<8 | 1<<14 | 1<<20 | 1<<21

// typed reads a token of Latin letters from byte i on and returns where it ends.
func (s *sounds) typed(sc *soundScratch, text []byte, i int) int {
	letters := 0
	for i < len(text) {
		kind, n := s.table.kind(text, i)
		if kind < soundLetter || letters == maxPinyin {
			break
		}
		sc.token[letters], sc.places[letters] = byte(kind), uint32(i)
		letters++
		i += n
	}
	var ok bool
	if sc.syllables, ok = parseSyllables(sc.token[:letters], sc.syllables[:0]); !ok {
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

// sound searches a text by its sound. sc.text holds it, but may lack its symbols.
func (v *visit) sound(decoded bool) {
	s, sc := v.m.sounds, &v.sc.sounds
	if !s.readLatin(sc, v.sc.text.Source) {
		if !decoded {
			v.m.auto.Decode(&v.sc.text, v.sc.text.Source)
		}
		s.read(sc, &v.sc.text)
	}
	if sc.n > 0 {
		v.heard()
	}
}

// heard searches the stream of syllables that was read, with each character in its usual way and
// one after another in its other way.
func (v *visit) heard() {
	s, sc := v.m.sounds, &v.sc.sounds
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
	return s.least == 2 && (s.triples.has(tripleKey(at(-1), at(0), 0)) || s.triples.has(tripleKey(at(0), at(1), 0)))
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
	for text := v.sc.text.Source[:end]; start < end; {
		kind, n := s.table.kind(text, start)
		start += n
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
