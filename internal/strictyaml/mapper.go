package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// mapper puts nodes into Go values and notes what does not fit.
type mapper struct {
	doc      *Document
	problems Problems
	fields   map[reflect.Type]*fields
}

func (m *mapper) add(n *node, path, format string, args ...any) {
	m.problems = append(m.problems, m.doc.problem(n.line, n.column, path, fmt.Sprintf(format, args...)))
}

// value puts n into v, which can be set.
func (m *mapper) value(n *node, v reflect.Value, path string) {
	if v.Kind() == reflect.Pointer {
		if n.kind == null {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		m.value(n, v.Elem(), path)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		m.duration(n, v, path)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		switch {
		// A list that can also be read from one word is, unless it is given as a list, and
		// so is a mapping.
		case v.Kind() == reflect.Slice && n.kind == list:
		case v.Kind() == reflect.Slice && (n.kind == mapping || n.kind == null):
			m.want(n, path, "a text (in quotes if it has a colon) or a list")
			return
		case v.Kind() == reflect.Struct && len(m.fieldsOf(v.Type()).names) > 0:
			m.either(n, v, u, path)
			return
		default:
			m.unmarshaler(n, u, path)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		m.structure(n, v, path)
	case reflect.Map:
		m.mapping(n, v, path)
	case reflect.Slice:
		m.list(n, v, path)
	case reflect.String:
		if n.kind != text {
			m.want(n, path, "a text")
			return
		}
		v.SetString(n.plain)
	case reflect.Bool:
		if n.kind != boolean {
			m.want(n, path, "true or false")
			return
		}
		v.SetBool(n.plain[0] == 't' || n.plain[0] == 'T')
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		m.integer(n, path, func(s string) (err error) {
			i, err := strconv.ParseInt(s, 0, v.Type().Bits())
			if err == nil {
				v.SetInt(i)
			}
			return err
		}, fmt.Sprintf("between %d and %d", -1<<(v.Type().Bits()-1), int64(uint64(1)<<(v.Type().Bits()-1)-1)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		m.integer(n, path, func(s string) (err error) {
			i, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, v.Type().Bits())
			if err == nil {
				v.SetUint(i)
			}
			return err
		}, fmt.Sprintf("between 0 and %d", ^uint64(0)>>(64-v.Type().Bits())))
	case reflect.Float32, reflect.Float64:
		m.float(n, v, path)
	default:
		panic(fmt.Sprintf("strictyaml: %s is a %s, which cannot be read from YAML", path, v.Type()))
	}
}

// want notes that something else was given than what is right.
func (m *mapper) want(n *node, path, right string) {
	switch {
	case n.kind == null:
		m.add(n, path, "is empty; give %s or take the line out", right)
	case right == "a text" && (n.kind == integer || n.kind == float || n.kind == boolean):
		m.add(n, path, "%s is %s here; if it is meant as a text, write %q", short(n.plain), n.kind, short(n.plain))
	case right == "a list" && n.kind == text:
		m.add(n, path, "%q is a text; give a list, such as [%s]", short(n.plain), short(n.plain))
	case n.kind == mapping && right == "a text":
		// Inside { }, the parser takes even host:9092 for a mapping.
		m.add(n, path, "is a mapping; give a text, in quotes if it has a colon")
	case n.kind == list || n.kind == mapping:
		m.add(n, path, "is %s; give %s", n.kind, right)
	case n.kind == text && n.quoted && (right == "a whole number" || right == "a number" || right == "true or false"):
		m.add(n, path, "%q is a text; give %s, without quotes", short(n.plain), right)
	case n.kind == text:
		m.add(n, path, "%q is a text; give %s", short(n.plain), right)
	default:
		m.add(n, path, "%s is %s; give %s", short(n.plain), n.kind, right)
	}
}

// short returns the beginning of a scalar for a message.
func short(s string) string {
	const longest = 60
	if len(s) <= longest {
		return s
	}
	n := longest
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func (m *mapper) duration(n *node, v reflect.Value, path string) {
	const right = "a duration, such as 10s, 5m or 1h30m"
	switch n.kind {
	case text:
		d, err := time.ParseDuration(n.plain)
		if err != nil {
			m.add(n, path, "%q is not a duration; write number and unit, such as 300ms, 10s, 5m or 1h30m", short(n.plain))
			return
		}
		v.SetInt(int64(d))
	case integer, float:
		m.add(n, path, "%s has no unit; write %ss for seconds, or another unit of ms, s, m, h", short(n.plain), short(n.plain))
	default:
		m.want(n, path, right)
	}
}

func (m *mapper) unmarshaler(n *node, u encoding.TextUnmarshaler, path string) {
	switch n.kind {
	case text, integer, float, boolean:
		if err := u.UnmarshalText([]byte(n.plain)); err != nil {
			m.add(n, path, "%s", err)
		}
	default:
		m.want(n, path, "a text")
	}
}

// either reads a struct from a mapping or from a text.
func (m *mapper) either(n *node, v reflect.Value, u encoding.TextUnmarshaler, path string) {
	switch n.kind {
	case mapping:
		m.structure(n, v, path)
	case text:
		m.unmarshaler(n, u, path)
	case integer, float, boolean:
		m.want(n, path, "a text")
	default:
		m.want(n, path, "a text or a mapping")
	}
}

func (m *mapper) integer(n *node, path string, set func(string) error, bounds string) {
	if n.kind != integer {
		m.want(n, path, "a whole number")
		return
	}
	digits := strings.TrimLeft(n.plain, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		m.add(n, path, "%s can be read as decimal or octal; write it without leading zeros", short(n.plain))
		return
	}
	if err := set(n.plain); errors.Is(err, strconv.ErrRange) || err != nil && strings.HasPrefix(n.plain, "-") {
		m.add(n, path, "%s does not fit; give a number %s", short(n.plain), bounds)
	} else if err != nil {
		m.add(n, path, "%s is not a whole number that can be read; write its decimal digits", short(n.plain))
	}
}

func (m *mapper) float(n *node, v reflect.Value, path string) {
	if n.kind != integer && n.kind != float {
		m.want(n, path, "a number")
		return
	}
	f, err := strconv.ParseFloat(n.plain, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		m.add(n, path, "%s is too large", short(n.plain))
		return
	}
	if err != nil || f-f != 0 { // not a number, or infinite
		m.add(n, path, "%s is not a number that can be read; write a finite decimal number, such as 0.5", short(n.plain))
		return
	}
	v.SetFloat(f)
}

func (m *mapper) list(n *node, v reflect.Value, path string) {
	if n.kind != list {
		m.want(n, path, "a list")
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, it := range n.items {
		m.value(it, s.Index(i), item(path, i))
	}
	v.Set(s)
}

// entries calls f for each name of a mapping, and notes the names given twice.
func (m *mapper) entries(n *node, path string, f func(*entry)) {
	first := make(map[string]*entry, len(n.entries))
	for _, e := range n.entries {
		if before := first[e.name]; before != nil {
			m.problems = append(m.problems, m.doc.problem(e.line, e.column, child(path, short(e.name)),
				fmt.Sprintf("given twice; first in line %d, keep one", before.line)))
			continue
		}
		first[e.name] = e
		f(e)
	}
}

func (m *mapper) mapping(n *node, v reflect.Value, path string) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("strictyaml: %s is a %s, want names of kind string", path, v.Type()))
	}
	if n.kind != mapping && n.kind != null {
		m.want(n, path, "a mapping")
		return
	}
	to := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	m.entries(n, path, func(e *entry) {
		value := reflect.New(v.Type().Elem()).Elem()
		m.value(e.value, value, child(path, e.name))
		to.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), value)
	})
	v.Set(to)
}

func (m *mapper) structure(n *node, v reflect.Value, path string) {
	if n.kind != mapping && n.kind != null {
		m.want(n, path, "a mapping")
		return
	}
	fs := m.fieldsOf(v.Type())
	given := make(map[string]bool, len(n.entries))
	m.entries(n, path, func(e *entry) {
		given[e.name] = true
		f, ok := fs.byName[e.name]
		if !ok {
			m.problems = append(m.problems, m.doc.problem(e.line, e.column, child(path, short(e.name)), unknown(e.name, fs.names)))
			return
		}
		m.value(e.value, v.FieldByIndex(f.index), child(path, e.name))
	})
	for _, name := range fs.names {
		if fs.byName[name].required && !given[name] {
			m.add(n, child(path, name), "missing; it must be given")
		}
	}
}

// unknown says what may be meant by a name that is none of the known ones.
func unknown(name string, known []string) string {
	if near, ok := Nearest(name, known); ok {
		return fmt.Sprintf("unknown name; did you mean %q?", near)
	}
	if len(known) == 0 {
		return "unknown name; nothing can be given here"
	}
	return "unknown name; known here: " + strings.Join(known, ", ")
}

// fields are what a struct can be filled with.
type fields struct {
	names  []string // in the order of the struct
	byName map[string]field
}

type field struct {
	index    []int
	required bool
}

func (m *mapper) fieldsOf(t reflect.Type) *fields {
	if fs := m.fields[t]; fs != nil {
		return fs
	}
	fs := &fields{byName: make(map[string]field)}
	collect(fs, t, nil)
	if m.fields == nil {
		m.fields = make(map[reflect.Type]*fields)
	}
	m.fields[t] = fs
	return fs
}

func collect(fs *fields, t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clip(index), i)
		tag, tagged := f.Tag.Lookup("yaml")
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			collect(fs, f.Type, at)
			continue
		}
		if !tagged || name == "" || name == "-" {
			continue
		}
		if !f.IsExported() {
			panic(fmt.Sprintf("strictyaml: field %s of %s has a yaml tag but is not exported", f.Name, t))
		}
		if _, ok := fs.byName[name]; ok {
			panic(fmt.Sprintf("strictyaml: two fields of %s are named %q", t, name))
		}
		fs.names = append(fs.names, name)
		fs.byName[name] = field{index: at, required: slices.Contains(strings.Split(options, ","), "required")}
	}
}
