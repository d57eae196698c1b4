package condition

import (
	"regexp"
	"time"

	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// constants are what an expression has written out, read once at load, and whether
// it loops.
type constants struct {
	loops    bool
	patterns map[string]pattern
	zones    map[string]*time.Location
}

// pattern is a regular expression and the number of its instructions.
type pattern struct {
	*regexp.Regexp
	size int
}

// matchCost is the cost of matching args[0] with the pattern args[1].
func (c *constants) matchCost(args []ref.Val, _ ref.Val) *uint64 {
	in, _ := args[0].(types.String)
	source, _ := args[1].(types.String)
	cost := matchCost(len(in), c.patterns[string(source)].size)
	return &cost
}

// zoned are the functions that a time zone belongs to.
var zoned = map[string]func(time.Time) int{
	"getHours":     time.Time.Hour,
	"getMinutes":   time.Time.Minute,
	"getDayOfWeek": func(t time.Time) int { return int(t.Weekday()) },
}

// prepared returns the functions that have a constant, with the constant in them.
// CEL's name for this speaks of regular expressions; time zones are no different:
// looked up once, not for every event.
func (c *constants) prepared() []*interpreter.RegexOptimization {
	list := []*interpreter.RegexOptimization{prepare("matches", overloads.MatchesString, func(source string) func(ref.Val) ref.Val {
		p := c.patterns[source]
		return func(v ref.Val) ref.Val {
			in, ok := v.(types.String)
			switch {
			case !ok:
				return types.MaybeNoSuchOverloadErr(v)
			case matchCost(len(in), p.size) > CostLimit: // CEL counts only what has been done
				return types.WrapErr(ErrCost)
			}
			return types.Bool(p.MatchString(string(in)))
		}
	})}
	for name, part := range zoned {
		list = append(list, prepare(name, functions[name][0], func(zone string) func(ref.Val) ref.Val {
			location := c.zones[zone]
			return func(v ref.Val) ref.Val {
				t, ok := v.(types.Timestamp)
				if !ok {
					return types.MaybeNoSuchOverloadErr(v)
				}
				return types.Int(part(t.In(location)))
			}
		}))
	}
	return list
}

// prepare makes a function of one value out of one of a value and a constant text.
func prepare(name, overload string, with func(constant string) func(ref.Val) ref.Val) *interpreter.RegexOptimization {
	return &interpreter.RegexOptimization{
		Function:   name,
		OverloadID: overload, // goes before CEL's own treatment of matches, which knows no limit
		RegexIndex: 1,
		Factory: func(call interpreter.InterpretableCall, constant string) (interpreter.InterpretableCall, error) {
			f := with(constant)
			return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(values ...ref.Val) ref.Val {
				return f(values[0])
			}), nil
		},
	}
}
