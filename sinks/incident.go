package sinks

import (
	"context"
	"strconv"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// Incident is a halt of pushes or its end: an order, or what was abnormal.
type Incident struct {
	// Halt is what is halted, since when, by whom and why; of an order to resume the same of that.
	push.Halt

	Resumed bool
	// Origin is where the order was read. Of a halt by this process itself it is
	// empty, and Trip says what was abnormal.
	Origin    pipeline.Origin
	Offset    int64
	Timestamp time.Time
	Trip      *pipeline.HaltTrip
}

// incidentBody is the body of an incident record. It holds nothing but what the
// order says and where it stands, so that whenever it is read again its record is
// the same. When it came into effect is when the record was written.
//
// Clause: push-monitor
// Every halt and its end is on record: what, since when, by whom, why, and of an automatic one the rule and its figures.
type incidentBody struct {
	What  string `json:"what"`  // halted or resumed
	Cause string `json:"cause"` // order, rate, denied, content

	push.Halt

	Rule     string       `json:"rule,omitempty"` // of the policy
	Measured *measurement `json:"measured,omitempty"`
	Origin   *origin      `json:"origin,omitempty"`
}

// measurement is what was abnormal, and by what measure.
type measurement struct {
	Window string  `json:"window"` // its length
	From   string  `json:"from"`   // when it began, by the times of messages
	Count  int64   `json:"count"`
	Of     int64   `json:"of"`
	Usual  float64 `json:"usual,omitempty"`
	Min    int     `json:"min"`
	Share  string  `json:"share,omitempty"`
	Factor float64 `json:"factor,omitempty"`
}

// Incidents puts incidents on record, all or, after an error, perhaps some. An
// order that is read again gives the same record again, with the same id.
func (s *Evidence) Incidents(ctx context.Context, list []Incident) error {
	recs := make([]evidence.Record, 0, len(list))
	for i := range list {
		r, err := list[i].record()
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	if len(recs) == 0 {
		return nil
	}
	return s.append(ctx, recs)
}

func (x *Incident) record() (evidence.Record, error) {
	body := incidentBody{What: "halted", Cause: "order", Halt: x.Halt}
	if x.Resumed {
		body.What = "resumed"
	}
	var id pipeline.ID
	if t := x.Trip; t == nil {
		o := x.Origin
		// With the id of the order: a topic that was made anew counts from 0 again.
		id = pipeline.NewID(o.Source, o.Topic, o.Partition, x.Offset, "incident", 0, x.ID)
		body.Origin = &origin{Source: o.Source, Topic: o.Topic, Partition: o.Partition, Offset: x.Offset, Timestamp: stamp(x.Timestamp)}
	} else {
		id, body.Cause, body.Rule = t.Incident, string(t.Rule.When), t.Rule.ID
		body.Measured = &measurement{Window: t.Rule.Window.String(), From: stamp(t.From), Count: t.Count, Of: t.Of,
			Min: t.Rule.Min, Factor: t.Rule.Factor}
		if t.Rule.Share > 0 {
			body.Measured.Share = t.Rule.Share.String()
		}
		body.Measured.Usual, _ = strconv.ParseFloat(strconv.FormatFloat(t.Usual, 'f', 1, 64), 64) // ten decimals say nothing
	}
	return record(evidence.ID(id), evidence.KindIncident, evidence.ClassPush, body)
}
