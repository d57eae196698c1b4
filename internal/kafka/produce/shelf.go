package produce

import "sync"

// shelf keeps things that hold large buffers until they are needed again. Unlike
// a sync.Pool it does not let go of them with every run of the collector: to let
// a buffer of half a mebibyte grow anew costs more than to fill it.
type shelf[T any] struct {
	fresh func() T

	mu   sync.Mutex
	free []T
}

// largest is how large a buffer may be that is kept: a message of many mebibytes
// comes once in a while and shall not be remembered for ever.
func (p *Producer) largest() int { return 2 * p.o.BatchBytes }

// onShelf is how many things a shelf keeps.
const onShelf = 16

func (s *shelf[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.free) - 1
	if n < 0 {
		return s.fresh()
	}
	x := s.free[n]
	s.free = s.free[:n]
	return x
}

func (s *shelf[T]) put(x T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < onShelf {
		s.free = append(s.free, x)
	}
}
