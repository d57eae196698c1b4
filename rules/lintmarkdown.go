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
// are looked for beside it. A file without packs and tests has no findings.
func LintMarkdown(name string, src []byte, beside fs.FS, reg *Register, o LintOptions) (*LintReport, error) {
	o.Dir = path.Clean(name)
	var files []txtar.File
	m := markdown{dir: o.Dir, fences: make(map[string]fence)}
	packs := false
	for _, f := range yamlFences(src) {
		file := fmt.Sprintf("%06d", f.line)
		switch {
		case packBlock.MatchString(f.text):
			file += ".yaml"
			packs = true
		case testBlock.MatchString(f.text):
			file += TestSuffix
		default:
			continue
		}
		files = append(files, txtar.File{Name: file, Data: []byte(f.text)})
		m.fences[file] = f
	}
	switch {
	case len(files) == 0:
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

// besideFS is the blocks of a Markdown file, with the files of terms that lie beside it.
type besideFS struct {
	blocks, beside fs.FS
}

// Open opens a block, or a file of terms.
func (f besideFS) Open(name string) (fs.File, error) {
	if name == "." || strings.HasSuffix(name, ".yaml") {
		return f.blocks.Open(name)
	}
	return f.beside.Open(name)
}

// packBlock and testBlock tell packs and tests from other YAML by what they must say.
var (
	packBlock = regexp.MustCompile(`(?m)^pack:`)
	testBlock = regexp.MustCompile(`(?m)^tests:`)
)

// fence is a fenced block of a Markdown file.
type fence struct {
	line   int // of its first line in the file, from 1
	indent int // characters that were taken off its lines
	text   string
}

// fenceLine is a line that begins or ends a block: white space, at least three of one mark, and what
// the block is.
var fenceLine = regexp.MustCompile("^([ \t]*)(`{3,}|~{3,})[ \t]*([^ \t`]*)")

// yamlFences returns the blocks fenced as yaml or yml, as CommonMark fences them: a block ends with at
// least as many of the mark as it began with, or with the file. A block in a list is indented; as
// much white space as stands before its fence is taken off its lines.
func yamlFences(src []byte) []fence {
	var fences []fence
	mark, line := "", 0 // the mark of the block at hand
	wanted := false     // it is of yaml
	for text := range bytes.Lines(src) {
		line++
		s := strings.TrimRight(string(text), "\r\n")
		m := fenceLine.FindStringSubmatch(s)
		switch {
		case mark == "" && m != nil:
			mark = m[2]
			if wanted = m[3] == "yaml" || m[3] == "yml"; wanted {
				fences = append(fences, fence{line: line + 1, indent: len(m[1])})
			}
		case mark != "" && m != nil && strings.HasPrefix(m[2], mark) && strings.TrimSpace(s) == m[2]:
			mark, wanted = "", false
		case wanted:
			f := &fences[len(fences)-1]
			n := 0
			for n < f.indent && n < len(s) && (s[n] == ' ' || s[n] == '\t') {
				n++
			}
			f.text += s[n:] + "\n"
		}
	}
	return fences
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
