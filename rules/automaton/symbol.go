package automaton

// Symbol is what a character of a text is to an automaton: 32 bits,
//
//	bits 16 to 30   code: which character of the patterns it is, 0 for one in no pattern
//	bit  15         token: a letter or digit of a script that puts blanks between words
//	bit  14         separator: what writers put between characters to hide a term
//	bit  13         marked: one of [Options.Marked]
//	bits 0 to 12    one bit by hash of the code, none for code 0: for the start filter
type Symbol uint32

const (
	tokenBit     = 1 << 15
	separatorBit = 1 << 14
	markedBit    = 1 << 13
	codeShift    = 16
	buckets      = 13
	bucketMask   = 1<<buckets - 1
	maxCode      = 1<<15 - 1
)

// Code returns which character of the patterns the symbol is, 0 if it is in none.
func (s Symbol) Code() int { return int(s >> codeShift) }

// Token reports whether the character is a letter or digit of a script that puts
// blanks between words. A run of them is a token.
func (s Symbol) Token() bool { return s&tokenBit != 0 }

// Loose returns the symbol as one that belongs to no token.
func (s Symbol) Loose() Symbol { return s &^ tokenBit }

// Joined returns the symbol as one that belongs to a token.
func (s Symbol) Joined() Symbol { return s | tokenBit }

// Separator reports whether the character is white space, punctuation that ends no
// sentence or clause, a symbol or an emoji.
func (s Symbol) Separator() bool { return s&separatorBit != 0 }

// Solid returns the symbol as one that is no separator.
func (s Symbol) Solid() Symbol { return s &^ separatorBit }

// Marked reports whether the character is one of [Options.Marked].
func (s Symbol) Marked() bool { return s&markedBit != 0 }

// Ordinary reports whether the symbol is none of a token, a separator and marked.
func (s Symbol) Ordinary() bool { return s&(tokenBit|separatorBit|markedBit) == 0 }

// Differs returns 0 if the ordinary symbol is the same character of a pattern as another one,
// else 1, without a branch. Characters in no pattern are all different.
func (s Symbol) Differs(t Symbol) int {
	d := uint32(s^t) | (uint32(s)>>codeShift-1)>>31
	return int((uint64(d) + 1<<32 - 1) >> 32)
}

// Same reports whether two symbols are the same character of a pattern.
func (s Symbol) Same(t Symbol) bool { return (s^t)>>codeShift == 0 }

// symbolOf makes the symbol of a code, without flags.
func symbolOf(code uint32) Symbol {
	if code == 0 {
		return 0
	}
	return Symbol(code<<codeShift | bucket(code))
}

// bucket spreads codes over the one-hot bits.
func bucket(c uint32) uint32 {
	c *= 0x7feb352d
	c ^= c >> 15
	c *= 0x846ca68b
	c ^= c >> 16
	return 1 << (c % buckets)
}
