//go:build unix

package disk

import (
	"errors"
	"os"
	"syscall"
)

// Lock locks a directory against other writers, until the returned file is
// closed or the process ends. The directory itself is locked and no file in it:
// it cannot be removed while it holds anything, so no second writer can make
// itself a new lock. It fails with [ErrLocked] if somebody else has it.
func Lock(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return d, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(err, d.Close())
}
