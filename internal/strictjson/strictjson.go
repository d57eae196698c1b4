// Package strictjson reads JSON of which there is only one reading.
//
// Two readers that disagree about a text are a way round every rule: one judges
// what the other never sees. So a text is accepted only if it is exactly one
// value as RFC 8259 and I-JSON (RFC 7493) define it: valid UTF-8, no control
// characters and no unknown escapes in strings, no lone surrogates, numbers by
// the grammar, no name twice in one object, nothing after the value.
//
// # Use
//
// [Parser.Scan] goes over the text once and returns its tokens in order: a
// container before its content, a name before its value. [Token.Next] leads past
// a whole value, so that a decoder walks the members of an object like this:
//
//	tokens, err := p.Scan(data)
//	for i := 1; i < int(tokens[0].Next); i = int(tokens[i+1].Next) {
//		name, value := &tokens[i], &tokens[i+1]
//	}
//
// [Text] gives the text of a string or a name, in place unless it has escapes.
// [Parser.Check] only says whether the text is acceptable.
//
// # What it costs
//
// Time grows with the length of the text, whatever it holds (names of a large
// object are sorted, which adds a logarithm). Memory grows with the number of
// values, is bounded by [Limits] and is used again for the next text: nothing is
// allocated once it has grown. A text over the size limit is not looked at.
//
// # What it is not
//
// It converts no numbers, streams nothing and repairs nothing. An [Error] says
// why and where, but never shows what stood there.
package strictjson

import (
	"cmp"
	"math"
)

// Limits bound what one text may cost. A zero field stands for its default.
type Limits struct {
	Bytes  int // length of the text; default 1 MiB, at most 4 GiB - 1
	Depth  int // containers inside one another; default 32, at most 10,000
	Values int // values of all kinds, names not counted; default 4,096
}

// The defaults of [Limits], and the depth up to which reading by recursion is
// cheap (a stack of some 2 MiB; jsontext stops at the same depth).
const (
	defaultBytes  = 1 << 20
	defaultDepth  = 32
	defaultValues = 4096
	deepest       = 10_000
)

// A Parser reads one text after another. It belongs to one goroutine. The zero
// value is ready.
type Parser struct {
	Limits Limits

	data   []byte
	depth  int // containers that may still be opened
	values int // values that may still come
	keep   bool
	tokens []Token
	names  [][]byte // names of the open objects, the innermost last
	arena  []byte   // names that had escapes, without them
}

// Scan returns the tokens of data, or an [*Error]. The tokens are valid until
// the next call.
func (p *Parser) Scan(data []byte) ([]Token, error) {
	if err := p.read(data, true); err != nil {
		return nil, err
	}
	return p.tokens, nil
}

// Check returns an [*Error] unless data is one strict JSON value.
func (p *Parser) Check(data []byte) error {
	return p.read(data, false)
}

func (p *Parser) read(data []byte, keep bool) error {
	size := min(cmp.Or(p.Limits.Bytes, defaultBytes), math.MaxUint32)
	if len(data) > size {
		return &Error{TooLarge, size}
	}
	p.depth = min(cmp.Or(p.Limits.Depth, defaultDepth), deepest)
	p.values = cmp.Or(p.Limits.Values, defaultValues)
	p.data, p.keep = data, keep
	p.tokens, p.names, p.arena = p.tokens[:0], p.names[:0], p.arena[:0]

	i, r := p.value(space(data, 0))
	if r == "" {
		if i = space(data, i); i < len(data) {
			r = Trailing
		}
	}
	p.data = nil
	if r != "" {
		return &Error{r, i}
	}
	return nil
}

// value reads the value that begins at i. Like all that read, it returns where
// it stopped: after what it read, or at the fault.
func (p *Parser) value(i int) (int, Reason) {
	if i >= len(p.data) {
		return i, Truncated
	}
	if p.values--; p.values < 0 {
		return i, TooMany
	}
	switch p.data[i] {
	case '"':
		end, escaped, r := text(p.data, i+1)
		if r == "" && p.keep {
			p.add('"', escaped, i+1, end-1)
		}
		return end, r
	case '{':
		return p.object(i)
	case '[':
		return p.array(i)
	}
	end, r := scalar(p.data, i)
	if r == "" && p.keep {
		p.add(p.data[i], false, i, end)
	}
	return end, r
}

func (p *Parser) array(start int) (int, Reason) {
	if p.depth--; p.depth < 0 {
		return start, TooDeep
	}
	opened := p.open('[', start)
	i := space(p.data, start+1)
	if i < len(p.data) && p.data[i] == ']' {
		return p.close(opened, i+1), ""
	}
	for {
		var r Reason
		if i, r = p.value(i); r != "" {
			return i, r
		}
		if i = space(p.data, i); i >= len(p.data) {
			return i, Truncated
		}
		switch p.data[i] {
		case ',':
			i = space(p.data, i+1)
		case ']':
			return p.close(opened, i+1), ""
		default:
			return i, misplaced(p.data, i)
		}
	}
}

func (p *Parser) object(start int) (int, Reason) {
	if p.depth--; p.depth < 0 {
		return start, TooDeep
	}
	opened, first := p.open('{', start), len(p.names)
	i := space(p.data, start+1)
	if i < len(p.data) && p.data[i] == '}' {
		return p.close(opened, i+1), ""
	}
	for {
		var r Reason
		if i, r = p.name(i, first); r != "" {
			return i, r
		}
		if i, r = p.value(i); r != "" {
			return i, r
		}
		if i = space(p.data, i); i >= len(p.data) {
			return i, Truncated
		}
		switch p.data[i] {
		case ',':
			i = space(p.data, i+1)
		case '}':
			if repeats(p.names[first:]) {
				return i, Duplicate
			}
			p.names = p.names[:first]
			return p.close(opened, i+1), ""
		default:
			return i, misplaced(p.data, i)
		}
	}
}

// name reads a name and its colon. p.names[first:] are the names that came
// before it in the same object.
func (p *Parser) name(start, first int) (int, Reason) {
	if start >= len(p.data) {
		return start, Truncated
	}
	if p.data[start] != '"' {
		return start, misplaced(p.data, start)
	}
	i, escaped, r := text(p.data, start+1)
	if r != "" {
		return i, r
	}
	if p.keep {
		p.add('"', escaped, start+1, i-1)
	}
	n := p.data[start+1 : i-1]
	if escaped {
		at := len(p.arena)
		p.arena = unescape(p.arena, n)
		n = p.arena[at:]
	}
	if known(p.names[first:], n) {
		return start, Duplicate
	}
	p.names = append(p.names, n)

	if i = space(p.data, i); i >= len(p.data) {
		return i, Truncated
	}
	if p.data[i] != ':' {
		return i, misplaced(p.data, i)
	}
	return space(p.data, i+1), ""
}

// space skips what may stand between tokens.
func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}
