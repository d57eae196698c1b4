package automaton

import "slices"

// trie is the full Aho-Corasick trie of the distinct keys in breadth-first order.
// Node 0 is the root; the children of v are first[v] up to first[v+1]. It exists
// only while an automaton is built.
type trie struct {
	code  []uint16
	depth []uint8
	first []uint32
	own   []uint32 // entry+1 of the pattern that ends here, 0 if none does
	fail  []uint32
	out   []uint32 // nearest suffix node of depth minFail or more at which a pattern ends
	root  []uint32 // by code: child of the root
}

// minFail is the least depth of a fail state worth following. From a shallower one
// the scan goes back to the filter, which finds the same starts.
const minFail = 4

func newTrie(keys []key, codes int) *trie {
	t := &trie{code: []uint16{0}, depth: []uint8{0}, own: []uint32{0}, root: make([]uint32, codes)}
	type span struct{ lo, hi uint32 }
	level, next := []span{{0, uint32(len(keys))}}, []span(nil)
	for d := 0; len(level) > 0; d++ {
		next = next[:0]
		for _, s := range level {
			t.first = append(t.first, uint32(len(t.code)))
			lo := s.lo
			if lo < s.hi && len(keys[lo].codes) == d {
				lo++
			}
			for lo < s.hi {
				c, hi := keys[lo].codes[d], lo+1
				for hi < s.hi && keys[hi].codes[d] == c {
					hi++
				}
				if d == 0 {
					t.root[c] = uint32(len(t.code))
				}
				var own uint32
				if len(keys[lo].codes) == d+1 {
					own = lo + 1
				}
				t.code = append(t.code, c)
				t.depth = append(t.depth, uint8(d+1))
				t.own = append(t.own, own)
				next = append(next, span{lo, hi})
				lo = hi
			}
		}
		level, next = next, level
	}
	t.first = append(t.first, uint32(len(t.code)))
	t.link()
	return t
}

// child returns the child of v by c, or 0.
func (t *trie) child(v uint32, c uint16) uint32 {
	if v == 0 {
		return t.root[c]
	}
	lo, hi := t.first[v], t.first[v+1]
	if hi-lo > 8 {
		if i, ok := slices.BinarySearch(t.code[lo:hi], c); ok {
			return lo + uint32(i)
		}
		return 0
	}
	for ; lo < hi; lo++ {
		if t.code[lo] == c {
			return lo
		}
	}
	return 0
}

// link computes fail links and output links.
func (t *trie) link() {
	t.fail = make([]uint32, len(t.code))
	t.out = make([]uint32, len(t.code))
	for v := uint32(1); v < uint32(len(t.code)); v++ {
		for w := t.first[v]; w < t.first[v+1]; w++ {
			f, c := t.fail[v], t.code[w]
			g := t.child(f, c)
			for g == 0 && f != 0 {
				f = t.fail[f]
				g = t.child(f, c)
			}
			t.fail[w] = g
			if t.depth[g] >= minFail {
				if t.out[w] = g; t.own[g] == 0 {
					t.out[w] = t.out[g]
				}
			}
		}
	}
}

// tailLengths returns, for each node, one more than the number of symbols that may
// be stored as a tail below it, or 0 where the node cannot end a state. A tail is a
// chain to a leaf in which no node has a fail state of depth minFail or more (so
// nothing is lost by forgetting how far the tail matched) and no node is itself the
// fail state of another.
func (t *trie) tailLengths() []uint8 {
	n := make([]uint8, len(t.code))
	target := make([]bool, len(t.code))
	for _, f := range t.fail {
		target[f] = t.depth[f] >= minFail
	}
	for v := len(t.code) - 1; v > 0; v-- {
		if t.depth[v] < 3 || t.depth[t.fail[v]] >= minFail {
			continue
		}
		switch w := t.first[v]; t.first[v+1] - w {
		case 0:
			n[v] = 1
		case 1:
			if t.own[v] == 0 && n[w] > 0 && !target[w] {
				n[v] = n[w] + 1
			}
		}
	}
	return n
}
