package fetch

import (
	"math/bits"
	"sync"
)

// Buffers is a pool of buffers for answers. The zero value is ready; it may be
// used by many goroutines.
type Buffers struct {
	sizes [maxBits - minBits + 1]sync.Pool // of *[]byte; those of size i hold 2^(minBits+i) bytes
}

// Sizes of pooled buffers are powers of two. A larger one is rare and left to
// the collector.
const (
	minBits   = 16
	maxBits   = 23
	MaxBuffer = 1 << maxBits
)

// get returns a buffer of n bytes. What is in it is of no meaning.
func (b *Buffers) get(n int) []byte {
	if n > MaxBuffer {
		return make([]byte, n)
	}
	size := max(bits.Len(uint(max(n, 1)-1)), minBits)
	if p, ok := b.sizes[size-minBits].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, 1<<size)
}

func (b *Buffers) put(p []byte) {
	c := cap(p)
	if size := bits.Len(uint(c)) - 1; c == 1<<size && size >= minBits && size <= maxBits {
		b.sizes[size-minBits].Put(&p)
	}
}
