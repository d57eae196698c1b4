// Command fold writes the table of package fold, from the sources in package source
// and the decisions in the directory data. It does nothing when the table there was
// written from the same inputs: then it needs neither network nor Node.js. Otherwise
// it needs npm, node, pip, apt-get and dpkg-deb.
//
// Run it with go generate ./rules/fold.
package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

//go:embed *.go unicode.mjs data
var program embed.FS

func main() {
	out := flag.String("o", "", "`file` to write")
	force := flag.Bool("force", false, "write it even if the inputs are the same")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, *force); err != nil {
		fmt.Fprintln(os.Stderr, "fold:", err)
		os.Exit(1)
	}
}

func run(out string, force bool) error {
	inputs, err := inputs()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(out); err == nil && !force && bytes.Contains(old, []byte("// Inputs: "+inputs+"\n")) {
		return nil
	}
	u, err := readUnicode()
	if err != nil {
		return err
	}
	h, err := readHan(u)
	if err != nil {
		return err
	}
	f, err := newFolder(u, h)
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	t, err := f.table()
	if err != nil {
		return err
	}
	text, err := t.source(inputs)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644)
}

// inputs returns a hash of everything the table is made from: this program with its
// data, and the pins.
func inputs() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(program, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := program.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	for _, a := range []source.Archive{source.Unicode, source.UnicodeData, source.Homoglyph, source.OpenCCData, source.OpenCC} {
		fmt.Fprintln(h, a.File, a.SHA256)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
