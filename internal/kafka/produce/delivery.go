package produce

import (
	"fmt"
	"slices"
	"sync"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// delivery is one call of Produce.
type delivery struct {
	done chan struct{} // closed when every message has met its fate

	mu    sync.Mutex
	msgs  []Message // nil once the caller has gone: its bytes are not ours any more
	open  int       // messages that have not met their fate
	err   error
	large []int
	worry error // what held it up last

	release func(bytes int64) // gives room back; nil for a call that has taken none
	held    int64             // bytes of room it has
	encoded int64             // of its messages
}

// run is what a call has for one partition: messages by index, in order.
type run struct {
	d     *delivery
	lane  *lane
	index []int32
}

// settle notes the fate of n messages.
func (d *delivery) settle(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.err == nil {
		d.err = err
	}
	if d.open -= n; d.open == 0 {
		d.leave(d.held)
		close(d.done)
	}
}

// refuse notes that a message is too large.
func (d *delivery) refuse(i int) {
	d.mu.Lock()
	d.large = append(d.large, i)
	d.mu.Unlock()
	d.settle(1, nil)
}

// leave gives room back.
func (d *delivery) leave(bytes int64) {
	if d.release != nil && bytes > 0 {
		d.held -= bytes
		d.release(bytes)
	}
}

// gaveUp returns what a caller is told that does not wait any more. What was not
// encoded yet will not be written.
func (d *delivery) gaveUp(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.msgs = nil
	d.leave(d.held - d.encoded) // what is left out needs no room
	if d.worry != nil {
		return fmt.Errorf("%w while waiting: %w", err, d.worry)
	}
	return err
}

// result is what the caller is told when all is done.
func (d *delivery) result() error {
	switch {
	case d.err != nil:
		return d.err
	case len(d.large) > 0:
		slices.Sort(d.large)
		return &TooLargeError{d.large}
	}
	return nil
}

// encode adds messages of the run to a batch, at most n of them and as many as
// keep below a size; one always does. It returns how many it took, and true if
// the caller has gone: then those are not in the batch.
func (r *run) encode(w *batch.Writer, n, limit int, now int64) (int, bool) {
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	n = min(n, len(r.index))
	if d.msgs == nil {
		return n, true
	}
	for k, i := range r.index[:n] {
		m := &d.msgs[i]
		size := batch.Size(m.Key, m.Value, m.Headers)
		if w.Count() > 0 && w.Len()+size > limit {
			return k, false
		}
		d.encoded += int64(size)
		t := now
		if !m.Time.IsZero() {
			t = m.Time.UnixMilli()
		}
		w.Add(m.Key, m.Value, m.Headers, t)
	}
	return n, false
}
