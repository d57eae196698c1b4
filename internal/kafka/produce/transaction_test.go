package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// visible returns the values a reader of committed messages sees in a partition.
func (e *env) visible(topic string, partition int32) []string {
	e.Helper()
	var out []string
	for _, r := range e.read(topic, partition, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		out = append(out, string(r.Value))
	}
	return out
}

// committed returns the offset of a group once it is stable, -1 for none.
func (e *env) committed(group, topic string, partition int32) int64 {
	e.Helper()
	at := int64(-1)
	e.eventually("a stable offset", func() bool {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.RequireStable = group, true
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = topic, []int32{partition}
		g.Topics = append(g.Topics, gt)
		req.Groups = append(req.Groups, g)
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, []int32{partition}
		req.Topics = append(req.Topics, t)
		offsets, err := req.RequestWith(e.context(), e.admin)
		if err != nil || len(offsets.Groups) != 1 || offsets.Groups[0].ErrorCode != 0 {
			return err == nil && len(offsets.Groups) == 1 && offsets.Groups[0].ErrorCode == kerr.GroupIDNotFound.Code
		}
		p := offsets.Groups[0].Topics[0].Partitions[0]
		at = p.Offset
		return p.ErrorCode == 0
	})
	return at
}

// claim joins a group as its only member and returns what it may commit with.
func (e *env) claim(group, topic string) *Offsets {
	e.Helper()
	cl := e.kgo(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	var o *Offsets
	e.eventually("a generation", func() bool {
		ctx, cancel := context.WithTimeout(e.context(), 50*time.Millisecond)
		defer cancel()
		cl.PollFetches(ctx)
		member, generation := cl.GroupMetadata()
		o = &Offsets{Group: group, Member: member, Generation: generation, Topic: topic, Next: 1}
		return generation > 0
	})
	return o
}

// transactor returns one that has fenced its id.
func (e *env) transactor(p *Producer, id string) *Transactor {
	e.Helper()
	t := p.Transactor(id, time.Minute)
	if err := t.Fence(e.context()); err != nil {
		e.Fatal(err)
	}
	return t
}

// What is committed is visible once, with its offsets; several partitions, many
// batches, one transaction after another.
func TestTransaction(t *testing.T) {
	e := setup(t, 3)
	in, a, b := e.topic(1), e.topic(3), e.topic(1)
	claim := e.claim(unique("g"), in)
	p := e.producer(e.link(), Options{Topics: []string{a, b}, BatchBytes: 1000})
	x := e.transactor(p, unique("x"))
	const n = 10
	for i := range n {
		claim.Next = int64(i + 1)
		ms := append(messages(a, 30, fmt.Sprintf("%02d", i)), messages(b, 30, fmt.Sprintf("%02d", i))...)
		if err := x.Commit(e.context(), Transaction{Messages: ms, Offsets: claim}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Commit(e.context(), Transaction{Offsets: &Offsets{Group: claim.Group, Member: claim.Member, Generation: claim.Generation, Topic: in, Next: 77}}); err != nil {
		t.Fatalf("offsets alone: %v", err)
	}
	if err := x.Commit(e.context(), Transaction{Messages: messages(b, 1, "without offsets")}); err != nil {
		t.Fatal(err)
	}
	if got := e.committed(claim.Group, in, 0); got != 77 {
		t.Errorf("committed %d, want 77", got)
	}
	// Before they are read: a transaction that ended is visible a moment later.
	e.eventually("the last message to be visible", func() bool { return slices.Contains(e.visible(b, 0), "without offsets-0") })
	total := 0
	for part := range int32(3) {
		total += len(e.visible(a, part))
	}
	if total != n*30 {
		t.Errorf("%d messages are visible, want %d", total, n*30)
	}
	e.once(a, 3, n*30)
	if got := e.visible(b, 0); len(got) != n*30+1 || got[0] != "00-0" || got[len(got)-2] != "09-29" {
		t.Errorf("%d messages, or not in order", len(got))
	}
}

// Answers that are lost at any step are asked for again: one copy is visible.
func TestTransactionLostAnswers(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	in := e.topic(1)
	for _, api := range []protocol.ApiKey{
		protocol.FindCoordinator, protocol.InitProducerId, protocol.AddPartitionsToTxn, protocol.Produce,
		protocol.AddOffsetsToTxn, protocol.TxnOffsetCommit, protocol.EndTxn,
	} {
		for _, arrives := range []bool{false, true} {
			topic := e.topic(2)
			claim := e.claim(unique("g"), in)
			k := e.link()
			p := e.producer(k, Options{Topics: []string{topic}})
			if arrives {
				k.after.Store(losing(api, 2))
			} else {
				k.before.Store(losing(api, 2))
			}
			x := e.transactor(p, unique("x"))
			for i := range 3 {
				if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 10, fmt.Sprint(i)), Offsets: claim}); err != nil {
					t.Fatalf("%v lost, arrived %v: %v", api, arrives, err)
				}
			}
			if got := e.committed(claim.Group, in, 0); got != 1 {
				t.Errorf("%v lost, arrived %v: committed %d, want 1", api, arrives, got)
			}
			e.once(topic, 2, 30)
		}
	}
}

// Coordinators that are busy, or have moved, are waited for.
func TestTransactionErrorsThatPass(t *testing.T) {
	t.Parallel()
	e := setupFake(t, 3)
	topic := e.topic(2)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	var left atomic.Int32
	codes := []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator}
	e.fake.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		n := left.Load()
		if n <= 0 {
			return nil, nil, false
		}
		code := codes[int(n)%len(codes)].Code
		resp := r.ResponseKind()
		switch x := resp.(type) {
		case *kmsg.InitProducerIDResponse:
			x.ErrorCode = code
		case *kmsg.EndTxnResponse:
			x.ErrorCode = code
		case *kmsg.AddPartitionsToTxnResponse:
			for _, rt := range r.(*kmsg.AddPartitionsToTxnRequest).Topics {
				xt := kmsg.NewAddPartitionsToTxnResponseTopic()
				xt.Topic = rt.Topic
				for _, rp := range rt.Partitions {
					xp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
					xp.Partition, xp.ErrorCode = rp, code
					xt.Partitions = append(xt.Partitions, xp)
				}
				x.Topics = append(x.Topics, xt)
			}
		default:
			return nil, nil, false
		}
		left.Add(-1)
		return resp, nil, true
	})
	left.Store(8)
	x := e.transactor(p, unique("x"))
	for i := range 3 {
		left.Store(16)
		if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 10, fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		if left.Load() > 0 {
			t.Fatal("the coordinator was not asked often enough")
		}
		e.fake.RehashCoordinators()
	}
	e.once(topic, 2, 30)
}

// Whoever fences an id takes it from its owner: what the owner had begun is
// not visible, and he can write nothing more.
func TestTransactionFenced(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	for _, at := range []protocol.ApiKey{protocol.AddPartitionsToTxn, protocol.Produce, protocol.EndTxn} {
		k, id := e.link(), unique("x")
		p := e.producer(k, Options{Topics: []string{topic}})
		zombie := e.transactor(p, id)
		if err := zombie.Commit(e.context(), Transaction{Messages: messages(topic, 1, fmt.Sprint(at, "-before"))}); err != nil {
			t.Fatal(err)
		}
		heir := e.producer(e.link(), Options{Topics: []string{topic}}).Transactor(id, time.Minute)
		var once sync.Once
		k.before.Store(new(func(m protocol.Message) error {
			var err error
			if m.ApiKey() == at {
				once.Do(func() { err = heir.Fence(e.context()) })
			}
			return err
		}))
		if err := zombie.Commit(e.context(), Transaction{Messages: messages(topic, 1, fmt.Sprint(at, "-zombie"))}); !errors.Is(err, ErrFenced) {
			t.Errorf("fenced before %v: %v", at, err)
		}
		if err := zombie.Commit(e.context(), Transaction{Messages: messages(topic, 1, fmt.Sprint(at, "-zombie"))}); !errors.Is(err, ErrFenced) {
			t.Errorf("once more: %v", err)
		}
		if err := heir.Commit(e.context(), Transaction{Messages: messages(topic, 1, fmt.Sprint(at, "-heir"))}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(at, "-heir-0")
		e.eventually("the heir's message", func() bool { return slices.Contains(e.visible(topic, 0), want) })
		for _, v := range e.visible(topic, 0) {
			if strings.Contains(v, "zombie") {
				t.Errorf("%q is visible", v)
			}
		}
	}
}

// A claim that has lapsed makes the whole transaction void.
func TestTransactionWithoutClaim(t *testing.T) {
	e := setup(t, 1)
	in, topic := e.topic(1), e.topic(1)
	claim := e.claim(unique("g"), in)
	p := e.producer(e.link(), Options{Topics: []string{topic}})
	x := e.transactor(p, unique("x"))
	wrongGeneration, wrongMember := *claim, *claim
	wrongGeneration.Generation++
	wrongMember.Member += "x"
	for _, o := range []*Offsets{&wrongGeneration, &wrongMember} {
		if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 5, "void"), Offsets: o}); !errors.Is(err, ErrFenced) {
			t.Errorf("%v", err)
		}
		if err := x.Fence(e.context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 1, "valid"), Offsets: claim}); err != nil {
		t.Fatal(err)
	}
	e.eventually("the valid message", func() bool { return slices.Contains(e.visible(topic, 0), "valid-0") })
	if got := e.visible(topic, 0); len(got) != 1 {
		t.Errorf("visible: %q", got)
	}
}

// A message that is too large for its topic makes the transaction void and is
// named; without it the rest is written at once, under the same identity.
func TestTransactionTooLarge(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(2, "max.message.bytes", "10000")
	p := e.producer(e.link(), Options{Topics: []string{topic}, Compression: "none", MaxMessageBytes: 100_000})
	x := e.transactor(p, unique("x"))
	ms := messages(topic, 20, "v")
	ms[3].Value, ms[11].Value = make([]byte, 20_000), make([]byte, 200_000)
	err := x.Commit(e.context(), Transaction{Messages: ms})
	large, ok := errors.AsType[*TooLargeError](err)
	if !ok || !slices.Equal(large.Index, []int{3, 11}) {
		t.Fatalf("%v, want messages 3 and 11 refused", err)
	}
	if x.by == nil {
		t.Error("a refusal cost the identity")
	}
	rest := slices.Delete(slices.Delete(ms, 11, 12), 3, 4)
	if err := x.Commit(e.context(), Transaction{Messages: rest}); err != nil {
		t.Fatal(err)
	}
	e.eventually("the rest", func() bool { return len(e.visible(topic, 0))+len(e.visible(topic, 1)) >= 18 })
	if n := len(e.visible(topic, 0)) + len(e.visible(topic, 1)); n != 18 {
		t.Errorf("%d messages are visible, want 18", n)
	}
}

// What is called before a transaction is decided on can take it back; the next one
// needs no new identity.
func TestTransactionBefore(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	x := e.transactor(e.producer(e.link(), Options{Topics: []string{topic}}), unique("x"))
	no := errors.New("no")
	for i, want := range []error{nil, no, nil} {
		err := x.Commit(e.context(), Transaction{Messages: messages(topic, 1, fmt.Sprint(i)), Before: func(context.Context) error {
			if n := e.end(topic, 0); n < int64(2*i+1) {
				t.Errorf("called with %d in the log, before the messages are written", n)
			}
			return want
		}})
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	e.eventually("the last message", func() bool { return slices.Contains(e.visible(topic, 0), "2-0") })
	if got, want := e.visible(topic, 0), []string{"0-0", "2-0"}; !slices.Equal(got, want) {
		t.Errorf("visible: %q, want %q", got, want)
	}
}

// When its context ends, Commit returns; nothing of the transaction is visible
// after the next Fence, and before that nothing is written.
func TestTransactionCancelled(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}})
	x := e.transactor(p, unique("x"))
	ctx, cancel := context.WithCancel(t.Context())
	k.arrived.Store(new(func(m protocol.Message) {
		if m.ApiKey() == protocol.Produce {
			cancel()
		}
	}))
	if err := x.Commit(ctx, Transaction{Messages: messages(topic, 3, "cancelled")}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 3, "too early")}); !errors.Is(err, ErrFenced) {
		t.Errorf("before Fence: %v", err)
	}
	if err := x.Fence(e.context()); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 1, "after")}); err != nil {
		t.Fatal(err)
	}
	e.eventually("the message after", func() bool { return slices.Contains(e.visible(topic, 0), "after-0") })
	if got := e.visible(topic, 0); len(got) != 1 {
		t.Errorf("visible: %q", got)
	}
}

// A transaction that takes longer than its timeout is ended by the brokers, and
// its writer is told so.
func TestTransactionTimeout(t *testing.T) {
	t.Parallel()
	e := setup(t, 1)
	topic := e.topic(1)
	k := e.link()
	p := e.producer(k, Options{Topics: []string{topic}})
	x := p.Transactor(unique("x"), time.Second)
	if err := x.Fence(e.context()); err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(e.admin)
	k.leaving.Store(new(func(m protocol.Message) {
		if m.ApiKey() == protocol.EndTxn {
			e.eventually("the transaction to be ended", func() bool {
				l, err := adm.ListEndOffsets(e.context(), topic)
				c, cerr := adm.ListCommittedOffsets(e.context(), topic)
				if err != nil || cerr != nil {
					return false
				}
				end, _ := l.Lookup(topic, 0)
				stable, _ := c.Lookup(topic, 0)
				return end.Offset > 3 && end.Offset == stable.Offset
			})
		}
	}))
	if err := x.Commit(e.context(), Transaction{Messages: messages(topic, 3, "late")}); !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
	if got := e.visible(topic, 0); len(got) != 0 {
		t.Errorf("visible: %q", got)
	}
}
