package sinks_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/sinks"
)

// exactly is a sink with exactly-once delivery, an input topic and a member of a
// group that has its partitions.
type exactly struct {
	*sinks.Kafka
	t       *testing.T
	brokers []string
	admin   *kadm.Client
	reader  *kgo.Client // the member
	in      string
	claim   pipeline.Claim
	// visible returns the messages of a topic that readers of committed ones see.
	visible func(topic string) []*kgo.Record
}

func newExactly(t *testing.T, settings ...string) *exactly {
	t.Helper()
	brokers := testBrokers(t)
	s, _ := newKafka(t, brokers, settings...)
	s.Config.Delivery = sinks.ExactlyOnce
	x := &exactly{Kafka: s, t: t, brokers: brokers, in: fmt.Sprintf("in-%x", rand.Int64())}
	s.Group = x.in + "-group"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumerGroup(s.Group), kgo.ConsumeTopics(x.in), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	x.reader, x.admin = cl, kadm.NewClient(cl)
	if _, err := x.admin.CreateTopics(ctx, 3, -1, nil, x.in); err != nil {
		t.Fatal(err)
	}
	awaitLeaders(ctx, t, x.admin, []string{x.in})
	for x.claim.Generation <= 0 {
		poll, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		cl.PollFetches(poll)
		stop()
		if ctx.Err() != nil {
			t.Fatal("no generation")
		}
		x.claim.Group = s.Group
		x.claim.Member, x.claim.Generation = cl.GroupMetadata()
	}
	x.visible = func(topic string) []*kgo.Record { return readVisible(t, brokers, topic) }
	for p := range int32(3) {
		if err := s.Fence(ctx, x.in, p); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// readVisible reads what is committed of a topic that nobody writes to any more.
func readVisible(t *testing.T, brokers []string, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends := make(map[int32]int64) // what is behind them was aborted
	adm := kadm.NewClient(c)
	for { // the last transaction is over a moment after it was decided on
		all, err := adm.ListEndOffsets(ctx, topic)
		stable, serr := adm.ListCommittedOffsets(ctx, topic)
		if err := errors.Join(err, serr); err != nil {
			t.Fatal(err)
		}
		open := false
		all.Each(func(o kadm.ListedOffset) {
			ends[o.Partition] = o.Offset
			at, _ := stable.Lookup(topic, o.Partition)
			open = open || at.Offset != o.Offset
		})
		if !open {
			break
		}
	}
	var list []*kgo.Record
	for left := ends; ; {
		for p, end := range left {
			if end == 0 {
				delete(left, p)
			}
		}
		if len(left) == 0 {
			return list
		}
		fs := c.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				list = append(list, r)
			}
			if r.Offset == left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
}

// committed returns the group's offset in a partition of the input.
func (x *exactly) committed(partition int32) int64 {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), 30*time.Second)
	defer cancel()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = x.claim.Group
	req.RequireStable = true // a transaction that is decided on is still under way for a moment
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = x.in, []int32{partition}
	req.Topics = append(req.Topics, topic)
	for {
		resp, err := req.RequestWith(ctx, x.reader)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil && len(resp.Topics) == 1 {
			p := &resp.Topics[0].Partitions[0]
			if err = kerr.ErrorForCode(p.ErrorCode); err == nil {
				return p.Offset
			}
		}
		if ctx.Err() != nil {
			x.t.Fatal(err)
		}
	}
}

// batch makes a batch of posts with the claim of the group.
func (x *exactly) batch(partition int32, first int64, values ...string) *pipeline.Batch {
	b := &pipeline.Batch{Kind: event.Post, Topic: x.in, Partition: partition, First: first, Next: first + int64(len(values)), Claim: &x.claim}
	for i, v := range values {
		b.Records = append(b.Records, pipeline.Record{Offset: first + int64(i), Key: []byte("k"), Value: []byte(v)})
	}
	return b
}

// A batch that leaves something behind is committed with it; one that leaves
// nothing behind with the next checkpoint; and none of it goes back.
func TestBatchesAreCommittedWithTheirOutput(t *testing.T) {
	x := newExactly(t)
	ev, _ := newEvidence(t)
	p := pipelineOf(t, newDesk(t), ev, x)
	for i, text := range []string{"forbiddenstuff", "fine", "{", "fine"} {
		b := x.batch(1, int64(i), text)
		if text != "{" {
			b.Records[0].Value = []byte(postOf(text))
		}
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	one(t, x.visible(x.Config.Review))
	one(t, x.visible(x.Config.DeadLetter))
	if got := x.committed(1); got != 3 {
		t.Errorf("committed %d before the checkpoint, want 3", got)
	}
	done := []pipeline.Range{{Topic: x.in, Partition: 1, First: 3, Next: 4}, {Topic: x.in, Partition: 2, First: 0, Next: 7}}
	if err := p.Checkpoint(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	for _, stale := range []bool{false, true} {
		if stale {
			done[0].Next, done[1].Next = 3, 2
		}
		if err := x.Commit(t.Context(), x.claim, done); err != nil {
			t.Fatal(err)
		}
		if a, b := x.committed(1), x.committed(2); a != 4 || b != 7 {
			t.Errorf("committed %d and %d, want 4 and 7 (stale: %v)", a, b, stale)
		}
	}
}

// Whoever has lost his partition writes nothing that anybody sees, and is told so.
func TestLostPartitionWritesNothing(t *testing.T) {
	x := newExactly(t)
	ev, _ := newEvidence(t)
	p := pipelineOf(t, newDesk(t), ev, x)
	batch := x.batch(0, 0, postOf("forbiddenstuff"))
	for name, lose := range map[string]func() (regain func()){
		"another fenced it": func() func() {
			heir := &sinks.Kafka{Config: x.Config, Producer: x.Producer, Group: x.Group}
			if err := heir.Fence(t.Context(), x.in, 0); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
		"the group gave it away": func() func() {
			x.claim.Generation++
			return func() { x.claim.Generation-- }
		},
	} {
		regain := lose()
		if err := p.Handle(t.Context(), batch); !errors.Is(err, pipeline.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
		err := x.Commit(t.Context(), x.claim, []pipeline.Range{{Topic: x.in, Next: 1}, {Topic: x.in, Partition: 1, Next: 5}})
		if !errors.Is(err, pipeline.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
		regain()
		if err := x.Fence(t.Context(), x.in, 0); err != nil {
			t.Fatal(err)
		}
		if n, at := len(x.visible(x.Config.Review)), x.committed(0); n != 0 || at > 0 {
			t.Errorf("%s: %d review items are visible, %d committed", name, n, at)
		}
		if err := x.Fence(t.Context(), x.in, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Handle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	one(t, x.visible(x.Config.Review))
}

// What a topic refuses is a dead letter in the same transaction as the rest; what
// else there is of it, such as the decision, is there, too.
func TestRefusedInATransaction(t *testing.T) {
	const limit = 20_000
	for name, ours := range map[string]int{"by our count": limit, "by the broker's": 10 * limit} {
		t.Run(name, func(t *testing.T) {
			x := newExactly(t, "max.message.bytes", fmt.Sprint(limit))
			x.Config.MaxMessageBytes = ours
			ev, dir := newEvidence(t)
			p := pipelineOf(t, newDesk(t), ev, x)
			long := strings.Replace(postOf("forbiddenstuff"), "bucket", noise(2*limit), 1)
			b := x.batch(0, 0, postOf("forbiddenstuff"), long, noise(2*limit), postOf("forbiddenstuff"))
			if err := p.Handle(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if n := len(x.visible(x.Config.Review)); n != 2 {
				t.Errorf("%d review items, want 2", n)
			}
			if n := len(x.visible(x.Config.Decisions)); n != 3 {
				t.Errorf("%d decisions, want 3", n)
			}
			var letters []string
			for _, r := range x.visible(x.Config.DeadLetter) {
				h := headers(r)
				letters = append(letters, h["weir-stage"]+" "+h["weir-value-omitted"])
			}
			slices.Sort(letters)
			if diff := cmp.Diff([]string{"decode too-large", "output too-large"}, letters); diff != "" {
				t.Errorf("dead letters, -want +got:\n%s", diff)
			}
			if got := x.committed(0); got != 4 {
				t.Errorf("committed %d, want 4", got)
			}
			var kinds []string
			for _, k := range records(t, dir) {
				kinds = append(kinds, k.Kind.String())
			}
			if diff := cmp.Diff([]string{"hit", "hit", "hit", "deadletter", "deadletter", "coverage"}, kinds); diff != "" {
				t.Errorf("evidence, -want +got:\n%s", diff)
			}
		})
	}
}

// The sink keeps the contract every sink keeps that commits progress.
func TestKafkaKeepsTheContractOfProgress(t *testing.T) {
	pipelinetest.TestCommitting(t, func(t *testing.T) pipelinetest.Committing {
		x := newExactly(t)
		return pipelinetest.Committing{
			Sink: x,
			Progress: func(next int64) *pipeline.Progress {
				return &pipeline.Progress{Claim: x.claim, Topic: x.in, Next: next}
			},
			Lapse: func() { x.claim.Generation++ },
			Read: func() []string {
				var ids []string
				// What is open is taken back by the next owner.
				if err := x.Fence(t.Context(), x.in, 0); err != nil {
					t.Fatal(err)
				}
				for _, r := range x.visible(x.Config.DeadLetter) {
					id, _, _ := strings.Cut(headers(r)["weir-id"], ":")
					ids = append(ids, id)
				}
				slices.Sort(ids)
				return ids
			},
			Committed: func() int64 { return max(0, x.committed(0)) },
		}
	})
}
