package automaton

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// Limits of a set of patterns. What exceeds one is refused with its name.
const (
	MaxSymbols  = 255       // characters of one pattern
	MaxPatterns = 1<<22 - 1 // patterns of one automaton that differ
	MaxAlphabet = maxCode   // different characters in all patterns together
	MaxStates   = 1<<24 - 1 // slots of the double array
)

// Errors of patterns and sets of patterns.
var (
	ErrEmpty       = errors.New("nothing is left of it after folding; use characters that can be seen")
	ErrTooLong     = fmt.Errorf("longer than %d characters (automaton.MaxSymbols)", MaxSymbols)
	ErrReplacement = errors.New("contains a byte that is not UTF-8 or the replacement character, which match nothing; take it out")
	ErrTooLarge    = fmt.Errorf("too many patterns for one automaton; at most %d (automaton.MaxPatterns) of %d different characters (automaton.MaxAlphabet) in %d states (automaton.MaxStates)",
		MaxPatterns, MaxAlphabet, MaxStates)
)

// A PatternError says which pattern was refused. It quotes nothing of it.
type PatternError struct {
	Index int
	Err   error
}

// Error says which pattern is refused, and why.
func (e *PatternError) Error() string { return fmt.Sprintf("pattern %d: %v", e.Index, e.Err) }

// Unwrap returns why.
func (e *PatternError) Unwrap() error { return e.Err }

// Pattern is what to look for.
type Pattern struct {
	// Text holds the pattern's characters as they are after folding.
	Text string
	// Substring lets the pattern stand inside a longer token. Else, where it
	// begins (ends) with a letter or digit of a script that puts blanks between
	// words, it occurs only where a token begins (ends): "bet" is not in
	// "alphabet". Han characters are never restricted, and end a token.
	Substring bool
	// Aside puts the pattern behind a start filter of its own, with the others that are
	// aside; only [Automaton.StartAside] finds it. It is for who reads a text in two ways
	// and looks for few patterns in one of them: a search for few costs a third.
	Aside bool
}

// key is a pattern as codes. The first four are packed into head, so that most
// comparisons need no second look.
type key struct {
	head  uint64
	codes []uint16
	id    uint32
}

// alphabet numbers the characters of all patterns.
type alphabet struct {
	codes map[rune]uint16 // beyond the flat part
	flat  []uint16        // code of each character below flatRunes
	runes []rune          // character of each code; code 0 is none
}

const flatRunes = 1 << 16

func (a *alphabet) code(r rune) uint16 {
	if r < flatRunes {
		return a.flat[r]
	}
	return a.codes[r]
}

// encode numbers the characters by falling frequency and returns the patterns as
// keys in the order of their codes. More are characters to number although they
// may stand in no pattern.
func encode(patterns []Pattern, more string) ([]key, *alphabet, error) {
	a := &alphabet{codes: make(map[rune]uint16), flat: make([]uint16, flatRunes), runes: []rune{-1}}
	freq := make([]uint32, flatRunes)
	far := make(map[rune]uint32)
	var errs []error
	total := 0
	for i, p := range patterns {
		n := 0
		for _, r := range p.Text {
			if r < flatRunes {
				freq[r]++
			} else {
				far[r]++
			}
			n++
		}
		switch {
		case n == 0:
			errs = append(errs, &PatternError{i, ErrEmpty})
		case n > MaxSymbols:
			errs = append(errs, &PatternError{i, ErrTooLong})
		}
		total += n
	}
	if freq[fold.Replacement] > 0 {
		for i, p := range patterns {
			if !utf8.ValidString(p.Text) || slices.Contains([]rune(p.Text), fold.Replacement) {
				errs = append(errs, &PatternError{i, ErrReplacement})
			}
		}
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	for _, r := range more {
		if r < flatRunes {
			freq[r]++
		} else {
			far[r]++
		}
	}
	for r, f := range freq {
		if f > 0 {
			a.runes = append(a.runes, rune(r))
		}
	}
	for r, f := range far {
		if f > 0 {
			a.runes = append(a.runes, r)
		}
	}
	count := func(r rune) uint32 {
		if r < flatRunes {
			return freq[r]
		}
		return far[r]
	}
	slices.SortFunc(a.runes[1:], func(x, y rune) int {
		return cmp.Or(cmp.Compare(count(y), count(x)), cmp.Compare(x, y))
	})
	if len(a.runes)-1 > MaxAlphabet {
		return nil, nil, ErrTooLarge
	}
	for c, r := range a.runes[1:] {
		if r < flatRunes {
			a.flat[r] = uint16(c + 1)
		} else {
			a.codes[r] = uint16(c + 1)
		}
	}
	return a.keys(patterns, total), a, nil
}

// keys returns the patterns as sorted keys. All codes stand in one slice.
func (a *alphabet) keys(patterns []Pattern, total int) []key {
	codes := make([]uint16, 0, total)
	keys := make([]key, len(patterns))
	for i, p := range patterns {
		lo := len(codes)
		for _, r := range p.Text {
			codes = append(codes, a.code(r))
		}
		k := key{codes: codes[lo:len(codes):len(codes)], id: uint32(i)}
		for d := range 4 {
			k.head <<= 16
			if d < len(k.codes) {
				k.head |= uint64(k.codes[d])
			}
		}
		keys[i] = k
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Or(slices.Compare(a.codes, b.codes), cmp.Compare(a.id, b.id))
	})
	return keys
}
