package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// State is how a log stands, for who looks after it.
type State struct {
	Records  int64     // durable
	Signed   int64     // of them those that a checkpoint covers
	Root     tlog.Hash // of the signed ones
	SignedAt time.Time // when a checkpoint was last written; zero if it cannot be read
	Bytes    int64     // of segments
	Unsealed int       // full segments that are not sealed yet
	// Scrubbed is when all was read again last, or when the log began to count the time until it is; zero
	// where it never is.
	Scrubbed time.Time
}

// State returns how the log stands. It asks the disk, which may take as long as the disk takes.
func (l *Log) State() State {
	l.stateMu.Lock()
	s := State{Records: l.tree.n, Signed: l.signed.size, Root: l.signed.root, Bytes: l.older + l.segSize, Unsealed: len(l.unsealed)}
	l.stateMu.Unlock()
	if fi, err := os.Stat(filepath.Join(l.dir, checkpointFile)); err == nil {
		s.SignedAt = fi.ModTime()
	}
	if b, err := os.ReadFile(filepath.Join(l.dir, scrubFile)); err == nil && l.o.ScrubEvery > 0 {
		s.Scrubbed, _ = time.Parse(time.RFC3339, strings.TrimSpace(string(b))) // half a line is as good as none
	}
	return s
}

// Room is how the disk of a log does.
type Room struct {
	Free int64 // bytes that may still be written
	// Full tells that records about people are not accepted, or will not be in a moment.
	Full bool
	// Low tells that there is not enough room to give the log its ballast back once it is gone.
	Low bool
	// Writing is for how long the write in hand has not ended; 0 while there is none.
	Writing time.Duration
}

// Room asks the disk. That may take as long as the disk takes.
func (l *Log) Room() (Room, error) {
	free, err := l.calls.free(l.o.Dir)
	if err != nil {
		return Room{}, err
	}
	r := Room{Free: free, Full: l.scarce.Load(), Low: free < l.highWater()}
	if l.o.BallastBytes > 0 && free < l.lowWater() {
		r.Full = true // the next look of the log will say so
	}
	if began := l.writing.Load(); began != 0 {
		r.Writing = time.Since(time.Unix(0, began))
	}
	return r, nil
}
