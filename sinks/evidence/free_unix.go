//go:build linux || darwin

package evidence

import (
	"os"
	"syscall"
)

// freeBytes is how much may be written to the file system that holds a directory.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // elsewhere it is an uint32
}
