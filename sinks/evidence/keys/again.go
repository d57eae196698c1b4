package keys

import (
	"fmt"
	"time"
)

// RestrictHandles puts the keys that are named aside, as [Ring.Restrict] does those of a
// subject: so it can be recorded first which keys these are, and done again after a crash.
func (r *Ring) RestrictHandles(handles []Handle, until time.Time) error {
	r.admin.Lock()
	defer r.admin.Unlock()
	if err := r.writable(); err != nil {
		return fmt.Errorf("restrict keys: %w", err)
	}
	r.settle()
	places, err := r.ofHandles(handles)
	if err != nil {
		return fmt.Errorf("restrict keys: %w", err)
	}
	if len(places) == 0 {
		return nil
	}
	if err := r.writeJournal(journal{Restrict: hexOf(handlesOf(places)), Until: day(until)}); err != nil {
		return fmt.Errorf("restrict keys: %w", err) // nothing was touched, so the ring goes on
	}
	if err := r.restrict(day(until), places); err != nil {
		return fmt.Errorf("restrict keys: %w", err)
	}
	return nil
}
