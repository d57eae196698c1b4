package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Topic is what the brokers say about a topic.
type Topic = wire.Topic

// ErrNoTopic says that a topic does not exist.
var ErrNoTopic = wire.ErrNoTopic

// Topics asks the brokers about topics. The answer has one entry per name, in
// the same order.
func (c *Client) Topics(ctx context.Context, names ...string) ([]Topic, error) {
	if len(names) == 0 {
		return nil, nil
	}
	list, err := c.askTopics(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make([]Topic, len(names))
	for i, n := range names {
		out[i] = Topic{Name: n, Err: ErrNoTopic}
		if at := slices.IndexFunc(list, func(t Topic) bool { return t.Name == n }); at >= 0 {
			out[i] = list[at]
		}
	}
	return out, nil
}

// AllTopics asks the brokers about every topic we may see, in the order of their
// names. Those that Kafka keeps for itself are left out.
func (c *Client) AllTopics(ctx context.Context) ([]Topic, error) {
	list, err := c.askTopics(ctx, nil)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(t Topic) bool { return strings.HasPrefix(t.Name, "__") })
	slices.SortFunc(list, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (c *Client) askTopics(ctx context.Context, names []string) ([]Topic, error) {
	r, err := c.ask(ctx, c.control, wire.AskTopics(names))
	if err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	list, err := wire.ReadTopics(r)
	if err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	return list, nil
}

// NewTopic is a topic to create.
type NewTopic struct {
	Name        string
	Partitions  int               // 0: as the brokers are configured
	Replication int               // 0: as the brokers are configured
	Config      map[string]string // such as "cleanup.policy": "compact"
}

// CreateTopics creates topics. One that exists already is left as it is.
func (c *Client) CreateTopics(ctx context.Context, topics ...NewTopic) error {
	if len(topics) == 0 {
		return nil
	}
	r, err := c.ask(ctx, c.control, &wire.Call{API: wire.CreateTopics, Body: func(w *wire.Writer) {
		w.I32(int32(len(topics)))
		for _, t := range topics {
			w.Str(t.Name)
			w.I32(orDefault(t.Partitions))
			w.I16(int16(orDefault(t.Replication)))
			w.I32(0) // no assignments of ours
			w.I32(int32(len(t.Config)))
			for _, k := range slices.Sorted(maps.Keys(t.Config)) {
				w.Str(k)
				w.Str(t.Config[k])
			}
		}
		w.I32(int32(requestTimeout.Milliseconds()))
		w.I8(0)
	}, Route: wire.ToController})
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	var errs []error
	r.I32() // throttle
	r.Each(func() {
		name, code, text := r.Str(), kafkago.Error(r.I16()), r.Str()
		switch {
		case code == 0, code == kafkago.TopicAlreadyExists:
		case text != "":
			errs = append(errs, fmt.Errorf("create topic %s: %w: %s", name, code, text))
		default:
			errs = append(errs, fmt.Errorf("create topic %s: %w", name, code))
		}
	})
	if r.Err != nil {
		return fmt.Errorf("create topics: %w", r.Err)
	}
	return errors.Join(errs...)
}

func orDefault(n int) int32 {
	if n == 0 {
		return -1
	}
	return int32(n)
}

// Points in a partition that brokers know by name instead of a time in milliseconds.
const (
	logEnd   int64 = -1
	logStart int64 = -2
)

// leader asks who leads a partition.
func (c *Client) leader(ctx context.Context, topic string, partition int32) (int32, error) {
	list, err := c.Topics(ctx, topic)
	if err != nil {
		return -1, err
	}
	if list[0].Err != nil {
		return -1, fmt.Errorf("topic %s: %w", topic, list[0].Err)
	}
	leader := list[0].Leader(partition)
	if leader < 0 {
		return -1, fmt.Errorf("%s/%d: %w", topic, partition, kafkago.LeaderNotAvailable)
	}
	return leader, nil
}

// offsetOf asks the leader of a partition for the offset of a point in it that is
// always there. With committed, the end is that of what read_committed sees.
func (c *Client) offsetOf(ctx context.Context, t *kafkago.Transport, route wire.Route, topic string, partition int32, point int64, committed bool) (int64, error) {
	offset, err := c.lookUp(ctx, t, route, topic, partition, point, committed)
	if err == nil && offset < 0 {
		err = fmt.Errorf("ask for offsets of %s/%d: the broker knows none", topic, partition)
	}
	return offset, err
}

// lookUp asks for the offset of a point in a partition: a name, or a time, which stands for
// the first message that is not older. It is -1 if there is none.
func (c *Client) lookUp(ctx context.Context, t *kafkago.Transport, route wire.Route, topic string, partition int32, point int64, committed bool) (int64, error) {
	r, err := c.ask(ctx, t, &wire.Call{API: wire.ListOffsets, Body: func(w *wire.Writer) {
		w.I32(-1)
		w.Bool(committed) // isolation level
		w.I32(1)
		w.Str(topic)
		w.I32(1)
		w.I32(partition)
		w.I32(-1) // leader epoch: any
		w.I64(point)
	}, Route: route})
	if err != nil {
		return 0, fmt.Errorf("ask for offsets of %s/%d: %w", topic, partition, err)
	}
	var code kafkago.Error
	offset := int64(-1)
	r.I32() // throttle
	r.Each(func() {
		r.Str()
		r.Each(func() {
			r.I32()
			code = kafkago.Error(r.I16())
			r.I64()
			offset = r.I64()
			r.I32()
		})
	})
	if r.Err != nil {
		return 0, fmt.Errorf("ask for offsets of %s/%d: %w", topic, partition, r.Err)
	}
	if code != 0 {
		return 0, fmt.Errorf("ask for offsets of %s/%d: %w", topic, partition, code)
	}
	return offset, nil
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// IsTopicName reports whether brokers take s as the name of a topic.
func IsTopicName(s string) bool {
	return topicName.MatchString(s) && s != "." && s != ".."
}
