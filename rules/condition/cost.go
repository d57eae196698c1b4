package condition

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
)

// CostLimit bounds what a condition may cost: at load by the most it can cost for a
// usual event, or it is refused; and in each Eval for the other events.
//
// Costs are counted in CEL's units: one for a variable, a field of it or a simple
// function, a tenth for each character a text function goes through. A condition
// mostly costs about ten. The limit lets a text of a megabyte be gone through once.
const CostLimit = 120_000

// What a usual event holds at most. An event within these sizes needs no counting:
// the estimate made at load holds for it.
const (
	usualText = 2000 // bytes of a text
	usualFew  = 16   // fields, attachments, forms
	anyWord   = 4096 // bytes of a word; no configuration of the events allows more
)

// usual reports whether the event is within the sizes.
func (in *input) usual() bool {
	if in.members() > usualFew {
		return false
	}
	for i := range in.event.Fields {
		if len(in.event.Fields[i].Text) > usualText {
			return false
		}
	}
	return true
}

// MaxMembers is how many fields, attachments or forms a loop goes over. With more a
// condition that loops has no answer: counting takes time by the square of them.
const MaxMembers = 256

// members returns how long the longest list is.
func (in *input) members() int {
	return max(len(in.event.Fields), len(in.event.Attachments), len(in.hits.Fields), len(in.hits.Forms))
}

// MaxPattern is the size of a pattern of matches, in instructions of its compiled
// program: about one a character, and "x{9}" counts as nine.
const MaxPattern = 500

// matchCost is the cost of matching a text of so many bytes with a pattern of so
// many instructions. Matching takes each instruction at most once for each byte; CEL
// would go by the length of the pattern as it is written, in which "x{999}" is short.
func matchCost(bytes, instructions int) uint64 {
	return 1 + uint64(bytes+1)*uint64(instructions)/10
}

// estimate refuses a condition that may cost more than CostLimit for a usual event.
func estimate(language *cel.Env, tree *cel.Ast, c *constants) error {
	cost, err := language.EstimateCost(tree, estimator{c})
	if err != nil {
		return &Error{Line: 1, Column: 1, Message: err.Error()}
	}
	if cost.Max <= CostLimit {
		return nil
	}
	return &Error{Line: 1, Column: 1, Message: fmt.Sprintf(
		"the condition may cost %d; the limit is %d, so ask for less: smaller patterns, shorter words, fewer texts", cost.Max, CostLimit)}
}

// estimator knows the sizes of a usual event and of the patterns.
type estimator struct{ *constants }

// EstimateSize returns the most that a text, a list or a map can hold.
func (estimator) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	n := uint64(anyWord)
	switch path := strings.Join(node.Path(), "."); {
	case node.Type().Kind() != types.StringKind:
		n = usualFew
	case strings.HasPrefix(path, "event.fields.") && path != "event.fields.@keys":
		n = usualText
	}
	return &checker.SizeEstimate{Max: n}
}

// EstimateCallCost returns the cost of matches and leaves the other functions to CEL.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if function != "matches" {
		return nil
	}
	size := (*target).ComputedSize()
	if size == nil {
		size = e.EstimateSize(*target)
	}
	source, _ := args[0].Expr().AsLiteral().Value().(string)
	cost := matchCost(int(min(size.Max, anyWord)), e.patterns[source].size)
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Max: cost}}
}
