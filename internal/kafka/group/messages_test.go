package group

import (
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a member says of itself reads the same to franz-go, and comes back as the
// claim it was.
func TestSubscription(t *testing.T) {
	topics := []string{"t", "u"}
	held := []Partition{{"u", 1}, {"t", 4}, {"t", 0}}
	for _, test := range []struct {
		assignor   string
		generation int32
		user       bool
	}{{sticky, 7, true}, {sticky, -1, false}, {ranged, 7, false}} {
		b := subscription(test.assignor, topics, held, test.generation)
		var meta kmsg.ConsumerMemberMetadata
		if err := meta.ReadFrom(b); err != nil {
			t.Fatalf("franz-go cannot read it: %v", err)
		}
		if meta.Version != 1 || !slices.Equal(meta.Topics, topics) {
			t.Errorf("version %d, topics %v", meta.Version, meta.Topics)
		}
		want := []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "t", Partitions: []int32{0, 4}}, {Topic: "u", Partitions: []int32{1}}}
		if !reflect.DeepEqual(meta.OwnedPartitions, want) {
			t.Errorf("owned %v, want %v", meta.OwnedPartitions, want)
		}
		if got := meta.UserData != nil; got != test.user {
			t.Fatalf("%s, generation %d: user data %v, want %v", test.assignor, test.generation, got, test.user)
		}
		claims, err := readClaims([]subscriber{{id: "m", instance: "i", metadata: b}})
		if err != nil {
			t.Fatal(err)
		}
		c := claims[0]
		if c.id != "m" || c.order != "i" || len(c.topics) != 2 || !c.topics["t"] || !c.topics["u"] {
			t.Errorf("claim %+v", c)
		}
		if !test.user {
			if c.held != nil || c.generation != -1 {
				t.Errorf("claim %+v holds something", c)
			}
			continue
		}
		var user kmsg.StickyMemberMetadata
		if err := user.ReadFrom(meta.UserData); err != nil || user.Generation != 7 || len(user.CurrentAssignment) != 2 {
			t.Errorf("franz-go reads the user data as %+v, %v", user, err)
		}
		if want := []Partition{{"t", 0}, {"t", 4}, {"u", 1}}; !slices.Equal(c.held, want) || c.generation != 7 {
			t.Errorf("holds %v in generation %d, want %v in 7", c.held, c.generation, want)
		}
	}
}

// A plan reads the same to franz-go, and franz-go's to us.
func TestAssignment(t *testing.T) {
	own := []Partition{{"t", 0}, {"t", 4}, {"u", 1}}
	b := assignment(own)
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	want := []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: []int32{0, 4}}, {Topic: "u", Partitions: []int32{1}}}
	if a.Version != 0 || !reflect.DeepEqual(a.Topics, want) || a.UserData != nil {
		t.Errorf("franz-go reads %+v", a)
	}
	for _, version := range []int16{0, 1} {
		a.Version = version
		got, err := readAssignment(a.AppendTo(nil))
		if err != nil || !slices.Equal(got, own) {
			t.Errorf("we read %v, %v", got, err)
		}
	}
	if got, err := readAssignment(assignment(nil)); err != nil || got != nil {
		t.Errorf("nothing reads as %v, %v", got, err)
	}
	if _, err := readAssignment(b[:len(b)-9]); err == nil {
		t.Error("a plan that is cut off was read")
	}
}

// Members of other clients say other things: older and newer subscriptions, and
// user data of assignors we do not know.
func TestForeignSubscriptions(t *testing.T) {
	for version := range int16(4) {
		meta := kmsg.NewConsumerMemberMetadata()
		meta.Version, meta.Topics, meta.UserData = version, []string{"t"}, []byte{0, 0, 0, 9}
		claims, err := readClaims([]subscriber{{id: "m", metadata: meta.AppendTo(nil)}})
		if err != nil || !claims[0].topics["t"] || claims[0].held != nil || claims[0].generation != -1 {
			t.Errorf("version %d: %+v, %v", version, claims, err)
		}
	}
	if _, err := readClaims([]subscriber{{id: "m", metadata: []byte{0}}}); err == nil {
		t.Error("a subscription that is cut off was read")
	}
}

// Whatever a foreign member says, the leader makes a plan of it or refuses, and
// never gives out what is not there.
func FuzzClaims(f *testing.F) {
	f.Add(subscription(sticky, []string{"t"}, []Partition{{"t", 1}}, 4))
	f.Add(subscription(ranged, []string{"t", "u"}, nil, -1))
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics = 3, []string{"t"}
	f.Add(meta.AppendTo(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		readAssignment(b) //nolint:errcheck // it must not panic, whatever it says
		claims, err := readClaims([]subscriber{{id: "foreign", metadata: b}, {id: "own", metadata: subscription(sticky, []string{"t"}, nil, -1)}})
		if err != nil {
			return
		}
		counts := map[string]int32{"t": 3}
		for _, assignor := range assignors {
			p, err := assign(assignor, claims, counts)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, assignor, p, claims, counts)
		}
	})
}
