package sinks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// Evidence writes every verdict, push decision, dead letter and coverage
// account to the evidence log. It is the first sink: what it has not made
// durable no topic shows.
type Evidence struct {
	Log *evidence.Log
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
	var room verdictBody
	for i := range out.Verdicts {
		r, err := verdictRecord(&out.Verdicts[i], &room)
		if err != nil {
			refused.Verdicts, refused.Err = append(refused.Verdicts, i), err
			continue
		}
		recs = append(recs, r)
	}
	for i := range out.DeadLetters {
		r, err := deadLetterRecord(&out.DeadLetters[i])
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

// append makes records durable. Its only errors that are not for good are that of
// a context that has ended, and that the disk is nearly full: then nothing was written,
// and there may be room the next time. Once writing has failed the log takes nothing more,
// since after a failed fsync the kernel may have dropped the pages and no second
// try can be believed. Only a restart, which reads what is really there, can go on.
func (s *Evidence) append(ctx context.Context, recs []evidence.Record) error {
	err := s.Log.Append(ctx, recs)
	if err == nil || ctx.Err() != nil || errors.Is(err, evidence.ErrFull) {
		return err
	}
	return pipeline.Permanent(err)
}

// deadLetterRecord makes the record of a dead letter. Nobody knows whose message it is.
func deadLetterRecord(d *pipeline.DeadLetter) (evidence.Record, error) {
	r := evidence.Record{ID: evidence.ID(d.ID), Kind: evidence.KindDeadLetter, Class: evidence.ClassContent, Encoding: evidence.EncodingProtobuf}
	var origin originBody
	var original originalBody
	var digest [sha256.Size]byte
	b := body.DeadLetter{
		Kind: kindOf[d.Kind.String()], Stage: stageOf[string(d.Stage)], Reason: utf8Text(string(d.Reason)), Detail: utf8Text(d.Detail),
		Origin: origin.of(d.Origin, d.Record), Original: original.of(d.Record.Value, true),
	}
	origin.addKey(d.Record.Key)
	var err error
	if b.Rules, err = unhex(digest[:], d.Rules); err == nil {
		r.Body, err = body.Encode(&b)
	}
	return r, err
}

// record makes a record about the log itself or about halts, whose body is JSON.
func record(id evidence.ID, kind evidence.Kind, class evidence.Class, said any) (evidence.Record, error) {
	b, err := encode(said)
	if err != nil {
		return evidence.Record{}, fmt.Errorf("encode evidence: %w", err)
	}
	return evidence.Record{ID: id, Kind: kind, Class: class, Encoding: evidence.EncodingJSON, Body: b}, nil
}

// coverage puts the accounts of one checkpoint into one record: who looks for
// offsets nobody judged needs them all, and one record is one fsync.
func (s *Evidence) coverage(list []pipeline.Coverage) (evidence.Record, error) {
	var said evidence.CoverageBody
	for _, c := range list {
		said.Ranges = append(said.Ranges, evidence.CoverageRange{
			Topic: c.Topic, Partition: c.Partition, First: c.First, Next: c.Next,
			Fetched: c.Fetched, Passed: c.Passed, Flagged: c.Flagged, DeadLettered: c.DeadLettered, Skipped: c.Skipped,
			Rules: c.Rules, Policy: c.Policy,
		})
	}
	// The same account written twice is one, a longer account of the same offsets
	// is another.
	return s.statement(evidence.KindCoverage, evidence.ClassAudit, said)
}

// statement makes a record whose identity is what it says.
func (s *Evidence) statement(kind evidence.Kind, class evidence.Class, said any) (evidence.Record, error) {
	r, err := record(evidence.ID{}, kind, class, said)
	s.identify(&r)
	return r, err
}

// identify gives a record the identity of what it says.
func (s *Evidence) identify(r *evidence.Record) {
	h := sha256.Sum256(append([]byte("weir "+r.Kind.String()+" 1\n"+s.Log.Origin()+"\n"), r.Body...))
	r.ID = evidence.ID(h[:16])
}

// breachRecord makes the record of a breach, whose identity is what it says.
func (s *Evidence) breachRecord(b *push.Breach) (evidence.Record, error) {
	r := evidence.Record{Kind: evidence.KindBreach, Class: evidence.ClassPush, Encoding: evidence.EncodingProtobuf}
	var policy [sha256.Size]byte
	var pseudonym pseudonymBody
	var windowFrom, from, to int64
	m := body.Breach{
		Cause: causeOf[string(b.Cause)], Limit: utf8Text(b.Limit), Count: count(b.Count), Max: count(b.Max),
		WindowTo: b.WindowTo.Unix(), Group: utf8Text(b.Group), PolicyVersion: utf8Text(b.PolicyVersion),
	}
	m.WindowFrom, _ = optional(&windowFrom, b.WindowFrom)
	m.From, m.FromNs = optional(&from, b.From)
	m.To, m.ToNs = optional(&to, b.To)
	if m.Cause == 0 {
		return r, unknown("cause of a breach", b.Cause)
	}
	var err error
	if m.Policy, err = unhex(policy[:], b.Policy); err != nil {
		return r, err
	}
	if m.Pseudonym, m.PseudonymKey, err = pseudonym.of(b.Pseudonym, b.PseudonymKey); err != nil {
		return r, err
	}
	r.Body, err = body.Encode(&m)
	s.identify(&r)
	pseudonymous(&r, b.Pseudonym)
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
		r, err := s.breachRecord(&breaches[i])
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
