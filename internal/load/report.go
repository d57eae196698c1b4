package load

import "time"

// Report is what a run came to.
type Report struct {
	Run  string `json:"run"`
	Seed uint64 `json:"seed"`

	Posts   int64   `json:"posts"`
	Pushes  int64   `json:"pushes"`
	Planted int64   `json:"planted"` // events with a term of the rules in them, disguised ones included
	Flagged int64   `json:"flagged"` // those that the rules flag, by which the outputs are checked
	Seconds float64 `json:"seconds"` // of sending
	Rate    float64 `json:"rate"`    // messages a second
	// Drained is how long after that the group had committed everything. What a daemon
	// carries, with everything that has to share a machine with it, is what was sent in
	// Seconds and Drained together, sent as fast as could be.
	Drained float64 `json:"drained_seconds"`
	// Behind is by how much a message was sent late at most: more than a few milliseconds
	// say that the brokers, or this machine, could not take the rate. Latencies are counted
	// from when a message was due all the same.
	Behind float64 `json:"behind_ms"`

	Acknowledged Percentiles        `json:"acknowledged"` // due to written
	Outputs      map[string]*Output `json:"outputs"`      // by their names in the configuration
	Unjudged     int64              `json:"unjudged"`     // messages that the group had not committed when the time was up
	CPU          *CPU               `json:"cpu,omitempty"`
	Memory       []Memory           `json:"memory,omitempty"` // of instances that were the same process all the time, for half a minute at least
	Problems     []string           `json:"problems"`         // empty: all is well
}

// Output is what came on one output topic.
type Output struct {
	Topic    string       `json:"topic"`
	Messages int64        `json:"messages"` // events of this run that came, each once
	Latency  *Percentiles `json:"latency,omitempty"`
	Lost     int64        `json:"lost"`     // events that had to come and did not
	Repeated int64        `json:"repeated"` // messages under an id that had come before
	Twice    int64        `json:"twice"`    // events under two ids
	Stray    int64        `json:"stray"`    // events that had not to come
	Others   int64        `json:"others"`   // messages that are not of this run
}

// CPU is what the instances used that were asked.
type CPU struct {
	Instances int     `json:"instances"` // those that were the same process all the time
	Seconds   float64 `json:"seconds"`
	Messages  float64 `json:"messages"` // that they judged meanwhile
	Micros    float64 `json:"us_a_message"`
	Resident  float64 `json:"resident_bytes"` // at the end, the largest of them
}

// Sent returns how many messages were sent.
func (r *Report) Sent() int64 { return r.Posts + r.Pushes }

// within notes it if a latency is greater than is allowed; 0 allows any.
func (r *Report) within(most time.Duration) {
	if most == 0 {
		return
	}
	for _, word := range []string{"review", "decisions"} {
		if o := r.Outputs[word]; o != nil && o.Latency.Messages > 0 && o.Latency.P99 > most.Seconds()*1000 {
			r.Problems = append(r.Problems, "the slowest of a hundred messages on "+o.Topic+" took "+
				time.Duration(o.Latency.P99*1e6).Round(100*time.Microsecond).String()+", more than "+most.String())
		}
	}
}
