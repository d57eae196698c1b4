package pipeline

import (
	"errors"
	"fmt"
)

// Permanent marks an error that will come again however often the call is
// repeated, such as a dead evidence log: it ends the daemon, and nothing after
// the last checkpoint is committed.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

func isPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// ErrLost says that the partition a batch came from belongs to somebody else by
// now, or has to be claimed anew: a transaction of this process was ended by
// others. Nothing of the batch is visible. It is delivered again to whoever owns
// the partition, from the group's offset.
var ErrLost = errors.New("the claim on the partition is lost")

// Refused names the verdicts of an output that can never be written as they
// are, by their index in Output.Verdicts. Everything else of the output is
// durable, unless Nothing says otherwise. The pipeline makes them dead letters.
type Refused struct {
	Verdicts []int
	// Nothing says that nothing of the output was written: it is all or nothing, and
	// is to be written again with these buried.
	Nothing bool
	Err     error
}

// Error says how many verdicts were refused and why.
func (e *Refused) Error() string {
	return fmt.Sprintf("%d verdicts refused for good: %v", len(e.Verdicts), e.Err)
}

// Unwrap returns the cause.
func (e *Refused) Unwrap() error { return e.Err }
