package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
)

// Committed is how far a group has committed a partition: it has finished everything
// before Offset, which is -1 if it has committed nothing.
type Committed struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Committed asks how far a group has committed the partitions of topics: an entry for
// each partition, those of a topic together and in the order of the names. A topic that
// does not exist has none, a group that nobody has heard of has committed nothing.
//
// What a transaction has just committed may not be seen yet: then the answer is too
// small, never too large.
func (c *Client) Committed(ctx context.Context, group string, topics ...string) ([]Committed, error) {
	found, err := c.Topics(ctx, topics...)
	if err != nil || len(topics) == 0 {
		return nil, err // no names would be all topics
	}
	var list []Committed
	q := &offsetfetch.Request{GroupID: group}
	for _, t := range found {
		if errors.Is(t.Err, ErrNoTopic) {
			continue
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Err)
		}
		x := offsetfetch.RequestTopic{Name: t.Name}
		for p := range int32(t.Partitions) {
			list = append(list, Committed{t.Name, p, -1})
			x.PartitionIndexes = append(x.PartitionIndexes, p)
		}
		q.Topics = append(q.Topics, x)
	}
	if len(list) == 0 {
		return nil, nil
	}
	answer, err := c.committed(ctx, q)
	if errors.Is(err, kafkago.GroupIdNotFound) {
		return list, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the committed offsets of group %s: %w", group, err)
	}
	type key struct {
		topic     string
		partition int32
	}
	at := make(map[key]int64)
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			at[key{t.Name, p.PartitionIndex}] = p.CommittedOffset
		}
	}
	for i := range list {
		offset, ok := at[key{list[i].Topic, list[i].Partition}]
		if !ok {
			return nil, fmt.Errorf("ask for the committed offsets of group %s: the broker did not answer about %s/%d", group, list[i].Topic, list[i].Partition)
		}
		list[i].Offset = offset
	}
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
