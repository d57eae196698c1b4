package evidence

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Checkpoints calls fn for every checkpoint of a log, from the oldest to the
// latest, and returns fn's first error. They are as they were signed, unchecked;
// one cut short by a crash at the end is left out.
func Checkpoints(dir, generation string, fn func(checkpoint []byte) error) error {
	f, err := os.Open(filepath.Join(dir, logsDir, generation, historyFile))
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	r := historyReader{r: f, size: fi.Size()}
	for {
		msg, _, err := r.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && r.off+int64(len(r.buf)) >= r.size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read checkpoints at %d: %w", r.off, err)
		}
		if err := fn(msg); err != nil {
			return err
		}
	}
}

// OnlyGeneration returns the generation of the only log in an evidence directory;
// where there are several one must be named.
func OnlyGeneration(dir string) (string, error) { return onlyGeneration(dir) }

// WalkGeneration is Walk for a generation that is named.
func WalkGeneration(dir, generation string, ring *keys.Ring, fn func(Entry) error) error {
	return walkGeneration(dir, generation, ring, fn)
}
