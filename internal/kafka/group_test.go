package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// watchCommits notes every offset committed on an embedded cluster and fails the
// test when one of them moves a partition back.
func watchCommits(e *env) func() map[string]int64 {
	var mu sync.Mutex
	at := make(map[string]int64)
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, t := range r.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				key := fmt.Sprintf("%s/%d", t.Topic, p.Partition)
				if p.Offset < at[key] {
					e.t.Errorf("%s: offset %d committed after %d", key, p.Offset, at[key])
				}
				at[key] = p.Offset
			}
		}
		return nil, nil, false
	})
	return func() map[string]int64 {
		mu.Lock()
		defer mu.Unlock()
		out := make(map[string]int64)
		for k, v := range at {
			out[k] = v
		}
		return out
	}
}

// A consumer that is stopped commits what it finished, and the next one begins
// right there.
func TestRestartFromCommitted(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(2), unique("g")
	e.produce(topic, 0, numbered(0, 100)...)
	e.produce(topic, 1, numbered(0, 50)...)
	o := quick(group, topic)
	o.Commit = time.Hour // so that only the stop commits
	m := e.start(e.client, o)
	m.reach(topic, 0, 100)
	m.reach(topic, 1, 50)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b := e.committed(group, topic, 0), e.committed(group, topic, 1); a != 100 || b != 50 {
		t.Fatalf("committed %d and %d, want 100 and 50", a, b)
	}
	e.produce(topic, 0, numbered(100, 5)...)
	m = e.start(e.client, o)
	m.reach(topic, 0, 105)
	if got, want := m.values(topic, 0), numbered(100, 5); !slices.Equal(got, want) {
		t.Errorf("the next consumer saw %q, want %q", got, want)
	}
	if got := m.values(topic, 1); len(got) != 0 {
		t.Errorf("the next consumer saw %d records again", len(got))
	}
	if err := m.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	for _, s := range m.Partitions() {
		if s.Lag() != 0 || s.Stopped {
			t.Errorf("state %+v", s)
		}
	}
}

// Members that come and go under load lose nothing, and the group's offsets
// never go back.
func TestMembersComeAndGo(t *testing.T) {
	e := setup(t, 3)
	topic, group := e.topic(6), unique("g")
	if e.fake != nil {
		watchCommits(e)
	}
	const total = 6 * 400
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		for i := range 400 {
			for p := range int32(6) {
				e.produce(topic, p, fmt.Sprintf("v%06d", i))
			}
		}
	}()
	first := e.start(e.client, quick(group, topic))
	e.eventually("the first member to work", func() bool { return len(first.of(topic, 0)) > 20 })
	second := e.start(e.newClient(), quick(group, topic))
	e.eventually("the second member to work", func() bool { return len(second.Partitions()) == 3 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	third := e.start(e.newClient(), quick(group, topic))
	<-produced
	e.eventually("all records to be seen", func() bool {
		n := make(map[string]bool)
		for _, m := range []*member{first, second, third} {
			for p := range int32(6) {
				for _, s := range m.of(topic, p) {
					n[fmt.Sprint(p, ":", s.offset, ":", s.value)] = true
				}
			}
		}
		return len(n) == total
	})
	if err := errors.Join(second.stop(), third.stop()); err != nil {
		t.Fatal(err)
	}
	for p := range int32(6) {
		if got := e.committed(group, topic, p); got != 400 {
			t.Errorf("partition %d: committed %d, want 400", p, got)
		}
	}
}

// When partitions are taken away, the batch in hand may finish and is committed;
// nothing further is begun.
func TestDrainFinishesTheBatchInHand(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(2), unique("g")
	e.produce(topic, 0, "slow")
	e.produce(topic, 1, "slow")
	begun, finish := make(chan struct{}, 10), make(chan struct{})
	o := quick(group, topic)
	o.Handle = func(ctx context.Context, b *Batch) error {
		begun <- struct{}{}
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	first := e.start(e.client, o)
	<-begun
	<-begun
	e.produce(topic, 0, "next")
	e.produce(topic, 1, "next")
	second := e.start(e.newClient(), quick(group, topic))
	e.eventually("the first to be told of the rebalance", func() bool {
		g := first.current()
		return g == nil || g.draining.Load()
	})
	close(finish)
	e.eventually("each to have a partition", func() bool {
		return len(first.Partitions()) == 1 && len(second.Partitions()) == 1
	})
	e.eventually("all to be seen", func() bool {
		n := 0
		for p := range int32(2) {
			n += len(first.of(topic, p)) + len(second.of(topic, p))
		}
		return n >= 4
	})
	for p := range int32(2) {
		all := append(first.values(topic, p), second.values(topic, p)...)
		if want := []string{"slow", "next"}; !slices.Equal(all, want) {
			t.Errorf("partition %d: seen %q, want each once: what was drained was committed", p, all)
		}
	}
}

// A batch that is not finished within the drain time has its context cancelled.
// It is not committed, and the next owner gets it.
func TestDrainGivesUp(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, "never ends")
	begun := make(chan struct{}, 1)
	o := quick(group, topic)
	o.Drain = 50 * time.Millisecond
	o.Handle = func(ctx context.Context, b *Batch) error {
		begun <- struct{}{}
		<-ctx.Done()
		return errors.New("some error that does not tell of the context")
	}
	m := e.start(e.client, o)
	<-begun
	if err := m.stop(); err != nil {
		t.Fatalf("Run returned %v for an interrupted batch, want nil", err)
	}
	if got := e.committed(group, topic, 0); got > 0 {
		t.Errorf("committed %d, want nothing", got)
	}
	m = e.start(e.client, quick(group, topic))
	m.reach(topic, 0, 1)
}

// A member that was given up by its group while it was busy cannot commit any
// more: the new owner's offset stands.
func TestLateMemberCannotCommit(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	begun, finish := make(chan struct{}, 1), make(chan struct{})
	o := quick(group, topic)
	o.Rebalance, o.Drain = 500*time.Millisecond, 50*time.Millisecond
	o.BatchRecords = 5
	var once sync.Once
	o.Handle = func(ctx context.Context, b *Batch) error {
		once.Do(func() {
			begun <- struct{}{}
			<-finish // whatever its context says
		})
		return nil
	}
	late := e.start(e.client, o)
	<-begun
	o.Handle = nil
	owner := e.start(e.newClient(), o)
	owner.reach(topic, 0, 10) // the group has waited for the late one, in vain
	e.eventually("the owner to commit", func() bool { return e.committed(group, topic, 0) == 10 })
	close(finish)
	e.eventually("the late member to be back", func() bool { return late.Stats().Generations > 1 })
	if got := e.committed(group, topic, 0); got != 10 {
		t.Errorf("committed %d, want the owner's 10", got)
	}
	if late.Stats().CommitFailures == 0 {
		t.Error("the late member's commit was not refused")
	}
}

// Offsets are committed only after the checkpoint of exactly their ranges has
// returned nil, and ranges are handled batches without holes.
func TestCheckpointComesBeforeCommit(t *testing.T) {
	e := setupFake(t, 1)
	topic, group := e.topic(2), unique("g")
	var mu sync.Mutex
	covered := make(map[string]int64)
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, t := range r.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				if have := covered[fmt.Sprintf("%s/%d", t.Topic, p.Partition)]; p.Offset > have {
					e.t.Errorf("%s/%d: %d committed, checkpointed up to %d", t.Topic, p.Partition, p.Offset, have)
				}
			}
		}
		return nil, nil, false
	})
	o := quick(group, topic)
	o.BatchRecords = 7
	o.Checkpoint = func(_ context.Context, done []Range) error {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range done {
			key := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			if covered[key] != r.First || r.Next <= r.First {
				t.Errorf("range %+v after %d", r, covered[key])
			}
			covered[key] = r.Next
		}
		return nil
	}
	m := e.start(e.client, o)
	for i := range 20 {
		e.produce(topic, 0, numbered(i*10, 10)...)
		e.produce(topic, 1, numbered(i*10, 10)...)
	}
	m.reach(topic, 0, 200)
	m.reach(topic, 1, 200)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b := e.committed(group, topic, 0), e.committed(group, topic, 1); a != 200 || b != 200 {
		t.Errorf("committed %d and %d, want 200", a, b)
	}
}

// A checkpoint that fails ends Run with its error and nothing is committed.
func TestCheckpointFails(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	boom := errors.New("disk is gone")
	o := quick(group, topic)
	o.Checkpoint = func(context.Context, []Range) error { return boom }
	m := e.start(e.client, o)
	if err := m.ended(); !errors.Is(err, boom) {
		t.Errorf("Run returned %v, want the checkpoint's error", err)
	}
	if got := e.committed(group, topic, 0); got > 0 {
		t.Errorf("committed %d although the checkpoint failed", got)
	}
}

// A checkpoint that does not return in time does not lose its ranges: the last
// commit of the generation tries again.
func TestCheckpointInterrupted(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	begun := make(chan struct{})
	var calls atomic.Int32
	o := quick(group, topic)
	o.Drain = 50 * time.Millisecond
	o.Checkpoint = func(ctx context.Context, _ []Range) error {
		if calls.Add(1) == 1 {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	m := e.start(e.client, o)
	<-begun
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := e.committed(group, topic, 0); got != 10 {
		t.Errorf("committed %d, want 10", got)
	}
}

// A move to an offset, such as behind a gap, is not committed before ranges that
// still wait for their checkpoint.
func TestMoveDoesNotOvertake(t *testing.T) {
	e := setupFake(t, 1)
	o := quick("g", "t")
	o.Handle = func(context.Context, *Batch) error { return nil }
	o.Checkpoint = func(context.Context, []Range) error { return nil }
	k, err := e.client.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	id := group.Partition{Topic: "t"}
	g := newGeneration(k, &group.Generation{Partitions: []group.Partition{id}}, map[group.Partition]int64{id: 5}, nil)
	p := g.partitions[0]
	check := func(when string, want int64) {
		t.Helper()
		got := g.committable()[id] // 0: nothing
		if got != want {
			t.Errorf("%s %d may be committed, want %d", when, got, want)
		}
	}
	check("at first", 0)
	g.finish(p, 5, 9)
	g.move(p, 20)
	check("with a finished range", 0)
	done := g.take()
	g.move(p, 20)
	check("while it is checkpointed", 0)
	g.reopen(done)
	g.finish(p, 20, 22)
	done = g.take()
	if want := []Range{{"t", 0, 5, 9}, {"t", 0, 20, 22}}; !slices.Equal(done, want) {
		t.Errorf("ranges %v, want %v", done, want)
	}
	g.cover(done)
	check("after the checkpoint", 22)
	g.settle(map[group.Partition]int64{id: 22})
	check("after the commit", 0)
	g.move(p, 30)
	check("after a move", 30)
	g.settle(map[group.Partition]int64{id: 30})

	// Behind what waits for its checkpoint it goes with that, though nothing comes any more.
	g.finish(p, 30, 35)
	done = g.take()
	g.finish(p, 35, 36)
	g.move(p, 50)
	g.cover(done)
	check("while the last range before it waits", 35)
	g.cover(g.take())
	check("when that is checkpointed", 50)
}

// Whoever may begin no batch because the coordinator is silent is not ready, and says why.
func TestReadyTellsOfASilentCoordinator(t *testing.T) {
	e := setupFake(t, 1)
	o := quick("g", "t")
	o.Handle = func(context.Context, *Batch) error { return nil }
	o.Checkpoint = func(context.Context, []Range) error { return nil }
	k, err := e.client.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	k.enter(newGeneration(k, new(group.Generation), nil, nil)) // nothing was ever heard in it
	if err := k.Ready(); err == nil || !strings.Contains(err.Error(), "group g: its coordinator is silent") {
		t.Errorf("%v", err)
	}
}

// A member that is stopped while it waits for the others of its group to join
// does not wait as long as they may take.
func TestStopWhileJoining(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, "x")
	begun, finish := make(chan struct{}), make(chan struct{})
	o := quick(group, topic)
	o.Session, o.Rebalance, o.Drain = 30*time.Second, 25*time.Second, 20*time.Second
	o.Handle = func(context.Context, *Batch) error {
		close(begun)
		<-finish
		return nil
	}
	busy := e.start(e.client, o)
	<-begun
	joining := e.start(e.newClient(), quick(group, topic))
	e.eventually("the busy member to be told of the other", func() bool { g := busy.current(); return g != nil && g.draining.Load() })
	began := time.Now()
	if err := joining.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*requestTimeout {
		t.Errorf("it took %v to stop", took)
	}
	close(finish)
}

// An error of Handle ends Run with it. Its batch is not committed and comes
// again; what other partitions finished is committed.
func TestHandlerFails(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(2), unique("g")
	boom := errors.New("boom")
	e.produce(topic, 0, numbered(0, 10)...)
	o := quick(group, topic)
	o.Commit = time.Hour
	good := make(chan struct{}, 1)
	o.Handle = func(_ context.Context, b *Batch) error {
		if b.Partition == 1 {
			<-good
			return boom
		}
		good <- struct{}{}
		return nil
	}
	m := e.start(e.client, o)
	m.reach(topic, 0, 10)
	e.produce(topic, 1, numbered(0, 3)...)
	if err := m.ended(); !errors.Is(err, boom) || !strings.Contains(err.Error(), topic+"/1, offsets 0 to 2") {
		t.Fatalf("Run returned %v, want the handler's error and where it was", err)
	}
	if a, b := e.committed(group, topic, 0), e.committed(group, topic, 1); a != 10 || b > 0 {
		t.Errorf("committed %d and %d, want 10 and nothing", a, b)
	}
	m = e.start(e.client, quick(group, topic))
	m.reach(topic, 1, 3)
	if got := m.values(topic, 1); !slices.Equal(got, numbered(0, 3)) {
		t.Errorf("the batch came again as %q", got)
	}
}

// The context of a batch in hand does not end with Run's; Run waits for it.
func TestRunWaitsForTheBatchInHand(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, "x")
	begun, finish := make(chan struct{}), make(chan struct{})
	o := quick(group, topic)
	var interrupted atomic.Bool
	o.Handle = func(ctx context.Context, _ *Batch) error {
		close(begun)
		<-finish
		interrupted.Store(ctx.Err() != nil)
		return nil
	}
	m := e.start(e.client, o)
	<-begun
	stopped := make(chan error)
	go func() { stopped <- m.stop() }()
	e.eventually("polling to stop", func() bool { g := m.current(); return g != nil && g.draining.Load() })
	close(finish)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if interrupted.Load() {
		t.Error("the batch in hand was interrupted within its drain time")
	}
	if got := e.committed(group, topic, 0); got != 1 {
		t.Errorf("committed %d, want 1", got)
	}
}

// Messages that retention took away are reported as a gap, and reading goes on
// with the oldest there is.
func TestGap(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(2), unique("g")
	e.produce(topic, 0, numbered(0, 100)...)
	e.produce(topic, 1, numbered(0, 100)...)
	e.commit(group, topic, 0, 10)
	e.commit(group, topic, 1, 10)
	e.deleteRecords(topic, 0, 60)
	e.deleteRecords(topic, 1, 100) // all of it
	m := e.start(e.client, quick(group, topic))
	m.reach(topic, 0, 100)
	e.eventually("the offset behind the gap to be committed", func() bool { return e.committed(group, topic, 1) == 100 })
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(m.gaps, func(a, b Gap) int { return int(a.Partition - b.Partition) })
	if want := []Gap{{topic, 0, 10, 60}, {topic, 1, 10, 100}}; !slices.Equal(m.gaps, want) {
		t.Errorf("gaps %v, want %v", m.gaps, want)
	}
	if got := m.of(topic, 0); len(got) != 40 || got[0].offset != 60 || m.batches[0].First != 60 {
		t.Errorf("%d records after the gap", len(got))
	}
}

// With the policy "stop", a gap stops its partition, in words that name the
// offsets, and nothing is committed for it; the other partition goes on. So
// does an offset beyond the end of the log, whatever the policy.
func TestOutOfRangeStops(t *testing.T) {
	e := setup(t, 1)
	for _, test := range []struct {
		name   string
		policy GapPolicy
		commit int64
		want   string
	}{
		{"gap", GapStop, 10, "/0: offsets 10 to 59 were deleted before they were read"},
		{"beyond the end", GapEarliest, 500, "/0: offset 500 is beyond the end of the log at 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := e.with(t)
			topic, group := e.topic(2), unique("g")
			e.produce(topic, 0, numbered(0, 100)...)
			e.deleteRecords(topic, 0, 60)
			e.commit(group, topic, 0, test.commit)
			o := quick(group, topic)
			o.Gap = test.policy
			m := e.start(e.client, o)
			e.eventually("the partition to stop", func() bool {
				err := m.Ready()
				return err != nil && strings.Contains(err.Error(), topic+test.want)
			})
			e.produce(topic, 1, "still read")
			m.reach(topic, 1, 1)
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
			if len(m.of(topic, 0)) != 0 || len(m.gaps) != 0 {
				t.Errorf("%d records, %d gaps", len(m.of(topic, 0)), len(m.gaps))
			}
			if got := e.committed(group, topic, 0); got != test.commit {
				t.Errorf("committed %d, want the old %d", got, test.commit)
			}
			if got := e.committed(group, topic, 1); got != 1 {
				t.Errorf("the other partition: committed %d, want 1", got)
			}
		})
	}
}

// A group that begins with the latest message commits where that is before it
// reads: what comes while no member runs is not passed over.
func TestLatest(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	e.produce(topic, 0, numbered(0, 10)...)
	o := quick(group, topic)
	o.Topics[0].Start = Latest
	m := e.start(e.client, o)
	e.eventually("the start to be committed", func() bool { return e.committed(group, topic, 0) == 10 })
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	e.produce(topic, 0, "while nobody ran")
	m = e.start(e.client, o)
	m.reach(topic, 0, 11)
	if got := m.values(topic, 0); !slices.Equal(got, []string{"while nobody ran"}) {
		t.Errorf("saw %q", got)
	}
}

// As long as the start at the latest message cannot be committed, nothing is
// read: a crash would make the next "latest" pass over what was not.
func TestLatestIsCommittedFirst(t *testing.T) {
	e := setupFake(t, 1)
	topic, group := e.topic(1), unique("g")
	var broken atomic.Bool
	broken.Store(true)
	tried := make(chan struct{}, 1)
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if !broken.Load() {
			return nil, nil, false
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return refuseCommit(r, kerr.CoordinatorLoadInProgress.Code), nil, true
	})
	o := quick(group, topic)
	o.Topics[0].Start = Latest
	m := e.start(e.client, o)
	<-tried
	e.produce(topic, 0, numbered(0, 10)...)
	for range 3 {
		<-tried
	}
	if got := len(m.of(topic, 0)); got != 0 {
		t.Errorf("%d records were read before the start was committed", got)
	}
	broken.Store(false)
	m.reach(topic, 0, 10)
}

// refuseCommit answers a commit with an error for every partition.
func refuseCommit(r kmsg.Request, code int16) kmsg.Response {
	req := r.(*kmsg.OffsetCommitRequest)
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	resp.Version = req.Version
	for _, rt := range req.Topics {
		t := kmsg.NewOffsetCommitResponseTopic()
		t.Topic, t.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			p := kmsg.NewOffsetCommitResponseTopicPartition()
			p.Partition, p.ErrorCode = rp.Partition, code
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// A partition that is added while a group runs is read from its start, also if
// the group began with the latest message: all in it came after that.
func TestPartitionAddedWhileRunning(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	o := quick(group, topic)
	o.Topics[0].Start = Latest
	o.Watch = 200 * time.Millisecond
	m := e.start(e.client, o)
	e.eventually("the start to be committed", func() bool { return e.committed(group, topic, 0) == 0 })
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, 2
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(e.context(), e.admin)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.putFirst(topic, 1, "k", []byte("before it was assigned"), time.Now())
	e.eventually("the new partition to be read", func() bool { return len(m.of(topic, 1)) > 0 })
	if got := m.of(topic, 1)[0].offset; got != 0 {
		t.Errorf("read from offset %d on", got)
	}
}

// A topic that does not exist yet is waited for, and the readiness says so.
func TestWaitForTopic(t *testing.T) {
	e := setup(t, 1)
	there, missing, group := e.topic(1), unique("t"), unique("g")
	m := e.start(e.client, quick(group, there, missing))
	e.eventually("the consumer to say what it lacks", func() bool {
		err := m.Ready()
		return err != nil && strings.Contains(err.Error(), "no such topic: "+missing)
	})
	if err := e.client.CreateTopics(e.context(), NewTopic{Name: missing, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	// Creating what exists is fine.
	if err := e.client.CreateTopics(e.context(), NewTopic{Name: missing, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	e.eventually("both topics to be assigned", func() bool { return len(m.Partitions()) == 2 && m.Ready() == nil })
	e.produce(missing, 0, "x")
	m.reach(missing, 0, 1)
}

// A member beyond the number of partitions is ready, too: it stands by.
func TestSpareMemberIsReady(t *testing.T) {
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	a := e.start(e.client, quick(group, topic))
	b := e.start(e.newClient(), quick(group, topic))
	e.eventually("both to be ready with one partition between them", func() bool {
		return a.Ready() == nil && b.Ready() == nil && len(a.Partitions())+len(b.Partitions()) == 1
	})
}

// Leaders that move cost a moment and no record.
func TestLeaderMoves(t *testing.T) {
	e := setupFake(t, 3)
	topic, group := e.topic(2), unique("g")
	m := e.start(e.client, quick(group, topic))
	for i := range 12 {
		for p := range int32(2) {
			if err := e.fake.MoveTopicPartition(topic, p, int32(i%3)); err != nil {
				t.Fatal(err)
			}
			e.produce(topic, p, numbered(i*10, 10)...)
		}
		if i%4 == 3 {
			m.reach(topic, 0, int64(i*10+10))
		}
	}
	for p := range int32(2) {
		m.reach(topic, p, 120)
		if got := m.values(topic, p); !slices.Equal(got, numbered(0, 120)) {
			t.Errorf("partition %d: %d records, want 120 in order", p, len(got))
		}
	}
}

// Errors of brokers and coordinators are waited out: fetches, commits and the
// search for the coordinator may fail for a while and nothing is lost. A
// partition that fails for long is told by Ready.
func TestBrokerErrors(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 1)
	topic, group := e.topic(1), unique("g")
	watch := watchCommits(e)
	var failing atomic.Bool
	failing.Store(true)
	var coordinator, commits atomic.Int32
	e.fake.ControlKey(int16(kmsg.FindCoordinator), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if coordinator.Add(1) > 1 {
			return nil, nil, false
		}
		e.fake.KeepControl()
		resp := r.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.Version = r.GetVersion()
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return resp, nil, true
	})
	e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if !failing.Load() {
			return nil, nil, false
		}
		e.fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.Version = req.Version
		for _, rt := range req.Topics {
			t := kmsg.NewFetchResponseTopic()
			t.Topic, t.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, kerr.KafkaStorageError.Code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
	e.produce(topic, 0, numbered(0, 10)...)
	m := e.start(e.client, quick(group, topic))
	e.eventually("the failure to be told", func() bool {
		err := m.Ready()
		return err != nil && strings.Contains(err.Error(), topic+"/0: [56] Kafka Storage Error")
	})
	if m.Stats().PollFailures == 0 {
		t.Error("failed polls are not counted")
	}
	e.fake.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if commits.Add(1) > 2 {
			return nil, nil, false
		}
		e.fake.KeepControl()
		return refuseCommit(r, kerr.CoordinatorLoadInProgress.Code), nil, true
	})
	failing.Store(false)
	m.reach(topic, 0, 10)
	e.eventually("the commit to succeed in the end", func() bool { return watch()[topic+"/0"] == 10 && e.committed(group, topic, 0) == 10 })
	e.eventually("readiness", func() bool { return m.Ready() == nil })
	if got := m.Stats().CommitFailures; got == 0 {
		t.Error("failed commits are not counted")
	}
	if n := len(m.done); n != 1 {
		t.Errorf("%d checkpoints of one range: a commit that is repeated must not be checkpointed again", n)
	}
}

// freezer is a network whose connections can be frozen: they stay open and
// nothing comes through, as when a broker hangs.
type freezer struct {
	frozen atomic.Bool
	open   atomic.Int32
}

type freezing struct {
	net.Conn
	f    *freezer
	once *sync.Once
}

func (c freezing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.f.frozen.Load() {
		// The bytes never arrive; the deadline passes.
		for err == nil {
			_, err = c.Conn.Read(make([]byte, 1024))
		}
		return 0, err
	}
	return n, err
}

func (f *freezer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return freezing{c, f, new(sync.Once)}, nil
}

func (c freezing) Close() error {
	c.once.Do(func() { c.f.open.Add(-1) })
	return c.Conn.Close()
}

// Brokers that hang cost a request's deadline: nothing waits for them for ever,
// Ready tells, and when they are back everything goes on. A client that is
// closed while they hang returns at once.
func TestFrozenBrokers(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic, group := e.topic(1), unique("g")
	f := new(freezer)
	config := DefaultConfig()
	config.Brokers = e.addrs
	c, err := NewClient(config, Options{Dial: f.dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := e.start(c, quick(group, topic))
	e.produce(topic, 0, "before")
	m.reach(topic, 0, 1)
	p := c.NewProducer(produce.Options{Topics: []string{topic}})
	if err := p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("own")}}); err != nil {
		t.Fatal(err)
	}
	f.frozen.Store(true)
	frozen := make(chan error, 1)
	go func() {
		frozen <- p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("own")}})
	}()
	e.eventually("the consumer to tell", func() bool { return m.Ready() != nil })
	select {
	case err := <-frozen:
		t.Errorf("produced through a frozen connection: %v", err)
	default:
	}
	f.frozen.Store(false)
	if err := <-frozen; err != nil {
		t.Errorf("after the frost: %v", err)
	}
	e.produce(topic, 0, "after")
	e.eventually("the record after the frost", func() bool { return slices.Contains(m.values(topic, 0), "after") })
	f.frozen.Store(true)
	late := make(chan error, 1)
	go func() {
		late <- p.Produce(context.Background(), []produce.Message{{Topic: topic, Value: []byte("late")}})
	}()
	e.eventually("a request to be under way", func() bool { return p.Queued() > 0 })
	began := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("Close took %v", took)
	}
	if n := f.open.Load(); n != 0 {
		t.Errorf("%d connections are open after Close", n)
	}
	if err := m.ended(); !errors.Is(err, ErrClosed) {
		t.Errorf("the consumer of a closed client ended with %v", err)
	}
	if err := <-late; !errors.Is(err, ErrClosed) {
		t.Errorf("what was under way when the client was closed: %v", err)
	}
	if err := p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("x")}}); !errors.Is(err, ErrClosed) {
		t.Errorf("produce on a closed client: %v", err)
	}
	if _, err := c.Topics(e.context(), topic); !errors.Is(err, ErrClosed) {
		t.Errorf("ask a closed client: %v", err)
	}
}

// Options that cannot work are refused.
func TestConsumerOptions(t *testing.T) {
	e := setupFake(t, 1)
	for _, o := range []ConsumerOptions{
		{},
		{Group: "g", Topics: []Subscription{{Topic: "t"}, {Topic: "t"}}},
		{Group: "g", Topics: []Subscription{{Topic: "t", Start: "newest"}}},
		{Group: "g", Topics: []Subscription{{Topic: "t", Start: Latest}}, Gap: "ignore"},
	} {
		if _, err := e.client.NewConsumer(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
