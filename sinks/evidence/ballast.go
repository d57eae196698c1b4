package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrFull means that the disk is nearly full: records about people are not
// accepted, so that there is room for what the log must say of itself and for what
// it takes to destroy something. Nothing was written; append again later.
var ErrFull = errors.New("the disk of the evidence log is nearly full")

// ballastFile holds nothing. It is room that is given up when the disk is full, so
// that the log can be opened, and records of a destruction still fit.
const ballastFile = "ballast"

// The ballast goes when less than a quarter of it is free, and is made anew when
// more than twice of it is.
func (l *Log) lowWater() int64  { return l.o.BallastBytes / 4 }
func (l *Log) highWater() int64 { return l.o.BallastBytes * 2 }

// watchDisk keeps the ballast: gives it up when the disk is nearly full, and makes
// it anew when there is room again.
func (l *Log) watchDisk() error {
	if l.o.BallastBytes == 0 {
		return l.releaseBallast()
	}
	free, err := l.calls.free(l.o.Dir)
	if err != nil {
		return err
	}
	path := filepath.Join(l.o.Dir, ballastFile)
	fi, err := os.Stat(path)
	switch {
	case err == nil && free < l.lowWater():
		if err := l.releaseBallast(); err != nil {
			return err
		}
		l.setScarce(true, free)
	case err == nil && fi.Size() == l.o.BallastBytes:
		l.setScarce(false, free)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case free < l.highWater() && err == nil:
		l.setScarce(false, free) // one of another size will do until there is room
	case free < l.highWater():
		l.setScarce(true, free)
		return l.releaseBallast() // a crash may have left half a one, which is room
	default:
		if err := l.makeBallast(path); err != nil {
			return err
		}
		l.setScarce(false, free)
	}
	return nil
}

func (l *Log) setScarce(scarce bool, free int64) {
	if l.scarce.Swap(scarce) == scarce {
		return
	}
	if scarce {
		l.log.Error("the disk of the evidence log is nearly full: the ballast is given up, and records about people are not accepted; make room",
			"free_bytes", free, "needed_bytes", l.highWater())
		return
	}
	l.log.Info("the disk of the evidence log has room again", "free_bytes", free)
}

// makeBallast fills the ballast. If the process dies in it, a file ending in .tmp
// is left, which the next start takes away.
func (l *Log) makeBallast(path string) error {
	f, err := createTemporary(path)
	if err != nil {
		return err
	}
	err = l.calls.allocate(f, l.o.BallastBytes)
	if err == nil {
		err = l.calls.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		// What it has taken is what others need.
		return errors.Join(fmt.Errorf("make the ballast: %w", err), l.calls.unlink(path+temporaryExt))
	}
	if err := l.calls.rename(path+temporaryExt, path); err != nil {
		return err
	}
	return syncDir(l.calls, l.o.Dir)
}

// releaseBallast unlinks the ballast, and what a crash has left of one. If the
// process dies before that, the next start comes here again.
func (l *Log) releaseBallast() error {
	for _, name := range []string{ballastFile, ballastFile + temporaryExt} {
		path := filepath.Join(l.o.Dir, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := l.calls.unlink(path); err != nil {
			return fmt.Errorf("give up the ballast: %w", err)
		}
	}
	return nil
}

// isFull reports whether an error says that there is no room.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// admit refuses records about people while the disk is nearly full.
func (l *Log) admit(recs []Record) error {
	if !l.scarce.Load() {
		return nil
	}
	for i := range recs {
		if recs[i].Class.encrypted() {
			return ErrFull
		}
	}
	return nil
}
