package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong with a file, and where.
type Problem struct {
	File    string
	Line    int    // from 1; 0 when the problem has no place in the file
	Column  int    // in characters, from 1
	Path    string // such as "rules[0].terms[2]", empty for the document itself
	Message string // what is wrong; what would be right

	source string // the line, for Detail
}

// Error returns "file:line:column: path: message".
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Detail returns what Error does and below it the faulty line, with a mark under
// the place.
func (p *Problem) Detail() string {
	if p.Line == 0 || p.source == "" {
		return p.Error()
	}
	number := fmt.Sprintf("%5d", p.Line)
	return fmt.Sprintf("%s\n%s | %s\n%s | %s^", p.Error(), number, clip(p.source), strings.Repeat(" ", len(number)), indent(p.source, p.Column-1))
}

// maxExcerpt is how many characters of a faulty line Detail shows.
const maxExcerpt = 120

// clip returns the beginning of a source line, safe for a terminal.
func clip(line string) string {
	var b strings.Builder
	n := 0
	for _, r := range line {
		if n == maxExcerpt {
			b.WriteString("…")
			break
		}
		if r < ' ' && r != '\t' || r == utf8.RuneError || r == 0x7F {
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// indent returns white space as wide as the first n characters of a line.
func indent(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n <= 0 || b.Len() > 2*maxExcerpt {
			break
		}
		n--
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case wide(r):
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// wide reports whether a terminal gives a character two columns. The blocks are
// those of East Asian text; being wrong about a rare one only shifts the mark.
func wide(r rune) bool {
	return r >= 0x1100 && r <= 0x115F || r >= 0x2E80 && r <= 0xA4CF || r >= 0xAC00 && r <= 0xD7A3 ||
		r >= 0xF900 && r <= 0xFAFF || r >= 0xFE30 && r <= 0xFE6F || r >= 0xFF01 && r <= 0xFF60 ||
		r >= 0xFFE0 && r <= 0xFFE6 || r >= 0x1F300 && r <= 0x1FAFF || r >= 0x20000 && r <= 0x3FFFD
}

// Problems are all things wrong with one or more files.
type Problems []*Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	return ps.join((*Problem).Error)
}

// Detail returns every problem with the faulty line below it.
func (ps Problems) Detail() string {
	return ps.join((*Problem).Detail)
}

func (ps Problems) join(text func(*Problem) string) string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = text(p)
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems one by one, for errors.Is and errors.As.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// Sort puts the problems in the order of the files: by name, line and column.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// sorted returns the problems in order, and no more of them than anyone reads.
func (ps Problems) sorted() Problems {
	ps.Sort()
	if len(ps) > maxProblems {
		last := *ps[maxProblems]
		last.Path, last.Message = "", fmt.Sprintf("%d more problems from here on; these first", len(ps)-maxProblems)
		ps = append(ps[:maxProblems:maxProblems], &last)
	}
	return ps
}

// orNil returns the problems as an error, nil if there are none.
func (ps Problems) orNil() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
