package evidence

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree of which only the right edge is kept: at each level the
// last complete node. That is all that adding a leaf or computing the root
// needs, so memory grows with the logarithm of the log.
type tree struct {
	n    int64
	last [64]tlog.Hash // by level
	at   [64]int64     // the index of last within its level

	upper *upper // if not nil, it is given every node of its levels
}

// ReadHashes implements tlog.HashReader for nodes on the edge.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		if t.at[level] != n {
			return nil, fmt.Errorf("node %d of level %d is not on the edge of a tree of %d", n, level, t.n)
		}
		out[i] = t.last[level]
	}
	return out, nil
}

// add appends a leaf by its hash.
func (t *tree) add(h tlog.Hash) error {
	// As tlog.StoredHashesForRecordHash does, without its allocations: where the index is
	// odd at a level, the node before it there is complete, and so is the one above both.
	for level := 0; ; level++ {
		at := t.n >> level
		left := t.last[level]
		if at&1 == 1 && t.at[level] != at-1 {
			return fmt.Errorf("node %d of level %d is not on the edge of a tree of %d", at-1, level, t.n)
		}
		t.last[level], t.at[level] = h, at
		if t.upper != nil {
			t.upper.add(level, h)
		}
		if at&1 == 0 {
			break
		}
		h = tlog.NodeHash(left, h)
	}
	t.n++
	return nil
}

func (t *tree) root() (tlog.Hash, error) { return tlog.TreeHash(t.n, t) }

// hashLeaf is RFC 6962's hash of a leaf. The writer checks it against
// tlog.RecordHash of another copy of the leaf: one bit flipped before signing
// would make a tree that no one could ever rebuild from the records.
func hashLeaf(l *leaf) tlog.Hash {
	var b [1 + leafSize]byte // a zero byte, then the leaf
	copy(b[1:], l[:])
	return sha256.Sum256(b[:])
}
