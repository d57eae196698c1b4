package evidence

import (
	"errors"
	"os"
	"syscall"
)

// allocate gives a file its size and its blocks.
func allocate(f *os.File, size int64) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var aerr error
	err = rc.Control(func(fd uintptr) {
		for {
			aerr = syscall.Fallocate(int(fd), 0, 0, size)
			if !errors.Is(aerr, syscall.EINTR) {
				break
			}
		}
	})
	if err != nil {
		return err
	}
	if errors.Is(aerr, syscall.EOPNOTSUPP) {
		return fillZeros(f, size)
	}
	return os.NewSyscallError("fallocate", aerr)
}
