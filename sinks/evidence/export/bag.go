package export

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bag is a BagIt 1.0 directory (RFC 8493) in the making: what is put under data/ is
// its payload, and every file is hashed while it is written.
type bag struct {
	*stage
	sums  map[string]string // SHA-256 in hex, by name
	bytes int64             // of the payload
}

const payload = "data/"

func newBag(out string) (*bag, error) {
	s, err := newStage(out)
	return &bag{stage: s, sums: make(map[string]string)}, err
}

// bagFile is a file of a bag that is being written.
type bagFile struct {
	bag  *bag
	name string
	f    *os.File
	w    *bufio.Writer
	h    hash.Hash
	n    int64
}

func (b *bag) create(name string) (*bagFile, error) {
	f, err := b.stage.create(name)
	if err != nil {
		return nil, err
	}
	return &bagFile{bag: b, name: name, f: f, w: bufio.NewWriterSize(f, 64<<10), h: sha256.New()}, nil
}

// Write implements io.Writer.
func (f *bagFile) Write(p []byte) (int, error) {
	f.h.Write(p)
	f.n += int64(len(p))
	return f.w.Write(p)
}

// close makes the file durable and takes its hash into the manifest.
func (f *bagFile) close() error {
	err := f.w.Flush()
	if err == nil {
		err = f.f.Sync()
	}
	if err = errors.Join(err, f.f.Close()); err != nil {
		return err
	}
	f.bag.sums[f.name] = hex.EncodeToString(f.h.Sum(nil))
	if strings.HasPrefix(f.name, payload) {
		f.bag.bytes += f.n
	}
	return nil
}

func (b *bag) put(name string, data []byte) error {
	f, err := b.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.close())
}

// manifest lists the files that are payload, or those that are not.
func (b *bag) manifest(ofPayload bool) []byte {
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(b.sums)) {
		if strings.HasPrefix(name, payload) == ofPayload {
			fmt.Fprintf(&out, "%s  %s\n", b.sums[name], name)
		}
	}
	return out.Bytes()
}

// infoLine is a line of bag-info.txt.
type infoLine struct{ label, value string }

// seal writes what BagIt asks for beside the payload and returns the tag manifest,
// whose hash stands for all of the package.
func (b *bag) seal(info []infoLine, now time.Time) ([]byte, error) {
	if err := b.put("bagit.txt", []byte("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")); err != nil {
		return nil, err
	}
	files := 0
	for name := range b.sums {
		if strings.HasPrefix(name, payload) {
			files++
		}
	}
	var text strings.Builder
	for _, l := range append(info,
		infoLine{"Bagging-Date", now.UTC().Format(time.DateOnly)},
		infoLine{"Payload-Oxum", fmt.Sprintf("%d.%d", b.bytes, files)}) {
		// A line of its own for each label: a value cannot begin another one.
		fmt.Fprintf(&text, "%s: %s\n", l.label, strings.Join(strings.Fields(l.value), " "))
	}
	if err := b.put("bag-info.txt", []byte(text.String())); err != nil {
		return nil, err
	}
	if err := b.put("manifest-sha256.txt", b.manifest(true)); err != nil {
		return nil, err
	}
	tags := b.manifest(false)
	return tags, b.put("tagmanifest-sha256.txt", tags)
}

// writeTar writes the finished directory as a tar archive under its own name, in
// which times and owners say nothing.
func writeTar(dir, out string) (err error) {
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(out))
		}
	}()
	w := tar.NewWriter(f)
	root := strings.TrimSuffix(filepath.Base(out), ".tmp")
	root = strings.TrimSuffix(root, ".tar")
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // only read
		fi, err := in.Stat()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: root + "/" + filepath.ToSlash(name), Mode: 0o600, Size: fi.Size(), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = io.Copy(w, in)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Sync()
}
