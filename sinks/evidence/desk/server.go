package desk

import (
	"context"
	"encoding/json"
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
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Server is the daemon's side of the control socket.
type Server struct {
	log      *slog.Logger
	works    *local
	desk     *Conn // for what the daemon does by itself
	listener net.Listener
	release  func()
	stop     sync.Once
	closed   error // of stop
}

// ServerOptions is what [Listen] needs: a desk, and the log and keys that the daemon holds.
type ServerOptions struct {
	Options
	Log  *evidence.Log
	Keys *keys.Ring // nil where nothing is encrypted
}

// Listen makes the control socket <dir>/desk.sock, which only its owner can use, and begins to
// accept; [Server.Run] answers. Whoever calls it holds the log, so a socket that is there already
// was left by a process that died, and is removed.
func Listen(o ServerOptions) (*Server, error) {
	c := newConn(o.Options)
	w := &local{log: o.Log, dir: c.dir, ring: o.Keys}
	c.works = w
	name, release, err := socketAt(c.dir)
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
	return &Server{log: c.o.Logger, works: w, desk: c, listener: l, release: release}, nil
}

// Resume finishes what an earlier life was about to destroy, before anything is read or
// written: see [Conn.Resume]. A file that is not the one that was approved to be unlinked
// is for people to look at; it does not keep the daemon from starting.
func (s *Server) Resume(ctx context.Context) error {
	err := s.desk.Resume(ctx)
	if errors.Is(err, ErrUndone) {
		s.log.Error("what was approved to be destroyed is not destroyed yet", "err", err)
		return nil
	}
	return err
}

// duties is how often the daemon looks for keys whose duty to be kept has ended. Duties
// end with a day.
const duties = 24 * time.Hour

// keepDuties destroys what was put aside until now, now and once a day, until ctx ends.
func (s *Server) keepDuties(ctx context.Context) {
	t := time.NewTicker(duties)
	defer t.Stop()
	for {
		if err := s.desk.ShredDue(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("keys whose duty may have ended are not destroyed yet; it is tried again tomorrow", "err", err)
		}
		if s.works.ring != nil {
			gone, err := s.works.ring.ExpireEscrow()
			if err != nil {
				s.log.Error("escrow that has expired is not destroyed yet; it is tried again tomorrow", "err", err)
			}
			for _, name := range gone {
				s.log.Info("destroyed escrow that has expired", "file", name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Run answers until ctx ends, then finishes what it has in hand, removes the socket and returns
// nil.
func (s *Server) Run(ctx context.Context) (err error) {
	// Whoever closes first, the other waits until the socket is gone.
	defer func() { err = errors.Join(err, s.Close()) }()
	defer context.AfterFunc(ctx, func() { s.Close() })() //nolint:errcheck // the error is told above
	var callers sync.WaitGroup
	defer callers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	callers.Go(func() { s.keepDuties(ctx) })
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
	w := s.works
	switch r.Do {
	case doHello:
		return answer{Result: []byte("{}")}
	case doAppend:
		return done(r, func(a appending) (int64, error) {
			index, err := w.append(ctx, a)
			if err == nil {
				s.log.Info("a statement was appended at the control socket", "kind", a.Kind.String(), "index", index)
			}
			return index, err
		})
	case doSeal:
		return done(r, func(nothing) (nothing, error) { return nothing{}, w.seal(ctx) })
	case doAbout:
		return done(r, func(subject string) (person, error) { return w.about(ctx, subject) })
	case doShred:
		return done(r, func(x shredding) (nothing, error) { return nothing{}, w.shred(ctx, x) })
	case doRestrict:
		return done(r, func(x restricting) (nothing, error) { return nothing{}, w.restrict(ctx, x) })
	case doEscrow:
		return done(r, func(x escrowing) (string, error) { return w.escrow(ctx, x) })
	case doDrop:
		return done(r, func(x dropping) (nothing, error) { return nothing{}, w.drop(ctx, x) })
	case doClear:
		return done(r, func(files []string) (nothing, error) { return nothing{}, w.clear(ctx, files) })
	case doDue:
		return done(r, func(nothing) ([]string, error) { return w.due(ctx) })
	case doDamaged:
		return done(r, func(nothing) ([]DamagedKey, error) { return w.damaged(ctx) })
	case doGiveUp:
		return done(r, func(g givingUp) (int64, error) { return w.giveUp(ctx, g) })
	case doRotate:
		return done(r, func(nothing) (keys.Rotation, error) { return w.rotate(ctx) })
	}
	return answer{Error: fmt.Sprintf("%q is nothing that is done here; the daemon may be older than the command", r.Do)}
}

// done does what a request asks for.
func done[A, R any](r *request, do func(A) (R, error)) (a answer) {
	var with A
	if err := json.Unmarshal(r.With, &with); err != nil {
		return answer{Error: fmt.Sprintf("not understood: %v", err)}
	}
	result, err := do(with)
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}
