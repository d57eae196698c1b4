package desk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// calls are the ways in which this package itself changes the disk. Tests put others
// in their place to fail or die at each of them in turn.
type calls struct {
	write  func(path string, data []byte) error // a new file, synced
	rename func(from, to string) error
	remove func(path string) error
	sync   func(dir string) error
	keep   func(dir, from, to string, keep func(index int64) bool) (int, error)
}

func systemCalls() *calls {
	return &calls{write: writeSynced, rename: os.Rename, remove: os.Remove, sync: syncDir, keep: evidence.KeepBodies}
}

// with returns calls that do in the store what they do to body files in dir, its working
// copy. The store comes first when bodies are destroyed, and last when a hold keeps them: if
// the process dies between, the next start copies what the store has and does it again.
func (c *calls) with(store evidence.Store, dir string) *calls {
	w := *c
	w.remove = func(path string) error {
		if name, ok := bodyName(dir, path); ok {
			if err := store.RemoveBodies(name); err != nil {
				return err
			}
		}
		return c.remove(path)
	}
	w.keep = func(dir, from, to string, keep func(index int64) bool) (int, error) {
		n, err := c.keep(dir, from, to, keep)
		if err != nil || n == 0 {
			return n, err
		}
		f, err := os.Open(filepath.Join(dir, to))
		if err != nil {
			return n, err
		}
		defer f.Close() //nolint:errcheck // only read
		return n, store.PutBodies(to, f)
	}
	return &w
}

// bodyName returns the name of a body file relative to the evidence directory. It reports
// false if the path is none's.
func bodyName(dir, path string) (string, bool) {
	name, err := filepath.Rel(dir, path)
	name = filepath.ToSlash(name)
	return name, err == nil && strings.HasPrefix(name, "body/")
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error { return disk.SyncDir(dir, (*os.File).Sync) }

// replace puts a new file in the place of another, durably. If the process dies
// within, the old content or the new is found, and perhaps a file ending in .tmp.
func (c *calls) replace(path string, data []byte) error {
	if err := c.write(path+".tmp", data); err != nil {
		return err
	}
	if err := c.rename(path+".tmp", path); err != nil {
		return err
	}
	return c.sync(filepath.Dir(path))
}

// unlink removes a file for good. That it is gone already is no error: an earlier try
// may have died before the directory was synced.
func (c *calls) unlink(path string) error {
	if err := c.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := c.sync(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the directory went with its last file
	}
	return err
}
