package wire

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// A broker that is doubted is not asked who coordinates instead of it, unless
// there is no other. The others are asked by chance.
func TestFindAvoidsTheDoubted(t *testing.T) {
	var brokers []int32
	var asked []int32
	c := &Coordinator{Name: "g", Send: func(_ context.Context, _ time.Duration, m protocol.Message) (protocol.Message, error) {
		cluster := protocol.Cluster{Brokers: make(map[int32]protocol.Broker)}
		for _, id := range brokers {
			cluster.Brokers[id] = protocol.Broker{ID: id}
		}
		b, err := m.(*Call).Broker(cluster)
		if err != nil {
			t.Fatal(err)
		}
		asked = append(asked, b.ID)
		var w Writer
		w.I32(0)
		w.I16(0)
		w.StrOrNull("")
		w.I32(2)
		return &Answer{Body: w.B}, nil
	}}
	find := func(want ...int32) {
		t.Helper()
		asked = nil
		for range 200 {
			if _, _, err := c.Node(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.node.Store(0)
		}
		slices.Sort(asked)
		if got := slices.Compact(asked); !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
	}
	find(-1) // whoever kafka-go is connected to
	brokers = []int32{1, 2, 3}
	find(1, 2, 3)
	if node, fresh, err := c.Node(t.Context()); node != 2 || !fresh || err != nil {
		t.Fatal(node, fresh, err)
	}
	c.Forget(1) // it is another that is remembered
	find(1, 2, 3)
	c.node.Store(3)
	c.Forget(2)
	find(1, 3)
	brokers = []int32{2}
	find(2)
}
