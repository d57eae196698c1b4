package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/wire"
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
	co := &wire.Coordinator{Send: c.over(c.control), Client: c.config.ClientID, Kind: wire.OfGroup, Name: group}
	var list []Committed
	err := c.coordinated(ctx, co, func(node int32) (err error) {
		list, err = committed(ctx, co, node)
		return err
	})
	switch {
	case errors.Is(err, kafkago.GroupIdNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask for the committed offsets of group %s: %w", group, err)
	}
	return list, nil
}

// committed asks the group's coordinator once.
func committed(ctx context.Context, co *wire.Coordinator, node int32) ([]Committed, error) {
	r, err := co.Ask(ctx, node, requestTimeout, &wire.Call{API: wire.OffsetFetch, Body: func(w *wire.Writer) {
		w.CompactStr(co.Name)
		w.CompactLen(-1) // of all topics there are
		w.Bool(false)    // not waiting for transactions: a busy group always has one open
		w.NoTags()
	}})
	if err != nil {
		return nil, err
	}
	var list []Committed
	r.I32() // throttle
	err = group.ReadOffsets(r, func(p group.Partition, offset int64) {
		if offset >= 0 {
			list = append(list, Committed{p.Topic, p.ID, offset})
		}
	})
	slices.SortFunc(list, func(a, b Committed) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return list, err
}
