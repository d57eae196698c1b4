package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/tools/txtar"
)

// MaxBundle is the size of the largest bundle, in bytes: half of what one evidence record takes,
// because there it is quoted.
const MaxBundle = 8 << 20

// Bundle is the text of a rule set: its packs, their tests and files of terms, as one text that can be
// signed, sent, kept and loaded again. The text is a txtar archive: before each file a line
// "-- name --", the files sorted by name. It can be read by eye.
type Bundle struct{ files []txtar.File }

// ReadBundle reads the files of a rule set at the root of fsys: all whose names end in .yaml or .txt,
// and the signature. Directories, names that begin with a dot and other files are passed over. Dir
// is put before names in messages. Whether the bundle can be one text says [Bundle.Check].
func ReadBundle(fsys fs.FS, dir string) (*Bundle, error) {
	b := new(Bundle)
	err := eachFile(fsys, dir, func(name string) error {
		data, err := fs.ReadFile(fsys, name)
		b.files = append(b.files, txtar.File{Name: name, Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	b.sort()
	return b, nil
}

// eachFile tells of the files that ReadBundle reads, sorted by name.
func eachFile(fsys fs.FS, dir string, read func(name string) error) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	size := 0
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !bundled(name) {
			continue
		}
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return fmt.Errorf("read rules: %w", err)
		}
		if size += int(min(info.Size(), MaxBundle+1)); size > MaxBundle {
			return fmt.Errorf("read rules: the files in %s have more than %d bytes together (rules.MaxBundle); split the set, or take out what is no part of it", dirName(dir), MaxBundle)
		}
		if err := read(name); err != nil {
			return fmt.Errorf("read rules: %w", err)
		}
	}
	return nil
}

// ParseBundle reads a bundle from its text. It refuses what [Bundle.Text] would not write.
func ParseBundle(text []byte) (*Bundle, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("read rules: a bundle of %d bytes; at most %d (rules.MaxBundle)", len(text), MaxBundle)
	}
	a := txtar.Parse(text)
	b := &Bundle{files: a.Files}
	for i, f := range b.files {
		if !bundled(f.Name) || strings.Contains(f.Name, "/") {
			return nil, fmt.Errorf("read rules: the bundle has a file %q, which is no part of a rule set", f.Name)
		}
		if i > 0 && b.files[i-1].Name >= f.Name {
			return nil, fmt.Errorf("read rules: the files of the bundle are not sorted by name, each once; write it with weir rules publish")
		}
		if err := checkFile(f.Name, f.Data); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(b.Text(), text) {
		return nil, fmt.Errorf("read rules: not a bundle; write it with weir rules publish")
	}
	return b, nil
}

// bundled reports whether a file of this name belongs to a rule set.
func bundled(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".txt")) || name == SignatureFile
}

// Check refuses what could not be read back from the bundle's text as it is. Dir is put before names
// in messages.
func (b *Bundle) Check(dir string) error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, checkFile(path.Join(dir, f.Name), f.Data))
	}
	if n := len(b.Text()); n > MaxBundle {
		errs = append(errs, fmt.Errorf("%s: a bundle of %d bytes; at most %d (rules.MaxBundle)", dirName(dir), n, MaxBundle))
	}
	return errors.Join(errs...)
}

// checkFile refuses what would not come out of a bundle as it went in.
func checkFile(name string, data []byte) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%s: a byte that is not UTF-8; save the file as UTF-8", name)
	}
	if !bytes.Contains(data, []byte("-- ")) {
		return nil
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if text = bytes.TrimRight(text, "\r\n"); bytes.HasPrefix(text, []byte("-- ")) && bytes.HasSuffix(text, []byte(" --")) {
			return fmt.Errorf("%s:%d: a line that begins with \"-- \" and ends with \" --\" is where a file begins in a bundle; write it otherwise", name, line)
		}
	}
	return nil
}

func (b *Bundle) sort() {
	slices.SortFunc(b.files, func(x, y txtar.File) int { return strings.Compare(x.Name, y.Name) })
}

// Text returns the bundle as one text.
func (b *Bundle) Text() []byte { return txtar.Format(&txtar.Archive{Files: b.files}) }

// FS returns the bundle's files.
func (b *Bundle) FS() (fs.FS, error) { return txtar.FS(&txtar.Archive{Files: b.files}) }

// Names returns the names of the bundle's files, sorted.
func (b *Bundle) Names() []string {
	names := make([]string, len(b.files))
	for i := range b.files {
		names[i] = b.files[i].Name
	}
	return names
}

// Mark tells the bundle apart from any other. Other than its digest it changes with the signature.
func (b *Bundle) Mark() string {
	m := newMarker()
	for _, f := range b.files {
		m.file.Write(f.Data) // a hash takes everything
		m.end(f.Name)
	}
	return m.mark()
}

// MarkFiles returns the mark of the bundle that ReadBundle would read, without keeping any of it.
func MarkFiles(fsys fs.FS, dir string) (string, error) {
	m := newMarker()
	room := make([]byte, 8<<10)
	err := eachFile(fsys, dir, func(name string) error {
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(m.file, struct{ io.Reader }{f}, room) // what else a file can do would take other room
		m.end(name)
		return errors.Join(err, f.Close())
	})
	return m.mark(), err
}

// marker makes the mark of files that come one after another.
type marker struct{ all, file hash.Hash }

func newMarker() marker { return marker{sha256.New(), sha256.New()} }

// end ends a file.
func (m marker) end(name string) {
	fmt.Fprintf(m.all, "%s\x00%s", name, m.file.Sum(nil))
	m.file.Reset()
}

func (m marker) mark() string { return string(m.all.Sum(nil)) }

// Digest returns the SHA-256, in hex, of the text without the signature. Other than that of a [Set]
// it changes with every comment.
func (b *Bundle) Digest() string {
	bare := Bundle{files: slices.DeleteFunc(slices.Clone(b.files), func(f txtar.File) bool { return f.Name == SignatureFile })}
	sum := sha256.Sum256(bare.Text())
	return hex.EncodeToString(sum[:])
}
