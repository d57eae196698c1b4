package export

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// nodes collects from a pass over the leaves the nodes of the tree that proofs
// need, so that memory grows with the proofs and not with the log.
type nodes struct {
	want map[int64]bool      // by tlog.StoredHashIndex
	have map[int64]tlog.Hash //
	left [64]tlog.Hash       // of each level the node that waits for its sibling
	n    int64               // leaves so far
}

// ReadHashes implements tlog.HashReader. Before the pass it notes what is asked
// for and answers with zeros; after it, it answers.
func (t *nodes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if t.have == nil {
			t.want[x] = true
			continue
		}
		h, ok := t.have[x]
		if !ok {
			return nil, fmt.Errorf("node %d of the tree was not met", x)
		}
		out[i] = h
	}
	return out, nil
}

// begin starts the pass.
func (t *nodes) begin() { t.have = make(map[int64]tlog.Hash, len(t.want)) }

// add takes the next leaf.
func (t *nodes) add(leaf []byte) {
	h, at := tlog.RecordHash(leaf), t.n
	t.n++
	for level := 0; ; level++ {
		if x := tlog.StoredHashIndex(level, at); t.want[x] {
			t.have[x] = h
		}
		if at&1 == 0 {
			t.left[level] = h
			return
		}
		h = tlog.NodeHash(t.left[level], h)
		at >>= 1
	}
}

// cover returns the nodes, from left to right, whose leaves are those from first up
// to next of a tree of at least next leaves.
func cover(first, next int64) []int64 {
	var out []int64
	for first < next {
		level := bits.Len64(uint64(next-first)) - 1
		if first > 0 {
			level = min(level, bits.TrailingZeros64(uint64(first)))
		}
		out = append(out, tlog.StoredHashIndex(level, first>>level))
		first += 1 << level
	}
	return out
}
