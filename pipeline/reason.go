package pipeline

import (
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// Reason is one word for one cause, the same in code, verdicts, metrics,
// reports and the runbook. The list is closed: [Reasons] has all of them, those
// of [event.Reason] and [push.Reason] included.
type Reason string

// The reasons the pipeline itself gives.
const (
	ReasonNone    = Reason(push.ReasonNone)    // nothing stood against the event
	ReasonContent = Reason(push.ReasonContent) // a live rule matched

	ReasonPanic          Reason = "panic"            // judging it broke Weir twice; a bug of ours
	ReasonOutputTooLarge Reason = "output-too-large" // what it comes to is larger than the topic takes
	ReasonHeaders        Reason = "too-many-headers" // it has more than MaxHeaders headers
	ReasonOrigin         Reason = "unknown-origin"   // a deferred push of which it is not known how it is written
)

// Reasons returns every reason a verdict or a dead letter can carry with one
// line that explains it, in a fixed order.
func Reasons() []ReasonText {
	var list []ReasonText
	for _, r := range push.Reasons() {
		list = append(list, ReasonText{Reason(r.Reason), r.Text})
	}
	return append(list, DeadLetterReasons()...)
}

// DeadLetterReasons returns the reasons only a dead letter carries.
func DeadLetterReasons() []ReasonText {
	list := []ReasonText{
		{ReasonPanic, "judging the message broke Weir, and again when it was judged alone"},
		{ReasonOutputTooLarge, "its verdict, or the push to be forwarded, is larger than the output topic takes"},
		{ReasonHeaders, "the message has more headers than Weir reads"},
		{ReasonOrigin, "it is on the topic of deferred pushes, and no header says that it comes from a topic of pushes that is read"},
	}
	for _, r := range event.Reasons() {
		list = append(list, ReasonText{Reason(r), r.Description()})
	}
	for _, r := range batch.Reasons() {
		list = append(list, ReasonText{Reason(r.Reason), r.Text})
	}
	return list
}

// ReasonText is a reason with the line that explains it.
type ReasonText struct {
	Reason Reason
	Text   string
}
