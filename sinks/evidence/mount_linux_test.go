package evidence

import "syscall"

// mountSmall mounts a file system in memory of that size, which needs rights that
// most have not.
func mountSmall(dir, size string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size) }

func unmount(dir string) error { return syscall.Unmount(dir, 0) }
