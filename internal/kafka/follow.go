package kafka

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/retry"
)

// Follow hands out what is written to a topic from now on, as soon as it is there, as a
// member of no group.
//
// What [Tail] is for who looks now and then, Follow is for who wants to know when
// something comes: each partition is waited for by a poll of its own.
type Follow struct {
	topic string
	scan  *Scan // of which its Ranges say where each partition began
	next  []atomic.Int64
}

// OpenFollow finds the ends of a topic's partitions: what comes after them is handed
// out. Close releases it.
func (c *Client) OpenFollow(ctx context.Context, topic string) (*Follow, error) {
	scan, err := c.OpenScan(ctx, topic, time.Time{}, time.Time{})
	if err != nil {
		return nil, err
	}
	f := &Follow{topic: topic, scan: scan, next: make([]atomic.Int64, len(scan.Ranges))}
	for i, r := range scan.Ranges {
		f.next[i].Store(r.Next)
	}
	return f, nil
}

// Close ends its connections, if the client is to live on.
func (f *Follow) Close() { f.scan.Close() }

// Run hands out batch by batch until ctx ends, and returns nil then: those of one
// partition one after another, those of different partitions concurrently. A batch is
// valid until handle returns. While brokers are away it waits for them. Messages that
// were deleted before they were read are an error.
func (f *Follow) Run(ctx context.Context, handle func(*Batch)) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range f.next {
		g.Go(func() error { return f.follow(ctx, i, handle) })
	}
	return g.Wait()
}

// follow hands out one partition. It has a desk of its own; the connections are shared.
func (f *Follow) follow(ctx context.Context, i int, handle func(*Batch)) error {
	s := &Scan{client: f.scan.client, transport: f.scan.transport, buffers: new(fetch.Buffers)}
	s.desk.reader = batch.NewReader(batch.NewInflater(batch.DefaultInflatedBytes))
	r := f.scan.Ranges[i]
	r.First, r.Next = r.Next, math.MaxInt64
	again := retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}
	limit, final := int32(scanBytes), false
	for ctx.Err() == nil {
		more, refused, err := s.poll(ctx, &r, final, limit, func(b *Batch) error {
			handle(b)
			f.next[i].Store(b.Next)
			return nil
		})
		switch {
		case refused != nil && ctx.Err() == nil:
			return refused
		case err != nil:
			retry.Pause(ctx, again.Next())
			continue
		}
		again.Reset()
		final, limit = more > 0, int32(min(max(more, scanBytes), scanMaxBatchBytes))
	}
	return nil
}

// Reached reports whether everything up to these ends was handed out.
func (f *Follow) Reached(ends []Range) bool {
	for _, r := range ends {
		if int(r.Partition) < len(f.next) && f.next[r.Partition].Load() < r.Next {
			return false
		}
	}
	return true
}

// Ends asks where the partitions of a topic end now, as who reads committed messages
// sees them.
func (c *Client) Ends(ctx context.Context, topic string) ([]Range, error) {
	s, err := c.OpenScan(ctx, topic, time.Time{}, time.Time{})
	if err != nil {
		return nil, err
	}
	s.Close()
	return s.Ranges, nil
}
