package condition

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// inspect looks at what CEL's check of types leaves to the evaluation, and returns
// the constants.
func inspect(tree *cel.Ast) (*constants, error) {
	i := &inspection{AST: tree.NativeRep(), constants: constants{
		patterns: map[string]pattern{},
		zones:    map[string]*time.Location{},
	}}
	ast.PostOrderVisit(i.Expr(), ast.NewExprVisitor(i.visit))
	if t := tree.OutputType(); t.Kind() != types.BoolKind {
		i.faults = append(i.faults, &Error{Line: 1, Column: 1, Message: fmt.Sprintf(
			"the condition is of type %s, not bool; compare it with something", strings.TrimPrefix(typeName(t), "@"))})
	}
	return &i.constants, errors.Join(i.faults...)
}

// inspection is one walk through a checked expression.
type inspection struct {
	*ast.AST
	constants
	faults []error
}

func (i *inspection) fault(e ast.Expr, format string, args ...any) {
	at := i.SourceInfo().GetStartLocation(e.ID())
	i.faults = append(i.faults, &Error{Line: at.Line(), Column: at.Column() + 1, Message: fmt.Sprintf(format, args...)})
}

func (i *inspection) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		i.values(args)
		i.constant(call.FunctionName(), args)
	case ast.ComprehensionKind:
		i.loops = true
		i.loop(e)
	case ast.ListKind:
		i.values(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			i.values([]ast.Expr{entry.AsMapEntry().Value()})
		}
	}
}

// loop refuses a loop within a loop: the lists are an event's, and the work would
// grow with their product.
func (i *inspection) loop(e ast.Expr) {
	ast.PostOrderVisit(e.AsComprehension().LoopStep(), ast.NewExprVisitor(func(inner ast.Expr) {
		if inner.Kind() == ast.ComprehensionKind {
			i.fault(inner, "a loop cannot stand within a loop; ask with in, or use filter before it, as in "+
				`event.attachments.filter(a, a.scan == "infected").exists(a, a.media_type == "image/png")`)
		}
	}))
}

// values refuses structures where a value is wanted: there is nothing to compare
// them with. An attachment is a value, filter makes lists of them.
func (i *inspection) values(list []ast.Expr) {
	for _, e := range list {
		if t := i.GetType(e.ID()); t.Kind() == types.StructKind && t.TypeName() != attachmentType.TypeName() {
			fields, _ := language().CELTypeProvider().FindStructFieldNames(t.TypeName())
			path := strings.TrimPrefix(t.TypeName(), "@")
			i.fault(e, "%s is not a value; ask for one of its fields: %s", path, strings.Join(fields, ", "))
		}
	}
}

// constant reads the text that some functions want written out.
func (i *inspection) constant(function string, args []ast.Expr) {
	var what string
	switch function {
	case "matches":
		what = "the pattern of matches"
	case "timestamp":
		what = "the time"
	default:
		if _, ok := zoned[function]; !ok {
			return
		}
		what = "the time zone of " + function
	}
	at := args[len(args)-1]
	if at.Kind() != ast.LiteralKind {
		i.fault(at, `%s must be written out, in "..."`, what)
		return
	}
	text, _ := at.AsLiteral().Value().(string)
	switch function {
	case "matches":
		i.pattern(at, text)
	case "timestamp":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			i.fault(at, `%q is not a time; write it as "2026-10-01T08:00:00+08:00"`, text)
		}
	default:
		i.zone(at, text)
	}
}

func (i *inspection) pattern(at ast.Expr, text string) {
	compiled, err := regexp.Compile(text)
	var wrong *syntax.Error
	switch {
	case errors.As(err, &wrong):
		i.fault(at, "the pattern is not in RE2 syntax: %s: %s", wrong.Code, wrong.Expr)
		return
	case err != nil:
		i.fault(at, "the pattern cannot be compiled: %v", err)
		return
	}
	n := instructions(text)
	if n > MaxPattern {
		i.fault(at, "the pattern has %d instructions; the limit is %d, so repeat less or list words as terms", n, MaxPattern)
		return
	}
	i.patterns[text] = pattern{compiled, n}
}

// instructions returns the size of the program of a pattern that compiles; package
// regexp makes the same and does not tell.
func instructions(source string) int {
	parsed, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return math.MaxInt32
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return math.MaxInt32
	}
	return len(program.Inst)
}

func (i *inspection) zone(at ast.Expr, name string) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		i.fault(at, `there is no time zone %q; write a name such as "Asia/Shanghai", or "UTC"`, name)
		return
	}
	i.zones[name] = zone
}
