// Package disk is what the standard library lacks for files that must survive a
// crash: a flush of data alone, a directory's own flush, a lock on a directory, a sum.
//
// What it is not: a file system. Whoever writes files says in which order things
// become durable, and what a crash between them leaves; tests of that put their own
// calls in the place of these.
package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
)

// ErrLocked means that another process, or this one by another open file, holds the lock.
var ErrLocked = errors.New("the directory is locked")

// SyncDir makes the names in a directory durable, by the way in which the caller
// syncs files.
func SyncDir(dir string, sync func(*os.File) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(sync(d), d.Close())
}

// Sum is the SHA-256 of a file, in hex.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
