package event

// A slab hands out parts of a large block that stay where they are until reset.
type slab[T any] struct {
	block []T
	free  []T // the end of block that is not handed out
}

// take returns n elements. The result is never nil.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) || s.block == nil {
		// What was handed out of the old block lives on with those who hold it.
		s.block = make([]T, max(n, 2*len(s.block), 64))
		s.free = s.block
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}

// giveBack returns the last n of the elements last taken.
func (s *slab[T]) giveBack(n int) {
	s.free = s.block[len(s.block)-len(s.free)-n:]
}

// reset takes everything back. The newest block is the largest; it stays, so
// that after a few rounds nothing is allocated any more. It is cleared, to hold
// on to no message and to no content.
func (s *slab[T]) reset() {
	clear(s.block[:len(s.block)-len(s.free)])
	s.free = s.block
}
