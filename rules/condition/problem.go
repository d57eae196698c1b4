package condition

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// Error is one thing that is wrong with an expression, and where.
type Error struct {
	Line    int    // from 1
	Column  int    // in characters, from 1
	Message string // what is wrong; what would be right
}

// Error returns "line:column: message".
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// explain puts CEL's findings into words that say what would be right. A finding it
// has no words for stays in CEL's.
func explain(src string, list []*cel.Error) error {
	lines := strings.Split(src, "\n")
	var problems, followed []error
	syntax := false
	for _, found := range list {
		if strings.HasPrefix(found.Message, "Syntax error: ") {
			if syntax {
				continue // the reader has lost its way at the first
			}
			syntax = true
		}
		p := &Error{Line: max(found.Location.Line(), 1), Column: max(found.Location.Column(), 0) + 1}
		line := []rune(lines[min(p.Line, len(lines))-1])
		before := string(line[:min(p.Column-1, len(line))])
		after := string(line[len([]rune(before)):])
		p.reword(found.Message, before, after)
		if untyped.MatchString(found.Message) {
			followed = append(followed, p)
		} else {
			problems = append(problems, p)
		}
	}
	if len(problems) == 0 {
		problems = followed
	}
	return errors.Join(problems...)
}

// wordings are CEL's findings. What one of them matches is given to its words with
// the text of the line before and after the place; they may move the place.
var wordings = []struct {
	cel   *regexp.Regexp
	words func(p *Error, found []string, before, after string) string
}{
	{regexp.MustCompile(`^undefined field '(.*)'$`), unknownField},
	{regexp.MustCompile(`^undeclared reference to '(.*)' \(in container ''\)$`), unknownName},
	{regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`), wrongTypes},
	{regexp.MustCompile(`^expected type '(.*)' but found '(.*)'$`), func(_ *Error, found []string, _, _ string) string {
		return fmt.Sprintf("this is of type %s; %s is wanted here", found[2], found[1])
	}},
	{regexp.MustCompile(`^type '(.*)' does not support field selection$`), func(p *Error, found []string, _, _ string) string {
		p.Column++
		if strings.HasPrefix(found[1], "list(") {
			return fmt.Sprintf("a %s has no fields; ask for its members with exists, all or filter, as in "+
				`event.attachments.exists(a, a.scan == "infected")`, found[1])
		}
		return fmt.Sprintf("a %s has no fields; end the name before the dot", found[1])
	}},
	{regexp.MustCompile(`^expression of type '(.*)' cannot be range`), func(_ *Error, found []string, _, _ string) string {
		return fmt.Sprintf("exists, all, exists_one and filter go over lists and maps; this is of type %s", found[1])
	}},
	{regexp.MustCompile(`^argument must be a simple name$`), func(*Error, []string, string, string) string {
		return `exists, all, exists_one and filter begin with a name for the member, as in event.fields.exists(f, f == "title")`
	}},
	{regexp.MustCompile(`^invalid (int|uint|double) literal$`), func(*Error, []string, string, string) string {
		return "the number is too large"
	}},
	{regexp.MustCompile(`recursion limit exceeded`), func(*Error, []string, string, string) string {
		return "the condition is nested too deeply; leave out parentheses, or divide the rule into several"
	}},
	{regexp.MustCompile(`^Syntax error: `), notRead},
}

// untyped is the finding that a name which is not known leaves behind.
var untyped = regexp.MustCompile(`^found no matching overload .*\bdyn\b`)

// structureNames are names of structures in CEL's findings; ours have no "@".
var structureNames = regexp.MustCompile(`@(event|hits|attachment)\b`)

// reword sets the message.
func (e *Error) reword(message, before, after string) {
	e.Message = structureNames.ReplaceAllString(message, "$1")
	for _, w := range wordings {
		if found := w.cel.FindStringSubmatch(e.Message); found != nil {
			e.Message = w.words(e, found, before, after)
			return
		}
	}
}

var pathBefore = regexp.MustCompile(`[\w.]*$`)

func unknownField(p *Error, found []string, before, _ string) string {
	p.Column++ // CEL points to the dot
	name, path := found[1], pathBefore.FindString(before)
	fields, ok := language().CELTypeProvider().FindStructFieldNames(structure(path).TypeName())
	if !ok { // behind a name that exists and its like have given
		path = ofAttachment
		fields, _ = language().CELTypeProvider().FindStructFieldNames(structure(path).TypeName())
	}
	if near, ok := strictyaml.Nearest(name, fields); ok {
		return fmt.Sprintf("%s has no field %s; did you mean %s?", path, name, near)
	}
	for _, v := range Variables() {
		if strings.HasSuffix(v.Name, "."+name) {
			return fmt.Sprintf("%s has no field %s; did you mean %s?", path, name, v.Name)
		}
	}
	return fmt.Sprintf("%s has no field %s; there are %s", path, name, strings.Join(fields, ", "))
}

func unknownName(p *Error, found []string, before, after string) string {
	name := found[1]
	if strings.HasPrefix(after, "(") {
		p.Column -= utf8.RuneCountInString(name)
		if name == "has" {
			return `there is no has, for nothing is ever missing; write "title" in event.fields, or compare with ""`
		}
		known := slices.Sorted(maps.Keys(functions))
		known = append(known, macros[:]...)
		slices.Sort(known)
		if near, ok := strictyaml.Nearest(name, known); ok {
			return fmt.Sprintf("there is no function %s; did you mean %s?", name, near)
		}
		return fmt.Sprintf("there is no function %s; there are %s", name, strings.Join(known, ", "))
	}
	if strings.HasPrefix(after, "{") {
		return "a condition makes no structures; ask for fields of event and hits"
	}
	if near, ok := strictyaml.Nearest(name, []string{ofEvent, ofHits}); ok {
		return fmt.Sprintf("there is no %s; did you mean %s?", name, near)
	}
	for _, v := range Variables() {
		for _, part := range strings.Split(v.Name, ".") {
			if part == name {
				whole, _, _ := strings.Cut(v.Name, "."+name)
				return fmt.Sprintf("there is no %s; did you mean %s.%s?", name, whole, name)
			}
		}
	}
	return fmt.Sprintf(`there is no %s; there are event and hits, and texts are written in "..."`, name)
}

// usage shows each function as it is meant.
var usage = map[string]string{
	"size":         `size(event.fields) > 1`,
	"contains":     `event.fields["title"].contains("VX")`,
	"startsWith":   `event.operation.startsWith("profile.")`,
	"endsWith":     `event.fields["title"].endsWith("!")`,
	"matches":      `event.client.device.app.matches("^shop/[12]")`,
	"timestamp":    `event.time >= timestamp("2026-10-01T00:00:00+08:00")`,
	"getHours":     `event.time.getHours("Asia/Shanghai") < 8`,
	"getMinutes":   `event.time.getMinutes("Asia/Shanghai") < 30`,
	"getDayOfWeek": `event.time.getDayOfWeek("Asia/Shanghai") == 0`,
}

func wrongTypes(p *Error, found []string, before, _ string) string {
	name, args := found[1], found[2]
	if like, ok := usage[name]; ok {
		if strings.HasSuffix(before, name) {
			p.Column -= utf8.RuneCountInString(name)
		}
		return fmt.Sprintf("%s does not take %s; write it as in %s", name, args, like)
	}
	operator := strings.Trim(name, "_") // CEL calls it "_==_"
	switch name {
	case "!_":
		return fmt.Sprintf("! does not take %s; a bool is wanted", args)
	case "@in":
		return fmt.Sprintf(`in does not take %s; write it as in "title" in hits.fields`, args)
	case "_[_]":
		return fmt.Sprintf(`[ ] does not take %s; write it as in event.fields["title"], and fields of other things after a dot`, args)
	case "_?_:_":
		return fmt.Sprintf("?: does not take %s; first a bool is wanted, then two values of one type", args)
	case "_==_", "_!=_":
		return fmt.Sprintf("%s does not take %s; both sides must be of one type", operator, args)
	case "_<_", "_<=_", "_>_", "_>=_":
		return fmt.Sprintf("%s does not take %s; both sides must be int, both string or both timestamp", operator, args)
	}
	return fmt.Sprintf("%s does not take %s; numbers are wanted, and whole ones", operator, args)
}

// slips are what people write that comes from other languages, or from a keyboard
// set to Chinese, and what is meant.
var slips = map[string]string{
	"=>": "write >=", "=<": "write <=", "=": "write ==", "&": "write &&", "|": "write ||",
	"and": "write &&", "or": "write ||", "not": "write ! before what is not to be", "is": "write ==",
	"“": `write texts in "..."`, "”": `write texts in "..."`, "‘": `write texts in "..."`, "’": `write texts in "..."`,
	"「": `write texts in "..."`, "（": "write (", "）": "write )", "，": "write ,", "＝": "write ==", "！": "write !",
	"；": "leave it out", ";": "leave it out", ")": "no parenthesis is open",
	`"`: `end the text with ", and write \\ for a backslash`, "'": `end the text with ', and write \\ for a backslash`,
}

var token = regexp.MustCompile(`^(=>|=<|\w+|.)`)

func notRead(_ *Error, _ []string, _, after string) string {
	if strings.TrimSpace(after) == "" {
		return "the condition ends too early; something is missing, or a parenthesis is not closed"
	}
	written := token.FindString(after)
	return fmt.Sprintf("%s cannot stand here; %s", written, cmp.Or(slips[written], "a condition is comparisons joined by && and ||"))
}
