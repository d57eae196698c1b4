package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// unsettled is what an evidence log says of pushes that were allowed while Redis
// was away, by a process that ended before it could enter them into send logs.
type unsettled struct {
	outage  push.Outage // as it began; without a begin if that is not on record
	allowed []push.Allowed
}

// settle enters into Redis what the process before this one could not. No push is
// decided, and none taken back, before that is done.
func (d *daemon) settle(ctx context.Context, p *push.Policy) error {
	u, err := findUnsettled(ctx, d.cfg.Evidence.Dir, d.cfg.Evidence.Generation, d.keys, time.Now().Add(-p.Retain()))
	if err != nil {
		return fmt.Errorf("look in the evidence for pushes that redis was not told of: %w", err)
	}
	if u == nil {
		return nil
	}
	o, err := d.fallback.Resume(ctx, p, u.outage, u.allowed)
	if err != nil {
		return err
	}
	d.say("outage", "pushes allowed without redis before this start: %d, entered now %d, limits exceeded %d", len(u.allowed), o.Reapplied, o.Breaches)
	return nil
}

// findUnsettled reads the end of an evidence log, whose pushes are encrypted unless
// ring is nil; nil if all is settled. Every
// start of a daemon that decides pushes has settled what was before it, so has
// every outage's end; and what was decided before since no window sees any more.
func findUnsettled(ctx context.Context, dir, generation string, ring *keys.Ring, since time.Time) (*unsettled, error) {
	u, open := &unsettled{}, false
	settles := func(e evidence.Entry) (all bool, until time.Time, err error) {
		switch {
		case e.Body == nil:
		case e.Kind == evidence.KindStart:
			var b struct {
				Policy string `json:"policy"`
			}
			err = json.Unmarshal(e.Body, &b)
			all = b.Policy != ""
		case e.Kind == evidence.KindIncident:
			var b outageRecord
			if err = json.Unmarshal(e.Body, &b); b.What == sinks.OutageEnd {
				until = b.Until
			}
		}
		if err != nil {
			err = fmt.Errorf("record %d: %w", e.Index, err)
		}
		return all, until, err
	}
	begin := func(e evidence.Entry) bool {
		all, until, err := settles(e)
		return e.Time.Before(since) || all || !until.IsZero() || err != nil
	}
	err := evidence.WalkTail(dir, generation, ring, begin, func(e evidence.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		all, until, err := settles(e)
		switch {
		case err != nil:
			return err
		case all:
			u, open = &unsettled{}, false
		case !until.IsZero():
			// Of the same second some may have been allowed in an outage that
			// followed at once. To enter a push twice is harmless.
			second := until.Truncate(time.Second)
			u.allowed = slices.DeleteFunc(u.allowed, func(a push.Allowed) bool { return a.At.Before(second) })
			u.outage, open = push.Outage{}, false
		case e.Kind == evidence.KindIncident && e.Body != nil:
			var b outageRecord
			if err := json.Unmarshal(e.Body, &b); err == nil && b.What == sinks.OutageBegin {
				u.outage, open = b.Outage, true
			}
		case e.Kind == evidence.KindPush && e.Body != nil:
			a, ok, err := degradedAllow(e)
			if err != nil {
				return fmt.Errorf("record %d: %w", e.Index, err)
			}
			if ok && !a.At.Before(since) {
				u.allowed = append(u.allowed, a)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !open && len(u.allowed) == 0 {
		return nil, nil
	}
	return u, nil
}

// outageRecord is an incident record about Redis.
type outageRecord struct {
	What string `json:"what"`
	push.Outage
}

// degradedAllow returns the push of a record if it was allowed without Redis.
func degradedAllow(e evidence.Entry) (push.Allowed, bool, error) {
	if e.Encoding == evidence.EncodingJSON { // a Weir wrote it whose bodies were not protobuf yet
		return degradedAllowJSON(e.Body)
	}
	m, err := body.Decode(e.Kind, e.Body)
	if err != nil {
		return push.Allowed{}, false, err
	}
	v, ok := m.(*body.Verdict)
	if !ok || v.Decision != body.Decision_DECISION_ALLOW || !slices.Contains(v.GetPush().GetProof().GetFlags(), body.Flag_FLAG_DEGRADED) {
		return push.Allowed{}, false, nil
	}
	return push.Allowed{
		User: []byte(v.Account), ID: []byte(v.EventId), Group: v.GroupWord(),
		Class: v.Push.ClassWord(), Channel: v.Push.ChannelWord(), At: time.Unix(v.Push.Proof.At, 0).UTC(),
	}, true, nil
}

func degradedAllowJSON(body []byte) (push.Allowed, bool, error) {
	if !bytes.Contains(body, []byte(`"degraded"`)) {
		return push.Allowed{}, false, nil
	}
	var b struct {
		EventID string `json:"event_id"`
		User    struct {
			ID    string `json:"id"`
			Group string `json:"group"`
		} `json:"user"`
		Push struct {
			Class    string `json:"class"`
			Channel  string `json:"channel"`
			Decision struct {
				Decision push.Word `json:"decision"`
				Flags    []string  `json:"flags"`
				At       time.Time `json:"at"`
			} `json:"decision"`
		} `json:"push"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return push.Allowed{}, false, err
	}
	d := &b.Push.Decision
	if d.Decision != push.Allow || !slices.Contains(d.Flags, push.Degraded.Words()[0]) {
		return push.Allowed{}, false, nil
	}
	return push.Allowed{User: []byte(b.User.ID), ID: []byte(b.EventID), Class: b.Push.Class, Channel: b.Push.Channel, Group: b.User.Group, At: d.At}, true, nil
}
