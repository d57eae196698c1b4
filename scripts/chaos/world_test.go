package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/sinks"
)

const (
	inputs  = 6   // partitions
	rate    = 700 // posts a second
	every   = 10  // one of so many is to be flagged
	members = 3
	// A member that is lost repeats what it judged since its last commit: a second of
	// its share, and the batch in hand.
	repeatsPerLoss = rate/every*3 + 4000/every
)

// world is everything around the brokers: topics, members, a platform that posts, a
// reviewer who reads along.
type world struct {
	*cluster
	group    string
	in       string
	review   string
	members  []*member
	posted   atomic.Int64
	posting  sync.WaitGroup
	silences *silences
}

func newWorld(t *testing.T, c *cluster, binary string, delivery sinks.Delivery) *world {
	t.Helper()
	tag := fmt.Sprintf("chaos-%d", time.Now().UnixNano())
	w := &world{cluster: c, group: tag, in: tag + ".posts", review: tag + ".review", silences: newSilences()}
	for topic, partitions := range map[string]int32{w.in: inputs, w.review: 3, tag + ".dead": 1} {
		w.topic(t.Context(), topic, partitions, nil)
	}
	w.known(t.Context(), w.in, w.review, tag+".dead")
	for i := range members {
		m := &member{name: fmt.Sprintf("member %d", i), dir: t.TempDir(), binary: binary}
		write(t, filepath.Join(m.dir, "rules", "marked.yaml"), `
pack: marked
rules:
  - {id: marked.word, category: insult, severity: high, action: review, state: live, terms: [forbiddenstuff]}
`)
		write(t, m.config(), fmt.Sprintf(`
source: chaos
instance: "%d"
kafka:
  brokers: ["%s"]
input: {group: %s, posts: %s, session_timeout: 15s}
output: {review: %s, deadletter: %s, delivery: %s}
rules: {dir: rules, breaker: {enabled: false}}
evidence: {dir: evidence}
`, i, strings.ReplaceAll(c.addr, ",", `", "`), w.group, w.in, w.review, tag+".dead", delivery))
		m.begin(t)
		w.members = append(w.members, m)
	}
	return w
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// post writes posts until ctx ends. What the brokers have acknowledged counts.
func (w *world) post(ctx context.Context) {
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	began := time.Now()
	for n := int64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for ; n < int64(time.Since(began).Seconds()*rate); n++ {
			text := "a quiet day"
			if n%every == 0 {
				text = "some forbiddenstuff"
			}
			value := fmt.Sprintf(`{"id":"p-%d","time":%q,"user":{"id":"u-%d","group":"default"},"fields":{"body":%q}}`,
				n, time.Now().UTC().Format(time.RFC3339Nano), n%997, text)
			w.posting.Add(1)
			w.client.Produce(context.Background(), &kgo.Record{Topic: w.in, Key: fmt.Appendf(nil, "u-%d", n%997), Value: []byte(value)}, func(_ *kgo.Record, err error) {
				defer w.posting.Done()
				if err != nil {
					w.t.Errorf("post %d: %v", n, err)
					return
				}
				w.posted.Add(1)
			})
		}
	}
}

// follow notes when something came out, as a reader of committed messages sees it.
func (w *world) follow(ctx context.Context) {
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers()...), kgo.ConsumeTopics(w.review), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		if f := c.PollFetches(ctx); f.NumRecords() > 0 {
			w.silences.sound(time.Now())
		}
	}
}

// drained waits until everything that was posted is committed.
func (w *world) drained(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var done int64
		if offsets, err := w.admin.FetchOffsets(ctx, w.group); err == nil {
			offsets.Each(func(o kadm.OffsetResponse) { done += max(0, o.At) })
		}
		if done >= w.posted.Load() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d posts are committed", done, w.posted.Load())
		}
	}
}

// outcome is what a fresh reader of committed messages finds.
type outcome struct {
	posted, flagged, lost, repeated int
}

// count reads the review topic from the start.
func (w *world) count(ctx context.Context) (outcome, error) {
	o := outcome{posted: int(w.posted.Load())}
	ends, err := w.admin.ListEndOffsets(ctx, w.review)
	if err != nil {
		return o, err
	}
	left := make(map[int32]int64)
	ends.Each(func(e kadm.ListedOffset) {
		if e.Offset > 0 {
			left[e.Partition] = e.Offset
		}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers()...), kgo.ConsumeTopics(w.review), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()) // the last in a log may be what ends a transaction
	if err != nil {
		return o, err
	}
	defer c.Close()
	events, ids := make(map[string]bool), make(map[string]bool)
	for len(left) > 0 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return o, err
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			var m struct {
				EventID string `json:"event_id"`
			}
			if err := json.Unmarshal(r.Value, &m); err != nil {
				w.t.Error(err)
			}
			id := string(r.Headers[slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "ce_id" })].Value)
			if ids[id] {
				o.repeated++
			}
			ids[id], events[m.EventID] = true, true
		})
	}
	for n := 0; n < o.posted; n += every {
		o.flagged++
		if !events[fmt.Sprintf("p-%d", n)] {
			o.lost++
		}
	}
	return o, nil
}

// coordinator returns the broker that coordinates the group.
func (w *world) coordinator(ctx context.Context) (int32, error) {
	c := w.admin.FindGroupCoordinators(ctx, w.group)[w.group]
	return c.NodeID, c.Err
}

// move gives a partition to the next broker of its replicas, in order.
func (w *world) move(ctx context.Context, topic string, partition int32) error {
	topics, err := w.admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	replicas := topics[topic].Partitions[partition].Replicas
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	rp.Partition, rp.Replicas = partition, append(slices.Clone(replicas[1:]), replicas[0])
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if _, err := req.RequestWith(ctx, w.client); err != nil {
		return err
	}
	_, err = w.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{topic: {partition: {}}})
	return err
}
