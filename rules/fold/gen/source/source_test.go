package source

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A file whose sum is not the pinned one is never read, fresh or from the cache.
func TestWrongSum(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	a := Archive{File: "a.whl", SHA256: "00", Client: []string{"sh", "-c", "echo spoiled >a.whl"}}
	for range 2 {
		if _, err := Fetch(a); err == nil {
			t.Fatal("no error")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "weir", "fold", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The name asked for must match whole path elements.
func TestFromZip(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"data/notthis.txt", "data/this.txt"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := FromZip(path, "this.txt")
	if err != nil || string(got) != "data/this.txt" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FromZip(path, "is.txt"); err == nil {
		t.Error("found is.txt")
	}
}
