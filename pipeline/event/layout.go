package event

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Layout says how the messages of a topic are written where they are not written
// as docs/schemas says, so that who writes them need not change.
type Layout struct {
	// Envelope is what stands before the JSON.
	Envelope Envelope `yaml:"envelope"`
	// Map says where in the JSON an event's members stand; nil: where docs/schemas
	// has them. What it does not name is not looked at.
	Map *Mapping `yaml:"map"`
}

// Envelope is what serializers put before the JSON.
type Envelope string

// The envelopes there are.
const (
	EnvelopeNone Envelope = "none" // the same as ""
	// EnvelopeConfluent is the number or the GUID of a schema in a registry: a zero
	// byte and four more, or a one and sixteen more.
	EnvelopeConfluent Envelope = "confluent"
)

// Mapping says by JSON Pointers (RFC 6901) where in a message the members of an
// event stand, or what they are where the message does not say. Which of them an
// event needs depends on its kind; see docs/inputs.md.
type Mapping struct {
	// ID and Time may be left out where messages are CloudEvents.
	ID        Place            `yaml:"id"`
	Time      Place            `yaml:"time"`
	User      UserPlaces       `yaml:"user"`
	Operation Place            `yaml:"operation"`
	Fields    map[string]Place `yaml:"fields"` // a text or a list of texts each
	Client    ClientPlaces     `yaml:"client"`
	Server    EndpointPlaces   `yaml:"server"`

	// Of pushes.
	Class        Place `yaml:"class"`
	Channel      Place `yaml:"channel"`
	Campaign     Place `yaml:"campaign"`
	Sender       Place `yaml:"sender"`
	Label        Place `yaml:"label"`
	Personalised Place `yaml:"personalised"`
	Expires      Place `yaml:"expires"`

	// Of outcomes.
	PushID Place `yaml:"push_id"`
	Result Place `yaml:"result"`
}

// UserPlaces are those of a [User]. A pointer in their stead is that of the id.
type UserPlaces struct {
	ID       Place `yaml:"id"`
	Group    Place `yaml:"group"`
	Verified Place `yaml:"verified"`
}

// UnmarshalText reads the pointer to the id.
func (p *UserPlaces) UnmarshalText(pointer []byte) error { return p.ID.UnmarshalText(pointer) }

// EndpointPlaces are those of the platform's end of the connection.
type EndpointPlaces struct {
	Address Place `yaml:"address"`
	Port    Place `yaml:"port"`
}

// ClientPlaces are those of the user's end.
type ClientPlaces struct {
	EndpointPlaces
	Device struct {
		Model Place `yaml:"model"`
		OS    Place `yaml:"os"`
		ID    Place `yaml:"id"`
		App   Place `yaml:"app"`
	} `yaml:"device"`
}

// Place is where a member stands, or what it is in every message. In the
// configuration it is a pointer such as /author/uid, or {const: marketing}.
type Place struct {
	Pointer string
	Const   Constant `yaml:"const"`
}

// UnmarshalText reads a pointer.
func (p *Place) UnmarshalText(pointer []byte) error {
	*p = Place{Pointer: string(pointer)}
	return nil
}

// Constant is a word, or true or false.
type Constant string

// UnmarshalText takes the word as it stands.
func (c *Constant) UnmarshalText(word []byte) error {
	*c = Constant(word)
	return nil
}

// Format is a Layout for messages of one kind, ready for a [Decoder]. It never
// changes.
type Format struct {
	kind      Kind
	confluent bool
	mapped    bool
	root      node
	constants Event // what is the same in all
	// What CloudEvents attributes do not stand in for.
	ownID, ownTime bool
}

// node is a name, or the index of an element, that pointers lead through or to.
type node struct {
	name     string
	index    int    // as which name can be read, or -1
	path     string // of what stands here or, the first, below
	children []node
	targets  []target // of a node without children
	text     bool     // a text stands here or below
	last     int      // the largest index of children, or -1
}

// target is what becomes of a value.
type target struct {
	member member
	field  []byte // the name of the text, if member is ofField
}

// Format compiles the layout; nil if there is nothing to it. Each error begins
// with the field's name.
func (l *Layout) Format(k Kind) (*Format, error) {
	f := &Format{kind: k, confluent: l.Envelope == EnvelopeConfluent}
	var errs []error
	if l.Envelope != "" && l.Envelope != EnvelopeNone && l.Envelope != EnvelopeConfluent {
		errs = append(errs, fmt.Errorf("envelope: %q is not known; use none or confluent", l.Envelope))
	}
	if l.Map != nil {
		for _, err := range f.compile(l.Map) {
			errs = append(errs, fmt.Errorf("map%w", err))
		}
	}
	switch {
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case !f.confluent && !f.mapped:
		return nil, nil
	}
	return f, nil
}

// compile makes a tree of all pointers, and an event of all constants.
func (f *Format) compile(m *Mapping) (errs []error) {
	f.mapped = true
	if f.kind != Post && f.kind != Push && f.kind != Outcome {
		return []error{fmt.Errorf(": the kind %s cannot be mapped; write it as docs/schemas/%s.json says", f.kind, f.kind)}
	}
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf(".%s: "+format, append([]any{path}, args...)...))
	}
	for _, x := range m.members() {
		path := memberNames[x.member]
		switch {
		case x.place == Place{}:
			if slices.Contains(x.needed, f.kind) {
				bad(path, "missing; the kind %s needs it", f.kind)
			}
		case !slices.Contains(x.kinds, f.kind):
			bad(path, "the kind %s has none; take it out", f.kind)
		case x.place.Const == "":
			f.point(path, x.place.Pointer, target{member: x.member}, bad)
		default:
			f.constant(path, x.member, string(x.place.Const), bad)
		}
	}
	f.ownID, f.ownTime = m.ID != Place{}, m.Time != Place{}
	switch {
	case f.kind == Outcome && len(m.Fields) > 0:
		bad("fields", "the kind outcome has none; take it out")
	case f.kind != Outcome && len(m.Fields) == 0:
		bad("fields", "missing; name each text that is to be judged, such as {body: /text}")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		path := "fields." + name
		if !plainName.MatchString(name) {
			path = fmt.Sprintf("fields[%q]", name)
		}
		switch p := m.Fields[name]; {
		case name == "" || len(name) > 64 || hasControl([]byte(name)):
			bad(path, "not a name; use 1 to 64 bytes")
		case p.Const != "":
			bad(path, "a text is never the same; point to where it stands, such as /text")
		default:
			f.point(path, p.Pointer, target{ofField, []byte(name)}, bad)
		}
	}
	if len(errs) == 0 {
		f.root.finish()
	}
	return errs
}

// plainName matches names that stand in paths without quotes.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// point puts a pointer into the tree.
func (f *Format) point(path, pointer string, to target, bad func(path, format string, args ...any)) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		bad(path, "%q is not a JSON Pointer; write it like /author/uid", pointer)
		return
	}
	n := &f.root
	for step := range strings.SplitSeq(rest, "/") {
		name, ok := unescapeStep(step)
		if !ok {
			bad(path, "%q is not a JSON Pointer: write ~ as ~0 and / in a name as ~1", pointer)
			return
		}
		if len(n.targets) > 0 {
			bad(path, "%q leads into what %s is; a member is a single value", pointer, n.path)
			return
		}
		n = n.step(name, path)
	}
	if len(n.children) > 0 {
		bad(path, "%q leads to where %s stands inside; point to a single value", pointer, n.path)
		return
	}
	n.targets = append(n.targets, to)
}

// unescapeStep resolves the two escapes of a pointer.
func unescapeStep(s string) (string, bool) {
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return "", false
		}
	}
	return strings.NewReplacer("~0", "~", "~1", "/").Replace(s), true
}

// step returns the child of a name, which it makes if there is none.
func (n *node) step(name, path string) *node {
	for i := range n.children {
		if n.children[i].name == name {
			return &n.children[i]
		}
	}
	n.children = append(n.children, node{name: name, index: indexOf(name), path: path})
	return &n.children[len(n.children)-1]
}

// indexOf reads the index of an element, as pointers write it.
func indexOf(s string) int {
	if s == "" || len(s) > 4 || len(s) > 1 && s[0] == '0' {
		return -1
	}
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = 10*n + int(s[i]-'0')
	}
	return n
}

// finish fills in what a node says of those below it.
func (n *node) finish() {
	n.text = slices.ContainsFunc(n.targets, func(t target) bool { return t.member == ofField })
	n.last = -1
	for i := range n.children {
		c := &n.children[i]
		c.finish()
		n.text, n.last = n.text || c.text, max(n.last, c.index)
	}
	if strings.HasPrefix(n.path, "fields") {
		n.path = memberNames[ofField] // without a name that is not ours
	}
}

// constant sets what is the same in all messages.
func (f *Format) constant(path string, m member, value string, bad func(path, format string, args ...any)) {
	e := &f.constants
	switch m {
	case ofVerified, ofPersonalised:
		if value != "true" && value != "false" {
			bad(path, "%q is not true or false", value)
		}
		*e.flag(m) = value == "true"
		return
	case ofGroup, ofOperation, ofClass, ofChannel, ofCampaign, ofSender, ofLabel, ofResult:
	default:
		bad(path, "it cannot be the same in every message; point to where it stands")
		return
	}
	switch {
	case m == ofResult && value != "cancelled" && value != "rejected":
		bad(path, "%q is not known; use cancelled or rejected", value)
	case len(value) > 64 || hasControl([]byte(value)):
		bad(path, "not a word; use 1 to 64 bytes")
	}
	*e.word(m) = []byte(value)
}
