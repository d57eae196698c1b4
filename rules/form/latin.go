package form

import (
	"bytes"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// latin finds in texts that are all ASCII, without decoding them, the places where a pattern
// can begin, in every reading but that by sound; in most texts there are none. Two letters, by
// which the automaton looks for the start of a pattern, say little in English; but a pattern
// that is restricted to whole tokens can only occur where its whole first token stands, and its
// second one next. So whole tokens are looked up, and beside them what a reading would make of
// them: tokens with doubled letters without, tokens with digits or signs with letters, letters
// that stand apart as one token.
type latin struct {
	plain  tokens // of the patterns of the plain reading
	joined tokens // of the joined one, nil if it is not looked for
	// Every token of the patterns of the lettered reading, nil if it is not looked for: a hit
	// there holds one in disguise.
	disguised bloom
	// lead is how many characters stand before the first token of a pattern at most.
	lead    int
	nothing bool // there is no pattern that a text of ASCII can hold
	walks   bool // the automaton can be walked
}

// tokens are the tokens that patterns begin with.
type tokens struct {
	first bloom // first tokens
	alone bloom // first tokens of patterns with no other token
	pair  bloom // first and second tokens
}

// bloom is a set of keys that may seem to hold more than was put in: three bits of one word
// for each key. With 32 bits a key about one look-up in a thousand is wrong.
type bloom struct {
	words []uint64
	shift uint8 // from hash to word
}

// newBloom makes a set of keys, which it sorts.
func newBloom(keys []uint64) bloom {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	n := max(4, bits.Len(uint(len(keys)/2)))
	b := bloom{make([]uint64, 1<<n), uint8(64 - n)}
	for _, k := range keys {
		b.add(k)
	}
	return b
}

func (b *bloom) place(key uint64) (word, mask uint64) {
	h := key * 0x9E3779B97F4A7C15
	return h >> (b.shift & 63), 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63)
}

func (b *bloom) add(key uint64) {
	w, m := b.place(key)
	b.words[w] |= m
}

func (b *bloom) has(key uint64) bool { return b.bit(key) == 1 }

// bit is 1 for a key in the set, else 0, without a branch.
func (b *bloom) bit(key uint64) int {
	w, m := b.place(key)
	missing := m &^ b.words[w]
	return int((missing|-missing)>>63 ^ 1)
}

// newLatin returns nil if the patterns rule the filter out: patterns of ASCII characters
// without a letter or digit, or that may stand inside a token.
func newLatin(s *speller, rows []repetition, f Form, engine automaton.Engine) *latin {
	var plains, joins [][2]uint64 // the first two tokens of each pattern that an ASCII text can hold
	var disguised []uint64
	lead := 0
	for i, p := range s.patterns {
		sp := &s.spellings[i]
		if !isASCII([]byte(p.Text)) || sp.in == numbered { // that reading takes numerals in the text
			continue
		}
		first, rest := cutToken([]byte(p.Text))
		text, open := p.Text, p.Substring
		if sp.exact != 0 {
			text, open = s.written[i], s.exactOpen[i]
		}
		if first == 0 || open && (isAlnum(text[0]) || isAlnum(text[len(text)-1])) {
			return nil
		}
		second, _ := cutToken(rest)
		in := sp.in
		if in&joined != 0 && sp.exact == 0 {
			joins = append(joins, [2]uint64{first, second})
		}
		lead = max(lead, strings.IndexFunc(text, isToken))
		if in&plain != 0 || sp.plainly || sp.exact != 0 {
			one, rest := cutToken([]byte(s.written[i]))
			two, _ := cutToken(rest)
			plains = append(plains, [2]uint64{one, two})
		}
		for k := first; k != 0 && in&lettered != 0; k, rest = cutToken(rest) {
			disguised = append(disguised, k)
		}
	}
	for _, r := range rows {
		if r.r >= utf8.RuneSelf {
			continue
		}
		if !r.whole {
			return nil
		}
		plains = append(plains, [2]uint64{key(bytes.Repeat([]byte{byte(r.r)}, r.n)), 0})
	}
	l := &latin{plain: newTokens(plains), lead: lead, walks: engine == automaton.Own}
	l.nothing = len(plains)+len(joins)+len(disguised) == 0 && f&(Digits|Leet) == 0
	if f&joinedForms != 0 {
		l.joined = newTokens(joins)
	}
	if f&Leet != 0 {
		l.disguised = newBloom(disguised)
	}
	return l
}

func newTokens(list [][2]uint64) tokens {
	var first, alone, pair []uint64
	for _, p := range list {
		first = append(first, p[0])
		if p[1] == 0 {
			alone = append(alone, p[0])
		} else {
			pair = append(pair, pairKey(p[0], p[1]))
		}
	}
	return tokens{newBloom(first), newBloom(alone), newBloom(pair)}
}

// begins returns which tokens of a text patterns may begin with, as indices; they are good
// until the next call. No branch depends on the tokens: which of them are some pattern's first
// one, and which of those stand before its second one, no processor can predict.
func (t *tokens) begins(c *cut) []uint32 {
	list, keys := c.some[:len(c.at)], c.keys[:len(c.at)+1]
	n := 0
	for i, k := range keys[:len(keys)-1] {
		list[n] = uint32(i)
		n += t.first.bit(k)
	}
	firsts := list[:n]
	n = 0
	for _, i := range firsts {
		k := keys[i]
		list[n] = i
		n += t.alone.bit(k) | t.pair.bit(pairKey(k, keys[i+1]))
	}
	return list[:n]
}

func isToken(r rune) bool { return fold.ClassOf(r) == fold.Token }

// cutToken returns the key of the first token of an ASCII text, 0 if there is none, and what
// follows it.
func cutToken(text []byte) (uint64, []byte) {
	for len(text) > 0 && !isAlnum(text[0]) {
		text = text[1:]
	}
	n := tokenLength(text)
	return key(text[:n]), text[n:]
}

// key is a token's first eight bytes, in small letters, as a number.
func key(token []byte) uint64 {
	x := load(token)
	if n := len(token); n < 8 {
		x &= keep[n]
	}
	return x | 0x20*ones&keep[min(len(token), 8)]
}

func pairKey(first, second uint64) uint64 { return first*0xC2B2AE3D27D4EB4F + second }

// twins reports whether two neighbours among the first eight bytes of a token are alike.
func twins(k uint64, size int) bool {
	d := k ^ k>>8 | ^keep[min(size, 8)-1] // zero where a byte is as the next
	return (d-ones)&^d&highs != 0
}

// places returns the places of a text at which patterns can begin; they are good until the next
// text is cut. ok is false where that is not known: the text does not hold nothing but ASCII and
// signs that are in no pattern, there are too many places to look at each by itself, or readings
// beside the plain one may hold a pattern.
func (l *latin) places(c *cut, text []byte, a *automaton.Automaton) (list []uint32, ok bool) {
	if len(text) > 0 && 0xE3 <= text[0] && text[0] <= 0xEF {
		return nil, false // Chinese, most likely
	}
	if l.nothing && isASCII(text) {
		return nil, true
	}
	ascii, ok := c.cut(text, a)
	if !ok {
		return nil, false
	}
	begins := l.plain.begins(c)
	plainly := l.joined.first.words == nil && l.disguised.words == nil
	if len(begins) > 0 {
		if !plainly || !ascii || !l.walks {
			return nil, false
		}
		list = c.before(begins, l.lead)
		return list, len(list) <= walks+len(text)/walkBytes
	}
	return nil, plainly || !l.reads(c, text)
}

// A walk reads a byte again for every place before it that a pattern begins at and goes on. So
// that the time stays linear whatever the patterns are, few places are walked from: this many
// and one for so many bytes. From more of them the automaton goes on by itself.
const (
	walks     = 8
	walkBytes = 64
)

// reads reports whether a pattern may be what the joined or the lettered reading makes of
// the text.
func (l *latin) reads(c *cut, text []byte) bool {
	var apart apart
	for i, k := range c.keys[:len(c.at)] {
		at, size := int(c.at[i]), c.size(text, i)
		if l.joined.first.words != nil {
			if (size == 1 || apart.n > 0) && !l.standsApart(&apart, text, at, size) {
				return true
			}
			// A term of one token that is doubled nowhere would stand here as it is, and be no news.
			doubled := size > 8 || twins(k, size)
			if doubled || l.plain.first.has(k) {
				key := k
				if doubled {
					key = collapse(text[at : at+size])
				}
				if l.joined.first.has(key) && (doubled && l.joined.alone.has(key) || l.follows(key, c.token(text, i+1))) {
					return true
				}
			}
		}
		if l.disguised.words != nil && (digitBytes(k)&highs&keep[min(size, 8)] != 0 || size > 8 || signed(text, at, at+size)) {
			if l.undisguise(text, at) {
				return true
			}
		}
	}
	return l.row(apart.letters[:apart.n])
}

// apart is a row of letters that stand apart and are one token in the joined reading.
type apart struct {
	letters [maxApart]byte
	n       int
	end     int // where the last one stands
}

// maxApart is how many letters that stand apart are looked at as one token. A text with a
// longer row is not ruled out.
const maxApart = 32

// standsApart adds a token to the row if it is one more letter; else, and when the end of a
// clause is between, the row ends. It returns false if a pattern may begin with it.
func (l *latin) standsApart(a *apart, text []byte, at, size int) bool {
	ends := size != 1
	for i := a.end + 1; a.n > 0 && i < at; i++ {
		if text[i] >= utf8.RuneSelf {
			return false // whether a row ends with it is not looked at here
		}
		ends = ends || fold.ClassOf(rune(text[i])) != fold.Separator
	}
	if ends && a.n > 0 {
		if l.row(a.letters[:a.n]) {
			return false
		}
		a.n = 0
	}
	if size == 1 {
		if a.n == maxApart {
			return false
		}
		if a.n > 0 && l.disguised.words != nil && (text[at] <= '9' || a.letters[a.n-1] <= '9' || signKind(text[a.end+1])|signKind(text[at-1]) != 0) {
			return false // maybe a word in disguise
		}
		a.letters[a.n] = text[at]
		a.n, a.end = a.n+1, at
	}
	return true
}

// row reports whether a pattern may begin with letters that stand apart, all of them or all but
// those at the ends.
func (l *latin) row(letters []byte) bool {
	n := len(letters)
	if n == 0 {
		return false
	}
	has := func(row []byte) bool { return l.joined.first.has(collapse(row)) }
	return has(letters) || n >= minRow && (has(letters[1:]) || has(letters[:n-1]) || has(letters[1:n-1]))
}

// follows reports whether a token may be the second of a pattern of the joined reading whose
// first one has the key.
func (l *latin) follows(key uint64, next []byte) bool {
	// A single letter may be the first of some that stand apart.
	return len(next) == 1 || l.joined.pair.has(pairKey(key, collapse(next)))
}

// collapse is the key of a token with each run of a letter as one letter.
func collapse(token []byte) uint64 {
	var out [8]byte
	n := 0
	last := byte(0)
	for _, b := range token {
		if b |= 0x20; b == last && b >= 'a' {
			continue
		}
		if n == len(out) {
			break
		}
		out[n] = b
		n++
		last = b
	}
	return key(out[:n])
}

// signs8 reports whether of the eight bytes from i on those that are not ASCII are of signs
// that neither stand in a pattern nor join what stands around them.
func signs8(text []byte, i int, a *automaton.Automaton) bool {
	end := min(i+8, len(text))
	for i > 0 && !utf8.RuneStart(text[i]) {
		i-- // its first bytes are in the eight before
	}
	for i < end {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if s, one := a.SymbolOf(r); !one || s.Token() || s.Code() != 0 && a.Rune(s.Code()) >= utf8.RuneSelf || r == utf8.RuneError {
			if r != '…' && (!joiner(r) || !behindSign(text[:i], a)) {
				return false
			}
		}
		i += n
	}
	return true
}

// joiner reports whether a character is one of those that pictures are put together with. They
// are dropped, so between letters they would join tokens.
func joiner(r rune) bool { return r == '\u200D' || r == '\uFE0F' || 0x1F3FB <= r && r <= 0x1F3FF }

// behindSign reports whether a text ends with a sign, joiners aside.
func behindSign(text []byte, a *automaton.Automaton) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeLastRune(text)
		if !joiner(r) {
			s, one := a.SymbolOf(r)
			return one && s.Separator()
		}
		text = text[:len(text)-n]
	}
	return false
}

// signed reports whether a sign that may stand for a letter touches the token.
func signed(text []byte, lo, hi int) bool {
	return lo > 0 && signKind(text[lo-1]) != 0 || hi < len(text) && signKind(text[hi]) != 0
}

// signKind is 0 for what is no sign, 1 for one that counts amid a token, 2 for one that always
// does.
func signKind(b byte) uint8 {
	switch b {
	case '@', '$':
		return 2
	case '!', '|', '+', '(':
		return 1
	}
	return 0
}

// undisguise reports whether what the lettered reading makes of the token at a place, together
// with the signs and tokens it is one with, is a token of some pattern.
func (l *latin) undisguise(text []byte, at int) bool {
	lo := at
	for lo > 0 && (isAlnum(text[lo-1]) || signKind(text[lo-1]) != 0) {
		lo--
	}
	front := lo
	for signKind(text[lo]) == 1 {
		lo++
	}
	if l.disguised.has(plainKey(text[lo:])) {
		return true
	}
	// A sign in front may be a letter too.
	return lo > front && l.disguised.has(plainKey(text[lo-1:]))
}

// plainKey is the key of the token that the text begins with, with letters for digits and signs.
func plainKey(text []byte) uint64 {
	var out [8]byte
	n := 0
	for i := 0; i < len(text) && n < len(out); i++ {
		if kind := signKind(text[i]); !isAlnum(text[i]) && (kind == 0 || i > 0 && kind == 1 && !moreOf(text[i+1:])) {
			break
		}
		b := letterFor(text[i])
		if n > 1 && out[n-1] == b && out[n-2] == b && b != 'i' {
			n -= 2 // three of a letter are one
			for i+1 < len(text) && letterFor(text[i+1]) == b {
				i++
			}
		}
		out[n] = b
		n++
	}
	return key(out[:n])
}

// letterFor is the small letter that an ASCII character is in the lettered reading, 0 if it is
// none there.
func letterFor(b byte) byte {
	if isAlnum(b) {
		b |= 0x20
	}
	if c := leetLetter(rune(b)); c != 0 {
		return c
	}
	if isAlnum(b) {
		return b
	}
	return 0
}

// moreOf reports whether a token goes on behind a sign that counts only amid it.
func moreOf(text []byte) bool {
	for _, b := range text {
		switch {
		case isAlnum(b) || signKind(b) == 2:
			return true
		case signKind(b) == 0:
			return false
		}
	}
	return false
}

func (l *latin) memory() int64 {
	if l == nil {
		return 0
	}
	n := cap(l.disguised.words)
	for _, t := range []*tokens{&l.plain, &l.joined} {
		n += cap(t.first.words) + cap(t.alone.words) + cap(t.pair.words)
	}
	return int64(8 * n)
}
