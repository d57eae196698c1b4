package evidence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// The bounds of a group: the records that one write and one sync make durable.
const (
	maxGroupRecords = 4096
	maxGroupBytes   = 4 << 20
)

// request is one Append on its way. Its caller waits, so there are never more of
// them than goroutines that append. One without records waits for its turn only,
// so that a segment can be ended.
type request struct {
	items []item
	taken int   // items given to a group so far
	first int64 // index of the first item, once it is written
	leads bool  // its caller leads or is about to
	err   error // read after done, or by the leader itself
	done  bool
	wake  chan struct{} // something of the above changed
}

// part is what a group holds of one request.
type part struct {
	req   *request // nil for the genesis record
	items []item
}

// Append makes the records durable, in their order, and returns when the sync
// that covers the last of them has returned. Records of other callers may stand
// between them.
//
// On [ErrTooLarge] or another fault of a record, nothing was written. ctx is
// honoured until the first record is being written; its error then means that
// nothing was. On [ErrFull] nothing was either. After any other error some records may be found in the log at the
// next start, or none: append all of them again, under the same ids. If the
// process dies before Append returns, the same holds.
func (l *Log) Append(ctx context.Context, recs []Record) error {
	if len(recs) == 0 {
		return nil
	}
	_, err := l.appendAll(ctx, recs)
	return err
}

// AppendOne is [Log.Append] of one record, and says which index it has.
//
// A record of the kinds [KindDestroy] and [KindShred] is also signed when it returns:
// only then does it explain what is missing after what it announces is done, and if the
// process dies in between the verifier has no alarm.
func (l *Log) AppendOne(ctx context.Context, rec Record) (index int64, err error) {
	index, err = l.appendAll(ctx, []Record{rec})
	if err == nil && (rec.Kind == KindDestroy || rec.Kind == KindShred) {
		err = l.checkpoint()
	}
	return index, err
}

// appendAll makes records durable, of which there is one at least, and returns the index of the first.
func (l *Log) appendAll(ctx context.Context, recs []Record) (first int64, err error) {
	for i := range recs {
		if err := recs[i].check(); err != nil {
			return 0, fmt.Errorf("append evidence: %w", err)
		}
	}
	if err := l.admit(recs); err != nil {
		return 0, fmt.Errorf("append evidence: %w", err)
	}
	started := time.Now()
	r := &request{wake: make(chan struct{}, 1)}
	room, _ := l.rooms.Get().(*[]byte)
	if room == nil {
		room = new([]byte)
	}
	if r.items, *room, err = prepare(*room, recs, l.o.Keys); err == nil {
		if err = l.commit(ctx, r); err == nil && cap(*room) <= maxGroupBytes {
			l.rooms.Put(room)
		}
	} else if errors.Is(err, keys.ErrBroken) {
		err = l.kill(err) // no more well before a restart than if the log itself could not be written
	}
	if err != nil {
		if errors.Is(err, ErrBroken) {
			l.m.errors.Inc()
		}
		return 0, fmt.Errorf("append evidence: %w", err)
	}
	l.m.duration.Observe(time.Since(started).Seconds())
	l.m.count(recs)
	return r.first, nil
}

// commit queues the request and waits until it is written.
//
// There is no writer goroutine: the first caller that finds nobody leading leads.
// It writes what is queued, its own request and those of others, until its own is
// done, then hands the lead to the first caller still waiting. So under load one
// sync serves all who came while the one before it ran.
func (l *Log) commit(ctx context.Context, r *request) error {
	l.mu.Lock()
	switch {
	case l.broken != nil:
		l.mu.Unlock()
		return l.broken
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	case ctx.Err() != nil:
		l.mu.Unlock()
		return ctx.Err()
	}
	l.queue = append(l.queue, r)
	r.leads = !l.leading
	l.leading = true
	lead := r.leads
	l.mu.Unlock()

	cancelled := ctx.Done()
	for !lead {
		select {
		case <-r.wake:
			l.mu.Lock()
			done := r.done
			lead = !done && r.leads
			l.mu.Unlock()
			if done {
				return r.err
			}
		case <-cancelled:
			if l.withdraw(r) {
				return ctx.Err()
			}
			cancelled = nil // too late: it is being written
		}
	}
	l.lead(r)
	return r.err
}

// withdraw takes a request out of the queue if nothing of it is in a group yet.
func (l *Log) withdraw(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.done || r.leads || r.taken > 0 {
		return false
	}
	l.queue = slices.DeleteFunc(l.queue, func(q *request) bool { return q == r })
	return true
}

// lead writes groups until own is done and then passes the lead on.
func (l *Log) lead(own *request) {
	var group []part
	l.mu.Lock()
	for !own.done {
		if l.broken != nil {
			l.failAll(l.broken, nil)
			break
		}
		group = l.take(group[:0])
		l.mu.Unlock()
		err := l.writeGroup(group)
		l.mu.Lock()
		if err != nil {
			l.killLocked(err) //nolint:errcheck // it returns l.broken
		}
		if l.broken != nil {
			// Also if it broke elsewhere meanwhile: a checkpoint that found the file
			// deleted knows better than this write.
			l.failAll(l.broken, group)
			break
		}
		for _, p := range group {
			if p.req.taken == len(p.req.items) {
				p.req.finish(nil)
			}
		}
	}
	if len(l.queue) > 0 {
		next := l.queue[0]
		next.leads = true
		next.signal()
	} else {
		l.leading = false
		l.idle.Broadcast()
	}
	l.mu.Unlock()
}

// writeGroup is write. If a bug of ours panics in it, those who wait are told
// before the panic goes on: they must not wait for ever.
func (l *Log) writeGroup(group []part) error {
	returned := false
	defer func() {
		if !returned {
			l.mu.Lock()
			l.failAll(l.killLocked(errors.New("panic while writing")), group)
			l.mu.Unlock()
		}
	}()
	l.writing.Store(time.Now().UnixNano())
	err := l.write(group)
	l.writing.Store(0)
	returned = true
	return err
}

// take forms the next group from the head of the queue. A request that does not
// fit is split; the rest of it stays at the head.
func (l *Log) take(group []part) []part {
	records, size := 0, 0
	for len(l.queue) > 0 {
		r := l.queue[0]
		n := r.taken
		for n < len(r.items) && records < maxGroupRecords {
			s := entryHeader + len(r.items[n].stored)
			if records > 0 && size+s > maxGroupBytes {
				break
			}
			records++
			size += s
			n++
		}
		if n > r.taken || len(r.items) == 0 {
			group = append(group, part{r, r.items[r.taken:n]})
			r.taken = n
		}
		if n < len(r.items) {
			break
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
	return group
}

// failAll fails the group in hand and all that wait.
func (l *Log) failAll(err error, group []part) {
	for _, p := range group {
		p.req.finish(err)
	}
	for _, r := range l.queue {
		r.finish(err)
	}
	l.queue = nil
	l.leading = false
	l.idle.Broadcast()
}

func (r *request) finish(err error) {
	if !r.done {
		r.done, r.err = true, err
		r.signal()
	}
}

func (r *request) signal() {
	select {
	case r.wake <- struct{}{}:
	default: // it has not looked yet and will see this too
	}
}

var errFlipped = errors.New("a leaf in the write buffer is not the one that was hashed: memory is at fault")

// write makes one group durable and then part of the tree.
//
// If the process dies during the write, the next start finds a frame that is cut
// short or does not match its checksum, at the end of the file, and cuts it off.
// If it dies after the write and before the sync has returned, the frame may be
// there whole; it then stays, and as nobody was told, its records will be
// appended again and show as replayed.
func (l *Log) write(group []part) error {
	if l.segmentEnds() {
		// The full segment is synced: from here on nothing in it changes.
		if err := l.newSegment(); err != nil {
			return fmt.Errorf("begin segment: %w", err)
		}
	}
	now := l.now()
	movable := l.movable
	l.buf = append(l.buf[:0], make([]byte, frameHeader)...)
	l.hashes = l.hashes[:0]
	for _, p := range group {
		if p.req != nil && p.req.taken == len(p.items) { // these are its first
			p.req.first = l.tree.n + int64(len(l.hashes))
		}
		for i := range p.items {
			it := &p.items[i]
			it.leaf.setNanos(now)
			if movable == 0 && it.leaf.class().Moved() {
				movable = now
			}
			l.hashes = append(l.hashes, hashLeaf(&it.leaf))
			l.buf = appendEntry(l.buf, it)
		}
	}
	if len(l.hashes) == 0 {
		return nil // it was only to end a segment
	}
	first := l.tree.n // only the leader changes it
	finishFrame(l.buf, first, len(l.hashes))
	if err := checkHashes(l.buf[frameHeader:], l.hashes); err != nil {
		return err
	}
	if err := l.calls.write(l.seg, l.buf, l.segSize); err != nil {
		return fmt.Errorf("write %s: %w", l.segAt.name, err)
	}
	if err := l.durable(l.buf, first, len(l.hashes)); err != nil {
		return err
	}
	l.last = now
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	l.segSize += int64(len(l.buf))
	l.movable = movable
	for _, h := range l.hashes {
		if err := l.tree.add(h); err != nil {
			return err
		}
	}
	return nil
}

// segmentEnds reports whether the next group belongs into a new segment.
func (l *Log) segmentEnds() bool {
	records := l.tree.n - l.segAt.first
	asked := l.endSegment.Load() && l.endSegment.Swap(false)
	return records > 0 && (asked || l.segSize >= l.o.SegmentBytes || records >= l.o.SegmentRecords)
}

// checkHashes hashes the leaves a second time, from the bytes that go to the
// disk and by other code.
func checkHashes(entries []byte, hashes []tlog.Hash) error {
	for _, h := range hashes {
		end := entryHeader + int(binary.BigEndian.Uint32(entries))
		if tlog.RecordHash(entries[4:entryHeader]) != h {
			return errFlipped
		}
		entries = entries[end:]
	}
	return nil
}

// now is the clock, held back from ever going back.
func (l *Log) now() int64 {
	now := l.o.Now().UnixNano()
	if now >= l.last {
		l.behind = false
		return now
	}
	if !l.behind {
		l.behind = true
		l.log.Warn("the clock is behind the last evidence record; its time is used until the clock has caught up",
			"behind_seconds", time.Duration(l.last-now).Seconds())
	}
	return l.last
}
