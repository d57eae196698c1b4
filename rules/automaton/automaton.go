// Package automaton finds all of many terms in a text at once, read as package
// fold reads it, and says where in the original each one stands. What it is not:
// it knows no rules, categories or exceptions; a term is a number here.
//
// The engine underneath is github.com/cloudflare/ahocorasick, used only by its
// MatchThreadSafe (its Match writes into shared memory). It is correct, and it is
// greedy: about 4.2 KB of heap for each byte of all terms together, whatever they
// share. So there is a memory budget, and a set that would exceed it is refused
// with what it would need. The engine says which terms occur, not where; their
// places are then looked for one by one, which costs nothing in a text without
// hits.
//
// The one thing to know: an Automaton never changes and may be used by any number
// of goroutines at once, each with a [Scratch] of its own.
package automaton

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/cloudflare/ahocorasick"

	"github.com/weir-moderation/weir/rules/fold"
)

const (
	// MaxPatternBytes is the length of the longest pattern, folded. Building
	// takes time that grows with the cube of the length for patterns that repeat
	// themselves: 40 ms at this length, four minutes at 4,000 bytes.
	MaxPatternBytes = 256
	// BytesPerPatternByte is the heap the engine needs for each byte of the folded
	// patterns, measured. Patterns that begin alike do not share it.
	BytesPerPatternByte = 4200
	// DefaultMemoryBudget is enough for some 60 KB of patterns, about 5,000 short
	// Chinese terms. While a set is reloaded the old and the new one both exist.
	DefaultMemoryBudget = 256 << 20
)

// Pattern is one term to find.
type Pattern struct {
	Text string // is folded
	// Token demands that a Latin letter or digit at an edge of the pattern is an
	// edge of the word: "bet" is then not in "alphabet". A Han character, a blank
	// and punctuation end a word.
	Token bool
}

// Options are what New needs beside the patterns.
type Options struct {
	MemoryBudget int64 // in bytes; 0 means DefaultMemoryBudget
}

// BudgetError is the refusal of patterns that would take too much memory.
type BudgetError struct {
	PatternBytes int   // of all patterns, folded and each counted once
	Estimate     int64 // of the heap they would take, in bytes
	Budget       int64
}

// Error says what is too much and what would be enough.
func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d bytes of terms would take about %d MiB of memory (4.2 KB a byte), more than the memory budget of %d MiB; raise the budget to %d MiB or take out terms",
		e.PatternBytes, mib(e.Estimate), e.Budget>>20, mib(e.Estimate))
}

func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// Automaton finds patterns. It is immutable.
type Automaton struct {
	matcher *ahocorasick.Matcher // nil without patterns
	texts   [][]byte             // what the matcher knows: folded, each once
	sharing [][]int32            // the patterns with each text, ascending
	edges   []edges              // of each pattern
	bytes   int
}

// edges says where a pattern demands the edge of a word.
type edges struct{ first, last bool }

func edgesOf(term []byte, token bool) edges {
	if !token {
		return edges{}
	}
	first, _ := utf8.DecodeRune(term)
	last, _ := utf8.DecodeLastRune(term)
	return edges{word(first), word(last)}
}

// New builds the automaton for the patterns; a [Hit] names them by their index.
// Patterns that are the same after folding are all reported. Refused are patterns
// of which folding leaves nothing, that are too long, or contain what matches
// nothing, all in one error, and more of them than the budget allows, with a
// [*BudgetError].
func New(patterns []Pattern, o Options) (*Automaton, error) {
	if o.MemoryBudget <= 0 {
		o.MemoryBudget = DefaultMemoryBudget
	}
	a := &Automaton{edges: make([]edges, len(patterns))}
	known := make(map[string]int, len(patterns))
	var errs []error
	for i, p := range patterns {
		text := fold.Append(nil, []byte(p.Text))
		if err := Check(text); err != nil {
			errs = append(errs, fmt.Errorf("pattern %d: %w", i, err))
			continue
		}
		a.edges[i] = edgesOf(text, p.Token)
		at, ok := known[string(text)]
		if !ok {
			at = len(a.texts)
			known[string(text)] = at
			a.texts = append(a.texts, text)
			a.sharing = append(a.sharing, nil)
			a.bytes += len(text)
		}
		a.sharing[at] = append(a.sharing[at], int32(i))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if a.Memory() > o.MemoryBudget {
		return nil, &BudgetError{PatternBytes: a.bytes, Estimate: a.Memory(), Budget: o.MemoryBudget}
	}
	if len(a.texts) > 0 {
		a.matcher = ahocorasick.NewMatcher(a.texts)
	}
	return a, nil
}

// Check says why a folded text cannot be a pattern, nil if it can.
func Check(folded []byte) error {
	switch {
	case len(folded) == 0:
		return errors.New("nothing is left of it after folding; use characters that can be seen")
	case len(folded) > MaxPatternBytes:
		return fmt.Errorf("%d bytes long after folding; at most %d (automaton.MaxPatternBytes)", len(folded), MaxPatternBytes)
	case !utf8.Valid(folded) || bytes.ContainsRune(folded, fold.Replacement):
		return errors.New("contains a byte that is not UTF-8 or the replacement character, which match nothing; take it out")
	}
	return nil
}

// Memory returns about how many bytes of heap the automaton takes.
func (a *Automaton) Memory() int64 { return int64(a.bytes) * BytesPerPatternByte }

// word reports whether a folded character belongs to a word that a token must not
// be a part of.
func word(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z'
	}
	return unicode.Is(unicode.Latin, r) || unicode.Is(unicode.Nd, r)
}

// Hit is one occurrence of a pattern: bytes Start up to and not including End of
// the original text.
type Hit struct {
	Pattern    int32
	Start, End int32
}

// Scratch is the working memory of one goroutine. The zero Scratch is ready; it
// may be used with one automaton after another.
type Scratch struct {
	text fold.Text
	heap []cursor
	hits []Hit
	seen []uint32 // by pattern, the scan it was last seen in
	scan uint32
}

// cursor is the next occurrence of one pattern that has not been reported.
type cursor struct {
	hit    Hit
	lo, hi int32 // of the occurrence, in the folded text
	text   int32 // index of the pattern's text
	at     int32 // where in the folded text to look on
}

// before is the order of Walk.
func (c *cursor) before(d *cursor) bool {
	switch {
	case c.lo != d.lo:
		return c.lo < d.lo
	case c.hi != d.hi:
		return c.hi > d.hi
	}
	return c.hit.Pattern < d.hit.Pattern
}

// Walk calls f for every occurrence of every pattern in the text, overlapping
// ones too, in the order of their beginning in the folded text (so their Start
// never falls), longer before shorter. When f
// returns false no more occurrences of that pattern are looked for. Memory is
// bounded by the number of patterns that occur, time by that number times the
// length of the text.
func (a *Automaton) Walk(sc *Scratch, text []byte, f func(Hit) (more bool)) {
	if a.matcher == nil || len(text) == 0 {
		return
	}
	sc.text.Fold(text)
	sc.heap = sc.heap[:0]
	for _, t := range a.matcher.MatchThreadSafe(sc.text.Bytes()) {
		for _, p := range a.sharing[t] {
			c := cursor{hit: Hit{Pattern: p, Start: -1}, text: int32(t)}
			if a.next(&sc.text, &c) {
				sc.heap = append(sc.heap, c)
				up(sc.heap)
			}
		}
	}
	for len(sc.heap) > 0 {
		top := &sc.heap[0]
		if !f(top.hit) || !a.next(&sc.text, top) {
			last := len(sc.heap) - 1
			sc.heap[0] = sc.heap[last]
			sc.heap = sc.heap[:last]
		}
		down(sc.heap)
	}
}

// next moves the cursor to its pattern's next occurrence, false if there is none.
func (a *Automaton) next(text *fold.Text, c *cursor) bool {
	term := a.texts[c.text]
	for {
		lo := find(text.Bytes(), term, int(c.at), a.edges[c.hit.Pattern])
		if lo < 0 {
			return false
		}
		_, n := utf8.DecodeRune(term)
		c.lo, c.hi, c.at = int32(lo), int32(lo+len(term)), int32(lo+n)
		start, end := text.Span(lo, lo+len(term))
		if int32(start) == c.hit.Start && int32(end) == c.hit.End {
			continue // twice in what one character expands to
		}
		c.hit.Start, c.hit.End = int32(start), int32(end)
		return true
	}
}

// find returns where the term stands in the folded text from a place on, -1 if
// nowhere.
func find(folded, term []byte, from int, e edges) int {
	_, n := utf8.DecodeRune(term)
	for {
		i := bytes.Index(folded[from:], term)
		if i < 0 {
			return -1
		}
		lo := from + i
		inWord := e.first && wordBefore(folded, lo) || e.last && wordAfter(folded, lo+len(term))
		if !inWord {
			return lo
		}
		from = lo + n
	}
}

// Contains reports whether a pattern occurs in a text, both folded: what an
// automaton would find there.
func Contains(folded, term []byte, token bool) bool {
	return len(term) > 0 && find(folded, term, 0, edgesOf(term, token)) >= 0
}

func wordBefore(folded []byte, at int) bool {
	r, n := utf8.DecodeLastRune(folded[:at])
	return n > 0 && word(r)
}

func wordAfter(folded []byte, at int) bool {
	r, n := utf8.DecodeRune(folded[at:])
	return n > 0 && word(r)
}

// up restores the order of a heap whose last cursor is new.
func up(h []cursor) {
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// down restores the order of a heap whose first cursor is new.
func down(h []cursor) {
	i := 0
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// Scan returns the occurrences of all patterns, sorted by Start, End and Pattern,
// valid until the next Scan. With a limit above 0 only so many are kept, those
// that begin first, and of every further pattern the first one: a flood of one
// pattern hides no other.
func (a *Automaton) Scan(sc *Scratch, text []byte, limit int) []Hit {
	sc.hits = sc.hits[:0]
	sc.scan++
	if sc.scan == 0 || len(sc.seen) < len(a.edges) {
		sc.seen = make([]uint32, len(a.edges))
		sc.scan = 1
	}
	a.Walk(sc, text, func(h Hit) bool {
		full := limit > 0 && len(sc.hits) >= limit
		if !full || sc.seen[h.Pattern] != sc.scan {
			sc.hits = append(sc.hits, h)
			sc.seen[h.Pattern] = sc.scan
		}
		return !full
	})
	slices.SortFunc(sc.hits, func(a, b Hit) int {
		switch {
		case a.Start != b.Start:
			return int(a.Start - b.Start)
		case a.End != b.End:
			return int(a.End - b.End)
		}
		return int(a.Pattern - b.Pattern)
	})
	return sc.hits
}
