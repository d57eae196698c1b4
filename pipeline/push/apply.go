package push

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Message is a change with its place in Kafka.
type Message struct {
	Event *event.Event
	Place Place
}

// Place is where a message stands in Kafka.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Applied is what changes leave to be told. Both lists name their messages by index.
type Applied struct {
	Recalls   []Recall
	Forgotten []Forgotten
}

// ApplyMessages makes a batch of consent and outcome events effective; others
// are passed over. It is idempotent: it may be called again with the same
// messages, in whole or in part, also after newer ones.
//
// What it returns is computed from what stands in Redis, not from what has
// changed there. So if the process dies before anybody was told, applying the
// same messages again gives the same recalls.
func (s *Store) ApplyMessages(ctx context.Context, p *Policy, now time.Time, messages []Message) (Applied, error) {
	changes, err := changesOf(p, messages)
	if err != nil {
		return Applied{}, err
	}
	var refunds []refund
	for i := range messages {
		if e := messages[i].Event; e.Kind == event.Outcome {
			// Cancelled and rejected both mean that the push was not handed over.
			refunds = append(refunds, refund{user: e.User.ID, push: e.Outcome.PushID})
		}
	}
	s.lag(changes)
	applied, err := s.applyAll(ctx, &recaller{policy: p, now: now.Unix()}, changes)
	if err != nil {
		return Applied{}, err
	}
	s.lag(changes)
	s.metrics.recalls.Add(float64(len(applied.Recalls)))
	_, err = s.refund(ctx, refunds)
	return applied, err
}

// Restore makes consent events effective that Redis may have lost. It does what
// [Store.ApplyMessages] does with them, but nobody is told: it is not news.
func (s *Store) Restore(ctx context.Context, p *Policy, now time.Time, messages []Message) error {
	changes, err := changesOf(p, messages)
	if err != nil {
		return err
	}
	_, err = s.applyAll(ctx, &recaller{policy: p, now: now.Unix(), silent: true}, changes)
	return err
}

// lag measures how old the oldest of the changes in hand is: before they are
// applied, so that the gauge grows with every try while Redis is away, and after.
func (s *Store) lag(changes []change) {
	if len(changes) == 0 {
		return
	}
	oldest := changes[0].time
	for i := range changes {
		if t := changes[i].time; t.Before(oldest) {
			oldest = t
		}
	}
	s.metrics.lag.Set(max(0, s.now().Sub(oldest).Seconds()))
}

// change is what one consent event makes of a user: a new profile, or none.
type change struct {
	user    []byte
	profile Profile
	place   Place
	time    time.Time // of the event; the delay to its effect is measured from here
	message int
}

// changesOf returns what the consent events among the messages change.
func changesOf(p *Policy, messages []Message) ([]change, error) {
	var changes []change
	for i := range messages {
		e := messages[i].Event
		if e.Kind != event.Consent {
			continue
		}
		c := change{user: e.User.ID, place: messages[i].Place, time: e.Time, message: i}
		if e.Consent.Forget {
			c.profile = forgottenProfile(c.place)
		} else {
			var err error
			if c.profile, err = ProfileFrom(p, e); err != nil {
				return nil, fmt.Errorf("read consent: %w", err)
			}
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// follows reports whether the change is newer than what is known of its user. Of a
// user who was forgotten what stands before the tombstone in Kafka is old, whatever
// its version, and what stands behind it is new, also the first version of somebody
// who came back.
func (c *change) follows(known *Profile) bool {
	switch {
	case known.Forgotten.set():
		if c.profile.Forgotten.set() && !known.Forgotten.sameLog(c.profile.Forgotten) {
			return true
		}
		return known.Forgotten.before(tombOf(c.place))
	case c.profile.Forgotten.set():
		return true
	}
	return c.profile.Version > known.Version
}

// repeats reports whether the change is what made the profile that is known.
func (c *change) repeats(known *Profile) bool {
	return c.profile.Version == known.Version && c.profile.Forgotten == known.Forgotten
}

// applyAll writes the profiles that are newer than what Redis holds of their
// users, and forgets users. When it returns nil, no push is allowed any more that
// one of the changes forbids.
//
// Clause: push-withdraw
// A withdrawal is in effect for every process as soon as it is written; the time from the event to there is measured.
func (s *Store) applyAll(ctx context.Context, r *recaller, changes []change) (all Applied, err error) {
	for ; len(changes) > 0; changes = changes[min(maxBatch, len(changes)):] {
		some := changes[:min(maxBatch, len(changes))]
		recalls, err := s.applyConsent(ctx, r, some)
		if err == nil {
			err = s.forget(ctx, r, some)
		}
		if err != nil {
			return Applied{}, fmt.Errorf("apply consent: %w", err)
		}
		all.Recalls = append(all.Recalls, recalls...)
		for i := range some {
			if c := &some[i]; c.profile.Forgotten.set() {
				all.Forgotten = append(all.Forgotten, Forgotten{Message: c.message, Pseudonym: s.names.user(c.user), PseudonymKey: s.names.id})
			}
		}
	}
	return all, nil
}

func (s *Store) applyConsent(ctx context.Context, r *recaller, changes []change) (all []Recall, err error) {
	users := newRoll(s.names, len(changes))
	for i := range changes {
		users.add(changes[i].user)
	}
	applied := make([]bool, len(changes))
	withdrawn := make([]bool, len(changes))
	recalls := make([][]Recall, len(users.names))
	err = s.transact(ctx, users.names, func(u int, record, logRecord string) update {
		known := s.profile(record)
		// A record that cannot be read is replaced by whatever comes: all events
		// of a user come in order, so the newest will be the last.
		current, cause, news := &known, -1, false
		for i := range users.entries(u) {
			switch c := &changes[i]; {
			case c.follows(current):
				applied[i], withdrawn[i] = true, c.profile.withdrawsFrom(current)
				current, cause, news = &c.profile, i, true
			case c.repeats(current):
				cause = i // and what an earlier try wrote, whose answer was lost, was applied
			default:
				applied[i], withdrawn[i] = false, false
			}
		}
		if recalls[u] = nil; cause >= 0 && !r.silent {
			log := s.sendLog(logRecord)
			recalls[u] = r.recalls(current, &log)
			for k := range recalls[u] {
				c := &recalls[u][k]
				c.Message, c.Mark = changes[cause].message, s.names.public(c.entry.Mark)
				c.Pseudonym, c.PseudonymKey = users.names[u], s.names.id
			}
		}
		if !news {
			return update{}
		}
		w := update{key: profileKey(users.names[u]), record: current.Record()}
		if current.Forgotten.set() {
			w.options = []any{"EX", int64(rememberForgotten / time.Second)}
		}
		return w
	})
	if err != nil {
		return nil, err
	}
	for u := range recalls {
		all = append(all, recalls[u]...)
	}
	now := s.now()
	for i := range changes {
		s.metrics.profiles[applied[i]].Inc()
		if withdrawn[i] && !r.silent {
			s.metrics.withdrawals.Observe(max(0, now.Sub(changes[i].time).Seconds()))
		}
	}
	return all, nil
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
