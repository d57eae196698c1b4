package checkup

import "syscall"

// kinds are file systems of which something has to be said, and those that are usual, by
// the numbers that statfs(2) gives.
var kinds = map[int64]string{
	0x01021994: "tmpfs", 0x858458f6: "ramfs", 0x794c7630: "overlayfs", 0x6969: "nfs", 0xff534d42: "cifs", 0xfe534d42: "cifs", 0x65735546: "fuse",
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x2fc12fc1: "zfs",
}

// volumeOf returns what is mounted where dir lies.
func volumeOf(dir string) (volume, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return volume{}, err
	}
	size := uint64(st.Bsize)
	kind := int64(st.Type) & 0xffffffff //nolint:unconvert // it has 32 bits on other machines
	return volume{kind: kinds[kind], free: st.Bavail * size, total: st.Blocks * size}, nil
}

// openFiles returns how many files this process may have open.
func openFiles() (uint64, bool) {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	return r.Cur, err == nil
}
