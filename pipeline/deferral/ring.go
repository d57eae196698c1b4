// Package deferral says when a push that was deferred is decided again, and which
// partition of the topic of deferred pushes is read when.
//
// There, a partition stands for a time. Time is cut into turns of one length,
// which the partitions take one after another and then all over again; a deferred
// push is written to the partition whose turn comes when it is to be released. So
// a partition can be left alone until its turn, and then read from front to back:
// nothing in it has to wait for what stands before it, and nothing has to be
// remembered but how far the group has come. What it is not: it reads and writes
// nothing.
//
// The one thing to know: releasing a push too early is harmless. It is decided
// from scratch, found to be too early, and deferred again. So the ring of
// partitions may be shorter than the longest wait, and may be changed at any
// time; a push that is released late is the only fault there can be.
package deferral

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// Ring says how time is dealt out to partitions. The zero Ring is not usable.
type Ring struct {
	// Turn is how long the turn of a partition lasts, in which what stands in it is
	// released evenly. All processes of a deployment have the same.
	Turn time.Duration
	// Spread is over how long pushes that may come at the same time are spread.
	Spread time.Duration
}

// Default returns the ring of ten-minute turns and a spread of an hour.
func Default() Ring { return Ring{Turn: 10 * time.Minute, Spread: time.Hour} }

// Validate reports what is wrong with the ring, each error beginning with the
// name of a field in the configuration.
func (r Ring) Validate() error {
	var errs []error
	if r.Turn < time.Second || r.Turn > 6*time.Hour || r.Turn%time.Second != 0 {
		errs = append(errs, fmt.Errorf("deferred_turn: %v; use whole seconds, 1s up to 6h", r.Turn))
	}
	if r.Spread < 0 || r.Spread > 24*time.Hour {
		errs = append(errs, fmt.Errorf("deferred_spread: %v; use 0s up to 24h", r.Spread))
	}
	return errors.Join(errs...)
}

// Slot returns the number of the turn that begins at a time or in which it lies.
// A message for the slot belongs into the partition of that number, modulo their
// count.
func (r Ring) Slot(t time.Time) int64 { return floor(t.Unix(), r.seconds()) }

// start returns when a turn begins.
func (r Ring) start(slot int64) time.Time { return time.Unix(slot*r.seconds(), 0).UTC() }

// seconds returns how long a turn is. Nanoseconds since 1970 end in the year 2262,
// and a deadline may lie far behind that.
func (r Ring) seconds() int64 { return int64(r.Turn / time.Second) }

// Release returns when the turn begins in which a push is released that was
// deferred now until a time, and false if no turn begins before its deadline, so
// that it would only be released to expire. A zero deadline is none.
//
// It is released at notBefore at the earliest. Pushes that may come at the same
// time, as at the end of rest hours, are spread over Spread by a hash of their
// user; who has to wait for less is spread over no more than that wait. It is released
// before notBefore + Spread + 2 Turn, and before its deadline where a whole turn lies
// between the two.
//
// A user's pushes that are deferred together keep their order.
func (r Ring) Release(user []byte, now, notBefore, deadline time.Time) (time.Time, bool) {
	first := r.Slot(notBefore)
	if r.start(first).Before(notBefore) {
		first++
	}
	spread := max(min(r.Spread, notBefore.Sub(now)), 0)
	slot := first + int64(share(user)*float64(spread)/float64(r.Turn))
	if !deadline.IsZero() {
		end := r.Slot(deadline)
		if end < first {
			return time.Time{}, false
		}
		slot = max(first, min(slot, end-1))
	}
	return r.start(slot), true
}

// share returns a number from 0 up to and not including 1 that is the same for
// the same user, and as good as any other for each.
func share(user []byte) float64 {
	h := fnv.New64a()
	_, _ = h.Write(user)
	x := h.Sum64() // whose upper bits differ little between short names
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// Window is a turn of a partition.
type Window struct {
	Opens  time.Time // what was written to the partition before is to be released
	Closes time.Time // by then, evenly
	Next   time.Time // when the partition has its next turn
}

// Window returns the last turn of a partition, of so many, that began up to now.
//
// Beside its own turn a partition has others soon after it, one, two, four, ...
// turns later, as long as that is in the first quarter of the round: for what was
// written late, because a broker was away or a clock is wrong, and would else wait
// for a whole round. Where nobody waits for more than three quarters of a round, there
// is nothing else in the partition then.
func (r Ring) Window(partition int32, partitions int, now time.Time) Window {
	slot := r.Slot(now)
	for !takes(slot, partition, partitions) {
		slot--
	}
	next := r.Slot(now) + 1
	for !takes(next, partition, partitions) {
		next++
	}
	return Window{Opens: r.start(slot), Closes: r.start(slot + 1), Next: r.start(next)}
}

// takes reports whether a turn is one of a partition's.
func takes(slot int64, partition int32, partitions int) bool {
	n := int64(max(partitions, 1))
	late := ((slot-int64(partition))%n + n) % n
	return late&(late-1) == 0 && (late == 0 || late <= n/4)
}

// floor divides, rounding down.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
