package push

import "time"

// Recall is a push that was allowed lately and to which the user does not agree
// any more.
type Recall struct {
	Message        int // that takes it back
	Class, Channel string
	AllowedAt      time.Time
	Mark           string // the push's, as in its [Decision]
	Reason         Reason // withdrawn or no-consent
	Consent        ConsentUse
	Pseudonym      string
	PseudonymKey   string

	entry Entry
}

// Ordinal tells two recalls of one mark apart: an id that was sent as several
// classes or on several channels is several pushes.
func (r *Recall) Ordinal() int { return int(r.entry.Tag) }

// recaller finds what has to be recalled at a time.
type recaller struct {
	policy *Policy
	now    int64
	silent bool // nobody is told
}

// lately reports whether an entry is of a push that may still be on its way, of a
// class that needs consent.
func (r *recaller) lately(e *Entry) bool {
	class := r.policy.classOf(e.Tag)
	return class != nil && class.consent && e.State == counted && int64(e.At) > r.now-int64(r.policy.recall/time.Second)
}

// recalls returns the pushes that were allowed lately and would not be now, by
// what the user agrees to. It looks at what is and not at what has changed: asked
// again, it gives the same answer.
//
// Clause: push-withdraw
// Pushes that were allowed shortly before the withdrawal are called back from whoever sends them.
func (r *recaller) recalls(p *Profile, log *SendLog) []Recall {
	var list []Recall
	for i := range log.Entries {
		e := &log.Entries[i]
		if !r.lately(e) {
			continue
		}
		use := p.consent(e.Tag, r.now)
		if use.State == ConsentGranted {
			continue
		}
		reason := ReasonNoConsent
		if use.State == ConsentWithdrawn {
			reason = ReasonWithdrawn
		}
		list = append(list, Recall{
			Class: r.policy.classOf(e.Tag).name, Channel: r.policy.channelOf(e.Tag),
			AllowedAt: time.Unix(int64(e.At), 0).UTC(), Reason: reason, Consent: use, entry: *e,
		})
	}
	return list
}
