//go:build unix

package desk

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lockWait is how often a lock that somebody else has is asked for again. The system can wait for
// it, too, but not for the end of a context.
const lockWait = 50 * time.Millisecond

// flock waits until this process alone holds the lock of the file, or ctx ends.
func flock(ctx context.Context, f *os.File) error {
	t := time.NewTicker(lockWait)
	defer t.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
