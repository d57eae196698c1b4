package automaton

import "math/bits"

// filter finds the places of a text at which a pattern of two or more symbols can
// start. Two adjacent symbols select a cell; the third must be one the cell allows;
// what is left must be in a bit set of first symbol triples. No branch and no load
// depends on the step before, which is what an automaton cannot offer, and the cost
// does not depend on the number of patterns.
type filter struct {
	cells    *[cellCount]uint32
	cellMask uint32
	triples  []uint64 // bit set of hashed triples
	shift    uint8    // from hash to bit
}

// A cell holds the buckets allowed as third symbol in its low half, the buckets of
// the second symbol of two-symbol patterns in its high half, and whether starts
// inside a token are to be ignored.
const (
	cellCount = 1 << 16
	cellWhole = tokenBit
	blockSize = 1024 // symbols filtered at a time; what is kept of them stays in the fastest cache
)

func cellHash(code uint32) uint32 { return code * 0x9E3779B1 >> 13 }

func tripleHash(c0, c1, c2 uint32) uint32 {
	return c0*0x2C1B3C6D + c1*0x297A2D39 + c2*0x9E3779B1
}

// build fills the filter for those of the distinct patterns, in the order of their codes,
// that it is for.
func (f *filter) build(keys []key, entries []entry, of func(*entry) bool) {
	pairs, triples := 0, 0
	last := key{}
	for i, k := range keys {
		if len(k.codes) < 2 || !of(&entries[i]) {
			continue
		}
		if k.head>>32 != last.head>>32 {
			pairs++
		}
		if len(k.codes) >= 3 && k.head>>16 != last.head>>16 {
			triples++
		}
		last = k
	}
	n := max(10, bits.Len(uint(16*triples)))
	f.triples, f.shift = make([]uint64, 1<<n/64), uint8(32-n)
	f.cells = new([cellCount]uint32)
	f.cellMask = 1<<min(16, max(10, bits.Len(uint(2*pairs)))) - 1
	for i := range f.cells {
		f.cells[i] = cellWhole
	}
	for i, k := range keys {
		if len(k.codes) < 2 || !of(&entries[i]) {
			continue
		}
		c0, c1 := uint32(k.codes[0]), uint32(k.codes[1])
		cell := &f.cells[(cellHash(c0)+c1)&f.cellMask]
		if len(k.codes) == 2 {
			*cell |= bucket(c1) << 16
		} else {
			c2 := uint32(k.codes[2])
			*cell |= bucket(c2)
			h := tripleHash(c0, c1, c2) >> f.shift
			f.triples[h>>6] |= 1 << (h & 63)
		}
		if !entries[i].whole {
			*cell &^= cellWhole
		}
	}
}

// pass writes to cand the places in [from, to) of sym at which a pattern may start
// and returns how many. The last symbol is never one. joined is 0 for a decoded text
// and all ones for a rewritten one (see [Automaton.Start]).
func (f *filter) pass(sym []Symbol, from, to int, joined uint32, cand *[blockSize + 8]uint32) int {
	e := min(to, len(sym)-1)
	if from >= e {
		return 0
	}
	cells, mask := f.cells, f.cellMask
	sym = sym[:len(sym)+Padding]
	k := uint32(0)
	e0, e1 := uint32(sym[from]), uint32(sym[from+1])
	before := joined
	if from > 0 {
		before |= uint32(sym[from-1])
	}
	h := cellHash(e0 >> codeShift)
	i := uint32(from)
	for _, s := range sym[from+2 : e+2] {
		e2 := uint32(s)
		c1 := e1 >> codeShift
		cell := cells[uint16((h+c1)&mask)]
		hit := cell & (e2&bucketMask | e1<<16)
		hit &= (before&e0&cell)>>15&1 - 1 // not inside a token, where the cell says so
		before = e0 | joined
		cand[k%blockSize] = i
		k += (hit + 1<<31 - 1) >> 31
		h = cellHash(c1)
		e0, e1 = e1, e2
		i++
	}
	return f.refine(sym, cand, int(k))
}

// refine keeps of n places those at which a two-symbol pattern or a known triple
// seems to start, again without branches.
func (f *filter) refine(sym []Symbol, cand *[blockSize + 8]uint32, n int) int {
	cells, mask, triples, shift := f.cells, f.cellMask, f.triples, f.shift&31
	k := 0
	for _, i := range cand[:n] {
		p := (*[3]Symbol)(sym[i:])
		e0, e1, e2 := uint32(p[0]), uint32(p[1]), uint32(p[2])
		c1 := e1 >> codeShift
		pair := cells[uint16((cellHash(e0>>codeShift)+c1)&mask)] & (e1 << 16)
		h := tripleHash(e0>>codeShift, c1, e2>>codeShift) >> shift
		cand[k%blockSize] = i
		k += int(uint32(triples[h>>6]>>(h&63))&1 | (pair+1<<31-1)>>31)
	}
	return k
}

func (f *filter) memory() int {
	if f.cells == nil {
		return 0
	}
	return 4*len(f.cells) + 8*cap(f.triples)
}
