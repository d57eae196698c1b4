package group

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// assignors are the ways to give out partitions that we offer, the best first.
// The coordinator takes one that all members offer.
var assignors = []string{sticky, ranged}

const (
	sticky = "sticky"
	ranged = "range"
)

// plan says whose each partition is, by member id.
type plan map[string][]Partition

// subscription is what a member says of itself when it joins: version 1 of the
// consumer protocol. For the sticky assignor it adds what Java's StickyAssignor
// and franz-go expect: the partitions held, and in which generation.
func subscription(assignor string, topics []string, held []Partition, generation int32) []byte {
	var w wire.Writer
	none := func(Partition) {}
	w.I16(1)
	w.Len(len(topics))
	for _, t := range topics {
		w.Str(t)
	}
	if assignor == sticky && generation >= 0 {
		var u wire.Writer
		writeTopics(&u, held, none)
		u.I32(generation)
		w.Bytes(u.B)
	} else {
		w.I32(-1)
	}
	writeTopics(&w, held, none)
	return w.B
}

// Offers reports whether a member can be in a group that uses an assignor.
func Offers(assignor string) bool { return slices.Contains(assignors, assignor) }

// Wants returns the topics that a member says it reads when it joins, whoever it is;
// nil if that cannot be read.
func Wants(subscription []byte) []string {
	var topics []string
	r := wire.Reader{B: subscription}
	r.I16()
	r.Each(func() { topics = append(topics, r.Str()) })
	if r.Err != nil {
		return nil
	}
	return topics
}

// assignment is what a member is told: version 0 of the consumer protocol.
func assignment(own []Partition) []byte {
	var w wire.Writer
	w.I16(0)
	writeTopics(&w, own, func(Partition) {})
	w.I32(-1) // nothing to add
	return w.B
}

func readAssignment(b []byte) ([]Partition, error) {
	r := wire.Reader{B: b}
	r.I16()
	own := readTopics(&r)
	return own, r.Err
}

// claim is what a member wants and holds, as the leader reads it.
type claim struct {
	id         string
	order      string // what stays the same over restarts, if it is a static member
	topics     map[string]bool
	held       []Partition
	generation int32 // in which it held them
}

func readClaims(members []subscriber) ([]claim, error) {
	var claims []claim
	for _, m := range members {
		c := claim{id: m.id, order: cmp.Or(m.instance, m.id), topics: make(map[string]bool), generation: -1}
		r := wire.Reader{B: m.metadata}
		r.I16()
		r.Each(func() { c.topics[r.Str()] = true })
		user := wire.Reader{B: r.Bytes()}
		if r.Err != nil {
			return nil, fmt.Errorf("read the subscription of a member: %w", r.Err)
		}
		// The user data of a foreign assignor may be anything: it counts only if it
		// makes sense.
		if held, generation := readTopics(&user), user.I32(); user.Err == nil {
			c.held, c.generation = held, generation
		}
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.order, b.order) })
	return claims, nil
}

// assign is the leader's part: whose each partition is.
func assign(assignor string, claims []claim, counts map[string]int32) (plan, error) {
	switch assignor {
	case sticky:
		return assignSticky(claims, counts), nil
	case ranged:
		return assignRange(claims, counts), nil
	}
	return nil, fmt.Errorf("the group chose the assignor %q, which we do not offer", assignor)
}

// assignRange gives the members that want a topic consecutive partitions of it,
// one more to the first ones.
func assignRange(claims []claim, counts map[string]int32) plan {
	p := make(plan)
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		var want []string
		for _, c := range claims {
			if c.topics[topic] {
				want = append(want, c.id)
			}
		}
		next := int32(0)
		for i, id := range want {
			share := counts[topic] / int32(len(want))
			if int32(i) < counts[topic]%int32(len(want)) {
				share++
			}
			for range share {
				p[id] = append(p[id], Partition{topic, next})
				next++
			}
		}
	}
	return p.of(claims)
}

// of makes sure that every member is in the plan, with nothing if it comes to that.
func (p plan) of(claims []claim) plan {
	for _, c := range claims {
		if _, ok := p[c.id]; !ok {
			p[c.id] = nil
		}
	}
	return p
}

// assignSticky lets members keep what they hold, gives the rest to those with
// the least, and then moves single partitions, each from who has the most beyond
// who has the least of those that want it, while they differ by two or more: so who
// comes takes from the others, and none of them from another. Of all such moves it takes
// one of the topic of which the two differ most, so that each topic is shared out and not
// only their sum: partitions of one may be a hundred times the work of those of another.
// Of two who claim the same partition the one of the later generation is right.
func assignSticky(claims []claim, counts map[string]int32) plan {
	owner := make(map[Partition]int)
	load := make([]int, len(claims))
	loads := make(map[string][]int) // by topic
	for topic := range counts {
		loads[topic] = make([]int, len(claims))
	}
	give := func(p Partition, to int) {
		if from, ok := owner[p]; ok {
			load[from]--
			loads[p.Topic][from]--
		}
		owner[p] = to
		load[to]++
		loads[p.Topic][to]++
	}
	latest := make([]int, len(claims))
	for i := range latest {
		latest[i] = i
	}
	slices.SortStableFunc(latest, func(a, b int) int { return cmp.Compare(claims[b].generation, claims[a].generation) })
	for _, i := range latest {
		for _, p := range claims[i].held {
			if _, taken := owner[p]; !taken && claims[i].topics[p.Topic] && p.ID >= 0 && p.ID < counts[p.Topic] {
				give(p, i)
			}
		}
	}
	least := func(topic string) int {
		best := -1
		for i := range claims {
			if claims[i].topics[topic] && (best < 0 || load[i] < load[best]) {
				best = i
			}
		}
		return best
	}
	var all []Partition
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		for id := range counts[topic] {
			all = append(all, Partition{topic, id})
		}
	}
	for _, p := range all {
		if _, ok := owner[p]; ok {
			continue
		}
		if i := least(p.Topic); i >= 0 {
			give(p, i)
		}
	}
	for {
		var move Partition
		to, most, mostOfTopic := -1, 1, 0
		topic, poorest := "", -1
		for _, p := range slices.Backward(all) { // topic by topic
			from, ok := owner[p]
			if !ok {
				continue
			}
			if poorest < 0 || p.Topic != topic {
				topic, poorest = p.Topic, least(p.Topic)
			}
			d, ofTopic := load[from]-load[poorest], loads[topic][from]-loads[topic][poorest]
			if d > most || d == most && to >= 0 && ofTopic > mostOfTopic {
				move, to, most, mostOfTopic = p, poorest, d, ofTopic
			}
		}
		if to < 0 {
			break
		}
		give(move, to)
	}
	out := make(plan)
	for _, p := range all {
		if i, ok := owner[p]; ok {
			out[claims[i].id] = append(out[claims[i].id], p)
		}
	}
	return out.of(claims)
}
