package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Kind is what a coordinator coordinates.
type Kind int8

// The kinds.
const (
	OfGroup       Kind = 0
	OfTransaction Kind = 1
)

// Coordinator asks the broker that coordinates a group or a transactional id, and
// remembers which one that is. It may be used by many goroutines.
type Coordinator struct {
	Send   RoundTrip
	Client string
	Kind   Kind
	Name   string // of the group, or the transactional id

	node    atomic.Int64 // id of the broker plus 1; 0 when it has to be found
	doubted atomic.Int64 // id of the broker that was forgotten last plus 1: it may hang
}

// Find asks a broker who coordinates. It remembers nothing.
func (c *Coordinator) Find(ctx context.Context) (int32, error) {
	return c.FindBeside(ctx, int32(c.doubted.Load()-1))
}

// FindBeside is Find without the broker to avoid, if there is another: it may be
// frozen, and would take as long to say nothing.
func (c *Coordinator) FindBeside(ctx context.Context, avoid int32) (int32, error) {
	r, err := c.Send.Ask(ctx, Timeout, c.Client, &Call{API: FindCoordinator, Body: func(w *Writer) {
		w.Str(c.Name)
		w.I8(int8(c.Kind))
	}, Route: toAnyBut(avoid)})
	if err != nil {
		return -1, err
	}
	r.I32() // throttle
	err = r.Code()
	r.Str() // what it says
	node := r.I32()
	if err == nil {
		err = r.Err
	}
	return node, err
}

// Node returns the broker that coordinates, and asks for it if that is not known.
// Fresh says that it was asked for just now.
func (c *Coordinator) Node(ctx context.Context) (node int32, fresh bool, err error) {
	if n := c.node.Load(); n != 0 {
		return int32(n - 1), false, nil
	}
	node, err = c.Find(ctx)
	if err != nil {
		return -1, false, fmt.Errorf("find coordinator: %w", err)
	}
	c.node.Store(int64(node) + 1)
	return node, true, nil
}

// Forget says that a broker may not coordinate any more.
func (c *Coordinator) Forget(node int32) {
	if c.node.CompareAndSwap(int64(node)+1, 0) {
		c.doubted.Store(int64(node) + 1)
	}
}

// Ask sends a request to a coordinator and returns the body of its answer.
func (c *Coordinator) Ask(ctx context.Context, node int32, limit time.Duration, q *Call) (*Reader, error) {
	q.Route = ToBroker(node)
	return c.Send.Ask(ctx, limit, c.Client, q)
}

// Retriable reports whether the same request may succeed if it is sent again, to
// whoever is in charge then. Errors of the network and deadlines are among it.
func Retriable(err error) bool {
	code, ok := errors.AsType[kafkago.Error](err)
	if err == nil || !ok {
		return err != nil
	}
	return slices.Contains(retriable, code)
}

var retriable = []kafkago.Error{
	kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup,
	kafkago.BrokerNotAvailable, kafkago.RequestTimedOut, kafkago.NetworkException,
	kafkago.UnknownTopicOrPartition, kafkago.LeaderNotAvailable, kafkago.NotLeaderForPartition,
	kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend, kafkago.KafkaStorageError,
	kafkago.UnstableOffsetCommit, kafkago.ConcurrentTransactions,
}
