package keys

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Store is where keys are durable whose directory does not last: it is then a working
// copy, made anew by [WorkingCopy] before each start. Names of files are relative to the
// directory, with slashes.
//
// A method that returns nil has made durable what it was given. After an error it may
// have or not: the ring writes nothing more, and the next start reads what is there.
type Store interface {
	// Append adds to the end of a file, which has size bytes. If something is there already,
	// another process writes to the keys, and that is an error.
	Append(file string, size int64, b []byte) error
	// Overwrite replaces bytes of a file in place.
	Overwrite(file string, off int64, b []byte) error
	// Put puts a whole file in the place of one with that name.
	Put(file string, content io.Reader) error
	// Truncate shortens a file.
	Truncate(file string, size int64) error
	// Remove removes a file. That it is gone already is no error.
	Remove(file string) error
	// Files calls fn for all files in parts, each file's in order.
	Files(ctx context.Context, fn func(file string, off int64, part []byte) error) error
}

// WorkingCopy makes dir, which must not exist, a working copy of the keys that s has.
// Where it has none it makes nothing.
func WorkingCopy(ctx context.Context, s Store, dir string) (err error) {
	var f *os.File
	end := func() error {
		if f == nil {
			return nil
		}
		return f.Close()
	}
	defer func() { err = errors.Join(err, end()) }()
	var name string
	return s.Files(ctx, func(file string, off int64, part []byte) error {
		if !filepath.IsLocal(file) {
			return errors.New("the store has a file whose name is none of a key file")
		}
		if f == nil || file != name {
			if err := end(); err != nil {
				return err
			}
			f, name = nil, file
			path := filepath.Join(dir, filepath.FromSlash(file))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			var err error
			if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
				return err
			}
		}
		_, err := f.WriteAt(part, off)
		return err
	})
}

// mirror does in a store what is done to a working copy, before it is called durable.
type mirror struct {
	*calls
	dir   string
	store Store
}

// with returns calls that end in the store for files in dir. Files elsewhere, the master
// key, are left as they are.
func (c *calls) with(store Store, dir string) *calls {
	m := &mirror{calls: c, dir: dir, store: store}
	return &calls{write: m.write, datasync: m.sync(c.datasync), sync: m.sync(c.sync), rename: m.rename, truncate: m.truncate, remove: m.remove}
}

// name returns the name of an open file within the store. It reports false if it is not to
// be there: a file elsewhere, or one that is in the making and will be renamed.
func (m *mirror) name(f *os.File) (string, bool) {
	path := f.Name()
	if final, ok := strings.CutSuffix(path, tmpSuffix); ok {
		// It has its name already if that is the same file.
		ours, err := f.Stat()
		if err != nil {
			return "", false
		}
		shown, err := os.Stat(final)
		if err != nil || !os.SameFile(ours, shown) {
			return "", false
		}
		path = final
	}
	return m.nameOf(path)
}

func (m *mirror) nameOf(path string) (string, bool) {
	name, err := filepath.Rel(m.dir, path)
	return filepath.ToSlash(name), err == nil && filepath.IsLocal(name)
}

// write writes to the store at once; nothing is durable before the sync that follows in a
// directory, and here it may be.
func (m *mirror) write(f *os.File, b []byte, off int64) error {
	name, ok := m.name(f)
	if !ok {
		return m.calls.write(f, b, off)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if off >= fi.Size() {
		err = m.store.Append(name, off, b)
	} else {
		inside := min(int64(len(b)), fi.Size()-off)
		if err = m.store.Overwrite(name, off, b[:inside]); err == nil && inside < int64(len(b)) {
			err = m.store.Append(name, off+inside, b[inside:])
		}
	}
	if err != nil {
		return err
	}
	return m.calls.write(f, b, off)
}

// sync leaves out what the store has made durable.
func (m *mirror) sync(sync func(*os.File) error) func(*os.File) error {
	return func(f *os.File) error {
		if _, ok := m.nameOf(f.Name()); ok {
			return nil
		}
		return sync(f)
	}
}

func (m *mirror) rename(from, to string) error {
	if name, ok := m.nameOf(to); ok {
		b, err := os.ReadFile(from)
		if err == nil {
			err = m.store.Put(name, bytes.NewReader(b))
		}
		if err != nil {
			return err
		}
	}
	return m.calls.rename(from, to)
}

func (m *mirror) truncate(f *os.File, size int64) error {
	if name, ok := m.name(f); ok {
		if err := m.store.Truncate(name, size); err != nil {
			return err
		}
	}
	return m.calls.truncate(f, size)
}

func (m *mirror) remove(path string) error {
	if name, ok := m.nameOf(path); ok && !strings.HasSuffix(path, tmpSuffix) {
		if err := m.store.Remove(name); err != nil {
			return err
		}
	}
	return m.calls.remove(path)
}
