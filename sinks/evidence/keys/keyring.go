package keys

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const keyringFile = "keyring"

// maxKeyring is the largest keyring that is read: a few generations, each with
// what a service makes of 32 bytes.
const maxKeyring = 1 << 20

// keyring is the file of that name: what the master key opens.
type keyring struct {
	Format int `json:"format"`
	// ID keeps the names of this ring's master keys apart from those of others in
	// the same place.
	ID string `json:"id"`
	// Generations are in order; the last one wraps new keys. There is more than one
	// while a rotation is under way.
	Generations []generation `json:"generations"`
	// Index is the key from which those of the classes are derived, sealed under the
	// last generation.
	Index []byte `json:"index"`
}

type generation struct {
	Number  uint32    `json:"number"`
	Master  string    `json:"master"` // the name of the master key
	Created time.Time `json:"created"`
	// Retired means that no key is wrapped with it any more, and that its master
	// key is to be destroyed.
	Retired bool `json:"retired,omitempty"`
	// Key wraps the subject keys. It is itself wrapped by the master key.
	Key []byte `json:"key"`
}

func (k *keyring) newest() *generation { return &k.Generations[len(k.Generations)-1] }

func (k *keyring) masterName(n uint32) string { return fmt.Sprintf("weir-evidence-%s-%d", k.ID, n) }

// errKeyring is said of a keyring whose bytes are not those of one.
var errKeyring = errors.New("not a keyring")

func parseKeyring(b []byte) (*keyring, error) {
	var k keyring
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return nil, fmt.Errorf("%w: %w", errKeyring, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%w: there is more after its end", errKeyring)
	}
	if k.Format != 1 {
		return nil, fmt.Errorf("%w of this version: format %d; this one reads 1", errKeyring, k.Format)
	}
	if id, err := hex.DecodeString(k.ID); err != nil || len(id) != 8 {
		return nil, fmt.Errorf("%w: its id is not 16 hexadecimal digits", errKeyring)
	}
	if len(k.Generations) == 0 || k.newest().Retired {
		return nil, fmt.Errorf("%w: no generation is in use", errKeyring)
	}
	for i, g := range k.Generations {
		if g.Number == 0 || g.Master != k.masterName(g.Number) || len(g.Key) == 0 || i > 0 && g.Number <= k.Generations[i-1].Number {
			return nil, fmt.Errorf("%w: generation %d is not one, or out of order", errKeyring, g.Number)
		}
	}
	if len(k.Index) != nonceSize+keySize+tagSize {
		return nil, fmt.Errorf("%w: the index key has %d bytes", errKeyring, len(k.Index))
	}
	return &k, nil
}

func indexData(id string) []byte { return []byte("ev1 keyring index\n" + id) }

// readKeyring reads the keyring; it is nil if there is none.
func readKeyring(dir string) (*keyring, error) {
	path := filepath.Join(dir, keyringFile)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxKeyring {
		return nil, fmt.Errorf("%s: %w: it has %d bytes", path, errKeyring, fi.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := parseKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a copy that is not older than the last rotation", path, err)
	}
	return k, nil
}

func (r *Ring) writeKeyring(k *keyring) error {
	b, err := json.MarshalIndent(k, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(r.calls, filepath.Join(r.dir, keyringFile), append(b, '\n'))
}

// newGeneration makes a generation and returns it with its key.
//
// If the process dies before the keyring names it, a master key is left that
// wraps nothing; in a rotation the next try uses it.
func (r *Ring) newGeneration(k *keyring, number uint32) (generation, []byte, error) {
	key := make([]byte, keySize)
	rand.Read(key)
	g := generation{Number: number, Master: k.masterName(number), Created: r.o.Now().UTC()}
	if err := r.master.create(g.Master); err != nil {
		return g, nil, fmt.Errorf("%w: %s: %w", ErrMaster, r.master.where(), err)
	}
	var err error
	if g.Key, err = r.master.wrap(g.Master, key); err != nil {
		return g, nil, fmt.Errorf("%w: %s: %w", ErrMaster, r.master.where(), err)
	}
	return g, key, nil
}

// beginKeyring makes the keyring of a directory that has none.
func (r *Ring) beginKeyring() (*keyring, error) {
	names, err := filepath.Glob(filepath.Join(r.dir, "*", "*.keys"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if fi, err := os.Stat(name); err != nil || fi.Size() > 0 {
			return nil, fmt.Errorf("%w: there are key files, such as %s, and no %s that opens them; restore it from a copy that is not older than the last rotation",
				ErrMaster, name, filepath.Join(r.dir, keyringFile))
		}
	}
	var id [8]byte
	rand.Read(id[:])
	k := &keyring{Format: 1, ID: hex.EncodeToString(id[:])}
	g, key, err := r.newGeneration(k, 1)
	if err != nil {
		return nil, err
	}
	k.Generations = []generation{g}
	index := make([]byte, keySize)
	rand.Read(index)
	k.Index = seal(newAEAD(key), index, indexData(k.ID))
	if err := r.writeKeyring(k); err != nil {
		return nil, err
	}
	return k, nil
}

// openKeyring opens the generations in use and the index key.
func (r *Ring) openKeyring(k *keyring) error {
	opened := make(map[uint32]cipher.AEAD)
	for _, g := range k.Generations {
		if g.Retired {
			continue
		}
		key, err := r.master.unwrap(g.Master, g.Key)
		if err != nil {
			return fmt.Errorf("%w for generation %d: %s: %w", ErrMaster, g.Number, r.master.where(), err)
		}
		opened[g.Number] = newAEAD(key)
	}
	newest := k.newest().Number
	index, err := unseal(opened[newest], k.Index, indexData(k.ID))
	if err != nil {
		return fmt.Errorf("%w: the index key in %s does not open: %s was changed", ErrMaster, filepath.Join(r.dir, keyringFile), keyringFile)
	}
	if r.index == nil {
		r.index = index
	}
	r.genMu.Lock()
	defer r.genMu.Unlock()
	r.ring, r.gens = k, opened
	return nil
}

// same reports whether two keyrings are of the same moment.
func (k *keyring) same(other *keyring) bool {
	return slices.EqualFunc(k.Generations, other.Generations, func(a, b generation) bool {
		return a.Number == b.Number && a.Retired == b.Retired
	})
}

// refresh reads the keyring again, and reports whether another process has written it
// since. One that is replaced while it is opened is read once more.
func (r *Ring) refresh() (changed bool, err error) {
	last := r.copyKeyring()
	for {
		k, rerr := readKeyring(r.dir)
		if rerr != nil {
			return false, rerr
		}
		if k == nil {
			return false, fmt.Errorf("there is no %s any more", keyringFile)
		}
		if k.same(last) {
			return changed, err
		}
		last, changed = k, true
		err = r.openKeyring(k)
	}
}
