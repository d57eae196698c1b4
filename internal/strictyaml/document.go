package strictyaml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// kind is what a node of a document is.
type kind uint8

const (
	null kind = iota
	text
	integer
	float
	boolean
	list
	mapping
)

// String returns how messages call a node of this kind.
func (k kind) String() string {
	return [...]string{"empty", "a text", "a number", "a number", "true or false", "a list", "a mapping"}[k]
}

// node is one value of a document. The parser's own tree is copied into nodes so
// that nothing but parse.go knows it.
type node struct {
	kind         kind
	plain        string // a scalar as written, quotes and escapes resolved
	quoted       bool   // the scalar was quoted or a block
	line, column int
	items        []*node  // of a list
	entries      []*entry // of a mapping
}

// entry is one name and its value.
type entry struct {
	name         string
	line, column int
	value        *node
}

// Document is a YAML document that was read, kept for finding places in it.
type Document struct {
	file  string
	lines []string
	root  *node // nil when the document could not be read
}

func newDocument(file string, src []byte) *Document {
	return &Document{file: file, lines: strings.Split(string(src), "\n")}
}

// File returns the name the document was read under.
func (d *Document) File() string { return d.file }

// Problem returns a problem at a path such as "rules[0].terms[2]"; a name with
// other characters than letters, digits, "_" and "-" is written `limits["a.b"]`.
// Its place is that of the node, or of the nearest parent that exists.
func (d *Document) Problem(path, format string, args ...any) *Problem {
	line, column, _ := d.find(path)
	return d.problem(line, column, path, fmt.Sprintf(format, args...))
}

// Located turns an error made without knowing the file, such as that of a
// Validate method, into problems of this document. The error may be an
// errors.Join of several; each text begins with a path inside the section and
// ": ". The section, such as "kafka", is put before it.
func (d *Document) Located(section string, err error) Problems {
	var problems Problems
	var many interface{ Unwrap() []error }
	var one *Problem
	switch {
	case err == nil:
	case errors.As(err, &one):
		problems = append(problems, one)
	case errors.As(err, &many):
		for _, e := range many.Unwrap() {
			problems = append(problems, d.Located(section, e)...)
		}
	default:
		path, message, found := strings.Cut(err.Error(), ": ")
		if _, ok := splitPath(path); !found || !ok {
			path, message = "", err.Error()
		}
		problems = append(problems, d.Problem(join(section, path), "%s", message))
	}
	problems.Sort()
	return problems
}

// Has reports whether the document itself gives a value at the path, rather than
// a default having been kept.
func (d *Document) Has(path string) bool {
	_, _, found := d.find(path)
	return found
}

func (d *Document) problem(line, column int, path, message string) *Problem {
	p := &Problem{File: d.file, Line: line, Column: max(column, 1), Path: path, Message: message}
	if line >= 1 && line <= len(d.lines) {
		p.source = strings.TrimRight(d.lines[line-1], "\r")
	}
	return p
}

// find returns the place of the node at the path and whether it exists. The place
// of a scalar is the scalar, that of a list or mapping is its name.
func (d *Document) find(path string) (line, column int, found bool) {
	line, column = 1, 1
	n := d.root
	if n == nil {
		return line, column, false
	}
	if n.line > 0 {
		line, column = n.line, n.column
	}
	steps, ok := splitPath(path)
	if !ok {
		return line, column, false
	}
	for _, s := range steps {
		switch {
		case !s.inList && n.kind == mapping:
			e := n.entry(s.name)
			if e == nil {
				return line, column, false
			}
			n = e.value
			line, column = e.line, e.column
			if n.kind != list && n.kind != mapping && n.kind != null {
				line, column = n.line, n.column
			}
		case s.inList && n.kind == list && s.index < len(n.items):
			n = n.items[s.index]
			line, column = n.line, n.column
		default:
			return line, column, false
		}
	}
	return line, column, true
}

func (n *node) entry(name string) *entry {
	for _, e := range n.entries {
		if e.name == name {
			return e
		}
	}
	return nil
}

// step is one part of a path: a name, or an index into a list.
type step struct {
	name   string
	index  int
	inList bool
}

// splitPath takes a path apart; false if it is not one.
func splitPath(path string) ([]step, bool) {
	var steps []step
	for path != "" {
		switch {
		case strings.HasPrefix(path, `["`):
			quoted, err := strconv.QuotedPrefix(path[1:])
			if err != nil || !strings.HasPrefix(path[1+len(quoted):], "]") {
				return nil, false
			}
			name, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, false
			}
			steps = append(steps, step{name: name})
			path = path[len(quoted)+2:]
		case path[0] == '[':
			digits, rest, ok := strings.Cut(path[1:], "]")
			i, err := strconv.ParseUint(digits, 10, 31)
			if !ok || err != nil {
				return nil, false
			}
			steps = append(steps, step{index: int(i), inList: true})
			path = rest
		default:
			if path[0] == '.' && len(steps) > 0 {
				path = path[1:]
			} else if len(steps) > 0 {
				return nil, false
			}
			n := 0
			for n < len(path) && nameByte(path[n]) {
				n++
			}
			if n == 0 {
				return nil, false
			}
			steps = append(steps, step{name: path[:n]})
			path = path[n:]
		}
	}
	return steps, true
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// join appends a path to that of its parent.
func join(parent, path string) string {
	if parent == "" || path == "" || path[0] == '[' {
		return parent + path
	}
	return parent + "." + path
}

// child returns the path of a name below the parent.
func child(parent, name string) string {
	for i := range len(name) {
		if !nameByte(name[i]) {
			return parent + "[" + strconv.Quote(name) + "]"
		}
	}
	if name == "" {
		return parent + `[""]`
	}
	return join(parent, name)
}

// item returns the path of the i-th item of a list.
func item(parent string, i int) string {
	return parent + "[" + strconv.Itoa(i) + "]"
}
