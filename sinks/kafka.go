package sinks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// Kafka writes verdicts to the topics people and programs read. Messages are
// keyed by the user's id, so that one user's items stay in order.
type Kafka struct {
	Config   Config
	Producer *produce.Producer
	// Origin is the origin of the evidence log, told to readers of the topics so
	// that they can find the record behind a message.
	Origin string
	// Group is the consumer group whose offsets are committed with the messages;
	// needed where delivery is exactly once.
	Group string

	mu     sync.Mutex
	owners map[input]*owner // one for each input partition that was ours once
}

// Write produces the messages of an output and returns when every broker that
// must have them has them (acks=all). A verdict is refused when one of its
// messages is too large for its topic; the others of it are written all the
// same: what stops a message must not wait for what explains it.
//
// If the process dies in here, some messages are out and others are not; the
// batch is judged again and all of them are produced again under the same ids.
// With exactly-once delivery a batch's messages are all out, or none is; see commit.
//
// Clause: cmp-stop
// A post to review or to reject is on the topics of reviewers and of decisions before the next batch of its partition is judged.
func (s *Kafka) Write(ctx context.Context, out *pipeline.Output) error {
	w := writing{sink: s, buried: out.Buried}
	for i := range out.Verdicts {
		w.verdict(i, &out.Verdicts[i])
	}
	for i := range out.DeadLetters {
		w.deadLetter(&out.DeadLetters[i])
	}
	for i := range out.Recalls {
		if err := w.recall(&out.Recalls[i]); err != nil {
			return pipeline.Permanent(err)
		}
	}
	if out.Progress != nil && s.Config.Delivery == ExactlyOnce {
		return w.commit(ctx, out.Progress)
	}
	if err := w.produce(ctx); err != nil {
		return err
	}
	if len(w.refused.Verdicts) > 0 {
		return &w.refused
	}
	return nil
}

// writing is one call of Write: the messages, and what each of them is about.
type writing struct {
	sink     *Kafka
	messages []produce.Message
	about    []part
	refused  pipeline.Refused // each verdict once
	buried   []int            // verdicts that were refused before
	room     []byte           // in which values are put together
}

// part is a part of an output.
type part struct {
	verdict int                  // index of the verdict
	dead    *pipeline.DeadLetter // or the dead letter, if not nil
	cut     bool                 // its value is left out
	recall  bool                 // or a recall
}

// fits reports whether the output topics take a message, as far as we know;
// the broker has the last word.
func (s *Kafka) fits(m *produce.Message) bool {
	return batch.HeadSize+batch.Size(m.Key, m.Value, m.Headers) <= s.Config.MaxMessageBytes
}

// add adds a message of verdict i, or refuses the verdict.
func (w *writing) add(i int, m produce.Message, err error) {
	switch {
	case err != nil:
		w.refuse(i, err)
	case !w.sink.fits(&m):
		w.refuse(i, errTooLarge)
	default:
		w.messages = append(w.messages, m)
		w.about = append(w.about, part{verdict: i})
	}
}

var errTooLarge = errors.New("a message is larger than its topic takes")

// refuse refuses a verdict, which may happen for several of its messages.
func (w *writing) refuse(i int, err error) {
	if !slices.Contains(w.refused.Verdicts, i) && !slices.Contains(w.buried, i) {
		w.refused.Verdicts, w.refused.Err = append(w.refused.Verdicts, i), err
	}
}

// verdict adds the messages of one verdict. One that only a shadow rule hit has
// none: it is in the evidence and nowhere else.
func (w *writing) verdict(i int, v *pipeline.Verdict) {
	s := w.sink
	if v.Action != rules.Pass {
		m, err := s.review(v, &w.room)
		w.add(i, m, err)
	}
	if s.Config.Decisions != "" && (v.Decision != nil || v.Action != rules.Pass) {
		m, err := s.decision(v, &w.room)
		w.add(i, m, err)
	}
	if v.Decision == nil || v.Origin.Asked { // who asked has the push, and will send it or ask again
		return
	}
	switch v.Decision.Decision {
	case push.Allow:
		if s.Config.Cleared != "" {
			w.add(i, s.forward(s.Config.Cleared, "cleared", v), nil)
		}
	case push.Defer:
		if s.Config.Deferred != "" {
			w.add(i, s.forward(s.Config.Deferred, "deferred", v), nil)
		}
	}
}

func (w *writing) deadLetter(d *pipeline.DeadLetter) {
	m := w.sink.whole(d)
	cut := !w.sink.fits(&m)
	if cut {
		m = w.sink.withoutValue(d)
	}
	w.messages = append(w.messages, m)
	w.about = append(w.about, part{dead: d, cut: cut})
}

// recall adds the message of a recall. It is small: a topic that takes pushes takes
// it, too.
func (w *writing) recall(r *pipeline.Recall) error {
	if w.sink.Config.Cleared == "" {
		return nil // no push went there
	}
	m, err := w.sink.recall(r)
	if err != nil {
		return err
	}
	w.messages = append(w.messages, m)
	w.about = append(w.about, part{recall: true})
	return nil
}

// produce sends the messages and deals with those the broker finds too large: a
// verdict is refused, a dead letter goes again without its value.
func (w *writing) produce(ctx context.Context) error {
	err := w.sink.Producer.Produce(ctx, w.messages)
	large, ok := errors.AsType[*produce.TooLargeError](err)
	if !ok {
		return err
	}
	var again []produce.Message
	for _, i := range large.Index {
		switch about := &w.about[i]; {
		case about.recall:
			return w.sink.noRecall()
		case about.dead != nil:
			again = append(again, w.sink.withoutValue(about.dead))
		default:
			w.refuse(about.verdict, errTooLarge)
		}
	}
	err = w.sink.Producer.Produce(ctx, again)
	if _, ok := errors.AsType[*produce.TooLargeError](err); ok {
		return w.sink.hopeless()
	}
	return err
}

func (s *Kafka) noRecall() error {
	return pipeline.Permanent(fmt.Errorf("topic %s refuses recalls for their size: raise its max.message.bytes to %d or more", s.Config.Cleared, minMessageBytes))
}

func (s *Kafka) hopeless() error {
	return pipeline.Permanent(fmt.Errorf("topic %s refuses dead letters even without their values: raise its max.message.bytes", s.Config.DeadLetter))
}
