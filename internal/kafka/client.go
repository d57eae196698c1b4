// Package kafka is Weir's Kafka client: what kafka-go lacks, built over its
// connections.
//
// A [Client] knows how to reach the brokers. A [Consumer] is a member of a
// consumer group that hands batches to a function, partition by partition, and
// commits what is finished. A [produce.Producer] writes messages and returns when
// the brokers have them. Record batches are read and written by package batch.
// What it is not: a general client. It does what a daemon needs that must lose
// nothing; kafka-go's Reader and Writer are not used (docs/decisions say why).
//
// The one thing to know: every request has a deadline of its own, because a
// frozen broker accepts connections and never answers; and nothing here gives
// up on a broker that is away, it waits and tries again.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Deadlines and intervals.
const (
	requestTimeout = wire.Timeout
	dialTimeout    = 3 * time.Second // of a connection with its TLS handshake and login
	// metadataTTL is how old our knowledge of leaders may be. kafka-go's own
	// six seconds are how long a moved leader would stall a partition.
	metadataTTL = 500 * time.Millisecond
)

// ErrClosed is returned by everything a closed Client is asked to do.
var ErrClosed = wire.ErrClosed

// Header is one header of a message. A nil Value stands for null.
type Header = batch.Header

// Options are the parts of a Client that no file configures.
type Options struct {
	// Dial opens connections; nil means TCP. Tests put a network of their own here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client knows how to reach the brokers. It may be used by many goroutines.
type Client struct {
	config Config
	addr   net.Addr
	dialer *kafkago.Dialer // for preflight and group membership
	line   *line
	ctx    context.Context // of work that no caller's context bounds; ends with Close
	cancel context.CancelFunc
	// control carries what is not about a certain topic.
	control *kafkago.Transport

	mu         sync.Mutex
	closed     bool
	transports []*kafkago.Transport
	producers  []*produce.Producer
}

// NewClient returns a client. It reads the files that c names and connects to
// nobody yet: [Client.Preflight] does.
func NewClient(c Config, o Options) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	secure, err := c.TLS.Handshake("tls")
	if err != nil {
		return nil, err
	}
	login, err := c.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	l := newLine(o.Dial, secure)
	cl := &Client{config: c, addr: kafkago.TCP(c.Brokers...), line: l}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	cl.dialer = &kafkago.Dialer{ClientID: c.ClientID, Timeout: dialTimeout, DialFunc: l.dial, SASLMechanism: login}
	// No topics: an empty list asks for none, nil would ask for all.
	cl.control = cl.newTransport([]string{}, login)
	return cl, nil
}

// newTransport returns a transport that keeps itself informed about topics. Each
// user of the client has its own: a transport knows the leaders of the topics
// it was made for and no others.
func (c *Client) newTransport(topics []string, login sasl.Mechanism) *kafkago.Transport {
	t := &kafkago.Transport{
		Dial:           c.line.dial,
		DialTimeout:    dialTimeout,
		IdleTimeout:    30 * time.Second,
		MetadataTTL:    metadataTTL,
		MetadataTopics: topics,
		ClientID:       c.config.ClientID,
		SASL:           login,
		Context:        c.ctx,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transports = append(c.transports, t)
	return t
}

func (c *Client) transport(topics []string) *kafkago.Transport {
	return c.newTransport(topics, c.dialer.SASLMechanism)
}

// Close ends every connection. Requests under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	transports, producers := c.transports, c.producers
	c.transports, c.producers = nil, nil
	c.mu.Unlock()
	c.cancel()
	c.line.cut()
	for _, t := range transports {
		t.CloseIdleConnections()
	}
	for _, p := range producers {
		p.Close()
	}
	return nil
}

// NewProducer returns a producer. It connects with its first call and ends with
// the client.
func (c *Client) NewProducer(o produce.Options) *produce.Producer {
	// Without topics: the producer learns of their leaders itself.
	p := produce.New(c.over(c.transport([]string{})), c.config.ClientID, o)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		p.Close()
	} else {
		c.producers = append(c.producers, p)
	}
	return p
}

// release ends the connections of a transport that is no longer needed.
func (c *Client) release(t *kafkago.Transport) {
	c.mu.Lock()
	for i := range c.transports {
		if c.transports[i] == t {
			c.transports = append(c.transports[:i], c.transports[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	t.CloseIdleConnections()
}

// roundTrip sends a request, with a deadline of its own.
func (c *Client) roundTrip(ctx context.Context, t *kafkago.Transport, limit time.Duration, m protocol.Message) (protocol.Message, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := t.RoundTrip(ctx, c.addr, m)
	switch {
	case err == nil:
		return r, nil
	case c.ctx.Err() != nil:
		return nil, ErrClosed
	case parent.Err() != nil:
		return nil, parent.Err()
	case errors.Is(err, context.DeadlineExceeded):
		// Not the caller's deadline: nobody shall take it for one.
		return nil, fmt.Errorf("no answer within %v", limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("the broker closed the connection")
	}
	return nil, err
}

// over returns how requests get to brokers over a transport.
func (c *Client) over(t *kafkago.Transport) wire.RoundTrip {
	return func(ctx context.Context, limit time.Duration, m protocol.Message) (protocol.Message, error) {
		return c.roundTrip(ctx, t, limit, m)
	}
}

// ask sends a small request and returns the body of its answer.
func (c *Client) ask(ctx context.Context, t *kafkago.Transport, q *wire.Call) (*wire.Reader, error) {
	return c.over(t).Ask(ctx, requestTimeout, c.config.ClientID, q)
}
