package pipeline

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

// Verdict is what Weir says of one event: an action on its content, for a push
// also the decision whether this user gets it now, and why. It borrows the
// bytes of its batch and is valid only while that batch is handled.
type Verdict struct {
	ID     ID
	Origin Origin
	Record *Record
	Event  *event.Event

	Action   rules.Action   // what the content calls for
	Decision *push.Decision // of a push; nil for a post and where no policy was asked
	Reason   Reason
	Hits     []rules.Hit
	// Diverged are the rules on which the engines found different hits, a bug of one of them;
	// nil almost always. What either found is among the hits.
	Diverged []*rules.Rule
	// Undecided are the rules whose condition had no answer; their hits stand.
	Undecided []*rules.Rule

	Rules  string // digest of the rule set it was judged under
	Policy string // digest of the push policy; empty for a post

	report *Report // what [Verdict.Report] returned first
}

// Origin is the place a message came from.
type Origin struct {
	Source    string // the name of this deployment
	Topic     string
	Partition int32
	// Asked says that who has the message waits for the verdict: nothing is passed on.
	Asked bool
}

// Outcome is where a message ends in the ledger.
type Outcome uint8

// The outcomes of a message. Each message has exactly one.
const (
	Passed       Outcome = iota // let through: a post that passes, a push that is allowed, a change that is applied
	Flagged                     // something stood against it: review, reject, defer, deny
	DeadLettered                // it can never be judged
	Skipped                     // not a message: control records, records of aborted transactions
	numOutcomes
)

var outcomeNames = [numOutcomes]string{"passed", "flagged", "dead_lettered", "skipped"}

// String returns the outcome's word in metrics and records.
func (o Outcome) String() string { return outcomeNames[o] }

// Outcome tells where the verdict's message ends in the ledger.
func (v *Verdict) Outcome() Outcome {
	if v.Action != rules.Pass || v.Decision != nil && v.Decision.Decision != push.Allow {
		return Flagged
	}
	return Passed
}

// matters reports whether the verdict leaves a trace: every hit does (also one
// of a shadow rule, which changes nothing), and every push decision.
//
// Clause: push-record
// One evidence record is written for each evaluation of a push, with every input that led to the decision.
func (v *Verdict) matters() bool {
	return v.Action != rules.Pass || v.Decision != nil || len(v.Hits) > 0
}

// Report is a verdict as other programs read it: one line of `weir judge`, and
// the core of every verdict on a topic.
type Report struct {
	EventID  string      `json:"event_id"`
	Kind     string      `json:"kind"`
	Action   string      `json:"action"`
	Decision string      `json:"decision,omitempty"`
	Reason   Reason      `json:"reason"`
	Hits     []HitReport `json:"hits"`
	Rules    string      `json:"rules"`
	Fold     string      `json:"fold"` // version of the fold table
	Policy   string      `json:"policy,omitempty"`
}

// HitReport is a hit as other programs read it. Start and End count bytes of
// the field's UTF-8 text, the UTF16 ones its UTF-16 code units, as browsers do; Text
// is what stood there, its first MaxQuote bytes.
type HitReport struct {
	Rule       string `json:"rule"`
	Category   string `json:"category"`
	Severity   string `json:"severity"`
	State      string `json:"state,omitempty"` // only of a shadow rule
	Field      string `json:"field"`
	Start      int    `json:"start"`
	End        int    `json:"end"`
	StartUTF16 int    `json:"start_utf16"`
	EndUTF16   int    `json:"end_utf16"`
	Text       string `json:"text"`
	Form       string `json:"form"`
	Confidence string `json:"confidence"` // "high" or "low"
}

// Report copies what others may see of the verdict, once: every sink asks for it, when
// nothing in the verdict changes any more.
func (v *Verdict) Report() Report {
	if v.report == nil {
		v.report = v.newReport()
	}
	return *v.report
}

func (v *Verdict) newReport() *Report {
	r := &Report{
		EventID: string(v.Event.ID),
		Kind:    v.Event.Kind.String(),
		Action:  v.Action.String(),
		Reason:  v.Reason,
		Hits:    make([]HitReport, len(v.Hits)),
		Rules:   v.Rules,
		Fold:    fold.Version,
		Policy:  v.Policy,
	}
	if v.Decision != nil {
		r.Decision = string(v.Decision.Decision)
	}
	units := utf16Places{make([]int, 0, 8), make([]int, 0, 8)}
	for i := range v.Hits {
		h := &v.Hits[i]
		f := &v.Event.Fields[h.Field]
		if i == 0 || h.Field != v.Hits[i-1].Field {
			units.count(f.Text, v.Hits[i:])
		}
		r.Hits[i] = HitReport{
			Rule:     h.Rule.ID,
			Category: h.Rule.Category,
			Severity: h.Rule.Severity.String(),
			Field:    string(f.Name),
			Start:    h.Start,
			End:      h.End,
			Text:     string(quote(f.Text[h.Start:h.End])),
			Form:     h.Form.String(),

			StartUTF16: units.at(h.Start),
			EndUTF16:   units.at(h.End),
			Confidence: "high",
		}
		if h.Form.Weak() {
			r.Hits[i].Confidence = "low"
		}
		if h.State == rules.Shadow {
			r.Hits[i].State = h.State.String()
		}
	}
	return r
}

// utf16Places knows how many UTF-16 code units stand before some places of a text. They are counted
// in one pass: thousands of hits may lie over one another, each a megabyte of what cannot be seen.
type utf16Places struct {
	places []int // bytes, ascending
	units  []int
}

// count counts up to the places of the hits in a text: those at the front of the list that are of
// one field.
func (u *utf16Places) count(text []byte, hits []rules.Hit) {
	u.places, u.units = u.places[:0], u.units[:0]
	for i := range hits {
		if hits[i].Field != hits[0].Field {
			break
		}
		u.places = append(u.places, hits[i].Start, hits[i].End)
	}
	slices.Sort(u.places)
	u.places = slices.Compact(u.places)
	at, n := 0, 0
	for _, place := range u.places {
		n += utf16Length(text[at:place])
		at = place
		u.units = append(u.units, n)
	}
}

// at returns how many code units stand before one of the places.
func (u *utf16Places) at(place int) int {
	i, _ := slices.BinarySearch(u.places, place)
	return u.units[i]
}

// utf16Length returns how many UTF-16 code units a text takes. A byte that is not UTF-8 takes
// one, as a replacement character does.
func utf16Length(text []byte) int {
	n := 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		n++
		if r > 0xFFFF {
			n++
		}
		text = text[size:]
	}
	return n
}

// MaxQuote is how many bytes of what stood at a hit are quoted. A term is short;
// what makes a hit longer are invisible characters, of which a hostile text can
// have a megabyte, around every hit anew.
const MaxQuote = 4096

func quote(text []byte) []byte {
	if len(text) <= MaxQuote {
		return text
	}
	n := MaxQuote
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// DeadLetter is a message that can never be judged. It borrows the bytes of its batch.
type DeadLetter struct {
	ID     ID
	Origin Origin
	Record *Record
	Kind   event.Kind // what its topic carries
	Stage  Stage
	Reason Reason
	// Detail says more, in Weir's own words and names: never content.
	Detail string
	Rules  string // digest of the rule set in force
}

// Recall calls back a push that was allowed lately, because its user has taken back
// consent since. It borrows the bytes of its batch.
type Recall struct {
	ID     ID
	Origin Origin
	Record *Record // that took it back
	User   []byte
	push.Recall
	Policy string // digest of the policy that says which classes need consent
}

// ConsentChange is what a user has agreed to from now on, or told again. It borrows
// the bytes of its batch.
type ConsentChange struct {
	ID                      ID
	Origin                  Origin
	Record                  *Record
	Event                   *event.Event
	Pseudonym, PseudonymKey string // the user's name in Redis
}

// Erasure tells that a user was forgotten. It borrows the bytes of its batch.
type Erasure struct {
	ID     ID
	Origin Origin
	Record *Record // that asked for it
	push.Forgotten
}

// Stage is the step at which a message was given up.
type Stage string

// The stages at which a message can become a dead letter.
const (
	StageFetch  Stage = "fetch"  // the bytes are not a record
	StageDecode Stage = "decode" // the record is not an event
	StageJudge  Stage = "judge"  // the event cannot be judged
	StageOutput Stage = "output" // the verdict cannot be written
)

// Output is what one batch leaves behind, for the sinks in their order.
type Output struct {
	Verdicts    []Verdict
	DeadLetters []DeadLetter
	Consents    []ConsentChange
	Recalls     []Recall
	Erasures    []Erasure
	Coverage    []Coverage
	// Buried are verdicts, by index, that are dead letters of this output by now,
	// because the sink refused them before, when nothing was written. Of those it
	// writes what it can.
	Buried []int
	// Progress, if not nil, is to be committed in one with the verdicts and dead
	// letters, by the sink that can: either all of it becomes visible or nothing.
	Progress *Progress
}

// Progress is how far a group has come in a partition when a batch is done.
type Progress struct {
	Claim
	Topic     string
	Partition int32
	Next      int64
	// Account makes the coverage of everything before Next durable. Whoever commits
	// the progress calls it when all the rest is written, and commits only after it
	// has returned nil. A sink that has nothing of the output to write need not
	// commit: the source will.
	Account func(ctx context.Context) error
}

func (o *Output) empty() bool {
	return len(o.Verdicts) == 0 && len(o.DeadLetters) == 0 && len(o.Consents) == 0 && len(o.Recalls) == 0 && len(o.Erasures) == 0 && len(o.Coverage) == 0
}

// without returns the output less the verdicts at these indices.
func (o *Output) without(verdicts []int) *Output {
	rest := &Output{DeadLetters: o.DeadLetters, Consents: o.Consents, Recalls: o.Recalls, Erasures: o.Erasures, Coverage: o.Coverage, Progress: o.Progress}
	for i := range o.Verdicts {
		if !slices.Contains(verdicts, i) {
			rest.Verdicts = append(rest.Verdicts, o.Verdicts[i])
		}
	}
	return rest
}

// Coverage accounts for every offset of a range: how many messages were
// fetched and where each of them ended, and under which rule set and policy.
type Coverage struct {
	Range
	Counts
	Rules  string
	Policy string
	Time   time.Time // when the account was closed
}
