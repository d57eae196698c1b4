package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Head is what a checkpoint says: the first Size records of the log Origin have
// the root Root.
type Head struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// ParseCheckpoint reads a checkpoint that the key vkey has signed. Without a key
// nothing is known of who wrote it; the form is checked all the same. Signatures
// of others beside the log's own are left alone.
func ParseCheckpoint(msg []byte, vkey string) (Head, error) {
	if vkey != "" {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return Head{}, fmt.Errorf("verifier key: %w; it is one line of the form <origin>+<hash>+<key>", err)
		}
		h, err := parseCheckpoint(msg, v)
		return Head{v.Name(), h.size, h.root}, err
	}
	_, err := note.Open(msg, nil)
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok {
		return Head{}, errors.New("it is not a signed note")
	}
	origin, h, err := parseHead(unverified.Note.Text)
	return Head{origin, h.size, h.root}, err
}

// refusePublished says that this log is not the one that others know, and what to do.
func refusePublished(format string, args ...any) error {
	return fmt.Errorf("%w: %w; put the log's newest files back, or, if they are lost, set evidence.generation to a name that was never used: "+
		"the first record of that log will say what is lost", ErrTampered, fmt.Errorf(format, args...))
}

// largest says of how many records the largest of some checkpoints is.
func largest(list [][]byte) string {
	var most int64
	for _, msg := range list {
		if h, err := ParseCheckpoint(msg, ""); err == nil {
			most = max(most, h.Size)
		}
	}
	return fmt.Sprintf("a head of %d records of this log was published", most)
}

// claims are heads that the log must meet, by size.
type claims []head

// claims reads the published checkpoints.
func (l *Log) claims() (*claims, error) {
	var list claims
	for _, msg := range l.o.Published {
		h, err := parseCheckpoint(msg, l.key.verifier)
		if err != nil {
			return nil, refusePublished("FORK: a checkpoint was published under the name of this log, and %w: another instance has the same name, or this one's key was replaced", err)
		}
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b head) int { return int(min(1, max(-1, a.size-b.size))) })
	return &list, nil
}

// meet compares the tree, which has just grown, with every claim of its size.
func (c *claims) meet(t *tree) error {
	for len(*c) > 0 && (*c)[0].size == t.n {
		root, err := t.root()
		if err != nil {
			return err
		}
		if root != (*c)[0].root {
			return refusePublished("FORK: the published head of %d records has another root than the first %d records here: this log and the published one went different ways", t.n, t.n)
		}
		*c = (*c)[1:]
	}
	return nil
}

// unmet refuses a log of n records if a claim is left.
func (c *claims) unmet(n int64) error {
	if len(*c) == 0 {
		return nil
	}
	return refusePublished("ROLLED BACK: a head of %d records was published, %d are here", (*c)[len(*c)-1].size, n)
}

// Previous is what the first record of a log says of the log before it, that of
// another generation.
type Previous struct {
	Origin     string `json:"origin"`
	Checkpoint string `json:"checkpoint"` // the last that was published of it
	Why        Fate   `json:"why"`
}

// Fate says in one word what became of a log that another one follows.
type Fate string

// The fates. All but the first say that something is lost.
const (
	FateKept       Fate = "kept"        // it is here, and agrees with its last published head
	FateMissing    Fate = "missing"     // it is not here
	FateRolledBack Fate = "rolled back" // fewer records are here than were published
	FateForked     Fate = "forked"      // the records here are others than were published
	FateDamaged    Fate = "damaged"     // its records cannot be read
)

// Follow looks in the evidence directory dir for the log that a checkpoint is of,
// and returns what a log that follows it says of it. It reads the whole log.
func Follow(dir string, checkpoint []byte) (*Previous, error) {
	h, err := ParseCheckpoint(checkpoint, "")
	if err != nil {
		return nil, fmt.Errorf("last checkpoint of the log before: %w", err)
	}
	p := &Previous{Origin: h.Origin, Checkpoint: string(checkpoint)}
	p.Why, err = fate(dir, h)
	if err != nil {
		return nil, fmt.Errorf("look for the log before, %s: %w", h.Origin, err)
	}
	return p, nil
}

var errMet = errors.New("the published head was met")

func fate(dir string, h Head) (Fate, error) {
	generation := path.Base(h.Origin)
	if !isFileName(generation) {
		return FateMissing, nil
	}
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segs) == 0 {
		return FateMissing, nil
	}
	if err != nil {
		return "", err
	}
	var t tree
	why := FateRolledBack
	err = walk(segs, func(_ *segment, f *frame) error {
		if f.first != t.n {
			why = FateDamaged
			return errMet
		}
		var failure error
		f.each(func(e entry) {
			if failure != nil {
				return
			}
			if failure = t.add(hashLeaf(e.leaf)); failure != nil || t.n != h.Size {
				return
			}
			var root tlog.Hash
			if root, failure = t.root(); failure == nil {
				why, failure = FateKept, errMet
				if root != h.Root {
					why = FateForked
				}
			}
		})
		return failure
	}, func(fl *fault) error {
		if !fl.torn {
			why = FateDamaged
		}
		return errMet
	})
	if err != nil && !errors.Is(err, errMet) {
		return "", err
	}
	return why, nil
}

// Break ends the log as a failed write does: whatever is appended from now on
// fails with [ErrBroken], Run returns the error, and nothing is signed any more.
// It is for who finds out that the log must not go on, because another one has
// its name.
func (l *Log) Break(cause error) error { return l.kill(cause) }

// Checkpoint returns the latest signed checkpoint.
func (l *Log) Checkpoint() []byte {
	l.signMu.Lock()
	defer l.signMu.Unlock()
	return slices.Clone(l.latest)
}

// HasSigned reports whether a head is one that this log has ever signed. It reads
// the history of heads, which grows by some hundred bytes with each.
func (l *Log) HasSigned(h Head) (bool, error) {
	l.signMu.Lock()
	size := l.histSize
	l.signMu.Unlock()
	if h.Origin != l.o.Origin {
		return false, nil
	}
	f, err := os.Open(filepath.Join(l.dir, historyFile))
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	r := historyReader{r: f, size: size}
	for {
		msg, _, err := r.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", historyFile, err)
		}
		got, err := ParseCheckpoint(msg, "")
		if err != nil {
			return false, fmt.Errorf("read %s: %w", historyFile, err)
		}
		if got.Size >= h.Size {
			return got == h, nil
		}
	}
}
