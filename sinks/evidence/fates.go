package evidence

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// witness is the record that says what became of bodies.
type witness struct {
	generation string
	index      int64
	// signed reports that a signed head covers the record. Who has no key can still
	// put records behind the last head, and a body taken away could be explained so.
	signed bool
}

func (w witness) String() string { return fmt.Sprintf("#%d", w.index) }

// sealedBy is what a seal record says of a segment.
type sealedBy struct {
	SealBody
	by witness
}

// removed is a body file that a record says is destroyed.
type removed struct {
	witness
	sha256 string
}

// destroyedBy finds the record that says of a body file, as it was sealed, that it is
// destroyed: the first that is signed, which has the approval and the reasons.
func (f *fates) destroyedBy(b *SealedBodies) (by witness, found bool) {
	for _, r := range f.destroyed[b.File] {
		if r.sha256 == b.SHA256 && (!found || r.signed && !by.signed) {
			by, found = r.witness, true
		}
	}
	return by, found
}

// unheld is what a hold had kept of a body file until it was released.
type unheld struct {
	witness
	file    string
	hold    string
	records int64
}

// removal is what destroy and destroyed records say.
type removal struct {
	Files []struct {
		File    string `json:"file"`
		SHA256  string `json:"sha256"`
		Records int64  `json:"records"`
	} `json:"files"`
	KeyFiles []string `json:"key_files"`
}

// shredding is what a shred record says.
type shredding struct {
	Handles []string `json:"handles"`
	Records []struct {
		Generation string     `json:"generation"`
		Ranges     [][2]int64 `json:"ranges"`
	} `json:"records"`
}

// erasedRange is a run of records whose keys were shredded.
type erasedRange struct {
	first, next int64
	by          witness
}

// fates is what the records of all generations in a directory say of bodies that
// are not, or not readable, where they were written. It is gathered before the
// records are judged: what explains a gap stands behind it, perhaps in a later log.
type fates struct {
	size      int64                // of the logs, when they were read
	seals     map[string]*sealedBy // by segment
	files     map[string]bool      // every body file a seal names
	destroyed map[string][]removed // body files, by destroy and destroyed records
	keyFiles  map[string]witness   // key files, by a destroy record
	keys      map[keys.Handle]witness
	erased    map[string][]erasedRange // by generation, ascending
	held      map[string][]string      // files that holds kept, by the last part of their names
	unheld    map[string][]unheld      // what holds had kept and is destroyed since, by body file
	givenUp   map[keys.Handle]witness  // keys that could not be read any more
}

func newFates() *fates {
	return &fates{
		seals: make(map[string]*sealedBy), files: make(map[string]bool), destroyed: make(map[string][]removed),
		keyFiles: make(map[string]witness), keys: make(map[keys.Handle]witness),
		erased: make(map[string][]erasedRange), held: make(map[string][]string),
		unheld: make(map[string][]unheld), givenUp: make(map[keys.Handle]witness),
	}
}

// readFates reads what the logs in dir say, and gathers into g, if it is not nil, what
// third parties have signed of them. What is damaged is passed over: judging the records
// reports it.
func readFates(dir string, g *gathered) (*fates, error) {
	f := newFates()
	size, err := logSize(dir)
	if err != nil {
		return nil, err
	}
	f.size = size
	gens, err := generations(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	for _, generation := range gens {
		if err := f.read(dir, generation, g); err != nil {
			return nil, err
		}
	}
	if err := f.readHeld(dir); err != nil {
		return nil, err
	}
	for _, r := range f.erased {
		slices.SortFunc(r, func(a, b erasedRange) int { return cmp.Compare(a.first, b.first) })
	}
	return f, nil
}

// readHeld lists what holds have kept: a part of a body file under the same name, in a
// directory of the hold.
func (f *fates) readHeld(dir string) error {
	return filepath.WalkDir(filepath.Join(dir, bodiesDir, holdsDir), func(at string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() && filepath.Ext(at) == bodyExt {
			var name string
			name, err = filepath.Rel(dir, at)
			f.held[d.Name()] = append(f.held[d.Name()], name)
		}
		return err
	})
}

func (f *fates) read(dir, generation string, g *gathered) error {
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	signed := int64(-1)
	var failure error
	frame := func(seg *segment, fr *frame) error {
		index := fr.first
		fr.each(func(e entry) {
			if k := e.leaf.kind(); g != nil && (k == KindAnchor || k == KindTimestamp) && e.leaf.plainJSON() && e.leaf.commitsTo(e.stored) {
				g.take(dir, generation, seg, index, &e)
			}
			if failure == nil && e.leaf.explains() && e.leaf.commitsTo(e.stored) {
				if signed < 0 {
					signed, failure = signedSize(dir, generation)
				}
				f.note(e, witness{generation, index, index < signed})
			}
			index++
		})
		return failure
	}
	return walk(segs, frame, func(fl *fault) error {
		if fl.frame != nil {
			return frame(fl.seg, fl.frame)
		}
		return nil
	})
}

// logSize adds up the sizes of all segments. It changes with every record.
func logSize(dir string) (int64, error) {
	var size int64
	gens, err := generations(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, g := range gens {
		segs, err := segments(filepath.Join(dir, logsDir, g), g)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, s := range segs {
			fi, err := os.Stat(s.path)
			if err != nil {
				return 0, err
			}
			size += fi.Size()
		}
	}
	return size, err
}

// explains reports whether the record may say why a body is not where it was.
func (l *leaf) explains() bool {
	switch l.kind() {
	case KindSeal, KindDestroy, KindDestroyed, KindShred, KindDamaged:
		return l.plainJSON()
	}
	return false
}

// plainJSON reports whether the record is of this version, and its body JSON in clear.
func (l *leaf) plainJSON() bool { return l[0] == leafVersion && l[3] == EncodingJSON }

// note takes what one record says. A body that cannot be read says nothing.
func (f *fates) note(e entry, by witness) {
	body := e.stored[saltSize:]
	switch e.leaf.kind() {
	case KindSeal:
		var s sealedBy
		if json.Unmarshal(body, &s.SealBody) != nil || s.Segment == "" {
			return
		}
		s.by = by
		f.seals[s.Segment] = &s
		for _, b := range s.Bodies {
			f.files[b.File] = true
		}
	case KindDestroy, KindDestroyed:
		var r removal
		if json.Unmarshal(body, &r) != nil {
			return
		}
		for _, x := range r.Files {
			f.destroyed[x.File] = append(f.destroyed[x.File], removed{by, x.SHA256})
			if kept, ok := strings.CutPrefix(x.File, path.Join(bodiesDir, holdsDir)+"/"); ok {
				hold, of, _ := strings.Cut(kept, "/")
				f.unhold(path.Join(bodiesDir, of), unheld{by, x.File, hold, x.Records})
			}
		}
		for _, x := range r.KeyFiles {
			keepFirst(f.keyFiles, x, by)
		}
	case KindShred:
		var s shredding
		if json.Unmarshal(body, &s) != nil {
			return
		}
		for _, h := range s.Handles {
			if h, err := keys.ParseHandle(h); err == nil {
				keepFirst(f.keys, h, by)
			}
		}
		for _, r := range s.Records {
			for _, x := range r.Ranges {
				f.erased[r.Generation] = append(f.erased[r.Generation], erasedRange{x[0], x[1], by})
			}
		}
	case KindDamaged:
		var d struct {
			GivenUp GivenUp `json:"given_up"`
		}
		if json.Unmarshal(body, &d) != nil {
			return
		}
		for _, h := range d.GivenUp.Handles {
			if h, err := keys.ParseHandle(h); err == nil {
				keepFirst(f.givenUp, h, by)
			}
		}
	}
}

// unhold notes that what a hold had kept is destroyed, by the first record that says so.
func (f *fates) unhold(name string, u unheld) {
	for i := range f.unheld[name] {
		if x := &f.unheld[name][i]; x.file == u.file {
			if u.signed && !x.signed {
				*x = u
			}
			return
		}
	}
	f.unheld[name] = append(f.unheld[name], u)
}

// keepFirst notes the first record that says so: later ones repeat it after a
// crash. A signed one is worth more than one that is not.
func keepFirst[K comparable](m map[K]witness, k K, by witness) {
	if before, ok := m[k]; !ok || by.signed && !before.signed {
		m[k] = by
	}
}

// erasedBy finds the shred record that names the record.
func (f *fates) erasedBy(generation string, index int64) (witness, bool) {
	r := f.erased[generation]
	// Ranges of different people do not overlap, those of one repeated record do.
	i, _ := slices.BinarySearchFunc(r, index, func(x erasedRange, index int64) int {
		if x.next <= index {
			return -1
		}
		return 1
	})
	if i < len(r) && r[i].first <= index && index < r[i].next {
		return r[i].by, true
	}
	return witness{}, false
}

// signedSize returns how many records of a generation its own heads cover. The key is
// the one the log itself names: whether it is the right one is for the verification of
// that generation to say.
func signedSize(dir, generation string) (int64, error) {
	vkey, err := ownKey(dir, generation)
	if err != nil {
		return 0, nil //nolint:nilerr // a log whose beginning cannot be read has nothing signed that can be relied on
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return 0, nil //nolint:nilerr // as above
	}
	var size int64
	logDir := filepath.Join(dir, logsDir, generation)
	msg, err := os.ReadFile(filepath.Join(logDir, checkpointFile))
	if err == nil {
		if h, err := parseCheckpoint(msg, v); err == nil {
			size = h.size
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	history, err := os.Open(filepath.Join(logDir, historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return size, nil
	}
	if err != nil {
		return 0, err
	}
	defer history.Close() //nolint:errcheck // only read
	msg, _, err = lastCheckpoint(history)
	if err != nil {
		return 0, err
	}
	if h, err := parseCheckpoint(msg, v); err == nil {
		size = max(size, h.size)
	}
	return size, nil
}

// ownKey returns the verifier key that the log's first record names.
func ownKey(dir, generation string) (string, error) {
	g, err := firstRecord(dir, generation)
	return g.VerifierKey, err
}

// firstRecord reads the genesis record of a log.
func firstRecord(dir, generation string) (g genesis, err error) {
	found := errors.New("found")
	segs, err := segments(filepath.Join(dir, logsDir, generation), generation)
	if err != nil {
		return g, err
	}
	if len(segs) == 0 || segs[0].first != 0 {
		return g, errors.New("the first record is not here")
	}
	err = walkSegment(&segs[0], false, func(_ *segment, f *frame) error {
		err := errors.New("the first record cannot be read")
		f.each(func(e entry) {
			if !errors.Is(err, found) {
				if g, err = readGenesis(e); err == nil {
					err = found
				}
			}
		})
		return err
	}, func(*fault) error { return errors.New("the first record cannot be read") })
	if errors.Is(err, found) {
		return g, nil
	}
	if err == nil {
		err = errors.New("the first record is not here")
	}
	return g, err
}
