package wire

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a broker says of topics is read as it is, and an answer that ends early is an
// error, wherever it ends.
func TestReadDetails(t *testing.T) {
	var w Writer
	ids := func(list ...int32) {
		w.Len(len(list))
		for _, id := range list {
			w.I32(id)
		}
	}
	partition := func(id, leader int32, replicas, inSync []int32) {
		w.I16(0)
		w.I32(id)
		w.I32(leader)
		w.I32(7) // epoch
		ids(replicas...)
		ids(inSync...)
		ids()
	}
	w.I32(0) // throttle
	w.Len(2) // brokers
	for id := range int32(2) {
		w.I32(id)
		w.Str("host")
		w.I32(9092)
		w.Str("rack")
	}
	w.Str("cluster")
	w.I32(1) // controller
	w.Len(2)
	w.I16(0)
	w.Str("a")
	w.I8(0)
	w.Len(2)
	partition(2, 1, []int32{0, 1}, []int32{1}) // 1 is not told
	partition(0, 0, []int32{0, 1}, []int32{0, 1})
	w.I32(int32(Read | Describe))
	w.I16(3) // unknown
	w.Str("b")
	w.I8(0)
	w.Len(0)
	w.I32(-1 << 31)
	w.I32(int32(Create))

	c, topics, err := ReadDetails(&Reader{B: w.B})
	if err != nil || c != (Cluster{Brokers: 2, May: Create}) || len(topics) != 2 {
		t.Fatalf("%+v, %+v, %v", c, topics, err)
	}
	// Partitions are counted by those that are told; one without a place among them has no leader.
	if a := topics[0]; a.Name != "a" || a.Err != nil || !cmp.Equal(a.Leaders, []int32{0, -1}) || !cmp.Equal(a.Replicas, []int{2, 0}) || !cmp.Equal(a.InSync, []int{2, 0}) ||
		!a.May.Known() || !a.May.May(Read|Describe) || a.May.May(Write) {
		t.Errorf("%+v", a)
	}
	if b := topics[1]; !errors.Is(b.Err, ErrNoTopic) || b.May.Known() {
		t.Errorf("%+v", b)
	}
	for n := range w.B {
		if _, _, err := ReadDetails(&Reader{B: w.B[:n]}); err == nil {
			t.Errorf("no error after %d of %d bytes", n, len(w.B))
		}
		if _, err := ReadTopics(&Reader{B: w.B[:n]}); err == nil {
			t.Errorf("topics: no error after %d of %d bytes", n, len(w.B))
		}
	}
}
