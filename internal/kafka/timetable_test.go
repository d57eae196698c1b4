package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inBubble runs a test on an embedded cluster in a time of its own: hours pass in
// no time, and nothing is late.
func inBubble(t *testing.T, test func(e *env)) {
	synctest.Test(t, func(t *testing.T) {
		network := new(kfake.VirtualNetwork)
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.Brokers = c.ListenAddrs()
		client, err := NewClient(cfg, Options{Dial: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		admin, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.Dialer(network.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		test(&env{t: t, fake: c, addrs: cfg.Brokers, client: client, admin: admin})
		admin.Close()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		c.Close()
		synctest.Wait()
	})
}

// handed is what a member was given of a windowed topic, and when.
type handed struct {
	mu   sync.Mutex
	list []release
}

type release struct {
	partition int32
	offset    int64
	at        time.Time
}

func (h *handed) handle(_ context.Context, b *Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range b.Records {
		h.list = append(h.list, release{b.Partition, b.Records[i].Offset, time.Now()})
	}
	return nil
}

func (h *handed) of(partition int32) (list []release) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.list {
		if r.partition == partition {
			list = append(list, r)
		}
	}
	return list
}

// windowed runs a consumer in the group g of a topic whose partitions have turns of ten minutes one
// after another. The returned function ends it, as it returns.
func (e *env) windowed(topic string, h func(context.Context, *Batch) error, change func(*ConsumerOptions)) (*Consumer, func()) {
	e.t.Helper()
	o := quick("g", topic)
	o.Heartbeat = 3 * time.Second
	o.Commit = time.Second
	o.Topics[0].Windows = turnsOf(turnLength)
	o.Handle = h
	o.Checkpoint = func(context.Context, []Range) error { return nil }
	if change != nil {
		change(&o)
	}
	k, err := e.client.NewConsumer(o)
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(e.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return k, func() {
		cancel()
		if err := <-done; err != nil {
			e.t.Errorf("Run: %v", err)
		}
	}
}

// turn is how long the turns are.
const turnLength = 10 * time.Minute

// turnsOf gives each partition its turn.
func turnsOf(length time.Duration) func(partition int32, partitions int, now time.Time) Window {
	return func(partition int32, partitions int, now time.Time) Window {
		round := time.Duration(partitions) * length
		opens := now.Truncate(round).Add(time.Duration(partition) * length)
		if opens.After(now) {
			opens = opens.Add(-round)
		}
		return Window{Opens: opens, Closes: opens.Add(length), Next: opens.Add(round)}
	}
}

// fillUp writes n messages to a partition, ten to a batch.
func (e *env) fillUp(topic string, partition int32, n int) {
	e.t.Helper()
	for n > 0 {
		k := min(n, 10)
		e.produce(topic, partition, numbered(0, k)...)
		n -= k
	}
}

// What stands in a partition when its window opens is handed out evenly over it, what
// comes later in the next one, and between windows nothing is: the group need not even
// ask for it.
func TestWindowsAreKept(t *testing.T) {
	t.Parallel()
	for partitions, length := range map[int]time.Duration{1: turnLength, 3: turnLength, 144: 20 * time.Second} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(e *env) {
				topic := e.topic(partitions)
				p := int32(partitions - 1)
				windows := turnsOf(length)
				opens := windows(p, partitions, time.Now()).Next
				const n = 1200
				e.fillUp(topic, p, n)
				var mu sync.Mutex
				var early []time.Time // polls of the partition before its window
				e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
					e.fake.KeepControl()
					for _, t := range r.(*kmsg.FetchRequest).Topics {
						for _, part := range t.Partitions {
							if part.Partition == p && time.Now().Before(opens) {
								mu.Lock()
								early = append(early, time.Now())
								mu.Unlock()
							}
						}
					}
					return nil, nil, false
				})
				h := new(handed)
				k, stop := e.windowed(topic, h.handle, func(o *ConsumerOptions) { o.Topics[0].Windows = windows })
				time.Sleep(time.Until(opens) - time.Second)
				synctest.Wait()
				mu.Lock()
				if got := len(h.of(p)); got != 0 || len(early) > 0 {
					t.Errorf("%d messages handed out and %d polls before the window opens", got, len(early))
				}
				mu.Unlock()
				if err := k.Ready(); err != nil {
					t.Errorf("not ready while it waits: %v", err)
				}
				if s := k.Partitions()[p]; !s.Windowed || s.Due != 0 || s.Late != 0 || s.Behind != 0 || s.Lag() != n {
					t.Errorf("before its window the partition is %+v", s)
				}
				time.Sleep(2 * time.Second)
				e.fillUp(topic, p, 7) // too late for this window
				next := opens.Add(time.Duration(partitions) * length)
				time.Sleep(time.Until(next) - time.Millisecond)
				synctest.Wait()
				got := h.of(p)
				if len(got) != n || got[n-1].at.After(opens.Add(length)) {
					t.Fatalf("%d messages handed out, the last %v after the window opened; want %d in %v", len(got), got[len(got)-1].at.Sub(opens), n, length)
				}
				tenths := make(map[int]int)
				for i, r := range got {
					if r.offset != int64(i) {
						t.Fatalf("message %d is that of offset %d", i, r.offset)
					}
					tenths[int(r.at.Sub(opens)*10/length)]++
				}
				for x := range 10 {
					if c := tenths[x]; c < 100 || c > 140 {
						t.Errorf("%d messages in a tenth of the window, want about 120: %v", c, tenths)
					}
				}
				time.Sleep(time.Until(next) + length)
				synctest.Wait()
				late := h.of(p)[n:]
				if len(late) != 7 || late[0].at.Before(next) || late[6].at.After(next.Add(length)) {
					t.Errorf("what came when the window was open is handed out at %v, want in the one that opens at %v", late, next)
				}
				stop()
				if at := e.committed("g", topic, p); at != n+7 {
					t.Errorf("committed up to %d, want %d", at, n+7)
				}
			})
		})
	}
}

// Whoever comes back in the middle of a window goes on with what is left, over what is
// left of it; after the window, what is left comes at once. Nothing is lost and nothing
// comes twice.
func TestWindowAfterRestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		topic := e.topic(3)
		opens := turnsOf(turnLength)(1, 3, time.Now()).Next
		e.fillUp(topic, 1, 1000)
		h := new(handed)
		_, stop := e.windowed(topic, h.handle, nil)
		time.Sleep(time.Until(opens) + 3*time.Minute)
		stop()
		first := len(h.of(1))
		if first < 290 || first > 310 {
			t.Errorf("%d of 1,000 handed out in three of ten minutes", first)
		}
		time.Sleep(3 * time.Minute)
		_, stop = e.windowed(topic, h.handle, nil)
		time.Sleep(2 * time.Minute)
		stop()
		second := len(h.of(1)) - first
		if second < 340 || second > 360 {
			t.Errorf("%d of %d handed out in two of the four minutes that were left", second, 1000-first)
		}
		time.Sleep(5 * time.Minute) // the window has closed
		back := time.Now()
		k, stop := e.windowed(topic, h.handle, func(o *ConsumerOptions) {
			handle := o.Handle
			o.Handle = func(ctx context.Context, b *Batch) error {
				time.Sleep(2 * time.Second)
				return handle(ctx, b)
			}
		})
		time.Sleep(time.Second)
		if s := k.Partitions()[1]; s.Due != int64(1000-first-second) || s.Late != 3*time.Minute+time.Second {
			t.Errorf("three minutes after its window the partition is %+v", s)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := h.of(1)
		if len(got) != 1000 || got[999].at.Sub(back) > 5*time.Second {
			t.Errorf("%d messages, the last %v after the restart", len(got), got[len(got)-1].at.Sub(back))
		}
		for i := range got {
			if got[i].offset != int64(i) {
				t.Fatalf("message %d is that of offset %d", i, got[i].offset)
			}
		}
		if s := k.Partitions()[1]; s.Due != 0 || s.Late != 0 || s.Lag() != 0 {
			t.Errorf("at the end the partition is %+v", s)
		}
		stop()
	})
}

// What is left of a window when the next one opens comes at once, and not evenly over
// that one; and for as long as it does not come, the partition says how late it is.
func TestWindowThatIsLate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		topic := e.topic(1)
		opens := turnsOf(turnLength)(0, 1, time.Now()).Next
		e.fillUp(topic, 0, 1000)
		h := new(handed)
		k, stop := e.windowed(topic, h.handle, func(o *ConsumerOptions) {
			o.Stuck = time.Hour
			o.Handle = func(ctx context.Context, b *Batch) error {
				time.Sleep(time.Until(opens.Add(12 * time.Minute))) // an output is away
				return h.handle(ctx, b)
			}
		})
		time.Sleep(time.Until(opens) + 11*time.Minute)
		e.fillUp(topic, 0, 5)
		time.Sleep(30 * time.Second)
		if s := k.Partitions()[0]; s.Late != 90*time.Second || s.Due != 1000 {
			t.Errorf("a minute and a half after its window the partition is %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := h.of(0); len(got) != 1000 || got[999].at.Sub(opens) > 12*time.Minute+5*time.Second {
			t.Errorf("%d messages, the last %v after the window opened", len(got), got[len(got)-1].at.Sub(opens))
		}
		if s := k.Partitions()[0]; s.Late != 0 || s.Due != 0 {
			t.Errorf("when all is made up for the partition is %+v", s)
		}
		time.Sleep(2 * turnLength)
		stop()
		if got := h.of(0); len(got) != 1005 || got[1004].at.Before(opens.Add(2*turnLength)) {
			t.Errorf("what came late: %d messages, the last %v after the window opened", len(got), got[len(got)-1].at.Sub(opens))
		}
	})
}

// A partition that waits for its window, or for its next message in it, is given away
// at once, not after the time a batch in hand is given; and whoever gets it goes on.
func TestWaitingPartitionIsGivenAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		topic := e.topic(2)
		opens := turnsOf(turnLength)(1, 2, time.Now()).Next
		e.fillUp(topic, 0, 4) // handed out minutes apart
		e.fillUp(topic, 1, 4)
		h := new(handed)
		slow := func(o *ConsumerOptions) {
			o.Heartbeat, o.Drain, o.Rebalance = time.Second, 20*time.Second, time.Minute
		}
		a, stopA := e.windowed(topic, h.handle, slow)
		time.Sleep(time.Until(opens) - time.Minute)
		for range 2 { // once while both wait, once while one is being handed out
			began := time.Now()
			b, stopB := e.windowed(topic, h.handle, slow)
			for len(a.Partitions()) != 1 || len(b.Partitions()) != 1 {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("to give a waiting partition away took %v", took)
			}
			stopB()
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(3 * turnLength)
		synctest.Wait()
		stopA()
		for p := range int32(2) {
			var offsets []int64
			for _, r := range h.of(p) {
				offsets = append(offsets, r.offset)
			}
			if !slices.Equal(offsets, []int64{0, 1, 2, 3}) {
				t.Errorf("partition %d: offsets %v", p, offsets)
			}
		}
	})
}

// Messages that retention took while they waited are reported as a gap, and those
// behind them come in their window.
func TestWindowBehindAGap(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		topic := e.topic(1)
		e.fillUp(topic, 0, 20)
		h, gaps := new(handed), []Gap(nil)
		e.commit("g", topic, 0, 3)
		e.deleteRecords(topic, 0, 10)
		opens := turnsOf(turnLength)(0, 1, time.Now()).Next
		_, stop := e.windowed(topic, h.handle, func(o *ConsumerOptions) {
			o.OnGap = func(_ context.Context, g Gap) error {
				gaps = append(gaps, g)
				return nil
			}
		})
		time.Sleep(time.Until(opens) + turnLength)
		stop()
		if want := (Gap{topic, 0, 3, 10}); len(gaps) != 1 || gaps[0] != want {
			t.Errorf("gaps %v, want %v", gaps, want)
		}
		if got := h.of(0); len(got) != 10 || got[0].offset != 10 || got[9].offset != 19 || got[9].at.Before(opens) {
			t.Errorf("behind the gap: %v", got)
		}
	})
}

// A topic that is read at all times is not held up by one that waits beside it.
func TestWindowsHoldUpNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		waits, flows := e.topic(5), e.topic(1)
		for p := range int32(5) {
			e.fillUp(waits, p, 3)
		}
		h := new(handed)
		var polls atomic.Int64
		e.fake.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			e.fake.KeepControl()
			polls.Add(1)
			return nil, nil, false
		})
		_, stop := e.windowed(waits, h.handle, func(o *ConsumerOptions) {
			o.Topics = append(o.Topics, Subscription{Topic: flows})
			o.MaxWait = 250 * time.Millisecond
		})
		time.Sleep(5 * time.Second)
		polls.Store(0)
		for i := range 10 {
			e.produce(flows, 0, "x")
			sent := time.Now()
			synctest.Wait()
			h.mu.Lock()
			last := h.list[len(h.list)-1]
			h.mu.Unlock()
			if last.partition != 0 || last.offset != int64(i) || last.at.Sub(sent) > 100*time.Millisecond {
				t.Errorf("message %d: the last one handed out is %+v", i, last)
			}
			time.Sleep(time.Second)
		}
		if polls.Load() > 100 {
			t.Errorf("%d polls in ten seconds: partitions that wait must not make others be asked for more often", polls.Load())
		}
		stop()
	})
}

// Steps come evenly: about one a second, or one message at a time; the pauses between
// them are as long as what was taken is of what was left.
func TestSteps(t *testing.T) {
	for _, x := range []struct {
		left    int64
		rest    time.Duration
		records int
		pause   time.Duration
	}{
		{600, 10 * time.Minute, 1, time.Second},
		{10_000, 10 * time.Minute, 17, 1020 * time.Millisecond},
		{5, 10 * time.Minute, 1, 2 * time.Minute},
		{1, 10 * time.Minute, 1, 0}, // nothing follows
		{10_000_000, 10 * time.Minute, 4000, 240 * time.Millisecond},
		{50, time.Second, 50, 0},
		{50, 0, 50, 0},
		{50, time.Millisecond, 50, 0},
		{9000, -time.Minute, 4000, 0},
	} {
		s := stepOf(x.left, x.rest, 4000)
		if s.records != x.records || s.pause(int64(s.records)).Round(time.Millisecond) != x.pause {
			t.Errorf("%d in %v: %d records and then %v, want %d and %v", x.left, x.rest, s.records, s.pause(int64(s.records)), x.records, x.pause)
		}
	}
	for _, left := range []int64{1, 7, 599, 601, 12_345, 3_000_000} {
		rest, steps := 10*time.Minute, 0
		for n := left; n > 0; steps++ {
			s := stepOf(n, rest, 4000)
			taken := min(int64(s.records), n)
			rest -= s.pause(taken)
			n -= taken
		}
		if rest < 0 || steps > 1+int(left) {
			t.Errorf("%d messages took %v more than the window, in %d steps", left, -rest, steps)
		}
	}
}

// A leader that cannot be found for a while is no matter of a partition that waits: it
// is ready again as soon as the others are, not only when it has been looked at.
func TestWaitingPartitionIsReady(t *testing.T) {
	t.Parallel()
	inBubble(t, func(e *env) {
		topic := e.topic(3)
		k, stop := e.windowed(topic, new(handed).handle, nil)
		time.Sleep(time.Until(turnsOf(turnLength)(1, 3, time.Now()).Next) + 20*time.Second)
		var fails atomic.Int64
		e.fake.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if len(r.(*kmsg.MetadataRequest).Topics) == 0 {
				e.fake.KeepControl()
				return nil, nil, false
			}
			if fails.Add(1) < 20 {
				e.fake.KeepControl()
			}
			return nil, errors.New("no"), true
		})
		for fails.Load() < 20 {
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if err := k.Ready(); err != nil {
			t.Error(err)
		}
		stop()
	})
}
