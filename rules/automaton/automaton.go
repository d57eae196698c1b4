package automaton

import (
	"cmp"
	"fmt"
	"slices"
	"unsafe"
)

// Automaton finds patterns. It is immutable.
type Automaton struct {
	table            // characters to symbols
	filter           // where a pattern can start
	aside   filter   // the same for the patterns that are aside; empty if there are none
	single  []uint32 // by code: entry+1 of a pattern of one symbol; nil if there is none
	root    []uint32 // by code: base of the state at depth 1
	slots   []slot   // the states from depth 2 on, a double array
	deep    []uint32 // records of the inner states, see slot
	tails   []uint16 // ends that only one pattern has
	entries []entry  // distinct patterns, in the order of their codes
	ids     []uint32 // of each group its size and its pattern numbers
	longest int      // symbols of the longest pattern
	asides  bool     // there are patterns that are aside

	reference *reference // searches instead of all but the table; nil with the own engine
}

// entry is one distinct pattern, in eight bytes.
type entry struct {
	id    uint32 // its pattern number; with group set, where in ids its numbers begin
	n     uint8  // length in symbols
	whole bool   // every pattern with this text is restricted to whole tokens
	group bool   // several patterns have this text
	sides uint8  // mainSide if one of them is not aside, asideSide if one is
}

const (
	mainSide = 1 << iota
	asideSide
)

func (e *entry) main() bool  { return e.sides&mainSide != 0 }
func (e *entry) aside() bool { return e.sides&asideSide != 0 }

// Options are what New needs beside the patterns.
type Options struct {
	// Marked lists folded characters that have a code although they may stand in no
	// pattern, and a mark: who rewrites a text's symbols can tell them apart, and sees
	// at a glance whether there are any. Alphabet lists further ones with a code only.
	Marked, Alphabet string
	// MemoryBudget bounds the heap the automaton takes, in bytes; 0 means
	// DefaultMemoryBudget.
	MemoryBudget int64
	// Engine says what searches; Own unless it is set.
	Engine Engine
}

// DefaultMemoryBudget is enough for a million patterns of a dozen characters. That is a million
// terms that are written in one way; who looks for a term in many makes as many patterns of it:
// of one whose characters are also looked for in parts (the form split, default for rules from
// severity high on) some 28, so that 140,000 such terms take it all. While a set is reloaded the
// old and the new one both exist.
const DefaultMemoryBudget = 256 << 20

// BudgetError is the refusal of patterns that would take too much memory.
type BudgetError struct {
	Need   int64 // bytes of heap they take
	Budget int64
	Engine Engine
}

// Error says what is too much and what would be enough.
func (e *BudgetError) Error() string {
	if e.Engine == Cloudflare {
		return fmt.Sprintf("the terms would take about %d MiB of memory in the cloudflare engine (4.2 KB a byte), more than the memory budget of %d MiB; raise the budget to %d MiB, take out terms, or use the engine weir",
			mib(e.Need), e.Budget>>20, mib(e.Need))
	}
	return fmt.Sprintf("the terms take about %d MiB of memory, more than the memory budget of %d MiB; raise the budget to %d MiB or take out terms",
		mib(e.Need), e.Budget>>20, mib(e.Need))
}

func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// New compiles patterns. Patterns with the same text share one entry (see
// [Automaton.Patterns]). All refused ones are named, each by a [*PatternError].
func New(patterns []Pattern, o Options) (*Automaton, error) {
	keys, alpha, err := encode(patterns, o.Marked+o.Alphabet)
	if err != nil {
		return nil, err
	}
	a := &Automaton{}
	a.table.build(alpha, o.Marked)
	keys = a.group(patterns, keys, alpha)
	budget := cmp.Or(o.MemoryBudget, DefaultMemoryBudget)
	switch o.Engine {
	case Own:
	case Cloudflare:
		a.reference, err = newReference(a, keys, budget)
		if err != nil {
			return nil, err
		}
		return a, nil
	default:
		return nil, fmt.Errorf("no engine %d; there are automaton.Own and automaton.Cloudflare", o.Engine)
	}
	a.filter.build(keys, a.entries, (*entry).main)
	if a.asides {
		a.aside.build(keys, a.entries, (*entry).aside)
	}
	if err := a.place(newTrie(keys, len(alpha.runes)), keys); err != nil {
		return nil, err
	}
	if a.Memory() > budget {
		return nil, &BudgetError{Need: a.Memory(), Budget: budget}
	}
	return a, nil
}

// group makes one entry of equal keys and returns the distinct ones.
func (a *Automaton) group(patterns []Pattern, keys []key, alpha *alphabet) []key {
	distinct := keys[:0]
	for i := 0; i < len(keys); {
		k, j := keys[i], i+1
		for j < len(keys) && k.head == keys[j].head && slices.Equal(k.codes, keys[j].codes) {
			j++
		}
		e := entry{id: k.id, n: uint8(len(k.codes)), whole: true}
		if j-i > 1 {
			e.id, e.group = uint32(len(a.ids)), true
			a.ids = append(a.ids, uint32(j-i))
		}
		for _, same := range keys[i:j] {
			if e.group {
				a.ids = append(a.ids, same.id)
			}
			p := &patterns[same.id]
			e.whole = e.whole && !p.Substring
			if p.Aside {
				e.sides |= asideSide
				a.asides = true
			} else {
				e.sides |= mainSide
			}
		}
		first, last := k.codes[0], k.codes[len(k.codes)-1]
		e.whole = e.whole && (tokenRune(alpha.runes[first]) || tokenRune(alpha.runes[last]))
		a.entries = append(a.entries, e)
		a.longest = max(a.longest, len(k.codes))
		if len(k.codes) == 1 {
			if a.single == nil {
				a.single = make([]uint32, len(alpha.runes))
			}
			a.single[first] = uint32(len(a.entries))
		}
		distinct = append(distinct, k)
		i = j
	}
	a.entries, a.ids = slices.Clone(a.entries), slices.Clone(a.ids) // as large as they have to be
	return distinct
}

// Entries returns how many distinct patterns there are.
func (a *Automaton) Entries() int { return len(a.entries) }

// Patterns returns the numbers of the patterns of one entry: their places in the
// slice given to New, ascending. They must not be changed.
func (a *Automaton) Patterns(entry uint32) []uint32 {
	e := &a.entries[entry]
	if !e.group {
		return unsafe.Slice(&e.id, 1)
	}
	return a.ids[e.id+1:][:a.ids[e.id]]
}

// Symbol returns the symbol of a folded character as it stands in a decoded text.
func (a *Automaton) Symbol(r rune) Symbol {
	s, _ := a.SymbolOf(r)
	return s
}

// SymbolOf returns the symbol of any character as it stands in a decoded text, and whether
// it is one symbol there: not dropped, and none that folds to several.
func (a *Automaton) SymbolOf(r rune) (s Symbol, one bool) {
	v := a.valueOf(r)
	return Symbol(v), v < special
}

// Codes returns how many codes there are, code 0 included.
func (a *Automaton) Codes() int { return len(a.codeRunes) }

// Rune returns the character of a code, -1 for code 0.
func (a *Automaton) Rune(code int) rune { return a.codeRunes[code] }

// Longest returns the number of symbols of the longest pattern.
func (a *Automaton) Longest() int { return a.longest }

// Memory returns how many bytes of heap the automaton takes.
func (a *Automaton) Memory() int64 {
	n := a.table.memory() + a.filter.memory() + a.aside.memory()
	n += 4*(cap(a.single)+cap(a.root)+cap(a.deep)+cap(a.ids)) + 8*cap(a.slots) + int(unsafe.Sizeof(entry{}))*cap(a.entries) + 2*cap(a.tails)
	return int64(n) + a.reference.memory()
}
