package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// The form of a C2SP tlog-tiles directory: tiles of 256 hashes, bundles of 256
// entries.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// TilesReport says what [Tiles] wrote.
type TilesReport struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"` // records, those that the latest checkpoint signs
	Root   string `json:"root"` // base64
	Files  int    `json:"files"`
}

// Tiles writes the signed part of a log as a C2SP tlog-tiles directory: tiles,
// entry bundles of leaves, and the latest checkpoint. No body is in it, so it may
// be shown to everybody. out must not exist; it appears under its name when all of
// it is on the disk. generation may be empty where the log has only one; vkey is
// the log's public key.
func Tiles(dir, generation, vkey, out string) (TilesReport, error) {
	r, err := writeTiles(dir, generation, vkey, out)
	if err != nil {
		return TilesReport{}, fmt.Errorf("write tiles: %w", err)
	}
	return r, nil
}

func writeTiles(dir, generation, vkey, out string) (TilesReport, error) {
	generation, err := generationOf(dir, generation)
	if err != nil {
		return TilesReport{}, err
	}
	signed, err := latestHead(dir, generation, vkey)
	if err != nil {
		return TilesReport{}, err
	}
	t := tiles{size: signed.Size}
	if t.stage, err = newStage(filepath.Clean(out)); err != nil {
		return TilesReport{}, err
	}
	defer t.stage.discard() //nolint:errcheck // nothing is left where it was finished
	err = evidence.WalkGeneration(dir, generation, nil, func(e evidence.Entry) error {
		if e.Index >= signed.Size {
			return errEnough
		}
		return t.add(e.Index, e.Leaf[:])
	})
	if err != nil && !errors.Is(err, errEnough) {
		return TilesReport{}, err
	}
	root, err := t.finish()
	if err != nil {
		return TilesReport{}, err
	}
	if root != signed.Root {
		return TilesReport{}, fmt.Errorf("the records do not have the root that is signed for %d of them; see what weir evidence verify says", signed.Size)
	}
	if err := t.stage.write("checkpoint", signed.checkpoint); err != nil {
		return TilesReport{}, err
	}
	if err := t.stage.finish(); err != nil {
		return TilesReport{}, err
	}
	return TilesReport{Origin: signed.Origin, Size: signed.Size, Root: root.String(), Files: t.stage.files}, nil
}

// generationOf returns the generation that was named, or the only one.
func generationOf(dir, generation string) (string, error) {
	if generation != "" {
		return generation, nil
	}
	return evidence.OnlyGeneration(dir)
}

// errEnough ends a walk whose rest nobody needs.
var errEnough = errors.New("enough")

// signedHead is a head with the checkpoint that promises it.
type signedHead struct {
	evidence.Head
	checkpoint []byte
}

// latestHead returns the last checkpoint of a log's history.
func latestHead(dir, generation, vkey string) (signedHead, error) {
	var last []byte
	err := evidence.Checkpoints(dir, generation, func(msg []byte) error {
		last = append(last[:0], msg...)
		return nil
	})
	if err != nil {
		return signedHead{}, err
	}
	if last == nil {
		return signedHead{}, errors.New("the log has no signed head yet")
	}
	h, err := evidence.ParseCheckpoint(last, vkey)
	return signedHead{h, last}, err
}

// tiles makes full tiles while leaves come, and keeps of each level only what is
// not in a full tile yet: 8 KiB a level however long the log.
type tiles struct {
	stage  *stage
	size   int64
	n      int64
	levels [][]tlog.Hash // of each level the hashes of the tile in the making
	done   []int64       // of each level the number of full tiles
	bundle []byte        // the entries in the making
}

func (t *tiles) add(index int64, leaf []byte) error {
	if index != t.n {
		return fmt.Errorf("record %d is missing", t.n)
	}
	t.n++
	t.bundle = binary.BigEndian.AppendUint16(t.bundle, uint16(len(leaf)))
	t.bundle = append(t.bundle, leaf...)
	if t.n%tileWidth == 0 {
		if err := t.writeBundle(tileWidth); err != nil {
			return err
		}
	}
	return t.addHash(0, tlog.RecordHash(leaf))
}

func (t *tiles) addHash(level int, h tlog.Hash) error {
	if level == len(t.levels) {
		t.levels, t.done = append(t.levels, nil), append(t.done, 0)
	}
	t.levels[level] = append(t.levels[level], h)
	if len(t.levels[level]) < tileWidth {
		return nil
	}
	full := t.levels[level]
	if err := t.writeTile(level); err != nil {
		return err
	}
	t.levels[level] = full[:0]
	t.done[level]++
	return t.addHash(level+1, fullRoot(full))
}

// finish writes the partial tiles and returns the root.
func (t *tiles) finish() (tlog.Hash, error) {
	if t.n != t.size {
		return tlog.Hash{}, fmt.Errorf("%d records are signed, %d are here; see what weir evidence verify says", t.size, t.n)
	}
	if w := int(t.n % tileWidth); w > 0 {
		if err := t.writeBundle(w); err != nil {
			return tlog.Hash{}, err
		}
	}
	// The root joins what is left of each level, the highest being the leftmost.
	var parts []tlog.Hash // of complete subtrees, from the right
	for level, hashes := range t.levels {
		if len(hashes) == 0 {
			continue
		}
		if err := t.writeTile(level); err != nil {
			return tlog.Hash{}, err
		}
		parts = append(parts, reversed(subtrees(hashes))...)
	}
	root := parts[0]
	for _, left := range parts[1:] {
		root = tlog.NodeHash(left, root)
	}
	return root, nil
}

func (t *tiles) writeTile(level int) error {
	hashes := t.levels[level]
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return t.stage.write(fmt.Sprintf("tile/%d/%s", level, tilePath(t.done[level], len(hashes))), b)
}

func (t *tiles) writeBundle(width int) error {
	err := t.stage.write("tile/entries/"+tilePath((t.n-1)/tileWidth, width), t.bundle)
	t.bundle = t.bundle[:0]
	return err
}

// tilePath is the name of a tile as tlog-tiles writes it: x001/x234/067, and .p/N
// behind the name of a partial one.
func tilePath(n int64, width int) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	if width < tileWidth {
		s = fmt.Sprintf("%s.p/%d", s, width)
	}
	return s
}

// fullRoot is the root of a power of two of hashes.
func fullRoot(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(fullRoot(hashes[:half]), fullRoot(hashes[half:]))
}

// subtrees returns the roots of the complete subtrees that hashes make, the
// largest first.
func subtrees(hashes []tlog.Hash) []tlog.Hash {
	var out []tlog.Hash
	for len(hashes) > 0 {
		width := 1
		for width*2 <= len(hashes) {
			width *= 2
		}
		out = append(out, fullRoot(hashes[:width]))
		hashes = hashes[width:]
	}
	return out
}

func reversed(list []tlog.Hash) []tlog.Hash {
	out := make([]tlog.Hash, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, list[i])
	}
	return out
}

// stage is a directory in the making. It has another name until it is complete,
// so nobody can take a part of it for the whole. If the process dies before, the
// directory NAME.tmp is left and the next run for the same name refuses until it
// is removed.
type stage struct {
	out, tmp string
	files    int
	dirs     map[string]bool
}

func newStage(out string) (*stage, error) {
	if _, err := os.Lstat(out); err == nil {
		return nil, fmt.Errorf("%s exists already; name a directory that does not", out)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s := &stage{out: out, tmp: out + ".tmp", dirs: make(map[string]bool)}
	if err := os.Mkdir(s.tmp, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s was left by a run that did not end; remove it", s.tmp)
		}
		return nil, err
	}
	s.dirs[s.tmp] = true
	return s, nil
}

// create opens a new file by its name within the directory, with slashes.
func (s *stage) create(name string) (*os.File, error) {
	path := filepath.Join(s.tmp, filepath.FromSlash(name))
	dir := filepath.Dir(path)
	if !s.dirs[dir] {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		for ; dir != s.tmp; dir = filepath.Dir(dir) {
			s.dirs[dir] = true
		}
	}
	s.files++
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

func (s *stage) write(name string, data []byte) error {
	f, err := s.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// finish gives the directory its name.
func (s *stage) finish() error {
	for dir := range s.dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(s.tmp, s.out); err != nil {
		return err
	}
	s.tmp = ""
	return syncDir(filepath.Dir(s.out))
}

// discard removes what was not finished.
func (s *stage) discard() error {
	if s.tmp == "" {
		return nil
	}
	return os.RemoveAll(s.tmp)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
