package desk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// ErrUnsure means that it is not known whether what was asked for is done: the daemon's answer did
// not come. Ask again; a statement may then stand in the log twice, which is no fault.
var ErrUnsure = errors.New("no answer from the daemon, so it may be done or not")

// ErrUndone means that something that was approved to be destroyed is not destroyed: somebody must
// look at it. It is tried again by whoever comes to the desk next.
var ErrUndone = errors.New("approved, and not destroyed")

// Options says whose desk it is. Log with Dir and Origin is required.
type Options struct {
	// Log is how the log is opened where no daemon holds it. Its Keys are opened here.
	Log     evidence.Options
	Master  keys.Config // where the master key is
	Encrypt bool        // new records are encrypted: what evidence.encrypt says

	Retention retention.Classes
	Reviewers retention.Reviewers

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: silent

	calls *calls // tests
}

// Conn appends statements to a log, whoever holds it, and carries out what they say. It is for one
// goroutine.
type Conn struct {
	o     Options
	dir   string
	calls *calls
	works worker
	close func() error
}

// Dial asks the daemon that holds the log of o.Log.Origin in o.Log.Dir, or opens log and keys where
// no daemon runs. A log that does not exist is not begun. Close must be called.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	c := newConn(o)
	r := &remote{dir: c.dir, origin: o.Log.Origin}
	_, err := r.ask(ctx, request{Do: doHello, With: []byte("{}")})
	switch {
	case err == nil:
		c.works = r
		return c, nil
	case !errors.Is(err, errNobody):
		return nil, err
	}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

func newConn(o Options) *Conn {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.calls == nil {
		o.calls = systemCalls()
	}
	if o.Log.Store != nil {
		o.calls = o.calls.with(o.Log.Store, o.Log.Dir)
	}
	return &Conn{o: o, dir: o.Log.Dir, calls: o.calls, close: func() error { return nil }}
}

// open opens the log and its keys here.
func (c *Conn) open() (err error) {
	o := c.o.Log
	if _, err := os.Stat(filepath.Join(o.Dir, "log", filepath.Base(o.Origin))); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s holds no log %s; name the configuration of the daemon that wrote it", o.Dir, o.Origin)
		}
		return err
	}
	var ring *keys.Ring
	closeRing := func() error { return nil }
	if evidence.HasKeys(o.Dir) {
		erased, err := Erased(o.Dir)
		if err != nil {
			return err
		}
		ring, err = evidence.OpenKeys(o.Dir, keys.Options{Master: c.o.Master, Erased: erased, Now: c.o.Now, Logger: c.o.Logger})
		if errors.Is(err, keys.ErrLocked) {
			return c.held(err)
		}
		if err != nil {
			return err
		}
		closeRing = ring.Close
		o.Forgotten = Forgotten(ring)
		if c.o.Encrypt {
			o.Keys = ring
		}
	}
	log, err := evidence.Open(o)
	if errors.Is(err, evidence.ErrLocked) {
		err = c.held(err)
	}
	if err != nil {
		return errors.Join(err, closeRing())
	}
	c.works = &local{log: log, dir: o.Dir, ring: ring}
	c.close = func() error { return errors.Join(log.Close(), closeRing()) }
	return nil
}

func (c *Conn) held(err error) error {
	return fmt.Errorf("a process holds the log and does not answer on %s; wait until the daemon is up, or stop what it is: %w", filepath.Join(c.dir, socketName), err)
}

// Forgotten returns what tells a log that is sealed whose terms are not to be indexed: those of
// records whose keys were destroyed.
func Forgotten(ring *keys.Ring) func(evidence.Class, []byte) bool {
	return func(class evidence.Class, handle []byte) bool {
		return len(handle) == len(keys.Handle{}) && ring.Erased(class.String(), keys.Handle(handle))
	}
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
	return c.works.append(ctx, appending{id.String(), kind, b})
}

// Seal moves the bodies of all records so far into files by class and day.
func (c *Conn) Seal(ctx context.Context) error { return c.works.seal(ctx) }

// Rotate replaces the master key: after it no older copy of the keys opens anything. It
// is on record when it returns.
func (c *Conn) Rotate(ctx context.Context) (keys.Rotation, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return keys.Rotation{}, err
	}
	defer unlock()
	return c.works.rotate(ctx)
}
