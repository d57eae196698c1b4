package app

import (
	"context"
	"fmt"
	"time"
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
	expiry := time.NewTicker(time.Second)
	defer expiry.Stop()
	var look <-chan time.Time
	every := r.cfg.Rules.Watch
	if r.topic != nil {
		every = topicWatch
	}
	if every > 0 && (r.topic != nil || r.load != nil) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		look = tick.C
	}
	var seen string // mark of the files when they were looked at last
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-expiry.C:
			r.expire(ctx)
		case <-look:
			if r.topic != nil {
				r.lookAtTopic(ctx)
			} else {
				seen = r.lookAtFiles(ctx, seen)
			}
		}
	}
}

// lookAtTopic takes up what a topic carries if it changed.
func (r *reloader) lookAtTopic(ctx context.Context) {
	o, err := r.topic.poll(ctx)
	if r.topic.lost(err) {
		if ctx.Err() == nil {
			r.log.Warn("cannot look for new rules; trying again", "err", err)
		}
		return
	}
	if o == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest = o
	if o.mark() == r.mark() && !r.overdue() {
		r.again()
		return
	}
	_ = r.swap(ctx, o, "topic") // it has said what is wrong
}

// mark is that of the rules in force.
func (r *reloader) mark() string { return r.set.Bundle.Mark() }

// again notes that what is in force is what is wanted, after something else was refused.
func (r *reloader) again() {
	if r.refused != nil {
		r.log.Info("the rules in force are wanted again")
		r.loaded()
	}
}

// lookAtFiles takes up the rules of the directory in force if they changed, once they have stood
// still for one look: whoever copies files in is not done with the first. It returns their mark.
//
// What is refused is not tried again until the files change, so that it is said once. Where something
// else was wrong, such as the configuration, a reload tries again.
func (r *reloader) lookAtFiles(ctx context.Context, seen string) string {
	r.mu.Lock()
	dir := r.rules.Dir
	r.mu.Unlock()
	if dir == "" {
		return "" // the packs in the binary
	}
	mark := markFiles(dir)
	if mark != seen {
		return mark
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch mark {
	case r.mark():
		// At fault may also be the configuration, or another directory that it names now.
		if r.tried != "" && r.tried != mark && r.wanted == dir {
			r.again()
		}
	case r.tried:
	default:
		if r.rules.Dir != dir {
			break // a reload named another directory meanwhile
		}
		o := readFiles(dir)
		if now := o.mark(); now != mark {
			return now // they do not stand still
		}
		if r.swap(ctx, o, "files") != nil && ctx.Err() == nil {
			r.tried = mark // even if the configuration names others now, and they are at fault
		}
	}
	return mark
}

// overdue reports whether an exception has expired since the rules in force were loaded.
func (r *reloader) overdue() bool {
	at := r.set.Expires()
	return !at.IsZero() && !time.Now().Before(at)
}

// expire loads the rules in force anew when an exception has expired. It reads nothing else again:
// neither half-written files nor a faulty configuration keep an exception beyond its time.
func (r *reloader) expire(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.overdue() || r.expired.Equal(r.set.Expires()) {
		return
	}
	r.expired = r.set.Expires() // tried once; a reload that is asked for tries again
	set, err := OpenBundle(&r.rules, r.set.Bundle, r.set.Dir)
	if err == nil {
		err = set.Prove()
	}
	if err == nil {
		now := r.pipeline.InForce()
		f := &inForce{Force: now, set: set}
		f.Rules = set.Set
		if f.Force, err = keepTripped(now, f.Force); err == nil {
			err = r.enforce(ctx, f, forceBody{Why: "expiry"})
		}
	}
	if err == nil {
		r.tell() // what was refused before still is
		return
	}
	if ctx.Err() == nil {
		r.refuse(r.set.Bundle, fmt.Errorf("an exception has expired, and the rules cannot be in force without it: %w", err))
	}
}
