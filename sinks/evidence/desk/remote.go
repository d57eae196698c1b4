package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// remote asks the daemon.
type remote struct{ dir, origin string }

// errNobody means that no daemon listens.
var errNobody = errors.New("no daemon listens")

func (r *remote) append(ctx context.Context, a appending) (int64, error) {
	return call[int64](ctx, r, doAppend, a)
}

func (r *remote) seal(ctx context.Context) error {
	_, err := call[nothing](ctx, r, doSeal, nothing{})
	return err
}

func (r *remote) about(ctx context.Context, subject string) (person, error) {
	return call[person](ctx, r, doAbout, subject)
}

func (r *remote) shred(ctx context.Context, s shredding) error {
	_, err := call[nothing](ctx, r, doShred, s)
	return err
}

func (r *remote) restrict(ctx context.Context, x restricting) error {
	_, err := call[nothing](ctx, r, doRestrict, x)
	return err
}

func (r *remote) escrow(ctx context.Context, e escrowing) (string, error) {
	return call[string](ctx, r, doEscrow, e)
}

func (r *remote) drop(ctx context.Context, d dropping) error {
	_, err := call[nothing](ctx, r, doDrop, d)
	return err
}

func (r *remote) clear(ctx context.Context, files []string) error {
	_, err := call[nothing](ctx, r, doClear, files)
	return err
}

func (r *remote) due(ctx context.Context) ([]string, error) {
	return call[[]string](ctx, r, doDue, nothing{})
}

func (r *remote) damaged(ctx context.Context) ([]DamagedKey, error) {
	return call[[]DamagedKey](ctx, r, doDamaged, nothing{})
}

func (r *remote) giveUp(ctx context.Context, g givingUp) (int64, error) {
	return call[int64](ctx, r, doGiveUp, g)
}

func (r *remote) rotate(ctx context.Context) (keys.Rotation, error) {
	return call[keys.Rotation](ctx, r, doRotate, nothing{})
}

// call asks for one thing to be done and waits until it is.
func call[R any](ctx context.Context, r *remote, do string, with any) (result R, err error) {
	b, err := json.Marshal(with)
	if err != nil {
		return result, err
	}
	a, err := r.ask(ctx, request{Do: do, With: b})
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal(a.Result, &result); err != nil {
		return result, fmt.Errorf("understand the daemon's answer: %w", err)
	}
	return result, nil
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
