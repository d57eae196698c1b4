package desk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// ErrUnsure means that it is not known whether a statement is in the log: the daemon's answer did
// not come. Say it again; it may then stand there twice, which is no fault.
var ErrUnsure = errors.New("no answer from the daemon, so the record may or may not be in the log")

// Conn appends statements to a log, whoever holds it. It is for one goroutine.
type Conn struct {
	works worker
	close func() error
}

// worker does on a log what people ask for: [local] on one that is open here, [remote] by asking
// the daemon that holds it.
type worker interface {
	append(ctx context.Context, id evidence.ID, kind evidence.Kind, body []byte) (int64, error)
}

// Dial asks the daemon that holds the log of o.Origin in o.Dir to append, or opens the log where no
// daemon runs. A log that does not exist is not begun. Close must be called.
func Dial(ctx context.Context, o evidence.Options) (*Conn, error) {
	r := &remote{dir: o.Dir, origin: o.Origin}
	_, err := r.ask(ctx, request{Do: doHello})
	switch {
	case err == nil:
		return &Conn{works: r, close: func() error { return nil }}, nil
	case !errors.Is(err, errNobody):
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "log", filepath.Base(o.Origin))); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s holds no log %s; name the configuration of the daemon that wrote it", o.Dir, o.Origin)
		}
		return nil, err
	}
	log, err := evidence.Open(o)
	if errors.Is(err, evidence.ErrLocked) {
		return nil, fmt.Errorf("a process holds the log and does not answer on %s; wait until the daemon is up, or stop what it is: %w", filepath.Join(o.Dir, socketName), err)
	}
	if err != nil {
		return nil, err
	}
	return &Conn{works: &local{log: log}, close: log.Close}, nil
}

// Close lets the log go, if it was opened here; it is signed then.
func (c *Conn) Close() error { return c.close() }

// Append makes a statement of class audit: kind is one of 32 to 63, body what encoding/json makes an
// object of. When it returns without an error the record is durable at index. ErrUnsure is the one
// error after which it may be, too.
func (c *Conn) Append(ctx context.Context, kind evidence.Kind, body any) (index int64, id evidence.ID, err error) {
	rand.Read(id[:]) // never fails: it ends the process first
	index, err = c.appendAs(ctx, id, kind, body)
	return index, id, err
}

// appendAs is Append under an id that was computed: saying the same again is then recognised.
func (c *Conn) appendAs(ctx context.Context, id evidence.ID, kind evidence.Kind, body any) (int64, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, fmt.Errorf("write statement: %w", err)
	}
	if err := checkStatement(kind, b); err != nil {
		return 0, err
	}
	return c.works.append(ctx, id, kind, b)
}

// remote asks the daemon.
type remote struct{ dir, origin string }

// errNobody means that no daemon listens.
var errNobody = errors.New("no daemon listens")

func (r *remote) append(ctx context.Context, id evidence.ID, kind evidence.Kind, body []byte) (int64, error) {
	a, err := r.ask(ctx, request{Do: doAppend, ID: id.String(), Kind: kind, Body: body})
	return a.Index, err
}

// ask sends one request and waits for its answer.
func (r *remote) ask(ctx context.Context, q request) (a answer, err error) {
	name, release, err := socketAt(r.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return a, errNobody
		}
		return a, err
	}
	defer release()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return a, errNobody
	case err != nil:
		return a, fmt.Errorf("talk to the daemon: %w", err)
	}
	defer c.Close()                                                      //nolint:errcheck // one request, one answer: nothing is lost
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })() //nolint:errcheck // only hastens the end
	if err := c.SetWriteDeadline(time.Now().Add(talkTime)); err != nil {
		return a, fmt.Errorf("talk to the daemon: %w", err)
	}
	q.Origin = r.origin
	if err := send(c, q); err != nil {
		return a, unsure(q, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(talkTime + workTime)); err != nil {
		return a, unsure(q, err)
	}
	if err := receive(c, &a); err != nil {
		return a, unsure(q, err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

// unsure is the error of a request that may have been carried out.
func unsure(q request, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it hung up")
	}
	if q.Do == doHello {
		return fmt.Errorf("talk to the daemon: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnsure, err)
}
