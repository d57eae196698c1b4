package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Scan reads what a topic held between two times, once, as a member of no group: it
// commits nothing and nobody's partitions move. It belongs to one goroutine.
type Scan struct {
	// Ranges are what will be read, one for each partition in order; one that holds
	// nothing of that time is empty. They were found when the scan was opened: what is
	// written later is not in them.
	Ranges []Range

	client    *Client
	transport *kafkago.Transport
	buffers   *fetch.Buffers
	desk      desk
	parts     []fetch.PartAnswer
}

// Of a scan. Unlike a daemon, whoever scans is waiting for the end of it.
const (
	scanPatience      = 15 * time.Second // how long brokers may be away before a scan gives up
	scanWait          = 250 * time.Millisecond
	scanBytes         = 1 << 20   // of a poll
	scanMaxBatchBytes = 128 << 20 // the largest record batch that is read
)

// OpenScan finds the stretch of each partition of a topic that begins with its first
// message that is not older than from, and ends before the first that is not older than
// to: the offsets decide, so that between two of its messages one with another time may
// stand. A zero from is the beginning of the log, a zero to its end as it is now; of what
// transactions write only what is committed is there. Close releases the scan.
func (c *Client) OpenScan(ctx context.Context, topic string, from, to time.Time) (*Scan, error) {
	if err := c.Preflight(ctx); err != nil { // it has words for what is wrong
		return nil, err
	}
	found, err := c.Topics(ctx, topic)
	switch {
	case err != nil:
		return nil, err
	case found[0].Err != nil:
		return nil, fmt.Errorf("topic %s: %w", topic, found[0].Err)
	}
	s := &Scan{client: c, transport: c.transport([]string{topic}), buffers: new(fetch.Buffers)}
	s.desk.reader = batch.NewReader(batch.NewInflater(batch.DefaultInflatedBytes))
	for p := range int32(len(found[0].Leaders)) {
		r := Range{Topic: topic, Partition: p}
		err := s.persist(ctx, func() (err error) {
			r.First, r.Next, err = s.find(ctx, r.Topic, r.Partition, from, to)
			return err
		})
		if err != nil {
			s.Close()
			return nil, err
		}
		s.Ranges = append(s.Ranges, r)
	}
	return s, nil
}

// Narrow leaves of the scan only the offsets of some ranges of its topic, in the
// order in which they are given. A Next of -1 stands for the end. It is an error if
// an offset is not there: it has been deleted, or is yet to be written.
func (s *Scan) Narrow(ranges ...Range) error {
	for i := range ranges {
		r := &ranges[i]
		at := slices.IndexFunc(s.Ranges, func(x Range) bool { return x.Topic == r.Topic && x.Partition == r.Partition })
		if at < 0 {
			return fmt.Errorf("%s has no partition %d", r.Topic, r.Partition)
		}
		whole := s.Ranges[at]
		if r.Next < 0 {
			r.Next = whole.Next
		}
		if r.First < whole.First || r.Next > whole.Next || r.First > r.Next {
			return fmt.Errorf("%s/%d holds the offsets from %d up to %d; %d up to %d are not all there",
				r.Topic, r.Partition, whole.First, whole.Next, r.First, r.Next)
		}
	}
	s.Ranges = ranges
	return nil
}

// Close ends the scan's connections.
func (s *Scan) Close() { s.client.release(s.transport) }

// find looks up the offsets between two times.
func (s *Scan) find(ctx context.Context, topic string, partition int32, from, to time.Time) (first, next int64, err error) {
	ask := func(point int64) int64 {
		if err != nil {
			return 0
		}
		var offset int64
		offset, err = s.client.lookUp(ctx, s.transport, wire.ToLeader(topic, partition), topic, partition, point, true)
		return offset
	}
	start, end := ask(logStart), ask(logEnd)
	if err == nil && (start < 0 || end < 0) {
		err = fmt.Errorf("%s/%d: the broker does not know its log's ends", topic, partition)
	}
	first, next = start, end
	if !from.IsZero() {
		if first = ask(from.UnixMilli()); first < 0 {
			first = end // everything is older
		}
	}
	if !to.IsZero() {
		if at := ask(to.UnixMilli()); at >= 0 {
			next = min(at, end)
		}
	}
	return min(first, end), max(next, min(first, end)), err
}

// Read hands the ranges out, batch by batch in their order. A batch is valid until
// handle returns; an error of handle ends the scan and is returned.
func (s *Scan) Read(ctx context.Context, handle func(*Batch) error) error {
	for _, r := range s.Ranges {
		for final, limit := false, int32(scanBytes); r.First < r.Next; {
			var more int
			var refused error
			before := r.First
			err := s.persist(ctx, func() (err error) {
				more, refused, err = s.poll(ctx, &r, final, limit, handle)
				if err == nil && refused == nil && more == 0 && r.First == before {
					err = fmt.Errorf("the broker has nothing from offset %d on", before)
				}
				return err
			})
			if err = errors.Join(refused, err); err != nil {
				return fmt.Errorf("read %s/%d: %w", r.Topic, r.Partition, err)
			}
			final, limit = more > 0, int32(min(max(more, scanBytes), scanMaxBatchBytes))
		}
	}
	return nil
}

// poll fetches once and hands out what came, and moves the beginning of the range behind
// it. More is how many bytes the next poll must ask for to read a batch that looks broken,
// refused an error that trying again does not mend.
func (s *Scan) poll(ctx context.Context, r *Range, final bool, limit int32, handle func(*Batch) error) (more int, refused, err error) {
	request := &fetch.Request{
		Client: s.client.config.ClientID,
		Wait:   scanWait, MinBytes: 1, MaxBytes: limit, Limit: scanMaxBatchBytes + 1<<20, Committed: true,
		Parts:   []fetch.Part{{Topic: r.Topic, Partition: r.Partition, Offset: r.First, MaxBytes: limit}},
		Buffers: s.buffers,
	}
	answer, err := request.Do(ctx, s.client.over(s.transport))
	if large, ok := errors.AsType[*wire.TooLargeError](err); ok {
		return 0, large, nil
	}
	if err != nil {
		return 0, nil, err
	}
	d := &s.desk
	defer func() {
		d.reader.Reset(batch.Input{})
		clear(s.parts)
		answer.Release()
	}()
	var throttle time.Duration
	s.parts, throttle, err = answer.Parse(s.parts[:0])
	if err == nil && throttle > 0 {
		retry.Pause(ctx, min(throttle, maxThrottle))
	}
	switch {
	case err != nil:
		return 0, nil, err
	case len(s.parts) != 1 || s.parts[0].Topic != r.Topic || s.parts[0].Partition != r.Partition:
		return 0, nil, errors.New("the broker answered about other partitions")
	case s.parts[0].Code == kafkago.OffsetOutOfRange:
		return 0, fmt.Errorf("messages from offset %d on were deleted before they were read; begin later", r.First), nil
	case s.parts[0].Code != 0:
		return 0, nil, s.parts[0].Code
	}
	f := &s.parts[0]
	if len(f.Data) == 0 && f.Stable >= r.Next {
		// The end is known and nothing comes: the rest was compacted away.
		r.First = r.Next
		return 0, nil, nil
	}
	d.reader.Reset(batch.Input{Data: f.Data, Offset: r.First, End: f.Stable, Final: final, Committed: true, Aborted: f.Aborted})
	for r.First < r.Next && d.reader.Read(&d.chunk) {
		c := &d.chunk
		for len(c.Records) > 0 && c.Records[len(c.Records)-1].Offset >= r.Next {
			c.Records = c.Records[:len(c.Records)-1]
		}
		next := min(c.Next, r.Next)
		d.batch = Batch{Topic: r.Topic, Partition: r.Partition, First: c.First, Next: next, Records: c.Records, Skipped: c.Skipped}
		if err := handle(&d.batch); err != nil {
			return 0, err, nil
		}
		r.First = next
	}
	return d.reader.More(), nil, nil
}

// persist tries again until it works, ctx ends, or brokers were away for too long.
func (s *Scan) persist(ctx context.Context, try func() error) error {
	began := time.Now()
	again := retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}
	for {
		err := try()
		if err == nil || errors.Is(err, ErrClosed) {
			return err
		}
		if time.Since(began) > scanPatience {
			return fmt.Errorf("given up after %v: %w", scanPatience, err)
		}
		if !retry.Pause(ctx, again.Next()) {
			return ctx.Err()
		}
	}
}
