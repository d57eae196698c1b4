package deferral

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// partitionsOf are counts of partitions that rings are tried with.
var partitionsOf = [...]int{1, 2, 3, 5, 8, 12, 97, 144, 1000}

// Every push is released at its time and soon after it, whatever the length of the
// turns and the number of partitions: the turn in which it is released is one of the
// partition into which it is written, begins when the push may come and not later
// than the spread and one turn after it, and is the first one of that partition that
// begins then or later.
func TestEveryReleaseIsInTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for range 50_000 {
		r := Ring{Turn: time.Duration(1+rng.IntN(7200)) * time.Second, Spread: time.Duration(rng.IntN(7200)) * time.Second}
		partitions := partitionsOf[rng.IntN(len(partitionsOf))]
		now := time.Unix(rng.Int64N(4e9)-1e9, rng.Int64N(1e9))
		wait := time.Duration(rng.Int64N(int64(30 * time.Hour)))
		notBefore := now.Add(wait)
		user := fmt.Appendf(nil, "user-%d", rng.IntN(1000))
		at, ok := r.Release(user, now, notBefore, time.Time{})
		if !ok {
			t.Fatalf("%+v: a push without a deadline is not released", r)
		}
		if at.Before(notBefore) || at.After(notBefore.Add(min(r.Spread, wait)+r.Turn)) {
			t.Fatalf("%+v, wait %v: released %v after it may come", r, wait, at.Sub(notBefore))
		}
		p := int32(((r.Slot(at) % int64(partitions)) + int64(partitions)) % int64(partitions))
		w := r.Window(p, partitions, at)
		if !w.Opens.Equal(at) || !w.Closes.Equal(at.Add(r.Turn)) {
			t.Fatalf("%+v, %d partitions: partition %d has its turn from %v to %v, want from %v", r, partitions, p, w.Opens, w.Closes, at)
		}
		if w := r.Window(p, partitions, at.Add(r.Turn-1)); !w.Opens.Equal(at) {
			t.Fatalf("at the end of its turn partition %d of %d has one that opens at %v, want %v", p, partitions, w.Opens, at)
		}
		if again, _ := r.Release(user, now, notBefore, time.Time{}); !again.Equal(at) {
			t.Fatalf("the same push is released at %v and at %v", at, again)
		}
	}
}

// The turns of a partition follow each other: from each one the next is known, none
// is passed over, and where no round is shorter than four turns there is one soon
// after its own for what came late.
func TestTurnsFollowEachOther(t *testing.T) {
	r := Ring{Turn: 10 * time.Minute}
	for _, partitions := range partitionsOf {
		for p := range int32(min(partitions, 20)) {
			own := time.Unix(0, 0).Add(time.Duration(p) * r.Turn).Add(time.Duration(partitions) * 5 * r.Turn)
			end := own.Add(time.Duration(partitions) * r.Turn)
			var late []int
			for at := own; at.Before(end); {
				w := r.Window(p, partitions, at)
				if !w.Opens.Equal(at) || !w.Next.After(at) {
					t.Fatalf("partition %d of %d: at %v the turn is %+v", p, partitions, at, w)
				}
				late = append(late, int(at.Sub(own)/r.Turn))
				if before := r.Window(p, partitions, w.Next.Add(-1)); !before.Opens.Equal(at) {
					t.Fatalf("partition %d of %d: between %v and %v there is a turn at %v", p, partitions, at, w.Next, before.Opens)
				}
				at = w.Next
			}
			want := []int{0}
			for n := 1; n <= partitions/4; n *= 2 {
				want = append(want, n)
			}
			if fmt.Sprint(late) != fmt.Sprint(want) {
				t.Errorf("partition %d of %d has turns after %v, want %v", p, partitions, late, want)
			}
		}
	}
}

// In a round every turn is somebody's own.
func TestEveryTurnIsSomebodysOwn(t *testing.T) {
	r := Ring{Turn: time.Minute}
	for _, partitions := range partitionsOf {
		for slot := int64(-3); slot < int64(partitions); slot++ {
			owners := 0
			for p := range int32(partitions) {
				if (slot-int64(p))%int64(partitions) == 0 {
					owners++
					if w := r.Window(p, partitions, r.start(slot)); !w.Opens.Equal(r.start(slot)) {
						t.Errorf("turn %d of %d is not that of partition %d", slot, partitions, p)
					}
				}
			}
			if owners != 1 {
				t.Errorf("turn %d of %d partitions is that of %d", slot, partitions, owners)
			}
		}
	}
}

// A push is released before its deadline if there is a turn between the time it may
// come and the deadline, by a turn that ends before it if there is one; if no turn
// begins before the deadline it is not released at all.
func TestReleaseBeforeTheDeadline(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	var refused, whole, part int
	for range 50_000 {
		r := Ring{Turn: time.Duration(1+rng.IntN(3600)) * time.Second, Spread: time.Duration(rng.IntN(7200)) * time.Second}
		now := time.Unix(1_790_000_000+rng.Int64N(1e6), 0)
		notBefore := now.Add(time.Duration(rng.IntN(40_000)) * time.Second)
		deadline := notBefore.Add(time.Duration(rng.IntN(4*int(r.Turn/time.Second))) * time.Second)
		at, ok := r.Release([]byte("u"), now, notBefore, deadline)
		turn := int64(r.Turn / time.Second)
		first := time.Unix((notBefore.Unix()+turn-1)/turn*turn, 0)
		switch {
		case first.After(deadline):
			refused++
			if ok {
				t.Fatalf("%+v: released at %v, after its deadline %v", r, at, deadline)
			}
		case !ok || at.Before(notBefore) || at.After(deadline):
			t.Fatalf("%+v: released at %v (%v), want within [%v, %v]", r, at, ok, notBefore, deadline)
		case !first.Add(r.Turn).After(deadline):
			whole++
			if at.Add(r.Turn).After(deadline) {
				t.Fatalf("%+v: its turn ends at %v, after the deadline %v, and there is one that does not", r, at.Add(r.Turn), deadline)
			}
		default:
			part++
		}
	}
	if refused < 1000 || whole < 1000 || part < 1000 {
		t.Errorf("%d without a turn, %d with a whole one, %d with a part: the test looks at too few of some", refused, whole, part)
	}
	far := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if at, ok := Default().Release([]byte("u"), time.Unix(1_790_000_000, 0), time.Unix(1_790_001_000, 0), far); !ok || at.Year() > 2030 {
		t.Errorf("with a deadline at %v it is released at %v, %v", far, at, ok)
	}
}

// Who has to wait for a quarter of an hour is not made to wait for an hour more.
func TestShortWaitsAreSpreadLittle(t *testing.T) {
	r := Default()
	now := time.Unix(1_790_000_000, 0)
	for i := range 1000 {
		at, _ := r.Release(fmt.Appendf(nil, "u%d", i), now, now.Add(15*time.Minute), time.Time{})
		if late := at.Sub(now.Add(15 * time.Minute)); late > 15*time.Minute+r.Turn {
			t.Fatalf("released %v after it might come", late)
		}
	}
}

// Ten thousand users whose rest ends at eight are spread over the hour after it: each
// turn has its share, to the tenth.
func TestUsersAreSpreadEvenly(t *testing.T) {
	r := Default()
	eight := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for _, name := range []string{"%d", "user-%06d", "u%dx", "\x00\x00%c"} {
		turns := make(map[time.Time]int)
		for i := range 10_000 {
			at, _ := r.Release(fmt.Appendf(nil, name, i), eight.Add(-9*time.Hour), eight, time.Time{})
			turns[at]++
		}
		for k := range 6 {
			if n := turns[eight.Add(time.Duration(k)*r.Turn)]; n < 1500 || n > 1834 {
				t.Errorf("users %q: %d of 10,000 in turn %d, want 1,667 give or take a tenth", name, n, k)
			}
		}
		if len(turns) != 6 {
			t.Errorf("users %q: spread over %d turns, want 6", name, len(turns))
		}
	}
}

// A user's pushes keep their order when they are deferred one after another.
func TestOrderIsKept(t *testing.T) {
	r := Default()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		user := fmt.Appendf(nil, "u%d", i)
		now := time.Unix(1_790_000_000+rng.Int64N(1e6), 0)
		notBefore := now.Add(time.Duration(rng.IntN(40_000)) * time.Second)
		a, _ := r.Release(user, now, notBefore, time.Time{})
		b, _ := r.Release(user, now.Add(time.Minute), notBefore.Add(time.Minute), time.Time{})
		if b.Before(a) {
			t.Fatalf("of two pushes the later one is released at %v, the earlier at %v", b, a)
		}
	}
}
