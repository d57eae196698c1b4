package produce

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/batch"
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

// find returns the topics of messages, and asks for what is not known yet.
func (k *leaders) find(ctx context.Context, p *Producer, msgs []Message) (*table, error) {
	began := time.Now()
	for try := 0; ; try++ {
		t := k.table.Load()
		var err error
		switch {
		case t == nil:
			if err = k.learn(ctx, p, began); err == nil {
				continue
			}
		default:
			name, missing := t.missing(msgs)
			if missing == nil {
				if began.Sub(t.asked) > staleAfter {
					p.learnAside()
				}
				return t, nil
			}
			err = fmt.Errorf("produce to %s: %w", name, missing)
			if t.asked.After(began) {
				return nil, err
			}
			if lerr := k.learn(ctx, p, began); lerr == nil {
				continue
			}
		}
		if p.ctx.Err() != nil {
			return nil, wire.ErrClosed
		}
		// In the beginning brokers are asked for as long as a request may take.
		if time.Since(began) > wire.Timeout || !pause(ctx, jitter(50*time.Millisecond, 500*time.Millisecond, try)) {
			return nil, err
		}
	}
}

// missing returns the first topic that messages cannot go to.
func (t *table) missing(msgs []Message) (string, error) {
	last := ""
	for i := range msgs {
		name := msgs[i].Topic
		if name == last {
			continue
		}
		if x := t.topics[name]; x.err != nil {
			return name, x.err
		}
		last = name
	}
	return "", nil
}

// scratch is the working memory of one call of Produce.
type scratch struct {
	where []*lane // of each message; nil for one that is too large
	count []int32 // messages by lane
	runs  []run
	bytes int64
}

// sort finds the lane of every message, and makes a run of those of each lane.
// Those that are too large it refuses.
func (p *Producer) sort(ctx context.Context, s *scratch, d *delivery) error {
	t, err := p.known.find(ctx, p, d.msgs)
	if err != nil {
		return err
	}
	msgs := d.msgs
	s.where, s.runs, s.bytes = s.where[:0], s.runs[:0], 0
	if len(s.count) < t.lanes {
		s.count = make([]int32, t.lanes)
	}
	turn := p.turn.Add(1)
	var name string
	var lanes []*lane
	for i := range msgs {
		m := &msgs[i]
		size := batch.Size(m.Key, m.Value, m.Headers)
		if size > p.o.MaxMessageBytes {
			d.large = append(d.large, i)
			d.open--
			s.where = append(s.where, nil)
			continue
		}
		s.bytes += int64(size)
		if m.Topic != name || lanes == nil {
			name, lanes = m.Topic, t.topics[m.Topic].lanes
		}
		index := int32(turn % uint32(len(lanes)))
		if m.Key != nil {
			index = PartitionOf(m.Key, len(lanes))
		}
		l := lanes[index]
		s.where = append(s.where, l)
		s.count[l.number]++
	}
	// One piece of memory for all runs, each as long as it must be.
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
	for i := range s.runs {
		s.count[s.runs[i].lane.number] = 0
	}
	clear(s.where)
	return nil
}
