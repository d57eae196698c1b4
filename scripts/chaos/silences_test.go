package chaos

import (
	"sync"
	"time"
)

// silences knows how long nothing came out.
type silences struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func newSilences() *silences { return &silences{last: time.Now()} }

// sound notes that something came out.
func (s *silences) sound(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, at.Sub(s.last))
	s.last = at
}

// take returns the longest silence since it was last asked, one that lasts included.
func (s *silences) take() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := max(s.longest, time.Since(s.last))
	s.longest = 0
	return d
}
