package condition

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/weir-moderation/weir/pipeline/event"
)

// MaxLength is the length of an expression, in bytes. Longer ones belong into
// several rules.
const MaxLength = 2000

// Version names what conditions answer. It goes into the digest of a rule set and grows with every
// change of an answer: two that answer differently must not have one name.
const Version = "1"

// Hits is what a rule hit in an event. The slices are read during Eval only.
type Hits struct {
	Count    int      // hits
	Distinct int      // different terms among them
	Sure     int      // hits not of low confidence
	Fields   []string // names of the fields that were hit, each once
	Forms    []string // words of the forms that hits took, each once
}

// Condition is a compiled expression. It is immutable and may be used by several
// goroutines at once.
type Condition struct {
	source  string
	plain   cel.Program // counts no costs: for events that the estimate holds for
	counted cel.Program // ends at CostLimit; takes five times as long and more
	loops   bool
}

// String returns the expression as it was written.
func (c *Condition) String() string { return c.source }

// Errors of Eval. They hold nothing of the event.
var (
	ErrCost      = errors.New("the condition costs more than the limit for this event")
	ErrUndefined = errors.New("the condition has no value for this event: " +
		"there is no such place in a list or map, a division by zero, or a number too large")
)

// Eval answers the condition for an event and what the rule hit in it. The error is
// ErrCost or ErrUndefined; there is no answer then, and the hit stands.
func (c *Condition) Eval(e *event.Event, h Hits) (bool, error) {
	in := &input{event: e, hits: h}
	program := c.counted
	switch {
	case in.usual():
		program = c.plain
	case c.loops && in.members() > MaxMembers:
		return false, ErrCost
	}
	out, _, err := program.Eval(in)
	if err != nil {
		// CEL's own words may quote the event.
		var cancelled interpreter.EvalCancelledError
		if errors.Is(err, ErrCost) || errors.As(err, &cancelled) {
			return false, ErrCost
		}
		return false, ErrUndefined
	}
	return out == types.True, nil // it is a bool: its type has been checked
}

// Compile reads an expression. The error joins an [*Error] for each thing that is
// wrong with it.
func Compile(src string) (*Condition, error) {
	switch {
	case strings.TrimSpace(src) == "":
		return nil, &Error{Line: 1, Column: 1, Message: "the condition is empty; leave it out where the terms say all"}
	case len(src) > MaxLength:
		return nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf(
			"the condition has %d bytes; at most %d are read, so divide the rule into several", len(src), MaxLength)}
	case !utf8.ValidString(src):
		return nil, &Error{Line: 1, Column: 1, Message: "the condition is not valid UTF-8"}
	}
	language := language()
	tree, issues := language.Compile(src)
	if issues.Err() != nil {
		return nil, explain(src, issues.Errors())
	}
	found, err := inspect(tree)
	if err != nil {
		return nil, err
	}
	if err := estimate(language, tree, found); err != nil {
		return nil, err
	}
	prepared := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.OptimizeRegex(found.prepared()...)}
	plain, err := language.Program(tree, prepared...)
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: err.Error()}
	}
	counted, err := language.Program(tree, append(prepared, cel.CostLimit(CostLimit),
		cel.CostTrackerOptions(interpreter.OverloadCostTracker(overloads.MatchesString, found.matchCost)))...)
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: err.Error()}
	}
	return &Condition{source: src, plain: plain, counted: counted, loops: found.loops}, nil
}
