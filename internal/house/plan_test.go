package house

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A plan says what a source tree must look like.
type plan struct {
	order    []string // packages; each may import only earlier ones
	beside   []string // may import anything, imported by nothing
	forTests []string // of order: imported by test files only
	owners   []owner  // who may import which third-party module
	root     []string // what may stand at the top level; names with a dot in front always may
}

// An owner is the only user of a module.
type owner struct {
	module   string
	packages []string // empty: test files only
	tests    bool     // test files of every package may use it, too
}

// anywhere stands for every package in an owner's list.
const anywhere = "..."

func (o owner) who() string {
	who := strings.Join(o.packages, " and ")
	switch {
	case who == "":
		return "test files"
	case o.tests:
		return who + " and test files"
	}
	return who
}

// emptyNames say what a package contains, not what it is.
var emptyNames = []string{"base", "common", "helper", "helpers", "misc", "model", "models", "shared", "types", "util", "utils"}

// covers reports whether a pattern ("x", "x/..." or "...") stands for a package.
func covers(pattern, pkg string) bool {
	if pattern == anywhere {
		return true
	}
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == parent || strings.HasPrefix(pkg, parent+"/")
	}
	return pattern == pkg
}

func place(patterns []string, pkg string) int {
	return slices.IndexFunc(patterns, func(p string) bool { return covers(p, pkg) })
}

// check reads every Go file of the tree and returns what stands against the
// plan, each with what would be right. It looks at build-constrained files as
// at all others: what is wrong on one system is wrong.
func (p *plan) check(tree fs.FS) ([]string, error) {
	module, err := moduleOf(tree)
	if err != nil {
		return nil, err
	}
	c := &inspection{plan: p, module: module, tree: tree, files: token.NewFileSet()}
	if err := c.top(); err != nil {
		return nil, err
	}
	err = fs.WalkDir(tree, ".", func(dir string, d fs.DirEntry, err error) error {
		switch name := path.Base(dir); {
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case dir == ".":
		case name == "testdata", name == "vendor", name[0] == '.', name[0] == '_':
			return fs.SkipDir // the go command does not look in there either
		case c.exists(path.Join(dir, "go.mod")):
			return fs.SkipDir // another module
		}
		return c.folder(dir)
	})
	return c.faults, err
}

// moduleOf reads the module's path from go.mod.
func moduleOf(tree fs.FS) (string, error) {
	text, err := fs.ReadFile(tree, "go.mod")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if module, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(module), nil
		}
	}
	return "", errors.New("go.mod names no module")
}

// An inspection is one walk over a tree.
type inspection struct {
	*plan
	module string
	tree   fs.FS
	files  *token.FileSet
	faults []string
}

func (c *inspection) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *inspection) exists(name string) bool {
	_, err := fs.Stat(c.tree, name)
	return err == nil
}

// top looks at the top level. What .gitignore names there ("/bin/") is not part
// of the house.
func (c *inspection) top() error {
	ignored, err := fs.ReadFile(c.tree, ".gitignore")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := fs.ReadDir(c.tree, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name[0] == '.' || slices.Contains(c.root, name) {
			continue
		}
		if slices.ContainsFunc(strings.Fields(string(ignored)), func(line string) bool {
			return strings.HasPrefix(line, "/") && strings.Trim(line, "/") == name
		}) {
			continue
		}
		c.fault("%s: does not belong at the top level; documents go to docs, programs to cmd, aids to scripts", name)
	}
	return nil
}

// folder looks at one package: its place, its name, its comment, its imports.
func (c *inspection) folder(dir string) error {
	entries, err := fs.ReadDir(c.tree, dir)
	if err != nil {
		return err
	}
	var sources []*ast.File // test files left out
	goFiles := false
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".go" {
			continue
		}
		name := path.Join(dir, e.Name())
		src, err := fs.ReadFile(c.tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(c.files, name, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			c.fault("%v", err)
			continue
		}
		goFiles = true
		test := strings.HasSuffix(name, "_test.go")
		c.packageName(dir, file, test)
		if !test {
			sources = append(sources, file)
			test = place(c.forTests, dir) >= 0
		}
		for _, spec := range file.Imports {
			if target, err := strconv.Unquote(spec.Path.Value); err == nil {
				c.imported(dir, file, spec, target, test)
			}
		}
	}
	if !goFiles {
		return nil
	}
	if place(c.order, dir) < 0 && place(c.beside, dir) < 0 {
		c.fault("%s: has no place in the order; give it one in internal/house/layout_test.go and ARCHITECTURE.md, or put its code into the package that uses it", dir)
	}
	if base := path.Base(dir); slices.Contains(emptyNames, base) {
		c.fault("%s: the name says what is in the package, not what it is; name the idea, or put the code where its only user is", dir)
	}
	c.comment(dir, sources)
	return nil
}

// packageName wants one name for folder and package.
func (c *inspection) packageName(dir string, file *ast.File, test bool) {
	name := file.Name.Name
	if test {
		name = strings.TrimSuffix(name, "_test")
	}
	if name != "main" && name != path.Base(dir) {
		c.fault("%s: package %s in a folder named %s; give both one name", c.files.Position(file.Name.Pos()), name, path.Base(dir))
	}
}

// comment wants a package comment: what the package is for, what it is not, the
// one thing to know.
func (c *inspection) comment(dir string, sources []*ast.File) {
	if len(sources) == 0 {
		return
	}
	name := sources[0].Name.Name
	begin := []string{"Package " + name + " "}
	if name == "main" {
		begin = []string{"Command " + path.Base(dir) + " ", "Weir "}
	}
	for _, file := range sources {
		for _, b := range begin {
			if strings.HasPrefix(file.Doc.Text(), b) {
				return
			}
		}
	}
	c.fault("%s: has no package comment; say above a package clause what it is for, what it is not and the one thing to know, beginning %q", dir, begin[0]+"...")
}

// imported looks at one import.
func (c *inspection) imported(dir string, file *ast.File, spec *ast.ImportSpec, target string, test bool) {
	at := c.files.Position(spec.Pos())
	if own, ok := strings.CutPrefix(target+"/", c.module+"/"); ok {
		own = strings.TrimSuffix(own, "/")
		// A test from outside (package x_test) is a package of its own that
		// nothing imports; it may look further down.
		outside := test && strings.HasSuffix(file.Name.Name, "_test")
		c.direction(at, dir, own, test, outside)
		return
	}
	if first, _, _ := strings.Cut(target, "/"); strings.Contains(first, ".") {
		c.ownership(at, dir, target, test)
	}
}

// direction wants imports to point up the order.
func (c *inspection) direction(at token.Position, from, to string, test, outside bool) {
	if place(c.beside, to) >= 0 && place(c.beside, from) < 0 {
		c.fault("%s: %s imports %s, which is a tool; tools look at the house, the house does not lean on them", at, from, to)
		return
	}
	if !test && place(c.forTests, to) >= 0 {
		c.fault("%s: %s imports %s, which is written for tests; only test files may import it", at, from, to)
		return
	}
	i, j := place(c.order, from), place(c.order, to)
	if i < 0 || j < 0 || j < i || outside || test && place(c.forTests, to) >= 0 {
		return // a package without a place is reported where it stands
	}
	if i == j && strings.HasSuffix(c.order[i], "/...") {
		return // rooms of one package
	}
	c.fault("%s: %s imports %s, which does not stand before it; data flows down the order, imports point up it: move what both need to the earlier package, or hand it in from internal/app", at, from, to)
}

// ownership wants a third-party module in the package it belongs to.
func (c *inspection) ownership(at token.Position, from, target string, test bool) {
	i := slices.IndexFunc(c.owners, func(o owner) bool { return covers(o.module+"/...", target) })
	if i < 0 {
		c.fault("%s: %s imports %s, which belongs to no package; name its owner in internal/house/layout_test.go and say in docs/decisions why it serves better than what is here", at, from, target)
		return
	}
	o := c.owners[i]
	if test && o.tests || place(o.packages, from) >= 0 {
		return
	}
	c.fault("%s: %s imports %s, which belongs to %s; use what its owner offers, or add there what is missing", at, from, target, o.who())
}
