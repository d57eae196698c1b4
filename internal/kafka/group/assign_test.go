package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// want makes claims of members that want the same topics and hold nothing.
func want(members []string, topics ...string) []claim {
	var claims []claim
	for _, id := range members {
		c := claim{id: id, order: id, topics: make(map[string]bool), generation: -1}
		for _, t := range topics {
			c.topics[t] = true
		}
		claims = append(claims, c)
	}
	return claims
}

// Whatever members claim, every partition that somebody wants has one owner who
// wants it, and nobody gets what does not exist. For those who want the same the
// plans are even; the sticky one moves nothing when it is made again.
func TestPlans(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		counts := make(map[string]int32)
		for i := range 1 + rnd.IntN(3) {
			counts[fmt.Sprint("t", i)] = rnd.Int32N(9)
		}
		topics := slices.Sorted(maps.Keys(counts))
		var claims []claim
		for i := range 1 + rnd.IntN(5) {
			c := claim{id: fmt.Sprint("m", i), order: fmt.Sprint("m", i), topics: make(map[string]bool), generation: rnd.Int32N(3)}
			for _, topic := range topics {
				if i == 0 || rnd.IntN(4) > 0 {
					c.topics[topic] = true
				}
				for p := range counts[topic] + 1 { // one that does not exist among them, and several claims for one
					if rnd.IntN(3) == 0 {
						c.held = append(c.held, Partition{topic, p})
					}
				}
			}
			c.held = append(c.held, Partition{"other", 0}, Partition{"t0", -1})
			claims = append(claims, c)
		}
		for _, assignor := range assignors {
			p, err := assign(assignor, claims, counts)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, assignor, p, claims, counts)
		}
		for i := range claims {
			claims[i].topics = want([]string{""}, topics...)[0].topics
		}
		p := assignSticky(claims, counts)
		if least, most := spread(p); most-least > 1 {
			t.Fatalf("from %d to %d partitions a member: %v", least, most, p)
		}
		for i := range claims {
			claims[i].held, claims[i].generation = p[claims[i].id], 7
		}
		if again := assignSticky(claims, counts); !maps.EqualFunc(p, again, slices.Equal) {
			t.Fatalf("the same claims give\n%v after\n%v", again, p)
		}
		// Who comes takes no more than its share, and nobody but it gets anything new.
		claims = append(claims, want([]string{"new"}, topics...)...)
		after := assignSticky(claims, counts)
		for _, c := range claims[:len(claims)-1] {
			for _, own := range after[c.id] {
				if !slices.Contains(c.held, own) {
					t.Fatalf("%s got %v when another came: %v after %v", c.id, own, after, p)
				}
			}
		}
	}
}

func checkPlan(t *testing.T, name string, p plan, claims []claim, counts map[string]int32) {
	t.Helper()
	owner := make(map[Partition]string)
	for _, c := range claims {
		own, ok := p[c.id]
		if !ok {
			t.Fatalf("%s: %s is not in the plan", name, c.id)
		}
		for _, q := range own {
			if other, taken := owner[q]; taken {
				t.Fatalf("%s: %v went to %s and %s", name, q, other, c.id)
			}
			if !c.topics[q.Topic] || q.ID < 0 || q.ID >= counts[q.Topic] {
				t.Fatalf("%s: %s got %v, which it does not want or which is not there", name, c.id, q)
			}
			owner[q] = c.id
		}
	}
	for topic, n := range counts {
		wanted := slices.ContainsFunc(claims, func(c claim) bool { return c.topics[topic] })
		for id := range n {
			if _, ok := owner[Partition{topic, id}]; ok != wanted {
				t.Fatalf("%s: %s/%d has an owner: %v, want %v", name, topic, id, ok, wanted)
			}
		}
	}
	if len(p) != len(claims) {
		t.Fatalf("%s: %d members in a plan for %d", name, len(p), len(claims))
	}
}

func spread(p plan) (least, most int) {
	least = 1 << 30
	for _, own := range p {
		least, most = min(least, len(own)), max(most, len(own))
	}
	return least, most
}

// "range" means what it means to Java's RangeAssignor: for each topic for itself,
// consecutive partitions, one more to the first members; static members come in
// the order of their instances.
func TestRange(t *testing.T) {
	ids := func(topic string, from, to int32) (list []Partition) {
		for p := from; p < to; p++ {
			list = append(list, Partition{topic, p})
		}
		return list
	}
	for _, test := range []struct {
		name    string
		members []string
		counts  map[string]int32
		want    plan
	}{
		{"even", []string{"a", "b"}, map[string]int32{"t": 4}, plan{"a": ids("t", 0, 2), "b": ids("t", 2, 4)}},
		{"one more to the first", []string{"a", "b", "c"}, map[string]int32{"t": 8}, plan{"a": ids("t", 0, 3), "b": ids("t", 3, 6), "c": ids("t", 6, 8)}},
		{"topic by topic", []string{"a", "b"}, map[string]int32{"t": 3, "u": 3}, plan{
			"a": append(ids("t", 0, 2), ids("u", 0, 2)...), "b": append(ids("t", 2, 3), ids("u", 2, 3)...),
		}},
		{"more members than partitions", []string{"a", "b", "c"}, map[string]int32{"t": 1}, plan{"a": ids("t", 0, 1), "b": nil, "c": nil}},
		{"no partitions", []string{"a"}, map[string]int32{"t": 0}, plan{"a": nil}},
	} {
		got := assignRange(want(test.members, "t", "u"), test.counts)
		if !maps.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	claims, err := readClaims([]subscriber{
		{id: "z", instance: "one", metadata: subscription(ranged, []string{"t"}, nil, -1)},
		{id: "a", instance: "two", metadata: subscription(ranged, []string{"t"}, nil, -1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := assignRange(claims, map[string]int32{"t": 3}), (plan{"z": ids("t", 0, 2), "a": ids("t", 2, 3)}); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("static members: %v, want %v", got, want)
	}
}

// Of two who claim the same partition the one that held it later keeps it.
func TestStickyBelievesTheLaterGeneration(t *testing.T) {
	claims := want([]string{"early", "late"}, "t")
	for i, generation := range []int32{4, 5} {
		claims[i].held, claims[i].generation = []Partition{{"t", 0}, {"t", 1}}, generation
	}
	got := assignSticky(claims, map[string]int32{"t": 2})
	if len(got["early"]) != 1 || len(got["late"]) != 1 {
		t.Errorf("%v is not even", got)
	}
	claims[0].held, claims[1].held = []Partition{{"t", 0}}, []Partition{{"t", 0}}
	if got := assignSticky(claims, map[string]int32{"t": 2}); !slices.Contains(got["late"], Partition{"t", 0}) {
		t.Errorf("%v: the partition went to who held it earlier", got)
	}
}

// An assignor that the group chose and we did not offer is refused by its name.
func TestUnknownAssignor(t *testing.T) {
	if _, err := assign("cooperative-sticky", nil, nil); err == nil {
		t.Error("accepted")
	}
}
