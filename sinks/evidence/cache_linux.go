//go:build linux && (amd64 || arm64)

package evidence

import (
	"os"
	"syscall"
)

// dropCache asks the kernel to forget the pages of a file that is synced, so that
// who reads it next reads the disk. It is advice: where it is not taken, only
// memory is read again.
func dropCache(f *os.File) {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	if rc, err := f.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { //nolint:errcheck // advice
			syscall.Syscall6(syscall.SYS_FADVISE64, fd, 0, 0, dontNeed, 0, 0) //nolint:errcheck // advice
		})
	}
}
