package kafka

import (
	"context"
	"slices"
	"time"
)

// Compacted follows the newest values in a compacted topic, as a member of no group. It belongs to
// one goroutine.
type Compacted struct {
	client *Client
	topic  string
	ends   []int64 // of the partitions, when they were last read
}

// NewCompacted returns what follows a topic.
func (c *Client) NewCompacted(topic string) *Compacted { return &Compacted{client: c, topic: topic} }

// Value is the newest value of a key. Nil is a tombstone.
type Value struct {
	Value []byte
	Time  time.Time
}

// Poll returns the newest value of each key, if anything came since the last call; else changed is
// false. It reads the whole topic, which compaction keeps short.
func (l *Compacted) Poll(ctx context.Context) (values map[string]Value, changed bool, err error) {
	scan, err := l.client.OpenScan(ctx, l.topic, time.Time{}, time.Time{})
	if err != nil {
		return nil, false, err
	}
	defer scan.Close()
	ends := make([]int64, len(scan.Ranges))
	for i, r := range scan.Ranges {
		ends[i] = r.Next
	}
	if slices.Equal(ends, l.ends) {
		return nil, false, nil
	}
	values = make(map[string]Value)
	err = scan.Read(ctx, func(b *Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			if r.Corrupt != "" {
				continue // a later value may be whole
			}
			v := Value{Value: slices.Clone(r.Value), Time: time.UnixMilli(r.Time)}
			// One key stands in one partition, unless somebody wrote past the usual rule.
			if known, ok := values[string(r.Key)]; !ok || !v.Time.Before(known.Time) {
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
