package group

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Why none of kafka-go's own calls is used here: its Heartbeat goes to any broker
// and reads the two fields of the answer in the wrong order, so that every error
// looks like success; its SyncGroup turns every error into an unexpected EOF; its
// JoinGroup fails the leader as soon as one member sends the oldest kind of
// subscription; its OffsetCommit stores a leader epoch of 0, which makes other
// clients look for a truncation; its OffsetFetch cannot ask for stable offsets.

// patience is how long a join or a sync may take: the coordinator waits for the
// other members, and then answers.
func (m *Member) patience() time.Duration { return m.o.Rebalance + 5*time.Second }

// ask sends a request of one member in a generation and returns the answer
// behind its throttle time.
func (m *Member) ask(ctx context.Context, node int32, limit time.Duration, a wire.API, body func(w *wire.Writer)) (*wire.Reader, error) {
	r, err := m.coordinator.Ask(ctx, node, limit, &wire.Call{API: a, Body: func(w *wire.Writer) {
		if a.Flexible {
			w.CompactStr(m.o.Group)
		} else {
			w.Str(m.o.Group)
		}
		body(w)
	}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	r.I32() // throttle
	return r, nil
}

// identity writes who we are in which generation.
func (m *Member) identity(w *wire.Writer, generation int32) {
	w.I32(generation)
	w.Str(m.id)
	w.StrOrNull(m.o.Instance)
}

// joined is the answer to a join.
type joined struct {
	generation               int32
	assignor, leader, member string
	members                  []subscriber // if we lead
}

// subscriber is a member as the leader hears of it.
type subscriber struct {
	id, instance string
	metadata     []byte
}

func (m *Member) joinGroup(ctx context.Context, topics []string) (j joined, err error) {
	err = m.waiting(ctx, func(ctx context.Context, node int32) error {
		r, err := m.ask(ctx, node, m.patience(), wire.JoinGroup, func(w *wire.Writer) {
			w.I32(int32(m.o.Session.Milliseconds()))
			w.I32(int32(m.o.Rebalance.Milliseconds()))
			w.Str(m.id)
			w.StrOrNull(m.o.Instance)
			w.Str("consumer")
			w.Len(len(assignors))
			for _, a := range assignors {
				w.Str(a)
				w.Bytes(subscription(a, topics, m.held, m.previous))
			}
		})
		if err != nil {
			return err
		}
		code := r.Code()
		j = joined{generation: r.I32(), assignor: r.Str(), leader: r.Str(), member: r.Str()}
		r.Each(func() { j.members = append(j.members, subscriber{r.Str(), r.Str(), r.Bytes()}) })
		if code != nil {
			return code
		}
		return r.Err
	})
	return j, err
}

// syncGroup hands the coordinator the plan, if we made it, and returns what is ours.
func (m *Member) syncGroup(ctx context.Context, generation int32, p plan) (own []Partition, err error) {
	err = m.waiting(ctx, func(ctx context.Context, node int32) error {
		r, err := m.ask(ctx, node, m.patience(), wire.SyncGroup, func(w *wire.Writer) {
			m.identity(w, generation)
			w.Len(len(p))
			for _, id := range slices.Sorted(maps.Keys(p)) {
				w.Str(id)
				w.Bytes(assignment(p[id]))
			}
		})
		if err != nil {
			return err
		}
		if err := r.Code(); err != nil {
			return err
		}
		b := r.Bytes()
		if r.Err != nil || len(b) == 0 { // nothing is ours
			return r.Err
		}
		own, err = readAssignment(b)
		return err
	})
	return own, err
}

func (m *Member) heartbeat(ctx context.Context, node, generation int32) error {
	r, err := m.ask(ctx, node, m.request, wire.Heartbeat, func(w *wire.Writer) { m.identity(w, generation) })
	if err != nil {
		return err
	}
	return r.Code()
}

func (m *Member) leaveGroup(ctx context.Context, node int32) error {
	r, err := m.ask(ctx, node, m.request, wire.LeaveGroup, func(w *wire.Writer) {
		w.Len(1)
		w.Str(m.id)
		w.StrOrNull("")
	})
	if err != nil {
		return err
	}
	return r.Code()
}

// offsetCommit returns the first error there is.
func (m *Member) offsetCommit(ctx context.Context, node, generation int32, offsets map[Partition]int64) error {
	r, err := m.ask(ctx, node, m.request, wire.OffsetCommit, func(w *wire.Writer) {
		m.identity(w, generation)
		writeTopics(w, slices.Collect(maps.Keys(offsets)), func(p Partition) {
			w.I64(offsets[p])
			w.I32(-1)       // leader epoch: not known
			w.StrOrNull("") // metadata
		})
	})
	if err != nil {
		return err
	}
	r.Each(func() {
		r.Str()
		r.Each(func() {
			r.I32()
			if e := r.Code(); err == nil {
				err = e
			}
		})
	})
	if err == nil {
		err = r.Err
	}
	return err
}

// offsetFetch asks for stable offsets: never for one that an open transaction is
// about to replace.
func (m *Member) offsetFetch(ctx context.Context, node int32, want []Partition) (map[Partition]int64, error) {
	byTopic := group(want)
	r, err := m.ask(ctx, node, m.request, wire.OffsetFetch, func(w *wire.Writer) {
		w.CompactLen(len(byTopic))
		for _, t := range byTopic {
			w.CompactStr(t.topic)
			w.CompactLen(len(t.ids))
			for _, id := range t.ids {
				w.I32(id)
			}
			w.NoTags()
		}
		w.Bool(true) // stable
		w.NoTags()
	})
	if err != nil {
		return nil, err
	}
	offsets := make(map[Partition]int64, len(want))
	err = ReadOffsets(r, func(p Partition, offset int64) { offsets[p] = offset })
	for _, p := range want {
		if _, ok := offsets[p]; !ok && err == nil {
			err = fmt.Errorf("%s: the coordinator did not answer about %s", wire.OffsetFetch.Name, p)
		}
	}
	return offsets, err
}

// ReadOffsets reads what is committed from an answer to OffsetFetch, behind its
// throttle time, -1 where nothing is. It returns the first error there is.
func ReadOffsets(r *wire.Reader, each func(p Partition, offset int64)) (err error) {
	note := func(e error) {
		if err == nil {
			err = e
		}
	}
	r.CompactEach(func() {
		topic := r.CompactStr()
		r.CompactEach(func() {
			p := Partition{topic, r.I32()}
			each(p, r.I64())
			r.I32() // leader epoch
			r.CompactStr()
			note(r.Code())
			r.Tags()
		})
		r.Tags()
	})
	note(r.Code())
	note(r.Err)
	return err
}

// topic is some partitions of one topic.
type topic struct {
	topic string
	ids   []int32
}

// group orders partitions by topic.
func group(list []Partition) []topic {
	list = slices.SortedFunc(slices.Values(list), Partition.compare)
	var out []topic
	for _, p := range list {
		if n := len(out); n == 0 || out[n-1].topic != p.Topic {
			out = append(out, topic{topic: p.Topic})
		}
		t := &out[len(out)-1]
		t.ids = append(t.ids, p.ID)
	}
	return out
}

// writeTopics writes partitions by topic, each with what each adds.
func writeTopics(w *wire.Writer, list []Partition, each func(p Partition)) {
	list = slices.SortedFunc(slices.Values(list), Partition.compare)
	w.ByTopic(len(list), func(i int) string { return list[i].Topic }, func(i int) {
		w.I32(list[i].ID)
		each(list[i])
	})
}

// readTopics reads what writeTopics wrote with nothing added.
func readTopics(r *wire.Reader) []Partition {
	var list []Partition
	r.Each(func() {
		topic := r.Str()
		r.Each(func() { list = append(list, Partition{topic, r.I32()}) })
	})
	return list
}
