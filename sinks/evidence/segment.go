package evidence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The directory of one evidence log. Later versions put sealed bodies, tiles and
// keys beside these names.
//
//	log/<generation>/seg/<first index, 20 digits>.seg
//	log/<generation>/checkpoint         the latest signed head
//	log/<generation>/checkpoints.log    every head ever signed
//	log.vkey                            the key that checks the signatures
//	log.<generation>.key                the key that signs, unless it is kept elsewhere
const (
	logsDir     = "log"
	segmentsDir = "seg"
	segmentExt  = ".seg"

	checkpointFile = "checkpoint"
	historyFile    = "checkpoints.log"
	verifierFile   = "log.vkey"

	holdsDir = "hold" // within bodiesDir
)

// defaultKeyFile is the name of the signing key where none was chosen. Each
// generation has its own key.
func defaultKeyFile(generation string) string { return "log." + generation + ".key" }

// maxGeneration is the length of the longest generation name.
const maxGeneration = 64

// isFileName reports whether s is safe as the name of one directory.
func isFileName(s string) bool {
	if s == "" || len(s) > maxGeneration || s == "." || s == ".." {
		return false
	}
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return strings.Trim(s, letters+strings.ToUpper(letters)+"0123456789._-") == ""
}

// segment is one file of records, named for the first of them.
type segment struct {
	first int64
	path  string
	name  string // relative to the directory of the evidence log, for reports
}

func segmentPath(dir string, first int64) string {
	return filepath.Join(dir, segmentsDir, fmt.Sprintf("%020d%s", first, segmentExt))
}

// segments lists the segments of the log in dir by their first index. Files with
// other names are none of ours.
func segments(dir, generation string) ([]segment, error) {
	des, err := os.ReadDir(filepath.Join(dir, segmentsDir))
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, de := range des {
		first, ok := segmentFirst(de.Name())
		if !ok {
			continue
		}
		out = append(out, segment{
			first: first,
			path:  filepath.Join(dir, segmentsDir, de.Name()),
			name:  filepath.Join(logsDir, generation, segmentsDir, de.Name()),
		})
	}
	slices.SortFunc(out, func(a, b segment) int { return int(min(1, max(-1, a.first-b.first))) })
	return out, nil
}

// segmentFirst returns the index in a segment's name. It reports false if the name is
// no segment's.
func segmentFirst(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, segmentExt)
	if !ok || len(digits) != 20 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil
}

// generations lists the logs in an evidence directory.
func generations(dir string) ([]string, error) {
	des, err := os.ReadDir(filepath.Join(dir, logsDir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, de := range des {
		if de.IsDir() && isFileName(de.Name()) {
			out = append(out, de.Name())
		}
	}
	return out, nil
}

// onlyGeneration returns the generation to read where none was named.
func onlyGeneration(dir string) (string, error) {
	g, err := generations(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%s holds no evidence log; name a directory with a folder %q in it", dir, logsDir)
	case err != nil:
		return "", err
	case len(g) == 0:
		return "", fmt.Errorf("%s holds no evidence log; its folder %q is empty", dir, logsDir)
	case len(g) > 1:
		return "", fmt.Errorf("%s holds %d generations (%s); name one", dir, len(g), strings.Join(g, ", "))
	}
	return g[0], nil
}

// fault is a stretch of a segment in which no sound frame could be read.
type fault struct {
	seg    *segment
	err    error // what is wrong where it begins
	offset int64
	resume int64 // where the next sound frame begins, or the end of the file
	size   int64 // of the file

	// torn reports that a write cut short by a crash explains all of it: it is in
	// the last segment and nothing was written after it.
	torn bool
	// frame holds the records of the damaged frame, if they can be told apart.
	frame *frame
}

// walk reads the frames of the segments in order and without judging their
// numbers. Damage is told to onFault, and reading goes on after it.
func walk(segs []segment, onFrame func(*segment, *frame) error, onFault func(*fault) error) error {
	for i := range segs {
		if err := walkSegment(&segs[i], i == len(segs)-1, onFrame, onFault); err != nil {
			return err
		}
	}
	return nil
}

func walkSegment(seg *segment, last bool, onFrame func(*segment, *frame) error, onFault func(*fault) error) error {
	file, err := os.Open(seg.path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	fi, err := file.Stat()
	if err != nil {
		return err
	}
	r := frameReader{r: file, size: fi.Size()}
	for r.off < r.size {
		f, err := r.next()
		if err == nil {
			if err := onFrame(seg, &f); err != nil {
				return err
			}
			continue
		}
		if !isDamage(err) {
			return fmt.Errorf("read %s at %d: %w", seg.name, r.off, err)
		}
		fl, err := r.assess(seg, f, err, last)
		if err != nil {
			return err
		}
		if err := onFault(fl); err != nil {
			return err
		}
		r.off = fl.resume
	}
	return nil
}

// assess finds out how far the damage at f reaches.
//
// A frame is only written after the one before it was synced. So a later frame,
// or as much as its header, proves that the damaged one was once whole, and then
// it is no torn write but damage to records that may have been acknowledged. So
// do bytes after a frame whose length can be believed; but not zeros, which a
// file system may put there by itself.
func (r *frameReader) assess(seg *segment, f frame, why error, last bool) (*fault, error) {
	fl := &fault{seg: seg, err: why, offset: f.offset, size: r.size}
	from := f.offset + 1
	if f.entries != nil {
		// The header is believable: do not look for frames inside a body.
		from = f.end()
	}
	_, later, err := r.seek(from)
	fl.resume = r.off
	if errors.Is(err, errNoEnd) {
		fl.resume = r.size
		return fl, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", seg.name, r.off, err)
	}
	if f.entries != nil {
		// Looking ahead moved the window: fetch the frame's bytes again.
		b, err := r.bytes(f.offset, int(f.end()-f.offset))
		if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, f.offset, err)
		}
		f.entries = b[frameHeader:]
		if f.recount() {
			fl.frame = &f
		}
	}
	if !last || later || errors.Is(why, errEntries) || errors.Is(why, errLater) {
		return fl, nil
	}
	fl.torn = true
	if f.entries != nil {
		fl.torn, err = r.zeros(f.end())
		if err != nil {
			return nil, fmt.Errorf("read %s at %d: %w", seg.name, f.offset, err)
		}
	}
	return fl, nil
}
