package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// LintMarkdown lints what a Markdown file shows: those blocks fenced as yaml or yml that are packs or
// tests, all together one set. Places are those in the Markdown file. Files of terms that packs name
// are blocks fenced as text whose first line is "# NAME.txt", or else lie beside it. A file without packs and tests has no findings.
func LintMarkdown(name string, src []byte, beside fs.FS, reg *Register, o LintOptions) (*LintReport, error) {
	o.Dir = path.Clean(name)
	var files []txtar.File
	m := markdown{dir: o.Dir, fences: make(map[string]fence)}
	packs, yaml := false, false
	for _, f := range fences(src) {
		file := fmt.Sprintf("%06d", f.line)
		switch named := termsBlock.FindStringSubmatch(f.text); {
		case f.of == "text" && named != nil:
			file = named[1]
		case f.of == "text":
			continue
		case packBlock.MatchString(f.text):
			file += ".yaml"
			packs = true
		case testBlock.MatchString(f.text):
			file += TestSuffix
		default:
			continue
		}
		yaml = yaml || f.of != "text"
		files = append(files, txtar.File{Name: file, Data: []byte(f.text)})
		m.fences[file] = f
	}
	switch {
	case !yaml:
		return new(LintReport), nil
	case !packs:
		return nil, fmt.Errorf("%s: shows tests and no pack; show the pack that they test, too", o.Dir)
	}
	blocks, err := txtar.FS(&txtar.Archive{Files: files})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Dir, err)
	}
	report, err := Lint(besideFS{blocks, beside}, reg, o)
	if problems, ok := errors.AsType[strictyaml.Problems](err); ok {
		for _, p := range problems {
			p.File, p.Line, p.Column = m.place(p.File, p.Line, p.Column)
			p.Message = m.places(p.Message)
		}
		problems.Sort()
	}
	if report != nil {
		for i := range report.Findings {
			f := &report.Findings[i]
			f.File, f.Line, f.Column = m.place(f.File, f.Line, f.Column)
			f.Message = m.places(f.Message)
		}
		report.sort()
	}
	return report, err
}

// besideFS is the blocks of a Markdown file, and the files of terms that lie beside it and are no blocks.
type besideFS struct {
	blocks, beside fs.FS
}

// Open opens a block, or a file of terms.
func (f besideFS) Open(name string) (fs.File, error) {
	block, err := f.blocks.Open(name)
	if err == nil || strings.HasSuffix(name, ".yaml") {
		return block, err
	}
	return f.beside.Open(name)
}

// packBlock and testBlock tell packs and tests from other YAML by what they must say, termsBlock a file of
// terms from other text by its name.
var (
	termsBlock = regexp.MustCompile(`^# ([A-Za-z0-9_-]+\.txt)\b`)
	packBlock  = regexp.MustCompile(`(?m)^pack:`)
	testBlock  = regexp.MustCompile(`(?m)^tests:`)
)

// fence is a fenced block of a Markdown file.
type fence struct {
	line   int    // of its first line in the file, from 1
	indent int    // characters that were taken off its lines
	of     string // yaml, yml or text
	text   string
}

// fenceLine is a line that begins or ends a block: white space, at least three of one mark, and what
// the block is.
var fenceLine = regexp.MustCompile("^([ \t]*)(`{3,}|~{3,})[ \t]*([^ \t`]*)")

// fences returns the blocks fenced as yaml, yml or text, as CommonMark fences them: a block ends with at
// least as many of the mark as it began with, or with the file. A block in a list is indented; as
// much white space as stands before its fence is taken off its lines.
func fences(src []byte) []fence {
	var list []fence
	mark, line := "", 0 // the mark of the block at hand
	wanted := false     // it is of one of these
	for text := range bytes.Lines(src) {
		line++
		s := strings.TrimRight(string(text), "\r\n")
		m := fenceLine.FindStringSubmatch(s)
		switch {
		case mark == "" && m != nil:
			mark = m[2]
			if wanted = m[3] == "yaml" || m[3] == "yml" || m[3] == "text"; wanted {
				list = append(list, fence{line: line + 1, indent: len(m[1]), of: m[3]})
			}
		case mark != "" && m != nil && strings.HasPrefix(m[2], mark) && strings.TrimSpace(s) == m[2]:
			mark, wanted = "", false
		case wanted:
			f := &list[len(list)-1]
			n := 0
			for n < f.indent && n < len(s) && (s[n] == ' ' || s[n] == '\t') {
				n++
			}
			f.text += s[n:] + "\n"
		}
	}
	return list
}

// markdown knows which block is where in a Markdown file.
type markdown struct {
	dir    string           // the name of the file, in which each block has a name of its own
	fences map[string]fence // by that name
}

// place returns the place in the Markdown file of a place in a block.
func (m *markdown) place(file string, line, column int) (string, int, int) {
	name, ok := strings.CutPrefix(file, m.dir+"/")
	f, known := m.fences[name]
	switch {
	case !ok || !known: // a file of terms
		return path.Join(path.Dir(m.dir), name), line, column
	case line == 0:
		return m.dir, f.line, 1
	}
	return m.dir, line + f.line - 1, column + f.indent
}

// places replaces the places in a message.
func (m *markdown) places(message string) string {
	at := regexp.MustCompile(regexp.QuoteMeta(m.dir) + `/([^\s:]+):(\d+):(\d+)`)
	return at.ReplaceAllStringFunc(message, func(s string) string {
		found := at.FindStringSubmatch(s)
		line, _ := strconv.Atoi(found[2])
		column, _ := strconv.Atoi(found[3])
		file, line, column := m.place(m.dir+"/"+found[1], line, column)
		return fmt.Sprintf("%s:%d:%d", file, line, column)
	})
}
