package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// upperLevel is the lowest level of the tree whose nodes are kept in memory: 64
// bytes for each 1,024 records. What lies below is hashed again from the leaves.
const upperLevel = 10

// upper holds the complete nodes of the tree from upperLevel on.
type upper struct {
	levels [][]tlog.Hash
}

// add takes the next complete node of a level.
func (u *upper) add(level int, h tlog.Hash) {
	level -= upperLevel
	if level < 0 {
		return
	}
	for len(u.levels) <= level {
		u.levels = append(u.levels, nil)
	}
	u.levels[level] = append(u.levels[level], h)
}

// ErrNotSigned means that a size is none that a proof can be given for: larger
// than the latest signed head, or less than 1.
var ErrNotSigned = errors.New("no signed head is as large as that")

// Prove returns the proof that the first from records are the beginning of the
// first to records, as RFC 6962 section 2.1.2 has it: empty if both are equal.
// Both are at most the size of the latest checkpoint; they need not be sizes that
// were signed.
//
// It reads up to two thousand leaves from the disk.
func (l *Log) Prove(from, to int64) ([]tlog.Hash, error) {
	l.stateMu.Lock()
	signed := l.signed.size
	nodes := make([][]tlog.Hash, len(l.upper.levels))
	copy(nodes, l.upper.levels) // what is in them never changes
	l.stateMu.Unlock()
	switch {
	case from < 1 || to > signed:
		return nil, fmt.Errorf("prove that %d records grew to %d: %w, which is of %d", from, to, ErrNotSigned, signed)
	case from > to:
		return nil, fmt.Errorf("prove that %d records grew to %d: %w", from, to, ErrNotSigned)
	case from == to:
		return nil, nil
	}
	proof, err := tlog.ProveTree(to, from, &nodeReader{dir: l.dir, generation: l.generation, upper: nodes})
	if err != nil {
		return nil, fmt.Errorf("prove that %d records grew to %d: %w", from, to, err)
	}
	return proof, nil
}

// nodeReader implements tlog.HashReader over the segments of a log.
type nodeReader struct {
	dir, generation string
	upper           [][]tlog.Hash
	blocks          map[int64][]tlog.Hash // hashes of leaves, by the number of their block
}

const blockLeaves = 1 << upperLevel

// ReadHashes implements tlog.HashReader for complete nodes.
func (r *nodeReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		if u := level - upperLevel; u >= 0 && u < len(r.upper) && n < int64(len(r.upper[u])) {
			out[i] = r.upper[u][n]
			continue
		}
		if level >= upperLevel {
			return nil, fmt.Errorf("node %d of level %d is not complete", n, level)
		}
		first := n << level
		block, err := r.block(first / blockLeaves)
		if err != nil {
			return nil, err
		}
		at := first % blockLeaves
		if at+1<<level > int64(len(block)) {
			return nil, fmt.Errorf("record %d is not here", first+1<<level-1)
		}
		out[i] = fold(block[at : at+1<<level])
	}
	return out, nil
}

// fold returns the root of leaves that are a power of two.
func fold(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	return tlog.NodeHash(fold(leaves[:half]), fold(leaves[half:]))
}

// block returns the hashes of the leaves of a block, as many as there are.
func (r *nodeReader) block(n int64) ([]tlog.Hash, error) {
	if b, ok := r.blocks[n]; ok {
		return b, nil
	}
	first := n * blockLeaves
	b, err := readLeaves(r.dir, r.generation, first, first+blockLeaves)
	if err != nil {
		return nil, err
	}
	if r.blocks == nil {
		r.blocks = make(map[int64][]tlog.Hash)
	}
	r.blocks[n] = b
	return b, nil
}

// readLeaves returns the hashes of the leaves from first up to and not including
// next, or fewer where the log ends. A log may be read while it is written and
// while its segments are replaced: leaves never change.
func readLeaves(dir, generation string, first, next int64) ([]tlog.Hash, error) {
	segs, err := segments(dir, generation)
	if err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, 0, next-first)
	for i := range segs {
		if segs[i].first >= next || i+1 < len(segs) && segs[i+1].first <= first {
			continue
		}
		if hashes, err = readSegmentLeaves(&segs[i], first, next, hashes); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

func readSegmentLeaves(seg *segment, first, next int64, hashes []tlog.Hash) ([]tlog.Hash, error) {
	file, err := os.Open(seg.path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	r := frameReader{r: file, size: fi.Size()}
	var head [frameHeader]byte
	for {
		// Of frames that lie before, the header is enough.
		if n, err := file.ReadAt(head[:], r.off); n < frameHeader {
			if errors.Is(err, io.EOF) {
				return hashes, nil
			}
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, r.off, err)
		}
		at, count := int64(binary.BigEndian.Uint64(head[12:])), int64(binary.BigEndian.Uint32(head[20:]))
		switch {
		case string(head[:4]) != frameMagic:
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, r.off, errNoFrame)
		case at >= next:
			return hashes, nil
		case at+count <= first:
			r.off += frameHeader + int64(binary.BigEndian.Uint32(head[4:]))
			continue
		}
		f, err := r.next()
		if errors.Is(err, errCutShort) {
			return hashes, nil // it is being written
		}
		if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, r.off, err)
		}
		f.each(func(e entry) {
			if at >= first && at < next {
				hashes = append(hashes, hashLeaf(e.leaf))
			}
			at++
		})
	}
}
