package pipeline

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// Judge says what the content of one event calls for. It belongs to one
// goroutine and reuses its working memory.
type Judge struct {
	decoder *event.Decoder
	scratch rules.Scratch
	trap    func(*event.Event) // of tests, to break on purpose; else nil
}

// NewJudge returns a judge that reads events under the given limits.
func NewJudge(c event.Config) *Judge {
	return &Judge{decoder: event.NewDecoder(c)}
}

// Reads says how the messages are written that come from now on; nil: as
// docs/schemas says.
func (j *Judge) Reads(f *event.Format) { j.decoder.Format = f }

// Judge decodes one message into e and judges its content under the rule set.
// Kind is what the message's topic carries, 0 where the message itself must
// tell. The verdict borrows the message's bytes until Reset. An error is an
// *event.Error, and the message can never be judged; or judging it panicked, and
// this Judge must not be used again.
//
// Clause: push-prereview
// Every push is judged by a named rule set before anything else is asked about it.
// Clause: cmp-names
// All text fields of an event are judged; its operation tells a profile or a group name from a post.
func (j *Judge) Judge(set *rules.Set, kind event.Kind, headers []event.Header, value []byte, e *event.Event) (v Verdict, err error) {
	err = recovered(func() error {
		v, err = j.judge(set, kind, headers, value, e)
		return err
	})
	return v, err
}

func (j *Judge) judge(set *rules.Set, kind event.Kind, headers []event.Header, value []byte, e *event.Event) (Verdict, error) {
	if err := j.decoder.Decode(kind, headers, value, e); err != nil {
		return Verdict{}, err
	}
	if j.trap != nil {
		j.trap(e)
	}
	v := Verdict{Event: e, Reason: ReasonNone, Rules: set.Digest()}
	if e.Kind != event.Post && e.Kind != event.Push {
		return v, nil
	}
	hits := set.Match(&j.scratch, e)
	if d := j.scratch.Diverged(); len(d) > 0 {
		v.Diverged = slices.Clone(d)
	}
	if u := j.scratch.Undecided(); len(u) > 0 {
		v.Undecided = slices.Clone(u)
	}
	if len(hits) == 0 {
		return v, nil
	}
	v.Hits = slices.Clone(hits)
	if v.Action = rules.ActionOf(hits); v.Action != rules.Pass {
		v.Reason = ReasonContent
	}
	return v, nil
}

// Forget reads a tombstone of consent into e: there is nothing in it to judge. The
// error is an *event.Error.
func (j *Judge) Forget(set *rules.Set, r *Record, e *event.Event) (Verdict, error) {
	if err := j.decoder.Forget(r.Key, e); err != nil {
		return Verdict{}, err
	}
	e.Time = r.Time
	return Verdict{Event: e, Reason: ReasonNone, Rules: set.Digest()}, nil
}

// Reset forgets the bytes of every verdict given so far.
func (j *Judge) Reset() { j.decoder.Reset() }

// A panicError is a panic while judging one message. The message is content, so
// neither its bytes nor the panic's value are kept, only where it happened.
type panicError struct{ stack []byte }

func (e *panicError) Error() string { return "panic while judging" }

// recovered runs f and turns a panic into an error.
func recovered(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{debug.Stack()}
			if e, ok := v.(error); ok {
				// The runtime's own errors (index out of range, nil map) hold no content.
				if _, ok := v.(interface{ RuntimeError() }); ok {
					err = fmt.Errorf("%w: %w", err, e)
				}
			}
		}
	}()
	return f()
}
