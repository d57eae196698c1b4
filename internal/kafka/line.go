package kafka

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/weir-moderation/weir/internal/dial"
)

// line opens the client's connections and can cut all of them at once. A long
// poll, or a request to a broker that is frozen, would otherwise outlive its
// client by seconds.
type line struct {
	open   func(ctx context.Context, network, address string) (net.Conn, error)
	secure *dial.Handshake // nil without TLS

	mu    sync.Mutex
	isCut bool
	conns map[*connection]struct{}
}

func newLine(open func(context.Context, string, string) (net.Conn, error), secure *dial.Handshake) *line {
	if open == nil {
		open = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &line{open: open, secure: secure, conns: make(map[*connection]struct{})}
}

// connection is one connection of a line.
type connection struct {
	net.Conn
	line *line
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// Here and not by kafka-go, which would keep the certificates it began with.
	if conn, err = l.secure.Client(ctx, conn, address); err != nil {
		return nil, err
	}
	w := &connection{conn, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errors.Join(ErrClosed, conn.Close())
	}
	l.conns[w] = struct{}{}
	return w, nil
}

// cut closes every connection and lets no new one be opened.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for w := range l.conns {
		_ = w.Conn.Close() // what was sent is lost anyway
	}
	clear(l.conns)
}

// Close closes the connection.
func (w *connection) Close() error {
	w.line.mu.Lock()
	delete(w.line.conns, w)
	w.line.mu.Unlock()
	return w.Conn.Close()
}
