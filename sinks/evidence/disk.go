package evidence

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
	unlink   func(path string) error
	allocate func(f *os.File, size int64) error
	free     func(dir string) (int64, error) // changes nothing, but tests have other disks
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
		unlink:   os.Remove,
		allocate: allocate,
		free:     freeBytes,
	}
}

// writeFile replaces a file so that a reader, now or after a crash, sees the old
// content or the new, never a part.
//
// If the process dies before the rename, a file ending in .tmp is left and the
// next call overwrites it. If it dies after the rename and before the directory
// is synced, either content may be found.
func writeFile(c *calls, path string, data []byte, mode fs.FileMode) error {
	tmp := path + temporaryExt
	// A leftover could have another mode; O_TRUNC would keep it.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
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
	if err := c.rename(tmp, path); err != nil {
		return err
	}
	return syncDir(c, filepath.Dir(path))
}

func syncDir(c *calls, dir string) error { return disk.SyncDir(dir, c.sync) }

// makeDirs makes the directories of a log and sees to it that their names, and
// those of the files in them, survive a power cut. They are synced also when they
// exist: an earlier start may have died, or failed, between making and syncing.
func makeDirs(c *calls, dir, logDir string) error {
	_, err := os.Stat(dir)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Join(logDir, segmentsDir), 0o700); err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(logDir, segmentsDir), logDir, filepath.Dir(logDir), dir} {
		if err := syncDir(c, d); err != nil {
			return err
		}
	}
	if !isNew {
		return nil
	}
	// The parent of dir need not be ours to read; its own maker looks after it.
	if err := syncDir(c, filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// fillZeros writes a file full, where blocks cannot be had without writing them.
func fillZeros(f *os.File, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
