package condition

import (
	"slices"
	"unsafe"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Variable is something a condition may ask for.
type Variable struct {
	Name string // such as "event.user.group"; "[]" stands for each member of a list
	Type string // string, bool, int, timestamp, list, list(string), map(string, string)
	Doc  string // a short phrase
}

// Variables returns all there are, in the order of the documentation.
func Variables() []Variable {
	list := make([]Variable, len(variables))
	for i := range variables {
		v := &variables[i]
		list[i] = Variable{Name: v.name(), Type: typeName(v.typ), Doc: v.doc}
	}
	return list
}

// variable is a Variable and how its value is had.
type variable struct {
	of, field string // the structure it is a field of, and its name there
	typ       *cel.Type
	get       func(any) any // from the structure's Go value: *input, or attachment
	doc       string
}

func (v *variable) name() string {
	if v.of == ofAttachment {
		return "event.attachments[]." + v.field
	}
	return v.of + "." + v.field
}

// The structures by the paths to them. All but an attachment are parts of one Go
// value, *input.
const (
	ofEvent      = "event"
	ofUser       = "event.user"
	ofClient     = "event.client"
	ofDevice     = "event.client.device"
	ofPush       = "event.push"
	ofHits       = "hits"
	ofAttachment = "attachment"
)

// structure returns the type of a structure. CEL takes the name of a type for a name
// that may stand in an expression, too; nobody can write this one.
func structure(path string) *cel.Type { return cel.ObjectType("@" + path) }

var variables = [...]variable{
	{ofEvent, "kind", cel.StringType, ask(func(e *event.Event) ref.Val { return types.String(e.Kind.String()) }), "post or push"},
	{ofEvent, "time", cel.TimestampType, ask(func(e *event.Event) ref.Val { return types.Timestamp{Time: e.Time} }),
		"when it happened on the platform"},
	{ofEvent, "operation", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Operation) }),
		"post.create, comment, profile.update, push.send, ..."},
	{ofUser, "group", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.User.Group) }), "default, minor, elderly, ..."},
	{ofUser, "verified", cel.BoolType, ask(func(e *event.Event) ref.Val { return types.Bool(e.User.Verified) }),
		"the platform knows who the user is"},
	{ofEvent, "fields", cel.MapType(cel.StringType, cel.StringType), ask(func(e *event.Event) ref.Val { return fields(e.Fields) }),
		"the texts by the names of their fields"},
	{ofEvent, "attachments", cel.ListType(structure(ofAttachment)), ask(attachments),
		"the files that came with it; ask with exists, all or filter"},
	{ofAttachment, "media_type", cel.StringType, func(a any) any { return text(a.(attachment).MediaType) }, "such as image/png"},
	{ofAttachment, "scan", cel.StringType, func(a any) any { return text(a.(attachment).Scan) },
		"what a virus scanner said: clean, infected, unscanned, ..."},
	{ofDevice, "model", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Client.Device.Model) }), "the client's hardware"},
	{ofDevice, "os", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Client.Device.OS) }), "its system"},
	{ofDevice, "app", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Client.Device.App) }),
		"the application and its version"},
	{ofPush, "class", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Push.Class) }), "the push's class in the push policy"},
	{ofPush, "channel", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Push.Channel) }), "app, sms, email, popup"},
	{ofPush, "campaign", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Push.Campaign) }), "the campaign it belongs to"},
	{ofPush, "sender", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Push.Sender) }), "who sends it"},
	{ofPush, "label", cel.StringType, ask(func(e *event.Event) ref.Val { return text(e.Push.Label) }),
		"the advertising label shown to the user"},
	{ofPush, "personalised", cel.BoolType, ask(func(e *event.Event) ref.Val { return types.Bool(e.Push.Personalised) }),
		"it was chosen for this user"},
	{ofHits, "count", cel.IntType, askHits(func(h *Hits) any { return types.Int(h.Count) }), "hits of the rule in the event"},
	{ofHits, "distinct", cel.IntType, askHits(func(h *Hits) any { return types.Int(h.Distinct) }), "different terms among them"},
	{ofHits, "sure", cel.IntType, askHits(func(h *Hits) any { return types.Int(h.Sure) }),
		"hits not of low confidence: not by sound or by shape alone"},
	{ofHits, "fields", cel.ListType(cel.StringType), askHits(func(h *Hits) any { return words(h.Fields) }),
		"names of the fields that were hit"},
	{ofHits, "forms", cel.ListType(cel.StringType), askHits(func(h *Hits) any { return words(h.Forms) }),
		"forms that hits took: fold, squeeze, pinyin, ..."},
}

// parts are the structures within structures.
var parts = [...]struct{ of, field, structure string }{
	{ofEvent, "user", ofUser},
	{ofEvent, "client", ofClient},
	{ofClient, "device", ofDevice},
	{ofEvent, "push", ofPush},
}

// input is what one Eval is about, as CEL asks for it: by name, and only for the
// names that the expression holds. It implements interpreter.Activation.
type input struct {
	event *event.Event
	hits  Hits
}

// ResolveName returns the Go value of event and of hits.
func (in *input) ResolveName(name string) (any, bool) {
	return in, name == ofEvent || name == ofHits
}

// Parent says that there are no further names.
func (in *input) Parent() cel.Activation { return nil }

func ask(get func(*event.Event) ref.Val) func(any) any {
	return func(in any) any { return get(in.(*input).event) }
}

func askHits(get func(*Hits) any) func(any) any {
	return func(in any) any { return get(&in.(*input).hits) }
}

// text is a view of b, not a copy: a field may be a megabyte, no value outlives
// Eval, and the event does not change meanwhile.
func text(b []byte) types.String { return types.String(unsafe.String(unsafe.SliceData(b), len(b))) }

func words(list []string) ref.Val { return types.NewStringList(types.DefaultTypeAdapter, list) }

func typeName(t *cel.Type) string {
	if t.Kind() == types.ListKind && t.Parameters()[0].Kind() == types.StructKind {
		return "list"
	}
	return cel.FormatCELType(t)
}

// structures tells CEL which structures there are and which fields they have. It
// implements types.Provider; no expression can make a structure.
type structures map[string]map[string]*types.FieldType

func newStructures() structures {
	s := structures{}
	add := func(of, field string, t *cel.Type, get func(any) any) {
		name := structure(of).TypeName()
		if s[name] == nil {
			s[name] = map[string]*types.FieldType{}
		}
		s[name][field] = &types.FieldType{
			Type:    t,
			IsSet:   func(any) bool { return true },
			GetFrom: func(from any) (any, error) { return get(from), nil },
		}
	}
	for _, p := range parts {
		add(p.of, p.field, structure(p.structure), func(in any) any { return in })
	}
	for _, v := range variables {
		add(v.of, v.field, v.typ, v.get)
	}
	return s
}

func (s structures) EnumValue(string) ref.Val { return types.NewErr("there are no enumerations") }

func (s structures) FindIdent(string) (ref.Val, bool) { return nil, false }

func (s structures) FindStructType(name string) (*types.Type, bool) {
	if _, ok := s[name]; !ok {
		return nil, false
	}
	return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
}

func (s structures) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := s[name]
	names := make([]string, 0, len(fields))
	for f := range fields {
		names = append(names, f)
	}
	slices.Sort(names)
	return names, ok
}

func (s structures) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t, ok := s[name][field]
	return t, ok
}

func (s structures) NewValue(string, map[string]ref.Val) ref.Val {
	return types.NewErr("a condition makes no structures")
}
