package automaton

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudflare/ahocorasick"
)

// Engine says what searches.
type Engine uint8

// The engines. Both find the same; they share the decoding of texts and the rule of whole
// tokens, but no search.
const (
	Own        Engine = iota
	Cloudflare        // github.com/cloudflare/ahocorasick
)

// Limits of the cloudflare engine.
const (
	// MaxReferenceBytes is the length of its longest pattern, two bytes a character. Building
	// takes time that grows with the cube of the length for patterns that repeat themselves:
	// 40 ms at this length, four minutes at 4,000 bytes.
	MaxReferenceBytes = 256
	// BytesPerReferenceByte is the heap it needs for each byte of its patterns, measured.
	// Patterns that begin alike do not share it.
	BytesPerReferenceByte = 4200
	// maxReferenceCode is the greatest code that two bytes hold.
	maxReferenceCode = 1<<14 - 1
)

// Errors of patterns and sets of patterns that only the cloudflare engine refuses.
var (
	ErrReferenceTooLong  = fmt.Errorf("longer than the %d bytes, two a character, that the cloudflare engine takes (automaton.MaxReferenceBytes); shorten it to %d characters or use the engine weir", MaxReferenceBytes, MaxReferenceBytes/2)
	ErrReferenceTooLarge = fmt.Errorf("more than the %d different characters that the cloudflare engine takes; use the engine weir", maxReferenceCode)
)

// reference searches with cloudflare/ahocorasick. It says which patterns occur, not where;
// their places are then looked for one by one, which costs nothing in a text without hits.
// Only MatchThreadSafe is used: Match writes into shared memory.
type reference struct {
	matcher *ahocorasick.Matcher // nil without patterns
	texts   [][]byte             // of each entry
	bytes   int64
}

// newReference builds it for the distinct keys of an automaton, if the budget allows. What it
// would take is known before: the engine allocates everything at once.
func newReference(a *Automaton, keys []key, budget int64) (*reference, error) {
	r := &reference{texts: make([][]byte, len(keys))}
	var refused []uint32
	for i, k := range keys {
		for _, c := range k.codes {
			if c > maxReferenceCode {
				return nil, ErrReferenceTooLarge
			}
			r.texts[i] = appendCode(r.texts[i], uint32(c))
		}
		if len(r.texts[i]) > MaxReferenceBytes {
			refused = append(refused, a.Patterns(uint32(i))...)
		}
		r.bytes += int64(len(r.texts[i]))
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		errs := make([]error, len(refused))
		for i, p := range refused {
			errs[i] = &PatternError{int(p), ErrReferenceTooLong}
		}
		return nil, errors.Join(errs...)
	}
	if need := a.Memory() + r.memory(); need > budget {
		return nil, &BudgetError{Need: need, Budget: budget, Engine: Cloudflare}
	}
	if len(keys) > 0 {
		r.matcher = ahocorasick.NewMatcher(r.texts)
	}
	return r, nil
}

// appendCode writes a code as two bytes. Only the first has its high bit set, so a pattern is
// never found across the border of two characters.
func appendCode(dst []byte, code uint32) []byte {
	return append(dst, 0x80|byte(code>>7), byte(code&0x7F))
}

func (r *reference) memory() int64 {
	if r == nil {
		return 0
	}
	return r.bytes * BytesPerReferenceByte
}

// start finds out which of the entries that are looked for occur.
func (r *reference) start(a *Automaton, sc *Scratch, aside bool) {
	sc.encoded, sc.occurring = sc.encoded[:0], sc.occurring[:0]
	if r.matcher == nil {
		return
	}
	for _, s := range sc.sym {
		c := uint32(s.Code())
		if c > maxReferenceCode {
			c = 0
		}
		sc.encoded = appendCode(sc.encoded, c)
	}
	for _, e := range r.matcher.MatchThreadSafe(sc.encoded) {
		if en := &a.entries[e]; aside && en.aside() || !aside && en.main() {
			sc.occurring = append(sc.occurring, uint32(e))
		}
	}
}

// block reports the occurrences that begin in the block at hand.
func (r *reference) block(a *Automaton, sc *Scratch) {
	for _, e := range sc.occurring {
		text := r.texts[e]
		end := min(2*(sc.end-1)+len(text), len(sc.encoded))
		for i := sc.from; i < sc.end && !sc.unwanted(e); i++ {
			at := bytes.Index(sc.encoded[2*i:max(end, 2*i)], text)
			if at < 0 {
				break
			}
			i += at / 2
			if a.emit(sc, e, i+len(text)/2); sc.flooded() {
				return
			}
		}
	}
}
