// Command reach prints a -run pattern of the tests that ask for a setting of the environment, so that
// scripts/integration runs what meets a real server and nothing twice:
//
//	go run ./scripts/reach WEIR_TEST_KAFKA,WEIR_TEST_REDIS [DIRECTORY...]
//
// A test asks if anything that it names, or that something named there names, and so on, contains the setting's
// name in a string. Where it is not known whose method is named, all of that name are meant: it may print a test
// too many, and no test that asks is left out. What cannot be followed like that (a TestMain or an init that asks, or a file that
// belongs to no test) is an error.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: reach SETTING[,SETTING...] [DIRECTORY...]")
		os.Exit(2)
	}
	directories := os.Args[2:]
	if len(directories) == 0 {
		directories = []string{"./..."}
	}
	tests, packages, err := find(strings.Split(os.Args[1], ","), directories)
	if err == nil && len(tests) == 0 {
		err = errors.New("no test asks for " + os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reach: error:", err)
		os.Exit(1)
	}
	fmt.Printf("^(%s)$\n", strings.Join(tests, "|"))
	for _, p := range packages {
		fmt.Println(p)
	}
}

// find returns the names of the tests below the directories (like Go's patterns, ./x or ./x/...) that ask for one
// of the settings, and the directories that these tests are in.
func find(settings, directories []string) (tests, packages []string, err error) {
	asks := regexp.MustCompile(strings.Join(settings, "|"))
	seen := make(map[string]bool)
	for _, d := range directories {
		root, deep := strings.CutSuffix(d, "/...")
		root = filepath.Clean(root)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case !entry.IsDir() || seen[path]:
				return nil
			case path != root && (!deep || skipped(path)):
				return fs.SkipDir
			}
			seen[path] = true
			found, err := inDirectory(path, asks)
			if len(found) > 0 {
				tests, packages = append(tests, found...), append(packages, "./"+filepath.ToSlash(path))
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(tests)
	return slices.Compact(tests), packages, nil
}

// skipped tells whether Go's patterns leave a directory out: by its name, or as a module of its own.
func skipped(path string) bool {
	name := filepath.Base(path)
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// inDirectory returns the names of the tests in one directory that ask.
func inDirectory(dir string, asks *regexp.Regexp) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	packages := make(map[string][]*ast.File) // by the name: the package's own, and that of its tests from outside
	for _, path := range files {
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		packages[f.Name.Name] = append(packages[f.Name.Name], f)
	}
	g := graph{namers: make(map[string][]string)}
	for _, files := range packages {
		if err := g.add(set, files, asks); err != nil {
			return nil, err
		}
	}
	return g.tests(dir)
}

// graph is what names what in one directory. Functions, types and so on go by their name; methods by their type
// and name, and, where it is not known whose they are, by "." and their name.
type graph struct {
	namers map[string][]string // by each name: those whose declaration names it
	asking []string            // those whose declaration asks
}

func (g *graph) add(set *token.FileSet, files []*ast.File, asks *regexp.Regexp) error {
	// What comes from other packages stays unknown, and complaints about that are none of ours.
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	check := types.Config{Importer: nothing{}, Error: func(error) {}}
	_, _ = check.Check("", set, files, &info)
	for _, f := range files {
		for _, d := range f.Decls {
			names := declared(d)
			for n := range ast.Preorder(d) {
				switch n := n.(type) {
				case *ast.Ident:
					if used := named(info.Uses[n]); used != "" {
						g.namers[used] = append(g.namers[used], names...)
					}
				case *ast.SelectorExpr:
					if info.Uses[n.Sel] == nil {
						g.namers["."+n.Sel.Name] = append(g.namers["."+n.Sel.Name], names...)
					}
				case *ast.BasicLit:
					if n.Kind != token.STRING || !asks.MatchString(n.Value) {
						continue
					}
					if path := set.Position(n.Pos()).Filename; !strings.HasSuffix(path, "_test.go") {
						return fmt.Errorf("%s asks for a setting of tests, which cannot be followed into other packages; ask in the tests of each", path)
					}
					g.asking = append(g.asking, names...)
				}
			}
		}
	}
	return nil
}

// tests returns the tests that ask.
func (g *graph) tests(dir string) (tests []string, err error) {
	reached := make(map[string]bool)
	for next := g.asking; len(next) > 0; next = next[1:] {
		name := next[0]
		if reached[name] {
			continue
		}
		reached[name] = true
		_, method, is := strings.Cut(name, ".")
		if !is {
			method = name // from another package of this directory it is named like a method
		}
		next = slices.Concat(next, g.namers[name], g.namers["."+method])
		switch {
		case name == "TestMain" || name == "init":
			return nil, fmt.Errorf("%s: %s asks for a setting, for all tests; ask in those that need it", dir, name)
		case strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example"):
			tests = append(tests, name)
		}
	}
	return tests, nil
}

// declared returns the names that a declaration gives something: a function or method, or a group of the rest.
func declared(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return []string{d.Name.Name}
		}
		return []string{receiver(d.Recv.List[0].Type) + "." + d.Name.Name}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					names = append(names, n.Name)
				}
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			}
		}
	}
	return names
}

func receiver(t ast.Expr) string {
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "?"
		}
	}
}

// named returns what something used is called in the graph, or nothing if it belongs to no package or only to a function.
func named(o types.Object) string {
	if f, ok := o.(*types.Func); ok {
		if r := f.Signature().Recv(); r != nil {
			t := r.Type()
			if p, ok := t.(*types.Pointer); ok {
				t = p.Elem()
			}
			if n, ok := t.(*types.Named); ok && !types.IsInterface(t) {
				return n.Obj().Name() + "." + f.Name()
			}
			return "." + f.Name() // of an interface: whoever has it
		}
	}
	if o == nil || o.Pkg() == nil || o.Parent() != o.Pkg().Scope() {
		return ""
	}
	return o.Name()
}

// nothing imports packages with nothing in them.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}
