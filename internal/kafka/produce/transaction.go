package produce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// ErrFenced says that a transactional id is somebody else's now, that the group
// has given the partition to another member, or that a transaction took too long
// and was ended for us. Nothing of the transaction is visible, and nothing more
// can be written before [Transactor.Fence].
var ErrFenced = errors.New("fenced")

// Offsets are what a group has read of one partition, with the claim of the
// member that read it: brokers refuse it when the claim has lapsed.
type Offsets struct {
	Group, Member, Instance string
	Generation              int32
	Topic                   string
	Partition               int32
	Next                    int64 // the first offset that is not read yet
}

// Transactor writes messages and offsets together or not at all, under one
// transactional id. It may be used by many goroutines; one transaction is under
// way at a time.
//
// If the process dies between two calls, nothing of the transaction is visible:
// brokers abort it when the next owner of the id calls Fence, or when the
// timeout has passed. If it dies while the transaction ends, all of it will be
// visible, offsets included, and Fence returns only when it is.
type Transactor struct {
	id      string
	timeout time.Duration
	p       *Producer
	turn    chan struct{} // held by whoever has a transaction under way
	by      *identity     // nil before Fence, and when there is doubt
	lanes   map[*lane]*lane
	home    *wire.Coordinator
	groups  map[string]*wire.Coordinator
}

// Transactor returns one for a transactional id. A transaction that is not ended
// within timeout is aborted by the brokers; they allow 15 minutes at most.
func (p *Producer) Transactor(id string, timeout time.Duration) *Transactor {
	return &Transactor{
		id: id, timeout: timeout, p: p, turn: make(chan struct{}, 1),
		home:   &wire.Coordinator{Send: p.send, Client: p.client, Kind: wire.OfTransaction, Name: id},
		groups: make(map[string]*wire.Coordinator),
	}
}

// begin waits until no other transaction is under way. It ends with done.
func (t *Transactor) begin(ctx context.Context) error {
	if t.p.err != nil {
		return t.p.err
	}
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.p.ctx.Done():
		return wire.ErrClosed
	}
}

func (t *Transactor) done() { <-t.turn }

// Fence makes the transactional id ours: whoever had it before can write nothing
// any more, and what it left open is ended when Fence returns. It tries until ctx
// ends.
func (t *Transactor) Fence(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.done()
	t.by, t.lanes = nil, make(map[*lane]*lane)
	return t.try(ctx, "fence transactional id "+t.id, t.home, func(route wire.Route) error {
		x, err := t.p.initialize(ctx, wire.Timeout, t.id, int32(t.timeout.Milliseconds()), route)
		if err == nil {
			t.by = x
		}
		return err
	})
}

// Transaction is what becomes visible together or not at all.
type Transaction struct {
	Messages []Message
	Offsets  *Offsets // nil for none
	// Before, if not nil, is called when the messages are written and before it is
	// decided that they will be visible. An error takes all of it back.
	Before func(ctx context.Context) error
}

// Commit carries out a transaction and returns when it is decided that all of it
// will be visible. It tries for as long as that makes sense, or until ctx ends.
//
// After a [*TooLargeError] nothing of it is visible, and the same without those
// messages may be committed. When ctx has ended, and after an error that is
// [ErrFenced], Fence must be called before anything else can be; only when it has
// returned it is certain whether the transaction took place, by its offsets.
func (t *Transactor) Commit(ctx context.Context, x Transaction) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.done()
	if t.by == nil {
		return fmt.Errorf("commit transaction of %s: %w: it was not begun with Fence", t.id, ErrFenced)
	}
	by := t.by
	t.by = nil // until we know that all is well
	err := t.write(ctx, by, x.Messages)
	if err == nil && x.Before != nil {
		err = x.Before(ctx)
	}
	if err == nil && x.Offsets != nil {
		err = t.offsets(ctx, by, x.Offsets)
	}
	if err != nil {
		return t.abort(ctx, by, err)
	}
	if err := t.end(ctx, by, true); err != nil {
		return err
	}
	t.by = by
	return nil
}

// abort takes back what was written of a transaction, for a reason. What it does
// not manage the next Fence does.
func (t *Transactor) abort(ctx context.Context, by *identity, why error) error {
	if ctx.Err() != nil || errors.Is(why, ErrFenced) {
		return why
	}
	for _, l := range t.lanes {
		if l.torn {
			return errors.Join(why, fmt.Errorf("%w: a batch may have been written twice", ErrFenced))
		}
	}
	switch err := t.end(ctx, by, false); {
	case err == nil, errors.Is(err, kafkago.InvalidTransactionState): // there was nothing in it yet
		t.by = by
		return why
	case errors.Is(err, ErrFenced):
		return errors.Join(why, err)
	default:
		return why
	}
}

// write adds the partitions of messages to the transaction, and the messages to
// the partitions.
func (t *Transactor) write(ctx context.Context, by *identity, msgs []Message) error {
	if len(msgs) == 0 {
		return nil
	}
	d := &delivery{done: make(chan struct{}), msgs: msgs, open: len(msgs)}
	s := new(scratch)
	if err := t.p.sort(ctx, s, d); err != nil {
		return err
	}
	lanes := make([]*lane, len(s.runs))
	for i, r := range s.runs {
		l := t.lanes[r.lane]
		if l == nil {
			l = &lane{topic: r.lane.topic, partition: r.lane.partition, rank: r.lane.rank, home: r.lane, by: by, fixed: true}
			t.lanes[r.lane] = l
		}
		l.leader.Store(l.home.leader.Load())
		l.rest = append(l.rest, r)
		lanes[i] = l
	}
	if len(lanes) > 0 {
		if err := t.add(ctx, by, lanes); err != nil {
			for _, l := range lanes {
				l.rest = nil
			}
			return err
		}
		t.deliver(ctx, lanes)
	}
	return d.result()
}

// deliver writes lanes until nothing is left to be written; when ctx ends what is
// left fails. Every message then has met its fate.
func (t *Transactor) deliver(ctx context.Context, lanes []*lane) {
	for try := 0; len(lanes) > 0; {
		slices.SortFunc(lanes, func(a, b *lane) int {
			return cmp.Or(cmp.Compare(a.leader.Load(), b.leader.Load()), cmp.Compare(a.rank, b.rank))
		})
		var requests sync.WaitGroup
		for some := range byLeader(lanes) {
			requests.Go(func() { retry.Pause(ctx, t.p.batches(ctx, some[0].leader.Load(), t.id, some)) })
		}
		requests.Wait()
		failed := time.Now()
		lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return !l.holds() })
		if !slices.ContainsFunc(lanes, func(l *lane) bool { return l.err != nil }) {
			continue
		}
		if try > 0 {
			retry.Pause(ctx, retry.Jitter(10*time.Millisecond, time.Second, try))
		}
		try++
		_ = t.p.known.learn(ctx, t.p, failed) // else the leaders we know must do
		for _, l := range lanes {
			l.leader.Store(l.home.leader.Load())
			if l.err != nil && t.p.o.OnRetry != nil {
				t.p.o.OnRetry(l.topic, l.partition, l.err)
			}
		}
	}
}

// byLeader yields runs of lanes that have one leader.
func byLeader(lanes []*lane) func(yield func([]*lane) bool) {
	return func(yield func([]*lane) bool) {
		for from, i := 0, 1; from < len(lanes); i++ {
			if i < len(lanes) && lanes[i].leader.Load() == lanes[from].leader.Load() {
				continue
			}
			if !yield(slices.Clone(lanes[from:i])) {
				return
			}
			from = i
		}
	}
}

// add makes partitions part of the transaction; before that they take nothing of it.
func (t *Transactor) add(ctx context.Context, by *identity, lanes []*lane) error {
	slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Compare(a.rank, b.rank) })
	return t.try(ctx, "add partitions to transaction", t.home, func(route wire.Route) error {
		r, err := t.ask(ctx, wire.AddPartitionsToTxn, route, func(w *wire.Writer) {
			t.sign(w, by)
			w.ByTopic(len(lanes), topicOf(lanes), func(i int) { w.I32(lanes[i].partition) })
		})
		if err != nil {
			return err
		}
		r.I32() // throttle
		var first error
		r.Each(func() {
			r.Str()
			r.Each(func() {
				r.I32()
				if err := r.Code(); err != nil && (first == nil || errors.Is(first, notAttempted)) {
					first = err
				}
			})
		})
		return cmp.Or(r.Err, first)
	})
}

// offsets makes a group's offsets part of the transaction.
func (t *Transactor) offsets(ctx context.Context, by *identity, o *Offsets) error {
	err := t.try(ctx, "add offsets to transaction", t.home, func(route wire.Route) error {
		return t.askCode(ctx, wire.AddOffsetsToTxn, route, func(w *wire.Writer) {
			t.sign(w, by)
			w.Str(o.Group)
		})
	})
	if err != nil {
		return err
	}
	group := t.groups[o.Group]
	if group == nil {
		group = &wire.Coordinator{Send: t.p.send, Client: t.p.client, Kind: wire.OfGroup, Name: o.Group}
		t.groups[o.Group] = group
	}
	return t.try(ctx, "commit offsets in transaction", group, func(route wire.Route) error {
		r, err := t.ask(ctx, wire.TxnOffsetCommit, route, func(w *wire.Writer) {
			w.CompactStr(t.id)
			w.CompactStr(o.Group)
			w.I64(by.id)
			w.I16(by.epoch)
			w.I32(o.Generation)
			w.CompactStr(o.Member)
			if o.Instance == "" {
				w.Uvar(0)
			} else {
				w.CompactStr(o.Instance)
			}
			w.CompactLen(1)
			w.CompactStr(o.Topic)
			w.CompactLen(1)
			w.I32(o.Partition)
			w.I64(o.Next)
			w.I32(-1)  // leader epoch: not known
			w.Uvar(0)  // no metadata
			w.NoTags() // of the partition
			w.NoTags() // of the topic
			w.NoTags()
		})
		if err != nil {
			return err
		}
		var code error
		r.I32() // throttle
		r.CompactEach(func() {
			r.CompactStr()
			r.CompactEach(func() {
				r.I32()
				if err := r.Code(); err != nil {
					code = err
				}
				r.Tags()
			})
			r.Tags()
		})
		return cmp.Or(r.Err, code)
	})
}

// end ends the transaction. Whoever does not know whether he has may say it again.
func (t *Transactor) end(ctx context.Context, by *identity, commit bool) error {
	what := "abort transaction"
	if commit {
		what = "commit transaction"
	}
	return t.try(ctx, what, t.home, func(route wire.Route) error {
		return t.askCode(ctx, wire.EndTxn, route, func(w *wire.Writer) {
			t.sign(w, by)
			w.Bool(commit)
		})
	})
}

// sign writes what most requests of a transaction begin with.
func (t *Transactor) sign(w *wire.Writer, by *identity) {
	w.Str(t.id)
	w.I64(by.id)
	w.I16(by.epoch)
}

func (t *Transactor) ask(ctx context.Context, api wire.API, route wire.Route, body func(w *wire.Writer)) (*wire.Reader, error) {
	return t.p.send.Ask(ctx, wire.Timeout, t.p.client, &wire.Call{API: api, Body: body, Route: route})
}

// askCode asks for what is answered by an error code alone.
func (t *Transactor) askCode(ctx context.Context, api wire.API, route wire.Route, body func(w *wire.Writer)) error {
	r, err := t.ask(ctx, api, route, body)
	if err != nil {
		return err
	}
	r.I32() // throttle
	return r.Code()
}

// try asks a coordinator until it does what it is asked, says that it never will,
// or ctx ends.
func (t *Transactor) try(ctx context.Context, what string, c *wire.Coordinator, ask func(wire.Route) error) error {
	var err error
	for try := 0; ; try++ {
		if ctx.Err() != nil { // a request may be sent even so
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
		var node int32
		if node, _, err = c.Node(ctx); err == nil {
			if err = ask(wire.ToBroker(node)); err == nil {
				return nil
			}
		}
		code, said := errors.AsType[kafkago.Error](err)
		switch {
		case t.p.ctx.Err() != nil:
			return wire.ErrClosed
		case ctx.Err() != nil:
			continue
		case said && isFence(code):
			return fmt.Errorf("%s: %w: %w", what, ErrFenced, code)
		case said && code == kafkago.ConcurrentTransactions:
			// The one before is not quite over: a matter of milliseconds.
			retry.Pause(ctx, retry.Jitter(2*time.Millisecond, 100*time.Millisecond, try))
			continue
		case said && !passes(code):
			return fmt.Errorf("%s: %w", what, code)
		}
		c.Forget(node)
		retry.Pause(ctx, retry.Jitter(5*time.Millisecond, 500*time.Millisecond, try))
	}
}

// isFence reports whether a code says that the id, the transaction or the
// partition is not ours any more.
func isFence(code kafkago.Error) bool {
	switch code {
	case kafkago.ProducerFenced, kafkago.InvalidProducerEpoch, kafkago.InvalidProducerIDMapping, kafkago.UnknownProducerId,
		kafkago.InvalidTransactionState, kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.FencedInstanceID:
		return true
	}
	return false
}

// notAttempted is said of partitions that could be added if others could.
const notAttempted kafkago.Error = 55

// passes reports whether the same request may succeed in a moment.
func passes(code kafkago.Error) bool {
	switch code {
	case kafkago.TransactionCoordinatorFenced, kafkago.RebalanceInProgress, kafkago.Unknown, notAttempted:
		return true
	}
	return wire.Retriable(code)
}
