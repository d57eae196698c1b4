package form

import (
	"encoding/binary"
	"math/bits"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// cut is a text cut into its tokens, which are runs of ASCII letters and digits. The zero cut
// is ready; it may be used for one text after another.
type cut struct {
	at   []uint32 // the byte at which each token begins
	keys []uint64 // of the tokens; behind the last one stands a 0
	some []uint32 // working memory of tokens.begins
	list []uint32 // what before returned
}

const (
	// blockBytes are cut at a time: a bit of a word each.
	blockBytes = 64
	// viewBytes are looked at for that: the key of a token that begins in the block may reach
	// beyond it.
	viewBytes = blockBytes + 8
)

// blanks is what is put behind a text.
var blanks = func() (b [viewBytes]byte) {
	for i := range b {
		b[i] = ' '
	}
	return b
}()

// cut cuts a text that holds nothing but ASCII and signs that neither stand in a pattern nor
// join what stands around them; ascii says whether there are no signs either. ok is false, and
// nothing is cut, for any other text and for one with a control character that folding drops.
func (c *cut) cut(text []byte, a *automaton.Automaton) (ascii, ok bool) {
	c.grow(len(text)/2 + 1)
	at, keys := c.at[:cap(c.at)], c.keys[:cap(c.keys)]
	ascii = true
	n, before := 0, uint64(0)
	var own [viewBytes]byte
	for from := 0; from < len(text); from += blockBytes {
		var view *[viewBytes]byte
		if from+viewBytes <= len(text) {
			view = (*[viewBytes]byte)(text[from:])
		} else {
			own = blanks
			copy(own[:], text[from:])
			view = &own
		}
		tok, unusual := classes(view)
		if unusual {
			own = *view
			signs, ok := withoutSigns(&own, text, from, a)
			if !ok {
				return false, false
			}
			ascii = ascii && !signs
			view = &own
			tok, _ = classes(view)
		}
		starts := tok &^ (tok<<1 | before)
		before = tok >> (blockBytes - 1)
		for ; starts != 0; starts &= starts - 1 {
			i := bits.TrailingZeros64(starts) & (blockBytes - 1)
			at[n] = uint32(from + i)
			keys[n] = firstToken(binary.LittleEndian.Uint64(view[i : i+8]))
			n++
		}
	}
	keys[n] = 0
	c.at, c.keys = at[:n], keys[:n+1]
	return ascii, true
}

// classes sets one bit for each byte in view that is part of a token, those of the block and
// those beyond it, and reports whether any byte is not ASCII or a control character.
func classes(view *[viewBytes]byte) (block uint64, unusual bool) {
	var bad uint64
	for i := 0; i < blockBytes; i += 8 {
		x := binary.LittleEndian.Uint64(view[i : i+8])
		bad |= x | unusualBytes(x)
		block |= gather(alnumBytes(x)) << i
	}
	x := binary.LittleEndian.Uint64(view[blockBytes:])
	bad |= x | unusualBytes(x)
	return block, bad&highs != 0
}

// withoutSigns puts blanks for the bytes in view that are not ASCII, and reports whether there
// are any in the block, which begins at a byte of the text. ok is false if it holds what makes
// the text one that is not to be cut.
func withoutSigns(view *[viewBytes]byte, text []byte, from int, a *automaton.Automaton) (signs, ok bool) {
	for i := 0; i < viewBytes; i += 8 {
		x := binary.LittleEndian.Uint64(view[i:])
		if x&highs != 0 {
			if i < blockBytes && !signs8(text, from+i, a) {
				return true, false
			}
			signs = signs || i < blockBytes
			far := (x & highs) >> 7
			x = x&^(far*0xFF) | far*' '
			binary.LittleEndian.PutUint64(view[i:], x)
		}
		if i < blockBytes && !plain8(x) {
			return signs, false
		}
	}
	return signs, true
}

// firstToken returns the key of the token that eight bytes begin with.
func firstToken(x uint64) uint64 {
	other := alnumBytes(x) ^ highs
	return (x | 0x20*ones) & (other&-other>>7 - 1)
}

// grow makes room for n tokens; what was there is lost.
func (c *cut) grow(n int) {
	if cap(c.at) < n {
		n += n / 4
		c.at, c.keys, c.some = make([]uint32, n), make([]uint64, n+1), make([]uint32, n)
	}
}

// token returns token i of the text that was cut, nothing for the one behind the last.
func (c *cut) token(text []byte, i int) []byte {
	if i == len(c.at) {
		return nil
	}
	return text[c.at[i]:][:c.size(text, i)]
}

// size is how many bytes token i has.
func (c *cut) size(text []byte, i int) int {
	n := (bits.Len64(c.keys[i]) + 7) / 8
	if n == 8 { // at least
		n += tokenLength(text[c.at[i]+8:])
	}
	return n
}

// before returns, in ascending order, the bytes at which some tokens begin and as many as lead
// before each.
func (c *cut) before(tokens []uint32, lead int) []uint32 {
	list := c.list[:0]
	for _, i := range tokens {
		at := int(c.at[i])
		for p := max(0, at-lead); p <= at; p++ {
			if n := len(list); n == 0 || list[n-1] < uint32(p) {
				list = append(list, uint32(p))
			}
		}
	}
	c.list = list
	return list
}

// insideToken reports whether byte i of a text belongs to the token of the one before it.
func insideToken(text []byte, i int) bool {
	return 0 < i && i < len(text) && isAlnum(text[i-1]) && isAlnum(text[i])
}

// tokenLength returns how many bytes of the text belong to the token it begins with.
func tokenLength(text []byte) int {
	n := 0
	for n < len(text) && isAlnum(text[n]) {
		n++
	}
	return n
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// keep masks the first n bytes of a word.
var keep = [9]uint64{0, 1<<8 - 1, 1<<16 - 1, 1<<24 - 1, 1<<32 - 1, 1<<40 - 1, 1<<48 - 1, 1<<56 - 1, 1<<64 - 1}

// load returns the first eight bytes of a text, zero behind its end.
func load(text []byte) uint64 {
	if len(text) >= 8 {
		return binary.LittleEndian.Uint64(text)
	}
	var x uint64
	for i, b := range text {
		x |= uint64(b) << (8 * i)
	}
	return x
}

// isASCII reports whether a text is all ASCII.
func isASCII(text []byte) bool {
	var far uint64
	for ; len(text) > 8; text = text[8:] {
		far |= binary.LittleEndian.Uint64(text)
	}
	return (far|load(text))&highs == 0
}

// gather makes one byte of the high bits of eight.
func gather(x uint64) uint64 { return x >> 7 * 0x0102040810204080 >> 56 }

// alnumBytes sets the high bit of each byte that is a letter or digit; all must be ASCII.
func alnumBytes(x uint64) uint64 {
	y := x | 0x20*ones
	letter := (y + (0x80-'a')*ones) &^ (y + (0x80-'z'-1)*ones)
	return (letter | digitBytes(x)) & highs
}

// digitBytes sets the high bit of each byte that is a digit, and others elsewhere.
func digitBytes(x uint64) uint64 { return (x + (0x80-'0')*ones) &^ (x + (0x80-'9'-1)*ones) }

// unusualBytes sets the high bit of each byte that is a control character, and others
// elsewhere; all must be ASCII.
func unusualBytes(x uint64) uint64 { return ^(x + (0x80-' ')*ones) | (x + ones) }

// plain8 reports whether of eight ASCII bytes none is a control character that folding drops.
func plain8(x uint64) bool {
	for i := range 8 {
		b := rune(x >> (8 * i) & 0xFF)
		if to, _ := fold.Rune(b); (b < ' ' || b == 0x7F) && to != b {
			return false
		}
	}
	return true
}
