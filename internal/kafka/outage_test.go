package kafka

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// nodes returns a cluster of three real brokers and how to ill-treat them:
// WEIR_TEST_KAFKA names the brokers, WEIR_TEST_KAFKA_NODES is 3, and KAFKACTL is
// the path of scripts/kafka/kafkactl, which finds the cluster by KAFKA_DIR.
func nodes(t *testing.T) (e *env, ctl func(args ...string)) {
	t.Helper()
	path := os.Getenv("KAFKACTL")
	if os.Getenv("WEIR_TEST_KAFKA_NODES") != "3" || os.Getenv("WEIR_TEST_KAFKA") == "" || path == "" {
		t.Skip("needs three brokers: WEIR_TEST_KAFKA, WEIR_TEST_KAFKA_NODES=3 and KAFKACTL, the path of scripts/kafka/kafkactl")
	}
	return setup(t, 3), func(args ...string) {
		t.Helper()
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Fatalf("kafkactl %v: %v\n%s", args, err, out)
		}
	}
}

// journal is what a group did, by partition of one topic, which has six.
type journal struct {
	mu      sync.Mutex
	judged  [][]uint8 // how often each offset was
	last    []time.Time
	longest []time.Duration // without a batch
	until   []time.Time     // when that ended
}

func newJournal(records int) *journal {
	j := &journal{last: make([]time.Time, 6), longest: make([]time.Duration, 6), until: make([]time.Time, 6)}
	for range 6 {
		j.judged = append(j.judged, make([]uint8, records))
	}
	return j
}

// handle judges a batch of 50 in 50 ms.
func (j *journal) handle(ctx context.Context, b *Batch) error {
	retry.Pause(ctx, 50*time.Millisecond)
	j.mu.Lock()
	defer j.mu.Unlock()
	for o := b.First; o < b.Next; o++ {
		j.judged[b.Partition][o]++
	}
	j.tick(int(b.Partition))
	return nil
}

func (j *journal) tick(p int) {
	now := time.Now()
	if d := now.Sub(j.last[p]); d > j.longest[p] {
		j.longest[p], j.until[p] = d, now
	}
	j.last[p] = now
}

// from begins to measure anew.
func (j *journal) from() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for p := range j.last {
		j.last[p], j.longest[p] = time.Now(), 0
	}
}

// gap returns the longest time in which one of the partitions judged nothing.
func (j *journal) gap(partitions []int32) (longest time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range partitions {
		longest = max(longest, j.longest[p], time.Since(j.last[p]))
	}
	return longest
}

// when returns when the gap of a partition with the longest one ended, after a time.
func (j *journal) when(began time.Time, partitions []int32) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	worst := slices.MaxFunc(partitions, func(a, b int32) int { return cmp.Compare(j.longest[a], j.longest[b]) })
	return j.until[worst].Sub(began)
}

// progress returns how far each partition has come.
func (j *journal) progress() []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := make([]int64, len(j.judged))
	for p, counts := range j.judged {
		for o, n := range counts {
			if n > 0 {
				at[p] = int64(o) + 1
			}
		}
	}
	return at
}

// check returns how many records were judged again, and fails the test if one
// below a committed offset never was.
func (j *journal) check(t *testing.T, committed []int64) (again int) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for p, counts := range j.judged {
		for o, n := range counts {
			if n > 1 {
				again++
			}
			if n == 0 && int64(o) < committed[p] {
				t.Errorf("partition %d: offset %d is committed and was never judged", p, o)
				break
			}
		}
	}
	return again
}

// backlog makes a topic of six replicated partitions with n records in each.
func (e *env) backlog(n int) string {
	e.t.Helper()
	name := unique("t")
	e.eventually("the topic to be created", func() bool {
		return e.client.CreateTopics(e.context(), NewTopic{Name: name, Partitions: 6, Replication: 3, Config: map[string]string{"min.insync.replicas": "2"}}) == nil
	})
	var rs []*kgo.Record
	for i := range n {
		for p := range int32(6) {
			rs = append(rs, &kgo.Record{Topic: name, Partition: p, Value: []byte(strconv.Itoa(i))})
		}
	}
	// In small batches: with larger ones a poll would bring so much that a member
	// could live on it through any outage.
	producer := e.kgo(kgo.ProducerBatchMaxBytes(2048), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer producer.Close()
	if err := producer.ProduceSync(e.context(), rs...).FirstErr(); err != nil {
		e.t.Fatal(err)
	}
	return name
}

// healthy waits until three brokers replicate every partition of a topic and of
// the groups' offsets.
func (e *env) healthy(topic string) {
	e.t.Helper()
	e.eventually("three brokers to be in step", func() bool {
		req := kmsg.NewPtrMetadataRequest()
		for _, name := range []string{topic, "__consumer_offsets"} {
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, rt)
		}
		ctx, cancel := context.WithTimeout(e.t.Context(), 3*time.Second)
		defer cancel()
		resp, err := req.RequestWith(ctx, e.admin)
		if err != nil || len(resp.Brokers) != 3 {
			return false
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if t.ErrorCode != 0 || p.ErrorCode != 0 || len(p.ISR) != 3 {
					return false
				}
			}
		}
		return true
	})
}

// coordinated returns the name of a group whose coordinator runs on a broker that
// is the active controller, or is not, and that broker.
func (e *env) coordinated(controller bool) (group string, node int32) {
	e.t.Helper()
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt := kmsg.NewDescribeQuorumRequestTopic()
	rt.Topic = "__cluster_metadata"
	rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	e.eventually("such a group", func() bool {
		resp, err := req.RequestWith(e.context(), e.admin)
		if err != nil || len(resp.Topics) == 0 {
			return false
		}
		group = unique("g")
		c := wire.Coordinator{Send: e.client.over(e.client.control), Kind: wire.OfGroup, Name: group}
		node, err = c.Find(e.context())
		return err == nil && (node == resp.Topics[0].Partitions[0].LeaderID) == controller
	})
	return group, node
}

// committedAll returns what a group has committed in six partitions.
func (e *env) committedAll(group, topic string) []int64 {
	at := make([]int64, 6)
	for p := range at {
		at[p] = e.committed(group, topic, int32(p))
	}
	return at
}

// usual are the options as they are by default, with small batches and polls that
// bring about a quarter of a second's work.
func usual(group, topic string, j *journal) ConsumerOptions {
	return ConsumerOptions{
		Group: group, Topics: []Subscription{{Topic: topic}}, BatchRecords: 50, PartitionBytes: 4096,
		Handle: j.handle,
	}
}

// The broker that coordinates a group goes away: killed, terminated, frozen for
// 30 s. Partitions whose leaders live are judged on, nothing is lost, nothing
// repeated. It logs for how long they were not, for docs/performance.md.
func TestCoordinatorGoesAway(t *testing.T) {
	e, ctl := nodes(t)
	for _, event := range []struct {
		name, down, up string
		controller     bool // it is the active controller, too: another has to take over before anything else does
	}{
		{"SIGKILL", "kill", "up", false}, {"SIGTERM", "down", "up", false},
		{"SIGSTOP for 30 s", "pause", "resume", false}, {"SIGSTOP for 30 s and active controller", "pause", "resume", true},
	} {
		t.Run(event.name, func(t *testing.T) {
			e := e.with(t)
			const records = 60000
			topic := e.backlog(records)
			e.healthy(topic)
			group, node := e.coordinated(event.controller)
			j := newJournal(records)
			a, b := e.start(e.client, usual(group, topic, j)), e.start(e.newClient(), usual(group, topic, j))
			e.eventually("both to work", func() bool {
				return len(a.Partitions()) == 3 && len(b.Partitions()) == 3 && slices.Min(j.progress()) > 500 && slices.Min(e.committedAll(group, topic)) > 0
			})
			e.healthy(topic)
			topics, err := e.client.Topics(e.context(), topic)
			if err != nil {
				t.Fatal(err)
			}
			var living, dead []int32
			for p, leader := range topics[0].Leaders {
				if leader == node {
					dead = append(dead, int32(p))
				} else {
					living = append(living, int32(p))
				}
			}
			generations := a.Stats().Generations + b.Stats().Generations
			before := j.progress()
			j.from()
			began := time.Now()
			ctl(event.down, strconv.Itoa(int(node)))
			e.eventually("commits to work again", func() bool {
				at := e.committedAll(group, topic)
				for p := range at {
					if at[p] <= before[p]+50 {
						return false
					}
				}
				return true
			})
			commits := time.Since(began)
			if event.down == "pause" { // it shall wake among those that took over
				retry.Pause(e.context(), 30*time.Second-time.Since(began))
			}
			ctl(event.up, strconv.Itoa(int(node)))
			e.healthy(topic)
			after := j.progress()
			e.eventually("all to be judged on", func() bool {
				for p, at := range j.progress() {
					if at <= after[p] && at < records {
						return false
					}
				}
				return true
			})
			t.Logf("RESULT %s, the coordinator's broker (session 15 s): longest without a batch with a living leader %v (until %v), with a dead one %v; commits after %v; new generations %d",
				event.name, j.gap(living).Round(10*time.Millisecond), j.when(began, living).Round(100*time.Millisecond), j.gap(dead).Round(10*time.Millisecond), commits.Round(100*time.Millisecond),
				a.Stats().Generations+b.Stats().Generations-generations)
			if err := a.stop(); err != nil {
				t.Error(err)
			}
			if err := b.stop(); err != nil {
				t.Error(err)
			}
			if again := j.check(t, e.committedAll(group, topic)); again > 0 {
				t.Errorf("%d records were judged again", again)
			}
		})
	}
}

// A second member works soon, on a busy topic and on an idle one; a static member
// that restarts moves nothing; a leader that moves in order costs a moment.
func TestMembersAndLeadersMove(t *testing.T) {
	e, _ := nodes(t)
	const records = 60000
	topic := e.backlog(records)
	e.healthy(topic)
	t.Run("busy", func(t *testing.T) {
		e, group, j := e.with(t), unique("g"), newJournal(records)
		a := e.start(e.client, usual(group, topic, j))
		e.eventually("the first to work", func() bool { return slices.Min(j.progress()) > 500 })
		j.from()
		began := time.Now()
		first := make(chan time.Duration, 1)
		o := usual(group, topic, j)
		o.Handle = func(ctx context.Context, b *Batch) error {
			select {
			case first <- time.Since(began):
			default:
			}
			return j.handle(ctx, b)
		}
		b := e.start(e.newClient(), o)
		took := <-first
		e.eventually("both to work", func() bool { return len(a.Partitions()) == 3 && len(b.Partitions()) == 3 })
		t.Logf("RESULT second member judges after %v, busy (heartbeat 1 s); longest without a batch %v", took.Round(10*time.Millisecond), j.gap([]int32{0, 1, 2, 3, 4, 5}).Round(10*time.Millisecond))
		j.from()
		began = time.Now()
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		left := time.Since(began)
		e.eventually("the first to have all again", func() bool { return len(a.Partitions()) == 6 && j.gap([]int32{0, 1, 2, 3, 4, 5}) < 5*time.Second })
		e.eventually("all to be judged", func() bool {
			for _, s := range a.Partitions() {
				if s.Next < 0 || s.Next <= 0 {
					return false
				}
			}
			return true
		})
		t.Logf("RESULT leaving took %v", left.Round(10*time.Millisecond))
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		if again := j.check(t, e.committedAll(group, topic)); again > 0 {
			t.Errorf("%d records were judged again", again)
		}
	})
	t.Run("idle", func(t *testing.T) {
		e, group := e.with(t), unique("g")
		idle := e.topic(6)
		j := newJournal(1)
		a := e.start(e.client, usual(group, idle, j))
		e.eventually("the first to have all", func() bool { return len(a.Partitions()) == 6 })
		began := time.Now()
		b := e.start(e.newClient(), usual(group, idle, j))
		e.eventually("the second to have its share", func() bool { return len(b.Partitions()) == 3 })
		t.Logf("RESULT second member has its partitions after %v, idle (heartbeat 1 s)", time.Since(began).Round(10*time.Millisecond))
	})
	t.Run("static", func(t *testing.T) {
		e, group, j := e.with(t), unique("g"), newJournal(records)
		member := func(instance string) *member {
			o := usual(group, topic, j)
			o.Instance = instance
			return e.start(e.newClient(), o)
		}
		a, b := member("one"), member("two")
		e.eventually("both to work", func() bool {
			return len(a.Partitions()) == 3 && len(b.Partitions()) == 3 && slices.Min(j.progress()) > 200
		})
		had := names(b)
		generations := a.Stats().Generations
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		j.from()
		began := time.Now()
		b = member("two")
		e.eventually("it to be back", func() bool { return len(b.Partitions()) > 0 })
		back := time.Since(began)
		if now := names(b); !slices.Equal(now, had) || a.Stats().Generations != generations {
			t.Errorf("after the restart %v, before it %v; the other member had %d new generations", now, had, a.Stats().Generations-generations)
		}
		t.Logf("RESULT static restart: back after %v, no partition moved, the other member undisturbed", back.Round(10*time.Millisecond))
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if again := j.check(t, e.committedAll(group, topic)); again > 0 {
			t.Errorf("%d records were judged again", again)
		}
	})
	t.Run("leader", func(t *testing.T) {
		e, group, j := e.with(t), unique("g"), newJournal(records)
		a := e.start(e.client, usual(group, topic, j))
		e.eventually("it to work", func() bool { return slices.Min(j.progress()) > 200 })
		all := []int32{0, 1, 2, 3, 4, 5}
		var worst time.Duration
		for range 3 {
			e.healthy(topic)
			j.from()
			e.moveLeaders(topic)
			at := j.progress()
			e.eventually("all to be judged on", func() bool {
				for p, now := range j.progress() {
					if now < at[p]+500 {
						return false
					}
				}
				return true
			})
			worst = max(worst, j.gap(all))
		}
		t.Logf("RESULT three times the leaders of all partitions moved in order: longest without a batch %v", worst.Round(10*time.Millisecond))
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		if again := j.check(t, e.committedAll(group, topic)); again > 0 {
			t.Errorf("%d records were judged again", again)
		}
	})
}

// names returns the partitions of a member.
func names(m *member) (list []string) {
	for _, s := range m.Partitions() {
		list = append(list, fmt.Sprintf("%s/%d", s.Topic, s.Partition))
	}
	return list
}

// moveLeaders makes the next replica of each partition its leader, and waits
// until it is.
func (e *env) moveLeaders(topic string) {
	e.t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = kmsg.StringPtr(topic)
	meta.Topics = append(meta.Topics, mt)
	now, err := meta.RequestWith(e.context(), e.admin)
	if err != nil {
		e.t.Fatal(err)
	}
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	elect := kmsg.NewPtrElectLeadersRequest()
	et := kmsg.NewElectLeadersRequestTopic()
	at := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	at.Topic, et.Topic = topic, topic
	want := make([]int32, len(now.Topics[0].Partitions))
	for _, p := range now.Topics[0].Partitions {
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		i := slices.Index(p.Replicas, p.Leader)
		rp.Partition, rp.Replicas = p.Partition, append(slices.Clone(p.Replicas[i+1:]), p.Replicas[:i+1]...)
		want[p.Partition] = rp.Replicas[0]
		at.Partitions = append(at.Partitions, rp)
		et.Partitions = append(et.Partitions, p.Partition)
	}
	move.Topics, elect.Topics = append(move.Topics, at), append(elect.Topics, et)
	move.TimeoutMillis, elect.TimeoutMillis = 10000, 10000
	if r, err := move.RequestWith(e.context(), e.admin); err != nil || r.ErrorCode != 0 {
		e.t.Fatal(err, r.ErrorCode)
	}
	e.eventually("the leaders to move", func() bool {
		_, _ = elect.RequestWith(e.context(), e.admin) // until it has come to pass
		list, err := e.client.Topics(e.context(), topic)
		return err == nil && slices.Equal(list[0].Leaders, want)
	})
}
