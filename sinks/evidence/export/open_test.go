package export

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// tarOf exports a package as a .tar and returns its name and the log's key.
func tarOf(t *testing.T) (name, vkey string) {
	t.Helper()
	w := full(t, true)
	w.close()
	o := w.order(Query{Subject: "alice"})
	o.Out += ".tar"
	w.export(o)
	return o.Out, o.VerifierKey
}

// A .tar is checked as the directory in it is, without being unpacked: the same words, the same numbers.
func TestTarIsVerifiedAsItsDirectory(t *testing.T) {
	name, vkey := tarOf(t)
	dir := t.TempDir()
	if out, code := tool(t, "tar", "-xf", name, "-C", dir); code != 0 {
		t.Fatal(out)
	}
	report := func(path string) string {
		r, err := Verify(path, []string{vkey}, evidence.ThirdParties{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if !IsPackage(name) || !IsPackage(filepath.Join(dir, "package")) || IsPackage(dir) {
		t.Error("not told apart from other files")
	}
	if diff := cmp.Diff(report(filepath.Join(dir, "package")), report(name)); diff != "" || !strings.Contains(report(name), `"alarms": 0`) {
		t.Errorf("directory and archive differ (-directory +archive):\n%s", diff)
	}
}

// entries reads an archive.
func entries(t *testing.T, name string) (hs []*tar.Header, bodies [][]byte) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return hs, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		hs, bodies = append(hs, h), append(bodies, b)
	}
}

// Whatever byte of a file in an archive is changed, wherever the archive is cut, and whichever file is taken
// out of it, it is no package that holds: Weir and verify.py both say so, and Weir names the file.
func TestTamperedTarIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("asks other programs; not with -short")
	}
	name, vkey := tarOf(t)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	hs, bodies := entries(t, name)
	refused := func(what string, b []byte, file string) {
		t.Helper()
		to := tarFile(t, b)
		r, err := Verify(to, []string{vkey}, evidence.ThirdParties{})
		if err == nil && r.OK() {
			t.Errorf("%s: Weir finds nothing", what)
		}
		if file != "" && (err != nil || !strings.Contains(r.FirstBad.File, file)) {
			t.Errorf("%s: %v, %+v", what, err, r)
		}
		if out, code := tool(t, "python3", "files/verify.py", "--key", vkey, to); code == 0 {
			t.Errorf("%s: verify.py finds nothing\n%s", what, out)
		}
	}
	for i, h := range hs {
		_, file, _ := strings.Cut(h.Name, "/")
		if at := bytes.Index(whole, bodies[i]); len(bodies[i]) > 0 && i%3 == 0 {
			b := bytes.Clone(whole)
			b[at+len(bodies[i])/2] ^= 4
			refused(file+" changed", b, "")
		}
		if i%5 == 0 {
			refused(file+" taken out", archive(t, slices.Delete(slices.Clone(hs), i, i+1), slices.Delete(slices.Clone(bodies), i, i+1)), "")
		}
	}
	for _, cut := range []int{len(whole) / 3, len(whole) / 2, len(whole) - 2000} {
		refused("cut short", whole[:cut], "")
	}
	for i, h := range hs {
		if strings.HasSuffix(h.Name, "data/records/records.jsonl") {
			changed := slices.Clone(bodies)
			changed[i] = bytes.Replace(bodies[i], []byte("alice"), []byte("alicf"), 1)
			refused("another record", archive(t, hs, changed), "data/records/records.jsonl")
		}
	}
}

// archive writes one.
func archive(t *testing.T, hs []*tar.Header, bodies [][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, h := range hs {
		h := *h
		h.Size, h.Format = int64(len(bodies[i])), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bodies[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive with what no package has is refused before anything of it is believed, by Weir and by verify.py.
func TestHostileTarIsRefused(t *testing.T) {
	name, vkey := tarOf(t)
	hs, bodies := entries(t, name)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	with := func(h tar.Header, body string) []byte {
		return archive(t, append(slices.Clone(hs), &h), append(slices.Clone(bodies), []byte(body)))
	}
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	if _, err := z.Write(whole); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "neither the directory of a package nor a .tar of one"},
		{"another file", bytes.Repeat([]byte("log "), 400), "neither the directory of a package nor a .tar of one"},
		{"compressed", gz.Bytes(), "it is compressed; unpack it"},
		{"a link", with(tar.Header{Name: "package/data/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""), "is no file of a package"},
		{"a folder", with(tar.Header{Name: "package/data/", Typeflag: tar.TypeDir}, ""), "is no file of a package"},
		{"out of the folder", with(tar.Header{Name: "package/../../x", Typeflag: tar.TypeReg}, "x"), "is no file of a package"},
		{"no folder", with(tar.Header{Name: "x", Typeflag: tar.TypeReg}, "x"), "is no file of a package"},
		{"a file twice", with(tar.Header{Name: "package/data/extraction.json", Typeflag: tar.TypeReg}, "{}"), "is in it twice"},
	} {
		to := tarFile(t, tt.b)
		if _, err := Verify(to, []string{vkey}, evidence.ThirdParties{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if out, code := tool(t, "python3", "files/verify.py", "--key", vkey, to); code == 0 {
			t.Errorf("%s: verify.py takes it\n%s", tt.name, out)
		}
	}
	// Two folders: verify.py takes each file for what lies below, Weir wants one.
	if _, err := Verify(tarFile(t, with(tar.Header{Name: "other/data/x", Typeflag: tar.TypeReg}, "x")), []string{vkey}, evidence.ThirdParties{}); err == nil || !strings.Contains(err.Error(), "is no file of a package") {
		t.Errorf("two folders: %v", err)
	}
}

func tarFile(t *testing.T, b []byte) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "package.tar")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}
