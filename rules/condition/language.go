package condition

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// language is CEL with our variables, and of its library what is of use here: no
// conversions (with dyn a misspelt name would be found only by an event), no
// joining of texts, no has (nothing is ever missing).
var language = sync.OnceValue(func() *cel.Env {
	e, err := cel.NewCustomEnv(
		cel.CustomTypeProvider(newStructures()),
		cel.CustomTypeAdapter(types.DefaultTypeAdapter),
		cel.Variable(ofEvent, structure(ofEvent)),
		cel.Variable(ofHits, structure(ofHits)),
		cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{IncludeMacros: macros[:], IncludeFunctions: library()})),
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
	)
	if err != nil {
		panic("condition: the language is inconsistent: " + err.Error())
	}
	return e
})

// macros are the loops. They go over lists that an event brings, and CostLimit ends
// those that go too far.
var macros = [...]string{"all", "exists", "exists_one", "filter"}

// functions are those with a name. Of each, all overloads but those not listed
// where some are.
var functions = map[string][]string{
	"size": {overloads.SizeString, overloads.SizeStringInst, overloads.SizeList, overloads.SizeListInst,
		overloads.SizeMap, overloads.SizeMapInst},
	"contains":     nil,
	"startsWith":   nil,
	"endsWith":     nil,
	"matches":      {overloads.MatchesString},
	"timestamp":    {overloads.StringToTimestamp},
	"getHours":     {overloads.TimestampToHoursWithTz},
	"getMinutes":   {overloads.TimestampToMinutesWithTz},
	"getDayOfWeek": {overloads.TimestampToDayOfWeekWithTz},
}

// operators are those without, by the names CEL has for them.
var operators = map[string][]string{
	"!_": nil, "_&&_": nil, "_||_": nil, "_?_:_": nil, "@not_strictly_false": nil,
	"_==_": nil, "_!=_": nil, "@in": nil, "_[_]": nil,
	"_<_":  {overloads.LessInt64, overloads.LessString, overloads.LessTimestamp},
	"_<=_": {overloads.LessEqualsInt64, overloads.LessEqualsString, overloads.LessEqualsTimestamp},
	"_>_":  {overloads.GreaterInt64, overloads.GreaterString, overloads.GreaterTimestamp},
	"_>=_": {overloads.GreaterEqualsInt64, overloads.GreaterEqualsString, overloads.GreaterEqualsTimestamp},
	"_+_":  {overloads.AddInt64, overloads.AddList}, // filter makes its list with it
	"_-_":  {overloads.SubtractInt64},
	"_*_":  {overloads.MultiplyInt64},
	"_/_":  {overloads.DivideInt64},
	"_%_":  {overloads.ModuloInt64},
	"-_":   {overloads.NegateInt64},
}

func library() []*env.Function {
	var list []*env.Function
	for _, names := range []map[string][]string{functions, operators} {
		for name, ids := range names {
			f := &env.Function{Name: name}
			for _, id := range ids {
				f.Overloads = append(f.Overloads, &env.Overload{ID: id})
			}
			list = append(list, f)
		}
	}
	return list
}
