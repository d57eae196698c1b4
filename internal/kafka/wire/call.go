package wire

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Call is a small request whose answer fits into memory as a whole.
type Call struct {
	API   API
	Body  func(w *Writer) // called before anything is sent
	Route Route           // nil: any broker

	request []byte
}

// Answer is what a broker answered to a Call, without its head.
type Answer struct {
	key  protocol.ApiKey
	Body []byte
}

// ApiKey is what kafka-go picks the answer's type by; it has no use here.
func (c *Call) ApiKey() protocol.ApiKey { return c.API.Key }

// ApiKey is the same for the answer.
func (a *Answer) ApiKey() protocol.ApiKey { return a.key }

// Required says that this is a raw exchange.
func (c *Call) Required(map[protocol.ApiKey]int16) bool { return true }

// Broker says which broker to ask.
func (c *Call) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	if c.Route == nil {
		return toAnyBut(-1)(cluster)
	}
	return c.Route(cluster)
}

// RawExchange sends the request and reads the answer. It runs in a goroutine of the
// connection, which may begin with it when the caller has given up.
func (c *Call) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	n, err := Exchange(rw, c.request, MaxAnswer)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	if c.API.Flexible {
		r := Reader{B: b}
		if r.Tags(); r.Err != nil {
			return nil, r.Err
		}
		b = r.B
	}
	return &Answer{c.API.Key, b}, nil
}

// Ask sends a small request under a client's name and returns the body of its
// answer. The request is written here and not when it is sent: that may be when the
// caller has given up and changes what it was made of.
func (send RoundTrip) Ask(ctx context.Context, limit time.Duration, client string, c *Call) (*Reader, error) {
	var w Writer
	w.Begin(c.API, client)
	c.Body(&w)
	c.request = w.Finish()
	r, err := send(ctx, limit, c)
	if err != nil {
		return nil, err
	}
	return &Reader{B: r.(*Answer).Body}, nil
}

// Route picks the broker a request goes to out of what is known of the cluster.
type Route func(protocol.Cluster) (protocol.Broker, error)

// none lets kafka-go take the connection it asks for metadata.
var none = protocol.Broker{ID: -1}

// toAnyBut takes a broker by chance, not in turn: clients in step would each meet
// the same dead broker for ever. The one with the id is taken only if there is no
// other.
func toAnyBut(avoid int32) Route {
	return func(c protocol.Cluster) (protocol.Broker, error) {
		ids := c.BrokerIDs()
		if others := slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return id == avoid }); len(others) > 0 {
			ids = others
		}
		if len(ids) == 0 {
			return none, nil
		}
		return c.Brokers[ids[rand.IntN(len(ids))]], nil
	}
}

// ToBroker goes to the broker with an id.
func ToBroker(id int32) Route {
	return func(c protocol.Cluster) (protocol.Broker, error) {
		b, ok := c.Brokers[id]
		if !ok {
			return none, fmt.Errorf("broker %d: %w", id, kafkago.BrokerNotAvailable)
		}
		return b, nil
	}
}

// ToController goes to the broker that makes topics, as far as it is known.
func ToController(c protocol.Cluster) (protocol.Broker, error) {
	if b, ok := c.Brokers[c.Controller]; ok {
		return b, nil
	}
	return none, nil
}

// ToLeader goes to the broker that leads a partition.
func ToLeader(topic string, partition int32) Route {
	return func(c protocol.Cluster) (protocol.Broker, error) {
		t, ok := c.Topics[topic]
		if !ok || t.Error != 0 {
			return none, fmt.Errorf("topic %s: %w", topic, kafkago.UnknownTopicOrPartition)
		}
		p, ok := t.Partitions[partition]
		if !ok {
			return none, fmt.Errorf("topic %s has no partition %d: %w", topic, partition, kafkago.UnknownTopicOrPartition)
		}
		b, ok := c.Brokers[p.Leader]
		if !ok {
			return none, fmt.Errorf("%s/%d: %w", topic, partition, kafkago.LeaderNotAvailable)
		}
		return b, nil
	}
}
