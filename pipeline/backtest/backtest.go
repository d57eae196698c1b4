// Package backtest judges the same events by two rule sets and tells what they judge
// differently: which hits are new and which are lost, and for which events another action
// follows, by rule and by category.
//
// [Run] reads messages from a [Feed], decodes each once, matches it by both sets on all
// cores and compares. What it is not: it sends nothing anywhere and asks no push policy; of
// a push it compares what its content calls for. The one thing to know: a [Report] holds
// no text of an event unless it is told to, only its shape; see [Options].
package backtest

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// Message is one message to be judged.
type Message struct {
	Place   Place
	Kind    event.Kind    // what its topic carries; 0 where the message itself must tell
	Format  *event.Format // how it is written; nil: as docs/schemas says
	Headers []event.Header
	Value   []byte // nil for none
	// Corrupt, if not empty, says why this is no message; see pipeline.Record.
	Corrupt pipeline.Reason
}

// Feed gives messages in their order by calling add, which copies what it is given. An
// error of add must be returned.
type Feed func(ctx context.Context, add func(*Message) error) error

// Options say what is compared and what is kept of it.
type Options struct {
	Old, New *rules.Set
	Limits   event.Config
	// Samples is of how many events, for each rule and each way to differ, a sample is
	// kept: the first ones.
	Samples int
	// ShowText lets samples hold the text of events. Else every letter and digit in them
	// is replaced by one that stands for its kind.
	ShowText bool
	// Progress, if not nil, is told now and then, by one goroutine at a time, how many
	// messages are done.
	Progress func(done int64)

	trap func(*event.Event) // of tests, to break on purpose; else nil
}

// How much is given to a core at a time. It bounds memory: there are a few blocks for each
// core, of which only one that holds a single large message is larger.
const (
	blockBytes    = 256 << 10
	blockMessages = 4096
)

// block is a run of messages, which is judged by one worker.
type block struct {
	arena    []byte // what the messages point into
	messages []Message
	found    findings      // in the order of the messages
	done     chan struct{} // receives once it is judged
}

func (b *block) reset() {
	clear(b.messages)
	b.arena, b.messages = b.arena[:0], b.messages[:0]
	b.found.reset()
}

// add takes a copy of the message, or returns false if it has no room.
func (b *block) add(m *Message) bool {
	size := len(m.Value)
	for i := range m.Headers {
		size += len(m.Headers[i].Value)
	}
	if len(b.messages) == blockMessages {
		return false
	}
	if len(b.arena)+size > cap(b.arena) {
		if len(b.messages) > 0 {
			return false
		}
		b.arena = make([]byte, 0, max(size, blockBytes))
	}
	c := *m
	c.Value = b.keep(m.Value)
	if len(m.Headers) > 0 {
		c.Headers = make([]event.Header, len(m.Headers))
		for i, h := range m.Headers {
			c.Headers[i] = event.Header{Key: h.Key, Value: b.keep(h.Value)}
		}
	}
	b.messages = append(b.messages, c)
	return true
}

// keep copies bytes for which there is room; nil stays nil.
func (b *block) keep(p []byte) []byte {
	if p == nil {
		return nil
	}
	n := len(b.arena)
	b.arena = append(b.arena, p...)
	return b.arena[n:len(b.arena):len(b.arena)]
}

// Run compares the sets on all messages of a feed. The report depends on the messages and
// their order, and on nothing else. An error is one of the feed, or says that ctx ended.
func Run(ctx context.Context, feed Feed, o Options) (*Report, error) {
	names := newIndex(o.Old, o.New)
	workers := make([]*worker, runtime.GOMAXPROCS(0))
	blocks := 2*len(workers) + 1 // one read, one judged and one waiting for its turn, at least
	free := make(chan *block, blocks)
	for range blocks {
		free <- &block{done: make(chan struct{}, 1)}
	}
	// Every block goes to a worker and, in the order in which they were read, to the
	// collector. Neither channel ever blocks: they have room for all there are.
	work, order := make(chan *block, blocks), make(chan *block, blocks)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(work)
		defer close(order)
		var b *block
		pass := func() {
			work <- b
			order <- b
			b = nil
		}
		err := feed(ctx, func(m *Message) error {
			for {
				if b == nil {
					select {
					case b = <-free:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				if b.add(m) {
					return nil
				}
				pass()
			}
		})
		if err == nil && b != nil {
			pass()
		}
		return err
	})
	for i := range workers {
		w := newWorker(&o, names)
		workers[i] = w
		g.Go(func() error {
			for b := range work {
				w.judge(b)
				b.done <- struct{}{}
			}
			return nil
		})
	}
	var all findings
	g.Go(func() error {
		for b := range order {
			<-b.done
			all.merge(&b.found, o.Samples)
			if o.Progress != nil {
				o.Progress(all.messages)
			}
			b.reset()
			free <- b
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	total := newTotals(names)
	for _, w := range workers {
		total.add(&w.totals)
	}
	return newReport(&o, names, total, &all), nil
}
