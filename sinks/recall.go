package sinks

import (
	"fmt"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks/evidence"
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

// recalled is what message and evidence say of a push that is called back.
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

// recallBody is the body of a recall record. It names the user as Redis does, and
// in no other way: they may have asked to be forgotten.
type recallBody struct {
	recalled
	Consent      push.ConsentUse `json:"consent"`
	Pseudonym    string          `json:"pseudonym"`
	PseudonymKey string          `json:"pseudonym_key"`
	Origin       origin          `json:"origin"`
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

func recallRecord(r *pipeline.Recall) (evidence.Record, error) {
	return record(evidence.ID(r.ID), evidence.KindRecall, evidence.ClassPush, recallBody{
		recalled: recalledOf(r), Consent: r.Consent,
		Pseudonym: r.Pseudonym, PseudonymKey: r.PseudonymKey, Origin: originOf(r.Origin, r.Record),
	})
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
	return produce.Message{Topic: s.Config.Cleared, Key: r.User, Value: value, Headers: []batch.Header{
		header("content-type", "application/json"),
		header("weir-id", r.ID.String()+":recall"),
		header("weir-decision", "recall"),
		header("weir-reason", string(r.Reason)),
		header("weir-mark", r.Mark),
	}}, nil
}
