// Package strictyaml reads one YAML document into a Go struct and refuses
// whatever a human could have meant otherwise: unknown and repeated names, wrong
// types, numbers that YAML versions read differently, a second document,
// anchors, aliases, tags. It finds all problems of a file at once, each with
// file, line, column and path, and says what would be right. What it is not: a
// general YAML library; it cannot write YAML, and it refuses on purpose much of
// what YAML allows.
//
// The one thing to know: what the decoder cannot know (does that category exist?
// is that number sensible?) is reported by the caller in the same manner, with
// [Document.Problem], so that a user sees one list, in the order of the file.
//
// Fields are named by tags: `yaml:"name"`, or `yaml:"name,required"` for one that
// must be given. A field without a tag is left alone, an embedded struct is read
// as if its fields stood in place. A name that is not given keeps the value the
// struct had before, so defaults are simply set first; a list or map that is
// given replaces the default as a whole.
package strictyaml

import (
	"fmt"
	"reflect"
)

// Limits of a document. The parser underneath takes time that grows with the
// square of some of these numbers; within them the worst file costs a second or
// two, not hours.
const (
	DefaultMaxBytes = 1 << 20 // of a whole document
	DefaultMaxDepth = 32      // lists and mappings in one another

	maxNames      = 4096 // names in one mapping
	maxBlankLines = 200  // in a row
	maxProblems   = 200  // reported of one document
)

// Decoder reads documents. The zero Decoder is ready and has the default limits.
type Decoder struct {
	MaxBytes int // 0 means DefaultMaxBytes
	MaxDepth int // 0 means DefaultMaxDepth
}

// Decode reads one YAML document into the struct, map or slice v points to, with
// the default limits. See [Decoder.Decode].
func Decode(file string, src []byte, v any) (*Document, error) {
	return new(Decoder).Decode(file, src, v)
}

// Decode reads one YAML document into the struct, map or slice v points to. The
// name of the file is only used in messages. The error, if any, is of type
// [Problems]; v is then filled as far as possible, so that a caller can go on and
// report what else is wrong. The document is never nil.
func (d *Decoder) Decode(file string, src []byte, v any) (*Document, error) {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		panic(fmt.Sprintf("strictyaml: Decode into %T, want a pointer to a struct", v))
	}
	doc := newDocument(file, src)
	root, problems := d.parse(doc)
	if len(problems) == 0 {
		doc.root = root
		m := mapper{doc: doc}
		m.value(root, target.Elem(), "")
		problems = m.problems
	}
	return doc, problems.sorted().orNil()
}
