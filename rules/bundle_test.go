package rules

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/configs"
)

const tinyPack = "pack: p\nrules:\n  - {id: p.a, category: fraud, state: live, terms: [赌博, {file: t.txt}]}\n"

// A bundle holds what belongs to a set and nothing else, reads as it was written, and loads as the
// files do.
func TestBundle(t *testing.T) {
	files := packs("p.yaml", tinyPack, "t.txt", "百家乐", "p_test.yaml", "tests:\n  - {text: x, hits: []}\n", "README.md", "no", ".hidden.yaml", "no", "sub/x.yaml", "no")
	b, err := ReadBundle(files, "")
	if err != nil {
		t.Fatal(err)
	}
	want := "-- p.yaml --\n" + tinyPack + "-- p_test.yaml --\ntests:\n  - {text: x, hits: []}\n-- t.txt --\n百家乐\n"
	if diff := cmp.Diff(want, string(b.Text())); diff != "" {
		t.Error(diff)
	}
	again, err := ParseBundle(b.Text())
	if err != nil || !bytes.Equal(again.Text(), b.Text()) || again.Digest() != b.Digest() {
		t.Errorf("%v", err)
	}
	fsys, err := again.FS()
	if err != nil {
		t.Fatal(err)
	}
	from, err := Load(files, register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(fsys, register(t), Options{})
	if err != nil || set.Digest() != from.Digest() {
		t.Errorf("%v", err)
	}
	// A comment changes the text and not what the rules do.
	files["p.yaml"] = &fstest.MapFile{Data: []byte(tinyPack + "# a comment\n")}
	if c, err := ReadBundle(files, ""); err != nil || c.Digest() == b.Digest() {
		t.Errorf("%v", err)
	}
}

// The mark of files is that of the bundle they are, and another when anything of it is another: a comment,
// a name, in which file a byte stands, the signature.
func TestMark(t *testing.T) {
	base := []string{"p.yaml", tinyPack, "t.txt", "百家乐", "README.md", "no"}
	marks := make(map[string]string)
	for what, files := range map[string]fstest.MapFS{
		"base":      packs(base...),
		"comment":   packs(append(base, "p.yaml", tinyPack+"# a comment\n")...),
		"content":   packs(append(base, "t.txt", "百家了")...),
		"border":    packs("p.yaml", tinyPack[:len(tinyPack)-1], "t.txt", "\n百家乐"),
		"name":      packs("p.yaml", tinyPack, "u.txt", "百家乐"),
		"less":      packs("p.yaml", tinyPack),
		"signature": packs(append(base, SignatureFile, "signed")...),
		"nothing":   packs(),
	} {
		b, err := ReadBundle(files, "")
		if err != nil {
			t.Fatal(err)
		}
		mark, err := MarkFiles(files, "")
		if err != nil || mark != b.Mark() {
			t.Errorf("%s: the files have mark %x, their bundle %x, %v", what, mark, b.Mark(), err)
		}
		if other, ok := marks[mark]; ok {
			t.Errorf("%s has the mark of %s", what, other)
		}
		marks[mark] = what
	}
	same, err := MarkFiles(packs(append(base, "README.md", "yes", ".hidden.yaml", "no")...), "")
	if err != nil || marks[same] != "base" {
		t.Errorf("what is no part of a bundle changes its mark, %v", err)
	}
	if _, err := MarkFiles(packs("a.txt", strings.Repeat("a", MaxBundle+1)), ""); err == nil || !strings.Contains(err.Error(), "rules.MaxBundle") {
		t.Errorf("files beyond the limit: %v", err)
	}
}

// The packs that ship fit into a bundle and come out of it as they were.
func TestBundleOfStarterPacks(t *testing.T) {
	shipped, err := fs.Sub(configs.FS, "rules")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadBundle(shipped, "configs/rules")
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := b.FS()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range b.Names() {
		want, err := fs.ReadFile(shipped, name)
		got, err2 := fs.ReadFile(fsys, name)
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(b.Names()) < 8 {
		t.Errorf("%v", b.Names())
	}
}

// What could not be read back as it is is refused.
func TestBundleRefusals(t *testing.T) {
	for name, fsys := range map[string]fs.FS{
		"p.yaml:2: a line that begins with \"-- \"": packs("p.yaml", "# x\n-- t.txt --\n"),
		"p.yaml: a byte that is not UTF-8":          packs("p.yaml", "\xff"),
		"rules.MaxBundle":                           packs("a.txt", strings.Repeat("a", MaxBundle/2+1), "b.txt", strings.Repeat("a", MaxBundle/2)),
		"read rules":                                os.DirFS("no/such/folder"),
	} {
		b, err := ReadBundle(fsys, "")
		if err == nil {
			err = b.Check("")
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, want := range map[string]string{
		"hello":                          "not a bundle",
		"-- ../x.yaml --\n":              "no part of a rule set",
		"-- a/x.yaml --\n":               "no part of a rule set",
		"-- x.sh --\n":                   "no part of a rule set",
		"-- b.yaml --\n-- a.yaml --\n":   "not sorted",
		"-- a.yaml --\n-- a.yaml --\n":   "not sorted",
		"-- a.yaml --\nx":                "not a bundle",
		strings.Repeat("x", MaxBundle+1): "rules.MaxBundle",
	} {
		if _, err := ParseBundle([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// A signature holds for the text as it was signed, by the key it was signed with.
func TestSignature(t *testing.T) {
	key := func(name string) (note.Signer, note.Verifier) {
		s, v, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := note.NewSigner(s)
		verifier, err2 := note.NewVerifier(v)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return signer, verifier
	}
	mine, me := key("me")
	_, other := key("me")
	files := packs("p.yaml", tinyPack, "t.txt", "百家乐\n")
	b, err := ReadBundle(files, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Verify(me); !errors.Is(err, ErrUnsigned) {
		t.Errorf("%v", err)
	}
	now := time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)
	signed, sig, err := b.Sign(mine, now)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := signed.Verify(me); err != nil || !at.Equal(now) || signed.Digest() != b.Digest() {
		t.Errorf("%s, %v", at, err)
	}
	// From a directory, too, and after it went over the wire; signing again replaces.
	files[SignatureFile] = &fstest.MapFile{Data: sig}
	dir, err := ReadBundle(files, "")
	if err != nil {
		t.Fatal(err)
	}
	wire, err := ParseBundle(dir.Text())
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := wire.Sign(mine, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Bundle{dir, wire, again} {
		if _, err := c.Verify(me); err != nil {
			t.Error(err)
		}
	}
	if _, err := signed.Verify(other); err == nil || !strings.Contains(err.Error(), "is none of the key me") {
		t.Errorf("another key: %v", err)
	}
	files["p.yaml"] = &fstest.MapFile{Data: []byte(tinyPack + "# changed\n")}
	if c, err := ReadBundle(files, ""); err != nil {
		t.Error(err)
	} else if _, err := c.Verify(me); err == nil || !strings.Contains(err.Error(), "changed since they were signed on 2026-11-28T01:02:03Z") {
		t.Errorf("changed: %v", err)
	}
	files[SignatureFile] = &fstest.MapFile{Data: []byte("weir rule set\nx\n")}
	if c, err := ReadBundle(files, ""); err != nil {
		t.Error(err)
	} else if _, err := c.Verify(me); err == nil {
		t.Error("no signature at all was accepted")
	}
}
