package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// Committed is how far a group has committed a partition: it has finished everything
// before Offset.
type Committed struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Committed asks how far a group has come: an entry for every partition it has committed
// something of, by topic and partition. A group that nobody has heard of has none.
//
// What a transaction has just committed may not be seen yet: then the answer is too
// small, never too large.
func (c *Client) Committed(ctx context.Context, group string) ([]Committed, error) {
	answer, err := c.committed(ctx, &offsetfetch.Request{GroupID: group}) // without topics: all of them
	if errors.Is(err, kafkago.GroupIdNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the committed offsets of group %s: %w", group, err)
	}
	var list []Committed
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if p.CommittedOffset >= 0 {
				list = append(list, Committed{t.Name, p.PartitionIndex, p.CommittedOffset})
			}
		}
	}
	slices.SortFunc(list, func(a, b Committed) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return list, nil
}

// committed asks the group's coordinator. On a fresh cluster, and after a coordinator's
// death, it takes a while until there is one.
func (c *Client) committed(ctx context.Context, q *offsetfetch.Request) (*offsetfetch.Response, error) {
	began := time.Now()
	again := backoff{base: 50 * time.Millisecond, ceiling: time.Second}
	for {
		m, err := c.roundTrip(ctx, c.control, requestTimeout, q)
		if err == nil {
			r, ok := m.(*offsetfetch.Response)
			if !ok {
				return nil, errors.New("the broker answered with something else")
			}
			if err = offsetsError(r); err == nil {
				return r, nil
			}
		}
		switch {
		case errors.Is(err, ErrClosed), ctx.Err() != nil:
			return nil, err
		case errors.Is(err, kafkago.GroupIdNotFound), errors.Is(err, kafkago.GroupAuthorizationFailed), errors.Is(err, kafkago.TopicAuthorizationFailed):
			return nil, err
		case time.Since(began) > scanPatience:
			return nil, fmt.Errorf("given up after %v: %w", scanPatience, err)
		}
		if !pause(ctx, again.next()) {
			return nil, ctx.Err()
		}
	}
}

// offsetsError is what is wrong with an answer, in any of its parts.
func offsetsError(r *offsetfetch.Response) error {
	if r.ErrorCode != 0 {
		return kafkago.Error(r.ErrorCode)
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return fmt.Errorf("%s/%d: %w", t.Name, p.PartitionIndex, kafkago.Error(p.ErrorCode))
			}
		}
	}
	return nil
}
