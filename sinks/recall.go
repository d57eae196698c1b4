package sinks

import (
	"crypto/sha256"
	"fmt"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// recallMessage is the value of a recall on the cleared topic: which push must not
// be sent any more. It does not have the push's id, which Weir does not keep: the
// mark is in a header of the push.
type recallMessage struct {
	ID string `json:"id"`
	recalled
	Evidence evidenceRef `json:"evidence"`
	Origin   origin      `json:"origin"`
}

// recalled is what is said of a push that is called back.
type recalled struct {
	Mark      string      `json:"mark"`
	Class     string      `json:"class"`
	Channel   string      `json:"channel"`
	AllowedAt string      `json:"allowed_at"`
	Reason    push.Reason `json:"reason"`
	Policy    string      `json:"policy"`
}

func recalledOf(r *pipeline.Recall) recalled {
	return recalled{r.Mark, r.Class, r.Channel, stamp(r.AllowedAt), r.Reason, r.Policy}
}

// eraseBody is the body of an erase record.
//
// Clause: rn-erase
// That a user was forgotten is on record, without saying who it was.
type eraseBody struct {
	Pseudonym    string `json:"pseudonym"`
	PseudonymKey string `json:"pseudonym_key"`
	Origin       origin `json:"origin"`
}

// recallRecord makes the record of a recall. It names the user as Redis does, and
// in no other way: they may have asked to be forgotten.
func recallRecord(c *pipeline.Recall) (evidence.Record, error) {
	r := evidence.Record{ID: evidence.ID(c.ID), Kind: evidence.KindRecall, Class: evidence.ClassPush, Encoding: evidence.EncodingProtobuf}
	var origin originBody
	var pseudonym pseudonymBody
	var mark [8]byte
	var policy [sha256.Size]byte
	var since int64
	b := body.Recall{
		Class: utf8Text(c.Class), Channel: utf8Text(c.Channel), AllowedAt: c.AllowedAt.Unix(), Reason: reasonOf[string(c.Reason)],
		ConsentVersion: c.Consent.Version, ConsentState: consentStateOf[string(c.Consent.State)], Origin: origin.of(c.Origin, c.Record),
	}
	b.ConsentSince, _ = optional(&since, c.Consent.Since)
	if b.Reason == 0 || b.ConsentState == 0 {
		return r, fmt.Errorf("evidence: a recall for the reason %q in the state of consent %q", c.Reason, c.Consent.State)
	}
	var err error
	if b.Mark, err = unhex(mark[:], c.Mark); err != nil {
		return r, err
	}
	if b.Policy, err = unhex(policy[:], c.Policy); err != nil {
		return r, err
	}
	if b.Pseudonym, b.PseudonymKey, err = pseudonym.of(c.Pseudonym, c.PseudonymKey); err != nil {
		return r, err
	}
	r.Body, err = body.Encode(&b)
	pseudonymous(&r, c.Pseudonym)
	return r, err
}

func eraseRecord(e *pipeline.Erasure) (evidence.Record, error) {
	return record(evidence.ID(e.ID), evidence.KindErase, evidence.ClassAudit, eraseBody{
		Pseudonym: e.Pseudonym, PseudonymKey: e.PseudonymKey, Origin: originOf(e.Origin, e.Record),
	})
}

// recall makes the message that calls a push back. Its key is that of the push, so
// that it goes the same way.
func (s *Kafka) recall(r *pipeline.Recall) (produce.Message, error) {
	value, err := encode(recallMessage{
		ID: r.ID.String(), recalled: recalledOf(r),
		Evidence: evidenceRef{s.Origin, r.ID.String()}, Origin: originOf(r.Origin, r.Record),
	})
	if err != nil {
		return produce.Message{}, fmt.Errorf("encode recall: %w", err)
	}
	return produce.Message{Topic: s.Config.Cleared, Key: r.User, Value: value, Headers: append([]batch.Header{
		header("content-type", "application/json"),
		header("weir-id", r.ID.String()+":recall"),
		header("weir-decision", "recall"),
		header("weir-reason", string(r.Reason)),
		header("weir-mark", r.Mark),
	}, traced(r.Record)...)}, nil
}
