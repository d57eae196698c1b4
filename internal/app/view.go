package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
)

// consentView keeps Redis a complete view of the topics of consent: it looks at the
// markers and, where one is missing or names another server, reads the topics again
// from the beginning. Of several processes one does that, the others wait for it.
//
// Weir is ready all the while. Pushes that need consent wait on the deferred topic, and
// taking an instance out of service would only keep warnings and orders waiting, too;
// weir_push_consent_view_trusted and the log say what is not so.
type consentView struct {
	store  *push.Store
	client *kafka.Client
	input  *ingest.Config
	events event.Config
	policy func() *push.Policy // in force
	log    *slog.Logger

	rebuilds *prometheus.CounterVec
	restored prometheus.Counter
	looked   chan struct{} // closed when the view was found or made complete for the first time
	every    time.Duration // between two looks
}

// viewEvery is how often the markers are looked at. What a batch sees of them wakes us
// at once, so this is for quiet times, and for a primary that became a replica and a
// primary again without a connection lost.
const viewEvery = 5 * time.Second

func newConsentView(d *daemon) *consentView {
	v := &consentView{store: d.store, client: d.client, input: &d.cfg.Input, events: d.cfg.Events,
		policy: func() *push.Policy { return d.pipeline.InForce().Policy }, log: d.log,
		looked: make(chan struct{}), every: viewEvery,
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_push_consent_view_rebuilds_total",
			Help: "Times the topics of consent were read again to make Redis a complete view of them, by how it ended."}, []string{"result"}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_consent_view_restored_total", Help: "Messages that were read again for that."}),
	}
	for _, result := range []string{"done", "failed"} {
		v.rebuilds.WithLabelValues(result)
	}
	d.registry.MustRegister(v.rebuilds, v.restored)
	return v
}

// run keeps the view complete until ctx ends.
func (v *consentView) run(ctx context.Context) error {
	again := retry.Backoff{Base: 200 * time.Millisecond, Ceiling: 10 * time.Second}
	looked, doubted, failed := v.looked, false, false
	for {
		whole, err := v.store.IsWhole(ctx)
		if err == nil && !whole {
			if !doubted {
				v.log.Warn("what Redis holds of consent is not known to be complete; pushes that need consent wait until it has been read again")
			}
			doubted = true
			if err = v.rebuild(ctx); err == nil {
				whole, err = v.store.IsWhole(ctx)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := v.every
		switch {
		case err != nil:
			if !failed {
				v.log.Error("cannot make Redis a complete view of consent; trying again", "err", err)
			}
			failed, wait = true, again.Next()
		case !whole:
			wait = min(again.Next(), time.Second) // another process is at it
		default:
			if doubted {
				v.log.Info("what Redis holds of consent is complete")
			}
			if looked != nil {
				close(looked)
				looked = nil
			}
			doubted, failed = false, false
			again.Reset()
		}
		t := time.NewTimer(wait)
		doubts := v.store.Doubts()
		if !whole {
			doubts = nil // we know
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-doubts:
		}
		t.Stop()
	}
}

// startPatience is how long messages wait at a start for the view to be complete, so
// that a small one lets no push wait for a minute.
const startPatience = 5 * time.Second

// await waits until the view was complete once, but not for long.
func (v *consentView) await(ctx context.Context) {
	t := time.NewTimer(startPatience)
	defer t.Stop()
	select {
	case <-v.looked:
	case <-t.C:
	case <-ctx.Done():
	}
}

// rebuild reads all topics of consent from the beginning to where they end now. It
// returns nil, too, if another process is at it.
//
// What comes in meanwhile is applied by whoever consumes it. That never collides: of two
// states of a user the newer one stays, and who was forgotten stays so.
//
// If the process dies in here, the markers are not set and another one begins anew.
func (v *consentView) rebuild(ctx context.Context) (err error) {
	r, err := v.store.BeginRebuild(ctx)
	if r == nil || err != nil {
		return err
	}
	began := time.Now()
	var messages atomic.Int64
	defer func() {
		// The right is given back also when we are told to stop.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if e := r.End(end); e != nil {
			v.log.Warn("the right to rebuild the view of consent is held for some seconds more", "err", e)
		}
		if ctx.Err() == nil || err == nil {
			v.rebuilds.WithLabelValues(map[bool]string{true: "done", false: "failed"}[err == nil]).Inc()
		}
	}()
	g, reading := errgroup.WithContext(ctx)
	done, stop := context.WithCancel(reading)
	g.Go(func() error {
		defer stop()
		return v.readAll(reading, v.policy(), &messages)
	})
	g.Go(func() error {
		tick := time.NewTicker(push.RenewEvery)
		defer tick.Stop()
		for {
			select {
			case <-done.Done():
				return nil
			case <-tick.C:
				if err := r.Renew(reading); err != nil && reading.Err() == nil {
					return err
				}
			}
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.Finish(ctx); err != nil {
		return err
	}
	v.log.Info("consent was read again", "messages", messages.Load(), "seconds", time.Since(began).Seconds())
	return nil
}

// readers is how many partitions are read at once.
const readers = 4

// readAll applies what the topics hold.
func (v *consentView) readAll(ctx context.Context, policy *push.Policy, messages *atomic.Int64) error {
	topics, err := v.topics(ctx)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		stream, ok := v.input.Stream(topic)
		if !ok {
			return fmt.Errorf("topic %s is not one of those that are read", topic)
		}
		g, ctx := errgroup.WithContext(ctx)
		for n := range readers {
			g.Go(func() error {
				scan, err := v.client.OpenScan(ctx, topic, time.Time{}, time.Time{})
				if err != nil {
					return err
				}
				defer scan.Close()
				var own []kafka.Range
				for i, r := range scan.Ranges {
					if i%readers == n {
						own = append(own, r)
					}
				}
				if err := scan.Narrow(own...); err != nil {
					return err
				}
				a := restoring{view: v, policy: policy, decoder: event.NewDecoder(v.events), read: messages}
				return ingest.Replay(ctx, scan, stream, func(b *pipeline.Batch) error { return a.batch(ctx, b) })
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("read consent again: %w", err)
		}
	}
	return nil
}

// topics returns the names of all topics of consent there are.
func (v *consentView) topics(ctx context.Context) ([]string, error) {
	var names []string
	patterns := false
	for _, t := range v.input.Consent {
		if patterns = patterns || t.Pattern != ""; t.Topic != "" {
			names = append(names, t.Topic)
		}
	}
	if !patterns {
		return names, nil
	}
	all, err := v.client.AllTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for topics of consent: %w", err)
	}
	names = nil
	for _, t := range all {
		if s, ok := v.input.Stream(t.Name); ok && s.Kind == event.Consent {
			names = append(names, t.Name)
		}
	}
	return names, nil
}

// restoring applies what one reader reads.
type restoring struct {
	view     *consentView
	policy   *push.Policy
	decoder  *event.Decoder
	events   [restoreSize]event.Event
	messages []push.Message
	read     *atomic.Int64
}

// restoreSize is how many changes go to Redis at once.
const restoreSize = 512

func (a *restoring) batch(ctx context.Context, b *pipeline.Batch) error {
	a.decoder.Format = b.Format
	a.read.Add(int64(len(b.Records)))
	a.view.restored.Add(float64(len(b.Records)))
	for i := range b.Records {
		r := &b.Records[i]
		if r.Corrupt != "" {
			continue // it is a dead letter to who consumes it
		}
		e := &a.events[len(a.messages)]
		var err error
		if r.Value == nil {
			err = a.decoder.Forget(r.Key, e)
			e.Time = r.Time
		} else {
			err = a.decoder.Decode(b.Kind, r.Headers, r.Value, e)
		}
		if err != nil {
			continue // so is this
		}
		a.messages = append(a.messages, push.Message{Event: e, Place: push.Place{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset}})
		if len(a.messages) == restoreSize {
			if err := a.apply(ctx); err != nil {
				return err
			}
		}
	}
	return a.apply(ctx) // the batch's bytes are ours only until now
}

// restorePatience is how long Redis may be away before a rebuild gives up: it may be
// another one when it is back.
const restorePatience = 10 * time.Second

// apply applies what was gathered.
func (a *restoring) apply(ctx context.Context) error {
	defer func() {
		a.messages = a.messages[:0]
		a.decoder.Reset()
	}()
	if len(a.messages) == 0 {
		return nil
	}
	began := time.Now()
	again := retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}
	for {
		err := a.view.store.Restore(ctx, a.policy, time.Now(), a.messages)
		if err == nil || time.Since(began) > restorePatience {
			return err
		}
		if !retry.Pause(ctx, again.Next()) {
			return errors.Join(err, ctx.Err())
		}
	}
}
