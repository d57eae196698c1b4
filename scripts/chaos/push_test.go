package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// Instances that decide pushes are killed and started again in the middle of it, a
// tenth of the pushes comes twice, some users rest and some change their minds. No
// window of any user ever holds more than its limit, no push is counted twice, each
// delivery of one comes to exactly one end, what was deferred is released, and who
// has withdrawn gets nothing after that.
func TestPushesUnderKills(t *testing.T) {
	const users, pushes, kills = 50_000, 500_000, 12
	w := newPushWorld(t, users)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	w.enrol(ctx)
	w.settled(ctx, w.consent)

	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		w.push(ctx, pushes, kills*2*time.Second)
	}()
	withdrawn := make(chan struct{})
	go func() {
		defer close(withdrawn)
		w.withdraw(ctx, users/25)
	}()
	for range kills {
		rest(ctx, time.Duration(500+w.rand.IntN(2500))*time.Millisecond)
		m := w.members[w.rand.IntN(len(w.members))]
		if err := m.kill(); err != nil {
			t.Fatal(err)
		}
		rest(ctx, time.Duration(w.rand.IntN(1500))*time.Millisecond)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	<-pushed
	<-withdrawn
	w.settled(ctx, w.pushes, w.consent)
	w.settled(ctx, w.deferred) // what was deferred again while it was released has been released, too
	for _, m := range w.members {
		if err := m.terminate(); err != nil {
			t.Error(err)
		}
	}
	found := w.read(ctx)
	w.checkWindows(found)
	w.checkEnds(found)
	w.checkWithdrawn(found)
	t.Logf("%s", found)
}

// brokersFor returns the real Kafka there is.
func brokersFor(t *testing.T) []string {
	t.Helper()
	addr := os.Getenv("WEIR_TEST_KAFKA")
	if addr == "" {
		t.Skip("WEIR_TEST_KAFKA is not set; scripts/integration sets it")
	}
	return strings.Split(addr, ",")
}

func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 7))
}

// quietUntil returns rest hours by a user's clock that began an hour ago and end at
// the full minute after the next.
func quietUntil(now time.Time, zone *time.Location) string {
	local := now.In(zone)
	return fmt.Sprintf("%s-%s", local.Add(-time.Hour).Format("15:04"), local.Add(2*time.Minute).Format("15:04"))
}

// Redis is gone for half a minute in the middle, and one instance dies meanwhile.
// Each class gets what the policy promises: what is held is decided later, what goes
// on says that it was decided without Redis. What exceeded a limit is booked, all of
// it and nothing else, and in the end Redis knows of every push that took a slot.
func TestPushesWithoutRedis(t *testing.T) {
	const users, pushes = 3_000, 90_000
	w := newPushWorld(t, users)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w.enrol(ctx)
	w.settled(ctx, w.consent)

	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		w.push(ctx, pushes, 60*time.Second)
	}()
	rest(ctx, 15*time.Second)
	w.redis.stop()
	away := time.Now()
	rest(ctx, 10*time.Second)
	// Its partitions go to others, who do not remember its users: they may use the share
	// of the caps that the policy gives of strangers, on top of what these have had.
	lost := w.members[0]
	if err := lost.kill(); err != nil {
		t.Fatal(err)
	}
	rest(ctx, time.Until(away.Add(30*time.Second)))
	back := time.Now()
	w.redis.start()
	rest(ctx, 3*time.Second)
	if err := lost.start(); err != nil {
		t.Fatal(err)
	}
	<-pushed
	w.settled(ctx, w.pushes, w.consent)
	w.settled(ctx, w.deferred)
	w.restored(ctx)
	for _, m := range w.members {
		if err := m.terminate(); err != nil {
			t.Error(err)
		}
	}
	found := w.read(ctx)
	w.checkEnds(found)
	w.checkOutage(found, away.Unix(), back.Unix())
	w.checkBreaches(found)
	t.Logf("%s", found)
}
