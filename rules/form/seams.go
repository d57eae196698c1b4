package form

import (
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// seams tells whether undoing escapes can have put together what a term holds. Most escapes in
// ordinary posts stand for a sign (&amp; &#8220; &#128514; \n), and all they do is to make
// neighbours of what stands on either side. Where no term has these two next to one another, the
// decoded text need not be searched.
type seams struct {
	meet  bloom         // of the sides that stand next to one another in a spelling, separators aside
	edges map[rune]bool // separators that a spelling begins or ends with
	known func(rune) bool
	leet  bool // digits and signs are read as letters
	nums  bool // numerals are read as digits
	heard bool // terms are looked for by their sound
}

// A side is what a seam has on one side: of an ASCII token the first letters, doubled ones once,
// of anything else the character.
const sideRune = 1 << 63

// maxSide is how many bytes of a token are looked at.
const maxSide = 64

// newSeams takes the spellings of all terms.
func newSeams(s *speller, m *Matcher) *seams {
	sm := &seams{edges: make(map[rune]bool), leet: m.forms&Leet != 0, nums: m.forms&Digits != 0, heard: m.forms&Pinyin != 0}
	sm.known = func(r rune) bool { return m.auto.Symbol(r).Code() != 0 }
	var pairs []uint64
	for i, p := range s.patterns {
		pairs = sm.add(pairs, p.Text)
		if s.written[i] != p.Text {
			pairs = sm.add(pairs, s.written[i])
		}
	}
	sm.meet = newBloom(pairs)
	return sm
}

// add appends to pairs the neighbours in a spelling.
func (sm *seams) add(pairs []uint64, text string) []uint64 {
	first, _ := utf8.DecodeRuneInString(text)
	final, _ := utf8.DecodeLastRuneInString(text)
	for _, r := range []rune{first, final} {
		if isSeparator(r) {
			sm.edges[r] = true
		}
	}
	last := uint64(0)
	for rest := []byte(text); len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if isSeparator(r) {
			rest = rest[n:]
			continue
		}
		side := sideRune | uint64(r)
		if r < utf8.RuneSelf && isAlnum(byte(r)) {
			n = tokenLength(rest)
			side = collapse(rest[:n])
		}
		if last != 0 {
			pairs = append(pairs, pairKey(last, side))
		}
		last, rest = side, rest[n:]
	}
	return pairs
}

// matter reports whether a text may hold, with its escapes undone, what it did not hold before, and
// whether it may do so by its sound. It says so too early, never too late.
func (sm *seams) matter(d *decoded) (written, sound bool) {
	text := d.text
	settled := 0 // up to here all seams are looked at
	for _, e := range d.escapes {
		at, end := int(e.at), int(e.at+e.n)
		reads, sure := sm.readsOver(text[at:end])
		if !sure {
			return true, true
		}
		if at == end && at > 0 && at < len(text) && isAlnum(text[at-1]) && isAlnum(text[at]) {
			return true, true // a tag within a token
		}
		if !reads || end <= settled {
			continue
		}
		left, first, sure := sm.before(text[:at])
		if !sure {
			return true, true
		}
		right, begin, sure := sm.after(text, end)
		if !sure || left == right && left&sideRune != 0 || left != 0 && right != 0 && sm.meet.has(pairKey(left, right)) {
			return true, true
		}
		sound = sound || sm.heard && sounding(text, first, left) && sounding(text, begin, right)
		settled = begin
	}
	return false, sound
}

// readsOver reports whether what an escape stands for may be read over: it is separators. If it is
// a sign in no term, nothing is read across it; sure is false for everything else.
func (sm *seams) readsOver(escape []byte) (reads, sure bool) {
	for i := 0; i < len(escape); {
		r, n := utf8.DecodeRune(escape[i:])
		i += n
		to, more := fold.Rune(r)
		if to != fold.Expands {
			if reads, sure = sm.readsOverRune(to); !reads {
				return false, sure && r != utf8.RuneError
			}
			continue
		}
		for _, to := range more {
			if reads, sure = sm.readsOverRune(to); !reads {
				return false, sure
			}
		}
	}
	return true, true
}

// readsOverRune is readsOver for one folded character.
func (sm *seams) readsOverRune(r rune) (reads, sure bool) {
	if r < 0 || sm.sign(r) {
		return false, false
	}
	switch fold.ClassOf(r) {
	case fold.Separator:
		return !sm.edges[r], !sm.edges[r]
	case fold.Token, fold.Han:
		return false, false
	}
	return false, !sm.known(r)
}

// sign reports whether a folded character is a sign that may stand for a letter or a zero.
func (sm *seams) sign(r rune) bool {
	return sm.leet && r < utf8.RuneSelf && signKind(byte(r)) != 0 || sm.nums && strings.ContainsRune(circles, r)
}

// sounding reports whether the side that begins at a byte may be read by its sound.
func sounding(text []byte, at int, side uint64) bool {
	if side&sideRune != 0 {
		return fold.ClassOf(rune(side&^sideRune)) == fold.Han
	}
	if side == 0 {
		return false
	}
	end, vowels := allSounds().token(text, at)
	return vowels > 0 || end < len(text) && isAlnum(text[end])
}

// before returns the side that the text ends with, 0 for none, and where it begins.
func (sm *seams) before(text []byte) (side uint64, begin int, sure bool) {
	for len(text) > 0 {
		r, n := utf8.DecodeLastRune(text)
		if r < utf8.RuneSelf && isAlnum(byte(r)) {
			lo := len(text) - 1
			for lo > 0 && isAlnum(text[lo-1]) && len(text)-lo < maxSide {
				lo--
			}
			r, n := utf8.DecodeLastRune(text[:lo])
			side, sure = sm.token(text[lo:], n == 0 || sm.edge(r))
			return side, lo, sure
		}
		to, sure := sm.single(r)
		if !sure || !isSeparator(to) {
			return sideRune | uint64(to), len(text) - n, sure
		}
		text = text[:len(text)-n]
	}
	return 0, 0, true
}

// after returns the side that stands in the text from a byte on, and where it begins.
func (sm *seams) after(text []byte, at int) (side uint64, begin int, sure bool) {
	for at < len(text) {
		r, n := utf8.DecodeRune(text[at:])
		if r < utf8.RuneSelf && isAlnum(byte(r)) {
			hi := at + 1
			for hi < len(text) && isAlnum(text[hi]) && hi-at < maxSide {
				hi++
			}
			r, n := utf8.DecodeRune(text[hi:])
			side, sure = sm.token(text[at:hi], n == 0 || sm.edge(r))
			return side, at, sure
		}
		to, sure := sm.single(r)
		if !sure || !isSeparator(to) {
			return sideRune | uint64(to), at, sure
		}
		at += n
	}
	return 0, at, true
}

// token is the side of an ASCII token. It is not sure of what may be part of a longer one, of a
// single letter, which may be one of several that stand apart, and of digits that are read as letters.
func (sm *seams) token(token []byte, ends bool) (side uint64, sure bool) {
	for _, b := range token {
		if b <= '9' && (sm.leet || sm.nums) {
			return 0, false
		}
	}
	return collapse(token), ends && len(token) > 1 && len(token) < maxSide
}

// edge reports whether a character ends a token beside it.
func (sm *seams) edge(r rune) bool {
	to, sure := sm.single(r)
	return sure && fold.ClassOf(to) != fold.Token
}

// single returns what a character folds to. It is not sure of what leaves nothing or several, of
// letters beyond ASCII, and of what is read as something else.
func (sm *seams) single(r rune) (to rune, sure bool) {
	to, _ = fold.Rune(r)
	if r == utf8.RuneError || to < 0 || sm.sign(to) || sm.nums && valueOf(to) >= 0 {
		return 0, false
	}
	return to, r < utf8.RuneSelf || fold.ClassOf(to) != fold.Token
}
