package ask

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

const (
	// lanesEach is how many batches of a kind are judged at once: while one waits for
	// its fsync the next is made.
	lanesEach = 4
	// maxBatch is how many requests are judged together at most, and maxBatchBytes how
	// long they are.
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	// accountEvery is how often what was answered is put on the account.
	accountEvery = time.Second
	accountLimit = 10 * time.Second
)

// queue holds the requests of one kind until a lane takes them. It has room for all
// that are let in.
type queue struct {
	requests chan *request
	lanes    []*lane
}

func newQueue(kind event.Kind, first int32, room int) *queue {
	q := &queue{requests: make(chan *request, room)}
	// Numbers that no life of this process has used, nor will: they count up by one a
	// request, and time goes faster.
	begin := time.Now().UnixMicro()
	for i := range int32(lanesEach) {
		l := &lane{kind: kind, number: first + i, requests: q.requests}
		l.next.Store(begin)
		q.lanes = append(q.lanes, l)
	}
	return q
}

func (q *queue) put(r *request) { q.requests <- r }

// lane is to the pipeline what a partition is: its batches come one after another.
type lane struct {
	kind     event.Kind
	number   int32
	requests <-chan *request
	next     atomic.Int64 // number of the next request, for the account
}

// run judges what is asked until nothing is in hand any more. After an error nothing can be
// judged; it tells all others to stop, and turns away who still waits.
func (l *lane) run(ctx context.Context, h pipeline.Handler, m *metrics, stop func(error), drained <-chan struct{}) error {
	var batch []*request
	var broken error
	for {
		select {
		case r := <-l.requests:
			batch = l.gather(append(batch[:0], r))
		case <-drained:
			return broken
		}
		if broken == nil {
			if broken = l.judge(ctx, h, m, batch); broken != nil {
				stop(broken)
			}
		} else {
			for _, r := range batch {
				r.done <- outcome{problem: closing}
			}
		}
		for _, r := range batch {
			r.release()
		}
		clear(batch)
	}
}

// gather adds what else is there.
func (l *lane) gather(batch []*request) []*request {
	size := len(batch[0].record.Value)
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case r := <-l.requests:
			batch = append(batch, r)
			size += len(r.record.Value)
		default:
			return batch
		}
	}
	return batch
}

// judge has a batch judged and answers.
//
// If the process dies in here, nobody was told anything, and the connection is broken. What was
// made durable by then is on record under ids that are the same when the same is asked again;
// a push that was allowed is known by its id and consumes nothing more.
func (l *lane) judge(ctx context.Context, h pipeline.Handler, m *metrics, batch []*request) error {
	now := time.Now()
	b := pipeline.Batch{Kind: l.kind, Topic: Path, Partition: l.number, First: l.next.Load()}
	asked := make([]*request, 0, len(batch))
	var last time.Time
	for _, r := range batch {
		if r.deadline.Before(now) {
			continue // who asked has gone
		}
		asked = append(asked, r)
		b.Records = append(b.Records, r.record)
		if r.deadline.After(last) {
			last = r.deadline
		}
	}
	if len(asked) == 0 {
		return nil
	}
	b.Next = b.First + int64(len(asked))
	by := make(map[*pipeline.Record]*request, len(asked))
	for i, r := range asked {
		by[&b.Records[i]] = r
	}
	var broken error
	b.Answer = func(r *pipeline.Record, v *pipeline.Verdict, d *pipeline.DeadLetter) {
		to := by[r]
		if d != nil {
			to.done <- outcome{problem: unjudged(d)}
			return
		}
		text, err := encode(v, to.log)
		if err != nil {
			broken = fmt.Errorf("api: write an answer: %w", err) // a bug of ours: a word that JSON cannot say
			return
		}
		to.done <- outcome{json: text}
	}
	// What is in hand is finished when the process is told to stop.
	limited, cancel := context.WithDeadline(context.WithoutCancel(ctx), last)
	defer cancel()
	m.batches.Observe(float64(len(asked)))
	if err := h.Handle(limited, &b); err != nil {
		for _, r := range asked {
			r.done <- outcome{problem: late}
		}
		if limited.Err() == nil {
			return fmt.Errorf("api: %w", err)
		}
		return nil
	}
	l.next.Store(b.Next)
	return broken
}

// account puts what was answered on the account, each second and at the end. If the process
// dies before it, the answers of that second are not counted; their evidence is there.
func (s *Server) account(ctx context.Context, h pipeline.Handler, drained <-chan struct{}) error {
	tick := time.NewTicker(accountEvery)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-drained:
			last = true
		case <-tick.C:
		}
		var done []pipeline.Range
		for _, q := range s.lanes {
			for _, l := range q.lanes {
				done = append(done, pipeline.Range{Topic: Path, Partition: l.number, Next: l.next.Load()})
			}
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), accountLimit)
		err := h.Checkpoint(limited, done)
		late := limited.Err() != nil
		cancel()
		if err != nil && !late {
			return fmt.Errorf("api: put answers on the account: %w", err)
		}
	}
	return nil
}
