// Package ask answers who must know before publishing: an event comes in by HTTP and
// its verdict goes back in the answer.
//
// It is a second source of the same pipeline, beside [ingest]: what is asked is judged
// under the same rule set and policy, leaves the same evidence and the same messages
// on the topics, and all of that is durable before the answer. What it is not: a second
// judge. The one thing to know: no answer but 200 says anything about an event, and
// whoever gets another must not take it for a pass.
//
// Requests that wait at the same time are judged as one batch, so that they share
// an fsync, a round trip to Redis and a produce request. An event that is asked about
// lies nowhere; it is named by its bytes, so that the same bytes asked again have the
// same ids.
//
// [ingest]: https://pkg.go.dev/github.com/weir-moderation/weir/pipeline/ingest
package ask

import (
	"context"
	"crypto/tls"
	_ "embed" // the description of the interface
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Limits of what is taken from whoever reaches the listener.
const (
	headerTimeout = 5 * time.Second // from the first byte of a request to the last of its headers
	readTimeout   = 5 * time.Second // to the last of its body
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
	maxConns      = 4096     // at once; who comes next waits
	maxBodies     = 64 << 20 // bytes of all requests in hand
)

// Path is where events are asked about. It stands for the topic in ids, evidence and the
// ledger; no topic of Kafka can have such a name.
const Path = "/v1/judge"

// OpenAPI describes the interface. docs/openapi.yaml is the same.
//
//go:generate cp openapi.yaml ../../docs/openapi.yaml
//go:embed openapi.yaml
var OpenAPI []byte

// Options is what a Server is made of.
type Options struct {
	Config Config
	Events event.Config
	// Pushes says that there is a policy to decide pushes by.
	Pushes bool
	// Evidence is the origin of the log in which the evidence of the answers is.
	Evidence   string
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nowhere
}

// Server answers. It listens from [Open] on and serves while Run runs. It is a [pipeline.Source].
type Server struct {
	o        Options
	listener net.Listener
	door     *door
	log      *slog.Logger
	metrics  *metrics
	decoders sync.Pool // *event.Decoder
	lanes    map[event.Kind]*queue

	slots  chan struct{} // one for each request in hand
	bodies *semaphore.Weighted
	open   atomic.Bool
}

// Open reads the files with secrets and listens.
func Open(o Options) (*Server, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Logger, slots: make(chan struct{}, o.Config.MaxRequests), bodies: semaphore.NewWeighted(max(maxBodies, int64(o.Events.MaxBytes)))}
	s.decoders.New = func() any { return event.NewDecoder(o.Events) }
	var err error
	if s.door, err = newDoor(&o.Config); err != nil {
		return nil, err
	}
	s.lanes = map[event.Kind]*queue{event.Post: newQueue(event.Post, 0, o.Config.MaxRequests)}
	if o.Pushes {
		s.lanes[event.Push] = newQueue(event.Push, lanesEach, o.Config.MaxRequests)
	}
	if s.listener, err = net.Listen("tcp", o.Config.Listen); err != nil {
		return nil, fmt.Errorf("open the listener of the api: %w", err)
	}
	s.metrics = newMetrics(o.Registerer, func() float64 { return float64(len(s.slots)) })
	return s, nil
}

// URL returns where events are asked about.
func (s *Server) URL() string {
	scheme := "http"
	if s.door.tls != nil {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String() + Path
}

// Login says in words who is let in.
func (s *Server) Login() string { return s.door.login() }

// InHand returns how many requests are in hand, and how many may be.
func (s *Server) InHand() (n, most int) { return len(s.slots), cap(s.slots) }

// Close lets go of the address if Run never did.
func (s *Server) Close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run answers until ctx ends: then new requests are refused, those in hand are answered and
// put on the account, and it returns.
func (s *Server) Run(ctx context.Context, h pipeline.Handler) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + 2*s.o.Config.Deadline,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// What strangers send to a port, such as broken handshakes, is not news.
		ErrorLog:     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1: one request at a time is what is counted
	}
	listener := netutil.LimitListener(s.listener, maxConns)
	if s.door.tls != nil {
		listener = tls.NewListener(listener, s.door.tls)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g, ctx := errgroup.WithContext(ctx)
	drained := make(chan struct{})
	for _, q := range s.lanes {
		for _, l := range q.lanes {
			g.Go(func() error { return l.run(ctx, h, s.metrics, stop, drained) })
		}
	}
	g.Go(func() error { return s.account(ctx, h, drained) })
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("api: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.open.Store(false)
		for range cap(s.slots) {
			s.slots <- struct{}{} // when all are ours, nothing is in hand
		}
		close(drained)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close() // a client that does not read must not hold the process
		}
		return nil
	})
	s.open.Store(true)
	return g.Wait()
}
