package pipeline

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keying notices topics of pushes that are not keyed by user: there two batches
// decide about one user at once. Caps hold all the same, but each such user costs
// repeated commits, and what an instance remembers of its users while Redis is
// away is not all there is.
type keying struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	seed   maphash.Seed
	topics map[string]*sketch
}

// sketch remembers for some users of a topic on which partition they were seen
// last: one for each of its places, the last that came there. A user seen on two
// partitions is found soon, because they come often; a user's hash of 56 bits is
// as good as their name.
type sketch struct {
	begun  time.Time
	places [sketchPlaces]uint64 // of a user: 44 bits of the hash, 20 of the partition plus one
	found  time.Time            // when a user was last seen on two partitions; zero for never
}

const (
	sketchPlaces  = 4096
	partitionBits = 20

	// sketchAge is how long a sketch remembers. Users may change partitions when a
	// topic gets more of them.
	sketchAge = 10 * time.Minute
	// unkeyedFor is how long a topic counts as not keyed after it was found so.
	unkeyedFor = time.Hour
	// maxSketches bounds the topics that are looked at; each takes 32 KiB.
	maxSketches = 64
)

func newKeying(reg prometheus.Registerer, log *slog.Logger, now func() time.Time) *keying {
	k := &keying{log: log, now: now, seed: maphash.MakeSeed(), topics: make(map[string]*sketch)}
	if reg != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "weir_push_unkeyed_topic",
			Help: "Topics of pushes on which, in the last hour, one user was seen on two partitions: they are not keyed by user.",
		}, k.unkeyed))
	}
	return k
}

// unkeyed counts the topics.
func (k *keying) unkeyed() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0.0
	for _, s := range k.topics {
		if s.unkeyed(k.now()) {
			n++
		}
	}
	return n
}

func (s *sketch) unkeyed(now time.Time) bool {
	return !s.found.IsZero() && now.Sub(s.found) < unkeyedFor
}

// see notes whose pushes a batch has. The log line names no user.
func (k *keying) see(b *Batch, w *worker) {
	if len(b.Records) == 0 || b.Records[0].Past != nil {
		return // deferred pushes stand on the partition of their time
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	s := k.topics[b.Topic]
	if s == nil {
		if len(k.topics) == maxSketches {
			return
		}
		s = &sketch{begun: now}
		k.topics[b.Topic] = s
	}
	if now.Sub(s.begun) >= sketchAge {
		s.begun, s.places = now, [sketchPlaces]uint64{}
	}
	here := uint64(b.Partition+1) & (1<<partitionBits - 1)
	for _, i := range w.pushes {
		h := maphash.Bytes(k.seed, w.out.Verdicts[i].Event.User.ID)
		place := &s.places[h%sketchPlaces]
		mine := h &^ (1<<partitionBits - 1)
		if there := *place & (1<<partitionBits - 1); there != 0 && there != here && *place&^(1<<partitionBits-1) == mine {
			if !s.unkeyed(now) {
				k.log.Warn("a topic of pushes is not keyed by user: one was seen on two partitions; key it by user id, or caps cost more and hold less well while Redis is away",
					"topic", b.Topic, "partition", b.Partition, "other", int64(there)-1)
			}
			s.found = now
		}
		*place = mine | here
	}
}
