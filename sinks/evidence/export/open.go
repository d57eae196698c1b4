package export

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// contents are the files of a package that is checked: those of a directory, or of a
// tar of one.
type contents struct {
	files map[string]bool // by name; false: it is no regular file
	read  func(name string) ([]byte, error)
	close func() error
}

// names are those of all files, in order.
func (c *contents) names() []string { return slices.Sorted(maps.Keys(c.files)) }

// openPackage opens a directory or a .tar.
func openPackage(path string) (*contents, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return openDir(path)
	}
	return openTar(path)
}

func openDir(dir string) (*contents, error) {
	c := &contents{files: make(map[string]bool), close: func() error { return nil }}
	c.read = func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		c.files[filepath.ToSlash(name)] = d.Type().IsRegular()
		return err
	})
	return c, err
}

// openTar looks where in an archive the files of a package are. Nothing is unpacked:
// what users wrote is on no disk more than before. An archive that is no package, such
// as one with links in it, with a file twice or cut short, is an error, as it is for
// verify.py.
func openTar(path string) (_ *contents, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	places := make(map[string]*io.SectionReader)
	c := &contents{files: make(map[string]bool), close: f.Close}
	c.read = func(name string) ([]byte, error) {
		at := places[name]
		if at == nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
		}
		b := make([]byte, at.Size())
		if _, err := io.ReadFull(io.NewSectionReader(at, 0, at.Size()), b); err != nil {
			return nil, err
		}
		return b, nil
	}
	folder := ""
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) && len(places) > 0 {
			return c, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", notTar(f, len(places)), err)
		}
		root, name, _ := strings.Cut(h.Name, "/")
		if folder == "" {
			folder = root
		}
		// A sparse file is not where it stands.
		if h.Typeflag != tar.TypeReg || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "" ||
			root != folder || root == "" || root == "." || root == ".." || !fs.ValidPath(name) || name == "." || !filepath.IsLocal(name) || strings.Contains(name, `\`) {
			return nil, fmt.Errorf("%q is no file of a package, which are files below one folder; if you made the archive yourself, unpack it and check the directory", h.Name)
		}
		if places[name] != nil {
			return nil, fmt.Errorf("%q is in it twice", h.Name)
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader of the archive reads no further
		if err != nil {
			return nil, err
		}
		places[name], c.files[name] = io.NewSectionReader(f, at, h.Size), true
	}
}

// notTar says what a file is whose first, or next, header cannot be read.
func notTar(f *os.File, before int) error {
	if before > 0 {
		return fmt.Errorf("the archive cannot be read after %d files", before)
	}
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err == nil {
		for _, m := range []string{"\x1f\x8b", "PK\x03\x04", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zX"} {
			if bytes.HasPrefix(magic[:], []byte(m)) {
				return errors.New("it is compressed; unpack it and check the .tar or the directory in it")
			}
		}
	}
	return errors.New("it is neither the directory of a package nor a .tar of one")
}
