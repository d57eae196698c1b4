package app

import (
	"context"
	"errors"
	"time"

	"github.com/weir-moderation/weir/rules"
)

// topicWatch is how often a topic of rules is looked at: a change is in force everywhere within two
// seconds.
const topicWatch = 500 * time.Millisecond

// watch takes up changes of the rules where they come from, until ctx ends, and loads them anew when
// an exception expires.
//
// A directory is read again and again rather than watched by the kernel: that also works on network
// volumes and where a whole directory is swapped by a link, and reading some files costs nothing.
func (r *reloader) watch(ctx context.Context) error {
	every := r.cfg.Rules.Watch
	if r.topic != nil {
		every = topicWatch
	}
	tick := time.NewTicker(max(every, time.Second/2))
	if every > 0 {
		tick.Reset(every)
	}
	defer tick.Stop()
	var seen string // digest of the files when they were looked at last
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch {
		case r.topic != nil:
			r.lookAtTopic(ctx)
		case every > 0 && r.load != nil:
			seen = r.lookAtFiles(ctx, seen)
		}
		r.expire(ctx)
	}
}

// lookAtTopic takes up what a topic carries if it changed.
func (r *reloader) lookAtTopic(ctx context.Context) {
	text, err := r.topic.poll(ctx)
	switch {
	case errors.Is(err, ErrNoRules):
	case err != nil:
		if ctx.Err() == nil {
			r.log.Warn("cannot look for new rules", "err", err)
		}
		return
	case text == nil:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var bundle *rules.Bundle
	if err == nil {
		bundle, err = rules.ParseBundle(text)
	}
	if err != nil {
		r.refuse(nil, err)
		return
	}
	if bundle.Digest() == r.set.Bundle.Digest() {
		r.again()
		return
	}
	_ = r.swap(ctx, bundle, "topic") // it has said what is wrong
}

// again notes that what is in force is what is wanted, after something else was refused.
func (r *reloader) again() {
	if r.refused != nil {
		r.loaded()
	}
}

// lookAtFiles takes up the rules of the directory if they changed, once they have stood still for one
// look: whoever copies files in is not done with the first. It returns their digest.
func (r *reloader) lookAtFiles(ctx context.Context, seen string) string {
	cfg, err := r.load()
	if err != nil || cfg.Rules.Dir == "" {
		return seen // a reload that is asked for says what is wrong
	}
	packs, dir, err := openPacks(cfg.Rules.Dir)
	if err != nil {
		return seen
	}
	bundle, err := rules.ReadBundle(packs, dir)
	if err != nil {
		return seen
	}
	digest := bundle.Digest()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case digest == r.set.Bundle.Digest():
		if digest != seen && seen != "" {
			r.again()
		}
	case digest == seen && r.tried != digest:
		r.tried = digest // what is refused is not tried again until it changes
		_ = r.swap(ctx, nil, "files")
	}
	return digest
}

// expire loads the rules anew when an exception has expired.
func (r *reloader) expire(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.set.Expires()
	if at.IsZero() || time.Now().Before(at) || r.expired.Equal(at) {
		return
	}
	r.expired = at // tried once; a reload that is asked for tries again
	_ = r.swap(ctx, r.set.Bundle, "expiry")
}
