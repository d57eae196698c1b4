package kafka

import (
	"context"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Compacted follows the newest values in a compacted topic, as a member of no group. It belongs to
// one goroutine.
type Compacted struct {
	client    *Client
	transport *kafkago.Transport
	topic     string
	ends      []int64 // of the partitions, when they were last read; nil before that
}

// NewCompacted returns what follows a topic. It connects with the first poll.
func (c *Client) NewCompacted(topic string) *Compacted {
	return &Compacted{client: c, transport: c.transport([]string{topic}), topic: topic}
}

// Close ends its connections, if the client is to live on.
func (l *Compacted) Close() { l.client.release(l.transport) }

// Value is the newest value of a key, and where it stands. Nil is a tombstone.
type Value struct {
	Value     []byte
	Headers   []batch.Header
	Time      time.Time
	Partition int32
	Offset    int64
}

// newer reports whether v stands after another value of its key: in one partition the later offset,
// whatever the clock of who wrote it, since that is what compaction keeps. One key stands in one
// partition, unless somebody wrote past the usual rule; then clocks are all there is.
func (v *Value) newer(known *Value) bool {
	return v.Partition == known.Partition || !v.Time.Before(known.Time)
}

// Poll returns the newest value of each key, if anything came since the last call; else changed is
// false. It reads the whole topic, which compaction keeps short. After an error, the next call that
// works reads it, too: nobody knows whether the topic is still the same one.
func (l *Compacted) Poll(ctx context.Context) (values map[string]Value, changed bool, err error) {
	if l.ends != nil && l.still(ctx) {
		return nil, false, nil
	}
	l.ends = nil
	scan, err := l.client.OpenScan(ctx, l.topic, time.Time{}, time.Time{}) // it has words for what is wrong
	if err != nil {
		return nil, false, err
	}
	defer scan.Close()
	ends := make([]int64, len(scan.Ranges))
	for i, r := range scan.Ranges {
		ends[i] = r.Next
	}
	values = make(map[string]Value)
	err = scan.Read(ctx, func(b *Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			if r.Corrupt != "" {
				continue // a later value may be whole
			}
			v := Value{Value: slices.Clone(r.Value), Time: time.UnixMilli(r.Time), Partition: b.Partition, Offset: r.Offset}
			if known, ok := values[string(r.Key)]; !ok || v.newer(&known) {
				for k, h := range r.Headers {
					v.Headers = append(v.Headers, batch.Header{Key: string(k), Value: slices.Clone(h)})
				}
				values[string(r.Key)] = v
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	l.ends = ends
	return values, true, nil
}

// still reports whether the partitions end where they did. It is asked all the time, so it keeps its
// connections.
func (l *Compacted) still(ctx context.Context) bool {
	found, err := l.client.Topics(ctx, l.topic)
	if err != nil || found[0].Err != nil || len(found[0].Leaders) != len(l.ends) {
		return false
	}
	for p, end := range l.ends {
		if now, err := l.client.offsetOf(ctx, l.transport, wire.ToLeader(l.topic, int32(p)), l.topic, int32(p), logEnd, true); err != nil || now != end {
			return false
		}
	}
	return true
}
