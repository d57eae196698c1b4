package fetch

import (
	"math/bits"
	"sync"
)

// Buffers is a pool of buffers for answers. The zero value is ready; it may be
// used by many goroutines.
type Buffers struct {
	sizes [4*(maxBits-minBits) + 1]sync.Pool // of *[]byte, see fitting
}

// Sizes of pooled buffers are powers of two and three steps between one and the
// next: of answers of four partitions, a megabyte each and some bytes, powers alone
// would waste the half. A larger one is rare and left to the collector.
const (
	minBits   = 16
	maxBits   = 23
	MaxBuffer = 1 << maxBits
)

// fitting returns the least size of buffers that n bytes fit into, at most
// MaxBuffer, and which one of all sizes it is.
func fitting(n int) (size, index int) {
	if n <= 1<<minBits {
		return 1 << minBits, 0
	}
	below := bits.Len(uint(n-1)) - 1 // the power of two below n
	quarter := below - 2
	steps := (n-1)>>quarter + 1 // 5 to 8
	return steps << quarter, 4*(below-minBits) + steps - 4
}

// get returns a buffer of n bytes. What is in it is of no meaning.
func (b *Buffers) get(n int) []byte {
	if n > MaxBuffer {
		return make([]byte, n)
	}
	size, i := fitting(n)
	if p, ok := b.sizes[i].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, size)
}

func (b *Buffers) put(p []byte) {
	if c := cap(p); c <= MaxBuffer {
		if size, i := fitting(c); c == size {
			b.sizes[i].Put(&p)
		}
	}
}
