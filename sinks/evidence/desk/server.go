package desk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// Server is the daemon's side of the control socket.
type Server struct {
	log      *slog.Logger
	works    *local
	listener net.Listener
	release  func()
	stop     sync.Once
	closed   error // of stop
}

// ServerOptions is what [Listen] needs. Dir and Log are required.
type ServerOptions struct {
	Dir    string // the evidence directory, in which the socket is made
	Log    *evidence.Log
	Logger *slog.Logger // nil: silent
}

// Listen makes the control socket <dir>/desk.sock, which only its owner can use, and begins to
// accept; [Server.Run] answers. Whoever calls it holds the log, so a socket that is there already
// was left by a process that died, and is removed.
func Listen(o ServerOptions) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	name, release, err := socketAt(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		release()
		return nil, fmt.Errorf("remove the control socket of an earlier life: %w", err)
	}
	lc := net.ListenConfig{Control: ownerOnly}
	l, err := lc.Listen(context.Background(), "unix", name)
	if err != nil {
		release()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		err = errors.Join(fmt.Errorf("make control socket: %w", err), l.Close())
		release()
		return nil, err
	}
	return &Server{log: o.Logger, works: &local{log: o.Log}, listener: l, release: release}, nil
}

// Run answers until ctx ends, then finishes what it has in hand, removes the socket and returns
// nil.
func (s *Server) Run(ctx context.Context) (err error) {
	// Whoever closes first, the other waits until the socket is gone.
	defer func() { err = errors.Join(err, s.Close()) }()
	defer context.AfterFunc(ctx, func() { s.Close() })() //nolint:errcheck // the error is told above
	var callers sync.WaitGroup
	defer callers.Wait()
	room := make(chan struct{}, maxCallers)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept at the control socket: %w", err)
		}
		callers.Go(func() {
			defer func() { <-room }()
			s.serve(ctx, c)
		})
	}
}

// Close removes the socket. Run ends by it, too.
func (s *Server) Close() error {
	s.stop.Do(func() {
		s.closed = s.listener.Close() // unlinks it
		s.release()
	})
	return s.closed
}

// serve answers one request. Its answer is lost if the caller has gone: then he does not know
// whether the statement is in the log, and makes it again under the same id.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close() //nolint:errcheck // the answer was written, or could not be
	// A stop does not wait for who has not said yet what he wants.
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })() //nolint:errcheck // only hastens the end
	if err := c.SetDeadline(time.Now().Add(talkTime)); err != nil {
		return
	}
	var r request
	if err := receive(c, &r); err != nil {
		if !errors.Is(err, io.EOF) { // who looks whether anybody is here says nothing
			s.reply(c, answer{Error: fmt.Sprintf("not understood: %v", err)})
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTime)
	defer cancel()
	s.reply(c, s.do(ctx, &r))
}

func (s *Server) reply(c net.Conn, a answer) {
	err := c.SetWriteDeadline(time.Now().Add(talkTime))
	if err == nil {
		err = send(c, a)
	}
	if err != nil {
		s.log.Warn("an answer at the control socket did not arrive", "err", err)
	}
}

func (s *Server) do(ctx context.Context, r *request) (a answer) {
	if origin := s.works.log.Origin(); r.Origin != "" && r.Origin != origin {
		return answer{Error: fmt.Sprintf("the daemon here writes the log %s, not %s; name the configuration it was started with", origin, r.Origin)}
	}
	var err error
	switch r.Do {
	case doHello:
	case doAppend:
		var id evidence.ID
		if id, err = parseID(r.ID); err != nil {
			break
		}
		if a.Index, err = s.works.append(ctx, id, r.Kind, r.Body); err == nil {
			s.log.Info("a statement was appended at the control socket", "kind", r.Kind.String(), "index", a.Index)
		}
	default:
		err = fmt.Errorf("%q is nothing that is done here; the daemon may be older than the command", r.Do)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}
