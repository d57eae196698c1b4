package condition_test

import (
	"fmt"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/condition"
)

// A condition is read once and asked for every event in which its rule hits.
func Example() {
	c, err := condition.Compile(`event.user.group == "minor" && hits.distinct >= 2`)
	if err != nil {
		fmt.Println(err)
		return
	}
	e := &event.Event{Kind: event.Post, User: event.User{Group: []byte("minor")}}
	fmt.Println(c.Eval(e, condition.Hits{Count: 3, Distinct: 2}))

	_, err = condition.Compile(`event.user.grup == "minor"`)
	fmt.Println(err)
	// Output:
	// true <nil>
	// 1:12: event.user has no field grup; did you mean group?
}
