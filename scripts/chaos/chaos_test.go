package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks"
)

// Whatever happens to brokers and members, nothing that is to be flagged is lost. At
// least once, what is repeated is bounded by what the members that were lost had in
// hand; exactly once, nothing is. The evidence of all accounts for every offset.
func TestChaos(t *testing.T) {
	text := os.Getenv("WEIR_TEST_CHAOS")
	if text == "" {
		t.Skip("WEIR_TEST_CHAOS does not say for how long, such as 2m; make chaos does")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("WEIR_TEST_CHAOS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("WEIR_TEST_CHAOS_SEED=%d", seed)
	binary := weirBinary(t)
	c := startCluster(t)
	for _, delivery := range []sinks.Delivery{sinks.AtLeastOnce, sinks.ExactlyOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			w := newWorld(t, c, binary, delivery)
			w.t = t
			defer func() { w.t = c.t }()
			chaos(t, w, length, rand.New(rand.NewPCG(seed, 1)), delivery)
		})
	}
}

func chaos(t *testing.T, w *world, length time.Duration, r *rand.Rand, delivery sinks.Delivery) {
	ctx, cancel := context.WithTimeout(t.Context(), length+8*time.Minute)
	defer cancel()
	posting, stop := context.WithTimeout(ctx, length)
	defer stop()
	posted, followed := make(chan struct{}), make(chan struct{})
	follow, leave := context.WithCancel(ctx)
	defer func() {
		leave()
		<-followed
	}()
	go func() {
		defer close(posted)
		w.post(posting)
	}()
	go func() {
		defer close(followed)
		w.follow(follow)
	}()

	rest(posting, 15*time.Second) // a quiet beginning
	t.Logf("%-34s longest silence %v", "the beginning", w.silences.take().Round(10*time.Millisecond))
	losses := 0
	for began := time.Now(); posting.Err() == nil; {
		e := events[r.IntN(len(events))]
		what, err := e.do(posting, w, r)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		losses += e.losses
		rest(posting, time.Duration(5+r.IntN(6))*time.Second)
		if silence := w.silences.take(); posting.Err() == nil {
			t.Logf("%4.0f s  %-26s longest silence %5.1f s", time.Since(began).Seconds(), what, silence.Seconds())
		} else {
			t.Logf("%4.0f s  %-26s and nobody posts any more", time.Since(began).Seconds(), what)
		}
		for _, m := range w.members {
			if err := m.alive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-posted
	w.posting.Wait()
	if err := w.drained(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.members {
		if err := m.terminate(); err != nil {
			t.Error(err)
		}
	}
	o, err := w.count(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := audit(ctx, w.members)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s: %d posted, %d to be flagged, %d lost, %d repeated (%d times a member was lost); ledger: %s",
		delivery, o.posted, o.flagged, o.lost, o.repeated, losses, ledger)
	if o.lost > 0 {
		t.Errorf("%d flagged posts are lost", o.lost)
	}
	bound := losses * repeatsPerLoss
	if delivery == sinks.ExactlyOnce {
		bound = 0
	}
	if o.repeated > bound {
		t.Errorf("%d messages are on the topic twice, at most %d may be", o.repeated, bound)
	}
}

// rest waits, not beyond ctx.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// event is something that happens to brokers or members. When do returns it is over:
// everybody is back.
type event struct {
	name   string
	losses int // members that do not commit what they had in hand
	do     func(ctx context.Context, w *world, r *rand.Rand) (string, error)
}

var events = []event{
	{"broker killed", 0, func(ctx context.Context, w *world, r *rand.Rand) (string, error) {
		return w.killed(ctx, 1+r.Int32N(nodes), "broker %d killed")
	}},
	{"coordinator killed", 0, func(ctx context.Context, w *world, _ *rand.Rand) (string, error) {
		id, err := w.coordinator(context.WithoutCancel(ctx))
		if err != nil {
			return "", err
		}
		return w.killed(ctx, id, "coordinator %d killed")
	}},
	{"broker frozen", 0, func(ctx context.Context, w *world, r *rand.Rand) (string, error) {
		id, d := 1+r.Int32N(nodes), time.Duration(3+r.IntN(12))*time.Second
		if err := w.node("pause", id); err != nil {
			return "", err
		}
		rest(ctx, d)
		return fmt.Sprintf("broker %d frozen %v", id, d), w.node("resume", id)
	}},
	{"broker restarted", 0, func(_ context.Context, w *world, r *rand.Rand) (string, error) {
		id := 1 + r.Int32N(nodes)
		if err := w.node("down", id); err != nil {
			return "", err
		}
		return fmt.Sprintf("broker %d restarted", id), w.node("up", id)
	}},
	{"leaders moved", 0, func(ctx context.Context, w *world, _ *rand.Rand) (string, error) {
		ctx = context.WithoutCancel(ctx)
		for p := range int32(inputs) {
			if err := w.move(ctx, w.in, p); err != nil {
				return "", err
			}
		}
		return "all leaders moved", nil
	}},
	{"member killed", 1, func(ctx context.Context, w *world, r *rand.Rand) (string, error) {
		m := w.members[r.IntN(members)]
		if err := m.kill(); err != nil {
			return "", err
		}
		rest(ctx, time.Duration(r.IntN(5))*time.Second)
		return m.name + " killed", m.start()
	}},
	{"member frozen", 1, func(ctx context.Context, w *world, r *rand.Rand) (string, error) {
		m, d := w.members[r.IntN(members)], time.Duration(3+r.IntN(20))*time.Second // the session is 15 s
		if err := m.signal(syscall.SIGSTOP); err != nil {
			return "", err
		}
		rest(ctx, d)
		return fmt.Sprintf("%s frozen %v", m.name, d), m.signal(syscall.SIGCONT)
	}},
	{"members restarted in turn", 0, func(ctx context.Context, w *world, _ *rand.Rand) (string, error) {
		for _, m := range w.members {
			if err := m.terminate(); err != nil {
				return "", err
			}
			if err := m.start(); err != nil {
				return "", err
			}
			rest(ctx, time.Second)
		}
		return "members restarted in turn", nil
	}},
}

// killed kills a broker and has it come back.
func (w *world) killed(ctx context.Context, id int32, what string) (string, error) {
	if err := w.node("kill", id); err != nil {
		return "", err
	}
	rest(ctx, 12*time.Second) // until its leaderships are given to others
	return fmt.Sprintf(what, id), w.node("up", id)
}
