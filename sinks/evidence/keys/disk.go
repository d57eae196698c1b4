package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/internal/disk"
)

// calls are the ways in which this package changes the disk. Tests put others in
// their place to fail or die at each of them in turn.
type calls struct {
	write    func(f *os.File, b []byte, off int64) error
	datasync func(f *os.File) error // the file's data, and what is needed to read it
	sync     func(f *os.File) error // a file or directory whole
	rename   func(from, to string) error
	truncate func(f *os.File, size int64) error
	remove   func(path string) error
}

func systemCalls() *calls {
	return &calls{
		write: func(f *os.File, b []byte, off int64) error {
			_, err := f.WriteAt(b, off)
			return err
		},
		datasync: disk.Datasync,
		sync:     (*os.File).Sync,
		rename:   os.Rename,
		truncate: (*os.File).Truncate,
		remove:   os.Remove,
	}
}

const tmpSuffix = ".tmp"

// writeFile replaces a file so that a reader, now or after a crash, sees the old
// content or the new, never a part.
//
// If the process dies before the rename, a file ending in .tmp is left and the
// next call overwrites it. If it dies after the rename and before the directory
// is synced, either content may be found.
func writeFile(c *calls, path string, data []byte) error {
	f, err := newFile(path)
	if err != nil {
		return err
	}
	err = c.write(f, data, 0)
	if err == nil {
		err = c.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := c.rename(path+tmpSuffix, path); err != nil {
		return err
	}
	return syncDir(c, filepath.Dir(path))
}

// newFile begins the file that will be renamed to path.
func newFile(path string) (*os.File, error) {
	// A leftover could have another mode; O_TRUNC would keep it.
	if err := os.Remove(path + tmpSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path+tmpSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// removeFile unlinks a file for good. That it is gone already is no error: an
// earlier try may have died before the directory was synced.
func removeFile(c *calls, path string) error {
	if err := c.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(c, filepath.Dir(path))
}

func syncDir(c *calls, dir string) error { return disk.SyncDir(dir, c.sync) }

// makeDir makes a directory and sees to it that its name survives a power cut. It
// is synced also when it exists: an earlier start may have died before that.
func makeDir(c *calls, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The parent need not be ours to read; its own maker looks after it then.
	if err := syncDir(c, filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
