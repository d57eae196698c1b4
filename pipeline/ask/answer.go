package ask

import (
	"encoding/json"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
)

// answer is what is said of an event.
type answer struct {
	ID string `json:"id"`
	pipeline.Report
	Push *pushAnswer `json:"push,omitempty"`
	// Evidence is where the record is; nothing stood against an event that has none.
	Evidence *evidenceRef `json:"evidence,omitempty"`
}

// pushAnswer is what the sender of a push needs to know of its decision.
type pushAnswer struct {
	// NotBefore is when asking again makes sense; NotAfter when an allowed push must
	// have been handed over.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	// Replay says that it was allowed before, and consumed nothing now.
	Replay bool       `json:"replay,omitempty"`
	Mark   string     `json:"mark,omitempty"` // by which a recall names it
	Limit  string     `json:"limit,omitempty"`
	Flags  push.Flags `json:"flags,omitzero"`
}

type evidenceRef struct {
	Log    string `json:"log"`
	Record string `json:"record"`
}

// encode returns the answer of a verdict, as JSON. Log is the origin of the evidence.
func encode(v *pipeline.Verdict, log string) ([]byte, error) {
	a := answer{ID: v.ID.String(), Report: v.Report()}
	if d := v.Decision; d != nil {
		a.Push = &pushAnswer{NotBefore: d.NotBefore, NotAfter: d.NotAfter, Replay: d.Replay, Mark: d.Mark, Limit: d.Limit, Flags: d.Flags}
	}
	if v.Decision != nil || len(v.Hits) > 0 {
		a.Evidence = &evidenceRef{log, a.ID}
	}
	return json.Marshal(&a)
}
