//go:build unix

package desk

import (
	"errors"
	"os"
	"syscall"
)

// flock waits until this process alone holds the lock of the file.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
