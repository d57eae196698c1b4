package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
)

// ReadRules returns the text of the rule set that a topic carries, for [rules.ParseBundle]; ErrNoRules
// if it carries none.
func ReadRules(ctx context.Context, c *kafka.Client, topic string) ([]byte, error) {
	newest := c.NewCompacted(topic)
	defer newest.Close()
	values, _, err := newest.Poll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read rules from topic %s: %w", topic, err)
	}
	text := values[RulesKey].Value
	if len(text) == 0 {
		return nil, fmt.Errorf("topic %s: %w", topic, ErrNoRules)
	}
	return text, nil
}

// Uptake is what an instance did with a rule set that was published.
type Uptake struct {
	Receipt

	State UptakeState
}

// UptakeState says whether an instance took up a rule set.
type UptakeState string

// The states of an uptake.
const (
	UptakeLive    UptakeState = "live"    // in force
	UptakeRefused UptakeState = "refused" // Receipt.Refused says why
	UptakeWaiting UptakeState = "waiting" // not heard of yet
)

// receiptPoll is how often a topic of receipts is looked at.
const receiptPoll = 200 * time.Millisecond

// AwaitUptake waits until every instance that had a receipt before a rule set was published has taken
// it up or refused it, or until ctx ends: then those that are waited for are in state waiting. The
// instances are sorted by key. The bundle is the digest of the text.
func AwaitUptake(ctx context.Context, c *kafka.Client, topic, bundle string, before map[string]Receipt) ([]Uptake, error) {
	newest := c.NewCompacted(topic)
	defer newest.Close()
	tick := time.NewTicker(receiptPoll)
	defer tick.Stop()
	now := before
	var failed error // the last attempt to read, before the time was over
	for {
		values, changed, err := newest.Poll(ctx)
		if changed {
			now, _ = receiptsIn(values)
		}
		// A request ends with the time too, and may notice it first.
		if end, ok := ctx.Deadline(); ctx.Err() == nil && (!ok || time.Now().Before(end)) {
			failed = err
		}
		list, waiting := uptakes(bundle, before, now)
		if !waiting {
			return list, nil
		}
		select {
		case <-tick.C: // brokers that were away may be back
			continue
		case <-ctx.Done():
		}
		switch {
		case errors.Is(context.Cause(ctx), context.Canceled):
			return nil, context.Canceled // told to stop, not out of time
		case failed != nil:
			return nil, fmt.Errorf("read receipts from topic %s: %w", topic, failed)
		}
		return list, nil
	}
}

// uptakes compares the receipts of instances with those they had before.
func uptakes(bundle string, before, now map[string]Receipt) (list []Uptake, waiting bool) {
	for _, key := range slices.Sorted(maps.Keys(before)) {
		was := before[key]
		is, ok := now[key]
		if !ok {
			continue // the instance was taken out meanwhile
		}
		u := Uptake{is, UptakeWaiting}
		switch {
		case is.Bundle == bundle:
			u.State = UptakeLive
		case is.Refused != nil && (is.Refused.Bundle == bundle || is.Refused.Bundle == "") && (was.Refused == nil || *was.Refused != *is.Refused):
			// A refusal without a digest is of a text that the instance could not even take apart.
			// One that was there before is not about what was published since.
			u.State = UptakeRefused
		default:
			waiting = true
		}
		list = append(list, u)
	}
	return list, waiting
}
