package automaton

import (
	"cmp"
	"math/bits"
	"slices"
)

// A slot of the double array is 64 bits: the code that leads to the state (16),
// its base (24), a kind (2) and a payload (22). The child of a state by a code is at
// base plus code. No two states share a base, so comparing the code is enough and
// the parent need not be stored. Every state of kind plain, final or tail has a fail
// state of depth less than minFail.
type slot uint64

const (
	plain = iota // no pattern ends here
	final        // payload: entry of the pattern that ends here
	inner        // payload: index into deep
	tail         // base and payload: offset into tails

	empty       slot = 0xFFFF << slotCode
	payloadBits      = 22
	maxPayload       = 1<<payloadBits - 1
	slotKind         = payloadBits
	slotBase         = payloadBits + 2
	slotCode         = 48
)

func (s slot) code() uint32    { return uint32(s >> slotCode) }
func (s slot) base() uint32    { return uint32(s>>slotBase) & MaxStates }
func (s slot) kind() uint32    { return uint32(s>>slotKind) & 3 }
func (s slot) payload() uint32 { return uint32(s) & maxPayload }

// tailAt is the offset of a tail's record in tails: the number of codes, the entry
// (low and high half), the codes.
func (s slot) tailAt() int { return int(s.base())<<payloadBits | int(s.payload()) }

// A record in deep is the slot of the fail state with flags and, with hasOut,
// entry+1 of the pattern that ends here (or 0) and the slot of the nearest suffix
// state at which a pattern ends (or 0).
const (
	hasOut   = 1 << 31
	hasOpen  = 1 << 30 // a pattern that ends here, or further along, may stand inside a token
	slotMask = hasOpen - 1
)

// place packs the trie into the double array.
func (a *Automaton) place(t *trie, keys []key) error {
	tails := t.tailLengths()
	p, base, at, inTail := t.pack(tails)
	size := p.end + uint32(len(t.root)) // any base plus any code is a slot
	if size > MaxStates || len(keys) > MaxPatterns {
		return ErrTooLarge
	}
	a.slots = make([]slot, size)
	for i := range a.slots {
		a.slots[i] = empty
	}
	a.root = make([]uint32, len(t.root))
	for c, v := range t.root {
		a.root[c] = base[v]
	}
	open := make([]bool, len(t.code))
	for v := 1; v < len(t.code); v++ {
		own := t.own[v]
		open[v] = open[t.out[v]] || own != 0 && !a.entries[own-1].whole
		if inTail[v] || t.depth[v] < 2 {
			continue
		}
		b, kind, payload := uint64(base[v]), uint64(plain), uint64(0)
		switch {
		case tails[v] > 1:
			kind = tail
			off := uint64(len(a.tails))
			b, payload = off>>payloadBits, off&maxPayload
			a.addTail(t, keys, uint32(v), tails[v]-1)
		case t.depth[t.fail[v]] >= minFail:
			kind, payload = inner, uint64(len(a.deep))
			if len(a.deep) > maxPayload {
				return ErrTooLarge
			}
			record := at[t.fail[v]]
			if own|t.out[v] == 0 {
				a.deep = append(a.deep, record)
				break
			}
			record |= hasOut
			if open[v] {
				record |= hasOpen
			}
			a.deep = append(a.deep, record, own, at[t.out[v]])
		case own != 0:
			kind, payload = final, uint64(own-1)
		}
		a.slots[at[v]] = slot(uint64(t.code[v])<<slotCode | b<<slotBase | kind<<slotKind | payload)
	}
	a.tails, a.deep = slices.Clone(a.tails), slices.Clone(a.deep) // as large as they have to be
	return nil
}

// addTail stores the n codes below v.
func (a *Automaton) addTail(t *trie, keys []key, v uint32, n uint8) {
	w := t.first[v]
	for t.own[w] == 0 {
		w = t.first[w]
	}
	e := t.own[w] - 1
	a.tails = append(a.tails, uint16(n), uint16(e), uint16(e>>16))
	a.tails = append(a.tails, keys[e].codes[t.depth[v]:]...)
}

// pack gives every state with children a base and every state a slot. States with
// many children come first, then the chains in depth-first order, which makes
// neighbours on a path neighbours in memory and fills the holes.
func (t *trie) pack(tails []uint8) (p *packer, base, at []uint32, inTail []bool) {
	inTail = make([]bool, len(t.code))
	var wide, chain []uint32
	for v := 1; v < len(t.code); v++ {
		if inTail[v] || tails[v] > 1 {
			for w := t.first[v]; w < t.first[v+1]; w++ {
				inTail[w] = true
			}
			continue
		}
		switch children := t.first[v+1] - t.first[v]; {
		case children > 1:
			wide = append(wide, uint32(v))
		case children == 1:
			chain = append(chain, uint32(v))
		}
	}
	slices.SortStableFunc(wide, func(a, b uint32) int {
		return cmp.Compare(t.first[b+1]-t.first[b], t.first[a+1]-t.first[a])
	})
	p = newPacker()
	base = make([]uint32, len(t.code))
	at = make([]uint32, len(t.code))
	put := func(v uint32) {
		lo, hi := t.first[v], t.first[v+1]
		b := p.fit(t.code[lo:hi])
		base[v] = b
		for w := lo; w < hi; w++ {
			at[w] = b + uint32(t.code[w])
		}
	}
	for _, v := range wide {
		put(v)
	}
	p.from = 0
	done := make([]bool, len(t.code))
	for _, v := range chain {
		for !done[v] && !inTail[v] && tails[v] <= 1 && t.first[v+1]-t.first[v] == 1 {
			done[v] = true
			put(v)
			v = t.first[v]
		}
	}
	return p, base, at, inTail
}

// packer hands out bases: for a set of codes, a number not given out before such
// that all slots base+code are free.
type packer struct {
	used  []uint64 // bit set of slots
	given []uint64 // bit set of bases
	from  uint32   // where to start looking for the first code's slot
	end   uint32   // one more than the greatest base
}

func newPacker() *packer {
	return &packer{used: []uint64{1, 0, 0}, given: []uint64{1, 0, 0}, end: 1}
}

func (p *packer) grow(n uint32) {
	for uint32(len(p.used))*64 <= n+64 {
		p.used = append(p.used, 0)
		p.given = append(p.given, 0)
	}
}

// fit hands out a base for codes in ascending order.
func (p *packer) fit(codes []uint16) uint32 {
	lo, hi := uint32(codes[0]), uint32(codes[len(codes)-1])
	if len(codes) == 1 { // a chain: fill the holes from the left
		for p.used[p.from>>6] == ^uint64(0) {
			p.from += 64
			p.grow(p.from)
		}
	}
	b := max(p.from, lo) - lo
	for tries := 0; ; tries++ { // 64 bases at a time
		p.grow(b + hi + 64)
		free := ^window(p.given, b)
		for _, c := range codes {
			free &^= window(p.used, b+uint32(c))
		}
		if free == 0 {
			b += 64
			continue
		}
		b += uint32(bits.TrailingZeros64(free))
		p.given[b>>6] |= 1 << (b & 63)
		for _, c := range codes {
			s := b + uint32(c)
			p.used[s>>6] |= 1 << (s & 63)
		}
		if tries > 4 { // what is left there is hard to fill
			p.from += 64 * uint32(tries) / 2
		}
		p.end = max(p.end, b+1)
		return b
	}
}

// window returns 64 bits of a set from bit i on.
func window(set []uint64, i uint32) uint64 {
	return set[i>>6]>>(i&63) | set[i>>6+1]<<(64-i&63)
}
