package sinks

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// Evidence writes every verdict, push decision, dead letter and coverage
// account to the evidence log. It is the first sink: what it has not made
// durable no topic shows.
type Evidence struct {
	Log *evidence.Log
}

// verdictBody is the body of a hit or push record. It holds nothing that two
// judgements of the same message under the same rule set could tell
// differently, save what a push decision depends on: the time and the user's
// history.
//
// Clause: cmp-log
// The evidence of a hit holds account, time, kind of operation, both ends of the connection with port, client features, and the message itself.
// Clause: push-record
// The evidence of a push holds its decision with every input that led to it, and where the push was read.
type verdictBody struct {
	pipeline.Report
	subject
	Client   *endpoint `json:"client,omitempty"`
	Server   *endpoint `json:"server,omitempty"`
	Origin   origin    `json:"origin"`
	Original original  `json:"original"`
	// Reduced says that attachments and the texts of the hits were left out.
	Reduced bool `json:"reduced,omitempty"`
}

type endpoint struct {
	Address string  `json:"address,omitempty"`
	Port    uint16  `json:"port,omitempty"`
	Device  *device `json:"device,omitempty"`
}

type device struct {
	Model string `json:"model,omitempty"`
	OS    string `json:"os,omitempty"`
	ID    string `json:"id,omitempty"`
	App   string `json:"app,omitempty"`
}

func endpointOf(e *event.Endpoint) *endpoint {
	d := device{string(e.Device.Model), string(e.Device.OS), string(e.Device.ID), string(e.Device.App)}
	out := endpoint{Address: string(e.Address), Port: e.Port}
	if d != (device{}) {
		out.Device = &d
	}
	if out == (endpoint{}) {
		return nil
	}
	return &out
}

// original is a message's value as received.
type original struct {
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"bytes"`
	Value  []byte `json:"value,omitempty"` // in base64
}

// MaxOriginalBytes is how many bytes of a message an evidence record holds: in
// base64 they leave a third of the largest record to what was found in them. A
// longer message is known by its length and SHA-256, and stays in Kafka for as
// long as its topic keeps it.
const MaxOriginalBytes = evidence.MaxBodyBytes / 2

// originalOf describes a message, and holds its bytes if they are to be kept.
//
// Clause: pub-keep
// The bytes of a message as they were received are part of the evidence, with their SHA-256.
func originalOf(value []byte, keep bool) original {
	o := original{SHA256: sum(value), Bytes: len(value)}
	if keep && len(value) <= MaxOriginalBytes {
		o.Value = value
	}
	return o
}

// deadLetterBody is the body of a deadletter record.
type deadLetterBody struct {
	Kind     string          `json:"kind"` // what the message's topic carries
	Stage    pipeline.Stage  `json:"stage"`
	Reason   pipeline.Reason `json:"reason"`
	Detail   string          `json:"detail,omitempty"`
	Rules    string          `json:"rules"`
	Origin   origin          `json:"origin"`
	Original original        `json:"original"`
}

// Write appends one record for each part of the output and returns when the
// fsync that covers them has returned. A verdict that no record can hold is
// refused; so it becomes a dead letter, whose record always fits.
//
// If the process dies before that, nothing of them is promised; after it, they
// are found at the next start and, where the batch is judged again, repeated
// under the same ids.
func (s *Evidence) Write(ctx context.Context, out *pipeline.Output) error {
	recs := make([]evidence.Record, 0, len(out.Verdicts)+len(out.DeadLetters)+len(out.Consents)+len(out.Recalls)+len(out.Erasures)+1)
	var refused pipeline.Refused
	for i := range out.Verdicts {
		r, err := verdictRecord(&out.Verdicts[i])
		if err != nil {
			refused.Verdicts, refused.Err = append(refused.Verdicts, i), err
			continue
		}
		recs = append(recs, r)
	}
	for i := range out.DeadLetters {
		d := &out.DeadLetters[i]
		r, err := record(evidence.ID(d.ID), evidence.KindDeadLetter, evidence.ClassContent, deadLetterBody{
			Kind: d.Kind.String(), Stage: d.Stage, Reason: d.Reason, Detail: d.Detail, Rules: d.Rules,
			Origin: originOf(d.Origin, d.Record), Original: originalOf(d.Record.Value, true),
		})
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	for i := range out.Consents {
		r, err := consentRecord(&out.Consents[i])
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	for i := range out.Recalls {
		r, err := recallRecord(&out.Recalls[i])
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	for i := range out.Erasures {
		r, err := eraseRecord(&out.Erasures[i])
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	if len(out.Coverage) > 0 {
		r, err := s.coverage(out.Coverage)
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	if err := s.append(ctx, recs); err != nil {
		return err
	}
	if len(refused.Verdicts) > 0 {
		return &refused
	}
	return nil
}

// append makes records durable. Its only error that is not for good is that of
// a context that has ended: once writing has failed the log takes nothing more,
// since after a failed fsync the kernel may have dropped the pages and no second
// try can be believed. Only a restart, which reads what is really there, can go on.
func (s *Evidence) append(ctx context.Context, recs []evidence.Record) error {
	err := s.Log.Append(ctx, recs)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return pipeline.Permanent(err)
}

// verdictRecord makes the record of a verdict. The text of a push is kept only
// if a rule hit it: no other decision needs it.
func verdictRecord(v *pipeline.Verdict) (evidence.Record, error) {
	kind, class := evidence.KindHit, evidence.ClassContent
	if v.Event.Kind == event.Push {
		kind, class = evidence.KindPush, evidence.ClassPush
	}
	body := verdictBody{
		Report:   v.Report(),
		subject:  subjectOf(v.Event, v.Decision),
		Client:   endpointOf(&v.Event.Client),
		Server:   endpointOf(&v.Event.Server),
		Origin:   originOf(v.Origin, v.Record),
		Original: originalOf(v.Record.Value, kind == evidence.KindHit || len(v.Hits) > 0),
	}
	r, err := record(evidence.ID(v.ID), kind, class, body)
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		// Overlapping hits across long invisible stretches can quote a message
		// many times over. What is left out here the original says, too, and the
		// hits' spans point into it.
		body.Reduced, body.Attachments = true, nil
		for i := range body.Hits {
			body.Hits[i].Text = ""
		}
		r, err = record(evidence.ID(v.ID), kind, class, body)
	}
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		err = evidence.ErrTooLarge
	}
	return r, err
}

func record(id evidence.ID, kind evidence.Kind, class evidence.Class, body any) (evidence.Record, error) {
	b, err := encode(body)
	if err != nil {
		return evidence.Record{}, fmt.Errorf("encode evidence: %w", err)
	}
	return evidence.Record{ID: id, Kind: kind, Class: class, Encoding: evidence.EncodingJSON, Body: b}, nil
}

// coverage puts the accounts of one checkpoint into one record: who looks for
// offsets nobody judged needs them all, and one record is one fsync.
func (s *Evidence) coverage(list []pipeline.Coverage) (evidence.Record, error) {
	var body evidence.CoverageBody
	for _, c := range list {
		body.Ranges = append(body.Ranges, evidence.CoverageRange{
			Topic: c.Topic, Partition: c.Partition, First: c.First, Next: c.Next,
			Fetched: c.Fetched, Passed: c.Passed, Flagged: c.Flagged, DeadLettered: c.DeadLettered, Skipped: c.Skipped,
			Rules: c.Rules, Policy: c.Policy,
		})
	}
	// The same account written twice is one, a longer account of the same offsets
	// is another.
	return s.statement(evidence.KindCoverage, evidence.ClassAudit, body)
}

// statement makes a record whose identity is what it says.
func (s *Evidence) statement(kind evidence.Kind, class evidence.Class, body any) (evidence.Record, error) {
	r, err := record(evidence.ID{}, kind, class, body)
	h := sha256.Sum256(append([]byte("weir "+kind.String()+" 1\n"+s.Log.Origin()+"\n"), r.Body...))
	r.ID = evidence.ID(h[:16])
	return r, err
}

// outageBody is the body of an incident record about Redis.
type outageBody struct {
	What string `json:"what"`
	push.Outage
}

// What an incident record about Redis says.
const (
	OutageBegin = "outage-begin"
	OutageEnd   = "outage-end"
)

// Outage records that Redis is away or, if the outage has an end, that it is back
// and what limits were exceeded meanwhile: the breaches first, so that an end on
// record says that all of them are.
func (s *Evidence) Outage(ctx context.Context, o push.Outage, breaches []push.Breach) error {
	what := OutageBegin
	if !o.Until.IsZero() {
		what = OutageEnd
	}
	recs := make([]evidence.Record, 0, len(breaches)+1)
	for i := range breaches {
		r, err := s.statement(evidence.KindBreach, evidence.ClassPush, &breaches[i])
		if err != nil {
			return pipeline.Permanent(err)
		}
		recs = append(recs, r)
	}
	r, err := s.statement(evidence.KindIncident, evidence.ClassAudit, outageBody{what, o})
	if err != nil {
		return pipeline.Permanent(err)
	}
	return s.append(ctx, append(recs, r))
}

// Gap records offsets that retention deleted before they could be judged, so
// that a verifier finds a hole with its reason.
func (s *Evidence) Gap(ctx context.Context, gap pipeline.Range) error {
	id := pipeline.NewID(s.Log.Origin(), gap.Topic, gap.Partition, gap.First, "gap", 0, strconv.FormatInt(gap.Next, 10))
	r, err := record(evidence.ID(id), evidence.KindGap, evidence.ClassAudit,
		evidence.GapBody{Topic: gap.Topic, Partition: gap.Partition, First: gap.First, Next: gap.Next})
	if err != nil {
		return pipeline.Permanent(err)
	}
	return s.append(ctx, []evidence.Record{r})
}
