package condition

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/weir-moderation/weir/pipeline/event"
)

// fields are an event's texts as a map of CEL (a traits.Mapper) without a map being
// made: there are few, and most conditions ask for none of them. A field that is
// not there reads as "".
type fields []event.Field

func (f fields) text(key ref.Val) (text types.String, found bool) {
	name, ok := key.(types.String)
	if !ok {
		return "", false
	}
	for i := range f {
		if string(f[i].Name) == string(name) {
			return textOf(f, i), true
		}
	}
	return "", false
}

func textOf(f fields, i int) types.String { return text(f[i].Text) }

// Find returns the text of the field named, "" if there is none.
func (f fields) Find(key ref.Val) (ref.Val, bool) {
	t, _ := f.text(key)
	return t, true
}

// Get is what Find is.
func (f fields) Get(key ref.Val) ref.Val {
	t, _ := f.text(key)
	return t
}

// Contains reports whether there is a field of this name: the operator in.
func (f fields) Contains(key ref.Val) ref.Val {
	_, found := f.text(key)
	return types.Bool(found)
}

// Size returns the number of fields.
func (f fields) Size() ref.Val { return types.Int(len(f)) }

// Equal reports whether the other map has the same names and texts.
func (f fields) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok || o.Size() != f.Size() {
		return types.False
	}
	for i := range f {
		if v, found := o.Find(text(f[i].Name)); !found || v.Equal(textOf(f, i)) != types.True {
			return types.False
		}
	}
	return types.True
}

// Iterator goes over the names.
func (f fields) Iterator() traits.Iterator { return &fieldNames{rest: f} }

// Type returns CEL's type of maps.
func (f fields) Type() ref.Type { return types.MapType }

// Value returns the Go value.
func (f fields) Value() any { return f }

// ConvertToNative is asked for by nothing a condition can say.
func (f fields) ConvertToNative(t reflect.Type) (any, error) { return nil, noConversion(t) }

// ConvertToType is asked for by nothing a condition can say.
func (f fields) ConvertToType(t ref.Type) ref.Val { return types.WrapErr(noConversion(t)) }

// fieldNames goes over the names of fields.
type fieldNames struct {
	fields // only for the methods of a value that nobody asks an iterator for
	rest   fields
}

func (n *fieldNames) HasNext() ref.Val { return types.Bool(len(n.rest) > 0) }

func (n *fieldNames) Next() ref.Val {
	name := text(n.rest[0].Name)
	n.rest = n.rest[1:]
	return name
}

// attachments returns a list of them. They are few; the list is made when an
// expression asks for it.
func attachments(e *event.Event) ref.Val {
	list := make([]ref.Val, len(e.Attachments))
	for i := range e.Attachments {
		list[i] = attachment{&e.Attachments[i]}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, list)
}

// attachment is one as a value of CEL.
type attachment struct{ *event.Attachment }

var attachmentType = structure(ofAttachment)

// Equal reports whether both are the same attachment.
func (a attachment) Equal(other ref.Val) ref.Val { return types.Bool(ref.Val(a) == other) }

// Type returns the type that is declared to CEL.
func (a attachment) Type() ref.Type { return attachmentType }

// Value returns the Go value.
func (a attachment) Value() any { return a }

// ConvertToNative is asked for by nothing a condition can say.
func (a attachment) ConvertToNative(t reflect.Type) (any, error) { return nil, noConversion(t) }

// ConvertToType is asked for by nothing a condition can say.
func (a attachment) ConvertToType(t ref.Type) ref.Val { return types.WrapErr(noConversion(t)) }

func noConversion(to any) error { return fmt.Errorf("no conversion to %v", to) }
