package push

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Change is a new state of one user.
type Change struct {
	User    []byte
	Profile Profile
	Time    time.Time // when it was made; the delay to its effect is measured from here
}

// Apply makes a batch of consent and outcome events effective; others are passed
// over. It is idempotent: it may be called again with the same events, in whole
// or in part, also after newer ones.
func (s *Store) Apply(ctx context.Context, p *Policy, events []*event.Event) error {
	var changes []Change
	var refunds []refund
	for _, e := range events {
		switch e.Kind {
		case event.Consent:
			profile, err := ProfileFrom(p, e)
			if err != nil {
				return fmt.Errorf("read consent: %w", err)
			}
			changes = append(changes, Change{User: e.User.ID, Profile: profile, Time: e.Time})
		case event.Outcome:
			// Cancelled and rejected both mean that the push was not handed over.
			refunds = append(refunds, refund{user: e.User.ID, push: e.Outcome.PushID})
		}
	}
	if err := s.ApplyConsent(ctx, changes); err != nil {
		return err
	}
	_, err := s.refund(ctx, refunds)
	return err
}

// ApplyConsent writes the profiles that are newer than what Redis holds of their
// users. When it returns nil, no push is allowed any more that one of them
// forbids.
//
// Clause: push-withdraw
// A withdrawal is in effect for every process as soon as it is written; the time from the event to there is measured.
func (s *Store) ApplyConsent(ctx context.Context, changes []Change) error {
	for i := range changes {
		if changes[i].Profile.Version == 0 {
			return errors.New("apply consent: a profile without a version; the first one is 1")
		}
	}
	for ; len(changes) > 0; changes = changes[min(maxBatch, len(changes)):] {
		if err := s.applyConsent(ctx, changes[:min(maxBatch, len(changes))]); err != nil {
			return fmt.Errorf("apply consent: %w", err)
		}
	}
	return nil
}

func (s *Store) applyConsent(ctx context.Context, changes []Change) error {
	users := newRoll(s.names, len(changes))
	for i := range changes {
		users.add(changes[i].User)
	}
	applied := make([]bool, len(changes))
	withdrawn := make([]bool, len(changes))
	err := s.transact(ctx, users.names, func(u int, record, _ string) update {
		known := s.profile(record)
		// A record that cannot be read is replaced by whatever comes: all events
		// of a user come in order, so the newest will be the last.
		newest := -1
		current := &known
		for i := range users.entries(u) {
			applied[i], withdrawn[i] = false, false
			if p := &changes[i].Profile; p.Version > current.Version {
				applied[i], withdrawn[i] = true, p.withdrawsFrom(current)
				newest, current = i, p
			}
		}
		if newest < 0 {
			return update{}
		}
		return update{key: profileKey(users.names[u]), record: current.Record()}
	})
	if err != nil {
		return err
	}
	now := s.now()
	for i := range changes {
		s.metrics.profiles[applied[i]].Inc()
		if withdrawn[i] {
			s.metrics.withdrawals.Observe(max(0, now.Sub(changes[i].Time).Seconds()))
		}
	}
	return nil
}

type refund struct{ user, push []byte }

// Refund gives back what an allowed push consumed, because it was not handed
// over. The push stays in the log as cancelled: delivered again, it is denied.
// Refund reports whether there was anything to give back, so a second time false.
func (s *Store) Refund(ctx context.Context, user, pushID []byte) (bool, error) {
	n, err := s.refund(ctx, []refund{{user, pushID}})
	return n > 0, err
}

func (s *Store) refund(ctx context.Context, refunds []refund) (total int, err error) {
	for ; len(refunds) > 0; refunds = refunds[min(maxBatch, len(refunds)):] {
		n, err := s.refundBatch(ctx, refunds[:min(maxBatch, len(refunds))])
		if err != nil {
			return total, fmt.Errorf("refund: %w", err)
		}
		total += n
	}
	return total, nil
}

func (s *Store) refundBatch(ctx context.Context, refunds []refund) (int, error) {
	users := newRoll(s.names, len(refunds))
	for i := range refunds {
		users.add(refunds[i].user)
	}
	given := make([]int, len(users.names))
	err := s.transact(ctx, users.names, func(u int, _, record string) update {
		log := s.sendLog(record)
		given[u] = 0
		for i := range users.entries(u) {
			if log.refund(s.names.push(refunds[i].push)) {
				given[u]++
			}
		}
		if given[u] == 0 {
			return update{}
		}
		log.Version = nextVersion(record)
		return update{key: logKey(users.names[u]), record: log.Record(), options: []any{"KEEPTTL"}}
	})
	if err != nil {
		return 0, err
	}
	total := 0
	for _, n := range given {
		total += n
	}
	s.metrics.refunds.Add(float64(total))
	return total, nil
}
