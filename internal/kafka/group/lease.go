package group

import (
	"sync"
	"time"
)

// lease is how long a member may go on with its partitions without hearing from
// its coordinator.
//
// Let T be when the last request was sent that a coordinator answered well. None
// drops us before T and the session timeout: the one that answered started our
// timer after T, and one that takes over starts all timers anew once it has
// loaded the group (Kafka's GroupMetadataManager.onLoaded). So until then, less
// a margin, work is always safe.
//
// After that it is safe only on evidence, taken at a time t, that no coordinator
// ran then: the lease then lasts from t. A deadline that passed is no evidence:
// a frozen broker or a cut network may hide a coordinator that counts. So work
// pauses, and goes on where it was if the coordinator still knows us.
type lease struct {
	length time.Duration // session less margin
	blind  time.Duration // the longest beyond that on evidence alone

	mu      sync.Mutex
	contact time.Time // T
	alive   time.Time // T, or t
}

// renew notes that a coordinator has answered well to what was sent at a time.
func (l *lease) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.contact, l.alive = sent, sent
}

// extend notes that no coordinator ran at a time.
func (l *lease) extend(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.alive) {
		l.alive = at
	}
}

// holds reports whether the lease lasts.
func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	// Both clocks: the monotonic one stands still while a machine is suspended.
	age := func(t time.Time) time.Duration { return max(now.Sub(t), now.Round(0).Sub(t.Round(0))) }
	return age(l.alive) < l.length && age(l.contact) < l.length+l.blind
}
