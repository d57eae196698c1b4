package strictyaml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parse turns the source of a document into nodes. Three gates stand in front of
// the parser, in this order: bytes, tokens, nesting. The parser recurses for each
// level and for each name of a mapping, so a hostile file must not reach it: a
// stack overflow cannot be recovered.
func (d *Decoder) parse(doc *Document) (*node, Problems) {
	maxBytes, maxDepth := d.MaxBytes, d.MaxDepth
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	if maxDepth <= 0 {
		maxDepth = DefaultMaxDepth
	}
	src, problems := doc.checkBytes(maxBytes)
	if len(problems) > 0 {
		return nil, problems
	}
	file, problems := doc.tree(src, maxDepth)
	if len(problems) > 0 {
		return nil, problems
	}
	root, problem := doc.nodes(file)
	if problem != nil {
		return nil, Problems{problem}
	}
	return root, nil
}

// checkBytes refuses what no configuration file contains, and returns the text
// without byte order mark and with plain line ends.
func (d *Document) checkBytes(maxBytes int) (string, Problems) {
	size := -1 // for the line feeds between the lines
	for _, l := range d.lines {
		size += len(l) + 1
	}
	if size > maxBytes {
		return "", Problems{{File: d.file, Message: fmt.Sprintf("%d bytes; at most %d can be read", size, maxBytes)}}
	}
	d.lines[0] = strings.TrimPrefix(d.lines[0], "\uFEFF")
	var problems Problems
	blank := 0
	for i, l := range d.lines {
		l = strings.TrimSuffix(l, "\r")
		d.lines[i] = l
		if strings.Trim(l, " \t") != "" {
			blank = 0
		} else if blank++; blank == maxBlankLines+1 {
			problems = append(problems, d.problem(i+1, 1, "", fmt.Sprintf("more than %d blank lines in a row; take some out", maxBlankLines)))
		}
		column := 0
		for j := 0; j < len(l); {
			r, n := utf8.DecodeRuneInString(l[j:])
			column++
			if r == utf8.RuneError && n == 1 {
				problems = append(problems, d.problem(i+1, column, "", "a byte that is not UTF-8; save the file as UTF-8"))
				break
			}
			if r < ' ' && r != '\t' || r == 0x7F {
				problems = append(problems, d.problem(i+1, column, "", fmt.Sprintf("control character %U; write it as an escape in double quotes, or take it out", r)))
				break
			}
			j += n
		}
	}
	return strings.Join(d.lines, "\n"), problems
}

// tree lets the YAML library read the text. A panic of the library is its bug, but
// must not become ours: the text comes from outside.
func (d *Document) tree(src string, maxDepth int) (file *ast.File, problems Problems) {
	defer func() {
		if r := recover(); r != nil {
			file, problems = nil, Problems{d.problem(0, 0, "", fmt.Sprintf("not valid YAML: the parser gave up: %v", r))}
		}
	}()
	tokens := lexer.Tokenize(src)
	if problems := d.checkTokens(tokens, maxDepth); len(problems) > 0 {
		return nil, problems
	}
	// Repeated names are allowed here and refused by the mapper, which finds all.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) && e.GetToken() != nil {
			p := e.GetToken().Position
			return nil, Problems{d.problem(p.Line, p.Column, "", "not valid YAML: "+e.GetMessage())}
		}
		return nil, Problems{d.problem(1, 1, "", "not valid YAML: "+err.Error())}
	}
	return file, nil
}

// checkTokens refuses the parts of YAML that make a file mean more than it shows.
func (d *Document) checkTokens(tokens token.Tokens, maxDepth int) Problems {
	var problems Problems
	add := func(t *token.Token, format string, args ...any) {
		problems = append(problems, d.problem(t.Position.Line, t.Position.Column, "", fmt.Sprintf(format, args...)))
	}
	type level struct{ column, names int }
	var block []level // open blocks, by column
	flow, flowNames := 0, 0
	tooDeep, tooMany := false, false
	begun, ended := false, false
	for i, t := range tokens {
		named := i+1 < len(tokens) && tokens[i+1].Type == token.MappingValueType
		if ended && t.Type != token.CommentType || begun && t.Type == token.DocumentHeaderType {
			add(t, "a second document; one file is one document")
			return problems
		}
		begun = begun || t.Type != token.CommentType
		switch t.Type {
		case token.DocumentEndType:
			ended = true
		case token.AnchorType:
			add(t, "anchors (&) are not read; write the value where it is used, or in quotes if it is a text")
		case token.AliasType:
			add(t, "aliases (*) are not read; write the value itself, or in quotes if it is a text")
		case token.MergeKeyType:
			add(t, "merge keys (<<) are not read; write the names themselves")
		case token.TagType:
			add(t, "tags (!) are not read; write the value without, or in quotes if it is a text")
		case token.DirectiveType:
			add(t, "directives (%%) are not read; take the line out")
			return problems
		case token.MappingKeyType:
			add(t, "\"?\" before a name is not read; write \"name: value\", or quotes if it is a text")
		case token.MappingStartType, token.SequenceStartType:
			if flow == 0 {
				flowNames = 0
			}
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(0, flow-1)
		default:
		}
		switch {
		case flow > 0:
			if t.Type == token.MappingValueType {
				flowNames++
			}
		case named || t.Type == token.SequenceEntryType:
			for len(block) > 0 && block[len(block)-1].column > t.Position.Column {
				block = block[:len(block)-1]
			}
			if len(block) == 0 || block[len(block)-1].column < t.Position.Column {
				block = append(block, level{column: t.Position.Column})
			}
			if named {
				block[len(block)-1].names++
			}
		}
		if !tooDeep && len(block)+flow > maxDepth {
			tooDeep = true
			add(t, "more than %d lists and mappings in one another", maxDepth)
		}
		if !tooMany && (flowNames > maxNames || len(block) > 0 && block[len(block)-1].names > maxNames) {
			tooMany = true
			add(t, "more than %d names in one mapping", maxNames)
		}
	}
	return problems
}

// nodes copies the one document of a file.
func (d *Document) nodes(file *ast.File) (root *node, problem *Problem) {
	defer func() {
		if r := recover(); r != nil {
			root, problem = nil, d.problem(0, 0, "", fmt.Sprintf("not valid YAML: the parser gave up: %v", r))
		}
	}()
	if len(file.Docs) > 1 { // checkTokens has seen to it; the library may see it otherwise
		return nil, d.problem(1, 1, "", "more than one document; one file is one document")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return &node{line: 1, column: 1}, nil
	}
	return d.node(file.Docs[0].Body)
}

func (d *Document) node(n ast.Node) (*node, *Problem) {
	if n == nil {
		return &node{}, nil
	}
	to := new(node)
	if t := n.GetToken(); t != nil && t.Position != nil {
		to.line, to.column = t.Position.Line, max(1, t.Position.Column)
		to.plain = t.Value
	}
	switch n := n.(type) {
	case *ast.NullNode:
		to.kind = null
	case *ast.StringNode:
		to.kind, to.plain = text, n.Value
		to.quoted = n.Token.Type == token.DoubleQuoteType || n.Token.Type == token.SingleQuoteType
		if _, err := strconv.ParseInt(n.Value, 0, 64); !to.quoted && errors.Is(err, strconv.ErrRange) {
			to.kind = integer // the library takes a number that is too large for a text
		}
	case *ast.LiteralNode:
		to.kind, to.plain, to.quoted = text, n.Value.Value, true
	case *ast.IntegerNode:
		to.kind = integer
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		to.kind = float
	case *ast.BoolNode:
		to.kind = boolean
	case *ast.SequenceNode:
		to.kind = list
		for _, v := range n.Values {
			c, problem := d.node(v)
			if problem != nil {
				return nil, problem
			}
			if c.line == 0 {
				c.line, c.column = to.line, to.column
			}
			to.items = append(to.items, c)
		}
	case *ast.MappingNode:
		return d.mapping(to, n.Values)
	case *ast.MappingValueNode:
		return d.mapping(to, []*ast.MappingValueNode{n})
	default:
		return nil, d.problem(to.line, to.column, "", fmt.Sprintf("%s is not read; write a plain value", strings.ToLower(n.Type().String())))
	}
	return to, nil
}

func (d *Document) mapping(to *node, values []*ast.MappingValueNode) (*node, *Problem) {
	to.kind = mapping
	for i, v := range values {
		t := v.Key.GetToken()
		name, problem := d.node(v.Key)
		if problem != nil {
			return nil, problem
		}
		if name.kind == list || name.kind == mapping || name.kind == null {
			return nil, d.problem(t.Position.Line, t.Position.Column, "", "a name is missing; write \"name: value\"")
		}
		value, problem := d.node(v.Value)
		if problem != nil {
			return nil, problem
		}
		e := &entry{name: name.plain, line: name.line, column: name.column, value: value}
		if value.line == 0 || value.kind == null {
			value.line, value.column = e.line, e.column
		}
		if i == 0 && to.line == e.line {
			to.column = e.column // the library says where the colon is
		}
		to.entries = append(to.entries, e)
	}
	return to, nil
}
