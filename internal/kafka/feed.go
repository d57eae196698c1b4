package kafka

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// feed polls the brokers for the partitions of one generation: one long poll per
// broker, for all partitions that it leads and that have room for more. What
// comes waits in the partition until the batch before it is finished; so a
// broker is asked ahead, by one poll and no more.
type feed struct {
	k     *Consumer
	parts map[group.Partition]*intake
	order []*intake
	look  chan struct{} // ask who leads now
	held  atomic.Int64  // bytes of answers that are not handled to the end

	mu      sync.Mutex
	brokers map[int32]*poller
}

// intake is what the feed knows of a partition. All but in is guarded by the
// feed's lock.
type intake struct {
	p  *partition
	in chan portion // room for one

	leader int32     // -1 while nobody knows
	next   int64     // the offset to ask for
	limit  int32     // bytes to ask for
	final  bool      // the next poll is the last word on a batch that looks broken
	full   bool      // a portion waits
	held   bool      // the partition is not to be polled before it says where it goes on
	after  time.Time // not to be polled before
}

// portion is what one poll brought for one partition.
type portion struct {
	fetch.PartAnswer
	answer *fetch.Answer // who holds it must release it; nil if there is nothing to hold
	offset int64         // that was asked for
	ahead  int64         // where the feed has gone on; -1 if only a closer look tells where that is
	final  bool
	large  *wire.TooLargeError // the answer was not taken
}

func newFeed(k *Consumer, partitions []*partition) *feed {
	f := &feed{k: k, parts: make(map[group.Partition]*intake), brokers: make(map[int32]*poller), look: make(chan struct{}, 1)}
	for _, p := range partitions {
		in := &intake{p: p, in: make(chan portion, 1), leader: -1, held: true}
		p.feed, p.in = f, in.in
		f.parts[p.Partition] = in
		f.order = append(f.order, in)
	}
	return f
}

// run polls until ctx ends.
func (f *feed) run(ctx context.Context) {
	var pollers sync.WaitGroup
	defer pollers.Wait()
	again := retry.Backoff{Base: 20 * time.Millisecond, Ceiling: time.Second}
	for ctx.Err() == nil {
		known, err := f.findLeaders(ctx, func(p *poller) { pollers.Go(func() { p.run(ctx) }) })
		for _, in := range f.order {
			if err != nil && in.p.asking() {
				in.p.failing(err)
			}
		}
		if err != nil || !known {
			retry.Pause(ctx, again.Next())
			continue
		}
		again.Reset()
		select {
		case <-f.look:
			retry.Pause(ctx, 10*time.Millisecond) // a broker that is going away says so for each of its partitions
		case <-time.After(f.k.o.Watch):
		case <-ctx.Done():
		}
	}
}

// findLeaders asks who leads the partitions, and starts to poll brokers that were
// not polled before. It returns false if a partition has no leader now.
func (f *feed) findLeaders(ctx context.Context, start func(*poller)) (known bool, err error) {
	names := make([]string, 0, len(f.order))
	for _, in := range f.order { // ordered by topic
		if n := len(names); n == 0 || names[n-1] != in.p.Topic {
			names = append(names, in.p.Topic)
		}
	}
	topics, err := f.k.client.Topics(ctx, names...)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known = true
	for i := range topics {
		t := &topics[i]
		for _, in := range f.order {
			if in.p.Topic != t.Name {
				continue
			}
			if in.leader = t.Leader(in.p.ID); in.leader < 0 {
				known = false
				if in.p.asking() {
					in.p.failing(cmp.Or(t.Err, error(kafkago.LeaderNotAvailable)))
				}
				continue
			}
			if f.brokers[in.leader] == nil {
				p := &poller{f: f, broker: in.leader, wake: make(chan struct{}, 1), again: retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}}
				f.brokers[in.leader] = p
				start(p)
			}
		}
	}
	for _, p := range f.brokers {
		p.rouse()
	}
	return known, nil
}

// lookAgain has the leaders asked for soon.
func (f *feed) lookAgain() {
	select {
	case f.look <- struct{}{}:
	default:
	}
}

// resume says where reading a partition goes on, how much to ask for, and when.
// What was asked ahead from another offset is forgotten.
func (f *feed) resume(p *partition, offset int64, limit int32, final bool, after time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.parts[p.Partition]
	in.next, in.limit, in.final, in.after, in.held = offset, limit, final, after, false
	f.rouse(in)
}

// taken says that a partition has taken what waited for it, and has room again.
func (f *feed) taken(p *partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.parts[p.Partition]
	in.full = false
	f.rouse(in)
}

// rouse tells the broker's poller that there may be more to ask for.
func (f *feed) rouse(in *intake) {
	if p := f.brokers[in.leader]; p != nil {
		p.rouse()
	}
}

// free gives the bytes of an answer back.
func (f *feed) free(a *fetch.Answer) {
	if a != nil {
		f.held.Add(-int64(a.Release()))
	}
}

// drain lets go of what nobody will take any more. Nobody polls when it is called.
func (f *feed) drain() {
	for _, in := range f.order {
		select {
		case got := <-in.in:
			f.free(got.answer)
		default:
		}
	}
}

// poller polls one broker.
type poller struct {
	f      *feed
	broker int32
	wake   chan struct{}
	turn   int // behind the last partition of which something came
	polls  int // so many
	alone  int // so many requests ask for one partition only
	again  retry.Backoff
	parts  []fetch.PartAnswer
}

func (p *poller) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// outOfTurn is how often a poll does not begin where the one before has ended.
const outOfTurn = 4

// smallPoll is how much a poll must bring to be followed by the next at once.
const smallPoll = 256 << 10

// busyWait is how long a poll may wait at the broker that leaves out a partition
// because it has no room: as long as that partition may have to wait when it has.
const busyWait = 5 * time.Millisecond

// maxThrottle bounds how long a broker's wish to be left alone is respected.
const maxThrottle = 30 * time.Second

func (p *poller) run(ctx context.Context) {
	for ctx.Err() == nil {
		q, after := p.next(time.Now())
		if len(q.of) == 0 {
			p.wait(ctx, after)
			continue
		}
		began := time.Now()
		n, throttle, err := p.poll(ctx, q)
		var large *wire.TooLargeError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &large) && len(q.of) == 1:
			p.f.deliver(q.of[0], portion{offset: q.request.Parts[0].Offset, large: large})
		case large != nil:
			p.alone = len(q.of) // to find out whose it is
		case err != nil:
			for _, in := range q.of {
				in.p.failing(err)
			}
			p.f.lookAgain()
			throttle = max(throttle, p.again.Next())
		default:
			p.again.Reset()
			if n < smallPoll {
				throttle = max(throttle, time.Until(began.Add(p.f.k.o.Pace)))
			}
		}
		retry.Pause(ctx, throttle)
	}
}

// wait waits until there may be something to ask for.
func (p *poller) wait(ctx context.Context, after time.Time) {
	var due <-chan time.Time
	if !after.IsZero() {
		t := time.NewTimer(time.Until(after))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-p.wake:
	case <-due:
	case <-ctx.Done():
	}
}

// question is what a broker is asked in one poll.
type question struct {
	of      []*intake // in the order of the request's parts
	request *fetch.Request
	final   bool // the answer is the last word on a batch that looks broken
	// outOfTurn says that it does not begin where the one before has ended, and where it
	// ends does not matter to the next.
	outOfTurn bool
}

// next returns what to ask the broker. If that is nothing, after is when it will
// be something, zero if nobody knows.
func (p *poller) next(now time.Time) (q question, after time.Time) {
	f, o := p.f, &p.f.k.o
	f.mu.Lock()
	defer f.mu.Unlock()
	q.request = &fetch.Request{
		Client: f.k.client.config.ClientID, Leader: wire.ToBroker(p.broker),
		Wait: o.MaxWait, MinBytes: 1, Limit: o.MaxBatchBytes + 1<<20,
		// At least a partition's share, so that what is held cannot keep all from
		// going on: with it the bound is HeldBytes and two shares for each partition.
		MaxBytes:  int32(min(max(int64(o.HeldBytes)-f.held.Load(), int64(o.PartitionBytes)), int64(o.ResponseBytes))),
		Committed: !o.ReadUncommitted,
		Buffers:   f.k.buffers,
	}
	ask := func(in *intake) {
		q.of = append(q.of, in)
		q.request.Parts = append(q.request.Parts, fetch.Part{Topic: in.p.Topic, Partition: in.p.ID, Offset: in.next, MaxBytes: in.limit})
	}
	// A broker fills its answer in the order in which it is asked, so a poll begins
	// behind what the one before has brought: in a backlog of many partitions each has
	// its turn as often as any other. Now and then another one comes first whatever came,
	// for only who comes first gets a batch that is larger than the limit.
	first := p.turn
	if p.polls++; p.polls%outOfTurn == 0 {
		q.outOfTurn = true
		first = p.polls / outOfTurn
	}
	for i := range f.order {
		in := f.order[(i+first)%len(f.order)]
		switch {
		case in.leader != p.broker:
		case in.held && (in.p.stopped.Load() || in.p.turn.away.Load()):
		case in.held, in.full:
			q.request.Wait = min(q.request.Wait, busyWait)
		case now.Before(in.after):
			q.request.Wait = min(q.request.Wait, max(in.after.Sub(now), time.Millisecond))
			if after.IsZero() || in.after.Before(after) {
				after = in.after
			}
		case in.final:
			// Alone, so that no other takes of what it asks for.
			q.of, q.request.Parts, q.request.MaxBytes, q.final = nil, nil, in.limit, true
			ask(in)
			return q, after
		default:
			ask(in)
		}
	}
	if p.alone > 0 && len(q.of) > 1 {
		p.alone--
		q.of, q.request.Parts = q.of[:1], q.request.Parts[:1]
	}
	return q, after
}

// poll asks and hands out what came. It returns how much that was and how long
// the broker wants to be left alone.
func (p *poller) poll(ctx context.Context, q question) (int, time.Duration, error) {
	answer, err := q.request.Do(ctx, p.f.k.client.over(p.f.k.transport))
	if err != nil {
		return 0, 0, err
	}
	n := answer.Len()
	p.f.held.Add(int64(n))
	defer p.f.free(answer)
	var throttle time.Duration
	p.parts, throttle, err = answer.Parse(p.parts[:0])
	throttle = min(throttle, maxThrottle)
	defer clear(p.parts)
	if err != nil {
		return n, throttle, err
	}
	last := -1
	for i := range p.parts {
		part := &p.parts[i]
		in := p.f.parts[group.Partition{Topic: part.Topic, ID: part.Partition}]
		at := slices.Index(q.of, in)
		if in == nil || at < 0 {
			return n, throttle, errors.New("the broker answered about other partitions")
		}
		if len(part.Data) > 0 && at >= last {
			last = at
		}
		p.f.deliver(in, portion{PartAnswer: *part, answer: answer, offset: q.request.Parts[at].Offset, final: q.final})
	}
	p.brought(&q, last)
	return n, throttle, nil
}

// brought says of which partition of a question the last data came; -1: of none.
func (p *poller) brought(q *question, last int) {
	if last >= 0 && !q.outOfTurn {
		p.turn = slices.Index(p.f.order, q.of[last]) + 1
	}
}

// deliver hands a portion to its partition, and notes where to ask ahead.
func (f *feed) deliver(in *intake, got portion) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.held || in.full || in.next != got.offset {
		return // the partition has gone elsewhere since
	}
	switch {
	case got.large != nil:
		in.held = true
	case got.Code != 0:
		if got.Code == kafkago.NotLeaderForPartition || got.Code == kafkago.UnknownTopicOrPartition || got.Code == kafkago.FencedLeaderEpoch {
			in.leader = -1 // whoever it is, it is not this one
			f.lookAgain()
		}
		in.held = true
		got.answer = nil
	case len(got.Data) == 0:
		in.p.idle(&got)
		return
	default:
		next, ok := batch.End(got.Data, got.offset)
		if got.ahead = next; !ok || got.final {
			in.held, got.ahead = true, -1
		}
		if in.p.windows != nil { // nothing is asked ahead: what follows may not be due
			in.held, got.ahead = true, -1
			in.p.turn.away.Store(true)
		}
		in.next = next
		got.answer.Hold()
	}
	in.full = true
	in.in <- got // there is room: nothing waited
}
