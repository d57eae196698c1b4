package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// A citation is one "// Clause: <id>" in a Go file.
type citation struct {
	id   string
	file string
	line int
	what string // what the code does about it; empty in tests
	test string // the test function it stands in or above; empty in code
}

var (
	wellFormed = regexp.MustCompile(`^// Clause: ([a-z0-9-]+)$`)
	meant      = regexp.MustCompile(`(?i)^//\s*clauses?\s*:`)
)

// scan collects the citations of every Go file below the tree, by file and line.
func scan(tree fs.FS) ([]citation, error) {
	var found []citation
	var faults []error
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := path.Base(name); d.IsDir() {
			if base == "testdata" || name != "." && (base[0] == '.' || base[0] == '_') {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		list, err := scanFile(name, src)
		if err != nil {
			faults = append(faults, err)
		}
		found = append(found, list...)
		return nil
	})
	return found, errors.Join(append(faults, err)...)
}

// scanFile collects the citations of one file.
func scanFile(name string, src []byte) ([]citation, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	inTest := strings.HasSuffix(name, "_test.go")
	var found []citation
	var faults []error
	for _, group := range file.Comments {
		for i, comment := range group.List {
			if !meant.MatchString(comment.Text) {
				continue
			}
			at := files.Position(comment.Pos())
			match := wellFormed.FindStringSubmatch(comment.Text)
			if match == nil {
				faults = append(faults, fmt.Errorf("%s: %q cites no clause; write // Clause: and one id, alone on the line", at, comment.Text))
				continue
			}
			c := citation{id: match[1], file: name, line: at.Line, what: sentence(group.List[i+1:])}
			switch {
			case inTest:
				c.test = testAt(file, comment.End())
				if c.test == "" {
					faults = append(faults, fmt.Errorf("%s: no test stands below the citation of %s; cite it above or in the test that would turn red", at, c.id))
				}
			case c.what == "":
				faults = append(faults, fmt.Errorf("%s: says not what is done about %s; say it in one sentence on the next comment line", at, c.id))
			}
			found = append(found, c)
		}
	}
	return found, errors.Join(faults...)
}

// sentence joins the comment lines up to an empty one or the next citation.
func sentence(rest []*ast.Comment) string {
	var words []string
	for _, comment := range rest {
		line := strings.TrimSpace(strings.TrimPrefix(comment.Text, "//"))
		if line == "" || meant.MatchString(comment.Text) {
			break
		}
		words = append(words, line)
	}
	return strings.Join(words, " ")
}

// testAt names the test, fuzz target or benchmark the position is in or before.
func testAt(file *ast.File, pos token.Pos) string {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.End() < pos {
			continue
		}
		for _, kind := range [...]string{"Test", "Fuzz", "Benchmark", "Example"} {
			if strings.HasPrefix(f.Name.Name, kind) {
				return f.Name.Name
			}
		}
	}
	return ""
}
