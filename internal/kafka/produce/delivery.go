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
	end   func()    // called when all have; may be nil
	err   error
	large []int
	worry error // what held it up last
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
		if d.end != nil {
			d.end()
		}
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

// gaveUp returns what a caller is told that does not wait any more. What was not
// encoded yet will not be written.
func (d *delivery) gaveUp(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.msgs = nil
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
		if w.Count() > 0 && w.Len()+batch.Size(m.Key, m.Value, m.Headers) > limit {
			return k, false
		}
		t := now
		if !m.Time.IsZero() {
			t = m.Time.UnixMilli()
		}
		w.Add(m.Key, m.Value, m.Headers, t)
	}
	return n, false
}
