package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/group"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// What stands in this file looks at a cluster and changes nothing in it, so that an
// operator can be told all that is wrong at once. A daemon needs none of it.

// Operations are what we may do.
type Operations = wire.Operations

// Cluster is what the brokers say of the cluster.
type Cluster = wire.Cluster

// Detail is what the brokers say about a topic and about what we may do to it.
type Detail = wire.Detail

// The operations that matter here.
const (
	MayRead     = wire.Read
	MayWrite    = wire.Write
	MayCreate   = wire.Create
	MayDescribe = wire.Describe
)

// ErrNotAllowed says that we lack a right.
var ErrNotAllowed = errors.New("not allowed")

// allowed returns [ErrNotAllowed] for the answers that mean that.
func allowed(err error) error {
	for _, code := range []kafkago.Error{kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed, kafkago.ClusterAuthorizationFailed, kafkago.TransactionalIDAuthorizationFailed} {
		if errors.Is(err, code) {
			return ErrNotAllowed
		}
	}
	return err
}

// Survey asks the brokers about the cluster and about topics, in the order of their
// names; of one that we may not see, Err is [ErrNotAllowed].
func (c *Client) Survey(ctx context.Context, names ...string) (Cluster, []Detail, error) {
	r, err := c.ask(ctx, c.control, wire.AskDetails(append([]string{}, names...)))
	var cluster Cluster
	var list []Detail
	if err == nil {
		cluster, list, err = wire.ReadDetails(r)
	}
	if err != nil {
		return cluster, nil, fmt.Errorf("ask for topics: %w", err)
	}
	out := make([]Detail, len(names))
	for i, n := range names {
		out[i] = Detail{Topic: Topic{Name: n, Err: ErrNoTopic}}
		if at := slices.IndexFunc(list, func(t Detail) bool { return t.Name == n }); at >= 0 {
			out[i] = list[at]
			out[i].Err = allowed(out[i].Err)
		}
	}
	return cluster, out, nil
}

// Settings are those of a topic, by name, defaults included.
type Settings struct {
	Topic string
	Err   error // [ErrNotAllowed] where we lack the right DESCRIBE_CONFIGS
	Value map[string]string
}

// resourceTopic is the number of topics among what has settings.
const resourceTopic = 2

// Settings asks the brokers how topics are set.
func (c *Client) Settings(ctx context.Context, topics ...string) ([]Settings, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	r, err := c.ask(ctx, c.control, &wire.Call{API: wire.DescribeConfigs, Body: func(w *wire.Writer) {
		w.Len(len(topics))
		for _, t := range topics {
			w.I8(resourceTopic)
			w.Str(t)
			w.Len(-1) // all settings
		}
		w.Bool(false) // without synonyms
	}})
	if err != nil {
		return nil, fmt.Errorf("ask for the settings of topics: %w", err)
	}
	var list []Settings
	r.I32() // throttle
	r.Each(func() {
		s := Settings{Err: allowed(r.Code()), Value: make(map[string]string)}
		r.Str() // what it says
		r.I8()
		s.Topic = r.Str()
		r.Each(func() {
			name := r.Str()
			s.Value[name] = r.Str()
			r.I8() // read-only
			r.I8() // source
			r.I8() // sensitive
			r.Each(func() {
				r.Str()
				r.Str()
				r.I8()
			})
		})
		list = append(list, s)
	})
	if r.Err != nil {
		return nil, fmt.Errorf("ask for the settings of topics: %w", r.Err)
	}
	return list, nil
}

// Group is the state of a consumer group.
type Group struct {
	State    string // in Kafka's words: Stable, Empty, Dead, ...; Dead if nobody has heard of it
	Type     string // of its protocol: "consumer" if it reads topics; empty if it has no members
	Assignor string // the way in which it gives out partitions
	Members  []GroupMember
	May      Operations
}

// Offered reports whether a member of ours can join a group that uses an assignor.
func Offered(assignor string) bool { return group.Offers(assignor) }

// GroupMember is a member as its group knows it.
type GroupMember struct {
	Client, Host string
	Topics       []string // that it reads; nil if it has not said
}

// Group asks about the state of a group. It is [ErrNotAllowed] if we may not see it.
func (c *Client) Group(ctx context.Context, name string) (g Group, err error) {
	co := &wire.Coordinator{Send: c.over(c.control), Client: c.config.ClientID, Kind: wire.OfGroup, Name: name}
	err = c.coordinated(ctx, co, func(node int32) error {
		r, err := co.Ask(ctx, node, requestTimeout, &wire.Call{API: wire.DescribeGroups, Body: func(w *wire.Writer) {
			w.Len(1)
			w.Str(name)
			w.Bool(true) // with what we may do
		}})
		if err != nil {
			return err
		}
		r.I32() // throttle
		r.Each(func() {
			err = r.Code()
			r.Str()
			g = Group{State: r.Str(), Type: r.Str(), Assignor: r.Str()}
			r.Each(func() {
				r.Str() // its id
				m := GroupMember{Client: r.Str(), Host: r.Str()}
				m.Topics = group.Wants(r.Bytes())
				r.Bytes() // what it was given
				g.Members = append(g.Members, m)
			})
			g.May = Operations(r.I32())
		})
		return errors.Join(err, r.Err)
	})
	if errors.Is(err, kafkago.GroupIdNotFound) {
		return Group{State: "Dead"}, nil
	}
	if err != nil {
		return g, fmt.Errorf("ask about group %s: %w", name, allowed(err))
	}
	return g, nil
}

// MayProduce asks whether we may write as a producer whose repetitions brokers recognise.
// It is told a number that nobody uses then, and nothing else changes.
func (c *Client) MayProduce(ctx context.Context) error {
	return allowed(c.patiently(ctx, func() error {
		r, err := c.ask(ctx, c.control, &wire.Call{API: wire.InitProducerID, Body: func(w *wire.Writer) {
			w.StrOrNull("") // no transactions
			w.I32(int32(requestTimeout.Milliseconds()))
		}})
		if err != nil {
			return err
		}
		r.I32() // throttle
		return r.Code()
	}))
}

// MayTransact asks whether we may write in transactions under an id. It asks for the end
// of a transaction of a producer that does not exist, which the coordinator refuses after
// it has looked at our rights; id must be one that nobody uses.
func (c *Client) MayTransact(ctx context.Context, id string) error {
	co := &wire.Coordinator{Send: c.over(c.control), Client: c.config.ClientID, Kind: wire.OfTransaction, Name: id}
	err := c.coordinated(ctx, co, func(node int32) error {
		r, err := co.Ask(ctx, node, requestTimeout, &wire.Call{API: wire.EndTxn, Body: func(w *wire.Writer) {
			w.Str(id)
			w.I64(-1) // producer
			w.I16(-1) // its epoch
			w.Bool(false)
		}})
		if err != nil {
			return err
		}
		r.I32() // throttle
		return r.Code()
	})
	switch {
	case err == nil, errors.Is(err, kafkago.InvalidProducerIDMapping), errors.Is(err, kafkago.InvalidProducerEpoch):
		return nil // it would have been done, if there were such a transaction
	}
	return allowed(err)
}

// coordinated finds a coordinator and asks it.
func (c *Client) coordinated(ctx context.Context, co *wire.Coordinator, ask func(node int32) error) error {
	return c.patiently(ctx, func() error {
		node, err := co.Find(ctx)
		if err != nil {
			return err
		}
		return ask(node)
	})
}

// patiently asks again while an answer may come: a fresh cluster has no coordinators and no
// numbers for producers yet, and after a coordinator's death there is none for a while.
func (c *Client) patiently(ctx context.Context, ask func() error) error {
	began := time.Now()
	again := retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}
	for {
		err := ask()
		if err == nil || !wire.Retriable(err) || errors.Is(err, ErrClosed) || ctx.Err() != nil {
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
