package produce

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

const (
	// askTimeout is how long one broker may take to say who leads: another may
	// know, and this one may be frozen.
	askTimeout = time.Second
	// staleAfter is when it is time to look whether topics have got more partitions.
	staleAfter = 30 * time.Second
)

// errSilent says that an answer leaves out what was asked.
var errSilent = errors.New("the broker did not answer about it")

// errForeign says that a topic is not among the options.
var errForeign = errors.New("is not one of this producer's")

// leaders is what is known of the producer's topics. The connections below keep
// such knowledge too, but renew it when they please; we ask when a leader turns
// out not to be one.
type leaders struct {
	asking chan struct{} // holds one token: one asks, the others wait for the answer
	table  atomic.Pointer[table]
}

// table is what a broker said about the topics.
type table struct {
	asked  time.Time
	topics map[string]*topic
	lanes  int // how many lanes there are
}

type topic struct {
	err   error
	lanes []*lane // by partition
}

// learn asks about all topics, unless that was done since a time.
func (k *leaders) learn(ctx context.Context, p *Producer, since time.Time) error {
	select {
	case k.asking <- struct{}{}:
		defer func() { <-k.asking }()
	case <-ctx.Done():
		return p.why(ctx.Err())
	}
	old := k.table.Load()
	if old == nil {
		old = new(table)
	}
	if old.asked.After(since) {
		return nil
	}
	next := &table{asked: time.Now(), topics: make(map[string]*topic), lanes: old.lanes}
	r, err := p.send.Ask(ctx, askTimeout, p.client, wire.AskTopics(p.o.Topics))
	if err != nil {
		return err
	}
	list, err := wire.ReadTopics(r)
	if err != nil {
		return err
	}
	said := make(map[string]wire.Topic, len(list))
	for _, t := range list {
		said[t.Name] = t
	}
	for n, name := range p.o.Topics {
		t, ok := said[name]
		if !ok || t.Err == nil && len(t.Leaders) == 0 {
			t.Err = wire.ErrNoTopic
		}
		var lanes []*lane
		if o := old.topics[name]; o != nil {
			lanes = o.lanes
		}
		if t.Err != nil && !errors.Is(t.Err, wire.ErrNoTopic) && lanes != nil {
			// Something is wrong for the moment: what we know is better.
			next.topics[name] = &topic{lanes: lanes}
			continue
		}
		now := &topic{err: t.Err}
		for i, leader := range t.Leaders {
			if i == len(lanes) {
				lanes = append(lanes, &lane{topic: name, partition: int32(i), rank: uint64(n)<<32 | uint64(i), number: next.lanes})
				next.lanes++
			}
			lanes[i].leader.Store(leader)
		}
		// Lanes stay, even of a topic that is gone: it may come back.
		now.lanes = lanes[:len(t.Leaders):len(t.Leaders)]
		for i, l := range lanes {
			l.gone.Store(i >= len(t.Leaders))
		}
		if now.err != nil {
			now.lanes = lanes
		}
		next.topics[name] = now
	}
	k.table.Store(next)
	return nil
}

// sort finds the lane of every message, and makes a run of those of each lane.
// Messages that are too large it refuses. What is not known yet it asks for.
func (p *Producer) sort(ctx context.Context, s *scratch, d *delivery) error {
	began, turn := time.Now(), p.turn.Add(1)
	for try := 0; ; try++ {
		t := p.known.table.Load()
		var err error
		switch {
		case t != nil:
			if err = s.sort(t, d, p.o.MaxMessageBytes, turn); err == nil {
				if began.Sub(t.asked) > staleAfter {
					p.learnAside()
				}
				return nil
			}
			fresh := t.asked.After(began)
			if errors.Is(err, errForeign) || fresh && errors.Is(err, wire.ErrNoTopic) {
				return err
			}
			since := began
			if fresh { // a topic that was just made has no leader for a moment
				since = t.asked
			}
			if p.known.learn(ctx, p, since) == nil && !fresh {
				continue
			}
		default:
			if err = p.known.learn(ctx, p, began); err == nil {
				continue
			}
		}
		if p.ctx.Err() != nil {
			return wire.ErrClosed
		}
		// In the beginning brokers are asked for as long as a request may take.
		if time.Since(began) > wire.Timeout || !retry.Pause(ctx, retry.Jitter(50*time.Millisecond, 500*time.Millisecond, try)) {
			return err
		}
	}
}

// scratch is the working memory of one call of Produce.
type scratch struct {
	where []*lane // of each message; nil for one that is too large
	count []int32 // messages by lane
	runs  []run
	bytes int64
}

func (s *scratch) sort(t *table, d *delivery, limit int, turn uint32) error {
	msgs := d.msgs
	s.where, s.runs, s.bytes = s.where[:0], s.runs[:0], 0
	d.large, d.open = nil, len(msgs)
	if len(s.count) < t.lanes {
		s.count = make([]int32, t.lanes)
	}
	var name string
	var lanes []*lane
	for i := range msgs {
		m := &msgs[i]
		if m.Topic != name || lanes == nil {
			x, ok := t.topics[m.Topic]
			switch {
			case !ok:
				s.forget()
				return fmt.Errorf("produce: topic %q %w", m.Topic, errForeign)
			case x.err != nil:
				s.forget()
				return fmt.Errorf("produce to %s: %w", m.Topic, x.err)
			}
			name, lanes = m.Topic, x.lanes
		}
		size := batch.Size(m.Key, m.Value, m.Headers)
		if size > limit {
			d.large = append(d.large, i)
			d.open--
			s.where = append(s.where, nil)
			continue
		}
		s.bytes += int64(size)
		index := int32(turn % uint32(len(lanes)))
		switch {
		case m.Slot != 0:
			n := int64(len(lanes))
			index = int32((m.Slot%n + n) % n)
		case m.Key != nil:
			index = PartitionOf(m.Key, len(lanes))
		}
		l := lanes[index]
		s.where = append(s.where, l)
		s.count[l.number]++
	}
	// One piece of memory for all runs, each as long as it must be. From here on
	// count has the number of the run, below zero.
	all := make([]int32, 0, len(msgs))
	for _, l := range s.where {
		if l == nil || s.count[l.number] < 0 {
			continue
		}
		n := len(all)
		all = all[:n+int(s.count[l.number])]
		s.runs = append(s.runs, run{d, l, all[n:n:len(all)]})
		s.count[l.number] = -int32(len(s.runs))
	}
	for i, l := range s.where {
		if l != nil {
			r := &s.runs[-s.count[l.number]-1]
			r.index = append(r.index, int32(i))
		}
	}
	s.forget()
	return nil
}

// forget makes the scratch ready for another call.
func (s *scratch) forget() {
	for _, l := range s.where {
		if l != nil {
			s.count[l.number] = 0
		}
	}
	clear(s.where)
}
